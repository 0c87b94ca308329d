//! Descriptors of every kind that a node hands over by name: listeners, datagram sockets, and whatever a server makes or keeps.
//!
//! [`spec`] is a declaration, [`plan`] what becomes of it, [`set`] what a process has, [`activation`] the first source,
//! [`declare`] and [`take`] what a server's author calls, [`datagrams`] how datagrams are read by one process at a time.
//! Connections are not here: they are in the registry, by their streams' tokens.

pub(crate) mod activation;
mod datagrams;
mod declare;
pub(crate) mod item;
pub(crate) mod plan;
pub(crate) mod set;
pub(crate) mod spec;
mod take;

pub use activation::Activation;
pub use datagrams::{Datagrams, Udp};
pub use plan::DescriptorPlan;
