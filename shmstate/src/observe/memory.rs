#![expect(
    unsafe_code,
    reason = "the one place of an observer that turns offsets into pointers (R3)"
)]
//! The read-only mapping of a region that another process writes: checked offsets in, copies of words out.
//!
//! - **M1** Nothing here makes a reference into the region but to one atomic word, for the length of one relaxed load. Relaxed
//!   loads of 8 bytes are the only accesses that the language allows in memory that is mapped read-only.
//! - **M2** An offset is checked before each access: inside what the region has taken from its mount, and aligned to 8.
//! - **M3** The order of loads is the order of the calls where a [`acquire`] stands between them. The writer keeps its stores in
//!   order by compiler fences alone, which is enough where the processor keeps stores in order: so only there can a region be
//!   observed ([`ORDERED`]).

use crate::error::{Error, Result};
use crate::region::backing::Backing;
use crate::region::header::{Layout, at};
use crate::region::mapping::{Access, Mapping};
use crate::region::seal;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Whether the processor keeps a writer's stores in order (M3).
pub(crate) const ORDERED: bool = cfg!(target_arch = "x86_64");

/// What was loaded before this is older than what is loaded after it.
#[inline]
pub(crate) fn acquire() {
    fence(Ordering::Acquire);
}

/// A read-only mapping.
#[derive(Debug)]
pub(crate) struct Memory {
    mapping: Mapping,
    /// Accesses below this are inside taken memory; a cache of the header's word.
    limit: AtomicU64,
}

impl Memory {
    /// Maps a region of that layout, whose fixed parts can be touched.
    pub(crate) fn new(fd: OwnedFd, name: &str, layout: &Layout) -> Result<Self> {
        Ok(Self {
            mapping: Mapping::new(fd, name, layout.reserve, Access::Read, layout.is_large())?,
            limit: AtomicU64::new(layout.heap),
        })
    }

    /// The descriptor that is mapped.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.mapping.descriptor()
    }

    /// What is mapped, for its figures alone.
    pub(crate) fn backing(&self) -> &dyn Backing {
        &self.mapping
    }

    /// Bytes that the region can ever have.
    pub(crate) fn most(&self) -> u64 {
        self.mapping.length()
    }

    #[inline]
    fn raw(&self, offset: u64) -> u64 {
        #[cfg(test)]
        super::tests::interleave::before_load();
        debug_assert!(offset + 8 <= self.mapping.length() && offset.is_multiple_of(8));
        // SAFETY: callers checked that the word is inside the mapping and aligned (M2), which lives as long as `self`; the
        // reference is to an atomic and gone after the load (M1).
        unsafe { self.mapping.base().add(offset as usize).cast::<AtomicU64>().as_ref() }.load(Ordering::Relaxed)
    }

    #[inline]
    fn check(&self, offset: u64, words: usize, what: &'static str) -> Result<()> {
        let end = offset.saturating_add((words as u64).saturating_mul(8));
        if end <= self.limit.load(Ordering::Relaxed) && offset.is_multiple_of(8) {
            return Ok(());
        }
        self.check_again(offset, end, what)
    }

    /// More memory may have been taken since. The mapping reaches further than the object: the capacity is what can be touched.
    #[cold]
    fn check_again(&self, offset: u64, end: u64, what: &'static str) -> Result<()> {
        let capacity = self.size(at::LIMIT).min(self.mapping.length());
        let taken = self.size(at::TAKEN).min(capacity);
        self.limit.fetch_max(taken, Ordering::Relaxed);
        if end <= taken && offset.is_multiple_of(8) {
            return Ok(());
        }
        Err(Error::damaged(what, offset, end.wrapping_sub(offset)))
    }

    /// A word of the header.
    #[inline]
    pub(crate) fn header(&self, offset: u64) -> u64 {
        assert!(
            offset < at::RESERVED && offset.is_multiple_of(8),
            "no word of the header"
        );
        self.raw(offset)
    }

    /// One of the words that say how large the region is; 0 if it was altered, so that nothing is within it.
    pub(crate) fn size(&self, offset: u64) -> u64 {
        seal::unseal(self.header(offset)).unwrap_or(0)
    }

    /// The word at `offset`.
    #[inline]
    pub(crate) fn load(&self, offset: u64, what: &'static str) -> Result<u64> {
        self.check(offset, 1, what)?;
        Ok(self.raw(offset))
    }

    /// Asks the processor to fetch the line at `offset`, wherever that is: no access (M1), and of an address that is not mapped nothing.
    #[inline]
    pub(crate) fn prefetch(&self, offset: u64) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch has no effect but on caches, also of an address that is not mapped.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(self.mapping.base().as_ptr().wrapping_add(offset as usize).cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = offset;
    }

    /// Copies words, each of them whole.
    #[inline]
    pub(crate) fn copy(&self, offset: u64, out: &mut [u64], what: &'static str) -> Result<()> {
        self.check(offset, out.len(), what)?;
        for (i, word) in out.iter_mut().enumerate() {
            *word = self.raw(offset + i as u64 * 8);
        }
        Ok(())
    }
}
