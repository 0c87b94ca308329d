//! Runs: blocks of whole chunks, and the free ones between them, joined again as they are freed.
//!
//! Free runs hang in lists by the logarithm of their length. A run is found in the list of its own size within a bounded
//! search, else taken from the first longer list, else made of a hole ([`holes`]), else from the end of the heap, which takes memory from the mount
//! **before** anything is written (a mount that is full is an error and the region stays as it was).
//!
//! Extents of the undo log lie in the heap's way where it grows (B2). They are passed inside the transaction: marked as log, and what
//! is left before them becomes a free run.

use crate::crash::{self, Point};
use crate::error::Result;
use crate::heap::chunk::{Chunk, Halves, Kind, List, Table};
use crate::heap::{Owner, holes};
use crate::region::backing::{Backing, Taking};
use crate::region::growth;
use crate::region::header::{Activity, BINS, CHUNK, Layout, at};
use crate::region::seal::seal;
use crate::region::view::View;
use crate::tx::Tx;

const WHAT: &str = "free runs";
/// How many runs of a list are looked at for one that is long enough.
const SEARCH: usize = 16;

/// The list that free runs of this length, at least 1, hang in.
pub(crate) fn bin(length: u64) -> u64 {
    u64::from(length.ilog2()).min(BINS - 1)
}

pub(crate) fn head(bin: u64) -> u64 {
    at::RUN_BINS + bin * 8
}

/// Takes a run of `length` chunks for `owner`; it is in no list yet. Its contents are undefined.
pub(crate) fn take(tx: &mut Tx<'_>, owner: Owner, length: u64) -> Result<Chunk> {
    let table = Table::of(tx.region.layout());
    let found = match find(tx, table, length)? {
        None if tx.header(at::HOLES) != 0 => refill(tx, table, length)?,
        found => found,
    };
    let first = match found {
        Some((chunk, found)) => {
            unlink(tx, table, chunk, found)?;
            if found > length {
                let rest = table.chunk(tx, chunk.index + length)?;
                link(tx, table, rest, found - length)?;
            }
            chunk
        }
        None => extend(tx, table, length)?,
    };
    mark(
        tx,
        table,
        first,
        length,
        |length| Kind::Run { owner, length },
        |length| Kind::RunEnd { length },
    )?;
    Ok(first)
}

/// Takes the first chunk of a free run of `found` chunks for `owner`; it is in no list yet.
pub(crate) fn take_first(tx: &mut Tx<'_>, owner: Owner, run: Chunk, found: u64) -> Result<Chunk> {
    let table = Table::of(tx.region.layout());
    unlink(tx, table, run, found)?;
    if found > 1 {
        let rest = table.chunk(tx, run.index + 1)?;
        link(tx, table, rest, found - 1)?;
    }
    run.set_kind(tx, Kind::Run { owner, length: 1 })?;
    Ok(run)
}

/// A free run made of a hole, unless what is wanted is ready behind the end of the heap (D4 of `holes`), or fits in no hole.
#[cold]
fn refill(tx: &mut Tx<'_>, table: Table, length: u64) -> Result<Option<(Chunk, u64)>> {
    let bytes = length * CHUNK;
    let target = growth::place(tx, tx.size(at::HEAP_END), bytes).saturating_add(bytes);
    if growth::is_ready(&tx.region.view, &*tx.region.backing, tx.region.layout(), target)
        || !holes::fill(tx, length, Taking::Step)?
    {
        return Ok(None);
    }
    find(tx, table, length)
}

/// Gives a run back and joins it with its free neighbours.
pub(crate) fn give(tx: &mut Tx<'_>, chunk: Chunk, length: u64) -> Result<()> {
    let table = Table::of(tx.region.layout());
    let (mut first, mut total) = (chunk, length);
    if chunk.index > 0 {
        let before = table.chunk(tx, chunk.index - 1)?;
        let left = match before.kind(tx)? {
            Kind::Free { length: 1 } => Some((before, 1)),
            Kind::FreeEnd { length } => {
                let index = before
                    .index
                    .checked_sub(length - 1)
                    .ok_or_else(|| before.damaged(length))?;
                Some((table.chunk(tx, index)?, length))
            }
            _ => None,
        };
        if let Some((run, length)) = left {
            unlink(tx, table, run, length)?;
            first = run;
            total += length;
        }
    }
    let after = chunk.index + length;
    if after < table.used(tx) {
        let next = table.chunk(tx, after)?;
        if let Kind::Free { length } = next.kind(tx)? {
            unlink(tx, table, next, length)?;
            total += length;
        }
    }
    link(tx, table, first, total)
}

fn find(tx: &Tx<'_>, table: Table, length: u64) -> Result<Option<(Chunk, u64)>> {
    for bin in bin(length)..BINS {
        let mut next = tx.header(head(bin));
        for _ in 0..SEARCH {
            if next == 0 {
                break;
            }
            let chunk = table.chunk(tx, next - 1)?;
            let Kind::Free { length: found } = chunk.kind(tx)? else {
                return Err(chunk.damaged(next));
            };
            if found >= length {
                return Ok(Some((chunk, found)));
            }
            next = u64::from(chunk.links(tx, List::Room)?.low);
        }
    }
    Ok(None)
}

