//! `Timers<T>`: deadlines in nanoseconds of a clock, each with a record.
//!
//! ```text
//! roots: seven of `slots` · three of the pages of the `heap` · shift, i64 · u8 policy after a gap, 1 all, 2 coalesce, 3 skip,
//!        and 56 bits that check both
//! record: its key is a u64, the period in ns, 0 = fires once
//! ```
//!
//! - **N1** A timer is a slot, a record and an entry of the heap. Each names the next, the entry names the slot.
//! - **N2** Deadlines are stored less the shift, so that a shift moves all of them at once. They are signed: after a restore
//!   on a boot that is younger than the timer was late, a deadline lies before the clock's beginning.
//! - **N3** Firing takes the timer out, or moves it on, in the transaction in which the caller changes the world: both are
//!   committed or neither is. So a timer is neither lost nor does it fire twice.
//!
//! - **N4** A shift or a policy that was altered is damage: either would let timers fire at a wrong time, and nothing else would tell.
//!
//! - **N5** A period is one word, and no shape has a say in it. It is changed alone: logged like a word of the heap, without the record's
//!   sequence, and without a new twin. An observer copies the one or the other.
//!
//! It does not know what time it is: the caller says, so that a tick sees one time, and a test any.

mod change;
pub(crate) mod due;
pub(crate) mod heap;
mod shapes;

pub use due::{Gap, MAX_DEADLINE};
pub use heap::MAX_TIMERS;

use crate::archive::{self, Geometry, Value};
use crate::error::{Error, Result};
use crate::heap::Held;
use crate::heap::Owner;
use crate::region::Region;
use crate::region::view::View;
use crate::schema::Description;
use crate::table::catalog::{self, Kind, ROOT, ROOTS, Spec, TableOptions};
use crate::table::mixed::{self, At};
use crate::table::record::{self, Home, Parts, RecordMut};
use crate::table::reference;
use crate::table::slots::{self, Slot, Slots};
use crate::table::steps::Steps;
use crate::tx::Tx;
use due::{MOST, clamp, shown};
use heap::{Entry, Heap};
use std::fmt;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::num::NonZeroU64;

const WHAT: &str = "timers";
pub(crate) const SHIFT: u64 = heap::NEXT_ROOT;
const GAP: u64 = SHIFT + 8;

// The heap of the region keeps the last two roots of a row for itself.
const _: () = assert!(GAP < ROOT + (ROOTS as u64 - 2) * 8);

/// Names a timer of a table, and none that was or will be in its slot. As [`SlabId`](crate::SlabId), also as a field of a record and as a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimerId(u64);

impl TimerId {
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
}

