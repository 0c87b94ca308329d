//! How much a thread allocates: the allocator of the tests, which counts.
//!
//! It does not know who allocates what for.

#![expect(
    unsafe_code,
    reason = "an allocator is unsafe to implement; this one hands everything on"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static BYTES: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(bytes: usize) {
    // A thread that ends has no counter any more, and nobody asks for it.
    let _ = BYTES.try_with(|all| all.set(all.get().saturating_add(bytes)));
}

// SAFETY: every call goes to the system's allocator with the caller's own arguments; the counter allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as above.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(old, layout) }
    }
}

/// Runs `f`; gives what it gives, and how many bytes this thread asked for meanwhile, given back or not.
pub(super) fn during<T>(f: impl FnOnce() -> T) -> (T, usize) {
    let before = BYTES.get();
    let given = f();
    (given, BYTES.get() - before)
}

#[test]
fn what_is_allocated_is_counted() {
    let (kept, bytes) = during(|| vec![0_u8; 5000]);
    assert!((5000..6000).contains(&bytes), "{bytes}");
    drop(kept);
    assert_eq!(during(|| 1 + 1).1, 0);
}
