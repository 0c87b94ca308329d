//! A node as `--json` shows it. Keys are a contract (X1): they are the fields' names.
//!
//! Ages and deadlines are relative to the moment of the look, for CLOCK_MONOTONIC says nothing to a reader.

use serde::Serialize;
use shmstate::lease::Lease;

use super::look::identity;
use super::probation::{Probation, is_way_back};
use crate::control::{ControlBlock, DrainPhase, HandoverRecord, Outcome, Participant, ParticipantState, Phase};
use crate::error::Result;
use crate::os::clock::{self, Deadline};
use crate::os::dir::NodeId;
use crate::status::Status;
use std::time::Duration;

/// A node.
#[derive(Debug, Serialize)]
pub(super) struct NodeView {
    pub(super) node: String,
    /// 32 hex digits, as in the names of its shared-memory objects.
    pub(super) id: Option<String>,
    /// Whether it has a living owner; null if that cannot be found out.
    pub(super) serving: Option<bool>,
    /// Why it cannot be read.
    pub(super) error: Option<String>,
    pub(super) lease: Option<LeaseView>,
    /// The owner by the lease, living or dead.
    pub(super) owner: Option<ParticipantView>,
    /// The handover in progress.
    pub(super) handover: Option<ProgressView>,
    /// The probation of the owner.
    pub(super) probation: Option<ProbationView>,
    pub(super) completed: u64,
    pub(super) aborted: u64,
    pub(super) participants: Vec<ParticipantView>,
    /// The last handovers, newest first.
    pub(super) handovers: Vec<HandoverView>,
}

/// The lease word.
#[derive(Debug, Serialize)]
pub(super) struct LeaseView {
    /// `vacant`, `owned` or `offered`.
    pub(super) state: &'static str,
    pub(super) generation: u64,
    pub(super) owner_slot: Option<u8>,
    pub(super) heir_slot: Option<u8>,
}

/// A process that takes part.
#[derive(Debug, Serialize)]
pub(super) struct ParticipantView {
    pub(super) slot: u8,
    /// `serving`, `preparing`, `parked` or `draining`. Who owns the lease is serving.
    pub(super) state: &'static str,
    pub(super) alive: bool,
    pub(super) pid: u32,
    /// Clock ticks since boot, field 22 of /proc/PID/stat: with the pid it names one process for ever.
    pub(super) start_time: u64,
    pub(super) build_id: String,
    /// How long it is in its state.
    pub(super) age_ms: u64,
    pub(super) connections: u64,
    pub(super) in_flight: u64,
    /// What is left until its drain must end.
    pub(super) drain_left_ms: Option<u64>,
    /// How its drain goes; null if it does not drain.
    pub(super) drain: Option<DrainView>,
}

/// A drain.
#[derive(Debug, Serialize)]
pub(super) struct DrainView {
    /// `idle` (phase 1: idle connections are asked to close) or `in_flight` (phase 2).
    pub(super) phase: &'static str,
    /// What the oldest that it holds is called, and how long that is as it is.
    pub(super) oldest: Option<String>,
    pub(super) oldest_ms: Option<u64>,
}

/// A probation: the owner serves, and its predecessor could take the node back.
#[derive(Debug, Serialize)]
pub(super) struct ProbationView {
    /// `probation`, or `returning` while the node goes back.
    pub(super) phase: &'static str,
    /// What is left of it.
    pub(super) left_ms: u64,
    /// Who is on probation.
    pub(super) owner_pid: u32,
    /// Who is parked.
    pub(super) parked_pid: u32,
    pub(super) parked_build_id: String,
    /// Since the last pass of the owner, which is what a watchdog looks at; null if it had none.
    pub(super) heartbeat_age_ms: Option<u64>,
}

/// A handover in progress.
#[derive(Debug, Serialize)]
pub(super) struct ProgressView {
    /// `offering`, `waiting_for_ready`, `staging`, `closing` or `offered`.
    pub(super) phase: &'static str,
    pub(super) successor_pid: Option<u32>,
    pub(super) running_ms: u64,
    /// What is left until the phase must end; negative if that has passed.
    pub(super) deadline_left_ms: Option<i64>,
}

