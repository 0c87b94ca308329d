//! The loop: start a child, kill it, look at what it left, recover, check.

use super::child::Order;
use super::images::Shelf;
use super::life::{Death, Event, Life};
use super::plan::{Aim, Plan, Shot};
use super::points::{Points, knows, way};
use super::tally::Tally;
use super::witness::Witness;
use super::world::Tables;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use shmstate::{Activity, Error, Inspection, Region};
use std::error::Error as Fault;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn Fault>>;

/// Kills on one region; then a new one begins, so that there is always something that can grow.
const KILLS_PER_REGION: u64 = 20;
/// A log is long enough to kill its recovery from so many bytes on.
const LONG_LOG: u64 = 8 * 1024;
/// Most kills in a row that are aimed at one recovery.
const MOST_IN_RECOVERY: u32 = 6;
/// How long creating a region takes, about: the range of kills that are aimed at it.
const CREATION: Duration = Duration::from_millis(3);
/// The range of kills aimed at a recovery, as a multiple of the time that the parent's last one took.
const RANGE: f64 = 2.0;
/// How long a kill waits for the child to be seen in what it is aimed at.
const AIMING: Duration = Duration::from_millis(25);
/// What a recovery takes before one was measured.
const FIRST_GUESS: Duration = Duration::from_millis(1);

/// How long a child may take to get to its point.
const TO_POINT: Duration = Duration::from_millis(250);
/// How many kills a run may have beyond those asked for, all of them at points that it has not hit: some depend on what the process before did.
const MORE: u64 = 100;

/// When a run ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) kills: u32,
    pub(super) time: Duration,
}

/// The name of a region, removed when dropped (K4).
#[derive(Debug)]
struct Place {
    name: String,
}

impl Place {
    fn new(number: u64) -> Self {
        Self {
            name: format!("shmstate-torture-{}-{number}", std::process::id()),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(e) = Region::remove(&self.name) {
            eprintln!("torture: {e}; remove it by hand");
        }
    }
}

/// Tortures until a limit is reached.
///
/// # Errors
/// What keeps the run itself from going on; nothing that a region did.
pub(super) fn run(seed: u64, limits: &Limits, points: &Points) -> Outcome<Tally> {
    let begin = Instant::now();
    let signals = interruptions()?;
    let mut run = Run::new(seed, points)?;
    loop {
        let kills = u64::from(limits.kills);
        if run.tally.kills >= kills {
            run.hunting = !run.tally.points.missed(kills).is_empty() && run.tally.kills_more < MORE;
            if !run.hunting {
                break;
            }
        }
        if begin.elapsed() > limits.time {
            eprintln!(
                "torture: {} s are over after {} kills",
                limits.time.as_secs(),
                run.tally.kills
            );
            break;
        }
        if signals.read_signal()?.is_some() {
            run.tally.interrupted = true;
            break;
        }
        run.kill_one()?;
    }
    run.check()?;
    run.count_commits()?;
    run.tally.finish(begin.elapsed());
    Ok(run.tally)
}

/// Ctrl-C and SIGTERM end the run between two kills, so that its region is removed. Children inherit that they are blocked.
fn interruptions() -> Outcome<SignalFd> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGINT);
    set.add(Signal::SIGTERM);
    set.thread_block()?;
    Ok(SignalFd::with_flags(
        &set,
        SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC,
    )?)
}

struct Run {
    program: PathBuf,
    plan: Plan,
    tally: Tally,
    witness: Witness<OwnedFd>,
    place: Place,
    shelf: Shelf,
    /// Kills on this region.
    kills_here: u64,
    /// Bytes of log that the last kill left and nobody has taken back.
    log: u64,
    /// Kills in a row aimed at taking it back.
    in_recovery: u32,
    /// How long the last recovery took.
    recovery: Duration,
    /// Whether only points that were not hit are left to do.
    hunting: bool,
}

impl Run {
    fn new(seed: u64, points: &Points) -> Outcome<Self> {
        let mut tally = Tally::new(seed, points);
        tally.regions = 1;
        Ok(Self {
            program: std::env::current_exe()?,
            plan: Plan::new(seed),
            tally,
            witness: Witness::new()?,
            place: Place::new(0),
            shelf: Shelf::new()?,
            kills_here: 0,
            log: 0,
            in_recovery: 0,
            recovery: FIRST_GUESS,
            hunting: false,
        })
    }

