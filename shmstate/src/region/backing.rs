//! Where a region's memory comes from: a mapping of a shared object, or plain memory of this process.
//!
//! Both are addressed alike, so that every step of heap, log and recovery can be enumerated in process on the second
//! form. A backing knows nothing of what is in the memory. Memory is *taken* before it is touched: a mount that is full
//! is an error, never a signal.

use crate::error::{Error, Result};
#[cfg(test)]
use crate::region::header::CHUNK;
use memmap2::{MmapOptions, MmapRaw};
use std::fmt;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

/// The page size that memory is taken and populated in where the mount has no larger one.
pub(crate) const PAGE: u64 = 4096;

/// Plain memory up to this size is entered at once, which is quicker than page by page.
const SMALL: u64 = 4 << 20;

/// On whose time memory is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taking {
    /// On the writer's, inside a transaction: as little as will do, as fast as it goes.
    Step,
    /// Before its use: in large pages where the system gives them. Nobody uses the range yet.
    Ahead,
}

/// Memory of a region.
pub(crate) trait Backing: Send + Sync + fmt::Debug {
    /// Where it starts; 64-byte aligned.
    fn base(&self) -> NonNull<u8>;
    /// How much address space there is, in bytes.
    fn length(&self) -> u64;
    /// Makes the range usable, or says why not. Idempotent.
    fn take(&self, offset: u64, length: u64, taking: Taking) -> Result<()>;
    /// Enters the range, which is taken, into this process's page tables.
    fn populate(&self, offset: u64, length: u64) -> Result<()>;
    /// Gives the memory of the range back: it reads as zeroes, and has to be taken again before it is used (D1 of `heap::holes`).
    fn punch(&self, offset: u64, length: u64) -> Result<()>;
    /// The descriptor, if there is one to hand over.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;

    /// Memory is taken in multiples of this.
    fn unit(&self) -> u64 {
        PAGE
    }

    /// Makes the object at least so long, within the address space.
    fn lengthen(&self, _length: u64) -> Result<()> {
        Ok(())
    }

    /// Memory of the heap was made usable up to here, ahead of the writer.
    fn ready(&self) -> u64 {
        0
    }

    /// The writer is about to take memory up to `target` itself. When this returns nobody makes large pages of what lies below
    /// it, and what was nearly ready is.
    fn overtake(&self, _target: u64) {}

    /// Memory is taken up to `taken` now, of at most `limit`: what `overtake` began is over.
    fn took(&self, _taken: u64, _limit: u64) {}

    /// The same, and the writer's heap has got as far as `end`: time to make more ready?
    fn want(&self, _end: u64, _taken: u64, _limit: u64) {}

    /// How far ahead of the heap's end memory is kept ready, in bytes.
    fn watermark(&self) -> u64 {
        0
    }

    /// The heap ends at `end` now, and memory is only taken up to `taken`: what lies from there to `limit` is given back, also what
    /// was made ready.
    fn retreat(&self, _end: u64, taken: u64, limit: u64) -> Result<()> {
        if taken < limit {
            return self.punch(taken, limit - taken);
        }
        Ok(())
    }

    /// Whether a range was taken after it was given back last, for tests.
    #[cfg(test)]
    fn is_backed(&self, _offset: u64, _length: u64) -> bool {
        true
    }

    /// Extents collapsed into a large page each, and those that could not be, since it was asked last.
    fn fresh_collapses(&self) -> (u64, u64) {
        (0, 0)
    }
}

/// Plain memory of this process: a region for tests, gone with it.
///
/// An anonymous mapping of memmap2: only pages that are touched take memory.
#[derive(Debug)]
pub(crate) struct Memory {
    map: MmapRaw,
    /// Bytes that may be taken, as if a mount had so many.
    available: u64,
    /// Chunks that were given back and not taken again.
    #[cfg(test)]
    punched: std::sync::Mutex<std::collections::BTreeSet<u64>>,
}

impl Memory {
    pub(crate) fn new(length: u64, available: u64) -> Result<Self> {
        let mut options = MmapOptions::new();
        if length <= SMALL {
            options.populate();
        }
        Self::map(&mut options, length, available)
    }

    /// Address space of `length` bytes, of which the first `available` are meant to be used: for a copy of the front of a region,
    /// in which numbers are compared with what the whole region could hold. However long, it costs no memory.
    pub(crate) fn sparse(length: u64, available: u64) -> Result<Self> {
        Self::map(MmapOptions::new().no_reserve_swap(), length, available)
    }

    fn map(options: &mut MmapOptions, length: u64, available: u64) -> Result<Self> {
        let map = usize::try_from(length)
            .map_err(std::io::Error::other)
            .and_then(|length| options.len(length).map_anon())
            .map_err(|e| Error::io("map memory for region", "memory", e))?;
        Ok(Self {
            map: map.into(),
            available,
            #[cfg(test)]
            punched: std::sync::Mutex::default(),
        })
    }
}

impl Backing for Memory {
    fn base(&self) -> NonNull<u8> {
        NonNull::new(self.map.as_mut_ptr()).unwrap_or(NonNull::dangling())
    }

    fn length(&self) -> u64 {
        self.map.len() as u64
    }

    fn take(&self, offset: u64, length: u64, _taking: Taking) -> Result<()> {
        if offset + length > self.available {
            return Err(Error::OutOfSpace {
                name: "memory".into(),
                mount: "process memory".into(),
                wanted: length,
                free: self.available.saturating_sub(offset),
                size: self.available,
            });
        }
        #[cfg(test)]
        for chunk in offset / CHUNK..(offset + length).div_ceil(CHUNK) {
            self.punched.lock().expect("punched").remove(&chunk);
        }
        Ok(())
    }

    /// Memory of a process is not given back; a test keeps count, and `Region::trim` overwrites it.
    fn punch(&self, _offset: u64, _length: u64) -> Result<()> {
        #[cfg(test)]
        for chunk in _offset / CHUNK..(_offset + _length).div_ceil(CHUNK) {
            self.punched.lock().expect("punched").insert(chunk);
        }
        Ok(())
    }

    #[cfg(test)]
    fn is_backed(&self, offset: u64, length: u64) -> bool {
        let punched = self.punched.lock().expect("punched");
        let mut chunks = punched.range(offset / CHUNK..(offset + length).div_ceil(CHUNK));
        chunks.next().is_none()
    }

    fn populate(&self, _offset: u64, _length: u64) -> Result<()> {
        Ok(())
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