/// A handover that ended.
#[derive(Clone, Debug, Serialize)]
pub(super) struct HandoverView {
    pub(super) sequence: u64,
    /// `handed_over`, `refused_by_successor`, `successor_died`, `deadline`, `successor_did_not_take`, `inherited`,
    /// `protocol_error`, `gate_not_quiet`, `given_back`, `taken_back` or `probation_unread`.
    pub(super) outcome: &'static str,
    pub(super) from_generation: u64,
    pub(super) to_generation: u64,
    /// Who was to have the node, or has it now: of one that went back, the predecessor.
    pub(super) successor_pid: u32,
    /// Since it began.
    pub(super) age_ms: Option<u64>,
    /// From its beginning to `ready`.
    pub(super) prepare_ms: Option<f64>,
    /// Of one that went back: from the moment in which that was decided (a death was seen, the watchdog or an operator said so) to the first tick
    /// of the old owner.
    pub(super) give_back_ms: Option<f64>,
    pub(super) blackout_us: Option<f64>,
    pub(super) noise_us: Option<f64>,
    pub(super) descriptors: u32,
    pub(super) connections: u32,
    pub(super) reason: String,
}

impl NodeView {
    /// A node of which nothing is known but its name.
    pub(super) fn unknown(node: &str) -> Self {
        Self {
            node: node.into(),
            id: None,
            serving: None,
            error: None,
            lease: None,
            owner: None,
            handover: None,
            probation: None,
            completed: 0,
            aborted: 0,
            participants: Vec::new(),
            handovers: Vec::new(),
        }
    }

    /// A node with its `last` handovers.
    pub(super) fn of(status: &Status, last: usize) -> Result<Self> {
        let owner = status.owner.as_ref();
        let mut participants = Vec::new();
        for participant in &status.participants {
            let view = ParticipantView::of(participant, owner)?;
            // A row whose process is dead is free; the owner's tells who it was.
            if view.alive || owner.is_some_and(|o| o.slot == view.slot) {
                participants.push(view);
            }
        }
        // No process is there to go on with it: what the words say is from before.
        let handover = if status.alive || status.phase == Phase::Offered {
            ProgressView::of(status)?
        } else {
            None
        };
        let newest = status.history.iter().rev().take(last);
        Ok(Self {
            node: status.node.clone(),
            id: Some(NodeId(status.id).to_string()),
            serving: Some(status.alive),
            error: None,
            lease: Some(LeaseView::of(status.lease)),
            owner: owner.map(|o| ParticipantView::of(o, owner)).transpose()?,
            handover,
            probation: Probation::of(status)?.as_ref().map(ProbationView::of),
            completed: status.completed,
            aborted: status.aborted,
            participants,
            handovers: newest.map(HandoverView::of).collect(),
        })
    }
}

impl LeaseView {
    fn of(lease: Lease) -> Self {
        let (state, owner_slot, heir_slot) = match lease {
            Lease::Vacant { .. } => ("vacant", None, None),
            Lease::Owned { owner, .. } => ("owned", Some(owner), None),
            Lease::Offered { owner, heir, .. } => ("offered", Some(owner), Some(heir)),
        };
        Self {
            state,
            generation: lease.generation(),
            owner_slot,
            heir_slot,
        }
    }
}

impl ParticipantView {
    fn of(participant: &Participant, owner: Option<&Participant>) -> Result<Self> {
        let owns = owner.is_some_and(|o| o.slot == participant.slot && o.process == participant.process);
        let state = match participant.state {
            ParticipantState::Draining => "draining",
            ParticipantState::Serving => "serving",
            // The lease decides, not the row.
            ParticipantState::Preparing | ParticipantState::Parked if owns => "serving",
            ParticipantState::Preparing => "preparing",
            ParticipantState::Parked => "parked",
            ParticipantState::Unknown => "unknown",
        };
        Ok(Self {
            slot: participant.slot,
            state,
            alive: participant.is_alive()?,
            pid: participant.process.pid,
            start_time: participant.process.start_time,
            build_id: participant.build_id.clone(),
            age_ms: millis_since(participant.since).unwrap_or_default(),
            connections: participant.connections,
            in_flight: participant.in_flight,
            drain_left_ms: match participant.drain_deadline {
                0 => None,
                at => Some(at.saturating_sub(clock::now()) / NANOS_PER_MILLI),
            },
            drain: DrainView::of(participant),
        })
    }
}

