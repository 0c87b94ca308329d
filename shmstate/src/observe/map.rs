//! A map as an observer sees it.

use super::index;
use super::iter::{ObservedIter, Places};
use super::marks::Marks;
use super::memory::acquire;
use super::record::{self, Raw, Shape};
use super::sabotage;
use super::snapshot::{Snapshot, Way};
use super::source::{Live, Source, torn};
use super::tables::Prints;
use super::{Copied, Observer};
use crate::archive::CheckedValue;
use crate::error::{Error, Result};
use crate::heap::Owner;
use crate::region::view::Bad;
use crate::table::hash;
use crate::table::key::{Encoded, Form, Key, LONG_KEY_WORD};
use crate::table::keyed::{Stored, read_word};
use crate::table::map::index::SEED;
use crate::table::map::{COUNT, Map};
use crate::table::record::HEADER;
use std::fmt;
use std::marker::PhantomData;
use xxhash_rust::xxh3::xxh3_64;

/// How often a record is looked for in live memory before what is committed is read instead.
const PEEKS: usize = 16;
/// In a record header's word: everything but the sequence, as its checksum sees it.
const UNSEQUENCED: u64 = !(0xffff << 48);

/// A map without its types: what is needed to find and copy its records.
#[derive(Debug)]
pub(crate) struct Table<'o> {
    pub(crate) observer: &'o Observer,
    pub(crate) prints: Prints,
    pub(crate) shape: Shape,
    seed: u64,
}

impl<'o> Table<'o> {
    pub(crate) fn open<K: Key, V: CheckedValue>(observer: &'o Observer, name: &str) -> Result<Self> {
        let prints = Prints::find(observer, name, &Map::<K, V>::spec())?;
        let row = prints.row();
        // The seed is written when the table is made and never again.
        let seed = observer.memory().load(row + SEED, "map")?;
        let shape = Shape {
            owner: Owner::of_row(row),
            geometry: Map::<K, V>::GEOMETRY,
            keys: Stored::of::<K>(),
        };
        Ok(Self {
            observer,
            prints,
            shape,
            seed,
        })
    }

    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        hash::of(key, self.seed)
    }

    /// Finds the record of a key.
    fn find<S: Source>(&self, source: &mut S, key: &[u8], hash: u64) -> Result<Option<u64>> {
        self.prints.confirm(source)?;
        index::find(source, self.prints.row(), hash, |source, record| {
            self.has_key(source, record, key)
        })
    }

    /// Whether the record whose header is at `record` has that key.
    fn has_key<S: Source>(&self, source: &mut S, record: u64, key: &[u8]) -> Result<bool> {
        let mut start = record.wrapping_sub(self.shape.geometry.key);
        if self.shape.keys.variable {
            let word = source.word(record.wrapping_sub(LONG_KEY_WORD as u64), "key")?;
            match read_word(word, record) {
                Ok((length, at)) if length == key.len() as u64 => start = at,
                Ok(_) => return Ok(false),
                Err(Bad) => return Err(Error::damaged("key", record, word)),
            }
        }
        // Whole words: the last one ends in the record, whatever it is of.
        let mut words = vec![0; key.len().div_ceil(8)];
        source.copy(start, &mut words, "key")?;
        let bytes = words.iter().flat_map(|word| word.to_le_bytes());
        Ok(bytes.take(key.len()).eq(key.iter().copied()))
    }

    /// One look at live memory.
    fn look(&self, key: &[u8], hash: u64) -> Result<Option<Raw>> {
        let memory = self.observer.memory();
        let (marks, mut live) = (Marks::now(memory), Live(memory));
        let Some(record) = self.find(&mut live, key, hash)? else {
            return Ok(None);
        };
        let raw = record::copy(&mut live, &self.observer.layout(), &self.shape, record)?;
        let led = index::leads_to(&mut live, self.prints.row(), hash, record)?;
        acquire();
        let same = memory.load(record, "record")? == raw.word || sabotage::sequence();
        if raw.key(&self.shape) != key || !led || !same || !marks.few_since(memory) {
            return Err(torn("record"));
        }
        Ok(Some(raw))
    }

    /// The record of a key in live memory; `None` if only what is committed can tell.
    fn peek(&self, key: &[u8], hash: u64) -> Option<Raw> {
        for _ in 0..PEEKS {
            match self.look(key, hash) {
                Ok(Some(raw)) => return Some(raw),
                // That a key is not there may be the middle of a change.
                Ok(None) => return None,
                Err(_) => std::hint::spin_loop(),
            }
        }
        None
    }

    /// The record of a key that is committed.
    pub(crate) fn committed(&self, s: &mut Snapshot<'_>, key: &[u8], hash: u64) -> Result<Option<Raw>> {
        if !std::ptr::eq(s.observer(), self.observer) {
            s.be_strict();
            return Err(Error::ForeignTable);
        }
        let Some(record) = self.find(s, key, hash)? else {
            s.be_strict();
            return Ok(None);
        };
        let row = self.prints.row();
        let raw = s.record(&self.shape, Way::Index { row, hash }, record)?;
        if raw.key(&self.shape) != key {
            return Err(torn("record"));
        }
        Ok(Some(raw))
    }

    /// Compares the checksum of a copied record, if the table keeps them, with what it should be.
    pub(crate) fn check_sum(&self, raw: &Raw) -> Result<()> {
        let block = raw.block();
        let (Some((sum, rest)), true) = (block.split_first_chunk::<8>(), self.prints.checked()) else {
            return Ok(());
        };
        let (bytes, word) = rest.split_at(rest.len() - HEADER as usize);
        let word = word.last_chunk().map_or(0, |word| u64::from_le_bytes(*word)) & UNSEQUENCED;
        let sum = u64::from_le_bytes(*sum);
        if sum == xxh3_64(bytes) ^ xxh3_64(&word.to_le_bytes()) {
            return Ok(());
        }
        Err(Error::damaged("checksum of a record", raw.header, sum))
    }
}

