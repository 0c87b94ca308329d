//! Memory given back, on real objects: figures of the kernel, reopening, successors, large pages, checkpoints, observers.

mod leased;

use leased::leased;
use shmstate::{
    CheckpointOptions, Error, Inspection, Map, Observer, Options, Pass, Region, Result, TableOptions, Trimmed, verify,
};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
/// Records that the observer has to see at least.
const SEEN: u64 = 100;

/// A region in /dev/shm that is removed at the end.
struct Named(String);

impl Named {
    fn new(what: &str) -> Self {
        Self(format!("shmstate-test-trim-{what}-{}", std::process::id()))
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = Region::remove(&self.0);
    }
}

type Blobs = Map<u64, Vec<u8>>;

fn blob(i: u64) -> Vec<u8> {
    vec![i as u8; 1000 + (i % 4 * 100) as usize]
}

fn fill(region: &mut Region, pass: &Pass<'_>, keys: std::ops::Range<u64>) -> Blobs {
    let blobs: Blobs = region
        .write(pass, |tx| Map::open_or_create(tx, "blobs"))
        .expect("table");
    for i in keys {
        region.write(pass, |tx| blobs.insert(tx, &i, &blob(i))).expect("insert");
    }
    blobs
}

fn remove(region: &mut Region, pass: &Pass<'_>, blobs: Blobs, keys: impl IntoIterator<Item = u64>) {
    for i in keys {
        region.write(pass, |tx| blobs.remove(tx, &i)).expect("remove");
    }
}

fn trim_all(region: &mut Region, pass: &Pass<'_>) -> u64 {
    let mut bytes = 0;
    for _ in 0..10_000 {
        let trimmed: Trimmed = region.trim(pass, 4 * MIB).expect("trim");
        bytes += trimmed.bytes;
        if !trimmed.more {
            return bytes;
        }
    }
    panic!("it never ends");
}

/// Everything there is, and nothing else.
fn check(region: &Region, pass: &Pass<'_>, blobs: Blobs, keys: impl IntoIterator<Item = u64>) {
    let reader = region.read(pass).expect("read");
    let mut n = 0;
    for i in keys {
        assert!(*blobs.get(&reader, &i).expect("get").expect("is there").as_slice() == *blob(i));
        n += 1;
    }
    assert_eq!(blobs.len(&reader).expect("len"), n);
    let found = verify(&reader).expect("verify");
    assert!(found.is_sound(), "{found:?}");
}

fn descriptor(region: &Region) -> OwnedFd {
    let descriptor = region.descriptor().expect("a descriptor");
    descriptor.try_clone_to_owned().expect("duplicate")
}

/// A region of 20 MiB of records, of which all in the middle were removed and given back.
fn with_hole(region: &mut Region, pass: &Pass<'_>) -> Blobs {
    let blobs = fill(region, pass, 0..14_000);
    let full = region.memory(pass).expect("memory").allocated;
    remove(region, pass, blobs, 1_000..13_000);
    let given = trim_all(region, pass);
    let memory = region.memory(pass).expect("memory");
    assert!(memory.holes >= 4 * MIB, "{memory:?}");
    assert!(
        given >= memory.holes && memory.given_back == given,
        "{given} {memory:?}"
    );
    assert!(full > memory.allocated, "{full} {memory:?}");
    blobs
}

fn kept() -> impl Iterator<Item = u64> {
    (0..1_000).chain(13_000..14_000)
}

