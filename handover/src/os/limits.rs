//! How many descriptors this process may still open: looked at before they are needed, and raised where that suffices.
//!
//! - **L1** RLIMIT_NOFILE bounds the *numbers* of descriptors. The soft limit is what counts; a process may raise its own up to the
//!   hard one, and this file does, as far as needed, never lowers it, and never touches the hard one. A process that waits with
//!   `select` on numbers above 1023 is the only one that minds.
//! - **L2** What does not fit is an error with three numbers: needed, open, allowed; and what to raise.
//! - **L3** Other threads open descriptors at the same time: the look is no reservation. Who receives still handles a truncation.
//!
//! This file does not know what descriptors are for.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::error::{Error, Result};

/// Descriptors that a side of a handover opens for itself: channel, pidfd, files of /proc, epoll set, eventfd, control block.
pub const FOR_A_HANDOVER: u64 = 16;
/// Asked for beyond what is needed, where the hard limit allows it: connections accepted since the offer, and those to come.
pub const SPARE: u64 = 256;

/// Raising is reading, then writing.
static RAISING: Mutex<()> = Mutex::new(());

/// The descriptors of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// How many are open.
    pub open: u64,
    /// The soft limit.
    pub soft: u64,
    /// The hard limit.
    pub hard: u64,
}

impl Room {
    /// As it is now.
    #[must_use]
    pub fn now() -> Self {
        let limit = getrlimit(Resource::Nofile);
        let soft = limit.current.unwrap_or(u64::MAX);
        Self {
            // Where not even the directory can be opened, there is no room.
            open: count().unwrap_or(soft),
            soft,
            hard: limit.maximum.unwrap_or(u64::MAX),
        }
    }

    /// How many more fit under the soft limit.
    #[must_use]
    pub fn left(self) -> u64 {
        self.soft.saturating_sub(self.open)
    }
}

/// The one that counts is not counted.
fn count() -> Option<u64> {
    let entries = std::fs::read_dir("/proc/self/fd").ok()?;
    Some((entries.count() as u64).saturating_sub(1))
}

/// Sees to it that `needed` more descriptors can be opened: raises the soft limit if it has to (L1), with [`SPARE`] ones on top
/// where the hard limit allows. `what` they are for, as a noun.
///
/// # Errors
/// [`Error::DescriptorLimit`]: the hard limit is too low.
pub fn make_room(what: &'static str, needed: u64) -> Result<Room> {
    let _one = RAISING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut room = Room::now();
    if room.left() >= needed {
        return Ok(room);
    }
    if room.open.saturating_add(needed) <= room.hard {
        let wanted = room.open.saturating_add(needed).saturating_add(SPARE).min(room.hard);
        let limit = Rlimit {
            current: Some(wanted),
            maximum: getrlimit(Resource::Nofile).maximum,
        };
        if setrlimit(Resource::Nofile, limit).is_ok() {
            room.soft = wanted;
            return Ok(room);
        }
    }
    Err(Error::DescriptorLimit {
        what,
        needed,
        open: room.open,
        soft: room.soft,
        hard: room.hard,
    })
}

/// Raises the soft limit to the hard one; `true` if that was more.
pub fn raise_to_the_limit() -> bool {
    let _one = RAISING.lock().unwrap_or_else(PoisonError::into_inner);
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: limit.maximum,
        ..limit
    };
    limit.current != limit.maximum && setrlimit(Resource::Nofile, all).is_ok()
}

/// A descriptor that is kept so that there is one to give up: with all taken, who comes could not even be told so.
#[derive(Debug)]
pub struct Reserve(Option<OwnedFd>);

impl Reserve {
    /// Sets one aside, if there is one.
    #[must_use]
    pub fn new() -> Self {
        Self(rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok())
    }

    /// Runs `act` with one descriptor more, then takes it back.
    pub fn lend<R>(&mut self, act: impl FnOnce() -> R) -> R {
        self.0 = None;
        let result = act();
        *self = Self::new();
        result
    }
}

impl Default for Reserve {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::alone::{alone, open_descriptors};

    fn limit(soft: u64, hard: u64) {
        let limit = Rlimit {
            current: Some(soft),
            maximum: Some(hard),
        };
        setrlimit(Resource::Nofile, limit).expect("a lower limit");
    }

    #[test]
    fn the_soft_limit_is_raised_as_far_as_needed_and_no_further() {
        alone(
            "os::limits::tests::the_soft_limit_is_raised_as_far_as_needed_and_no_further",
            || {
                limit(64, 1000);
                let room = Room::now();
                assert_eq!(room.open as usize, open_descriptors() - 1);
                assert_eq!(make_room("a test", 20).expect("it is there").soft, 64);
                let raised = make_room("a test", 200).expect("raised");
                assert_eq!(raised.soft, room.open + 200 + SPARE);
                assert_eq!(Room::now(), raised);
                assert_eq!(make_room("a test", 990 - room.open).expect("to the limit").soft, 1000);
                let error = make_room("a test", 1001).expect_err("more than the hard limit");
                match error {
                    Error::DescriptorLimit {
                        needed: 1001,
                        open,
                        soft: 1000,
                        hard: 1000,
                        ..
                    } => assert_eq!(open, room.open),
                    other => panic!("{other:?}"),
                }
                assert!(!raise_to_the_limit(), "it is there");
                limit(64, 1000);
                assert!(raise_to_the_limit());
                assert_eq!(Room::now().soft, 1000);
            },
        );
    }

    #[test]
    fn a_reserve_is_one_descriptor_where_there_is_none() {
        alone(
            "os::limits::tests::a_reserve_is_one_descriptor_where_there_is_none",
            || {
                limit(40, 40);
                let mut reserve = Reserve::new();
                let mut taken = Vec::new();
                let full = loop {
                    match std::fs::File::open("/dev/null") {
                        Ok(file) => taken.push(file),
                        Err(e) => break e,
                    }
                };
                assert_eq!(full.raw_os_error(), Some(rustix::io::Errno::MFILE.raw_os_error()));
                assert_eq!(Room::now().left(), 0);
                reserve.lend(|| drop(std::fs::File::open("/dev/null").expect("one")));
                assert!(reserve.0.is_some(), "it is back");
                assert!(std::fs::File::open("/dev/null").is_err());
            },
        );
    }
}
