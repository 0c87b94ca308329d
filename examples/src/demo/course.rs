//! The course of a demo: a server, players, upgrades under them, bad upgrades between, and the end.
//!
//! - **D1** After each upgrade the control block says that the new process owns the next generation, its history says how, the demo has confirmed
//!   it, and the old process has ended with code 0.
//! - **D2** After each bad upgrade the same process owns the node: in the same generation, or, if the bad one had taken over, in the next but one, and
//!   the history says that it took the node back.
//! - **D3** A server or the bots ending by themselves ends the course, at any moment, with what they said.
//! - **D4** Whatever happens, the end is reached: players are counted, the server is stopped, what is left is listed.

use super::child::{Child, how};
use super::crowd::Crowd;
use super::error::{DemoError, Result};
use super::limit::Limit;
use super::place::Place;
use super::programs::Programs;
use super::summary::{BadUpgrade, Exit, Spread, Summary};
use super::{Options, show};
use crate::bots::gaps::Window;
use crate::bots::report::Report;
use handover::control::{HandoverRecord, Outcome};
use rustix::process::Signal;
use shmstate::lease::Lease;
use shmstate::{Inspection, Kind};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

/// How long an upgrade may take, from the start of the new process to the end of the old one.
const UPGRADE: Duration = Duration::from_secs(15);
/// How long the control block may take to say what has happened.
const RECORD: Duration = Duration::from_secs(2);
/// How long a bad upgrade may take to fail, beyond the server's own deadline for it.
const FAIL: Duration = Duration::from_secs(10);
/// What the demo's servers grant a successor to get ready.
const READY: Duration = Duration::from_secs(2);
/// How long a new version may go without a tick before they take the node back: a few times the longest pause of a healthy one. It is then
/// asked for so long, and killed.
const WATCHDOG: Duration = Duration::from_millis(300);
/// How long a server may take to stop: it walks over the whole world first.
const STOP: Duration = Duration::from_secs(15);
/// How long the players may take to be counted.
const COUNT: Duration = Duration::from_secs(10);
/// A start without a deadline of its own is bounded by that of the demo.
const UNTIL_THE_END: Duration = Duration::from_secs(3600);

const MICRO: f64 = 1e3;
const MILLI: f64 = 1e6;

/// A bad upgrade and what is to come of it.
struct Bad {
    program: &'static str,
    /// What it is to do, for people.
    does: &'static str,
    /// The signal that ends it, `None` if it ends with an exit code.
    killed_by: Option<Signal>,
    /// What the history is to say; `None` for a program that never asks for the node.
    outcome: Option<Outcome>,
}

const BAD_UPGRADES: [Bad; 3] = [
    Bad {
        program: "arena-bad-exit",
        does: "end at once with an error",
        killed_by: None,
        outcome: None,
    },
    Bad {
        program: "arena-bad-crash",
        does: "crash after it has received everything",
        killed_by: Some(Signal::ABORT),
        outcome: Some(Outcome::SuccessorDied),
    },
    Bad {
        program: "arena-bad-hang",
        does: "never get ready",
        killed_by: Some(Signal::KILL),
        outcome: Some(Outcome::Deadline),
    },
];

/// An upgrade that serves, and fails then.
struct Late {
    program: &'static str,
    /// What it is to do, for people.
    does: &'static str,
    /// The signal that ends it.
    killed_by: Signal,
}

const LATE_UPGRADES: [Late; 2] = [
    Late {
        program: "arena-bad-late",
        does: "crash in the middle of a tick after it has taken over",
        killed_by: Signal::ABORT,
    },
    Late {
        program: "arena-bad-stuck",
        does: "hang in the middle of a tick after it has taken over",
        killed_by: Signal::KILL,
    },
];

/// How many upgrades are bad on purpose.
pub(super) const BAD: u32 = (BAD_UPGRADES.len() + LATE_UPGRADES.len()) as u32;

/// A demo that is under way.
#[derive(Debug)]
pub(super) struct Course<'a> {
    options: &'a Options,
    programs: &'a Programs,
    limit: &'a Limit,
    summary: &'a mut Summary,
    server: Child,
    crowd: Option<Crowd>,
    generation: u64,
    /// Number of the last row of the history that was looked at.
    seen: u64,
    blackouts: Vec<f64>,
    noises: Vec<f64>,
    preparations: Vec<f64>,
    ways_back: Vec<f64>,
    /// Last, because it is removed when all processes have ended.
    place: Place,
}

