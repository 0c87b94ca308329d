//! Handles: the place of a record, so that a tick finds it without its key.
//!
//! A handle names the offset of a record's header and the record's generation. It is honoured only if a block of this table
//! ends there that is in use, and its generation is the same: the chunks of a table hold nothing but its records (P2 of
//! `heap`), so what is read there is a header. Anything else is a stale handle, and gives `None`.

use super::{Found, Map};
use crate::archive::{self, Value};
use crate::error::Error;
use crate::heap;
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
    generation: u32,
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
        write!(f, "Handle({:#x}, {})", self.record, self.generation)
    }
}

impl<V> Handle<V> {
    /// The handle as a number, to be kept in a record.
    #[must_use]
    pub fn to_bits(self) -> u128 {
        u128::from(self.record) | u128::from(self.generation) << 64
    }

    /// The handle that has this number. One that was made up is stale, or the handle of some record of the table it is used
    /// with.
    #[must_use]
    pub fn from_bits(bits: u128) -> Self {
        Self {
            record: bits as u64,
            generation: (bits >> 64) as u32,
            value: PhantomData,
        }
    }
}

impl<K: Key, V: Value> Map<K, V> {
    fn handle_at(view: &View, record: u64) -> Result<Handle<V>> {
        Ok(Handle {
            record,
            generation: view.load(record, "record header")? as u32,
            value: PhantomData,
        })
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

    /// The root of the record that the handle names; `None` if it is stale.
    #[inline(always)]
    fn resolve<'v>(
        &self,
        view: &'v View,
        window: Window<'v>,
        handle: Handle<V>,
    ) -> Result<Option<&'v V::Archived>, Bad> {
        if view.tag() != self.region {
            return Err(Bad);
        }
        if !heap::ends_block(view, window, self.home().owner, handle.record)? {
            return Ok(None);
        }
        let tail = Self::tail(window, handle.record)?;
        let header = tail.last_chunk::<8>().map_or(0, |header| u64::from_le_bytes(*header));
        if header as u32 != handle.generation {
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
        Ok(word as u32 == handle.generation && archive::version_in(word) != archive::version::<V>())
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
            .map_err(|Bad| Error::damaged("chunk table", handle.record, handle.generation.into()))
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
    /// [`Error::ForeignTable`](crate::Error::ForeignTable), [`Error::Damaged`](crate::Error::Damaged).
    #[inline(always)]
    pub fn get_at<'v>(&self, view: &'v View, handle: Handle<V>) -> Result<Option<&'v V::Archived>> {
        match self.resolve(view, view.window(), handle) {
            Ok(found) => Ok(found),
            Err(Bad) => self.resolve_again(view, handle),
        }
    }

    /// The record that the handle names, to be changed in place; `None` if the handle is stale.
    ///
    /// # Errors
    /// [`Error::ForeignTable`](crate::Error::ForeignTable), [`Error::Damaged`](crate::Error::Damaged).
    #[inline(always)]
    pub fn get_mut_at<'t, 'a>(&self, tx: &'t mut Tx<'a>, handle: Handle<V>) -> Result<Option<RecordMut<'t, 'a, V>>> {
        if tx.mixed().has(self.row) && self.resolve_again(tx, handle)?.is_some() {
            // The record is this key's: it migrates, and is noted.
            let key = Self::decode(tx, handle.record, Self::checked_tail(tx, handle.record)?)?;
            return self.get_mut(tx, key.borrowed());
        }
        let view: &View = tx;
        let found = match self.resolve(view, view.window(), handle) {
            Ok(found) => found.is_some(),
            Err(Bad) => self.resolve_again(view, handle)?.is_some(),
        };
        Ok(found.then(|| RecordMut::found(tx, self.home(), handle.record)))
    }
}
