#![expect(unsafe_code, reason = "maps an object at an address of its own choice")]
//! A mapping of a shared object: 2 MiB aligned, as long as the reserved address space, with large pages where they are to be had.
//!
//! - **M1** The whole reserve is mapped at once, so that the base never moves. What lies beyond the object's length may be
//!   mapped but not touched: whoever touches checks against the capacity first (V1).
//! - **M2** The address is a multiple of 2 MiB (of the page, where that is larger), as is the offset of every extent, so that a
//!   large page that one process made is used by every later mapping for nothing.
//! - **M3** Address space is reserved without access, then the object is put over the aligned part of it: nothing of this
//!   process can come between, and nothing else is ever replaced.
//! - **R8** A child must not inherit a writer's view, a core dump not carry the world.
//!
//! Neither memmap2 nor nix can map at a chosen address, so the calls are rustix's. It does not know what is in the object.

use crate::error::{Error, Result};
use crate::os::{mount, shm};
use crate::region::backing::{Backing, PAGE, Taking};
use crate::region::header::{CHUNK, HUGE};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU64, Ordering};

/// Makes one large page of what lies in small ones, now (Linux 6.1). rustix and libc do not name it yet.
const MADV_COLLAPSE: libc::c_int = 25;
/// How often a collapse is tried that other work on the same pages got in the way of.
const COLLAPSE_TRIES: usize = 2;

/// What a process may do with a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Tools: the kernel sees to it that they change nothing.
    Read,
    /// Owners, of today or tomorrow.
    Write,
}

/// Address space of this process, given back when dropped.
#[derive(Debug)]
struct Span {
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: addresses are the same for every thread; who accesses what is behind them is ruled by V4.
unsafe impl Send for Span {}
// SAFETY: as above.
unsafe impl Sync for Span {}

impl Span {
    /// Reserves `length` bytes at a multiple of `align`, without access.
    fn reserve(length: usize, align: usize) -> rustix::io::Result<Self> {
        let whole = length.checked_add(align).ok_or(Errno::NOMEM)?;
        // SAFETY: a new mapping at an address of the kernel's choice replaces nothing (M3).
        let start = unsafe {
            mmap_anonymous(
                null_mut(),
                whole,
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }?;
        let head = start.addr().next_multiple_of(align) - start.addr();
        let tail = whole - head - length;
        // SAFETY: `head + length <= whole`: all of it is the mapping just made, which nobody knows of yet (M3). The pieces cut
        // off are page-aligned, because `start`, `length` and `align` are.
        let base = unsafe {
            let base = start.byte_add(head);
            if head > 0 {
                munmap(start, head)?;
            }
            if tail > 0 {
                munmap(base.byte_add(length), tail)?;
            }
            base.cast::<u8>()
        };
        NonNull::new(base).map(|base| Self { base, length }).ok_or(Errno::NOMEM)
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        // SAFETY: the span is this value's own, and whoever had a pointer into it is gone (V3). An error means that
        // nothing was mapped.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.length) };
    }
}

/// A mapping of a shared object.
#[derive(Debug)]
pub(crate) struct Mapping {
    span: Span,
    fd: OwnedFd,
    name: Box<str>,
    unit: u64,
    large: bool,
    collapsed: AtomicU64,
    not_collapsed: AtomicU64,
}

impl Mapping {
    /// Maps `reserve` bytes of the object, which may be shorter (M1). `large` says whether large pages are wanted.
    pub(crate) fn new(fd: OwnedFd, name: &str, reserve: u64, access: Access, large: bool) -> Result<Self> {
        let fail = |e: Errno| Error::io("map region", name, e);
        let unit = mount::page(fd.as_fd());
        let length = usize::try_from(reserve).map_err(|_| fail(Errno::NOMEM))?;
        let align = unit.max(if large { HUGE } else { PAGE }) as usize;
        let span = Span::reserve(length.next_multiple_of(unit as usize), align).map_err(fail)?;
        let protection = match access {
            Access::Read => ProtFlags::READ,
            Access::Write => ProtFlags::READ | ProtFlags::WRITE,
        };
        // On hugetlbfs the kernel would set aside pages for all of the address space at once, but for NORESERVE.
        let flags = MapFlags::SHARED | MapFlags::FIXED | MapFlags::NORESERVE;
        // SAFETY: exactly the span just reserved is replaced, which nobody else knows of (M3).
        unsafe { mmap(span.base.as_ptr().cast(), span.length, protection, flags, &fd, 0) }.map_err(fail)?;
        let mapping = Self {
            span,
            fd,
            name: name.into(),
            unit,
            large: large && unit < HUGE,
            collapsed: AtomicU64::new(0),
            not_collapsed: AtomicU64::new(0),
        };
        for advice in [Advice::LinuxDontFork, Advice::LinuxDontDump] {
            mapping
                .advise(0, mapping.length(), advice)
                .map_err(|e| Error::io("advise region", name, e))?;
        }
        if mapping.large {
            // Helps where the system or the mount leaves it to advice. Where it does not, there is collapsing.
            let _ = mapping.advise(0, mapping.length(), Advice::LinuxHugepage);
        }
        Ok(mapping)
    }

