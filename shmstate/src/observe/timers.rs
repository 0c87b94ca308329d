//! Timers as an observer sees them: the slots of a slab, each with an entry in the heap.

use super::seen::Seen;
use super::slots::{self, Slot, Walk};
use super::snapshot::Snapshot;
use super::source::Source;
use super::way::Way;
use super::{Copied, Observer};
use crate::archive::CheckedValue;
use crate::error::{Error, Result};
use crate::table::keyed::Stored;
use crate::table::slots::PAGES as SLOTS;
use crate::table::timers::due::shown;
use crate::table::timers::heap::{ENTRY, Entry, LEFT_OUT, PAGES, PER_PAGE};
use crate::table::timers::{SHIFT, TimerId, Timers, time_of};
use std::fmt;
use std::iter::FusedIterator;
use std::marker::PhantomData;

const WHAT: &str = "timers";

/// Timers in a region that another process writes.
pub struct ObservedTimers<'o, T> {
    seen: Seen<'o>,
    value: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for ObservedTimers<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObservedTimers")
            .field("name", &self.seen.prints.name())
            .finish_non_exhaustive()
    }
}

impl Observer {
    /// Finds timers and checks that their records have the shape of `T`.
    ///
    /// # Errors
    /// [`Error::NoTable`], [`Error::SchemaMismatch`], [`Error::Retry`], [`Error::Damaged`].
    pub fn timers<T: CheckedValue>(&self, name: &str) -> Result<ObservedTimers<'_, T>> {
        // The key of a timer's record is its period.
        let keys = Stored::of::<u64>();
        Ok(ObservedTimers {
            seen: Seen::find(self, name, &Timers::<T>::spec(), Timers::<T>::GEOMETRY, keys)?,
            value: PhantomData,
        })
    }
}

/// The entry at a position of the heap.
fn entry<S: Source>(source: &mut S, row: u64, position: u64) -> Result<Entry> {
    let number = position.wrapping_add(LEFT_OUT);
    let page = slots::page(source, row + PAGES, number / PER_PAGE)?;
    let page = page.ok_or_else(|| Error::damaged("heap of timers", row + PAGES, position))?;
    let at = page.wrapping_add(number % PER_PAGE * ENTRY);
    let entry = Entry::of(source.words(at, "heap of timers")?);
    if !entry.is_whole() {
        return Err(Error::damaged("heap of timers", at, position));
    }
    Ok(entry)
}

/// A stored deadline as its owner shows it.
fn deadline<S: Source>(source: &mut S, row: u64, entry: Entry) -> Result<u64> {
    let (shift, _) = time_of(source.words(row + SHIFT, WHAT)?, row)?;
    Ok(shown(entry.deadline().saturating_add(shift)))
}

/// When the timer in a slot fires next.
pub(super) fn deadline_of<S: Source>(source: &mut S, row: u64, slot: &Slot) -> Result<u64> {
    let entry = entry(source, row, slot.link.into())?;
    if entry.place() != slot.place() {
        return Err(Error::damaged("heap of timers", row + PAGES, slot.link.into()));
    }
    deadline(source, row, entry)
}

impl<'o, T> ObservedTimers<'o, T> {
    /// The table without its types.
    pub(crate) fn into_seen(self) -> Seen<'o> {
        self.seen
    }
}

