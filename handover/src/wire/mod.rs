//! The messages of a handover: their bytes, and a channel that carries them with their descriptors.

pub mod channel;
pub mod frame;
pub mod message;

#[cfg(test)]
mod fuzz;
mod sabotage;

pub use channel::{Channel, Listener};
pub use message::{Descriptor, DescriptorKind, Hello, Message, Offer};
