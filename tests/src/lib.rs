//! Processes and helpers of the tests that need real ones.

pub mod descriptors;
pub mod echo;
pub mod node;
