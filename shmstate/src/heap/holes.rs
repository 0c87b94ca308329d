//! Holes: free runs whose memory was given back to the mount.
//!
//! - **D1** A hole is marked as one in a committed transaction **before** its memory is given back, and its memory is taken from
//!   the mount **before** a transaction makes it a free run again. So whatever a kill or a rollback leaves, what the chunk table
//!   calls a hole may be backed, and what it calls anything else is: nothing in use is ever touched without memory.
//! - **D2** Where the region lies on large pages a hole is made of whole extents of them ([`Layout::piece`]): giving back splits no page. A
//!   whole extent is taken again; it is made one large page by `Region::reserve`, but not inside a transaction that needs it at once, as with
//!   every step that a writer takes itself.
//! - **D3** Holes hang in one list; their bytes are counted in the header, by the same transactions.
//! - **D4** A hole is used when no free run is long enough and nothing is ready behind the end of the heap: taking an extent again
//!   is dearer than going on where memory was made ready ahead, and both take the same.
//!
//! It does not know when memory is given back: that is `region::trim`.

use crate::crash::{self, Point};
use crate::error::{Error, Result};
use crate::heap::chunk::{Chunk, Kind, List, Table};
use crate::heap::runs;
use crate::region::backing::Taking;
use crate::region::growth;
use crate::region::header::{Activity, BINS, CHUNK, HUGE, Layout, at};
use crate::region::view::View;
use crate::tx::Tx;

const WHAT: &str = "holes";
/// How many holes are looked at for one that is long enough.
const SEARCH: usize = 16;
/// How many free runs of a list are looked at, at most, for one that can be given back.
const LOOK: usize = 1024;

/// Makes a free run that hangs in its list a hole but for its ends that are no whole `piece` (in chunks), at most `most` chunks of it. Gives
/// the part that is one: first chunk and chunks.
pub(crate) fn dig(tx: &mut Tx<'_>, first: Chunk, length: u64, piece: u64, most: u64) -> Result<Option<(u64, u64)>> {
    let Some((from, chunks)) = inside(first.index, length, piece, most) else {
        return Ok(None);
    };
    let table = Table::of(tx.region.layout());
    runs::unlink(tx, table, first, length)?;
    let (end, to) = (first.index + length, from + chunks);
    if from > first.index {
        runs::link(tx, table, first, from - first.index)?;
    }
    if to < end {
        let rest = table.chunk(tx, to)?;
        runs::link(tx, table, rest, end - to)?;
    }
    let (mut start, mut total) = (table.chunk(tx, from)?, chunks);
    if from > 0
        && let before = table.chunk(tx, from - 1)?
        && let Kind::Hole { length } = before.kind(tx)?
    {
        let index = from.checked_sub(length).ok_or_else(|| before.damaged(length))?;
        start = table.chunk(tx, index)?;
        unlink(tx, table, start)?;
        total += length;
    }
    if to < table.used(tx)
        && let next = table.chunk(tx, to)?
        && let Kind::Hole { length } = next.kind(tx)?
    {
        unlink(tx, table, next)?;
        total += length;
    }
    link(tx, table, start, total)?;
    count(tx, chunks as i64)?;
    Ok(Some((from, chunks)))
}

/// The part of a run that is whole pieces: first chunk and chunks.
fn inside(first: u64, length: u64, piece: u64, most: u64) -> Option<(u64, u64)> {
    // The heap starts at a multiple of a piece, so chunk numbers tell.
    let from = first.next_multiple_of(piece);
    let to = (first + length) / piece * piece;
    let chunks = to.checked_sub(from)?.min(most / piece * piece);
    (chunks > 0).then_some((from, chunks))
}

