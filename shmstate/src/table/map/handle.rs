//! Handles: the place of a record, so that a tick finds it without its key.
//!
//! A handle names the offset of a record's header and the record's generation. It is honoured only if a block of this table
//! ends there that is in use, and its generation is the same: the chunks of a table hold nothing but its records (P2 of
//! `heap`), so what is read there is a header. Anything else is a stale handle, and gives `None`.
//!
//! - **D1** So that nothing has to be divided to see this, a handle also names the slot that ends there and its class. A handle that
//!   does so names a place at which such a slot ends, in any region: who makes one of numbers checks that, once.

use super::{Found, Map};
use crate::archive::{self, Value};
use crate::error::Error;
use crate::heap::{self, Slot};
use crate::region::view::{Bad, View, Window};
use crate::table::key::Key;
use crate::table::mixed::{self, At};
use crate::table::record::RecordMut;
use crate::tx::Tx;
use std::fmt;
use std::marker::PhantomData;

type Result<T, E = Error> = std::result::Result<T, E>;

/// The place of a record. It stays good while the record is changed in place, and is stale once the record was removed or
/// replaced. It may be kept in other records ([`to_bits`](Self::to_bits)): it means the same in every process.
pub struct Handle<V> {
    record: u64,
    /// In the lower half the generation, in the upper half the slot; 0 there if the block is a run, or the handle was made up. Two words, so
    /// that a handle is passed in two registers.
    rest: u64,
    value: PhantomData<fn() -> V>,
}

impl<V> Clone for Handle<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Handle<V> {}

impl<V> PartialEq for Handle<V> {
    fn eq(&self, other: &Self) -> bool {
        self.to_bits() == other.to_bits()
    }
}

impl<V> Eq for Handle<V> {}

impl<V> fmt::Debug for Handle<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({:#x}, {})", self.record, self.generation())
    }
}

impl<V> Handle<V> {
    fn new(record: u64, generation: u32, slot: Option<Slot>) -> Self {
        let slot = slot.map_or(0, Slot::to_bits);
        Self {
            record,
            rest: u64::from(generation) | u64::from(slot) << 32,
            value: PhantomData,
        }
    }

    #[inline(always)]
    fn generation(self) -> u32 {
        self.rest as u32
    }

    /// The slot, if it has one (D1).
    #[inline(always)]
    fn slot(self) -> Option<Slot> {
        Slot::known((self.rest >> 32) as u32)
    }

    /// The handle as a number, to be kept in a record.
    #[must_use]
    pub fn to_bits(self) -> u128 {
        u128::from(self.record) | u128::from(self.rest) << 64
    }

    /// The handle that has this number. One that was made up is stale, or the handle of some record of the table it is used
    /// with.
    #[must_use]
    pub fn from_bits(bits: u128) -> Self {
        let record = bits as u64;
        let slot = Slot::from_bits((bits >> 96) as u32).filter(|slot| slot.ends_with(record));
        Self::new(record, (bits >> 64) as u32, slot)
    }
}

impl<K: Key, V: Value> Map<K, V> {
    fn handle_at(view: &View, record: u64) -> Result<Handle<V>> {
        let generation = view.load(record, "record header")? as u32;
        Ok(Handle::new(record, generation, heap::slot_of(view, record)?))
    }

    /// The handle of the record under `key`. One that a move has not brought here yet has none: change it first, or bring it
    /// ([`Moving::bring`](crate::Moving::bring)).
    ///
    /// # Errors
    /// As [`get`](Self::get); [`Error::StillMoving`](crate::Error::StillMoving).
    pub fn handle(&self, view: &View, key: &K::Borrowed) -> Result<Option<Handle<V>>> {
        match self.look_up(view, &Self::encode(key)?)?.1 {
            Some(Found { place, .. }) => Self::handle_at(view, place.record).map(Some),
            None if view.mixed().has(self.row) && self.contains_key(view, key)? => {
                // It has no place here yet.
                self.check_whole(view).map(|()| None)
            }
            None => Ok(None),
        }
    }

