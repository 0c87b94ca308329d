//! Compaction: records move together, so that chunks become free and can be given back.
//!
//! What moves where is `heap::compact`'s choice (E1–E3). A record that moves is copied word for word to a fresh block, gets a generation of its
//! own, and the index word is swapped: to whoever looks from outside it was replaced by its like. All of it is part of the
//! transaction.

use super::{Map, WHAT};
use crate::archive::Value;
use crate::error::{Error, Result};
use crate::heap;
use crate::heap::compact::Compaction;
use crate::region::view::Bad;
use crate::table::hash;
use crate::table::key::Key;
use crate::table::keyed;
use crate::table::map::index::{BYTES, SEED};
use crate::table::mixed::{self, At};
use crate::table::record;
use crate::tx::Tx;

impl<K: Key, V: Value> Map<K, V> {
    /// Moves records out of sparsely used chunks, and together in memory, so that chunks become free when the transaction commits: about
    /// `budget` records, whole chunks of them, and when they are done as many parts of the index. Says how many it moved; none means that there is nothing to gain. **Handles of records that were
    /// moved are stale**, as if they had been replaced. [`Region::trim`](crate::Region::trim) then gives the memory back.
    ///
    /// A record takes about as long as one that is replaced, and each call looks at every chunk of 64 KiB of the table first (a tenth of a
    /// millisecond for 100 MiB). Records of more than half a chunk stay where they are.
    ///
    /// ```
    /// # fn main() -> shmstate::Result<()> {
    /// # use shmstate::{Map, Region};
    /// # let mut region = Region::in_memory(8 << 20)?;
    /// # let gate = region.gate().clone();
    /// # let pass = gate.enter()?;
    /// # let players = region.write(&pass, |tx| Map::<u64, u64>::create(tx, "players"))?;
    /// # for i in 0..20_000 { region.write(&pass, |tx| players.insert(tx, &i, &i))?; }
    /// # for i in 0..18_000 { region.write(&pass, |tx| players.remove(tx, &(i * 7 % 20_000)))?; }
    /// // A little each tick:
    /// while region.write(&pass, |tx| players.compact(tx, 1000))? > 0 {}
    /// while region.trim(&pass, 4 << 20)?.more {}
    /// # let reader = region.read(&pass)?;
    /// # assert_eq!(players.len(&reader)?, 2_000);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`]; those of the [log](crate::Tx#errors).
    pub fn compact(&self, tx: &mut Tx<'_>, budget: u64) -> Result<u64> {
        tx.whole(|tx| {
            let index = self.admit(tx)?;
            let home = self.home();
            let seed = tx.load(self.row + SEED, WHAT)?;
            let mut compaction = Compaction::of(tx, home.owner)?;
            let mut records = 0;
            while records < budget
                && let Some(blocks) = compaction.next(tx)?
            {
                for old in blocks {
                    let header = old.offset + old.size - record::HEADER;
                    let tail = Self::checked_tail(tx, header)?;
                    if record::is_dead(tail) {
                        // Freed by this transaction, before.
                        continue;
                    }
                    let hash = hash::of(keyed::key_at::<K>(tx, header, tail)?, seed);
                    let window = tx.fresh_window();
                    let found = index
                        .directory(window)
                        .find(window, hash, |record| Ok((record == header).then_some(())));
                    let Ok(Some((place, ()))) = found.map_err(|Bad| ()) else {
                        return Err(Error::damaged("record that the index does not know", header, hash));
                    };
                    let new = compaction.room(tx, old)?;
                    let moved = record::relocate(tx, home, old, new)?;
                    index.swap(tx, place, moved)?;
                    if tx.mixed().has(self.row) {
                        mixed::note(self, tx, At::keyed(moved));
                    }
                    records += 1;
                }
            }
            if records > 0 {
                return Ok(records);
            }
            let segments = self.compact_index(tx, budget)?;
            if segments == 0 {
                heap::release_empty(tx)?;
            }
            Ok(segments)
        })
    }

    /// The same for the segments of the index: when the records lie together, they are what is left between free chunks.
    fn compact_index(&self, tx: &mut Tx<'_>, budget: u64) -> Result<u64> {
        let index = self.admit(tx)?;
        let mut places = index.places(tx)?;
        let mut compaction = Compaction::of_shared(tx, BYTES, |block| places.contains_key(&block))?;
        let mut segments = 0;
        while segments < budget
            && let Some(blocks) = compaction.next(tx)?
        {
            for old in blocks {
                let slot = places.remove(&old.offset);
                let slot = slot.ok_or_else(|| Error::damaged(WHAT, old.offset, old.size))?;
                let new = compaction.room(tx, old)?;
                index.relocate(tx, slot, new)?;
                // What was moved may be moved on.
                places.insert(new.offset, slot);
                segments += 1;
            }
        }
        Ok(segments)
    }
}
