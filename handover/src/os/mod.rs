//! System calls, nothing else: each file wraps one thing that the kernel does for a handover.
//!
//! Nothing here knows what a node, a lease or a message is.

pub mod clock;
pub mod dir;
mod ended;
pub(crate) mod estate;
pub mod futex;
pub(crate) mod inherited;
pub mod limits;
pub mod lock;
pub mod peer;
pub mod pidfd;
pub mod poll;
pub mod rights;
pub mod silence;
pub mod sockets;

#[cfg(test)]
pub(crate) mod alone;
