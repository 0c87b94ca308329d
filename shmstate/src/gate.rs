//! The gate: every tick and I/O step holds a pass; a closed gate has no pass out, so the process is quiet (R5).
//!
//! - **G1** A reference into a region borrows from a [`Pass`]; a gate is quiet only when no pass is out. So a quiet
//!   gate proves that no reference and no transaction exists.
//! - **G2** A pass is given only while the gate is open and the lease word is the one this process opened it with (T4).
//! - **G3** The thread that drops the last pass of a closing gate runs what is to happen then (the release of the
//!   lease): to wake another thread for it would cost more than all the rest of a cutover.
//! - **G4** `enter` never waits. Who finds the gate closed waits elsewhere, outside a pass (H12).
//!
//! It does not know regions, nor processes, nor why it is closed.

use crate::error::{Error, Result};
use crate::lease::{Lease, LeaseCell, LocalLease};
use crate::os::clock::monotonic_ns;
use crossbeam_utils::CachePadded;
use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// In the word of passes: the gate is closed, or closing.
const CLOSED: u64 = 1 << 63;
/// In the word of passes: how many are out.
const COUNT: u64 = (1 << 32) - 1;
/// The owner slot of a gate that no node shares.
const ALONE: u8 = 0;

/// What is known at the moment a gate gets quiet.
#[derive(Clone, Copy, Debug)]
pub struct Quiet {
    /// When the last transaction was committed, in ns of `CLOCK_MONOTONIC`; the moment of closing if none was since
    /// the gate was armed.
    pub last_commit_ns: u64,
}

/// What an armed gate does by itself, on the threads that hold its passes.
pub struct Plan {
    /// Called at the end of the first pass with a commit, with the time of that commit: one tick before the close.
    pub rehearse: Box<dyn FnMut(u64) + Send>,
    /// Called once, when the gate is closed and the last pass is back.
    pub quiet: Box<dyn FnOnce(Quiet) + Send>,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").finish_non_exhaustive()
    }
}

struct Inner {
    passes: CachePadded<AtomicU64>,
    /// Committed passes until the close, 0 if not armed.
    armed: AtomicU32,
    /// The lease word under which passes are given.
    expected: AtomicU64,
    last_commit: AtomicU64,
    lease: Arc<dyn LeaseCell>,
    plan: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    plan: Option<Plan>,
    quiet: bool,
}

/// A gate. Clones are the same gate.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("open", &self.is_open())
            .field("passes", &self.passes_out())
            .finish()
    }
}

impl Gate {
    /// The trivial gate of a region that no node shares: always open, owned by this process.
    #[must_use]
    pub fn alone() -> Self {
        let gate = Self::closed(Arc::new(LocalLease::default()));
        let owned = Lease::Owned {
            owner: ALONE,
            generation: 1,
        };
        gate.0.lease.word().store(owned.to_word(), Ordering::Release);
        gate.open(owned);
        gate
    }

    /// A closed gate over a lease that is shared with other processes. It is opened when this process owns it.
    #[must_use]
    pub fn closed(lease: Arc<dyn LeaseCell>) -> Self {
        Self(Arc::new(Inner {
            passes: CachePadded::new(AtomicU64::new(CLOSED)),
            armed: AtomicU32::new(0),
            expected: AtomicU64::new(0),
            last_commit: AtomicU64::new(0),
            lease,
            plan: Mutex::new(State::default()),
            changed: Condvar::new(),
        }))
    }

    /// Opens the gate under `lease`, which this process has just won.
    pub fn open(&self, lease: Lease) {
        {
            let mut state = self.state();
            state.plan = None;
            state.quiet = false;
        }
        self.0.armed.store(0, Ordering::Relaxed);
        self.0.expected.store(lease.to_word(), Ordering::Relaxed);
        // GATE pair: Release publishes `expected` to the Acquire of `enter`.
        self.0.passes.fetch_and(!CLOSED, Ordering::Release);
    }