impl<'a> Course<'a> {
    /// Starts the first server and the bots.
    pub(super) fn start(
        options: &'a Options,
        programs: &'a Programs,
        limit: &'a Limit,
        summary: &'a mut Summary,
    ) -> Result<Self> {
        let node = options.node.clone();
        let place = Place::new(&node.unwrap_or_else(|| format!("arena-demo-{}", std::process::id())))?;
        show(options, format_args!("filling a world of {} MiB …", options.world_mib));
        let begun = Instant::now();
        let mut server = start_server(options, programs, &place, "arena-v1")?;
        let line = server.line("the server's address", UNTIL_THE_END, limit)?;
        let Some((_, address)) = line.rsplit_once(" at ") else {
            return Err(DemoError::Said {
                who: server.who(),
                expected: "where it serves",
                line,
            });
        };
        summary.fill_seconds = begun.elapsed().as_secs_f64();
        let mut course = Self {
            options,
            programs,
            limit,
            summary,
            server,
            crowd: None,
            generation: 0,
            seen: 0,
            blackouts: Vec::new(),
            noises: Vec::new(),
            preparations: Vec::new(),
            ways_back: Vec::new(),
            place,
        };
        let (pid, generation, _) = course.owner()?;
        course.generation = generation;
        course.check_owner("its start", pid, generation)?;
        course.summary.generations.first = generation;
        show(
            options,
            format_args!(
                "{} serves at {address}; {} players join …",
                course.server.who(),
                options.bots
            ),
        );
        let mut command = course.place.command(&programs.path("arena-bots"));
        course.crowd = Some(Crowd::join(&mut command, address, options.bots, options.seed, limit)?);
        Ok(course)
    }

    /// Everything between the players' joining and their leaving.
    pub(super) fn play(&mut self) -> Result<()> {
        self.baseline()?;
        self.look_at_world()?;
        show(
            self.options,
            format_args!(
                "\n  upgrade  now serves       pid  generation  prepared in  blackout  noise    longest gap of a player so far"
            ),
        );
        // In the middle, where v1 serves: so the ones that fail late have changed records to v2's shape, and v1 goes on with them.
        let middle = (self.options.upgrades / 2) & !1;
        for number in 1..=self.options.upgrades {
            if number == middle + 1 && !self.options.no_bad_upgrades {
                for bad in &BAD_UPGRADES {
                    self.bad_upgrade(bad)?;
                    self.pause()?;
                }
                self.summary.faults_before_rollback = Some(self.faults()?);
                for late in &LATE_UPGRADES {
                    self.late_upgrade(late)?;
                    self.pause()?;
                }
            }
            self.upgrade(number)?;
            self.pause()?;
            self.count_migrated()?;
        }
        Ok(())
    }

    /// What the players have noticed so far that they should not.
    fn faults(&mut self) -> Result<u64> {
        let limit = self.limit;
        Ok(noticed(&self.crowd()?.snapshot(limit)?))
    }

    /// Counts the players that the version which serves now has given its shape, if that is not the first one's.
    fn count_migrated(&mut self) -> Result<()> {
        if let Some(region) = self.place.region("world") {
            let world = Inspection::of(&region)?;
            let players = world.tables.iter().find(|table| table.name == "players");
            if let Some(players) = players.filter(|players| players.version > 1) {
                self.summary.migrated_records += players.records.saturating_sub(players.older);
                let moved = world.tables.iter().find(|table| table.name == ".moved.tallies");
                self.summary.moved_records += moved.map_or(0, |marks| marks.records);
            }
        }
        Ok(())
    }

    /// Plays without upgrades, to have something to compare with.
    fn baseline(&mut self) -> Result<()> {
        let (limit, time) = (self.limit, Duration::from_millis(self.options.baseline_ms));
        let begun = Instant::now();
        let server = self.server.processor_time();
        let bots = self.crowd()?.snapshot(limit)?.cpu_seconds;
        self.wait_and_watch(time)?;
        let bots = self.crowd()?.snapshot(limit)?.cpu_seconds - bots;
        let server = self.server.processor_time().saturating_sub(server);
        let seconds = begun.elapsed().as_secs_f64();
        self.summary.server_cpu_percent = 100.0 * server.as_secs_f64() / seconds;
        self.summary.bots_cpu_percent = 100.0 * bots / seconds;
        Ok(())
    }

