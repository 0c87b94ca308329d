//! The state of a node, read from its control block: it can be had even if every process of the node hangs.

use crate::control::{ControlBlock, Declarations, HandoverRecord, NodeIdentity, Participant, ParticipantState, Phase};
use crate::error::{Error, Result};
use crate::os::clock::Deadline;
use crate::os::dir::{self, NodeDir};
use crate::os::lock;
use shmstate::lease::Lease;
use std::path::Path;
use std::time::Duration;

/// How long a control block that is being made is waited for.
const PATIENCE: Duration = Duration::from_millis(200);

/// What the control block of a node says.
#[derive(Clone, Debug)]
pub struct Status {
    /// Name of the node.
    pub node: String,
    /// Its id, which its shared-memory objects carry in their names.
    pub id: u128,
    /// The lease.
    pub lease: Lease,
    /// The owner, if its row can be read.
    pub owner: Option<Participant>,
    /// Whether the owner lives.
    pub alive: bool,
    /// How far the handover in progress is.
    pub phase: Phase,
    /// Until when the owner is on probation, ns of CLOCK_MONOTONIC; old or 0 if nobody is parked.
    pub probation_end: u64,
    /// What the owner has declared beside its regions; `None` if its library is too old to say so.
    pub declared: Option<Declarations>,
    /// Everybody who takes part.
    pub participants: Vec<Participant>,
    /// Handovers completed.
    pub completed: u64,
    /// Handovers that were called off.
    pub aborted: u64,
    /// The last handovers, oldest first.
    pub history: Vec<HandoverRecord>,
}

/// Names of the nodes in `base` (see [`crate::runtime_base`]).
///
/// # Errors
/// The directory cannot be read.
pub fn nodes(base: &Path) -> Result<Vec<String>> {
    dir::nodes(base)
}

/// Reads the state of a node.
///
/// # Errors
/// [`Error::Unknown`] if there is no such node; those of its control block.
pub fn status(base: &Path, node: &str) -> Result<Status> {
    let unknown = || Error::Unknown {
        what: "node",
        name: node.into(),
    };
    let dir = NodeDir::find(base, node)?.ok_or_else(unknown)?;
    let id = dir.read_id()?.ok_or_else(unknown)?;
    let identity = NodeIdentity { id, name: node.into() };
    let block = ControlBlock::open(&identity, Deadline::after(PATIENCE))?;
    let lease = block.lease()?;
    let participants = block.participants()?;
    let owner = match lease {
        Lease::Owned { owner, .. } | Lease::Offered { owner, .. } => block.participant(owner)?,
        Lease::Vacant { .. } => None,
    };
    let alive = match &owner {
        Some(owner) => owner.is_alive()? && lock::is_held(&dir.lock_file()?)?,
        None => false,
    };
    let owner_process = owner.as_ref().map(|owner| owner.process);
    let mut phase = block.phase();
    if phase == Phase::Draining {
        // One that was killed while it drained could not say that it is over.
        let draining = participants.iter().filter(|p| p.state == ParticipantState::Draining);
        let mut draining = draining.map(Participant::is_alive);
        if !draining.any(|alive| alive.unwrap_or(true)) {
            phase = Phase::None;
        }
    }
    let (completed, aborted) = block.handovers();
    Ok(Status {
        node: node.into(),
        id: id.0,
        lease,
        alive,
        owner,
        phase,
        probation_end: block.probation_end(),
        declared: owner_process.and_then(|owner| block.declarations(owner)),
        participants,
        completed,
        aborted,
        history: block.history(),
    })
}
