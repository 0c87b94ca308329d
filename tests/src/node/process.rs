//! A server process as a test holds it: what it reports, orders, signals, its end.

use crate::node::report::{Order, Report};
use crate::node::wait::{LIMIT, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};

/// A running server. Dropped, it is killed.
#[derive(Debug)]
pub struct Actor {
    name: String,
    child: Child,
    orders: Option<ChildStdin>,
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
        let output = child.stdout.take().expect("piped");
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
            orders: child.stdin.take(),
            child,
            reports,
            seen: Vec::new(),
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next report.
    ///
    /// # Panics
    /// None came within the limit, or the server has ended.
    pub fn report(&mut self) -> Report {
        match self.reports.recv_timeout(LIMIT) {
            Ok(report) => {
                self.seen.push(report.clone());
                report
            }
            Err(e) => panic!("no report of {}: {e}; before: {:?}", self.name, self.seen),
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
        let orders = self.orders.as_mut().expect("not ended");
        writeln!(orders, "{}", order.word()).unwrap_or_else(|e| panic!("tell {}: {e}", self.name));
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, signal).unwrap_or_else(|e| panic!("signal {}: {e}", self.name));
    }

    /// Stops it where it is, and waits until it stands.
    ///
    /// # Panics
    /// It is dead.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
        until("a stop", || (self.state() == Some('T')).then_some(()));
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

    fn state(&self) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
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

    /// Kills it and waits until it is dead.
    ///
    /// # Panics
    /// It cannot be waited for.
    pub fn kill(&mut self) {
        // Dead already is as good.
        let _ = self.child.kill();
        self.child.wait().expect("wait");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// It does not end within the limit.
    pub fn exit(&mut self) -> ExitStatus {
        until(&format!("the end of {}", self.name), || {
            self.child.try_wait().expect("wait")
        })
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
