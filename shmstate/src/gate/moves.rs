//! The moves of a gate on its words, and nothing else: so the model check can run this very code.
//!
//! Each thread has a *seat* in the gate, a word that it alone writes: how many of its passes are out. The *mode* says
//! what the gate does. A thread enters by a store to its seat and a look at the mode; who closes stores the mode and looks
//! at the seats. Each stores before it looks, so one of them sees the other, if the processor keeps that order.
//! An order of a load after a store costs a full barrier (some 20 cycles), which is what makes a shared counter slow; so:
//!
//! - **M1** While the mode is [`OPEN`], who enters or leaves keeps that order against the compiler only (`light`).
//!   Who takes the gate out of `OPEN` makes every thread pass a barrier (`heavy`, some µs) *before* it relies on a seat.
//!   BARRIER pair: a thread that saw `OPEN` did so before its barrier, thus its seat is visible after it.
//! - **M2** In every other mode, who enters or leaves makes a full barrier itself and looks again. DEKKER pair: with the
//!   full barrier of who stored [`CLOSED`], one of the two sees the other. So the close at the end of an armed tick needs
//!   no `heavy`: arming did it, one tick ahead (H4).
//! - **M3** The mode changes under the lock only. `OPEN` goes to [`WATCHED`] and its barrier first, never straight to
//!   another.
//! - **M4** The gate is quiet when, under the lock, the mode is `CLOSED`, the barrier of M1 is proven, and no seat has a
//!   pass out. Whoever leaves a closed gate looks, so the last one finds it, and the lock lets only one run the plan (G3).
//! - **M5** A pass that is dropped by a thread that does not own its seat (any more) counts up the seat's *late* word.
//!   A reader takes `late` first: it may miss a leave, never a pass.
//! - **M6** Threads without a seat of their own share [`SHARED`], by read-modify-writes.
//!
//! It does not know threads, clocks or what the plan is.

/// Passes are given, and nobody prepares to close.
pub(super) const OPEN: u32 = 0;
/// Passes are given; who enters or leaves makes a full barrier. The mode of rest where `heavy` is not to be had.
pub(super) const WATCHED: u32 = 1;
/// As `WATCHED`, and armed: the end of the next pass with a commit is the rehearsal.
pub(super) const REHEARSE: u32 = 2;
/// As `WATCHED`, and armed: the end of the next pass with a commit closes.
pub(super) const LAST: u32 = 3;
/// No passes are given.
pub(super) const CLOSED: u32 = 4;

/// The seat of all threads that have none of their own.
pub(super) const SHARED: usize = 0;

/// In the word of a seat: one pass, and one more in the serial number above.
const ENTER: u64 = (1 << 32) + 1;

/// How many passes are out in a seat whose words these are.
pub(super) fn out(seat: u64, late: u64) -> u32 {
    (seat as u32).wrapping_sub(late as u32)
}

/// What the moves stand on: memory, barriers and a lock.
pub(super) trait Words {
    type Kept<'a>: Kept
    where
        Self: 'a;

    /// Acquire.
    fn mode(&self) -> u32;
    /// Release; under the lock (M3).
    fn set_mode(&self, mode: u32);
    /// The mode of rest: `OPEN`, or `WATCHED` without `heavy`.
    fn rest(&self) -> u32;
    /// How many seats may be in use.
    fn seats(&self) -> usize;
    /// Acquire.
    fn seat(&self, seat: usize) -> u64;
    /// The word of a seat that the caller owns, which nobody else writes.
    fn own(&self, seat: usize) -> u64;
    /// Release, by the owner of the seat.
    fn put(&self, seat: usize, word: u64);
    /// Read-modify-write, AcqRel.
    fn add(&self, seat: usize, by: u64);
    /// Acquire.
    fn late(&self, seat: usize) -> u64;
    /// Read-modify-write, AcqRel.
    fn add_late(&self, seat: usize);
    /// No load moves before a store over this, for the compiler.
    fn light(&self);
    /// No load moves before a store over this, for the processor.
    fn full(&self);
    /// Every thread passes a `full`. `false` if the kernel refuses.
    fn heavy(&self) -> bool;
    fn lock(&self) -> Self::Kept<'_>;
}

/// What the lock keeps.
pub(super) trait Kept {
    /// Whether the barrier of M1 was made since the mode was last `OPEN`.
    fn proven(&self) -> bool;
    fn set_proven(&mut self, proven: bool);
    /// Whether the gate has got quiet since it was opened or armed.
    fn quiet(&self) -> bool;
    fn rehearse(&mut self);
    /// Runs the plan and tells those who wait.
    fn got_quiet(&mut self);
    /// The gate is closed and not quiet: somebody still holds a pass.
    fn held_up(&mut self);
}

