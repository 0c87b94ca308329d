//! The gate: every tick and I/O step holds a pass; a closed gate has no pass out, so the process is quiet (R5).
//!
//! - **G1** A reference into a region borrows from a [`Pass`]; a gate is quiet only when no pass is out. So a quiet
//!   gate proves that no reference and no transaction exists.
//! - **G2** A pass is given only while the gate is open and the lease word is the one this process opened it with (T4).
//! - **G3** The thread that drops the last pass of a closing gate runs what is to happen then (the release of the
//!   lease): to wake another thread for it would cost more than all the rest of a cutover.
//! - **G4** `enter` never waits. Who finds the gate closed waits elsewhere, outside a pass (H12): a thread as it likes, a
//!   task in [`Gate::entered`].
//! - **G5** A pass stays in its thread and in its scope: it is not `Send`, so a task that may move between threads cannot
//!   keep one over an `await`, and [`Gate::with`] is the form in which no task can.
//!
//! How passes are counted without a locked instruction is told in `moves`; the model check in `model` runs that very
//! code. It does not know regions, nor processes, nor why it is closed.

mod entered;
mod holders;
#[cfg(test)]
mod model;
mod moves;
mod seats;
#[cfg(test)]
mod tests;

pub use entered::{Entered, EnteredUnless};
pub use holders::{DESCRIBED, Holder, Holding, HoldingThread, MOST_NAMES};
pub use seats::SEATS;

use crate::error::{Error, Result};
use crate::lease::{Lease, LeaseCell, LocalLease};
use crate::os::barrier;
use crate::os::clock::monotonic_ns;
use crossbeam_utils::CachePadded;
use entered::Waiting;
use moves::{CLOSED, LAST, OPEN, REHEARSE, SHARED, WATCHED, Words as _};
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The owner slot of a gate that no node shares.
const ALONE: u8 = 0;
/// The name of passes without one.
const NAMELESS: u32 = 0;
/// In a pass: it goes by the name its seat has.
const SAME_NAME: u32 = u32::MAX;

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

/// What one thread writes.
#[derive(Default)]
struct Seat {
    /// Low half: passes given; high half: a serial number.
    word: AtomicU64,
    /// Passes that others dropped (M5).
    late: AtomicU64,
    /// Under which name the latest pass goes.
    name: AtomicU32,
}

struct Inner {
    mode: CachePadded<AtomicU32>,
    /// The lease word under which passes are given.
    expected: AtomicU64,
    last_commit: AtomicU64,
    lease: Arc<dyn LeaseCell>,
    /// The mode of rest: `OPEN`, or `WATCHED` where the kernel has no `membarrier`.
    rest: u32,
    kept: Mutex<State>,
    changed: Condvar,
    waiting: Waiting,
    names: Mutex<Vec<Arc<str>>>,
    /// Regions of this process that passes of this gate give access to.
    regions: Mutex<Vec<[u64; 2]>>,
    /// No lease is shared with anybody.
    alone: bool,
    seats: [CachePadded<Seat>; SEATS],
}

#[derive(Default)]
struct State {
    plan: Option<Plan>,
    quiet: bool,
    proven: bool,
    /// When a look first found the passes that are out, by seat: the word found and the time in ns.
    found: Vec<(u64, u64)>,
}

/// A region's place behind a gate: dropped, it is free.
#[derive(Debug)]
pub(crate) struct Behind {
    gate: Gate,
    region: [u64; 2],
}

impl Drop for Behind {
    fn drop(&mut self) {
        let mut regions = self.gate.0.regions.lock().unwrap_or_else(PoisonError::into_inner);
        regions.retain(|region| *region != self.region);
    }
}

/// A gate. Clones are the same gate.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("open", &self.is_open())
            .field("passes", &self.passes_out())
            .finish_non_exhaustive()
    }
}

