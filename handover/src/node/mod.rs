//! A node as a server's author sees it: [`Builder`] → [`Starting`] → [`Node`].

pub(crate) mod builder;
pub(crate) mod carry;
pub(crate) mod config;
pub(crate) mod describe;
pub(crate) mod descriptors;
pub(crate) mod join;
mod late;
mod leftover;
pub(crate) mod manifest;
mod moves;
mod new_regions;
mod orphan;
mod parked;
mod post;
pub(crate) mod probation;
mod reception;
pub(crate) mod serving;
pub(crate) mod shared;
pub(crate) mod starting;
pub(crate) mod tether;

pub use builder::Builder;
pub use carry::Carried;
pub use config::{Deadlines, SPIN_SLACK};
pub use describe::is_describing;
pub use descriptors::{Activation, Datagrams, DescriptorPlan, Udp};
pub use moves::{Moved, Mover};
pub use serving::{Node, Parked, Stop};
pub use starting::{Cause, Role, Starting};
