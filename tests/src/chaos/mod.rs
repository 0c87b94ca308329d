//! `chaos`: a node whose processes are upgraded, killed, stopped, starved and rolled back at random, under clients that check every answer.
//!
//! - **X1** All random choices come from the seed; a round follows from the seed and its number, so that it can be played alone.
//! - **X2** What must not happen is observed without the libraries: by the clients' numbering (`bots`), by what the servers note of their passes
//!   ([`crate::node::witness`]), by what /proc, /dev/shm and the runtime directory hold (`run`).
//! - **X3** Clients are never cut but in rounds in which everybody who holds the connections is killed or told to stop: those are counted apart.
//! - **X4** A run in which a fault never really hit proves nothing of it, and fails.
//!
//! In reading order: `place` the node and its surroundings, `server` a process, `bots` the load, `plan` the random choices, `tally` what is counted
//! and said, `rounds` and `command` what is done, `run` the loop. It does not know how a handover works.

mod bots;
mod command;
mod place;
mod plan;
mod rounds;
mod run;
mod server;
mod tally;

use crate::node::Sabotage;
use crate::node::options::Options;
use clap::Parser;
use std::process::ExitCode;
use std::time::Duration;

/// Exit code: nothing was violated, and the run hit everything that it has to hit.
const EXIT_SOUND: u8 = 0;
/// Exit code: something was violated, or the run proved nothing.
const EXIT_FAILED: u8 = 1;
/// Exit code: bad usage, or the run could not start.
const EXIT_NOT_RUN: u8 = 2;
/// Most rounds of one run.
const MAX_ROUNDS: u32 = 1_000_000;

/// Upgrades, kills, stops, starves and rolls back the servers of a node at random, and checks that nobody notices.
///
/// Exit code: 0 sound, 1 something was violated or the run proved nothing, 2 bad usage or it could not run.
#[derive(Debug, Parser)]
#[command(name = "chaos")]
struct Args {
    /// How many rounds to play
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_ROUNDS)))]
    rounds: u32,
    /// The round to begin with
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    first: u32,
    /// The random choices of an earlier run; it was printed at its start
    #[arg(long)]
    seed: Option<u64>,
    /// One JSON object on stdout instead of a table
    #[arg(long)]
    json: bool,
    /// Ends the run after so many seconds; one that was cut short fails
    #[arg(long, value_parser = seconds)]
    seconds: Option<Duration>,
    /// Says each round on stderr before it is played
    #[arg(long)]
    verbose: bool,
    /// Has the servers do something wrong: the run must fail
    #[arg(long)]
    sabotage: Option<Sabotage>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .map(Duration::from_secs)
        .map_err(|e| format!("{text:?}: {e}"))
}

/// The whole program. As `serve` it is a server of the node, as `cli` the command line.
#[must_use]
pub fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let program = words.next().unwrap_or_default();
    let second = std::env::args_os().nth(1);
    match second.as_deref().and_then(|word| word.to_str()) {
        Some("serve") => crate::node::server::run(&Options::parse_from(words)),
        Some("cli") => handover::cli::run(words),
        _ => torment(&Args::parse_from(std::iter::once(program).chain(words))),
    }
}

fn torment(args: &Args) -> ExitCode {
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("chaos: seed {seed}");
    let tally = match run::run(args, seed) {
        Ok(tally) => tally,
        Err(e) => {
            eprintln!("chaos: could not run: {e}");
            return EXIT_NOT_RUN.into();
        }
    };
    if args.json {
        println!("{}", tally.json());
    } else {
        println!("{}", tally.table());
    }
    let failures = tally.verdict();
    for failure in &failures {
        eprintln!("chaos: {failure}");
    }
    if failures.is_empty() { EXIT_SOUND } else { EXIT_FAILED }.into()
}
