//! Checkpoints: a consistent image of a region on disk, taken while its owner goes on writing; and the way back.
//!
//! This is the answer to a power cut, and how a world moves to another machine. The *mark* is a moment between two
//! transactions; the image is the region at the mark, whatever is written while it is copied.
//!
//! ```text
//!  tick thread                          copier thread                      disk
//!  prepare_checkpoint  ───────────────▶ makes the temporary file           path.tmp-…
//!  mark: header, catalog, bit map ────▶ chunk table, then pages in use ──▶ blocks
//!  tick, tick: a page is saved before   takes what was saved           ──▶ blocks
//!    its first change
//!  (nothing)                            lease unchanged?  trailer, fsync, rename, fsync
//! ```
//!
//! - The protocol between the two is in [`hook`] (C1–C4), on [`pages`] (P) and [`side`] (Q); enumerated in `model`.
//! - What belongs into the image is in [`image`] (M), the file's bytes in [`format`](mod@format) (F), its making in
//!   [`output`] (O), the thread in [`copier`] (B), who may give up when in [`shared`] (K), the way back in [`restore`]
//!   (N).
//!
//! It does not know when a checkpoint is worth making, nor how many to keep.

mod copier;
mod format;
pub(crate) mod hook;
mod image;
mod look;
mod output;
mod pages;
mod restore;
mod shared;
mod side;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

pub(crate) use restore::restore;
pub use restore::{Checkpoint, RestoredFrom};
pub use shared::CheckpointReport;

use crate::crash::{self, Point};
use crate::error::{Error, Result};
use crate::gate::Pass;
use crate::os::clock;
use crate::region::header::at;
use crate::region::{FormatVersion, Options, Region, growth};
use copier::Mark;
use format::Facts;
use hook::Hook;
use pages::{PAGE, Pages};
use shared::{Phase, Shared};
use side::Spares;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Instant;

/// Pages of side buffer that are ready before the mark, unless asked otherwise: 1 MiB.
pub const DEFAULT_PAGES_AHEAD: usize = 256;
/// How much more heap than there is now a preparation counts with, as a part of it, and at least, in pages.
const SLACK: (u64, u64) = (4, 4096);

/// How a checkpoint is made.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointOptions {
    rate: Option<u64>,
    ahead: usize,
}

impl Default for CheckpointOptions {
    fn default() -> Self {
        Self {
            rate: None,
            ahead: DEFAULT_PAGES_AHEAD,
        }
    }
}

impl CheckpointOptions {
    /// Writes at most so many bytes a second. A checkpoint that takes longer saves more pages aside; those that wait
    /// for the disk are kept in memory of this process.
    #[must_use]
    pub fn bytes_per_second(mut self, rate: u64) -> Self {
        self.rate = Some(rate);
        self
    }

    /// Keeps room for about so many saved pages ready, so that the writer does not have to make it: 64 to 2048.
    #[must_use]
    pub fn pages_ahead(mut self, pages: usize) -> Self {
        self.ahead = pages;
        self
    }
}

/// A checkpoint for which everything is ready but the mark. Dropped, it leaves nothing.
#[derive(Debug)]
pub struct PreparedCheckpoint {
    region: [u64; 2],
    file: File,
    pages: Pages,
    first: Vec<u8>,
    marks: Sender<Mark>,
    running: RunningCheckpoint,
}

/// A checkpoint that is being made, or is done. Dropped before it is done, it is given up, and leaves nothing.
#[derive(Debug)]
pub struct RunningCheckpoint {
    shared: Arc<Shared>,
}

impl RunningCheckpoint {
    /// Whether there is an outcome, good or bad.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.shared.is_ended()
    }

    /// Waits until the file is safe under its name.
    ///
    /// # Errors
    /// [`Error::CheckpointRunning`] if it is not by the deadline (it goes on); [`Error::CheckpointAborted`],
    /// [`Error::DiskFull`], [`Error::Io`], [`Error::Damaged`] if there will be none: what was at the path before is
    /// still there.
    pub fn wait(&mut self, deadline: Instant) -> Result<CheckpointReport> {
        self.shared.wait(deadline)
    }
}

