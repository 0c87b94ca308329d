//! Cells whose value has an older shape (`table::mixed`). The key of the only twin is 0.

use super::{Cell, WHAT};
use crate::archive::Value;
use crate::error::Result;
use crate::region::view::View;
use crate::table::catalog::{ROOT, Spec};
use crate::table::key::{Encoded, Form};
use crate::table::mixed::{self, At, Swept, Table};
use crate::table::record::{Carried, Home};
use crate::table::reference;
use crate::tx::Tx;

impl<T: Value> Table for Cell<T> {
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
        Self::HOME
    }

    fn belongs(&self, view: &View) -> Result<()> {
        self.record(view).map(|_| ())
    }

    fn records(&self, _view: &View) -> Result<u64> {
        Ok(1)
    }

    fn is_record(&self, view: &View, at: At) -> Result<bool> {
        Ok(self.record(view)? == at.header)
    }

    fn name(&self, _view: &View, _at: At) -> Result<Encoded<'static, u64>> {
        Ok(Encoded::of(&0, Form::Hashed)?.into_owned())
    }

    fn carried(_view: &View, _header: u64) -> Result<Carried> {
        Ok(Carried::default())
    }

    fn swap(&self, tx: &mut Tx<'_>, _at: At, header: u64) -> Result<()> {
        tx.put(self.row + ROOT, reference::seal(header, self.row, 0), WHAT)
    }

    fn recount(&self, tx: &mut Tx<'_>, _before: u64, after: u64) -> Result<()> {
        tx.put(self.row + ROOT + 8, after, WHAT)
    }

    fn parts(&self, _view: &View) -> Result<u64> {
        Ok(1)
    }

    fn part(&self, view: &View, _part: u64) -> Result<Vec<At>> {
        Ok(vec![At::numbered(self.record(view)?, 0)])
    }
}

impl<T: Value> Cell<T> {
    /// Migrates the value if it still has an older shape; takes away what a closed way back has left. Nothing is left when it says so;
    /// calling it is then cheap.
    ///
    /// # Errors
    /// [`Error::ForeignTable`](crate::Error::ForeignTable), [`Error::TableGone`](crate::Error::TableGone), [`Error::RegionFull`](crate::Error::RegionFull), [`Error::Damaged`](crate::Error::Damaged); those of the [log](crate::Tx#errors).
    pub fn sweep(&self, tx: &mut Tx<'_>) -> Result<Swept> {
        mixed::sweep(self, tx, u64::MAX)
    }

    /// Whether the value still has an older shape, and how many twins nobody wants any more: 0 to 2 of them.
    ///
    /// # Errors
    /// [`Error::ForeignTable`](crate::Error::ForeignTable), [`Error::TableGone`](crate::Error::TableGone), [`Error::Damaged`](crate::Error::Damaged).
    pub fn unswept(&self, view: &View) -> Result<u64> {
        mixed::unswept(self, view)
    }
}
