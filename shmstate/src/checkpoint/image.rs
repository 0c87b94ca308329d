//! What belongs into an image, word by word for the header, page by page for the heap.
//!
//! - **M1** The header and the catalog are copied at the mark itself (20 KiB): the header changes outside the log, and
//!   so do some words of the catalog (the serial numbers of streams). So they never race with anything.
//! - **M2** The undo log is empty at the mark and is not in the image.
//! - **M3** Of the heap only pages with a byte of a block in use: the chunk table *of the image*, copied before the
//!   heap, says which. The rest reads as zeroes after a restore; nothing refers to it (T3).
//!
//! Header words that change, and what the image says of them:
//!
//! | word | image | why |
//! |---|---|---|
//! | lease | 0, vacant | belongs to processes that are not there |
//! | length of the log, activity | 0 | no transaction is open at the mark |
//! | commits, records made | as they are | generations must go on growing; commits date the image |
//! | end of taken memory | end of the heap | a restore takes what is used, not what was reserved |
//! | log extents, log table | those that the heap has passed | their chunks lie among those in use; the log is empty |
//! | capacity now | as it is | the restore may decide otherwise |
//! | recoveries, entries undone, rollbacks, growth steps, collapsed pages, bytes given back | 0 | tell the life of one object, not of the world |
//! | end of the heap, class heads, free runs, holes | as they are | the heap's own state |
//! | restored from, clock offset | as they are | the restore replaces them |
//! | bytes without a name | as they are | a later version may have put state there |

use crate::checkpoint::pages::PAGE;
use crate::error::{Error, Result};
use crate::heap::chunk::{BITMAP_WORDS, Kind, Table};
use crate::heap::classes;
use crate::region::header::{
    CHUNK, CHUNK_ENTRY, FIRST_LOG, HEADER, LOG_TABLE_ROW, LOG_TABLE_ROWS, Layout, ROW, ROWS, at,
};
use crate::region::seal;
use crate::region::view::View;
use std::ops::Range;

/// Pages that are copied at the mark: header and catalog.
pub(crate) const FIRST_PAGES: u64 = (HEADER + ROWS * ROW) / PAGE;
/// Pages that the copier takes care of start behind these and the first extent of the log.
pub(crate) const FIXED_PAGES: u64 = FIRST_PAGES + FIRST_LOG / PAGE;

const _: () = {
    assert!((HEADER + ROWS * ROW).is_multiple_of(PAGE) && FIRST_LOG.is_multiple_of(PAGE));
    assert!(CHUNK.is_multiple_of(PAGE) && CHUNK / PAGE <= 64);
};

/// Writes the decided values into a copy of the header.
pub(crate) fn settle_header(header: &mut [u8]) {
    let get = |header: &[u8], at: u64| {
        let mut word = [0; 8];
        word.copy_from_slice(&header[at as usize..at as usize + 8]);
        u64::from_le_bytes(word)
    };
    let sealed = get(header, at::HEAP_END);
    let heap_end = sealed & seal::LOW;
    // Extents come in the order of their places: those that the heap has passed are the first.
    let extents = get(header, at::LOG_EXTENTS).min(LOG_TABLE_ROWS);
    let passed = (0..extents)
        .take_while(|row| get(header, at::LOG_TABLE + row * LOG_TABLE_ROW) < heap_end)
        .count() as u64;
    let mut put = |at: u64, word: u64| header[at as usize..at as usize + 8].copy_from_slice(&word.to_le_bytes());
    for word in [
        at::LEASE,
        at::LOG_LENGTH,
        at::ACTIVITY,
        at::RECOVERIES,
        at::ENTRIES_UNDONE,
        at::ROLLBACKS,
        at::SMALL_STEPS,
        at::COLLAPSED,
        at::NOT_COLLAPSED,
        at::HOLES_STALE,
        at::GIVEN_BACK,
    ] {
        put(word, 0);
    }
    put(at::TAKEN, sealed);
    put(at::LOG_EXTENTS, passed);
    for row in 0..LOG_TABLE_ROWS {
        let first = if row < passed { 2 } else { 0 };
        for word in first..LOG_TABLE_ROW / 8 {
            put(at::LOG_TABLE + row * LOG_TABLE_ROW + word * 8, 0);
        }
    }
}

/// Chunks of a heap that ends at `heap_end`.
fn used(layout: &Layout, heap_end: u64) -> u64 {
    heap_end.saturating_sub(layout.heap) / CHUNK
}

/// The pages of the chunk table that are in use.
pub(crate) fn table_pages(layout: &Layout, heap_end: u64) -> Range<u64> {
    let end = layout.chunks + used(layout, heap_end) * CHUNK_ENTRY;
    layout.chunks / PAGE..end.div_ceil(PAGE)
}

/// Whether an image with this end of its heap may hold the page.
pub(crate) fn holds(layout: &Layout, heap_end: u64, page: u64) -> bool {
    page < FIRST_PAGES
        || table_pages(layout, heap_end).contains(&page)
        || (layout.heap / PAGE..heap_end / PAGE).contains(&page)
}

/// Visits the chunks that have blocks in use, in order, with one bit for each page that has a byte of one (M3). `table`
/// is a view of an image's header and chunk table; nothing else of it is looked at.
pub(crate) fn pages_in_use(table: &View, layout: &Layout, mut each: impl FnMut(u64, u64)) -> Result<()> {
    let chunks = Table::of(layout);
    let used = chunks.used(table);
    let whole = u64::MAX >> (64 - CHUNK / PAGE);
    let mut index = 0;
    while index < used {
        let chunk = chunks.chunk(table, index)?;
        let first = chunks.start(index) / PAGE;
        index += match chunk.kind(table)? {
            Kind::Slots { class, .. } => {
                let size = u64::from(classes::SIZES[class]);
                let mut pages = 0u64;
                for word in 0..BITMAP_WORDS {
                    let mut bits = chunk.bits(table, word)?;
                    while bits != 0 {
                        let start = (word * 64 + u64::from(bits.trailing_zeros())) * size;
                        if start + size > CHUNK {
                            return Err(chunk.damaged(start));
                        }
                        for page in start / PAGE..=(start + size - 1) / PAGE {
                            pages |= 1 << page;
                        }
                        bits &= bits - 1;
                    }
                }
                each(first, pages);
                1
            }
            Kind::Run { length, .. } if length <= used - index => {
                for i in 0..length {
                    each(first + i * (CHUNK / PAGE), whole);
                }
                length
            }
            Kind::Free { length } | Kind::Log { length } | Kind::Hole { length } if length <= used - index => length,
            Kind::Run { length, .. }
            | Kind::Free { length }
            | Kind::Log { length }
            | Kind::Hole { length }
            | Kind::RunEnd { length }
            | Kind::FreeEnd { length } => {
                return Err(chunk.damaged(length));
            }
        };
    }
    if index != used {
        return Err(Error::damaged("chunk table", layout.chunks, index));
    }
    Ok(())
}
