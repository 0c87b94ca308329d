//! Whose blocks a chunk holds: a table's records, or anything of nobody in particular.
//!
//! A table that keeps records for itself has two roots of its catalog row for it: the first of its chunks, and a block with
//! the heads of its lists of chunks with room, one word for each size class. What belongs to no table uses the heads in the
//! header. It does not know what a record is.

use crate::error::{Error, Result};
use crate::heap::chunk::{Chunk, Kind, List, Table};
use crate::heap::{Block, classes, runs};
use crate::region::header::{CHUNK, HEADER, ROW, ROWS, at};
use crate::region::view::View;
use crate::table::catalog::{ROOT, ROOTS};
use crate::tx::Tx;

const WHAT: &str = "chunks of a table";
/// Root of a row: its first chunk, as index + 1.
pub(crate) const FIRST: u64 = ROOT + (ROOTS as u64 - 2) * 8;
/// Root of a row: the block with the heads of its lists.
pub(crate) const HEADS: u64 = ROOT + (ROOTS as u64 - 1) * 8;
/// Bytes of that block.
pub(crate) const HEADS_BYTES: u64 = classes::COUNT as u64 * 8;

/// Chunks from which on a table is not small: 1.5 MiB.
const SMALL: usize = 24;
/// Chunks of the whole heap from which on what belongs to nobody does not count as a small table.
const SMALL_HEAP: u64 = 64;

/// A table, or nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner(u8);

const _: () = assert!(ROWS < 256);

impl Owner {
    /// Nobody in particular.
    pub(crate) const SHARED: Self = Self(0);

    /// The table whose catalog row lies at `row`.
    #[inline]
    pub(crate) const fn of_row(row: u64) -> Self {
        Self(((row - HEADER) / ROW) as u8 + 1)
    }

    pub(crate) const fn number(self) -> u64 {
        self.0 as u64
    }

    pub(crate) const fn from_number(number: u64) -> Option<Self> {
        if number <= ROWS { Some(Self(number as u8)) } else { None }
    }

    /// The row of the table; `None` for nobody.
    pub(crate) fn row(self) -> Option<u64> {
        self.0.checked_sub(1).map(|index| HEADER + u64::from(index) * ROW)
    }

    /// The two roots of a new row: no chunk yet, and an empty block of heads.
    pub(crate) fn roots(tx: &mut Tx<'_>) -> Result<[u64; 2]> {
        let heads = super::alloc(tx, HEADS_BYTES)?.offset;
        tx.zero_fresh(heads, HEADS_BYTES, WHAT)?;
        Ok([0, heads])
    }

    /// Where the head of the list of chunks with room for a class lies.
    #[inline]
    pub(crate) fn head(self, view: &View, class: usize) -> Result<u64> {
        let heads = match self.row() {
            None => at::CLASS_HEADS,
            Some(row) => match view.load(row + HEADS, WHAT)? {
                // A table that was dropped, in the hands of who did not notice (L2 of `table::dropped`).
                0 => return Err(Error::damaged("heads of a table", row + HEADS, 0)),
                heads => heads,
            },
        };
        Ok(heads.wrapping_add(class as u64 * 8))
    }

    /// The block with the heads, if the table has one.
    pub(crate) fn heads(self, view: &View) -> Result<Option<u64>> {
        let Some(row) = self.row() else { return Ok(None) };
        Ok(Some(view.load(row + HEADS, WHAT)?).filter(|heads| *heads != 0))
    }

    /// The first of the table's chunks, as index + 1; `None` for nobody's.
    pub(crate) fn first(self, view: &View) -> Result<Option<u64>> {
        self.row().map(|row| view.load(row + FIRST, WHAT)).transpose()
    }

