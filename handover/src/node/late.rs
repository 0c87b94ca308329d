//! Connections that come while a successor is on its way: they go over as they come, so that accepting never pauses.
//!
//! - From `ready` on each newcomer is sent to the successor by the thread that accepts it, within the pass in which it is adopted; so before the release
//!   all are on their way, and the successor reads them before it serves.
//! - One that cannot be sent calls the handover off, while the gate cannot close beneath the pass: nobody is lost.
//!
//! It does not know what a successor does with them.

use crate::error::{Error, Result};
use crate::os::clock::Deadline;
use crate::points::{Point, point};
use crate::registry::Held;
use crate::wire::channel::Sender;
use crate::wire::message::{Descriptor, DescriptorKind, Message};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a tick may wait for the channel: the successor reads it, or spins for the next tick with room for hundreds of messages left.
const PATIENCE: Duration = Duration::from_millis(1);

/// The way to a successor that is ready.
#[derive(Debug, Default)]
pub(crate) struct Late {
    way: Mutex<Option<Sender>>,
    failed: AtomicBool,
}

impl Late {
    /// From here on newcomers go over.
    pub(crate) fn open(&self, way: Sender) {
        self.failed.store(false, Ordering::Relaxed);
        *self.way.lock().unwrap_or_else(PoisonError::into_inner) = Some(way);
    }

    /// The handover is over, one way or another.
    pub(crate) fn close(&self) {
        self.way.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Whether a newcomer could not be sent. The handover must not go on.
    pub(crate) fn failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Does this unless a newcomer could not be sent; one that cannot be sent from here on finds it done. So whoever arms the gate here has it
    /// disarmed by the thread that failed, which holds a pass.
    pub(crate) fn unless_failed<R>(&self, act: impl FnOnce() -> R) -> Option<R> {
        let _way = self.way.lock().unwrap_or_else(PoisonError::into_inner);
        (!self.failed()).then(act)
    }

    /// Does this while there is a way: what closes it comes before or after, not in between.
    pub(crate) fn while_open(&self, act: impl FnOnce()) {
        let way = self.way.lock().unwrap_or_else(PoisonError::into_inner);
        if way.is_some() {
            act();
        }
    }

    /// Sends these connections over. An error means that the handover must not go on.
    pub(crate) fn send(&self, held: &[Held]) -> Result<()> {
        let way = self.way.lock().unwrap_or_else(PoisonError::into_inner);
        // Called off meanwhile: they stay.
        let Some(way) = &*way else { return Ok(()) };
        let entry = |token: u64| Descriptor {
            kind: DescriptorKind::Stream,
            token,
            name: String::new(),
        };
        let entries = held.iter().map(|(token, _)| entry(*token)).collect();
        let fds: Vec<_> = held.iter().map(|(_, fd)| fd.as_fd()).collect();
        let sent = way.send(&Message::Mirror { entries }, &fds, Deadline::after(PATIENCE));
        point(Point::OldNewcomer);
        match sent {
            // A successor that is gone needs none; the reception finds that out.
            Ok(()) | Err(Error::Closed { .. }) => Ok(()),
            Err(error) => {
                self.failed.store(true, Ordering::Release);
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::channel::Channel;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use std::sync::Arc;

    #[test]
    fn one_that_cannot_be_sent_calls_it_off() {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (here, there) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("socketpair");
        let late = Late::default();
        let fd = std::fs::File::open("/dev/null").expect("open");
        let held: Vec<Held> = vec![(7, Arc::new(fd.into())); 8];
        late.send(&held).expect("nobody is on the way");
        late.open(Channel::new(here).expect("own uid").sender());
        let mut sent = 0;
        while late.unless_failed(|| ()).is_some() {
            assert!(sent < 100_000, "the socket takes everything");
            sent += usize::from(late.send(&held).is_ok());
        }
        assert!(sent > 50, "room for more than a few ticks: {sent}");
        assert!(late.failed());
        // A later handover starts anew, and one whose successor is gone loses nothing.
        late.close();
        drop(there);
        let (here, there) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("socketpair");
        late.open(Channel::new(here).expect("own uid").sender());
        drop(there);
        late.send(&held).expect("nobody to send to");
        assert!(!late.failed());
    }
}