/// Timers with records. The handle is small, can be copied and kept, and belongs to one region.
///
/// # Which clock
/// Deadlines are ns of the clock that [`pop_due`](Self::pop_due) is called with: a table looks at none. All of a table must be of one, and it
/// must go on after a handover and a crash as if nothing had been, so it is one of two:
///
/// - [`Region::clock_ns`], asked before the transaction begins. It is `CLOCK_MONOTONIC` until the region is restored from a checkpoint, and
///   goes on from the checkpoint's time then, on whatever machine: of each timer as much remains as did, and nothing is to be done.
/// - `CLOCK_MONOTONIC` itself ([`monotonic_ns`](crate::monotonic_ns)), the same in every process of a boot. After a restore another one
///   counts, of another boot perhaps: call [`rebase`](Self::rebase) once, by `restored_ns` − `marked_ns` of [`Region::restored_from`].
///
/// ```
/// # fn main() -> shmstate::Result<()> {
/// # use shmstate::{Cell, Gap, Region, Timers};
/// # use std::num::NonZeroU64;
/// let mut region = Region::in_memory(4 << 20)?;
/// let gate = region.gate().clone();
/// let pass = gate.enter()?;
/// let mut tx = region.begin(&pass)?;
/// let spawns: Timers<String> = Timers::create(&mut tx, "spawns", Gap::Coalesce)?;
/// let log: Cell<String> = Cell::create(&mut tx, "log", &String::new())?;
/// let period = NonZeroU64::new(1000).expect("not 0");
/// let owl = spawns.insert(&mut tx, 2500, &"owl".to_owned())?;
/// spawns.insert_every(&mut tx, 1000, period, &"rat".to_owned())?;
/// let bat = spawns.insert(&mut tx, 1200, &"bat".to_owned())?;
/// spawns.cancel(&mut tx, bat)?;
/// tx.commit()?;
/// assert_eq!(spawns.next_deadline(&*region.read(&pass)?)?, Some(1000));
///
/// // A firing and what it does are one transaction.
/// for now in [1000, 2700] {
///     let mut tx = region.begin(&pass)?;
///     while let Some(who) = spawns.pop_due(&mut tx, now, |_, at, who| format!("{who} at {at}, "))? {
///         let before = log.get(&tx)?.to_string();
///         log.set(&mut tx, &(before + &who))?;
///     }
///     tx.commit()?;
/// }
/// let reader = region.read(&pass)?;
/// assert_eq!(log.get(&reader)?, "rat at 1000, rat at 2000, owl at 2500, ");
/// assert_eq!(spawns.next_deadline(&reader)?, Some(3000));
/// assert!(spawns.get(&reader, owl)?.is_none());
/// # Ok(())
/// # }
/// ```
pub struct Timers<T> {
    row: u64,
    /// Which table it is (R1 of `catalog`).
    identity: u64,
    value: PhantomData<fn() -> T>,
}

impl<T> Clone for Timers<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Timers<T> {}

impl<T> fmt::Debug for Timers<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timers").field("row", &self.row).finish_non_exhaustive()
    }
}

impl<T: Value> Timers<T> {
    pub(crate) const GEOMETRY: Geometry = Geometry::of::<T>(8);

    fn home(&self) -> Home {
        Home {
            owner: Owner::of_row(self.row),
            geometry: Self::GEOMETRY,
            checked: false,
        }
    }

    pub(crate) fn spec() -> Spec {
        Spec {
            kind: Kind::Timers,
            key: "u64".into(),
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

    /// Makes the table; `gap` is what its periodic timers do about firings that they missed.
    ///
    /// # Errors
    /// [`Error::TableExists`], [`Error::BadName`], [`Error::CatalogFull`], [`Error::Undeclared`], [`Error::Overaligned`], those of the [heap](crate::Tx#errors).
    pub fn create(tx: &mut Tx<'_>, name: &str, gap: Gap) -> Result<Self> {
        tx.whole(|tx| {
            let row = catalog::create(tx, name, &Self::spec(), TableOptions::default(), &[])?;
            Slots::of(row).start(tx)?;
            Heap::of(row).start(tx)?;
            set_time(tx, row, 0, gap)?;
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

    /// The same for a table whose records may have an older shape, as [`Map::open_migrating`](crate::Map::open_migrating) says; ids, deadlines and periods stay
    /// what they are.
    ///
    /// # Errors
    /// Those of [`open`](Self::open); [`Error::BadSteps`].
    pub fn open_migrating(region: &Region, name: &str, steps: Steps<T>) -> Result<Self> {
        mixed::open(region, name, steps)
    }

    /// Finds the table, or makes it. A table that is there keeps the policy that it was made with.
    ///
    /// # Errors
    /// Those of [`open`](Self::open) and [`create`](Self::create), except `NoTable`.
    pub fn open_or_create(tx: &mut Tx<'_>, name: &str, gap: Gap) -> Result<Self> {
        match catalog::find(tx, name, &Self::spec()) {
            Ok(row) => {
                mixed::check_plain::<T>(tx, name)?;
                Ok(Self::handle(row, tx))
            }
            Err(Error::NoTable { .. }) => Self::create(tx, name, gap),
            Err(e) => Err(e),
        }
    }

    #[inline]
    fn admit(&self, view: &View) -> Result<(Slots, Heap)> {
        if view.identity(self.row) != self.identity {
            return Err(catalog::no_table_of(view, self.identity));
        }
        Ok((Slots::of(self.row), Heap::of(self.row)))
    }

    fn shift(&self, view: &View) -> Result<i64> {
        time(view, self.row).map(|(shift, _)| shift)
    }

    /// The record of a timer, whatever its shape.
    #[inline]
    fn root<'v>(&self, view: &'v View, slot: &Slot) -> Result<&'v T::Archived> {
        match archive::root::<T>(view, slot.record, Self::GEOMETRY) {
            Ok(root) => Ok(root),
            Err(why) => mixed::read(self, view, At::slot(slot), why),
        }
    }

    /// Where the period of a record of whatever shape stands: before the header.
    fn period_at(record: u64) -> u64 {
        record.wrapping_sub(Self::GEOMETRY.key)
    }

    fn period_of(view: &View, record: u64) -> Result<u64> {
        view.load(Self::period_at(record), WHAT)
    }

    /// What its periodic timers do about firings that they missed.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn gap(&self, view: &View) -> Result<Gap> {
        self.admit(view)?;
        time(view, self.row).map(|(_, gap)| gap)
    }

    /// Adds a timer that fires once, at `deadline_ns` or as soon after it as somebody looks. Timers with the same deadline fire
    /// in the order in which they were added or last moved.
    ///
    /// # Errors
    /// [`Error::RegionFull`], [`Error::OutOfSpace`], [`Error::TableFull`],
    /// [`Error::TooLarge`], [`Error::Archive`], [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn insert(&self, tx: &mut Tx<'_>, deadline_ns: u64, value: &T) -> Result<TimerId> {
        self.add(tx, deadline_ns, 0, value)
    }

    /// Adds a timer that fires at `first_ns` and every `period_ns` after it, until it is cancelled. Its id stays the same. Firings
    /// that it misses are the table's [`Gap`]'s business.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn insert_every(&self, tx: &mut Tx<'_>, first_ns: u64, period_ns: NonZeroU64, value: &T) -> Result<TimerId> {
        self.add(tx, first_ns, period_ns.get(), value)
    }

