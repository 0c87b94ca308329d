//! Participant rows: which processes take part in a node, and what they do.
//!
//! - **P1** Rows are claimed by one process at a time: the owner (for itself or for a successor it makes an offer
//!   to), or a starting process that holds `start` and `lock`.
//! - **P2** A row is claimed when it is free, when its process is dead (H5), or when that very process prepared in it before. A living process keeps its slot
//!   number, also after its handover was aborted: a take is checked against nothing but that number.
//! - **P3** A row that the lease word names is never claimed, even if its process is dead: who inherits proves the
//!   death of *that* process (H10).
//! - **P4** A process frees its own row only, as the last thing it does in the node.
//!
//! This file does not know why a process is in a state.

use std::sync::atomic::{Ordering, fence};

use shmstate::lease::{Lease, LeaseCell};

use super::block::ControlBlock;
use super::layout::{self, ParticipantRow};
use crate::error::{ControlProblem, Result};
use crate::os::clock;
use crate::os::pidfd::ProcessId;

/// Attempts to read a row that is being claimed anew.
const READ_ATTEMPTS: usize = 8;

/// What a process does for a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum ParticipantState {
    /// It owns the node.
    Serving = 1,
    /// It prepares to take over.
    Preparing = 2,
    /// It owned the node and finishes what it could not hand over.
    Draining = 3,
    /// It owned the node and could take it back.
    Parked = 4,
    /// A word that means nothing to this build: a later one wrote it. The row is its process's like any other (P2). Never written.
    Unknown = u32::MAX,
}

impl ParticipantState {
    const fn from_word(word: u32) -> Option<Self> {
        Some(match word {
            1 => Self::Serving,
            2 => Self::Preparing,
            3 => Self::Draining,
            4 => Self::Parked,
            FREE => return None,
            _ => Self::Unknown,
        })
    }
}

/// How far a process is that drains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum DrainPhase {
    /// It does not drain.
    #[default]
    None = 0,
    /// Phase 1: listeners are closed, idle connections are asked to close.
    Idle = 1,
    /// Phase 2: it waits for what is busy.
    InFlight = 2,
}

impl DrainPhase {
    /// A word that means nothing is no drain: nothing decides on it.
    const fn from_word(word: u32) -> Self {
        match word {
            1 => Self::Idle,
            2 => Self::InFlight,
            _ => Self::None,
        }
    }
}

/// What a process that drains says about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DrainNote {
    /// How far it is.
    pub phase: DrainPhase,
    /// What the oldest that it holds is called, cut to [`layout::OLDEST_LEN`] bytes; empty for nothing.
    pub oldest: String,
    /// Since when that is as it is, ns of CLOCK_MONOTONIC; 0 for nothing.
    pub oldest_since: u64,
}

/// The word of a free row.
const FREE: u32 = 0;

/// A copy of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participant {
    /// The slot: what the lease word calls the process.
    pub slot: u8,
    /// What it does.
    pub state: ParticipantState,
    /// The process.
    pub process: ProcessId,
    /// What it was built from.
    pub build_id: String,
    /// Since when it is in its state, ns of CLOCK_MONOTONIC.
    pub since: u64,
    /// Connections it holds.
    pub connections: u64,
    /// Work it has in flight.
    pub in_flight: u64,
    /// When its drain must end, ns of CLOCK_MONOTONIC; 0 for none.
    pub drain_deadline: u64,
    /// When it last had a pass, ns of CLOCK_MONOTONIC; kept while it is on probation, else old or 0.
    pub heartbeat: u64,
    /// How its drain goes.
    pub drain: DrainNote,
}

impl Participant {
    /// Whether the process lives. `false` is proof (H5).
    ///
    /// # Errors
    /// It cannot be found out.
    pub fn is_alive(&self) -> Result<bool> {
        self.process.is_alive()
    }
}

