//! `Queue<T>`: records of any size, first in, first out; each has a serial number.
//!
//! What is in the region stands in [`ring`], whose roots are the only ones. Pushing and popping cost one small entry of the
//! undo log each, beside those of the heap.

mod iter;
pub(crate) mod ring;
mod shapes;

pub use iter::QueueIter;

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
use crate::table::steps::Steps;
use crate::tx::Tx;
use ring::{Ring, Roots};
use std::fmt;
use std::marker::PhantomData;

/// Records in the order in which they were pushed. The handle is small, can be copied and kept, and belongs to one region.
///
/// # An outbox
/// What a transaction changes in the region happens once. An effect outside of it (a row in a database, a message to
/// another service) cannot: the process may be killed after the effect and before it noted that. So an effect is *recorded* in
/// the same transaction as its cause, carried out afterwards, and taken out of the queue in a transaction of its own.
/// It then happens at least once, in order, and its serial number tells the other side whether it has seen it:
///
/// ```
/// # fn main() -> shmstate::Result<()> {
/// # use shmstate::{Cell, Queue, Region};
/// # use std::cell::RefCell;
/// # let database = RefCell::new((0, Vec::new()));
/// // The other side keeps the highest serial together with what it does, and does nothing twice.
/// let carry_out = |serial: u64, sale: &str| {
///     let (seen, sales) = &mut *database.borrow_mut();
///     if serial > *seen {
///         sales.push(sale.to_owned());
///         *seen = serial;
///     }
/// };
/// let mut region = Region::in_memory(4 << 20)?;
/// let gate = region.gate().clone();
/// let pass = gate.enter()?;
/// let mut tx = region.begin(&pass)?;
/// let purse: Cell<u64> = Cell::create(&mut tx, "purse", &100)?;
/// let outbox: Queue<String> = Queue::create(&mut tx, "outbox")?;
/// tx.commit()?;
///
/// // The cause and the record of its effect: one transaction.
/// let mut tx = region.begin(&pass)?;
/// purse.set(&mut tx, &70)?;
/// outbox.push_back(&mut tx, &"a sword for 30".to_owned())?;
/// tx.commit()?;
///
/// // Carry out, then take out. A kill between the two carries it out again, with the same serial.
/// for _killed_in_between in [true, false] {
///     let reader = region.read(&pass)?;
///     let (serial, sale) = outbox.front(&reader)?.expect("one");
///     carry_out(serial, sale);
/// }
/// let mut tx = region.begin(&pass)?;
/// outbox.pop_front(&mut tx, |_, _| ())?;
/// tx.commit()?;
/// assert_eq!(database.borrow().1, ["a sword for 30"]);
/// # Ok(())
/// # }
/// ```
pub struct Queue<T> {
    row: u64,
    /// Which table it is (R1 of `catalog`).
    identity: u64,
    value: PhantomData<fn() -> T>,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Queue<T> {}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("row", &self.row).finish_non_exhaustive()
    }
}

impl<T: Value> Queue<T> {
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
            kind: Kind::Queue,
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
            Ring::of(row).start(tx)?;
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

    /// The same for a queue whose records may have an older shape, as [`Map::open_migrating`](crate::Map::open_migrating) says; serial numbers stay what they are.
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
    fn admit(&self, view: &View) -> Result<Ring> {
        if view.identity(self.row) != self.identity {
            return Err(catalog::no_table_of(view, self.identity));
        }
        Ok(Ring::of(self.row))
    }

