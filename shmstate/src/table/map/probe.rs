//! What a lookup carries of its key: a word if the key has a fixed length of eight bytes or fewer, else its bytes.
//!
//! A word is hashed and compared in registers; bytes lie in memory. Which of the two a type of keys is, the compiler knows. Both find
//! the same records: the word is the bytes, little-endian.

use crate::region::view::{Bad, Window};
use crate::table::hash;
use crate::table::key::{Encoded, Form, Key, Sink};
use crate::table::{keyed, record};
use std::marker::PhantomData;

/// A key that is looked for.
pub(super) trait Probe<K: Key> {
    fn hash(&self, seed: u64) -> u64;

    /// Whether the record whose header is at `record` and whose bytes up to the header's end are `tail` has this key.
    fn is_of(&self, window: Window<'_>, record: u64, tail: &[u8]) -> Result<bool, Bad>;
}

impl<K: Key> Probe<K> for Encoded<'_, K> {
    #[inline(always)]
    fn hash(&self, seed: u64) -> u64 {
        hash::of(self, seed)
    }

    #[inline(always)]
    fn is_of(&self, window: Window<'_>, record: u64, tail: &[u8]) -> Result<bool, Bad> {
        Ok(keyed::key_in::<K>(window, record, tail)? == &**self)
    }
}

/// A key of fixed length, 8 bytes at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word<K> {
    bits: u64,
    key: PhantomData<fn() -> K>,
}

/// Collects a key's bytes.
struct Bits {
    bits: u64,
    length: u32,
}

impl Sink for Bits {
    #[inline(always)]
    fn put(&mut self, bytes: &[u8]) {
        self.bits |= hash::word_of(bytes).checked_shl(self.length * 8).unwrap_or(0);
        self.length = self.length.wrapping_add(bytes.len() as u32);
    }
}

impl<K: Key> Word<K> {
    /// Whether keys of this type are words.
    pub(super) const FITS: bool = !K::VARIABLE && K::SIZE <= 8;
    /// The bits that a key has.
    const MASK: u64 = u64::MAX >> (64 - 8 * if Self::FITS { K::SIZE as u32 } else { 8 });

    #[inline(always)]
    pub(super) fn of(key: &K::Borrowed) -> Self {
        let mut out = Bits { bits: 0, length: 0 };
        K::write(key, Form::Hashed, &mut out);
        Self {
            bits: out.bits & Self::MASK,
            key: PhantomData,
        }
    }
}

impl<K: Key> Probe<K> for Word<K> {
    #[inline(always)]
    fn hash(&self, seed: u64) -> u64 {
        hash::of_word(self.bits, K::SIZE, seed)
    }

    #[inline(always)]
    fn is_of(&self, _window: Window<'_>, _record: u64, tail: &[u8]) -> Result<bool, Bad> {
        // The key is padded to eight bytes, whatever is in the rest.
        let at = tail.len().wrapping_sub(record::HEADER as usize + 8);
        let word = tail
            .get(at..at.wrapping_add(8))
            .and_then(|word| word.first_chunk())
            .ok_or(Bad)?;
        Ok(u64::from_le_bytes(*word) & Self::MASK == self.bits)
    }
}
