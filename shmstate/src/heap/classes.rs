//! Size classes: which slot a block of so many bytes gets.
//!
//! Up to 256 bytes the classes are 8 apart, so that a record wastes 4 bytes on average, up to 512 they are 16 apart; then
//! eight to a doubling; and above 4 KiB those that divide a chunk well. All are multiples of 8, and those above 256 of 16: a
//! block that must be aligned to 16 gets a class that is. A block larger than half a chunk is a run of whole chunks.

use crate::region::header::{CHUNK, MAX_CLASSES};

/// Least slot.
pub(crate) const LEAST: u64 = 32;
/// Largest block that is a slot; larger ones are runs.
pub(crate) const LARGEST: u64 = CHUNK / 2;

const FINE: u64 = 8;
const FINE_END: u64 = 256;
const FINE_COUNT: usize = ((FINE_END - LEAST) / FINE + 1) as usize;
const MIDDLE: u64 = 16;
const MIDDLE_END: u64 = 512;
const MIDDLE_COUNT: usize = ((MIDDLE_END - FINE_END) / MIDDLE) as usize;
const STEPS: u64 = 8;
const DOUBLINGS: usize = 3;
/// Slots per chunk of the classes above 4 KiB.
const PER_CHUNK: [u64; 14] = [15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2];

/// Number of classes.
pub(crate) const COUNT: usize = FINE_COUNT + MIDDLE_COUNT + STEPS as usize * DOUBLINGS + PER_CHUNK.len();

/// Slot size of each class, ascending.
pub(crate) const SIZES: [u32; COUNT] = sizes();

const fn sizes() -> [u32; COUNT] {
    let mut sizes = [0; COUNT];
    let mut n = 0;
    while n < FINE_COUNT {
        sizes[n] = (LEAST + n as u64 * FINE) as u32;
        n += 1;
    }
    while n < FINE_COUNT + MIDDLE_COUNT {
        sizes[n] = (FINE_END + (n - FINE_COUNT + 1) as u64 * MIDDLE) as u32;
        n += 1;
    }
    let mut base = MIDDLE_END;
    while base < MIDDLE_END << DOUBLINGS {
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
        sizes[n] = (CHUNK / PER_CHUNK[i] / MIDDLE * MIDDLE) as u32;
        n += 1;
        i += 1;
    }
    sizes
}

/// 2³² over the size, rounded up: a division by the size as a multiplication, exact below 2¹⁶.
const INVERSES: [u32; COUNT] = {
    let mut inverses = [0; COUNT];
    let mut i = 0;
    while i < COUNT {
        inverses[i] = (1u64 << 32).div_ceil(SIZES[i] as u64) as u32;
        i += 1;
    }
    inverses
};

const _: () = {
    assert!(COUNT as u64 <= MAX_CLASSES);
    assert!(SIZES[COUNT - 1] as u64 == LARGEST);
    let mut i = 1;
    while i < COUNT {
        assert!(SIZES[i] > SIZES[i - 1] && SIZES[i].is_multiple_of(8));
        assert!(SIZES[i] <= FINE_END as u32 || SIZES[i].is_multiple_of(16));
        i += 1;
    }
};

/// The class of a block of `bytes` that is aligned to `align` (8 or 16), or `None` if it has to be a run.
#[inline]
pub(crate) fn of(bytes: u64, align: u64) -> Option<usize> {
    if bytes <= FINE_END {
        let bytes = bytes.max(LEAST).next_multiple_of(align);
        return Some((bytes.div_ceil(FINE) - LEAST / FINE) as usize);
    }
    if bytes <= MIDDLE_END {
        return Some(FINE_COUNT + ((bytes - FINE_END).div_ceil(MIDDLE) as usize) - 1);
    }
    if bytes > LARGEST {
        return None;
    }
    Some(SIZES.partition_point(|size| u64::from(*size) < bytes))
}

/// Slot size of the class.
#[inline]
pub(crate) fn size(class: usize) -> u64 {
    u64::from(SIZES[class])
}

/// Which slot of a chunk of the class the byte `inside` the chunk belongs to.
#[inline]
pub(crate) fn slot(class: usize, inside: u64) -> u64 {
    (inside * u64::from(INVERSES[class])) >> 32
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
            for align in [8, 16] {
                let class = of(bytes, align).expect("a slot");
                assert!(size(class) >= bytes && size(class).is_multiple_of(align));
                let least = (0..COUNT).find(|c| size(*c) >= bytes && size(*c).is_multiple_of(align));
                assert_eq!(least, Some(class), "{bytes} bytes");
                assert!(slots(class) * size(class) <= CHUNK);
            }
        }
        assert_eq!(of(LARGEST + 1, 8), None);
    }

    #[test]
    fn multiplication_divides() {
        for class in 0..COUNT {
            for inside in 0..CHUNK {
                assert_eq!(slot(class, inside), inside / size(class));
            }
        }
    }
}
