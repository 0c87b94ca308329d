//! Which pages of an image are taken care of: one bit a page, shared by the writer and the copier.
//!
//! - **P1** A bit goes from 0 to 1 once and never back. Whoever turned it supplies the page: the copier with what it
//!   has just read, or the writer with the copy it has just made. Whoever finds it turned already throws its own copy
//!   away.
//! - **P2** Both turn it *after* they have read the page, the writer *before* it changes the page. Neither waits.
//!
//! A bit is enough (32 KiB for each GiB of heap), so the map for any region is made at the mark without a pause worth
//! naming. It does not know what is in a page, nor where the copies are.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a page: what is copied as one.
pub(crate) const PAGE: u64 = 4096;

/// The map.
#[derive(Debug)]
pub(crate) struct Pages {
    bits: Box<[AtomicU64]>,
    count: u64,
}

impl Pages {
    /// A map with room for `count` pages; the first `taken` of them count as taken care of.
    pub(crate) fn new(count: u64, taken: u64) -> Self {
        let mut pages = Self {
            bits: (0..count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            count,
        };
        for page in 0..taken.min(count) {
            *pages.bits[(page / 64) as usize].get_mut() |= 1 << (page % 64);
        }
        pages
    }

    /// Pages of the image; those behind it are nobody's business.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Makes a map that was prepared with room to spare fit the image. `false` if it is too small.
    pub(crate) fn fit(&mut self, count: u64) -> bool {
        let fits = count.div_ceil(64) <= self.bits.len() as u64;
        if fits {
            self.count = count;
        }
        fits
    }

    /// Whether somebody has turned the page's bit, or it is none of the image's.
    #[inline]
    pub(crate) fn is_taken(&self, page: u64) -> bool {
        // TAKEN pair: Acquire receives the Release of `take`: what the copier read of the page, it read before any
        // store that the writer makes after this.
        self.bits
            .get((page / 64) as usize)
            .is_none_or(|bits| page >= self.count || bits.load(Ordering::Acquire) & (1 << (page % 64)) != 0)
    }

    /// Turns the page's bit; `true` if it was this call that did (P1).
    #[inline]
    pub(crate) fn take(&self, page: u64) -> bool {
        let Some(bits) = self.bits.get((page / 64) as usize).filter(|_| page < self.count) else {
            return false;
        };
        let bit = 1 << (page % 64);
        // TAKEN pair: Release keeps the copier's reads of the page above it; Acquire keeps the writer's stores below
        // it.
        bits.fetch_or(bit, Ordering::AcqRel) & bit == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_page_has_one_taker() {
        let pages = Pages::new(1000, 21);
        let mine: Vec<Vec<u64>> = std::thread::scope(|s| {
            let takers = [(); 3].map(|()| s.spawn(|| (0..1100).filter(|page| pages.take(*page)).collect()));
            takers.map(|t| t.join().expect("taker")).into()
        });
        let mut all: Vec<u64> = mine.concat();
        all.sort_unstable();
        assert_eq!(all, (21..1000).collect::<Vec<_>>());
        assert!((0..1100).all(|page| pages.is_taken(page)));
    }

    #[test]
    fn a_map_with_room_to_spare_fits() {
        let mut pages = Pages::new(640, 0);
        assert!(pages.fit(600) && !pages.fit(641) && pages.is_taken(600) && !pages.is_taken(599));
    }
}