impl<T: CheckedValue> ObservedTimers<'_, T> {
    fn way(&self, id: TimerId) -> Way<'static> {
        const { assert!(SLOTS < PAGES) };
        Way::Slot {
            row: self.seen.row(),
            token: id.token(),
        }
    }

    /// The timer's record, whole, as it was at some moment of this call: perhaps changed by a transaction that is not committed
    /// yet, or will never be. `None` if the timer fired for the last time or was cancelled.
    ///
    /// # Errors
    /// [`Error::Retry`] if it did not hold still in many tries, [`Error::SchemaMismatch`] if the table was given another shape,
    /// [`Error::Damaged`].
    pub fn peek(&self, id: TimerId) -> Result<Option<Copied<T>>> {
        self.seen.peek(&self.way(id))
    }

    /// The timer's record that was committed at some moment of this call.
    ///
    /// # Errors
    /// Those of [`peek`](Self::peek).
    pub fn snapshot(&self, id: TimerId) -> Result<Option<Copied<T>>> {
        self.seen.snapshot(&self.way(id))
    }

    /// The timer's record at the moment of a snapshot.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::SchemaMismatch`], [`Error::Damaged`]; [`Error::Retry`], after which the snapshot is
    /// taken again.
    pub fn get(&self, s: &mut Snapshot<'_>, id: TimerId) -> Result<Option<Copied<T>>> {
        self.seen.get(s, &self.way(id))
    }

    /// When the timer fires next, in ns, and its period, 0 if it fires once, at the moment of a snapshot; `None` if it fired for the
    /// last time or was cancelled.
    ///
    /// # Errors
    /// Those of [`get`](Self::get).
    pub fn due(&self, s: &mut Snapshot<'_>, id: TimerId) -> Result<Option<(u64, u64)>> {
        let (seen, row) = (&self.seen, self.seen.row());
        seen.read(s, |s| {
            let Some(slot) = slots::find(s, row, id.token())? else {
                return Ok(None);
            };
            let at = deadline_of(s, row, &slot)?;
            let raw = seen.record_at(s, &self.way(id), slot.record)?;
            let period = raw
                .key(&seen.shape)
                .first_chunk()
                .map_or(0, |key| u64::from_le_bytes(*key));
            Ok(Some((at, period)))
        })
    }

    /// The earliest deadline of all, in ns, at the moment of a snapshot; `None` if there are no timers.
    ///
    /// # Errors
    /// Those of [`get`](Self::get).
    pub fn next_deadline(&self, s: &mut Snapshot<'_>) -> Result<Option<u64>> {
        let row = self.seen.row();
        self.seen.read(s, |s| {
            if slots::live(s, row)? == 0 {
                return Ok(None);
            }
            let first = entry(s, row, 0)?;
            deadline(s, row, first).map(Some)
        })
    }

    /// How many timers there are at the moment of a snapshot.
    ///
    /// # Errors
    /// Those of [`get`](Self::get).
    pub fn count(&self, s: &mut Snapshot<'_>) -> Result<u64> {
        self.seen.read(s, |s| slots::live(s, self.seen.row()))
    }

    /// How many timers are committed.
    ///
    /// # Errors
    /// Those of [`peek`](Self::peek).
    pub fn len(&self) -> Result<u64> {
        self.seen.observer.snapshot(|s| self.count(s))
    }

    /// Whether no timer is committed.
    ///
    /// # Errors
    /// Those of [`peek`](Self::peek).
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// All timers with ids and deadlines at the moment of a snapshot, in the order of the slots.
    ///
    /// # Errors
    /// Those of [`get`](Self::get); each item can be one of them, after which there are no more.
    pub fn iter<'t, 's, 'x>(&'t self, s: &'s mut Snapshot<'x>) -> Result<ObservedTimersIter<'t, 's, 'x, T>> {
        let walk = self.seen.read(s, |s| Walk::begin(s, self.seen.row()))?;
        Ok(ObservedTimersIter {
            table: self,
            snapshot: s,
            walk: Some(walk),
        })
    }
}

/// Iterator over timers at the moment of a snapshot.
pub struct ObservedTimersIter<'t, 's, 'x, T> {
    table: &'t ObservedTimers<'t, T>,
    snapshot: &'s mut Snapshot<'x>,
    /// `None` after an error.
    walk: Option<Walk>,
}

impl<T> fmt::Debug for ObservedTimersIter<'_, '_, '_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObservedTimersIter").finish_non_exhaustive()
    }
}

impl<T: CheckedValue> Iterator for ObservedTimersIter<'_, '_, '_, T> {
    type Item = Result<(TimerId, u64, Copied<T>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let (seen, walk) = (&self.table.seen, self.walk.as_mut()?);
        let item = seen.read(self.snapshot, |s| {
            let Some(slot) = walk.next(s)? else {
                return Ok(None);
            };
            let id = TimerId::from_token(slot.token);
            let at = deadline_of(s, seen.row(), &slot)?;
            let raw = seen.record_at(s, &self.table.way(id), slot.record)?;
            Ok(Some((id, at, Copied::new(raw, &seen.shape)?)))
        });
        if item.is_err() {
            self.walk = None;
        }
        item.transpose()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.walk.as_ref().map_or(0, Walk::left) as usize;
        (0, Some(left))
    }
}

impl<T: CheckedValue> FusedIterator for ObservedTimersIter<'_, '_, '_, T> {}
