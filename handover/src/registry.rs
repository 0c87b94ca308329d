//! The live connections of a process by their streams' tokens: what it reads and writes, and what a handover sends.
//!
//! - **Y1** Each is registered with one epoll set when it comes, so a successor's set is complete before the cutover.
//! - **Y2** Accepting happens under the registry's lock, and what becomes of newcomers is changed under it too: so each of them is either
//!   one that [`Registry::since`] shows, or one that goes over at once, or waits in its listener's queue (H4).
//! - **Y3** Taking a connection out closes this process's descriptor only; the peer sees an end by `shutdown` (H11).
//!
//! It does not know regions; whether a token is still that of an open stream is the streams table's matter.

use crate::error::{Error, Result};
use rustix::event::epoll;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A connection that can be handed over.
pub(crate) type Held = (u64, Arc<OwnedFd>);

#[derive(Debug, Default)]
struct Inner {
    connections: BTreeMap<u64, Arc<OwnedFd>>,
    /// Tokens that came since the last [`Registry::snapshot`].
    added: Vec<u64>,
    newcomers: Newcomers,
}

/// What becomes of a connection that comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Newcomers {
    /// It is accepted, and the next snapshot has it.
    #[default]
    Stay,
    /// It is accepted, and a successor is told of it at once.
    GoOver,
    /// It waits in its listener's queue.
    Wait,
}

/// The registry of a process.
#[derive(Debug)]
pub(crate) struct Registry {
    inner: Mutex<Inner>,
    epoll: OwnedFd,
}

impl Registry {
    pub(crate) fn new() -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|e| Error::io("make", "an epoll set", e))?;
        Ok(Self {
            inner: Mutex::default(),
            epoll,
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The epoll set; its events carry tokens.
    pub(crate) fn epoll(&self) -> &OwnedFd {
        &self.epoll
    }

    /// Registers a connection that came from a predecessor.
    pub(crate) fn insert(&self, token: u64, fd: OwnedFd) -> Result<()> {
        self.insert_locked(&mut self.inner(), token, fd)
    }

    fn insert_locked(&self, inner: &mut Inner, token: u64, fd: OwnedFd) -> Result<()> {
        let interest = epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
        epoll::add(&self.epoll, &fd, epoll::EventData::new_u64(token), interest)
            .map_err(|e| Error::io("watch", "a connection", e))?;
        inner.connections.insert(token, Arc::new(fd));
        inner.added.push(token);
        Ok(())
    }

    /// Runs `accept` unless newcomers wait; what it gives is registered. Says whether a successor is to be told of it at once (Y2).
    pub(crate) fn accept<E: From<Error>>(
        &self,
        accept: impl FnOnce() -> std::result::Result<Option<(u64, OwnedFd)>, E>,
    ) -> std::result::Result<Option<(u64, bool)>, E> {
        let mut inner = self.inner();
        if inner.newcomers == Newcomers::Wait {
            return Ok(None);
        }
        let Some((token, fd)) = accept()? else {
            return Ok(None);
        };
        self.insert_locked(&mut inner, token, fd)?;
        Ok(Some((token, inner.newcomers == Newcomers::GoOver)))
    }

    /// The connection with this token.
    pub(crate) fn get(&self, token: u64) -> Option<Arc<OwnedFd>> {
        self.inner().connections.get(&token).cloned()
    }

    /// Takes a connection out. Its descriptor is closed when its last user lets go.
    pub(crate) fn remove(&self, token: u64) -> Option<Arc<OwnedFd>> {
        let fd = self.inner().connections.remove(&token)?;
        // A descriptor that a handover still sends would stay in the set otherwise.
        let _ = epoll::delete(&self.epoll, fd.as_fd());
        Some(fd)
    }

    /// All connections, in the order of their tokens.
    pub(crate) fn all(&self) -> Vec<Held> {
        let inner = self.inner();
        inner.connections.iter().map(|(t, fd)| (*t, Arc::clone(fd))).collect()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.inner().connections.len()
    }

    /// All connections; from now on [`since`](Self::since) gives those that come.
    pub(crate) fn snapshot(&self) -> Vec<Held> {
        let mut inner = self.inner();
        inner.added.clear();
        inner.connections.iter().map(|(t, fd)| (*t, Arc::clone(fd))).collect()
    }

    /// Those that came since the last snapshot and are still there; what comes from here on becomes what `then` says, and is not among them.
    pub(crate) fn since(&self, then: Newcomers) -> Vec<Held> {
        let mut inner = self.inner();
        inner.newcomers = then;
        let added = std::mem::take(&mut inner.added);
        let held = |token: u64| Some((token, Arc::clone(inner.connections.get(&token)?)));
        added.into_iter().filter_map(held).collect()
    }

    /// Says what becomes of connections that come from here on (Y2).
    pub(crate) fn set_newcomers(&self, newcomers: Newcomers) {
        self.inner().newcomers = newcomers;
    }

    /// Forgets everything; closes this process's descriptors.
    pub(crate) fn clear(&self) {
        let connections = std::mem::take(&mut self.inner().connections);
        for fd in connections.values() {
            let _ = epoll::delete(&self.epoll, fd.as_fd());
        }
    }
}
