//! Skeleton.
pub mod lease;
