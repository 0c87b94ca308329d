#![expect(
    unsafe_code,
    reason = "Plain is a promise about bytes that the compiler cannot check"
)]
//! Which archived fields may be overwritten by value.
//!
//! - **P1** A `Plain` type has no padding: every byte of a valid value is initialised, and two equal
//!   stores leave equal bytes.
//! - **P2** It holds no relative pointer: a value means the same wherever it lies.
//! - **P3** A value of the type is valid wherever the type stands: storing one never makes a record that
//!   validation would refuse. (Reading arbitrary bytes as the type is *not* promised: see `bool`.) A byte can be reached where it is no field
//!   but a part of a string: stores of bytes, and of arrays of them, are kept out of strings by a look at the record (X1 of `table::text`).
//!   References that another crate's casts make (`bytemuck::bytes_of` of a `bool` or an enum, numbers out of a string's bytes) are not seen: do not lend such
//!   to `RecordMut::set`.
//!
//! It knows nothing of records, logs or transactions: those use it as a bound.

use rkyv::rend::{char_le, f32_le, f64_le, i16_le, i32_le, i64_le, i128_le, u16_le, u32_le, u64_le, u128_le};

/// An archived field type that may be overwritten in place by value (P1 to P3).
///
/// ```compile_fail,E0277
/// fn overwrite<T: shmstate::schema::Plain>() {}
/// overwrite::<rkyv::string::ArchivedString>(); // a relative pointer
/// ```
/// ```compile_fail,E0277
/// fn overwrite<T: shmstate::schema::Plain>() {}
/// overwrite::<rkyv::option::ArchivedOption<rkyv::rend::u32_le>>(); // padding behind the tag
/// ```
/// ```compile_fail,E0277
/// fn overwrite<T: shmstate::schema::Plain>() {}
/// overwrite::<()>(); // nothing to overwrite
/// ```
///
/// # Safety
///
/// The type keeps P1, P2 and P3, as stated in the header of this file: no padding, no relative pointer
/// or other meaning that depends on the address, and no value that is invalid in some field of the type.
pub unsafe trait Plain: Copy + 'static {}

macro_rules! plain {
    ($($type:ty: $size:literal),* $(,)?) => {$(
        // P1: as large as the primitive inside, which has no padding of its own.
        const _: () = assert!(size_of::<$type>() == $size);
        // SAFETY: P1 by the assertion above; P2 because it is one number, `bool` or `char`; P3 because a
        // value of the type is all that a field of the type demands.
        unsafe impl Plain for $type {}
    )*};
}

plain! {
    u8: 1, i8: 1, bool: 1,
    u16_le: 2, i16_le: 2,
    u32_le: 4, i32_le: 4, f32_le: 4, char_le: 4,
    u64_le: 8, i64_le: 8, f64_le: 8,
    u128_le: 16, i128_le: 16,
}

// SAFETY: P1 because an array has no bytes between its elements; P2 and P3 because the elements keep them.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}
