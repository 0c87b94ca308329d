//! Waiting for a pass in async code, under any executor.
//!
//! - **A1** Who waits leaves its waker *before* it looks again; who changes something does so *before* it takes the wakers.
//!   Both take the list's lock in between, so a change is either seen or wakes.
//! - **A2** A wake says "look again", nothing more. A future that is dropped takes its waker with it.
//! - **A3** No deadline is kept here: the caller has a timer, this crate has none. Dropping the future ends the wait.
//!
//! It does not know what is waited for beside the gate; that is the caller's `stop`.

use crate::error::{Error, Result};
use crate::gate::{Gate, Pass};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The wakers of those who wait.
#[derive(Default)]
pub(super) struct Waiting(Mutex<List>);

#[derive(Default)]
struct List {
    wakers: BTreeMap<u64, Waker>,
    next: u64,
}

impl Waiting {
    fn list(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a waker, in the place of the one that was left under `place` before.
    fn leave(&self, place: &mut Option<u64>, waker: &Waker) {
        let mut list = self.list();
        let key = *place.get_or_insert_with(|| {
            list.next += 1;
            list.next
        });
        list.wakers.insert(key, waker.clone());
    }

    fn forget(&self, place: Option<u64>) {
        if let Some(place) = place {
            self.list().wakers.remove(&place);
        }
    }

    /// Wakes everybody, outside of the lock: a waker may run the task at once.
    pub(super) fn wake(&self) {
        let wakers = std::mem::take(&mut self.list().wakers);
        wakers.into_values().for_each(Waker::wake);
    }

    pub(super) fn len(&self) -> usize {
        self.list().wakers.len()
    }
}

/// A pass that is waited for, see [`Gate::entered`].
#[must_use = "a future does nothing unless it is awaited"]
pub struct Entered<'g>(EnteredUnless<'g, fn() -> Option<std::convert::Infallible>>);

impl<'g> Entered<'g> {
    pub(super) fn new(gate: &'g Gate) -> Self {
        Self(EnteredUnless::new(gate, || None))
    }
}

impl<'g> Future for Entered<'g> {
    type Output = Result<Pass<'g>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|outcome| match outcome {
            Ok(pass) => pass,
            Err(never) => match never {},
        })
    }
}

impl fmt::Debug for Entered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A pass that is waited for until something else says stop, see [`Gate::entered_unless`].
#[must_use = "a future does nothing unless it is awaited"]
pub struct EnteredUnless<'g, F> {
    gate: &'g Gate,
    stop: F,
    place: Option<u64>,
}

impl<'g, F> EnteredUnless<'g, F> {
    pub(super) fn new(gate: &'g Gate, stop: F) -> Self {
        Self {
            gate,
            stop,
            place: None,
        }
    }
}

impl<'g, E, F: FnMut() -> Option<E> + Unpin> EnteredUnless<'g, F> {
    fn look(&mut self) -> Option<std::result::Result<Result<Pass<'g>>, E>> {
        match self.gate.enter() {
            Err(Error::GateClosed) => (self.stop)().map(Err),
            outcome => Some(Ok(outcome)),
        }
    }
}

impl<'g, E, F: FnMut() -> Option<E> + Unpin> Future for EnteredUnless<'g, F> {
    type Output = std::result::Result<Result<Pass<'g>>, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(outcome) = this.look() {
            return Poll::Ready(outcome);
        }
        this.gate.waiting().leave(&mut this.place, context.waker());
        // A1: what changed before the waker was there is seen now.
        match this.look() {
            Some(outcome) => Poll::Ready(outcome),
            None => Poll::Pending,
        }
    }
}

impl<F> Drop for EnteredUnless<'_, F> {
    fn drop(&mut self) {
        self.gate.waiting().forget(self.place);
    }
}

impl<F> fmt::Debug for EnteredUnless<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnteredUnless")
            .field("gate", &self.gate)
            .field("waits", &self.place.is_some())
            .finish_non_exhaustive()
    }
}
