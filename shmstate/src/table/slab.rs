//! `Slab<T>`: dense slots with generational handles.
//!
//! Everything about places, generations, rollback and shrinking stands in [`slots`](crate::table::slots), whose roots are
//! the only ones. An id is found with two dependent loads (directory, slot) and no hash: the way to refer from one record to
//! another.

mod iter;
mod shapes;
mod take;

pub use iter::SlabIter;

use crate::archive::{self, Geometry, Value};
use crate::error::{Error, Result};
use crate::heap::Held;
use crate::heap::Owner;
use crate::region::Region;
use crate::region::view::View;
use crate::schema::Description;
use crate::table::catalog::{self, Kind, Spec, TableOptions};
use crate::table::mixed::{self, At};
use crate::table::record::{self, Home, Parts, RecordMut};
use crate::table::slots::{self, Slot, Slots};
use crate::table::steps::Steps;
use crate::tx::Tx;
use std::borrow::Borrow;
use std::fmt;
use std::marker::PhantomData;

/// Most slots of a slab: a place is a u32.
const MAX_SLOTS: u64 = u32::MAX as u64;

/// Names a record of a slab, and none that was or will be in its slot.
///
/// A name that was given in a transaction that did not commit, by rollback or by a kill, is not given again either. What
/// bounds this: generations are 32 bits, counted for the whole slab, so a name could only come again after exactly a multiple
/// of 2³² further insertions, and in the same slot.
///
/// It can be a field of a record, and a key, so that one record refers to another. It is stored as its number:
///
/// ```
/// # use rkyv::{Archive, Serialize};
/// # use shmstate::{Map, Region, Schema, Slab, SlabId};
/// #[derive(Archive, Serialize, Schema)]
/// struct Rider {
///     name: String,
///     mount: SlabId,
/// }
///
/// # fn main() -> shmstate::Result<()> {
/// # let mut region = Region::in_memory(4 << 20)?;
/// # let gate = region.gate().clone();
/// # let pass = gate.enter()?;
/// # let mut tx = region.begin(&pass)?;
/// let mounts: Slab<String> = Slab::create(&mut tx, "mounts")?;
/// let riders: Map<u64, Rider> = Map::create(&mut tx, "riders")?;
/// let horse = mounts.insert(&mut tx, &"horse".to_owned())?;
/// riders.insert(&mut tx, &7, &Rider { name: "Ada".into(), mount: horse })?;
/// let ada = riders.get(&tx, &7)?.expect("just inserted");
/// assert_eq!(mounts.get(&tx, ada.mount.to_native())?.expect("it lives"), "horse");
/// let mule = mounts.insert(&mut tx, &"mule".to_owned())?;
/// riders.get_mut(&mut tx, &7)?.expect("there").set(|r| &r.mount, mule.into())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlabId(u64);

impl SlabId {
    /// The id as a number: the slot in the low half, the generation in the high half. Never 0.
    #[must_use]
    pub const fn token(self) -> u64 {
        self.0
    }

    /// The id that has this number. Any number may be asked for: one that names nothing finds nothing.
    #[must_use]
    pub const fn from_token(token: u64) -> Self {
        Self(token)
    }

    /// The slot: small, dense, used again after the record's end.
    #[must_use]
    pub const fn index(self) -> u32 {
        self.0 as u32
    }

    /// What tells the record from others that were in the slot.
    #[must_use]
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Records in dense slots, found by the id that inserting them gave. The handle is small, can be copied and kept, and belongs
/// to one region.
///
/// ```
/// # fn main() -> shmstate::Result<()> {
/// # use shmstate::{Region, Slab};
/// let mut region = Region::in_memory(4 << 20)?;
/// let gate = region.gate().clone();
/// let pass = gate.enter()?;
/// let mut tx = region.begin(&pass)?;
/// let monsters: Slab<String> = Slab::create(&mut tx, "monsters")?;
/// let rat = monsters.insert(&mut tx, &"rat".to_owned())?;
/// let owl = monsters.insert(&mut tx, &"owl".to_owned())?;
/// monsters.remove(&mut tx, rat)?;
/// let bat = monsters.insert(&mut tx, &"bat".to_owned())?;
/// tx.commit()?;
///
/// let reader = region.read(&pass)?;
/// assert_eq!(monsters.get(&reader, owl)?.expect("is there"), "owl");
/// assert_eq!(rat.index(), bat.index());
/// assert!(monsters.get(&reader, rat)?.is_none(), "the bat is in its slot, and is no rat");
/// # Ok(())
/// # }
/// ```
pub struct Slab<T> {
    row: u64,
    /// Which table it is (R1 of `catalog`).
    identity: u64,
    value: PhantomData<fn() -> T>,
}

impl<T> Clone for Slab<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Slab<T> {}

impl<T> fmt::Debug for Slab<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slab").field("row", &self.row).finish_non_exhaustive()
    }
}

