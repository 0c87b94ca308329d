//! `OrderedMap<K, V>`: records by key, in the order of the keys: leaderboards, ranges, deadlines.
//!
//! A B+tree of nodes of 1 KiB (`node`, `tree`) over records like `Map`'s. Keys of fixed length stand in the nodes, so that a
//! search touches no record; of longer keys the first 16 bytes do. Every node counts what is below it, so that the rank of
//! a key and the record of a rank cost as much as a lookup. Before a record is lent out, its key is compared with its entry's.
//!
//! Roots in the catalog row: node at the top, depth, records, bytes of their archives, shape of the keys (`Stored`).

mod check;
mod each;
mod entry;
pub(crate) mod node;
mod query;
mod range;
mod shapes;
mod shrink;
mod sweep;
pub(crate) mod tree;

#[cfg(test)]
mod damage;
#[cfg(test)]
mod replay;

#[cfg(test)]
use check::all_blocks;
pub(crate) use check::{check, counts};
pub use entry::{Entry, OccupiedEntry, VacantEntry};
pub use range::Range;

use crate::archive::{self, Geometry, Value};
use crate::error::{Error, Result};
use crate::heap::Owner;
use crate::region::Region;
use crate::region::view::View;
use crate::schema::Description;
use crate::table::catalog::{self, Kind, ROOT, Spec, TableOptions};
use crate::table::key::{self, Encoded, Form, Key};
use crate::table::keyed::{self, Stored};
use crate::table::mixed::{self, At};
use crate::table::record::{self, Home, RecordMut};
use crate::table::steps::Steps;
use crate::tx::Tx;
use node::{Node, Probe, Shape};
use std::fmt;
use std::marker::PhantomData;
use tree::{Path, Spot, Toward, Tree};

const WHAT: &str = node::WHAT;
pub(crate) const COUNT: u64 = ROOT + 16;
const ARCHIVED: u64 = ROOT + 24;
pub(crate) const KEYS: u64 = ROOT + 32;
/// Less than a record and its entry have: a region of so many bytes has fewer records than this many times.
pub(crate) const LEAST_RECORD: u64 = 16;

/// A map from keys to records, in the order of the keys. The handle is small, can be copied and kept, and belongs to one
/// region. What `std`'s `BTreeMap` has keeps its name.
///
/// A leaderboard: the key is the score and then the player, so that equal scores have an order too.
///
/// ```
/// # fn main() -> shmstate::Result<()> {
/// # use shmstate::{OrderedMap, Region};
/// let mut region = Region::in_memory(4 << 20)?;
/// let gate = region.gate().clone();
/// let pass = gate.enter()?;
/// let mut tx = region.begin(&pass)?;
/// let board: OrderedMap<(u32, u64), String> = OrderedMap::create(&mut tx, "board")?;
/// for (score, player, name) in [(70, 1, "Ada"), (90, 2, "Bo"), (70, 3, "Cy")] {
///     board.insert(&mut tx, &(score, player), &name.to_owned())?;
/// }
/// tx.commit()?;
///
/// let reader = region.read(&pass)?;
/// let (best, name) = board.last(&reader)?.expect("not empty");
/// assert_eq!((best, name.as_str()), ((90, 2), "Bo"));
/// let seventy = board.range(&reader, (70, 0)..(71, 0))?;
/// assert_eq!(seventy.len(), 2);
/// let names: shmstate::Result<Vec<_>> = seventy.rev().map(|item| Ok(item?.1.as_str())).collect();
/// assert_eq!(names?, ["Cy", "Ada"]);
/// // Ada is behind two others.
/// assert_eq!(board.len(&reader)? - 1 - board.rank(&reader, &(70, 1))?, 2);
/// # Ok(())
/// # }
/// ```
///
/// Keys may be strings; lookups take `&str`:
///
/// ```
/// # fn main() -> shmstate::Result<()> {
/// # use shmstate::{OrderedMap, Region};
/// # use std::ops::Bound;
/// # let mut region = Region::in_memory(4 << 20)?;
/// # let gate = region.gate().clone();
/// # let pass = gate.enter()?;
/// # let mut tx = region.begin(&pass)?;
/// let ages: OrderedMap<String, u32> = OrderedMap::create(&mut tx, "ages")?;
/// ages.insert(&mut tx, "ada", &36)?;
/// ages.insert(&mut tx, "bo", &41)?;
/// assert_eq!(ages.get(&tx, "ada")?.unwrap().to_native(), 36);
/// let behind = ages.range(&tx, (Bound::Excluded("ada"), Bound::Unbounded))?;
/// assert_eq!(behind.len(), 1);
/// # Ok(())
/// # }
/// ```
pub struct OrderedMap<K, V> {
    row: u64,
    /// Which table it is (R1 of `catalog`).
    identity: u64,
    checked: bool,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Clone for OrderedMap<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for OrderedMap<K, V> {}

impl<K, V> fmt::Debug for OrderedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrderedMap")
            .field("row", &self.row)
            .finish_non_exhaustive()
    }
}

