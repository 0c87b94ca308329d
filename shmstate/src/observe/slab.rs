//! A slab as an observer sees it.

use super::seen::{KEYLESS, Seen};
use super::slots::{self, Walk};
use super::snapshot::Snapshot;
use super::way::Way;
use super::{Copied, Observer};
use crate::archive::CheckedValue;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::table::slab::{Slab, SlabId};
use std::fmt;
use std::iter::FusedIterator;
use std::marker::PhantomData;

/// A slab in a region that another process writes.
pub struct ObservedSlab<'o, T> {
    seen: Seen<'o>,
    value: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for ObservedSlab<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObservedSlab")
            .field("name", &self.seen.prints.name())
            .finish_non_exhaustive()
    }
}

impl Observer {
    /// Finds a slab and checks that its records have the shape of `T`.
    ///
    /// # Errors
    /// [`Error::NoTable`], [`Error::SchemaMismatch`],
    /// [`Error::Retry`], [`Error::Damaged`].
    pub fn slab<T: CheckedValue>(&self, name: &str) -> Result<ObservedSlab<'_, T>> {
        Ok(ObservedSlab {
            seen: Seen::find(self, name, &Slab::<T>::spec(), Slab::<T>::GEOMETRY, KEYLESS)?,
            value: PhantomData,
        })
    }
}

impl<'o, T> ObservedSlab<'o, T> {
    /// The table without its types.
    pub(crate) fn into_seen(self) -> Seen<'o> {
        self.seen
    }
}

impl<T: CheckedValue> ObservedSlab<'_, T> {
    fn way(&self, id: SlabId) -> Way<'static> {
        Way::Slot {
            row: self.seen.row(),
            token: id.token(),
        }
    }

    /// The record that the id names, whole, as it was at some moment of this call: perhaps changed by a transaction that is not
    /// committed yet, or will never be. `None` if there is none any more.
    ///
    /// # Errors
    /// [`Error::Retry`] if it did not hold still in many tries,
    /// [`Error::SchemaMismatch`] if the table was given another shape,
    /// [`Error::Damaged`].
    pub fn peek(&self, id: SlabId) -> Result<Option<Copied<T>>> {
        self.seen.peek(&self.way(id))
    }

    /// The record that was committed under the id at some moment of this call.
    ///
    /// # Errors
    /// Those of [`peek`](Self::peek).
    pub fn snapshot(&self, id: SlabId) -> Result<Option<Copied<T>>> {
        self.seen.snapshot(&self.way(id))
    }

    /// The record that the id names at the moment of a snapshot.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::SchemaMismatch`],
    /// [`Error::Damaged`]; [`Error::Retry`], after which the snapshot is taken again.
    pub fn get(&self, s: &mut Snapshot<'_>, id: SlabId) -> Result<Option<Copied<T>>> {
        self.seen.get(s, &self.way(id))
    }

    /// How many records there are at the moment of a snapshot.
    ///
    /// # Errors
    /// Those of [`get`](Self::get).
    pub fn count(&self, s: &mut Snapshot<'_>) -> Result<u64> {
        self.seen.read(s, |s| slots::live(s, self.seen.row()))
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

    /// All records with their ids at the moment of a snapshot, in the order of the slots.
    ///
    /// # Errors
    /// Those of [`get`](Self::get); each item can be one of them, after which there are no more.
    pub fn iter<'t, 's, 'x>(&'t self, s: &'s mut Snapshot<'x>) -> Result<ObservedSlabIter<'t, 's, 'x, T>> {
        let walk = self.seen.read(s, |s| Walk::begin(s, self.seen.row()))?;
        Ok(ObservedSlabIter {
            table: self,
            snapshot: s,
            walk: Some(walk),
        })
    }
}

/// Iterator over the records of a slab at the moment of a snapshot.
pub struct ObservedSlabIter<'t, 's, 'x, T> {
    table: &'t ObservedSlab<'t, T>,
    snapshot: &'s mut Snapshot<'x>,
    /// `None` after an error.
    walk: Option<Walk>,
}

impl<T> fmt::Debug for ObservedSlabIter<'_, '_, '_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObservedSlabIter").finish_non_exhaustive()
    }
}

impl<T: CheckedValue> Iterator for ObservedSlabIter<'_, '_, '_, T> {
    type Item = Result<(SlabId, Copied<T>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let (seen, walk) = (&self.table.seen, self.walk.as_mut()?);
        let item = seen.read(self.snapshot, |s| {
            let Some(slot) = walk.next(s)? else {
                return Ok(None);
            };
            let id = SlabId::from_token(slot.token);
            let raw = seen.record_at(s, &self.table.way(id), slot.record)?;
            Ok(Some((id, Copied::new(raw, &seen.shape)?)))
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

impl<T: CheckedValue> FusedIterator for ObservedSlabIter<'_, '_, '_, T> {}
