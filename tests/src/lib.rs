//! Processes and helpers of the tests that need real ones.

pub mod chaos;
pub mod descriptors;
pub mod echo;
pub mod node;
