//! `Map<K, V>`: records by key, hashed. Read in place, changed in place, replaced by archiving straight into the heap.
//!
//! Roots in the catalog row: directory and depth of the [`index`], records, bytes of their archives, seed of the hash.

pub(crate) mod index;

use crate::archive::{self, Geometry, Value};
use crate::error::{Error, Result};
use crate::region::Region;
use crate::region::view::View;
use crate::schema::Description;
use crate::table::catalog::{self, Kind, ROOT, Spec};
use crate::table::key::{self, Form, Key};
use crate::table::keyed::{self, Stored};
use crate::table::record::{self, RecordMut};
use crate::tx::Tx;
use index::{Cursor, Index};
use std::fmt;
use std::marker::PhantomData;
use xxhash_rust::xxh3::xxh3_64_with_seed;

const WHAT: &str = "map";
const COUNT: u64 = ROOT + 16;
const ARCHIVED: u64 = ROOT + 24;
const SEED: u64 = ROOT + 32;

/// A map from keys to records. The handle is small, can be copied and kept, and belongs to one region.
///
/// ```
/// # fn main() -> shmstate::Result<()> {
/// # use shmstate::{Map, Region};
/// let mut region = Region::in_memory(4 << 20)?;
/// let gate = region.gate().clone();
/// let pass = gate.enter()?;
/// let names = region.write(&pass, |tx| -> shmstate::Result<_> {
///     let names: Map<u64, String> = Map::create(tx, "names")?;
///     names.insert(tx, &7, &"Ada".to_owned())?;
///     Ok(names)
/// })?;
/// let reader = region.read(&pass)?;
/// assert_eq!(names.get(&reader, &7)?.expect("is there"), "Ada");
/// # Ok(())
/// # }
/// ```
pub struct Map<K, V> {
    row: u64,
    region: u64,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Clone for Map<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Map<K, V> {}

impl<K, V> fmt::Debug for Map<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").field("row", &self.row).finish_non_exhaustive()
    }
}

impl<K: Key, V: Value> Map<K, V> {
    const GEOMETRY: Geometry = Geometry::of::<V>(K::SIZE);

    fn spec() -> Spec {
        Spec {
            kind: Kind::Map,
            key: K::shape(),
            value: Description::of::<V>(),
        }
    }

    fn handle(row: u64, view: &View) -> Self {
        Self {
            row,
            region: view.tag(),
            types: PhantomData,
        }
    }

    /// Makes the table.
    ///
    /// # Errors
    /// [`Error::TableExists`], [`Error::BadName`], [`Error::CatalogFull`], those of the heap.
    pub fn create(tx: &mut Tx<'_>, name: &str) -> Result<Self> {
        let [directory, depth] = Index::create(tx)?;
        let seed = tx.region.seed();
        let row = catalog::create(tx, name, &Self::spec(), &[directory, depth, 0, 0, seed])?;
        Ok(Self::handle(row, tx))
    }

    /// Finds the table and checks that its records have the shape of `V` and its keys that of `K`. Needs no pass: a successor
    /// does this while the predecessor is at work.
    ///
    /// # Errors
    /// [`Error::NoTable`], [`Error::SchemaMismatch`], [`Error::Busy`], [`Error::Damaged`].
    pub fn open(region: &Region, name: &str) -> Result<Self> {
        let row = catalog::find_live(region, name, &Self::spec())?;
        Ok(Self::handle(row, &region.view))
    }

    /// Finds the table, or makes it.
    ///
    /// # Errors
    /// Those of [`open`](Self::open) and [`create`](Self::create), except `NoTable`.
    pub fn open_or_create(tx: &mut Tx<'_>, name: &str) -> Result<Self> {
        match catalog::find(tx, name, &Self::spec()) {
            Ok(row) => Ok(Self::handle(row, tx)),
            Err(Error::NoTable { .. }) => Self::create(tx, name),
            Err(e) => Err(e),
        }
    }

