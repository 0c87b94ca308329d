//! A node that nobody holds any more but processes that have ended and still write their cores: it is taken over without waiting for that.
//! What one that is giving up its memory still has does not show, so nothing is taken from it: a start waits until the lock is free.
//!
//! - **O1** The liveness lock says that somebody is there who owns the node, is parked, or has everything to take over. All of these have a row. So the lock
//!   counts as free if each row's process is dead, or has ended, or drains; and one at least is seen to have ended, which is who holds the lock. Where the
//!   rows name processes that cannot be seen from here, the lock decides.
//! - **O2** The lock itself comes from the estate of those (`os::estate`), as it would have come with an offer; so at every moment it is held, and later starters
//!   see what they always see. Who cannot get it waits for the core.
//! - **O3** The caller holds `start`, and inherits only the lease that was seen before the rows were: one compare-and-swap (H1).
//!
//! It does not know what is done with the node.

use crate::control::{ControlBlock, NodeIdentity, ParticipantState};
use crate::error::Result;
use crate::node::builder::region_object;
use crate::os::clock::Deadline;
use crate::os::dir::{self, NodeDir};
use crate::os::estate::Estate;
use crate::os::lock::{self, OwnedLock};
use crate::os::pidfd::{Pidfd, ProcessId};
use rustix::fs::fstat;
use shmstate::lease::Lease;
use std::ffi::OsStr;
use std::path::Path;

/// What those who have ended left.
#[derive(Debug)]
pub(crate) struct Orphan {
    lease: Lease,
    ended: Vec<Pidfd>,
}

impl Orphan {
    /// Looks whether the node in `dir` is one (O1), but for this process.
    pub(crate) fn of(dir: &NodeDir) -> Result<Option<Self>> {
        let Some(id) = dir.read_id()? else { return Ok(None) };
        let node = dir.node().into();
        // None that can be read: nobody is known to have ended.
        let Ok(block) = ControlBlock::open(&NodeIdentity { id, name: node }, Deadline::now()) else {
            return Ok(None);
        };
        let me = ProcessId::current()?;
        let lease = block.lease()?;
        let mut ended = Vec::new();
        for row in block.participants()? {
            // One that cannot be seen from here: the lock decides.
            let Ok(process) = Pidfd::open(row.process) else {
                return Ok(None);
            };
            match process {
                _ if row.process == me => {}
                Some(process) if process.is_dead()? => {}
                // At the first look that is true only of one that writes its core.
                Some(process) if process.has_ended()? => ended.push(process),
                Some(_) if row.state != ParticipantState::Draining => return Ok(None),
                _ => {}
            }
        }
        Ok((!ended.is_empty()).then_some(Self { lease, ended }))
    }

    /// Everything that they hold of the node, and the lock (O2); `None` if it cannot be had.
    pub(crate) fn take(&self, dir: &NodeDir) -> Result<Option<Inheritance>> {
        let Some(id) = dir.read_id()? else { return Ok(None) };
        let node = dir.node().into();
        let objects = region_object(&NodeIdentity { id, name: node }, "");
        let named = |path: &Path| {
            let name = path.file_name().and_then(OsStr::to_str);
            name.is_some_and(|name| name == dir::LOCK || name.starts_with(&objects))
        };
        let Some(mut estate) = Estate::of(&self.ended, named) else {
            return Ok(None);
        };
        let file = dir.lock_file()?;
        let same = |fd: &_| match (fstat(fd), fstat(&file)) {
            (Ok(a), Ok(b)) => (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino),
            _ => false,
        };
        let lock = estate.file(|_| true, |fd| same(fd) && lock::is_of(fd));
        Ok(match lock {
            Some(lock) => Some(Inheritance {
                lease: Some(self.lease),
                lock: OwnedLock::from_fd(lock)?,
                estate,
            }),
            None => None,
        })
    }
}

/// What a first process finds.
#[derive(Debug)]
pub(crate) struct Inheritance {
    /// Proves that all owners are dead, or have ended (H5).
    pub(crate) lock: OwnedLock,
    /// What the lease has to be still; `None` where the lock was free, so that nobody can change it.
    pub(crate) lease: Option<Lease>,
    pub(crate) estate: Estate,
}

impl Inheritance {
    /// Of those who are dead: nothing but the lock.
    pub(crate) fn free(lock: OwnedLock) -> Self {
        Self {
            lock,
            lease: None,
            estate: Estate::default(),
        }
    }
}