    /// Counts the live records, while they are served.
    fn look_at_world(&mut self) -> Result<()> {
        if let Some(region) = self.place.region("world") {
            let world = Inspection::of(&region)?;
            self.summary.world_bytes = world.tables.iter().map(|table| table.archived_bytes).sum();
            // The open connections are counted as the records of theirs.
            let records = world.tables.iter().filter(|table| table.kind != Some(Kind::Streams));
            self.summary.world_records = records.map(|table| table.records).sum();
        }
        Ok(())
    }

    /// D1.
    fn upgrade(&mut self, number: u32) -> Result<()> {
        // v1 serves first.
        let version = if number % 2 == 1 { 2 } else { 1 };
        self.crowd()?.begin(Window::Upgrade)?;
        let name = format!("arena-v{version}");
        let mut new = start_server(self.options, self.programs, &self.place, &name)?;
        let (old, crowd, place) = (&mut self.server, &mut self.crowd, &mut self.place);
        let mut confirmed = false;
        let status = self.limit.wait("the end of the old server", UPGRADE, || {
            new.check_running()?;
            if let Some(crowd) = crowd {
                crowd.check_running()?;
            }
            if !confirmed {
                confirmed = place.confirm(old.pid(), new.pid())?;
            }
            old.ended()
        })?;
        let mut old = std::mem::replace(&mut self.server, new);
        self.ended(&old, status);
        if !status.success() {
            return Err(old.unexpected(status));
        }
        let pid = self.server.pid();
        let record = self.record(pid)?;
        self.crowd()?.end(Window::Upgrade)?;
        self.generation += 1;
        let after = format!("upgrade {number}");
        if record.outcome != Outcome::HandedOver || record.to_generation != self.generation {
            return Err(DemoError::WrongOwner {
                after,
                expected: (pid, self.generation),
                found: format!("the history says: {} ({})", record.outcome, record.reason),
            });
        }
        self.check_owner(&after, pid, self.generation)?;
        if !confirmed {
            return Err(DemoError::WrongOwner {
                after,
                expected: (pid, self.generation),
                found: "the old server did not wait, parked, for the upgrade to be confirmed".into(),
            });
        }
        let (limit, generation) = (self.limit, self.generation);
        let gap = self.crowd()?.snapshot(limit)?.upgrade_max_ms;
        self.summary.upgrades += 1;
        self.summary.generations.last = generation;
        let blackout = record.blackout().unwrap_or_default().as_nanos() as f64 / MICRO;
        let noise = record.noise as f64 / MICRO;
        let prepared = record.ready.saturating_sub(record.started) as f64 / MILLI;
        self.blackouts.push(blackout);
        self.noises.push(noise);
        self.preparations.push(prepared);
        show(
            self.options,
            format_args!(
                "  {number:>7}  arena-v{version}  {pid:>10}  {generation:>10}  {prepared:>8.1} ms  {blackout:>5.1} µs  {noise:>5.1} µs  {gap:>9.1} ms"
            ),
        );
        Ok(())
    }

    /// D2.
    fn bad_upgrade(&mut self, bad: &Bad) -> Result<()> {
        self.summary.bad_upgrades_tried += 1;
        let (pid, generation) = (self.server.pid(), self.generation);
        self.crowd()?.begin(Window::Upgrade)?;
        let mut command = self.place.command(&self.programs.path(bad.program));
        let mut child = Child::start(bad.program, command.args(["--node", self.place.node()]))?;
        // The one that hangs is told to leave first, and does not listen.
        let hangs = bad.killed_by == Some(Signal::KILL);
        let status = if hangs {
            None
        } else {
            let server = &mut self.server;
            Some(self.limit.wait("the end of a bad upgrade", FAIL, || {
                server.check_running()?;
                child.ended()
            })?)
        };
        let record = match bad.outcome {
            Some(_) => Some(self.record(child.pid())?),
            None => None,
        };
        let status = match status {
            Some(status) => status,
            None => {
                child.check_running()?;
                child.end(Signal::KILL, FAIL)?
            }
        };
        self.crowd()?.end(Window::Upgrade)?;
        let outcome = record.as_ref().map(|record| record.outcome);
        if outcome != bad.outcome || signal_of(status) != bad.killed_by.map(Signal::as_raw) || status.success() {
            return Err(DemoError::NotBad {
                program: bad.program,
                expected: bad.does,
                found: format!("{}, and the history says {outcome:?}; {}", how(status), child.stderr()),
            });
        }
        let survived = self.check_owner(bad.program, pid, generation);
        let outcome = record.map(|record| record.outcome.to_string());
        show(
            self.options,
            format_args!(
                "      bad  {:<16} {:<20} {}; arena server {pid} serves on in generation {generation}",
                bad.program,
                how(status),
                outcome.as_deref().unwrap_or("never asked for the node"),
            ),
        );
        self.summary.bad_upgrades_survived += usize::from(survived.is_ok());
        self.summary.bad_upgrades.push(BadUpgrade {
            program: bad.program.into(),
            exit: how(status),
            outcome,
            give_back_ms: None,
            survived: survived.is_ok(),
        });
        survived
    }