    fn add(&self, tx: &mut Tx<'_>, deadline: u64, period: u64, value: &T) -> Result<TimerId> {
        tx.whole(|tx| {
            let (slots, heap) = self.admit(tx)?;
            let period = period.to_le_bytes();
            let key = Parts::Tail(&period);
            let made = record::create(tx, self.home(), key, value)?;
            let slot = slots.vacant(tx, MAX_TIMERS)?;
            let serial = slots.next_serial(tx)?;
            let stored = clamp(deadline).saturating_sub(self.shift(tx)?);
            let (count, _) = slots.counts(tx)?;
            let position = heap.insert(tx, count, Entry::new(stored, serial, slot.place))?;
            slots.fill(tx, slot, serial as u32, position as u32, (made.header, made.archived))?;
            let token = slots::token(slot.place, serial as u32);
            if tx.mixed().has(self.row) {
                mixed::note(self, tx, At::numbered(made.header, token));
            }
            Ok(TimerId(token))
        })
    }

    /// The timer's entry in the heap, and how many timers there are.
    fn entry(&self, view: &View, slot: &Slot) -> Result<(Entry, u64)> {
        let (slots, heap) = self.admit(view)?;
        let (count, _) = slots.counts(view)?;
        let entry = heap.entry_of(view, slot.link.into(), slot.place, count)?;
        Ok((entry, count))
    }

    /// Takes a timer out before it fires (again). Says whether it was there.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`], those of the [log](crate::Tx#errors).
    pub fn cancel(&self, tx: &mut Tx<'_>, id: TimerId) -> Result<bool> {
        let (slots, _) = self.admit(tx)?;
        match slots.find(tx, id.0)? {
            Some(slot) => self.take(tx, &slot).map(|()| true),
            None => Ok(false),
        }
    }