impl Drop for RunningCheckpoint {
    fn drop(&mut self) {
        self.shared.give_up("its handle was dropped", false);
    }
}

impl Region {
    /// Starts a checkpoint: sets the mark and returns. The file appears at `path` when it is whole; until then what was
    /// there stays. This is [`prepare_checkpoint`](Self::prepare_checkpoint) and [`mark`](Self::mark) in one; a server
    /// with a tick to keep calls the first between two ticks.
    ///
    /// ```
    /// # fn main() -> shmstate::Result<()> {
    /// # use shmstate::{Cell, CheckpointOptions, Region};
    /// # use std::time::{Duration, Instant};
    /// # let name = format!("doc-checkpoint-{}", std::process::id());
    /// # let path = std::env::temp_dir().join(&name);
    /// let mut region = Region::options().capacity(4 << 20).create(&name)?;
    /// let gate = region.gate().clone();
    /// let pass = gate.enter()?;
    /// let clock = region.write(&pass, |tx| Cell::create(tx, "clock", &41u64))?;
    /// let mut running = region.checkpoint(&pass, &path, &CheckpointOptions::default())?;
    /// region.write(&pass, |tx| clock.set(tx, &42))?; // not in the checkpoint
    /// running.wait(Instant::now() + Duration::from_secs(10))?;
    ///
    /// # drop(pass);
    /// # drop(region);
    /// # Region::remove(&name)?;
    /// let region = Region::restore(&path, &name)?;
    /// let clock = Cell::<u64>::open(&region, "clock")?;
    /// # let gate = region.gate().clone();
    /// # let pass = gate.enter()?;
    /// assert_eq!(clock.get(&*region.read(&pass)?)?.to_native(), 41);
    /// # Region::remove(&name)?;
    /// # std::fs::remove_file(&path).expect("remove");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of the two.
    pub fn checkpoint(
        &mut self,
        pass: &Pass<'_>,
        path: impl AsRef<Path>,
        options: &CheckpointOptions,
    ) -> Result<RunningCheckpoint> {
        let prepared = self.prepare_checkpoint(path, options)?;
        self.mark(pass, prepared)
    }

    /// Makes everything ready for a checkpoint to `path`: a thread, its file, memory. Needs no pass and changes
    /// nothing.
    ///
    /// # Errors
    /// [`Error::NoDescriptor`] for a region in plain memory; [`Error::Io`]. What is wrong with `path` comes from
    /// [`mark`](Self::mark) or [`RunningCheckpoint::wait`]: the thread makes the file.
    pub fn prepare_checkpoint(
        &self,
        path: impl AsRef<Path>,
        options: &CheckpointOptions,
    ) -> Result<PreparedCheckpoint> {
        let descriptor = self.descriptor().ok_or_else(|| Error::NoDescriptor {
            name: self.name().into(),
        })?;
        // A description of its own (B1): a duplicate would share the lock that says that the region has an owner.
        let own = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
        let file = File::open(own).map_err(|e| Error::io("open for a checkpoint", self.name(), e))?;
        let shared = Arc::new(Shared::new(Spares::new(options.ahead)));
        let (marks, receiver) = channel();
        let (path, rate, theirs) = (path.as_ref().to_path_buf(), options.rate, Arc::clone(&shared));
        std::thread::Builder::new()
            .name("checkpoint".into())
            .spawn(move || copier::run(path, rate, &theirs, &receiver))
            .map_err(|e| Error::io("start a thread for a checkpoint of", self.name(), e))?;
        let count = growth::size(&self.view, at::HEAP_END)? / PAGE;
        Ok(PreparedCheckpoint {
            region: self.id(),
            file,
            pages: Pages::new(count + (count / SLACK.0).max(SLACK.1), image::FIXED_PAGES),
            first: Vec::with_capacity((image::FIRST_PAGES * PAGE) as usize),
            marks,
            running: RunningCheckpoint { shared },
        })
    }

