//! Switches for tests that leave a step out, to show that the other tests would notice.

use std::cell::Cell;

/// What is left out on this thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    Nothing,
    /// A ring is exchanged by plain stores: no log covers its words (G1).
    Log,
    /// What the old ring holds is not copied (G1).
    Copy,
    /// A note names its stream before the number of the last call is gone (N4).
    LateEmpty,
}

thread_local! {
    static LEFT: Cell<Left> = const { Cell::new(Left::Nothing) };
}

pub(crate) fn leave_out(what: Left) {
    LEFT.set(what);
}

pub(crate) fn log() -> bool {
    LEFT.get() == Left::Log
}

pub(crate) fn copy() -> bool {
    LEFT.get() == Left::Copy
}

pub(crate) fn late_empty() -> bool {
    LEFT.get() == Left::LateEmpty
}
