//! A memory barrier on every running thread of this process, made by one thread: `membarrier(2)`.
//!
//! The other threads pay nothing: an order that they keep against the compiler only ([`light`]) is an order against the
//! processor for whoever calls [`heavy`].

use rustix::io::Errno;
use rustix::thread::{MembarrierCommand, membarrier};
use std::sync::OnceLock;
use std::sync::atomic::{Ordering, compiler_fence};

/// Whether this process may call [`heavy`]. The first call registers the process with the kernel and tries: that takes
/// some 25 µs with one thread, and 15–20 ms with several (the kernel waits until all its processors have seen it).
pub(crate) fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok() && heavy().is_ok())
}

/// Keeps the compiler from moving a load over it to before a store.
#[inline(always)]
pub(crate) fn light() {
    compiler_fence(Ordering::SeqCst);
}

/// Every thread of this process passes a full barrier before this returns: what it had stored is visible then, and what
/// it loads afterwards is what was stored before the call.
///
/// # Errors
/// The kernel refuses; then nothing is known.
pub(crate) fn heavy() -> Result<(), Errno> {
    membarrier(MembarrierCommand::PrivateExpedited)
}