    /// Whether the table has so few chunks that a chunk for each of many classes would be most of what it takes.
    pub(crate) fn is_small(self, view: &View) -> Result<bool> {
        let table = Table::in_view(view);
        let Some(mut next) = self.first(view)? else {
            // Nobody's chunks are not linked: there are at most as many as the heap has.
            return Ok(table.used(view) < SMALL_HEAP);
        };
        for _ in 0..SMALL {
            if next == 0 {
                return Ok(true);
            }
            next = table.chunk(view, next - 1)?.links(view, List::Owner)?.low.into();
        }
        Ok(false)
    }

    /// Whether a chunk that was one of the table's is so still. What its entry says is no answer: that of a chunk inside a run is left as it
    /// was. But a chunk is linked if its neighbour in front names it: who takes one out rewrites both.
    fn links(self, view: &View, index: u64) -> Result<bool> {
        let table = Table::in_view(view);
        let (Some(row), true) = (self.row(), index < table.used(view)) else {
            return Ok(false);
        };
        let chunk = table.chunk(view, index)?;
        let owner = match Kind::of(view.load(chunk.entry(), WHAT)?) {
            Some(Kind::Slots { owner, .. } | Kind::Run { owner, .. }) => owner,
            _ => return Ok(false),
        };
        let named = match u64::from(chunk.links(view, List::Owner)?.high) {
            0 => view.load(row + FIRST, WHAT)?,
            front if front <= table.used(view) => table.chunk(view, front - 1)?.links(view, List::Owner)?.low.into(),
            _ => 0,
        };
        Ok(owner == self && named == index + 1)
    }

    /// Links a chunk, or the first of a run, among those of the table.
    pub(super) fn adopt(self, tx: &mut Tx<'_>, table: Table, chunk: Chunk) -> Result<()> {
        match self.row() {
            None => Ok(()),
            Some(row) => runs::push(tx, table, row + FIRST, List::Owner, chunk),
        }
    }

    /// Gives all that the table has to another one, which has nothing: the blocks stay where they are. The roots of both for their chunks are
    /// exchanged.
    pub(crate) fn hand_over(self, tx: &mut Tx<'_>, to: Self) -> Result<()> {
        let (Some(row), Some(heir)) = (self.row(), to.row()) else {
            return Ok(());
        };
        let table = Table::in_view(tx);
        let mine: [u64; 2] = tx.words(row + FIRST, WHAT)?;
        let theirs: [u64; 2] = tx.words(heir + FIRST, WHAT)?;
        if theirs[0] != 0 {
            return Err(Error::damaged(WHAT, heir + FIRST, theirs[0]));
        }
        let (mut next, mut left) = (mine[0], table.used(tx));
        while next != 0 {
            let chunk = table.chunk(tx, next - 1)?;
            left = left.checked_sub(1).ok_or_else(|| chunk.damaged(next))?;
            let kind = match chunk.kind(tx)? {
                Kind::Slots { owner, class } if owner == self => Kind::Slots { owner: to, class },
                Kind::Run { owner, length } if owner == self => Kind::Run { owner: to, length },
                kind => return Err(chunk.damaged(kind.word())),
            };
            chunk.set_kind(tx, kind)?;
            next = chunk.links(tx, List::Owner)?.low.into();
        }
        tx.put_all(row + FIRST, &theirs, WHAT)?;
        tx.put_all(heir + FIRST, &mine, WHAT)
    }

    /// Takes it out again.
    pub(super) fn leave(self, tx: &mut Tx<'_>, table: Table, chunk: Chunk) -> Result<()> {
        match self.row() {
            None => Ok(()),
            Some(row) => runs::pull(tx, table, row + FIRST, List::Owner, chunk),
        }
    }
}

/// Walks the blocks in use of a table, chunk by chunk, each in memory order. Nothing may be freed or taken meanwhile; what a
/// transaction frees is applied at its commit.
#[derive(Clone, Debug)]
pub(crate) struct Blocks {
    table: Table,
    owner: Owner,
    /// Next chunk, as index + 1.
    next: u64,
    /// Chunks that may still come: the bound of the walk.
    left: u64,
    /// The chunk that is being walked: where it starts, its slots and their size.
    chunk: Option<Chunk>,
    start: u64,
    slots: u64,
    size: u64,
    /// Its slots from this one on, 64 of them, that are still to come.
    first: u64,
    bits: u64,
}