    fn take(&self, tx: &mut Tx<'_>, slot: &Slot) -> Result<()> {
        tx.whole(|tx| {
            let (slots, heap) = self.admit(tx)?;
            let (_, count) = self.entry(tx, slot)?;
            heap.remove(tx, slot.link.into(), count)?;
            let archived = if tx.mixed().has(self.row) {
                mixed::discard(self, tx, At::slot(slot))?
            } else {
                mixed::check_mine(self, tx, slot.record)?;
                record::discard(tx, self.home(), slot.record, 0)?
            };
            slots.release(tx, slot, archived)
        })
    }

    /// Gives a timer another deadline; a periodic one goes on from there, with the period that it has
    /// ([`reschedule_every`](Self::reschedule_every) changes that too). Says whether it was there.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`], those of the [log](crate::Tx#errors).
    pub fn reschedule(&self, tx: &mut Tx<'_>, id: TimerId, deadline_ns: u64) -> Result<bool> {
        let (slots, _) = self.admit(tx)?;
        let Some(slot) = slots.find(tx, id.0)? else {
            return Ok(false);
        };
        let stored = clamp(deadline_ns).saturating_sub(self.shift(tx)?);
        self.change(tx, &slot, stored)?;
        Ok(true)
    }

    /// Moves a timer to another deadline, as stored.
    fn change(&self, tx: &mut Tx<'_>, slot: &Slot, stored: i64) -> Result<()> {
        tx.whole(|tx| {
            let (slots, heap) = self.admit(tx)?;
            let (_, count) = self.entry(tx, slot)?;
            let serial = slots.next_serial(tx)?;
            heap.change(tx, slot.link.into(), count, Entry::new(stored, serial, slot.place))
        })
    }

    /// The timer's record, in place; `None` if it fired for the last time or was cancelled.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn get<'v>(&self, view: &'v View, id: TimerId) -> Result<Option<&'v T::Archived>> {
        match self.admit(view)?.0.find(view, id.0)? {
            Some(slot) => self.root(view, &slot).map(Some),
            None => Ok(None),
        }
    }

    /// Whether the timer is still to fire.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn contains(&self, view: &View, id: TimerId) -> Result<bool> {
        Ok(self.admit(view)?.0.find(view, id.0)?.is_some())
    }

    /// The timer's record, to be changed in place; `None` if it fired for the last time or was cancelled.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`]; where records migrate, those of [`insert`](Self::insert).
    pub fn get_mut<'t, 'a>(&self, tx: &'t mut Tx<'a>, id: TimerId) -> Result<Option<RecordMut<'t, 'a, T>>> {
        let Some(slot) = self.admit(tx)?.0.find(tx, id.0)? else {
            return Ok(None);
        };
        let mut record = slot.record;
        if tx.mixed().has(self.row) {
            record = mixed::renew(self, tx, At::slot(&slot))?;
        }
        RecordMut::new(tx, self.home(), record).map(Some)
    }

    /// When the timer fires next, in ns; `None` if it fired for the last time or was cancelled.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn deadline(&self, view: &View, id: TimerId) -> Result<Option<u64>> {
        let Some(slot) = self.admit(view)?.0.find(view, id.0)? else {
            return Ok(None);
        };
        let (entry, _) = self.entry(view, &slot)?;
        Ok(Some(shown(entry.deadline().saturating_add(self.shift(view)?))))
    }

    /// The timer's period in ns, 0 if it fires once; `None` if it fired for the last time or was cancelled.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn period(&self, view: &View, id: TimerId) -> Result<Option<u64>> {
        match self.admit(view)?.0.find(view, id.0)? {
            Some(slot) => Self::period_of(view, slot.record).map(Some),
            None => Ok(None),
        }
    }

    /// Takes all timers out.
    ///
    /// # Errors
    /// As [`cancel`](Self::cancel).
    pub fn clear(&self, tx: &mut Tx<'_>) -> Result<()> {
        tx.whole(|tx| {
            let (slots, heap) = self.admit(tx)?;
            let mut cursor = 0;
            while let Some(slot) = slots.next(tx, &mut cursor)? {
                record::forget(tx, slot.record)?;
            }
            mixed::clear(self, tx)?;
            heap.clear(tx)?;
            slots.clear(tx)
        })
    }

    /// How many timers there are.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn len(&self, view: &View) -> Result<u64> {
        Ok(self.admit(view)?.0.counts(view)?.0)
    }

    /// Whether there are none.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn is_empty(&self, view: &View) -> Result<bool> {
        Ok(self.len(view)? == 0)
    }

    /// Bytes of the archives of all records, without periods, headers and what the heap rounds up.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn archived_bytes(&self, view: &View) -> Result<u64> {
        Ok(self.admit(view)?.0.counts(view)?.1)
    }

    /// All timers with ids and deadlines, in no particular order.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`]; each item can be [`Error::Damaged`], after which there are no more.
    pub fn iter<'v>(&self, view: &'v View) -> Result<TimersIter<'v, T>> {
        let (slots, _) = self.admit(view)?;
        Ok(TimersIter {
            view,
            table: *self,
            shift: self.shift(view)?,
            next: 0,
            count: slots.counts(view)?.0,
        })
    }
}

