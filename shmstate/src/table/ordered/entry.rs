//! One place of an ordered map, taken or free: what `entry` gives.

use super::OrderedMap;
use super::node::Probe;
use super::tree::{Spot, Toward};
use crate::archive::{self, Value};
use crate::error::Error;
use crate::table::key::{self, Encoded, Form, Key};
use crate::table::record::RecordMut;
use crate::tx::Tx;

type Result<T, E = Error> = std::result::Result<T, E>;

/// The place of a key: [`OrderedMap::entry`].
#[derive(Debug)]
pub enum Entry<'t, 'a, K: Key, V: Value> {
    /// There is a record under the key.
    Occupied(OccupiedEntry<'t, 'a, K, V>),
    /// There is none.
    Vacant(VacantEntry<'t, 'a, K, V>),
}

/// A key with a record.
#[derive(Debug)]
pub struct OccupiedEntry<'t, 'a, K: Key, V: Value> {
    map: OrderedMap<K, V>,
    tx: &'t mut Tx<'a>,
    key: Encoded<'static, K>,
    spot: Spot,
    record: u64,
}

/// A key without a record.
#[derive(Debug)]
pub struct VacantEntry<'t, 'a, K: Key, V: Value> {
    map: OrderedMap<K, V>,
    tx: &'t mut Tx<'a>,
    key: Encoded<'static, K>,
    spot: Spot,
}

fn decoded<K: Key>(key: &Encoded<'_, K>) -> K {
    key::decode::<K>(Form::Ordered, key).expect("a key reads what it wrote")
}

impl<'t, 'a, K: Key, V: Value> Entry<'t, 'a, K, V> {
    pub(super) fn new(map: OrderedMap<K, V>, tx: &'t mut Tx<'a>, key: &K::Borrowed) -> Result<Self> {
        if tx.mixed().has(map.row) {
            map.renew(tx, key)?;
        }
        let tree = map.admit(tx)?;
        let key = Encoded::<K>::of(key, Form::Ordered)?.into_owned();
        let probe = Probe::new(tree.shape, &key);
        let spot = tree.locate(tx, Toward::Key(&probe))?;
        if !spot.found {
            return Ok(Self::Vacant(VacantEntry { map, tx, key, spot }));
        }
        let record = OrderedMap::<K, V>::record_at(tree, tx, &spot.path)?;
        // What is lent out without another look is a record of this type (A4 of `archive`).
        archive::root::<V>(tx, record, OrderedMap::<K, V>::GEOMETRY)?;
        Ok(Self::Occupied(OccupiedEntry {
            map,
            tx,
            key,
            spot,
            record,
        }))
    }

    /// The key.
    ///
    /// # Panics
    /// If `K` is a type of one's own that does not read what it wrote.
    #[must_use]
    pub fn key(&self) -> K {
        match self {
            Self::Occupied(entry) => entry.key(),
            Self::Vacant(entry) => entry.key(),
        }
    }

    /// The record, made from `value` if there is none.
    ///
    /// # Errors
    /// Those of [`OrderedMap::insert`].
    pub fn or_insert(self, value: &V) -> Result<RecordMut<'t, 'a, V>> {
        match self {
            Self::Occupied(entry) => Ok(entry.into_mut()),
            Self::Vacant(entry) => entry.insert(value),
        }
    }

    /// The record, made from what `value` gives if there is none.
    ///
    /// # Errors
    /// Those of [`OrderedMap::insert`].
    pub fn or_insert_with(self, value: impl FnOnce() -> V) -> Result<RecordMut<'t, 'a, V>> {
        match self {
            Self::Occupied(entry) => Ok(entry.into_mut()),
            Self::Vacant(entry) => entry.insert(&value()),
        }
    }

    /// The record, made from the default if there is none.
    ///
    /// # Errors
    /// Those of [`OrderedMap::insert`].
    pub fn or_default(self) -> Result<RecordMut<'t, 'a, V>>
    where
        V: Default,
    {
        self.or_insert_with(V::default)
    }

    /// Lets `change` change the record in place, if there is one.
    ///
    /// # Errors
    /// Those of `change`.
    pub fn and_modify<E>(mut self, change: impl FnOnce(&mut RecordMut<'_, 'a, V>) -> Result<(), E>) -> Result<Self, E> {
        if let Self::Occupied(entry) = &mut self {
            change(&mut entry.get_mut())?;
        }
        Ok(self)
    }
}

impl<'t, 'a, K: Key, V: Value> OccupiedEntry<'t, 'a, K, V> {
    /// The key.
    ///
    /// # Panics
    /// As [`Entry::key`].
    #[must_use]
    pub fn key(&self) -> K {
        decoded(&self.key)
    }

    /// The record, in place.
    ///
    /// # Errors
    /// [`Error::Damaged`](crate::Error::Damaged).
    pub fn get(&self) -> Result<&V::Archived> {
        archive::root::<V>(self.tx, self.record, OrderedMap::<K, V>::GEOMETRY)
    }

    /// The record, to be changed in place.
    pub fn get_mut(&mut self) -> RecordMut<'_, 'a, V> {
        RecordMut::found(self.tx, self.map.home(), self.record)
    }

    /// The record, to be changed in place for as long as the transaction was lent.
    #[must_use]
    pub fn into_mut(self) -> RecordMut<'t, 'a, V> {
        RecordMut::found(self.tx, self.map.home(), self.record)
    }

    /// Replaces the record.
    ///
    /// # Errors
    /// Those of [`OrderedMap::insert`].
    pub fn insert(&mut self, value: &V) -> Result<()> {
        self.record = self.map.store(self.tx, &self.spot, &self.key, value)?;
        Ok(())
    }

    /// Takes the record away.
    ///
    /// # Errors
    /// Those of [`OrderedMap::remove`].
    pub fn remove(self) -> Result<()> {
        self.map.remove_at(self.tx, &self.spot.path).map(|_| ())
    }
}

impl<'t, 'a, K: Key, V: Value> VacantEntry<'t, 'a, K, V> {
    /// The key.
    ///
    /// # Panics
    /// As [`Entry::key`].
    #[must_use]
    pub fn key(&self) -> K {
        decoded(&self.key)
    }

    /// Makes the record.
    ///
    /// # Errors
    /// Those of [`OrderedMap::insert`].
    pub fn insert(self, value: &V) -> Result<RecordMut<'t, 'a, V>> {
        let record = self.map.store(self.tx, &self.spot, &self.key, value)?;
        RecordMut::new(self.tx, self.map.home(), record)
    }
}
