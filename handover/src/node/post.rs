//! Where the old owner's reception leaves what the server's thread needs to park.
//!
//! If nobody comes for it, it is let go after [`CLAIM`]: what is held here would hide the new owner's death.
//!
//! It does not know what parking is.

use crate::os::clock::Deadline;
use crate::os::pidfd::Pidfd;
use crate::points::{Point, point};
use crate::wire::channel::Channel;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How long the server may take from the cutover to `park` or `drain`.
const CLAIM: Duration = Duration::from_secs(10);

/// What a cutover leaves to the old owner for the probation of the new one.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) channel: Channel,
    pub(crate) successor: Pidfd,
    /// Its participant slot.
    pub(crate) slot: u8,
    /// When the probation is over.
    pub(crate) end: Deadline,
    /// How many wishes of operators there were before anybody could see that there is a probation: those that follow are for this one.
    pub(crate) requests: u32,
}

/// Where the terms wait for the server's thread.
#[derive(Debug, Default)]
pub(crate) struct Post {
    terms: Mutex<Option<Terms>>,
    claimed: Condvar,
}

impl Post {
    pub(crate) fn leave(&self, terms: Terms) {
        *self.terms.lock().unwrap_or_else(PoisonError::into_inner) = Some(terms);
    }

    pub(crate) fn claim(&self) -> Option<Terms> {
        let terms = self.terms.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.claimed.notify_all();
        point(Point::OldClaimed);
        terms
    }

    /// Waits until the terms are claimed, at most [`CLAIM`]; what nobody claimed is dropped. Says whether somebody did.
    pub(crate) fn wait_claimed(&self) -> bool {
        let terms = self.terms.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut terms, _) = self
            .claimed
            .wait_timeout_while(terms, CLAIM, |terms| terms.is_some())
            .unwrap_or_else(PoisonError::into_inner);
        terms.take().is_none()
    }
}
