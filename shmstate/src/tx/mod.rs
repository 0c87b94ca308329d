//! Transactions: a set of changes to a region that a crash shows whole or not at all (T1–T7 in DESIGN.md).
//!
//! A [`Tx`] borrows the region exclusively and a pass. Every change of memory that committed state refers to goes through
//! [`Tx::put`] or its kin, which log first; the contents of fresh allocations go around them (T3). It does not know tables.

pub(crate) mod undo;

use crate::broken;
use crate::error::Result;
use crate::gate::Pass;
use crate::heap;
use crate::region::Region;
use crate::region::header::{Activity, at};
use crate::region::view::View;
use std::ops::Deref;
use std::sync::atomic::{Ordering, compiler_fence};

/// An open transaction. Dropped without [`commit`](Tx::commit), also by a panic, it leaves no trace (T2).
#[derive(Debug)]
pub struct Tx<'a> {
    pub(crate) region: &'a mut Region,
    pass: &'a Pass<'a>,
    open: bool,
}

impl Deref for Tx<'_> {
    type Target = View;

    #[inline]
    fn deref(&self) -> &View {
        &self.region.view
    }
}

impl<'a> Tx<'a> {
    #[inline]
    pub(crate) fn begin(region: &'a mut Region, pass: &'a Pass<'a>) -> Result<Self> {
        region.frees.clear();
        if region.hook.as_ref().is_some_and(|hook| hook.is_over()) {
            region.hook = None;
        }
        region.log.begin(&region.view)?;
        region.view.set_header(at::ACTIVITY, Activity::Transaction as u64);
        Ok(Self {
            region,
            pass,
            open: true,
        })
    }

    /// Makes the changes permanent: whoever opens the region after this sees all of them, whatever happens to this process.
    ///
    /// # Errors
    /// Damage found while freeing memory, or no room for the log of it. The transaction is then rolled back.
    #[inline]
    pub fn commit(mut self) -> Result<()> {
        let region = &mut *self.region;
        if region.log.is_empty() && region.frees.is_empty() {
            self.open = false;
            region.view.set_header(at::ACTIVITY, Activity::Idle as u64);
            self.pass.note_commit();
            return Ok(());
        }
        region.view.set_header(at::ACTIVITY, Activity::Commit as u64);
        if !broken::FREE && !region.frees.is_empty() {
            self.apply_frees()?;
        }
        let view = &self.region.view;
        view.set_header(at::COMMITS, view.header(at::COMMITS) + 1);
        // COMMIT pair: every change is in place before the log is empty; nothing later moves above that (T6).
        compiler_fence(Ordering::SeqCst);
        view.publish_header(at::LOG_LENGTH, 0);
        compiler_fence(Ordering::SeqCst);
        view.set_header(at::ACTIVITY, Activity::Idle as u64);
        self.open = false;
        self.pass.note_commit();
        Ok(())
    }

    /// Takes every change back. The same as dropping the transaction.
    pub fn rollback(self) {}

    fn apply_frees(&mut self) -> Result<()> {
        let mut frees = std::mem::take(&mut self.region.frees);
        let mut result = Ok(());
        for block in frees.drain(..) {
            result = heap::release(self, block);
            if result.is_err() {
                break;
            }
        }
        frees.clear();
        self.region.frees = frees;
        result
    }

    /// Logs a range that is about to change; `record` is the header of the record it is part of, or 0.
    #[inline]
    pub(crate) fn log(&mut self, offset: u64, length: u64, record: u64) -> Result<()> {
        let region = &mut *self.region;
        if region.hook.is_some() {
            region.before_write(offset, length)?;
            if record != 0 {
                // Its sequence changes with it, outside the log.
                region.before_write(record, 8)?;
            }
        }
        let mut at = offset;
        let end = offset + length;
        while end - at > undo::MAX_ENTRY {
            region
                .log
                .append(&region.view, &*region.backing, at, undo::MAX_ENTRY - 8, record)?;
            at = (at & !7) + undo::MAX_ENTRY - 8;
        }
        region.log.append(&region.view, &*region.backing, at, end - at, record)
    }

    /// Logs a word and changes it.
    #[inline]
    pub(crate) fn put(&mut self, offset: u64, value: u64, what: &'static str) -> Result<()> {
        self.log(offset, 8, 0)?;
        self.region.view.store(offset, value, what)
    }

    /// Logs words that lie side by side and changes them.
    #[inline]
    pub(crate) fn put_all(&mut self, offset: u64, values: &[u64], what: &'static str) -> Result<()> {
        self.log(offset, values.len() as u64 * 8, 0)?;
        for (i, value) in values.iter().enumerate() {
            self.region.view.store(offset + i as u64 * 8, *value, what)?;
        }
        Ok(())
    }

    /// Frees a block when the transaction commits (T3).
    #[inline]
    pub(crate) fn free(&mut self, block: u64) {
        self.region.frees.push(block);
    }

    /// Marks what the owner is doing, and gives back what it was doing before.
    pub(crate) fn activity(&self, activity: Activity) -> u64 {
        let before = self.header(at::ACTIVITY);
        self.set_header(at::ACTIVITY, activity as u64);
        before
    }
}

impl Drop for Tx<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.open {
            self.take_back();
        }
    }
}

impl Tx<'_> {
    #[cold]
    fn take_back(&mut self) {
        let region = &mut *self.region;
        region.frees.clear();
        let view = &region.view;
        if undo::Log::published(view) != 0 {
            view.set_header(at::ACTIVITY, Activity::Recovery as u64);
            // A log that cannot be undone stays as it is: the next `begin` finds it, tries again and reports the damage.
            if region.log.undo(view).is_err() {
                return;
            }
        }
        view.set_header(at::ROLLBACKS, view.header(at::ROLLBACKS) + 1);
        view.set_header(at::ACTIVITY, Activity::Idle as u64);
    }
}
