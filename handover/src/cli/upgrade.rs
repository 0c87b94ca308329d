//! `handover upgrade`: starts the new version, watches the node, says who serves now.
//!
//! - **U1** The exit code is what a last look at the node says, never what was expected to happen.
//! - **U2** When this command gives up, CMD is ended before it reports: an upgrade that is not wanted any more must not
//!   happen later. CMD that owns the node by then goes on, and that is a success.
//! - **U3** Nothing but the node's control block and CMD's own end is believed (see [`super::verdict`]).
//!
//! - **U4** A new version that is lost while this command still looks is waited for until its predecessor serves again, and is reported as what it
//!   was: given back.
//!
//! - **U5** What the plan says against it ends it before CMD is started; that there is no plan does not.
//!
//! With `--json` one object is printed once CMD was started, or was not because of the plan, unless the exit code is 4: see [`super::outcome`].

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use super::args;
use super::exit::{Exit, Failure, Report};
use super::look::Found;
use super::outcome::{Ending, LastLook, Word, not_begun};
use super::plan::{self, Plan, Prospect};
use super::probation::{Became, Probation, Watched};
use super::started::{Ended, GRACE, Standing, Started};
use super::status::unknown;
use super::verdict::{Before, Cmd, Verdict, judge, owns};
use super::view::{HandoverView, ProbationView};
use super::wish;
use crate::control::{HandoverRecord, Outcome, ParticipantState, Request};
use crate::error::Result;
use crate::os::clock::Deadline;
use crate::os::pidfd::ProcessId;
use crate::points::{Point, point};
use crate::status::Status;

/// Between two looks at the node; the end of CMD is noticed at once.
const LOOK: Duration = Duration::from_millis(5);
/// How long the way back of a node may take before it is reported as it stands.
const WAY_BACK: Duration = Duration::from_secs(30);
/// How long a confirmation may take to be heard.
const HEARD: Duration = Duration::from_secs(5);
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
    /// Whether to watch the probation, and for how long at most.
    watch: Option<Option<Duration>>,
    confirm: bool,
    /// Whether nobody has to be able to take the node back.
    one_way: bool,
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
            watch: raw.watch,
            confirm: raw.confirm,
            one_way: raw.one_way,
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
    point(Point::CommandLooked);
    check(&options, &found)?;
    let plan = match planned(&options, &found) {
        Ok(plan) => plan,
        Err(report) => return Ok(report),
    };
    let before = Before::of(found.status());
    let begun = Deadline::after(options.timeout);
    let started = Started::spawn(&options.command, options.told.as_deref(), options.json)
        .map_err(|error| not_started(&options, &found, &error))?;
    point(Point::CommandStarted);
    let mut watch = Watch {
        options: &options,
        plan: plan.as_deref(),
        before,
        started,
        seen: BTreeSet::new(),
        killed: false,
        word: Word::Unsaid,
    };
    let ending = watch.until(begun)?;
    let ending = watch.settle(ending)?;
    let (ending, found) = watch.stay(ending)?;
    Ok(watch.report(ending, found, begun.waited())?)
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

/// Shows the plan, if there is one, and does not begin an upgrade that would be refused, or that has no way back unless it needs none.
fn planned(options: &Options, found: &Found) -> std::result::Result<Option<Box<Plan>>, Report> {
    if found.owner().is_none() {
        return Ok(None);
    }
    let plan = match plan::before(&options.base, &options.node, &options.command) {
        plan::Before::Silent => return Ok(None),
        plan::Before::NoPlan(why) => {
            // Nobody has to listen.
            let _ = writeln!(
                std::io::stderr().lock(),
                "{}: no plan: {}",
                options.node,
                why.join("; ")
            );
            return Ok(None);
        }
        plan::Before::Planned(plan) => plan,
    };
    if !options.json {
        // As above.
        let _ = writeln!(std::io::stderr().lock(), "{}", plan.shown());
    }
    let what = format!(
        "the node {:?} was not upgraded: {}",
        options.node,
        plan.verdict_in_words()
    );
    let (exit, hint) = match plan.verdict {
        Prospect::Refused => (Exit::NotDone, "CMD was not started".to_owned()),
        Prospect::OneWay if !options.one_way => {
            let hint = "CMD was not started; register a way back (`Steps::back`), or give --one-way";
            (Exit::Usage, hint.to_owned())
        }
        Prospect::OneWay | Prospect::Works | Prospect::Unknown => return Ok(Some(plan)),
    };
    Err(not_begun(exit, found, &plan, vec![what, hint], options.json))
}

fn not_started(options: &Options, found: &Found, error: &std::io::Error) -> Failure {
    let exit = match found.owner() {
        Some(_) => Exit::NotDone,
        None => Exit::Nobody,
    };
    Failure::new(exit, format!("cannot start {:?}: {error}", options.program()))
        .and("give a path, or a program that is in $PATH")
        .and(format!("now: {}", found.who_serves()))
}

