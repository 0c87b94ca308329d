#![expect(unsafe_code, reason = "says what rkyv's wrappers store, and vouches for it")]
//! `Schema` for fields that rkyv archives through a wrapper: `#[rkyv(with = …)]`.
//!
//! Such a field is archived as something else than its own type. The description says so: a struct called after the wrapper, with what is
//! stored as its only field, `with.AsBox<Box<u32>>`. So a wrapper that is added, taken away or exchanged is another shape, also
//! where the bytes are the same.

use std::cell::UnsafeCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic;

use rkyv::Archive;
use rkyv::with::{ArchiveWith, AsBox, AsString, AsVec, AtomicLoad, Map, Niche, Skip, Unsafe, Unshare};

use super::describe::{Part, Shape};
use super::{Describer, Schema, TypeRef};

/// A wrapper of which is known how a field of type `F` is archived through it.
///
/// Implemented for rkyv's `AsBox`, `AsString`, `AsVec`, `AtomicLoad`, `Map`, `Niche` (of `Option<Box<T>>`), `Skip`, `Unsafe` and `Unshare`. A wrapper
/// of one's own says what it stores:
///
/// ```
/// use rkyv::with::ArchiveWith;
/// use rkyv::{Archive, Place};
/// use shmstate::schema::{Describer, Description, Schema, SchemaWith, TypeRef};
///
/// /// Whole metres.
/// struct Rounded;
///
/// impl ArchiveWith<f64> for Rounded {
///     type Archived = <u32 as Archive>::Archived;
///     type Resolver = ();
///     fn resolve_with(metres: &f64, (): (), out: Place<Self::Archived>) {
///         (metres.round() as u32).resolve((), out);
///     }
/// }
///
/// // SAFETY: it stores a `u32`, and nothing else.
/// unsafe impl SchemaWith<f64> for Rounded {
///     fn describe_with(describer: &mut Describer) -> TypeRef {
///         describer.wrapped::<Self, f64, u32>("Rounded")
///     }
/// }
///
/// #[derive(rkyv::Archive, shmstate::Schema)]
/// struct Tower {
///     #[rkyv(with = Rounded)]
///     height: f64,
/// }
/// assert!(Description::of::<Tower>().text().contains("  0 height: Rounded<u32>\n"));
/// ```
///
/// # Safety
/// As for [`Schema`]: the description is that of what the wrapper archives, and that is written whole.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say how it archives a `{F}`, so the field cannot be described",
    note = "a wrapper of your own: implement `shmstate::schema::SchemaWith`"
)]
pub unsafe trait SchemaWith<F: ?Sized + 'static>: ArchiveWith<F> + 'static {
    /// Adds the description of what the wrapper archives to `describer`.
    fn describe_with(describer: &mut Describer) -> TypeRef;
}

macro_rules! stored_as {
    ($([$($generics:tt)*] $wrapper:ty, $name:literal, $field:ty => $stored:ty;)*) => {$(
        // SAFETY: rkyv's wrapper stores what is named here, as that is stored.
        unsafe impl<$($generics)*> SchemaWith<$field> for $wrapper {
            fn describe_with(describer: &mut Describer) -> TypeRef {
                describer.wrapped_in::<Self, $field, $stored>($name)
            }
        }
    )*};
}

stored_as! {
    [T: Schema] AsBox, "with.AsBox", T => Box<T>;
    [] AsString, "with.AsString", OsString => String;
    [] AsString, "with.AsString", PathBuf => String;
    [T: Schema] Unsafe, "with.Unsafe", UnsafeCell<T> => T;
    [T: Schema] Unshare, "with.Unshare", Rc<T> => T;
    [T: Schema] Unshare, "with.Unshare", Arc<T> => T;
    [K: Schema, V: Schema, H: 'static] AsVec, "with.AsVec", HashMap<K, V, H> => Vec<(K, V)>;
    [K: Schema, V: Schema] AsVec, "with.AsVec", BTreeMap<K, V> => Vec<(K, V)>;
    [T: Schema, H: 'static] AsVec, "with.AsVec", HashSet<T, H> => Vec<T>;
    [T: Schema] AsVec, "with.AsVec", BTreeSet<T> => Vec<T>;
}

macro_rules! atomics {
    ($($field:ty => $stored:ty,)*) => {$(
        // SAFETY: rkyv's wrapper stores the number that was loaded.
        unsafe impl<O: 'static> SchemaWith<$field> for AtomicLoad<O>
        where
            Self: ArchiveWith<$field>,
        {
            fn describe_with(describer: &mut Describer) -> TypeRef {
                describer.wrapped_in::<Self, $field, $stored>("with.AtomicLoad")
            }
        }
    )*};
}

atomics! {
    atomic::AtomicBool => bool,
    atomic::AtomicU8 => u8,
    atomic::AtomicI8 => i8,
    atomic::AtomicU16 => u16,
    atomic::AtomicI16 => i16,
    atomic::AtomicU32 => u32,
    atomic::AtomicI32 => i32,
    atomic::AtomicU64 => u64,
    atomic::AtomicI64 => i64,
}

/// Nothing is stored.
// SAFETY: the unit has no bytes.
unsafe impl<F: 'static> SchemaWith<F> for Skip {
    fn describe_with(describer: &mut Describer) -> TypeRef {
        describer.wrapped_in::<Self, F, ()>("with.Skip")
    }
}

/// A relative pointer that leads nowhere for `None`.
// SAFETY: as rkyv stores it, over an archived `T`.
unsafe impl<T: Archive + 'static> SchemaWith<Option<Box<T>>> for Niche
where
    Self: ArchiveWith<Option<Box<T>>>,
    T: Schema,
{
    fn describe_with(describer: &mut Describer) -> TypeRef {
        describer.container::<Self, Option<Box<T>>>(|describer| {
            let of = T::describe(describer);
            ("with.Niche<", of, ">", Shape::Opaque)
        })
    }
}

// SAFETY: a vector of what `W` stores, for which that one vouches.
unsafe impl<W: SchemaWith<T>, T: 'static> SchemaWith<Vec<T>> for Map<W>
where
    Self: ArchiveWith<Vec<T>>,
{
    fn describe_with(describer: &mut Describer) -> TypeRef {
        describer.container::<Self, Vec<T>>(|describer| ("Vec<", W::describe_with(describer), ">", Shape::Opaque))
    }
}

// SAFETY: an option of what `W` stores, for which that one vouches.
unsafe impl<W: SchemaWith<T>, T: 'static> SchemaWith<Option<T>> for Map<W>
where
    Self: ArchiveWith<Option<T>>,
{
    fn describe_with(describer: &mut Describer) -> TypeRef {
        let layout = super::layout::size_and_align::<W::Archived>();
        describer.container::<Self, Option<T>>(|describer| {
            let of = W::describe_with(describer);
            ("Option<", of, ">", super::types::option(of, layout.1))
        })
    }
}

/// The pieces of a name with one argument.
pub(super) fn named(open: &str, of: TypeRef, close: &str) -> Vec<Part> {
    vec![
        Part::Text(open.to_owned()),
        Part::Type(of),
        Part::Text(close.to_owned()),
    ]
}
