//! Timers whose records have several shapes (`table::mixed`). A twin's key is the id's token. The slot stays, and with it the entry of
//! the heap: moving a deadline concerns no record. The period stands before the header of a record of any shape, and goes with it.

use super::Timers;
use crate::archive::Value;
use crate::error::{Error, Result};
use crate::region::view::View;
use crate::table::catalog::Spec;
use crate::table::key::{Encoded, Form};
use crate::table::mixed::{self, At, Swept, Table};
use crate::table::record::{Carried, Home};
use crate::tx::Tx;

impl<T: Value> Table for Timers<T> {
    type Value = T;
    type Name = u64;
    const KEY_SIZE: usize = 8;

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
        let slot = self.admit(view)?.0.find(view, at.number)?;
        Ok(slot.is_some_and(|slot| slot.record == at.header))
    }

    fn name(&self, _view: &View, at: At) -> Result<Encoded<'static, u64>> {
        Ok(Encoded::of(&at.number, Form::Hashed)?.into_owned())
    }

    fn carried(view: &View, header: u64) -> Result<Carried> {
        Ok(Carried {
            bytes: Self::period_of(view, header)?.to_le_bytes().to_vec(),
            at_head: false,
        })
    }

    fn swap(&self, tx: &mut Tx<'_>, at: At, header: u64) -> Result<()> {
        let (slots, _) = self.admit(tx)?;
        let slot = slots.find(tx, at.number)?;
        let slot = slot.ok_or_else(|| Error::damaged("slots", at.header, at.number))?;
        slots.set_record(tx, &slot, header)
    }

    fn recount(&self, tx: &mut Tx<'_>, before: u64, after: u64) -> Result<()> {
        self.admit(tx)?.0.count_archived(tx, before, after)
    }

    fn parts(&self, view: &View) -> Result<u64> {
        self.admit(view)?.0.page_count(view)
    }

    fn part(&self, view: &View, part: u64) -> Result<Vec<At>> {
        let slots = self.admit(view)?.0.of_page(view, part)?;
        Ok(slots.iter().map(At::slot).collect())
    }
}

impl<T: Value> Timers<T> {
    /// Migrates about `budget` records that still have an older shape, whole pages of 255 of them; then takes away what a closed way back has
    /// left. Nothing is left when it says so; calling it is then cheap. For a call each tick.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::RegionFull`], [`Error::Damaged`]; those of the [log](crate::Tx#errors).
    pub fn sweep(&self, tx: &mut Tx<'_>, budget: u64) -> Result<Swept> {
        mixed::sweep(self, tx, budget)
    }

    /// How many records still have an older shape, and how many twins nobody wants any more.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn unswept(&self, view: &View) -> Result<u64> {
        mixed::unswept(self, view)
    }
}
