//! A server of one connection that is killed again and again, and the client that checks what comes back, byte for byte.
//!
//! - **E1** Every byte of the answer depends on every byte of the input before it: a byte lost, doubled or torn anywhere
//!   makes all that follows differ.
//! - **E2** The client holds the connection and a duplicate of the server's end; the server is a process that gets that
//!   end as its standard input, and nothing else but the name of its region.
//! - **E3** What a server says about itself it says in one write to a pipe, so that a kill cannot tear it.
//! - **E4** Everything that waits has a deadline, and whatever happens the region's name and the processes are gone at the end.

pub mod client;
pub mod pair;
pub mod report;
pub mod run;
pub mod server;
pub mod transform;

/// An error with its text; these are programs of tests, nobody acts on the kind.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
