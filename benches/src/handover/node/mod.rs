//! The server of the reports: a world of so many bytes in so many regions, a tick, connections that ask and are answered; if that is asked
//! for, a table beside it whose records migrate.
//!
//! Two ways to serve: in ticks, as games do, or at once, as services do ([`Pace`]). Two ways to live: once, as an upgrade by a new
//! process is, or resident, asking for its node again each time it is told to: then two processes can take turns, and each turn is a
//! whole handover by the protocol, with nothing left out but the start of a program.

mod options;

mod world;

mod crowd;

mod server;

mod sweep;

mod life;

pub(crate) use crowd::TOUCHED;
pub use life::main;
pub use options::{Options, Pace};
pub use sweep::sweep;