impl ControlBlock {
    /// Claims a row for `process`. Returns its slot. See P1 for who may call.
    ///
    /// # Errors
    /// [`ControlProblem::Full`] if all rows belong to living processes.
    pub fn claim(&self, process: ProcessId, build_id: &str, state: ParticipantState) -> Result<u8> {
        let named = match self.lease()? {
            Lease::Vacant { .. } => [None, None],
            Lease::Owned { owner, .. } => [Some(owner), None],
            Lease::Offered { owner, heir, .. } => [Some(owner), Some(heir)],
        };
        for slot in 0..layout::PARTICIPANTS as u8 {
            if named.contains(&Some(slot)) || !self.claimable(slot, process)? {
                continue;
            }
            let row = self.row(slot)?;
            row.state.store(FREE, Ordering::Relaxed);
            // ROW pair: a reader that sees one of the new fields sees the row free, or with its new state.
            fence(Ordering::Release);
            row.pid.store(process.pid, Ordering::Relaxed);
            row.start_time.store(process.start_time, Ordering::Relaxed);
            layout::store_text(&row.build_id, build_id);
            row.since.store(clock::now(), Ordering::Relaxed);
            row.connections.store(0, Ordering::Relaxed);
            row.in_flight.store(0, Ordering::Relaxed);
            row.drain_deadline.store(0, Ordering::Relaxed);
            row.heartbeat.store(0, Ordering::Relaxed);
            store_drain(row, &DrainNote::default());
            // ROW pair: publishes the fields.
            row.state.store(state as u32, Ordering::Release);
            return Ok(slot);
        }
        let rows = layout::PARTICIPANTS;
        Err(self.problem(ControlProblem::Full { rows }))
    }

    fn claimable(&self, slot: u8, process: ProcessId) -> Result<bool> {
        match self.participant(slot)? {
            None => Ok(true),
            // What a called-off attempt of the same process left.
            Some(p) if p.process == process && p.state == ParticipantState::Preparing => Ok(true),
            Some(participant) => Ok(!participant.is_alive()?),
        }
    }

    /// Frees the caller's own row (P4).
    ///
    /// # Errors
    /// [`ControlProblem::Slot`].
    pub fn free(&self, slot: u8) -> Result<()> {
        self.row(slot)?.state.store(FREE, Ordering::Release);
        Ok(())
    }

    /// Says what the process in `slot` does now.
    ///
    /// # Errors
    /// [`ControlProblem::Slot`].
    pub fn set_state(&self, slot: u8, state: ParticipantState) -> Result<()> {
        let row = self.row(slot)?;
        row.since.store(clock::now(), Ordering::Relaxed);
        row.state.store(state as u32, Ordering::Release);
        Ok(())
    }

    /// Says how much the process in `slot` holds.
    ///
    /// # Errors
    /// [`ControlProblem::Slot`].
    pub fn set_load(&self, slot: u8, connections: u64, in_flight: u64) -> Result<()> {
        let row = self.row(slot)?;
        row.connections.store(connections, Ordering::Relaxed);
        row.in_flight.store(in_flight, Ordering::Relaxed);
        Ok(())
    }

    /// Says when the drain of the process in `slot` must end, ns of CLOCK_MONOTONIC.
    ///
    /// # Errors
    /// [`ControlProblem::Slot`].
    pub fn set_drain_deadline(&self, slot: u8, at: u64) -> Result<()> {
        let row = self.row(slot)?;
        row.drain_deadline.store(at, Ordering::Relaxed);
        Ok(())
    }

    /// Says that the process in `slot` has a pass at this moment: the watchdog of a parked predecessor looks at it.
    pub(crate) fn beat(&self, slot: u8) {
        if let Ok(row) = self.row(slot) {
            row.heartbeat.store(clock::now(), Ordering::Relaxed);
        }
    }

    /// When the process in `slot` last had a pass, ns.
    ///
    /// # Errors
    /// [`ControlProblem::Slot`].
    pub fn heartbeat(&self, slot: u8) -> Result<u64> {
        Ok(self.row(slot)?.heartbeat.load(Ordering::Relaxed))
    }

    /// Says how the drain of the process in `slot` goes.
    ///
    /// # Errors
    /// [`ControlProblem::Slot`].
    pub fn set_drain(&self, slot: u8, note: &DrainNote) -> Result<()> {
        store_drain(self.row(slot)?, note);
        Ok(())
    }

