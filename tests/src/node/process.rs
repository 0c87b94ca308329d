//! A server process as a test holds it: what it reports, orders, signals, its end.

use crate::node::report::{Order, Report};
use crate::node::wait::{LIMIT, Patience, until};
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

/// What is known of the process.
#[derive(Debug)]
enum Process {
    Child(Child),
    /// Somebody else started it; it is reaped here when that one is dead, if this process is the reaper of its descendants.
    Adopted {
        pid: u32,
        status: Option<ExitStatus>,
    },
}

/// A running server. Dropped, it is killed.
#[derive(Debug)]
pub struct Actor {
    name: String,
    process: Process,
    orders: File,
    reports: Receiver<Report>,
    seen: Vec<Report>,
}

impl Actor {
    /// Starts `command`, a server.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    pub fn spawn(name: &str, command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("start {name}: {e}"));
        let output: OwnedFd = child.stdout.take().expect("piped").into();
        let input: OwnedFd = child.stdin.take().expect("piped").into();
        Self::new(name, Process::Child(child), input, output)
    }

    /// A server that somebody else has started, at the other end of this socket (`--through`).
    ///
    /// # Panics
    /// The socket does not say who that is.
    #[must_use]
    pub fn adopt(name: &str, stream: UnixStream) -> Self {
        use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
        let who = getsockopt(&stream, PeerCredentials).expect("the credentials of a peer");
        let process = Process::Adopted {
            pid: who.pid().cast_unsigned(),
            status: None,
        };
        let input = stream.try_clone().expect("a descriptor");
        Self::new(name, process, input.into(), stream.into())
    }

    fn new(name: &str, process: Process, input: OwnedFd, output: OwnedFd) -> Self {
        let output = File::from(output);
        let (sender, reports) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let Ok(line) = line else { return };
                let Ok(report) = serde_json::from_str(&line) else {
                    return;
                };
                if sender.send(report).is_err() {
                    return;
                }
            }
        });
        Self {
            name: name.into(),
            orders: input.into(),
            process,
            reports,
            seen: Vec::new(),
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        match &self.process {
            Process::Child(child) => child.id(),
            Process::Adopted { pid, .. } => *pid,
        }
    }

    /// The next report.
    ///
    /// # Panics
    /// None came within the limit, or the server has ended.
    pub fn report(&mut self) -> Report {
        let mut patience = Patience::new(LIMIT);
        loop {
            match self.reports.recv_timeout(patience.step()) {
                Ok(report) => {
                    self.seen.push(report.clone());
                    return report;
                }
                Err(RecvTimeoutError::Timeout) if !patience.is_over() => {}
                Err(e) => panic!("no report of {}: {e}; before: {:?}", self.name, self.seen),
            }
        }
    }

    /// Waits until it has started; gives its role and the generation before.
    ///
    /// # Panics
    /// It reports anything else.
    pub fn started(&mut self) -> (String, u64) {
        match self.report() {
            Report::Started { role, before } => (role, before),
            other => panic!("{} was to start: {other:?}", self.name),
        }
    }

    /// Waits until it serves; gives its generation.
    ///
    /// # Panics
    /// It fails.
    pub fn serving(&mut self) -> u64 {
        loop {
            match self.report() {
                Report::Started { .. } => {}
                Report::Serving { generation, .. } => return generation,
                other => panic!("{} was to serve: {other:?}", self.name),
            }
        }
    }

    /// Waits until it serves in place of a dead owner; gives its generation, the streams it could not continue, and how many
    /// requests were answered before.
    ///
    /// # Panics
    /// It fails, or its owner was alive.
    pub fn inherited(&mut self) -> (u64, usize, u64) {
        loop {
            match self.report() {
                Report::Started { .. } => {}
                Report::Serving {
                    generation,
                    inherited: true,
                    gone,
                    answered,
                } => return (generation, gone, answered),
                other => panic!("{} was to inherit: {other:?}", self.name),
            }
        }
    }

    /// Waits until it gives up; gives who serves, and why.
    ///
    /// # Panics
    /// It serves.
    pub fn failed(&mut self) -> (String, String) {
        loop {
            match self.report() {
                Report::Started { .. } => {}
                Report::Failed { who, text } => return (who, text),
                other => panic!("{} was to fail: {other:?}", self.name),
            }
        }
    }

    /// Waits for exactly this report.
    ///
    /// # Panics
    /// Another comes first.
    pub fn expect(&mut self, report: &Report) {
        assert_eq!(self.report(), *report, "{} after {:?}", self.name, self.seen);
    }

    /// Waits for the end of a server that has handed over, with nothing left.
    ///
    /// # Panics
    /// It ends otherwise.
    pub fn drained(&mut self) {
        self.expect(&Report::HandedOver);
        match self.report() {
            Report::Drained { left: 0, .. } => {}
            other => panic!("{} was to drain: {other:?}", self.name),
        }
        assert!(self.exit().success(), "{} ends well", self.name);
    }

    /// Tells it something.
    ///
    /// # Panics
    /// It has ended.
    pub fn tell(&mut self, order: Order) {
        writeln!(self.orders, "{}", order.word()).unwrap_or_else(|e| panic!("tell {}: {e}", self.name));
    }

    /// The same, if it has not ended.
    pub fn tell_if_alive(&mut self, order: Order) {
        let _ = writeln!(self.orders, "{}", order.word());
    }

    fn number(&self) -> Pid {
        Pid::from_raw(self.pid().cast_signed())
    }

    fn signal(&self, signal: Signal) {
        kill(self.number(), signal).unwrap_or_else(|e| panic!("signal {}: {e}", self.name));
    }

    /// Stops it where it is, and waits until it stands.
    ///
    /// # Panics
    /// It is dead.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
        until("a stop", || self.is_stopped().then_some(()));
    }

    /// Has it crash where it is; a core is written if one was asked for ([`Order::Load`]).
    ///
    /// # Panics
    /// It is dead.
    pub fn abort(&self) {
        self.signal(Signal::SIGABRT);
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// It is dead.
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Waits until its first thread waits in `poll`: a successor that has said all it had to say.
    ///
    /// # Panics
    /// It does not.
    pub fn wait_polling(&self) {
        let polling = [nix::libc::SYS_poll, nix::libc::SYS_ppoll];
        until("a wait in poll", || {
            let text = std::fs::read_to_string(format!("/proc/{}/syscall", self.pid())).ok()?;
            let number: i64 = text.split(' ').next()?.parse().ok()?;
            polling.contains(&number).then_some(())
        });
    }

    /// Lets it go on, if it is not dead.
    pub fn thaw_if_alive(&self) {
        let _ = kill(self.number(), Signal::SIGCONT);
    }

    /// Whether it is stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        is_stopped(self.pid())
    }

    /// Waits for this report, whatever comes before it.
    ///
    /// # Panics
    /// It does not come.
    pub fn skip_to(&mut self, report: &Report) {
        while self.report() != *report {}
    }

    /// Waits until it owns the node again, whatever comes before; gives why.
    ///
    /// # Panics
    /// It does not.
    pub fn skip_to_back(&mut self) -> String {
        loop {
            if let Report::Back { cause, .. } = self.report() {
                return cause;
            }
        }
    }

    /// How many descriptors it has open.
    ///
    /// # Panics
    /// It is dead.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .unwrap_or_else(|e| panic!("descriptors of {}: {e}", self.name))
            .count()
    }

    /// How many threads it has.
    ///
    /// # Panics
    /// It is dead.
    #[must_use]
    pub fn threads(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/task", self.pid()))
            .unwrap_or_else(|e| panic!("threads of {}: {e}", self.name))
            .count()
    }

    /// What its descriptors are, in order.
    #[must_use]
    pub fn open_files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(format!("/proc/{}/fd", self.pid()));
        let entries = entries.into_iter().flatten().flatten();
        let links = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        let mut links: Vec<String> = links.map(|link| link.display().to_string()).collect();
        links.sort();
        links
    }

    /// Kills it and waits until it is dead.
    ///
    /// # Panics
    /// It cannot be waited for.
    pub fn kill(&mut self) {
        // Dead already is as good.
        let _ = kill(self.number(), Signal::SIGKILL);
        self.exit();
    }

    /// How it ended, if it has.
    ///
    /// # Panics
    /// It cannot be waited for.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        match &mut self.process {
            Process::Child(child) => child.try_wait().expect("wait"),
            Process::Adopted { pid, status } => {
                if status.is_none() {
                    *status = reaped(Pid::from_raw(pid.cast_signed()));
                }
                *status
            }
        }
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// It does not end within the limit.
    pub fn exit(&mut self) -> ExitStatus {
        until(&format!("the end of {}", self.name), || self.ended())
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        if self.ended().is_none() {
            let _ = kill(self.number(), Signal::SIGKILL);
            if let Process::Child(child) = &mut self.process {
                let _ = child.wait();
            }
        }
    }
}

/// Whether the process is stopped.
#[must_use]
pub fn is_stopped(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}

/// How an adopted process ended; `None` if it lives, or is another's to reap.
fn reaped(pid: Pid) -> Option<ExitStatus> {
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::Exited(_, code)) => Some(ExitStatus::from_raw(code << 8)),
        Ok(WaitStatus::Signaled(_, signal, _)) => Some(ExitStatus::from_raw(signal as libc::c_int)),
        // Its parent lives and has reaped it, or will: then nothing is known but that it is gone.
        Err(Errno::ECHILD) => kill(pid, None).is_err().then(|| ExitStatus::from_raw(0)),
        _ => None,
    }
}
