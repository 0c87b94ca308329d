//! The sweep: records of older shapes migrate a few at a time, in the order in which they lie in memory, until none is left.
//!
//! - **U1** How far it has come is not kept: what is migrated says so itself, and [`LEFT`](super::LEFT) counts what is not. So it goes on after a
//!   crash or in another process where there is still something to do. What it remembers in this process only saves it a second look.

use super::Map;
use crate::archive::Value;
use crate::error::Result;
use crate::region::view::View;
use crate::table::key::Key;
use crate::tx::Tx;

/// What a call of [`Map::sweep`] came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Swept {
    /// Records that migrated, and twins of a closed way back that were taken away.
    pub done: u64,
    /// How many of both are left.
    pub left: u64,
}

impl<K: Key, V: Value> Map<K, V> {
    /// Migrates about `budget` records that still have an older shape, whole chunks of 64 KiB of them; then takes away what a closed way back
    /// has left. Nothing is left when it says so; calling it is then cheap. For a call each tick.
    ///
    /// # Errors
    /// [`Error::ForeignTable`](crate::Error::ForeignTable), [`Error::RegionFull`](crate::Error::RegionFull), [`Error::Damaged`](crate::Error::Damaged); those of the log.
    pub fn sweep(&self, tx: &mut Tx<'_>, budget: u64) -> Result<Swept> {
        self.admit(tx)?;
        let mut done = 0;
        if self.left(tx)? > 0 {
            done = self.sweep_chunks(tx, budget)?;
        }
        for (companion, _) in self.stale(tx)? {
            if done < budget {
                done += self.drop_stale(tx, companion, budget - done)?;
            }
        }
        Ok(Swept {
            done,
            left: self.unswept(tx)?,
        })
    }

    /// How many records still have an older shape, and how many twins nobody wants any more.
    ///
    /// # Errors
    /// [`Error::ForeignTable`](crate::Error::ForeignTable), [`Error::Damaged`](crate::Error::Damaged).
    pub fn unswept(&self, view: &View) -> Result<u64> {
        self.admit(view)?;
        let stale: u64 = self.stale(view)?.iter().map(|(_, twins)| twins).sum();
        Ok(self.left(view)? + stale)
    }
}
