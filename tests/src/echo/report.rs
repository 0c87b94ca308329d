//! What a server says about itself, a line of JSON at a time.

use serde::{Deserialize, Serialize};
use std::io::Write;

/// A line.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Line {
    /// The region is recovered and the stream adopted or continued; the loop begins.
    Started(Started),
    /// All input was consumed, all output was sent, the connection was shut down.
    Finished(Counts),
}

/// What a server found.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Started {
    /// Whether the stream was there already.
    pub continued: bool,
    /// Log entries that were taken back.
    pub undone: u64,
    /// Whether the output was finished already.
    pub finished: bool,
    /// By how much the hint of bytes received was behind the kernel.
    pub input_behind: u64,
    /// By how much the hint of bytes sent was behind the kernel.
    pub output_behind: u64,
}

/// What happened over the life of the connection, as far as it was committed.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Bytes of input consumed.
    pub consumed: u64,
    /// Bytes of output produced.
    pub produced: u64,
    /// Receives that found the ring full.
    pub full: u64,
    /// Productions refused for want of room.
    pub no_room: u64,
    /// Sends that the socket did not take whole.
    pub blocked: u64,
    /// Transactions rolled back on purpose.
    pub rolled_back: u64,
    /// Times that rings were given back.
    pub given_back: u64,
}

impl Line {
    /// Says it on standard output, in one write (E3).
    ///
    /// # Errors
    /// Those of standard output.
    pub fn say(&self) -> std::io::Result<()> {
        let mut text = serde_json::to_string(self)?;
        text.push('\n');
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}
