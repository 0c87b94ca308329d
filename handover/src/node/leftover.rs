//! What a handover without a probation leaves behind in the new owner. To close a socket and to look after a process takes longer than a
//! cutover, so both wait until the first ticks are over; a process that ends before leaves it to the kernel. A predecessor that still lives then is
//! watched until it is dead: it says itself that it has drained, but not if it is killed.

use crate::control::{ControlBlock, Phase};
use crate::os::pidfd::Pidfd;
use crate::wire::channel::Channel;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// What the word can say of a handover whose predecessor is dead.
const UNSAID: [Phase; 3] = [Phase::Closing, Phase::Offered, Phase::Draining];

/// The channel, and what is known of the predecessor.
#[derive(Debug)]
pub(crate) struct Leftover {
    block: Arc<ControlBlock>,
    predecessor: Option<Pidfd>,
    _channel: Channel,
}

impl Leftover {
    pub(crate) fn new(block: Arc<ControlBlock>, predecessor: Option<Pidfd>, channel: Channel) -> Self {
        Self {
            block,
            predecessor,
            _channel: channel,
        }
    }

    /// Closes the channel; of a predecessor that is dead nobody else will say that the handover is over. Gives one that lives.
    pub(crate) fn settle(self) -> Option<Drainer> {
        let Self { block, predecessor, .. } = self;
        match predecessor.filter(|p| !p.has_ended().unwrap_or(true)) {
            Some(process) => Some(Drainer { block, process }),
            None => {
                block.set_phase(Phase::None, 0);
                None
            }
        }
    }
}

/// A predecessor that drains.
#[derive(Debug)]
pub(crate) struct Drainer {
    block: Arc<ControlBlock>,
    process: Pidfd,
}

impl Drainer {
    /// It is dead: if it could not say that the handover to the process in slot `me` is over, this one does.
    pub(crate) fn settle(self, me: u8) {
        if self.block.successor_slot() == u32::from(me) {
            for phase in UNSAID {
                self.block.advance_phase(phase, Phase::None, 0);
            }
        }
    }
}

impl AsFd for Drainer {
    /// Readable when it is dead.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.process.as_fd()
    }
}
