//! Waiting for one descriptor, with a deadline. An interrupted wait goes on.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::clock::Deadline;
use crate::error::{Error, Result};

/// Waits until `fd` is readable, hung up or in error. `false` if that did not happen in time.
///
/// # Errors
/// The wait itself failed.
pub fn readable(fd: BorrowedFd<'_>, deadline: Deadline) -> Result<bool> {
    ready(fd, PollFlags::IN, deadline)
}

/// Waits until `fd` is writable, hung up or in error. `false` if that did not happen in time.
///
/// # Errors
/// The wait itself failed.
pub fn writable(fd: BorrowedFd<'_>, deadline: Deadline) -> Result<bool> {
    ready(fd, PollFlags::OUT, deadline)
}

fn ready(fd: BorrowedFd<'_>, flags: PollFlags, deadline: Deadline) -> Result<bool> {
    loop {
        let left = Timespec::try_from(deadline.remaining()).ok();
        let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), flags)];
        match poll(&mut fds, left.as_ref()) {
            Ok(n) if n > 0 => return Ok(true),
            Ok(_) if deadline.passed() => return Ok(false),
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(Error::io("wait for", "a descriptor", e)),
        }
    }
}
