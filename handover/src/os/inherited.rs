//! Descriptors that were open when this process was started, by their numbers: what a service manager passes on.
//!
//! The one place where a number becomes a descriptor that is owned. It does not know how the numbers were announced.
#![expect(unsafe_code, reason = "a number that was announced becomes an owned descriptor")]

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd, ioctl_fionbio};

use crate::error::{Error, Result};

/// Takes the descriptor with this number; from here on children do not inherit it, and it never blocks. `None` if it is not open.
///
/// The caller says that the number was announced to this very process by whoever started it, and takes each number once: nobody
/// else in this process owns it then.
///
/// # Errors
/// The system refused.
pub(crate) fn adopt(number: RawFd) -> Result<Option<OwnedFd>> {
    if number < 0 {
        return Ok(None);
    }
    // SAFETY: not -1; used for calls that only look, and that fail if the number is not open. Nothing is closed by the borrow.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    if fcntl_getfd(borrowed).is_err() {
        return Ok(None);
    }
    let failed = |e| Error::io("configure", format!("descriptor {number}"), e);
    fcntl_setfd(borrowed, FdFlags::CLOEXEC).map_err(failed)?;
    // Only sockets and pipes mind; what cannot be set stays as it is.
    let _ = ioctl_fionbio(borrowed, true);
    // SAFETY: it is open, and by the caller's word this process was given it and nobody has taken it yet: it is owned here alone.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(number) }))
}
