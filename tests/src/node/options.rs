//! The command line of the server: names, deadlines, and how it is to misbehave.

use clap::{Parser, ValueEnum};
use handover::Deadlines;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Where a server fails as a successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// Exits before it asks for the node.
    ExitAtOnce,
    /// Is killed by a signal after all descriptors have come.
    AbortAfterStart,
    /// Drops what it received, without a word.
    DropAfterStart,
    /// Refuses with a reason.
    Refuse,
    /// Wants a table in another shape.
    OtherSchema,
}

/// What a server does wrong on purpose, so that a test of tests sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sabotage {
    /// Counts a request and does not answer it.
    Lose,
    /// Answers a request twice.
    Double,
    /// Ends a connection that did nothing wrong.
    Cut,
    /// Goes on as if it owned the node after it has handed it over.
    TwoOwners,
    /// Does nothing for longer than anybody may.
    Hang,
    /// Keeps a descriptor of each time that it gets the node.
    Leak,
}

/// A server for tests.
#[derive(Clone, Debug, Parser)]
pub struct Options {
    /// Where the nodes' directories are.
    #[arg(long)]
    pub dir: PathBuf,
    /// Name of the node.
    #[arg(long)]
    pub node: String,
    /// Where clients connect.
    #[arg(long)]
    pub listen: SocketAddr,
    /// What it was built from.
    #[arg(long, default_value = "test")]
    pub build: String,
    /// How it fails.
    #[arg(long)]
    pub fault: Option<Fault>,
    /// What it does wrong where nobody may.
    #[arg(long)]
    pub sabotage: Option<Sabotage>,
    /// A file in which each pass is noted, see [`crate::node::witness`].
    #[arg(long)]
    pub witness: Option<PathBuf>,
    /// A Unix socket that takes the place of standard input and output.
    #[arg(long)]
    pub through: Option<PathBuf>,
    /// Stay parked for the successor's probation, instead of draining at once.
    #[arg(long)]
    pub park: bool,
    /// Say `ready` only when told to.
    #[arg(long)]
    pub wait: bool,
    /// Do nothing, not even a tick, while no client wants anything.
    #[arg(long)]
    pub idle: bool,
    /// The directory, on a tmpfs, in which the world is, instead of /dev/shm.
    #[arg(long)]
    pub world_in: Option<PathBuf>,
    /// Where clients connect whose connections the server keeps itself.
    #[arg(long)]
    pub plain: Option<SocketAddr>,
    /// Carry over how many owners there were.
    #[arg(long)]
    pub carry: bool,
    /// A region that other builds do not know.
    #[arg(long)]
    pub extra: Option<String>,
    /// The highest protocol version this server speaks; the library's if none is given.
    #[arg(long, default_value_t = u16::MAX)]
    pub speaks: u16,
    /// The system does not let it have the descriptors of another process.
    #[arg(long)]
    pub forbidden: bool,
    /// Descriptors this process may have open.
    #[arg(long)]
    pub nofile: Option<u64>,
    /// How far it may raise that by itself; as `nofile` if not given.
    #[arg(long)]
    pub nofile_most: Option<u64>,
    /// Length of a tick, ms.
    #[arg(long, default_value_t = 4)]
    pub tick: u64,
    /// Deadlines as `name=ms`.
    #[arg(long = "deadline", value_parser = deadline)]
    pub deadlines: Vec<(String, Duration)>,
}

fn deadline(text: &str) -> Result<(String, Duration), String> {
    let (name, ms) = text.split_once('=').ok_or("not of the form name=ms")?;
    let ms: u64 = ms.parse().map_err(|e| format!("{ms:?}: {e}"))?;
    field(&mut Deadlines::default(), name).ok_or_else(|| format!("there is no deadline {name:?}"))?;
    Ok((name.into(), Duration::from_millis(ms)))
}

fn field<'d>(deadlines: &'d mut Deadlines, name: &str) -> Option<&'d mut Duration> {
    Some(match name {
        "connect" => &mut deadlines.connect,
        "hello" => &mut deadlines.hello,
        "batch" => &mut deadlines.batch,
        "ready" => &mut deadlines.ready,
        "stand-by" => &mut deadlines.stand_by,
        "tick" => &mut deadlines.tick,
        "quiet" => &mut deadlines.quiet,
        "take" => &mut deadlines.take,
        "drain-idle" => &mut deadlines.drain_idle,
        "drain" => &mut deadlines.drain,
        "probation" => &mut deadlines.probation,
        "watchdog" => &mut deadlines.watchdog,
        "give-back" => &mut deadlines.give_back,
        _ => return None,
    })
}

impl Options {
    /// The deadlines, where none is given the library's.
    #[must_use]
    pub fn deadlines(&self) -> Deadlines {
        let mut all = Deadlines::default();
        for (name, wait) in &self.deadlines {
            if let Some(deadline) = field(&mut all, name) {
                *deadline = *wait;
            }
        }
        all
    }
}
