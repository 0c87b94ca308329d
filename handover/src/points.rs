//! Named points of the protocol, at which a test kills or stops the process.
//!
//! Only a build with `--cfg crash_points` (`tests/points`) has them: there a point is a look at a static, and the one that was armed calls back on
//! its n-th hit. In the library that users link, [`point`] is empty and nothing can be armed.
//!
//! It does not know how a process is killed or stopped, nor what must hold afterwards.

macro_rules! points {
    ($($(#[$meta:meta])* $point:ident $name:literal,)*) => {
        /// A point. Its name says who is there, and what was done last.
        #[derive(Clone, Copy, Debug)]
        #[repr(usize)]
        pub(crate) enum Point { $($(#[$meta])* $point,)* }

        /// The points' names; a point's number is its place here.
        #[cfg(crash_points)]
        pub const NAMES: &[&str] = &[$($(#[$meta])* $name,)*];
    };
}

points! {
    OldGreeted "old: hello read",
    OldOffer "old: offer sent",
    OldBatch "old: batch sent",
    OldAcked "old: ack read",
    OldOffered "old: offered sent",
    OldReady "old: ready read",
    OldLate "old: late batches staged",
    OldNewcomer "old: newcomer sent",
    OldStandBy "old: stand by sent",
    OldStanding "old: standing read",
    OldProbationEnded "old: own probation ended",
    OldArmed "old: gate armed",
    OldRehearsed "old: rehearsed",
    OldQuiet "old: quiet, not released",
    OldReleased "old: released, not signalled",
    OldSignalled "old: signalled",
    OldTaken "old: take seen",
    OldHandedOver "old: stage set, terms left",
    OldClaimed "old: terms claimed",
    OldRefused "old: refusal read",
    OldAborted "old: abort sent, not signalled",
    NewConnected "new: connected",
    NewHello "new: hello sent",
    NewOffer "new: offer read",
    NewBatch "new: batch read",
    NewAck "new: ack sent",
    NewOffered "new: offered read",
    NewClaimed "new: everything claimed",
    NewReady "new: ready sent",
    NewNewcomer "new: newcomer read",
    NewStandBy "new: stand by read",
    NewStanding "new: standing sent",
    NewNoise "new: rehearsal seen",
    NewSignal "new: signal seen, not taken",
    NewTook "new: taken, gate closed",
    NewOpen "new: gate open",
    NewStage "new: stage set",
    NewWritten "new: history written",
    NewProbation "new: probation begun",
    NewRefused "new: refusal sent",
    NewAborted "new: abort read",
    NewProven "new: death of the old one proven",
    NewInherited "new: inherited, gate closed",
    ParkedMapped "parked: regions mapped",
    ParkedParked "parked: row says so",
    ParkedMirror "parked: mirror read",
    ParkedGone "parked: gone read",
    ParkedMoved "parked: move sent",
    ParkedConfirm "parked: confirm read",
    ParkedAsked "parked: return sent",
    ParkedKill "parked: kill sent",
    ParkedDead "parked: death proven",
    ParkedTake "parked: about to take",
    ParkedTook "parked: taken",
    ParkedInherit "parked: about to inherit",
    ParkedInherited "parked: inherited",
    ParkedRecovered "parked: regions recovered",
    ParkedOver "parked: probation over",
    BackOpen "back: gate open",
    BackWritten "back: history written",
    OwnerMirror "owner: mirror sent",
    OwnerGone "owner: gone sent",
    OwnerMoved "owner: move read",
    OwnerConfirm "owner: confirm sent",
    OwnerAsked "owner: return read",
    OwnerArmed "owner: gate closes to give back",
    OwnerReleased "owner: released to the parked one",
    OwnerReturned "owner: returned sent",
    OwnerGivenBack "owner: let go",
    FirstLocked "first: lock held",
    FirstInherited "first: lease of a dead owner inherited",
    FirstListens "first: control socket bound",
    WishWritten "wish: written, not counted",
    WishSaid "wish: counted",
    #[cfg(feature = "cli")]
    CommandLooked "command: looked at the node",
    #[cfg(feature = "cli")]
    CommandStarted "command: server started",
    #[cfg(feature = "cli")]
    CommandServes "command: server seen to serve",
}

#[cfg(not(crash_points))]
#[inline(always)]
pub(crate) fn point(_: Point) {}

#[cfg(crash_points)]
pub use armed::arm;
#[cfg(crash_points)]
pub(crate) use armed::point;

#[cfg(crash_points)]
mod armed {
    use super::Point;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    /// What is armed; `usize::MAX` for nothing.
    static ARMED: AtomicUsize = AtomicUsize::new(usize::MAX);
    /// Hits until it strikes.
    static LEFT: AtomicU64 = AtomicU64::new(0);
    static STRIKE: OnceLock<fn()> = OnceLock::new();

    /// Has the `nth` hit, from 1, of the point with that number call `strike`. Once in a process.
    pub fn arm(number: usize, nth: u64, strike: fn()) {
        LEFT.store(nth, Ordering::Relaxed);
        if STRIKE.set(strike).is_ok() {
            // ARMED pair: who sees the number sees the rest.
            ARMED.store(number, Ordering::Release);
        }
    }

    #[inline(always)]
    pub(crate) fn point(point: Point) {
        // ARMED pair.
        if ARMED.load(Ordering::Acquire) == point as usize {
            hit();
        }
    }

    #[cold]
    fn hit() {
        if LEFT.fetch_sub(1, Ordering::Relaxed) == 1
            && let Some(strike) = STRIKE.get()
        {
            strike();
        }
    }
}
