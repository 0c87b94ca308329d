//! System calls, nothing else: each file wraps one thing that the kernel does for a handover.
//!
//! Nothing here knows what a node, a lease or a message is.

pub mod clock;
pub mod dir;
pub mod futex;
pub mod lock;
pub mod peer;
pub mod pidfd;
pub mod poll;
pub mod rights;

#[cfg(test)]
pub(crate) mod alone;
