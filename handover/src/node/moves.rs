//! Connections that move late: busy with a request at the cutover, they stay with the old owner until they are idle, and then go over one by one.
//!
//! - For connections that the server keeps itself (HTTP, a protocol with a library's buffers). Those of `Connections` go over at the cutover, busy or not.
//! - They move while the old owner is parked: the channel is there as long as the probation. After that they drain.
//! - One that was sent is the new owner's; if that dies before it took it up, the peer sees the end of the connection.
//!
//! It does not know when a connection is idle, nor what the bytes mean that go with it.

use crate::error::{Error, Result};
use crate::os::clock::Deadline;
use crate::points::{Point, point};
use crate::wire::channel::Sender;
use crate::wire::message::{MAX_MOVE, Message};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long the channel may take to take a connection: the new owner reads it many times a second.
const PATIENCE: Duration = Duration::from_secs(1);
/// Connections that may wait for the new owner's server to take them up. More are refused to the sender by a full channel.
pub(crate) const MOST_WAITING: usize = 4096;

/// A connection that moved after the cutover.
#[derive(Debug)]
pub struct Moved {
    /// What the old owner called it.
    pub name: String,
    /// What the old owner's server gave with it: bytes read and not processed, who is at the other end.
    pub bytes: Vec<u8>,
    /// The connection.
    pub fd: OwnedFd,
}

/// Both ends of the way, of which a process has one.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    way: Mutex<Option<Sender>>,
    arrived: Mutex<Vec<Moved>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Moves {
    /// A new owner is on probation: connections can go over.
    pub(crate) fn open(&self, way: Sender) {
        *lock(&self.way) = Some(way);
    }

    /// They cannot any more.
    pub(crate) fn close(&self) {
        lock(&self.way).take();
    }

    /// A connection came from the old owner. One too many is closed, which its peer sees.
    pub(crate) fn arrive(&self, moved: Moved) {
        let mut arrived = lock(&self.arrived);
        if arrived.len() < MOST_WAITING {
            arrived.push(moved);
        }
    }

    pub(crate) fn take(&self) -> Vec<Moved> {
        std::mem::take(&mut *lock(&self.arrived))
    }
}

/// Moves connections after the cutover; for the threads that hold them. Clones are the same.
#[derive(Clone, Debug)]
pub struct Mover(pub(crate) Arc<Moves>);

impl Mover {
    /// Whether there is a new owner to which connections can move.
    #[must_use]
    pub fn is_open(&self) -> bool {
        lock(&self.0.way).is_some()
    }

    /// Moves a connection that is idle now, with at most 16 KiB of what the new owner's server has to know of it. Nothing may read or write it
    /// here any more (H7). On an error it is still here.
    ///
    /// # Errors
    /// The connection comes back with the reason: [`Error::NotOnProbation`] before the cutover and after the probation (serve it to its end),
    /// a channel that takes no more, too many bytes.
    pub fn send(&self, moved: Moved) -> std::result::Result<(), Box<(Moved, Error)>> {
        match self.try_send(&moved) {
            Ok(()) => Ok(()),
            Err(error) => Err(Box::new((moved, error))),
        }
    }

    fn try_send(&self, moved: &Moved) -> Result<()> {
        let way = lock(&self.0.way).clone().ok_or(Error::NotOnProbation)?;
        let message = Message::Move {
            name: moved.name.clone(),
            bytes: moved.bytes.clone(),
        };
        debug_assert!(MAX_MOVE <= u16::MAX as usize);
        let sent = way.send(&message, &[moved.fd.as_fd()], Deadline::after(PATIENCE));
        point(Point::ParkedMoved);
        sent
    }
}