impl DrainView {
    fn of(participant: &Participant) -> Option<Self> {
        let note = &participant.drain;
        Some(Self {
            phase: match note.phase {
                DrainPhase::None => return None,
                DrainPhase::Idle => "idle",
                DrainPhase::InFlight => "in_flight",
            },
            oldest: (note.oldest_since != 0).then(|| note.oldest.clone()),
            oldest_ms: millis_since(note.oldest_since),
        })
    }
}

impl ProgressView {
    /// `None` if no handover is in progress. The phase alone does not tell: a predecessor that lost the lease does not
    /// write it any more.
    fn of(status: &Status) -> Result<Option<Self>> {
        let phase = match status.phase {
            // The successor is the owner already.
            Phase::None | Phase::Draining | Phase::Probation | Phase::Returning => return Ok(None),
            Phase::Offering => "offering",
            Phase::WaitingForReady => "waiting_for_ready",
            Phase::Staging => "staging",
            Phase::Closing => "closing",
            Phase::Offered => "offered",
            Phase::Unknown => "unknown",
        };
        let block = ControlBlock::open(&identity(status), Deadline::now())?;
        let slot = block.successor_slot();
        if matches!(status.lease, Lease::Owned { owner, .. } if u32::from(owner) == slot) {
            return Ok(None);
        }
        let successor = status.participants.iter().find(|p| u32::from(p.slot) == slot);
        Ok(Some(Self {
            phase,
            successor_pid: successor.map(|p| p.process.pid),
            running_ms: millis_since(block.started()).unwrap_or_default(),
            deadline_left_ms: match block.phase_deadline() {
                0 => None,
                at => Some((at as i64).saturating_sub(clock::now() as i64) / NANOS_PER_MILLI as i64),
            },
        }))
    }
}

impl ProbationView {
    pub(super) fn of(probation: &Probation<'_>) -> Self {
        let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        Self {
            phase: if probation.returning { "returning" } else { "probation" },
            left_ms: millis(probation.left()),
            owner_pid: probation.owner.process.pid,
            parked_pid: probation.parked.process.pid,
            parked_build_id: probation.parked.build_id.clone(),
            heartbeat_age_ms: probation.silent().map(millis),
        }
    }
}

impl HandoverView {
    pub(super) fn of(record: &HandoverRecord) -> Self {
        let went_back = is_way_back(record.outcome);
        let give_back = match (record.started, record.first_tick) {
            (0, _) | (_, 0) => None,
            (started, tick) => tick.checked_sub(started).filter(|_| went_back),
        };
        let prepare = match (record.started, record.ready) {
            _ if went_back => None,
            (0, _) | (_, 0) => None,
            (started, ready) => ready.checked_sub(started),
        };
        Self {
            sequence: record.sequence,
            outcome: outcome(record.outcome),
            from_generation: record.from_generation,
            to_generation: record.to_generation,
            successor_pid: record.successor_pid,
            age_ms: millis_since(record.started),
            prepare_ms: prepare.map(|ns| round(ns as f64 / NANOS_PER_MILLI as f64)),
            give_back_ms: give_back.map(|ns| round(ns as f64 / NANOS_PER_MILLI as f64)),
            blackout_us: record.blackout().map(|d| round(d.as_nanos() as f64 / 1e3)),
            noise_us: (record.noise != 0).then(|| round(record.noise as f64 / 1e3)),
            descriptors: record.descriptors,
            connections: record.streams,
            reason: record.reason.clone(),
        }
    }
}

const NANOS_PER_MILLI: u64 = 1_000_000;

fn millis_since(stamp: u64) -> Option<u64> {
    (stamp != 0).then(|| clock::now().saturating_sub(stamp) / NANOS_PER_MILLI)
}

/// Three decimals: a nanosecond, where the unit is a microsecond.
fn round(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

const fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::HandedOver => "handed_over",
        Outcome::RefusedBySuccessor => "refused_by_successor",
        Outcome::SuccessorDied => "successor_died",
        Outcome::Deadline => "deadline",
        Outcome::SuccessorDidNotTake => "successor_did_not_take",
        Outcome::Inherited => "inherited",
        Outcome::ProtocolError => "protocol_error",
        Outcome::GateNotQuiet => "gate_not_quiet",
        Outcome::GivenBack => "given_back",
        Outcome::TakenBack => "taken_back",
        Outcome::ProbationUnread => "probation_unread",
        Outcome::Unknown => "unknown",
    }
}
