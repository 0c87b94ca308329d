//! The worst single insert while a store grows from nothing, beside the worst that this machine does to a loop that does nothing.
//!
//! Each insert is timed by itself and each is a transaction of its own. No store has been told how many there will be;
//! `shmstate_reserved` has at least its memory taken beforehand, as a server with a known world would do.

use super::plan::Plan;
use super::results::{Row, Spread};
use crate::Result;
use crate::engine::{Kind, Opened, Room};
use crate::keys::shuffled;
use crate::players::templates;
use std::hint::black_box;
use std::time::{Duration, Instant};

const SEED: u64 = 17;
/// Who grows: name in results, engine, memory.
const GROWING: [(&str, Kind, Room); 3] = [
    ("shmstate", Kind::Shmstate, Room::Grows),
    ("shmstate_reserved", Kind::Shmstate, Room::Reserved),
    ("hashmap", Kind::Hashmap, Room::Grows),
];
/// What is told of each: name in results, and which of so many thousandths it is.
const QUANTILES: [(&str, usize); 3] = [("grow_p50", 500), ("grow_p99", 990), ("grow_max", 1000)];

/// The rows, and the median over the rounds of the store's worst insert in microseconds: growing, and with memory reserved.
#[derive(Debug)]
pub(super) struct Grown {
    pub(super) rows: Vec<Row>,
    pub(super) worst_us: Option<f64>,
    pub(super) worst_reserved_us: Option<f64>,
    /// The longest that the empty loop was held up: nothing shorter can be told from the machine's own noise.
    pub(super) noise_us: Option<f64>,
}

pub(super) fn run(plan: &Plan) -> Result<Grown> {
    let keys = shuffled(plan.growth, SEED);
    let mut quantiles = GROWING.map(|_| QUANTILES.map(|_| Vec::new()));
    let mut gaps = Vec::new();
    let mut times = vec![0u32; keys.len()];
    for round in 0..plan.growth_rounds {
        eprintln!(
            "growing to {}: round {} of {}",
            plan.growth,
            round + 1,
            plan.growth_rounds
        );
        let mut longest = Duration::ZERO;
        for ((_, kind, room), quantiles) in GROWING.iter().zip(&mut quantiles) {
            let all = grow(*kind, *room, &keys, &mut times)?;
            longest = longest.max(all);
            times.sort_unstable();
            for ((_, thousandths), rounds) in QUANTILES.iter().zip(quantiles) {
                let at = (times.len() * thousandths / 1000).min(times.len() - 1);
                rounds.push(f64::from(times[at]));
            }
        }
        gaps.push(longest_gap(longest).as_nanos() as f64);
    }
    let row = |operation, engine, rounds: &Vec<f64>| Row {
        operation,
        engine,
        players: plan.growth,
        distribution: None,
        region_bytes: None,
        ns: Spread::of(rounds),
        rounds: rounds.len(),
        operations: keys.len(),
        note: None,
    };
    let mut rows = Vec::new();
    for (quantile, (operation, _)) in QUANTILES.iter().enumerate() {
        for ((engine, _, _), quantiles) in GROWING.iter().zip(&quantiles) {
            rows.push(row(operation, engine, &quantiles[quantile]));
        }
    }
    rows.push(row("longest_gap", "empty_loop", &gaps));
    let worst = |engine: usize| Spread::of(quantiles[engine].last()?).map(|spread| spread.median / 1e3);
    Ok(Grown {
        worst_us: worst(0),
        worst_reserved_us: worst(1),
        noise_us: Spread::of(&gaps).map(|spread| spread.median / 1e3),
        rows,
    })
}

/// Grows one engine and gives how long it took in all; `times` gets each insert in ns.
fn grow(kind: Kind, room: Room, keys: &[u64], times: &mut [u32]) -> Result<Duration> {
    let Opened::Engine(mut engine) = kind.open(keys.len() as u64, room)? else {
        return Err(format!("{} is not here", kind.name()).into());
    };
    let templates = templates();
    let start = Instant::now();
    let mut before = start;
    for (key, time) in keys.iter().zip(times) {
        black_box(engine.insert(std::slice::from_ref(key), &templates)?);
        let now = Instant::now();
        *time = (now - before).as_nanos().try_into().unwrap_or(u32::MAX);
        before = now;
    }
    Ok(before - start)
}

/// The longest time between two looks at the clock, for as long as `length`.
fn longest_gap(length: Duration) -> Duration {
    let start = Instant::now();
    let (mut before, mut longest) = (start, Duration::ZERO);
    while before - start < length {
        let now = Instant::now();
        longest = longest.max(now - before);
        before = now;
    }
    longest
}
