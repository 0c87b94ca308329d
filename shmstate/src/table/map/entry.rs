//! What std calls an entry: the place of a key in a map, with or without a record, found once.

use super::{Found, Map, index::Place};
use crate::archive::{self, Value};
use crate::error::Error;
use crate::table::key::{self, Encoded, Form, Key};
use crate::table::record::RecordMut;
use crate::tx::Tx;

type Result<T, E = Error> = std::result::Result<T, E>;

/// The place of a key.
#[derive(Debug)]
pub enum Entry<'t, 'a, K: Key, V: Value> {
    /// There is a record.
    Occupied(OccupiedEntry<'t, 'a, K, V>),
    /// There is none.
    Vacant(VacantEntry<'t, 'a, K, V>),
}

/// The place of a key with a record.
#[derive(Debug)]
pub struct OccupiedEntry<'t, 'a, K: Key, V: Value> {
    at: At<'t, 'a, K, V>,
    place: Place,
}

/// The place of a key without one.
#[derive(Debug)]
pub struct VacantEntry<'t, 'a, K: Key, V: Value> {
    at: At<'t, 'a, K, V>,
}

#[derive(Debug)]
struct At<'t, 'a, K, V> {
    map: Map<K, V>,
    tx: &'t mut Tx<'a>,
    key: Encoded<'static, K>,
    hash: u64,
}

impl<K: Key, V> At<'_, '_, K, V> {
    fn key(&self) -> K {
        key::decode::<K>(Form::Hashed, &self.key).expect("a key reads what it wrote")
    }
}

impl<K: Key, V: Value> Map<K, V> {
    /// The place of `key`.
    ///
    /// ```
    /// # fn main() -> shmstate::Result<()> {
    /// # use shmstate::{Map, Region};
    /// let mut region = Region::in_memory(4 << 20)?;
    /// let gate = region.gate().clone();
    /// let pass = gate.enter()?;
    /// let mut tx = region.begin(&pass)?;
    /// let kills: Map<u64, u32> = Map::create(&mut tx, "kills")?;
    /// for player in [7, 8, 7] {
    ///     let mut count = kills.entry(&mut tx, &player)?.or_insert(&0)?;
    ///     let more = count.to_native() + 1;
    ///     count.set(|count| count, more.into())?;
    /// }
    /// assert_eq!(kills.get(&tx, &7)?.expect("two").to_native(), 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn entry<'t, 'a>(&self, tx: &'t mut Tx<'a>, key: &K::Borrowed) -> Result<Entry<'t, 'a, K, V>> {
        if tx.mixed().has(self.row) {
            self.renew(tx, key)?;
        }
        let key = Self::encode(key)?.into_owned();
        let (hash, found) = self.look_up(tx, &key)?;
        // What is lent out without another look is a record of this type (A4 of `archive`).
        let sound = |found: &Found<'_>| archive::root_in::<V>(found.tail, Self::GEOMETRY).is_ok();
        if found.is_some_and(|found| !sound(&found)) {
            return Err(self.diagnose(tx, &key));
        }
        let found = found.map(|found| found.place);
        let at = At {
            map: *self,
            tx,
            key,
            hash,
        };
        Ok(match found {
            Some(place) => Entry::Occupied(OccupiedEntry { at, place }),
            None => Entry::Vacant(VacantEntry { at }),
        })
    }
}

impl<'t, 'a, K: Key, V: Value> Entry<'t, 'a, K, V> {
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

    /// The record, after inserting `value` if there was none.
    ///
    /// # Errors
    /// Those of [`Map::insert`].
    pub fn or_insert(self, value: &V) -> Result<RecordMut<'t, 'a, V>> {
        match self {
            Self::Occupied(entry) => Ok(entry.into_mut()),
            Self::Vacant(entry) => entry.insert(value),
        }
    }

    /// The record, after inserting what `make` gives if there was none.
    ///
    /// # Errors
    /// Those of [`Map::insert`].
    pub fn or_insert_with(self, make: impl FnOnce() -> V) -> Result<RecordMut<'t, 'a, V>> {
        match self {
            Self::Occupied(entry) => Ok(entry.into_mut()),
            Self::Vacant(entry) => entry.insert(&make()),
        }
    }

    /// The record, after inserting the default if there was none.
    ///
    /// # Errors
    /// Those of [`Map::insert`].
    pub fn or_default(self) -> Result<RecordMut<'t, 'a, V>>
    where
        V: Default,
    {
        self.or_insert_with(V::default)
    }

    /// Changes the record in place if there is one.
    ///
    /// # Errors
    /// What `change` returns.
    pub fn and_modify<E>(self, change: impl FnOnce(&mut RecordMut<'_, 'a, V>) -> Result<(), E>) -> Result<Self, E> {
        match self {
            Self::Occupied(mut entry) => {
                change(&mut entry.get_mut())?;
                Ok(Self::Occupied(entry))
            }
            vacant => Ok(vacant),
        }
    }
}

impl<'t, 'a, K: Key, V: Value> OccupiedEntry<'t, 'a, K, V> {
    /// The key.
    ///
    /// # Panics
    /// As [`Entry::key`].
    #[must_use]
    pub fn key(&self) -> K {
        self.at.key()
    }

    /// The record, in place.
    ///
    /// # Errors
    /// [`Error::Damaged`](crate::Error::Damaged).
    pub fn get(&self) -> Result<&V::Archived> {
        archive::root::<V>(self.at.tx, self.place.record, Map::<K, V>::GEOMETRY)
    }

    /// The record, to be changed in place.
    pub fn get_mut(&mut self) -> RecordMut<'_, 'a, V> {
        RecordMut::found(self.at.tx, self.at.map.home(), self.place.record)
    }

    /// The record, to be changed in place, for as long as the transaction was lent.
    #[must_use]
    pub fn into_mut(self) -> RecordMut<'t, 'a, V> {
        RecordMut::found(self.at.tx, self.at.map.home(), self.place.record)
    }

    /// Replaces the record.
    ///
    /// # Errors
    /// Those of [`Map::insert`].
    pub fn insert(&mut self, value: &V) -> Result<()> {
        let At { map, tx, key, .. } = &mut self.at;
        self.place.record = map.replace_at(tx, self.place, key, value)?;
        Ok(())
    }

    /// Takes the record away.
    ///
    /// # Errors
    /// Those of [`Map::remove`].
    pub fn remove(self) -> Result<()> {
        self.at.map.remove_at(self.at.tx, self.at.hash, self.place)
    }
}

impl<'t, 'a, K: Key, V: Value> VacantEntry<'t, 'a, K, V> {
    /// The key.
    ///
    /// # Panics
    /// As [`Entry::key`].
    #[must_use]
    pub fn key(&self) -> K {
        self.at.key()
    }

    /// Inserts a record.
    ///
    /// # Errors
    /// Those of [`Map::insert`].
    pub fn insert(self, value: &V) -> Result<RecordMut<'t, 'a, V>> {
        let At { map, tx, key, hash } = self.at;
        let record = map.add(tx, &key, hash, value)?;
        RecordMut::new(tx, map.home(), record)
    }
}