    /// Gives a pass.
    ///
    /// # Errors
    /// [`Error::GateClosed`] if the gate is closed or closing, [`Error::Fenced`] if another process owns the lease.
    #[inline]
    pub fn enter(&self) -> Result<Pass<'_>> {
        // GATE pair: Acquire, see `open`. The count goes up before the look at CLOSED, so that a closing thread either
        // sees this pass or this one sees CLOSED.
        let before = self.0.passes.fetch_add(1, Ordering::Acquire);
        if before & CLOSED != 0 {
            self.leave();
            return Err(Error::GateClosed);
        }
        // LEASE pair, see `lease::load`.
        let word = self.0.lease.word().load(Ordering::Acquire);
        if word != self.0.expected.load(Ordering::Relaxed) {
            self.leave();
            return Err(self.fenced(word));
        }
        Ok(Pass {
            gate: self,
            committed: Cell::new(false),
        })
    }

    #[cold]
    fn fenced(&self, word: u64) -> Error {
        Error::Fenced {
            held: self.generation(),
            word,
        }
    }

    /// The generation under which the gate is open, or was last: the fencing token.
    #[must_use]
    #[inline(always)]
    pub fn generation(&self) -> u64 {
        self.0.expected.load(Ordering::Relaxed) >> 24
    }

    /// The lease word under which the gate is open, or was last.
    #[inline(always)]
    pub(crate) fn word(&self) -> u64 {
        self.0.expected.load(Ordering::Relaxed)
    }

    /// Whether the lease word is still this one.
    pub(crate) fn is_held_under(&self, word: u64) -> bool {
        // LEASE pair, see `lease::load`.
        self.0.lease.word().load(Ordering::Acquire) == word
    }

    /// Whether passes are being given.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.passes.load(Ordering::Relaxed) & CLOSED == 0
    }

    /// How many passes are out.
    #[must_use]
    pub fn passes_out(&self) -> u64 {
        self.0.passes.load(Ordering::Relaxed) & COUNT
    }

    /// Whether two values are the same gate.
    #[must_use]
    #[inline(always)]
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Arms the gate: after the next pass with a commit `plan.rehearse` runs, after the one that follows the gate closes,
    /// and when the last pass is back `plan.quiet` runs. `false` if the gate is not open or armed already.
    #[must_use]
    pub fn arm(&self, plan: Plan) -> bool {
        let mut state = self.state();
        if !self.is_open() || state.plan.is_some() {
            return false;
        }
        state.plan = Some(plan);
        state.quiet = false;
        self.0.last_commit.store(0, Ordering::Relaxed);
        self.0.armed.store(2, Ordering::Relaxed);
        true
    }

    /// Closes the gate now, without waiting for a tick. What was armed stays to be run when the last pass is back.
    pub fn close(&self) {
        // The closing thread counts as a pass, so that whoever is last sees CLOSED.
        self.0.passes.fetch_add(1, Ordering::Acquire);
        self.0.armed.store(0, Ordering::Relaxed);
        self.0.passes.fetch_or(CLOSED, Ordering::AcqRel);
        self.leave();
    }

    /// Waits until the gate is closed and no pass is out, or the deadline. Says whether it is quiet.
    #[must_use]
    pub fn wait_quiet(&self, deadline: Instant) -> bool {
        let mut state = self.state();
        while !state.quiet {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return false;
            };
            state = self
                .0
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    /// Forgets what was armed and, if the gate was not quiet yet, opens it again. `false` if it is quiet already: then
    /// the plan has run and what it decided holds.
    #[must_use]
    pub fn disarm(&self) -> bool {
        let mut state = self.state();
        if state.quiet {
            return false;
        }
        self.0.armed.store(0, Ordering::Relaxed);
        state.plan = None;
        self.0.passes.fetch_and(!CLOSED, Ordering::Release);
        true
    }

    fn leave(&self) {
        // QUIET pair: Release hands every store made under the pass to whoever finds the gate quiet; Acquire receives
        // those of the other passes.
        let before = self.0.passes.fetch_sub(1, Ordering::AcqRel);
        if before & CLOSED != 0 && before & COUNT == 1 {
            self.got_quiet();
        }
    }

    #[cold]
    fn tick_done(&self) {
        let mut state = self.state();
        match self.0.armed.load(Ordering::Relaxed) {
            0 => {}
            1 => {
                self.0.armed.store(0, Ordering::Relaxed);
                self.0.passes.fetch_or(CLOSED, Ordering::AcqRel);
            }
            _ => {
                if let Some(plan) = &mut state.plan {
                    (plan.rehearse)(self.0.last_commit.load(Ordering::Relaxed));
                }
                self.0.armed.store(1, Ordering::Relaxed);
            }
        }
    }

    #[cold]
    fn got_quiet(&self) {
        let mut state = self.state();
        // Threads that found the gate closed come through here too, and the gate may have been opened (and even closed
        // again) since this one left: only the word, read under the lock, says whether it is quiet now.
        if self.0.passes.load(Ordering::Acquire) != CLOSED {
            return;
        }
        if let Some(plan) = state.plan.take() {
            let stamp = match self.0.last_commit.load(Ordering::Relaxed) {
                0 => monotonic_ns(),
                ns => ns,
            };
            (plan.quiet)(Quiet { last_commit_ns: stamp });
        }
        state.quiet = true;
        self.0.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to read and write the regions of a gate, until it is dropped.
#[derive(Debug)]
pub struct Pass<'g> {
    gate: &'g Gate,
    committed: Cell<bool>,
}

impl Pass<'_> {
    /// The generation under which this pass was given.
    #[must_use]
    #[inline(always)]
    pub fn generation(&self) -> u64 {
        self.gate.generation()
    }

    #[inline]
    pub(crate) fn gate(&self) -> &Gate {
        self.gate
    }

    /// A transaction was committed under this pass.
    #[inline(always)]
    pub(crate) fn note_commit(&self) {
        self.committed.set(true);
        if self.gate.0.armed.load(Ordering::Relaxed) != 0 {
            self.gate.0.last_commit.store(monotonic_ns(), Ordering::Relaxed);
        }
    }
}

