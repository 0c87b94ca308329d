//! Switches for tests that leave a check out, to show that the other tests would notice. In the library all are false and
//! cost nothing.

#[cfg(test)]
pub(crate) use switches::{Left, leave_out, overlay, round, sequence, twice, way};

/// The sequence of a record is not compared.
#[cfg(not(test))]
#[inline(always)]
pub(crate) const fn sequence() -> bool {
    false
}

/// What the open log says is not laid over what is read.
#[cfg(not(test))]
#[inline(always)]
pub(crate) const fn overlay() -> bool {
    false
}

/// A sequence is believed, however many changes were made between two looks at it.
#[cfg(not(test))]
#[inline(always)]
pub(crate) const fn round() -> bool {
    false
}

/// It is not looked whether the way still leads to a record that was found (N4).
#[cfg(not(test))]
#[inline(always)]
pub(crate) const fn way() -> bool {
    false
}

/// Copies of a record that is read twice are not compared.
#[cfg(not(test))]
#[inline(always)]
pub(crate) const fn twice() -> bool {
    false
}

#[cfg(test)]
mod switches {
    use std::cell::Cell;

    /// What is left out on this thread.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Left {
        Nothing,
        Sequence,
        Overlay,
        Twice,
        Round,
        Way,
    }

    thread_local! {
        static LEFT: Cell<Left> = const { Cell::new(Left::Nothing) };
    }

    pub(crate) fn leave_out(what: Left) {
        LEFT.set(what);
    }

    pub(crate) fn sequence() -> bool {
        LEFT.get() == Left::Sequence
    }

    pub(crate) fn round() -> bool {
        LEFT.get() == Left::Round
    }

    pub(crate) fn way() -> bool {
        LEFT.get() == Left::Way
    }

    pub(crate) fn twice() -> bool {
        LEFT.get() == Left::Twice
    }

    pub(crate) fn overlay() -> bool {
        LEFT.get() == Left::Overlay
    }
}
