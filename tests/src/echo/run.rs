//! A run: a connection, two client threads, and a server that is killed and started again with the same socket.

use crate::echo::Failure;
use crate::echo::client::{self, Mismatch, Signals};
use crate::echo::pair::Over;
use crate::echo::report::{Counts, Line, Started};
use fastrand::Rng;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use shmstate::Region;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Longest wait for one thing: a start, an end, a byte.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a server lives at most after it said that it started.
const LIFE: Duration = Duration::from_millis(4);
/// The same after the client half-closed, when little is left to do.
const LAST_LIFE: Duration = Duration::from_micros(400);
/// How long one lives at most that is killed in its start.
const START: Duration = Duration::from_millis(3);
/// How many times the planned kills there are at most, until each kind of what they can leave behind was seen.
const MORE: u64 = 4;
/// Kills after the client half-closed, at most: then the server may end.
const LAST_KILLS: u64 = 30;

/// The number in the status of a killed process.
const SIGKILL: i32 = rustix::process::Signal::KILL.as_raw();

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server's program.
    pub server: PathBuf,
    /// Decides everything that is random, except the instants of the kills.
    pub seed: u64,
    /// Kills before the client half-closes, at least; up to four times as many, if they are needed to leave a transaction
    /// open, a byte received and not noted, a byte sent and not noted.
    pub kills: u64,
    /// What the connection goes over.
    pub over: Over,
    /// Bytes of the two rings, at most.
    pub rings: (u32, u32),
    /// Whether the socket's buffers are small, too.
    pub small_buffers: bool,
    /// Whether the server goes on from its hints (negative control).
    pub trust_hints: bool,
}

/// What happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Servers killed.
    pub kills: u64,
    /// Of them, before they said that they started.
    pub kills_in_start: u64,
    /// Of them, after the client had half-closed.
    pub kills_after_end: u64,
    /// Servers that continued the stream.
    pub continued: u64,
    /// Of them, those that found a transaction to take back.
    pub logs_undone: u64,
    /// Of them, those that found the output finished.
    pub finished: u64,
    /// Of them, those whose hint of bytes received was behind the kernel.
    pub input_behind: u64,
    /// Of them, those whose hint of bytes sent was behind the kernel.
    pub output_behind: u64,
    /// Bytes that the client wrote.
    pub written: u64,
    /// Bytes that the client read, all as they have to be.
    pub read: u64,
    /// What the last server said.
    pub counts: Counts,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Byte for byte.
    Exact(Tally),
    /// The client saw something else.
    Mismatch(Mismatch, Tally),
    /// A server gave up, with these words.
    Refused(String, Tally),
}

/// Runs it.
///
/// # Errors
/// What is no outcome: no socket, no process, a deadline.
pub fn run(plan: &Plan) -> Result<Outcome, Failure> {
    let (client, socket) = plan.over.pair(plan.small_buffers, PATIENCE)?;
    let key = plan.seed.rotate_left(17) | 1;
    let servers = Servers {
        plan,
        key,
        region: RegionName::new(plan.seed),
        socket,
        client: &client,
        signals: Signals::default(),
    };
    let (seed, signals) = (plan.seed, &servers.signals);
    std::thread::scope(|threads| {
        let writer = threads.spawn(|| client::write(&client, seed, signals));
        let reader = threads.spawn(|| {
            let answer = client::read(&client, seed, key, signals);
            signals.over.store(true, Ordering::Release);
            if answer.is_err() {
                // Whoever waits for the other side of this connection stops.
                let _ = shutdown(&client, Shutdown::Both);
            }
            answer
        });
        let mut tally = Tally::default();
        let end = servers.kill_and_restart(&mut tally);
        if !matches!(end, Ok(End::Finished)) {
            signals.over.store(true, Ordering::Release);
            let _ = shutdown(&client, Shutdown::Both);
        }
        let written = writer.join().map_err(|_| "the writer panicked")?;
        let answer = reader.join().map_err(|_| "the reader panicked")?;
        // A mismatch that the reader saw comes first: servers that fail after it fail because of it.
        match (answer, end?) {
            (Err(mismatch), End::Mismatch) => Ok(Outcome::Mismatch(mismatch, tally)),
            (Err(mismatch @ Mismatch::Byte { .. }), _) => Ok(Outcome::Mismatch(mismatch, tally)),
            (_, End::Refused(words)) => Ok(Outcome::Refused(words, tally)),
            (Err(mismatch), End::Finished) => Ok(Outcome::Mismatch(mismatch, tally)),
            (Ok(answer), End::Mismatch | End::Finished) => {
                tally.written = written?;
                tally.read = answer.bytes;
                Ok(match client::compare(answer, tally.written, seed, key) {
                    Ok(()) => Outcome::Exact(tally),
                    Err(mismatch) => Outcome::Mismatch(mismatch, tally),
                })
            }
        }
    })
}

/// Why no further server is started.
#[derive(Debug)]
enum End {
    Finished,
    Mismatch,
    Refused(String),
}

struct Servers<'p> {
    plan: &'p Plan,
    key: u64,
    region: RegionName,
    /// The parent's duplicate of the server's end.
    socket: OwnedFd,
    client: &'p File,
    signals: Signals,
}