/// A map in a region that another process writes.
pub struct ObservedMap<'o, K, V> {
    table: Table<'o>,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> fmt::Debug for ObservedMap<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObservedMap")
            .field("name", &self.table.prints.name())
            .finish_non_exhaustive()
    }
}

impl Observer {
    /// Finds a map and checks that its records have the shape of `V` and its keys that of `K`.
    ///
    /// # Errors
    /// [`Error::NoTable`], [`Error::SchemaMismatch`], [`Error::Retry`], [`Error::Damaged`].
    pub fn map<K: Key, V: CheckedValue>(&self, name: &str) -> Result<ObservedMap<'_, K, V>> {
        Ok(ObservedMap {
            table: Table::open::<K, V>(self, name)?,
            types: PhantomData,
        })
    }
}

impl<'o, K: Key, V: CheckedValue> ObservedMap<'o, K, V> {
    fn encode<'k>(&self, key: &'k K::Borrowed) -> Result<(Encoded<'k, K>, u64)> {
        let key = Encoded::of(key, Form::Hashed)?;
        let hash = self.table.hash(&key);
        Ok((key, hash))
    }

    /// The record under `key`, whole, as it was at some moment of this call: perhaps changed by a transaction that is not
    /// committed yet, or will never be.
    ///
    /// # Errors
    /// [`Error::Retry`] if it did not hold still in many tries, [`Error::SchemaMismatch`] if the table was given another shape,
    /// [`Error::KeyTooLong`], [`Error::Damaged`].
    pub fn peek(&self, key: &K::Borrowed) -> Result<Option<Copied<V>>> {
        let (encoded, hash) = self.encode(key)?;
        let seen = self.table.peek(&encoded, hash);
        match seen.map(|raw| Copied::new(raw, &self.table.shape)) {
            Some(Ok(copied)) => Ok(Some(copied)),
            _ => self.snapshot(key),
        }
    }

    /// The record under `key` that was committed at some moment of this call.
    ///
    /// # Errors
    /// Those of [`peek`](Self::peek).
    pub fn snapshot(&self, key: &K::Borrowed) -> Result<Option<Copied<V>>> {
        self.table.observer.snapshot(|s| self.get(s, key))
    }

    /// The record under `key` at the moment of a snapshot.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::SchemaMismatch`], [`Error::Damaged`]; [`Error::Retry`], after which the snapshot is
    /// taken again.
    pub fn get(&self, s: &mut Snapshot<'_>, key: &K::Borrowed) -> Result<Option<Copied<V>>> {
        let (encoded, hash) = self.encode(key)?;
        let found = match self.table.committed(s, &encoded, hash) {
            Ok(Some(raw)) => Copied::new(raw, &self.table.shape).map(Some),
            Ok(None) => Ok(None),
            Err(e) => Err(e),
        };
        s.note(found)
    }

    /// How many records there are at the moment of a snapshot.
    ///
    /// # Errors
    /// Those of [`get`](Self::get).
    pub fn count(&self, s: &mut Snapshot<'_>) -> Result<u64> {
        if !std::ptr::eq(s.observer(), self.table.observer) {
            return Err(Error::ForeignTable);
        }
        s.be_strict();
        let count = s.word(self.table.prints.row() + COUNT, "map");
        s.note(count)
    }

    /// How many records are committed.
    ///
    /// # Errors
    /// [`Error::Retry`], [`Error::Damaged`].
    pub fn len(&self) -> Result<u64> {
        self.table.observer.snapshot(|s| self.count(s))
    }

    /// Whether no record is committed.
    ///
    /// # Errors
    /// [`Error::Retry`], [`Error::Damaged`].
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// All records, while the owner goes on. Each is whole, as a [`peek`](Self::peek) would have found it at some moment of
    /// its own. Each key that has a record from the beginning of the walk to its end is met once, also if the record is replaced
    /// or the index grows or shrinks meanwhile; a key that comes or goes meanwhile is met once or not at all.
    pub fn iter(&self) -> ObservedIter<'_, 'o, K, V> {
        ObservedIter::new(Places::all(&self.table))
    }
}
