//! `Streams` over real connections, without kills: rings, the table, what the kernel counts, what an idle one takes. (Kills: the package
//! `tests`, `streams_kill`.)

mod harness;
mod kernel;
mod memory;
mod rings;
mod table;
