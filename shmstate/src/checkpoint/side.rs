//! The side buffer: pages that the writer saved, on their way to the copier. One thread writes, one reads.
//!
//! - **Q1** A chain of segments of 64 pages. The writer fills slots in order and publishes how many; the copier
//!   follows. Neither waits for the other: a writer that finds no spare segment makes one.
//! - **Q2** A segment that both have left is used again, so that a burst of writes does not pay for fresh memory each
//!   time. Spares are kept under a lock that the writer only *tries*.
//!
//! Words are relaxed atomics, so that sharing them needs no unsafe code. It does not know why a page was saved.

use crate::checkpoint::pages::PAGE;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Pages of a segment.
pub(crate) const SLOTS: usize = 64;
/// Spare segments kept, at most: 8 MiB.
const MAX_SPARES: usize = 32;
const WORDS: usize = PAGE as usize / 8;

#[derive(Debug)]
struct Slot {
    page: AtomicU64,
    words: [AtomicU64; WORDS],
}

#[derive(Debug)]
struct Segment {
    slots: Box<[Slot]>,
    filled: AtomicUsize,
    next: OnceLock<Arc<Self>>,
}

impl Segment {
    /// A segment whose memory has been touched.
    fn new() -> Self {
        let slot = |_| Slot {
            page: AtomicU64::new(0),
            words: [const { AtomicU64::new(0) }; WORDS],
        };
        Self {
            slots: (0..SLOTS).map(slot).collect(),
            filled: AtomicUsize::new(0),
            next: OnceLock::new(),
        }
    }
}

impl Drop for Segment {
    /// One after the other: a long chain must not be dropped by recursion.
    fn drop(&mut self) {
        let mut next = self.next.take();
        while let Some(mut segment) = next.and_then(Arc::into_inner) {
            next = segment.next.take();
        }
    }
}

/// Segments to be used (again).
#[derive(Debug)]
pub(crate) struct Spares {
    segments: Mutex<Vec<Segment>>,
    wanted: usize,
}

impl Spares {
    /// Room for at least `pages` pages, touched.
    pub(crate) fn new(pages: usize) -> Self {
        let wanted = pages.div_ceil(SLOTS).clamp(1, MAX_SPARES);
        Self {
            segments: Mutex::new((0..wanted).map(|_| Segment::new()).collect()),
            wanted,
        }
    }

    /// The writer's: never waits.
    fn try_get(&self) -> Segment {
        let spare = self.segments.try_lock().ok().and_then(|mut segments| segments.pop());
        spare.unwrap_or_else(Segment::new)
    }

    fn put(&self, mut segment: Segment) {
        *segment.filled.get_mut() = 0;
        let mut segments = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        if segments.len() < MAX_SPARES {
            segments.push(segment);
        }
    }

    /// The copier's: makes spares ahead of the writer.
    pub(crate) fn refill(&self) {
        loop {
            let there = self.segments.lock().unwrap_or_else(PoisonError::into_inner).len();
            if there >= self.wanted {
                return;
            }
            // Made outside the lock, so that the writer's try finds it free.
            self.put(Segment::new());
        }
    }
}

/// Makes the two ends of a side buffer.
pub(crate) fn buffer(spares: Arc<Spares>) -> (Saver, Saved) {
    let first = Arc::new(spares.try_get());
    let saved = Saved {
        segment: Arc::clone(&first),
        next: 0,
        spares: Arc::clone(&spares),
    };
    let saver = Saver {
        segment: first,
        next: 0,
        spares,
    };
    (saver, saved)
}

/// The writer's end.
#[derive(Debug)]
pub(crate) struct Saver {
    segment: Arc<Segment>,
    next: usize,
    spares: Arc<Spares>,
}

impl Saver {
    /// Copies a page into the next slot. Nobody sees it before [`publish`](Self::publish); the next copy takes its
    /// place.
    pub(crate) fn copy(&mut self, page: u64, bytes: &[u8]) {
        if self.next == SLOTS {
            let fresh = Arc::new(self.spares.try_get());
            // Set once: this is the only thread that does, and it leaves the segment now.
            let next = Arc::clone(self.segment.next.get_or_init(|| fresh));
            self.segment = next;
            self.next = 0;
        }
        let slot = &self.segment.slots[self.next];
        slot.page.store(page, Ordering::Relaxed);
        for (word, bytes) in slot.words.iter().zip(bytes.as_chunks::<8>().0) {
            word.store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
        }
    }

    /// Hands the page that was copied last to the copier.
    pub(crate) fn publish(&mut self) {
        self.next += 1;
        // SLOT pair: Release publishes the slot's words to the Acquire of `Saved::next`.
        self.segment.filled.store(self.next, Ordering::Release);
    }
}

/// The copier's end.
#[derive(Debug)]
pub(crate) struct Saved {
    segment: Arc<Segment>,
    next: usize,
    spares: Arc<Spares>,
}

impl Saved {
    /// The next page that the writer has published: copies it to `bytes` and gives its number.
    pub(crate) fn next(&mut self, bytes: &mut [u8]) -> Option<u64> {
        if self.next == SLOTS {
            let next = Arc::clone(self.segment.next.get()?);
            let left = std::mem::replace(&mut self.segment, next);
            self.next = 0;
            // The writer left it before it linked the next one; its own count of it may be gone a moment later.
            if let Some(mut left) = Arc::into_inner(left) {
                left.next.take();
                self.spares.put(left);
            }
        }
        // SLOT pair: Acquire, see `Saver::publish`.
        if self.next >= self.segment.filled.load(Ordering::Acquire) {
            return None;
        }
        let slot = &self.segment.slots[self.next];
        for (bytes, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(&slot.words) {
            *bytes = word.load(Ordering::Relaxed).to_le_bytes();
        }
        self.next += 1;
        Some(slot.page.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_arrives_once_in_order_and_unpublished_copies_do_not() {
        let pages = 5000u64;
        let spares = Arc::new(Spares::new(100));
        let (mut saver, mut saved) = buffer(Arc::clone(&spares));
        std::thread::scope(|s| {
            s.spawn(move || {
                for page in 0..pages {
                    saver.copy(u64::MAX, &[0xff; PAGE as usize]);
                    saver.copy(page, &[page as u8; PAGE as usize]);
                    saver.publish();
                }
            });
            let mut bytes = vec![0; PAGE as usize];
            let mut expected = 0;
            while expected < pages {
                spares.refill();
                let Some(page) = saved.next(&mut bytes) else {
                    std::thread::yield_now();
                    continue;
                };
                assert_eq!(page, expected);
                assert!(bytes.iter().all(|b| *b == page as u8), "page {page} is torn");
                expected += 1;
            }
            assert_eq!(saved.next(&mut bytes), None);
        });
        assert!(spares.segments.lock().expect("spares").len() <= MAX_SPARES);
    }
}