/// Enters by a seat that the caller owns. `false` if the gate is closed.
#[inline(always)]
pub(super) fn enter<W: Words>(w: &W, seat: usize) -> bool {
    // Who comes to a closed gate leaves no trace in it, and does not hold up the one who releases.
    if w.mode() == CLOSED {
        return false;
    }
    w.put(seat, w.own(seat).wrapping_add(ENTER));
    w.light();
    w.mode() == OPEN || enter_watched(w, seat)
}

/// As [`enter`], without a seat of one's own (M6).
#[cold]
pub(super) fn enter_shared<W: Words>(w: &W) -> bool {
    if w.mode() == CLOSED {
        return false;
    }
    w.add(SHARED, ENTER);
    w.light();
    w.mode() == OPEN || enter_watched(w, SHARED)
}

#[cold]
fn enter_watched<W: Words>(w: &W, seat: usize) -> bool {
    // DEKKER pair (M2): see `close` and `tick`.
    w.full();
    if w.mode() != CLOSED {
        return true;
    }
    if seat == SHARED {
        leave_elsewhere(w, SHARED);
    } else {
        leave(w, seat);
    }
    false
}

/// A pass of a seat that the caller owns is over.
#[inline(always)]
pub(super) fn leave<W: Words>(w: &W, seat: usize) {
    // QUIET pair: the Release of `put` hands every store made under the pass to whoever finds the gate quiet.
    w.put(seat, w.own(seat).wrapping_sub(1));
    w.light();
    if w.mode() != OPEN {
        leave_watched(w);
    }
}

/// A pass of a seat that the caller does not own is over (M5, M6).
#[cold]
pub(super) fn leave_elsewhere<W: Words>(w: &W, seat: usize) {
    if seat == SHARED {
        w.add(SHARED, 1_u64.wrapping_neg());
    } else {
        w.add_late(seat);
    }
    w.light();
    if w.mode() != OPEN {
        leave_watched(w);
    }
}

#[cold]
fn leave_watched<W: Words>(w: &W) {
    // DEKKER pair (M2): see `close` and `tick`.
    w.full();
    if w.mode() == CLOSED {
        settle(w);
    }
}

/// Looks whether a closed gate is quiet (M4).
pub(super) fn settle<W: Words>(w: &W) {
    let mut kept = w.lock();
    // The gate may have been opened, and even closed again, since the caller left.
    if w.mode() != CLOSED || kept.quiet() {
        return;
    }
    if !kept.proven() {
        let proven = w.heavy();
        kept.set_proven(proven);
    }
    if !kept.proven() || anybody(w) {
        kept.held_up();
        return;
    }
    kept.got_quiet();
}

/// Whether a pass is out.
fn anybody<W: Words>(w: &W) -> bool {
    (0..w.seats()).any(|seat| {
        // M5: `late` first. QUIET pair: Acquire receives the stores made under the passes that are over.
        let late = w.late(seat);
        out(w.seat(seat), late) != 0
    })
}

/// Prepares to close, one tick ahead; `false` if the gate is closed, armed, or cannot be watched.
pub(super) fn arm<W: Words>(w: &W, kept: &mut W::Kept<'_>) -> bool {
    match w.mode() {
        OPEN => {
            w.set_mode(WATCHED);
            // BARRIER pair (M1): from here on every thread that enters or leaves sees WATCHED.
            if !w.heavy() {
                w.set_mode(OPEN);
                return false;
            }
            kept.set_proven(true);
        }
        WATCHED => {}
        _ => return false,
    }
    w.set_mode(REHEARSE);
    true
}

/// A pass with a commit ends, while the gate is armed. Its `leave` follows.
#[cold]
pub(super) fn tick<W: Words>(w: &W) {
    let mut kept = w.lock();
    match w.mode() {
        REHEARSE => {
            kept.rehearse();
            // The look at the seats is rehearsed too: it finds their lines warm.
            anybody(w);
            w.set_mode(LAST);
        }
        // DEKKER pair (M2): the full barrier is that of the `leave` that follows.
        LAST => w.set_mode(CLOSED),
        _ => {}
    }
}

/// Closes at once.
pub(super) fn close<W: Words>(w: &W) {
    {
        let mut kept = w.lock();
        if w.mode() == OPEN {
            w.set_mode(WATCHED);
            // BARRIER pair (M1). If it fails the gate closes all the same, and is not quiet before it has been made.
            let proven = w.heavy();
            kept.set_proven(proven);
        }
        w.set_mode(CLOSED);
    }
    // DEKKER pair (M2): see `enter_watched` and `leave_watched`.
    w.full();
    settle(w);
}

/// Gives passes again, under the lock; what was armed is forgotten.
pub(super) fn open<W: Words>(w: &W) {
    w.set_mode(w.rest());
}

/// Gives passes again, unless the gate has got quiet: then what the plan decided holds.
pub(super) fn disarm<W: Words>(w: &W, kept: &W::Kept<'_>) -> bool {
    if kept.quiet() {
        return false;
    }
    open(w);
    true
}
