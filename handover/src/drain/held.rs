//! What a process still holds while it drains: pieces of work and connections, each with a name and since when.
//!
//! - **D1** An entry ends when its guard is dropped, also by a panic, in whatever thread; who waits is woken then.
//! - **D2** An idle connection is asked to close, once, when a drain begins; one that is busy when it gets idle; one that comes
//!   later at once. Asking is a call of the user's function, outside of every lock.
//! - **D3** A connection that gets idle while a drain runs is first offered to the late move, if there is one: taken over, it is
//!   no longer this process's, and its wrapper is to be dropped without effect on the peer (H11).
//!
//! It does not know what the work is, nor how long is waited for it.

use crate::control::DrainPhase;
use crate::os::clock;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a connection is told by a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ask {
    /// Say goodbye in your protocol, close, and drop the [`HeldConnection`].
    Close,
    /// Another process has it: drop it without effect on the peer.
    Moved,
}

/// What kind of thing is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeldKind {
    /// A piece of work.
    Task,
    /// A connection.
    Connection,
}

/// Something that is held, as it was at the moment of a look.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Held {
    /// What it is.
    pub kind: HeldKind,
    /// What it is called; `None` for [`InFlight::begin`].
    pub name: Option<Arc<str>>,
    /// Whether it is at work; a connection may be idle.
    pub busy: bool,
    /// Whether it was asked to close.
    pub asked: bool,
    /// Since when it is busy, or idle: ns of CLOCK_MONOTONIC.
    pub since: u64,
}

impl Held {
    /// How long it is busy, or idle.
    #[must_use]
    pub fn age(&self) -> Duration {
        Duration::from_nanos(clock::now().saturating_sub(self.since))
    }

    /// What it is called, for people.
    #[must_use]
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or("unnamed work")
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, state) = match (self.kind, self.busy) {
            (HeldKind::Task, _) => ("task", "busy"),
            (HeldKind::Connection, true) => ("connection", "busy"),
            (HeldKind::Connection, false) => ("connection", "idle"),
        };
        write!(f, "{kind} '{}', {state} for {:.1?}", self.label(), self.age())
    }
}

type OnAsk = Arc<dyn Fn(Ask) + Send + Sync>;
type LateMove = Arc<dyn Fn(&Held) -> bool + Send + Sync>;
type OnEvent = Arc<dyn Fn(&DrainEvent) + Send + Sync>;

/// What a drain tells those who watch it, in this order: each phase begins and ends once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DrainEvent {
    /// A phase has begun.
    Began {
        /// Which.
        phase: DrainPhase,
        /// What this phase waits for.
        left: u64,
        /// How long it lasts at most.
        longest: Duration,
    },
    /// A phase is over.
    Ended {
        /// Which.
        phase: DrainPhase,
        /// What it waited for in vain.
        left: u64,
        /// How long it lasted.
        took: Duration,
    },
}

struct Entry {
    kind: HeldKind,
    name: Option<Arc<str>>,
    /// Requests in progress; a task is one.
    busy: u32,
    since: u64,
    asked: bool,
    /// It did not close in phase 1 and does nothing: phase 2 does not wait for it.
    given_up: bool,
    on_ask: Option<OnAsk>,
}

#[derive(Default)]
struct Inner {
    entries: BTreeMap<u64, Entry>,
    next: u64,
    phase: DrainPhase,
    moved: u64,
    late_move: Option<LateMove>,
    watchers: Vec<OnEvent>,
}

#[derive(Default)]
struct Book {
    inner: Mutex<Inner>,
    changed: Condvar,
}

/// What a process holds and a drain waits for. Clones are the same book.
#[derive(Clone, Default)]
pub struct InFlight(Arc<Book>);

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlight")
            .field("held", &self.inner().entries.len())
            .field("phase", &self.phase())
            .finish_non_exhaustive()
    }
}

/// A piece of work; it is over when this is dropped.
#[derive(Debug)]
pub struct Work(Place);

/// A connection that is not handed over; it is gone when this is dropped.
#[derive(Debug)]
pub struct HeldConnection(Place);

