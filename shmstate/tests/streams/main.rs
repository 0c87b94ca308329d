//! `Streams` over real TCP connections, without kills: rings, the table, and what the kernel counts. (Kills: the package
//! `tests`, `streams_kill`.)

mod harness;
mod kernel;
mod rings;
mod table;