/// An upgrade that is being watched.
struct Watch<'a> {
    options: &'a Options,
    plan: Option<&'a Plan>,
    before: Before,
    started: Started,
    /// Pids that belong, or belonged, to CMD; those that are dead can be asked no more.
    seen: BTreeSet<u32>,
    /// Whether it was this command that ended CMD.
    killed: bool,
    word: Word,
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
                Verdict::Serves(pid) => {
                    point(Point::CommandServes);
                    return Ok(Ending::Serves(pid));
                }
                Verdict::CalledOff(record) => return Ok(Ending::CalledOff(record)),
                Verdict::WentBack(record) => return Ok(Ending::WentBack(Some(record))),
                Verdict::Pending => gone = None,
                Verdict::Gone if self.returns(now)? => gone = None,
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

    /// Whether the owner is dead and its predecessor is there to take the node back.
    fn returns(&self, now: Option<&Status>) -> Result<bool> {
        let probation = now.map(Probation::of).transpose()?.flatten();
        Ok(probation.is_some_and(|p| p.returning))
    }

    /// While CMD is on probation: watches, confirms, and does not leave a node that has no owner (U4). Gives the last look too.
    fn stay(&mut self, ending: Ending) -> std::result::Result<(Ending, Found), Failure> {
        let mut found = self.options.look()?;
        let (Ending::Serves(owner), Some(parked), Some(node)) = (&ending, self.before.owner, self.before.id) else {
            return Ok((ending, found));
        };
        let sequence = self.before.sequence;
        let owner = *owner;
        let watched = Watched {
            node,
            owner,
            parked,
            sequence,
        };
        // Until the old one says whether it is parked, there is nothing to be said about a probation.
        let known = Deadline::after(RECORD);
        while is_unsaid(&found, owner, parked)? && known.pause(LOOK) {
            found = self.options.look()?;
        }
        let mut became = watched.became(found.status())?;
        if let Some(longest) = self.options.watch
            && became.is_open()
        {
            self.say(&found, "on probation, watching");
            let end = longest.map(Deadline::after);
            (became, found) = self.follow(&watched, |became| {
                *became != Became::Probation || end.is_some_and(|end| end.passed())
            })?;
        }
        if self.options.confirm && became == Became::Probation {
            if let Some(status) = found.status() {
                wish::say(status, Request::Confirm)?;
            }
            let end = Deadline::after(HEARD);
            (became, found) = self.follow(&watched, |became| *became != Became::Probation || end.passed())?;
            self.word = match became {
                Became::Over => Word::Confirmed,
                _ => Word::Unheard,
            };
        }
        if became == Became::Returning {
            if self.options.watch.is_some() {
                self.say(&found, "the node goes back");
            }
            let end = Deadline::after(WAY_BACK);
            (became, found) = self.follow(&watched, |became| *became != Became::Returning || end.passed())?;
        }
        Ok(match became {
            Became::Back(record) => (self.settle(Ending::WentBack(record))?, self.options.look()?),
            _ => (ending, found),
        })
    }

    /// Looks until `enough`, or until nothing is open any more.
    fn follow(&self, watched: &Watched, enough: impl Fn(&Became) -> bool) -> Result<(Became, Found)> {
        loop {
            let found = self.options.look()?;
            let became = watched.became(found.status())?;
            if !became.is_open() || enough(&became) {
                return Ok((became, found));
            }
            self.started.wait(LOOK)?;
        }
    }

    /// Tells those who watch.
    fn say(&self, found: &Found, what: &str) {
        // Nobody has to listen.
        let _ = writeln!(
            std::io::stderr().lock(),
            "{}: {}; {what}",
            self.options.node,
            found.who_serves()
        );
    }

    /// After a failure nothing of CMD goes on (U2), unless it serves after all.
    fn settle(&mut self, ending: Ending) -> std::result::Result<Ending, Failure> {
        match ending {
            Ending::Serves(_) | Ending::Gone => return Ok(ending),
            // It was told, and knows better than a signal how to end.
            Ending::CalledOff(_) | Ending::WentBack(_) if self.started.ended()?.is_none() => {
                self.started.wait(GRACE)?
            }
            Ending::CalledOff(_) | Ending::WentBack(_) => {}
            Ending::Timeout => {}
        }
        if matches!(ending, Ending::WentBack(_)) && self.drains()? {
            // It gave the node back and waits for work in flight: what drains takes nothing over any more.
            return Ok(ending);
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

    /// Whether a living process of CMD's drains.
    fn drains(&self) -> Result<bool> {
        let found = self.options.look()?;
        for row in found.status().map(|s| &s.participants[..]).unwrap_or_default() {
            let ours = self.seen.contains(&row.process.pid);
            if ours && row.state == ParticipantState::Draining && row.is_alive()? {
                return Ok(true);
            }
        }
        Ok(false)
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
    fn report(&self, ending: Ending, found: Found, waited: Duration) -> Result<Report> {
        let record = match &ending {
            Ending::Serves(pid) => self.record(*pid)?,
            Ending::CalledOff(record) | Ending::WentBack(Some(record)) => Some((**record).clone()),
            Ending::WentBack(None) | Ending::Gone | Ending::Timeout => None,
        };
        let probation = match (&ending, found.status()) {
            (Ending::Serves(_), Some(status)) => Probation::of(status)?.as_ref().map(ProbationView::of),
            _ => None,
        };
        let last = LastLook {
            node: &self.options.node,
            program: self.options.program(),
            timeout: self.options.timeout,
            pid: self.started.pid(),
            served: self.before.served,
            killed: self.killed,
            ended: self.started.ended()?,
            found,
            probation,
            word: self.word,
            handover: record.as_ref().map(HandoverView::of),
            waited,
            ending,
            plan: self.plan,
        };
        Ok(last.report(self.options.json))
    }
}

/// Whether the old owner lives and has not yet said whether it is parked.
fn is_unsaid(found: &Found, owner: u32, old: ProcessId) -> Result<bool> {
    let Some(now) = found.status() else { return Ok(false) };
    let row = now.participants.iter().find(|row| row.process == old);
    match (&now.owner, row) {
        (Some(new), Some(row)) if new.process.pid == owner && row.state == ParticipantState::Serving => row.is_alive(),
        _ => Ok(false),
    }
}