    /// D2, of one that takes over and fails then.
    fn late_upgrade(&mut self, late: &Late) -> Result<()> {
        self.summary.bad_upgrades_tried += 1;
        let (old, lost) = (self.server.pid(), self.generation + 1);
        self.crowd()?.begin(Window::GiveBack)?;
        let mut child = start_server(self.options, self.programs, &self.place, late.program)?;
        let handed_over = self.record(child.pid())?;
        let back = self.record(old)?;
        let server = &mut self.server;
        let status = self.limit.wait("the end of a bad upgrade", FAIL, || {
            server.check_running()?;
            child.ended()
        })?;
        self.crowd()?.end(Window::GiveBack)?;
        self.generation = lost + 1;
        let generations = (handed_over.to_generation, back.from_generation, back.to_generation);
        let outcomes = (handed_over.outcome, back.outcome);
        if outcomes != (Outcome::HandedOver, Outcome::TakenBack)
            || generations != (lost, lost, self.generation)
            || signal_of(status) != Some(late.killed_by.as_raw())
        {
            return Err(DemoError::NotBad {
                program: late.program,
                expected: late.does,
                found: format!(
                    "{}, and the history says {} and {} ({}) in the generations {generations:?}; {}",
                    how(status),
                    handed_over.outcome,
                    back.outcome,
                    back.reason,
                    child.stderr()
                ),
            });
        }
        let survived = self.check_owner(late.program, old, self.generation);
        self.summary.generations.last = self.generation;
        let took = back.first_tick.saturating_sub(back.started) as f64 / MILLI;
        self.ways_back.push(took);
        let (limit, generation) = (self.limit, self.generation);
        let gap = self.crowd()?.snapshot(limit)?.give_back_max_ms;
        show(
            self.options,
            format_args!(
                "      bad  {:<16} {:<20} {}; arena server {old} serves again in generation {generation}, {took:.1} ms after; longest gap {gap:.0} ms",
                late.program,
                how(status),
                back.reason,
            ),
        );
        self.summary.rolled_back_upgrades += usize::from(survived.is_ok());
        self.summary.bad_upgrades_survived += usize::from(survived.is_ok());
        self.summary.bad_upgrades.push(BadUpgrade {
            program: late.program.into(),
            exit: how(status),
            outcome: Some(back.outcome.to_string()),
            give_back_ms: Some(took),
            survived: survived.is_ok(),
        });
        survived
    }

    /// D4: the players leave, the server is stopped, what is left is listed. Errors are written down and change nothing.
    pub(super) fn finish(mut self) {
        if let Some(crowd) = self.crowd.take() {
            // Players are counted also when the time of the demo is over.
            match crowd.finish(&self.limit.again(COUNT)) {
                Ok(report) => {
                    let before = self.summary.faults_before_rollback;
                    self.summary.counted(&report);
                    self.summary.lost_after_rollback =
                        before.map_or(0, |before| noticed(&report).saturating_sub(before));
                }
                Err(error) => self.summary.failures.push(error.to_string()),
            }
        }
        let running = matches!(self.server.ended(), Ok(None));
        match self.server.end(Signal::TERM, STOP) {
            Ok(status) => {
                let server = &self.server;
                let (program, pid, exit) = (server.name().into(), server.pid(), how(status));
                self.summary.exits.push(Exit { program, pid, exit });
                if running && !status.success() {
                    // It has walked over the world, and it does not add up.
                    self.summary.state_mismatches += 1;
                    self.summary.failures.push(self.server.unexpected(status).to_string());
                }
            }
            Err(error) => self.summary.failures.push(error.to_string()),
        }
        let summary = self.summary;
        summary.left_behind = self.place.left_behind();
        summary.blackout_us = Spread::of(self.blackouts);
        summary.noise_us = Spread::of(self.noises);
        summary.prepare_ms = Spread::of(self.preparations);
        summary.give_back_ms = Spread::of(self.ways_back);
    }

