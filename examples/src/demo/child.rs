//! A process that the demo started: its lines, the end of its stderr, its exit. It does not outlive this value.

use super::error::{DemoError, Result};
use super::limit::Limit;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Lines of stderr that are kept.
const KEPT_LINES: usize = 20;
/// Longest line that is read, in bytes; the rest counts as the next line.
const MAX_LINE: u64 = 64 * 1024;
/// How long a process that is dropped may take to stop in order before it is killed.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks at a process that is to end.
const LOOK: Duration = Duration::from_millis(2);

/// A process of the demo.
#[derive(Debug)]
pub struct Child {
    name: String,
    process: std::process::Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    stderr: Arc<Mutex<VecDeque<String>>>,
    readers: Vec<JoinHandle<()>>,
    ended: Option<ExitStatus>,
}

impl Child {
    /// Starts `command` in a process group of its own, so that a Ctrl-C reaches the demo alone.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(name: &str, command: &mut Command) -> Result<Self> {
        let mut process = command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(DemoError::system(format!("start {name}")))?;
        let (sender, lines) = mpsc::channel();
        let stderr = Arc::new(Mutex::new(VecDeque::new()));
        let mut readers = Vec::new();
        if let Some(out) = process.stdout.take() {
            readers.push(std::thread::spawn(move || {
                // Who does not listen any more does not stop the reading: a full pipe would stop the process.
                read_lines(out, |line| drop(sender.send(line)));
            }));
        }
        if let Some(err) = process.stderr.take() {
            let kept = Arc::clone(&stderr);
            readers.push(std::thread::spawn(move || {
                read_lines(err, |line| {
                    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    if kept.len() == KEPT_LINES {
                        kept.pop_front();
                    }
                    kept.push_back(line);
                });
            }));
        }
        Ok(Self {
            name: name.into(),
            stdin: process.stdin.take(),
            process,
            lines,
            stderr,
            readers,
            ended: None,
        })
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What program it is.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Program and pid, for people.
    #[must_use]
    pub fn who(&self) -> String {
        format!("{} (process {})", self.name, self.pid())
    }

    /// How it ended, `None` while it runs.
    ///
    /// # Errors
    /// The system cannot tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self
                .process
                .try_wait()
                .map_err(DemoError::system(format!("wait for {}", self.name)))?;
        }
        Ok(self.ended)
    }

    /// That it runs.
    ///
    /// # Errors
    /// [`DemoError::Ended`] if it does not.
    pub fn check_running(&mut self) -> Result<()> {
        match self.ended()? {
            Some(status) => Err(self.unexpected(status)),
            None => Ok(()),
        }
    }

    /// The error that says it ended with `status` and should not have.
    pub fn unexpected(&mut self, status: ExitStatus) -> DemoError {
        DemoError::Ended {
            who: self.who(),
            how: how(status),
            said: self.stderr(),
        }
    }

    /// The last lines of its stderr: all it said there, if it has ended.
    pub fn stderr(&mut self) -> String {
        if self.ended.is_some() {
            self.join_readers();
        }
        let kept = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    /// Writes a line to its stdin.
    ///
    /// # Errors
    /// It does not listen any more.
    pub fn say(&mut self, line: &str) -> Result<()> {
        let said = match &mut self.stdin {
            Some(stdin) => stdin.write_all(format!("{line}\n").as_bytes()),
            None => Ok(()),
        };
        match (said, self.ended()) {
            (Ok(()), _) => Ok(()),
            (Err(_), Ok(Some(status))) => Err(self.unexpected(status)),
            (Err(error), _) => Err(DemoError::system(format!("write to {}", self.name))(error)),
        }
    }

    /// The next line of its stdout.
    ///
    /// # Errors
    /// [`DemoError::Ended`] if it ended without another line; those of `limit`.
    pub fn line(&mut self, what: &str, longest: Duration, limit: &Limit) -> Result<String> {
        limit.wait(what, longest, || match self.lines.try_recv() {
            Ok(line) => Ok(Some(line)),
            Err(TryRecvError::Empty) => Ok(None),
            // Its stdout is closed: the exit follows at once.
            Err(TryRecvError::Disconnected) => self.check_running().map(|()| None),
        })
    }

    /// Sends a signal. One that comes too late does nothing.
    pub fn signal(&mut self, signal: Signal) {
        // As long as it was not waited for, its pid is nobody else's.
        if let (Ok(None), Some(pid)) = (self.ended(), i32::try_from(self.pid()).ok().and_then(Pid::from_raw)) {
            // It fails only for a process that has just ended.
            let _ = kill_process(pid, signal);
        }
    }

    /// Sends `signal`, waits until it has ended, and kills it when `longest` is over. Not ended by a signal to the demo.
    ///
    /// # Errors
    /// The system cannot tell; [`DemoError::Late`] if it had to be killed.
    pub fn end(&mut self, signal: Signal, longest: Duration) -> Result<ExitStatus> {
        self.signal(signal);
        let deadline = Instant::now() + longest;
        while self.ended()?.is_none() && Instant::now() < deadline {
            std::thread::sleep(LOOK);
        }
        if let Some(status) = self.ended {
            return Ok(status);
        }
        self.signal(Signal::KILL);
        self.ended = Some(
            self.process
                .wait()
                .map_err(DemoError::system(format!("wait for {}", self.name)))?,
        );
        Err(DemoError::Late {
            what: format!("the end of {}", self.who()),
            waited: longest,
            seen: self.stderr(),
        })
    }

    /// Processor time of a running process so far, all threads; zero if it cannot be told.
    #[must_use]
    pub fn processor_time(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid()));
        let nanos = tasks.into_iter().flatten().filter_map(|task| {
            let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanos.sum())
    }

    fn join_readers(&mut self) {
        // They end at the end of the pipes, which ended with the process: nothing it starts inherits them.
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.end(Signal::TERM, PATIENCE);
    }
}

/// Reads lines until the end; what is no UTF-8 is replaced.
fn read_lines(from: impl Read, mut with: impl FnMut(String)) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut from).take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => with(String::from_utf8_lossy(line.trim_ascii_end()).into_owned()),
        }
    }
}

/// Exit code or signal, for people.
#[must_use]
pub fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => match Signal::from_named_raw(signal) {
            Some(Signal::ABORT) => "killed by SIGABRT".into(),
            Some(Signal::KILL) => "killed by SIGKILL".into(),
            Some(Signal::SEGV) => "killed by SIGSEGV".into(),
            Some(Signal::TERM) => "killed by SIGTERM".into(),
            _ => format!("killed by signal {signal}"),
        },
        (None, None) => "it ended in an unknown way".into(),
    }
}
