//! A server process as the chaos holds it: orders, reports, signals, its end. Dropped, it is killed.
//!
//! - **V1** Every wait has a deadline, and says what did not come.
//! - **V2** It is held by a pidfd, whoever started it: an orphan is reaped by this process, which is the reaper of its descendants.

use super::place::Place;
use crate::node::wait::{Patience, within};
use crate::node::{Order, Report};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, waitpid};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// How long anything may take that is not slow on purpose.
pub(super) const LIMIT: Duration = Duration::from_secs(20);
/// Between two looks.
pub(super) const LOOK: Duration = Duration::from_millis(1);

/// Successors that took over.
pub(super) static TAKEOVERS: AtomicU64 = AtomicU64::new(0);
/// Predecessors that got the node back.
pub(super) static GIVE_BACKS: AtomicU64 = AtomicU64::new(0);

/// A process, held.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) pid: u32,
    /// `None` if it was dead and reaped before it could be held.
    pidfd: Option<OwnedFd>,
    /// Whether this is who reaps it.
    reaps: bool,
}

impl Held {
    /// Gets hold of a child that somebody else waits for.
    pub(super) fn of_child(child: &std::process::Child) -> Result<Self, String> {
        let mut held = Self::of(child.id())?;
        held.reaps = false;
        Ok(held)
    }

    /// Gets hold of a process. One that is not there any more is dead.
    pub(super) fn of(pid: u32) -> Result<Self, String> {
        let number = Pid::from_raw(pid.cast_signed()).ok_or("no process id")?;
        let pidfd = match pidfd_open(number, PidfdFlags::empty()) {
            Ok(pidfd) => Some(pidfd),
            Err(Errno::SRCH) => None,
            Err(e) => return Err(format!("get hold of process {pid}: {e}")),
        };
        let reaps = true;
        Ok(Self { pid, pidfd, reaps })
    }

    /// Whether it is dead; if it is a child of this process that nobody waits for, it is reaped.
    pub(super) fn is_dead(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let Some(pidfd) = &self.pidfd else { return true };
        let dead = poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&now)).is_ok_and(|n| n > 0);
        if dead && self.reaps {
            // Another's child is its parent's to reap.
            let _ = waitpid(Pid::from_raw(self.pid.cast_signed()), WaitOptions::NOHANG);
        }
        dead
    }

    /// Sends a signal; `false` if it was dead before.
    pub(super) fn signal(&self, signal: Signal) -> bool {
        let Some(pidfd) = self.pidfd.as_ref().filter(|_| !self.is_dead()) else {
            return false;
        };
        pidfd_send_signal(pidfd, signal).is_ok()
    }

    /// Kills it, and waits for its death; `false` if it was dead before.
    pub(super) fn kill(&self) -> Result<bool, String> {
        let lived = self.signal(Signal::KILL);
        self.died("its death by SIGKILL")?;
        Ok(lived)
    }

    /// Waits for its end.
    pub(super) fn died(&self, what: &str) -> Result<(), String> {
        until(LIMIT, &format!("process {}: {what}", self.pid), || {
            self.is_dead().then_some(())
        })
    }

    /// Stops it where it is, and waits until it stands; `false` if it was dead before.
    pub(super) fn freeze(&self) -> Result<bool, String> {
        if !self.signal(Signal::STOP) {
            return Ok(false);
        }
        until(LIMIT, &format!("process {}: a stop", self.pid), || {
            (self.is_dead() || self.state() == Some('T')).then_some(())
        })?;
        Ok(!self.is_dead())
    }

    /// Lets it go on; `false` if it is dead.
    pub(super) fn thaw(&self) -> bool {
        self.signal(Signal::CONT)
    }

    fn state(&self) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    /// Entries of one of its directories in /proc.
    pub(super) fn count(&self, directory: &str) -> usize {
        std::fs::read_dir(format!("/proc/{}/{directory}", self.pid)).map_or(0, Iterator::count)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.signal(Signal::KILL) {
            let _ = self.died("its death by SIGKILL");
        }
    }
}

/// A running server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) name: String,
    pub(super) held: Held,
    orders: UnixStream,
    reports: Receiver<Report>,
    /// What it reported.
    pub(super) seen: Vec<Report>,
}

impl Drop for Server {
    fn drop(&mut self) {
        // A round that is played to its end drops nobody who lives.
        if !self.held.is_dead() {
            super::bots::close_books();
        }
    }
}

/// Where a server that is being started will come.
#[derive(Debug)]
pub(super) struct Expected {
    name: String,
    listener: UnixListener,
    pub(super) path: PathBuf,
}

