//! One trait for all engines, so that each does the same work on the same players; a report and criterion benches over it.
//!
//! What counts is the ratio of two engines in one run on one machine, never a time alone.
//!
//! # Reading order
//! The modules stand in the order of their dependence: each imports only what stands above it.

pub mod players;

mod small;

pub mod keys;

pub mod smaps;

pub mod huge;

pub mod engine;

pub mod handover;

pub mod report;

/// What can go wrong in a bench ends it; who reads it is a person at a terminal.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
