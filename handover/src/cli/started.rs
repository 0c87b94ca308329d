#![expect(
    unsafe_code,
    reason = "a session of its own can only be made between fork and exec, and std has no safe call for that"
)]
//! What `upgrade` started: CMD in a session of its own, held by a pidfd, not reaped before it is over with.
//!
//! - **C1** CMD survives this command and its terminal: another session, so no signal of the terminal reaches it and no job
//!   control stops it; stdin is /dev/null.
//! - **C2** CMD is ended without ever ending the owner of the node. Its processes are stopped first; a stopped process
//!   takes no lease, so what is seen then is decided. One that owns goes on; the others get SIGTERM if they have not yet
//!   been offered anything, and SIGKILL if they have (a SIGTERM handler would run while they can still take over) or after
//!   [`GRACE`].
//! - **C3** While CMD is not reaped its pid names nobody else.

use rustix::process::{Signal, WaitId, WaitIdOptions, setsid, waitid};
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::kin;
use crate::error::{Error, Result};
use crate::os::clock::Deadline;
use crate::os::pidfd::{Pidfd, ProcessId};
use crate::os::poll;

/// From SIGTERM to SIGKILL.
pub(super) const GRACE: Duration = Duration::from_secs(2);
/// How long a process may take to stop, or to die of SIGKILL.
const KERNEL: Duration = Duration::from_secs(5);
/// Between two looks while CMD ends.
const LOOK: Duration = Duration::from_millis(5);

/// CMD, running or ended.
#[derive(Debug)]
pub(super) struct Started {
    child: Child,
    hold: Pidfd,
}

/// How CMD ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Status(i32),
    Signal(i32),
}

/// What is seen of a node while CMD's processes are stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// One of them owns the node.
    Owner,
    /// One of them was offered the node and could take it.
    Participant,
    /// None of them has to do with it yet.
    Outside,
}

impl Started {
    /// Starts `command`; its first word is the program. `quiet` sends its stdout to stderr.
    pub(super) fn spawn(command: &[OsString], base: Option<&Path>, quiet: bool) -> io::Result<Self> {
        let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        if quiet {
            let stderr = io::stderr().as_fd().try_clone_to_owned()?;
            command.stdout(stderr);
        }
        if let Some(base) = base {
            // Otherwise CMD would look for another node.
            command.env("HANDOVER_DIR", base);
        }
        // SAFETY: the closure runs in the child between fork and exec, where only what is async-signal-safe may be called.
        // It makes one system call, setsid(2), and neither allocates nor takes a lock, also where it fails.
        unsafe {
            command.pre_exec(|| setsid().map(|_| ()).map_err(io::Error::from));
        }
        let child = command.spawn()?;
        // It is not reaped, so /proc has it even if it ended already.
        let hold = ProcessId::of(child.id()).and_then(|process| process.map(Pidfd::open).transpose());
        match hold {
            Ok(Some(Some(hold))) => Ok(Self { child, hold }),
            Ok(_) => Err(io::ErrorKind::NotFound.into()),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end of CMD, or for `longest`.
    pub(super) fn wait(&self, longest: Duration) -> Result<()> {
        let deadline = Deadline::after(longest);
        if self.hold.is_dead()? {
            let _ = deadline.pause(longest);
            return Ok(());
        }
        poll::readable(self.hold.as_fd(), deadline).map(|_| ())
    }

    /// How CMD itself ended; `None` if it lives. It stays unreaped (C3).
    pub(super) fn ended(&self) -> Result<Option<Ended>> {
        if !self.hold.is_dead()? {
            return Ok(None);
        }
        let failed = |e| Error::io("wait for", format!("process {}", self.pid()), e);
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        let status = waitid(WaitId::PidFd(self.hold.as_fd()), options).map_err(failed)?;
        Ok(status.and_then(|s| {
            let exited = s.exit_status().map(Ended::Status);
            exited.or_else(|| s.terminating_signal().map(Ended::Signal))
        }))
    }

    /// Whether `pid` belongs to CMD.
    pub(super) fn is_kin(&self, pid: u32) -> bool {
        kin::is_kin(self.pid(), pid)
    }

    /// Whether anything of CMD lives.
    pub(super) fn lives(&self) -> Result<bool> {
        Ok(!self.hold.is_dead()? || !kin::living(self.pid())?.is_empty())
    }

    /// Ends CMD and all that belongs to it, unless it owns the node (C2). `true` if nothing of it lives.
    ///
    /// # Errors
    /// It cannot be seen who owns the node: then CMD goes on. Or it could not be ended.
    pub(super) fn end(&self, look: impl Fn() -> Result<Standing>) -> Result<bool> {
        let grace = Deadline::after(GRACE);
        let end = Deadline::after(GRACE + KERNEL);
        let mut asked = false;
        loop {
            let kin = kin::living(self.pid())?;
            if kin.is_empty() {
                return Ok(true);
            }
            if end.passed() {
                return Err(end.error("the end of the started process"));
            }
            if asked && !grace.passed() && look()? == Standing::Outside {
                let _ = grace.pause(LOOK);
                continue;
            }
            kin::signal(&kin, Signal::STOP)?;
            let still = kin::stopped(&kin, Deadline::after(KERNEL));
            match look() {
                Ok(Standing::Owner) => {
                    kin::signal(&kin, Signal::CONT)?;
                    return Ok(false);
                }
                Ok(Standing::Outside) if still && !asked => {
                    asked = true;
                    kin::signal(&kin, Signal::TERM)?;
                    kin::signal(&kin, Signal::CONT)?;
                }
                Ok(_) => {
                    kin::signal(&kin, Signal::KILL)?;
                    for process in &kin {
                        process.wait_dead(end.or(Deadline::after(KERNEL)))?;
                    }
                }
                Err(error) => {
                    kin::signal(&kin, Signal::CONT)?;
                    return Err(error);
                }
            }
        }
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(status) => write!(f, "exited with status {status}"),
            Self::Signal(number) => match nix::sys::signal::Signal::try_from(*number) {
                Ok(signal) => write!(f, "was ended by signal {number} ({signal})"),
                Err(_) => write!(f, "was ended by signal {number}"),
            },
        }
    }
}
