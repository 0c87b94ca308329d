//! Descriptors of every kind through handovers of real processes: kinds, lists that change, limits, leaks, socket activation.

#[path = "descriptors/activation.rs"]
mod activation;
#[path = "descriptors/kinds.rs"]
mod kinds;
#[path = "descriptors/leaks.rs"]
mod leaks;
#[path = "descriptors/limits.rs"]
mod limits;
#[path = "descriptors/lists.rs"]
mod lists;

use actors::descriptors::Place;

/// A node of its own for a test.
fn place() -> Place {
    Place::new(env!("CARGO_BIN_EXE_descriptor-actor"))
}
