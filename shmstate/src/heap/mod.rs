//! The heap: blocks of any size in the region, handed out and taken back inside transactions.
//!
//! - **T3** The contents of a fresh block need no log; what says that it is in use is logged like data, and lies outside
//!   the block. Frees are applied last in a commit. So a kill leaks nothing and frees nothing twice.
//! - A block of up to half a chunk is a slot of a size class ([`classes`]); a larger one is a run of chunks ([`runs`]).
//!
//! It does not know what is in a block.

pub(crate) mod chunk;
pub(crate) mod classes;
pub(crate) mod runs;

pub(crate) use runs::reserve;

use crate::error::{Error, Result};
use crate::region::growth;
use crate::region::header::{BINS, CHUNK, Layout, at};
use crate::region::view::View;
use crate::tx::Tx;
use chunk::{BITMAP_WORDS, Chunk, Halves, Kind, Table};

/// Largest block, in bytes.
pub(crate) const MAX_BLOCK: u64 = 1 << 32;

/// A block: where it is and how large it really is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

fn head(class: usize) -> u64 {
    at::CLASS_HEADS + class as u64 * 8
}

/// Takes a block of at least `bytes`, 16-byte aligned. Its contents are undefined.
pub(crate) fn alloc(tx: &mut Tx<'_>, bytes: u64) -> Result<Block> {
    let Some(class) = classes::of(bytes) else {
        if bytes > MAX_BLOCK {
            return Err(Error::TooLarge { bytes, most: MAX_BLOCK });
        }
        let length = bytes.div_ceil(CHUNK);
        let first = runs::take(tx, length)?;
        let table = Table::of(tx.region.layout());
        return Ok(Block {
            offset: table.start(first.index),
            size: length * CHUNK,
        });
    };
    let table = Table::of(tx.region.layout());
    let chunk = match tx.header(head(class)) {
        0 => new_chunk(tx, table, class)?,
        index => table.chunk(tx, index - 1)?,
    };
    take_slot(tx, table, chunk, class)
}

fn new_chunk(tx: &mut Tx<'_>, table: Table, class: usize) -> Result<Chunk> {
    let chunk = runs::take(tx, 1)?;
    chunk.format(tx, class)?;
    runs::push(tx, table, head(class), chunk)?;
    Ok(chunk)
}

fn take_slot(tx: &mut Tx<'_>, table: Table, chunk: Chunk, class: usize) -> Result<Block> {
    let free = chunk.free(tx)?;
    let slots = classes::slots(class);
    let mut word = u64::from(free.high);
    while word * 64 < slots && word < BITMAP_WORDS {
        let bits = chunk.bits(tx, word)?;
        let slot = word * 64 + u64::from(bits.trailing_ones());
        if bits != u64::MAX && slot < slots {
            if free.low == 0 {
                return Err(chunk.damaged(0));
            }
            chunk.set_bits(tx, word, bits | 1 << (slot % 64))?;
            chunk.set_free(
                tx,
                Halves {
                    low: free.low - 1,
                    high: word as u32,
                },
            )?;
            if free.low == 1 {
                runs::pull(tx, table, head(class), chunk)?;
            }
            let size = u64::from(classes::SIZES[class]);
            return Ok(Block {
                offset: table.start(chunk.index) + slot * size,
                size,
            });
        }
        word += 1;
    }
    // The list said that there is a free slot.
    Err(chunk.damaged(free.low.into()))
}

/// Gives a block back. Called by commit, for what [`Tx::free`] collected.
pub(crate) fn release(tx: &mut Tx<'_>, offset: u64) -> Result<()> {
    let table = Table::of(tx.region.layout());
    let chunk = table.chunk_at(tx, offset)?;
    let inside = offset - table.start(chunk.index);
    match chunk.kind(tx)? {
        Kind::Slots { class } => {
            let size = u64::from(classes::SIZES[class]);
            let slot = inside / size;
            let bits = chunk.bits(tx, slot / 64)?;
            if !inside.is_multiple_of(size) || bits & (1 << (slot % 64)) == 0 {
                return Err(Error::damaged("freed block", offset, bits));
            }
            chunk.set_bits(tx, slot / 64, bits & !(1 << (slot % 64)))?;
            let free = chunk.free(tx)?;
            chunk.set_free(
                tx,
                Halves {
                    low: free.low + 1,
                    high: free.high.min((slot / 64) as u32),
                },
            )?;
            if free.low == 0 {
                runs::push(tx, table, head(class), chunk)?;
            } else if u64::from(free.low) + 1 == classes::slots(class) {
                // The last free chunk of a class is kept, so that one block coming and going does not format it each time.
                let links = chunk.links(tx)?;
                if links.low != 0 || links.high != 0 {
                    runs::pull(tx, table, head(class), chunk)?;
                    runs::give(tx, chunk, 1)?;
                }
            }
            Ok(())
        }
        Kind::Run { length } if inside == 0 => runs::give(tx, chunk, length),
        _ => Err(Error::damaged("freed block", offset, inside)),
    }
}

