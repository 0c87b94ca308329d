//! Taking records of an ordered map away by their order: from the ends, by their keys, those that do not please, all.

use super::query::Within;
use super::range::Range;
use super::tree::{Path, Toward};
use super::{COUNT, OrderedMap, WHAT};
use crate::archive::{self, Value};
use crate::error::Result;
use crate::table::key::Key;
use crate::table::mixed;
use crate::table::record;
use crate::tx::Tx;
use std::ops::RangeBounds;

impl<K: Key, V: Value> OrderedMap<K, V> {
    /// Takes the record with the least key away and gives it to read: its memory is freed by the commit.
    ///
    /// # Errors
    /// [`Error::ForeignTable`](crate::Error::ForeignTable), [`Error::TableGone`](crate::Error::TableGone), [`Error::Damaged`](crate::Error::Damaged), those of the [log](crate::Tx#errors).
    pub fn pop_first<'t>(&self, tx: &'t mut Tx<'_>) -> Result<Option<(K, &'t V::Archived)>> {
        self.pop(tx, Toward::Start)
    }

    /// Takes the record with the greatest key away and gives it to read: its memory is freed by the commit.
    ///
    /// # Errors
    /// [`Error::ForeignTable`](crate::Error::ForeignTable), [`Error::TableGone`](crate::Error::TableGone), [`Error::Damaged`](crate::Error::Damaged), those of the [log](crate::Tx#errors).
    pub fn pop_last<'t>(&self, tx: &'t mut Tx<'_>) -> Result<Option<(K, &'t V::Archived)>> {
        self.pop(tx, Toward::End)
    }

    fn pop<'t>(&self, tx: &'t mut Tx<'_>, toward: Toward<'_>) -> Result<Option<(K, &'t V::Archived)>> {
        let Some(path) = self.end(tx, toward)? else {
            return Ok(None);
        };
        self.take_at(tx, &path).map(Some)
    }

    /// Takes the record under `key` away and gives it to read: its memory is freed by the commit. One of an older shape migrates first, and
    /// may need memory for that.
    ///
    /// # Errors
    /// Those of [`remove`](Self::remove) and, where it migrates, of [`insert`](Self::insert).
    pub fn take<'t>(&self, tx: &'t mut Tx<'_>, key: &K::Borrowed) -> Result<Option<&'t V::Archived>> {
        let spot = self.locate(tx, key)?;
        if !spot.found {
            return Ok(None);
        }
        self.take_at(tx, &spot.path).map(|(_, root)| Some(root))
    }

    /// Takes the record at the end of `path` away and lends it until the commit.
    fn take_at<'t>(&self, tx: &'t mut Tx<'_>, path: &Path) -> Result<(K, &'t V::Archived)> {
        let (key, record) = tx.whole(|tx| {
            if tx.mixed().has(self.row) {
                // It is given to read when it is taken away already: in its own memory.
                let record = Self::record_at(self.admit(tx)?, tx, path)?;
                self.renew_at(tx, record)?;
            }
            let record = self.remove_at(tx, path)?;
            let key = Self::decode(record, self.admit(tx)?.shape.stored.key(tx, record)?)?;
            // Where it cannot be read it is not gone either.
            archive::root::<V>(tx, record, Self::GEOMETRY)?;
            Result::Ok((key, record))
        })?;
        Ok((key, archive::root::<V>(tx, record, Self::GEOMETRY)?))
    }

    /// Takes the records whose keys lie within `bounds` away, those and no others. Says how many there were. Bounds are what [`range`](Self::range) takes. The work is that
    /// of as many removals, unless all go.
    ///
    /// ```
    /// # fn main() -> shmstate::Result<()> {
    /// # use shmstate::{OrderedMap, Region};
    /// # let mut region = Region::in_memory(4 << 20)?;
    /// # let gate = region.gate().clone();
    /// # let pass = gate.enter()?;
    /// # let mut tx = region.begin(&pass)?;
    /// // By the second in which it ends.
    /// let bans: OrderedMap<u64, String> = OrderedMap::create(&mut tx, "bans")?;
    /// for (until, name) in [(100, "Bo"), (200, "Cy"), (300, "Di")] {
    ///     bans.insert(&mut tx, &until, &name.to_owned())?;
    /// }
    /// assert_eq!(bans.remove_range(&mut tx, ..=200)?, 2);
    /// assert_eq!(bans.len(&tx)?, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`remove`](Self::remove).
    pub fn remove_range(&self, tx: &mut Tx<'_>, bounds: impl RangeBounds<K::Borrowed>) -> Result<u64> {
        tx.whole(|tx| {
            let Within { front, left, .. } = self.within(tx, bounds)?;
            if left > 0 && left == self.len(tx)? {
                self.clear(tx)?;
                return Ok(left);
            }
            let first = self.admit(tx)?.rank(tx, &front.path)?;
            // From the last on: what comes after them in a node moves less often.
            for rank in (first..first.saturating_add(left)).rev() {
                if let Some(path) = self.end(tx, Toward::Rank(rank))? {
                    self.remove_at(tx, &path)?;
                }
            }
            Ok(left)
        })
    }

    /// Keeps the records for which `keep` says yes. It is asked once for each, in ascending order, before the first is taken
    /// away; the keys of those that go are kept in the process's memory meanwhile. Gives how many went.
    ///
    /// # Errors
    /// [`Error::ForeignTable`](crate::Error::ForeignTable), [`Error::TableGone`](crate::Error::TableGone), [`Error::Damaged`](crate::Error::Damaged), those of the [log](crate::Tx#errors).
    pub fn retain(&self, tx: &mut Tx<'_>, mut keep: impl FnMut(&K, &V::Archived) -> bool) -> Result<u64> {
        tx.whole(|tx| {
            let mut go = Vec::new();
            for item in self.iter(tx)? {
                let (key, value) = item?;
                if !keep(&key, value) {
                    go.push(key);
                }
            }
            for key in &go {
                self.remove(tx, key.borrowed())?;
            }
            Ok(go.len() as u64)
        })
    }

    /// Takes all records away and gives them to read, ascending by key: their memory is freed by the commit. All are gone, even
    /// if the iterator is dropped early. Records of an older shape migrate first.
    ///
    /// # Errors
    /// [`Error::ForeignTable`](crate::Error::ForeignTable), [`Error::TableGone`](crate::Error::TableGone), [`Error::Damaged`](crate::Error::Damaged), those of the [log](crate::Tx#errors).
    pub fn drain<'t>(&self, tx: &'t mut Tx<'_>) -> Result<Range<'t, K, V>> {
        let left = self.len(tx)?;
        if mixed::is_mixed(self, tx) {
            self.renew_all(tx)?;
        }
        let tree = self.admit(tx)?;
        let (front, back) = (tree.locate(tx, Toward::Start)?, tree.locate(tx, Toward::End)?);
        self.clear(tx)?;
        // Frees are applied by the commit, and nothing can be written while the transaction is lent out: nodes and records
        // are still what they were.
        Range::between(*self, tx, &front, &back, left)
    }

    /// Takes all records away. The work is proportional to their number; their memory is freed by the commit.
    ///
    /// # Errors
    /// [`Error::ForeignTable`](crate::Error::ForeignTable), [`Error::TableGone`](crate::Error::TableGone), [`Error::Damaged`](crate::Error::Damaged), those of the [log](crate::Tx#errors).
    pub fn clear(&self, tx: &mut Tx<'_>) -> Result<()> {
        tx.whole(|tx| {
            let most = self.len(tx)?;
            let tree = self.admit(tx)?;
            mixed::clear(self, tx)?;
            tree.clear(tx, most, record::forget)?;
            tx.put_all(self.row + COUNT, &[0, 0], WHAT)
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::archive::offset_of;
    use crate::{Error, Map, OrderedMap, Region, Result, Slab, Tx, verify};

    /// Takes something away, and says whether it was there.
    type Take<'t> = &'t dyn Fn(&mut Tx<'_>) -> Result<bool>;

    /// A record that says another version than the table's cannot be lent: nothing of it is taken away, and a program may commit (T10).
    #[test]
    fn what_cannot_be_read_is_not_taken_away() {
        let mut region = Region::in_memory(4 << 20).expect("region");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let (map, ordered, slab, id) = region
            .write(&pass, |tx| {
                let map: Map<u64, u64> = Map::create(tx, "map")?;
                let ordered: OrderedMap<u64, u64> = OrderedMap::create(tx, "ordered")?;
                let slab: Slab<u64> = Slab::create(tx, "slab")?;
                map.insert(tx, &1, &1)?;
                ordered.insert(tx, &1, &1)?;
                let id = slab.insert(tx, &1)?;
                Ok::<_, Error>((map, ordered, slab, id))
            })
            .expect("filled");
        let view = &region.view;
        let headers = [
            offset_of(view, map.get(view, &1).expect("get").expect("there")),
            offset_of(view, ordered.get(view, &1).expect("get").expect("there")),
            offset_of(view, slab.get(view, id).expect("get").expect("there")),
        ];
        // From the root of a number to the header: the key, if there is one.
        let headers = [headers[0] + 16, headers[1] + 16, headers[2] + 8];
        let flip = |region: &Region| {
            for header in headers {
                let word = region.view.load(header, "test").expect("inside");
                region.view.store(header, word ^ 1 << 32, "test").expect("inside");
            }
        };
        flip(&region);
        let takes: [Take<'_>; 5] = [
            &|tx| map.take(tx, &1).map(|taken| taken.is_some()),
            &|tx| ordered.take(tx, &1).map(|taken| taken.is_some()),
            &|tx| ordered.pop_first(tx).map(|taken| taken.is_some()),
            &|tx| ordered.pop_last(tx).map(|taken| taken.is_some()),
            &|tx| slab.take(tx, id).map(|taken| taken.is_some()),
        ];
        for (number, take) in takes.iter().enumerate() {
            let mut tx = region.begin(&pass).expect("begin");
            let refused = take(&mut tx);
            assert!(matches!(refused, Err(Error::Damaged { .. })), "{number}: {refused:?}");
            tx.commit().expect("commit");
        }
        flip(&region);
        let verdict = verify(&region.read(&pass).expect("read")).expect("verify");
        assert!(verdict.is_sound(), "{verdict:?}");
        let taken = region.write(&pass, |tx| {
            let all = [
                map.take(tx, &1)?.is_some(),
                ordered.take(tx, &1)?.is_some(),
                slab.take(tx, id)?.is_some(),
            ];
            Ok::<_, Error>(all)
        });
        assert_eq!(taken.expect("all there"), [true; 3]);
    }

    /// The first of a range, which goes last, is another's record: the others are there as before.
    #[test]
    fn a_range_goes_whole_or_not_at_all() {
        let mut region = Region::in_memory(4 << 20).expect("region");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let map: OrderedMap<u64, u64> = region
            .write(&pass, |tx| {
                let map = OrderedMap::create(tx, "map")?;
                (0..200).try_for_each(|n| map.insert(tx, &n, &n).map(|_| ()))?;
                Ok::<_, Error>(map)
            })
            .expect("filled");
        let record = map.look_up(&region.view, &20).expect("look up").expect("there");
        let name = |region: &Region, key: u64| region.view.store(record - 8, key, "test").expect("inside");
        let key = region.view.load(record - 8, "test").expect("inside");
        name(&region, key ^ 1);
        let mut tx = region.begin(&pass).expect("begin");
        let refused = map.remove_range(&mut tx, 20..180);
        assert!(matches!(refused, Err(Error::Damaged { .. })), "{refused:?}");
        tx.commit().expect("commit");
        name(&region, key);
        let verdict = verify(&region.read(&pass).expect("read")).expect("verify");
        assert!(verdict.is_sound(), "{verdict:?}");
        let gone = region.write(&pass, |tx| map.remove_range(tx, 20..180));
        assert_eq!(gone.expect("all there"), 160);
    }
}
