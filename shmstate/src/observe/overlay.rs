//! What the words that an open transaction changed were before it: read from its undo log while it grows.
//!
//! A range may be logged twice; the entry that was logged first has what was committed. The log is read backwards, so the last
//! that is seen of a new piece wins, and what an earlier piece said wins over a later one. Entries that were published do not
//! change while their transaction is open; whether it still is, the caller finds out afterwards.

use super::memory::Memory;
use super::sabotage;
use super::source::torn;
use crate::error::{Error, Result};
use crate::region::header::{FIRST_LOG, LOG_TABLE_ROW, LOG_TABLE_ROWS, at};
use crate::tx::undo;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

const WHAT: &str = "undo log";
/// Longest log that is read, in bytes.
pub(crate) const MAX_LOG: u64 = 32 << 20;

/// Spreads offsets, which are multiples of 8, over all bits.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, word: u64) {
        let spread = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = spread ^ spread >> 32;
    }
}

type Words = HashMap<u64, u64, BuildHasherDefault<Spread>>;

/// Committed words, by their offsets, of the log up to a length.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    words: Words,
    length: u64,
}

impl Overlay {
    /// Bytes of the log that are in it.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Reads what the log has from the length known so far up to `length`.
    pub(crate) fn extend(&mut self, memory: &Memory, length: u64) -> Result<()> {
        if length > MAX_LOG {
            return Err(torn("an undo log too long to be read"));
        }
        let mut piece = Words::default();
        let mut data = Vec::new();
        let mut position = length;
        while position > self.length {
            let entry = Entry::before(memory, position)?;
            data.resize((entry.bytes / 8) as usize, 0);
            memory.copy(entry.data, &mut data, WHAT)?;
            let sum = data.iter().fold(0u64, |sum, word| sum.rotate_left(7) ^ word);
            if undo::check(sum, entry.target, entry.second) != entry.check {
                return Err(Error::damaged(WHAT, entry.data, entry.check));
            }
            for (i, word) in data.iter().enumerate() {
                piece.insert(entry.target.wrapping_add(i as u64 * 8), *word);
            }
            position = entry.next;
        }
        if position != self.length {
            return Err(Error::damaged(WHAT, at::LOG_LENGTH, position));
        }
        if self.words.is_empty() {
            self.words = piece;
        } else {
            for (offset, word) in piece {
                self.words.entry(offset).or_insert(word);
            }
        }
        self.length = length;
        Ok(())
    }

    /// Puts the committed words over those that were read at `offset`.
    #[inline]
    pub(crate) fn apply(&self, offset: u64, out: &mut [u64]) {
        if self.words.is_empty() || sabotage::overlay() {
            return;
        }
        for (i, word) in out.iter_mut().enumerate() {
            if let Some(old) = self.words.get(&(offset + i as u64 * 8)) {
                *word = *old;
            }
        }
    }
}

/// An entry of the log, as its footer describes it.
struct Entry {
    data: u64,
    bytes: u64,
    target: u64,
    second: u64,
    check: u64,
    /// Where the entry before it ends.
    next: u64,
}

impl Entry {
    /// The entry that ends at a logical position, which is not 0 (U2 of `tx::undo`).
    fn before(memory: &Memory, position: u64) -> Result<Self> {
        let bad = || Error::damaged(WHAT, at::LOG_LENGTH, position);
        let start_of = |extent: u64| FIRST_LOG * ((1 << extent) - 1);
        let extent = (0..LOG_TABLE_ROWS)
            .find(|extent| position <= start_of(extent + 1))
            .ok_or_else(bad)?;
        let inside = position - start_of(extent);
        let offset = memory.header(at::LOG_TABLE + extent * LOG_TABLE_ROW);
        let room = inside.checked_sub(undo::FOOTER).ok_or_else(bad)?;
        let footer = offset.wrapping_add(room);
        let first = memory.load(footer, WHAT)?;
        let second = memory.load(footer.wrapping_add(8), WHAT)?;
        let bytes = second & 0xffff_ffff;
        if bytes == 0 || bytes % 8 != 0 || bytes > room.min(undo::MAX_ENTRY) {
            return Err(Error::damaged(WHAT, footer, second));
        }
        let mut next = position - bytes - undo::FOOTER;
        if extent > 0 && next == start_of(extent) {
            let word = memory.header(at::LOG_TABLE + (extent - 1) * LOG_TABLE_ROW + 16);
            let used = undo::unseal(word).unwrap_or(0);
            if used == 0 || used > FIRST_LOG << (extent - 1) || !used.is_multiple_of(8) {
                return Err(Error::damaged(WHAT, at::LOG_TABLE, used));
            }
            next = start_of(extent - 1) + used;
        }
        Ok(Self {
            data: footer - bytes,
            bytes,
            target: first & undo::LOW,
            second,
            check: first >> undo::CHECK_SHIFT,
            next,
        })
    }
}
