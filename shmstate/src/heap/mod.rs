//! The heap: blocks of any size in the region, handed out and taken back inside transactions.
//!
//! - **T3** The contents of a fresh block need no log; what says that it is in use is logged like data, and lies outside
//!   the block. Frees are applied last in a commit. So a kill leaks nothing and frees nothing twice.
//! - **P1** A block of up to half a chunk is a slot of a size class ([`classes`]); a larger one is a run of chunks ([`runs`]).
//! - **P2** Every chunk in use has an [`Owner`]. The chunks of a table hold its records and nothing else, so that a slot of
//!   such a chunk that is in use *is* a record of that table; they are linked, so that a table is walked in memory order.
//! - **P3** In a table of few chunks a block whose class has no room gets a slot of a larger class that is half empty, before a chunk is
//!   made for it: few records of many lengths share chunks.
//!
//! It does not know what is in a block.

pub(crate) mod chunk;
pub(crate) mod classes;
pub(crate) mod compact;
pub(crate) mod fetch;
mod held;
pub(crate) mod holes;
pub(crate) mod owner;
mod room;
pub(crate) mod runs;
mod slot;
#[cfg(test)]
mod tests;
mod walk;

pub(crate) use held::Held;
pub(crate) use owner::{Blocks, FIRST, Owner};
pub(crate) use room::Room;
pub(crate) use runs::reserve;
pub(crate) use slot::Slot;
pub use walk::{ClassStats, HeapStats};
pub(crate) use walk::{check, walk};

use crate::error::{Error, Result};
use crate::region::header::{CHUNK, CHUNK_ENTRY, Layout, ROWS, at};
use crate::region::view::{Bad, Near, View, Window};
use crate::tx::Tx;
use chunk::{Chunk, Kind, List, Table};

const WHAT: &str = "block of a table";
/// How many chunks of a list are looked at for one without a block.
const LOOK: usize = 16;
/// Largest block, in bytes.
pub(crate) const MAX_BLOCK: u64 = 1 << 31;

/// A block: where it is and how large it really is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

/// Takes a block of at least `bytes` that no table owns, 16-byte aligned. Its contents are undefined.
pub(crate) fn alloc(tx: &mut Tx<'_>, bytes: u64) -> Result<Block> {
    alloc_for(tx, Owner::SHARED, bytes, 16)
}

/// Takes a block of at least `bytes` for `owner`, aligned to `align` (8 or 16; 64 for whole lines of memory in a class of them). Its contents are undefined.
pub(crate) fn alloc_for(tx: &mut Tx<'_>, owner: Owner, bytes: u64, align: u64) -> Result<Block> {
    let block = take(tx, owner, bytes, align, false)?;
    // It is written without a log, and may have been in use at the mark of a checkpoint.
    tx.region.before_write(block.offset, block.size)?;
    Ok(block)
}

/// The same for a copy of a block that has exactly so many bytes.
pub(crate) fn alloc_like(tx: &mut Tx<'_>, owner: Owner, bytes: u64, align: u64) -> Result<Block> {
    let block = take(tx, owner, bytes, align, true)?;
    tx.region.before_write(block.offset, block.size)?;
    Ok(block)
}

/// Takes what is the next room, as nothing was changed since.
pub(crate) fn take_room(tx: &mut Tx<'_>, room: Room) -> Result<Block> {
    let table = Table::of(tx.region.layout());
    let block = room.take(tx, table)?;
    tx.region.before_write(block.offset, block.size)?;
    Ok(block)
}

/// `exact`: not a larger block than its class asks for (P3).
fn take(tx: &mut Tx<'_>, owner: Owner, bytes: u64, align: u64, exact: bool) -> Result<Block> {
    let table = Table::of(tx.region.layout());
    let Some(class) = classes::of(bytes, align) else {
        if bytes > MAX_BLOCK {
            return Err(Error::TooLarge { bytes, most: MAX_BLOCK });
        }
        let length = bytes.div_ceil(CHUNK);
        let first = runs::take(tx, owner, length)?;
        owner.adopt(tx, table, first)?;
        return Ok(Block {
            offset: table.start(first.index),
            size: length * CHUNK,
        });
    };
    let head = owner.head(tx, class)?;
    let chunk = match tx.load(head, room::WHAT)? {
        0 => {
            if !exact && let Some((head, chunk, class)) = larger(tx, owner, head, class, align)? {
                return Room::of(tx, head, chunk, class)?.take(tx, table);
            }
            let chunk = runs::take(tx, owner, 1)?;
            chunk.format(tx, owner, class)?;
            runs::push(tx, table, head, List::Room, chunk)?;
            owner.adopt(tx, table, chunk)?;
            chunk
        }
        index => table.chunk(tx, index - 1)?,
    };
    Room::of(tx, head, chunk, class)?.take(tx, table)
}

