//! Values on their way between versions of a type: each key of the derive forward and back, containers, numbers, chains.
//!
//! What the derive refuses is in its own tests; what `Migrate` must not do is a `compile_fail` example of its documentation.

mod before;
mod built_in;
mod enums;
mod generic;
mod random;
mod structs;
