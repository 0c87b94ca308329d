//! The phases of a handover as pure functions of (state, event) to (state, effects) (H8).
//!
//! A driver turns what happens into events, one at a time, and carries out the effects in the order given, before
//! the next event. Whatever carries them out, threads or an event loop, the decisions are these.

pub mod parked;
pub mod predecessor;
pub mod probation;
pub mod successor;

#[cfg(test)]
mod model;