impl Drop for Pass<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.committed.get() && self.gate.0.armed.load(Ordering::Relaxed) != 0 {
            self.gate.tick_done();
        }
        self.gate.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn plan(log: &Arc<Mutex<Vec<&'static str>>>) -> Plan {
        let (a, b) = (Arc::clone(log), Arc::clone(log));
        Plan {
            rehearse: Box::new(move |_| a.lock().expect("log").push("rehearse")),
            quiet: Box::new(move |_| b.lock().expect("log").push("quiet")),
        }
    }

    #[test]
    fn closes_after_the_second_committed_pass_and_runs_the_plan_once() {
        let gate = Gate::alone();
        let log = Arc::default();
        assert!(gate.arm(plan(&log)));
        assert!(!gate.arm(plan(&log)), "armed already");
        drop(gate.enter().expect("no commit in this one"));
        for _ in 0..2 {
            let pass = gate.enter().expect("open");
            pass.note_commit();
        }
        assert!(matches!(gate.enter(), Err(Error::GateClosed)));
        assert!(matches!(gate.enter(), Err(Error::GateClosed)));
        assert!(gate.wait_quiet(Instant::now()));
        assert_eq!(*log.lock().expect("log"), ["rehearse", "quiet"]);
        assert!(!gate.disarm(), "too late");
    }

    #[test]
    fn is_not_quiet_while_a_pass_is_out() {
        let gate = Gate::alone();
        let log = Arc::default();
        let pass = gate.enter().expect("open");
        assert!(gate.arm(plan(&log)));
        gate.close();
        assert!(!gate.wait_quiet(Instant::now() + Duration::from_millis(1)));
        assert_eq!(gate.passes_out(), 1);
        assert!(gate.disarm(), "reopened");
        drop(pass);
        assert!(log.lock().expect("log").is_empty());
        drop(gate.enter().expect("open again"));
    }

    #[test]
    fn a_changed_lease_fences() {
        let lease = Arc::new(LocalLease::default());
        let gate = Gate::closed(lease.clone());
        let mine = Lease::Owned {
            owner: 2,
            generation: 9,
        };
        lease.word().store(mine.to_word(), Ordering::Release);
        gate.open(mine);
        drop(gate.enter().expect("mine"));
        let other = Lease::Owned {
            owner: 3,
            generation: 10,
        };
        lease.word().store(other.to_word(), Ordering::Release);
        assert!(matches!(gate.enter(), Err(Error::Fenced { held: 9, .. })));
        assert_eq!(gate.passes_out(), 0);
    }

    #[test]
    fn quiet_is_seen_once_under_many_threads() {
        let gate = Gate::alone();
        let log = Arc::default();
        crossbeam_utils::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|_| {
                    while let Ok(pass) = gate.enter() {
                        pass.note_commit();
                    }
                });
            }
            assert!(gate.arm(plan(&log)));
        })
        .expect("threads");
        assert!(gate.wait_quiet(Instant::now() + Duration::from_secs(10)));
        assert_eq!(*log.lock().expect("log"), ["rehearse", "quiet"]);
    }
}
