//! A group of an index: one cache line with ten entries.
//!
//! ```text
//! 0 [u8; 10] tags, from the hash; 0 if empty · 10 u16 overflow · 12 u16 check: 16 more bits of the hashes of all entries on one another
//! 14 [u40; 10] places: offset of a record's header, in units of 8 bytes; 0 if empty, and only then
//! ```
//!
//! A place is found with one comparison of all tags and one load, so an index takes 6.4 bytes an entry and a lookup one line of it.
//! 40 bits of 8 bytes are 8 TiB, the most that a region may have.
//!
//! It does not know where groups lie, nor what overflow means (I1 of `index`).

use crate::error::Result;
use crate::region::header::MAX_CAPACITY;
use crate::region::view::{Line, View};
use crate::simd::equal_bytes;
use crate::tx::Tx;

const WHAT: &str = "index";
/// Bytes of a group.
pub(crate) const BYTES: usize = 64;
/// Entries of a group.
pub(crate) const ENTRIES: usize = 10;

const OVERFLOW: usize = ENTRIES;
const CHECK: usize = 12;
const PLACES: usize = 14;
/// Bytes of a place, and its unit as a shift.
const PLACE: usize = 5;
const UNIT: u32 = 3;
/// A place is the upper bytes of the word that ends with it.
const BELOW: usize = 8 - PLACE;

const _: () = {
    assert!(PLACES + ENTRIES * PLACE == BYTES);
    assert!(OVERFLOW + 2 == CHECK && CHECK + 2 == PLACES);
    assert!(MAX_CAPACITY <= 1 << (PLACE as u32 * 8 + UNIT));
};

/// The tag of a hash.
#[inline(always)]
pub(crate) fn tag(hash: u64) -> u8 {
    (hash >> 32) as u8
}

/// What the check of a group has of a hash.
pub(crate) fn check_of(hash: u64) -> u16 {
    (hash >> 40) as u16
}

/// The entries with that tag, a bit each. Empty ones have the tag 0, as one in 256 records has.
#[inline(always)]
pub(crate) fn matches(Line(group): &Line, tag: u8) -> u32 {
    let [low, high] = [0, 8].map(|at| {
        let mut word = [0; 8];
        word.copy_from_slice(&group[at..at + 8]);
        u64::from_le_bytes(word)
    });
    equal_bytes(low, high, tag) & ((1 << ENTRIES) - 1)
}

/// The record of an entry: the offset of its header, a multiple of 8. `slot` is below [`ENTRIES`], else it is 0.
#[inline(always)]
pub(crate) fn record(Line(group): &Line, slot: usize) -> u64 {
    let at = PLACES - BELOW + slot * PLACE;
    match group.get(at..at + 8).and_then(|word| word.first_chunk::<8>()) {
        Some(word) => u64::from_le_bytes(*word) >> (BELOW * 8) << UNIT,
        None => 0,
    }
}

/// How many entries went past this group.
#[inline(always)]
pub(crate) fn overflow(Line(group): &Line) -> u16 {
    u16::from_le_bytes([group[OVERFLOW], group[OVERFLOW + 1]])
}

/// A group that is looked at or changed as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Group(pub(crate) [u8; BYTES]);

impl Group {
    pub(crate) const EMPTY: Self = Self([0; BYTES]);

    pub(crate) fn load(view: &View, offset: u64) -> Result<Self> {
        Ok(Self::of(&view.words(offset, WHAT)?))
    }

    pub(crate) fn of(words: &[u64; 8]) -> Self {
        let mut bytes = [0; BYTES];
        for (bytes, word) in bytes.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Self(bytes)
    }

    pub(crate) fn words(&self) -> [u64; 8] {
        std::array::from_fn(|i| {
            let mut word = [0; 8];
            word.copy_from_slice(&self.0[i * 8..i * 8 + 8]);
            u64::from_le_bytes(word)
        })
    }

    /// Logs and writes the words in which `self` differs from what is at `offset`.
    #[inline]
    pub(crate) fn put(&self, tx: &mut Tx<'_>, offset: u64, before: &Self) -> Result<()> {
        for ((new, old), at) in self.words().into_iter().zip(before.words()).zip((offset..).step_by(8)) {
            if new != old {
                tx.put(at, new, WHAT)?;
            }
        }
        Ok(())
    }

    pub(crate) fn tag(&self, slot: usize) -> u8 {
        self.0[slot]
    }