/// The key of the record that entry `i` of a leaf names, which must be the entry's.
#[inline]
fn confirm<'v>(view: &'v View, shape: Shape, leaf: &Node<'_>, i: usize) -> Result<&'v [u8]> {
    let record = leaf.record(i);
    let key = shape.stored.key(view, record)?;
    if shape.key_words(key) != leaf.key(i) {
        return Err(Error::damaged("key of a record", record, leaf.at));
    }
    Ok(key)
}

impl<K: Key, V: Value> OrderedMap<K, V> {
    pub(crate) const GEOMETRY: Geometry = Geometry::of::<V>(K::SIZE);

    pub(crate) fn spec() -> Spec {
        Spec {
            kind: Kind::OrderedMap,
            key: K::shape(),
            value: Description::of::<V>(),
        }
    }

    pub(crate) fn handle(row: u64, view: &View) -> Result<Self> {
        catalog::check_keys(view, row, row + KEYS, Stored::of::<K>(), Self::spec)?;
        Ok(Self {
            row,
            identity: view.identity(row),
            checked: catalog::is_checked(view, row)?,
            types: PhantomData,
        })
    }

    fn home(&self) -> Home {
        Home {
            owner: Owner::of_row(self.row),
            geometry: Self::GEOMETRY,
            checked: self.checked,
        }
    }

    /// Makes the table.
    ///
    /// # Errors
    /// [`Error::TableExists`], [`Error::BadName`], [`Error::CatalogFull`], [`Error::Undeclared`], [`Error::Overaligned`], those of the [heap](crate::Tx#errors).
    pub fn create(tx: &mut Tx<'_>, name: &str) -> Result<Self> {
        Self::create_with(tx, name, TableOptions::default())
    }

    /// Makes the table as the options say.
    ///
    /// # Errors
    /// Those of [`create`](Self::create).
    pub fn create_with(tx: &mut Tx<'_>, name: &str, options: TableOptions) -> Result<Self> {
        tx.whole(|tx| {
            let roots = [0, 0, 0, 0, Stored::of::<K>().word()];
            const { assert!(KEYS == ROOT + 4 * 8) };
            let row = catalog::create(tx, name, &Self::spec(), options, &roots)?;
            Self::handle(row, tx)
        })
    }

    /// Finds the table and checks that its records have the shape of `V` and its keys that of `K`. Needs no pass: a successor
    /// does this while the predecessor is at work.
    ///
    /// # Errors
    /// [`Error::NoTable`], [`Error::SchemaMismatch`], [`Error::Undeclared`], [`Error::Busy`], [`Error::Damaged`].
    pub fn open(region: &Region, name: &str) -> Result<Self> {
        Self::open_migrating(region, name, Steps::new())
    }

    /// The same for a table whose records may have an older shape, as [`Map::open_migrating`](crate::Map::open_migrating) says.
    ///
    /// # Errors
    /// Those of [`open`](Self::open); [`Error::BadSteps`].
    pub fn open_migrating(region: &Region, name: &str, steps: Steps<V>) -> Result<Self> {
        mixed::open(region, name, steps)
    }

    /// Finds the table, or makes it.
    ///
    /// # Errors
    /// Those of [`open`](Self::open) and [`create`](Self::create), except `NoTable`.
    pub fn open_or_create(tx: &mut Tx<'_>, name: &str) -> Result<Self> {
        Self::open_or_create_with(tx, name, TableOptions::default())
    }

    /// Finds the table, whatever options it was made with, or makes it as the options say.
    ///
    /// # Errors
    /// Those of [`open`](Self::open) and [`create`](Self::create), except `NoTable`.
    pub fn open_or_create_with(tx: &mut Tx<'_>, name: &str, options: TableOptions) -> Result<Self> {
        match catalog::find(tx, name, &Self::spec()) {
            Ok(row) => {
                mixed::check_plain::<V>(tx, name)?;
                Self::handle(row, tx)
            }
            Err(Error::NoTable { .. }) => Self::create_with(tx, name, options),
            Err(e) => Err(e),
        }
    }

    #[inline]
    fn admit(&self, view: &View) -> Result<Tree> {
        if view.identity(self.row) != self.identity {
            return Err(catalog::no_table_of(view, self.identity));
        }
        Ok(Tree::new(self.row, Shape::of::<K>()))
    }

