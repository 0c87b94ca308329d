//! Switches for tests that leave a check of the decoder out, to show that the fuzz targets would notice. In the library all are false and
//! cost nothing.

#[cfg(test)]
pub(crate) use switches::{Left, leave_out, left_out};

/// A check that a test can leave out.
#[cfg(not(test))]
#[derive(Clone, Copy)]
pub(crate) enum Left {
    Tail,
    Limit,
    Number,
    Version,
    Descriptors,
}

#[cfg(not(test))]
#[inline(always)]
pub(crate) const fn left_out(_: Left) -> bool {
    false
}

#[cfg(test)]
mod switches {
    use std::cell::Cell;

    /// What is left out on this thread.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Left {
        Nothing,
        /// A body may go on after its last field.
        Tail,
        /// A list of descriptors may be of any length.
        Limit,
        /// A message may have any number.
        Number,
        /// A message may be of any version that this build speaks.
        Version,
        /// A message may come with other descriptors than it lists.
        Descriptors,
    }

    thread_local! {
        static LEFT: Cell<Left> = const { Cell::new(Left::Nothing) };
    }

    pub(crate) fn leave_out(what: Left) {
        LEFT.set(what);
    }

    pub(crate) fn left_out(what: Left) -> bool {
        LEFT.get() == what
    }
}
