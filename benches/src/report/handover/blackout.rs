//! The blackout of a server that ticks: two resident processes take turns through the whole protocol.
//!
//! Blackout is what the library's history says: from the stamp of the last commit in the old process to the stamp after the gate
//! opened in the new one. Beside it stands what the server itself sees, from the stamp within its last transaction to its first pass
//! in the new process, and the noise: the same pair of stamps one tick earlier, without lease, gate and take.

use crate::Result;
use crate::handover::event::Serving;
use crate::handover::node::Pace;
use crate::handover::quantiles::Quantiles;
use crate::report::handover::plan::{Case, GIB, Plan, rate};
use crate::report::handover::scene::Pair;
use rustix::process::{Resource, getrlimit};
use serde::Serialize;
use std::time::{Duration, Instant};

/// A case and what came of it.
#[derive(Clone, Debug, Serialize)]
pub(in crate::report) struct Row {
    /// Bytes of records.
    pub(super) bytes: u64,
    pub(super) connections: usize,
    pub(super) regions: u64,
    /// Requests a second of all connections.
    pub(super) requests_per_s: f64,
    /// Handovers behind the numbers.
    pub(super) n: usize,
    /// Blackout, µs; nothing if it was not measured.
    pub(super) min: Option<f64>,
    pub(super) p50: Option<f64>,
    pub(super) p99: Option<f64>,
    pub(super) max: Option<f64>,
    pub(super) noise_us: Option<Quantiles>,
    /// From the stamp in the last transaction of the old process to the first pass of the new one, µs.
    pub(super) tick_gap_us: Option<Quantiles>,
    /// From asking for the node to having everything, ms: offer, descriptors, mapping, registration.
    pub(super) joined_ms: Option<Quantiles>,
    /// Bytes of the first region on 2 MiB pages.
    pub(super) huge_bytes: u64,
    /// Connections that were cut, requests lost or answered twice.
    pub(super) broken: u64,
    /// Why there is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<String>,
}

impl Row {
    pub(super) fn without(case: &Case, note: String) -> Self {
        Self {
            bytes: case.bytes,
            connections: case.connections,
            regions: case.regions,
            requests_per_s: rate(case.connections) * case.connections as f64,
            n: 0,
            min: None,
            p50: None,
            p99: None,
            max: None,
            noise_us: None,
            tick_gap_us: None,
            joined_ms: None,
            huge_bytes: 0,
            broken: 0,
            note: Some(note),
        }
    }

    fn of(case: &Case, first: &Serving, turns: &[Serving], broken: u64) -> Self {
        let all = |what: fn(&Serving) -> u64, unit: f64| {
            // 0 is no stamp: a turn without a rehearsal, where the gate was closed for want of a tick.
            let stamped = turns.iter().map(what).filter(|ns| *ns > 0);
            let numbers: Vec<f64> = stamped.map(|ns| ns as f64 / unit).collect();
            Quantiles::of(&numbers)
        };
        let blackout = all(|t| t.blackout, 1e3);
        Self {
            n: turns.len(),
            min: blackout.map(|q| q.min),
            p50: blackout.map(|q| q.p50),
            p99: blackout.map(|q| q.p99),
            max: blackout.map(|q| q.max),
            noise_us: all(|t| t.noise, 1e3),
            tick_gap_us: all(|t| t.first_pass.saturating_sub(t.last_tick), 1e3),
            joined_ms: all(|t| t.started - t.asked, 1e6),
            huge_bytes: first.huge,
            broken,
            note: None,
            ..Self::without(case, String::new())
        }
    }

    /// Connections staged a second, everything in the way from asking to having included.
    pub(super) fn staged_per_s(&self) -> Option<f64> {
        Some(self.connections as f64 / (self.joined_ms?.p50 / 1e3))
    }
}

/// What is left free of the machine's memory.
const SPARE: u64 = 2 * GIB;
/// Descriptors of a region in a process that hands over, and of everything else.
const PER_REGION: u64 = 4;
const OTHERS: u64 = 512;
/// About as long does making a case take, for each GiB, and its turns, each.
const MAKING: Duration = Duration::from_secs(4);
const TURN: Duration = Duration::from_millis(60);

