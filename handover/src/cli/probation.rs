//! A probation, as those see it who look from outside: who is parked, how long it lasts, what has become of it.
//!
//! - **W1** A node is on probation when a living process is parked and another one has the lease. When that ends only the predecessor knows: the
//!   end that the control block tells is for people.
//! - **W2** What became of it is said by the lease word and by the parked process's own row, nothing else; the history adds why.
//!
//! Used by `status`, `upgrade`, `rollback` and `confirm`. It does not know who wants the node back.

use shmstate::lease::Lease;
use std::time::Duration;

use crate::control::{HandoverRecord, Outcome, Participant, ParticipantState, Phase};
use crate::error::Result;
use crate::os::clock;
use crate::os::pidfd::ProcessId;
use crate::status::Status;

/// A node on probation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probation<'a> {
    /// The owner by the lease. It may be dead: then the parked process is about to have the node.
    pub(super) owner: &'a Participant,
    /// Who could take the node back.
    pub(super) parked: &'a Participant,
    /// Whether the node is on its way back.
    pub(super) returning: bool,
    /// When it is over, ns of CLOCK_MONOTONIC.
    end: u64,
}

impl<'a> Probation<'a> {
    /// `None` if the node is on none (W1).
    ///
    /// # Errors
    /// It cannot be found out who lives.
    pub(super) fn of(status: &'a Status) -> Result<Option<Self>> {
        let (Some(owner), Some(parked)) = (&status.owner, parked(status)?) else {
            return Ok(None);
        };
        if parked.process == owner.process {
            return Ok(None);
        }
        let offered = matches!(status.lease, Lease::Offered { heir, .. } if heir == parked.slot);
        Ok(Some(Self {
            owner,
            parked,
            returning: offered || !status.alive || status.phase == Phase::Returning,
            end: status.probation_end,
        }))
    }

    /// What is left of it.
    pub(super) fn left(&self) -> Duration {
        Duration::from_nanos(self.end.saturating_sub(clock::now()))
    }

    /// How long ago the owner had its last pass, which is what a watchdog looks at; `None` if it had none yet.
    pub(super) fn silent(&self) -> Option<Duration> {
        let beat = self.owner.heartbeat;
        (beat != 0).then(|| Duration::from_nanos(clock::now().saturating_sub(beat)))
    }
}

/// The living process that is parked; the last one that was, if there is one still that has just been told that it is not needed.
fn parked(status: &Status) -> Result<Option<&Participant>> {
    let mut found: Option<&Participant> = None;
    for row in &status.participants {
        let later = found.is_none_or(|f| f.since < row.since);
        if row.state == ParticipantState::Parked && later && row.is_alive()? {
            found = Some(row);
        }
    }
    Ok(found)
}

/// A probation that is being watched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watched {
    /// The node's id.
    pub(super) node: u128,
    /// Pid of the owner on probation.
    pub(super) owner: u32,
    /// Its predecessor.
    pub(super) parked: ProcessId,
    /// Number of the last record of the history that was there before.
    pub(super) sequence: u64,
}

/// What has become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Became {
    /// It goes on.
    Probation,
    /// The node is on its way back.
    Returning,
    /// The owner serves, and nobody takes the node back any more.
    Over,
    /// The predecessor serves again; why, if that was written down.
    Back(Option<Box<HandoverRecord>>),
    /// A third process serves.
    Elsewhere(u32),
    /// Nobody serves, and nobody is there who will.
    Nobody,
}

impl Became {
    /// Whether there is anything to wait for.
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Probation | Self::Returning)
    }
}

impl Watched {
    /// What a look says (W2). `None` is a node that is not there any more.
    ///
    /// # Errors
    /// It cannot be found out who lives.
    pub(super) fn became(&self, now: Option<&Status>) -> Result<Became> {
        let Some(now) = now.filter(|now| now.id == self.node) else {
            return Ok(Became::Nobody);
        };
        let row = now.participants.iter().find(|p| p.process == self.parked);
        let living = match row {
            Some(row) if row.is_alive()? => Some(row.state),
            _ => None,
        };
        // One that serves may not have said so yet.
        let could = matches!(living, Some(ParticipantState::Parked | ParticipantState::Serving));
        let owner = now.owner.as_ref().filter(|_| now.alive);
        Ok(match (now.lease, owner) {
            (Lease::Owned { .. }, Some(owner)) if owner.process == self.parked => {
                let record = self.record(now);
                if record.is_some() || owner.state == ParticipantState::Serving {
                    Became::Back(record.map(Box::new))
                } else {
                    Became::Returning
                }
            }
            (Lease::Owned { .. }, Some(owner)) if owner.process.pid == self.owner => {
                let returns = now.phase == Phase::Returning;
                match living {
                    Some(ParticipantState::Parked) if returns => Became::Returning,
                    Some(ParticipantState::Parked) => Became::Probation,
                    _ => Became::Over,
                }
            }
            (Lease::Owned { .. }, Some(owner)) => Became::Elsewhere(owner.process.pid),
            // It was stopped, and whoever is parked leaves too.
            (Lease::Vacant { .. }, _) => Became::Nobody,
            _ if could => Became::Returning,
            // The owner offers the node to a third process, which decides in a moment.
            (Lease::Offered { .. }, Some(_)) => Became::Probation,
            _ => Became::Nobody,
        })
    }

