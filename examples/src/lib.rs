//! The arena: a game server that changes its binary under load, as a user of the two libraries would write it.
//!
//! `protocol` is what clients and server say to each other, `server` the server, `bots` the clients that check it, `demo` the
//! program that starts both and upgrades the server under them.

pub mod bots;
pub mod demo;
pub mod protocol;
pub mod server;