/// Why a case cannot be made now.
fn obstacle(plan: &Plan, case: &Case) -> Option<String> {
    let needed = case.bytes + case.bytes / 4 + SPARE;
    let available = available();
    if available < needed {
        let [available, needed] = [available, needed].map(|bytes| bytes >> 20);
        return Some(format!(
            "skipped: {available} MiB of memory are free, {needed} are needed"
        ));
    }
    let descriptors = case.connections as u64 + case.regions * PER_REGION + OTHERS;
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if limit < descriptors {
        return Some(format!(
            "skipped: {limit} descriptors are allowed, {descriptors} are needed; raise ulimit -n"
        ));
    }
    let time = MAKING.mul_f64(case.bytes as f64 / GIB as f64) + TURN * case.turns as u32;
    (!plan.has(time)).then(|| "skipped: no time is left in this run".into())
}

/// Bytes of memory that can be had.
fn available() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// Measures a family of cases in rounds: in each round every case has some turns while the others stand still, so that what
/// disturbs the machine for a second disturbs all of them.
pub(super) fn family(plan: &Plan, name: &str, cases: &[Case]) -> Result<Vec<Row>> {
    let mut all = Vec::new();
    // What was left out has no rounds.
    let rounds = if cases.is_empty() { 0 } else { plan.rounds };
    for case in cases {
        let pair = match obstacle(plan, case) {
            Some(note) => Err(note),
            None => start(plan, name, case, cases.len() > 1).map_err(|error| format!("failed: {error}")),
        };
        all.push(Measured {
            pair,
            turns: Vec::new(),
        });
    }
    for round in 1..=rounds {
        eprintln!("{name}: round {round} of {rounds}");
        for (case, measured) in cases.iter().zip(&mut all) {
            if let Err(error) = measured.round(plan, case, round, cases.len() > 1) {
                // What it has so far stays; a node that failed is not asked again.
                measured.pair = Err(format!("failed after {} turns: {error}", measured.turns.len()));
            }
        }
    }
    let mut rows = Vec::new();
    for (case, Measured { pair, turns }) in cases.iter().zip(all) {
        rows.push(match pair {
            Err(note) => Row {
                note: Some(note),
                ..Row::of(case, &Serving::default(), &turns, 0)
            },
            Ok(pair) => {
                if cases.len() > 1 {
                    pair.freeze(false)?;
                }
                let first = pair.first;
                let seen = pair.finish()?;
                let broken = seen.cut + seen.lost + seen.doubled + seen.skipped + seen.torn;
                Row::of(case, &first, &turns, broken)
            }
        });
    }
    Ok(rows)
}

/// A case while it is measured.
struct Measured {
    /// Or why there is none.
    pair: std::result::Result<Pair, String>,
    turns: Vec<Serving>,
}

fn start(plan: &Plan, name: &str, case: &Case, several: bool) -> Result<Pair> {
    let Case {
        bytes,
        connections,
        regions,
        ..
    } = *case;
    eprintln!(
        "{name}: {} MiB, {connections} connections, {regions} regions",
        bytes >> 20
    );
    let pair = Pair::start(Pace::Ticks(plan.tick), bytes, regions, connections)?;
    if several {
        pair.freeze(true)?;
    }
    Ok(pair)
}

impl Measured {
    /// The turns of one round.
    fn round(&mut self, plan: &Plan, case: &Case, round: usize, several: bool) -> Result<()> {
        let Ok(pair) = &mut self.pair else {
            return Ok(());
        };
        if several {
            pair.freeze(false)?;
        }
        // The first turn after a stand-still is not counted: caches, and what the clients have to make up for.
        if round == 1 || several {
            pair.turn()?;
        }
        let share = plan.case_time / plan.rounds as u32;
        let due = case.turns * round / plan.rounds;
        let begun = Instant::now();
        while self.turns.len() < due && begun.elapsed() < share && plan.has(Duration::ZERO) {
            self.turns.push(pair.turn()?);
        }
        if several {
            pair.freeze(true)?;
        }
        Ok(())
    }
}

/// The last case over the first, by their medians.
pub(super) fn ratio(rows: &[Row]) -> Option<f64> {
    Some(rows.last()?.p50? / rows.first()?.p50?)
}
