//! The copier: a thread that takes the pages of an image out of the region and writes them to a file.
//!
//! - **B1** It reads the region with `pread` through a read-only descriptor of its own, never through the mapping. So a
//!   torn read is the kernel's copy of bytes that are thrown away, not a data race of this program; the region may be
//!   dropped and unmapped at any time; a page that was never touched is not allocated by looking at it; and the
//!   descriptor does not hold the lock that says that the region has an owner.
//! - **B2** The image is dropped unless the lease word is, after the last page was read, what it was at the mark.
//!   Another owner writes only after it has taken the lease, and takes it only after this process has released it.
//!   Every release and every take changes the word to one that it has never been (generations only grow). So if the
//!   word is the old one after the last read, this process had not released when that read was made, and nobody else
//!   can have written before it. The word is also looked at between batches, so that an image which is lost stops soon.
//! - **B3** Order: the chunk table first, whole; then the pages of the heap that *that* table says are in use (M3). The
//!   writer's pages go into the file as they come.
//!
//! It does not know transactions.

use crate::checkpoint::format::Facts;
use crate::checkpoint::image;
use crate::checkpoint::output::Output;
use crate::checkpoint::pages::{PAGE, Pages};
use crate::checkpoint::shared::{CheckpointReport, Phase, Shared};
use crate::checkpoint::side::Saved;
use crate::crash::{self, Point};
use crate::error::{Error, Result};
use crate::gate::Gate;
use crate::region::backing::Memory;
use crate::region::header::Layout;
use crate::region::view::{Places, View};
use crate::region::view_of;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// Pages read at once: half of a second-level cache or less.
const BATCH: u64 = 64;
/// How long to rest while the writer is about to publish a page (it is between two instructions, or off its core).
const REST: Duration = Duration::from_micros(50);

/// What the mark hands to the copier.
#[derive(Debug)]
pub(crate) struct Mark {
    pub(crate) at: Instant,
    /// The region, for reading (B1).
    pub(crate) region: File,
    pub(crate) layout: Layout,
    pub(crate) pages: Arc<Pages>,
    pub(crate) saved: Saved,
    /// Header and catalog at the mark (M1).
    pub(crate) first: Vec<u8>,
    pub(crate) facts: Facts,
    pub(crate) gate: Gate,
    /// The lease word under which the mark was set (B2).
    pub(crate) lease: u64,
}

/// The thread: waits for the mark, copies, leaves an outcome.
pub(crate) fn run(path: PathBuf, rate: Option<u64>, shared: &Arc<Shared>, marks: &Receiver<Mark>) {
    struct Ender<'a>(&'a Shared);
    impl Drop for Ender<'_> {
        fn drop(&mut self) {
            if !self.0.is_ended() {
                self.0.end(Err(Error::CheckpointAborted {
                    why: "its thread panicked",
                }));
            }
        }
    }
    let ender = Ender(shared);
    let outcome = Output::create(&path, rate, shared).and_then(|output| {
        let mark = marks.recv().map_err(|_| Error::CheckpointAborted {
            why: "it was prepared and never marked",
        })?;
        Copier::new(mark, output, Arc::clone(shared))?.copy()
    });
    shared.end(outcome);
    drop(ender);
}

/// One bit a page.
#[derive(Debug)]
struct Bits(Vec<u64>);

impl Bits {
    fn new(count: u64) -> Self {
        Self(vec![0; count.div_ceil(64) as usize])
    }

    fn set(&mut self, page: u64) {
        if let Some(word) = self.0.get_mut((page / 64) as usize) {
            *word |= 1 << (page % 64);
        }
    }

    fn has(&self, page: u64) -> bool {
        self.0
            .get((page / 64) as usize)
            .is_some_and(|word| word & (1 << (page % 64)) != 0)
    }

    fn all_in(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(mine, theirs)| mine & !theirs == 0)
    }

    fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

/// The image's own header and chunk table, in memory of this process, to be read like a region's.
#[derive(Debug)]
struct Table {
    // Declared before the memory: the view must not outlive it (V3).
    view: View,
    _memory: Memory,
    pages: Range<u64>,
}

struct Copier {
    mark: Mark,
    output: Output,
    shared: Arc<Shared>,
    table: Table,
    needed: Bits,
    have: Bits,
}

impl Copier {
    fn new(mark: Mark, output: Output, shared: Arc<Shared>) -> Result<Self> {
        let pages = image::table_pages(&mark.layout, mark.facts.heap_end);
        let size = pages.end * PAGE;
        let memory = Memory::new(size, size)?;
        let count = mark.pages.count();
        let places = Places {
            tag: 0,
            chunks: mark.layout.chunks,
            heap: mark.layout.heap,
        };
        Ok(Self {
            table: Table {
                view: view_of(&memory, size, places),
                _memory: memory,
                pages,
            },
            needed: Bits::new(count),
            have: Bits::new(count),
            mark,
            output,
            shared,
        })
    }

