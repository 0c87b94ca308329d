//! Going over all records of a map, in the order in which they lie in memory.

use super::bulk::fetch_ahead;
use super::{COUNT, Map};
use crate::archive::{self, Value};
use crate::error::{Error, Result};
use crate::heap::Blocks;
use crate::region::view::{Bad, View};
use crate::table::key::Key;
use crate::table::mixed::{self, At};
use crate::table::record;
use std::iter::FusedIterator;

/// Iterator over the records of a map.
#[derive(Debug)]
pub struct Iter<'v, K, V> {
    view: &'v View,
    blocks: Blocks,
    left: u64,
    map: Map<K, V>,
}

impl<K: Key, V: Value> Map<K, V> {
    /// All records, in the order in which they lie in memory; it changes when records come, go or change their length.
    ///
    /// # Errors
    /// [`Error::ForeignTable`](crate::Error::ForeignTable), [`Error::TableGone`](crate::Error::TableGone), [`Error::StillMoving`](crate::Error::StillMoving); each item can be [`Error::Damaged`](crate::Error::Damaged), after
    /// which there are no more.
    pub fn iter<'v>(&self, view: &'v View) -> Result<Iter<'v, K, V>> {
        self.admit(view)?;
        self.check_whole(view)?;
        Ok(Iter {
            view,
            blocks: Blocks::of(view, self.home().owner)?,
            left: self.records(view)?,
            map: *self,
        })
    }

    /// All keys, in the order of [`iter`](Self::iter).
    ///
    /// # Errors
    /// Those of [`iter`](Self::iter).
    pub fn keys<'v>(
        &self,
        view: &'v View,
    ) -> Result<impl ExactSizeIterator<Item = Result<K>> + FusedIterator + use<'v, K, V>> {
        Ok(self.iter(view)?.map(|item| item.map(|(key, _)| key)))
    }

    /// All records without their keys, in the order of [`iter`](Self::iter).
    ///
    /// # Errors
    /// Those of [`iter`](Self::iter).
    pub fn values<'v>(
        &self,
        view: &'v View,
    ) -> Result<impl ExactSizeIterator<Item = Result<&'v V::Archived>> + FusedIterator + use<'v, K, V>> {
        Ok(self.iter(view)?.map(|item| item.map(|(_, value)| value)))
    }
}

impl<'v, K: Key, V: Value> Iter<'v, K, V> {
    #[inline]
    fn step(&mut self) -> Result<Option<(K, &'v V::Archived)>> {
        while let Some(block) = self.blocks.next(self.view)? {
            let header = block.offset + block.size - record::HEADER;
            fetch_ahead(self.view, header, block.size, Map::<K, V>::GEOMETRY.root);
            let tail = Map::<K, V>::checked_tail(self.view, header)?;
            if record::is_dead(tail) {
                continue;
            }
            let key = Map::<K, V>::decode(self.view, header, tail)?;
            let root = match archive::root_in::<V>(tail, Map::<K, V>::GEOMETRY) {
                Ok(root) => root,
                Err(Bad) => {
                    let other = mixed::other(&self.map, self.view, At::keyed(header))?;
                    other.ok_or_else(|| Error::damaged("record", header, 0))?
                }
            };
            return Ok(Some((key, root)));
        }
        Ok(None)
    }
}

impl<'v, K: Key, V: Value> Iterator for Iter<'v, K, V> {
    type Item = Result<(K, &'v V::Archived)>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        match self.step() {
            Ok(Some(item)) => {
                self.left -= 1;
                Some(Ok(item))
            }
            ended => {
                let missing = std::mem::take(&mut self.left);
                let at = self.map.row + COUNT;
                Some(Err(ended
                    .err()
                    .unwrap_or_else(|| Error::damaged("number of records", at, missing))))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

/// Exact unless the region is damaged, which ends it early, with an error.
impl<K: Key, V: Value> ExactSizeIterator for Iter<'_, K, V> {}

impl<K: Key, V: Value> FusedIterator for Iter<'_, K, V> {}