    /// Time between upgrades: a schedule, not a wait.
    fn pause(&mut self) -> Result<()> {
        self.wait_and_watch(Duration::from_millis(self.options.pause_ms))
    }

    /// Lets time pass; D3.
    fn wait_and_watch(&mut self, time: Duration) -> Result<()> {
        let (server, crowd) = (&mut self.server, &mut self.crowd);
        self.limit.pass(time, || {
            server.check_running()?;
            crowd.as_mut().map_or(Ok(()), Crowd::check_running)
        })
    }

    /// The bots, who are there from the start of the course to its end.
    fn crowd(&mut self) -> Result<&mut Crowd> {
        self.crowd.as_mut().ok_or(DemoError::Interrupted)
    }

    /// Pid and generation of the owner, and the history.
    fn owner(&mut self) -> Result<(u32, u64, Vec<HandoverRecord>)> {
        let status = self.place.status()?;
        let generation = match status.lease {
            Lease::Owned { generation, .. } | Lease::Offered { generation, .. } | Lease::Vacant { generation } => {
                generation
            }
        };
        let pid = status.owner.map_or(0, |owner| owner.process.pid);
        Ok((if status.alive { pid } else { 0 }, generation, status.history))
    }

    fn check_owner(&mut self, after: &str, pid: u32, generation: u64) -> Result<()> {
        self.server.check_running()?;
        let (found, in_generation, _) = self.owner()?;
        if (found, in_generation) == (pid, generation) && found == self.server.pid() {
            return Ok(());
        }
        let who = if found == 0 {
            "nobody serves".into()
        } else {
            format!("process {found} does")
        };
        Err(DemoError::WrongOwner {
            after: after.into(),
            expected: (pid, generation),
            found: format!("{who}, in generation {in_generation}"),
        })
    }

    /// Waits for the next row of the history that is about process `pid`.
    fn record(&mut self, pid: u32) -> Result<HandoverRecord> {
        let (limit, seen) = (self.limit, self.seen);
        let record = limit.wait("a row in the history", READY + RECORD, || {
            self.server.check_running()?;
            let (_, _, history) = self.owner()?;
            Ok(history
                .into_iter()
                .find(|row| row.sequence > seen && row.successor_pid == pid))
        })?;
        self.seen = record.sequence;
        Ok(record)
    }

    fn ended(&mut self, server: &Child, status: ExitStatus) {
        self.summary.exits.push(Exit {
            program: server.name().into(),
            pid: server.pid(),
            exit: how(status),
        });
    }
}

fn start_server(options: &Options, programs: &Programs, place: &Place, name: &str) -> Result<Child> {
    let mut command = place.command(&programs.path(name));
    command
        .args(["--node", place.node()])
        .args(["--listen", "127.0.0.1:0"])
        .args(["--world-mib", &options.world_mib.to_string()])
        .args(["--ready-timeout-ms", &READY.as_millis().to_string()])
        .args(["--probation-ms", &options.probation_ms.to_string()])
        .args(["--watchdog-ms", &WATCHDOG.as_millis().to_string()])
        .args(["--until-parent-ends", &std::process::id().to_string()])
        // Both versions follow each other for as long as the demo lasts.
        .args(["--ephemeral", "--keep-way-back"]);
    if let Some(sabotage) = &options.sabotage {
        command.args(["--sabotage", sabotage]);
    }
    Child::start(name, &mut command)
}

/// Everything that players notice when something of theirs is lost, or comes twice.
fn noticed(report: &Report) -> u64 {
    report.disconnects
        + report.commands_lost
        + report.commands_doubled
        + report.commands_misordered
        + report.state_mismatches
}

fn signal_of(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}
