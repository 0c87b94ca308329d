//! The note of a table: which movement of bytes of a Unix stream is under way, and, written by the kernel, how many it moved (S6).
//!
//! ```text
//!  0 the header of the system call, 64 bytes; at 56 u32 bytes moved (N1 of `os::noted`); the rest means nothing
//! 64 u64 whose: the stream's token, bits turned over in a pattern; 0 = nothing is under way
//! 72 u64 from which position on: the low 48 bits, sealed
//! 80 u64 which way: 1 in, 2 out · 88 zero, to 128
//! ```
//!
//! A call, store by store, outside transactions:
//!
//! | step | killed after it |
//! |---|---|
//! | moved := 0; position, way := … | *whose* is 0: the note counts for nothing, and no byte was moved |
//! | *whose* := token | nothing moved: the position is the hint |
//! | the kernel moves n bytes and writes n into *moved*, in one system call | position + n is where the stream stands |
//! | hint := position + n | the same |
//! | *whose* := 0 | the hint is right |
//!
//! - **N3** One note serves all streams of a table: there is one writer (T5), and it is in one call at a time.
//! - **N4** *Whose* is set after *moved* was emptied, and emptied after the hint was set. So whenever it names a stream, position and
//!   *moved* are of the call that was begun last.
//!
//! It does not know sockets.

use crate::error::{Error, Result};
use crate::heap;
use crate::os::noted;
use crate::region::View;
use crate::region::seal::{LOW, seal, unseal};
#[cfg(test)]
use crate::table::streams::sabotage;
use crate::table::streams::slot::On;
use crate::table::streams::{NOTE, StreamId, Streams, Way};
use crate::tx::Tx;
use std::sync::atomic::{Ordering, compiler_fence};

const WHAT: &str = "note of a stream";
/// Bytes of the block.
pub(super) const NOTE_BYTES: u64 = 128;
/// Turned into a token, so that a word which differs from 0 in one byte names no stream.
const PATTERN: u64 = 0x5a5a_5a5a_5a5a_5a5a;

mod at {
    pub(super) const MOVED: u64 = crate::os::noted::LENGTH;
    pub(super) const WHOSE: u64 = 64;
    pub(super) const POSITION: u64 = 72;
    pub(super) const WAY: u64 = 80;
}

const _: () = assert!(noted::HEADER as u64 == at::WHOSE);

/// What a note says of an unfinished call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unfinished {
    pub(super) way: Way,
    /// The low 48 bits.
    pub(super) position: u64,
    /// Bytes that were moved.
    pub(super) moved: u64,
}

/// The note by its offset.
#[derive(Clone, Copy, Debug)]
pub(super) struct Note(u64);

impl Note {
    pub(super) fn of(streams: &Streams, view: &View) -> Result<Self> {
        Ok(Self(streams.root(view, NOTE)?))
    }

    /// Makes the block of a new table; gives its offset.
    pub(super) fn create(tx: &mut Tx<'_>) -> Result<u64> {
        let block = heap::alloc(tx, NOTE_BYTES)?.offset;
        tx.zero_fresh(block, NOTE_BYTES, WHAT)?;
        Ok(block)
    }

    fn word(self, view: &View, field: u64) -> Result<u64> {
        view.load(self.0.wrapping_add(field), WHAT)
    }

    fn set(self, view: &View, field: u64, word: u64) -> Result<()> {
        view.store(self.0.wrapping_add(field), word, WHAT)
    }

    /// Where the header of the system call lies: offset and bytes.
    pub(super) fn header(self) -> (u64, u64) {
        (self.0, noted::HEADER as u64)
    }

    /// A call begins.
    pub(super) fn begin(self, view: &View, id: StreamId, way: Way, position: u64) -> Result<()> {
        #[cfg(test)]
        if sabotage::late_empty() {
            self.set(view, at::WHOSE, id.0 ^ PATTERN)?;
        }
        self.set(view, at::MOVED, 0)?;
        self.set(view, at::POSITION, seal(position & LOW))?;
        self.set(view, at::WAY, way as u64)?;
        // N4; the system call itself stays behind the store of *whose*, since it may read all memory.
        compiler_fence(Ordering::SeqCst);
        self.set(view, at::WHOSE, id.0 ^ PATTERN)?;
        compiler_fence(Ordering::SeqCst);
        Ok(())
    }

    /// The call is over, and the hint says so.
    pub(super) fn end(self, view: &View) -> Result<()> {
        compiler_fence(Ordering::SeqCst);
        self.set(view, at::WHOSE, 0)
    }

    /// The stream is taken out of the table.
    pub(super) fn forget(self, tx: &mut Tx<'_>, id: StreamId) -> Result<()> {
        if self.word(tx, at::WHOSE)? == id.0 ^ PATTERN {
            tx.put(self.0 + at::WHOSE, 0, WHAT)?;
        }
        Ok(())
    }

    /// What was under way when the owner died, if it was a call of this stream.
    pub(super) fn unfinished(self, view: &View, id: StreamId) -> Result<Option<Unfinished>> {
        if self.word(view, at::WHOSE)? != id.0 ^ PATTERN {
            return Ok(None);
        }
        let word = self.word(view, at::POSITION)?;
        let position = unseal(word).ok_or_else(|| Error::damaged(WHAT, self.0 + at::POSITION, word))?;
        let way = match self.word(view, at::WAY)? {
            1 => Way::In,
            2 => Way::Out,
            other => return Err(Error::damaged(WHAT, self.0 + at::WAY, other)),
        };
        Ok(Some(Unfinished {
            way,
            position,
            moved: self.word(view, at::MOVED)? & 0xffff_ffff,
        }))
    }

    /// Checks that it names nothing, or an open Unix stream.
    pub(super) fn check(self, streams: &Streams, view: &View) -> Result<()> {
        let whose = self.word(view, at::WHOSE)?;
        if whose == 0 {
            return Ok(());
        }
        let id = StreamId(whose ^ PATTERN);
        match streams.slot(view, id).and_then(|slot| slot.on(view)) {
            Ok(On::Unix) => self.unfinished(view, id).map(|_| ()),
            _ => Err(Error::damaged(WHAT, self.0 + at::WHOSE, whose)),
        }
    }
}
