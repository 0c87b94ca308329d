//! The hash of a key's bytes: seeded per region, the same for every compiler, build and process.
//!
//! Keys of eight bytes or fewer — most keys of a game — are one word, which two multiplications mix; longer ones are hashed by
//! XXH3. A hash is stored nowhere, but where a record stands in an index follows from it: changing this file is a new format.
//!
//! It does not know keys or tables.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Longest key that is hashed as a word.
const WORD: usize = 8;
/// Odd numbers with half of their bits set: of the root of three and of the golden ratio.
const FIRST: u64 = 0xbb67_ae85_84ca_a73b;
const SECOND: u64 = 0x9e37_79b9_7f4a_7c15;

/// The product, as low and high half.
#[inline(always)]
const fn product(a: u64, b: u64) -> (u64, u64) {
    let product = a as u128 * b as u128;
    (product as u64, (product >> 64) as u64)
}

/// The hash of a key of `length` bytes, 8 at most, that is given as a word, little-endian.
#[inline(always)]
pub(crate) const fn of_word(word: u64, length: usize, seed: u64) -> u64 {
    // Twice: one product with a constant leaves sequences nearly in sequence.
    let (low, high) = product(word ^ seed, FIRST);
    // An even number is added, so that the factor stays odd.
    let (low, high) = product(low ^ high, SECOND.wrapping_add(length as u64 * 2));
    low ^ high
}

/// The hash of a key.
#[inline(always)]
pub(crate) fn of(key: &[u8], seed: u64) -> u64 {
    if key.len() <= WORD {
        return of_word(word_of(key), key.len(), seed);
    }
    xxh3_64_with_seed(key, seed)
}

/// Bytes of a key, 8 at most, as a word.
#[inline(always)]
pub(crate) fn word_of(key: &[u8]) -> u64 {
    let mut word = [0; WORD];
    let length = key.len().min(WORD);
    word[..length].copy_from_slice(&key[..length]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sequences that games use for keys, and that weak hashes do not spread.
    fn patterns() -> Vec<(&'static str, Vec<u64>)> {
        let n = 1 << 14;
        vec![
            ("in sequence", (0..n).collect()),
            ("high half", (0..n).map(|i| i << 32).collect()),
            ("top bits", (0..n).map(|i| i << 50).collect()),
            ("by 4096", (0..n).map(|i| i * 4096).collect()),
            ("by a million", (0..n).map(|i| i * 1_000_003).collect()),
            ("grid", (0..n).map(|i| (i % 128) | ((i / 128) << 32)).collect()),
            ("bytes", (0..n).map(|i| (i & 0x7f) << 8 | (i >> 7) << 40).collect()),
            (
                "two bits",
                (0..n).map(|i| 1 << (i % 64) ^ 1 << (i / 64 % 64) ^ i << 7).collect(),
            ),
            ("negative", (0..n).map(|i| i.wrapping_neg()).collect()),
        ]
    }

    /// How far the counts of a field of bits are from even: 1 is what chance gives.
    fn unevenness(hashes: &[u64], shift: u32, bits: u32) -> f64 {
        let mut counts = vec![0f64; 1 << bits];
        for hash in hashes {
            counts[(hash >> shift) as usize & ((1 << bits) - 1)] += 1.0;
        }
        let mean = hashes.len() as f64 / counts.len() as f64;
        let sum: f64 = counts.iter().map(|count| (count - mean).powi(2) / mean).sum();
        sum / (counts.len() - 1) as f64
    }

    #[test]
    fn every_field_of_bits_that_the_index_uses_is_even() {
        let mut worst = (0.0, String::new());
        for seed in [0, 1, 0x5eed, u64::MAX, 0x0123_4567_89ab_cdef] {
            for (name, keys) in patterns() {
                let mut keys = keys;
                keys.sort_unstable();
                keys.dedup();
                let hashes: Vec<u64> = keys.iter().map(|key| of_word(*key, 8, seed)).collect();
                // Directory, tag, home, and across their borders.
                for (shift, bits) in [(54, 10), (32, 8), (22, 10), (0, 10), (28, 8), (40, 8), (56, 8)] {
                    let found = unevenness(&hashes, shift, bits);
                    if found > worst.0 {
                        worst = (found, format!("{name}, seed {seed:#x}, bits {shift}..{}", shift + bits));
                    }
                }
            }
        }
        assert!(worst.0 < 1.45, "{worst:?}");
        // The check can fail: one multiplication by a constant is not enough for numbers in sequence.
        let weak = (0..1 << 14).map(|key| product(key ^ 1, FIRST));
        let weak: Vec<u64> = weak.map(|(low, high)| low ^ high).collect();
        let all = [(54, 10), (32, 8), (22, 10), (0, 10), (28, 8), (40, 8), (56, 8)];
        let found = all.map(|(shift, bits)| (unevenness(&weak, shift, bits) - 1.0).abs());
        assert!(found.iter().any(|off| *off > 0.45), "{found:?}");
    }

    #[test]
    fn one_changed_bit_changes_half_of_the_others() {
        let mut random = fastrand::Rng::with_seed(7);
        for bit in 0..64 {
            let mut changed = [0u32; 64];
            for _ in 0..2000 {
                let (key, seed) = (random.u64(..), random.u64(..));
                let differs = of_word(key, 8, seed) ^ of_word(key ^ 1 << bit, 8, seed);
                for (i, count) in changed.iter_mut().enumerate() {
                    *count += (differs >> i & 1) as u32;
                }
            }
            for (i, count) in changed.iter().enumerate() {
                assert!(
                    (800..1200).contains(count),
                    "bit {bit} changes bit {i} {count} times of 2000"
                );
            }
        }
    }

    #[test]
    fn lengths_and_words_agree() {
        assert_eq!(of(&7u64.to_le_bytes(), 5), of_word(7, 8, 5));
        assert_eq!(of(&7u16.to_le_bytes(), 5), of_word(7, 2, 5));
        assert_ne!(of(b"a", 5), of(b"a\0", 5));
        assert_ne!(of(b"", 5), of(b"\0", 5));
        // Golden values: another compiler, or an edit, must not move records.
        assert_eq!(of_word(1, 8, 2), GOLDEN[0]);
        assert_eq!(of(b"a key of more than a word", 2), GOLDEN[1]);
    }

    const GOLDEN: [u64; 2] = [0x64e0_4601_fabb_5cdb, 0xab92_87f3_e56e_89af];
}
