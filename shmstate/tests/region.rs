//! Regions as their users see them: make, open, hand over by descriptor, fill, refuse.

use rkyv::{Archive, Serialize};
use shmstate::{
    Cell, Error, Gap, Gate, Inspection, Map, OrderedMap, Queue, Region, Result, Schema, Slab, TableOptions, Timers,
    verify,
};
use std::collections::BTreeMap;

/// A name that no other test uses, removed at the end, also of a failing test.
struct Name(String);

impl Name {
    fn new(what: &str) -> Self {
        Self(format!("shmstate-test-{what}-{}", std::process::id()))
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = Region::remove(&self.0);
    }
}

#[derive(Archive, Serialize, Schema, Clone, Debug)]
struct Player {
    name: String,
    score: u32,
    bag: Vec<u16>,
}

#[test]
fn a_region_outlives_its_handle_and_refuses_a_second_owner() {
    let name = Name::new("owner");
    let mut region = Region::options().capacity(4 << 20).create(&name.0).expect("create");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    region
        .write(&pass, |tx| Cell::<u64>::create(tx, "clock", &7).map(|_| ()))
        .expect("write");
    assert!(matches!(Region::options().create(&name.0), Err(Error::Exists { .. })));
    assert!(matches!(Region::options().open(&name.0), Err(Error::InUse { .. })));
    drop(region);
    let region = Region::options().open(&name.0).expect("open");
    let clock = Cell::<u64>::open(&region, "clock").expect("clock");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    assert_eq!(
        clock.get(&region.read(&pass).expect("read")).expect("get").to_native(),
        7
    );
    assert!(matches!(
        Cell::<u32>::open(&region, "clock"),
        Err(Error::SchemaMismatch { .. })
    ));
    assert!(matches!(Cell::<u64>::open(&region, "none"), Err(Error::NoTable { .. })));
}

#[test]
fn half_made_cut_and_foreign_objects_are_refused_or_reclaimed() {
    let name = Name::new("half");
    let path = format!("/dev/shm/{}", name.0);
    std::fs::write(&path, b"").expect("a maker that died at once");
    assert!(
        matches!(Region::options().open(&name.0), Err(Error::NotFound { .. })),
        "reclaimed"
    );
    std::fs::write(&path, vec![0; 1 << 20]).expect("a maker that died before the magic");
    let (region, new) = Region::options()
        .capacity(4 << 20)
        .open_or_create(&name.0)
        .expect("reclaim and make");
    assert!(new);
    drop(region);
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("file");
    file.set_len(1 << 20).expect("cut");
    let error = Region::options().open(&name.0).expect_err("cut");
    assert!(
        error
            .to_string()
            .contains("it was cut: 1048576 bytes are left of 4194304"),
        "{error}"
    );
    std::fs::write(&path, vec![b'x'; 8192]).expect("foreign");
    assert!(matches!(Region::options().open(&name.0), Err(Error::NotARegion { .. })));
}

#[test]
fn a_full_region_says_so_and_stays_usable() {
    let name = Name::new("full");
    let mut region = Region::options().capacity(3 << 20).create(&name.0).expect("create");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let bag: Map<u64, Vec<u8>> = region.write(&pass, |tx| Map::create(tx, "bag")).expect("table");
    let mut kept = 0;
    let error = loop {
        let put: Result<()> = region.write(&pass, |tx| {
            for i in 0..16 {
                bag.insert(tx, &(kept * 16 + i), &vec![i as u8; 1000])?;
            }
            Ok(())
        });
        match put {
            Ok(()) => kept += 1,
            Err(e) => break e,
        }
    };
    assert!(matches!(error, Error::RegionFull { .. }) && error.is_full(), "{error}");
    let reader = region.read(&pass).expect("read");
    assert_eq!(
        bag.len(&reader).expect("len"),
        kept * 16,
        "the failed transaction left nothing"
    );
    assert!(verify(&reader).expect("verify").is_sound());
    region
        .write(&pass, |tx| {
            for i in 0..160 {
                bag.remove(tx, &i)?;
            }
            Result::Ok(())
        })
        .expect("remove");
    region
        .write(&pass, |tx| bag.insert(tx, &0, &vec![1; 1000]).map(|_| ()))
        .expect("room again");
}

