//! The arena's server, written as a user of `shmstate` and `handover` would write one.
//!
//! ```text
//! player    a player in either version's shape, and how the one becomes the other
//! tallies   a table that has other keys in the second version
//! world     tables and records: what the game knows          (shmstate)
//! players   commands in, state frames out, in one tick's transaction
//! monsters  the rest of the world, which moves by itself
//! sabotage  the server misbehaves on purpose, so that the bots' checks can be seen to work
//! fault     a new version fails on purpose after it has taken over
//! run       node, listener, tick loop                        (handover)
//! ```
//!
//! The two binaries `arena-v1` and `arena-v2` are this server under two rules; starting one while another serves is the
//! upgrade.

mod fault;
mod monsters;
mod player;
mod players;
mod run;
mod sabotage;
mod tallies;
mod world;

pub use fault::Fault;
pub(crate) use run::tables;
pub use run::{Options, TICK, main, main_with};
pub use sabotage::Sabotage;

/// The rules of a version of the game.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Version, as the state frames tell it.
    pub version: u8,
    /// What a pickup adds to the score.
    pub pickup_worth: u64,
}

impl Rules {
    /// The first version: a pickup is worth 1.
    pub const V1: Self = Self {
        version: 1,
        pickup_worth: 1,
    };
    /// The second version: a pickup is worth 2.
    pub const V2: Self = Self {
        version: 2,
        pickup_worth: 2,
    };
}
