//! A node of real processes: the server that plays it, and what a test needs to start, watch, kill and question it.
//!
//! - **N1** Every wait has a deadline ([`wait::LIMIT`]) and ends by an event that is named in the panic if it does not come.
//! - **N2** A server ends when its standard input does, so none outlives the test, however that ends.
//! - **N3** A [`scene::Scene`] has a runtime directory, an address and a node of its own, and removes what is left of them
//!   when it is dropped; [`scene::Scene::close`] checks before that nothing is left.
//!
//! The tests know the libraries by their public parts only, except for the wire, which a stranger is played with.

mod crash;
pub mod deathbed;
pub mod forbidden;
pub mod options;
pub mod plain;
pub mod process;
pub mod report;
pub mod scene;
pub mod server;
pub mod standstill;
pub mod strike;
pub mod swarm;
pub mod wait;
pub mod witness;
pub mod world;
pub mod wrong;

pub use deathbed::Deathbed;
pub use options::{Fault, Sabotage};
pub use process::Actor;
pub use report::{Order, Report};
pub use scene::Scene;
pub use swarm::Swarm;
pub use witness::Witness;