    /// The record of a serial number, whatever its shape.
    fn item<'v>(&self, view: &'v View, roots: &Roots, serial: u64) -> Result<&'v T::Archived> {
        self.root(view, self.admit(view)?.item(view, roots, serial)?, serial)
    }

    /// The root of the record with that header and serial number.
    fn root<'v>(&self, view: &'v View, record: u64, serial: u64) -> Result<&'v T::Archived> {
        match archive::root::<T>(view, record, Self::GEOMETRY) {
            Ok(root) => Ok(root),
            Err(why) => mixed::read(self, view, At::numbered(record, serial), why),
        }
    }

    /// The record of a serial number that is there, to be changed in place.
    fn record_mut<'t, 'a>(&self, tx: &'t mut Tx<'a>, roots: &Roots, serial: u64) -> Result<RecordMut<'t, 'a, T>> {
        let mut record = self.admit(tx)?.item(tx, roots, serial)?;
        if tx.mixed().has(self.row) {
            record = mixed::renew(self, tx, At::numbered(record, serial))?;
        }
        RecordMut::new(tx, self.home(), record)
    }

    /// Adds a record behind all others and gives its serial number: 1 for the first record of a table, and for each further one
    /// one more than for the one before, whatever was taken out meanwhile. What was pushed in a transaction that did not commit
    /// was never there: its number is given again. So let a number leave the process only after the commit.
    ///
    /// # Errors
    /// [`Error::RegionFull`], [`Error::OutOfSpace`], [`Error::TooLarge`],
    /// [`Error::Archive`], [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn push_back(&self, tx: &mut Tx<'_>, value: &T) -> Result<u64> {
        tx.whole(|tx| {
            let ring = self.admit(tx)?;
            let made = record::create(tx, self.home(), Parts::NONE, value)?;
            let serial = ring.push(tx, made.header, made.archived)?;
            if tx.mixed().has(self.row) {
                mixed::note(self, tx, At::numbered(made.header, serial));
            }
            Ok(serial)
        })
    }

    /// Shows the oldest record and its serial number to `read`, then takes it out. `None`, and no call, if there is none.
    ///
    /// The record's memory is given back at the commit, so what `read` returns cannot borrow from it.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`], those of the [log](crate::Tx#errors).
    pub fn pop_front<R>(&self, tx: &mut Tx<'_>, read: impl FnOnce(u64, &T::Archived) -> R) -> Result<Option<R>> {
        tx.whole(|tx| {
            let ring = self.admit(tx)?;
            let roots = ring.roots(tx)?;
            if roots.len() == 0 {
                return Ok(None);
            }
            let record = ring.item(tx, &roots, roots.head)?;
            let result = read(roots.head, self.root(tx, record, roots.head)?);
            self.take(tx, ring, &roots, record)?;
            Ok(Some(result))
        })
    }

    /// Takes the oldest record out, whose header is at `record`.
    fn take(&self, tx: &mut Tx<'_>, ring: Ring, roots: &Roots, record: u64) -> Result<()> {
        let archived = if tx.mixed().has(self.row) {
            mixed::discard(self, tx, At::numbered(record, roots.head))?
        } else {
            mixed::check_mine(self, tx, record)?;
            record::discard(tx, self.home(), record, 0)?
        };
        ring.pop(tx, roots, archived)
    }

    /// Shows all records to `read`, oldest first, and takes them out. Gives how many there were.
    ///
    /// # Errors
    /// As [`pop_front`](Self::pop_front).
    pub fn drain(&self, tx: &mut Tx<'_>, mut read: impl FnMut(u64, &T::Archived)) -> Result<u64> {
        tx.whole(|tx| {
            let mut count = 0;
            while self.pop_front(tx, &mut read)?.is_some() {
                count += 1;
            }
            Ok(count)
        })
    }

    /// Takes out all records in front of that serial number, the one that has it stays: for an acknowledgement of many. Gives how many
    /// there were: 0 if they went before; all that are there if the number is [`next_serial`](Self::next_serial) or more.
    ///
    /// The log and the time that it takes grow with their number: many are taken out in pieces, in transactions of their own.
    ///
    /// ```
    /// # fn main() -> shmstate::Result<()> {
    /// # use shmstate::{Queue, Region};
    /// # let mut region = Region::in_memory(4 << 20)?;
    /// # let gate = region.gate().clone();
    /// # let pass = gate.enter()?;
    /// # let mut tx = region.begin(&pass)?;
    /// let outbox: Queue<String> = Queue::create(&mut tx, "outbox")?;
    /// for sale in ["a sword", "a shield", "a lamp"] {
    ///     outbox.push_back(&mut tx, &sale.to_owned())?;
    /// }
    /// let seen = 2; // The other side has all up to this one.
    /// assert_eq!(outbox.remove_before(&mut tx, seen + 1)?, 2);
    /// assert_eq!(outbox.front(&tx)?.expect("one").1, "a lamp");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`pop_front`](Self::pop_front).
    pub fn remove_before(&self, tx: &mut Tx<'_>, serial: u64) -> Result<u64> {
        tx.whole(|tx| {
            let ring = self.admit(tx)?;
            let mut count = 0;
            loop {
                let roots = ring.roots(tx)?;
                if roots.head >= serial.min(roots.tail) {
                    return Ok(count);
                }
                let record = ring.item(tx, &roots, roots.head)?;
                self.take(tx, ring, &roots, record)?;
                count += 1;
            }
        })
    }

    /// Takes all records out. Serial numbers go on where they were.
    ///
    /// Its log is as long as the records are many. Where they may be very many, take them out in pieces, in transactions of their own:
    /// [`remove_before`](Self::remove_before).
    ///
    /// # Errors
    /// As [`pop_front`](Self::pop_front).
    pub fn clear(&self, tx: &mut Tx<'_>) -> Result<()> {
        self.drain(tx, |_, _| {}).map(|_| ())
    }

    /// The oldest record, in place, and its serial number.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn front<'v>(&self, view: &'v View) -> Result<Option<(u64, &'v T::Archived)>> {
        self.get(view, 0)
    }

    /// The newest record, in place, and its serial number.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn back<'v>(&self, view: &'v View) -> Result<Option<(u64, &'v T::Archived)>> {
        match self.len(view)? {
            0 => Ok(None),
            len => self.get(view, len - 1),
        }
    }

    /// The record at `index`, counted from the oldest, which is at 0, and its serial number.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn get<'v>(&self, view: &'v View, index: u64) -> Result<Option<(u64, &'v T::Archived)>> {
        let ring = self.admit(view)?;
        let roots = ring.roots(view)?;
        if index >= roots.len() {
            return Ok(None);
        }
        let serial = roots.head + index;
        Ok(Some((serial, self.item(view, &roots, serial)?)))
    }

    /// The record at `index`, counted from the oldest, which is at 0, to be changed in place, and its serial number.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`]; where records migrate, those of [`push_back`](Self::push_back).
    pub fn get_mut<'t, 'a>(&self, tx: &'t mut Tx<'a>, index: u64) -> Result<Option<(u64, RecordMut<'t, 'a, T>)>> {
        let roots = self.admit(tx)?.roots(tx)?;
        if index >= roots.len() {
            return Ok(None);
        }
        let serial = roots.head + index;
        Ok(Some((serial, self.record_mut(tx, &roots, serial)?)))
    }

    /// The record with that serial number; `None` if it was taken out, or is not there yet.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn get_serial<'v>(&self, view: &'v View, serial: u64) -> Result<Option<&'v T::Archived>> {
        let roots = self.admit(view)?.roots(view)?;
        if !roots.has(serial) {
            return Ok(None);
        }
        self.item(view, &roots, serial).map(Some)
    }

    /// The record with that serial number, to be changed in place; `None` if it was taken out, or is not there yet.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`]; where records migrate, those of [`push_back`](Self::push_back).
    pub fn get_serial_mut<'t, 'a>(&self, tx: &'t mut Tx<'a>, serial: u64) -> Result<Option<RecordMut<'t, 'a, T>>> {
        let roots = self.admit(tx)?.roots(tx)?;
        if !roots.has(serial) {
            return Ok(None);
        }
        self.record_mut(tx, &roots, serial).map(Some)
    }

    /// The serial number that the next record will get, if the transaction that pushes it commits.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn next_serial(&self, view: &View) -> Result<u64> {
        Ok(self.admit(view)?.roots(view)?.tail)
    }

    /// How many records there are.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn len(&self, view: &View) -> Result<u64> {
        Ok(self.admit(view)?.roots(view)?.len())
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
        Ok(self.admit(view)?.roots(view)?.archived)
    }
}

/// Visits the blocks of the queue in row `row`, and checks it.
pub(crate) fn blocks(view: &View, row: u64, each: impl FnMut(Held)) -> Result<()> {
    Ring::of(row).blocks(view, each)
}

/// Records of the queue in row `row`, and bytes of their archives.
pub(crate) fn counts(view: &View, row: u64) -> Result<(u64, u64)> {
    Ring::of(row).figures(view)
}
