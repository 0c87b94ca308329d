#![doc = include_str!("../README.md")]

#[cfg(crash_points)]
pub mod points;
#[cfg(not(crash_points))]
mod points;

pub mod control;
mod error;
#[doc(hidden)]
pub mod os;
#[doc(hidden)]
pub mod phase;
#[doc(hidden)]
pub mod wire;

mod registry;

mod connections;
mod drain;
mod node;
mod status;

#[cfg(feature = "cli")]
pub mod cli;

pub use connections::{Connections, Ended};
pub use control::Declarations;
pub use control::DrainPhase;
pub use drain::{Ask, Busy, DrainEvent, Drained, Held, HeldConnection, HeldKind, InFlight, Work};
pub use error::{ActivationProblem, ControlProblem, Error, FrameProblem, Result, Side, WhoServes};
pub use node::{
    Activation, Builder, Carried, Cause, Datagrams, Deadlines, DescriptorPlan, Moved, Mover, Node, Parked, Role,
    SPIN_SLACK, Starting, Stop, Udp, is_describing,
};
pub use os::dir::base as runtime_base;
pub use os::sockets::ListenOptions;
pub use status::{Status, nodes, status};

/// The snippet in the repository's README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct RepositoryReadme;
