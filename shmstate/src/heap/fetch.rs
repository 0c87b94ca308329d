//! What using and freeing a block will touch, asked for beforehand: the misses of the cache then overlap with each other and with whatever the
//! caller does meanwhile.
//!
//! Nothing here changes anything, and what the caller guesses may be wrong: then something else was fetched. What is damaged is not fetched;
//! who uses it says so. It does not know records.

use super::chunk::{BITMAP, Kind, Table};
use super::classes;
use crate::region::view::View;

/// Lines of a block that are fetched: more would wait for one another, and the processor sees by itself that a longer block is written in sequence.
const LINES: u64 = 6;
/// Bytes of a line.
const LINE: u64 = 64;

/// Fetches the entry of the chunk that a block lies in, as far as one of a usual size needs it, and says how long its slots are; 0 if it has
/// none.
pub(crate) fn slots_at(view: &View, offset: u64) -> u64 {
    let Ok(chunk) = Table::in_view(view).chunk_at(view, offset) else {
        return 0;
    };
    view.prefetch(chunk.entry() + BITMAP + LINE - 8);
    match chunk.kind(view) {
        Ok(Kind::Slots { class, .. }) => classes::size(class),
        _ => 0,
    }
}

/// Fetches a block, or as much of it as is worth while.
pub(crate) fn block(view: &View, start: u64, size: u64) {
    let end = start.wrapping_add(size.min(LINES * LINE));
    let mut line = start & !(LINE - 1);
    while line < end {
        view.prefetch(line);
        line += LINE;
    }
}