/// A request of a connection in progress; the connection is idle again when its last is dropped.
#[derive(Debug)]
pub struct Busy<'c>(&'c Place);

/// An entry's place in the book.
#[derive(Debug)]
struct Place {
    book: InFlight,
    key: u64,
}

/// What a drain waits for.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Look {
    /// Idle connections that may still close.
    pub(crate) idle: u64,
    /// All that phase 2 waits for.
    pub(crate) waited: u64,
    /// Everything.
    pub(crate) all: u64,
    pub(crate) connections: u64,
    pub(crate) in_flight: u64,
    /// The one that is as it is for the longest.
    pub(crate) oldest: Option<Held>,
}

impl InFlight {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, kind: HeldKind, name: Option<&str>, on_ask: Option<OnAsk>) -> Place {
        let mut inner = self.inner();
        inner.next += 1;
        let key = inner.next;
        let entry = Entry {
            kind,
            name: name.map(Into::into),
            busy: u32::from(kind == HeldKind::Task),
            since: clock::now(),
            asked: false,
            given_up: false,
            on_ask,
        };
        inner.entries.insert(key, entry);
        drop(inner);
        Place {
            book: self.clone(),
            key,
        }
    }

    /// Begins a piece of work without a name.
    #[must_use]
    pub fn begin(&self) -> Work {
        Work(self.enter(HeldKind::Task, None, None))
    }

    /// Begins a piece of work that goes by `name`.
    #[must_use]
    pub fn task(&self, name: &str) -> Work {
        Work(self.enter(HeldKind::Task, Some(name), None))
    }

    /// Enters a connection that is not handed over, idle. `on_ask` is called, in some thread and outside of all locks, when a
    /// drain asks it to close: once, and only while it is idle. It may be called a moment after the connection was dropped.
    #[must_use]
    pub fn connection(&self, name: &str, on_ask: impl Fn(Ask) + Send + Sync + 'static) -> HeldConnection {
        let place = self.enter(HeldKind::Connection, Some(name), Some(Arc::new(on_ask)));
        // D2: it comes late.
        place.ask_if_idle(false);
        HeldConnection(place)
    }

    /// Sets what tries to hand over a connection that gets idle while a drain runs (D3): `true` if another process has it now.
    pub fn set_late_move(&self, late_move: impl Fn(&Held) -> bool + Send + Sync + 'static) {
        self.inner().late_move = Some(Arc::new(late_move));
    }

    /// `watch` is called, by the thread that drains, for each event of a drain.
    pub fn on_drain(&self, watch: impl Fn(&DrainEvent) + Send + Sync + 'static) {
        self.inner().watchers.push(Arc::new(watch));
    }

    /// How many entries there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.inner().entries.len() as u64
    }

    /// The phase of the drain; [`DrainPhase::None`] if none runs.
    #[must_use]
    pub fn phase(&self) -> DrainPhase {
        self.inner().phase
    }

    /// All that is held, the oldest first.
    #[must_use]
    pub fn holders(&self) -> Vec<Held> {
        let mut all: Vec<Held> = self.inner().entries.values().map(Entry::held).collect();
        all.sort_by_key(|held| held.since);
        all
    }

    pub(super) fn set_phase(&self, phase: DrainPhase) {
        self.inner().phase = phase;
    }

    /// Asks every idle connection to close; how many were.
    pub(super) fn ask_idle(&self) -> u64 {
        let keys: Vec<u64> = self.inner().entries.keys().copied().collect();
        let ask = |key| Place::ask(self, key, false);
        keys.into_iter().filter(|&key| ask(key)).count() as u64
    }

    /// Those that are idle have had their time.
    pub(super) fn give_up_idle(&self) {
        for entry in self.inner().entries.values_mut() {
            entry.given_up |= entry.is_idle();
        }
    }

    pub(super) fn moved(&self) -> u64 {
        self.inner().moved
    }

    pub(super) fn look(&self) -> Look {
        self.inner().look()
    }

    /// Waits until something ends or changes, or `longest` is over, unless `done`.
    pub(super) fn wait(&self, longest: Duration, done: impl Fn(&Look) -> bool) -> Look {
        let mut inner = self.inner();
        if !done(&inner.look()) {
            inner = self
                .0
                .changed
                .wait_timeout(inner, longest)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        inner.look()
    }

    pub(super) fn tell(&self, event: DrainEvent) {
        let watchers = self.inner().watchers.clone();
        for watch in watchers {
            shielded(|| watch(&event));
        }
    }
}

