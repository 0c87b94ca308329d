//! Going over all records of a slab, in the order of the slots.

use super::{Slab, SlabId};
use crate::archive::Value;
use crate::error::{Error, Result};
use crate::region::view::View;
use std::iter::FusedIterator;

impl<T: Value> Slab<T> {
    /// All records with their ids, in the order of the slots.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`]; each item can be [`Error::Damaged`], after which there are no more.
    pub fn iter<'v>(&self, view: &'v View) -> Result<SlabIter<'v, T>> {
        let slots = self.admit(view)?;
        Ok(SlabIter {
            view,
            slab: *self,
            cursor: 0,
            left: slots.counts(view)?.0,
        })
    }
}

/// Iterator over the records of a slab.
#[derive(Debug)]
pub struct SlabIter<'v, T> {
    view: &'v View,
    slab: Slab<T>,
    cursor: u64,
    /// Items to come, by the table's count: so many records are given, or an error.
    left: u64,
}

impl<'v, T: Value> SlabIter<'v, T> {
    fn step(&mut self) -> Result<(SlabId, &'v T::Archived)> {
        let slot = self.slab.admit(self.view)?.next(self.view, &mut self.cursor)?;
        let slot = slot.ok_or_else(|| Error::damaged("number of records", self.cursor, self.left))?;
        Ok((SlabId(slot.token()), self.slab.root(self.view, &slot)?))
    }
}

impl<'v, T: Value> Iterator for SlabIter<'v, T> {
    type Item = Result<(SlabId, &'v T::Archived)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let item = self.step();
        self.left = if item.is_ok() { self.left - 1 } else { 0 };
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl<T: Value> ExactSizeIterator for SlabIter<'_, T> {}

impl<T: Value> FusedIterator for SlabIter<'_, T> {}
