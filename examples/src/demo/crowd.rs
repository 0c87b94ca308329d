//! The bots' process, as the demo talks to it: a line to its stdin, a line of JSON back.

use super::child::{Child, how};
use super::error::{DemoError, Result};
use super::limit::Limit;
use crate::bots::gaps::Window;
use crate::bots::report::{Event, Report};
use std::process::Command;
use std::time::Duration;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);
/// How long all bots may take to join.
const JOIN: Duration = Duration::from_secs(20);
/// How long the end may take beyond [`GRACE`], which the bots give to what is in flight.
const END: Duration = Duration::from_secs(5);
const GRACE: Duration = Duration::from_secs(3);
/// Exit codes of the bots after a run: without faults, with faults.
const RAN: [i32; 2] = [0, 1];

/// The bots.
#[derive(Debug)]
pub struct Crowd {
    child: Child,
}

impl Crowd {
    /// Starts `bots` bots that join the server at `address`, and waits until all have.
    ///
    /// # Errors
    /// They could not be started, or not all could join; those of `limit`.
    pub fn join(command: &mut Command, address: &str, bots: u32, seed: u64, limit: &Limit) -> Result<Self> {
        command
            .args(["--address", address])
            .args(["--bots", &bots.to_string()])
            .args(["--seed", &seed.to_string()])
            .args(["--grace-ms", &GRACE.as_millis().to_string()])
            .args(["--join-timeout-ms", &JOIN.as_millis().to_string()]);
        let mut this = Self {
            child: Child::start("arena-bots", command)?,
        };
        match this.event(JOIN + END, limit)? {
            Event::Joined { .. } => Ok(this),
            // They had a report to make instead: the exit says why.
            Event::Snapshot(_) | Event::Report(_) => {
                limit.wait("the end of the bots", END, || this.child.check_running().map(|()| None))
            }
        }
    }

    /// That they play.
    ///
    /// # Errors
    /// [`DemoError::Ended`].
    pub fn check_running(&mut self) -> Result<()> {
        self.child.check_running()
    }

    /// Frames from here to [`end`](Self::end) are those of an upgrade, or of one that goes back.
    ///
    /// # Errors
    /// The bots do not listen.
    pub fn begin(&mut self, window: Window) -> Result<()> {
        self.child.say(&format!("{} begin", word(window)))
    }

    /// It is over.
    ///
    /// # Errors
    /// The bots do not listen.
    pub fn end(&mut self, window: Window) -> Result<()> {
        self.child.say(&format!("{} end", word(window)))
    }

    /// The counters so far.
    ///
    /// # Errors
    /// The bots do not answer.
    pub fn snapshot(&mut self, limit: &Limit) -> Result<Report> {
        self.child.say("report")?;
        match self.event(ANSWER, limit)? {
            Event::Snapshot(report) => Ok(*report),
            other => Err(self.unexpected("a snapshot", &other)),
        }
    }

    /// Ends the game: what is in flight is waited for, then everything is counted.
    ///
    /// # Errors
    /// The bots do not answer, or end in another way than after a run.
    pub fn finish(mut self, limit: &Limit) -> Result<Report> {
        self.child.say("finish")?;
        let report = match self.event(GRACE + END, limit)? {
            Event::Report(report) => *report,
            other => return Err(self.unexpected("the last report", &other)),
        };
        let status = limit.wait("the end of the bots", END, || self.child.ended())?;
        match status.code() {
            Some(code) if RAN.contains(&code) => Ok(report),
            _ => Err(self.child.unexpected(status)),
        }
    }

    fn event(&mut self, longest: Duration, limit: &Limit) -> Result<Event> {
        let line = self.child.line("a line from the bots", longest, limit)?;
        Event::parse(&line).map_err(|_| DemoError::Said {
            who: self.child.who(),
            expected: "an event",
            line,
        })
    }

    fn unexpected(&mut self, expected: &'static str, got: &Event) -> DemoError {
        DemoError::Said {
            who: self.child.who(),
            expected,
            line: match self.child.ended() {
                Ok(Some(status)) => format!("{got:?}, then ended with {}", how(status)),
                _ => format!("{got:?}"),
            },
        }
    }
}

/// The bots' word for it.
const fn word(window: Window) -> &'static str {
    match window {
        Window::Upgrade => "upgrade",
        Window::GiveBack => "give-back",
    }
}
