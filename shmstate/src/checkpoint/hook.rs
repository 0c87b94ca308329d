//! The writer's side of a checkpoint: a page is saved before its first change after the mark.
//!
//! The image is the memory as it was at the mark, a moment between two transactions. After it:
//!
//! - **C1** Every change of a byte of the image passes [`Hook::before_write`] first: logged ranges in `Tx::log` (and
//!   the record's header that goes with them), fresh blocks in `heap::alloc` (they may have been in use at the mark and
//!   freed since). What changes outside of these two is *not* taken from the pages, but decided word by word in
//!   `image.rs`: the header, the catalog's serial numbers; or thrown away at restore: rings of streams, the hints
//!   beside them, and their notes.
//! - **C2** The writer saves a page by copying it and then turning its bit (P1, P2). It is the only thread that writes,
//!   so its copy cannot be torn, and no store after the mark has gone to a page whose bit is 0.
//! - **C3** The copier reads pages through a descriptor of its own, at any time, and turns the bit after it has read.
//!   If the bit was 0, no store after the mark had been made to the page when it was read (TAKEN pair): the copy is the
//!   page at the mark. If it was 1, the copy may be torn and is thrown away; the writer's is on its way.
//! - **C4** So every page of the image comes from exactly one side, and from both sides it is the page at the mark. The
//!   writer's part is a look at a bit, and once a page a copy, a `fetch_or` and a store: no loop, no lock that it waits
//!   for, no system call but for memory when no spare segment is left (Q1).
//!
//! ```text
//!  writer                                   copier
//!  load bit  (Acquire)      TAKEN           read page
//!  copy page to the slot                    fetch_or bit (AcqRel)   won: it is mine   lost: throw away
//!  fetch_or bit (AcqRel)    TAKEN
//!  won: publish the slot (Release)  SLOT    filled (Acquire), copy the slot out
//!  change the page
//! ```
//!
//! Why the copier's winning copy is clean: the writer's first store to the page comes after it saw the bit set (its
//! load, or its own `fetch_or`, both Acquire). All changes of the bit are one total order, and the copier won, so the
//! writer saw the copier's Release: the reads before that happen before the store. Why the writer's copy is right:
//! program order on one thread, and `&mut Region` between threads. What was written before the mark is visible to the
//! copier by the message that starts it (MARK pair, a channel). `model.rs` enumerates all interleavings, and finds the
//! violation when any one of the steps is left out or moved.
//!
//! It does not know files.

use crate::checkpoint::pages::{PAGE, Pages};
use crate::checkpoint::shared::Shared;
use crate::checkpoint::side::Saver;
use crate::crash::{self, Point};
use crate::error::Result;
use crate::os::clock::monotonic_ns;
use crate::region::view::View;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What a region carries while a checkpoint of it is being copied.
#[derive(Debug)]
pub(crate) struct Hook {
    pub(crate) pages: Arc<Pages>,
    pub(crate) saver: Saver,
    pub(crate) shared: Arc<Shared>,
}

impl Hook {
    /// Saves the pages of a range that is about to change (C1).
    ///
    /// # Errors
    /// [`Error::Damaged`](crate::Error::Damaged) if the range is not inside the region: then nothing of it may be
    /// written.
    #[inline]
    pub(crate) fn before_write(&mut self, view: &View, offset: u64, length: u64) -> Result<()> {
        let first = offset / PAGE;
        let last = offset.saturating_add(length.saturating_sub(1)) / PAGE;
        // Behind the image there is nothing to save, however long a damaged length is.
        let last = last.min(self.pages.count().saturating_sub(1));
        for page in first..=last {
            if !self.pages.is_taken(page) {
                self.save(view, page)?;
            }
        }
        Ok(())
    }

    #[cold]
    fn save(&mut self, view: &View, page: u64) -> Result<()> {
        if self.is_over() {
            return Ok(());
        }
        let start = monotonic_ns();
        self.saver
            .copy(page, view.bytes(page * PAGE, PAGE, "page of a checkpoint")?);
        // This thread alone changes the counts; the copier reads them when all is over.
        let counts = &self.shared.writer;
        if self.pages.take(page) {
            self.saver.publish();
            crash::point(Point::MarkSaved);
            counts
                .pages
                .store(counts.pages.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
        let took = monotonic_ns() - start;
        if took > counts.longest_ns.load(Ordering::Relaxed) {
            counts.longest_ns.store(took, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Whether nothing needs to be saved any more: all pages are copied, or the checkpoint was given up.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.shared.is_over()
    }
}

impl Drop for Hook {
    /// The region is dropped, or the checkpoint is over, and then this does nothing. After a drop another owner may
    /// write without this hook, so what the copier reads from now on is worth nothing.
    fn drop(&mut self) {
        if self.is_over() {
            return;
        }
        self.shared
            .give_up("the region was dropped before all of it was copied", true);
    }
}