    pub(crate) fn record(&self, slot: usize) -> u64 {
        record(&Line(self.0), slot)
    }

    pub(crate) fn overflow(&self) -> u16 {
        overflow(&Line(self.0))
    }

    /// The check, which lookups do not look at: with the tag, 24 bits of its hash bind a record's key to its entry.
    pub(crate) fn check(&self) -> u16 {
        u16::from_le_bytes([self.0[CHECK], self.0[CHECK + 1]])
    }

    fn turn(&mut self, hash: u64) {
        let check = self.check() ^ check_of(hash);
        self.0[CHECK..CHECK + 2].copy_from_slice(&check.to_le_bytes());
    }

    /// Fills an empty entry.
    pub(crate) fn fill(&mut self, slot: usize, hash: u64, record: u64) {
        self.set(slot, tag(hash), record);
        self.turn(hash);
    }

    /// Empties the entry of a record with that hash.
    pub(crate) fn clear(&mut self, slot: usize, hash: u64) {
        self.set(slot, 0, 0);
        self.turn(hash);
    }

    /// The first empty entry.
    pub(crate) fn vacant(&self) -> Option<usize> {
        let mut untagged = matches(&Line(self.0), 0);
        while untagged != 0 {
            let slot = untagged.trailing_zeros() as usize;
            if self.record(slot) == 0 {
                return Some(slot);
            }
            untagged &= untagged - 1;
        }
        None
    }

    /// Lets an entry name another record with the same hash.
    pub(crate) fn swap(&mut self, slot: usize, record: u64) {
        self.set(slot, self.tag(slot), record);
    }

    fn set(&mut self, slot: usize, tag: u8, record: u64) {
        self.0[slot] = tag;
        let at = PLACES + slot * PLACE;
        self.0[at..at + PLACE].copy_from_slice(&(record >> UNIT).to_le_bytes()[..PLACE]);
    }

    /// One more entry went past, or one less. A segment has fewer entries than the count can hold.
    pub(crate) fn pass(&mut self, more: i16) {
        let count = self.overflow().wrapping_add_signed(more);
        self.0[OVERFLOW..OVERFLOW + 2].copy_from_slice(&count.to_le_bytes());
    }

    /// The entries that are not empty: which, tag, record.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (usize, u8, u64)> + '_ {
        (0..ENTRIES)
            .filter(|slot| self.record(*slot) != 0)
            .map(|slot| (slot, self.tag(slot), self.record(slot)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_follows_the_entries() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut group = Group::EMPTY;
        let hashes: [u64; ENTRIES] = std::array::from_fn(|_| random.u64(..));
        for (slot, hash) in hashes.iter().enumerate() {
            group.fill(slot, *hash, 8);
        }
        let all = hashes.iter().fold(0, |check, hash| check ^ check_of(*hash));
        assert_eq!(group.check(), all);
        group.swap(3, 16);
        assert_eq!(
            (group.check(), group.tag(3), group.record(3)),
            (all, tag(hashes[3]), 16)
        );
        for (slot, hash) in hashes.iter().enumerate() {
            group.clear(slot, *hash);
        }
        assert_eq!(group, Group::EMPTY);
    }

    #[test]
    fn what_was_set_is_read() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..1000 {
            let mut group = Group::EMPTY;
            let mut model = [(0u8, 0u64); ENTRIES];
            for _ in 0..random.usize(..30) {
                let slot = random.usize(..ENTRIES);
                let (tag, record) = if random.bool() {
                    (0, 0)
                } else {
                    (random.u8(..), random.u64(1..1 << 40) << UNIT)
                };
                group.set(slot, tag, record);
                model[slot] = (tag, record);
            }
            group.pass(300);
            group.pass(-299);
            assert_eq!((group.overflow(), group.check()), (1, 0));
            for (slot, (tag, record)) in model.iter().enumerate() {
                assert_eq!((group.tag(slot), group.record(slot)), (*tag, *record));
            }
            let tag = random.u8(..);
            let mask = (0..ENTRIES)
                .filter(|slot| model[*slot].0 == tag)
                .fold(0, |mask, slot| mask | 1 << slot);
            assert_eq!(matches(&Line(group.0), tag), mask);
            assert_eq!(Group::of(&group.words()), group);
            assert_eq!(record(&Line(group.0), ENTRIES), 0);
        }
    }
}
