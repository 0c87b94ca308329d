//! Twins: the records of a companion, by the names of the table's records.

use crate::archive::Geometry;
use crate::error::Result;
use crate::region::view::View;
use crate::table::key::{Encoded, Key};
use crate::table::keyed;
use crate::table::map::Map;
use crate::table::record::{self, Home, Parts, Written};
use crate::tx::Tx;

/// The twins of a table: a companion whose records have a shape that the caller need not know.
pub(super) struct Twins<K> {
    /// Of bytes, for keys and index only: both lie at the same places whatever a record's type.
    map: Map<K, u8>,
    pub(super) home: Home,
}

impl<K: Key> Twins<K> {
    pub(super) fn of(view: &View, row: u64, geometry: Geometry) -> Result<Self> {
        let map = Map::handle_of(row, view)?;
        Ok(Self {
            home: Home { geometry, ..map.home() },
            map,
        })
    }

    pub(super) fn find(&self, view: &View, name: &Encoded<'_, K>) -> Result<Option<u64>> {
        self.map.find_record(view, name)
    }

    /// Puts a record under a name, as `write` makes it: anew, or in place of the one that is there.
    pub(super) fn put(
        &self,
        tx: &mut Tx<'_>,
        name: &Encoded<'_, K>,
        write: impl FnOnce(&mut Tx<'_>, Home, Parts<'_>, Option<u64>) -> Result<(Written, u64)>,
    ) -> Result<()> {
        let found = self.find(tx, name)?;
        let (new, before) = write(tx, self.home, keyed::parts::<K>(name), found)?;
        match found {
            Some(header) if header == new.header => {}
            Some(_) => self.map.swap_record(tx, name, new.header)?,
            None => self.map.enter_record(tx, name, new.header)?,
        }
        self.map.count(tx, i64::from(found.is_none()), new.archived, before)
    }

    pub(super) fn remove(&self, tx: &mut Tx<'_>, name: &Encoded<'_, K>) -> Result<()> {
        let Some(header) = self.find(tx, name)? else {
            return Ok(());
        };
        let head = keyed::head_of::<K>(tx, header)?;
        let archived = record::discard(tx, self.home, header, head)?;
        self.map.leave_record(tx, name)?;
        self.map.count(tx, -1, 0, archived)
    }

    /// The name of a twin.
    pub(super) fn name(&self, view: &View, header: u64) -> Result<Encoded<'static, K>> {
        self.map.stored_key(view, header)
    }
}