/// A free run that has a whole piece inside, from the longest list down: its first chunk and length.
pub(crate) fn candidate(tx: &Tx<'_>, piece: u64) -> Result<Option<(Chunk, u64)>> {
    let table = Table::of(tx.region.layout());
    for bin in (runs::bin(piece)..BINS).rev() {
        let mut next = tx.header(runs::head(bin));
        for _ in 0..LOOK {
            if next == 0 {
                break;
            }
            let chunk = table.chunk(tx, next - 1)?;
            let Kind::Free { length } = chunk.kind(tx)? else {
                return Err(chunk.damaged(next));
            };
            if inside(chunk.index, length, piece, u64::MAX).is_some() {
                return Ok(Some((chunk, length)));
            }
            next = u64::from(chunk.links(tx, List::Room)?.low);
        }
    }
    Ok(None)
}

/// Takes a hole, or the first pieces of one, that `length` chunks fit in, and makes them a free run: memory first (D1). Says whether
/// there was one.
///
/// # Errors
/// `OutOfSpace`: nothing was changed.
pub(crate) fn fill(tx: &mut Tx<'_>, length: u64, taking: Taking) -> Result<bool> {
    let table = Table::of(tx.region.layout());
    let Some((hole, found)) = find(tx, table, length)? else {
        return Ok(false);
    };
    let piece = tx.region.layout().piece(tx.region.backing.unit()) / CHUNK;
    let chunks = length.next_multiple_of(piece).min(found);
    let before = tx.activity(Activity::Growth);
    // Whether this transaction is committed or not, the memory is there: the next trim looks.
    tx.set_header(at::HOLES_STALE, 1);
    let region = &*tx.region;
    let (offset, bytes) = (table.start(hole.index), chunks * CHUNK);
    let taken = region.backing.take(offset, bytes, taking);
    growth::count_collapses(&region.view, &*region.backing);
    tx.set_header(at::ACTIVITY, before);
    taken?;
    crash::point(Point::HoleTaken);
    if taking == Taking::Step {
        tx.set_header(at::SMALL_STEPS, tx.header(at::SMALL_STEPS).wrapping_add(1));
        if piece * CHUNK == HUGE {
            let small = tx.header(at::NOT_COLLAPSED).wrapping_add(chunks / piece);
            tx.set_header(at::NOT_COLLAPSED, small);
        }
    }
    unlink(tx, table, hole)?;
    if found > chunks {
        let rest = table.chunk(tx, hole.index + chunks)?;
        link(tx, table, rest, found - chunks)?;
    }
    count(tx, -(chunks as i64))?;
    runs::give(tx, hole, chunks)?;
    crash::point(Point::HoleFilled);
    Ok(true)
}

fn find(tx: &Tx<'_>, table: Table, length: u64) -> Result<Option<(Chunk, u64)>> {
    let mut next = tx.header(at::HOLE_HEAD);
    for _ in 0..SEARCH {
        if next == 0 {
            break;
        }
        let chunk = table.chunk(tx, next - 1)?;
        let Kind::Hole { length: found } = chunk.kind(tx)? else {
            return Err(chunk.damaged(next));
        };
        if found >= length {
            return Ok(Some((chunk, found)));
        }
        next = u64::from(chunk.links(tx, List::Room)?.low);
    }
    Ok(None)
}

/// Takes a hole, or a free run or the last `most` chunks of one, with which the heap ends out of its list: the heap is to end before it.
/// Gives its length, and whether it is a hole; `None` if the heap ends with something else. `used` are the chunks before that end.
pub(crate) fn cut(tx: &mut Tx<'_>, used: u64, most: u64) -> Result<Option<(u64, bool)>> {
    let table = Table::of(tx.region.layout());
    let Some(last) = used.checked_sub(1) else {
        return Ok(None);
    };
    let last = table.chunk(tx, last)?;
    let (length, hole) = match last.kind(tx)? {
        Kind::Free { length: 1 } => (1, false),
        Kind::FreeEnd { length } => (length, false),
        Kind::Hole { length } => (length, true),
        _ => return Ok(None),
    };
    let first = used.checked_sub(length).ok_or_else(|| last.damaged(length))?;
    let first = table.chunk(tx, first)?;
    if hole {
        unlink(tx, table, first)?;
        count(tx, -(length as i64))?;
        return Ok(Some((length, true)));
    }
    runs::unlink(tx, table, first, length)?;
    let rest = length.saturating_sub(most);
    if rest > 0 {
        runs::link(tx, table, first, rest)?;
    }
    Ok(Some((length - rest, false)))
}

