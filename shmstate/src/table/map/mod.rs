//! `Map<K, V>`: records by key, hashed. Read in place, changed in place, replaced by archiving straight into the heap.
//!
//! Roots in the catalog row: those of the [`index`] (directory, depth, seed of the hash, segments of that depth), records, bytes
//! of their archives, shape of the keys ([`Stored`]); of a companion two more (`table::mixed`).
//!
//! In reading order: this file finds one record by its key; `write` puts records in and takes them away, `take` lends what it took; `handle` finds it without the key; `entry` is for what std calls so;
//! `bulk` goes over many at once; `iter` over all; `compact` moves them together; `shapes` is for records of older shapes.

mod bulk;
mod compact;
mod entry;
pub(crate) mod group;
mod handle;
pub(crate) mod index;
mod iter;
mod probe;
pub(crate) mod shapes;
mod take;
mod write;

pub use entry::{Entry, OccupiedEntry, VacantEntry};
pub use handle::Handle;
pub use iter::Iter;

use crate::archive::{self, Geometry, Value};
use crate::error::{Error, Report};
use crate::heap::classes::LEAST;
use crate::heap::{Blocks, Held, Owner};
use crate::region::Region;
use crate::region::header::{Layout, at};
use crate::region::view::{Bad, View, Window};
use crate::schema::Description;
use crate::table::catalog::{self, Kind, ROOT, Spec, TableOptions};
use crate::table::hash;
use crate::table::key::{self, Encoded, Form, Key};
use crate::table::keyed::{self, Stored};
use crate::table::mixed::{self, At, Versions};
use crate::table::moving;
use crate::table::record::{self, Home, RecordMut};
use crate::table::steps::Steps;
use crate::tx::Tx;
use index::{Directory, Index, Place, SEED};
use probe::{Probe, Word};
use std::fmt;
use std::marker::PhantomData;

type Result<T, E = Error> = std::result::Result<T, E>;

const WHAT: &str = "map";
pub(crate) const COUNT: u64 = ROOT + 32;
const ARCHIVED: u64 = ROOT + 40;
pub(crate) const KEYS: u64 = ROOT + 48;
/// Of a companion (`table::mixed`): how many records of its shape the table has, and whether its twins are good.
pub(crate) const LEFT: u64 = ROOT + 56;
pub(crate) const WAY: u64 = ROOT + 64;

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
    /// Which table it is (R1 of `catalog`).
    identity: u64,
    checked: bool,
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

/// A record that was found: its place in the index, and its bytes from the root to the header's end.
#[derive(Clone, Copy, Debug)]
struct Found<'v> {
    place: Place,
    tail: &'v [u8],
}

/// Header and root of a record, if there is one.
type Root<'v, V> = Option<(u64, &'v archive::ArchivedOf<V>)>;

/// The hash of a key, and what was found under it.
type Looked<'v> = (u64, Option<Found<'v>>);

impl<K: Key, V: Value> Map<K, V> {
    pub(crate) const GEOMETRY: Geometry = Geometry::of::<V>(K::SIZE);

    pub(crate) fn spec() -> Spec {
        Spec {
            kind: Kind::Map,
            key: K::shape(),
            value: Description::of::<V>(),
        }
    }

