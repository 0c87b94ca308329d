//! A node under load, as the reports about handovers use it: its server, its clients, and what holds them.
//!
//! - **B1** The server goes through the library's public parts only. Nothing in it knows that it is measured, but for the stamps it
//!   tells.
//! - **B2** The same clients speak to our server and to its peers; what they measure they see on their sockets.
//! - **B3** Every wait has a deadline ([`child::LIMIT`]); a server ends when its standard input does, so none outlives the report.
//! - **B4** Times are nanoseconds of CLOCK_MONOTONIC, which all processes of a machine share.
//!
//! It does not know what is to be measured, nor how much: that is the report's matter.

pub mod quantiles;

pub mod frames;

pub mod speech;

pub mod event;

pub mod child;

pub mod clients;

pub mod short;

pub mod node;
