//! `handover upgrade`: starts the new version, watches the node, says who serves now.
//!
//! - **U1** The exit code is what a last look at the node says, never what was expected to happen.
//! - **U2** When this command gives up, CMD is ended before it reports: an upgrade that is not wanted any more must not
//!   happen later. CMD that owns the node by then goes on, and that is a success.
//! - **U3** Nothing but the node's control block and CMD's own end is believed (see [`super::verdict`]).
//!
//! With `--json` one object is printed once CMD was started, unless the exit code is 4: see [`super::outcome`].

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::args;
use super::exit::{Exit, Failure, Report};
use super::look::Found;
use super::outcome::{Ending, LastLook};
use super::started::{Ended, GRACE, Standing, Started};
use super::status::unknown;
use super::verdict::{Before, Cmd, Verdict, judge, owns};
use super::view::HandoverView;
use crate::control::{HandoverRecord, Outcome, ParticipantState};
use crate::error::Result;
use crate::os::clock::Deadline;
use crate::status::Status;

/// Between two looks at the node; the end of CMD is noticed at once.
const LOOK: Duration = Duration::from_millis(5);
/// How long the record of a handover is waited for after CMD has ended with an error, or serves.
const RECORD: Duration = Duration::from_millis(500);

/// What is asked for.
struct Options {
    base: PathBuf,
    /// The directory as CMD must know it, if it is not the usual one.
    told: Option<PathBuf>,
    node: String,
    timeout: Duration,
    start: bool,
    json: bool,
    command: Vec<OsString>,
}

impl Options {
    fn resolve(raw: args::Upgrade) -> std::result::Result<Self, Failure> {
        let told = raw.place.directory.as_ref().map(std::path::absolute).transpose();
        let told = told.map_err(|e| Failure::new(Exit::Usage, format!("--directory: {e}")))?;
        Ok(Self {
            base: raw.place.base(),
            told,
            node: raw.node,
            timeout: raw.timeout,
            start: raw.start,
            json: raw.json,
            command: raw.command,
        })
    }

    fn look(&self) -> Result<Found> {
        Found::of(&self.base, &self.node)
    }

    /// CMD's program, for messages.
    fn program(&self) -> String {
        self.command
            .first()
            .map_or_else(String::new, |p| p.display().to_string())
    }
}

pub(super) fn run(raw: args::Upgrade) -> std::result::Result<Report, Failure> {
    let options = Options::resolve(raw)?;
    let found = options.look()?;
    check(&options, &found)?;
    let before = Before::of(found.status());
    let begun = Deadline::after(options.timeout);
    let started = Started::spawn(&options.command, options.told.as_deref(), options.json)
        .map_err(|error| not_started(&options, &found, &error))?;
    let mut watch = Watch {
        options: &options,
        before,
        started,
        seen: BTreeSet::new(),
        killed: false,
    };
    let ending = watch.until(begun)?;
    let ending = watch.settle(ending)?;
    Ok(watch.report(ending, begun.waited())?)
}

/// Whether there is something to upgrade.
fn check(options: &Options, found: &Found) -> std::result::Result<(), Failure> {
    if options.start || found.owner().is_some() {
        return Ok(());
    }
    let node = &options.node;
    if let Found::Absent = found {
        let hint = format!("to start CMD as its first process: handover upgrade {node} --start -- CMD");
        return Err(unknown(&options.base, node).and(hint));
    }
    Err(Failure::new(
        Exit::Nobody,
        format!("nobody serves the node {node:?}: there is nothing to upgrade"),
    )
    .and("CMD was not started")
    .and(format!(
        "to start it as the first process: handover upgrade {node} --start -- CMD"
    )))
}

fn not_started(options: &Options, found: &Found, error: &std::io::Error) -> Failure {
    let exit = match found.owner() {
        Some(_) => Exit::NotUpgraded,
        None => Exit::Nobody,
    };
    Failure::new(exit, format!("cannot start {:?}: {error}", options.program()))
        .and("give a path, or a program that is in $PATH")
        .and(format!("now: {}", found.who_serves()))
}

/// An upgrade that is being watched.
struct Watch<'a> {
    options: &'a Options,
    before: Before,
    started: Started,
    /// Pids that belong, or belonged, to CMD; those that are dead can be asked no more.
    seen: BTreeSet<u32>,
    /// Whether it was this command that ended CMD.
    killed: bool,
}