pub(crate) fn mark(
    tx: &mut Tx<'_>,
    table: Table,
    first: Chunk,
    length: u64,
    start: impl Fn(u64) -> Kind,
    end: impl Fn(u64) -> Kind,
) -> Result<()> {
    first.set_kind(tx, start(length))?;
    if length > 1 {
        let last = table.chunk(tx, first.index + length - 1)?;
        last.set_kind(tx, end(length))?;
    }
    Ok(())
}

pub(crate) fn link(tx: &mut Tx<'_>, table: Table, first: Chunk, length: u64) -> Result<()> {
    mark(
        tx,
        table,
        first,
        length,
        |length| Kind::Free { length },
        |length| Kind::FreeEnd { length },
    )?;
    push(tx, table, head(bin(length)), List::Room, first)
}

pub(crate) fn unlink(tx: &mut Tx<'_>, table: Table, chunk: Chunk, length: u64) -> Result<()> {
    pull(tx, table, head(bin(length)), List::Room, chunk)
}

/// Puts a chunk at the front of the list whose head word is at `head`.
pub(crate) fn push(tx: &mut Tx<'_>, table: Table, head: u64, list: List, chunk: Chunk) -> Result<()> {
    let first = tx.load(head, WHAT)?;
    let me = chunk.index as u32 + 1;
    let links = Halves {
        low: first as u32,
        high: 0,
    };
    chunk.set_links(tx, list, links)?;
    if first != 0 {
        let next = table.chunk(tx, first - 1)?;
        let links = next.links(tx, list)?;
        next.set_links(tx, list, Halves { high: me, ..links })?;
    }
    tx.put(head, u64::from(me), WHAT)
}

/// Takes a chunk out of the list whose head word is at `head`.
pub(crate) fn pull(tx: &mut Tx<'_>, table: Table, head: u64, list: List, chunk: Chunk) -> Result<()> {
    let Halves { low, high } = chunk.links(tx, list)?;
    if low != 0 {
        let next = table.chunk(tx, u64::from(low) - 1)?;
        let theirs = next.links(tx, list)?;
        next.set_links(tx, list, Halves { high, ..theirs })?;
    }
    if high != 0 {
        let previous = table.chunk(tx, u64::from(high) - 1)?;
        let theirs = previous.links(tx, list)?;
        previous.set_links(tx, list, Halves { low, ..theirs })
    } else if tx.load(head, WHAT)? == chunk.index + 1 {
        tx.put(head, u64::from(low), WHAT)
    } else {
        Err(chunk.damaged(head))
    }
}

fn extend(tx: &mut Tx<'_>, table: Table, length: u64) -> Result<Chunk> {
    let end = growth::size(tx, at::HEAP_END)?;
    let bytes = length * CHUNK;
    let start = growth::place(tx, end, bytes);
    let layout = *tx.region.layout();
    let before = tx.activity(Activity::Growth);
    let grown = growth::grow_to(
        &tx.region.view,
        &*tx.region.backing,
        &layout,
        start.saturating_add(bytes),
        Taking::Step,
    );
    tx.set_header(at::ACTIVITY, before);
    if grown? {
        tx.set_header(at::SMALL_STEPS, tx.header(at::SMALL_STEPS).wrapping_add(1));
    }
    if start > end {
        pass_log(tx, table, end, start)?;
    }
    tx.put(at::HEAP_END, seal(start + bytes), WHAT)?;
    crash::point(Point::HeapExtended);
    table.chunk_at(tx, start)
}

/// Moves the heap's end from `end` over the log's extents up to `start`, where the last of them ends.
#[cold]
fn pass_log(tx: &mut Tx<'_>, table: Table, end: u64, start: u64) -> Result<()> {
    let passed: Vec<_> = growth::log_extents(tx)
        .filter(|(offset, _)| (end..start).contains(offset))
        .collect();
    let mut at = end;
    for (offset, bytes) in passed {
        if offset > at {
            tx.put(at::HEAP_END, seal(offset), WHAT)?;
            let gap = table.chunk_at(tx, at)?;
            give(tx, gap, (offset - at) / CHUNK)?;
        }
        at = offset + bytes;
        tx.put(at::HEAP_END, seal(at), WHAT)?;
        let first = table.chunk_at(tx, offset)?;
        let log = |length| Kind::Log { length };
        mark(tx, table, first, bytes / CHUNK, log, log)?;
    }
    Ok(())
}

/// Makes sure that the heap can grow by `bytes`: memory is taken from the mount, no word that a transaction covers changes.
pub(crate) fn reserve(view: &View, backing: &dyn Backing, layout: &Layout, bytes: u64) -> Result<()> {
    let end = growth::size(view, at::HEAP_END)?;
    let wanted = end.saturating_add(bytes.div_ceil(CHUNK).saturating_mul(CHUNK));
    let target = growth::log_extents(view).fold(wanted, |target, (offset, length)| {
        if (end..target).contains(&offset) {
            target.saturating_add(length)
        } else {
            target
        }
    });
    growth::grow_to(view, backing, layout, target, Taking::Ahead).map(|_| ())
}
