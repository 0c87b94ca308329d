//! The slots of a table of streams over words that were copied: the same places as in `table::streams`, nothing trusted.
//!
//! The two hints of a slot change outside of transactions, while the socket moves bytes; so what is said of them is of some moment,
//! while the rest of the slot has a check over all of it.

use super::source::Source;
use crate::error::{Error, Result};
use crate::table::streams::{DIRECTORY, MAX_STREAMS, PAGE_SLOTS, SLOT, SLOT_WORDS, SLOTS, StreamInfo, shown};

const WHAT: &str = "streams";

/// How many slots there are.
fn slots<S: Source>(source: &mut S, row: u64) -> Result<u64> {
    let slots = source.word(row + SLOTS, WHAT)?;
    if slots > MAX_STREAMS || !slots.is_multiple_of(PAGE_SLOTS) || slots > source.memory().most() / SLOT {
        return Err(Error::damaged(WHAT, row + SLOTS, slots));
    }
    Ok(slots)
}

/// The open streams of a page of slots; `None` if there are not so many pages.
pub(crate) fn of_page<S: Source>(source: &mut S, row: u64, page: u64) -> Result<Option<Vec<StreamInfo>>> {
    if page >= slots(source, row)? / PAGE_SLOTS {
        return Ok(None);
    }
    let directory = source.word(row + DIRECTORY, WHAT)?;
    let start = source.word(directory.wrapping_add(page * 8), WHAT)?;
    let mut streams = Vec::new();
    for slot in 0..PAGE_SLOTS {
        let at = start.wrapping_add(slot * SLOT);
        let words: [u64; SLOT_WORDS] = source.words(at, WHAT)?;
        streams.extend(shown(&words, page * PAGE_SLOTS + slot, at)?);
    }
    Ok(Some(streams))
}
