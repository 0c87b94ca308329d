//! `report schema`: what migrating costs, beside what the same does without.
//!
//! - **Settling**: the transaction before the first of a new owner, which is all that a migration adds to a cutover, by records pending.
//! - **First touch**: one field changed, in a transaction of its own, of a record that must migrate for it; the same of one that has; and the program's own step.
//! - **Sweep**: all records, a thousand in each transaction, with nothing else to do.
//! - **Tick**: a transaction that changes one record in a hundred, 60 times a second of its own time, with and without a sweep between ticks.
//! - **Twins**: the same tick with a way back open, for who wonders.
//! - **Moves**: see `moves`.
//! - **Blackout**: handovers between processes with all records pending, and with none: see `handover::migrating`.
//! - **Dump**: the CLI's JSON of all records, if it is built.
//!
//! The records are those of `small`.

use super::args::Schema as Options;
use super::handover::migrating::{self, Amount, Migrating};
use super::machine::Machine;
use super::moves::{self, Moves};
use crate::Result;
use crate::small::{One, Two, one};
use serde::Serialize as Json;
use shmstate::{Map, Migrate, Region, Steps};
use std::hint::black_box;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Records in each transaction of a sweep.
const SWEPT: u64 = 1000;
/// Records that are touched for the first time.
const TOUCHED: u64 = 20_000;

/// Nanoseconds, or what a name says, of several rounds.
#[derive(Clone, Copy, Debug, Json)]
pub(super) struct Rounds {
    min: f64,
    median: f64,
    max: f64,
}

impl Rounds {
    pub(super) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |i: usize| values.get(i).copied().unwrap_or(0.0);
        Self {
            min: at(0),
            median: at(values.len() / 2),
            max: at(values.len().saturating_sub(1)),
        }
    }
}

/// The whole report; as JSON with the names of its fields.
#[derive(Debug, Json)]
struct Report {
    report: &'static str,
    records: u64,
    rounds: usize,
    /// Microseconds of the transaction that settles, with a thousandth of the records pending, and with all.
    settle_few_us: Rounds,
    settle_all_us: Rounds,
    ratio_settle: f64,
    /// Nanoseconds for a change of a record: which migrates for it, which has, and of the program's step alone.
    first_touch_ns: Rounds,
    touch_ns: Rounds,
    step_ns: Rounds,
    /// What the first touch costs beyond a touch and the step.
    first_touch_over_step_ns: f64,
    sweep_per_s: Rounds,
    /// Nanoseconds at the 99th percentile of ticks: all migrated, and with a sweep between ticks.
    tick_p99_ns: Rounds,
    tick_p99_sweeping_ns: Rounds,
    ratio_tick_p99: f64,
    /// The same tick with a way back: each changed record gets a twin.
    tick_p99_way_back_ns: Rounds,
    /// Megabytes of JSON a second; null if `handover` is not beside this program.
    dump_mb_per_s: Option<Rounds>,
    #[serde(flatten)]
    moves: Moves,
    #[serde(flatten)]
    migrating: Migrating,
    machine: Machine,
    seconds: f64,
}

/// A region with records of version 1, gone at the end.
struct World {
    name: String,
}

impl World {
    fn new(records: u64) -> Result<Self> {
        let world = Self {
            name: format!("shmstate-bench-{}-schema", std::process::id()),
        };
        let _ = Region::remove(&world.name);
        let capacity = (64 << 20) + records * 512;
        let mut region = Region::options().capacity(capacity).create(&world.name)?;
        let gate = region.gate().clone();
        let pass = gate.enter()?;
        region.write(&pass, |tx| {
            let map: Map<u64, One> = Map::create(tx, "small")?;
            for id in 0..records {
                map.insert(tx, &id, &one(id))?;
            }
            shmstate::Result::Ok(())
        })?;
        Ok(world)
    }

    /// As a new owner opens it; `back`: with a way back.
    fn open(&self, back: bool) -> Result<(Region, Map<u64, Two>)> {
        let region = Region::options().open(&self.name)?;
        let steps = Steps::new().from::<One>();
        let steps = if back { steps.back::<One>() } else { steps };
        let map = Map::open_migrating(&region, "small", steps)?;
        Ok((region, map))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = Region::remove(&self.name);
    }
}

pub(super) fn micros(since: Instant) -> f64 {
    since.elapsed().as_nanos() as f64 / 1e3
}

