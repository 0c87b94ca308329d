//! Regions that a new version brings: made by the successor before it is ready, so that a full mount refuses while the predecessor serves.
//!
//! - Whoever makes one removes it unless the node becomes its own; and removes it when it gives the node back.
//! - An object of that name which the predecessor did not offer is what a version left that did not last: it is replaced. One that a living
//!   process holds is no such thing: the offer was wrong, or it is a parked process's, who could take the node back and would have it
//!   without a name. It stays, and this version does not take over. A process that has ended and writes its core does not count (H5); one that
//!   has ended and is giving up its memory is waited for, before anything is made.
//!
//! It does not know what is in them: a region that is new has no tables, and they are made when its maker owns the node.

use crate::control::{ControlBlock, NodeIdentity};
use crate::error::Result;
use crate::node::builder::region_object;
use crate::node::config::RegionSpec;
use crate::os::clock::Deadline;
use crate::os::estate;
use crate::os::pidfd::Pidfd;
use shmstate::{Gate, Options, Region};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a process may take from its last instruction to its death without a core: a hundred GiB in small pages.
const DYING: Duration = Duration::from_secs(5);
/// Between two looks whether the predecessor serves meanwhile.
const LOOK: Duration = Duration::from_millis(10);
/// Where regions are that have no directory of their own.
const SHM: &str = "/dev/shm";

/// Removes every region of the node that is in [`SHM`]: for who ends the node for good, and may not know what versions brought that did not last.
/// What cannot be removed is left: the node's directory goes all the same.
pub(crate) fn remove_all(identity: &NodeIdentity) {
    let prefix = region_object(identity, "");
    let Ok(entries) = std::fs::read_dir(SHM) else { return };
    for entry in entries.flatten() {
        if let Some(name) = entry.file_name().to_str().filter(|name| name.starts_with(&prefix)) {
            let _ = Region::remove(name);
        }
    }
}

/// Waits until those are dead who have ended, as a version that was killed in its probation a moment ago: what they brought, regions and sockets, would
/// be in the way of what this one makes. The predecessor serves meanwhile: if it ends itself, nobody waits. A core is not waited for.
pub(crate) fn wait_for_the_dying(block: &ControlBlock, predecessor: Option<&Pidfd>) -> Result<()> {
    let deadline = Deadline::after(DYING);
    let serves = || predecessor.is_some_and(|predecessor| !predecessor.has_ended().unwrap_or(true));
    for row in block.participants()? {
        // One that cannot be seen from here is none of those.
        let Ok(Some(process)) = Pidfd::open(row.process) else {
            continue;
        };
        let is_predecessor = predecessor.is_some_and(|predecessor| predecessor.process() == row.process);
        if is_predecessor || !process.seems_dying() {
            continue;
        }
        // If it takes longer, what is in the way refuses, and says what it is.
        while serves() && !deadline.passed() && process.wait_dead(deadline.or(Deadline::after(LOOK))).is_err() {}
    }
    Ok(())
}

/// Whether nobody holds this object but processes of the node that have ended.
fn is_left(block: &ControlBlock, object: &str) -> Result<bool> {
    let me = std::process::id();
    let mut left = false;
    for row in block.participants()?.iter().filter(|row| row.process.pid != me) {
        let process = match Pidfd::open(row.process) {
            Ok(Some(process)) => process,
            Ok(None) => continue,
            // It cannot be seen from here, and may have it.
            Err(_) => return Ok(false),
        };
        let has = estate::has_open(row.process.pid, object);
        if process.has_ended()? {
            left |= has == Some(true);
        } else if has != Some(false) {
            return Ok(false);
        }
    }
    Ok(left)
}

/// The regions that this process brought, by the names of their objects.
#[derive(Debug, Default)]
pub(crate) struct NewRegions(Mutex<Vec<(String, Options)>>);

impl NewRegions {
    /// Makes a region.
    pub(crate) fn make(&self, block: &ControlBlock, spec: &RegionSpec, gate: &Gate) -> Result<Region> {
        let id = block.identity().id.0;
        let name = region_object(block.identity(), &spec.name);
        let options = spec.options.clone().gate(gate);
        let options = options.node_id([id as u64, (id >> 64) as u64]);
        let mut region = match options.create(&name) {
            Err(shmstate::Error::Exists { .. }) => {
                if let Err(held @ shmstate::Error::InUse { .. }) = options.open(&name)
                    && !is_left(block, &name)?
                {
                    return Err(held.into());
                }
                options.remove(&name)?;
                options.create(&name)?
            }
            made => made?,
        };
        self.lock().push((name, options));
        spec.expect(&mut region)?;
        Ok(region)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(String, Options)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this process brought the region that has this object.
    pub(crate) fn has(&self, object: &str) -> bool {
        self.lock().iter().any(|(name, _)| name == object)
    }

    /// Nobody can take the node back any more: they are the node's like any other.
    pub(crate) fn keep(&self) {
        self.lock().clear();
    }

    /// Removes them: this process will not serve, or not any longer.
    pub(crate) fn remove(&self) {
        for (name, options) in std::mem::take(&mut *self.lock()) {
            // The reason for leaving is on its way to the caller; a leftover is replaced by the next version.
            let _ = options.remove(&name);
        }
    }
}

impl Drop for NewRegions {
    fn drop(&mut self) {
        self.remove();
    }
}
