//! Parts of a transaction that are done whole or not at all: every operation of a table, and what a program calls a savepoint.
//!
//! - **T10** An operation that fails has changed nothing. Where memory ends, or a limit of the log, or in damage, it may be in the middle of a change of
//!   many words: then what it logged is taken back, and the transaction goes on as if it had not been called. A program may commit it.
//! - **T11** One that ends by a panic, of the program's own code in it, is taken back at once, for the record that it was writing may be half of one. If the
//!   panic is caught before the transaction is over, [`Tx::commit`] refuses.
//!
//! It does not know what an operation is. Where one begins and ends, tables say ([`Tx::whole`]).

use super::undo::Mark;
use super::{CHANGING, HELD, LOGGED, Tx, UNTOUCHED, flush};
use crate::broken::{self, Broken};
use crate::crash::{self, Point};
use crate::region::Region;
use crate::region::header::at;
use std::ptr;
use std::sync::atomic::Ordering;

/// What was changed could not be taken back, or not be written: nothing is committed.
pub(super) const DAMAGE: u8 = 1;
/// A part ended by a panic (T11).
pub(super) const PANIC: u8 = 2;

/// How far a transaction was.
#[derive(Clone, Copy, Debug)]
struct Begun {
    /// Of which region it is: a savepoint's program may put another transaction in its place.
    region: *const Region,
    mark: Mark,
    frees: usize,
    touched: usize,
    carried: usize,
    failed: u8,
    activity: u64,
}

/// An open part. Dropped without [`keep`](Part::keep), it ends by a panic.
struct Part<'p, 'a> {
    tx: &'p mut Tx<'a>,
    begun: Begun,
}

impl<'p, 'a> Part<'p, 'a> {
    #[inline]
    fn begin(tx: &'p mut Tx<'a>) -> Self {
        if tx.region.progress.is_pending() {
            flush(tx.region);
        }
        let region = &*tx.region;
        let begun = Begun {
            region,
            mark: region.log.mark(),
            frees: region.frees.len(),
            touched: region.touched.len(),
            carried: region.carried.len(),
            failed: region.progress.failed.load(Ordering::Relaxed),
            activity: region.view.header(at::ACTIVITY),
        };
        Self { tx, begun }
    }

    #[inline]
    fn keep(self) {
        std::mem::forget(self);
    }

    /// The operation has failed: it was never called.
    #[cold]
    fn take_back(mut self) {
        self.undo(0);
        crash::point(Point::SavepointUndone);
        self.keep();
    }

    /// Takes back what was changed since the part began; `more` is what is wrong with the transaction from now on.
    #[cold]
    fn undo(&mut self, more: u8) {
        let region = &mut *self.tx.region;
        if !ptr::eq(region, self.begun.region) {
            // How far that one was is not known: it is rolled back as a whole.
            region.progress.failed.fetch_or(DAMAGE, Ordering::Relaxed);
            region.progress.enter(LOGGED);
            return;
        }
        match region.progress.stage.load(Ordering::Relaxed) {
            // It had changed nothing before.
            HELD => region.progress.enter(UNTOUCHED),
            // Taking it back makes its sequence even.
            CHANGING => region.progress.enter(LOGGED),
            _ => {}
        }
        if !broken::is(Broken::Savepoint) {
            region.frees.truncate(self.begun.frees);
        }
        region.touched.truncate(self.begun.touched);
        region.carried.truncate(self.begun.carried);
        // It may have ended where the heap grew.
        region.view.set_header(at::ACTIVITY, self.begun.activity);
        let undone = region.log.undo_to(&region.view, self.begun.mark);
        // What went wrong in the part is as gone as what it changed.
        let failed = self.begun.failed | more | if undone.is_err() { DAMAGE } else { 0 };
        region.progress.failed.store(failed, Ordering::Relaxed);
        if failed != 0 {
            // The commit looks at what went wrong where something was logged, and refuses.
            region.progress.enter(LOGGED);
        }
    }
}

impl Drop for Part<'_, '_> {
    fn drop(&mut self) {
        // Now, not only with the transaction: whoever catches the panic may read on in it, and would find half a record (T11).
        self.undo(PANIC);
    }
}

impl Tx<'_> {
    /// Runs an operation of a table: whole, or not at all (T10).
    #[inline]
    pub(crate) fn whole<R, E>(
        &mut self,
        operate: impl FnOnce(&mut Self) -> std::result::Result<R, E>,
    ) -> std::result::Result<R, E> {
        let part = Part::begin(self);
        let result = operate(&mut *part.tx);
        match &result {
            Ok(_) => part.keep(),
            Err(_) => part.take_back(),
        }
        result
    }

    /// Runs `change` as a part that can fail on its own: if it returns `Err`, what it changed is taken back, and the
    /// transaction goes on as if it had not been called. Parts may be nested. A panic takes the whole transaction back, also one that is caught
    /// before the transaction ends: [`commit`](Self::commit) refuses then. For several operations that belong together: one alone is whole by itself.
    ///
    /// ```
    /// # fn main() -> shmstate::Result<()> {
    /// # use shmstate::{Error, Map, Region};
    /// let mut region = Region::in_memory(4 << 20)?;
    /// let gate = region.gate().clone();
    /// let pass = gate.enter()?;
    /// let mut tx = region.begin(&pass)?;
    /// let gold: Map<u64, u64> = Map::create(&mut tx, "gold")?;
    /// gold.insert(&mut tx, &1, &100)?;
    /// let bought: Result<(), &str> = tx.savepoint(|tx| {
    ///     gold.insert(tx, &1, &0).map_err(|_| "storage")?;
    ///     Err("the shop is closed")
    /// });
    /// assert_eq!(bought, Err("the shop is closed"));
    /// assert_eq!(gold.get(&tx, &1)?.expect("still there").to_native(), 100);
    /// tx.commit()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What `change` returns. If damage keeps its changes from being taken back, [`commit`](Self::commit) refuses.
    pub fn savepoint<R, E>(
        &mut self,
        change: impl FnOnce(&mut Self) -> std::result::Result<R, E>,
    ) -> std::result::Result<R, E> {
        self.whole(change)
    }
}
