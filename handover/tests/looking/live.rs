//! A region that is written while it is dumped, and one whose owner stopped in the middle: only what was committed is shown.

use super::{World, done, random, run};
use rkyv::{Archive, Deserialize, Serialize};
use shmstate::{Cell, Map, OrderedMap, Queue, Result, Schema, Slab, Tx};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

/// Records of each table that stay.
const RECORDS: u64 = 2000;
/// Dumps that are looked at.
const DUMPS: usize = 8;

/// Committed records have two equal numbers.
#[derive(Archive, Serialize, Deserialize, Schema)]
struct Twins {
    a: u64,
    filler: Vec<u8>,
    b: u64,
}

fn twins(a: u64, b: u64) -> Twins {
    let filler = vec![7; (a % 50) as usize];
    Twins { a, filler, b }
}

#[derive(Clone, Copy)]
struct Tables {
    map: Map<u64, Twins>,
    ordered: OrderedMap<u64, Twins>,
    slab: Slab<Twins>,
    queue: Queue<Twins>,
    cell: Cell<Twins>,
}

fn make(world: &mut World) -> Tables {
    world.write(|tx| {
        let tables = Tables {
            map: Map::create(tx, "map")?,
            ordered: OrderedMap::create(tx, "ordered")?,
            slab: Slab::create(tx, "slab")?,
            queue: Queue::create(tx, "queue")?,
            cell: Cell::create(tx, "cell", &twins(1, 1))?,
        };
        for i in 0..RECORDS {
            tables.map.insert(tx, &i, &twins(i, i))?;
            tables.ordered.insert(tx, &i, &twins(i, i))?;
            tables.slab.insert(tx, &twins(i, i))?;
            tables.queue.push_back(tx, &twins(i, i))?;
        }
        Ok(tables)
    })
}

/// Changes some of everything, with unequal twins in between.
fn change(tables: &Tables, tx: &mut Tx<'_>, rng: &mut fastrand::Rng) -> Result<()> {
    for _ in 0..rng.usize(1..6) {
        let (key, number) = (rng.u64(..RECORDS), rng.u64(..1_000_000));
        for b in [number + 1, number] {
            tables.map.insert(tx, &key, &twins(number, b))?;
            tables.ordered.insert(tx, &key, &twins(number, b))?;
            tables.cell.set(tx, &twins(number, b))?;
        }
        // These come and go, so that indexes and leaves change.
        let passing = RECORDS + rng.u64(..RECORDS);
        if !tables.map.remove(tx, &passing)? {
            tables.map.insert(tx, &passing, &twins(1, 1))?;
        }
        if !tables.ordered.remove(tx, &passing)? {
            tables.ordered.insert(tx, &passing, &twins(1, 1))?;
        }
        tables.queue.push_back(tx, &twins(number, number))?;
    }
    Ok(())
}

#[track_caller]
fn only_twins(out: &str) {
    let mut keys = [BTreeSet::new(), BTreeSet::new()];
    let mut slab = 0;
    for line in out.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(line["value"]["a"], line["value"]["b"], "{line}");
        let table = line["table"].as_str().expect("table");
        slab += u64::from(table == "slab");
        if let Some(i) = ["map", "ordered"].iter().position(|name| *name == table) {
            let key = line["key"].as_u64().expect("key");
            assert!(keys[i].insert(key), "{table} has {key} twice");
        }
    }
    for keys in keys {
        assert!(
            (0..RECORDS).all(|key| keys.contains(&key)),
            "a record that stays is missing"
        );
    }
    assert_eq!(slab, RECORDS);
}

#[test]
fn beside_a_writer_only_what_was_committed() {
    let mut rng = random();
    let mut world = World::new();
    let tables = make(&mut world);
    let name = world.name.clone();
    let stop = AtomicBool::new(false);
    let commits = std::thread::scope(|scope| {
        let dumps = scope.spawn(|| {
            /// Ends the writer also if a dump is not as it should be.
            struct Stop<'s>(&'s AtomicBool);
            impl Drop for Stop<'_> {
                fn drop(&mut self) {
                    self.0.store(true, Ordering::Release);
                }
            }
            let _stop = Stop(&stop);
            for _ in 0..DUMPS {
                only_twins(&done(&["dump", &name, "--ndjson"]));
            }
        });
        let pass = world.gate.enter().expect("pass");
        let mut commits = 0u64;
        while !stop.load(Ordering::Acquire) {
            let mut tx = world.region.begin(&pass).expect("begin");
            change(&tables, &mut tx, &mut rng).expect("changed");
            // The queue would fill the region.
            while tables.queue.len(&tx).expect("length") > 2 * RECORDS {
                tables.queue.pop_front(&mut tx, |_, _| ()).expect("popped");
            }
            if rng.u8(..4) == 0 {
                drop(tx);
            } else {
                tx.commit().expect("commit");
                commits += 1;
            }
        }
        dumps.join().expect("every dump is as it should be");
        commits
    });
    assert!(commits > 0);
}

#[test]
fn an_open_transaction_is_not_shown() {
    let mut rng = random();
    let mut world = World::new();
    let tables = make(&mut world);
    let before = done(&["dump", &world.name, "--ndjson"]);
    let checkpoint = world.checkpoint("before.ckpt");
    let pass = world.gate.enter().expect("pass");
    let mut tx = world.region.begin(&pass).expect("begin");
    for _ in 0..50 {
        change(&tables, &mut tx, &mut rng).expect("changed");
    }
    // As a killed owner leaves it: a log, and nobody who goes on.
    let open = done(&["dump", &world.name, "--ndjson"]);
    let same = run(&["diff", &checkpoint, &world.name]);
    drop(tx);
    let mut lines = [before, open].map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
    lines.iter_mut().for_each(|lines| lines.sort_unstable());
    assert!(lines[0] == lines[1], "the dump shows what is not committed");
    assert_eq!(same.code, 0, "{}{}", same.out, same.err);
}
