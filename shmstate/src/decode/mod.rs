//! Archived values read by their description alone: for tools that were not built with the types.
//!
//! - **Y1** Every access is checked against the bytes that were given: nothing outside of them is read, whatever they hold. What contradicts
//!   the description is [`Broken`], never a panic.
//! - **Y2** The work is bounded: what lies outside of a type's own bytes is charged against the length of all bytes (in an archive no two
//!   things share bytes), values without bytes against [`MOST_EMPTY`], and nesting ends at [`MAX_NESTING`](crate::MAX_NESTING).
//! - **Y3** No tree is made on the way: a [`Visit`] is told of each value where it lies.
//!
//! In reading order: `visit` is what is told; `read` finds strings and pointers; `walk` goes through a value, `maps` through rkyv's maps; `select` finds
//! a field by its path; `key` reads and writes keys of tables; `value` is a visitor that keeps what it is told. It does not know regions.

mod key;
mod maps;
mod read;
mod select;
mod value;
mod visit;
mod walk;

pub use key::{BadKey, KeyShape};
pub use read::Broken;
pub use select::{NoField, Selected};
pub(crate) use value::Builder;
pub use value::Value;
pub use visit::Visit;
pub use walk::{Decoder, MOST_EMPTY};

#[cfg(test)]
mod tests;
