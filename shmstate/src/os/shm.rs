//! Objects in memory as files: POSIX shared memory, a directory on tmpfs or hugetlbfs, memfds. Make, open, remove, grow, lock.
//!
//! Knows nothing of what is inside them. Liveness is an OFD lock on byte 0 of the object (libraries: it passes with
//! the descriptor and the kernel drops it with the last holder); it is never unlocked, only closed.

use crate::error::{Error, Result};
use crate::os::mount;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::mman::{shm_open, shm_unlink};
use nix::sys::stat::Mode;
use rustix::fs::{FallocateFlags, MemfdFlags, OFlags, SealFlags, fallocate, fstat, ftruncate};
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

/// Where objects with a name live.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// Where `shm_open` puts them.
    #[default]
    Shm,
    /// A directory on a tmpfs or hugetlbfs.
    Directory(PathBuf),
}

impl Place {
    /// Makes a new object, or `Exists`.
    pub(crate) fn create(&self, name: &str) -> Result<OwnedFd> {
        let made = match self {
            Self::Shm => {
                let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDWR | OFlag::O_CLOEXEC;
                shm_open(object(name).as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR)
                    .map_err(|e| Errno::from_raw_os_error(e as i32))
            }
            Self::Directory(directory) => {
                mount::must_be_memory(directory, name)?;
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
                let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
                rustix::fs::open(directory.join(name), flags, mode)
            }
        };
        match made {
            Ok(fd) => Ok(fd),
            Err(Errno::EXIST) => Err(Error::Exists { name: name.into() }),
            Err(e) => Err(Error::io("create region", name, e)),
        }
    }

    /// Opens an object for reading and writing, or only for reading.
    pub(crate) fn open(&self, name: &str, write: bool) -> Result<OwnedFd> {
        let found = match self {
            Self::Shm => {
                let mode = if write { OFlag::O_RDWR } else { OFlag::O_RDONLY };
                shm_open(object(name).as_str(), mode | OFlag::O_CLOEXEC, Mode::empty())
                    .map_err(|e| Errno::from_raw_os_error(e as i32))
            }
            Self::Directory(directory) => {
                mount::must_be_memory(directory, name)?;
                let mode = if write { OFlags::RDWR } else { OFlags::RDONLY };
                let flags = mode | OFlags::CLOEXEC | OFlags::NOFOLLOW;
                rustix::fs::open(directory.join(name), flags, rustix::fs::Mode::empty())
            }
        };
        match found {
            Ok(fd) => Ok(fd),
            Err(Errno::NOENT) => Err(Error::NotFound { name: name.into() }),
            Err(e) => Err(Error::io("open region", name, e)),
        }
    }

    /// Removes the name; the memory stays until its last holder lets go. `false` if there was no such name.
    pub(crate) fn unlink(&self, name: &str) -> Result<bool> {
        let removed = match self {
            Self::Shm => shm_unlink(object(name).as_str()).map_err(|e| Errno::from_raw_os_error(e as i32)),
            Self::Directory(directory) => rustix::fs::unlink(directory.join(name)),
        };
        match removed {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(e) => Err(Error::io("remove region", name, e)),
        }
    }
}

fn object(name: &str) -> String {
    format!("/{name}")
}

/// Makes an object without a name, which lives as long as somebody holds its descriptor. `label` is for people only.
pub(crate) fn anonymous(label: &str) -> Result<OwnedFd> {
    rustix::fs::memfd_create(label, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .map_err(|e| Error::io("create memfd for region", label, e))
}

/// Sees to it that nobody, this process included, can make a memfd shorter (R8). It can still be made longer.
pub(crate) fn seal(fd: impl AsFd, label: &str) -> Result<()> {
    rustix::fs::fcntl_add_seals(fd, SealFlags::SHRINK).map_err(|e| Error::io("seal region", label, e))
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
            Err(Errno::NOSPC | Errno::NOMEM | Errno::DQUOT) => {
                let mount = mount::of(fd.as_fd());
                return Err(Error::OutOfSpace {
                    name: name.into(),
                    mount: mount.described(),
                    wanted: length,
                    free: mount.free,
                    size: mount.size,
                });
            }
            Err(e) => return Err(Error::io("take memory for region", name, e)),
        }
    }
}

/// Gives the memory of `offset..offset + length` back to the mount: it reads as zeroes, and has to be taken again before it is
/// touched. Every mapping loses it. The object keeps its length.
pub(crate) fn punch(fd: impl AsFd, name: &str, offset: u64, length: u64) -> Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    loop {
        match fallocate(fd.as_fd(), flags, offset, length) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(e) => return Err(Error::io("give back memory of region", name, e)),
        }
    }
}

/// Bytes of memory that the object has taken from its mount.
pub(crate) fn allocated(fd: impl AsFd, name: &str) -> Result<u64> {
    let stat = fstat(fd).map_err(|e| Error::io("stat region", name, e))?;
    Ok(stat.st_blocks as u64 * 512)
}

/// Opens the object of a descriptor anew, for reading and writing: the two share no lock.
pub(crate) fn reopen(fd: impl AsFd, name: &str) -> Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, rustix::fs::Mode::empty())
        .map_err(|e| Error::io("open again", name, e))
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
