//! What the header says of a writer's progress, and what follows from two looks at it.
//!
//! The sequence of a record has 16 bits, of which the lowest says that a change is under way: after 32768 changes in place it
//! is what it was. That many changes between two looks at it go unnoticed unless something else notices. Two things do:
//!
//! - *by count*: each change in place is either a commit of one word, which is counted in COMMITS, or it has an entry of its own
//!   in the log, or it takes such an entry back. If the epoch stayed the same, so did the log's transaction; if then fewer than
//!   2¹³ were committed, and the log, of which an entry has 24 bytes at least, is shorter than 2¹⁸, fewer than
//!   2¹³ + 2 · 10923 < 32768 changes were made.
//! - *by time*: a change reads the header's word that the change before wrote, and takes some thirty instructions. 32768 of them
//!   take far more than ten microseconds.
//!
//! If neither holds, the reading is repeated.

use super::memory::{Memory, acquire};
use super::sabotage;
use crate::region::header::at;
use crate::tx::undo;
use std::time::{Duration, Instant};

/// Commits of one word that cannot be 32768 changes, together with [`FEW_LOGGED`].
pub(crate) const FEW_COMMITS: u64 = 1 << 13;
/// Bytes of a log that cannot hold them.
const FEW_LOGGED: u64 = 1 << 18;
/// A time in which they cannot be made.
const SHORT: Duration = Duration::from_micros(10);

const _: () = assert!(FEW_COMMITS + 2 * (FEW_LOGGED / (8 + undo::FOOTER) + 1) < 1 << 15);

/// A look at the header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Marks {
    pub(crate) epoch: u64,
    pub(crate) commits: u64,
    /// The sealed length of the log, 0 if no transaction with a log is open.
    pub(crate) log: u64,
    at: Instant,
}

impl Marks {
    /// As it is now. The log's length is that of a transaction of that epoch, or 0.
    pub(crate) fn now(memory: &Memory) -> Self {
        let now = Instant::now();
        loop {
            let epoch = memory.header(at::EPOCH);
            acquire();
            let commits = memory.header(at::COMMITS);
            acquire();
            let log = memory.header(at::LOG_LENGTH);
            acquire();
            // EPOCH pair: a transaction's first entry is published after its epoch.
            if memory.header(at::EPOCH) == epoch {
                return Self {
                    epoch,
                    commits,
                    log,
                    at: now,
                };
            }
        }
    }

    /// Whether since then fewer changes were made in place than bring a sequence round.
    pub(crate) fn few_since(&self, memory: &Memory) -> bool {
        if self.at.elapsed() < SHORT || sabotage::round() {
            return true;
        }
        acquire();
        let commits = memory.header(at::COMMITS).wrapping_sub(self.commits);
        let log = memory.header(at::LOG_LENGTH);
        acquire();
        let same = memory.header(at::EPOCH) == self.epoch && (log == 0) == (self.log == 0);
        same && commits < FEW_COMMITS && undo::unseal(log).is_some_and(|log| log < FEW_LOGGED)
    }
}