impl<T: Value> Slab<T> {
    pub(crate) const GEOMETRY: Geometry = Geometry::of::<T>(0);

    fn home(&self) -> Home {
        Home {
            owner: Owner::of_row(self.row),
            geometry: Self::GEOMETRY,
            checked: false,
        }
    }

    pub(crate) fn spec() -> Spec {
        Spec {
            kind: Kind::Slab,
            key: String::new(),
            value: Description::of::<T>(),
        }
    }

    pub(crate) fn handle(row: u64, view: &View) -> Self {
        Self {
            row,
            identity: view.identity(row),
            value: PhantomData,
        }
    }

    /// Makes the table.
    ///
    /// # Errors
    /// [`Error::TableExists`], [`Error::BadName`], [`Error::CatalogFull`], [`Error::Undeclared`], [`Error::Overaligned`], those of the [heap](crate::Tx#errors).
    pub fn create(tx: &mut Tx<'_>, name: &str) -> Result<Self> {
        tx.whole(|tx| {
            let row = catalog::create(tx, name, &Self::spec(), TableOptions::default(), &[])?;
            Slots::of(row).start(tx)?;
            Ok(Self::handle(row, tx))
        })
    }

    /// Finds the table and checks that its records have the shape of `T`. Needs no pass: a successor does this while the
    /// predecessor is at work.
    ///
    /// # Errors
    /// [`Error::NoTable`], [`Error::SchemaMismatch`], [`Error::Undeclared`], [`Error::Busy`], [`Error::Damaged`].
    pub fn open(region: &Region, name: &str) -> Result<Self> {
        Self::open_migrating(region, name, Steps::new())
    }

    /// The same for a slab whose records may have an older shape, as [`Map::open_migrating`](crate::Map::open_migrating) says; ids stay what they are.
    ///
    /// # Errors
    /// Those of [`open`](Self::open); [`Error::BadSteps`].
    pub fn open_migrating(region: &Region, name: &str, steps: Steps<T>) -> Result<Self> {
        mixed::open(region, name, steps)
    }

    /// Finds the table, or makes it.
    ///
    /// # Errors
    /// Those of [`open`](Self::open) and [`create`](Self::create), except `NoTable`.
    pub fn open_or_create(tx: &mut Tx<'_>, name: &str) -> Result<Self> {
        match catalog::find(tx, name, &Self::spec()) {
            Ok(row) => {
                mixed::check_plain::<T>(tx, name)?;
                Ok(Self::handle(row, tx))
            }
            Err(Error::NoTable { .. }) => Self::create(tx, name),
            Err(e) => Err(e),
        }
    }

    #[inline]
    fn admit(&self, view: &View) -> Result<Slots> {
        if view.identity(self.row) != self.identity {
            return Err(catalog::no_table_of(view, self.identity));
        }
        Ok(Slots::of(self.row))
    }

