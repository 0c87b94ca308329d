//! The walk of `table::queue::ring` over words that were copied.

use super::source::Source;
use crate::error::{Error, Result};
use crate::table::queue::ring::{DIRECTORY, PER_PAGE, Ring, Roots};
use crate::table::reference;

const WHAT: &str = "queue";

/// The roots of the queue whose row is given. Their check says that they belong together.
pub(crate) fn roots<S: Source>(source: &mut S, row: u64) -> Result<Roots> {
    let words = source.words(row + DIRECTORY, WHAT)?;
    Ring::of(row).found(words, source.memory().most())
}

/// Offset of the header of the item with that serial, which is in the queue.
pub(crate) fn item<S: Source>(source: &mut S, row: u64, roots: &Roots, serial: u64) -> Result<u64> {
    let number = serial / PER_PAGE;
    let at = roots.word_at(number);
    let word = source.word(at, WHAT)?;
    let page = reference::open(word, row + DIRECTORY, number, WHAT, at)?;
    let page = page.ok_or_else(|| Error::damaged(WHAT, at, word))?;
    let at = page.wrapping_add(serial % PER_PAGE * 8);
    let word = source.word(at, WHAT)?;
    reference::open(word, row, serial, WHAT, at)?.ok_or_else(|| Error::damaged(WHAT, at, word))
}

/// The same, if it is in the queue.
pub(crate) fn find<S: Source>(source: &mut S, row: u64, serial: u64) -> Result<Option<u64>> {
    let roots = roots(source, row)?;
    if !(roots.head..roots.tail).contains(&serial) {
        return Ok(None);
    }
    item(source, row, &roots, serial).map(Some)
}
