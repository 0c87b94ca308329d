//! `Cell<T>`: one value with a name. Roots in the catalog row: a `reference` to its record, home = the row, number = 0; the bytes
//! of its archive.

mod shapes;

use crate::archive::{self, Geometry, Value};
use crate::error::{Error, Result};
use crate::heap::Owner;
use crate::region::Region;
use crate::region::view::View;
use crate::schema::Description;
use crate::table::catalog::{self, Kind, ROOT, Spec, TableOptions};
use crate::table::mixed::{self, At};
use crate::table::record::{self, Home, Parts, RecordMut};
use crate::table::reference;
use crate::table::steps::Steps;
use crate::tx::Tx;
use std::fmt;
use std::marker::PhantomData;

const WHAT: &str = "cell";

/// One value in a region. The handle is small, can be copied and kept, and belongs to one region.
///
/// ```
/// # fn main() -> shmstate::Result<()> {
/// # use shmstate::{Cell, Region};
/// let mut region = Region::in_memory(4 << 20)?;
/// let gate = region.gate().clone();
/// let pass = gate.enter()?;
/// let mut tx = region.begin(&pass)?;
/// let clock: Cell<u64> = Cell::create(&mut tx, "clock", &0)?;
/// clock.get_mut(&mut tx)?.set(|ticks| ticks, 41.into())?;
/// clock.set(&mut tx, &42)?;
/// tx.commit()?;
/// assert_eq!(clock.get(&*region.read(&pass)?)?.to_native(), 42);
/// # Ok(())
/// # }
/// ```
pub struct Cell<T> {
    row: u64,
    /// Which table it is (R1 of `catalog`).
    identity: u64,
    value: PhantomData<fn() -> T>,
}

impl<T> Clone for Cell<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Cell<T> {}

impl<T> fmt::Debug for Cell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cell").field("row", &self.row).finish_non_exhaustive()
    }
}

impl<T: Value> Cell<T> {
    /// One record: it needs no chunk of its own.
    pub(crate) const HOME: Home = Home {
        owner: Owner::SHARED,
        geometry: Geometry::of::<T>(0),
        checked: false,
    };

    pub(crate) fn spec() -> Spec {
        Spec {
            kind: Kind::Cell,
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

    /// Makes the cell with its first value.
    ///
    /// # Errors
    /// [`Error::TableExists`], [`Error::BadName`], [`Error::CatalogFull`], [`Error::Undeclared`], [`Error::Overaligned`], those of the [heap](crate::Tx#errors).
    pub fn create(tx: &mut Tx<'_>, name: &str, value: &T) -> Result<Self> {
        tx.whole(|tx| {
            let made = record::create(tx, Self::HOME, Parts::NONE, value)?;
            let row = catalog::create(tx, name, &Self::spec(), TableOptions::default(), &[])?;
            tx.put_all(row + ROOT, &[reference::seal(made.header, row, 0), made.archived], WHAT)?;
            Ok(Self::handle(row, tx))
        })
    }

    /// Finds the cell and checks that its value has the shape of `T`. Needs no pass: a successor does this while the
    /// predecessor is at work.
    ///
    /// # Errors
    /// [`Error::NoTable`], [`Error::SchemaMismatch`], [`Error::Undeclared`], [`Error::Busy`], [`Error::Damaged`].
    pub fn open(region: &Region, name: &str) -> Result<Self> {
        Self::open_migrating(region, name, Steps::new())
    }

    /// The same for a cell whose value may have an older shape, as [`Map::open_migrating`](crate::Map::open_migrating) says.
    ///
    /// # Errors
    /// Those of [`open`](Self::open); [`Error::BadSteps`].
    pub fn open_migrating(region: &Region, name: &str, steps: Steps<T>) -> Result<Self> {
        mixed::open(region, name, steps)
    }

    /// Finds the cell, or makes it with `first` as its value.
    ///
    /// # Errors
    /// Those of [`open`](Self::open) and [`create`](Self::create), except `NoTable`.
    pub fn open_or_create(tx: &mut Tx<'_>, name: &str, first: &T) -> Result<Self> {
        match catalog::find(tx, name, &Self::spec()) {
            Ok(row) => {
                mixed::check_plain::<T>(tx, name)?;
                Ok(Self::handle(row, tx))
            }
            Err(Error::NoTable { .. }) => Self::create(tx, name, first),
            Err(e) => Err(e),
        }
    }

    fn record(&self, view: &View) -> Result<u64> {
        if view.identity(self.row) != self.identity {
            return Err(catalog::no_table_of(view, self.identity));
        }
        reference::follow(view, self.row + ROOT, self.row, 0, WHAT)
    }

    /// The value, in place.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn get<'v>(&self, view: &'v View) -> Result<&'v T::Archived> {
        let record = self.record(view)?;
        match archive::root::<T>(view, record, Self::HOME.geometry) {
            Ok(root) => Ok(root),
            Err(why) => mixed::read(self, view, At::numbered(record, 0), why),
        }
    }

    /// The value, to be changed in place.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn get_mut<'t, 'a>(&self, tx: &'t mut Tx<'a>) -> Result<RecordMut<'t, 'a, T>> {
        let record = self.renewed(tx)?;
        RecordMut::new(tx, Self::HOME, record)
    }

    /// Replaces the value.
    ///
    /// # Errors
    /// [`Error::RegionFull`], [`Error::OutOfSpace`], [`Error::TooLarge`], [`Error::Archive`], [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn set(&self, tx: &mut Tx<'_>, value: &T) -> Result<()> {
        tx.whole(|tx| {
            let before = self.renewed(tx)?;
            catalog::check_version(tx, self.row, T::VERSION)?;
            let (new, _) = record::replace(tx, Self::HOME, before, Parts::NONE, value)?;
            let word = reference::seal(new.header, self.row, 0);
            tx.put_all(self.row + ROOT, &[word, new.archived], WHAT)?;
            if tx.mixed().has(self.row) {
                mixed::note(self, tx, At::numbered(new.header, 0));
            }
            Ok(())
        })
    }

    /// The record, which is about to be changed.
    fn renewed(&self, tx: &mut Tx<'_>) -> Result<u64> {
        let record = self.record(tx)?;
        if tx.mixed().has(self.row) {
            return mixed::renew(self, tx, At::numbered(record, 0));
        }
        Ok(record)
    }
}

/// The record of the cell whose row is given, and the bytes of its archive.
pub(crate) fn roots(view: &View, row: u64) -> Result<(u64, u64)> {
    let record = reference::follow(view, row + ROOT, row, 0, WHAT)?;
    Ok((record, view.load(row + ROOT + 8, WHAT)?))
}
