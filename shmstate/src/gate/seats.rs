//! Seats: which thread writes which word of every gate of this process.
//!
//! A thread takes the lowest free seat at its first pass and gives it back when it ends. A seat belongs to one thread at a
//! time, so its owner writes it without a read-modify-write. Threads beyond [`SEATS`] share seat 0.

use crate::gate::moves::SHARED;
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Seats of a gate, the shared one included. With more threads than that, the last to come pay the price of a counter.
pub const SEATS: usize = 64;

/// No seat yet.
const NONE: usize = usize::MAX;

/// Seats in use are below.
static HIGH: AtomicUsize = AtomicUsize::new(1);
static OWNERS: Mutex<[Option<Owner>; SEATS]> = Mutex::new([const { None }; SEATS]);

/// A thread that has, or had, a seat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) tid: i32,
    pub(super) name: Option<String>,
    pub(super) ended: bool,
}

thread_local! {
    // Without a destructor, so that a look is one load.
    static SEAT: Cell<usize> = const { Cell::new(NONE) };
    static GUARD: Guard = const { Guard };
}

/// Gives the seat back at the end of the thread.
struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        // From here on this thread shares: what it still holds is dropped by one who does not own the seat (M5).
        let seat = SEAT.replace(SHARED);
        if let Some(Some(owner)) = owners().get_mut(seat) {
            owner.ended = true;
        }
    }
}

fn owners() -> MutexGuard<'static, [Option<Owner>; SEATS]> {
    OWNERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The seat of this thread, if it has one of its own: never `SHARED`.
#[inline(always)]
pub(super) fn mine() -> Option<usize> {
    let seat = SEAT.get();
    // `NONE` and `SHARED` in one comparison.
    (seat.wrapping_sub(1) < SEATS - 1).then_some(seat)
}

/// The seat of this thread, which takes one now if it has none; `SHARED` if all are taken.
#[cold]
pub(super) fn take() -> usize {
    if SEAT.get() == NONE {
        // A thread whose locals are being destroyed gets no seat that nobody would give back.
        let seat = GUARD.try_with(|_| claim()).unwrap_or(SHARED);
        SEAT.set(seat);
    }
    SEAT.get()
}

fn claim() -> usize {
    let mut owners = owners();
    let free = (1..SEATS).find(|&seat| owners[seat].as_ref().is_none_or(|owner| owner.ended));
    let Some(seat) = free else {
        return SHARED;
    };
    owners[seat] = Some(Owner {
        tid: rustix::thread::gettid().as_raw_nonzero().get(),
        name: std::thread::current().name().map(str::to_owned),
        ended: false,
    });
    // SEAT pair: visible before the first store to the seat, as that store is before the look at the mode (M1, M2).
    HIGH.fetch_max(seat + 1, Ordering::SeqCst);
    seat
}

/// Seats that may be in use are below this.
pub(super) fn high() -> usize {
    HIGH.load(Ordering::Acquire)
}

/// Who owns a seat, or was the last to.
pub(super) fn owner(seat: usize) -> Option<Owner> {
    owners().get(seat)?.clone()
}