    fn advise(&self, offset: u64, length: u64, advice: Advice) -> rustix::io::Result<()> {
        let (start, length) = self.inside(offset, length)?;
        // SAFETY: inside the mapping, just checked. The advices used here keep contents as they are.
        unsafe { madvise(start.as_ptr().cast(), length, advice) }
    }

    /// The pages of a range, cut to the mapping.
    fn inside(&self, offset: u64, length: u64) -> rustix::io::Result<(NonNull<u8>, usize)> {
        let start = offset / self.unit * self.unit;
        let end = offset
            .saturating_add(length)
            .min(self.length())
            .next_multiple_of(self.unit);
        if start >= end {
            return Err(Errno::INVAL);
        }
        // SAFETY: inside the mapping, just checked.
        Ok((unsafe { self.span.base.add(start as usize) }, (end - start) as usize))
    }

    /// Takes memory in small steps, so that a writer that wants some meanwhile waits for one of them at most.
    pub(crate) fn take_gently(&self, offset: u64, length: u64) -> Result<()> {
        let end = offset + length;
        let step = CHUNK.max(self.unit);
        let mut at = offset;
        while at < end {
            let next = (at + 1).next_multiple_of(step).min(end);
            self.take_pages(at, next - at)?;
            at = next;
        }
        Ok(())
    }

    fn take_pages(&self, offset: u64, length: u64) -> Result<()> {
        let start = offset / self.unit * self.unit;
        let end = (offset + length).next_multiple_of(self.unit);
        shm::take(&self.fd, &self.name, start, end - start)
    }

    /// Makes large pages of the extents of 2 MiB that lie whole in the range, which is taken and not in use yet. What cannot be
    /// one is counted and stays as it is.
    pub(crate) fn collapse(&self, offset: u64, length: u64) {
        let first = offset.next_multiple_of(HUGE);
        let extents = (offset + length).saturating_sub(first) / HUGE;
        if !self.large || extents == 0 {
            return;
        }
        // One call for all, because the kernel first waits for every processor once a call; only if that was not wholly
        // possible, one for each, to know how many are.
        let made = if self.collapse_now(first, extents * HUGE) {
            extents
        } else {
            let each = (0..extents).filter(|i| (0..COLLAPSE_TRIES).any(|_| self.collapse_now(first + i * HUGE, HUGE)));
            each.count() as u64
        };
        self.collapsed.fetch_add(made, Ordering::Relaxed);
        self.not_collapsed.fetch_add(extents - made, Ordering::Relaxed);
    }

    fn collapse_now(&self, at: u64, length: u64) -> bool {
        let Ok((start, length)) = self.inside(at, length) else {
            return false;
        };
        // SAFETY: inside the mapping, just checked. The call moves the pages' contents and changes none of them.
        let result = unsafe { libc::madvise(start.as_ptr().cast(), length, MADV_COLLAPSE) };
        result == 0
    }

