//! Changing records of an ordered map in place by the order of their keys: those of a range, the first, the last.
//!
//! None of it changes where a record stands in the tree, so a path that was noted before stays good. A record that migrates may move in memory; its
//! entry names it then where it lies.

use super::query::Within;
use super::tree::Toward;
use super::{OrderedMap, confirm, range};
use crate::archive::Value;
use crate::error::Error;
use crate::table::key::Key;
use crate::table::record::RecordMut;
use crate::tx::Tx;
use std::ops::RangeBounds;

type Result<T, E = Error> = std::result::Result<T, E>;

impl<K: Key, V: Value> OrderedMap<K, V> {
    /// Lends the records whose keys lie within `bounds` for changes in place, ascending by key. Says how many there were. Bounds are what [`range`](Self::range)
    /// takes. The first error of `change` ends it; what was changed before is part of the transaction.
    ///
    /// ```
    /// # fn main() -> shmstate::Result<()> {
    /// # use shmstate::{OrderedMap, Region};
    /// # let mut region = Region::in_memory(4 << 20)?;
    /// # let gate = region.gate().clone();
    /// # let pass = gate.enter()?;
    /// # let mut tx = region.begin(&pass)?;
    /// // Gold, by guild and player.
    /// let gold: OrderedMap<(u32, u64), u64> = OrderedMap::create(&mut tx, "gold")?;
    /// for (guild, player) in [(1, 10), (2, 20), (2, 21), (3, 30)] {
    ///     gold.insert(&mut tx, &(guild, player), &100)?;
    /// }
    /// let members = gold.for_each_mut(&mut tx, (2, 0)..(3, 0), |_, gold| {
    ///     let more = gold.to_native() + 5;
    ///     gold.set(|gold| gold, more.into())
    /// })?;
    /// assert_eq!(members, 2);
    /// assert_eq!(gold.get(&tx, &(2, 21))?.expect("there").to_native(), 105);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What `change` returns; as [`get`](Self::get), and, where records migrate, those of [`insert`](Self::insert).
    pub fn for_each_mut<'a, E: From<Error>>(
        &self,
        tx: &mut Tx<'a>,
        bounds: impl RangeBounds<K::Borrowed>,
        mut change: impl FnMut(K, &mut RecordMut<'_, 'a, V>) -> Result<(), E>,
    ) -> Result<u64, E> {
        let Within { front, left, .. } = self.within(tx, bounds)?;
        let tree = self.admit(tx)?;
        let mut path = front.path;
        for _ in 0..left {
            let (leaf, i) = range::forward(&mut path, tree, tx)?;
            confirm(tx, tree.shape, &leaf, i)?;
            let record = leaf.record(i);
            let (key, mut record) = self.lend(tx, record)?;
            change(key, &mut record)?;
        }
        Ok(left)
    }

    /// The record with the least key, to be changed in place.
    ///
    /// # Errors
    /// As [`get_mut`](Self::get_mut).
    pub fn first_mut<'t, 'a>(&self, tx: &'t mut Tx<'a>) -> Result<Option<(K, RecordMut<'t, 'a, V>)>> {
        self.end_mut(tx, Toward::Start)
    }

    /// The record with the greatest key, to be changed in place.
    ///
    /// # Errors
    /// As [`get_mut`](Self::get_mut).
    pub fn last_mut<'t, 'a>(&self, tx: &'t mut Tx<'a>) -> Result<Option<(K, RecordMut<'t, 'a, V>)>> {
        self.end_mut(tx, Toward::End)
    }

    fn end_mut<'t, 'a>(&self, tx: &'t mut Tx<'a>, toward: Toward<'_>) -> Result<Option<(K, RecordMut<'t, 'a, V>)>> {
        let Some(path) = self.end(tx, toward)? else {
            return Ok(None);
        };
        let record = Self::record_at(self.admit(tx)?, tx, &path)?;
        self.lend(tx, record).map(Some)
    }

    /// The key of a record that an entry was found to name, and the record, in this program's shape.
    fn lend<'t, 'a>(&self, tx: &'t mut Tx<'a>, mut record: u64) -> Result<(K, RecordMut<'t, 'a, V>)> {
        if tx.mixed().has(self.row) {
            record = self.renew_at(tx, record)?;
        }
        let key = Self::decode(record, self.admit(tx)?.shape.stored.key(tx, record)?)?;
        Ok((key, RecordMut::new(tx, self.home(), record)?))
    }
}