    pub(crate) fn handle_of(row: u64, view: &View) -> Result<Self> {
        catalog::check_keys(view, row, row + KEYS, Stored::of::<K>(), Self::spec)?;
        Ok(Self {
            row,
            identity: view.identity(row),
            checked: catalog::is_checked(view, row)?,
            types: PhantomData,
        })
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
            let seed = tx.region.seed();
            let [directory, depth, seed, deepest] = Index::create(tx, seed)?;
            let roots = [directory, depth, seed, deepest, 0, 0, Stored::of::<K>().word()];
            const { assert!(KEYS == ROOT + 6 * 8) };
            let row = catalog::create(tx, name, &Self::spec(), options, &roots)?;
            Self::handle_of(row, tx)
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

    /// The same for a table whose records may have an older shape: by these steps they become `V`, each when it is first changed, or when
    /// [`sweep`](Self::sweep) comes to it; until then it is converted whenever it is read. A [handle](Self::handle) of a record that
    /// migrates becomes stale.
    ///
    /// With a way back ([`Steps::back`]) the program before, which knows only the older shape, can go on with the table after this one,
    /// by [`open`](Self::open): nothing is lost that this one committed, except what the older shape has no place for.
    ///
    /// ```
    /// # use shmstate::{Map, Migrate, Region, Schema, Steps};
    /// # mod v1 {
    /// #     #[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize, shmstate::Schema)]
    /// #     pub struct Player { pub score: u32 }
    /// # }
    /// # #[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize, Schema)]
    /// # #[schema(version = 2)]
    /// # struct Player { score: u64, mana: u8 }
    /// # impl Migrate<v1::Player> for Player {
    /// #     fn migrate(old: v1::Player) -> Self { Self { score: old.score.into(), mana: 100 } }
    /// # }
    /// # fn main() -> shmstate::Result<()> {
    /// # let mut region = Region::in_memory(4 << 20)?;
    /// # let gate = region.gate().clone();
    /// # let pass = gate.enter()?;
    /// # region.write(&pass, |tx| {
    /// #     let players: Map<u64, v1::Player> = Map::create(tx, "players")?;
    /// #     players.insert(tx, &7, &v1::Player { score: 10 })
    /// # })?;
    /// let steps = Steps::new().from::<v1::Player>();
    /// let players: Map<u64, Player> = Map::open_migrating(&region, "players", steps)?;
    /// assert_eq!(players.get(&*region.read(&pass)?, &7)?.expect("there").mana, 100);
    /// while region.write(&pass, |tx| players.sweep(tx, 1000))?.left > 0 {}
    /// # Ok(())
    /// # }
    /// ```
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
                moving::check_known(tx, &catalog::row_at(tx, row)?)?;
                Self::handle_of(row, tx)
            }
            Err(Error::NoTable { .. }) => Self::create_with(tx, name, options),
            Err(e) => Err(e),
        }
    }

    #[inline]
    fn admit(&self, view: &View) -> Result<Index> {
        if view.identity(self.row) != self.identity {
            return Err(catalog::no_table_of(view, self.identity));
        }
        Ok(Index::of(self.row))
    }

    #[inline]
    pub(crate) fn home(&self) -> Home {
        Home {
            owner: Owner::of_row(self.row),
            geometry: Self::GEOMETRY,
            checked: self.checked,
        }
    }

    #[inline(always)]
    fn encode(key: &K::Borrowed) -> Result<Encoded<'_, K>> {
        Encoded::of(key, Form::Hashed)
    }

    /// From the root to the header's end of a record.
    #[inline(always)]
    fn tail(window: Window<'_>, record: u64) -> Result<&[u8], Bad> {
        window.tail(record, Self::GEOMETRY.root)
    }

    /// The same, saying what is wrong.
    fn checked_tail(view: &View, record: u64) -> Result<&[u8]> {
        Self::tail(view.window(), record)
            .or_else(|Bad| Self::tail(view.fresh_window(), record))
            .map_err(|Bad| Error::damaged("record", record, 0))
    }

    /// The key of a record whose tail is given.
    #[inline(always)]
    fn decode(view: &View, record: u64, tail: &[u8]) -> Result<K> {
        let bytes = keyed::key_at::<K>(view, record, tail)?;
        key::decode::<K>(Form::Hashed, bytes).ok_or_else(|| Error::damaged("key", record, bytes.len() as u64))
    }

    /// Tells the hash of a record that is in the index.
    fn hasher(&self, view: &View) -> Result<impl Fn(&View, u64) -> Result<u64> + use<K, V>> {
        let seed = view.load(self.row + SEED, WHAT)?;
        Ok(move |view: &View, record| {
            let tail = Self::checked_tail(view, record)?;
            Ok(hash::of(keyed::key_at::<K>(view, record, tail)?, seed))
        })
    }

    #[inline(always)]
    fn find<'v>(
        &self,
        window: Window<'v>,
        directory: Directory,
        key: &impl Probe<K>,
        hash: u64,
    ) -> Result<Option<Found<'v>>, Bad> {
        let found = directory.find(window, hash, |record| {
            let tail = Self::tail(window, record)?;
            Ok(key.is_of(window, record, tail)?.then_some(tail))
        })?;
        Ok(found.map(|(place, tail)| Found { place, tail }))
    }

    /// Looks for a key with as little as possible; what is wrong if something is, [`diagnose`](Self::diagnose) tells.
    #[inline(always)]
    fn search<'v>(&self, view: &'v View, window: Window<'v>, key: &impl Probe<K>) -> Result<Looked<'v>, Bad> {
        if view.identity(self.row) != self.identity {
            return Err(Bad);
        }
        let directory = Index::of(self.row).directory(window);
        let hash = key.hash(directory.seed);
        Ok((hash, self.find(window, directory, key, hash)?))
    }

    #[cold]
    fn diagnose(&self, view: &View, key: &Encoded<'_, K>) -> Error {
        let look = || {
            let index = self.admit(view)?;
            let hasher = self.hasher(view)?;
            let hash = hash::of(key, view.load(self.row + SEED, WHAT)?);
            Ok(index.diagnose(view, hash, hasher))
        };
        look().unwrap_or_else(|e| e)
    }

    /// Hash and place of a key.
    #[inline]
    fn look_up<'v>(&self, view: &'v View, key: &Encoded<'_, K>) -> Result<Looked<'v>> {
        match self.search(view, view.window(), key) {
            Ok(found) => Ok(found),
            Err(Bad) => self.search_again(view, key),
        }
    }

    /// With a fresh limit; if that does not help, says what is wrong.
    #[cold]
    fn search_again<'v>(&self, view: &'v View, key: &Encoded<'_, K>) -> Result<Looked<'v>> {
        let found = self.search(view, view.fresh_window(), key);
        found.map_err(|Bad| self.diagnose(view, key))
    }

    /// The way of [`get`](Self::get) that seldom succeeds. It takes the key as it was asked for, so that the short way can keep the
    /// encoded one in registers. Gives the offset of the record's header too.
    #[cold]
    fn get_again<'v>(&self, view: &'v View, key: &K::Borrowed) -> Result<Option<(u64, &'v V::Archived)>> {
        let key = Self::encode(key)?;
        let (_, Some(Found { place, tail })) = self.search_again(view, &key)? else {
            return Ok(None);
        };
        match archive::root_in::<V>(tail, Self::GEOMETRY) {
            Ok(root) => Ok(Some((place.record, root))),
            Err(Bad) => {
                let other = mixed::other(self, view, At::keyed(place.record))?;
                let other = other.map(|root| Some((place.record, root)));
                other.ok_or_else(|| self.diagnose(view, &key))
            }
        }
    }

    /// The record under `key`, in place.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`], [`Error::KeyTooLong`].
    #[inline(always)]
    pub fn get<'v>(&self, view: &'v View, key: &K::Borrowed) -> Result<Option<&'v V::Archived>> {
        match self.first(view, key) {
            Ok(Some((_, root))) => Ok(Some(root)),
            Ok(None) if !view.mixed().has(self.row) => Ok(None),
            _ => self.get_late(view, key),
        }
    }

    /// The way of [`get`](Self::get) if the first look does not tell.
    #[inline(never)]
    fn get_late<'v>(&self, view: &'v View, key: &K::Borrowed) -> Result<Option<&'v V::Archived>> {
        let found = match self.search_root(view, key)? {
            Ok(found) => found,
            Err(Bad) => self.get_again(view, key)?,
        };
        match found {
            Some((_, root)) => Ok(Some(root)),
            None if view.mixed().has(self.row) => moving::pending::<V>(view, self.row, &Self::encode(key)?),
            None => Ok(None),
        }
    }

    /// Header of the record under `key`, if the first look does not tell.
    #[inline(never)]
    fn find_late(&self, view: &View, key: &K::Borrowed) -> Result<Option<u64>> {
        let found = match self.search_root(view, key)? {
            Ok(found) => found,
            Err(Bad) => self.get_again(view, key)?,
        };
        Ok(found.map(|(record, _)| record))
    }

    /// Header and root of the record under `key` where most are, with as little as possible; `Bad` says that one has to look further.
    #[inline(always)]
    fn first<'v>(&self, view: &'v View, key: &K::Borrowed) -> Result<Root<'v, V>, Bad> {
        if const { Word::<K>::FITS } {
            self.first_by(view, &Word::of(key))
        } else {
            self.first_by(view, &Self::encode(key).map_err(|_| Bad)?)
        }
    }

    #[inline(always)]
    fn first_by<'v>(&self, view: &'v View, key: &impl Probe<K>) -> Result<Root<'v, V>, Bad> {
        if view.identity(self.row) != self.identity {
            return Err(Bad);
        }
        let window = view.window();
        let directory = Index::of(self.row).directory(window);
        let near = window.near();
        let Some(record) = directory.first(near, key.hash(directory.seed))? else {
            return Ok(None);
        };
        let tail = near.tail(record, Self::GEOMETRY.root)?;
        if !key.is_of(window, record, tail)? {
            return Err(Bad);
        }
        Ok(Some((record, archive::root_in::<V>(tail, Self::GEOMETRY)?)))
    }

    /// Header and root of the record under `key`.
    #[inline(always)]
    fn search_root<'v>(&self, view: &'v View, key: &K::Borrowed) -> Result<Result<Root<'v, V>, Bad>> {
        let window = view.window();
        let found = if const { Word::<K>::FITS } {
            self.search(view, window, &Word::of(key))
        } else {
            self.search(view, window, &Self::encode(key)?)
        };
        Ok(found.and_then(|(_, found)| match found {
            Some(Found { place, tail }) => {
                let root = archive::root_in::<V>(tail, Self::GEOMETRY)?;
                Ok(Some((place.record, root)))
            }
            None => Ok(None),
        }))
    }

    /// Whether there is a record under `key`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn contains_key(&self, view: &View, key: &K::Borrowed) -> Result<bool> {
        let encoded = Self::encode(key)?;
        let found = self.look_up(view, &encoded)?.1.is_some();
        Ok(found || view.mixed().has(self.row) && moving::pending::<V>(view, self.row, &encoded)?.is_some())
    }

    /// The record under `key`, to be changed in place.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    #[inline(always)]
    pub fn get_mut<'t, 'a>(&self, tx: &'t mut Tx<'a>, key: &K::Borrowed) -> Result<Option<RecordMut<'t, 'a, V>>> {
        if tx.settled().mixed().has(self.row) {
            let record = tx.apart(|tx| {
                self.renew(tx, key)?;
                self.find_late(tx, key)
            })?;
            return Ok(record.map(|record| RecordMut::fresh(tx, self.home(), record)));
        }
        // What was held back was written by the look above (T8).
        let view = &tx.region.view;
        let record = match self.first(view, key) {
            Ok(found) => found.map(|(record, _)| record),
            Err(Bad) => self.find_late(view, key)?,
        };
        Ok(record.map(|record| RecordMut::fresh(tx, self.home(), record)))
    }

    /// How many records there are.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::StillMoving`], [`Error::Damaged`].
    pub fn len(&self, view: &View) -> Result<u64> {
        self.admit(view)?;
        self.check_whole(view)?;
        self.records(view)
    }

    /// Refuses to be looked at as a whole while records are on their way here (N5 of `table::moving`).
    fn check_whole(&self, view: &View) -> Result<()> {
        if view.mixed().has(self.row) {
            return moving::is_whole(view, self.row);
        }
        Ok(())
    }

    /// The number of records: never more than the region's memory could hold.
    fn records(&self, view: &View) -> Result<u64> {
        let records = view.load(self.row + COUNT, WHAT)?;
        if records > view.capacity() / LEAST {
            return Err(Error::damaged("number of records", self.row + COUNT, records));
        }
        Ok(records)
    }

    /// Whether there are none.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::StillMoving`], [`Error::Damaged`].
    pub fn is_empty(&self, view: &View) -> Result<bool> {
        Ok(self.len(view)? == 0)
    }

    /// Bytes of the archives of all records, without keys, headers and what the heap rounds up.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn archived_bytes(&self, view: &View) -> Result<u64> {
        self.admit(view)?;
        view.load(self.row + ARCHIVED, WHAT)
    }
}