/// Iterator over the timers of a table.
#[derive(Debug)]
pub struct TimersIter<'v, T> {
    view: &'v View,
    table: Timers<T>,
    shift: i64,
    next: u64,
    count: u64,
}

impl<'v, T: Value> TimersIter<'v, T> {
    fn step(&mut self) -> Result<(TimerId, u64, &'v T::Archived)> {
        let (slots, heap) = self.table.admit(self.view)?;
        let entry = heap.entry(self.view, self.next)?;
        let slot = slots.used(self.view, entry.place())?;
        let deadline = shown(entry.deadline().saturating_add(self.shift));
        Ok((TimerId(slot.token()), deadline, self.table.root(self.view, &slot)?))
    }
}

impl<'v, T: Value> Iterator for TimersIter<'v, T> {
    type Item = Result<(TimerId, u64, &'v T::Archived)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.count {
            return None;
        }
        let item = self.step();
        self.next = if item.is_ok() { self.next + 1 } else { self.count };
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.count - self.next) as usize;
        (left, Some(left))
    }
}

impl<T: Value> ExactSizeIterator for TimersIter<'_, T> {}

impl<T: Value> FusedIterator for TimersIter<'_, T> {}

/// Shift and policy of the table in row `row` (N4).
fn time(view: &View, row: u64) -> Result<(i64, Gap)> {
    time_of(view.words(row + SHIFT, WHAT)?, row)
}

/// Shift and policy that the two words of the row say.
pub(crate) fn time_of([word, policy]: [u64; 2], row: u64) -> Result<(i64, Gap)> {
    let shift = word as i64;
    let gap = match policy & 0xff {
        1 => Gap::All,
        2 => Gap::Coalesce,
        3 => Gap::Skip,
        _ => return Err(Error::damaged(WHAT, row + GAP, policy)),
    };
    if !(-MOST..=MOST).contains(&shift) || policy != time_word(row, shift, gap) {
        return Err(Error::damaged(WHAT, row + SHIFT, word));
    }
    Ok((shift, gap))
}

/// Writes them.
fn set_time(tx: &mut Tx<'_>, row: u64, shift: i64, gap: Gap) -> Result<()> {
    tx.put_all(row + SHIFT, &[shift as u64, time_word(row, shift, gap)], WHAT)
}

/// The policy, and above it a check of both.
fn time_word(row: u64, shift: i64, gap: Gap) -> u64 {
    reference::check_words([shift as u64, gap as u64], row) << 8 | gap as u64
}

/// Visits the blocks of the table in row `row`, and checks it.
pub(crate) fn blocks(view: &View, row: u64, mut each: impl FnMut(Held)) -> Result<()> {
    time(view, row)?;
    Slots::of(row).blocks(view, true, &mut each)?;
    Heap::of(row).blocks(view, each)
}

/// Timers of the table in row `row`, and bytes of their archives.
pub(crate) fn counts(view: &View, row: u64) -> Result<(u64, u64)> {
    Slots::of(row).counts(view)
}
