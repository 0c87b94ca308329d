//! The walk over a queue, or over a range of its serial numbers, from both ends. Where an item lies follows from its serial number, so
//! any number of them is passed over at once.

use super::Queue;
use super::ring::Roots;
use crate::archive::Value;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::region::view::View;
use std::iter::FusedIterator;
use std::ops::{Bound, RangeBounds};

impl<T: Value> Queue<T> {
    /// All records with their serial numbers, oldest first.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`]; each item can be [`Error::Damaged`], after which there are no more.
    pub fn iter<'v>(&self, view: &'v View) -> Result<QueueIter<'v, T>> {
        self.range(view, ..)
    }

    /// The records whose serial numbers lie within `serials`, with these, oldest first. Bounds may lie where there is no record, before the
    /// oldest or behind the newest. None if they are the wrong way round.
    ///
    /// # Errors
    /// Those of [`iter`](Self::iter).
    pub fn range<'v>(&self, view: &'v View, serials: impl RangeBounds<u64>) -> Result<QueueIter<'v, T>> {
        let roots = self.admit(view)?.roots(view)?;
        let start = match serials.start_bound() {
            Bound::Included(serial) => *serial,
            Bound::Excluded(serial) => serial.saturating_add(1),
            Bound::Unbounded => roots.head,
        };
        let end = match serials.end_bound() {
            Bound::Included(serial) => serial.saturating_add(1),
            Bound::Excluded(serial) => *serial,
            Bound::Unbounded => roots.tail,
        };
        let next = start.clamp(roots.head, roots.tail);
        Ok(QueueIter {
            view,
            queue: *self,
            roots,
            next,
            end: end.clamp(next, roots.tail),
        })
    }
}

/// Iterator over records of a [`Queue`] with their serial numbers, oldest first; from the back, newest first.
///
/// It knows how many records are left. `nth` and `nth_back` take no longer than `next` does: what they pass over is not looked at. Each item
/// can be [`Error::Damaged`], after which there are no more.
#[derive(Debug)]
pub struct QueueIter<'v, T> {
    view: &'v View,
    queue: Queue<T>,
    roots: Roots,
    next: u64,
    /// Serial number after the last that is left.
    end: u64,
}

impl<'v, T: Value> QueueIter<'v, T> {
    fn give(&mut self, serial: u64) -> Option<Result<(u64, &'v T::Archived)>> {
        let item = self.queue.item(self.view, &self.roots, serial);
        if item.is_err() {
            self.next = self.end;
        }
        Some(item.map(|item| (serial, item)))
    }

    fn left(&self) -> u64 {
        self.end - self.next
    }
}

impl<'v, T: Value> Iterator for QueueIter<'v, T> {
    type Item = Result<(u64, &'v T::Archived)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.end {
            return None;
        }
        let serial = self.next;
        self.next += 1;
        self.give(serial)
    }

    fn nth(&mut self, n: usize) -> Option<Self::Item> {
        self.next += self.left().min(n as u64);
        self.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.left() as usize;
        (left, Some(left))
    }
}

impl<T: Value> DoubleEndedIterator for QueueIter<'_, T> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.next == self.end {
            return None;
        }
        self.end -= 1;
        self.give(self.end)
    }

    fn nth_back(&mut self, n: usize) -> Option<Self::Item> {
        self.end -= self.left().min(n as u64);
        self.next_back()
    }
}

impl<T: Value> ExactSizeIterator for QueueIter<'_, T> {}

impl<T: Value> FusedIterator for QueueIter<'_, T> {}