#[test]
fn map_agrees_with_a_model() {
    let seed = 0x5eed_u64;
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut region = Region::in_memory(64 << 20).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let players: Map<(u32, u16), Player> = region.write(&pass, |tx| Map::create(tx, "players")).expect("table");
    let mut model: BTreeMap<(u32, u16), (String, u32, Vec<u16>)> = BTreeMap::new();
    for round in 0..400 {
        let keep = random.u8(..4) > 0;
        let mut next = model.clone();
        let mut tx = region.begin(&pass).expect("begin");
        for _ in 0..random.usize(1..80) {
            let key = (random.u32(..3000), random.u16(..2));
            match random.u8(..10) {
                0..=5 => {
                    let length = random.usize(..90);
                    let value = Player {
                        name: "n".repeat(length),
                        score: random.u32(..),
                        bag: (0..random.u16(..40)).collect(),
                    };
                    let before = players.insert(&mut tx, &key, &value).expect("insert");
                    let was = next.insert(key, (value.name, value.score, value.bag));
                    assert_eq!(before, was.is_some());
                }
                6 | 7 => {
                    let removed = players.remove(&mut tx, &key).expect("remove");
                    assert_eq!(removed, next.remove(&key).is_some());
                }
                _ => {
                    let record = players.get_mut(&mut tx, &key).expect("find");
                    assert_eq!(record.is_some(), next.contains_key(&key));
                    if let Some(mut record) = record {
                        record.set(|p| &p.score, round.into()).expect("set");
                        next.get_mut(&key).expect("in the model").1 = round;
                    }
                }
            }
        }
        if keep {
            tx.commit().expect("commit");
            model = next;
        } else {
            drop(tx);
        }
        let reader = region.read(&pass).expect("read");
        assert_eq!(players.len(&reader).expect("len"), model.len() as u64);
        if round % 40 == 0 {
            let mut found = BTreeMap::new();
            for item in players.iter(&reader).expect("iter") {
                let (key, p) = item.expect("record");
                let bag = p.bag.iter().map(|b| b.to_native()).collect();
                found.insert(key, (p.name.to_string(), p.score.to_native(), bag));
            }
            assert_eq!(found, model);
            assert!(verify(&reader).expect("verify").is_sound());
        }
    }
}

#[test]
fn passes_and_handles_of_others_are_refused() {
    let mut a = Region::in_memory(2 << 20).expect("region");
    let b = Region::in_memory(2 << 20).expect("region");
    let gate = a.gate().clone();
    let pass = gate.enter().expect("pass");
    assert!(matches!(b.read(&pass), Err(Error::ForeignPass { .. })));
    let cell: Cell<u64> = a.write(&pass, |tx| Cell::create(tx, "c", &1)).expect("cell");
    let other = b.gate().clone();
    let pass = other.enter().expect("pass");
    assert!(matches!(
        cell.get(&b.read(&pass).expect("read")),
        Err(Error::ForeignTable)
    ));
    let names: Map<u64, String> =
        Map::open_or_create(&mut a.begin(&gate.enter().expect("pass")).expect("tx"), "m").expect("map");
    assert!(format!("{names:?}").starts_with("Map"));
    assert!(Gate::alone().enter().is_ok());
}

#[test]
fn large_records_are_runs_and_come_back() {
    let mut region = Region::in_memory(64 << 20).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let blobs: Map<u64, Vec<u8>> = region.write(&pass, |tx| Map::create(tx, "blobs")).expect("table");
    for round in 0..20u64 {
        for key in 0..6 {
            let length = 10_000 * (key + round % 7 * 13) as usize;
            region
                .write(&pass, |tx| {
                    blobs.insert(tx, &key, &vec![round as u8; length]).map(|_| ())
                })
                .expect("insert");
        }
        let reader = region.read(&pass).expect("read");
        assert!(verify(&reader).expect("verify").is_sound());
        let blob = blobs.get(&reader, &3).expect("get").expect("there");
        assert!(blob.iter().all(|b| *b == round as u8));
    }
}

