//! Where a record keeps its key, so that a table that has the record's header has the key too.
//!
//! ```text
//! fixed length:    | out-of-line archive | unused | root | key, padded to 8 bytes | header |
//! variable length: | key | out-of-line archive | unused | root | u32 length · u32 distance | header |
//! ```
//!
//! Either block starts with the checksum in tables that keep them. `distance` is from the header back to the key's first byte. So
//! the root is at a distance from the header that depends on the table's types only, whatever the length of the key (E2, E3).
//!
//! **What a table does with keys of either kind**: its geometry is `Geometry::of::<V>(K::SIZE)`; it encodes what it is asked
//! for with `Encoded::<K>::of`, gives its records [`parts`] of that, compares with [`key_in`], [`key_at`] or [`Stored::key`], and takes records
//! away with [`head_of`]. Where `K::VARIABLE` is false, all of it is resolved when compiled: the key is `K::SIZE` bytes at
//! `header - geometry.key`. A root of its row has [`Stored::word`], for who does not know the types.

use crate::error::Error;
use crate::heap;
use crate::region::header::Layout;
use crate::region::view::{Bad, View, Window};
use crate::table::key::{Key, LONG_KEY_WORD, MAX_KEY, MAX_LONG_KEY};
use crate::table::record::{self, Carried, Parts};
use std::fmt;

type Result<T, E = Error> = std::result::Result<T, E>;

const WHAT: &str = "key";

/// How the records of a table keep their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Bytes that a record has beside its header for the key.
    pub(crate) size: u64,
    /// Whether keys have variable length.
    pub(crate) variable: bool,
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.variable {
            true => f.write_str("at their own length"),
            false => write!(f, "in {} bytes", self.size),
        }
    }
}

impl Stored {
    pub(crate) const fn of<K: Key>() -> Self {
        Self {
            size: K::SIZE as u64,
            variable: K::VARIABLE,
        }
    }

    /// As the catalog row keeps it.
    pub(crate) const fn word(self) -> u64 {
        self.size | (self.variable as u64) << 16
    }

    /// Reads it back from the root at `at`.
    pub(crate) fn read(view: &View, at: u64) -> Result<Self> {
        let word = view.load(at, WHAT)?;
        let (size, variable) = (word & 0xffff, word >> 16);
        let sound = match variable {
            0 => size >= 1 && size <= MAX_KEY as u64,
            1 => size == LONG_KEY_WORD as u64,
            _ => false,
        };
        if !sound {
            return Err(Error::damaged("shape of keys", at, word));
        }
        Ok(Self {
            size,
            variable: variable == 1,
        })
    }

    /// The key of the record whose header is at `header`.
    #[inline]
    pub(crate) fn key(self, view: &View, header: u64) -> Result<&[u8]> {
        if self.variable {
            return long_key(view, header);
        }
        view.bytes(header.wrapping_sub(self.size.next_multiple_of(8)), self.size, WHAT)
    }

    /// Checks that the key of the record whose header is at `header` lies at the start of the record's block; `checked` says
    /// whether a checksum lies before it.
    pub(crate) fn check(self, view: &View, layout: &Layout, header: u64, checked: bool) -> Result<()> {
        if !self.variable {
            return Ok(());
        }
        let block = heap::block_of(view, layout, header)?;
        let at = header.wrapping_sub(LONG_KEY_WORD as u64);
        let word = view.load(at, WHAT)?;
        if header.wrapping_sub(word >> 32) != record::head_at(block, checked) {
            return Err(Error::damaged(WHAT, at, word));
        }
        Ok(())
    }
}

/// Length of the key of variable length of the record whose header is at `header`, and where it starts, from the word before the
/// header.
#[inline]
pub(crate) fn read_word(word: u64, header: u64) -> Result<(u64, u64), Bad> {
    let (length, distance) = (word & 0xffff_ffff, word >> 32);
    if length > MAX_LONG_KEY as u64 || distance < length + LONG_KEY_WORD as u64 || distance > header {
        return Err(Bad);
    }
    Ok((length, header - distance))
}

fn long_place(view: &View, header: u64) -> Result<(u64, u64)> {
    let at = header.wrapping_sub(LONG_KEY_WORD as u64);
    let word = view.load(at, WHAT)?;
    read_word(word, header).map_err(|Bad| Error::damaged(WHAT, at, word))
}

fn long_key(view: &View, header: u64) -> Result<&[u8]> {
    let (length, start) = long_place(view, header)?;
    view.bytes(start, length, WHAT)
}

/// What a record has before its header for the key; `tail` is the record's bytes up to the header's end.
#[inline(always)]
fn beside<K: Key>(tail: &[u8]) -> &[u8] {
    let start = tail.len() - record::HEADER as usize - K::SIZE.next_multiple_of(8);
    &tail[start..start + K::SIZE]
}

/// The key of the record whose header is at `header` and whose bytes up to the header's end are `tail`.
#[inline(always)]
pub(crate) fn key_in<'v, K: Key>(window: Window<'v>, header: u64, tail: &'v [u8]) -> Result<&'v [u8], Bad> {
    let beside = beside::<K>(tail);
    if !K::VARIABLE {
        return Ok(beside);
    }
    let word = u64::from_le_bytes(*beside.first_chunk().ok_or(Bad)?);
    let (length, start) = read_word(word, header)?;
    window.bytes(start, length)
}

/// The same, saying what is wrong.
#[inline]
pub(crate) fn key_at<'v, K: Key>(view: &'v View, header: u64, tail: &'v [u8]) -> Result<&'v [u8]> {
    if K::VARIABLE {
        long_key(view, header)
    } else {
        Ok(beside::<K>(tail))
    }
}

/// What a record is made with: the bytes of its key.
#[inline]
pub(crate) fn parts<K: Key>(key: &[u8]) -> Parts<'_> {
    if K::VARIABLE {
        Parts::Head(key)
    } else {
        Parts::Tail(key)
    }
}

/// Bytes of its key that the record whose header is at `header` has at its block's start.
#[inline]
pub(crate) fn head_of<K: Key>(view: &View, header: u64) -> Result<u64> {
    if K::VARIABLE {
        long_place(view, header).map(|(length, _)| length)
    } else {
        Ok(0)
    }
}

/// The key that the record whose header is at `header` carries, for a record that takes its place.
pub(crate) fn carried<K: Key>(view: &View, header: u64) -> Result<Carried> {
    Ok(Carried {
        bytes: Stored::of::<K>().key(view, header)?.to_vec(),
        at_head: K::VARIABLE,
    })
}