    /// One child, one kill.
    fn kill_one(&mut self) -> Outcome<()> {
        let shot = self.plan.shot();
        let point = if self.hunting {
            self.tally.points.next_missed()
        } else {
            self.tally.points.next().filter(|_| shot.at_point)
        };
        if let Some(point) = point
            && way(self.tally.points.name(point)).fresh
            && self.kills_here > 0
        {
            self.check()?;
            self.renew()?;
        }
        let fresh = self.witness.step()?.is_none();
        let aimed = shot.in_recovery && self.log >= LONG_LOG && self.in_recovery < MOST_IN_RECOVERY && point.is_none();
        let images = self.witness.images()?.1;
        let death = self.torture(&shot, fresh, aimed, point)?;
        if let Some(point) = point {
            self.tally.points.count(point, death.struck);
            self.tally.kills_at_points += u64::from(death.struck);
        }
        self.tally.checkpoints.made += self.witness.images()?.1 - images;
        self.in_recovery = if aimed { self.in_recovery + 1 } else { 0 };
        if self.hunting {
            self.tally.kills_more += 1;
        } else {
            self.tally.kills += 1;
        }
        self.kills_here += 1;
        if let Some(fault) = &death.fault {
            self.tally.violation(&format!("the child: {fault}"));
            return self.renew();
        }
        let checkpoint = shot.checkpoint || point.is_some_and(|point| way(self.tally.points.name(point)).checkpoint);
        if checkpoint {
            let images = &mut self.tally.checkpoints;
            let faults = self.shelf.faults(&self.place.name, &self.witness, images);
            for fault in faults.unwrap_or_else(|e| vec![format!("a restored checkpoint: {e}")]) {
                self.tally.violation(&fault);
            }
        }
        self.look(&death, fresh)?;
        let last = self.kills_here >= KILLS_PER_REGION;
        if (last || shot.check) && !(shot.in_recovery && self.log >= LONG_LOG && !last) {
            self.check()?;
        }
        if last { self.renew() } else { Ok(()) }
    }

    /// Starts a child and kills it: while it recovers, while it creates, or at work.
    fn torture(&self, shot: &Shot, fresh: bool, aimed: bool, point: Option<usize>) -> Outcome<Death> {
        let way = point.map(|point| way(self.tally.points.name(point)));
        let order = Order {
            region: self.place.name.clone(),
            seed: shot.seed,
            kind: way.map_or(shot.kind, |way| way.kind),
            checkpoint: (shot.checkpoint || way.is_some_and(|way| way.checkpoint)).then(|| self.shelf.file()),
            point,
            // Evenly by logarithm: early hits as likely as late ones.
            hit: way.map_or(1, |way| (way.most as f64).powf(shot.nth).round() as u64),
            prefault: shot.prefault,
            knows: point.is_some_and(|point| knows(self.tally.points.name(point))),
            parent: i32::try_from(std::process::id())?,
        };
        let mut life = Life::start(&self.program, &order, &self.witness)?;
        if point.is_some() {
            life.wait(Event::Struck, TO_POINT)?;
            return Ok(life.kill_after(Duration::ZERO)?);
        }
        let (event, delay) = if fresh && shot.in_creation {
            (Event::Opening, CREATION.mul_f64(shot.portion))
        } else if aimed {
            (Event::Opening, self.recovery.mul_f64(RANGE * shot.portion))
        } else {
            (Event::Opened, shot.delay)
        };
        let said = life.wait_for(event)?;
        if event == Event::Opened {
            self.wait_to_see(shot.aim);
        }
        let mut death = life.kill_after(delay)?;
        if !said && death.fault.is_none() {
            death.fault = Some(format!("it never said {event:?}"));
        }
        Ok(death)
    }

    /// Watches the child from outside until it is seen in what the kill is aimed at.
    fn wait_to_see(&self, aim: Aim) {
        let wanted = match aim {
            Aim::Anywhere => return,
            Aim::Commit => Activity::Commit,
            Aim::Growth => Activity::Growth,
        };
        let end = Instant::now() + AIMING;
        // A look at a region in the middle of a change may fail; the next one may not.
        while !Inspection::activity(&self.place.name).is_ok_and(|seen| seen == wanted) && Instant::now() < end {}
    }

