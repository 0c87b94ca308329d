//! Processes and helpers of the tests that need real ones.

pub mod torture;