    #[inline]
    fn admit(&self, view: &View) -> Result<Index> {
        if view.tag() != self.region {
            return Err(Error::ForeignTable);
        }
        Ok(Index::of(self.row))
    }

    #[inline]
    fn hash(&self, view: &View, key: &[u8]) -> Result<u64> {
        Ok(xxh3_64_with_seed(key, view.load(self.row + SEED, WHAT)?))
    }

    #[inline]
    fn key_of(view: &View, record: u64) -> Result<&[u8]> {
        Stored::of::<K>().key(view, record)
    }

    #[inline]
    fn find(&self, view: &View, key: &[u8], hash: u64) -> Result<Option<index::Place>> {
        self.admit(view)?
            .find(view, hash, |record| Ok(Self::key_of(view, record)? == key))
    }

    #[inline]
    fn look_up(&self, view: &View, key: &K::Borrowed) -> Result<Option<index::Place>> {
        key::encode::<K, _>(key, Form::Hashed, |key| self.find(view, key, self.hash(view, key)?))
    }

    /// The record under `key`, in place.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::Damaged`].
    #[inline]
    pub fn get<'v>(&self, view: &'v View, key: &K::Borrowed) -> Result<Option<&'v V::Archived>> {
        match self.look_up(view, key)? {
            Some(place) => archive::root::<V>(view, place.record.wrapping_sub(Self::GEOMETRY.root)).map(Some),
            None => Ok(None),
        }
    }

    /// Whether there is a record under `key`.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::Damaged`].
    pub fn contains_key(&self, view: &View, key: &K::Borrowed) -> Result<bool> {
        Ok(self.look_up(view, key)?.is_some())
    }

    /// The record under `key`, to be changed in place.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::Damaged`].
    #[inline]
    pub fn get_mut<'t, 'a>(&self, tx: &'t mut Tx<'a>, key: &K::Borrowed) -> Result<Option<RecordMut<'t, 'a, V>>> {
        match self.look_up(tx, key)? {
            Some(place) => RecordMut::new(tx, Self::GEOMETRY, place.record).map(Some),
            None => Ok(None),
        }
    }

    /// Puts a record under `key`. Says whether there was one before.
    ///
    /// # Errors
    /// [`Error::RegionFull`], [`Error::OutOfSpace`] — the transaction can then only be rolled back —, [`Error::TooLarge`],
    /// [`Error::Archive`], [`Error::KeyTooLong`], [`Error::ForeignTable`], [`Error::Damaged`].
    pub fn insert(&self, tx: &mut Tx<'_>, key: &K::Borrowed, value: &V) -> Result<bool> {
        key::encode::<K, _>(key, Form::Hashed, |bytes| self.put(tx, bytes, value))
    }

    fn put(&self, tx: &mut Tx<'_>, bytes: &[u8], value: &V) -> Result<bool> {
        let index = self.admit(tx)?;
        let hash = self.hash(tx, bytes)?;
        let found = self.find(tx, bytes, hash)?;
        let (new, archived) = keyed::create::<K, V>(tx, Self::GEOMETRY, bytes, value)?;
        if let Some(place) = found {
            let before = record::discard(tx, Self::GEOMETRY, place.record)?;
            index.swap(tx, place, new)?;
            if archived != before {
                self.count(
                    tx,
                    0,
                    i64::try_from(archived).unwrap_or(0) - i64::try_from(before).unwrap_or(0),
                )?;
            }
            return Ok(true);
        }
        let seed = tx.load(self.row + SEED, WHAT)?;
        index.add(tx, hash, new, |view, record| {
            Ok(xxh3_64_with_seed(Self::key_of(view, record)?, seed))
        })?;
        self.count(tx, 1, i64::try_from(archived).unwrap_or(0))?;
        Ok(false)
    }

    /// Takes the record under `key` away. Says whether there was one.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::Damaged`], those of the log.
    pub fn remove(&self, tx: &mut Tx<'_>, key: &K::Borrowed) -> Result<bool> {
        let index = self.admit(tx)?;
        let Some(place) = self.look_up(tx, key)? else {
            return Ok(false);
        };
        let archived = record::discard(tx, Self::GEOMETRY, place.record)?;
        index.remove(tx, place)?;
        self.count(tx, -1, -i64::try_from(archived).unwrap_or(0))?;
        Ok(true)
    }

    fn count(&self, tx: &mut Tx<'_>, records: i64, archived: i64) -> Result<()> {
        let now = [
            tx.load(self.row + COUNT, WHAT)?.wrapping_add_signed(records),
            tx.load(self.row + ARCHIVED, WHAT)?.wrapping_add_signed(archived),
        ];
        tx.put_all(self.row + COUNT, &now, WHAT)
    }

    /// How many records there are.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::Damaged`].
    pub fn len(&self, view: &View) -> Result<u64> {
        self.admit(view)?;
        view.load(self.row + COUNT, WHAT)
    }

    /// Whether there are none.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::Damaged`].
    pub fn is_empty(&self, view: &View) -> Result<bool> {
        Ok(self.len(view)? == 0)
    }

    /// Bytes of the archives of all records, without keys, headers and what the heap rounds up.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::Damaged`].
    pub fn archived_bytes(&self, view: &View) -> Result<u64> {
        self.admit(view)?;
        view.load(self.row + ARCHIVED, WHAT)
    }

    /// All records, in the order of the index.
    ///
    /// # Errors
    /// [`Error::ForeignTable`]; each item can be [`Error::Damaged`], after which there are no more.
    pub fn iter<'v>(&self, view: &'v View) -> Result<Iter<'v, K, V>> {
        Ok(Iter {
            view,
            index: self.admit(view)?,
            cursor: Index::cursor(),
            done: false,
            types: PhantomData,
        })
    }
}

