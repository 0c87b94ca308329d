#![expect(unsafe_code, reason = "says what rkyv makes of these types, and vouches for it")]
//! `Schema` for the types that come with Rust and that rkyv archives without help.
//!
//! A container's archived form follows from its name and its line of size and alignment, under
//! rkyv 0.8 (D5): `String` inline up to its size or length and relative pointer, `Box` a relative
//! pointer (to `[T]` and `str` with a length behind it), `Vec` relative pointer and length, `BTreeMap`
//! and `HashMap` rkyv's own trees and tables over the archived key and value.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    marker::PhantomData,
    mem::offset_of,
};

use rkyv::Archive;

use super::{
    Describer, Schema, TypeRef,
    describe::{Field, Part, Shape, Variant},
    layout,
};

fn text(text: impl Into<String>) -> Part {
    Part::Text(text.into())
}

macro_rules! primitives {
    ($($type:ty),* $(,)?) => {$(
        // SAFETY: archived by rkyv as its name says.
        unsafe impl Schema for $type {
            fn describe(describer: &mut Describer) -> TypeRef {
                describer.builtin::<Self>(|_| (vec![text(stringify!($type))], Shape::Opaque))
            }
        }
    )*};
}

primitives! {
    (), bool, char, u8, u16, u32, u64, u128, i8, i16, i32, i64, i128, f32, f64, String, Box<str>,
}

/// Containers that are opaque but for what they hold.
macro_rules! containers {
    ($($type:ty, $open:literal, $close:literal;)*) => {$(
        // SAFETY: rkyv's own container, of elements for which their type vouches.
        unsafe impl<T: Schema> Schema for $type {
            fn describe(describer: &mut Describer) -> TypeRef {
                describer.builtin::<Self>(|describer| {
                    let element = T::describe(describer);
                    (listed($open, &[element], $close), Shape::Opaque)
                })
            }
        }
    )*};
}

containers! {
    Box<T>, "Box<", ">";
    Box<[T]>, "Box<[", "]>";
    Vec<T>, "Vec<", ">";
}

// SAFETY: rkyv's own tree, of keys and values for which their types vouch.
unsafe impl<K, V> Schema for BTreeMap<K, V>
where
    K: Schema + Ord,
    K::Archived: Ord,
    V: Schema,
{
    fn describe(describer: &mut Describer) -> TypeRef {
        describer.builtin::<Self>(|describer| {
            let arguments = [K::describe(describer), V::describe(describer)];
            (listed("BTreeMap<", &arguments, ">"), Shape::Opaque)
        })
    }
}

/// The hasher does not reach the archive: rkyv hashes with its own.
// SAFETY: rkyv's own table, of keys and values for which their types vouch.
unsafe impl<K, V, S> Schema for HashMap<K, V, S>
where
    K: Schema + Hash + Eq,
    K::Archived: Hash + Eq,
    V: Schema,
    S: 'static,
{
    fn describe(describer: &mut Describer) -> TypeRef {
        describer.builtin::<Self>(|describer| {
            let arguments = [K::describe(describer), V::describe(describer)];
            (listed("HashMap<", &arguments, ">"), Shape::Opaque)
        })
    }
}

/// No bytes, whatever `T` is: the argument is not named.
// SAFETY: nothing is stored.
unsafe impl<T: ?Sized + 'static> Schema for PhantomData<T> {
    fn describe(describer: &mut Describer) -> TypeRef {
        describer.builtin::<Self>(|_| (vec![text("PhantomData")], Shape::Opaque))
    }
}

// SAFETY: the elements, side by side; their type vouches for them.
unsafe impl<T: Schema, const N: usize> Schema for [T; N] {
    fn describe(describer: &mut Describer) -> TypeRef {
        describer.builtin::<Self>(|describer| {
            let element = T::describe(describer);
            (
                vec![text("["), Part::Type(element), text(format!(";{N}]"))],
                Shape::Opaque,
            )
        })
    }
}

/// rkyv's `ArchivedOption` is a `repr(u8)` enum, as those of the derive are.
// SAFETY: a tag and the payload, whose type vouches for it.
unsafe impl<T: Schema> Schema for Option<T> {
    fn describe(describer: &mut Describer) -> TypeRef {
        const {
            assert!(
                layout::enum_layout_holds(
                    &[&[], &[layout::size_and_align::<T::Archived>()]],
                    layout::size_and_align::<<Self as Archive>::Archived>(),
                ),
                "ArchivedOption is not laid out as repr(u8)"
            );
        }
        describer.builtin::<Self>(|describer| {
            let of = T::describe(describer);
            (listed("Option<", &[of], ">"), option(of, align_of::<T::Archived>()))
        })
    }
}

/// The shape of an `Option` of a type with that alignment.
pub(super) fn option(of: TypeRef, align: usize) -> Shape {
    let payload = Field {
        name: ".0".to_owned(),
        offset: layout::align_up(layout::TAG_SIZE, align),
        of,
    };
    Shape::Enum(vec![
        Variant {
            name: "None".to_owned(),
            tag: 0,
            fields: Vec::new(),
        },
        Variant {
            name: "Some".to_owned(),
            tag: 1,
            fields: vec![payload],
        },
    ])
}

macro_rules! tuples {
    ($($close:literal: $($type:ident $index:tt),+;)*) => {$(
        // SAFETY: the fields, whose types vouch for them, in rkyv's order.
        unsafe impl<$($type: Schema),+> Schema for ($($type,)+) {
            fn describe(describer: &mut Describer) -> TypeRef {
                describer.builtin::<Self>(|describer| {
                    let arguments = [$($type::describe(describer)),+];
                    let fields = vec![$(Field {
                        name: concat!(".", $index).to_owned(),
                        offset: offset_of!(<Self as Archive>::Archived, $index),
                        of: arguments[$index],
                    }),+];
                    (listed("(", &arguments, $close), Shape::Struct(fields))
                })
            }
        }
    )*};
}

tuples! {
    ",)": A 0;
    ")": A 0, B 1;
    ")": A 0, B 1, C 2;
    ")": A 0, B 1, C 2, D 3;
    ")": A 0, B 1, C 2, D 3, E 4;
    ")": A 0, B 1, C 2, D 3, E 4, F 5;
}

fn listed(open: &str, arguments: &[TypeRef], close: &str) -> Vec<Part> {
    let mut parts = vec![text(open)];
    for (i, argument) in arguments.iter().enumerate() {
        if i > 0 {
            parts.push(text(","));
        }
        parts.push(Part::Type(*argument));
    }
    parts.push(text(close));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::render::RESERVED;

    #[test]
    fn every_built_in_name_is_reserved() {
        type All = (
            (bool, char, u8, u16, u32, u64),
            (u128, i8, i16, i32, i64, i128),
            (f32, f64, String, Box<str>, Box<u8>, Box<[u8]>),
            (
                Vec<u8>,
                Option<u8>,
                BTreeMap<u8, u8>,
                HashMap<u8, u8>,
                PhantomData<u8>,
                [(); 1],
            ),
        );
        let mut describer = Describer::new();
        All::describe(&mut describer);
        for definition in &describer.definitions {
            let Some(Part::Text(open)) = definition.name.first() else {
                panic!("a name opens with text")
            };
            let base = open.split(['<', '[']).next().unwrap_or(open);
            // No derived name begins with a bracket.
            assert!(
                base.is_empty() || base.starts_with('(') || RESERVED.contains(&base),
                "{base}"
            );
        }
    }
}
