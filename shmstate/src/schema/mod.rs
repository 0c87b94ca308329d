//! The shape of a table's records: what an archive of a type looks like, byte by byte, as a text that
//! people read and programs parse, and as a 128-bit fingerprint.
//!
//! - **D1** A description speaks of the *archived* form. Sizes, alignments and struct offsets are asked of
//!   the compiler; enum offsets follow from the `repr(u8)` rule (RFC 2195), and a type for which the rule
//!   gives another size or alignment than the compiler does not compile.
//! - **D2** The text is canonical: it depends on the shape alone, not on module paths, addresses, hashing
//!   or the order in which other types were described.
//! - **D3** The fingerprint is XXH3-128 of the text without its first line. The first line carries the
//!   name and the declared version, so "the shape changed and the version did not" can be seen.
//! - **D4** Two types of one name in one description stay apart: the second is called `Name#2`.
//! - **D5** The layout that rkyv's cargo features choose (byte order, alignment, pointer width) has a line
//!   of its own, and every primitive has one with its size and alignment.
//!
//! `migrate` is about values, not archives: how one of an older shape becomes one of a newer.
//!
//! It does not know regions, tables or records. The catalog keeps text, fingerprint and version of a
//! table; opening compares fingerprints and refuses with [`mismatch`].
//!
//! # Grammar of the text, version 1
//!
//! Lines end in `\n`, the last one too. Words are parted by one space, levels are indented by two spaces,
//! and no name holds a space. Numbers are decimal; sizes and offsets are bytes.
//!
//! ```text
//! text     = header layout item item*
//! header   = "schema 1 " NAME " version " N
//! layout   = "layout rkyv 0.8 " ("little" | "big") " " ("aligned" | "unaligned") " pointer " BITS
//! item     = struct | enum | opaque
//! struct   = "struct " NAME " size " N " align " N   field*
//! field    = "  " OFFSET " " FIELD ": " NAME         FIELD is `.0`, `.1` … in a tuple struct or a tuple
//! enum     = "enum " NAME " size " N " align " N     variant*
//! variant  = "  tag " N " " VARIANT                  payload*      the tag is one byte at offset 0
//! payload  = "    " OFFSET " " FIELD ": " NAME       the offset counts from the enum's first byte
//! opaque   = "type " NAME " size " N " align " N     primitives and rkyv's containers
//! NAME     = IDENT ["<" ARG ("," ARG)* ">"] ["#" N] | "(" [NAME ("," NAME)* [","]] ")"
//!          | "[" NAME "]" | "[" NAME ";" N "]"
//! ARG      = NAME | the value of a const parameter
//! ```
//!
//! The first item is the described type itself. Then follow the derived types, in the order in which a
//! breadth-first walk meets them, then the built-in ones, sorted by name. Each appears once; recursion is
//! a name that appears again. `Option` is an enum and a tuple is a struct like any other. A field that is archived through
//! a wrapper has the type `with.WRAPPER<WHAT IT STORES>`, a struct with one field.
//!
//! [`Model`] reads such a text again; [`changes`] compares two of them.
//!
//! ```
//! use shmstate::schema::Description;
//!
//! #[derive(rkyv::Archive, shmstate::Schema)]
//! #[schema(version = 3)]
//! struct Player {
//!     name: String,
//!     score: u32,
//! }
//!
//! let description = Description::of::<Player>();
//! assert_eq!(
//!     description.text(),
//!     "schema 1 Player version 3\n\
//!      layout rkyv 0.8 little aligned pointer 32\n\
//!      struct Player size 12 align 4\n  \
//!        0 name: String\n  \
//!        8 score: u32\n\
//!      type String size 8 align 4\n\
//!      type u32 size 4 align 4\n",
//! );
//! assert_eq!((description.name(), description.version()), ("Player", 3));
//! ```

mod fingerprint;
mod layout;

mod contract;
mod describe;
mod description;
mod render;

mod model;
mod parse;

mod diff;
mod lines;
mod refusal;

mod rust;

mod migrate;

mod plain;
mod types;
mod with;

pub use contract::Schema;
pub use describe::{Describer, Outline, TypeRef};
pub use description::Description;
pub use diff::{Change, ChangeKind, changes};
pub use fingerprint::Fingerprint;
pub use migrate::Migrate;
pub use model::{Case, Form, Member, Model, Scalar, Type, TypeIndex, Unreadable};
pub use plain::Plain;
pub use refusal::{mismatch, refusal};
pub use with::SchemaWith;

/// What the derive's code needs. Not public interface.
#[doc(hidden)]
pub mod __private {
    pub use super::layout::{enum_layout_holds, size_and_align};
    pub use super::migrate::{Asked, Return, apply};
    pub use rkyv::Archive;
    pub use rkyv::with::ArchiveWith;
}
