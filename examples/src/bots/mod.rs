//! `arena-bots`: players that never reconnect and check everything the server tells them.
//!
//! The process opens one connection per bot, once. It answers lines on stdin (see `control`) with lines of JSON on stdout (see
//! [`report`]), and its exit code is a contract: 0 every fault counter is zero, 1 at least one is not, 2 bad usage or not all
//! bots could join.
//!
//! In reading order: [`model`] what a player must look like, [`gaps`] times between frames, [`report`] what is said,
//! [`tally`] the counters, [`bot`] one bot, `link` its socket, `control` stdin, `system` clocks and limits, [`error`] why there was no run,
//! [`swarm`] the loop.

pub mod bot;
mod control;
pub mod error;
pub mod gaps;
mod link;
pub mod model;
pub mod report;
pub mod swarm;
mod system;
pub mod tally;

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use clap::Parser;

/// Most bots in one process: the local ports that one address can use, about.
const MAX_BOTS: u32 = 28_000;
/// Most commands per second and bot.
const MAX_RATE: f64 = 1_000.0;
/// Exit code when a fault was counted.
const EXIT_FAULTS: u8 = 1;
/// Exit code when the run did not come to be.
const EXIT_NOT_RUN: u8 = 2;

/// Plays the arena with many bots over connections that are opened once, and checks every frame.
///
/// Lines on stdin: `upgrade begin`, `upgrade end`, `report`, `finish`; the end of stdin finishes too.
/// Exit code: 0 no fault, 1 faults counted, 2 bad usage or not all bots could join.
#[derive(Debug, Parser)]
#[command(name = "arena-bots")]
struct Args {
    /// Where the server listens
    #[arg(long, default_value = "127.0.0.1:4000")]
    address: SocketAddr,
    /// How many bots
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_BOTS)))]
    bots: u32,
    /// Mean rate of each bot; the pauses vary by half. 0 sends none
    #[arg(long, default_value_t = 4.0, value_parser = rate)]
    commands_per_second: f64,
    /// The same seed sends the same commands
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Player id of the first bot; the others follow. The players must be new to the server
    #[arg(long, default_value_t = 1)]
    first_id: u64,
    /// How long the end waits for acknowledgements, milliseconds
    #[arg(long, default_value_t = 3_000)]
    grace_ms: u64,
    /// How long all bots may take to join, milliseconds
    #[arg(long, default_value_t = 10_000)]
    join_timeout_ms: u64,
    /// Finish by itself so long after all have joined
    #[arg(long, value_parser = seconds)]
    duration_seconds: Option<Duration>,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.0..=MAX_RATE).contains(&rate) => Ok(rate),
        _ => Err(format!("expected a number from 0 to {MAX_RATE}")),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

impl Args {
    fn resolve(self) -> swarm::Options {
        let rate = self.commands_per_second;
        swarm::Options {
            address: self.address,
            bots: self.bots,
            // A rate too small for a Duration is as good as none.
            command_interval: (rate > 0.0)
                .then(|| Duration::try_from_secs_f64(1.0 / rate).ok())
                .flatten(),
            seed: self.seed,
            first_id: self.first_id,
            grace: Duration::from_millis(self.grace_ms),
            join_timeout: Duration::from_millis(self.join_timeout_ms),
            duration: self.duration_seconds,
        }
    }
}

/// The program: arguments, the run, the exit code.
#[must_use]
pub fn main() -> ExitCode {
    match swarm::run(Args::parse().resolve()) {
        Ok(report) if report.faults() == 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(EXIT_FAULTS),
        Err(error) => {
            eprintln!("arena-bots: {error}");
            ExitCode::from(EXIT_NOT_RUN)
        }
    }
}
