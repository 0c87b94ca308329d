//! A reference: a word that names a place in the heap and tells whether it was damaged, or stands where it does not belong.
//!
//! ```text
//! bits 0..48 offset of a record's header or of a page · bits 48..64 check; the whole word 0 = nothing
//! ```
//!
//! - **F1** The check covers the offset, the home (which table, which of its structures) and the number of the word in that
//!   home. So a reference is not followed if any one of its bytes was changed, if it was read from another table's page, or
//!   if it stands in another place than the one it was written for (all but one in 65 536 of these).
//! - **F2** Following a damaged reference is an error before anything at the offset is read: what lies there would be taken
//!   for a record of the table's type, and a type with relative pointers leads anywhere.
//!
//! It does not know what lies at the offset. A map's index does without: its entries carry a tag of the key instead.

use crate::error::{Error, Result};
use crate::region::header::MAX_CAPACITY;
use crate::region::view::View;

const OFFSET_BITS: u32 = 48;
const OFFSET: u64 = (1 << OFFSET_BITS) - 1;
/// Odd, and no change of one byte of the offset leaves the upper bits of the product alone; asserted below.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
/// Spreads numbers, so that neighbours do not look like neighbouring offsets.
const SPREAD: u64 = 0xd6e8_feb8_6659_fd93;

const _: () = assert!(MAX_CAPACITY <= OFFSET);

// F1 for one byte: offsets that differ by `byte << shift` have products that differ by more than the lower 48 bits hold.
const _: () = {
    let mut shift = 0;
    while shift < OFFSET_BITS {
        let mut byte = 1u64;
        while byte < 256 {
            let difference = (byte << shift).wrapping_mul(MIX);
            assert!(difference >> OFFSET_BITS != 0 && difference.wrapping_neg() >> OFFSET_BITS != 0);
            byte += 1;
        }
        shift += 8;
    }
};

#[inline]
const fn check(offset: u64, home: u64, number: u64) -> u64 {
    let salt = home.wrapping_add(number.wrapping_mul(SPREAD));
    offset.wrapping_add(salt).wrapping_mul(MIX) >> OFFSET_BITS
}

/// The word that names `offset`, as number `number` of `home`.
#[inline]
pub(crate) const fn seal(offset: u64, home: u64, number: u64) -> u64 {
    offset & OFFSET | check(offset & OFFSET, home, number) << OFFSET_BITS
}

/// The offset that `word` names (F2). `at` is where the word was read, for the error; `None` if it names nothing.
#[inline]
pub(crate) fn open(word: u64, home: u64, number: u64, what: &'static str, at: u64) -> Result<Option<u64>> {
    if word == 0 {
        return Ok(None);
    }
    let offset = word & OFFSET;
    if word >> OFFSET_BITS != check(offset, home, number) || offset == 0 {
        return Err(Error::damaged(what, at, word));
    }
    Ok(Some(offset))
}

/// Reads the word at `at`, which must name something.
#[inline]
pub(crate) fn follow(view: &View, at: u64, home: u64, number: u64, what: &'static str) -> Result<u64> {
    open(view.load(at, what)?, home, number, what, at)?.ok_or_else(|| Error::damaged(what, at, 0))
}

/// A check of a few words that belong together, for the roots of a table. Any change of one of them changes it.
#[inline]
pub(crate) fn check_words<const N: usize>(words: [u64; N], home: u64) -> u64 {
    // Each step is a bijection of the state for a given word, and of the word for a given state.
    words.iter().fold(home, |state, word| {
        let mixed = (state ^ word).wrapping_mul(MIX);
        mixed ^ mixed >> 32
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_with_a_changed_byte_is_followed() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..2000 {
            let (offset, home, number) = (random.u64(1..=OFFSET), random.u64(..), random.u64(..));
            let word = seal(offset, home, number);
            assert_eq!(open(word, home, number, "test", 0).expect("sound"), Some(offset));
            for byte in 0..8 {
                let changed = word ^ random.u64(1..256) << (byte * 8);
                assert!(
                    changed == 0 || open(changed, home, number, "test", 0).is_err(),
                    "{word:x} {changed:x}"
                );
            }
        }
    }

    #[test]
    fn hardly_any_word_is_followed_elsewhere() {
        let mut random = fastrand::Rng::with_seed(2);
        let mut followed = 0;
        for i in 0..100_000u64 {
            let offset = random.u64(1..1 << 30) * 8;
            let word = seal(offset, 4096, i);
            followed += u64::from(open(word, 4096 + random.u64(1..64) * 256, i, "test", 0).is_ok());
            followed += u64::from(open(word, 4096, i + random.u64(1..1000), "test", 0).is_ok());
        }
        assert!(followed < 20, "{followed} of 200 000");
    }

    #[test]
    fn a_check_of_words_sees_each_change() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..2000 {
            let words: [u64; 5] = std::array::from_fn(|_| random.u64(..));
            let sum = check_words(words, 7);
            for i in 0..words.len() {
                let mut changed = words;
                changed[i] ^= random.u64(1..);
                assert_ne!(check_words(changed, 7), sum);
            }
        }
    }
}
