//! A cell as an observer sees it: one record, found through one word of its catalog row.

use super::seen::{KEYLESS, Seen};
use super::snapshot::Snapshot;
use super::way::Way;
use super::{Copied, Observer};
use crate::archive::CheckedValue;
use crate::error::{Error, Result};
use crate::table::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

/// One value in a region that another process writes.
pub struct ObservedCell<'o, T> {
    seen: Seen<'o>,
    value: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for ObservedCell<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObservedCell")
            .field("name", &self.seen.prints.name())
            .finish_non_exhaustive()
    }
}

impl Observer {
    /// Finds a cell and checks that its value has the shape of `T`.
    ///
    /// # Errors
    /// [`Error::NoTable`], [`Error::SchemaMismatch`], [`Error::Retry`], [`Error::Damaged`].
    pub fn cell<T: CheckedValue>(&self, name: &str) -> Result<ObservedCell<'_, T>> {
        Ok(ObservedCell {
            seen: Seen::find(self, name, &Cell::<T>::spec(), Cell::<T>::HOME.geometry, KEYLESS)?,
            value: PhantomData,
        })
    }
}

impl<'o, T> ObservedCell<'o, T> {
    /// The table without its types.
    pub(crate) fn into_seen(self) -> Seen<'o> {
        self.seen
    }
}

impl<T: CheckedValue> ObservedCell<'_, T> {
    fn way(&self) -> Way<'static> {
        Way::Cell { row: self.seen.row() }
    }

    /// A cell always has a value: its way does not end at nothing.
    fn given(&self, value: Option<Copied<T>>) -> Result<Copied<T>> {
        value.ok_or_else(|| Error::damaged("cell", self.seen.row(), 0))
    }

    /// The value, whole, as it was at some moment of this call: perhaps changed by a transaction that is not committed yet.
    ///
    /// # Errors
    /// [`Error::Retry`] if it did not hold still in many tries, [`Error::SchemaMismatch`] if the table was given another shape,
    /// [`Error::Damaged`].
    pub fn peek(&self) -> Result<Copied<T>> {
        self.given(self.seen.peek(&self.way())?)
    }

    /// The value that was committed at some moment of this call.
    ///
    /// # Errors
    /// Those of [`peek`](Self::peek).
    pub fn snapshot(&self) -> Result<Copied<T>> {
        self.given(self.seen.snapshot(&self.way())?)
    }

    /// The value at the moment of a snapshot.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::SchemaMismatch`], [`Error::Damaged`]; [`Error::Retry`], after which the snapshot is
    /// taken again.
    pub fn get(&self, s: &mut Snapshot<'_>) -> Result<Copied<T>> {
        self.given(self.seen.get(s, &self.way())?)
    }
}
