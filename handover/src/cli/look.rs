//! Looks at a node: who serves it, if anybody.

use std::fs::File;
use std::path::Path;

use crate::control::{NodeIdentity, Participant};
use crate::error::{ControlProblem, Error, Result};
use crate::os::dir::{LOCK, NodeDir, NodeId};
use crate::os::lock;
use crate::status::{Status, status};

/// What there is of a node.
#[derive(Debug)]
pub(super) enum Found {
    /// It has a control block. Whether its owner lives is in it.
    Known(Box<Status>),
    /// It has a directory, no control block, and no process that holds its lock: it never ran since the machine was
    /// started.
    Empty,
    /// There is no such node.
    Absent,
}

impl Found {
    /// Looks at the node `node` in `base`. Changes nothing (X3).
    pub(super) fn of(base: &Path, node: &str) -> Result<Self> {
        match status(base, node) {
            Ok(status) => Ok(Self::Known(Box::new(status))),
            Err(Error::Unknown { .. }) if NodeDir::find(base, node)?.is_none() => Ok(Self::Absent),
            Err(Error::Unknown { .. }) => Ok(Self::Empty),
            Err(
                error @ Error::ControlBlock {
                    problem: ControlProblem::Missing,
                    ..
                },
            ) => {
                if is_locked(base, node)? {
                    Err(error)
                } else {
                    Ok(Self::Empty)
                }
            }
            Err(error) => Err(error),
        }
    }

    /// What its control block says.
    pub(super) fn status(&self) -> Option<&Status> {
        match self {
            Self::Known(status) => Some(status),
            Self::Empty | Self::Absent => None,
        }
    }

    /// The living owner.
    pub(super) fn owner(&self) -> Option<&Participant> {
        self.status().filter(|s| s.alive).and_then(|s| s.owner.as_ref())
    }

    /// A sentence without a full stop: who serves.
    pub(super) fn who_serves(&self) -> String {
        match (self.owner(), self.status()) {
            (Some(owner), Some(status)) => format!(
                "process {} (build {}) serves, generation {}",
                owner.process.pid,
                owner.build_id,
                status.lease.generation()
            ),
            _ => "nobody serves".into(),
        }
    }
}

/// Which control block a status was read from.
pub(super) fn identity(status: &Status) -> NodeIdentity {
    NodeIdentity {
        id: NodeId(status.id),
        name: status.node.clone(),
    }
}

/// Whether an owner holds the liveness lock. Unlike [`NodeDir::lock_file`] this makes no file.
fn is_locked(base: &Path, node: &str) -> Result<bool> {
    let Some(dir) = NodeDir::find(base, node)? else {
        return Ok(false);
    };
    let path = dir.path().join(LOCK);
    match File::open(&path) {
        Ok(file) => lock::is_held(&file),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io("open", path.display(), e)),
    }
}