fn link(tx: &mut Tx<'_>, table: Table, first: Chunk, length: u64) -> Result<()> {
    let hole = |length| Kind::Hole { length };
    runs::mark(tx, table, first, length, hole, hole)?;
    runs::push(tx, table, at::HOLE_HEAD, List::Room, first)
}

fn unlink(tx: &mut Tx<'_>, table: Table, first: Chunk) -> Result<()> {
    runs::pull(tx, table, at::HOLE_HEAD, List::Room, first)
}

fn count(tx: &mut Tx<'_>, chunks: i64) -> Result<()> {
    let bytes = tx.header(at::HOLES).wrapping_add_signed(chunks * CHUNK as i64);
    tx.put(at::HOLES, bytes, WHAT)
}

/// Every hole, as offset and bytes, in the order in which they lie. Of a region that another process is changing it may be too
/// few or too many; it is never more than the region is long.
pub(crate) fn all(view: &View, layout: &Layout) -> Vec<(u64, u64)> {
    let mut holes = Vec::new();
    if view.header(at::HOLES) == 0 {
        return holes;
    }
    let table = Table::of(layout);
    let used = table.used(view).min(layout.chunk_count);
    let mut index = 0;
    while index < used {
        let kind = table.chunk(view, index).and_then(|chunk| chunk.kind(view));
        let length = match kind {
            Ok(Kind::Run { length, .. } | Kind::Free { length } | Kind::Log { length } | Kind::Hole { length }) => {
                length.clamp(1, used - index)
            }
            _ => 1,
        };
        if matches!(kind, Ok(Kind::Hole { .. })) {
            holes.push((table.start(index), length * CHUNK));
        }
        index += length;
    }
    holes
}

/// What of `from..to` is no hole, of those that [`all`] gave.
pub(crate) fn between(holes: &[(u64, u64)], from: u64, to: u64, mut each: impl FnMut(u64, u64)) {
    let mut at = from;
    for (offset, bytes) in holes {
        if *offset > at && at < to {
            each(at, offset.min(&to) - at);
        }
        at = at.max(offset + bytes);
    }
    if at < to {
        each(at, to - at);
    }
}

/// Compares the bytes of all holes that were found in the table with what the header says.
pub(crate) fn check_sum(view: &View, bytes: u64) -> Result<()> {
    let counted = view.header(at::HOLES);
    if counted == bytes {
        Ok(())
    } else {
        Err(Error::damaged(WHAT, at::HOLES, counted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_pieces_of_a_run() {
        assert_eq!(inside(0, 32, 32, u64::MAX), Some((0, 32)));
        assert_eq!(inside(1, 62, 32, u64::MAX), None);
        assert_eq!(inside(1, 63, 32, u64::MAX), Some((32, 32)));
        assert_eq!(inside(5, 500, 32, 70), Some((32, 64)));
        assert_eq!(inside(5, 500, 32, 31), None);
        assert_eq!(inside(7, 3, 1, u64::MAX), Some((7, 3)));
    }

    #[test]
    fn what_is_no_hole() {
        let pieces = |holes: &[(u64, u64)], from, to| {
            let mut pieces = Vec::new();
            between(holes, from, to, |offset, bytes| pieces.push((offset, bytes)));
            pieces
        };
        assert_eq!(pieces(&[], 10, 20), [(10, 10)]);
        assert_eq!(pieces(&[(10, 2), (15, 3)], 10, 20), [(12, 3), (18, 2)]);
        assert_eq!(pieces(&[(5, 20)], 10, 20), []);
        assert_eq!(pieces(&[(12, 2), (30, 3)], 10, 20), [(10, 2), (14, 6)]);
    }
}
