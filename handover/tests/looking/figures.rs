//! How fast a region is dumped: not run unless asked for, since only an optimised build on a quiet machine says anything.
//!
//! `cargo test --release -p handover --test looking figures -- --ignored --nocapture`

use super::{World, command};
use rkyv::{Archive, Deserialize, Serialize};
use shmstate::{Map, OrderedMap, Region, Schema, Slab};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Records of each table.
const RECORDS: u64 = 1_000_000;
/// Records made in one transaction.
const BATCH: u64 = 10_000;
/// How often each is measured.
const ROUNDS: usize = 5;

#[derive(Archive, Serialize, Deserialize, Schema)]
struct Player {
    name: String,
    alive: bool,
    score: u64,
    at: (f32, f32),
    team: Option<u16>,
    inventory: Vec<Item>,
}

#[derive(Archive, Serialize, Deserialize, Schema)]
struct Item {
    kind: u16,
    count: u32,
}

fn player(i: u64) -> Player {
    Player {
        name: format!("player number {i}"),
        alive: i.is_multiple_of(3),
        score: i * 977,
        at: (i as f32 * 0.25, -(i as f32) / 3.0),
        team: i.is_multiple_of(2).then_some(i as u16),
        inventory: (0..i as u16 % 4).map(|kind| Item { kind, count: i as u32 }).collect(),
    }
}

/// Bytes and time of a dump into a pipe that is read to its end.
fn dump(arguments: &[&str]) -> (u64, Duration) {
    let start = Instant::now();
    let mut child = command(arguments).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut out = child.stdout.take().expect("stdout");
    let bytes = std::io::copy(&mut out, &mut std::io::sink()).expect("read");
    assert!(child.wait().expect("it ends").success());
    (bytes, start.elapsed())
}

#[test]
#[ignore = "a measurement"]
fn figures() {
    let mut world = World::sized(2 << 30);
    let (map, ordered, slab) = world.write(|tx| {
        Ok((
            Map::<u64, Player>::create(tx, "map")?,
            OrderedMap::<u64, Player>::create(tx, "ordered")?,
            Slab::<Player>::create(tx, "slab")?,
        ))
    });
    for start in (0..RECORDS).step_by(BATCH as usize) {
        world.write(|tx| {
            for i in start..start + BATCH {
                map.insert(tx, &i, &player(i))?;
                ordered.insert(tx, &i, &player(i))?;
                slab.insert(tx, &player(i))?;
            }
            Ok(())
        });
    }
    let name = world.name.clone();
    println!("{RECORDS} records in each table; {ROUNDS} rounds; least, median, most");
    for table in ["map", "ordered", "slab"] {
        for form in ["--ndjson", "--json", "--csv"] {
            let mut rates: Vec<f64> = Vec::new();
            let mut size = 0;
            for _ in 0..ROUNDS {
                let (bytes, took) = dump(&["dump", &name, table, form]);
                size = bytes;
                rates.push(bytes as f64 / 1e6 / took.as_secs_f64());
            }
            rates.sort_by(f64::total_cmp);
            println!(
                "{table} {form}: {:.0} MB, {:.0} / {:.0} / {:.0} MB/s",
                size as f64 / 1e6,
                rates[0],
                rates[ROUNDS / 2],
                rates[ROUNDS - 1]
            );
        }
    }
    let _ = Region::remove(&name);
}
