//! A number below 2⁴⁸ in a word that tells whether it was altered.
//!
//! ```text
//! bits 0..48 number · bits 48..64 check: the quarters of the number on one another, and a constant; the whole word 0 = 0
//! ```
//!
//! - **W1** A word in which one byte was altered is no number. Of other alterations one in 65 536 is not noticed.
//! - **W2** The words that are sealed: the length of the undo log and how much of one of its extents was used, the end of the memory taken, the end of
//!   the heap, the capacity, the sources of generations of slots and streams, the number of tables made, a stream's two hints, where a note of streams begins, and which of them is visited next. A word is stored in one piece, so number and check are
//!   never of two moments.
//!
//! It does not know what the numbers mean.

/// Four quarters of a word on one another: changes with any one byte.
#[inline]
pub(crate) const fn fold(word: u64) -> u64 {
    let half = word ^ word >> 32;
    (half ^ half >> 16) & 0xffff
}

pub(crate) const CHECK_SHIFT: u32 = 48;
pub(crate) const LOW: u64 = (1 << CHECK_SHIFT) - 1;
/// Folded into every check, so that zeroes do not fit.
pub(crate) const SALT: u64 = 0x5a5a;

/// A number below 2⁴⁸ with a check in the upper quarter; 0 stays 0.
#[inline]
pub(crate) const fn seal(number: u64) -> u64 {
    if number == 0 {
        return 0;
    }
    number | (fold(number) ^ SALT) << CHECK_SHIFT
}

/// The number in a sealed word; `None` if it was altered (W1).
#[inline]
pub(crate) const fn unseal(word: u64) -> Option<u64> {
    if seal(word & LOW) == word {
        Some(word & LOW)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_with_an_altered_byte_is_a_number() {
        let mut random = fastrand::Rng::with_seed(4);
        for round in 0..2000 {
            let number = if round == 0 { 0 } else { random.u64(..=LOW) };
            let word = seal(number);
            assert_eq!(unseal(word), Some(number));
            for byte in 0..8 {
                for change in 1..=255u64 {
                    assert_eq!(unseal(word ^ change << (byte * 8)), None, "{word:x}");
                }
            }
        }
    }
}
