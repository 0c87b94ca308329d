//! The process that is killed: opens the region, which recovers it, and transacts until it dies.
//!
//! It says `struck` when it kills itself at a point; else `opening`, then `opened <undo entries taken back>`, each a line on stdout, and `fault <why>` before it ends by itself,
//! which it never should. Its stdin is the [`Witness`].

use super::images::Maker;
use super::points::Points;
use super::vaults::Moves;
use super::witness::Witness;
use super::work::{Kind, Worker};
use super::world::{CAPACITY, Tables};
use rustix::process::{Pid, Signal, getpid, getppid, kill_process, set_parent_process_death_signal};
use shmstate::{Error, Region};
use std::error::Error as Fault;
use std::io::{Stdin, stdin, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Line before the region is touched.
pub(super) const OPENING: &str = "opening";
/// Line when the region is recovered and its step is the one that the witness knows; a number follows.
pub(super) const OPENED: &str = "opened";
/// Line before it ends by itself; the reason follows.
pub(super) const FAULT: &str = "fault";
/// Line when it kills itself at its point.
pub(super) const STRUCK: &str = "struck";
/// Exit code of a child that ended by itself.
const EXIT_FAULT: u8 = 3;
/// How long a child lives that nobody kills.
const LIFETIME: Duration = Duration::from_secs(60);

/// What a child is told to do.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Order {
    /// The region
    #[arg(long)]
    pub(super) region: String,
    /// Seed of its changes
    #[arg(long)]
    pub(super) seed: u64,
    /// What it mostly does
    #[arg(long)]
    pub(super) kind: Kind,
    /// Whether opening enters the region's memory into the page tables
    #[arg(long)]
    pub(super) prefault: bool,
    /// Whether it knows the move of the vaults in any case
    #[arg(long)]
    pub(super) knows: bool,
    /// Where it makes checkpoints, if it does
    #[arg(long)]
    pub(super) checkpoint: Option<PathBuf>,
    /// The point where it kills itself
    #[arg(long)]
    pub(super) point: Option<usize>,
    /// At which hit of it
    #[arg(long, default_value_t = 1)]
    pub(super) hit: u64,
    /// The process it must not outlive
    #[arg(long)]
    pub(super) parent: i32,
}

impl Order {
    /// The arguments that give this order.
    pub(super) fn arguments(&self) -> Vec<String> {
        let kind = match self.kind {
            Kind::Mixed => "mixed",
            Kind::Grow => "grow",
            Kind::Shrink => "shrink",
            Kind::Sweep => "sweep",
            Kind::Trade => "trade",
            Kind::Purge => "purge",
            Kind::Trim => "trim",
        };
        let mut arguments = vec![
            "child".to_owned(),
            format!("--region={}", self.region),
            format!("--seed={}", self.seed),
            format!("--kind={kind}"),
            format!("--parent={}", self.parent),
        ];
        if let Some(path) = &self.checkpoint {
            arguments.push(format!("--checkpoint={}", path.display()));
        }
        if let Some(point) = self.point {
            arguments.push(format!("--point={point}"));
            arguments.push(format!("--hit={}", self.hit));
        }
        if self.knows {
            arguments.push("--knows".to_owned());
        }
        if self.prefault {
            arguments.push("--prefault".to_owned());
        }
        arguments
    }
}

/// The child's whole life.
pub(super) fn main(order: &Order, points: &Points) -> ExitCode {
    let why = match live(order, points) {
        Ok(()) => format!("nobody killed it in {} s", LIFETIME.as_secs()),
        Err(e) => e.to_string().replace('\n', "; "),
    };
    // If the parent cannot be told, it is gone.
    let _ = say(&format!("{FAULT} {why}"));
    EXIT_FAULT.into()
}

fn live(order: &Order, points: &Points) -> Result<(), Box<dyn Fault>> {
    die_with_parent(order.parent)?;
    if let Some(point) = order.point {
        (points.arm)(point, order.hit, strike);
    }
    let witness: Witness<Stdin> = Witness::of(stdin());
    let known = witness.step()?.is_some();
    say(OPENING)?;
    let mut options = Region::options().capacity(CAPACITY).prefault(order.prefault);
    if order.point.is_some() {
        // What a thread takes ahead, the writer need not take: some points would be rare.
        options = options.reserve_ahead(0);
    }
    let (mut region, _) = match known {
        true => (options.open(&order.region)?, false),
        false => options.open_or_create(&order.region)?,
    };
    let undone = region.recovered().entries;
    let tables = match Tables::open(&region, order.seed) {
        Err(Error::NoTable { .. }) if !known => {
            let gate = region.gate().clone();
            region.write(&gate.enter()?, Tables::create)?
        }
        found => found?,
    };
    let moves = Moves::open(&region, order.seed, order.knows)?;
    let (vaults, faults) = moves.begin(&mut region)?;
    if let Some(fault) = faults.first() {
        return Err(format!("{fault} ({} faults of W16 and W17)", faults.len()).into());
    }
    let mut worker = Worker::new(region, tables, (vaults, moves), order.kind, order.seed)?;
    if let Some(fault) = witness.fault(worker.step())? {
        return Err(fault.into());
    }
    witness.tell(worker.step())?;
    say(&format!("{OPENED} {undone}"))?;
    let mut maker = order.checkpoint.clone().map(Maker::new);
    let end = Instant::now() + LIFETIME;
    while Instant::now() < end {
        if let Some(maker) = &mut maker {
            worker.checkpoint(maker, &witness)?;
        }
        if worker.transact()? {
            witness.tell(worker.step())?;
        }
    }
    Ok(())
}

/// Kills this process, from whatever thread got to the point.
fn strike() {
    // If the parent cannot be told, it is gone.
    let _ = say(STRUCK);
    let _ = kill_process(getpid(), Signal::KILL);
}

/// One call, so that a kill cannot cut the line.
fn say(line: &str) -> std::io::Result<()> {
    rustix::io::write(stdout(), format!("{line}\n").as_bytes())?;
    Ok(())
}

/// Has the kernel kill this process when its parent ends (K4).
fn die_with_parent(parent: i32) -> Result<(), Box<dyn Fault>> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have ended before that call.
    if getppid() != Pid::from_raw(parent) {
        return Err("its parent ended before it began".into());
    }
    Ok(())
}
