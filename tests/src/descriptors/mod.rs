//! Nodes whose descriptors are of every kind: the server that holds them, and its process as a test has it.
//!
//! Test and server speak in lines of text: an order on standard input, answers on standard output. A server ends when its input does.

pub mod peer;
pub mod server;

pub use peer::{Place, Server};
