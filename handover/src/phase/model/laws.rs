//! What must hold: in every state, and in every state in which nothing is under way any more.

use super::world::{Gate, Life, Link, Newcomers, Process, Slot, Stage, World};
use crate::phase::{parked, predecessor, probation};
use shmstate::lease::Lease;

impl World {
    /// Holds in every state. Says what does not.
    pub(super) fn broken(&self) -> Option<&'static str> {
        if self.fault.is_some() {
            return self.fault;
        }
        for slot in self.slots() {
            let process = self.process(slot);
            if process.can_tick() && !self.owned_by(slot) {
                return Some("a process can tick without the lease");
            }
            let late = process.pre.as_ref().is_some_and(|pre| {
                use predecessor::State::{AwaitingStanding, Closing, Offered};
                matches!(pre.state, AwaitingStanding | Closing | Offered)
            });
            if late && process.runs() && process.newcomers == Newcomers::Stay {
                return Some("what is accepted after the last batch stays behind");
            }
        }
        if self
            .links
            .iter()
            .any(|link| link.records.max(link.inherits).max(link.returns) > 1)
        {
            return Some("an ending is recorded twice");
        }
        None
    }

    /// Whether nothing is under way: every process serves and rests, is dead, never came, or is stopped for ever.
    pub(super) fn is_settled(&self) -> bool {
        self.slots().all(|slot| {
            let process = self.process(slot);
            let absent = matches!(process.stage, Stage::Absent | Stage::StartedOver);
            absent
                || process.life == Life::Dead
                || process.alive() && process.stopped && !process.doomed
                || rests(process)
        })
    }

    /// Whether what goes on may go on until a deadline: everybody rests, or is on probation and nothing is said; or somebody hangs.
    pub(super) fn may_wait(&self) -> bool {
        if self.slots().any(|slot| self.process(slot).stopped) {
            return true;
        }
        let quiet = |link: &Link| link.to_s.is_empty() && link.to_p.is_empty() && !link.p_closed && !link.s_closed;
        self.slots().all(|slot| {
            let process = self.process(slot);
            let over = matches!(process.stage, Stage::Absent | Stage::StartedOver) || process.life == Life::Dead;
            let waits = process.prob.as_ref().is_some_and(|prob| {
                let link = self.up(slot);
                // What it could not give back it is asked for no second time.
                let asked = self.is_asked_back(slot) && !link.denied;
                prob.state == probation::State::Serving && prob.idle() && quiet(link) && !asked
            });
            let parked = process.park.as_ref().is_some_and(|park| {
                use parked::State::{Asked, Proving, Watching};
                let on = process.down.is_some_and(|down| self.process(down).prob.is_some());
                let unsaid = process
                    .down
                    .is_some_and(|down| self.up(down).unsaid && self.process(down).alive());
                let waits = match park.state {
                    Watching | Asked(_) => on,
                    Proving => unsaid,
                    _ => false,
                };
                waits && park.idle()
            });
            over || parked || rests_but(process, waits)
        })
    }

    /// Holds in every settled state. Says what does not.
    pub(super) fn broken_end(&self) -> Option<&'static str> {
        let serving: Vec<Slot> = self.slots().filter(|slot| rests(self.process(*slot))).collect();
        for &slot in &serving {
            if !self.owned_by(slot) {
                return Some("it rests and does not own the node");
            }
            if self.process(slot).newcomers != Newcomers::Stay {
                return Some("it serves and something is still halted");
            }
            for successor in 1..self.who.len() as Slot {
                let link = self.up(successor);
                if link.pred == Some(slot) && !link.p_closed {
                    return Some("it serves and holds the channel of a handover that is over");
                }
                // One that took and died before it wrote is in the row about the way back.
                if link.pred == Some(slot) && link.began && link.records == 0 && link.returns == 0 {
                    return Some("an attempt is recorded once");
                }
            }
            if slot != 0 && (self.up(slot).records.max(self.up(slot).inherits) != 1 || !self.up(slot).s_closed) {
                return Some("an owner has recorded its handover and closed its channel");
            }
        }
        let again = self.slots().any(|slot| self.process(slot).stage == Stage::StartedOver);
        if !serving.is_empty() {
            return None;
        }
        let (owner, heir) = match self.lease() {
            // Its owner wanted it so.
            Lease::Vacant { .. } => return None,
            Lease::Owned { owner, .. } => (owner, owner),
            Lease::Offered { owner, heir, .. } => (owner, heir),
        };
        if again {
            return None;
        }
        // It hangs for ever, and there is no predecessor (any more) that could say so.
        if [owner, heir].iter().any(|slot| self.process(*slot).stopped) {
            return None;
        }
        let deserted = self.who.iter().any(|process| process.failed && !process.excused);
        if deserted {
            return Some("a living successor left a dead predecessor's node");
        }
        // The rest is dead, or was let go by one that was well.
        None
    }
}

/// It serves, and nothing else is going on in it.
fn rests(process: &Process) -> bool {
    rests_but(process, false)
}

/// The same, where it is known whether its probation rests, if it is on one.
fn rests_but(process: &Process, on_probation: bool) -> bool {
    let reception = process
        .pre
        .as_ref()
        .is_some_and(|pre| pre.state == predecessor::State::Serving && pre.idle());
    process.alive()
        && !process.stopped
        && !process.doomed
        && process.stage == Stage::Serving
        && process.gate == Gate::Open
        && reception
        && (on_probation || process.prob.is_none())
}
