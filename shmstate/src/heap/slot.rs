//! Which slot of its chunk a block is, and of which size class: what a handle keeps, so that nobody has to divide to find it.
//!
//! The heap starts at a multiple of a chunk (`region::header`), so which slots can end at an offset is the same in every region. It does not know
//! whether there is such a chunk anywhere, or whether the slot is in use.

use super::classes;
use crate::region::header::CHUNK;
use std::num::NonZeroU32;

/// Bytes between the header of a record and the end of its block.
const BEHIND: u64 = 8;
/// Where the class stands; below it is the number.
const CLASS_SHIFT: u32 = 16;
/// What makes the word of every slot other than 0.
const IS_SLOT: u32 = 1 << 31;

/// A slot of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(NonZeroU32);

impl Slot {
    /// The slot of a chunk of the class that ends 8 bytes after `header`.
    pub(crate) fn before(class: usize, header: u64) -> Option<Self> {
        let start = header.wrapping_add(BEHIND).wrapping_sub(classes::size(class));
        let number = classes::slot(class, start % CHUNK);
        let slot = Self::from_bits(IS_SLOT | (class as u32) << CLASS_SHIFT | number as u32)?;
        slot.ends_with(header).then_some(slot)
    }

    /// The slot that [`to_bits`](Self::to_bits) gave; `None` if there is no such class, or such a slot in its chunks.
    pub(crate) fn from_bits(bits: u32) -> Option<Self> {
        let slot = Self(NonZeroU32::new(bits)?);
        let class = slot.class() as usize;
        let sound = bits & IS_SLOT != 0 && class < classes::COUNT && slot.number() < classes::slots(class);
        sound.then_some(slot)
    }

    /// The same of bits that were looked at before; `None` if they are 0.
    #[inline(always)]
    pub(crate) fn known(bits: u32) -> Option<Self> {
        NonZeroU32::new(bits).map(Self)
    }

    pub(crate) fn to_bits(self) -> u32 {
        self.0.get()
    }

    #[inline(always)]
    pub(crate) fn class(self) -> u64 {
        u64::from((self.0.get() & !IS_SLOT) >> CLASS_SHIFT)
    }

    #[inline(always)]
    pub(crate) fn number(self) -> u64 {
        u64::from(self.0.get() as u16)
    }

    /// Whether a slot of that number and class ends 8 bytes after `header`, in whatever chunk.
    pub(crate) fn ends_with(self, header: u64) -> bool {
        let size = classes::size(self.class() as usize);
        let start = header.wrapping_add(BEHIND).wrapping_sub(size);
        start % CHUNK == self.number() * size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_is_found_by_its_end_and_nothing_else_is_a_slot() {
        for class in 0..classes::COUNT {
            let size = classes::size(class);
            for number in 0..classes::slots(class) {
                let header = 7 * CHUNK + (number + 1) * size - BEHIND;
                let slot = Slot::before(class, header).expect("a slot ends there");
                assert_eq!((slot.class(), slot.number()), (class as u64, number));
                assert_eq!(Slot::from_bits(slot.to_bits()), Some(slot));
                assert!(slot.ends_with(header) && slot.ends_with(header + CHUNK));
                for beside in [header - 8, header + 8, header + 1] {
                    assert!(!slot.ends_with(beside));
                    assert_ne!(Slot::before(class, beside), Some(slot));
                }
            }
        }
    }

    #[test]
    fn numbers_that_are_no_slots_are_refused() {
        let slots = classes::slots(3) as u32;
        let of_class_3 = IS_SLOT | 3 << CLASS_SHIFT;
        assert!(Slot::from_bits(of_class_3 | (slots - 1)).is_some());
        let count = classes::COUNT as u32;
        for bits in [
            0,
            IS_SLOT - 1,
            of_class_3 | slots,
            IS_SLOT | count << CLASS_SHIFT,
            u32::MAX,
            3 << CLASS_SHIFT,
        ] {
            assert_eq!(Slot::from_bits(bits), None, "{bits:#x}");
        }
    }
}