    /// Copies one row. `None` if it is free or is just being claimed.
    ///
    /// # Errors
    /// [`ControlProblem::Slot`].
    pub fn participant(&self, slot: u8) -> Result<Option<Participant>> {
        let row = self.row(slot)?;
        for _ in 0..READ_ATTEMPTS {
            // ROW pair: receives the fields.
            let word = row.state.load(Ordering::Acquire);
            let Some(state) = ParticipantState::from_word(word) else {
                return Ok(None);
            };
            let copy = Participant {
                slot,
                state,
                process: identity(row),
                build_id: layout::load_text(&row.build_id),
                since: row.since.load(Ordering::Relaxed),
                connections: row.connections.load(Ordering::Relaxed),
                in_flight: row.in_flight.load(Ordering::Relaxed),
                drain_deadline: row.drain_deadline.load(Ordering::Relaxed),
                heartbeat: row.heartbeat.load(Ordering::Relaxed),
                drain: DrainNote {
                    phase: DrainPhase::from_word(row.drain_phase.load(Ordering::Relaxed)),
                    oldest: layout::load_text(&row.oldest),
                    oldest_since: row.oldest_since.load(Ordering::Relaxed),
                },
            };
            // ROW pair: a row claimed anew meanwhile shows another state or another identity, so that pid and start
            // time are always of one process. The other fields are for those who watch; nothing decides on them.
            fence(Ordering::Acquire);
            if row.state.load(Ordering::Acquire) == word && identity(row) == copy.process {
                return Ok(Some(copy));
            }
        }
        Ok(None)
    }

    /// Copies all rows that are not free.
    ///
    /// # Errors
    /// None that a block of the right size can give.
    pub fn participants(&self) -> Result<Vec<Participant>> {
        let mut all = Vec::new();
        for slot in 0..layout::PARTICIPANTS as u8 {
            all.extend(self.participant(slot)?);
        }
        Ok(all)
    }

    /// Inherits the node from `dead`, whose death the caller has proven (H5, H10): one compare-and-swap, and only if
    /// the lease word names `dead` as the one that owns or that let go.
    ///
    /// `Ok(None)` if it does not: another process took over meanwhile, or was faster. What was offered to `me` is
    /// to be taken, not inherited, and gives `None` too.
    ///
    /// # Errors
    /// [`ControlProblem::Lease`].
    pub fn inherit_from(&self, dead: ProcessId, me: u8) -> Result<Option<Lease>> {
        // LEASE pair: the row of an owner is written before it can own, so what is read below belongs to this word.
        let word = self.word().load(Ordering::Acquire);
        let Some(found) = Lease::from_word(word) else {
            return Err(self.problem(ControlProblem::Lease { found: word }));
        };
        let owner = match found {
            Lease::Owned { owner, .. } => owner,
            Lease::Offered { owner, heir, .. } if heir != me => owner,
            Lease::Offered { .. } | Lease::Vacant { .. } => return Ok(None),
        };
        if self.participant(owner)?.map(|p| p.process) != Some(dead) {
            return Ok(None);
        }
        let Some(next) = found.inherit(me) else {
            return Ok(None);
        };
        let swapped = self
            .word()
            .compare_exchange(word, next.to_word(), Ordering::AcqRel, Ordering::Acquire);
        Ok(swapped.is_ok().then_some(next))
    }

    fn row(&self, slot: u8) -> Result<&ParticipantRow> {
        let rows = &self.layout().participants;
        rows.get(usize::from(slot)).ok_or_else(|| {
            let slot = slot.into();
            self.problem(ControlProblem::Slot { slot })
        })
    }
}

fn store_drain(row: &ParticipantRow, note: &DrainNote) {
    row.drain_phase.store(note.phase as u32, Ordering::Relaxed);
    row.oldest_since.store(note.oldest_since, Ordering::Relaxed);
    layout::store_text(&row.oldest, &note.oldest);
}

