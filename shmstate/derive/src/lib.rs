//! `#[derive(Schema)]` for shmstate.
//!
//! The derive reads a struct or an enum that also derives `rkyv::Archive` and writes the `Schema`
//! implementation that describes its archived layout.
//!
//! - **G1** Generated code names `::shmstate::…` and `::core::…` only, so that it does not depend on how
//!   the user's crate imports anything else.
//! - **G2** Offsets, sizes and alignments are asked of the compiler in the generated code; the derive
//!   itself computes no number. For an enum it emits the check that rkyv's `repr(u8)` rule holds.
//! - **G3** What would make the description untrue (`#[rkyv(as = …)]`, `remote`) is a compile error at the attribute. A field with
//!   `#[rkyv(with = …)]` is described as what the wrapper stores.
//! - **G4** Fields and variants find their older ones by name, as the keys say. The derive sees one version only: that the other one has
//!   these names, and no others, is proven by the compiler in the generated code (a field without a value, a match that is not exhaustive).
//! - **G5** Every type becomes itself, in both directions, so that a type that did not change needs no key where another holds it.
//!   Only the way back narrows numbers.
//!
//! It does not know the grammar of the text or the fingerprint: both live in `shmstate::schema`, as does what built-in types become.

mod origin;

mod attributes;
mod rkyv;

mod field;
mod moves;

mod back;
mod migrate;

mod expand;

#[cfg(test)]
mod tests;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Describes the archived layout of a struct or an enum, and says how it comes from its older version.
///
/// The type must derive `rkyv::Archive` too, and every field's type must implement `Schema`.
///
/// ```text
/// #[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize, shmstate::Schema)]
/// #[schema(version = 3, name = "Player")]
/// struct PlayerV3 { name: String, score: u32 }
/// ```
///
/// # Keys of the description
///
/// In `#[schema(…)]` on the type, all optional:
///
/// - `version = N`: the declared version, 1 to 65535; 1 if absent. It is not part of the fingerprint.
/// - `name = "…"`: the name in the description, letters, digits, `_`, `-` and `.`; the type's own name if
///   absent. The name is part of the fingerprint: give it to keep a shape through a rename in the code. It may end with the arguments
///   of one instance of a generic type, `Pair<u8,f64>`, as `handover schema --rust` writes it.
/// - `path`: the path of the type's module stands before its name, so that a move to another module is another shape.
///
/// A field with `#[rkyv(with = …)]` needs a wrapper that implements `shmstate::schema::SchemaWith`.
///
/// # Keys of a type that has an older version
///
/// The derive always writes `shmstate::Migrate<Self>`, the identity. With these keys it writes the ways between two versions, of which
/// both are types of the program:
///
/// ```text
/// use shmstate::Migrate;
///
/// #[derive(rkyv::Archive, shmstate::Schema)]
/// #[schema(version = 1, name = "Player")]
/// struct PlayerV1 { name: String, score: u32, level: u8 }
///
/// #[derive(rkyv::Archive, shmstate::Schema)]
/// #[schema(version = 2, from = PlayerV1, back, removed(level = 1))]
/// struct Player {
///     #[schema(was = "name")]
///     nick: String,
///     score: u64,
///     #[schema(default = 3)]
///     lives: u8,
/// }
///
/// let new = Player::migrate(PlayerV1 { name: "Ada".to_owned(), score: 41, level: 9 });
/// assert_eq!((new.nick.as_str(), new.score, new.lives), ("Ada", 41, 3));
/// let old = PlayerV1::migrate(Player { score: u64::MAX, ..new });
/// assert_eq!((old.name.as_str(), old.score, old.level), ("Ada", u32::MAX, 1));
/// ```
///
/// On the type:
///
/// - `from = path::to::Old`: `Migrate<Old>` for this type. The path may have generic arguments; type parameters stay what they are.
/// - `back`: also the way back, `Migrate<Self>` for `Old`. A number that became wider saturates on it: `u64::MAX` becomes `u32::MAX`, `-1`
///   becomes 0 as `u32`, a fraction is dropped where an integer became a float. Fields that are new are dropped.
/// - `removed(field, other = VALUE)` on a struct: fields that only `Old` has. Forward they are dropped anyway; on the way back they are
///   what they were before, if that is known (`Migrate::migrate_over`: a table with `Steps::back` knows it of every record that was `Old`),
///   else filled, with `Default` if there is no value. Positions stand for the fields of a tuple struct: `removed(0)`.
/// - `removed(Gone = VALUE)` on an enum: variants that only `Old` has, and the new value that each becomes.
///
/// On a field. Without a key it comes from the field of the same name, by `Migrate`: the same type, a wider number, a nested type with
/// a way of its own, also in containers.
///
/// - `default`, `default = VALUE`: `Old` has no such field.
/// - `was = "name"`: the field's name in `Old`, or its position in a tuple.
/// - `migrate = FUNCTION`: from the old field's value to the new one's, a path or a closure: `migrate = Some` for a field that became
///   optional. If the type has a way back, `back = FUNCTION` stands beside it, here `back = Option::unwrap_or_default`.
/// - `back = FUNCTION` alone: instead of a number that saturates.
///
/// On a variant. Without a key it comes from the variant of the same name, and its fields as those of a struct.
///
/// - `was = "Name"`: the variant's name in `Old`.
/// - `removed(field, other = VALUE)`: fields that only `Old`'s variant has, for the way back: as those of a struct, if the variant before
///   was the same.
/// - `new`: `Old` has no such variant. If the type has a way back, it needs `back = VALUE`, the old value that it becomes, and `new` may
///   be left out.
///
/// In each `VALUE` the word `Self` is the type that is made: forward this one, on the way back `Old`. A field of `Old` that is not in
/// `removed`, or a variant that is nowhere, is a compile error of the generated code at the key that is short of it (E0063, E0004, E0599).
/// All used fields of both types must be visible where the derive stands, and neither type may implement `Drop`.
///
/// The value before reaches fields whose types lost something too, also in `Box`, `Option`, arrays, tuples and the values of maps; not items
/// of lists, which have no place of their own, nor what `back = FUNCTION` gives.
///
/// The way back goes by what the derives wrote. For a field whose type has a `Schema` or a way back written by hand, name it:
/// `migrate = Migrate::migrate, back = Migrate::migrate`.
///
/// # Refused with a compile error
///
/// Unions, types with lifetime parameters, unknown keys, keys that contradict each other, keys of a migration without `from`, keys of the
/// description on a field or a variant, and the rkyv attributes `as` and `remote`, which replace the archived type.
#[proc_macro_derive(Schema, attributes(schema))]
pub fn derive_schema(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand::schema(&input)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
