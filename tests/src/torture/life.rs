//! A child process seen by its parent: started, listened to, killed at an instant, never left behind.

use super::child::{FAULT, OPENED, OPENING, Order, STRUCK};
use super::witness::Witness;
use rustix::event::{PollFd, PollFlags, poll};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a child may take to say the next line. Recovery takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);
/// The last part of a wait is spent spinning: a sleep wakes up too late by about this much.
const SPIN: Duration = Duration::from_micros(150);

/// What a child said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// It is about to open the region.
    Opening,
    /// It has recovered the region and goes to work.
    Opened,
    /// It is at its point.
    Struck,
}

/// How a child ended.
#[derive(Debug)]
pub(super) struct Death {
    /// Undo entries that it took back when it opened the region; `None` if it had not come so far.
    pub(super) opened: Option<u64>,
    /// Whether it killed itself at its point.
    pub(super) struck: bool,
    /// Why it was not simply a kill, if it was not.
    pub(super) fault: Option<String>,
}

/// A running child. Dropped, it is killed and waited for (K4).
#[derive(Debug)]
pub(super) struct Life {
    process: Child,
    pipe: ChildStdout,
    said: Vec<u8>,
}

impl Life {
    /// Starts a child.
    pub(super) fn start(program: &Path, order: &Order, witness: &Witness<OwnedFd>) -> io::Result<Self> {
        let mut process = Command::new(program)
            .args(order.arguments())
            .stdin(Stdio::from(witness.share()?))
            .stdout(Stdio::piped())
            .spawn()?;
        let pipe = process.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self {
            process,
            pipe,
            said: Vec::new(),
        })
    }

    /// Waits until the child says so. `false` if it ended before, or said nothing for [`PATIENCE`].
    pub(super) fn wait_for(&mut self, event: Event) -> io::Result<bool> {
        self.wait(event, PATIENCE)
    }

    /// The same, for as long as the caller says.
    pub(super) fn wait(&mut self, event: Event, patience: Duration) -> io::Result<bool> {
        let wanted = match event {
            Event::Opening => OPENING,
            Event::Opened => OPENED,
            Event::Struck => STRUCK,
        };
        let end = Instant::now() + patience;
        while self.line(wanted).is_none() {
            let Some(left) = end.checked_duration_since(Instant::now()) else {
                return Ok(false);
            };
            let left = left.try_into().map_err(io::Error::other)?;
            let ready = poll(&mut [PollFd::new(&self.pipe, PollFlags::IN)], Some(&left));
            match ready {
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                Ok(_) => {}
                Err(e) => return Err(e.into()),
            }
            let mut bytes = [0; 512];
            match self.pipe.read(&mut bytes)? {
                0 => return Ok(false),
                n => self.said.extend_from_slice(&bytes[..n]),
            }
        }
        Ok(true)
    }

    /// Kills the child after `delay` and says how it ended.
    pub(super) fn kill_after(mut self, delay: Duration) -> io::Result<Death> {
        let end = Instant::now() + delay;
        if delay > SPIN {
            std::thread::sleep(delay - SPIN);
        }
        while Instant::now() < end {
            std::hint::spin_loop();
        }
        self.process.kill()?;
        let status = self.process.wait()?;
        self.pipe.read_to_end(&mut self.said)?;
        let by_kill = status.signal() == Some(nix::libc::SIGKILL);
        let fault = match self.line(FAULT) {
            Some(why) => Some(why.to_owned()),
            None if by_kill => None,
            None => Some(format!("it ended by itself: {status}")),
        };
        Ok(Death {
            struck: by_kill && self.line(STRUCK).is_some(),
            opened: self.line(OPENED).map(|entries| entries.parse().unwrap_or(0)),
            fault,
        })
    }

    /// What follows the word in a complete line that begins with it.
    fn line(&self, word: &str) -> Option<&str> {
        let complete = self.said.iter().rposition(|b| *b == b'\n')?;
        std::str::from_utf8(&self.said[..complete])
            .ok()?
            .lines()
            .find_map(|line| line.strip_prefix(word))
            .map(str::trim)
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        // An error says that it is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
