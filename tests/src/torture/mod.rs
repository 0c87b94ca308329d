//! `torture`: a process transacts at full speed on a region and is SIGKILLed, again and again; what it leaves must recover.
//!
//! - **K1** A kill hits a process that is creating, opening (recovering) or changing the region; the instant is random. Only the
//!   random choices come from the seed, so a run with the same seed makes the same ones; where exactly a kill falls is the
//!   kernel's affair.
//! - **K2** Before anything recovers, the survivor reads what the dead one was doing and how much undo log it left: a run in which
//!   nothing was torn, or in which no kill fell into a commit, a growth or a recovery, proves nothing and fails.
//! - **K3** A recovered region must be the one after the last committed step: every table agrees with every other, heap and tables
//!   agree (`shmstate::verify`), and no step that was reported after its commit is missing.
//!   So must a checkpoint that it made (`images`). A share of the kills falls at named points instead of random instants (`points`).
//! - **K4** Nothing stays behind: regions are removed by a guard, processes die with their parent.
//!
//! In reading order: `world`, `ranks`, `goods`, `rounds`, `purses` and `vaults` the tables and what must hold of them, `work`, `parts`, `purge` and `trade` the
//! changes (`seal` those through `Seal`), `witness` the step that must not be lost, `points` and `images` what is said above, `child` the process that is killed, `life` that process seen by its parent, `plan` the random choices, `tally` what is counted and said, `run` the loop.
//!
//! It does not know how regions recover. The packages in `tests/broken` compile these files against a `shmstate` that is broken on
//! purpose, and must fail.

mod child;
mod goods;
mod images;
mod life;
mod parts;
mod plan;
mod points;
mod purge;
mod purses;
mod ranks;
mod rounds;
mod run;
mod seal;
mod tally;
mod trade;
mod vaults;
mod witness;
mod work;
mod world;

pub use points::Points;

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use std::time::Duration;

/// Exit code: nothing was violated, and the run hit everything that it has to hit.
const EXIT_SOUND: u8 = 0;
/// Exit code: something was violated, or the run proved nothing.
const EXIT_FAILED: u8 = 1;
/// Exit code: bad usage, or the run could not start.
const EXIT_NOT_RUN: u8 = 2;
/// Most kills of one run.
const MAX_KILLS: u32 = 1_000_000;

/// Kills a transacting process again and again and checks what it leaves in its region.
///
/// Exit code: 0 sound, 1 something was violated or the run proved nothing, 2 bad usage or it could not run.
#[derive(Debug, Parser)]
#[command(name = "torture", args_conflicts_with_subcommands = true)]
struct Args {
    /// How many processes to kill
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_KILLS)))]
    kills: u32,
    /// The random choices of an earlier run; it was printed at its start
    #[arg(long)]
    seed: Option<u64>,
    /// One JSON object on stdout instead of a table
    #[arg(long)]
    json: bool,
    /// Ends the run after so many seconds, with the kills it has made by then
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
    seconds_limit: u64,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// The process that is killed; started by the run itself
    #[command(hide = true)]
    Child(child::Order),
}

/// The whole program: reads the arguments, runs, prints, judges.
#[must_use]
pub fn main(points: &Points) -> ExitCode {
    let args = Args::parse();
    if let Some(Role::Child(order)) = args.role {
        return child::main(&order, points);
    }
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("torture: seed {seed}");
    let limits = run::Limits {
        kills: args.kills,
        time: Duration::from_secs(args.seconds_limit),
    };
    let tally = match run::run(seed, &limits, points) {
        Ok(tally) => tally,
        Err(e) => {
            eprintln!("torture: could not run: {e}");
            return EXIT_NOT_RUN.into();
        }
    };
    if args.json {
        println!("{}", tally.json());
    } else {
        println!("{tally}");
    }
    let failures = tally.failures();
    for failure in &failures {
        eprintln!("torture: {failure}");
    }
    if failures.is_empty() { EXIT_SOUND } else { EXIT_FAILED }.into()
}
