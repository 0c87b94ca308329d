//! What a look at a node means for an upgrade: a pure function of what there was before, what was started, and what is
//! seen now.
//!
//! - **V1** CMD serves when the lease's owner is a living process of CMD's and of a later generation than before, and the
//!   process itself says so: by its row, or by a record of the handover.
//! - **V2** It was called off when the history has a new record of another outcome that names a process of CMD's.
//! - **V3** When CMD has ended well and left nothing, a later owner that is none of those from before is what CMD started
//!   by other means (a daemon, a service manager).
//! - **V4** When CMD has ended and left nothing, nothing will happen any more.
//! - **V5** It went back when the history has a record of a predecessor that took the node from it again.

use shmstate::lease::Lease;

use super::probation::is_way_back;
use crate::control::{HandoverRecord, Outcome, Participant, ParticipantState};
use crate::os::pidfd::ProcessId;
use crate::status::Status;

/// The node before CMD was started.
#[derive(Clone, Debug, Default)]
pub(super) struct Before {
    /// Its id, if it had one. A node that is removed and made again counts from 0.
    pub(super) id: Option<u128>,
    pub(super) generation: u64,
    /// Number of the last record.
    pub(super) sequence: u64,
    /// Whether its owner lived.
    pub(super) served: bool,
    /// The living owner.
    pub(super) owner: Option<ProcessId>,
    pub(super) participants: Vec<ProcessId>,
}

/// What became of CMD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cmd {
    /// Something of it lives.
    Living,
    /// It has ended and left nothing; whether it said that all is well.
    Ended { well: bool },
}

/// What a look means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The process with this pid serves, thanks to CMD.
    Serves(u32),
    /// The handover was called off.
    CalledOff(Box<HandoverRecord>),
    /// A process of CMD's served, and its predecessor serves again.
    WentBack(Box<HandoverRecord>),
    /// Nothing will happen any more.
    Gone,
    /// Not yet.
    Pending,
}

impl Before {
    pub(super) fn of(status: Option<&Status>) -> Self {
        let Some(status) = status else {
            return Self::default();
        };
        Self {
            id: Some(status.id),
            generation: status.lease.generation(),
            sequence: status.history.last().map_or(0, |r| r.sequence),
            served: status.alive,
            owner: status.owner.as_ref().filter(|_| status.alive).map(|o| o.process),
            participants: status.participants.iter().map(|p| p.process).collect(),
        }
    }

    /// Records that came since.
    pub(super) fn news<'a>(&'a self, now: &'a Status) -> impl Iterator<Item = &'a HandoverRecord> {
        let same = self.id == Some(now.id);
        now.history.iter().filter(move |r| !same || r.sequence > self.sequence)
    }

    /// The living owner, if it took over since.
    fn new_owner<'a>(&self, now: &'a Status) -> Option<&'a Participant> {
        let later = self.id != Some(now.id) || now.lease.generation() > self.generation;
        let owned = matches!(now.lease, Lease::Owned { .. });
        now.owner.as_ref().filter(|_| later && owned && now.alive)
    }
}

/// Whether a process of CMD's owns the node, in a state in which ending it would leave the node without a server.
pub(super) fn owns(before: &Before, ours: impl Fn(u32) -> bool, now: &Status) -> bool {
    before
        .new_owner(now)
        .is_some_and(|o| ours(o.process.pid) && (before.served || o.state == ParticipantState::Serving))
}

/// V1 to V4. `ours` tells whether a pid is, or was, one of CMD's.
pub(super) fn judge(before: &Before, ours: impl Fn(u32) -> bool, cmd: Cmd, now: Option<&Status>) -> Verdict {
    if let Some(now) = now {
        if let Some(owner) = before.new_owner(now) {
            let pid = owner.process.pid;
            // A first process that takes up what a dead owner left records that before it is ready.
            let done = |how| how == Outcome::HandedOver || before.served && how == Outcome::Inherited;
            let recorded = || before.news(now).any(|r| r.successor_pid == pid && done(r.outcome));
            let speaks = owner.state == ParticipantState::Serving || recorded();
            let known = before.participants.contains(&owner.process);
            if ours(pid) && speaks || cmd == (Cmd::Ended { well: true }) && !known {
                return Verdict::Serves(pid);
            }
        }
        if let Some(record) = went_back(before, &ours, cmd, now) {
            return Verdict::WentBack(Box::new(record.clone()));
        }
        let called_off = before.news(now).filter(|r| is_abort(r) && ours(r.successor_pid)).last();
        if let Some(record) = called_off {
            return Verdict::CalledOff(Box::new(record.clone()));
        }
    }
    match cmd {
        Cmd::Living => Verdict::Pending,
        Cmd::Ended { .. } => Verdict::Gone,
    }
}

