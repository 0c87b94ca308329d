//! Processes and helpers of the tests that need real ones.

pub mod echo;
pub mod node;
