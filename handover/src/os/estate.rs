//! What a process that has ended holds as long as its core is written: duplicates of its descriptors, as if it had handed them over.
//!
//! - **E1** Only of one that has ended (`os::ended`): nobody uses what is taken. A duplicate is the same open description, so the dead one's locks,
//!   regions and listeners, with the clients that wait at them, are here as it had them, and outlive it.
//! - **E2** A descriptor is taken for what it is, the file that it names or the address that it is bound to; its number says nothing.
//! - **E3** All that is asked for, or nothing: of a table of descriptors that is being closed part is there and part is about to be free. Nothing is
//!   had either where the system forbids it (`kernel.yama.ptrace_scope`). Then all is free when the core is written, as ever.
//!
//! It does not know what a node needs.

use super::pidfd::Pidfd;
use super::sockets::Looks;
use rustix::net::SocketType;
use std::ffi::OsStr;
use std::fs;
use std::os::fd::{OwnedFd, RawFd};
use std::path::{Path, PathBuf};

/// What is left of those who have ended. Dropped, what nobody took is closed.
#[derive(Debug, Default)]
pub(crate) struct Estate {
    files: Vec<(PathBuf, OwnedFd)>,
    sockets: Vec<OwnedFd>,
}

impl Estate {
    /// Files whose path `wanted` picks, and sockets at which clients come, of processes that have all ended. `None`: not all could be had (E3).
    pub(crate) fn of(ended: &[Pidfd], wanted: impl Fn(&Path) -> bool) -> Option<Self> {
        let mut estate = Self::default();
        for process in ended {
            // E1. One that is dead by now has nothing.
            if process.is_dead().ok()? {
                continue;
            }
            if !process.has_ended().ok()? {
                return None;
            }
            let files = open_files(process.process().pid)?;
            if files.is_empty() {
                // They went before it is dead: whether another thread of it has them still does not show.
                return None;
            }
            for (number, path) in files {
                let socket = path.as_os_str().as_encoded_bytes().starts_with(b"socket:");
                if !socket && !wanted(&path) {
                    continue;
                }
                let fd = process.duplicate(number)?;
                match socket {
                    false => estate.files.push((path, fd)),
                    // Connections are none: what was read of them and not committed died with their process.
                    true if Looks::of(&fd).is_some_and(|l| l.listens || l.kind == SocketType::DGRAM) => {
                        estate.sockets.push(fd);
                    }
                    true => {}
                }
            }
        }
        Some(estate)
    }

    /// Takes the first file that both say is it.
    pub(crate) fn file(&mut self, path: impl Fn(&Path) -> bool, fits: impl Fn(&OwnedFd) -> bool) -> Option<OwnedFd> {
        let at = self.files.iter().position(|(p, fd)| path(p) && fits(fd))?;
        Some(self.files.swap_remove(at).1)
    }

    /// Takes the first socket that is it.
    pub(crate) fn socket(&mut self, fits: impl Fn(&OwnedFd) -> bool) -> Option<OwnedFd> {
        let at = self.sockets.iter().position(fits)?;
        Some(self.sockets.swap_remove(at))
    }
}

/// Numbers and links of what a process has open; `None` if that cannot be seen.
fn open_files(pid: u32) -> Option<Vec<(RawFd, PathBuf)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).ok()? {
        let entry = entry.ok()?;
        let number = entry.file_name().to_str()?.parse().ok()?;
        all.push((number, fs::read_link(entry.path()).ok()?));
    }
    Some(all)
}

/// Whether a process has a file of this name open; `None` if that cannot be seen.
pub(crate) fn has_open(pid: u32, name: &str) -> Option<bool> {
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).ok()? {
        // What was closed meanwhile has no link.
        let link = fs::read_link(entry.ok()?.path());
        if link.is_ok_and(|link| link.file_name() == Some(OsStr::new(name))) {
            return Some(true);
        }
    }
    Some(false)
}
