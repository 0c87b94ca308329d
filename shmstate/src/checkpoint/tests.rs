//! The inside of checkpoints: pages against the memory at the mark, and files with every byte and every length wrong.

use crate::checkpoint::CheckpointOptions;
use crate::checkpoint::image;
use crate::checkpoint::pages::PAGE;
use crate::checkpoint::restore::Input;
use crate::region::header::at;
use crate::{Cell, Error, Map, Region, Result};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

struct Name(String);

impl Name {
    fn new(what: &str) -> Self {
        Self(format!("shmstate-checkpoint-{what}-{}", std::process::id()))
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = Region::remove(&self.0);
    }
}

#[derive(Clone, Copy)]
struct Tables {
    blobs: Map<u64, Vec<u8>>,
    ledger: Map<u32, u64>,
    step: Cell<u64>,
}

const ACCOUNTS: u32 = 3000;

fn fill(region: &mut Region) -> Tables {
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let tables = region
        .write(&pass, |tx| {
            Result::Ok(Tables {
                blobs: Map::create(tx, "blobs")?,
                ledger: Map::create(tx, "ledger")?,
                step: Cell::create(tx, "step", &0)?,
            })
        })
        .expect("tables");
    let mut random = fastrand::Rng::with_seed(1);
    region
        .write(&pass, |tx| {
            for i in 0..ACCOUNTS {
                tables.ledger.insert(tx, &i, &1000)?;
            }
            for i in 0..400 {
                tables.blobs.insert(tx, &i, &vec![i as u8; random.usize(1..9000)])?;
            }
            // Free runs and pages without a block in use.
            for i in 100..250 {
                tables.blobs.remove(tx, &i)?;
            }
            tables.blobs.insert(tx, &1000, &vec![7; 300_000])?;
            tables.blobs.insert(tx, &1001, &vec![7; 200_000])?;
            tables.blobs.remove(tx, &1000).map(|_| ())
        })
        .expect("fill");
    tables
}

/// A transaction of every kind of change; some are rolled back.
fn churn(region: &mut Region, tables: Tables, random: &mut fastrand::Rng) {
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let mut tx = region.begin(&pass).expect("begin");
    let mut change = || -> Result<()> {
        let step = tables.step.get(&tx)?.to_native();
        tables.step.get_mut(&mut tx)?.set(|s| s, (step + 1).into())?;
        for _ in 0..8 {
            let id = random.u64(0..500);
            match random.u8(0..6) {
                0 | 1 => drop(
                    tables
                        .blobs
                        .insert(&mut tx, &id, &vec![random.u8(..); random.usize(1..9000)])?,
                ),
                2 => drop(tables.blobs.remove(&mut tx, &id)?),
                3 => {
                    if let Some(mut blob) = tables.blobs.get_mut(&mut tx, &id)? {
                        blob.set(|b| &b[0], 1)?;
                    }
                }
                _ => {
                    for (id, by) in [(random.u32(0..ACCOUNTS), 1u64), (random.u32(0..ACCOUNTS), u64::MAX)] {
                        let mut account = tables.ledger.get_mut(&mut tx, &id)?.expect("account");
                        let now = account.to_native().wrapping_add(by);
                        account.set(|a| a, now.into())?;
                    }
                }
            }
        }
        Ok(())
    };
    change().expect("change");
    if random.u8(0..5) > 0 {
        tx.commit().expect("commit");
    }
}

fn read_file(path: &Path) -> BTreeMap<u64, Vec<u8>> {
    let mut pages = BTreeMap::new();
    let mut input = Input::open(path).expect("open");
    input
        .pages(|page, bytes| {
            pages.insert(page, bytes.to_vec());
            Ok(())
        })
        .expect("every checksum");
    pages
}