    /// What the predecessor wrote down when it had the node again.
    fn record(&self, now: &Status) -> Option<HandoverRecord> {
        let mut news = now.history.iter().filter(|r| r.sequence > self.sequence);
        news.find(|r| is_way_back(r.outcome) && r.successor_pid == self.parked.pid)
            .cloned()
    }
}

/// Whether a record is one of a predecessor that has the node again.
pub(super) fn is_way_back(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::GivenBack | Outcome::TakenBack)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    /// A process that lives as long as this: the one that is parked.
    struct Living(Child, ProcessId);

    impl Living {
        fn new() -> Self {
            let child = Command::new("sleep").arg("600").spawn().expect("spawn");
            let process = ProcessId::of(child.id()).expect("proc").expect("alive");
            Self(child, process)
        }

        fn end(&mut self) {
            self.0.kill().expect("kill");
            self.0.wait().expect("reap");
        }
    }

    impl Drop for Living {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn row(slot: u8, process: ProcessId, state: ParticipantState) -> Participant {
        Participant {
            slot,
            state,
            process,
            build_id: "v".into(),
            since: slot.into(),
            connections: 0,
            in_flight: 0,
            drain_deadline: 0,
            heartbeat: 0,
            drain: crate::control::DrainNote::default(),
        }
    }

    /// Slot 0 is parked, slot 1 owns.
    fn on_probation(parked: ProcessId, owner: ProcessId) -> Status {
        let owner = row(1, owner, ParticipantState::Serving);
        Status {
            node: "n".into(),
            id: 1,
            lease: Lease::Owned {
                owner: 1,
                generation: 2,
            },
            participants: vec![row(0, parked, ParticipantState::Parked), owner.clone()],
            owner: Some(owner),
            alive: true,
            phase: Phase::Probation,
            probation_end: u64::MAX,
            declared: None,
            completed: 1,
            aborted: 0,
            history: Vec::new(),
        }
    }

    #[test]
    fn what_became_of_it_is_what_lease_and_row_say() {
        let mut old = Living::new();
        let new = Living::new();
        let watched = Watched {
            node: 1,
            owner: new.1.pid,
            parked: old.1,
            sequence: 4,
        };
        let became = |now: &Status| watched.became(Some(now)).expect("proc");
        let begun = on_probation(old.1, new.1);
        assert!(Probation::of(&begun).expect("proc").is_some_and(|p| !p.returning));
        assert_eq!(became(&begun), Became::Probation);
        assert_eq!(watched.became(None).expect("proc"), Became::Nobody);

        let mut now = begun.clone();
        now.phase = Phase::Returning;
        assert_eq!(became(&now), Became::Returning);
        let mut now = begun.clone();
        now.participants[0].state = ParticipantState::Draining;
        assert_eq!(became(&now), Became::Over);
        assert!(Probation::of(&now).expect("proc").is_none());
        let mut now = begun.clone();
        now.alive = false;
        assert_eq!(
            became(&now),
            Became::Returning,
            "the parked one takes the node of a dead owner"
        );
        now.lease = Lease::Vacant { generation: 2 };
        assert_eq!(became(&now), Became::Nobody, "stopped");
        let mut now = begun.clone();
        now.lease = Lease::Offered {
            owner: 1,
            heir: 0,
            generation: 3,
        };
        assert_eq!(became(&now), Became::Returning);
        assert!(Probation::of(&now).expect("proc").is_some_and(|p| p.returning));

        // The old one owns: it is back when it says so, and the record tells why.
        let mut now = begun.clone();
        now.owner = Some(now.participants[0].clone());
        now.lease = Lease::Owned {
            owner: 0,
            generation: 3,
        };
        assert_eq!(became(&now), Became::Returning, "not ready yet");
        let mut record = HandoverRecord::new(Outcome::TakenBack, "it died");
        record.successor_pid = old.1.pid;
        record.sequence = 4;
        now.history.push(record.clone());
        assert_eq!(became(&now), Became::Returning, "an old record");
        record.sequence = 5;
        now.history.push(record.clone());
        assert_eq!(became(&now), Became::Back(Some(Box::new(record))));

        let third = Living::new();
        let mut now = begun.clone();
        now.owner = Some(row(2, third.1, ParticipantState::Serving));
        assert_eq!(became(&now), Became::Elsewhere(third.1.pid));

        old.end();
        assert_eq!(became(&begun), Became::Over, "nobody is left to take it back");
        let mut now = begun;
        now.alive = false;
        assert_eq!(became(&now), Became::Nobody);
    }
}
