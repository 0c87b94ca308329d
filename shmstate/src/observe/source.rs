//! Where an observer's code takes words from: the memory as it is, or as it was committed. Whatever finds its way through a
//! table reads words through a [`Source`], so it is written once for both, and for tables that come later.

use super::memory::Memory;
use super::sabotage;
use crate::error::{Error, Result};

/// What is read did not hold still; whoever began the reading tries again.
#[cold]
pub(crate) fn torn(what: &'static str) -> Error {
    Error::Retry { what, tries: 1 }
}

/// Words of a region.
pub(crate) trait Source {
    /// Copies the words at `offset`.
    fn copy(&mut self, offset: u64, out: &mut [u64], what: &'static str) -> Result<()>;

    /// The memory behind it.
    fn memory(&self) -> &Memory;

    /// Whether a record that was just copied is whole: `same` says that its header was even and equal before and after,
    /// `quiet` that nothing was committed meanwhile.
    fn whole(&self, same: bool, quiet: bool) -> bool;

    /// The word at `offset`.
    #[inline]
    fn word(&mut self, offset: u64, what: &'static str) -> Result<u64> {
        self.words::<1>(offset, what).map(|[word]| word)
    }

    /// `N` words side by side.
    #[inline]
    fn words<const N: usize>(&mut self, offset: u64, what: &'static str) -> Result<[u64; N]> {
        let mut words = [0; N];
        self.copy(offset, &mut words, what)?;
        Ok(words)
    }
}

/// The memory as it is, perhaps in the middle of a change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Live<'m>(pub(crate) &'m Memory);

impl Source for Live<'_> {
    #[inline]
    fn copy(&mut self, offset: u64, out: &mut [u64], what: &'static str) -> Result<()> {
        self.0.copy(offset, out, what)
    }

    fn memory(&self) -> &Memory {
        self.0
    }

    #[inline]
    fn whole(&self, same: bool, _quiet: bool) -> bool {
        same || sabotage::sequence()
    }
}
