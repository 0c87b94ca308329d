//! Moves: the records of one map go to others, under the eyes of two versions of a program that take turns.

mod alone;
mod back;
mod drops;
mod joins;
mod random;
mod shapes;
mod world;

/// More records than a chunk of the heap holds.
const MANY: u32 = 3_000;
