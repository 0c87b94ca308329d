//! Switches for a build that is broken on purpose: the torture test must show violations with each of them.
//!
//! That build is a package of its own (`tests/broken`) that compiles these sources with `--cfg broken`; which of them is on is said when a process
//! starts. In the library that users link, none is, and the question costs nothing.

/// What can be broken.
#[cfg_attr(
    not(broken),
    expect(unreachable_pub, reason = "only the broken build lets others say which")
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Broken {
    /// The length of the undo log is never published: recovery finds nothing to take back.
    Publish = 1,
    /// The order that the compiler fence keeps is given up: an entry is published only after the data it covers.
    Fence,
    /// Freed blocks are forgotten at commit.
    Free,
    /// The entries of an ordered map's node that an insertion moves are not logged.
    Entry,
    /// Blocks that a savepoint's part wanted freed are freed although the part was taken back.
    Savepoint,
    /// A record that was changed gets no twin in the older shape that there is a way back to.
    Twin,
    /// The source of a move does not follow its targets, although there is a way back.
    Follow,
}

#[cfg(not(broken))]
#[inline(always)]
pub(crate) const fn is(_: Broken) -> bool {
    false
}

#[cfg(broken)]
pub use switched::ALL;
#[cfg(broken)]
pub(crate) use switched::is;
#[cfg(broken)]
pub use switched::turn_on;

#[cfg(broken)]
mod switched {
    use super::Broken;
    use std::sync::atomic::{AtomicU8, Ordering};

    /// All, with the names that a command line has for them.
    pub const ALL: &[(&str, Broken)] = &[
        ("publish", Broken::Publish),
        ("fence", Broken::Fence),
        ("free", Broken::Free),
        ("entry", Broken::Entry),
        ("savepoint", Broken::Savepoint),
        ("twin", Broken::Twin),
        ("follow", Broken::Follow),
    ];

    static ON: AtomicU8 = AtomicU8::new(0);

    /// Breaks this process, before it does anything.
    pub fn turn_on(broken: Broken) {
        ON.store(broken as u8, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn is(broken: Broken) -> bool {
        ON.load(Ordering::Relaxed) == broken as u8
    }
}
