#![expect(unsafe_code, reason = "an allocator over mmap")]
//! Memory on 2 MiB pages for the peers: a `HashMap` that is charged for TLB misses would be an easy opponent.
//!
//! - **P1** What is 2 MiB or larger gets a mapping of its own, aligned to 2 MiB, with inaccessible memory on both sides: the kernel
//!   neither merges it with a neighbour nor starts a huge page late, and `smaps` shows it by itself.
//! - **P2** What is smaller comes from the usual heap. [`small_objects_too`] asks the C library for huge pages there.
//!
//! Whether the kernel gave any is not known here: see `smaps`.

use crate::Result;
use crate::smaps::Which;
use allocator_api2::alloc::{AllocError, Allocator, Global};
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap_anonymous, mprotect, munmap};
use std::alloc::Layout;
use std::ffi::c_void;
use std::ops::Range;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr::{NonNull, null_mut};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of a huge page.
pub const HUGE: usize = 2 << 20;
/// Bytes of an ordinary page: what stays inaccessible behind a mapping at least.
const PAGE: usize = 4096;
/// Where glibc reads its settings from, and the one that makes it advise huge pages for its heap.
const TUNABLES: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1");

/// What one allocation reserved: all of it, and the part that is used.
#[derive(Debug)]
struct Reserved {
    base: usize,
    length: usize,
    body: Range<usize>,
}

/// An allocator that serves large pieces from 2 MiB pages. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct HugePages(Arc<Mutex<Vec<Reserved>>>);

impl HugePages {
    /// The mappings that are in use now.
    #[must_use]
    pub fn mappings(&self) -> Which {
        let reserved = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Which::At(reserved.iter().map(|r| r.body.clone()).collect())
    }

    fn map(&self, size: usize) -> rustix::io::Result<NonNull<[u8]>> {
        let size = size.checked_next_multiple_of(HUGE).ok_or(rustix::io::Errno::NOMEM)?;
        let length = size.checked_add(HUGE + PAGE).ok_or(rustix::io::Errno::NOMEM)?;
        // SAFETY: a new mapping where the kernel has room, which nothing refers to.
        let base = unsafe { mmap_anonymous(null_mut(), length, ProtFlags::empty(), MapFlags::PRIVATE) }?;
        let skipped = (base as usize).next_multiple_of(HUGE) - base as usize;
        let body = base.cast::<u8>().wrapping_add(skipped);
        // SAFETY: `skipped < HUGE`, so the body lies inside the mapping just made (P1), to which nobody else refers.
        let opened = unsafe { mprotect(body.cast(), size, MprotectFlags::READ | MprotectFlags::WRITE) };
        let Some(body) = opened.ok().and_then(|()| NonNull::new(body)) else {
            // SAFETY: the whole of the mapping just made.
            unsafe { munmap(base, length) }?;
            return Err(rustix::io::Errno::NOMEM);
        };
        // Without huge pages in the kernel this fails, the memory is good all the same, and smaps tells.
        // SAFETY: the body of the mapping just made; the advice changes no contents.
        let _ = unsafe { madvise(body.as_ptr().cast(), size, Advice::LinuxHugepage) };
        let start = body.as_ptr() as usize;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Reserved {
            base: base as usize,
            length,
            body: start..start + size,
        });
        Ok(NonNull::slice_from_raw_parts(body, size))
    }

    fn unmap(&self, pointer: NonNull<u8>) {
        let start = pointer.as_ptr() as usize;
        let mut reserved = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = reserved.iter().position(|r| r.body.start == start);
        debug_assert!(found.is_some());
        if let Some(Reserved { base, length, body }) = found.map(|at| reserved.swap_remove(at)) {
            let base = pointer.as_ptr().wrapping_sub(body.start - base).cast::<c_void>();
            // SAFETY: the whole of a mapping that `map` made; its owner gave it back.
            let _ = unsafe { munmap(base, length) };
        }
    }
}

// SAFETY: a block stays where it is until it is given back: it is a mapping of its own (P1) or the global allocator's (P2), told
// apart by the size in the layout, which is the same at both ends. Clones share the list of mappings.
unsafe impl Allocator for HugePages {
    fn allocate(&self, layout: Layout) -> std::result::Result<NonNull<[u8]>, AllocError> {
        if layout.size() < HUGE {
            return Global.allocate(layout);
        }
        debug_assert!(layout.align() <= HUGE);
        self.map(layout.size()).map_err(|_| AllocError)
    }

    unsafe fn deallocate(&self, pointer: NonNull<u8>, layout: Layout) {
        if layout.size() < HUGE {
            // SAFETY: as the caller promises; `allocate` sent this size there.
            unsafe { Global.deallocate(pointer, layout) };
        } else {
            self.unmap(pointer);
        }
    }
}

/// Starts this program again with the C library's heap on huge pages, unless its environment already says something about it.
/// Returns in the program that has them, or may not have them.
///
/// # Errors
/// If this program cannot be started again.
pub fn small_objects_too() -> Result<()> {
    let (name, value) = TUNABLES;
    if std::env::var_os(name).is_some() {
        return Ok(());
    }
    let mut again = Command::new(std::env::current_exe()?);
    Err(again.args(std::env::args_os().skip(1)).env(name, value).exec().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smaps;
    use allocator_api2::vec::Vec;

    #[test]
    fn large_pieces_are_aligned_counted_and_given_back() {
        let memory = HugePages::default();
        let mut numbers: Vec<u64, _> = Vec::with_capacity_in(HUGE, memory.clone());
        numbers.resize(HUGE, 7);
        assert_eq!(numbers.as_ptr() as usize % HUGE, 0);
        let pages = smaps::pages("numbers", &memory.mappings()).expect("smaps");
        assert_eq!(pages.bytes, 8 * HUGE as u64, "all of it and nothing else");
        assert!(pages.huge_bytes <= pages.bytes);
        drop(numbers);
        assert!(matches!(memory.mappings(), Which::At(list) if list.is_empty()));
    }

    #[test]
    fn small_pieces_are_the_heaps() {
        let memory = HugePages::default();
        let numbers: Vec<u64, _> = Vec::with_capacity_in(100, memory.clone());
        assert!(matches!(memory.mappings(), Which::At(list) if list.is_empty()));
        drop(numbers);
    }
}