/// V5. Who owned the generation that was lost is in the record of its handover, unless it died before it could write that.
fn went_back<'a>(
    before: &'a Before,
    ours: impl Fn(u32) -> bool,
    cmd: Cmd,
    now: &'a Status,
) -> Option<&'a HandoverRecord> {
    let back = before.news(now).filter(|r| is_way_back(r.outcome)).last()?;
    let lost = back.from_generation;
    let owner = before
        .news(now)
        .find(|r| r.to_generation == lost && r.outcome == Outcome::HandedOver);
    match owner {
        Some(owner) => ours(owner.successor_pid),
        None => cmd != Cmd::Living,
    }
    .then_some(back)
}

fn is_abort(record: &HandoverRecord) -> bool {
    use Outcome::{HandedOver, Inherited, ProbationUnread};
    !is_way_back(record.outcome) && !matches!(record.outcome, HandedOver | Inherited | ProbationUnread)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Phase;

    const OLD: u32 = 10;
    const NEW: u32 = 20;

    fn participant(pid: u32, state: ParticipantState) -> Participant {
        Participant {
            slot: pid as u8,
            state,
            process: ProcessId { pid, start_time: 1 },
            build_id: "v".into(),
            since: 1,
            connections: 0,
            in_flight: 0,
            drain_deadline: 0,
            heartbeat: 0,
            drain: crate::control::DrainNote::default(),
        }
    }

    fn served_by(pid: u32, generation: u64, state: ParticipantState) -> Status {
        let owner = participant(pid, state);
        Status {
            node: "n".into(),
            id: 1,
            lease: Lease::Owned {
                owner: owner.slot,
                generation,
            },
            participants: vec![owner.clone()],
            owner: Some(owner),
            alive: true,
            phase: Phase::None,
            probation_end: 0,
            declared: None,
            completed: 0,
            aborted: 0,
            history: Vec::new(),
        }
    }

    fn record(sequence: u64, outcome: Outcome, pid: u32) -> HandoverRecord {
        HandoverRecord {
            sequence,
            successor_pid: pid,
            ..HandoverRecord::new(outcome, "because")
        }
    }

    fn judged(before: &Before, cmd: Cmd, now: &Status) -> Verdict {
        judge(before, |pid| pid == NEW, cmd, Some(now))
    }

    #[test]
    fn the_owner_decides() {
        use ParticipantState::{Preparing, Serving};
        let old = served_by(OLD, 5, Serving);
        let before = Before::of(Some(&old));
        assert_eq!(judged(&before, Cmd::Living, &old), Verdict::Pending);
        assert_eq!(judged(&before, Cmd::Ended { well: true }, &old), Verdict::Gone);
        assert_eq!(judge(&before, |_| true, Cmd::Living, None), Verdict::Pending);

        let new = served_by(NEW, 6, Serving);
        assert_eq!(judged(&before, Cmd::Living, &new), Verdict::Serves(NEW));
        let mut silent = served_by(NEW, 6, Preparing);
        assert_eq!(judged(&before, Cmd::Living, &silent), Verdict::Pending);
        assert!(owns(&before, |pid| pid == NEW, &silent), "it is not to be killed");
        silent.history.push(record(1, Outcome::HandedOver, NEW));
        assert_eq!(judged(&before, Cmd::Living, &silent), Verdict::Serves(NEW));
        silent.alive = false;
        assert_eq!(judged(&before, Cmd::Living, &silent), Verdict::Pending);

        // Taken back: the old one, two generations later.
        let back = served_by(OLD, 7, Serving);
        assert_eq!(judged(&before, Cmd::Ended { well: true }, &back), Verdict::Gone);
        // Somebody else's upgrade: CMD is still to come, or has failed, or was a wrapper.
        let other = served_by(30, 6, Serving);
        assert_eq!(judged(&before, Cmd::Living, &other), Verdict::Pending);
        assert_eq!(judged(&before, Cmd::Ended { well: false }, &other), Verdict::Gone);
        assert_eq!(judged(&before, Cmd::Ended { well: true }, &other), Verdict::Serves(30));
    }

    #[test]
    fn a_new_record_calls_off_and_an_old_one_does_not() {
        let mut now = served_by(OLD, 5, ParticipantState::Serving);
        now.history.push(record(3, Outcome::Deadline, NEW));
        let before = Before::of(Some(&now));
        assert_eq!(judged(&before, Cmd::Living, &now), Verdict::Pending);
        now.history.push(record(4, Outcome::RefusedBySuccessor, 30));
        assert_eq!(judged(&before, Cmd::Living, &now), Verdict::Pending);
        now.history.push(record(5, Outcome::ProbationUnread, NEW));
        assert_eq!(judged(&before, Cmd::Living, &now), Verdict::Pending, "it serves on");
        let ours = record(6, Outcome::SuccessorDied, NEW);
        now.history.push(ours.clone());
        let verdict = judged(&before, Cmd::Ended { well: false }, &now);
        assert_eq!(verdict, Verdict::CalledOff(Box::new(ours)));
    }

    #[test]
    fn what_went_back_is_told_from_what_never_came() {
        let old = served_by(OLD, 5, ParticipantState::Serving);
        let before = Before::of(Some(&old));
        let back = |lost: u64, sequence| HandoverRecord {
            from_generation: lost,
            to_generation: lost + 1,
            ..record(sequence, Outcome::TakenBack, OLD)
        };
        let handed = |to: u64, sequence, pid| HandoverRecord {
            to_generation: to,
            ..record(sequence, Outcome::HandedOver, pid)
        };
        let mut now = served_by(OLD, 7, ParticipantState::Serving);
        now.history = vec![handed(6, 1, NEW), back(6, 2)];
        let went = Verdict::WentBack(Box::new(back(6, 2)));
        assert_eq!(judged(&before, Cmd::Living, &now), went, "a wrapper of it lives on");
        assert_eq!(judged(&before, Cmd::Ended { well: false }, &now), went);
        // Somebody else's upgrade went back; CMD is still to come.
        now.history = vec![handed(6, 1, 30), back(6, 2)];
        assert_eq!(judged(&before, Cmd::Living, &now), Verdict::Pending);
        // It died before it could write that it had the node.
        now.history = vec![back(6, 1)];
        assert_eq!(
            judged(&before, Cmd::Ended { well: false }, &now),
            Verdict::WentBack(Box::new(back(6, 1)))
        );
        assert_eq!(judged(&before, Cmd::Living, &now), Verdict::Pending);
        // One from before.
        let later = Before { sequence: 1, ..before };
        assert_eq!(judged(&later, Cmd::Ended { well: false }, &now), Verdict::Gone);
    }

    #[test]
    fn a_node_made_anew_counts_from_zero() {
        let before = Before::of(Some(&served_by(OLD, 50, ParticipantState::Serving)));
        let mut now = served_by(NEW, 1, ParticipantState::Serving);
        now.id = 2;
        assert_eq!(judged(&before, Cmd::Living, &now), Verdict::Serves(NEW));
        let first = Before::default();
        now.owner = Some(participant(NEW, ParticipantState::Preparing));
        assert_eq!(
            judged(&first, Cmd::Living, &now),
            Verdict::Pending,
            "its regions are being made"
        );
        assert!(!owns(&first, |_| true, &now), "nobody would miss it");
        now.history.push(record(1, Outcome::Inherited, NEW));
        assert_eq!(judged(&first, Cmd::Living, &now), Verdict::Pending, "not ready yet");
        let dying = Before { served: true, ..first };
        assert_eq!(judged(&dying, Cmd::Living, &now), Verdict::Serves(NEW));
    }
}
