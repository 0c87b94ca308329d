//! A region of a wanted size, to be attached and recovered: large records, made fast, written by others too.

use super::unique_name;
use crate::Result;
use shmstate::{Map, Region};
use std::os::fd::OwnedFd;

/// Bytes of a record: few enough to lie in chunks, as players do.
const RECORD: u64 = 4000;
/// Records a transaction while it is filled.
const FILL: u64 = 1024;
/// Address space beyond the records: index, header, log.
const BEYOND: u64 = 32 << 20;
const TABLE: &str = "blobs";

/// A named region that is filled with records. Its name goes when this is dropped.
#[derive(Debug)]
pub struct Blobs {
    name: String,
    bytes: u64,
}

impl Blobs {
    /// Makes a region, fills it until `bytes` of its heap are in use, or a little more, and lets go of it.
    ///
    /// # Errors
    /// Those of the store.
    pub fn filled(bytes: u64) -> Result<Self> {
        let blobs = Self {
            name: unique_name("blobs"),
            bytes,
        };
        let mut region = Region::options()
            .capacity(bytes + bytes / 4 + BEYOND)
            .create(&blobs.name)?;
        let gate = region.gate().clone();
        let pass = gate.enter()?;
        region.reserve(&pass, bytes)?;
        let map: Map<u64, Vec<u8>> = region.write(&pass, |tx| Map::create(tx, TABLE))?;
        let record = vec![7u8; RECORD as usize];
        let all: Vec<u64> = (0..bytes / RECORD).collect();
        for ids in all.chunks(FILL as usize) {
            let mut tx = region.begin(&pass)?;
            for id in ids {
                map.insert(&mut tx, id, &record)?;
            }
            tx.commit()?;
        }
        Ok(blobs)
    }

    /// The region's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes asked for.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A descriptor of the region, as a successor gets it.
    ///
    /// # Errors
    /// Those of the store.
    pub fn descriptor(&self) -> Result<OwnedFd> {
        let region = Region::options().prefault(false).open(&self.name)?;
        Ok(region
            .descriptor()
            .ok_or("a named region has a descriptor")?
            .try_clone_to_owned()?)
    }

    /// In another process: opens the region and leaves a transaction open that changed `records` of it, while `ready` runs.
    ///
    /// # Errors
    /// Those of the store and of `ready`.
    pub fn leave_open(name: &str, records: u64, ready: impl FnOnce() -> Result<()>) -> Result<()> {
        let mut region = Region::options().prefault(false).open(name)?;
        let map: Map<u64, Vec<u8>> = Map::open(&region, TABLE)?;
        let gate = region.gate().clone();
        let pass = gate.enter()?;
        let mut tx = region.begin(&pass)?;
        for id in 0..records {
            if let Some(mut record) = map.get_mut(&mut tx, &id)? {
                let byte = record[0].wrapping_add(1);
                record.set(|r| &r[0], byte)?;
            }
        }
        ready()
    }
}

impl Drop for Blobs {
    fn drop(&mut self) {
        // Nothing can be done about a name that stays.
        let _ = Region::remove(&self.name);
    }
}