    /// What the dead one was doing, before anything recovers (K2).
    fn look(&mut self, death: &Death, fresh: bool) -> Outcome<()> {
        let pending = std::mem::take(&mut self.log);
        let tally = &mut self.tally;
        if let Some(entries) = death.opened {
            tally.logs_undone += u64::from(entries > 0);
            tally.entries_undone += entries;
        } else if fresh {
            tally.kills_in_creation += 1;
        }
        let seen = match Inspection::of(&self.place.name) {
            Ok(seen) => seen,
            // Killed before the region was made (R4).
            Err(Error::NotFound { .. } | Error::NotReady { .. }) if self.witness.step()?.is_none() => return Ok(()),
            Err(e) => {
                tally.violation(&format!("what is left cannot be looked at: {e}"));
                return self.renew();
            }
        };
        if seen.held {
            tally.violation("the region is held by a dead process");
        }
        if death.opened.is_none() && pending > 0 && seen.log == 0 {
            // It had taken everything back and not yet said so.
            tally.logs_undone += 1;
        }
        if seen.log == 0 {
            return Ok(());
        }
        self.log = seen.log;
        tally.torn += 1;
        tally.longest_log = tally.longest_log.max(seen.log);
        match seen.activity {
            Activity::Commit => tally.kills_in_commit += 1,
            Activity::Growth => tally.kills_in_growth += 1,
            Activity::Recovery if death.opened.is_none() => tally.kills_in_recovery += 1,
            Activity::Recovery => tally.kills_in_rollback += 1,
            Activity::Idle | Activity::Transaction => {}
        }
        Ok(())
    }

    /// Recovers the region in this process and checks everything (K3).
    fn check(&mut self) -> Outcome<()> {
        self.in_recovery = 0;
        let begin = Instant::now();
        let region = match Region::options().prefault(false).open(&self.place.name) {
            Ok(region) => region,
            Err(Error::NotFound { .. }) if self.witness.step()?.is_none() => return Ok(()),
            Err(e) => {
                self.tally.violation(&format!("the region does not open: {e}"));
                return self.renew();
            }
        };
        let took = begin.elapsed();
        self.tally.checks += 1;
        let undone = region.recovered();
        if undone.entries > 0 {
            self.tally.logs_undone += 1;
            self.tally.entries_undone += undone.entries;
            self.tally.recovery(took);
            self.recovery = took;
        }
        self.log = 0;
        let faults = self.faults(&region).unwrap_or_else(|e| vec![e.to_string()]);
        // Closed before the next child is started: a descriptor on its way through a fork would hold the region.
        drop(region);
        for fault in &faults {
            self.tally.violation(fault);
        }
        if faults.is_empty() { Ok(()) } else { self.renew() }
    }

    fn faults(&self, region: &Region) -> Outcome<Vec<String>> {
        let gate = region.gate().clone();
        let pass = gate.enter()?;
        let reader = region.read(&pass)?;
        let tables = match Tables::open(region, 0) {
            Err(Error::NoTable { .. }) if self.witness.step()?.is_none() => {
                // The transaction that makes the tables was taken back: nothing of it may be left.
                let found = shmstate::verify(&reader)?;
                let left = !found.is_sound() || found.heap.blocks > 0;
                return Ok(if left {
                    vec![format!("a creation was not taken back: {found:?}")]
                } else {
                    vec![]
                });
            }
            tables => tables?,
        };
        let mut faults = tables.faults(region, &reader)?;
        let step = tables.step(&reader)?;
        faults.extend(self.witness.fault(step)?);
        // What is recovered stays: from here on this step is the least.
        self.witness.tell(step)?;
        Ok(faults)
    }

    /// Counts what was committed in this region.
    fn count_commits(&mut self) -> Outcome<()> {
        self.tally.commits += self.witness.step()?.unwrap_or(0);
        Ok(())
    }

    /// Leaves this region, which is removed, for a new one.
    fn renew(&mut self) -> Outcome<()> {
        self.count_commits()?;
        self.witness.forget()?;
        self.shelf.clear()?;
        self.place = Place::new(self.tally.regions);
        self.tally.regions += 1;
        self.kills_here = 0;
        self.log = 0;
        self.in_recovery = 0;
        Ok(())
    }
}
