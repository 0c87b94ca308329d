//! Taking records of an ordered map away by their order: from the ends, those that do not please, all.

use super::range::Range;
use super::tree::Toward;
use super::{COUNT, OrderedMap, WHAT};
use crate::archive::{self, Value};
use crate::error::Result;
use crate::table::key::Key;
use crate::table::mixed;
use crate::table::record;
use crate::tx::Tx;

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
        if tx.mixed().has(self.row) {
            // It is given to read when it is taken away already: in its own memory.
            let record = Self::record_at(self.admit(tx)?, tx, &path)?;
            self.renew_at(tx, record)?;
        }
        let record = self.take(tx, &path)?;
        let key = Self::decode(record, self.admit(tx)?.shape.stored.key(tx, record)?)?;
        let root = archive::root::<V>(tx, record, Self::GEOMETRY)?;
        Ok(Some((key, root)))
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
            if tx.mixed().has(self.row) {
                mixed::clear(self, tx)?;
            }
            tree.clear(tx, most, record::forget)?;
            tx.put_all(self.row + COUNT, &[0, 0], WHAT)
        })
    }
}
