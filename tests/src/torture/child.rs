//! The process that is killed: opens the region, which recovers it, and transacts until it dies.
//!
//! It says `opening`, then `opened <undo entries taken back>`, each a line on stdout, and `fault <why>` before it ends by itself,
//! which it never should. Its stdin is the [`Witness`].

use super::witness::Witness;
use super::work::{Kind, Worker};
use super::world::{CAPACITY, Tables};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use shmstate::{Error, Region};
use std::error::Error as Fault;
use std::io::{Stdin, stdin, stdout};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Line before the region is touched.
pub(super) const OPENING: &str = "opening";
/// Line when the region is recovered and its step is the one that the witness knows; a number follows.
pub(super) const OPENED: &str = "opened";
/// Line before it ends by itself; the reason follows.
pub(super) const FAULT: &str = "fault";
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
        };
        let mut arguments = vec![
            "child".to_owned(),
            format!("--region={}", self.region),
            format!("--seed={}", self.seed),
            format!("--kind={kind}"),
            format!("--parent={}", self.parent),
        ];
        if self.prefault {
            arguments.push("--prefault".to_owned());
        }
        arguments
    }
}

/// The child's whole life.
pub(super) fn main(order: &Order) -> ExitCode {
    let why = match live(order) {
        Ok(()) => format!("nobody killed it in {} s", LIFETIME.as_secs()),
        Err(e) => e.to_string().replace('\n', "; "),
    };
    // If the parent cannot be told, it is gone.
    let _ = say(&format!("{FAULT} {why}"));
    EXIT_FAULT.into()
}

fn live(order: &Order) -> Result<(), Box<dyn Fault>> {
    die_with_parent(order.parent)?;
    let witness: Witness<Stdin> = Witness::of(stdin());
    let known = witness.step()?.is_some();
    say(OPENING)?;
    let options = Region::options().capacity(CAPACITY).prefault(order.prefault);
    let (mut region, _) = match known {
        true => (options.open(&order.region)?, false),
        false => options.open_or_create(&order.region)?,
    };
    let undone = region.recovered().entries;
    let tables = match Tables::open(&region) {
        Err(Error::NoTable { .. }) if !known => {
            let gate = region.gate().clone();
            region.write(&gate.enter()?, Tables::create)?
        }
        found => found?,
    };
    let mut worker = Worker::new(region, tables, order.kind, order.seed)?;
    if let Some(fault) = witness.fault(worker.step())? {
        return Err(fault.into());
    }
    witness.tell(worker.step())?;
    say(&format!("{OPENED} {undone}"))?;
    let end = Instant::now() + LIFETIME;
    while Instant::now() < end {
        if worker.transact()? {
            witness.tell(worker.step())?;
        }
    }
    Ok(())
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
