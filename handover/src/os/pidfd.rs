//! Processes by identity, and the proof that one is dead (H5).
//!
//! - A pid alone names nobody: it is used again. A process is its pid *and* its start time.
//! - Dead means that its pidfd is readable: all its threads are gone and no store of it can come any more. A
//!   process whose first thread has ended shows as a zombie in /proc and lives.
//! - One that takes its time to die counts before that (`ended`).

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal, pidfd_getfd, pidfd_open, pidfd_send_signal};

use super::clock::{self, Deadline};
use super::ended::{self, GRACE, Life};
use super::poll;
use crate::error::{Error, Result};

/// Position of the start time behind the command name in /proc/PID/stat: field 22, and the name is field 2.
const START_TIME_AFTER_NAME: usize = 22 - 3;

/// A process, told apart from a later one with the same pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProcessId {
    /// Process id.
    pub pid: u32,
    /// When it was started, in clock ticks since boot (/proc/PID/stat field 22).
    pub start_time: u64,
}

impl ProcessId {
    /// This process.
    ///
    /// # Errors
    /// /proc cannot be read.
    pub fn current() -> Result<Self> {
        let pid = std::process::id();
        Self::of(pid)?.ok_or_else(|| {
            let source = io::Error::from(io::ErrorKind::NotFound);
            Error::io("read", format!("/proc/{pid}/stat"), source)
        })
    }

    /// The process that has `pid` now. `None` if there is none.
    ///
    /// # Errors
    /// /proc cannot be read, or says something unheard of.
    pub fn of(pid: u32) -> Result<Option<Self>> {
        let path = format!("/proc/{pid}/stat");
        let stat = match fs::read(&path) {
            Ok(stat) => stat,
            // ESRCH: it ended between open and read.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return absent(&path),
            Err(e) if e.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => return Ok(None),
            Err(e) => return Err(Error::io("read", path, e)),
        };
        let start_time = parse_start_time(&stat).ok_or_else(|| {
            let source = io::Error::new(io::ErrorKind::InvalidData, "no start time in it");
            Error::io("read", path, source)
        })?;
        Ok(Some(Self { pid, start_time }))
    }

    /// Whether it lives. `false` is proof (H5): a process that has its number but is hidden here may be it.
    ///
    /// # Errors
    /// It cannot be found out.
    pub fn is_alive(self) -> Result<bool> {
        match Pidfd::open(self) {
            Ok(Some(pidfd)) => Ok(!pidfd.is_dead()?),
            Ok(None) => Ok(false),
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => Ok(true),
            Err(e) => Err(e),
        }
    }
}

/// A file that is missing proves something only where /proc itself is there.
fn absent(path: &str) -> Result<Option<ProcessId>> {
    match fs::metadata("/proc/self/stat") {
        Ok(_) => Ok(None),
        Err(e) => Err(Error::io("read", format!("{path} (is /proc mounted?)"), e)),
    }
}

/// What number /proc has for the process that is held; `None` if it is dead by now, or this kernel does not tell.
fn shown(pidfd: &OwnedFd) -> Result<Option<u32>> {
    // Of this thread: what a process whose first thread has ended shows of itself is empty.
    let path = format!("/proc/thread-self/fdinfo/{}", pidfd.as_raw_fd());
    let info = fs::read_to_string(&path).map_err(|e| Error::io("read", path, e))?;
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:"));
    Ok(pid.and_then(|pid| pid.trim().parse().ok()))
}

/// Field 22. The name in field 2 may hold spaces, parentheses and newlines: it ends at the *last* parenthesis.
fn parse_start_time(stat: &[u8]) -> Option<u64> {
    let end = stat.iter().rposition(|&b| b == b')')?;
    let rest = std::str::from_utf8(&stat[end + 1..]).ok()?;
    rest.split_ascii_whitespace().nth(START_TIME_AFTER_NAME)?.parse().ok()
}

/// A hold on a process: no other one can be meant, whatever becomes of its pid.
#[derive(Debug)]
pub struct Pidfd {
    fd: OwnedFd,
    process: ProcessId,
    /// When it was first seen to have ended; 0: it was not.
    ended_at: AtomicU64,
}