    fn copy(mut self) -> Result<CheckpointReport> {
        let facts = self.mark.facts;
        self.output.begin(&facts)?;
        let mut first = std::mem::take(&mut self.mark.first);
        image::settle_header(&mut first);
        self.table.view.write_fresh(0, &first, "image of the header")?;
        for (page, bytes) in (0..).zip(first.chunks_exact(PAGE as usize)) {
            self.deliver(page, bytes)?;
        }
        let table = self.table.pages.clone();
        table.clone().for_each(|page| self.needed.set(page));
        let mut buffer = vec![0; (BATCH * PAGE) as usize];
        self.copy_run(table, &mut buffer)?;
        self.wait_for_the_writer()?;
        self.plan()?;
        let end = self.mark.pages.count();
        let mut page = self.mark.layout.heap / PAGE;
        while page < end {
            let length = (page..end).take_while(|page| self.needed.has(*page)).count() as u64;
            self.copy_run(page..page + length, &mut buffer)?;
            page += length.max(1);
        }
        self.wait_for_the_writer()?;
        crash::point(Point::CopierAll);
        // LEASE pair (B2): the look comes after all reads.
        fence(Ordering::SeqCst);
        self.check_lease()?;
        self.shared.enter(Phase::Copied)?;
        let marked = self.mark.at;
        let counts = &self.shared.writer;
        let (bytes, pages) = self.output.finish()?;
        Ok(CheckpointReport {
            bytes,
            pages,
            copied_by_writer: counts.pages.load(Ordering::Relaxed),
            took: marked.elapsed(),
            longest_writer_copy: Duration::from_nanos(counts.longest_ns.load(Ordering::Relaxed)),
        })
    }

    /// Finds out which pages of the heap the image needs; the others are nobody's business from now on, the writer's
    /// neither.
    fn plan(&mut self) -> Result<()> {
        let (needed, layout) = (&mut self.needed, &self.mark.layout);
        image::pages_in_use(&self.table.view, layout, |first, mask| {
            for page in 0..u64::from(u64::BITS - mask.leading_zeros()) {
                if mask & (1 << page) != 0 {
                    needed.set(first + page);
                }
            }
        })?;
        for page in self.table.pages.end..self.mark.pages.count() {
            if !self.needed.has(page) {
                self.mark.pages.take(page);
            }
        }
        let all = image::FIRST_PAGES + self.needed.count();
        self.shared.all.store(all, Ordering::Relaxed);
        Ok(())
    }

    /// Takes the pages of a run that the writer does not take.
    fn copy_run(&mut self, run: Range<u64>, buffer: &mut [u8]) -> Result<()> {
        let mut start = run.start;
        while start < run.end {
            let end = run.end.min(start + BATCH);
            self.look_around()?;
            if (start..end).any(|page| !self.mark.pages.is_taken(page)) {
                let buffer = &mut buffer[..((end - start) * PAGE) as usize];
                self.mark
                    .region
                    .read_exact_at(buffer, start * PAGE)
                    .map_err(|e| Error::io("read for a checkpoint", "region", e))?;
                crash::point(Point::CopierBatch);
                for (page, bytes) in (start..end).zip(buffer.chunks_exact(PAGE as usize)) {
                    // C3: turned after the read; what was read of a page that is not ours may be torn.
                    if self.mark.pages.take(page) {
                        self.deliver(page, bytes)?;
                    }
                }
            }
            start = end;
        }
        Ok(())
    }

    fn wait_for_the_writer(&mut self) -> Result<()> {
        self.look_around()?;
        while !self.needed.all_in(&self.have) {
            self.shared.sleep(REST);
            self.look_around()?;
        }
        Ok(())
    }

    /// Takes what the writer has saved, and looks whether it is still worth while.
    fn look_around(&mut self) -> Result<()> {
        self.shared.check()?;
        self.check_lease()?;
        let mut bytes = [0; PAGE as usize];
        while let Some(page) = self.mark.saved.next(&mut bytes) {
            self.deliver(page, &bytes)?;
        }
        self.shared.spares.refill();
        Ok(())
    }

    fn deliver(&mut self, page: u64, bytes: &[u8]) -> Result<()> {
        // Entries of chunks that came after the mark: the writer has saved their page before it was told not to.
        if !image::holds(&self.mark.layout, self.mark.facts.heap_end, page) {
            return Ok(());
        }
        self.have.set(page);
        if self.table.pages.contains(&page) {
            self.table
                .view
                .write_fresh(page * PAGE, bytes, "image of the chunk table")?;
        }
        self.output.push(page, bytes)
    }

    fn check_lease(&self) -> Result<()> {
        if self.mark.gate.is_held_under(self.mark.lease) {
            return Ok(());
        }
        Err(Error::CheckpointAborted {
            why: "the lease went to another process before all of it was copied",
        })
    }
}