/// Opens, and times the first transaction.
fn settle(records: u64) -> Result<f64> {
    let world = World::new(records)?;
    let (mut region, _) = world.open(true)?;
    let gate = region.gate().clone();
    let pass = gate.enter()?;
    let start = Instant::now();
    region.begin(&pass)?.commit()?;
    Ok(micros(start))
}

/// Nanoseconds for each of the records `ids` changed in a transaction of its own.
fn touch(region: &mut Region, map: Map<u64, Two>, ids: &[u64]) -> Result<f64> {
    let gate = region.gate().clone();
    let pass = gate.enter()?;
    let start = Instant::now();
    for id in ids {
        let mut tx = region.begin(&pass)?;
        if let Some(mut record) = map.get_mut(&mut tx, id)? {
            let score = record.score.to_native() + 1;
            record.set(|r| &r.score, score.into())?;
        }
        tx.commit()?;
    }
    Ok(start.elapsed().as_nanos() as f64 / ids.len() as f64)
}

/// Nanoseconds of the program's own step.
fn step() -> f64 {
    let start = Instant::now();
    for id in 0..TOUCHED {
        black_box(Two::migrate(black_box(one(id))));
    }
    start.elapsed().as_nanos() as f64 / TOUCHED as f64
}

/// The 99th percentile of ticks that change one record in a hundred, always the same, in nanoseconds; between them `between` does something.
fn ticks(
    region: &mut Region,
    map: Map<u64, Two>,
    records: u64,
    count: usize,
    mut between: impl FnMut(&mut Region) -> Result<()>,
) -> Result<f64> {
    let gate = region.gate().clone();
    let mut took = Vec::with_capacity(count);
    for _ in 0..count {
        between(region)?;
        let pass = gate.enter()?;
        let start = Instant::now();
        let mut tx = region.begin(&pass)?;
        for i in 0..records / 100 {
            if let Some(mut record) = map.get_mut(&mut tx, &(i * 100))? {
                let x = record.x.to_native().wrapping_add(1);
                record.set(|r| &r.x, x.into())?;
            }
        }
        tx.commit()?;
        took.push(start.elapsed().as_nanos() as f64);
    }
    took.sort_by(f64::total_cmp);
    Ok(took[(took.len() * 99).div_ceil(100) - 1])
}

fn sweep(region: &mut Region, map: Map<u64, Two>, budget: u64) -> Result<u64> {
    let gate = region.gate().clone();
    let pass = gate.enter()?;
    let swept = region.write(&pass, |tx| map.sweep(tx, budget))?;
    Ok(swept.left)
}

/// Megabytes of JSON a second that the CLI writes of all records.
fn dump(world: &World) -> Result<Option<f64>> {
    let program = std::env::current_exe()?.with_file_name("handover");
    if !program.is_file() {
        return Ok(None);
    }
    let start = Instant::now();
    let mut child = Command::new(program)
        .args(["dump", &world.name, "small", "--json"])
        .stdout(Stdio::piped())
        .spawn()?;
    let (mut bytes, mut buffer) = (0, vec![0; 1 << 20]);
    if let Some(out) = &mut child.stdout {
        loop {
            match out.read(&mut buffer)? {
                0 => break,
                n => bytes += n,
            }
        }
    }
    if !child.wait()?.success() {
        return Err("handover dump failed".into());
    }
    Ok(Some(bytes as f64 / 1e6 / start.elapsed().as_secs_f64()))
}