    /// The record in a slot, whatever its shape.
    #[inline]
    fn root<'v>(&self, view: &'v View, slot: &Slot) -> Result<&'v T::Archived> {
        match archive::root::<T>(view, slot.record, Self::GEOMETRY) {
            Ok(root) => Ok(root),
            Err(why) => mixed::read(self, view, At::slot(slot), why),
        }
    }

    /// The record in a slot, to be changed in place.
    #[inline]
    fn record_mut<'t, 'a>(&self, tx: &'t mut Tx<'a>, slot: &Slot) -> Result<RecordMut<'t, 'a, T>> {
        let mut record = slot.record;
        if tx.mixed().has(self.row) {
            record = mixed::renew(self, tx, At::slot(slot))?;
        }
        RecordMut::new(tx, self.home(), record)
    }

    /// Adds a record and gives the id that finds it.
    ///
    /// # Errors
    /// [`Error::RegionFull`], [`Error::OutOfSpace`], [`Error::TableFull`],
    /// [`Error::TooLarge`], [`Error::Archive`], [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn insert(&self, tx: &mut Tx<'_>, value: &T) -> Result<SlabId> {
        self.add(tx, |_| value)
    }

    /// The same for a record that is made when its id is known, which it may hold.
    ///
    /// ```
    /// # use rkyv::{Archive, Serialize};
    /// # use shmstate::{Region, Schema, Slab, SlabId};
    /// #[derive(Archive, Serialize, Schema)]
    /// struct Monster { id: u64, name: String }
    ///
    /// # fn main() -> shmstate::Result<()> {
    /// # let mut region = Region::in_memory(4 << 20)?;
    /// # let gate = region.gate().clone();
    /// # let pass = gate.enter()?;
    /// # let mut tx = region.begin(&pass)?;
    /// let monsters: Slab<Monster> = Slab::create(&mut tx, "monsters")?;
    /// let rat = monsters.insert_with(&mut tx, |id| Monster { id: id.token(), name: "rat".into() })?;
    /// let found = monsters.get(&tx, rat)?.expect("just inserted");
    /// assert_eq!(SlabId::from_token(found.id.to_native()), rat);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn insert_with(&self, tx: &mut Tx<'_>, make: impl FnOnce(SlabId) -> T) -> Result<SlabId> {
        self.add(tx, make)
    }

    fn add<B: Borrow<T>>(&self, tx: &mut Tx<'_>, make: impl FnOnce(SlabId) -> B) -> Result<SlabId> {
        tx.whole(|tx| {
            let slots = self.admit(tx)?;
            let slot = slots.vacant(tx, MAX_SLOTS)?;
            let generation = slots.next_serial(tx)? as u32;
            let token = slots::token(slot.place, generation);
            let value = make(SlabId(token));
            let made = record::create(tx, self.home(), Parts::NONE, value.borrow())?;
            slots.fill(tx, slot, generation, 0, (made.header, made.archived))?;
            if tx.mixed().has(self.row) {
                mixed::note(self, tx, At::numbered(made.header, token));
            }
            Ok(SlabId(token))
        })
    }

    /// The record that `id` names, in place; `None` if it was removed.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    #[inline]
    pub fn get<'v>(&self, view: &'v View, id: SlabId) -> Result<Option<&'v T::Archived>> {
        match self.admit(view)?.find(view, id.0)? {
            Some(slot) => self.root(view, &slot).map(Some),
            None => Ok(None),
        }
    }

    /// Whether the record that `id` names is still there.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn contains(&self, view: &View, id: SlabId) -> Result<bool> {
        Ok(self.admit(view)?.find(view, id.0)?.is_some())
    }

    /// The record that `id` names, to be changed in place; `None` if it was removed.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    #[inline]
    pub fn get_mut<'t, 'a>(&self, tx: &'t mut Tx<'a>, id: SlabId) -> Result<Option<RecordMut<'t, 'a, T>>> {
        match self.admit(tx)?.find(tx, id.0)? {
            Some(slot) => self.record_mut(tx, &slot).map(Some),
            None => Ok(None),
        }
    }

    /// Puts another record in the place of the one that `id` names; the id stays. Says whether it was there: if not, nothing
    /// changes.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn replace(&self, tx: &mut Tx<'_>, id: SlabId, value: &T) -> Result<bool> {
        tx.whole(|tx| {
            let slots = self.admit(tx)?;
            let Some(mut slot) = slots.find(tx, id.0)? else {
                return Ok(false);
            };
            if tx.mixed().has(self.row) {
                slot.record = mixed::renew(self, tx, At::slot(&slot))?;
            }
            let (new, before) = record::replace(tx, self.home(), slot.record, Parts::NONE, value)?;
            if new.header != slot.record {
                slots.set_record(tx, &slot, new.header)?;
            }
            slots.count_archived(tx, before, new.archived)?;
            if tx.mixed().has(self.row) {
                mixed::note(self, tx, At::numbered(new.header, id.0));
            }
            Ok(true)
        })
    }

    /// Takes the record that `id` names away. Says whether it was there.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`], those of the [log](crate::Tx#errors).
    pub fn remove(&self, tx: &mut Tx<'_>, id: SlabId) -> Result<bool> {
        let slots = self.admit(tx)?;
        match slots.find(tx, id.0)? {
            Some(slot) => self.remove_slot(tx, slots, &slot).map(|()| true),
            None => Ok(false),
        }
    }

    /// Takes the record in a slot away. It stays readable until the commit.
    fn remove_slot(&self, tx: &mut Tx<'_>, slots: Slots, slot: &Slot) -> Result<()> {
        tx.whole(|tx| {
            let archived = if tx.mixed().has(self.row) {
                mixed::discard(self, tx, At::slot(slot))?
            } else {
                mixed::check_mine(self, tx, slot.record)?;
                record::discard(tx, self.home(), slot.record, 0)?
            };
            slots.release(tx, slot, archived)
        })
    }

    /// Takes away the records for which `keep` says no, in the order of the slots. Gives how many that were.
    ///
    /// # Errors
    /// As [`remove`](Self::remove).
    pub fn retain(&self, tx: &mut Tx<'_>, mut keep: impl FnMut(SlabId, &T::Archived) -> bool) -> Result<u64> {
        tx.whole(|tx| {
            let slots = self.admit(tx)?;
            let (mut cursor, mut removed) = (0, 0);
            while let Some(slot) = slots.next(tx, &mut cursor)? {
                if !keep(SlabId(slot.token()), self.root(tx, &slot)?) {
                    self.remove_slot(tx, slots, &slot)?;
                    removed += 1;
                }
            }
            Ok(removed)
        })
    }

    /// Shows every record to `each`, in the order of the slots, and takes all of them away. Gives how many there were.
    ///
    /// # Errors
    /// As [`remove`](Self::remove).
    pub fn drain(&self, tx: &mut Tx<'_>, mut each: impl FnMut(SlabId, &T::Archived)) -> Result<u64> {
        tx.whole(|tx| {
            let slots = self.admit(tx)?;
            let (mut cursor, mut removed) = (0, 0);
            while let Some(slot) = slots.next(tx, &mut cursor)? {
                each(SlabId(slot.token()), self.root(tx, &slot)?);
                record::forget(tx, slot.record)?;
                if tx.mixed().has(self.row) {
                    tx.region.view.mixed_mut().tidy();
                }
                removed += 1;
            }
            mixed::clear(self, tx)?;
            slots.clear(tx)?;
            Ok(removed)
        })
    }

    /// Takes all records and pages away. Ids of records that were there find nothing.
    ///
    /// # Errors
    /// As [`remove`](Self::remove).
    pub fn clear(&self, tx: &mut Tx<'_>) -> Result<()> {
        self.drain(tx, |_, _| {}).map(|_| ())
    }

    /// Lends every record for changes in place, in the order of the slots. The first error of `change` ends it; what was
    /// changed until then is taken back with the transaction.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`], what `change` gives.
    pub fn for_each_mut<E: From<Error>>(
        &self,
        tx: &mut Tx<'_>,
        mut change: impl FnMut(SlabId, &mut RecordMut<'_, '_, T>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let slots = self.admit(tx)?;
        let mut cursor = 0;
        while let Some(slot) = slots.next(tx, &mut cursor)? {
            let mut record = self.record_mut(tx, &slot)?;
            change(SlabId(slot.token()), &mut record)?;
        }
        Ok(())
    }

    /// How many records there are.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn len(&self, view: &View) -> Result<u64> {
        Ok(self.admit(view)?.counts(view)?.0)
    }

    /// Whether there are none.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn is_empty(&self, view: &View) -> Result<bool> {
        Ok(self.len(view)? == 0)
    }

    /// Bytes of the archives of all records, without headers and what the heap rounds up.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn archived_bytes(&self, view: &View) -> Result<u64> {
        Ok(self.admit(view)?.counts(view)?.1)
    }
}

/// Visits the blocks of the slab in row `row`, and checks it.
pub(crate) fn blocks(view: &View, row: u64, each: impl FnMut(Held)) -> Result<()> {
    Slots::of(row).blocks(view, false, each)
}

/// Records of the slab in row `row`, and bytes of their archives.
pub(crate) fn counts(view: &View, row: u64) -> Result<(u64, u64)> {
    Slots::of(row).counts(view)
}
