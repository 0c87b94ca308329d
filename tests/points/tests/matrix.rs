//! The matrix with real processes: each named point of the protocol (`handover/src/points.rs`) is one at which a process is killed, one at which it is
//! stopped and soon goes on, and one at which it is stopped for longer than anybody waits (H1–H3, H5, H10).
//!
//! - **M1** A case that does not get to its point is played again, and fails if it never does. Each point is struck in every role in which it can be
//!   reached, or the list of the others says why not.
//! - **M2** Never two owners: each server notes its passes in a file that the libraries know nothing of (`actors::node::witness`).
//! - **M3** Nobody in a pass for no longer than the deadlines and [`judge::SOON`], and while a process is stopped, another serves unless the
//!   stopped one owns the node.
//! - **M4** Clients that stay are served on over the connection they have, and check every byte; only where all are dead that held it is it lost. One that
//!   comes and goes is cut only where a process is killed.
//! - **M5** In the end one process is left, with as many descriptors and threads as ever; and when that has stopped the node, nothing.
//! - **M6** Cases are played in an order of chance, many at once; the seed is printed, and `HANDOVER_MATRIX_SEED` plays it again. With
//!   `HANDOVER_MATRIX_ONLY` only cases with these words in their name are, with
//!   `HANDOVER_MATRIX_ROUNDS=N` each case is played N times, from the second on at a later hit of its point.

#[path = "matrix/ask.rs"]
mod ask;
#[path = "matrix/case.rs"]
mod case;
#[path = "matrix/command.rs"]
mod command;
#[path = "matrix/course.rs"]
mod course;
#[path = "matrix/first.rs"]
mod first;
#[path = "matrix/handing.rs"]
mod handing;
#[path = "matrix/judge.rs"]
mod judge;
#[path = "matrix/points.rs"]
mod points;
#[path = "matrix/pool.rs"]
mod pool;
#[path = "matrix/sabotage.rs"]
mod sabotage;
#[path = "matrix/stores.rs"]
mod stores;
#[path = "matrix/turns.rs"]
mod turns;
#[path = "matrix/unseen.rs"]
mod unseen;
#[path = "matrix/visitors.rs"]
mod visitors;

use actors::node::Scene;

/// The server whose libraries have points.
const POINTED: &str = env!("CARGO_BIN_EXE_pointed");

/// A node of its own for a case.
fn scene() -> Scene {
    Scene::new(POINTED)
}