pub(super) fn run(options: &Options) -> Result<()> {
    let begun = Instant::now();
    let machine = Machine::here();
    let records = options
        .records
        .unwrap_or(if options.quick { 100_000 } else { 1_000_000 });
    let rounds = if options.quick { 3 } else { 7 };
    let count = if options.quick { 100 } else { 300 };
    let mut samples: [Vec<f64>; 9] = Default::default();
    let mut dumps = Vec::new();
    let random = &mut fastrand::Rng::with_seed(1);
    for _ in 0..rounds {
        samples[0].push(settle(records / 1000)?);
        samples[1].push(settle(records)?);
        let world = World::new(records)?;
        let (mut region, map) = world.open(false)?;
        region.begin(&region.gate().clone().enter()?)?.commit()?;
        let touched = TOUCHED.min(records / 2);
        let mut ids: Vec<u64> = (0..records).collect();
        random.shuffle(&mut ids);
        ids.truncate(touched as usize);
        samples[2].push(touch(&mut region, map, &ids)?);
        // As cold as the first time.
        black_box(vec![1u8; 64 << 20]);
        samples[3].push(touch(&mut region, map, &ids)?);
        samples[4].push(step());
        let start = Instant::now();
        let left = records - touched;
        while sweep(&mut region, map, SWEPT)? > 0 {}
        samples[5].push(left as f64 / start.elapsed().as_secs_f64());
        samples[6].push(ticks(&mut region, map, records, count, |_| Ok(()))?);
        if let Some(rate) = dump(&world)? {
            dumps.push(rate);
        }
        drop(region);
        // The same ticks while a sweep is under way: so much between two that it would be over at the end.
        let world = World::new(records)?;
        let (mut region, map) = world.open(false)?;
        let budget = records / count as u64;
        let sweeping = |region: &mut Region| sweep(region, map, budget).map(|_| ());
        samples[7].push(ticks(&mut region, map, records, count, sweeping)?);
        drop(region);
        let world = World::new(records)?;
        let (mut region, map) = world.open(true)?;
        samples[8].push(ticks(&mut region, map, records, count, |_| Ok(()))?);
    }
    let [few, all, first, again, step, swept, tick, sweeping, back] = samples.map(Rounds::of);
    let report = Report {
        report: "schema",
        records,
        rounds,
        settle_few_us: few,
        settle_all_us: all,
        ratio_settle: all.median / few.median,
        first_touch_ns: first,
        touch_ns: again,
        step_ns: step,
        first_touch_over_step_ns: first.median - again.median - step.median,
        sweep_per_s: swept,
        tick_p99_ns: tick,
        tick_p99_sweeping_ns: sweeping,
        ratio_tick_p99: sweeping.median / tick.median,
        tick_p99_way_back_ns: back,
        dump_mb_per_s: (!dumps.is_empty()).then(|| Rounds::of(dumps)),
        moves: moves::measure(records, rounds)?,
        migrating: migrating::measure(handovers(options))?,
        machine,
        seconds: begun.elapsed().as_secs_f64(),
    };
    let text = if options.json {
        serde_json::to_string_pretty(&report)? + "\n"
    } else {
        table(&report)
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// How many handovers there are. Their table is not smaller in a quick run: filling it takes a second.
fn handovers(options: &Options) -> Amount {
    let (rounds, turns) = match (options.records, options.quick) {
        (Some(_), _) => (2, 2),
        (None, true) => (4, 8),
        (None, false) => (8, 20),
    };
    Amount {
        records: options.records.unwrap_or(1_000_000),
        rounds,
        turns,
    }
}

fn table(report: &Report) -> String {
    let row = |name: &str, rounds: &Rounds, unit: &str| {
        let Rounds { min, median, max } = rounds;
        format!("  {name:<44} {min:>12.1} {median:>12.1} {max:>12.1}  {unit}\n")
    };
    let mut out = format!(
        "{} small records of version 1, {} rounds\n\n  {:<44} {:>12} {:>12} {:>12}\n",
        report.records, report.rounds, "", "min", "median", "max"
    );
    out += &row("settling, a thousandth pending", &report.settle_few_us, "µs");
    out += &row("settling, all pending", &report.settle_all_us, "µs");
    out += &row("first touch, one transaction", &report.first_touch_ns, "ns");
    out += &row("a touch later", &report.touch_ns, "ns");
    out += &row("the program's step", &report.step_ns, "ns");
    out += &row("sweep, records a second", &report.sweep_per_s, "");
    out += &row("tick p99, all migrated", &report.tick_p99_ns, "ns");
    out += &row(
        "tick p99, with a sweep between ticks",
        &report.tick_p99_sweeping_ns,
        "ns",
    );
    out += &row("tick p99, with a way back", &report.tick_p99_way_back_ns, "ns");
    if let Some(dump) = &report.dump_mb_per_s {
        out += &row("dump, MB of JSON a second", dump, "");
    }
    for (name, rounds, unit) in report.moves.rows() {
        out += &row(name, rounds, unit);
    }
    out += &report.migrating.table();
    out + &format!(
        "\n  first touch over a touch and the step: {:.0} ns (aim 1000)\n  settling, all : a thousandth: {:.2}\n  tick p99, sweeping : not: {:.2} (aim 1.10)\n  {:.0} s\n",
        report.first_touch_over_step_ns, report.ratio_settle, report.ratio_tick_p99, report.seconds
    )
}
