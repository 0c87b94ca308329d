//! Size classes: which slot a block of so many bytes gets.
//!
//! Up to 512 bytes the classes are 16 apart, so that a record wastes 8 bytes on average; then eight to a doubling; and
//! above 4 KiB those that divide a chunk well. All are multiples of 16. A block larger than half a chunk is a run of
//! whole chunks.

use crate::region::header::{CHUNK, MAX_CLASSES};

/// Least slot.
pub(crate) const LEAST: u64 = 32;
/// Largest block that is a slot; larger ones are runs.
pub(crate) const LARGEST: u64 = CHUNK / 2;

const FINE: u64 = 16;
const FINE_END: u64 = 512;
const FINE_COUNT: usize = ((FINE_END - LEAST) / FINE + 1) as usize;
const STEPS: u64 = 8;
const DOUBLINGS: usize = 3;
/// Slots per chunk of the classes above 4 KiB.
const PER_CHUNK: [u64; 14] = [15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2];

/// Number of classes.
pub(crate) const COUNT: usize = FINE_COUNT + STEPS as usize * DOUBLINGS + PER_CHUNK.len();

/// Slot size of each class, ascending.
pub(crate) const SIZES: [u32; COUNT] = sizes();

const fn sizes() -> [u32; COUNT] {
    let mut sizes = [0; COUNT];
    let mut n = 0;
    while n < FINE_COUNT {
        sizes[n] = (LEAST + n as u64 * FINE) as u32;
        n += 1;
    }
    let mut base = FINE_END;
    while base < FINE_END << DOUBLINGS {
        let mut step = 1;
        while step <= STEPS {
            sizes[n] = (base + base / STEPS * step) as u32;
            n += 1;
            step += 1;
        }
        base *= 2;
    }
    let mut i = 0;
    while i < PER_CHUNK.len() {
        sizes[n] = (CHUNK / PER_CHUNK[i] / FINE * FINE) as u32;
        n += 1;
        i += 1;
    }
    sizes
}

const _: () = {
    assert!(COUNT as u64 <= MAX_CLASSES);
    assert!(SIZES[COUNT - 1] as u64 == LARGEST);
    let mut i = 1;
    while i < COUNT {
        assert!(SIZES[i] > SIZES[i - 1] && SIZES[i].is_multiple_of(16));
        i += 1;
    }
};

/// The class of a block of `bytes`, or `None` if it has to be a run.
#[inline]
pub(crate) fn of(bytes: u64) -> Option<usize> {
    if bytes <= FINE_END {
        return Some((bytes.max(LEAST).div_ceil(FINE) - LEAST / FINE) as usize);
    }
    if bytes > LARGEST {
        return None;
    }
    Some(SIZES.partition_point(|size| u64::from(*size) < bytes))
}

/// Slots of a chunk of the class.
#[inline]
pub(crate) fn slots(class: usize) -> u64 {
    CHUNK / u64::from(SIZES[class])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_gets_the_least_class_that_holds_it() {
        for bytes in 0..=LARGEST {
            let class = of(bytes).expect("a slot");
            assert!(u64::from(SIZES[class]) >= bytes);
            assert!(
                class == 0 || u64::from(SIZES[class - 1]) < bytes,
                "{bytes} in class {class}"
            );
            assert!(slots(class) * u64::from(SIZES[class]) <= CHUNK);
        }
        assert_eq!(of(LARGEST + 1), None);
    }
}
