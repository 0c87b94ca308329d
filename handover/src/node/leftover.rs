//! What a handover without a probation leaves behind in the new owner. To close a socket and to look after a process takes longer than a
//! cutover, so both wait until the first ticks are over; a process that ends before leaves it to the kernel.

use crate::control::{ControlBlock, Phase};
use crate::os::pidfd::Pidfd;
use crate::wire::channel::Channel;
use std::sync::Arc;

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

    /// Closes the channel; of a predecessor that is dead nobody else will say that the handover is over.
    pub(crate) fn settle(self) {
        if self.predecessor.as_ref().is_none_or(|p| p.has_ended().unwrap_or(false)) {
            self.block.set_phase(Phase::None, 0);
        }
    }
}
