//! A small world: a ledger whose sum is fixed, blobs of all sizes, a step counter.

use shmstate::{Cell, CheckpointOptions, CheckpointReport, Map, Region, Result, Tx, verify};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// A name that no other test uses, removed at the end, also of a failing test.
pub(crate) struct Name(pub(crate) String);

impl Name {
    pub(crate) fn new(what: &str) -> Self {
        Self(format!("shmstate-test-checkpoint-{what}-{}", std::process::id()))
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = Region::remove(&self.0);
    }
}

/// Everything that committed state says.
#[derive(Clone, Debug, PartialEq, Default)]
pub(crate) struct World {
    pub(crate) ledger: BTreeMap<u32, u64>,
    pub(crate) blobs: BTreeMap<u64, Vec<u8>>,
    pub(crate) step: u64,
}

#[derive(Clone, Copy)]
pub(crate) struct Tables {
    ledger: Map<u32, u64>,
    blobs: Map<u64, Vec<u8>>,
    step: Cell<u64>,
    accounts: u32,
}

impl Tables {
    pub(crate) fn fill(region: &mut Region, accounts: u32) -> Self {
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let mut random = fastrand::Rng::with_seed(1);
        region
            .write(&pass, |tx| {
                let tables = Self {
                    ledger: Map::create(tx, "ledger")?,
                    blobs: Map::create(tx, "blobs")?,
                    step: Cell::create(tx, "step", &0)?,
                    accounts,
                };
                for id in 0..accounts {
                    tables.ledger.insert(tx, &id, &1000)?;
                }
                for id in 0..u64::from(accounts) / 4 {
                    tables.blobs.insert(tx, &id, &vec![id as u8; random.usize(1..9000)])?;
                }
                Result::Ok(tables)
            })
            .expect("fill")
    }

    pub(crate) fn open(region: &Region) -> Result<Self> {
        let mut tables = Self {
            ledger: Map::open(region, "ledger")?,
            blobs: Map::open(region, "blobs")?,
            step: Cell::open(region, "step")?,
            accounts: 0,
        };
        let gate = region.gate().clone();
        let pass = gate.enter()?;
        tables.accounts = tables.ledger.len(&*region.read(&pass)?)? as u32;
        Ok(tables)
    }

    pub(crate) fn step(&self, tx: &mut Tx<'_>) -> Result<()> {
        let step = self.step.get(tx)?.to_native();
        self.step.get_mut(tx)?.set(|s| s, (step + 1).into())
    }

    /// One tick: transfers, blobs that come, go, and change in place.
    pub(crate) fn churn(&self, region: &mut Region, random: &mut fastrand::Rng) {
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let blobs = u64::from(self.accounts) / 3 + 1;
        let tick = |tx: &mut Tx<'_>| -> Result<()> {
            self.step(tx)?;
            for _ in 0..4 {
                for (id, by) in [
                    (random.u32(0..self.accounts), 1),
                    (random.u32(0..self.accounts), u64::MAX),
                ] {
                    let mut account = self.ledger.get_mut(tx, &id)?.expect("account");
                    let now = account.to_native().wrapping_add(by);
                    account.set(|a| a, now.into())?;
                }
                let id = random.u64(0..blobs);
                match random.u8(0..4) {
                    0 => drop(
                        self.blobs
                            .insert(tx, &id, &vec![random.u8(..); random.usize(1..9000)])?,
                    ),
                    1 => drop(self.blobs.remove(tx, &id)?),
                    2 => {
                        if let Some(mut blob) = self.blobs.get_mut(tx, &id)? {
                            blob.set(|b| &b[0], random.u8(..))?;
                        }
                    }
                    _ => {
                        if let Some(mut blob) = self.blobs.get_mut(tx, &id)? {
                            blob.seal()?;
                        }
                    }
                }
            }
            Ok(())
        };
        region.write(&pass, tick).expect("tick");
    }

    pub(crate) fn read(&self, region: &Region) -> World {
        self.read_with(region).expect("read")
    }

    pub(crate) fn read_with(&self, region: &Region) -> Result<World> {
        let gate = region.gate().clone();
        let pass = gate.enter()?;
        let reader = region.read(&pass)?;
        assert!(verify(&reader)?.is_sound());
        let mut world = World {
            step: self.step.get(&reader)?.to_native(),
            ..World::default()
        };
        for item in self.ledger.iter(&reader)? {
            let (id, amount) = item?;
            world.ledger.insert(id, amount.to_native());
        }
        for item in self.blobs.iter(&reader)? {
            let (id, blob) = item?;
            world.blobs.insert(id, blob.to_vec());
        }
        Ok(world)
    }

    /// Records: accounts and blobs.
    pub(crate) fn len(&self, region: &Region) -> (u64, u64) {
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let reader = region.read(&pass).expect("reader");
        (
            self.ledger.len(&reader).expect("len"),
            self.blobs.len(&reader).expect("len"),
        )
    }

    /// What [`len`](Self::len) is after [`fill`](Self::fill).
    pub(crate) fn len_of_fill(&self) -> (u64, u64) {
        (self.accounts.into(), u64::from(self.accounts) / 4)
    }
}

/// Adds a table of so many bytes.
pub(crate) fn grow(region: &mut Region, bytes: usize) {
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    region
        .write(&pass, |tx| {
            let name = format!("growth-{bytes}");
            let growth: Map<u64, Vec<u8>> = Map::create(tx, &name)?;
            for id in 0..bytes as u64 / 20_000 {
                growth.insert(tx, &id, &vec![id as u8; 20_000])?;
            }
            Result::Ok(())
        })
        .expect("grow");
}

/// With a disk of so many bytes a second, and little room ready.
pub(crate) fn options(rate: u64) -> CheckpointOptions {
    CheckpointOptions::default().bytes_per_second(rate).pages_ahead(64)
}

pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// A whole checkpoint.
pub(crate) fn checkpoint(region: &mut Region, path: &Path) -> CheckpointReport {
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let mut running = region
        .checkpoint(&pass, path, &CheckpointOptions::default())
        .expect("mark");
    running.wait(soon()).expect("report")
}

/// Names of the files in a directory.
pub(crate) fn files(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("directory");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