impl Watch<'_> {
    /// Watches until something is decided or the time is over.
    fn until(&mut self, deadline: Deadline) -> Result<Ending> {
        let mut gone: Option<Deadline> = None;
        loop {
            let cmd = self.cmd()?;
            // A node that is just being made, or removed, cannot be read for a moment.
            let found = self.options.look().ok();
            let now = found.as_ref().and_then(Found::status);
            self.note(now);
            match self.judge(cmd, now) {
                Verdict::Serves(pid) => return Ok(Ending::Serves(pid)),
                Verdict::CalledOff(record) => return Ok(Ending::CalledOff(record)),
                Verdict::Pending => gone = None,
                Verdict::Gone if cmd == (Cmd::Ended { well: true }) && self.has_stranger(now)? => gone = None,
                Verdict::Gone => {
                    // What ended with an error leaves at most a record. What ended well may have left a daemon.
                    let well = cmd == Cmd::Ended { well: true };
                    let until = *gone.get_or_insert_with(|| Deadline::after(if well { GRACE } else { RECORD }));
                    if until.passed() {
                        return Ok(Ending::Gone);
                    }
                }
            }
            if deadline.passed() {
                return Ok(Ending::Timeout);
            }
            self.started.wait(LOOK.min(deadline.remaining()))?;
        }
    }

    fn cmd(&self) -> Result<Cmd> {
        Ok(match self.started.ended()? {
            Some(ended) if !self.started.lives()? => Cmd::Ended {
                well: ended == Ended::Status(0),
            },
            _ => Cmd::Living,
        })
    }

    /// Remembers which of those who take part belong to CMD.
    fn note(&mut self, now: Option<&Status>) {
        self.seen.insert(self.started.pid());
        for participant in now.map(|s| &s.participants[..]).unwrap_or_default() {
            let pid = participant.process.pid;
            if !self.before.participants.contains(&participant.process) && self.started.is_kin(pid) {
                self.seen.insert(pid);
            }
        }
    }

    fn judge(&self, cmd: Cmd, now: Option<&Status>) -> Verdict {
        judge(&self.before, |pid| self.seen.contains(&pid), cmd, now)
    }

    /// Whether a living process that was not there before prepares to take over, which may be a daemon that CMD left.
    fn has_stranger(&self, now: Option<&Status>) -> Result<bool> {
        for participant in now.map(|s| &s.participants[..]).unwrap_or_default() {
            let new = !self.before.participants.contains(&participant.process);
            if new && participant.state == ParticipantState::Preparing && participant.is_alive()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// After a failure nothing of CMD goes on (U2), unless it serves after all.
    fn settle(&mut self, ending: Ending) -> std::result::Result<Ending, Failure> {
        match ending {
            Ending::Serves(_) | Ending::Gone => return Ok(ending),
            // It was told, and knows better than a signal how to end.
            Ending::CalledOff(_) => self.started.wait(GRACE)?,
            Ending::Timeout => {}
        }
        self.killed = self.started.ended()?.is_none();
        let look = || {
            let found = self.options.look()?;
            let Some(now) = found.status() else {
                return Ok(Standing::Outside);
            };
            let ours = |pid| self.started.is_kin(pid);
            let offered = now.participants.iter().any(|p| ours(p.process.pid));
            Ok(match owns(&self.before, ours, now) {
                true => Standing::Owner,
                false if offered => Standing::Participant,
                false => Standing::Outside,
            })
        };
        let ended = self.started.end(look).map_err(|error| {
            Failure::from(error)
                .and(format!(
                    "process {} ({}) may still run",
                    self.started.pid(),
                    self.options.program()
                ))
                .and(format!(
                    "`handover status {}` tells who serves; end the process if it does not",
                    self.options.node
                ))
        })?;
        if ended {
            return Ok(ending);
        }
        let found = self.options.look()?;
        Ok(found.owner().map_or(ending, |owner| Ending::Serves(owner.process.pid)))
    }

    /// The record of this handover. The new owner writes it when it serves already.
    fn record(&self, pid: u32) -> Result<Option<HandoverRecord>> {
        let deadline = Deadline::after(RECORD);
        loop {
            let found = self.options.look()?;
            let record = found.status().and_then(|now| {
                let mut news = self.before.news(now);
                news.find(|r| r.successor_pid == pid && matches!(r.outcome, Outcome::HandedOver | Outcome::Inherited))
                    .cloned()
            });
            // Where there was no owner, not even a dead one, there is nothing to record.
            if record.is_some() || self.before.generation == 0 || deadline.passed() {
                return Ok(record);
            }
            let _ = deadline.pause(LOOK);
        }
    }

    /// Looks a last time (U1).
    fn report(&self, ending: Ending, waited: Duration) -> Result<Report> {
        let record = match &ending {
            Ending::Serves(pid) => self.record(*pid)?,
            Ending::CalledOff(record) => Some((**record).clone()),
            Ending::Gone | Ending::Timeout => None,
        };
        let last = LastLook {
            node: &self.options.node,
            program: self.options.program(),
            timeout: self.options.timeout,
            pid: self.started.pid(),
            served: self.before.served,
            killed: self.killed,
            ended: self.started.ended()?,
            found: self.options.look()?,
            handover: record.as_ref().map(HandoverView::of),
            waited,
            ending,
        };
        Ok(last.report(self.options.json))
    }
}
