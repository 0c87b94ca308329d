//! `arena-demo`: a server with players, whose program is replaced again and again while they play.
//!
//! Everything happens in a runtime directory and a node of its own; the programs are those beside this one. Exit code: 0 all
//! is well, 1 a fault was counted or the demo did not come to its end, 2 bad usage.
//!
//! In reading order: [`error`], [`limit`] what ends every wait, [`child`] a process, [`place`] where it happens, [`programs`]
//! where the programs are, `crowd` the bots, [`summary`] what was found, `course` what is done, [`bad`] the bad upgrades' part.

pub mod bad;
pub mod child;
mod course;
pub mod crowd;
pub mod error;
pub mod limit;
pub mod place;
pub mod programs;
pub mod summary;

use crate::server::Sabotage;
use clap::Parser;
use course::Course;
use error::{DemoError, Result};
use limit::Limit;
use programs::Programs;
use std::fmt;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use summary::Summary;

/// What a demo may take beyond its schedule: starting, joining, bad upgrades, the end.
const MARGIN: Duration = Duration::from_secs(30);
/// MiB of world that can be filled in a second on a slow machine.
const FILLED_PER_SECOND: u64 = 16;
/// What an upgrade may take on average.
const PER_UPGRADE: Duration = Duration::from_millis(400);

/// Upgrades a game server again and again while hundreds of players play, and shows what they notice.
///
/// Exit code: 0 all is well, 1 faults or a demo that did not come to its end, 2 bad usage.
#[derive(Clone, Debug, Parser)]
#[command(name = "arena-demo", version)]
pub struct Options {
    /// How many players.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub bots: u32,
    /// MiB of archived records in the world.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    pub world_mib: u64,
    /// How many upgrades, from arena-v1 to arena-v2 and back.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub upgrades: u32,
    /// Print one JSON object on stdout, and nothing else.
    #[arg(long)]
    pub json: bool,
    /// Let the servers misbehave, to see that it is noticed: lose-command, double-command, skip-tick, double-tick, wrong-score,
    /// cut-one.
    #[arg(long, value_parser = sabotage)]
    pub sabotage: Option<String>,
    /// The same seed lets the players send the same commands.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Name of the node; one of its own by default.
    #[arg(long)]
    pub node: Option<String>,
    /// Leave the bad upgrades out.
    #[arg(long)]
    pub no_bad_upgrades: bool,
    /// Play without upgrades first, milliseconds.
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u64).range(..=600_000))]
    pub baseline_ms: u64,
    /// Between two upgrades, milliseconds.
    #[arg(long, default_value_t = 1_200, value_parser = clap::value_parser!(u64).range(..=600_000))]
    pub pause_ms: u64,
    /// Take the programs beside this one as they are.
    #[arg(long)]
    pub no_build: bool,
}

fn sabotage(name: &str) -> std::result::Result<String, String> {
    name.parse::<Sabotage>().map(|_| name.to_owned())
}

impl Options {
    /// What the whole demo may take.
    fn longest(&self) -> Duration {
        let upgrades = self.upgrades + if self.no_bad_upgrades { 0 } else { course::BAD };
        let pause = Duration::from_millis(self.pause_ms);
        MARGIN
            + Duration::from_secs(self.world_mib.div_ceil(FILLED_PER_SECOND))
            + Duration::from_millis(self.baseline_ms)
            + (pause + PER_UPGRADE) * upgrades
    }
}

/// The program: arguments, the demo, the report, the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let options = Options::parse();
    let mut summary = Summary {
        upgrades_wanted: options.upgrades,
        ..Summary::default()
    };
    if let Err(error) = run(&options, &mut summary) {
        eprintln!("arena-demo: {error}");
        summary.failures.insert(0, error.to_string());
    }
    summary.judge();
    match report(&options, &summary) {
        Ok(()) if summary.ok => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("arena-demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the demo to its end. What it found is in `summary`, also when it did not go as it should.
fn run(options: &Options, summary: &mut Summary) -> Result<()> {
    let programs = Programs::find(!options.no_build, |what| eprintln!("arena-demo: {what}"))?;
    let begun = Instant::now();
    let limit = Limit::with_signals(options.longest())?;
    let mut course = Course::start(options, &programs, &limit, summary)?;
    let played = course.play();
    course.finish();
    summary.seconds = begun.elapsed().as_secs_f64();
    played
}

fn report(options: &Options, summary: &Summary) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let written = if options.json {
        let line = serde_json::to_string(summary).map_err(DemoError::system("make JSON"))?;
        writeln!(out, "{line}")
    } else {
        write!(out, "{summary}")
    };
    written.map_err(DemoError::system("write the report"))
}

/// A line of the table, for people who watch. Nobody watches if stdout is closed: then there is nothing to be done about it.
fn show(options: &Options, line: fmt::Arguments<'_>) {
    if !options.json {
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    }
}