    /// An extent that could have been a large page was in use before it could be made one.
    pub(crate) fn came_too_late(&self) {
        if self.large {
            self.not_collapsed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Backing for Mapping {
    fn base(&self) -> NonNull<u8> {
        self.span.base
    }

    fn length(&self) -> u64 {
        self.span.length as u64
    }

    fn take(&self, offset: u64, length: u64, taking: Taking) -> Result<()> {
        self.take_pages(offset, length)?;
        if taking == Taking::Ahead {
            self.collapse(offset, length);
        }
        self.populate(offset, length)
    }

    fn populate(&self, offset: u64, length: u64) -> Result<()> {
        match self.advise(offset, length, Advice::LinuxPopulateWrite) {
            Ok(()) => Ok(()),
            // Before Linux 5.14 there is no such advice: the pages are there, the first touch enters them.
            Err(Errno::INVAL) => Ok(()),
            Err(e) => Err(Error::io("populate region", &self.name, e)),
        }
    }

    fn punch(&self, offset: u64, length: u64) -> Result<()> {
        // Whole pages only: a part of one is zeroed by the kernel, not given back.
        debug_assert!(offset.is_multiple_of(self.unit));
        let length = length.min(shm::length(&self.fd, &self.name)?.saturating_sub(offset));
        if length == 0 {
            return Ok(());
        }
        shm::punch(&self.fd, &self.name, offset, length)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }

    fn unit(&self) -> u64 {
        self.unit
    }

    fn lengthen(&self, length: u64) -> Result<()> {
        if shm::length(&self.fd, &self.name)? >= length {
            return Ok(());
        }
        shm::set_length(&self.fd, &self.name, length)
    }

    fn fresh_collapses(&self) -> (u64, u64) {
        (
            self.collapsed.swap(0, Ordering::Relaxed),
            self.not_collapsed.swap(0, Ordering::Relaxed),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(length: u64, access: Access) -> Mapping {
        let fd = shm::anonymous("mapping").expect("memfd");
        shm::set_length(&fd, "mapping", length).expect("length");
        Mapping::new(fd, "mapping", 4 * HUGE, access, true).expect("map")
    }

    #[test]
    fn lies_at_a_multiple_of_the_large_page_and_reaches_beyond_the_object() {
        for _ in 0..8 {
            let mapping = mapping(HUGE, Access::Write);
            assert!(mapping.base().addr().get().is_multiple_of(HUGE as usize));
            assert_eq!(mapping.length(), 4 * HUGE);
            mapping.take(0, HUGE, Taking::Ahead).expect("take");
            mapping.lengthen(2 * HUGE).expect("longer");
            mapping.take(HUGE, 100, Taking::Step).expect("take more");
            let (made, failed) = mapping.fresh_collapses();
            assert_eq!(made + failed, 1, "one extent was whole");
            assert_eq!(mapping.fresh_collapses(), (0, 0));
        }
    }

    #[test]
    fn address_space_is_given_back() {
        let mapped = || {
            let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
            maps.matches("memfd:given-back").count()
        };
        let fd = shm::anonymous("given-back").expect("memfd");
        let mapping = Mapping::new(fd, "given-back", 4 * HUGE, Access::Read, true).expect("map");
        assert_eq!(mapped(), 1);
        drop(mapping);
        assert_eq!(mapped(), 0);
    }

    #[test]
    fn ranges_outside_are_refused() {
        let mapping = mapping(HUGE, Access::Write);
        assert_eq!(mapping.inside(4 * HUGE, 1).err(), Some(Errno::INVAL));
        assert_eq!(mapping.inside(u64::MAX - 8, 8).err(), Some(Errno::INVAL));
        assert_eq!(mapping.inside(4 * HUGE - 1, 100).expect("the last page").1 as u64, PAGE);
    }
}