    /// The key and the record of entry `i` of a leaf.
    #[inline]
    fn item<'v>(&self, view: &'v View, leaf: &Node<'_>, i: usize) -> Result<(K, &'v V::Archived)> {
        let record = leaf.record(i);
        let key = Self::decode(record, confirm(view, Shape::of::<K>(), leaf, i)?)?;
        Ok((key, self.root(view, record)?))
    }

    fn decode(record: u64, bytes: &[u8]) -> Result<K> {
        key::decode::<K>(Form::Ordered, bytes).ok_or_else(|| Error::damaged("key", record, bytes.len() as u64))
    }

    /// The root of the record whose header is given, whatever its shape.
    #[inline]
    fn root<'v>(&self, view: &'v View, record: u64) -> Result<&'v V::Archived> {
        match archive::root::<V>(view, record, Self::GEOMETRY) {
            Ok(root) => Ok(root),
            Err(why) => mixed::read(self, view, At::keyed(record), why),
        }
    }

    /// The leaf at the end of `path`, if the path ends at an entry.
    fn leaf_at<'v>(tree: Tree, view: &'v View, path: &Path) -> Result<Node<'v>> {
        let leaf = tree.node(view, path.steps[0].node, 0)?;
        if path.steps[0].index >= leaf.count {
            return Err(leaf.damaged());
        }
        Ok(leaf)
    }

    /// The record at the end of `path`, which is known to have the entry's key.
    fn record_at(tree: Tree, view: &View, path: &Path) -> Result<u64> {
        let leaf = Self::leaf_at(tree, view, path)?;
        confirm(view, tree.shape, &leaf, path.steps[0].index)?;
        Ok(leaf.record(path.steps[0].index))
    }

    #[inline]
    fn look_up(&self, view: &View, key: &K::Borrowed) -> Result<Option<u64>> {
        let tree = self.admit(view)?;
        let key = Encoded::<K>::of(key, Form::Ordered)?;
        let Some(record) = tree.find(view, &Probe::new(tree.shape, &key))? else {
            return Ok(None);
        };
        if tree.shape.stored.key(view, record)? != &*key {
            return Err(Error::damaged("key of a record", record, self.row));
        }
        Ok(Some(record))
    }

    fn locate(&self, view: &View, key: &K::Borrowed) -> Result<Spot> {
        let tree = self.admit(view)?;
        let key = Encoded::<K>::of(key, Form::Ordered)?;
        tree.locate(view, Toward::Key(&Probe::new(tree.shape, &key)))
    }

    /// The record under `key`, in place.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`], [`Error::KeyTooLong`].
    #[inline]
    pub fn get<'v>(&self, view: &'v View, key: &K::Borrowed) -> Result<Option<&'v V::Archived>> {
        match self.look_up(view, key)? {
            Some(record) => self.root(view, record).map(Some),
            None => Ok(None),
        }
    }

    /// Whether there is a record under `key`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn contains_key(&self, view: &View, key: &K::Borrowed) -> Result<bool> {
        Ok(self.look_up(view, key)?.is_some())
    }

    /// The record under `key`, to be changed in place.
    ///
    /// # Errors
    /// As [`get`](Self::get); where records migrate, those of [`insert`](Self::insert) too.
    #[inline]
    pub fn get_mut<'t, 'a>(&self, tx: &'t mut Tx<'a>, key: &K::Borrowed) -> Result<Option<RecordMut<'t, 'a, V>>> {
        if tx.mixed().has(self.row) {
            self.renew(tx, key)?;
        }
        match self.look_up(tx, key)? {
            Some(record) => RecordMut::new(tx, self.home(), record).map(Some),
            None => Ok(None),
        }
    }

    /// Puts a record under `key`. Says whether there was one before.
    ///
    /// # Errors
    /// [`Error::RegionFull`], [`Error::OutOfSpace`], [`Error::TooLarge`],
    /// [`Error::Archive`], [`Error::KeyTooLong`], [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn insert(&self, tx: &mut Tx<'_>, key: &K::Borrowed, value: &V) -> Result<bool> {
        if tx.mixed().has(self.row) {
            self.renew(tx, key)?;
        }
        let tree = self.admit(tx)?;
        let key = Encoded::<K>::of(key, Form::Ordered)?;
        let spot = tree.locate(tx, Toward::Key(&Probe::new(tree.shape, &key)))?;
        self.store(tx, &spot, &key, value)?;
        Ok(spot.found)
    }

    /// Puts a record at the place that was found for its key. Gives its header's offset.
    fn store(&self, tx: &mut Tx<'_>, spot: &Spot, key: &[u8], value: &V) -> Result<u64> {
        tx.whole(|tx| {
            let tree = self.admit(tx)?;
            let parts = keyed::parts::<K>(key);
            if spot.found {
                let old = Self::record_at(tree, tx, &spot.path)?;
                let (new, before) = record::replace(tx, self.home(), old, parts, value)?;
                if new.header != old {
                    tree.replace(tx, &spot.path, new.header)?;
                }
                if new.archived != before {
                    self.count(tx, 0, new.archived.wrapping_sub(before))?;
                }
                self.note(tx, new.header);
                return Ok(new.header);
            }
            let new = record::create(tx, self.home(), parts, value)?;
            let (entry, length) = tree.shape.leaf_entry(&tree.shape.key_words(key), new.header);
            tree.insert(tx, &spot.path, &entry[..length])?;
            self.count(tx, 1, new.archived)?;
            self.note(tx, new.header);
            Ok(new.header)
        })
    }

    /// Takes the record under `key` away. Says whether there was one.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`], [`Error::KeyTooLong`], those of the [log](crate::Tx#errors).
    pub fn remove(&self, tx: &mut Tx<'_>, key: &K::Borrowed) -> Result<bool> {
        let spot = self.locate(tx, key)?;
        if spot.found {
            self.remove_at(tx, &spot.path)?;
        }
        Ok(spot.found)
    }

    /// Takes the entry at the end of `path` out. Its record stays readable until the commit.
    fn remove_at(&self, tx: &mut Tx<'_>, path: &Path) -> Result<u64> {
        tx.whole(|tx| {
            let tree = self.admit(tx)?;
            let record = Self::record_at(tree, tx, path)?;
            let archived = self.discard(tx, record)?;
            tree.remove(tx, path)?;
            self.count(tx, 1u64.wrapping_neg(), archived.wrapping_neg())?;
            Ok(record)
        })
    }

    /// Frees a record at commit. Gives the bytes of its archive.
    fn discard(&self, tx: &mut Tx<'_>, record: u64) -> Result<u64> {
        if tx.mixed().has(self.row) {
            return mixed::discard(self, tx, At::keyed(record));
        }
        mixed::check_mine(self, tx, record)?;
        let head = keyed::head_of::<K>(tx, record)?;
        record::discard(tx, self.home(), record, head)
    }

    /// Adds to both counts; what is taken away is added as its two's complement.
    fn count(&self, tx: &mut Tx<'_>, records: u64, archived: u64) -> Result<()> {
        let now = [
            tx.load(self.row + COUNT, WHAT)?.wrapping_add(records),
            tx.load(self.row + ARCHIVED, WHAT)?.wrapping_add(archived),
        ];
        tx.put_all(self.row + COUNT, &now, WHAT)
    }

    /// The place of `key`, taken or free.
    ///
    /// ```
    /// # fn main() -> shmstate::Result<()> {
    /// # use shmstate::{OrderedMap, Region};
    /// # let mut region = Region::in_memory(4 << 20)?;
    /// # let gate = region.gate().clone();
    /// # let pass = gate.enter()?;
    /// # let mut tx = region.begin(&pass)?;
    /// let hits: OrderedMap<String, u64> = OrderedMap::create(&mut tx, "hits")?;
    /// for word in ["to", "be", "or", "not", "to", "be"] {
    ///     let mut count = hits.entry(&mut tx, word)?.or_insert(&0)?;
    ///     let now = count.to_native() + 1;
    ///     count.set(|n| n, now.into())?;
    /// }
    /// assert_eq!(hits.get(&tx, "to")?.unwrap().to_native(), 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn entry<'t, 'a>(&self, tx: &'t mut Tx<'a>, key: &K::Borrowed) -> Result<Entry<'t, 'a, K, V>> {
        Entry::new(*self, tx, key)
    }

    /// How many records there are.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn len(&self, view: &View) -> Result<u64> {
        self.admit(view)?;
        let count = view.load(self.row + COUNT, WHAT)?;
        if count > view.capacity() / LEAST_RECORD {
            return Err(Error::damaged("number of records", self.row + COUNT, count));
        }
        Ok(count)
    }

    /// Whether there are none.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn is_empty(&self, view: &View) -> Result<bool> {
        Ok(self.len(view)? == 0)
    }

    /// Bytes of the archives of all records, without keys, headers, nodes and what the heap rounds up.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn archived_bytes(&self, view: &View) -> Result<u64> {
        self.admit(view)?;
        view.load(self.row + ARCHIVED, WHAT)
    }
}