impl Server {
    /// Starts a server called `name` with more arguments.
    pub(super) fn start(place: &mut Place, name: &str, more: &[&str]) -> Result<Self, String> {
        let expected = Expected::at(place.socket(), name)?;
        let arguments = place.arguments(&expected.path, &[&["--build", name], more].concat());
        let child = Command::new(place.program())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|e| format!("start {name}: {e}"))?;
        let held = Held::of(child.id())?;
        let found = until(LIMIT, &format!("{name}: its connection"), || match expected.look() {
            Ok(None) if held.is_dead() => Some(Err(format!("{name} died before it connected"))),
            Ok(None) => None,
            Ok(Some(stream)) => Some(Ok(stream)),
            Err(e) => Some(Err(e)),
        })??;
        Self::new(expected.name.clone(), held, found)
    }

    /// A server that somebody else has started.
    pub(super) fn adopt(expected: Expected, stream: UnixStream) -> Result<Self, String> {
        let who = getsockopt(&stream, PeerCredentials).map_err(|e| format!("who is {}: {e}", expected.name))?;
        let held = Held::of(who.pid().cast_unsigned())?;
        Self::new(expected.name.clone(), held, stream)
    }

    fn new(name: String, held: Held, orders: UnixStream) -> Result<Self, String> {
        let input = orders.try_clone().map_err(|e| format!("listen to {name}: {e}"))?;
        let (sender, reports) = channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(input).lines();
            let mut successor = false;
            for report in lines
                .map_while(Result::ok)
                .map_while(|line| serde_json::from_str(&line).ok())
            {
                match &report {
                    Report::Started { role, .. } => successor = role == "successor",
                    Report::Serving { .. } if successor => {
                        successor = false;
                        TAKEOVERS.fetch_add(1, Ordering::Relaxed);
                    }
                    Report::Back { .. } => {
                        GIVE_BACKS.fetch_add(1, Ordering::Relaxed);
                    }
                    _ => {}
                }
                if sender.send(report).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            name,
            held,
            orders,
            reports,
            seen: Vec::new(),
        })
    }

    /// The next report. `None` if there is none any more: it has ended.
    fn next(&mut self, longest: Duration) -> Result<Option<Report>, String> {
        let mut patience = Patience::new(longest);
        loop {
            match self.reports.recv_timeout(patience.step()) {
                Ok(report) => {
                    self.seen.push(report.clone());
                    return Ok(Some(report));
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) if !patience.is_over() => {}
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!(
                        "{} (process {}) said nothing for {longest:?}, after {:?}",
                        self.name, self.held.pid, self.seen
                    ));
                }
            }
        }
    }

    /// Waits for the first report that `wanted` takes. `None` if it ends without.
    pub(super) fn wait<T>(&mut self, mut wanted: impl FnMut(&Report) -> Option<T>) -> Result<Option<T>, String> {
        while let Some(report) = self.next(LIMIT)? {
            if let Some(found) = wanted(&report) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The same, and it must come.
    pub(super) fn need<T>(&mut self, what: &str, wanted: impl FnMut(&Report) -> Option<T>) -> Result<T, String> {
        let found = self.wait(wanted)?;
        found.ok_or_else(|| format!("{} was to say {what}, and ended: {:?}", self.name, self.seen))
    }

    /// Waits until it serves; gives its generation.
    pub(super) fn serving(&mut self) -> Result<u64, String> {
        self.need("that it serves", serving)
    }

    /// Waits until it serves, or has ended.
    pub(super) fn may_serve(&mut self) -> Result<Option<u64>, String> {
        self.wait(serving)
    }

    /// Waits until it has received everything that was offered.
    pub(super) fn started(&mut self) -> Result<String, String> {
        self.need("that it has started", |report| match report {
            Report::Started { role, .. } => Some(role.clone()),
            _ => None,
        })
    }

    /// Waits until it owns the node again; gives why.
    pub(super) fn back(&mut self) -> Result<String, String> {
        self.need("that it has the node back", |report| match report {
            Report::Back { cause, .. } => Some(cause.clone()),
            _ => None,
        })
    }

    /// Waits for this report.
    pub(super) fn says(&mut self, wanted: &Report) -> Result<(), String> {
        self.need(&format!("{wanted:?}"), |report| (report == wanted).then_some(()))
    }

    /// Waits for its end; everything it said is in `seen`.
    pub(super) fn ended(&mut self) -> Result<(), String> {
        self.wait(|_| None::<()>)?;
        self.held.died("its end")
    }

    /// Tells it something. One that is dead does not hear it.
    pub(super) fn tell(&mut self, order: Order) -> bool {
        writeln!(self.orders, "{}", order.word()).is_ok()
    }

    /// Takes all reports that are there.
    pub(super) fn listen(&mut self) {
        self.seen.extend(self.reports.try_iter());
    }
}

fn serving(report: &Report) -> Option<u64> {
    match report {
        Report::Serving { generation, .. } => Some(*generation),
        _ => None,
    }
}

impl Expected {
    /// A server called `name` will connect to `path`.
    pub(super) fn at(path: PathBuf, name: &str) -> Result<Self, String> {
        let failed = |e| format!("listen on {}: {e}", path.display());
        let listener = UnixListener::bind(&path).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Self {
            name: name.into(),
            listener,
            path,
        })
    }

    /// Whether it is there.
    pub(super) fn look(&self) -> Result<Option<UnixStream>, String> {
        match self.listener.accept() {
            Ok((stream, _)) => {
                let blocking = stream.set_nonblocking(false);
                blocking.map_err(|e| format!("{}: {e}", self.path.display()))?;
                Ok(Some(stream))
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(format!("{}: {e}", self.path.display())),
        }
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        // It lies in a directory that is removed in the end.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Looks until there is an answer, no longer than `longest`.
pub(super) fn until<T>(longest: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T, String> {
    within(longest, &mut look).ok_or_else(|| format!("{what} did not come within {longest:?}"))
}

/// Runs this program as the command line of the library.
pub(super) fn cli(program: &Path, arguments: &[std::ffi::OsString]) -> Result<std::process::Child, String> {
    Command::new(program)
        .arg("cli")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| format!("start the command: {e}"))
}