impl Pidfd {
    /// Takes hold of `process`. `None` proves that it is dead: nobody has the pid, or a later process does.
    ///
    /// # Errors
    /// It cannot be found out.
    pub fn open(process: ProcessId) -> Result<Option<Self>> {
        let place = format!("process {}", process.pid);
        let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else {
            let source = io::Error::from(io::ErrorKind::InvalidInput);
            return Err(Error::io("take hold of", place, source));
        };
        let fd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => fd,
            // The others say that the number is a thread's by now.
            Err(Errno::SRCH | Errno::NOENT | Errno::INVAL) => return Ok(None),
            Err(e) => return Err(Error::io("take hold of", place, e)),
        };
        let held = Self {
            fd,
            process,
            ended_at: AtomicU64::new(0),
        };
        // Numbers of another PID namespace would be those of other processes.
        if let Some(shown) = shown(&held.fd)?
            && shown != process.pid
        {
            let source = io::Error::other(format!("/proc shows the PID namespace in which it is {shown}"));
            return Err(Error::io("take hold of", place, source));
        }
        // The start time is read after the hold: if the held process lives still, what was read is its own; if it
        // does not, the answer is the same whatever was read.
        match ProcessId::of(process.pid)? {
            Some(found) if found == process => Ok(Some(held)),
            None if !held.is_dead()? => {
                let source = io::Error::new(io::ErrorKind::PermissionDenied, "/proc does not show it (hidepid?)");
                Err(Error::io("take hold of", place, source))
            }
            _ => Ok(None),
        }
    }

    /// The process held.
    #[must_use]
    pub fn process(&self) -> ProcessId {
        self.process
    }

    /// Whether it is dead.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn is_dead(&self) -> Result<bool> {
        poll::readable(self.fd.as_fd(), Deadline::now())
    }

    /// Whether no instruction of it can run any more: it is dead, or writes its core, or had ended at an earlier look and takes long to die (see
    /// [`ended`], L1 to L3). That is as good a proof as its death (H5), and comes earlier.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn has_ended(&self) -> Result<bool> {
        if self.is_dead()? {
            return Ok(true);
        }
        Ok(match ended::look(self.process.pid) {
            Life::Unknown => false,
            Life::Ended => self.is_overdue(),
            Life::Dumps => true,
        })
    }

    /// Whether [`GRACE`] is over. It begins with the first question.
    fn is_overdue(&self) -> bool {
        let now = clock::now();
        // Who looks at the same time begins it at the same time, nearly: nothing else hangs on the order.
        match self.ended_at.load(Ordering::Relaxed) {
            0 => {
                self.ended_at.store(now, Ordering::Relaxed);
                false
            }
            since => Duration::from_nanos(now.saturating_sub(since)) >= GRACE,
        }
    }

    /// How long to sleep at most until [`Pidfd::has_ended`] may have something new to say, for one that looks every `usual`.
    #[must_use]
    pub fn next_look(&self, usual: Duration) -> Duration {
        match self.ended_at.load(Ordering::Relaxed) {
            0 => usual,
            _ => usual.min(GRACE),
        }
    }

    /// Waits for its end ([`Pidfd::has_ended`]), looking every `usual`; of its death it learns at once.
    ///
    /// # Errors
    /// [`Error::Deadline`] if it goes on.
    pub fn wait_ended(&self, usual: Duration, deadline: Deadline) -> Result<()> {
        while !self.has_ended()? {
            if deadline.passed() {
                return Err(deadline.error("the end of the other process"));
            }
            let next = Deadline::after(self.next_look(usual).min(deadline.remaining()));
            poll::readable(self.fd.as_fd(), next)?;
        }
        Ok(())
    }

    /// Whether it seems to be on its way from its last instruction to its death, without a core to write: then the wait for that is short.
    #[must_use]
    pub fn seems_dying(&self) -> bool {
        ended::seems_dying(self.process.pid)
    }

    /// Waits for its death.
    ///
    /// # Errors
    /// [`Error::Deadline`] if it lives on.
    pub fn wait_dead(&self, deadline: Deadline) -> Result<()> {
        if poll::readable(self.fd.as_fd(), deadline)? {
            Ok(())
        } else {
            Err(deadline.error("the death of the other process"))
        }
    }

    /// A duplicate of its descriptor with this number; `None` if there is none, or the system forbids it.
    pub(super) fn duplicate(&self, number: RawFd) -> Option<OwnedFd> {
        pidfd_getfd(&self.fd, number, PidfdGetfdFlags::empty()).ok()
    }

    /// Sends SIGKILL, which ends a stopped process too. Its end is proven only by [`Pidfd::wait_ended`].
    ///
    /// # Errors
    /// The signal may not be sent. A process that is dead already is no error.
    pub fn kill(&self) -> Result<()> {
        match pidfd_send_signal(&self.fd, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(e) => Err(Error::io("kill", format!("process {}", self.process.pid), e)),
        }
    }
}

