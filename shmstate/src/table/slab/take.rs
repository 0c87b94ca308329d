//! Taking a record of a slab away and lending it.

use super::{Slab, SlabId};
use crate::archive::{self, Value};
use crate::error::Result;
use crate::table::mixed::{self, At};
use crate::tx::Tx;

impl<T: Value> Slab<T> {
    /// Takes the record that `id` names away and gives it to read: its memory is freed by the commit. One of an older shape migrates first, and may
    /// need memory for that. `None` if it was removed before.
    ///
    /// ```
    /// # fn main() -> shmstate::Result<()> {
    /// # use shmstate::{Region, Slab};
    /// # let mut region = Region::in_memory(4 << 20)?;
    /// # let gate = region.gate().clone();
    /// # let pass = gate.enter()?;
    /// # let mut tx = region.begin(&pass)?;
    /// let monsters: Slab<String> = Slab::create(&mut tx, "monsters")?;
    /// let rat = monsters.insert(&mut tx, &"rat".to_owned())?;
    /// assert_eq!(monsters.take(&mut tx, rat)?.expect("just inserted"), "rat");
    /// assert!(monsters.take(&mut tx, rat)?.is_none());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`remove`](Self::remove) and, where it migrates, of [`replace`](Self::replace).
    pub fn take<'t>(&self, tx: &'t mut Tx<'_>, id: SlabId) -> Result<Option<&'t T::Archived>> {
        let taken = tx.whole(|tx| {
            let slots = self.admit(tx)?;
            let Some(mut slot) = slots.find(tx, id.0)? else {
                return Ok(None);
            };
            if tx.mixed().has(self.row) {
                // It is given to read when it is taken away already: in its own memory.
                slot.record = mixed::renew(self, tx, At::slot(&slot))?;
            }
            // Where it cannot be read it is not taken away either.
            archive::root::<T>(tx, slot.record, Self::GEOMETRY)?;
            self.remove_slot(tx, slots, &slot)?;
            Ok(Some(slot.record))
        })?;
        match taken {
            Some(record) => archive::root::<T>(tx, record, Self::GEOMETRY).map(Some),
            None => Ok(None),
        }
    }
}
