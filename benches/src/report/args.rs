//! The command line.

use clap::{Parser, Subcommand};

/// Measures the project against what people use today.
#[derive(Parser, Debug)]
#[command(name = "report", version, about)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// The store against hash maps, LMDB, redb, mmap-sync and Redis: speed, memory, growth, attaching, recovery.
    Store(Store),
    /// The handover against restarts, reloads and libraries for them: blackout, gaps that clients see, upgrades, give-back.
    Handover(Handover),
    /// Migrations: settling, first touches, the sweep, ticks beside it, dumps.
    Schema(Schema),
    /// Serves a node: what handovers are measured with.
    #[command(hide = true)]
    Node(crate::handover::node::Options),
    /// Opens a region, leaves a transaction open and waits to be killed: what recovery is measured with.
    #[command(hide = true)]
    LeaveOpen {
        /// Name of the region.
        region: String,
        /// How many of its records the transaction changes.
        records: u64,
    },
}

#[derive(clap::Args, Debug, Default)]
pub(super) struct Schema {
    /// JSON on standard output instead of a table.
    #[arg(long)]
    pub(super) json: bool,
    /// 10^5 records only, fewer rounds: half a minute.
    #[arg(long)]
    pub(super) quick: bool,
    /// So many records instead: to try the report itself.
    #[arg(long, hide = true, value_parser = clap::value_parser!(u64).range(1000..))]
    pub(super) records: Option<u64>,
}

#[derive(clap::Args, Debug, Default)]
pub(super) struct Store {
    /// JSON on standard output instead of a table.
    #[arg(long)]
    pub(super) json: bool,
    /// 10^5 players only, fewer rounds: less than a minute.
    #[arg(long)]
    pub(super) quick: bool,
    /// So many players instead, and everything else as small: to try the report itself.
    #[arg(long, hide = true, conflicts_with = "quick", value_parser = clap::value_parser!(u64).range(100..))]
    pub(super) players: Option<u64>,
    /// So many rounds instead.
    #[arg(long, hide = true, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) rounds: Option<u16>,
}

/// A part of the report about handovers.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The blackout at 1 GiB and 1 000 connections.
    Blackout,
    /// From the last answer of the old process to the first of the new one.
    Replies,
    /// The blackout by connections.
    Connections,
    /// The blackout by regions.
    Regions,
    /// The blackout by size of the state.
    Sizes,
    /// Upgrades by new processes: gaps, times, memory.
    Upgrades,
    /// Deaths of new owners.
    GiveBack,
    /// Short connections through upgrades.
    Short,
    /// What people use today.
    Peers,
}

impl Handover {
    /// Whether a part is asked for.
    pub(super) fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

#[derive(clap::Args, Debug, Default)]
pub(super) struct Handover {
    /// JSON on standard output instead of a table.
    #[arg(long)]
    pub(super) json: bool,
    /// Fewer handovers: less than a minute.
    #[arg(long)]
    pub(super) quick: bool,
    /// These parts only; what is left out is null or empty.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART")]
    pub(super) only: Vec<Part>,
    /// Everything as small as can be, and no peers: to try the report itself.
    #[arg(long, hide = true)]
    pub(super) tiny: bool,
    /// The peers all the same.
    #[arg(long, hide = true, requires = "tiny")]
    pub(super) peers: bool,
}
