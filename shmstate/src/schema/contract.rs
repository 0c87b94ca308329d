#![expect(
    unsafe_code,
    reason = "declares what a type vouches for; nothing unsafe is done here"
)]
//! What a type says of its archived form, and vouches for.
//!
//! It does not know how a description is written down, nor who believes it.

use super::{Describer, TypeRef};
#[cfg(doc)]
use super::{Migrate, SchemaWith};

/// A type whose archived form can be described.
///
/// Derive it beside `rkyv::Archive`; the keys of `#[schema(…)]` stand at the derive. Implemented for the
/// primitives of fixed width, `String`, `Box`, `Vec`, `Option`, arrays, tuples of one to six, the maps
/// of std, and the ids of tables ([`SlabId`](crate::SlabId), [`TimerId`](crate::TimerId), [`StreamId`](crate::StreamId)), which are described
/// as the `u64` that they are. A hand-written implementation calls one method of [`Describer`] and returns what it returns.
///
/// `usize` and `isize` have no description, because their width is not fixed:
///
/// ```compile_fail,E0277
/// shmstate::schema::Description::of::<usize>();
/// ```
/// ```compile_fail,E0277
/// shmstate::schema::Description::of::<isize>();
/// ```
/// ```compile_fail,E0277
/// #[derive(rkyv::Archive, shmstate::Schema)]
/// struct Counter { hits: usize }
/// ```
///
/// A key that is not known, a version out of range, a key given twice, a name that would break the grammar,
/// a key of the type on a field, and a key of a migration ([`Migrate`]) without an older version do not compile:
///
/// ```compile_fail
/// #[derive(rkyv::Archive, shmstate::Schema)]
/// #[schema(verison = 2)]
/// struct Player { score: u32 }
/// ```
/// ```compile_fail
/// #[derive(rkyv::Archive, shmstate::Schema)]
/// #[schema(version = 0)]
/// struct Player { score: u32 }
/// ```
/// ```compile_fail
/// #[derive(rkyv::Archive, shmstate::Schema)]
/// #[schema(version = 2, version = 3)]
/// struct Player { score: u32 }
/// ```
/// ```compile_fail
/// #[derive(rkyv::Archive, shmstate::Schema)]
/// #[schema(name = "the player")]
/// struct Player { score: u32 }
/// ```
/// ```compile_fail
/// #[derive(rkyv::Archive, shmstate::Schema)]
/// struct Player { #[schema(version = 2)] score: u32 }
/// ```
/// ```compile_fail
/// #[derive(rkyv::Archive, shmstate::Schema)]
/// struct Player { #[schema(default)] score: u32 }
/// ```
///
/// Nor does a field that is archived through a wrapper that says nothing about it ([`SchemaWith`]), or a type that borrows:
///
/// ```compile_fail,E0277
/// #[derive(rkyv::Archive, shmstate::Schema)]
/// struct Player { #[rkyv(with = rkyv::with::AsUnixTime)] since: std::time::SystemTime }
/// ```
/// ```compile_fail
/// #[derive(rkyv::Archive, shmstate::Schema)]
/// struct Player<'a> { of: std::marker::PhantomData<&'a str> }
/// ```
///
/// # Safety
/// Records are read as the type that the description names, without looking at each byte again. So whoever implements this by hand vouches that
/// - the description is that of `Self::Archived`: two types with the same text have the same archived form, with the same values in it;
/// - `Archive` and `Serialize` write what may be read as `Self::Archived`, whole, within the archive that they are given;
/// - what is described as [opaque](Describer::opaque) points to no value that is aligned to more than 8 bytes, unless it is itself, and gives safe code no reference to
///   bytes that must keep to a rule, such as those of a string ([`RecordMut::set`](crate::RecordMut::set) changes what a reference leads to).
///
/// The derive vouches for types whose `Archive` and `Serialize` are rkyv's derives.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no schema, so it cannot be stored in a table",
    label = "its archived form cannot be described",
    note = "a struct or an enum of your own: `#[derive(rkyv::Archive, shmstate::Schema)]`",
    note = "`usize` and `isize` have no fixed width: store `u32` or `u64`"
)]
pub unsafe trait Schema: rkyv::Archive + 'static {
    /// What `#[schema(version = N)]` declares, 1 without it; 0 for types that carry none (primitives,
    /// `String`, `Vec` …).
    const VERSION: u16 = 0;

    /// Adds the description of this type's archived form, and of all it holds, to `describer`.
    fn describe(describer: &mut Describer) -> TypeRef;
}
