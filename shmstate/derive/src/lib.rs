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
//!
//! It does not know the grammar of the text or the fingerprint: both live in `shmstate::schema`.

mod attributes;
mod expand;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Describes the archived layout of a struct or an enum.
///
/// The type must derive `rkyv::Archive` too, and every field's type must implement `Schema`.
///
/// ```text
/// #[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize, shmstate::Schema)]
/// #[schema(version = 3, name = "Player")]
/// struct PlayerV3 { name: String, score: u32 }
/// ```
///
/// Keys of `#[schema(…)]`, on the type only, all optional:
///
/// - `version = N`: the declared version, 1 to 65535; 1 if absent. It is not part of the fingerprint.
/// - `name = "…"`: the name in the description, letters, digits, `_`, `-` and `.`; the type's own name if
///   absent. The name is part of the fingerprint: give it to keep a shape through a rename in the code. It may end with the arguments
///   of one instance of a generic type, `Pair<u8,f64>`, as `handover schema --rust` writes it.
/// - `path`: the path of the type's module stands before its name, so that a move to another module is another shape.
///
/// A field with `#[rkyv(with = …)]` needs a wrapper that implements `shmstate::schema::SchemaWith`.
///
/// Refused with a compile error: unions, types with lifetime parameters, unknown keys, `#[schema]` on a
/// field or a variant, and the rkyv attributes `as` and `remote`, which replace the archived type.
#[proc_macro_derive(Schema, attributes(schema))]
pub fn derive_schema(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand::schema(&input)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