/// A chunk of a larger class that is worth using for a block of a small table instead of a new chunk: at least half of it is free, and a
/// slot is at most twice as large. In large tables that would waste more than it saves: there is always such a chunk.
#[cold]
fn larger(tx: &Tx<'_>, owner: Owner, head: u64, class: usize, align: u64) -> Result<Option<(u64, Chunk, usize)>> {
    if !owner.is_small(tx)? {
        return Ok(None);
    }
    let table = Table::of(tx.region.layout());
    let most = classes::size(class) * 2;
    for larger in class + 1..classes::COUNT {
        let size = classes::size(larger);
        if size > most {
            break;
        }
        let head = head.wrapping_add((larger - class) as u64 * 8);
        let index = tx.load(head, room::WHAT)?;
        if index == 0 || !size.is_multiple_of(align) {
            continue;
        }
        let chunk = table.chunk(tx, index - 1)?;
        if chunk.free(tx)? * 2 >= classes::slots(larger) {
            return Ok(Some((head, chunk, larger)));
        }
    }
    Ok(None)
}

/// How many chunks the heap has, from its start to its end.
pub(crate) fn chunks(view: &View) -> u64 {
    Table::in_view(view).used(view)
}

/// Gives a block back. Called by commit, for what [`Tx::free`] collected.
pub(crate) fn release(tx: &mut Tx<'_>, offset: u64) -> Result<()> {
    let table = Table::of(tx.region.layout());
    let chunk = table.chunk_at(tx, offset)?;
    let inside = offset - table.start(chunk.index);
    match chunk.kind(tx)? {
        Kind::Slots { owner, class } => {
            let slot = classes::slot(class, inside);
            let bits = chunk.bits(tx, slot / 64)?;
            if slot * classes::size(class) != inside || bits & (1 << (slot % 64)) == 0 {
                return Err(Error::damaged("freed block", offset, bits));
            }
            chunk.set_bits(tx, slot / 64, bits & !(1 << (slot % 64)))?;
            let free = chunk.free(tx)?.wrapping_add(1);
            chunk.set_free(tx, free)?;
            let head = owner.head(tx, class)?;
            if free == 1 {
                runs::push(tx, table, head, List::Room, chunk)?;
            } else if free == classes::slots(class) {
                // The last free chunk of a class is kept, so that one block coming and going does not format it each time.
                let links = chunk.links(tx, List::Room)?;
                if links.low != 0 || links.high != 0 {
                    runs::pull(tx, table, head, List::Room, chunk)?;
                    owner.leave(tx, table, chunk)?;
                    runs::give(tx, chunk, 1)?;
                }
            }
            Ok(())
        }
        Kind::Run { owner, length } if inside == 0 => {
            owner.leave(tx, table, chunk)?;
            runs::give(tx, chunk, length)
        }
        _ => Err(Error::damaged("freed block", offset, inside)),
    }
}

/// Gives back the chunks without a block that [`release`] keeps, one for each class of each table, where they are found quickly.
pub(crate) fn release_empty(tx: &mut Tx<'_>) -> Result<()> {
    for owner in (0..=ROWS).filter_map(Owner::from_number) {
        release_empty_of(tx, owner)?;
    }
    Ok(())
}

/// The same for one table.
pub(crate) fn release_empty_of(tx: &mut Tx<'_>, owner: Owner) -> Result<()> {
    let table = Table::of(tx.region.layout());
    let heads = match owner.heads(tx)? {
        None if owner == Owner::SHARED => at::CLASS_HEADS,
        None => return Ok(()),
        Some(heads) => heads,
    };
    for class in 0..classes::COUNT {
        let head = heads.wrapping_add(class as u64 * 8);
        let mut next = tx.load(head, room::WHAT)?;
        for _ in 0..LOOK {
            if next == 0 {
                break;
            }
            let chunk = table.chunk(tx, next - 1)?;
            if chunk.kind(tx)? != (Kind::Slots { owner, class }) {
                return Err(chunk.damaged(next));
            }
            next = chunk.links(tx, List::Room)?.low.into();
            if chunk.free(tx)? == classes::slots(class) {
                runs::pull(tx, table, head, List::Room, chunk)?;
                owner.leave(tx, table, chunk)?;
                runs::give(tx, chunk, 1)?;
            }
        }
    }
    Ok(())
}

/// The block that `offset` lies in.
pub(crate) fn block_of(view: &View, layout: &Layout, offset: u64) -> Result<Block> {
    let table = Table::of(layout);
    let chunk = table.chunk_at(view, offset)?;
    let start = table.start(chunk.index);
    match chunk.kind(view)? {
        Kind::Slots { class, .. } => {
            let slot = classes::slot(class, offset - start);
            if slot >= classes::slots(class) || !chunk.in_use(view, slot)? {
                return Err(Error::damaged("block", offset, slot));
            }
            let size = classes::size(class);
            Ok(Block {
                offset: start + slot * size,
                size,
            })
        }
        Kind::Run { length, .. } => Ok(Block {
            offset: start,
            size: length * CHUNK,
        }),
        Kind::RunEnd { length } => Ok(Block {
            offset: start
                .checked_sub((length - 1) * CHUNK)
                .ok_or_else(|| chunk.damaged(length))?,
            size: length * CHUNK,
        }),
        Kind::Free { .. } | Kind::FreeEnd { .. } | Kind::Log { .. } | Kind::Hole { .. } => {
            Err(Error::damaged("block", offset, start))
        }
    }
}

