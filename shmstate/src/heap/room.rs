//! A free slot: the one that a table gets next for so many bytes. It is found without changing anything, so that its memory can be asked for
//! before it is written; taken, it is a block.
//!
//! It does not know why a chunk has room, or what becomes of a block.

use super::chunk::{Chunk, List, Table};
use super::{Block, Owner, classes, fetch, runs};
use crate::error::Result;
use crate::region::view::View;
use crate::tx::Tx;

pub(super) const WHAT: &str = "list of chunks with room";

/// A free slot of a chunk, as it was when somebody looked. It is only good as long as nothing of the heap is changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// Where the head of the list lies that the chunk is in.
    head: u64,
    chunk: Chunk,
    class: usize,
    /// The word of the bitmap that has the slot's bit, and what it is.
    word: u64,
    bits: u64,
}

impl Room {
    /// What a table gets next for so many bytes, if it has a chunk with room for it.
    pub(crate) fn next(view: &View, owner: Owner, bytes: u64, align: u64) -> Result<Option<Self>> {
        let Some(class) = classes::of(bytes, align) else {
            return Ok(None);
        };
        let head = owner.head(view, class)?;
        match view.load(head, WHAT)? {
            0 => Ok(None),
            index => {
                let chunk = Table::in_view(view).chunk(view, index - 1)?;
                Self::of(view, head, chunk, class).map(Some)
            }
        }
    }

    /// The lowest free slot of a chunk that is in the list whose head is given.
    pub(super) fn of(view: &View, head: u64, chunk: Chunk, class: usize) -> Result<Self> {
        let slots = classes::slots(class);
        let bitmap = chunk.bitmap(view, slots.div_ceil(64))?;
        let free = bitmap.iter().zip(0..).find(|(bits, _)| **bits != [0xff; 8]);
        if let Some((bits, word)) = free {
            let bits = u64::from_le_bytes(*bits);
            if word * 64 + u64::from(bits.trailing_ones()) < slots {
                return Ok(Self {
                    head,
                    chunk,
                    class,
                    word,
                    bits,
                });
            }
        }
        // The list said that there is one.
        Err(chunk.damaged(chunk.free(view)?))
    }

    /// The block that it becomes.
    fn block(&self, table: Table) -> Block {
        let slot = self.word * 64 + u64::from(self.bits.trailing_ones());
        let size = classes::size(self.class);
        Block {
            offset: table.start(self.chunk.index) + slot * size,
            size,
        }
    }

    /// Asks for its memory.
    pub(crate) fn fetch(&self, view: &View) {
        let Block { offset, size } = self.block(Table::in_view(view));
        fetch::block(view, offset, size);
    }

    /// Takes it.
    pub(super) fn take(self, tx: &mut Tx<'_>, table: Table) -> Result<Block> {
        let free = self.chunk.free(tx)?;
        if free == 0 || free > classes::slots(self.class) {
            return Err(self.chunk.damaged(free));
        }
        let bit = 1 << (self.bits.trailing_ones() % 64);
        self.chunk.set_bits(tx, self.word, self.bits | bit)?;
        self.chunk.set_free(tx, free - 1)?;
        if free == 1 {
            runs::pull(tx, table, self.head, List::Room, self.chunk)?;
        }
        Ok(self.block(table))
    }
}