impl AsFd for Pidfd {
    /// Readable when the process is dead: for an event loop that waits for more than that.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::*;

    #[test]
    fn hostile_names_do_not_move_the_field() {
        let fields = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20 21";
        for name in ["sleep", "a b", ") S 1 (", "x)\n) 9 9 9", "(((", ""] {
            let stat = format!("17 ({name}) {fields}\n");
            assert_eq!(parse_start_time(stat.as_bytes()), Some(4242), "{name:?}");
        }
        let mut raw = b"17 (\xff\xfe)".to_vec();
        raw.extend_from_slice(b") S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 99 1");
        assert_eq!(parse_start_time(&raw), Some(99));
        assert_eq!(parse_start_time(b"17 sleep S 1 2"), None);
        assert_eq!(parse_start_time(b"17 (sleep) S 1 2"), None);
    }

    #[test]
    fn death_is_proven() {
        let mut child = Command::new("sleep").arg("600").spawn().expect("spawn");
        let process = ProcessId::of(child.id()).expect("proc").expect("alive");
        let pidfd = Pidfd::open(process).expect("open").expect("alive");
        assert!(!pidfd.is_dead().expect("ask"));
        assert!(process.is_alive().expect("ask"));
        assert!(matches!(
            pidfd.wait_dead(Deadline::after(Duration::from_millis(2))),
            Err(Error::Deadline { .. })
        ));

        let other = ProcessId {
            start_time: process.start_time + 1,
            ..process
        };
        assert!(Pidfd::open(other).expect("open").is_none(), "another life");
        assert!(!other.is_alive().expect("ask"));

        pidfd.kill().expect("kill");
        pidfd.wait_dead(Deadline::after(Duration::from_secs(30))).expect("dead");
        assert!(pidfd.is_dead().expect("ask"));
        assert!(!process.is_alive().expect("ask"), "dead though not yet reaped");
        child.wait().expect("reap");
        assert!(!process.is_alive().expect("ask"));
        pidfd.kill().expect("killing the dead is no error");
    }

    /// The number is used again, by a thread of somebody.
    #[test]
    fn a_thread_is_no_process() {
        let thread = std::thread::spawn(|| {
            let id = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
            let other = ProcessId { pid: id, start_time: 1 };
            (Pidfd::open(other).map(|held| held.is_none()), other.is_alive())
        });
        let (open, alive) = thread.join().expect("the thread");
        assert!(open.expect("nobody") && !alive.expect("asked"));
    }

    /// Says to the child of the test below what it is.
    const PART: &str = "HANDOVER_TEST_NAMESPACE";

    /// A process whose /proc has other numbers than its own PID namespace: who is meant by one of them is not known, and that is an error.
    #[test]
    fn numbers_of_another_namespace_are_refused() {
        if std::env::var_os(PART).is_some() {
            let me = ProcessId::current().expect("somebody has that number");
            let refused = Pidfd::open(me).expect_err("another process").to_string();
            assert!(refused.contains("PID namespace"), "{refused}");
            return;
        }
        let test = std::env::current_exe().expect("this binary");
        let name = "os::pidfd::tests::numbers_of_another_namespace_are_refused";
        let apart = |command: &mut Command| command.env(PART, "1").output();
        let may = apart(Command::new("unshare").args(["--pid", "--fork", "true"]));
        if !may.is_ok_and(|may| may.status.success()) {
            println!("not shown here: no PID namespace may be made");
            return;
        }
        let shown = apart(
            Command::new("unshare")
                .args(["--pid", "--fork"])
                .arg(test)
                .args(["--exact", name]),
        );
        let shown = shown.expect("unshare");
        let said = String::from_utf8_lossy(&shown.stdout);
        assert!(shown.status.success() && said.contains("1 passed"), "{said}");
    }

    #[test]
    fn this_process_lives() {
        let me = ProcessId::current().expect("proc");
        assert_eq!(me.pid, std::process::id());
        assert!(me.is_alive().expect("ask"));
    }
}