impl Blocks {
    pub(crate) fn of(view: &View, owner: Owner) -> Result<Self> {
        let table = Table::in_view(view);
        let next = match owner.row() {
            None => 0,
            Some(row) => view.load(row + FIRST, WHAT)?,
        };
        Ok(Self {
            table,
            owner,
            next,
            left: table.used(view),
            chunk: None,
            start: 0,
            slots: 0,
            size: 0,
            first: 0,
            bits: 0,
        })
    }

    /// The blocks of one chunk; none if it is not the owner's, or not any more.
    pub(crate) fn of_chunk(view: &View, owner: Owner, index: u64) -> Result<Vec<Block>> {
        let mut blocks = Vec::new();
        if !owner.links(view, index)? {
            return Ok(blocks);
        }
        let mut walk = Self::of(view, owner)?;
        (walk.next, walk.left) = (index + 1, 1);
        match walk.enter(view)? {
            Entered::End => {}
            Entered::Run(block) => blocks.push(block),
            Entered::Slots => {
                walk.next = 0;
                while let Some(block) = walk.next(view)? {
                    blocks.push(block);
                }
            }
        }
        Ok(blocks)
    }

    /// The next block.
    #[inline(always)]
    pub(crate) fn next(&mut self, view: &View) -> Result<Option<Block>> {
        if self.bits == 0 {
            return self.next_bits(view);
        }
        Ok(Some(self.take()))
    }

    /// The lowest slot of those that are still to come: there is one.
    #[inline(always)]
    fn take(&mut self) -> Block {
        let slot = self.first + u64::from(self.bits.trailing_zeros());
        self.bits &= self.bits.wrapping_sub(1);
        Block {
            offset: self.start + slot * self.size,
            size: self.size,
        }
    }

    /// Goes on to the next 64 slots that have a block.
    #[inline(never)]
    fn next_bits(&mut self, view: &View) -> Result<Option<Block>> {
        loop {
            match self.chunk {
                Some(chunk) if self.first + 64 < self.slots => {
                    self.first += 64;
                    self.bits = self.checked_bits(view, chunk)?;
                }
                _ => match self.enter(view)? {
                    Entered::Slots => {}
                    Entered::Run(block) => return Ok(Some(block)),
                    Entered::End => return Ok(None),
                },
            }
            if self.bits != 0 {
                return Ok(Some(self.take()));
            }
        }
    }

    /// The slots in use of those from `first` on; there is none behind the last.
    fn checked_bits(&self, view: &View, chunk: Chunk) -> Result<u64> {
        let bits = chunk.bits(view, self.first / 64)?;
        let left = self.slots - self.first;
        if left < 64 && bits >> left != 0 {
            return Err(chunk.damaged(left));
        }
        Ok(bits)
    }

    fn enter(&mut self, view: &View) -> Result<Entered> {
        self.chunk = None;
        if self.next == 0 {
            return Ok(Entered::End);
        }
        let chunk = self.table.chunk(view, self.next - 1)?;
        self.left = self.left.checked_sub(1).ok_or_else(|| chunk.damaged(self.next))?;
        self.next = chunk.links(view, List::Owner)?.low.into();
        match chunk.kind(view)? {
            Kind::Slots { owner, class } if owner == self.owner => {
                self.start = self.table.start(chunk.index);
                (self.slots, self.size) = (classes::slots(class), classes::size(class));
                self.first = 0;
                self.bits = self.checked_bits(view, chunk)?;
                self.chunk = Some(chunk);
                Ok(Entered::Slots)
            }
            Kind::Run { owner, length } if owner == self.owner => Ok(Entered::Run(Block {
                offset: self.table.start(chunk.index),
                size: length * CHUNK,
            })),
            kind => Err(Error::damaged(WHAT, self.table.start(chunk.index), kind.word())),
        }
    }
}

enum Entered {
    Slots,
    Run(Block),
    End,
}
