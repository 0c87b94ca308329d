//! A map as an observer sees it.

use super::iter::{ObservedIter, Places};
use super::seen::Seen;
use super::snapshot::Snapshot;
use super::source::Source;
use super::way::Way;
use super::{Copied, Observer};
use crate::archive::CheckedValue;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::table::hash;
use crate::table::key::{Encoded, Form, Key};
use crate::table::keyed::Stored;
use crate::table::map::index::SEED;
use crate::table::map::{COUNT, Map};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// A map without its types.
#[derive(Debug)]
pub(crate) struct Table<'o> {
    pub(crate) seen: Seen<'o>,
    seed: u64,
}

impl<'o> Table<'o> {
    pub(crate) fn open<K: Key, V: CheckedValue>(observer: &'o Observer, name: &str) -> Result<Self> {
        let spec = Map::<K, V>::spec();
        let seen = Seen::find(observer, name, &spec, Map::<K, V>::GEOMETRY, Stored::of::<K>())?;
        // The seed is written when the table is made and never again.
        let seed = observer.memory().load(seen.row() + SEED, "map")?;
        Ok(Self { seen, seed })
    }

    /// The table that was found, whose index has that seed.
    pub(crate) fn of(seen: Seen<'o>, seed: u64) -> Self {
        Self { seen, seed }
    }

    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        hash::of(key, self.seed)
    }

    pub(crate) fn way<'k>(&self, key: &'k [u8]) -> Way<'k> {
        Way::Index {
            row: self.seen.row(),
            hash: self.hash(key),
            key: Cow::Borrowed(key),
        }
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
            .field("name", &self.table.seen.prints.name())
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
    /// The record under `key`, whole, as it was at some moment of this call: perhaps changed by a transaction that is not
    /// committed yet, or will never be.
    ///
    /// # Errors
    /// [`Error::Retry`] if it did not hold still in many tries, [`Error::SchemaMismatch`] if the table was given another shape,
    /// [`Error::KeyTooLong`], [`Error::Damaged`].
    pub fn peek(&self, key: &K::Borrowed) -> Result<Option<Copied<V>>> {
        let key = Encoded::<K>::of(key, Form::Hashed)?;
        self.table.seen.peek(&self.table.way(&key))
    }

    /// The record under `key` that was committed at some moment of this call.
    ///
    /// # Errors
    /// Those of [`peek`](Self::peek).
    pub fn snapshot(&self, key: &K::Borrowed) -> Result<Option<Copied<V>>> {
        let key = Encoded::<K>::of(key, Form::Hashed)?;
        self.table.seen.snapshot(&self.table.way(&key))
    }

    /// The record under `key` at the moment of a snapshot.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::SchemaMismatch`], [`Error::Damaged`]; [`Error::Retry`], after which the snapshot is
    /// taken again.
    pub fn get(&self, s: &mut Snapshot<'_>, key: &K::Borrowed) -> Result<Option<Copied<V>>> {
        let key = Encoded::<K>::of(key, Form::Hashed)?;
        self.table.seen.get(s, &self.table.way(&key))
    }

    /// How many records there are at the moment of a snapshot.
    ///
    /// # Errors
    /// Those of [`get`](Self::get).
    pub fn count(&self, s: &mut Snapshot<'_>) -> Result<u64> {
        let seen = &self.table.seen;
        seen.read(s, |s| s.word(seen.row() + COUNT, "map"))
    }

    /// How many records are committed.
    ///
    /// # Errors
    /// [`Error::Retry`], [`Error::Damaged`].
    pub fn len(&self) -> Result<u64> {
        self.table.seen.observer.snapshot(|s| self.count(s))
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
