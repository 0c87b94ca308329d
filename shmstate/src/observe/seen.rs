//! A table without its types, as it was found: where it is, what its records look like, and how one of them is read.

use super::marks::Marks;
use super::memory::acquire;
use super::record::{self, Raw, Shape};
use super::snapshot::Snapshot;
use super::source::{Live, torn};
use super::tables::Prints;
use super::way::Way;
use super::{Copied, Observer, sabotage};
use crate::archive::{CheckedValue, Geometry};
use crate::error::{Error, Result};
use crate::heap::Owner;
use crate::table::catalog::{Kind, Spec};
use crate::table::keyed::Stored;
use crate::table::record::HEADER;
use xxhash_rust::xxh3::xxh3_64;

/// How often a record is looked for in live memory before what is committed is read instead.
const PEEKS: usize = 16;
/// In a record header's word: everything but the sequence, as its checksum sees it.
const UNSEQUENCED: u64 = !(0xffff << 48);
/// Of tables whose records have no keys.
pub(crate) const KEYLESS: Stored = Stored {
    size: 0,
    variable: false,
};

/// A table of a region that another process writes.
#[derive(Debug)]
pub(crate) struct Seen<'o> {
    pub(crate) observer: &'o Observer,
    pub(crate) prints: Prints,
    pub(crate) shape: Shape,
}

impl<'o> Seen<'o> {
    /// Finds a table and compares its shape with what the program says.
    pub(crate) fn find(
        observer: &'o Observer,
        name: &str,
        spec: &Spec,
        geometry: Geometry,
        keys: Stored,
    ) -> Result<Self> {
        let prints = Prints::find(observer, name, spec)?;
        let owner = match spec.kind {
            // One record: it has no chunk of its own.
            Kind::Cell => Owner::SHARED,
            _ => Owner::of_row(prints.row()),
        };
        let shape = Shape { owner, geometry, keys };
        Ok(Self {
            observer,
            prints,
            shape,
        })
    }

    /// Offset of the catalog row.
    pub(crate) fn row(&self) -> u64 {
        self.prints.row()
    }

    /// One look at live memory.
    pub(crate) fn look(&self, way: &Way<'_>) -> Result<Option<Raw>> {
        let memory = self.observer.memory();
        let (marks, mut live) = (Marks::now(memory), Live(memory));
        self.prints.confirm(&mut live)?;
        let Some(record) = way.find(&mut live, &self.shape)? else {
            return Ok(None);
        };
        let raw = record::copy(&mut live, &self.observer.layout(), &self.shape, record)?;
        let led = way.leads_to(&mut live, &self.shape, record)?;
        acquire();
        let same = memory.load(record, "record")? == raw.word || sabotage::sequence();
        // Another table may have got the row meanwhile.
        self.prints.confirm(&mut live)?;
        if !way.is_of(&raw, &self.shape) || !led || !same || !marks.few_since(memory) {
            return Err(torn("record"));
        }
        Ok(Some(raw))
    }

    /// The record in live memory, whole, as it was at some moment of this call; `None` if only what is committed can tell.
    pub(crate) fn live<V: CheckedValue>(&self, way: &Way<'_>) -> Option<Copied<V>> {
        for _ in 0..PEEKS {
            match self.look(way).map(|raw| raw.map(|raw| Copied::new(raw, &self.shape))) {
                Ok(Some(Ok(copied))) => return Some(copied),
                // That nothing is there may be the middle of a change.
                Ok(None) => return None,
                Ok(Some(Err(_))) | Err(_) => std::hint::spin_loop(),
            }
        }
        None
    }

    /// The same, else what is committed.
    pub(crate) fn peek<V: CheckedValue>(&self, way: &Way<'_>) -> Result<Option<Copied<V>>> {
        match self.live(way) {
            Some(copied) => Ok(Some(copied)),
            None => self.snapshot(way),
        }
    }

    /// The record that is committed, at some moment of this call.
    pub(crate) fn snapshot<V: CheckedValue>(&self, way: &Way<'_>) -> Result<Option<Copied<V>>> {
        self.observer.snapshot(|s| self.get(s, way))
    }

    /// The record that is committed, at the moment of a snapshot.
    pub(crate) fn get<V: CheckedValue>(&self, s: &mut Snapshot<'_>, way: &Way<'_>) -> Result<Option<Copied<V>>> {
        let raw = self.committed(s, way);
        let found = raw.and_then(|raw| raw.map(|raw| Copied::new(raw, &self.shape)).transpose());
        s.note(found)
    }

    /// The same without its type. The caller notes what came of it.
    pub(crate) fn committed(&self, s: &mut Snapshot<'_>, way: &Way<'_>) -> Result<Option<Raw>> {
        self.admit(s)?;
        self.prints.confirm(s)?;
        let Some(record) = way.find(s, &self.shape)? else {
            s.be_strict();
            return Ok(None);
        };
        let raw = s.record(&self.shape, way, record)?;
        if !way.is_of(&raw, &self.shape) {
            return Err(Error::damaged("key of a record", record, self.row()));
        }
        Ok(Some(raw))
    }

    /// Reads what is not, or not only, records that are found one by one.
    pub(crate) fn read<R>(&self, s: &mut Snapshot<'_>, read: impl FnOnce(&mut Snapshot<'_>) -> Result<R>) -> Result<R> {
        s.be_strict();
        let result = match self.admit(s).and_then(|()| self.prints.confirm(s)) {
            Ok(()) => read(s),
            Err(e) => Err(e),
        };
        s.note(result)
    }

    /// The record that was found at an offset, within [`read`](Self::read).
    pub(crate) fn record_at(&self, s: &mut Snapshot<'_>, way: &Way<'_>, record: u64) -> Result<Raw> {
        s.record(&self.shape, way, record)
    }

    fn admit(&self, s: &Snapshot<'_>) -> Result<()> {
        if std::ptr::eq(s.observer(), self.observer) {
            Ok(())
        } else {
            Err(Error::ForeignTable)
        }
    }

    /// Compares the checksum of a copied record, if the table keeps them, with what it should be.
    pub(crate) fn check_sum(&self, raw: &Raw) -> Result<()> {
        let block = raw.block();
        let (Some((sum, rest)), true) = (block.split_first_chunk::<8>(), self.prints.checked()) else {
            return Ok(());
        };
        const { assert!(HEADER == 8) };
        let Some((bytes, word)) = rest.split_last_chunk::<8>() else {
            return Err(Error::damaged("checksum of a record", raw.header, 0));
        };
        let word = u64::from_le_bytes(*word) & UNSEQUENCED;
        let sum = u64::from_le_bytes(*sum);
        if sum == xxh3_64(bytes) ^ xxh3_64(&word.to_le_bytes()) {
            return Ok(());
        }
        Err(Error::damaged("checksum of a record", raw.header, sum))
    }
}
