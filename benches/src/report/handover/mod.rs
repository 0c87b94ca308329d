//! `report handover`: the blackout by size, connections and regions; what clients see; upgrades, their time and memory; the peers.

mod plan;

mod scene;

mod blackout;

pub(super) mod migrating;

mod reply;

mod upgrades;

mod shorts;

mod give_back;

mod peers;

mod figures;

mod print;

use crate::Result;
use crate::handover::quantiles::Quantiles;
use crate::report::args::{Handover, Part};
use crate::report::machine::Machine;
use blackout::Row;
use figures::Figures;
use give_back::GiveBack;
use peers::Peer;
use plan::Plan;
use reply::{Load, Replies};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use shorts::Shorts;
use std::io::Write;
use std::time::Instant;
use upgrades::Upgrades;

/// Says why a part has no figures.
const LEFT_OUT: &str = "left out of this run";

/// The whole report; as JSON with the names of its fields. What was not measured is null, and says why beside it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    report: &'static str,
    /// µs from the last commit in the old process to the first tick allowed in the new one, at 1 GiB and 1 000 connections.
    blackout_us: Option<Quantiles>,
    noise_us: Option<Quantiles>,
    /// µs from the stamp in the last transaction of the old process to the first pass in the new one.
    tick_gap_us: Option<Quantiles>,
    /// The case behind them.
    main: Row,
    by_size: Vec<Row>,
    by_connections: Vec<Row>,
    by_regions: Vec<Row>,
    ratio_8gib_1mib: Option<f64>,
    ratio_10k_1: Option<f64>,
    ratio_1000_regions_1: Option<f64>,
    /// µs from the last answer of the old process to the first of the new one, as clients read them.
    reply_gap_us: Option<Quantiles>,
    replies: Replies,
    /// From the signal that kills the new owner in its probation to the first pass of the old one, and the first answer, ms.
    give_back_ms: Option<Quantiles>,
    give_back: GiveBack,
    staged_per_s: Option<f64>,
    upgrades: Upgrades,
    /// All upgrades with busy connections together.
    under_load: Load,
    short_connections: Shorts,
    peers: Vec<Peer>,
    figures: Figures,
    machine: Machine,
    seconds: f64,
}

pub(super) fn run(options: &Handover) -> Result<()> {
    let begun = Instant::now();
    let machine = Machine::here();
    let plan = Plan::of(options);
    // 10 000 connections need as many descriptors, here and in each server.
    let descriptors = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: descriptors.maximum,
        ..descriptors
    };
    setrlimit(Resource::Nofile, all)?;
    let built = peers::build(&plan);
    let main = match options.wants(Part::Blackout) {
        true => blackout::family(&plan, "blackout", &[plan.main])?.pop(),
        false => None,
    };
    let main = main.unwrap_or_else(|| Row::without(&plan.main, LEFT_OUT.into()));
    let replies = reply::run(&plan)?;
    let by_connections = blackout::family(&plan, "by connections", &plan.by_connections)?;
    let by_regions = blackout::family(&plan, "by regions", &plan.by_regions)?;
    let upgrades = upgrades::run(&plan)?;
    let give_back = give_back::run(&plan)?;
    let short_connections = shorts::run(&plan)?;
    // The largest needs memory and time that those before are not to miss; the peers have what is left.
    let by_size = blackout::family(&plan, "by size", &plan.by_size)?;
    let peers = peers::run(&plan, &built);
    let quantiles = |row: &Row| {
        Some(Quantiles {
            n: row.n,
            min: row.min?,
            p50: row.p50?,
            p99: row.p99?,
            max: row.max?,
        })
    };
    let mut report = Report {
        report: "handover",
        blackout_us: quantiles(&main),
        noise_us: main.noise_us,
        tick_gap_us: main.tick_gap_us,
        ratio_8gib_1mib: blackout::ratio(&by_size),
        ratio_10k_1: blackout::ratio(&by_connections),
        ratio_1000_regions_1: blackout::ratio(&by_regions),
        reply_gap_us: replies.gap_us,
        give_back_ms: give_back.first_pass_ms,
        staged_per_s: by_connections.last().and_then(Row::staged_per_s),
        under_load: replies.load.and(upgrades.load).and(give_back.load),
        main,
        by_size,
        by_connections,
        by_regions,
        replies,
        give_back,
        upgrades,
        short_connections,
        peers,
        figures: Figures::default(),
        machine,
        seconds: begun.elapsed().as_secs_f64(),
    };
    report.figures = figures::of(&report);
    let text = if options.json {
        serde_json::to_string_pretty(&report)? + "\n"
    } else {
        print::table(&report)
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}
