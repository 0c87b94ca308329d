//! Queues whose records have several shapes (`table::mixed`). A twin's key is the serial number.

use super::Queue;
use super::ring::Ring;
use crate::archive::Value;
use crate::error::Result;
use crate::region::view::View;
use crate::table::catalog::Spec;
use crate::table::key::{Encoded, Form};
use crate::table::mixed::{self, At, Swept, Table};
use crate::table::record::{Carried, Home};
use crate::tx::Tx;

impl<T: Value> Table for Queue<T> {
    type Value = T;
    type Name = u64;
    const KEY_SIZE: usize = 0;

    fn spec() -> Spec {
        Self::spec()
    }

    fn of_row(row: u64, view: &View) -> Result<Self> {
        Ok(Self::handle(row, view))
    }

    fn row(&self) -> u64 {
        self.row
    }

    fn home(&self) -> Home {
        self.home()
    }

    fn belongs(&self, view: &View) -> Result<()> {
        self.admit(view).map(|_| ())
    }

    fn records(&self, view: &View) -> Result<u64> {
        self.len(view)
    }

    fn is_record(&self, view: &View, at: At) -> Result<bool> {
        let ring = self.admit(view)?;
        let roots = ring.roots(view)?;
        Ok(roots.has(at.number) && ring.item(view, &roots, at.number)? == at.header)
    }

    fn name(&self, _view: &View, at: At) -> Result<Encoded<'static, u64>> {
        Ok(Encoded::of(&at.number, Form::Hashed)?.into_owned())
    }

    fn carried(_view: &View, _header: u64) -> Result<Carried> {
        Ok(Carried::default())
    }

    fn swap(&self, tx: &mut Tx<'_>, at: At, header: u64) -> Result<()> {
        self.admit(tx)?.set_item(tx, at.number, header)
    }

    fn recount(&self, tx: &mut Tx<'_>, before: u64, after: u64) -> Result<()> {
        self.admit(tx)?.recount(tx, before, after)
    }

    fn parts(&self, view: &View) -> Result<u64> {
        let (first, end) = self.admit(view)?.roots(view)?.pages();
        Ok(end.saturating_sub(first))
    }

    fn part(&self, view: &View, part: u64) -> Result<Vec<At>> {
        let ring = self.admit(view)?;
        let roots = ring.roots(view)?;
        let at = |serial| Ok(At::numbered(ring.item(view, &roots, serial)?, serial));
        Ring::of_page(&roots, part).map(at).collect()
    }
}

impl<T: Value> Queue<T> {
    /// Migrates about `budget` records that still have an older shape, whole pages of 512 of them; then takes away what a closed way back has
    /// left. Nothing is left when it says so; calling it is then cheap. For a call each tick.
    ///
    /// # Errors
    /// [`Error::ForeignTable`](crate::Error::ForeignTable), [`Error::TableGone`](crate::Error::TableGone), [`Error::RegionFull`](crate::Error::RegionFull), [`Error::Damaged`](crate::Error::Damaged); those of the [log](crate::Tx#errors).
    pub fn sweep(&self, tx: &mut Tx<'_>, budget: u64) -> Result<Swept> {
        mixed::sweep(self, tx, budget)
    }

    /// How many records still have an older shape, and how many twins nobody wants any more.
    ///
    /// # Errors
    /// [`Error::ForeignTable`](crate::Error::ForeignTable), [`Error::TableGone`](crate::Error::TableGone), [`Error::Damaged`](crate::Error::Damaged).
    pub fn unswept(&self, view: &View) -> Result<u64> {
        mixed::unswept(self, view)
    }
}
