//! The arena: a game server that changes its binary under load, as a user of the two libraries would write it.

pub mod bots;
pub mod protocol;
