//! POSIX shared memory objects and memfds as files: make, open, remove, grow, lock.
//!
//! Knows nothing of what is inside them. Liveness is an OFD lock on byte 0 of the object (libraries: it passes with
//! the descriptor and the kernel drops it with the last holder); it is never unlocked, only closed.

use crate::error::{Error, Result};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::mman::{shm_open, shm_unlink};
use nix::sys::stat::Mode;
use rustix::fs::{FallocateFlags, fallocate, fstat, fstatfs, ftruncate};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};

/// Where named regions live.
pub(crate) const MOUNT: &str = "/dev/shm";

/// Makes a new object, or `Exists`.
pub(crate) fn create(name: &str) -> Result<OwnedFd> {
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDWR | OFlag::O_CLOEXEC;
    match shm_open(path(name).as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR) {
        Ok(fd) => Ok(fd),
        Err(nix::Error::EEXIST) => Err(Error::Exists { name: name.into() }),
        Err(e) => Err(Error::io("create region", name, e)),
    }
}

/// Opens an object for reading and writing, or only for reading.
pub(crate) fn open(name: &str, write: bool) -> Result<OwnedFd> {
    let mode = if write { OFlag::O_RDWR } else { OFlag::O_RDONLY };
    match shm_open(path(name).as_str(), mode | OFlag::O_CLOEXEC, Mode::empty()) {
        Ok(fd) => Ok(fd),
        Err(nix::Error::ENOENT) => Err(Error::NotFound { name: name.into() }),
        Err(e) => Err(Error::io("open region", name, e)),
    }
}

/// Removes the name; the memory stays until its last holder lets go. `false` if there was no such name.
pub(crate) fn unlink(name: &str) -> Result<bool> {
    match shm_unlink(path(name).as_str()) {
        Ok(()) => Ok(true),
        Err(nix::Error::ENOENT) => Ok(false),
        Err(e) => Err(Error::io("remove region", name, e)),
    }
}

fn path(name: &str) -> String {
    format!("/{name}")
}

/// Length of the object in bytes.
pub(crate) fn length(fd: impl AsFd, name: &str) -> Result<u64> {
    let stat = fstat(fd).map_err(|e| Error::io("stat region", name, e))?;
    Ok(stat.st_size as u64)
}

/// Sets the length; the object stays sparse.
pub(crate) fn set_length(fd: impl AsFd, name: &str, length: u64) -> Result<()> {
    ftruncate(fd, length).map_err(|e| Error::io("size region", name, e))
}

/// Takes the memory of `offset..offset + length` from the mount now, so that no later touch can fail.
pub(crate) fn take(fd: impl AsFd, name: &str, offset: u64, length: u64) -> Result<()> {
    loop {
        match fallocate(fd.as_fd(), FallocateFlags::empty(), offset, length) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::NOSPC) => {
                let free = fstatfs(fd).map_or(0, |s| s.f_bavail * s.f_bsize as u64);
                return Err(Error::OutOfSpace {
                    name: name.into(),
                    mount: MOUNT.into(),
                    wanted: length,
                    free,
                });
            }
            Err(e) => return Err(Error::io("take memory for region", name, e)),
        }
    }
}

/// Tries to become the living holder of the object. `false` if another process is.
pub(crate) fn try_hold(fd: impl AsFd, name: &str) -> Result<bool> {
    let lock = libc::flock {
        l_type: libc::F_WRLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 1,
        l_pid: 0,
    };
    match fcntl(fd.as_fd(), FcntlArg::F_OFD_SETLK(&lock)) {
        Ok(_) => Ok(true),
        Err(nix::Error::EAGAIN | nix::Error::EACCES) => Ok(false),
        Err(e) => Err(Error::io("lock region", name, e)),
    }
}

/// Whether some living process holds the object (asked through a descriptor that does not hold it itself).
pub(crate) fn is_held(fd: impl AsFd, name: &str) -> Result<bool> {
    let mut lock = libc::flock {
        l_type: libc::F_RDLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(fd.as_fd(), FcntlArg::F_OFD_GETLK(&mut lock)).map_err(|e| Error::io("ask lock of region", name, e))?;
    Ok(lock.l_type != libc::F_UNLCK as i16)
}