/// Iterator over the records of a map.
#[derive(Debug)]
pub struct Iter<'v, K, V> {
    view: &'v View,
    index: Index,
    cursor: Cursor,
    done: bool,
    types: PhantomData<fn() -> (K, V)>,
}

impl<'v, K: Key, V: Value> Iter<'v, K, V> {
    fn step(&mut self) -> Result<Option<(K, &'v V::Archived)>> {
        let Some(record) = self.index.next(self.view, &mut self.cursor)? else {
            return Ok(None);
        };
        let bytes = Map::<K, V>::key_of(self.view, record)?;
        let key =
            key::decode::<K>(Form::Hashed, bytes).ok_or_else(|| Error::damaged("key", record, bytes.len() as u64))?;
        let root = record.wrapping_sub(Map::<K, V>::GEOMETRY.root);
        Ok(Some((key, archive::root::<V>(self.view, root)?)))
    }
}

impl<'v, K: Key, V: Value> Iterator for Iter<'v, K, V> {
    type Item = Result<(K, &'v V::Archived)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = self.step().transpose();
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}

/// Visits the blocks of a map whose types are not known: directory, segments, records.
pub(crate) fn blocks(view: &View, row: u64, mut each: impl FnMut(u64)) -> Result<()> {
    let index = Index::of(row);
    each(index.directory(view)?);
    index.segments(view, |segment| {
        each(segment);
        Ok(())
    })?;
    let mut cursor = Index::cursor();
    let mut records = 0;
    while let Some(record) = index.next(view, &mut cursor)? {
        each(record);
        records += 1;
    }
    let counted = view.load(row + COUNT, WHAT)?;
    if counted != records {
        return Err(Error::damaged("number of records", row + COUNT, counted));
    }
    Ok(())
}

/// Records of the map whose row is given, and bytes of their archives.
pub(crate) fn counts(view: &View, row: u64) -> Result<(u64, u64)> {
    Ok((view.load(row + COUNT, WHAT)?, view.load(row + ARCHIVED, WHAT)?))
}
