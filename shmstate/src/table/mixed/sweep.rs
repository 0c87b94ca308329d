//! The sweep: records of older shapes migrate a few at a time, in the order in which they lie in the table or in memory, until none is left.
//!
//! - **U1** How far it has come is not kept: what is migrated says so itself, and `LEFT` counts what is not. So it goes on after a
//!   crash or in another process where there is still something to do. What it remembers in this process only saves it a second look.
//! - **U2** With the last record of a shape goes its companion, and its row is free for another one. What this process remembers of
//!   companions is looked at only where the row still is theirs ([`Mixture::is_there`]); so it is right whether or not that transaction is
//!   committed, and whoever owned the region in between.

use super::companion::{companion_of, companions, left_of};
use super::records::migrate;
use super::state::geometry_of;
use super::twins::Twins;
use super::{COMPANION, HEADER, Mixture, Table, mixture};
use crate::archive;
use crate::error::{Error, Result};
use crate::heap::{Blocks, Owner};
use crate::region::header::{HEADER as HEADER_BYTES, ROW};
use crate::region::view::View;
use crate::schema::Schema;
use crate::table::catalog::{self, Row};
use crate::table::dropped;
use crate::table::key::Key;
use crate::table::map;
use crate::table::record;
use crate::tx::Tx;
use std::sync::atomic::Ordering;

/// How many parts of the table one call looks at.
const MOST_PARTS: u64 = 4096;

/// What a call of a table's `sweep` came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Swept {
    /// Records that migrated, and twins of a closed way back that were taken away.
    pub done: u64,
    /// How many of both are left.
    pub left: u64,
}

/// Migrates about `budget` records that still have an older shape, whole parts of the table; then takes away what a closed way back has left.
pub(crate) fn sweep<T: Table>(table: &T, tx: &mut Tx<'_>, budget: u64) -> Result<Swept> {
    tx.whole(|tx| {
        table.belongs(tx)?;
        let Some(mixture) = mixture(table, tx) else {
            return Ok(Swept::default());
        };
        let mut done = 0;
        if mixture.left(tx)? > 0 {
            done = mixture.sweep_records(tx, budget)?;
        }
        for (companion, _) in mixture.stale(tx)? {
            if done < budget {
                done += drop_records::<T::Name>(tx, &catalog::row_at(tx, companion)?, budget - done)?;
            }
        }
        let left = mixture.unswept(tx)?;
        if left == 0 && !mixture.tidy.load(Ordering::Relaxed) {
            // What went with a transaction before this one gives back its row; then there may be nothing left to do.
            let found = dropped::finish(tx)?;
            let gone = mixture.retire(tx)?;
            mixture.tidy.store(!found && !gone, Ordering::Relaxed);
        }
        Ok(Swept { done, left })
    })
}

/// How many records still have an older shape, and how many twins nobody wants any more.
pub(crate) fn unswept<T: Table>(table: &T, view: &View) -> Result<u64> {
    table.belongs(view)?;
    mixture(table, view).map_or(Ok(0), |mixture| mixture.unswept(view))
}

impl<T: Table> Mixture<T> {
    fn unswept(&self, view: &View) -> Result<u64> {
        let stale: u64 = self.stale(view)?.iter().map(|(_, twins)| twins).sum();
        Ok(self.left(view)? + stale)
    }

    /// Records of other versions, by companion.
    fn left(&self, view: &View) -> Result<u64> {
        let mut left = 0;
        for older in self.state().older {
            if older.companion != 0 && self.is_there(view, older.companion)? {
                left += left_of(view, older.companion)?;
            }
        }
        Ok(left)
    }

    /// Whether a row still is that of a companion of the table (U2).
    pub(super) fn is_there(&self, view: &View, companion: u64) -> Result<bool> {
        let row = catalog::row(view, (companion - HEADER_BYTES) / ROW)?;
        Ok(row.is_some_and(|row| companion_of(&row.name).is_some_and(|(_, of)| *of == *self.name)))
    }

    /// Drops the companions of shapes that neither a record nor a way back has any more (U2). Says whether there were any.
    pub(super) fn retire(&self, tx: &mut Tx<'_>) -> Result<bool> {
        let row = catalog::named(tx, &self.name)?;
        let mut gone = false;
        for companion in companions(tx, &self.name)? {
            let version = companion.row.version;
            let wanted = companion.good || version == row.version || version == T::Value::VERSION;
            if !wanted && companion.left == 0 && map::counts(tx, companion.row.offset)?.0 == 0 {
                dropped::drop_row(tx, &companion.row)?;
                gone = true;
            }
        }
        Ok(gone)
    }

    /// Migrates records of about `budget`: there are some.
    fn sweep_records(&self, tx: &mut Tx<'_>, budget: u64) -> Result<u64> {
        tx.region.view.mixed_mut().tidy();
        let state = self.state();
        let parts = self.table.parts(tx)?;
        let mut done = 0;
        for _ in 0..MOST_PARTS.min(parts) {
            // The looks go on for ever: where the one before ended, or another process may have, does not matter (U1).
            let part = self.cursor.fetch_add(1, Ordering::Relaxed) % parts;
            for at in self.table.part(tx, part)? {
                let word = tx.load(at.header, HEADER)?;
                // One that this transaction took away is none.
                if word as u32 != 0 && archive::version_in(word) != archive::version::<T::Value>() {
                    match tx.whole(|tx| migrate(self, &state, tx, at, true)) {
                        // As far as memory goes: a commit frees what the older records had.
                        Err(full) if full.is_full() && done > 0 => return Ok(done),
                        migrated => migrated?,
                    };
                    done += 1;
                }
            }
            if done >= budget {
                break;
            }
        }
        // All was looked at: there is no such record.
        if done == 0 && parts <= MOST_PARTS {
            return Err(Error::damaged(COMPANION, self.table.row(), self.left(tx)?));
        }
        Ok(done)
    }

    /// Twins that nobody wants any more.
    fn stale(&self, view: &View) -> Result<Vec<(u64, u64)>> {
        let state = self.state();
        let mut stale = Vec::new();
        for companion in state.companions {
            let used = Some(companion) == state.back || Some(companion) == state.mine;
            if used || !self.is_there(view, companion)? {
                continue;
            }
            let (twins, _) = map::counts(view, companion)?;
            if twins > 0 {
                stale.push((companion, twins));
            }
        }
        Ok(stale)
    }
}

/// Takes records away of a map that is the library's own, so many, whatever their shape. Says how many there were.
pub(crate) fn drop_records<K: Key>(tx: &mut Tx<'_>, row: &Row, most: u64) -> Result<u64> {
    let geometry = geometry_of(tx, row, K::SIZE)?;
    let twins = Twins::<K>::of(tx, row.offset, geometry)?;
    let mut blocks = Blocks::of(tx, Owner::of_row(row.offset))?;
    let mut headers = Vec::new();
    while (headers.len() as u64) < most
        && let Some(block) = blocks.next(tx)?
    {
        headers.push(block.offset + block.size - record::HEADER);
    }
    let mut gone = 0;
    for header in headers {
        if tx.load(header, HEADER)? as u32 != 0 {
            let name = twins.name(tx, header)?;
            twins.remove(tx, &name)?;
            gone += 1;
        }
    }
    Ok(gone)
}
