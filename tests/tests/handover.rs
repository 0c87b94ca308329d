//! Handovers between real processes: with live connections, with successors that fail, with owners that are killed.

#[path = "handover/bad.rs"]
mod bad;
#[path = "handover/cores.rs"]
mod cores;
#[path = "handover/dead.rs"]
mod dead;
#[path = "handover/dying.rs"]
mod dying;
#[path = "handover/probation.rs"]
mod probation;
#[path = "handover/regions.rs"]
mod regions;
#[path = "handover/soak.rs"]
mod soak;
#[path = "handover/strangers.rs"]
mod strangers;
#[path = "handover/upgrades.rs"]
mod upgrades;
#[path = "handover/versions.rs"]
mod versions;

use actors::node::Scene;

/// A node of its own for a test.
fn scene() -> Scene {
    Scene::new(env!("CARGO_BIN_EXE_node-actor"))
}