fn identity(row: &ParticipantRow) -> ProcessId {
    ProcessId {
        pid: row.pid.load(Ordering::Relaxed),
        start_time: row.start_time.load(Ordering::Relaxed),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use shmstate::lease;

    use super::*;
    use crate::control::block::TestBlock;
    use crate::error::Error;

    fn me() -> ProcessId {
        ProcessId::current().expect("proc")
    }

    /// A process that lived and is dead.
    fn dead() -> ProcessId {
        let mut child = Command::new("sleep").arg("600").spawn().expect("spawn");
        let process = ProcessId::of(child.id()).expect("proc").expect("alive");
        child.kill().expect("kill");
        child.wait().expect("reap");
        process
    }

    /// A process that lives as long as this.
    struct Living(std::process::Child);

    impl Living {
        fn new() -> Self {
            Self(Command::new("sleep").arg("600").spawn().expect("spawn"))
        }

        fn process(&self) -> ProcessId {
            ProcessId::of(self.0.id()).expect("proc").expect("alive")
        }
    }

    impl Drop for Living {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn rows_of_the_living_stay_and_rows_of_the_dead_are_used_again() {
        let block = TestBlock::new();
        let block = &block.0;
        let claim = |process, build| block.claim(process, build, ParticipantState::Preparing);
        let living: Vec<Living> = (0..8).map(|_| Living::new()).collect();
        for (slot, other) in living.iter().enumerate() {
            let process = if slot == 5 { dead() } else { other.process() };
            assert_eq!(
                usize::from(claim(process, "v1").expect("claim")),
                slot.min(7) - usize::from(slot > 5)
            );
        }
        assert_eq!(claim(living[5].process(), "v2").expect("claim"), 7);
        // All rows are taken now: no other process gets one, a process that has one gets it again.
        let full = claim(me(), "v2");
        assert!(matches!(
            full,
            Err(Error::ControlBlock {
                problem: ControlProblem::Full { rows: 8 },
                ..
            })
        ));
        assert_eq!(claim(living[3].process(), "v2").expect("its own"), 3);
        block.set_state(3, ParticipantState::Draining).expect("state");
        assert!(claim(living[3].process(), "v2").is_err(), "it still drains in that one");
        block.free(2).expect("free");
        assert_eq!(block.participants().expect("rows").len(), 7);
        assert_eq!(block.claim(me(), "v3", ParticipantState::Serving).expect("claim"), 2);
        block.set_state(2, ParticipantState::Draining).expect("state");
        block.set_load(2, 11, 12).expect("load");
        block.set_drain_deadline(2, 13).expect("deadline");
        let row = block.participant(2).expect("read").expect("claimed");
        assert_eq!(row.process, me());
        assert!(row.is_alive().expect("ask"));
        assert_eq!(row.build_id, "v3");
        assert_eq!(row.state, ParticipantState::Draining);
        assert_eq!((row.connections, row.in_flight, row.drain_deadline), (11, 12, 13));
        assert_eq!(row.drain, DrainNote::default());
        let mut note = DrainNote {
            phase: DrainPhase::InFlight,
            oldest: "ä".repeat(layout::OLDEST_LEN),
            oldest_since: 14,
        };
        block.set_drain(2, &note).expect("drain");
        note.oldest = "ä".repeat(layout::OLDEST_LEN / 2);
        assert_eq!(block.participant(2).expect("read").expect("claimed").drain, note);
        assert!(block.participant(8).is_err() && block.free(255).is_err());
    }

    #[test]
    fn the_row_of_a_dead_owner_is_kept_for_who_inherits() {
        let block = TestBlock::new();
        let block = &block.0;
        let dead = dead();
        let owner = block.claim(dead, "v1", ParticipantState::Serving).expect("claim");
        lease::change(block.word(), |l| l.inherit(owner)).expect("own");
        let heir = block.claim(me(), "v2", ParticipantState::Preparing).expect("claim");
        assert_ne!(heir, owner);

        let stranger = ProcessId {
            start_time: dead.start_time + 1,
            ..dead
        };
        assert_eq!(block.inherit_from(stranger, heir).expect("look"), None);
        let inherited = block.inherit_from(dead, heir).expect("look");
        let owned = Lease::Owned {
            owner: heir,
            generation: 2,
        };
        assert_eq!(inherited, Some(owned));
        assert_eq!(block.inherit_from(dead, heir).expect("look"), None, "once");
        let again = block.claim(me(), "v3", ParticipantState::Preparing).expect("claim");
        assert_eq!(again, owner, "now it is free for others");
    }

    #[test]
    fn a_state_of_a_later_build_keeps_its_row() {
        let block = TestBlock::new();
        let block = &block.0;
        let living = Living::new();
        let slot = block
            .claim(living.process(), "later", ParticipantState::Preparing)
            .expect("claim");
        block.layout().participants[usize::from(slot)]
            .state
            .store(77, Ordering::Relaxed);
        let row = block.participant(slot).expect("read").expect("not free");
        assert_eq!((row.state, row.process), (ParticipantState::Unknown, living.process()));
        let other = block.claim(me(), "v1", ParticipantState::Preparing).expect("claim");
        assert_ne!(other, slot, "P2");
    }

    #[test]
    fn what_is_offered_is_taken_not_inherited() {
        let block = TestBlock::new();
        let block = &block.0;
        let dead = dead();
        let owner = block.claim(dead, "v1", ParticipantState::Serving).expect("claim");
        lease::change(block.word(), |l| l.inherit(owner)).expect("own");
        let heir = block.claim(me(), "v2", ParticipantState::Preparing).expect("claim");
        lease::change(block.word(), |l| l.release(owner, heir)).expect("release");
        assert_eq!(block.inherit_from(dead, heir).expect("look"), None);
        lease::change(block.word(), |l| l.take(heir)).expect("take");
    }
}
