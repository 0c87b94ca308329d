//! The two-phase drain of what was not handed over.
//!
//! Phase 1 closes listeners and connections that this process still holds; since they were handed over, that closes this
//! process's descriptors only (H11). It asks idle connections of the user's to close, and waits for them. Phase 2 waits for
//! what is busy.
//!
//! - **D4** Each phase has its own deadline, [`Deadlines::drain_idle`](crate::Deadlines::drain_idle) and
//!   [`Deadlines::drain`](crate::Deadlines::drain), and ends the moment it has nothing to wait for.
//! - **D5** Phase 2 does not wait for idle connections that let phase 1 pass; one that gets to work again is waited for.
//! - **D6** Both phases can be watched: by events, by `holders`, and in the control block by every process.
//!
//! D1–D3 are in [`held`]. It does not know what the work is.

mod held;
#[cfg(test)]
mod tests;

pub use held::{Ask, Busy, DrainEvent, Held, HeldConnection, HeldKind, InFlight, Work};

use crate::control::{DrainNote, DrainPhase, Phase};
use crate::node::shared::Shared;
use crate::os::clock::Deadline;
use held::Look;
use std::time::{Duration, Instant};

/// How often the numbers in the control block are refreshed while a drain waits and nothing changes.
const REPORT: Duration = Duration::from_millis(50);

/// How a drain ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Connections and listeners of this process that were closed in phase 1.
    pub closed: usize,
    /// Idle connections that were asked to close when it began.
    pub asked: u64,
    /// Connections that were handed over late, when they got idle.
    pub moved: u64,
    /// What was not over at the end: `holders`, counted.
    pub left: u64,
    /// What was not over at the end, the oldest first.
    pub holders: Vec<Held>,
    /// How long phase 1 took.
    pub idle_took: Duration,
    /// How long phase 2 took.
    pub work_took: Duration,
    /// How long both phases took.
    pub took: Duration,
}

/// What phase 1 closes of the node's own descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Descriptors {
    /// All of them at once.
    Close,
    /// None before the end of the drain is asked for: this process may take the node back.
    Keep,
}

/// The phases, without a node.
#[derive(Debug)]
pub(crate) struct Course {
    work: InFlight,
    begun: Instant,
    idle_by: Deadline,
    longest: Duration,
    asked: u64,
}

impl Course {
    /// Begins phase 1.
    pub(crate) fn begin(work: &InFlight, idle: Duration, longest: Duration) -> Self {
        let begun = Instant::now();
        let idle_by = Deadline::after(idle);
        // From here on those that come or get idle are asked by themselves; then those that are there.
        work.set_phase(DrainPhase::Idle);
        work.tell(DrainEvent::Began {
            phase: DrainPhase::Idle,
            left: work.look().idle,
            longest: idle,
        });
        let asked = work.ask_idle();
        Self {
            work: work.clone(),
            begun,
            idle_by,
            longest,
            asked,
        }
    }

    /// Waits for both phases. `report` gets what there is to say, at every change and now and then.
    pub(crate) fn finish(self, report: impl Fn(DrainPhase, &Look, Deadline)) -> Drained {
        let idle_left = |look: &Look| look.idle;
        let left = self.wait(DrainPhase::Idle, self.idle_by, idle_left, &report);
        self.work.give_up_idle();
        let idle_took = self.begun.elapsed();
        self.work.tell(DrainEvent::Ended {
            phase: DrainPhase::Idle,
            left,
            took: idle_took,
        });
        let second = Instant::now();
        let by = Deadline::after(self.longest);
        let waited = |look: &Look| look.waited;
        self.work.set_phase(DrainPhase::InFlight);
        self.work.tell(DrainEvent::Began {
            phase: DrainPhase::InFlight,
            left: self.work.look().waited,
            longest: self.longest,
        });
        let left = self.wait(DrainPhase::InFlight, by, waited, &report);
        let work_took = second.elapsed();
        self.work.tell(DrainEvent::Ended {
            phase: DrainPhase::InFlight,
            left,
            took: work_took,
        });
        let holders = self.work.holders();
        Drained {
            closed: 0,
            asked: self.asked,
            moved: self.work.moved(),
            left: holders.len() as u64,
            holders,
            idle_took,
            work_took,
            took: self.begun.elapsed(),
        }
    }

    /// Waits until nothing that counts is left, or the deadline; what was left.
    fn wait(
        &self,
        phase: DrainPhase,
        by: Deadline,
        counts: impl Fn(&Look) -> u64,
        report: &impl Fn(DrainPhase, &Look, Deadline),
    ) -> u64 {
        let mut look = self.work.look();
        loop {
            report(phase, &look, by);
            if counts(&look) == 0 || by.passed() {
                return counts(&look);
            }
            look = self.work.wait(by.remaining().min(REPORT), |look| counts(look) == 0);
        }
    }
}

impl Drop for Course {
    /// Also if it is called off: who comes then is not asked any more.
    fn drop(&mut self) {
        self.work.set_phase(DrainPhase::None);
    }
}

/// A drain that has begun. Dropped without [`finish`](Self::finish), it is called off: nobody is asked any more.
#[derive(Debug)]
pub(crate) struct Draining<'a> {
    shared: &'a Shared,
    course: Course,
    closed: usize,
}

/// Begins phase 1: idle connections are asked to close.
pub(crate) fn begin<'a>(shared: &'a Shared, work: &InFlight, descriptors: Descriptors) -> Draining<'a> {
    let deadlines = &shared.config.deadlines;
    let closed = match descriptors {
        Descriptors::Close => close(shared),
        Descriptors::Keep => 0,
    };
    let course = Course::begin(work, deadlines.drain_idle, deadlines.drain);
    let look = course.work.look();
    if descriptors == Descriptors::Close || look.idle + look.waited > 0 {
        note(shared, DrainPhase::Idle, &look, course.idle_by);
    }
    Draining { shared, course, closed }
}

impl Draining<'_> {
    /// This process has the node again: nobody is asked any more, and nobody reads that it drains.
    pub(crate) fn call_off(self) {
        let _ = self.shared.block.set_drain(self.shared.me, &DrainNote::default());
        let _ = self.shared.block.set_drain_deadline(self.shared.me, 0);
    }

    /// Closes what is left of the node's descriptors and waits for both phases. Then this process's row is free.
    pub(crate) fn finish(self) -> Drained {
        let shared = self.shared;
        let closed = self.closed + close(shared);
        let drained = self.course.finish(|phase, look, by| note(shared, phase, look, by));
        let _ = shared.block.free(shared.me);
        shared.advance_phase(&[Phase::Draining], Phase::None, 0);
        Drained { closed, ..drained }
    }
}

/// Both phases, one after the other.
pub(crate) fn drain(shared: &Shared, work: &InFlight) -> Drained {
    begin(shared, work, Descriptors::Close).finish()
}

/// Lets go of the node's listeners and connections; how many there were.
fn close(shared: &Shared) -> usize {
    let closed = shared.registry.len() + shared.descriptors.close();
    shared.registry.clear();
    closed
}

/// For those who watch.
fn note(shared: &Shared, phase: DrainPhase, look: &Look, by: Deadline) {
    let _ = shared.block.set_load(shared.me, look.connections, look.in_flight);
    let _ = shared.block.set_drain_deadline(shared.me, by.nanos());
    let oldest = look.oldest.as_ref();
    let _ = shared.block.set_drain(
        shared.me,
        &DrainNote {
            phase,
            oldest: oldest.map_or_else(String::new, |held| held.label().to_owned()),
            oldest_since: oldest.map_or(0, |held| held.since),
        },
    );
}