/// Checks that a block of at least `bytes` starts at `offset`, as the word at `named` says.
pub(crate) fn check_block(view: &View, offset: u64, bytes: u64, what: &'static str, named: u64) -> Result<()> {
    match Layout::of(view.capacity()).and_then(|layout| block_of(view, &layout, offset)) {
        Ok(block) if block.offset == offset && block.size >= bytes => Ok(()),
        _ => Err(Error::damaged(what, named, offset)),
    }
}

/// Checks that what the table of `owner` refers to is what it takes it for: a record fills a block of the table's own, anything else
/// starts a block of nobody in particular that is large enough.
pub(crate) fn check_held(view: &View, owner: Owner, held: Held) -> Result<()> {
    let right = match held {
        Held::Record(header) => ends_block(view, view.fresh_window(), owner, header).unwrap_or(false),
        Held::Block { at, bytes } => {
            let table = Table::in_view(view);
            let kind = table.chunk_at(view, at)?.kind(view)?;
            let shared = matches!(kind, Kind::Slots { owner, .. } | Kind::Run { owner, .. } if owner == Owner::SHARED);
            shared && check_block(view, at, bytes, WHAT, at).is_ok()
        }
    };
    if right {
        Ok(())
    } else {
        Err(Error::damaged(WHAT, held.at(), owner.number()))
    }
}

/// The slot that ends 8 bytes after `header`, if one does; whether it is in use is not asked.
pub(crate) fn slot_of(view: &View, header: u64) -> Result<Option<Slot>> {
    let chunk = Table::in_view(view).chunk_at(view, header)?;
    let Kind::Slots { class, .. } = chunk.kind(view)? else {
        return Ok(None);
    };
    Ok(Slot::before(class, header))
}

/// Whether `owner` has a chunk of the slot's class where `header` lies, in which that slot is in use. It is one that ends 8 bytes after
/// `header` ([`Slot::ends_with`]).
#[inline(always)]
pub(crate) fn has_slot(
    view: &View,
    near: Near<'_>,
    owner: Owner,
    header: u64,
    slot: Slot,
) -> std::result::Result<bool, Bad> {
    let places = view.places();
    let entry = places.chunks + header.wrapping_sub(places.heap) / CHUNK * CHUNK_ENTRY;
    let kind = u64::from(chunk::slots_of(owner)) | slot.class() << 32;
    if near.word_at(entry)? != kind {
        return Ok(false);
    }
    let word = near.word_at(entry + chunk::BITMAP + slot.number() / 64 * 8)?;
    Ok(word >> (slot.number() % 64) & 1 != 0)
}

/// Whether a block of `owner` that is in use ends 8 bytes after `header`. `Bad` if the window does not reach there: neither record nor entry
/// of the chunk table may have memory then.
#[inline(always)]
pub(crate) fn ends_block(view: &View, window: Window<'_>, owner: Owner, header: u64) -> std::result::Result<bool, Bad> {
    let places = view.places();
    let inside = header.wrapping_sub(places.heap);
    if !window.reaches(header, places.heap) {
        return Err(Bad);
    }
    let index = inside / CHUNK;
    let entry = places.chunks + index * CHUNK_ENTRY;
    let word = window.word_at(entry)?;
    let class = (word >> 32) as usize;
    if word as u16 != chunk::slots_of(owner) || class >= classes::COUNT {
        return ends_run(view, owner, index, header.wrapping_add(8));
    }
    // The slot behind the one that ends here.
    let end = inside % CHUNK + 8;
    let next = classes::slot(class, end);
    if next == 0 || next * classes::size(class) != end {
        return Ok(false);
    }
    let slot = next - 1;
    Ok(window.word_at(entry + chunk::BITMAP + slot / 64 * 8)? >> (slot % 64) & 1 != 0)
}

#[cold]
fn ends_run(view: &View, owner: Owner, index: u64, end: u64) -> std::result::Result<bool, Bad> {
    let table = Table::in_view(view);
    let look = || -> Result<bool> {
        let chunk = table.chunk(view, index)?;
        let first = match chunk.kind(view)? {
            Kind::RunEnd { length } if length <= index + 1 => table.chunk(view, index + 1 - length)?,
            _ => chunk,
        };
        Ok(match first.kind(view)? {
            Kind::Run { owner: found, length } => {
                found == owner && first.index + length == index + 1 && end == table.start(index + 1)
            }
            _ => false,
        })
    };
    // What is inside a run means nothing: nothing ends there.
    Ok(look().unwrap_or(false))
}

/// Whether a block of `bytes` would be of this size anyway, so that a record can be written over an old one.
pub(crate) fn fits(size: u64, bytes: u64, align: u64) -> bool {
    match classes::of(bytes, align) {
        Some(class) => classes::size(class) == size,
        None => bytes.next_multiple_of(CHUNK) == size,
    }
}