impl Gate {
    /// The trivial gate of a region that no node shares: always open, owned by this process.
    ///
    /// The first gate of a process tells the kernel about it, which takes 15–20 ms if the process has several threads.
    #[must_use]
    pub fn alone() -> Self {
        let rest = if barrier::available() { OPEN } else { WATCHED };
        let gate = Self::with_rest(Arc::new(LocalLease::default()), rest, true);
        let owned = Lease::Owned {
            owner: ALONE,
            generation: 1,
        };
        gate.0.lease.word().store(owned.to_word(), Ordering::Release);
        gate.open(owned);
        gate
    }

    /// Whether it shares its lease with nobody: it cannot tell who else writes.
    pub(crate) fn is_alone(&self) -> bool {
        self.0.alone
    }

    /// Puts a region behind this gate. `None` if it is there already: a pass would give access to the same memory twice.
    pub(crate) fn take_in(&self, region: [u64; 2]) -> Option<Behind> {
        let mut regions = self.0.regions.lock().unwrap_or_else(PoisonError::into_inner);
        if regions.contains(&region) {
            return None;
        }
        regions.push(region);
        Some(Behind {
            gate: self.clone(),
            region,
        })
    }

    /// A closed gate over a lease that is shared with other processes. It is opened when this process owns it.
    ///
    /// The first gate of a process tells the kernel about it, which takes 15–20 ms if the process has several threads.
    #[must_use]
    pub fn closed(lease: Arc<dyn LeaseCell>) -> Self {
        Self::with_rest(lease, if barrier::available() { OPEN } else { WATCHED }, false)
    }

    fn with_rest(lease: Arc<dyn LeaseCell>, rest: u32, alone: bool) -> Self {
        Self(Arc::new(Inner {
            mode: CachePadded::new(AtomicU32::new(CLOSED)),
            expected: AtomicU64::new(0),
            last_commit: AtomicU64::new(0),
            lease,
            rest,
            alone,
            regions: Mutex::default(),
            kept: Mutex::new(State {
                proven: true,
                ..State::default()
            }),
            changed: Condvar::new(),
            waiting: Waiting::default(),
            names: Mutex::default(),
            seats: [const { CachePadded::new(Seat::new()) }; SEATS],
        }))
    }

    /// Opens the gate under `lease`, which this process has just won.
    pub fn open(&self, lease: Lease) {
        {
            let mut state = self.0.state();
            state.plan = None;
            state.quiet = false;
            // GATE pair: the Release of the mode publishes it to the Acquire of `enter`.
            self.0.expected.store(lease.to_word(), Ordering::Relaxed);
            moves::open(&*self.0);
        }
        self.0.waiting.wake();
    }