#[test]
fn inspection_reads_a_region_in_use() {
    let name = Name::new("inspect");
    let mut region = Region::options().capacity(4 << 20).create(&name.0).expect("create");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    region
        .write(&pass, |tx| {
            let players: Map<u64, Player> = Map::create(tx, "players")?;
            players
                .insert(
                    tx,
                    &1,
                    &Player {
                        name: "Ada".into(),
                        score: 3,
                        bag: vec![1],
                    },
                )
                .map(|_| ())
        })
        .expect("write");
    let seen = Inspection::of(&name.0).expect("inspect");
    assert!(seen.held);
    assert_eq!((seen.tables.len(), seen.tables[0].records, seen.commits), (1, 1, 1));
    assert!(seen.tables[0].description.contains("Player"));
    drop(region);
    assert!(!Inspection::of(&name.0).expect("inspect").held);
}

#[test]
fn a_look_from_outside_counts_tables_of_any_size() {
    const RECORDS: u64 = 4_000;
    let name = Name::new("counted");
    let mut region = Region::options().capacity(8 << 20).create(&name.0).expect("create");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    region
        .write(&pass, |tx| {
            let slab = Slab::create(tx, "slab")?;
            let timers = Timers::create(tx, "timers", Gap::All)?;
            let queue = Queue::create(tx, "queue")?;
            let (map, board) = (
                Map::<u64, u64>::create(tx, "map")?,
                OrderedMap::<u64, u64>::create(tx, "board")?,
            );
            for i in 0..RECORDS {
                slab.insert(tx, &i)?;
                timers.insert(tx, i, &i)?;
                queue.push_back(tx, &i)?;
                map.insert(tx, &i, &i)?;
                board.insert(tx, &i, &i)?;
            }
            Ok::<_, Error>(())
        })
        .expect("write");
    let seen = Inspection::of(&name.0).expect("inspect");
    assert_eq!(seen.tables.len(), 5);
    for table in seen.tables {
        assert_eq!(table.records, RECORDS, "{}", table.name);
    }
}

/// What was wanted, how much, how far the region is in use, and what helps there.
#[test]
fn a_full_region_says_what_for_and_what_helps() {
    for (reserve, raised) in [(4 << 20, false), (8 << 20, true)] {
        let name = Name::new(if raised { "says-raise" } else { "says-full" });
        let options = Region::options().capacity(4 << 20).reserve(reserve);
        let mut region = options.create(&name.0).expect("create");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let bag: Map<u64, Vec<u8>> = region.write(&pass, |tx| Map::create(tx, "bag")).expect("table");
        let record = region
            .write(&pass, |tx| bag.insert(tx, &1, &vec![0; 5 << 20]).map(|_| ()))
            .expect_err("too much");
        // In transactions of their own until nothing fits, then all are to go at once: that is too much for the log.
        let mut next = 0;
        while region
            .write(&pass, |tx| bag.insert(tx, &next, &vec![1; 1000]).map(|_| ()))
            .is_ok()
        {
            next += 1;
        }
        let log = region.write(&pass, |tx| {
            for key in 0..next {
                bag.remove(tx, &key)?;
            }
            Result::Ok(())
        });
        let log = log.expect_err("too much for the log");
        for (error, wanted_for) in [(&record, "a record, an index or a page"), (&log, "the undo log")] {
            let Error::RegionFull {
                what,
                wanted,
                used,
                capacity,
                reserve: most,
            } = error
            else {
                panic!("{error}");
            };
            assert_eq!((*what, *capacity, *most), (wanted_for, 4 << 20, reserve), "{error}");
            assert!(*used <= *capacity && *used + *wanted > *capacity, "{error}");
            let text = error.to_string();
            assert!(
                text.contains(wanted_for) && text.contains(&capacity.to_string()),
                "{text}"
            );
            assert_eq!(text.contains("raise its capacity"), raised, "{text}");
            assert_eq!(text.contains("Options::reserve"), !raised, "{text}");
            assert_eq!(
                text.contains("change less in a transaction"),
                *what == "the undo log",
                "{text}"
            );
        }
        if raised {
            // It says the truth.
            region.raise_capacity(&pass, reserve).expect("raised");
            region
                .write(&pass, |tx| bag.insert(tx, &next, &vec![1; 1000]).map(|_| ()))
                .expect("room");
        }
        let reader = region.read(&pass).expect("read");
        assert!(verify(&reader).expect("verify").is_sound());
    }
    let refused = Region::options()
        .capacity(1000)
        .create("never-made")
        .expect_err("too small");
    assert!(matches!(refused, Error::BadCapacity { wanted: 1000, .. }), "{refused}");
    let refused = Region::options()
        .capacity(4 << 20)
        .reserve(2 << 20)
        .create("never-made");
    let refused = refused.expect_err("less than the capacity");
    assert!(
        matches!(refused, Error::BadCapacity { wanted, .. } if wanted == 4 << 20),
        "{refused}"
    );
}

