#![expect(unsafe_code, reason = "intrinsics of SSE2, which every x86-64 has")]
//! Sixteen bytes compared at once.
//!
//! It does not know what they are.

/// Which of the sixteen bytes of two words, the lowest of `low` first, are `byte`: a bit each.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn equal_bytes(low: u64, high: u64, byte: u8) -> u32 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};
    // SAFETY: the instructions are there: SSE2 is part of x86-64.
    unsafe {
        let bytes = _mm_set_epi64x(high as i64, low as i64);
        _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte as i8))) as u32
    }
}

/// Which of the sixteen bytes of two words, the lowest of `low` first, are `byte`: a bit each.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub(crate) fn equal_bytes(low: u64, high: u64, byte: u8) -> u32 {
    let bytes = u128::from(low) | u128::from(high) << 64;
    (0..16).fold(0, |mask, i| mask | u32::from((bytes >> (i * 8)) as u8 == byte) << i)
}

#[cfg(test)]
mod tests {
    use super::equal_bytes;

    #[test]
    fn a_bit_for_each_byte() {
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..1000 {
            let bytes: [u8; 16] = std::array::from_fn(|_| random.u8(..4));
            let word = u128::from_le_bytes(bytes);
            let byte = random.u8(..4);
            let expected = (0..16).filter(|i| bytes[*i] == byte).fold(0, |mask, i| mask | 1 << i);
            assert_eq!(equal_bytes(word as u64, (word >> 64) as u64, byte), expected);
        }
    }
}
