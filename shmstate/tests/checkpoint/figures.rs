//! What a checkpoint costs: run by hand,
//! `cargo test --release -p shmstate --test checkpoint figures -- --ignored --nocapture`.

use crate::harness::{Name, soon};
use shmstate::{CheckpointOptions, Map, Region, Result};
use std::time::{Duration, Instant};

const RECORDS: u64 = 1_000_000;
const ROUNDS: usize = 9;
/// Bytes of a record: with key, header and index about 256 MiB in all.
const BYTES: usize = 224;

/// How often this thread has waited for anything so far: a preemption is not counted, a lock or a page fault that
/// sleeps is.
fn waits() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("status");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.expect("a line").trim().parse().expect("a number")
}

/// The mean of all but the one in a thousand that took longest: those were preempted.
fn mean(values: &mut [Duration]) -> Duration {
    values.sort_unstable();
    let most = values.len() - values.len() / 1000;
    values[..most].iter().sum::<Duration>() / most as u32
}

/// The value that one in `n` is above.
fn above(values: &mut [Duration], n: usize) -> Duration {
    values.sort_unstable();
    values[values.len() - 1 - values.len() / n]
}

fn spread(what: &str, values: &mut [Duration]) {
    values.sort_unstable();
    let (least, middle, most) = (values[0], values[values.len() / 2], values[values.len() - 1]);
    println!("{what:<46} {least:>10.1?} {middle:>10.1?} {most:>10.1?}");
}

#[test]
#[ignore = "takes a minute and needs a quiet machine"]
fn figures() {
    let name = Name::new("figures");
    let copy = Name::new("figures-copy");
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("world");
    let mut region = Region::options().capacity(1 << 30).create(&name.0).expect("create");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let table: Map<u64, Vec<u8>> = region.write(&pass, |tx| Map::create(tx, "records")).expect("table");
    for first in (0..RECORDS).step_by(10_000) {
        region
            .write(&pass, |tx| {
                for id in first..first + 10_000 {
                    table.insert(tx, &id, &vec![id as u8; BYTES])?;
                }
                Result::Ok(())
            })
            .expect("fill");
    }
    let mut random = fastrand::Rng::with_seed(1);
    let write = |region: &mut Region, random: &mut fastrand::Rng| {
        let id = random.u64(0..RECORDS);
        let start = Instant::now();
        region
            .write(&pass, |tx| {
                let mut record = table.get_mut(tx, &id)?.expect("record");
                record.set(|r| &r[7], 1)
            })
            .expect("write");
        start.elapsed()
    };
    let names = [
        "prepare",
        "mark",
        "write, no checkpoint: mean of 999 in 1000",
        "write, during: mean of 999 in 1000",
        "write, no checkpoint: one in 1000 is longer",
        "write, during: one in 1000 is longer",
        "write, no checkpoint: longest",
        "write, during: longest",
        "extra time for each page that was saved",
        "longest copy of a page by the writer",
        "mark until safe on disk",
        "restore",
    ];
    let mut columns = names.map(|_| Vec::new());
    let mut ratio = Vec::new();
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        took.clear();
        took.extend((0..200_000).map(|_| write(&mut region, &mut random)));
        let alone = mean(&mut took);
        let (rare, most) = (above(&mut took, 1000), above(&mut took, usize::MAX));
        let start = Instant::now();
        let prepared = region
            .prepare_checkpoint(&path, &CheckpointOptions::default())
            .expect("prepare");
        let prepare = start.elapsed();
        let start = Instant::now();
        let mut running = region.mark(&pass, prepared).expect("mark");
        let mark = start.elapsed();
        took.clear();
        let before = waits();
        while !running.is_done() {
            took.push(write(&mut region, &mut random));
        }
        let waited = waits() - before;
        let report = running.wait(soon()).expect("report");
        let (during, n) = (mean(&mut took), took.len() as u32);
        let (rare_during, most_during) = (above(&mut took, 1000), above(&mut took, usize::MAX));
        println!("{report:?}, {n} writes meanwhile, waited {waited} times");
        let start = Instant::now();
        drop(Region::restore(&path, &copy.0).expect("restore"));
        let restore = start.elapsed();
        Region::remove(&copy.0).expect("remove");
        let extra = during.saturating_sub(alone) * n / report.copied_by_writer.max(1) as u32;
        let row = [
            prepare,
            mark,
            alone,
            during,
            rare,
            rare_during,
            most,
            most_during,
            extra,
            report.longest_writer_copy,
            report.took,
            restore,
        ];
        for (column, value) in columns.iter_mut().zip(row) {
            column.push(value);
        }
        ratio.push(during.as_nanos() as f64 / alone.as_nanos() as f64);
    }
    println!("{:<46} {:>10} {:>10} {:>10}", "", "min", "median", "max");
    for (name, values) in names.iter().zip(&mut columns) {
        spread(name, values);
    }
    ratio.sort_by(f64::total_cmp);
    println!(
        "write during / write without: {:.2} {:.2} {:.2}",
        ratio[0],
        ratio[ROUNDS / 2],
        ratio[ROUNDS - 1]
    );
}