/// Small pages and large, with the thread and without.
fn kinds() -> [(&'static str, Options); 3] {
    let options = Region::options().capacity(96 * MIB);
    [
        ("thread", options.clone()),
        ("none", options.clone().reserve_ahead(0)),
        ("raised", options.capacity(64 * MIB).reserve(128 * MIB)),
    ]
}
#[test]
fn given_back_kept_over_a_reopening_and_taken_again() {
    for (what, options) in kinds() {
        let name = Named::new(what);
        let mut region = options.create(&name.0).expect("create");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let blobs = with_hole(&mut region, &pass);
        check(&region, &pass, blobs, kept());
        drop(pass);
        drop(region);
        let seen = Inspection::of(&name.0).expect("inspect");
        // With what the thread has made ready meanwhile.
        let small = seen.memory.allocated;
        let again = Inspection::of(&name.0).expect("inspect").memory.allocated;
        assert_eq!(again, small, "looking takes nothing");
        assert!(seen.memory.holes >= 4 * MIB && seen.heap < 18 * MIB, "{seen:?}");
        // Opening enters all memory into the page tables, but not what there is none of.
        let mut region = options.open(&name.0).expect("open");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let memory = region.memory(&pass).expect("memory");
        assert!(memory.allocated <= small, "{memory:?}, not {small}");
        assert!(memory.huge <= memory.huge_wanted, "{memory:?}");
        check(&region, &pass, blobs, kept());
        // It fills up again, holes first where nothing else is ready, and holds what it is given.
        let blobs = fill(&mut region, &pass, 1_000..13_000);
        check(&region, &pass, blobs, 0..14_000);
        remove(&mut region, &pass, blobs, 0..14_000);
        trim_all(&mut region, &pass);
        let memory = region.memory(&pass).expect("memory");
        // Of 20 MiB: fixed parts, log, what the thread keeps ready, pages in which a chunk is left.
        assert!(memory.allocated <= 16 * MIB, "{memory:?}");
        check(&region, &pass, blobs, []);
    }
}

/// Whole large pages are given back, and made anew before they are used if they are reserved.
#[test]
fn large_pages_stay_large() {
    let name = Named::new("large");
    let options = Region::options().capacity(96 * MIB).reserve_ahead(0);
    let mut region = options.create(&name.0).expect("create");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    region.reserve(&pass, 32 * MIB).expect("reserve");
    let blobs = with_hole(&mut region, &pass);
    let before = region.memory(&pass).expect("memory");
    if before.huge == 0 {
        println!("not checked: this system has no large pages for shared memory");
        return;
    }
    assert_eq!(before.huge, before.huge_wanted, "{before:?}");
    region.reserve(&pass, before.holes).expect("reserve");
    fill(&mut region, &pass, 1_000..3_000);
    check(&region, &pass, blobs, (0..3_000).chain(13_000..14_000));
    let after = region.memory(&pass).expect("memory");
    assert!(after.holes == 0 && after.huge > before.huge, "{before:?} {after:?}");
    assert_eq!(after.huge, after.huge_wanted, "{after:?}");
}

/// A successor that mapped the region before it was trimmed, and long ago cached how much memory there is.
#[test]
fn a_successor_that_mapped_it_before() {
    let name = Named::new("heir");
    let options = Region::options().capacity(96 * MIB);
    let mut region = options.create(&name.0).expect("create");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let blobs = fill(&mut region, &pass, 0..14_000);
    let mut heir = Region::options()
        .gate(&leased())
        .attach(&name.0, descriptor(&region))
        .expect("attach");
    {
        let gate = heir.gate().clone();
        check(&heir, &gate.enter().expect("pass"), blobs, 0..14_000);
    }
    remove(&mut region, &pass, blobs, 1_000..14_000);
    trim_all(&mut region, &pass);
    drop(pass);
    drop(region);
    let small = Inspection::of(&name.0).expect("inspect").memory.allocated;
    let gate = heir.gate().clone();
    let pass = gate.enter().expect("pass");
    check(&heir, &pass, blobs, 0..1_000);
    assert!(heir.memory(&pass).expect("memory").allocated <= small);
    fill(&mut heir, &pass, 1_000..14_000);
    check(&heir, &pass, blobs, 0..14_000);
    remove(&mut heir, &pass, blobs, 0..14_000);
    trim_all(&mut heir, &pass);
    check(&heir, &pass, blobs, []);
}

/// Nothing is given back under a checkpoint; what was before is no part of it, and a region made of it has the same holes.
#[test]
fn a_checkpoint_and_what_is_restored() -> Result<()> {
    let (name, other) = (Named::new("marked"), Named::new("restored"));
    let file = std::env::temp_dir().join(format!("{}.checkpoint", name.0));
    let mut region = Region::options().capacity(96 * MIB).create(&name.0)?;
    let gate = region.gate().clone();
    let pass = gate.enter()?;
    let blobs = with_hole(&mut region, &pass);
    let mut running = region.checkpoint(&pass, &file, &CheckpointOptions::default())?;
    remove(&mut region, &pass, blobs, 0..500);
    // Unless it is over already, on a quick machine.
    let given = region.trim(&pass, MIB)?;
    assert!(!given.postponed || given.bytes == 0);
    let done = running.wait(Instant::now() + Duration::from_secs(60))?;
    trim_all(&mut region, &pass);
    check(&region, &pass, blobs, kept().filter(|i| *i >= 500));
    drop(pass);
    assert!(done.bytes < 8 * MIB, "{done:?}");
    let restored = Region::restore(&file, &other.0)?;
    std::fs::remove_file(&file).expect("remove");
    let gate = restored.gate().clone();
    let pass = gate.enter()?;
    check(&restored, &pass, Map::open(&restored, "blobs")?, kept());
    let memory = restored.memory(&pass)?;
    assert!(memory.holes >= 4 * MIB && memory.given_back == 0, "{memory:?}");
    assert!(memory.allocated < 20 * MIB, "{memory:?}");
    Ok(())
}

/// Somebody looks on while the owner fills, empties and trims the region.
#[test]
fn observers_meanwhile() {
    let name = Named::new("observed");
    let mut region = Region::options().capacity(96 * MIB).create(&name.0).expect("create");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    fill(&mut region, &pass, 0..100);
    let end = Instant::now() + Duration::from_millis(1500);
    // On a machine that stands still it takes longer to see so much.
    let latest = end + Duration::from_secs(60);
    let enough = AtomicBool::new(false);
    std::thread::scope(|s| {
        let look = s.spawn(|| {
            let (mut seen, mut key) = (0u64, 0);
            while Instant::now() < end || seen <= SEEN && Instant::now() < latest {
                let observer = Observer::open(&name.0).expect("open");
                let blobs = match observer.map::<u64, Vec<u8>>("blobs") {
                    // The owner never paused long enough: that is no fault.
                    Err(Error::Retry { .. }) => continue,
                    blobs => blobs.expect("map"),
                };
                for _ in 0..200 {
                    key = (key + 1) % 6_000;
                    match blobs.peek(&key) {
                        Ok(Some(found)) => {
                            assert!(*found.as_slice() == *blob(key));
                            seen += 1;
                        }
                        Ok(None) | Err(Error::Retry { .. }) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
            }
            enough.store(true, Ordering::Relaxed);
            seen
        });
        let mut rounds = 0;
        while rounds == 0 || !enough.load(Ordering::Relaxed) {
            let blobs = fill(&mut region, &pass, 100..6_000);
            remove(&mut region, &pass, blobs, 100..6_000);
            trim_all(&mut region, &pass);
            rounds += 1;
        }
        let seen = look.join().expect("observer");
        assert!(rounds > 0 && seen > SEEN, "{rounds} rounds, {seen} records seen");
    });
}

/// Random work on a table with keys of any length and checksums, with compaction in between: nothing is lost, what was moved has stale
/// handles, and it comes to an end with little more than what is there.
#[test]
fn compaction_at_random() -> Result<()> {
    for seed in 0..3 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut region = Region::options().capacity(64 * MIB).create_anonymous("compacted")?;
        let gate = region.gate().clone();
        let options = TableOptions::default().checksums(seed != 1);
        let (texts, numbers) = region.write(&gate.enter()?, |tx| {
            Result::Ok((
                Map::<String, Vec<u8>>::create_with(tx, "texts", options)?,
                Map::<u32, u64>::create(tx, "numbers")?,
            ))
        })?;
        let mut model: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let pass = gate.enter()?;
        let mut moved = 0;
        for round in 0..60 {
            let grows = round % 20 < 8;
            let mut tx = region.begin(&pass)?;
            let mut next = model.clone();
            for _ in 0..if grows { 800 } else { 400 } {
                let key = "k".repeat(random.usize(..20)) + &random.u32(..4000).to_string();
                if random.u8(..10) < if grows { 8 } else { 1 } {
                    let value = vec![random.u8(..); random.usize(..600)];
                    texts.insert(&mut tx, &key, &value)?;
                    numbers.insert(&mut tx, &random.u32(..50_000), &7)?;
                    next.insert(key, value);
                } else {
                    let found = next.range(key..).next().map(|(key, _)| key.clone());
                    if let Some(key) = found {
                        assert!(texts.remove(&mut tx, &key)?);
                        next.remove(&key);
                    }
                }
            }
            if random.bool() {
                // In the same transaction as removals and insertions.
                moved += texts.compact(&mut tx, random.u64(..500))? + numbers.compact(&mut tx, 200)?;
                for (key, value) in next.iter().take(50) {
                    assert!(*texts.get(&tx, key)?.expect("is there").as_slice() == **value);
                }
            }
            if random.u8(..4) > 0 {
                tx.commit()?;
                model = next;
            } else {
                drop(tx);
            }
            if random.u8(..4) == 0 {
                region.trim(&pass, random.u64(..8 * MIB))?;
            }
        }
        assert!(moved > 1_000, "{moved}");
        while region.write(&pass, |tx| texts.compact(tx, 1_000))? > 0 {}
        while region.write(&pass, |tx| numbers.compact(tx, 1_000))? > 0 {}
        while region.trim(&pass, 8 * MIB)?.more {}
        let reader = region.read(&pass)?;
        assert_eq!(texts.len(&reader)?, model.len() as u64);
        for (key, value) in &model {
            assert!(*texts.get(&reader, key)?.expect("is there").as_slice() == **value);
        }
        let found = verify(&reader)?;
        assert!(found.is_sound(), "{found:?}");
    }
    Ok(())
}

/// Nine of ten records go: what is left takes little more than it needs, at the front, and the rest is given back in large pieces.
#[test]
fn compaction_gives_back_what_removals_left() -> Result<()> {
    let mut region = Region::options().capacity(128 * MIB).create_anonymous("sparse")?;
    let gate = region.gate().clone();
    let pass = gate.enter()?;
    let blobs = fill(&mut region, &pass, 0..30_000);
    remove(&mut region, &pass, blobs, (0..30_000).filter(|i| i % 10 != 3));
    trim_all(&mut region, &pass);
    let sparse = region.memory(&pass)?;
    let (kept, lost) = {
        let reader = region.read(&pass)?;
        (
            blobs.handle(&reader, &3)?.expect("is there"),
            blobs.handle(&reader, &29_993)?.expect("is there"),
        )
    };
    let mut calls = 0;
    while region.write(&pass, |tx| blobs.compact(tx, 500))? > 0 {
        calls += 1;
        assert!(calls < 100, "it never ends");
    }
    trim_all(&mut region, &pass);
    let dense = region.memory(&pass)?;
    // 3000 records of 1.1 KiB, the index, the log, the fixed parts, and up to three pages of 2 MiB that the thread keeps ready.
    assert!(
        sparse.allocated > 35 * MIB && dense.allocated <= 24 * MIB,
        "{sparse:?} {dense:?}"
    );
    check(&region, &pass, blobs, (0..30_000).filter(|i| i % 10 == 3));
    let reader = region.read(&pass)?;
    assert!(blobs.get_at(&reader, lost)?.is_none(), "it was moved");
    if let Some(found) = blobs.get_at(&reader, kept)? {
        assert!(*found.as_slice() == *blob(3));
    }
    Ok(())
}

/// What one call moves no later one moves back, also where chunks are full and the heap has kept an empty one: it comes to an end.
#[test]
fn compaction_ends_beside_an_empty_chunk() -> Result<()> {
    // Two chunks of 2048 slots, and a few more.
    const RECORDS: u64 = 4_100;
    // More than there is to move.
    const CALLS: usize = 10;
    let mut region = Region::in_memory(32 << 20)?;
    let gate = region.gate().clone();
    let pass = gate.enter()?;
    let numbers = region.write(&pass, |tx| Map::<u64, u64>::create(tx, "numbers"))?;
    for key in 0..RECORDS {
        region.write(&pass, |tx| numbers.insert(tx, &key, &key))?;
    }
    for key in (4_000..RECORDS).rev() {
        region.write(&pass, |tx| numbers.remove(tx, &key))?;
        let mut calls = 0;
        while region.write(&pass, |tx| numbers.compact(tx, 3_000))? > 0 {
            calls += 1;
            assert!(calls < CALLS, "{key} records are moved to and fro");
        }
    }
    let reader = region.read(&pass)?;
    assert_eq!(numbers.len(&reader)?, 4_000);
    assert!(verify(&reader)?.is_sound());
    Ok(())
}
