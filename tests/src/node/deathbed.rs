//! A process that is killed and does not get further than to its last instruction: it is dying for as long as a test wants, with its memory
//! mapped and its descriptors open, as one is whose memory takes long to give up.
//!
//! Its first thread is traced and stops where it begins to end (`PTRACE_EVENT_EXIT`). Only the thread that called [`Deathbed::of`] may
//! let it go.

use nix::libc;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// A hold on the end of a process. Dropped, it goes on dying; one that lives is killed.
#[derive(Debug)]
pub struct Deathbed(Pid);

impl Deathbed {
    /// Prepares the end of `pid`, a child of this process.
    ///
    /// # Panics
    /// The system does not let it be traced.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        let pid = Pid::from_raw(pid.cast_signed());
        ptrace::seize(pid, ptrace::Options::PTRACE_O_TRACEEXIT).expect("a child that may be traced");
        Self(pid)
    }

    /// Kills it, and returns when it has run its last instruction.
    ///
    /// # Panics
    /// It ends otherwise.
    pub fn kill(&self) {
        kill(self.0, Signal::SIGKILL).expect("a process to kill");
        let status = waitpid(self.0, Some(WaitPidFlag::__WALL)).expect("its end");
        let expected = WaitStatus::PtraceEvent(self.0, Signal::SIGTRAP, libc::PTRACE_EVENT_EXIT);
        assert_eq!(status, expected, "it was to stop where it ends");
    }

    /// Whether it is still dying.
    #[must_use]
    pub fn is_dying(&self) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap_or_default();
        status.lines().any(|line| line.starts_with("State:\tt"))
    }
}

impl Drop for Deathbed {
    fn drop(&mut self) {
        if ptrace::detach(self.0, None).is_ok() {
            return;
        }
        // It was not stopped: it lives, for the test failed before, and would stop at its end for ever.
        if kill(self.0, Signal::SIGKILL).is_ok() && waitpid(self.0, Some(WaitPidFlag::__WALL)).is_ok() {
            let _ = ptrace::detach(self.0, None);
        }
    }
}