/// Visits the blocks of the map in row `row`: its index, and its records.
pub(crate) fn held(view: &View, row: u64, mut each: impl FnMut(Held)) -> Result<()> {
    Index::of(row).blocks(view, |at| each(Held::Block { at, bytes: 8 }))?;
    let mut blocks = Blocks::of(view, Owner::of_row(row))?;
    while let Some(block) = blocks.next(view)? {
        let header = block.offset + block.size - record::HEADER;
        if view.load(header, "record header")? as u32 != 0 {
            each(Held::Record(header));
        }
    }
    Ok(())
}

/// Checks a map whose types are not known, every byte of its index that means something, and visits its blocks: directory,
/// segments, records. What is wrong with one segment or record goes to `report`.
pub(crate) fn check(
    view: &View,
    layout: &Layout,
    row: u64,
    mut each: impl FnMut(u64),
    report: &mut Report<'_>,
) -> Result<()> {
    Index::of(row).blocks(view, &mut each)?;
    let note = |record, _: &mut Report<'_>| {
        each(record);
        Ok(())
    };
    check_records(view, layout, row, note, report)
}

/// The same without the blocks of the index: visits records only.
pub(crate) fn check_records(
    view: &View,
    layout: &Layout,
    row: u64,
    mut each: impl FnMut(u64, &mut Report<'_>) -> Result<()>,
    report: &mut Report<'_>,
) -> Result<()> {
    let index = Index::of(row);
    let seed = view.load(row + SEED, WHAT)?;
    if seed != view.header(at::SEED) {
        report(Error::damaged("seed of a map", row + SEED, seed))?;
    }
    let keys = Stored::read(view, row + KEYS)?;
    let hash = |view: &View, record: u64| Ok(hash::of(keys.key(view, record)?, seed));
    let checked = catalog::is_checked(view, row)?;
    let mut versions = Versions::default();
    let records = index.check(
        view,
        hash,
        |record, report| {
            each(record, report)?;
            versions.note(view, record);
            if let Err(fault) = keys.check(view, layout, record, checked) {
                report(fault)?;
            }
            match record::check_sum(view, layout, record) {
                Err(fault) if checked => report(fault),
                _ => Ok(()),
            }
        },
        report,
    )?;
    mixed::check(view, row, &versions, report)?;
    let counted = view.load(row + COUNT, WHAT)?;
    if counted != records {
        report(Error::damaged("number of records", row + COUNT, counted))?;
    }
    Ok(())
}

/// Records of the map whose row is given, and bytes of their archives.
pub(crate) fn counts(view: &View, row: u64) -> Result<(u64, u64)> {
    Ok((view.load(row + COUNT, WHAT)?, view.load(row + ARCHIVED, WHAT)?))
}
