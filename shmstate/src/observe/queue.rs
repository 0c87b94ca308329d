//! A queue as an observer sees it: what was recorded and not yet carried out.

use super::ring;
use super::seen::{KEYLESS, Seen};
use super::snapshot::Snapshot;
use super::way::Way;
use super::{Copied, Observer};
use crate::archive::CheckedValue;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::table::queue::Queue;
use crate::table::queue::ring::Roots;
use std::fmt;
use std::iter::FusedIterator;
use std::marker::PhantomData;

/// A queue in a region that another process writes.
pub struct ObservedQueue<'o, T> {
    seen: Seen<'o>,
    value: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for ObservedQueue<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObservedQueue")
            .field("name", &self.seen.prints.name())
            .finish_non_exhaustive()
    }
}

impl Observer {
    /// Finds a queue and checks that its records have the shape of `T`.
    ///
    /// # Errors
    /// [`Error::NoTable`], [`Error::SchemaMismatch`],
    /// [`Error::Retry`], [`Error::Damaged`].
    pub fn queue<T: CheckedValue>(&self, name: &str) -> Result<ObservedQueue<'_, T>> {
        Ok(ObservedQueue {
            seen: Seen::find(self, name, &Queue::<T>::spec(), Queue::<T>::GEOMETRY, KEYLESS)?,
            value: PhantomData,
        })
    }
}

impl<'o, T> ObservedQueue<'o, T> {
    /// The table without its types.
    pub(crate) fn into_seen(self) -> Seen<'o> {
        self.seen
    }
}

impl<T: CheckedValue> ObservedQueue<'_, T> {
    fn way(&self, serial: u64) -> Way<'static> {
        Way::Item {
            row: self.seen.row(),
            serial,
        }
    }

    /// The record with that serial number, whole, as it was at some moment of this call: perhaps pushed by a transaction that is not
    /// committed yet, or will never be. `None` if it was taken out, or is not there yet.
    ///
    /// # Errors
    /// [`Error::Retry`] if it did not hold still in many tries,
    /// [`Error::SchemaMismatch`] if the table was given another shape,
    /// [`Error::Damaged`].
    pub fn peek(&self, serial: u64) -> Result<Option<Copied<T>>> {
        self.seen.peek(&self.way(serial))
    }

    /// The record that was committed under a serial number at some moment of this call.
    ///
    /// # Errors
    /// Those of [`peek`](Self::peek).
    pub fn snapshot(&self, serial: u64) -> Result<Option<Copied<T>>> {
        self.seen.snapshot(&self.way(serial))
    }

    /// The record with that serial number at the moment of a snapshot.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::SchemaMismatch`],
    /// [`Error::Damaged`]; [`Error::Retry`], after which the snapshot is taken again.
    pub fn get_serial(&self, s: &mut Snapshot<'_>, serial: u64) -> Result<Option<Copied<T>>> {
        self.seen.get(s, &self.way(serial))
    }

    /// The record at `index`, counted from the oldest, which is at 0, and its serial number, at the moment of a snapshot.
    ///
    /// # Errors
    /// Those of [`get_serial`](Self::get_serial).
    pub fn get(&self, s: &mut Snapshot<'_>, index: u64) -> Result<Option<(u64, Copied<T>)>> {
        self.at(s, |roots| Some(roots.head + index).filter(|_| index < roots.len()))
    }

    /// The oldest record and its serial number at the moment of a snapshot.
    ///
    /// # Errors
    /// Those of [`get_serial`](Self::get_serial).
    pub fn front(&self, s: &mut Snapshot<'_>) -> Result<Option<(u64, Copied<T>)>> {
        self.get(s, 0)
    }

    /// The newest record and its serial number at the moment of a snapshot.
    ///
    /// # Errors
    /// Those of [`get_serial`](Self::get_serial).
    pub fn back(&self, s: &mut Snapshot<'_>) -> Result<Option<(u64, Copied<T>)>> {
        self.at(s, |roots| Some(roots.tail - 1).filter(|_| roots.len() > 0))
    }

    fn at(&self, s: &mut Snapshot<'_>, choose: impl FnOnce(&Roots) -> Option<u64>) -> Result<Option<(u64, Copied<T>)>> {
        self.seen.read(s, |s| {
            let roots = ring::roots(s, self.seen.row())?;
            match choose(&roots) {
                Some(serial) => self.item(s, &roots, serial).map(Some),
                None => Ok(None),
            }
        })
    }

    fn item(&self, s: &mut Snapshot<'_>, roots: &Roots, serial: u64) -> Result<(u64, Copied<T>)> {
        let record = ring::item(s, self.seen.row(), roots, serial)?;
        let raw = self.seen.record_at(s, &self.way(serial), record)?;
        Ok((serial, Copied::new(raw, &self.seen.shape)?))
    }

    /// The serial number that the next record will get, at the moment of a snapshot.
    ///
    /// # Errors
    /// Those of [`get_serial`](Self::get_serial).
    pub fn next_serial(&self, s: &mut Snapshot<'_>) -> Result<u64> {
        self.seen.read(s, |s| Ok(ring::roots(s, self.seen.row())?.tail))
    }

    /// How many records there are at the moment of a snapshot.
    ///
    /// # Errors
    /// Those of [`get_serial`](Self::get_serial).
    pub fn count(&self, s: &mut Snapshot<'_>) -> Result<u64> {
        self.seen.read(s, |s| Ok(ring::roots(s, self.seen.row())?.len()))
    }

    /// How many records are committed.
    ///
    /// # Errors
    /// Those of [`peek`](Self::peek).
    pub fn len(&self) -> Result<u64> {
        self.seen.observer.snapshot(|s| self.count(s))
    }

    /// Whether no record is committed.
    ///
    /// # Errors
    /// Those of [`peek`](Self::peek).
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// All records with their serial numbers at the moment of a snapshot, oldest first.
    ///
    /// # Errors
    /// Those of [`get_serial`](Self::get_serial); each item can be one of them, after which there are no more.
    pub fn iter<'t, 's, 'x>(&'t self, s: &'s mut Snapshot<'x>) -> Result<ObservedQueueIter<'t, 's, 'x, T>> {
        let roots = self.seen.read(s, |s| ring::roots(s, self.seen.row()))?;
        Ok(ObservedQueueIter {
            table: self,
            snapshot: s,
            next: roots.head,
            end: roots.tail,
            roots,
        })
    }
}

/// Iterator over the records of a queue at the moment of a snapshot.
pub struct ObservedQueueIter<'t, 's, 'x, T> {
    table: &'t ObservedQueue<'t, T>,
    snapshot: &'s mut Snapshot<'x>,
    roots: Roots,
    next: u64,
    end: u64,
}

impl<T> fmt::Debug for ObservedQueueIter<'_, '_, '_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObservedQueueIter").finish_non_exhaustive()
    }
}

impl<T: CheckedValue> Iterator for ObservedQueueIter<'_, '_, '_, T> {
    type Item = Result<(u64, Copied<T>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.end {
            return None;
        }
        let (table, roots, serial) = (self.table, &self.roots, self.next);
        let item = table.seen.read(self.snapshot, |s| table.item(s, roots, serial));
        self.next = if item.is_ok() { serial + 1 } else { self.end };
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some((self.end - self.next) as usize))
    }
}

impl<T: CheckedValue> FusedIterator for ObservedQueueIter<'_, '_, '_, T> {}
