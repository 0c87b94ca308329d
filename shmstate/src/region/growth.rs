//! How a region gets more memory: the watermark `TAKEN` moves up, never past the capacity.
//!
//! - **B1** Memory is taken from the mount, entries of the chunk table first, before `TAKEN` says so; only the writer
//!   moves that word. A kill before the store leaves memory that is taken again, which does nothing.
//! - **B2** Everything below `TAKEN` belongs to the heap or is an extent of the undo log. The heap grows up to `TAKEN` and jumps over
//!   the log's extents; an extent is made at `TAKEN`, so it always lies whole on one side of the heap's end, also after
//!   a rollback moved that back.
//! - **B3** The capacity word is raised after the object is long enough, and never falls.
//!
//! It does not know what the memory is for, nor where the mount is.

use crate::crash::{self, Point};
use crate::error::{Error, FOR_HEAP, Result};
use crate::region::backing::{Backing, Taking};
use crate::region::header::{CHUNK, HUGE, LOG_TABLE_ROW, LOG_TABLE_ROWS, Layout, at};
use crate::region::seal::{seal, unseal};
use crate::region::view::View;
use std::sync::atomic::{Ordering, compiler_fence};

/// The log's extents behind the first, which lies before the heap: offset and length, in the order they were made, which is
/// the order they lie in.
pub(crate) fn log_extents(view: &View) -> impl Iterator<Item = (u64, u64)> + '_ {
    // EXTENT pair: the rows that count are complete.
    let count = view.header_word(at::LOG_EXTENTS).load(Ordering::Acquire);
    (1..count.min(LOG_TABLE_ROWS)).map(|i| {
        let row = at::LOG_TABLE + i * LOG_TABLE_ROW;
        (view.header(row), view.header(row + 8))
    })
}

/// Where the heap, whose end is at `end`, finds room for `bytes` in one piece: behind the log's extents in its way (B2).
pub(crate) fn place(view: &View, end: u64, bytes: u64) -> u64 {
    log_extents(view).fold(end, |start, (offset, length)| {
        if offset >= start && offset - start < bytes {
            offset.saturating_add(length)
        } else {
            start
        }
    })
}

/// Bytes that the region may hold now.
pub(crate) fn capacity(view: &View, layout: &Layout) -> u64 {
    view.size(at::LIMIT).min(layout.reserve)
}

/// One of the words that say how large the region is.
///
/// # Errors
/// `Damaged` if it was altered.
pub(crate) fn size(view: &View, field: u64) -> Result<u64> {
    let word = view.header(field);
    unseal(word).ok_or_else(|| Error::damaged(what(field), field, word))
}

/// The name of such a word.
pub(crate) fn what(field: u64) -> &'static str {
    match field {
        at::LIMIT => "capacity",
        at::TAKEN => "end of the memory taken",
        _ => "end of the heap",
    }
}

/// Makes all memory below `target` usable (B1). `true` if this thread had to take some of it itself, `false` if it was there
/// or had been made ready ahead.
///
/// # Errors
/// `RegionFull`, `OutOfSpace`; nothing was changed then.
pub(crate) fn grow_to(
    view: &View,
    backing: &dyn Backing,
    layout: &Layout,
    target: u64,
    taking: Taking,
) -> Result<bool> {
    // Before anything is taken: all three are what they were.
    let [end, _, capacity] = [
        size(view, at::HEAP_END)?,
        size(view, at::TAKEN)?,
        size(view, at::LIMIT)?,
    ];
    let capacity = capacity.min(layout.reserve);
    let limit = capacity.min(layout.heap + layout.chunk_count * CHUNK);
    if target > limit {
        return Err(Error::RegionFull {
            what: FOR_HEAP,
            wanted: target.saturating_sub(end),
            used: end,
            capacity,
            reserve: layout.reserve,
        });
    }
    accept(view, backing, limit);
    let mut took = false;
    if target > view.size(at::TAKEN) {
        backing.overtake(target);
        accept(view, backing, limit);
        let taken = view.size(at::TAKEN);
        if target > taken {
            let target = target.next_multiple_of(backing.unit().max(CHUNK)).min(limit);
            let made = take_entries(backing, layout, taken, target, taking)
                .and_then(|()| backing.take(taken, target - taken, taking));
            if made.is_err() {
                backing.took(taken, limit);
                made?;
            }
            crash::point(Point::GrowthTaken);
            view.set_size(at::TAKEN, target);
            crash::point(Point::GrowthWatermark);
            count_collapses(view, backing);
            took = true;
        }
    }
    let taken = view.size(at::TAKEN);
    match taking {
        Taking::Step => backing.want(target.max(end), taken, limit),
        Taking::Ahead => backing.took(taken, limit),
    }
    Ok(took)
}

/// Whether memory up to `target` is there, or was made ready ahead, so that the heap can grow to it without waiting.
pub(crate) fn is_ready(view: &View, backing: &dyn Backing, layout: &Layout, target: u64) -> bool {
    let limit = capacity(view, layout).min(layout.heap + layout.chunk_count * CHUNK);
    target <= limit && target <= view.size(at::TAKEN).max(backing.ready())
}

/// Moves the watermark over what was made ready ahead.
fn accept(view: &View, backing: &dyn Backing, limit: u64) {
    let ready = backing.ready().min(limit);
    if ready > view.size(at::TAKEN) {
        view.set_size(at::TAKEN, ready);
    }
    count_collapses(view, backing);
}

pub(crate) fn count_collapses(view: &View, backing: &dyn Backing) {
    let (made, failed) = backing.fresh_collapses();
    for (word, count) in [(at::COLLAPSED, made), (at::NOT_COLLAPSED, failed)] {
        if count != 0 {
            view.set_header(word, view.header(word).wrapping_add(count));
        }
    }
}

/// Takes the memory of the chunk table's entries for the heap's bytes `from..to`. An extent of the table that starts among them
/// was never used, so it may become one large page.
pub(crate) fn take_entries(backing: &dyn Backing, layout: &Layout, from: u64, to: u64, taking: Taking) -> Result<()> {
    let (offset, length) = layout.entries(from, to);
    let end = offset + length;
    let fresh = offset.next_multiple_of(HUGE);
    if taking == Taking::Ahead && layout.is_large() && fresh < end {
        backing.take(offset, fresh - offset, Taking::Step)?;
        // The heap starts at a multiple of the extent, so this stays inside the table.
        return backing.take(fresh, end.next_multiple_of(HUGE) - fresh, taking);
    }
    backing.take(offset, length, Taking::Step)
}

/// Raises the capacity (B3). The caller owns the region and no transaction is open.
pub(crate) fn raise(view: &View, backing: &dyn Backing, layout: &Layout, wanted: u64) -> Result<u64> {
    let capacity = size(view, at::LIMIT)?;
    let step = backing.unit().max(CHUNK);
    let new = if wanted == capacity {
        wanted
    } else {
        wanted / step * step
    };
    if new < capacity || new > layout.reserve {
        return Err(Error::CannotRaise {
            wanted,
            capacity,
            reserve: layout.reserve,
        });
    }
    backing.lengthen(new)?;
    // CAPACITY pair: whoever sees the new capacity finds the object long enough.
    compiler_fence(Ordering::SeqCst);
    view.publish_header(at::LIMIT, seal(new));
    Ok(new)
}