/// Runs a user's function. Its panic is not the drain's: the others still have to be asked. The hook has shown it.
fn shielded<R>(call: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(call)).ok()
}

impl Inner {
    fn look(&self) -> Look {
        let mut look = Look::default();
        let mut oldest: Option<&Entry> = None;
        for entry in self.entries.values() {
            look.all += 1;
            look.connections += u64::from(entry.kind == HeldKind::Connection);
            look.in_flight += u64::from(entry.busy > 0);
            look.idle += u64::from(entry.is_idle() && !entry.given_up);
            look.waited += u64::from(!entry.given_up);
            if oldest.is_none_or(|o| entry.since < o.since) {
                oldest = Some(entry);
            }
        }
        look.oldest = oldest.map(Entry::held);
        look
    }
}

impl Entry {
    fn is_idle(&self) -> bool {
        self.busy == 0
    }

    fn held(&self) -> Held {
        Held {
            kind: self.kind,
            name: self.name.clone(),
            busy: self.busy > 0,
            asked: self.asked,
            since: self.since,
        }
    }
}

impl Place {
    fn with<R>(&self, act: impl FnOnce(&mut Entry) -> R) -> Option<R> {
        self.book.inner().entries.get_mut(&self.key).map(act)
    }

    /// Asks this one if a drain runs; `got_idle`: it was busy until now.
    fn ask_if_idle(&self, got_idle: bool) {
        if self.book.phase() != DrainPhase::None {
            Self::ask(&self.book, self.key, got_idle);
        }
    }

    /// Whether it was asked now.
    fn ask(book: &InFlight, key: u64, got_idle: bool) -> bool {
        let mut inner = book.inner();
        let late_move = inner.late_move.clone().filter(|_| got_idle);
        let Some(entry) = inner.entries.get_mut(&key) else {
            return false;
        };
        if !entry.is_idle() || entry.asked {
            return false;
        }
        let Some(on_ask) = entry.on_ask.clone() else {
            return false;
        };
        // Nobody else asks this one any more.
        entry.asked = true;
        let held = entry.held();
        drop(inner);
        if late_move.is_some_and(|late_move| shielded(|| late_move(&held)).unwrap_or(false)) {
            let mut inner = book.inner();
            inner.moved += u64::from(inner.entries.remove(&key).is_some());
            drop(inner);
            book.0.changed.notify_all();
            shielded(|| on_ask(Ask::Moved));
        } else {
            shielded(|| on_ask(Ask::Close));
        }
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let entry = self.book.inner().entries.remove(&self.key);
        self.book.0.changed.notify_all();
        // The user's function may own things whose end takes the lock.
        drop(entry);
    }
}

impl Work {
    /// What this piece of work is called.
    #[must_use]
    pub fn name(&self) -> Option<Arc<str>> {
        self.0.with(|entry| entry.name.clone()).flatten()
    }
}

impl HeldConnection {
    /// A request begins. Until the guard is dropped the connection is busy, and nobody asks it to close.
    #[must_use]
    pub fn busy(&self) -> Busy<'_> {
        self.0.with(|entry| {
            if entry.busy == 0 {
                entry.since = clock::now();
                entry.given_up = false;
            }
            entry.busy += 1;
        });
        Busy(&self.0)
    }

    /// Whether it was asked to close, for those who would rather look than be called.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        // One that was moved is no longer in the book.
        self.0.with(|entry| entry.asked).unwrap_or(true)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let idle = self.0.with(|entry| {
            entry.busy -= 1;
            if entry.busy == 0 {
                entry.since = clock::now();
            }
            entry.busy == 0
        });
        if idle == Some(true) {
            self.0.ask_if_idle(true);
            self.0.book.0.changed.notify_all();
        }
    }
}