    /// Gives a pass. It does not leave its thread:
    ///
    /// ```compile_fail,E0277
    /// let gate = shmstate::Gate::alone();
    /// let pass = gate.enter().unwrap();
    /// std::thread::scope(|s| {
    ///     s.spawn(move || drop(pass));
    /// });
    /// ```
    ///
    /// and what it let one see does not outlive it:
    ///
    /// ```compile_fail,E0505
    /// # fn f(gate: &shmstate::Gate, region: &shmstate::Region) -> Result<(), shmstate::Error> {
    /// let pass = gate.enter()?;
    /// let reader = region.read(&pass)?;
    /// drop(pass);
    /// drop(reader);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::GateClosed`] if the gate is closed or closing, [`Error::Fenced`] if another process owns the lease.
    #[inline]
    pub fn enter(&self) -> Result<Pass<'_>> {
        let inner = &*self.0;
        let (seat, entered) = match seats::mine() {
            Some(seat) => (seat, moves::enter(inner, seat)),
            None => inner.enter_anew(),
        };
        // LEASE pair, see `lease::load`.
        if !entered || inner.lease.word().load(Ordering::Acquire) != inner.expected.load(Ordering::Relaxed) {
            return Err(self.refused(seat, entered));
        }
        Ok(Pass {
            gate: self,
            seat: seat as u32,
            outer: SAME_NAME,
            committed: Cell::new(false),
            here: PhantomData,
        })
    }

    /// Runs `step` under a pass. Nothing of the pass gets out of it, and no `await` into it:
    ///
    /// ```
    /// let gate = shmstate::Gate::alone();
    /// let generation = gate.with(|pass| pass.generation()).unwrap();
    /// assert_eq!(generation, 1);
    /// ```
    ///
    /// ```compile_fail
    /// # fn f(gate: &shmstate::Gate, region: &shmstate::Region) {
    /// let reader = gate.with(|pass| region.read(pass).unwrap());
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`enter`](Self::enter).
    #[inline]
    pub fn with<R>(&self, step: impl FnOnce(&Pass<'_>) -> R) -> Result<R> {
        let pass = self.enter()?;
        Ok(step(&pass))
    }

    /// Waits for a pass, in a task of any executor: ready when the gate is open. How long is the caller's matter: dropping
    /// the future ends the wait. The pass that it gives is for the step up to the next `await`:
    ///
    /// ```
    /// # async fn somewhere() {}
    /// # fn spawn(_: impl Future<Output = ()> + Send) {}
    /// # fn f(gate: shmstate::Gate) {
    /// spawn(async move {
    ///     loop {
    ///         {
    ///             let Ok(pass) = gate.entered().await else { return };
    ///             let _ = pass.generation();
    ///         }
    ///         somewhere().await;
    ///     }
    /// });
    /// # }
    /// ```
    ///
    /// A task that keeps it over an `await` cannot move between threads, so executors that move tasks refuse it:
    ///
    /// ```compile_fail
    /// # async fn somewhere() {}
    /// # fn spawn(_: impl Future<Output = ()> + Send) {}
    /// # fn f(gate: shmstate::Gate) {
    /// spawn(async move {
    ///     let Ok(pass) = gate.entered().await else { return };
    ///     somewhere().await;
    ///     drop(pass);
    /// });
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Fenced`] if another process owns the lease.
    pub fn entered(&self) -> Entered<'_> {
        Entered::new(self)
    }

    /// As [`entered`](Self::entered), and ends with what `stop` gives when it gives something. `stop` is asked at each look at
    /// a closed gate; whoever changes what it looks at calls [`look_again`](Self::look_again) afterwards.
    pub fn entered_unless<E, F: FnMut() -> Option<E> + Unpin>(&self, stop: F) -> EnteredUnless<'_, F> {
        EnteredUnless::new(self, stop)
    }

    /// Wakes all tasks that wait in [`entered`](Self::entered) and [`entered_unless`](Self::entered_unless), to look again.
    pub fn look_again(&self) {
        self.0.waiting.wake();
    }

    /// How many tasks wait for a pass.
    #[must_use]
    pub fn waiting_tasks(&self) -> usize {
        self.0.waiting.len()
    }

    fn waiting(&self) -> &Waiting {
        &self.0.waiting
    }

    /// A name for the passes of a thread or task. Register once and keep it: it costs a lock, its passes do not. The same name
    /// gives the same holder; beyond [`MOST_NAMES`] names the gate tells by threads only.
    #[must_use]
    pub fn holder(&self, name: &str) -> Holder {
        let mut names = self.0.names.lock().unwrap_or_else(PoisonError::into_inner);
        let known = names.iter().position(|known| &**known == name);
        let place = known.or_else(|| {
            (names.len() < MOST_NAMES).then(|| {
                names.push(name.into());
                names.len() - 1
            })
        });
        Holder {
            gate: self.clone(),
            name: place.map_or(NAMELESS, |place| place as u32 + 1),
        }
    }

    /// Who holds a pass now.
    #[must_use]
    pub fn holders(&self) -> Vec<Holding> {
        let mut state = self.0.state();
        self.0.look(&mut state);
        let now = monotonic_ns();
        let names = self.0.names.lock().unwrap_or_else(PoisonError::into_inner);
        let holding = |seat: usize| {
            let passes = self.0.out(seat);
            let name = self.0.seats[seat].name.load(Ordering::Relaxed);
            let owner = if seat == SHARED { None } else { seats::owner(seat) };
            (passes > 0).then(|| Holding {
                name: (name as usize)
                    .checked_sub(1)
                    .and_then(|place| names.get(place).cloned()),
                thread: owner.map(|owner| HoldingThread {
                    tid: owner.tid,
                    name: owner.name,
                    ended: owner.ended,
                }),
                passes,
                at_least: Duration::from_nanos(now.saturating_sub(state.found.get(seat).map_or(now, |f| f.1))),
            })
        };
        (0..seats::high()).filter_map(holding).collect()
    }

    /// Who holds a pass now, in words for the one who waited in vain: `'matchmaker' (thread 4127 'io-2') for at least 1.8s`.
    /// At most [`DESCRIBED`] are named, the oldest first.
    #[must_use]
    pub fn describe_holders(&self) -> String {
        if !self.0.state().proven {
            return "the kernel refuses the memory barrier without which nobody can tell (membarrier)".into();
        }
        holders::describe(self.holders())
    }

    #[cold]
    fn refused(&self, seat: usize, entered: bool) -> Error {
        if !entered {
            return Error::GateClosed;
        }
        self.0.leave(seat);
        Error::Fenced {
            held: self.generation(),
            word: self.0.lease.word().load(Ordering::Acquire),
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
        self.0.mode() != CLOSED
    }

    /// How many passes are out.
    #[must_use]
    pub fn passes_out(&self) -> u64 {
        (0..seats::high()).map(|seat| u64::from(self.0.out(seat))).sum()
    }

    /// Whether two values are the same gate.
    #[must_use]
    #[inline(always)]
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Arms the gate: after the next pass with a commit `plan.rehearse` runs, after the one that follows the gate closes,
    /// and when the last pass is back `plan.quiet` runs. Takes a barrier on all running threads of the process (some µs to some
    /// ten): everything that the close needs is done here. `false` if the gate is not open, armed already, or the kernel
    /// refuses the barrier.
    #[must_use]
    pub fn arm(&self, plan: Plan) -> bool {
        let mut kept = self.0.lock();
        if kept.state.plan.is_some() || !moves::arm(&*self.0, &mut kept) {
            return false;
        }
        kept.state.plan = Some(plan);
        kept.state.quiet = false;
        self.0.last_commit.store(0, Ordering::Relaxed);
        self.0.look(&mut kept.state);
        true
    }

    /// Closes the gate now, without waiting for a tick. What was armed stays to be run when the last pass is back.
    pub fn close(&self) {
        moves::close(&*self.0);
    }

    /// Waits until the gate is closed and no pass is out, or the deadline. Says whether it is quiet; if not,
    /// [`describe_holders`](Self::describe_holders) says because of whom.
    #[must_use]
    pub fn wait_quiet(&self, deadline: Instant) -> bool {
        let mut state = self.0.state();
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
        {
            let mut kept = self.0.lock();
            if !moves::disarm(&*self.0, &kept) {
                return false;
            }
            kept.state.plan = None;
        }
        self.0.waiting.wake();
        true
    }
}

impl Seat {
    const fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
            late: AtomicU64::new(0),
            name: AtomicU32::new(NAMELESS),
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first pass of a thread in this process, and those of threads that share a seat.
    #[cold]
    fn enter_anew(&self) -> (usize, bool) {
        match seats::take() {
            SHARED => (SHARED, moves::enter_shared(self)),
            seat => (seat, moves::enter(self, seat)),
        }
    }

    #[inline(always)]
    fn leave(&self, seat: usize) {
        if seats::mine() == Some(seat) {
            moves::leave(self, seat);
        } else {
            moves::leave_elsewhere(self, seat);
        }
    }

    fn out(&self, seat: usize) -> u32 {
        // M5: `late` first.
        let late = self.late(seat);
        moves::out(self.seat(seat), late)
    }

    /// Notes since when the passes that are out are known to be.
    fn look(&self, state: &mut State) {
        let now = monotonic_ns();
        state.found.resize(seats::high().max(state.found.len()), (0, now));
        for (seat, found) in state.found.iter_mut().enumerate() {
            let word = self.seat(seat);
            if found.0 != word || self.out(seat) == 0 {
                *found = (word, now);
            }
        }
    }
}

impl moves::Words for Inner {
    type Kept<'a> = KeptBy<'a>;

    #[inline(always)]
    fn mode(&self) -> u32 {
        self.mode.load(Ordering::Acquire)
    }

    fn set_mode(&self, mode: u32) {
        self.mode.store(mode, Ordering::Release);
    }

    fn rest(&self) -> u32 {
        self.rest
    }

    fn seats(&self) -> usize {
        seats::high()
    }

    fn seat(&self, seat: usize) -> u64 {
        self.seats[seat].word.load(Ordering::Acquire)
    }

    #[inline(always)]
    fn own(&self, seat: usize) -> u64 {
        self.seats[seat].word.load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn put(&self, seat: usize, word: u64) {
        self.seats[seat].word.store(word, Ordering::Release);
    }

    fn add(&self, seat: usize, by: u64) {
        self.seats[seat].word.fetch_add(by, Ordering::AcqRel);
    }

    fn late(&self, seat: usize) -> u64 {
        self.seats[seat].late.load(Ordering::Acquire)
    }

    fn add_late(&self, seat: usize) {
        self.seats[seat].late.fetch_add(1, Ordering::AcqRel);
    }

    #[inline(always)]
    fn light(&self) {
        barrier::light();
    }

    fn full(&self) {
        fence(Ordering::SeqCst);
    }

    fn heavy(&self) -> bool {
        // A gate that rests in `WATCHED` never needs it (M1).
        barrier::heavy().is_ok()
    }

    fn lock(&self) -> KeptBy<'_> {
        KeptBy {
            inner: self,
            state: self.state(),
        }
    }
}

/// What is under the gate's lock, while it is locked.
struct KeptBy<'a> {
    inner: &'a Inner,
    state: MutexGuard<'a, State>,
}

impl moves::Kept for KeptBy<'_> {
    fn proven(&self) -> bool {
        self.state.proven
    }

    fn set_proven(&mut self, proven: bool) {
        self.state.proven = proven;
    }

    fn quiet(&self) -> bool {
        self.state.quiet
    }

    fn rehearse(&mut self) {
        if let Some(plan) = &mut self.state.plan {
            (plan.rehearse)(self.inner.last_commit.load(Ordering::Relaxed));
        }
    }

    fn got_quiet(&mut self) {
        if let Some(plan) = self.state.plan.take() {
            let stamp = match self.inner.last_commit.load(Ordering::Relaxed) {
                0 => monotonic_ns(),
                ns => ns,
            };
            (plan.quiet)(Quiet { last_commit_ns: stamp });
        }
        self.state.quiet = true;
        self.inner.changed.notify_all();
    }

    fn held_up(&mut self) {
        self.inner.look(&mut self.state);
    }
}

/// The right to read and write the regions of a gate, until it is dropped. It stays in its thread (G5).
#[derive(Debug)]
pub struct Pass<'g> {
    gate: &'g Gate,
    seat: u32,
    /// The name that the seat had before, if this pass goes by another.
    outer: u32,
    committed: Cell<bool>,
    here: PhantomData<*const ()>,
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
        if self.gate.0.mode() >= REHEARSE {
            self.gate.0.last_commit.store(monotonic_ns(), Ordering::Relaxed);
        }
    }

    /// Lets this pass go by another name. Where threads share a seat, the latest name is that of all.
    #[inline]
    fn rename(&mut self, name: u32) {
        let seat = &self.gate.0.seats[self.seat as usize];
        self.outer = seat.name.load(Ordering::Relaxed);
        seat.name.store(name, Ordering::Relaxed);
    }
}

impl Drop for Pass<'_> {
    #[inline]
    fn drop(&mut self) {
        let inner = &*self.gate.0;
        if self.committed.get() && matches!(inner.mode(), REHEARSE | LAST) {
            moves::tick(inner);
        }
        let seat = self.seat as usize;
        if self.outer != SAME_NAME {
            inner.seats[seat].name.store(self.outer, Ordering::Relaxed);
        }
        inner.leave(seat);
    }
}