/// What an owner sees of its own tables and heap is what an observer sees, and what a check of everything counts; inside a transaction it is that of the
/// transaction.
#[test]
fn an_owner_has_the_figures_of_an_observer() {
    let name = Name::new("figures");
    let mut region = Region::options()
        .capacity(64 << 20)
        .reserve_ahead(0)
        .create(&name.0)
        .expect("create");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let (map, slab) = region
        .write(&pass, |tx| {
            let options = TableOptions::default().checksums(true);
            let map: Map<u64, Vec<u8>> = Map::create_with(tx, "map", options)?;
            let slab: Slab<Vec<u8>> = Slab::create(tx, "slab")?;
            for i in 0..2_000 {
                map.insert(tx, &i, &vec![1; i as usize])?;
            }
            slab.insert(tx, &vec![1; 70_000])?;
            Ok::<_, Error>((map, slab))
        })
        .expect("write");
    let shown = |tables: Vec<shmstate::TableInfo>| -> Vec<String> {
        tables.into_iter().map(|table| format!("{table:?}")).collect()
    };
    let reader = region.read(&pass).expect("read");
    let own = reader.tables().expect("tables");
    assert_eq!(own.iter().map(|table| table.records).collect::<Vec<_>>(), [2_000, 1]);
    assert_eq!(
        own.iter().map(|table| table.checksums).collect::<Vec<_>>(),
        [true, false]
    );
    assert_eq!(
        shown(own.clone()),
        shown(Inspection::of(&name.0).expect("inspect").tables)
    );
    let heap = reader.heap_stats().expect("heap");
    assert_eq!(heap, verify(&reader).expect("verify").heap);
    let kept: u64 = own.iter().map(|table| heap.owned[table.row]).sum();
    let archives: u64 = own.iter().map(|table| table.archived_bytes).sum();
    assert!(kept >= archives && kept <= heap.used, "{kept} of {heap:?}, {archives}");
    let mut tx = region.begin(&pass).expect("begin");
    map.insert(&mut tx, &2_000, &vec![0; 10_000]).expect("insert");
    assert_eq!(tx.tables().expect("tables")[0].records, 2_001);
    let more = tx.heap_stats().expect("heap").owned[own[0].row] - heap.owned[own[0].row];
    assert!((10_000..12_000).contains(&more), "{more}");
    drop(tx);
    let mut after = region.read(&pass).expect("read").heap_stats().expect("heap");
    // Memory that the transaction took ahead of the heap's end stays.
    after.taken = heap.taken;
    assert_eq!(after, heap);
    assert_eq!(slab.len(&region.read(&pass).expect("read")).expect("len"), 1);
}

/// A successor opens its tables while its predecessor serves, and the predecessor may die there, in the middle of a transaction: what was
/// committed is found all the same, and what was not is not.
#[test]
fn tables_are_found_beside_a_transaction_that_nobody_will_end() {
    let name = Name::new("torn");
    let mut region = Region::options().capacity(4 << 20).create(&name.0).expect("create");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let made: Map<u64, u64> = region.write(&pass, |tx| Map::create(tx, "made")).expect("write");
    let fd = region.descriptor().expect("named").try_clone_to_owned().expect("dup");
    let mut tx = region.begin(&pass).expect("begin");
    for key in 0..1000 {
        made.insert(&mut tx, &key, &key).expect("insert");
    }
    Cell::<u64>::create(&mut tx, "torn", &7).expect("create");
    // What a killed process leaves.
    std::mem::forget(tx);

    let closed = Gate::closed(std::sync::Arc::new(shmstate::lease::LocalLease::default()));
    let seen = Region::options().gate(&closed).attach(&name.0, fd).expect("attach");
    Map::<u64, u64>::open(&seen, "made").expect("committed");
    assert!(matches!(
        Map::<u64, u32>::open(&seen, "made"),
        Err(Error::Busy { .. } | Error::SchemaMismatch { .. })
    ));
    assert!(matches!(Cell::<u64>::open(&seen, "torn"), Err(Error::Busy { .. })));
}