/// Checkpoints a region under a writer at full speed and compares every page of the file with the memory at the mark.
/// Says how many differ, and how many the writer saved. `sabotage`: the writer forgets to save.
fn differing_pages(seed: u64, sabotage: bool) -> (usize, u64) {
    let name = Name::new(&format!("pages-{seed}-{sabotage}"));
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("world");
    let mut region = Region::options().capacity(32 << 20).create(&name.0).expect("create");
    let tables = fill(&mut region);
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..50 {
        churn(&mut region, tables, &mut random);
    }
    let gate = region.gate().clone();
    let options = CheckpointOptions::default().bytes_per_second(20 << 20).pages_ahead(64);
    let prepared = region.prepare_checkpoint(&path, &options).expect("prepare");
    // The preparation may lie back any number of transactions.
    churn(&mut region, tables, &mut random);
    let pass = gate.enter().expect("pass");
    let mut running = region.mark(&pass, prepared).expect("mark");
    drop(pass);
    let end = region.view.size(at::HEAP_END);
    let mark = region.view.bytes(0, end, "heap").expect("memory").to_vec();
    if sabotage {
        std::mem::forget(region.hook.take());
        for _ in 0..300 {
            churn(&mut region, tables, &mut random);
        }
        // What the writer did not save, nobody waits for: all pages come from the copier.
        running.wait(Instant::now() + Duration::from_secs(60)).expect("done");
    }
    while !running.is_done() {
        churn(&mut region, tables, &mut random);
    }
    let report = running.wait(Instant::now()).expect("report");
    churn(&mut region, tables, &mut random);
    assert!(region.hook.is_none(), "the next transaction is free of it");
    let pages = read_file(&path);
    assert_eq!(pages.len() as u64, report.pages);
    assert!((report.pages * PAGE) < end, "free runs are not in the file");
    let layout = region.layout();
    let differing = pages
        .iter()
        .filter(|(page, bytes)| {
            assert!(image::holds(layout, end, **page));
            let start = (**page * PAGE) as usize;
            **page > 0 && **bytes != mark[start..start + PAGE as usize]
        })
        .count();
    (differing, report.copied_by_writer)
}

#[test]
fn every_page_of_the_file_is_the_page_at_the_mark() {
    let mut saved = 0;
    for seed in 0..3 {
        let (differing, by_writer) = differing_pages(seed, false);
        assert_eq!(differing, 0, "seed {seed}");
        saved += by_writer;
    }
    assert!(
        saved > 100,
        "only {saved} pages were saved by the writer: nothing was tested"
    );
}

#[test]
fn a_writer_that_forgets_to_save_is_noticed() {
    // Whether the writer comes between the copier's looks is chance: on a busy machine not each time.
    let noticed = (9..15).any(|seed| {
        let (differing, by_writer) = differing_pages(seed, true);
        assert_eq!(by_writer, 0);
        differing > 10
    });
    assert!(noticed);
}

/// The bytes of a small checkpoint.
fn small() -> Vec<u8> {
    let name = Name::new("small");
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("world");
    let mut region = Region::options().capacity(4 << 20).create(&name.0).expect("create");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    region
        .write(&pass, |tx| Cell::create(tx, "clock", &7u64).map(|_| ()))
        .expect("cell");
    let mut running = region
        .checkpoint(&pass, &path, &CheckpointOptions::default())
        .expect("mark");
    running.wait(Instant::now() + Duration::from_secs(60)).expect("done");
    std::fs::read(&path).expect("read")
}

fn check(bytes: &[u8]) -> Result<()> {
    let mut input = Input::new("file".into(), bytes, bytes.len() as u64)?;
    input.pages(|_, _| Ok(())).map(|_| ())
}

#[test]
fn every_flipped_byte_and_every_length_is_refused() {
    let good = small();
    assert!(good.len() < 80_000, "{} bytes", good.len());
    check(&good).expect("good");
    let mut bad = good.clone();
    for at in 0..good.len() {
        bad[at] ^= 1 << (at % 8);
        let error = check(&bad).expect_err("flipped");
        match error {
            Error::NotACheckpoint { .. } => assert!(at < 16, "{error} at {at}"),
            Error::CheckpointDamaged { at: place, .. } => {
                assert!(place <= at as u64 && place.is_multiple_of(4096), "{error} at {at}");
            }
            Error::CheckpointCut { .. } => {}
            other => panic!("{other} at {at}"),
        }
        bad[at] = good[at];
    }
    for length in 0..good.len() {
        let error = check(&good[..length]).expect_err("cut");
        assert!(matches!(error, Error::CheckpointCut { .. }), "{error} at {length}");
    }
    for more in [1, 4096] {
        let mut long = good.clone();
        long.resize(good.len() + more, 0);
        let error = check(&long).expect_err("longer");
        assert!(error.to_string().contains("bytes behind the trailer"), "{error}");
    }
}

#[test]
fn blocks_of_another_checkpoint_are_refused() {
    let (one, two) = (small(), small());
    // Header of the one, everything else of the other: every checksum fits but the trailer's.
    let mixed = [&one[..4096], &two[4096..]].concat();
    let error = check(&mixed).expect_err("mixed");
    assert!(error.to_string().contains("trailer"), "{error}");
}
