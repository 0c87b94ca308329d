//! Taking a record away and lending it: what std's `remove` gives.

use super::{Found, Map};
use crate::archive::{self, Value};
use crate::error::Result;
use crate::region::view::Bad;
use crate::table::key::Key;
use crate::tx::Tx;

impl<K: Key, V: Value> Map<K, V> {
    /// Takes the record under `key` away and gives it to read: its memory is freed by the commit. One of an older shape migrates first, and one that a
    /// [`Move`](crate::Move) has not brought yet moves first; they may need memory for that.
    ///
    /// ```
    /// # fn main() -> shmstate::Result<()> {
    /// # use shmstate::{Map, Region};
    /// # let mut region = Region::in_memory(4 << 20)?;
    /// # let gate = region.gate().clone();
    /// # let pass = gate.enter()?;
    /// # let mut tx = region.begin(&pass)?;
    /// let offers: Map<u64, u32> = Map::create(&mut tx, "offers")?;
    /// offers.insert(&mut tx, &7, &250)?;
    /// let price = offers.take(&mut tx, &7)?.expect("just inserted").to_native();
    /// assert_eq!(price, 250);
    /// assert!(offers.take(&mut tx, &7)?.is_none());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`remove`](Self::remove) and, where it migrates or moves, of [`insert`](Self::insert).
    pub fn take<'t>(&self, tx: &'t mut Tx<'_>, key: &K::Borrowed) -> Result<Option<&'t V::Archived>> {
        let taken = tx.whole(|tx| {
            self.admit(tx)?;
            if tx.mixed().has(self.row) {
                // It is given to read when it is taken away already: here, and in its own memory.
                self.renew(tx, key)?;
            }
            let key = Self::encode(key)?;
            let (hash, Some(Found { place, tail })) = self.look_up(tx, &key)? else {
                return Ok(None);
            };
            // Where it cannot be read it is not taken away either.
            if let Err(Bad) = archive::root_in::<V>(tail, Self::GEOMETRY) {
                return Err(self.diagnose(tx, &key));
            }
            self.remove_at(tx, hash, place)?;
            Ok(Some(place.record))
        })?;
        match taken {
            Some(record) => archive::root::<V>(tx, record, Self::GEOMETRY).map(Some),
            None => Ok(None),
        }
    }
}
