//! What an ordered map tells by the order of its keys: ranges, both ends, ranks.

use super::range::Range;
use super::tree::{Path, Spot, Toward};
use super::{COUNT, OrderedMap};
use crate::archive::Value;
use crate::error::{Error, Result};
use crate::region::view::View;
use crate::table::key::Key;
use std::iter::FusedIterator;
use std::ops::{Bound, RangeBounds};

/// Two places between entries, and how many records lie between them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Within {
    pub(super) front: Spot,
    pub(super) back: Spot,
    pub(super) left: u64,
}

impl<K: Key, V: Value> OrderedMap<K, V> {
    /// All records, ascending by key.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn iter<'v>(&self, view: &'v View) -> Result<Range<'v, K, V>> {
        let left = self.len(view)?;
        let tree = self.admit(view)?;
        let (front, back) = (tree.locate(view, Toward::Start)?, tree.locate(view, Toward::End)?);
        Range::between(*self, view, &front, &back, left)
    }

    /// The records whose keys lie within `bounds`, ascending by key. None if the bounds are the wrong way round.
    ///
    /// For keys that are strings, bounds are a pair, as with `std`: `(Bound::Included("a"), Bound::Excluded("b"))`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn range<'v>(&self, view: &'v View, bounds: impl RangeBounds<K::Borrowed>) -> Result<Range<'v, K, V>> {
        let Within { front, back, left } = self.within(view, bounds)?;
        Range::between(*self, view, &front, &back, left)
    }

    /// The places between which lie the records whose keys are within `bounds`.
    pub(super) fn within(&self, view: &View, bounds: impl RangeBounds<K::Borrowed>) -> Result<Within> {
        let most = self.len(view)?;
        let tree = self.admit(view)?;
        let place = |key: &K::Borrowed, behind: bool| -> Result<Spot> {
            let mut spot = self.locate(view, key)?;
            spot.path.steps[0].index += usize::from(behind && spot.found);
            Ok(spot)
        };
        let front = match bounds.start_bound() {
            Bound::Included(key) => place(key, false)?,
            Bound::Excluded(key) => place(key, true)?,
            Bound::Unbounded => tree.locate(view, Toward::Start)?,
        };
        let back = match bounds.end_bound() {
            Bound::Included(key) => place(key, true)?,
            Bound::Excluded(key) => place(key, false)?,
            Bound::Unbounded => tree.locate(view, Toward::End)?,
        };
        let left = tree
            .rank(view, &back.path)?
            .saturating_sub(tree.rank(view, &front.path)?);
        if left > most {
            return Err(Error::damaged("number of records below", self.row + COUNT, left));
        }
        Ok(Within { front, back, left })
    }

    /// The records that so many others come before, ascending by key: a page of a leaderboard. What lies beyond the last record is left out; none if
    /// the bounds are the wrong way round.
    ///
    /// ```
    /// # fn main() -> shmstate::Result<()> {
    /// # use shmstate::{OrderedMap, Region};
    /// # let mut region = Region::in_memory(4 << 20)?;
    /// # let gate = region.gate().clone();
    /// # let pass = gate.enter()?;
    /// # let mut tx = region.begin(&pass)?;
    /// let board: OrderedMap<(u32, u64), u8> = OrderedMap::create(&mut tx, "board")?;
    /// for player in 0..25u64 {
    ///     board.insert(&mut tx, &(player as u32 * 10, player), &0)?;
    /// }
    /// // The second page of ten, the best first.
    /// let players = board.len(&tx)?;
    /// let page = board.ranks(&tx, players - 20..players - 10)?.rev();
    /// let scores: Vec<u32> = page.map(|item| item.map(|((score, _), _)| score)).collect::<shmstate::Result<_>>()?;
    /// assert_eq!(scores, [140, 130, 120, 110, 100, 90, 80, 70, 60, 50]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn ranks<'v>(&self, view: &'v View, ranks: impl RangeBounds<u64>) -> Result<Range<'v, K, V>> {
        let most = self.len(view)?;
        let start = match ranks.start_bound() {
            Bound::Included(rank) => *rank,
            Bound::Excluded(rank) => rank.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match ranks.end_bound() {
            Bound::Included(rank) => rank.saturating_add(1),
            Bound::Excluded(rank) => *rank,
            Bound::Unbounded => most,
        };
        let end = end.min(most);
        let start = start.min(end);
        let tree = self.admit(view)?;
        let (front, back) = (
            tree.locate(view, Toward::Rank(start))?,
            tree.locate(view, Toward::Rank(end))?,
        );
        Range::between(*self, view, &front, &back, end - start)
    }

    /// All keys, ascending.
    ///
    /// # Errors
    /// Those of [`iter`](Self::iter); each item can be [`Error::Damaged`], after which there are no more.
    pub fn keys<'v>(
        &self,
        view: &'v View,
    ) -> Result<impl DoubleEndedIterator<Item = Result<K>> + ExactSizeIterator + FusedIterator + use<'v, K, V>> {
        Ok(self.iter(view)?.map(|item| item.map(|(key, _)| key)))
    }

    /// All records without their keys, ascending by key.
    ///
    /// # Errors
    /// Those of [`iter`](Self::iter); each item can be [`Error::Damaged`], after which there are no more.
    pub fn values<'v>(
        &self,
        view: &'v View,
    ) -> Result<
        impl DoubleEndedIterator<Item = Result<&'v V::Archived>> + ExactSizeIterator + FusedIterator + use<'v, K, V>,
    > {
        Ok(self.iter(view)?.map(|item| item.map(|(_, value)| value)))
    }

    /// The record with the least key.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn first<'v>(&self, view: &'v View) -> Result<Option<(K, &'v V::Archived)>> {
        self.at_end(view, Toward::Start)
    }

    /// The record with the greatest key.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn last<'v>(&self, view: &'v View) -> Result<Option<(K, &'v V::Archived)>> {
        self.at_end(view, Toward::End)
    }

    /// The record that `i` others come before; `None` if there are not so many.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn nth<'v>(&self, view: &'v View, i: u64) -> Result<Option<(K, &'v V::Archived)>> {
        if i >= self.len(view)? {
            return Ok(None);
        }
        self.at_end(view, Toward::Rank(i))
    }

    /// How many records have a lesser key, whether or not there is one under `key`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn rank(&self, view: &View, key: &K::Borrowed) -> Result<u64> {
        let spot = self.locate(view, key)?;
        self.admit(view)?.rank(view, &spot.path)
    }

    /// The path to an entry that is known to be there if any is.
    pub(super) fn end(&self, view: &View, toward: Toward<'_>) -> Result<Option<Path>> {
        let mut path = self.admit(view)?.locate(view, toward)?.path;
        if path.depth == 0 {
            return Ok(None);
        }
        if let Toward::End = toward {
            // An empty leaf is damage, and found to be so by who reads it.
            path.steps[0].index = path.steps[0].index.saturating_sub(1);
        }
        Ok(Some(path))
    }

    fn at_end<'v>(&self, view: &'v View, toward: Toward<'_>) -> Result<Option<(K, &'v V::Archived)>> {
        let Some(path) = self.end(view, toward)? else {
            return Ok(None);
        };
        let leaf = Self::leaf_at(self.admit(view)?, view, &path)?;
        self.item(view, &leaf, path.steps[0].index).map(Some)
    }
}
