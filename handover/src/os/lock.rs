//! The liveness lock: an open-file-description write lock on byte 0 of a file.
//!
//! - **Never unlock, only close.** The lock belongs to the open file description; a descriptor that was passed
//!   on shares it. An explicit unlock by one holder would unlock all of them.
//! - The kernel drops it when the last descriptor of the description is closed, so also at the death of the last
//!   holder (H5). A descriptor in flight in a socket counts as a holder, and so does a child between fork and
//!   exec: a lock may look held for a moment after its last holder has died. Who finds it held asks again.
//! - It cannot tell an old holder from a new one: who owns the node is in the lease word (H1).

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::clock::Deadline;
use crate::error::{Error, Result};

/// Pause between two attempts at a lock that is held. The kernel's own wait has no timeout.
const RETRY: Duration = Duration::from_millis(1);

/// A held lock. Dropping it closes this descriptor; the lock lives on while another holder does.
#[derive(Debug)]
pub struct OwnedLock(OwnedFd);

impl OwnedLock {
    /// The lock that came with `fd` from a process that held it.
    ///
    /// # Errors
    /// [`Error::Protocol`] if another description holds the lock, so that `fd` cannot.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        // For the holder of the lock this changes nothing; if nobody held it, we do now.
        if set(fd.as_fd())? {
            Ok(Self(fd))
        } else {
            Err(Error::Protocol {
                expected: "the descriptor of the liveness lock",
                got: "a descriptor that does not hold it".into(),
            })
        }
    }
}

impl AsFd for OwnedLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Takes the lock on `file` (opened for writing) if nobody holds it.
///
/// # Errors
/// The file cannot be locked at all.
pub fn try_lock(file: File) -> Result<Option<OwnedLock>> {
    Ok(set(file.as_fd())?.then(|| OwnedLock(file.into())))
}

/// Takes the lock on `file` (opened for writing), waiting for a holder to go.
///
/// # Errors
/// [`Error::Deadline`] if it stayed held.
pub fn lock_until(file: File, deadline: Deadline) -> Result<OwnedLock> {
    while !set(file.as_fd())? {
        if !deadline.pause(RETRY) {
            return Err(deadline.error("the release of the start lock by another starting process"));
        }
    }
    Ok(OwnedLock(file.into()))
}

/// Whether the lock that is held on a file is that of `fd`'s description. One that nobody holds any more is, from here on.
pub(crate) fn is_of(fd: &impl AsFd) -> bool {
    set(fd.as_fd()).unwrap_or(false)
}

/// Whether another description than that of `file` holds the lock. Changes nothing.
///
/// # Errors
/// The file cannot be asked.
pub fn is_held(file: &File) -> Result<bool> {
    let mut lock = byte_zero();
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock)).map_err(|e| Error::io("ask for the lock of", "a lock file", e))?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

fn set(file: BorrowedFd<'_>) -> Result<bool> {
    loop {
        match fcntl(file, FcntlArg::F_OFD_SETLK(&byte_zero())) {
            Ok(_) => return Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) => return Ok(false),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(Error::io("lock", "a lock file", e)),
        }
    }
}

/// A write lock on byte 0. `l_pid` must be 0 for this kind of lock.
fn byte_zero() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 1,
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::path::Path;

    use super::*;
    use crate::os::alone::alone;

    fn open(path: &Path) -> File {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .expect("open")
    }

    #[test]
    fn lives_as_long_as_its_last_descriptor() {
        alone("os::lock::tests::lives_as_long_as_its_last_descriptor", || {
            let dir = tempfile::tempdir().expect("tempdir");
            let path = dir.path().join("lock");
            let lock = try_lock(open(&path)).expect("lock").expect("free");
            assert!(try_lock(open(&path)).expect("lock").is_none());
            assert!(is_held(&open(&path)).expect("ask"));

            let passed =
                OwnedLock::from_fd(lock.as_fd().try_clone_to_owned().expect("dup")).expect("the same description");
            drop(lock);
            assert!(try_lock(open(&path)).expect("lock").is_none(), "still held");
            assert!(
                OwnedLock::from_fd(open(&path).into()).is_err(),
                "another description does not hold it"
            );
            let short = Deadline::after(Duration::from_millis(3));
            assert!(matches!(lock_until(open(&path), short), Err(Error::Deadline { .. })));

            drop(passed);
            assert!(!is_held(&open(&path)).expect("ask"));
            lock_until(open(&path), Deadline::now()).expect("free again");
        });
    }
}