    /// The root of the record that the handle names, if it is good and its block a slot; `Bad` if one has to look further.
    #[inline(always)]
    fn resolve_first<'v>(&self, view: &'v View, handle: Handle<V>) -> Result<&'v V::Archived, Bad> {
        if view.identity(self.row) != self.identity {
            return Err(Bad);
        }
        let near = view.window().near();
        let slot = handle.slot().ok_or(Bad)?;
        // First whether there is memory at all: an entry of the chunk table for memory that was not taken may have none either.
        let tail = near.tail(handle.record, Self::GEOMETRY.root)?;
        if !heap::has_slot(view, near, self.home().owner, handle.record, slot)? {
            return Err(Bad);
        }
        let generation = tail[tail.len() - 8..].first_chunk::<4>();
        if generation.map(|bytes| u32::from_le_bytes(*bytes)) != Some(handle.generation()) {
            return Err(Bad);
        }
        archive::root_in::<V>(tail, Self::GEOMETRY)
    }

    /// The root of the record that the handle names; `None` if it is stale.
    #[inline(always)]
    fn resolve<'v>(
        &self,
        view: &'v View,
        window: Window<'v>,
        handle: Handle<V>,
    ) -> Result<Option<&'v V::Archived>, Bad> {
        if view.identity(self.row) != self.identity {
            return Err(Bad);
        }
        if !heap::ends_block(view, window, self.home().owner, handle.record)? {
            return Ok(None);
        }
        let tail = Self::tail(window, handle.record)?;
        let header = tail.last_chunk::<8>().map_or(0, |header| u64::from_le_bytes(*header));
        if header as u32 != handle.generation() {
            return Ok(None);
        }
        archive::root_in::<V>(tail, Self::GEOMETRY).map(Some)
    }

    /// Whether the handle names a record of another shape.
    fn names_other(&self, view: &View, handle: Handle<V>) -> Result<bool> {
        let window = view.fresh_window();
        let ends = heap::ends_block(view, window, self.home().owner, handle.record);
        if !ends.unwrap_or(false) {
            return Ok(false);
        }
        let word = view.load(handle.record, "record header")?;
        Ok(word as u32 == handle.generation() && archive::version_in(word) != archive::version::<V>())
    }

    /// With a fresh limit; if that does not help, says what is wrong.
    #[cold]
    fn resolve_again<'v>(&self, view: &'v View, handle: Handle<V>) -> Result<Option<&'v V::Archived>> {
        self.admit(view)?;
        let window = view.fresh_window();
        if !window.reaches(handle.record, view.places().heap) {
            // It was made up, or the heap has drawn back since.
            return Ok(None);
        }
        if self.names_other(view, handle)? {
            return mixed::other(self, view, At::keyed(handle.record));
        }
        self.resolve(view, window, handle)
            .map_err(|Bad| Error::damaged("chunk table", handle.record, handle.generation().into()))
    }

    /// The record that the handle names, in place; `None` if the handle is stale.
    ///
    /// ```
    /// # fn main() -> shmstate::Result<()> {
    /// # use shmstate::{Map, Region};
    /// let mut region = Region::in_memory(4 << 20)?;
    /// let gate = region.gate().clone();
    /// let pass = gate.enter()?;
    /// let mut tx = region.begin(&pass)?;
    /// let scores: Map<u64, u32> = Map::create(&mut tx, "scores")?;
    /// scores.insert(&mut tx, &7, &100)?;
    /// let handle = scores.handle(&tx, &7)?.expect("just inserted");
    /// scores.get_mut_at(&mut tx, handle)?.expect("fresh").set(|score| score, 101.into())?;
    /// assert_eq!(scores.get_at(&tx, handle)?.expect("changed in place").to_native(), 101);
    /// scores.remove(&mut tx, &7)?;
    /// tx.commit()?;
    /// assert!(scores.get_at(&*region.read(&pass)?, handle)?.is_none());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::ForeignTable`](crate::Error::ForeignTable), [`Error::TableGone`](crate::Error::TableGone), [`Error::Damaged`](crate::Error::Damaged).
    #[inline(always)]
    pub fn get_at<'v>(&self, view: &'v View, handle: Handle<V>) -> Result<Option<&'v V::Archived>> {
        match self.resolve_first(view, handle) {
            Ok(found) => Ok(Some(found)),
            Err(Bad) => self.resolve_again(view, handle),
        }
    }

    /// The record that the handle names, to be changed in place; `None` if the handle is stale.
    ///
    /// # Errors
    /// [`Error::ForeignTable`](crate::Error::ForeignTable), [`Error::TableGone`](crate::Error::TableGone), [`Error::Damaged`](crate::Error::Damaged).
    #[inline(always)]
    pub fn get_mut_at<'t, 'a>(&self, tx: &'t mut Tx<'a>, handle: Handle<V>) -> Result<Option<RecordMut<'t, 'a, V>>> {
        if tx.settled().mixed().has(self.row) && self.resolve_again(tx, handle)?.is_some() {
            // The record is this key's: it migrates, and is noted.
            let key = Self::decode(tx, handle.record, Self::checked_tail(tx, handle.record)?)?;
            return self.get_mut(tx, key.borrowed());
        }
        let view = tx.settled();
        let found = self.resolve_first(view, handle).is_ok() || self.resolve_again(view, handle)?.is_some();
        Ok(found.then(|| RecordMut::fresh(tx, self.home(), handle.record)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::classes;
    use crate::{Gate, Region};

    /// Bytes of the values, so that a record has a class of its own.
    const LENGTH: usize = 64;
    /// What the made-up headers have for a generation.
    const GENERATION: u32 = 0x5151_5151;

    /// A value every word of which could be the header of a record of this type.
    fn headers() -> [u64; LENGTH] {
        let version = u64::from(archive::version::<[u64; LENGTH]>());
        [u64::from(GENERATION) | version << 32; LENGTH]
    }

    fn region() -> (Region, Gate) {
        let region = Region::in_memory(4 << 20).expect("region");
        let gate = region.gate().clone();
        (region, gate)
    }

    /// The chunk had records of another table, whose bytes look like headers; but the slots are free.
    #[test]
    fn a_free_slot_is_no_record_whatever_is_in_it() {
        let (mut region, gate) = region();
        let pass = gate.enter().expect("pass");
        let mut tx = region.begin(&pass).expect("begin");
        let before: Map<u64, [u64; LENGTH]> = Map::create(&mut tx, "before").expect("create");
        for key in 0..100 {
            before.insert(&mut tx, &key, &headers()).expect("insert");
        }
        tx.commit().expect("commit");
        let mut tx = region.begin(&pass).expect("begin");
        before.clear(&mut tx).expect("clear");
        tx.commit().expect("commit");
        let mut tx = region.begin(&pass).expect("begin");
        heap::release_empty(&mut tx).expect("release");
        // Its records are of a lesser class, so that what ends its free slots was inside a record before.
        let after: Map<u64, [u64; LENGTH - 3]> = Map::create(&mut tx, "after").expect("create");
        after.insert(&mut tx, &1, &[7; LENGTH - 3]).expect("insert");
        tx.commit().expect("commit");
        let reader = region.read(&pass).expect("reader");
        let real = after.handle(&reader, &1).expect("handle").expect("is there");
        let slot = real.slot().expect("a slot");
        let (class, size) = (slot.class() as usize, classes::size(slot.class() as usize));
        let first = real.record - slot.number() * size;
        let (mut alike, mut good) = (0, 0);
        for number in 0..classes::slots(class) {
            let record = first + number * size;
            let header = reader.load(record, "test").expect("load");
            alike += u64::from(header as u32 == GENERATION);
            let slot = Slot::before(class, record).expect("a slot");
            for generation in [header as u32, GENERATION] {
                let handle = Handle::new(record, generation, Some(slot));
                let found = after.get_at(&reader, handle).expect("no damage");
                assert!(found.is_none() || record == real.record, "slot {number}");
                good += u64::from(found.is_some());
            }
        }
        assert!(alike > 10, "{alike} free slots looked like records");
        assert_eq!(good, 1);
    }

    /// The number of a slot that is in use, and a place inside of it at which there is what could be a header.
    #[test]
    fn a_handle_that_was_made_of_numbers_names_the_end_of_its_slot() {
        let (mut region, gate) = region();
        let pass = gate.enter().expect("pass");
        let mut tx = region.begin(&pass).expect("begin");
        let map: Map<u64, [u64; LENGTH]> = Map::create(&mut tx, "map").expect("create");
        for key in 0..3 {
            map.insert(&mut tx, &key, &headers()).expect("insert");
        }
        tx.commit().expect("commit");
        let reader = region.read(&pass).expect("reader");
        let real = map.handle(&reader, &1).expect("handle").expect("is there");
        assert_eq!(Handle::<[u64; LENGTH]>::from_bits(real.to_bits()), real);
        assert!(map.get_at(&reader, real).expect("no damage").is_some());
        let rest = (real.rest >> 32 << 32) | u64::from(GENERATION);
        for back in (16..LENGTH as u64 * 8).step_by(8) {
            let bits = u128::from(real.record - back) | u128::from(rest) << 64;
            let found = map.get_at(&reader, Handle::from_bits(bits)).expect("no damage");
            assert!(found.is_none(), "{back} bytes before the header");
        }
    }

    #[test]
    fn a_handle_of_another_table_is_stale() {
        let (mut region, gate) = region();
        let pass = gate.enter().expect("pass");
        let mut tx = region.begin(&pass).expect("begin");
        let [one, other] = ["one", "other"].map(|name| -> Map<u64, u64> {
            let map = Map::create(&mut tx, name).expect("create");
            map.insert(&mut tx, &1, &2).expect("insert");
            map
        });
        tx.commit().expect("commit");
        let reader = region.read(&pass).expect("reader");
        let handle = one.handle(&reader, &1).expect("handle").expect("is there");
        assert!(one.get_at(&reader, handle).expect("no damage").is_some());
        assert!(other.get_at(&reader, handle).expect("no damage").is_none());
    }
}
