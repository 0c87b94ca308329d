//! Named points between two stores, at which a test kills the process.
//!
//! Only a build with `--cfg crash_points` (`tests/crash`) has them: there a point is a look at a static, and the one that was
//! armed calls back on its n-th hit. In the library that users link, [`point`] is empty and nothing can be armed.
//!
//! It does not know how a process is killed, nor what must hold afterwards.

macro_rules! points {
    ($($(#[$doc:meta])* $point:ident $name:literal,)*) => {
        /// A point. Its name says what was done last.
        #[derive(Clone, Copy, Debug)]
        #[repr(usize)]
        pub(crate) enum Point { $($(#[$doc])* $point,)* }

        /// The points' names; a point's number is its place here.
        #[cfg(crash_points)]
        pub const NAMES: &[&str] = &[$($name,)*];
    };
}

points! {
    Stored "store: of any kind",
    CreateSized "create: object has its length",
    CreateUnnamed "create: all but the magic",
    LogWritten "log: entry written, not published",
    LogPublished "log: entry published",
    LogFull "log: use of an extent noted",
    ExtentTaken "log extent: memory taken",
    ExtentRow "log extent: row written",
    ExtentCounts "log extent: counted",
    FieldOdd "field: sequence odd",
    FieldChanged "field: changed, sequence odd",
    CommitBegins "commit: before the frees",
    CommitFreed "commit: one block freed",
    CommitFrees "commit: frees applied",
    CommitCounted "commit: before the log is emptied",
    CommitDone "commit: log emptied",
    WordStored "commit of a word: word stored",
    WordSettled "commit of a word: sequence settled",
    UndoChecked "undo: log checked",
    UndoEntry "undo: entry restored",
    UndoAll "undo: before the log is emptied",
    UndoDone "undo: log emptied",
    GrowthTaken "growth: memory taken",
    GrowthWatermark "growth: watermark raised",
    HeapExtended "heap: end moved",
    HoleTaken "hole: memory taken again",
    HoleFilled "hole: made a free run",
    TrimMarked "trim: holes marked, not committed",
    TrimCommitted "trim: committed, nothing given back yet",
    TrimPunched "trim: memory of a hole given back",
    TrimTail "trim: memory behind the heap given back",
    IndexEnlarged "index: segment enlarged",
    IndexSplit "index: segment split",
    IndexDoubled "index: directory doubled",
    IndexJoined "index: segments joined",
    IndexHalved "index: directory halved",
    SlotPage "slots: page added",
    SlotFilled "slots: slot filled",
    OrderedSplit "ordered: node split",
    OrderedRaised "ordered: tree deeper",
    OrderedJoined "ordered: nodes joined",
    OrderedShared "ordered: entries shared out",
    TimerMoved "timers: moved on",
    SavepointUndone "savepoint: taken back",
    QueueBehind "queue: reference behind the tail",
    QueuePage "queue: page added",
    ShapeDescribed "shape: row describes another",
    ShapeWritten "shape: record written in another",
    ShapeCounted "shape: record counted",
    TwinKept "shape: twin kept",
    TwinWritten "shape: twin written",
    TableDying "drop: table gone, not committed",
    TableDead "drop: row given up, not committed",
    MoveBegun "move: tables described",
    MoveCarried "move: record in its targets",
    MoveMarked "move: record taken from its source, or marked",
    MoveMirrored "move: source follows its targets",
    MoveAside "move: table set aside",
    MoveOver "move: over, not committed",
    Marked "checkpoint: marked",
    MarkSaved "checkpoint: page saved by the writer",
    CopierBatch "checkpoint: pages read",
    CopierAll "checkpoint: all copied",
    FileWhole "checkpoint: written, not named",
    FileNamed "checkpoint: named",
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
