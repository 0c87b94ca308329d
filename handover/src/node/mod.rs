//! A node as a server's author sees it: [`Builder`] → [`Starting`] → [`Node`].

pub(crate) mod builder;
pub(crate) mod config;
pub(crate) mod descriptors;
pub(crate) mod join;
mod reception;
pub(crate) mod serving;
pub(crate) mod shared;
pub(crate) mod starting;

pub use builder::Builder;
pub use config::{Deadlines, SPIN_SLACK};
pub use descriptors::{Activation, Datagrams, DescriptorPlan, Udp};
pub use serving::{Node, Stop};
pub use starting::{Role, Starting};