    /// Sets the mark: the checkpoint will hold what the region holds now. Copies 20 KiB; the rest is the thread's.
    ///
    /// # Errors
    /// [`Error::CheckpointRunning`] if another one of this region still needs it; [`Error::ForeignCheckpoint`] if it
    /// was prepared for another region; [`Error::ForeignPass`]; what went wrong with the file since it was prepared.
    pub fn mark(&mut self, pass: &Pass<'_>, prepared: PreparedCheckpoint) -> Result<RunningCheckpoint> {
        // With `&mut` no transaction is open; what a forgotten one left is taken back here.
        self.admit(pass)?;
        let PreparedCheckpoint {
            region,
            file,
            mut pages,
            mut first,
            marks,
            mut running,
        } = prepared;
        if region != self.id() {
            return Err(Error::ForeignCheckpoint {
                name: self.name().into(),
            });
        }
        if let Some(other) = self.hook.as_ref().filter(|hook| !hook.is_over()) {
            return Err(other.shared.running());
        }
        if running.is_done() {
            running.wait(Instant::now())?;
        }
        let birth = self.birth();
        let heap_end = growth::size(&self.view, at::HEAP_END)?;
        let count = heap_end / PAGE;
        if !pages.fit(count) {
            pages = Pages::new(count, image::FIXED_PAGES);
        }
        first.extend_from_slice(self.view.bytes(0, image::FIRST_PAGES * PAGE, "header and catalog")?);
        let pages = Arc::new(pages);
        let (saver, saved) = side::buffer(Arc::clone(&running.shared.spares));
        let mark = Mark {
            at: Instant::now(),
            region: file,
            layout: birth.layout,
            pages: Arc::clone(&pages),
            saved,
            first,
            facts: Facts {
                capacity: self.capacity(),
                heap_end,
                region: birth.region_id,
                boot: birth.boot_id,
                node: birth.node_id,
                made_at: birth.made_at,
                marked_real: clock::realtime_ns(),
                marked: clock::monotonic_ns(),
                clock_offset: self.view.header(at::CLOCK_OFFSET),
                commits: self.view.header(at::COMMITS),
                region_format: FormatVersion::V1 as u64,
                reserve: birth.layout.reserve,
            },
            gate: self.gate().clone(),
            lease: self.gate().word(),
        };
        running.shared.enter(Phase::Copying)?;
        self.hook = Some(Box::new(Hook {
            pages,
            saver,
            shared: Arc::clone(&running.shared),
        }));
        self.rest();
        crash::point(Point::Marked);
        // MARK pair: what was written before is seen by the thread that receives this. If it is gone, it has left the
        // reason.
        if marks.send(mark).is_err() {
            self.hook = None;
            running.wait(Instant::now())?;
        }
        Ok(running)
    }

    /// Makes the region `name` with the contents of the checkpoint at `path`: as it was at the mark, with no stream
    /// open. All checksums and all metadata are checked before the region exists for others. See [`Options::restore`].
    ///
    /// # Errors
    /// As [`Options::restore`].
    pub fn restore(path: impl AsRef<Path>, name: &str) -> Result<Self> {
        Options::default().restore(path, name)
    }

    /// Where this region came from, if it was restored from a checkpoint.
    #[must_use]
    pub fn restored_from(&self) -> Option<RestoredFrom> {
        restore::restored_from(&self.view)
    }

    /// The region's own clock in ns: `CLOCK_MONOTONIC` until it is restored, and from then on as if no time had passed
    /// between the mark and the restore. What is stored as a deadline by this clock needs no change after a restore, on
    /// any machine.
    #[must_use]
    pub fn clock_ns(&self) -> u64 {
        clock::monotonic_ns().wrapping_add(self.view.header(at::CLOCK_OFFSET))
    }
}
