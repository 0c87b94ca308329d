//! What a server carries over that lives in no table of its own: named, versioned, bounded blobs (H9).
//!
//! - They lie in a small region of the node's own, so a blob is written whole or not at all, survives a kill, and goes over without being sent.
//! - Written inside a pass. What belongs to a tick is carried in it, for the pass may be the last one.
//! - Not atomic together with the server's own regions: what has to be, belongs into a table there.
//!
//! It does not know what the bytes mean. A version that does not know a blob leaves it alone.

use crate::error::{Error, Result};
use shmstate::{Map, Options, Pass, Region};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Name of the region. Servers' own regions cannot have it.
pub(crate) const REGION: &str = "carry";
const TABLE: &str = "carry";
/// Bytes before those of the blob: version, generation.
const HEAD: usize = 4 + 8;
/// What the region needs beyond the blobs: header, log, index, and a second copy of each while it is replaced.
const OVERHEAD: u64 = 4 << 20;
/// Most bytes that can be declared.
pub(crate) const MOST: u64 = 1 << 30;

/// A blob that was carried over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// The version that whoever wrote it gave it.
    pub version: u32,
    /// Generation of the owner that wrote it.
    pub generation: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Options of a region for so many bytes of blobs.
pub(crate) fn options(bytes: u64) -> Options {
    Region::options().capacity(OVERHEAD + 2 * bytes).reserve_ahead(0)
}

/// The region of this process, if it declared one.
#[derive(Debug, Default)]
pub(crate) struct Carry(Mutex<Option<Region>>);

impl Carry {
    fn lock(&self) -> MutexGuard<'_, Option<Region>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the region out of those that are the server's.
    pub(crate) fn claim(&self, regions: &mut Vec<(String, Region)>) {
        if let Some(i) = regions.iter().position(|(name, _)| name == REGION) {
            *self.lock() = Some(regions.swap_remove(i).1);
        }
    }

    /// Unmaps it: this process does not own the node.
    pub(crate) fn leave(&self) {
        self.lock().take();
    }

    fn with<R>(&self, act: impl FnOnce(&mut Region) -> Result<R>) -> Result<R> {
        match &mut *self.lock() {
            Some(region) => act(region),
            None => Err(Error::Unknown {
                what: "room for what is carried, declared with Builder::carry",
                name: REGION.into(),
            }),
        }
    }

    pub(crate) fn put(&self, pass: &Pass<'_>, name: &str, version: u32, bytes: &[u8]) -> Result<()> {
        let mut blob = Vec::with_capacity(HEAD + bytes.len());
        blob.extend_from_slice(&version.to_le_bytes());
        blob.extend_from_slice(&pass.generation().to_le_bytes());
        blob.extend_from_slice(bytes);
        self.with(|region| {
            Ok(region.write(pass, |tx| {
                let table: Map<String, Vec<u8>> = Map::open_or_create(tx, TABLE)?;
                table.insert(tx, name, &blob).map(|_| ())
            })?)
        })
    }

    pub(crate) fn get(&self, pass: &Pass<'_>, name: &str) -> Result<Option<Carried>> {
        self.with(|region| {
            // A dead owner's transaction is taken back before the table is looked for.
            region.read(pass)?;
            let table: Map<String, Vec<u8>> = match Map::open(region, TABLE) {
                Err(shmstate::Error::NoTable { .. }) => return Ok(None),
                table => table?,
            };
            let reader = region.read(pass)?;
            let Some(blob) = table.get(&reader, name)? else {
                return Ok(None);
            };
            let damaged = || Error::Protocol {
                expected: "a blob that was carried",
                got: format!("{} bytes, less than its head has", blob.len()),
            };
            let (version, rest) = blob.split_first_chunk().ok_or_else(damaged)?;
            let (generation, bytes) = rest.split_first_chunk().ok_or_else(damaged)?;
            Ok(Some(Carried {
                version: u32::from_le_bytes(*version),
                generation: u64::from_le_bytes(*generation),
                bytes: bytes.to_vec(),
            }))
        })
    }
}