/// The block that `offset` lies in.
pub(crate) fn block_of(view: &View, layout: &Layout, offset: u64) -> Result<Block> {
    let table = Table::of(layout);
    let chunk = table.chunk_at(view, offset)?;
    let start = table.start(chunk.index);
    match chunk.kind(view)? {
        Kind::Slots { class } => {
            let size = u64::from(classes::SIZES[class]);
            let slot = (offset - start) / size;
            if slot >= classes::slots(class) || chunk.bits(view, slot / 64)? & (1 << (slot % 64)) == 0 {
                return Err(Error::damaged("block", offset, slot));
            }
            Ok(Block {
                offset: start + slot * size,
                size,
            })
        }
        Kind::Run { length } => Ok(Block {
            offset: start,
            size: length * CHUNK,
        }),
        Kind::RunEnd { length } => Ok(Block {
            offset: start
                .checked_sub((length - 1) * CHUNK)
                .ok_or_else(|| chunk.damaged(length))?,
            size: length * CHUNK,
        }),
        Kind::Free { .. } | Kind::FreeEnd { .. } | Kind::Log { .. } => Err(Error::damaged("block", offset, start)),
    }
}

/// What the heap holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeapStats {
    /// Blocks in use.
    pub blocks: u64,
    /// Bytes of blocks in use.
    pub used: u64,
    /// Bytes of free slots and free runs below the end of the heap.
    pub free: u64,
    /// Bytes taken from the mount for the heap.
    pub taken: u64,
}

/// Walks the chunk table from end to end and checks that everything in it agrees. `each` gets every block in use.
pub(crate) fn walk(view: &View, layout: &Layout, mut each: impl FnMut(Block)) -> Result<HeapStats> {
    let table = Table::of(layout);
    let used = table.used(view);
    let mut stats = HeapStats {
        taken: view.header(at::TAKEN) - layout.heap,
        ..HeapStats::default()
    };
    let mut with_room = 0u64;
    let mut free_runs = 0u64;
    let mut passed = 0u64;
    let mut index = 0;
    while index < used {
        let chunk = table.chunk(view, index)?;
        let start = table.start(index);
        let length = match chunk.kind(view)? {
            Kind::Slots { class } => {
                let size = u64::from(classes::SIZES[class]);
                let slots = classes::slots(class);
                let mut in_use = 0;
                for word in 0..BITMAP_WORDS {
                    let mut bits = chunk.bits(view, word)?;
                    while bits != 0 {
                        let slot = word * 64 + u64::from(bits.trailing_zeros());
                        if slot >= slots {
                            return Err(chunk.damaged(slot));
                        }
                        each(Block {
                            offset: start + slot * size,
                            size,
                        });
                        in_use += 1;
                        bits &= bits - 1;
                    }
                }
                let free = chunk.free(view)?;
                if in_use + u64::from(free.low) != slots {
                    return Err(chunk.damaged(free.low.into()));
                }
                with_room += u64::from(free.low > 0);
                stats.blocks += in_use;
                stats.used += in_use * size;
                stats.free += CHUNK - in_use * size;
                1
            }
            Kind::Run { length } => {
                ends(view, table, chunk, length, Kind::RunEnd { length })?;
                each(Block {
                    offset: start,
                    size: length * CHUNK,
                });
                stats.blocks += 1;
                stats.used += length * CHUNK;
                length
            }
            Kind::Free { length } => {
                ends(view, table, chunk, length, Kind::FreeEnd { length })?;
                free_runs += 1;
                stats.free += length * CHUNK;
                length
            }
            Kind::Log { length } => {
                ends(view, table, chunk, length, Kind::Log { length })?;
                let extent = (start, length * CHUNK);
                if !growth::log_extents(view).any(|known| known == extent) {
                    return Err(chunk.damaged(length));
                }
                passed += 1;
                length
            }
            Kind::RunEnd { length } | Kind::FreeEnd { length } => return Err(chunk.damaged(length)),
        };
        index += length;
    }
    if index != used {
        return Err(Error::damaged("chunk table", layout.chunks, index));
    }
    let end = view.header(at::HEAP_END);
    if growth::log_extents(view).filter(|(offset, _)| *offset < end).count() as u64 != passed {
        return Err(Error::damaged("undo log in the heap", at::LOG_EXTENTS, passed));
    }
    let listed = |heads: u64, count: u64| -> Result<u64> {
        let mut total = 0;
        for i in 0..count {
            let mut next = view.header(heads + i * 8);
            let mut previous = 0;
            while next != 0 {
                let chunk = table.chunk(view, next - 1)?;
                let links = chunk.links(view)?;
                if u64::from(links.high) != previous || total > used {
                    return Err(chunk.damaged(links.high.into()));
                }
                total += 1;
                previous = next;
                next = links.low.into();
            }
        }
        Ok(total)
    };
    let found = listed(at::CLASS_HEADS, classes::COUNT as u64)?;
    if found != with_room {
        return Err(Error::damaged("list of chunks with room", at::CLASS_HEADS, found));
    }
    let found = listed(at::RUN_BINS, BINS)?;
    if found != free_runs {
        return Err(Error::damaged("list of free runs", at::RUN_BINS, found));
    }
    Ok(stats)
}

fn ends(view: &View, table: Table, chunk: Chunk, length: u64, end: Kind) -> Result<()> {
    let last = table.chunk(view, chunk.index.saturating_add(length - 1))?;
    if length > 1 && last.kind(view)? != end {
        return Err(last.damaged(length));
    }
    Ok(())
}

/// Checks the heap's metadata when a region is opened.
pub(crate) fn check(view: &View, layout: &Layout) -> Result<()> {
    walk(view, layout, |_| {}).map(|_| ())
}