impl Servers<'_> {
    fn kill_and_restart(&self, tally: &mut Tally) -> Result<End, Failure> {
        let mut random = Rng::with_seed(self.plan.seed ^ 3);
        let mut last = 0;
        loop {
            let rare = tally.logs_undone.min(tally.input_behind).min(tally.output_behind);
            let enough = tally.kills >= self.plan.kills && (rare > 0 || tally.kills >= self.plan.kills * MORE);
            let closed = self.signals.closed.load(Ordering::Relaxed);
            if enough && !closed {
                // While no server lives, so that the end, too, is met by one that is killed. Said first, so that nobody
                // sees the end of the answer without it.
                self.signals.closed.store(true, Ordering::Release);
                match shutdown(self.client, Shutdown::Write) {
                    // The reader saw a mismatch a moment ago.
                    Err(Errno::NOTCONN) => {}
                    other => other?,
                }
            }
            let closed = closed || enough;
            let mut server = Server::spawn(self, random.u64(..))?;
            if last >= LAST_KILLS {
                server.wait_end(PATIENCE)?;
            } else if closed && last == 0 {
                server.wait(PATIENCE)?;
            } else if random.u8(..4) == 0 {
                server.wait(START.mul_f64(random.f64()))?;
            } else if server.wait(PATIENCE)? {
                let life = if closed { LAST_LIFE } else { LIFE };
                server.wait(life.mul_f64(random.f64()))?;
            }
            let (status, words) = server.kill()?;
            let mut started = false;
            for line in server.lines()? {
                match line {
                    Line::Started(found) => {
                        started = true;
                        tally.note(&found);
                    }
                    Line::Finished(counts) => {
                        tally.counts = counts;
                        // A kill after this line is no kill of a server at work.
                        return Ok(End::Finished);
                    }
                }
            }
            if status.signal() != Some(SIGKILL) {
                return Ok(End::Refused(format!("{status}: {}", words.trim())));
            }
            tally.kills += 1;
            tally.kills_in_start += u64::from(!started);
            tally.kills_after_end += u64::from(closed);
            last += u64::from(closed);
            // An end of the answer before the end of the input.
            if self.signals.over.load(Ordering::Acquire) && !closed {
                return Ok(End::Mismatch);
            }
        }
    }
}

/// The name of a region that is removed whatever happens.
struct RegionName(String);

impl RegionName {
    fn new(seed: u64) -> Self {
        Self(format!("echo-{}-{seed:016x}", std::process::id()))
    }
}

impl Drop for RegionName {
    fn drop(&mut self) {
        let _ = Region::remove(&self.0);
    }
}

/// A server process. Dropped, it is killed and waited for.
struct Server {
    child: Child,
    out: ChildStdout,
    /// What it said.
    said: Vec<u8>,
    ended: bool,
}

impl Server {
    fn spawn(run: &Servers<'_>, seed: u64) -> Result<Self, Failure> {
        let plan = run.plan;
        let mut command = Command::new(&plan.server);
        command
            .args(["--region", &run.region.0])
            .args(["--parent", &std::process::id().to_string()])
            .args(["--key", &run.key.to_string()])
            .args(["--seed", &seed.to_string()])
            .args(["--input", &plan.rings.0.to_string()])
            .args(["--output", &plan.rings.1.to_string()])
            .args(plan.trust_hints.then_some("--trust-hints"))
            .stdin(Stdio::from(run.socket.try_clone()?))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let Some(out) = child.stdout.take() else {
            return Err("the child has no output".into());
        };
        Ok(Self {
            child,
            out,
            said: Vec::new(),
            ended: false,
        })
    }

    /// Waits until it says something, its end, or the limit. Says whether it said something.
    fn wait(&mut self, limit: Duration) -> Result<bool, Failure> {
        let limit = Timespec::try_from(limit)?;
        if self.ended || poll(&mut [PollFd::new(&self.out, PollFlags::IN)], Some(&limit))? == 0 {
            return Ok(false);
        }
        let mut bytes = [0; 1024];
        let n = self.out.read(&mut bytes)?;
        self.said.extend_from_slice(&bytes[..n]);
        self.ended = n == 0;
        Ok(n > 0)
    }

    /// Waits until it has closed its output: its end.
    fn wait_end(&mut self, limit: Duration) -> Result<(), Failure> {
        let end = Instant::now() + limit;
        while !self.ended {
            let Some(left) = end.checked_duration_since(Instant::now()) else {
                return Err(format!("a server that was not killed did not end within {limit:?}").into());
            };
            self.wait(left)?;
        }
        Ok(())
    }

    /// Kills it, if it did not end, and collects its last words.
    fn kill(&mut self) -> Result<(ExitStatus, String), Failure> {
        if !self.ended {
            self.child.kill()?;
        }
        let status = self.child.wait()?;
        while !self.ended {
            self.wait(PATIENCE)?;
        }
        let mut words = String::new();
        if let Some(mut error) = self.child.stderr.take() {
            error.read_to_string(&mut words)?;
        }
        Ok((status, words))
    }

    /// What it said.
    fn lines(&self) -> Result<Vec<Line>, Failure> {
        self.said
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| Ok(serde_json::from_slice(line)?))
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Tally {
    fn note(&mut self, found: &Started) {
        self.continued += u64::from(found.continued);
        self.logs_undone += u64::from(found.undone > 0);
        self.finished += u64::from(found.finished);
        self.input_behind += u64::from(found.input_behind > 0);
        self.output_behind += u64::from(found.output_behind > 0);
    }
}
