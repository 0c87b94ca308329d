//! Where `repr(u8)` puts the fields of an enum, and which archive format rkyv was built for.
//!
//! rkyv archives an enum as `#[repr(u8)]`. RFC 2195 defines that as a union of one `repr(C)` struct per
//! variant, each of which begins with the tag byte. `offset_of!` does not reach into variants on stable
//! Rust, so the rule is computed here, and its result is compared with the compiler's (D1).

use std::any::TypeId;

use rkyv::{primitive, rend};

/// The bytes of the tag, at offset 0.
pub(super) const TAG_SIZE: usize = 1;

/// The smallest multiple of `align` that is not below `offset`. `align` is a power of two, as alignments are.
pub(super) const fn align_up(offset: usize, align: usize) -> usize {
    (offset + align - 1) & !(align - 1)
}

/// Size and alignment of `T`, in bytes.
pub const fn size_and_align<T>() -> (usize, usize) {
    (size_of::<T>(), align_of::<T>())
}

/// Whether an enum with these variants, each a list of its fields' (size, alignment), has the size and
/// alignment `found` by the compiler if it is laid out by the rule.
pub const fn enum_layout_holds(variants: &[&[(usize, usize)]], found: (usize, usize)) -> bool {
    let mut widest = TAG_SIZE;
    let mut align = 1;
    let mut v = 0;
    while v < variants.len() {
        let fields = variants[v];
        let mut end = TAG_SIZE;
        let mut f = 0;
        while f < fields.len() {
            let (field_size, field_align) = fields[f];
            end = align_up(end, field_align) + field_size;
            if field_align > align {
                align = field_align;
            }
            f += 1;
        }
        if end > widest {
            widest = end;
        }
        v += 1;
    }
    found.0 == align_up(widest, align) && found.1 == align
}

/// The `layout` line: what rkyv's cargo features decide for every archive of this build (D5).
pub(super) fn layout_line() -> String {
    type Word = primitive::ArchivedU32;
    let word = TypeId::of::<Word>();
    let little = word == TypeId::of::<rend::u32_le>() || word == TypeId::of::<rend::unaligned::u32_ule>();
    let aligned = align_of::<Word>() == size_of::<Word>();
    format!(
        "layout rkyv 0.8 {} {} pointer {}",
        if little { "little" } else { "big" },
        if aligned { "aligned" } else { "unaligned" },
        8 * size_of::<primitive::ArchivedUsize>(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_agrees_with_rustc() {
        #[repr(u8)]
        #[allow(dead_code)]
        enum Mixed {
            Unit,
            Tail(u64, u8),
            Holes { a: u8, b: u32, c: u16 },
        }
        let variants: &[&[(usize, usize)]] = &[&[], &[(8, 8), (1, 1)], &[(1, 1), (4, 4), (2, 2)]];
        assert!(enum_layout_holds(variants, size_and_align::<Mixed>()));
        assert!(!enum_layout_holds(&variants[..1], size_and_align::<Mixed>()));
        assert!(enum_layout_holds(&variants[..1], (1, 1)));
    }

    #[test]
    fn a_repr_that_is_not_u8_is_seen() {
        // The tag of a repr(C, u8) enum stands before the union of the variants, not inside each of them.
        #[repr(C, u8)]
        #[allow(dead_code)]
        enum Outside {
            Small(u8, u8),
            Wide(u32),
        }
        assert_eq!(size_and_align::<Outside>(), (8, 4));
        let variants: &[&[(usize, usize)]] = &[&[(1, 1), (8, 8)], &[(4, 4)]];
        assert!(!enum_layout_holds(variants, size_and_align::<Outside>()));
    }
}
