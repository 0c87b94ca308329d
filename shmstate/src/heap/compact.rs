//! What to move so that a table's chunks become free, and free chunks lie together: the choice, not the moving.
//!
//! - **E1** First the emptiest chunk whose blocks find room in others of its class: that gives a whole chunk. Of those about as empty, the
//!   one farthest back.
//! - **E2** Then, where memory comes in large pieces, the last chunk that has a free chunk in a piece before its own: that gives no
//!   chunk, but draws free chunks together where they can be given back. In regions of small pieces, wherever it is.
//! - **E3** A chunk is emptied whole. E1 makes the chunks with a block fewer by one; E2 leaves their number and brings one of them into an earlier
//!   piece. So it comes to an end, and what one call does is not undone by the next, whatever empty chunks lie about.
//!
//! Blocks of whole chunks stay where they are. It does not know what is in a block, nor who refers to it.

use crate::error::{Error, Result};
use crate::heap::chunk::{BITMAP_WORDS, Chunk, Kind, List, Table};
use crate::heap::{Block, Owner, Room, classes, runs};
use crate::region::header::{BINS, CHUNK};
use crate::region::view::View;
use crate::tx::Tx;
use std::cmp::Reverse;

/// How many free runs of a list are looked at.
const LOOK: usize = 1024;
/// Chunks are told apart in emptiness by so many steps.
const STEPS: u64 = 8;

/// A chunk with slots.
#[derive(Clone, Copy, Debug)]
struct Slots {
    index: u64,
    class: usize,
    live: u64,
    slots: u64,
    /// Its blocks are moved: they are freed by the commit.
    moved: bool,
    /// It holds what cannot be moved.
    pinned: bool,
}

impl Slots {
    fn of(view: &View, chunk: Chunk, class: usize) -> Result<Self> {
        let (slots, free) = (classes::slots(class), chunk.free(view)?);
        Ok(Self {
            index: chunk.index,
            class,
            live: slots.checked_sub(free).ok_or_else(|| chunk.damaged(free))?,
            slots,
            moved: false,
            pinned: false,
        })
    }
}

/// The chunks of a table and the free runs, read once; from then on it knows what it has moved.
#[derive(Debug)]
pub(crate) struct Compaction {
    table: Table,
    owner: Owner,
    piece: u64,
    chunks: Vec<Slots>,
    /// Free runs, first chunk and length, the first of them last.
    free: Vec<(u64, u64)>,
    /// Where the blocks of the chunk in hand go to, if that is one chunk.
    into: Option<usize>,
}

impl Compaction {
    /// Takes about 50 ns for each chunk of the table.
    pub(crate) fn of(tx: &Tx<'_>, owner: Owner) -> Result<Self> {
        let mut compaction = Self::empty(tx, owner);
        compaction.read_chunks(tx)?;
        compaction.read_free(tx)?;
        Ok(compaction)
    }

    /// The same for blocks of nobody in particular that have one of two sizes; `movable` says which of them can be moved. A chunk with another one stays.
    pub(crate) fn of_shared(tx: &Tx<'_>, sizes: [u64; 2], movable: impl Fn(u64) -> bool) -> Result<Self> {
        let mut compaction = Self::empty(tx, Owner::SHARED);
        let (table, used) = (compaction.table, compaction.table.used(tx));
        let mut index = 0;
        while index < used {
            let chunk = table.chunk(tx, index)?;
            index += match chunk.kind(tx)? {
                Kind::Slots { owner, class } => {
                    if owner == Owner::SHARED && sizes.contains(&classes::size(class)) {
                        compaction.chunks.push(Slots::of(tx, chunk, class)?);
                        let blocks = compaction.blocks(tx, chunk.index, class)?;
                        if let Some(slots) = compaction.chunks.last_mut() {
                            slots.pinned = blocks.iter().any(|block| !movable(block.offset));
                        }
                    }
                    1
                }
                Kind::Run { length, .. } | Kind::Free { length } | Kind::Log { length } | Kind::Hole { length } => {
                    length
                }
                kind => return Err(chunk.damaged(kind.word())),
            };
        }
        compaction.read_free(tx)?;
        Ok(compaction)
    }

    fn empty(tx: &Tx<'_>, owner: Owner) -> Self {
        let layout = tx.region.layout();
        Self {
            table: Table::of(layout),
            owner,
            piece: layout.piece(tx.region.backing.unit()) / CHUNK,
            chunks: Vec::new(),
            free: Vec::new(),
            into: None,
        }
    }

    fn read_chunks(&mut self, view: &View) -> Result<()> {
        let Some(first) = self.owner.first(view)? else {
            return Ok(());
        };
        let (mut next, used) = (first, self.table.used(view));
        for _ in 0..used {
            if next == 0 {
                return Ok(());
            }
            let chunk = self.table.chunk(view, next - 1)?;
            match chunk.kind(view)? {
                Kind::Slots { owner, class } if owner == self.owner => {
                    self.chunks.push(Slots::of(view, chunk, class)?);
                }
                Kind::Run { owner, .. } if owner == self.owner => {}
                kind => return Err(chunk.damaged(kind.word())),
            }
            next = chunk.links(view, List::Owner)?.low.into();
        }
        Ok(())
    }

    fn read_free(&mut self, view: &View) -> Result<()> {
        for bin in 0..BINS {
            let mut next = view.header(runs::head(bin));
            for _ in 0..LOOK {
                if next == 0 {
                    break;
                }
                let chunk = self.table.chunk(view, next - 1)?;
                let Kind::Free { length } = chunk.kind(view)? else {
                    return Err(chunk.damaged(next));
                };
                self.free.push((chunk.index, length));
                next = chunk.links(view, List::Room)?.low.into();
            }
        }
        self.free.sort_unstable_by_key(|run| Reverse(*run));
        Ok(())
    }

    /// The blocks in use of the next chunk to be emptied; `None` if there is nothing to gain. Each of them has to be moved to what [`room`](Self::room) gives, and
    /// freed.
    pub(crate) fn next(&mut self, tx: &mut Tx<'_>) -> Result<Option<Vec<Block>>> {
        self.into = None;
        let emptiest = self.emptiest();
        let Some(source) = emptiest.or_else(|| self.last()) else {
            return Ok(None);
        };
        let Slots { index, class, .. } = self.chunks[source];
        if emptiest.is_none() {
            self.into = Some(self.bring_forward(tx, class)?);
        }
        self.chunks[source].moved = true;
        self.blocks(tx, index, class).map(Some)
    }

    /// The blocks in use of a chunk.
    fn blocks(&self, view: &View, index: u64, class: usize) -> Result<Vec<Block>> {
        let chunk = self.table.chunk(view, index)?;
        let (start, size) = (self.table.start(index), classes::size(class));
        let mut blocks = Vec::new();
        for word in 0..BITMAP_WORDS {
            let mut bits = chunk.bits(view, word)?;
            while bits != 0 {
                let slot = word * 64 + u64::from(bits.trailing_zeros());
                bits &= bits - 1;
                if slot >= classes::slots(class) {
                    return Err(chunk.damaged(slot));
                }
                let offset = start + slot * size;
                blocks.push(Block { offset, size });
            }
        }
        Ok(blocks)
    }

    /// Takes a block of the size of `old`, in the chunk that lies first.
    pub(crate) fn room(&mut self, tx: &mut Tx<'_>, old: Block) -> Result<Block> {
        let class = classes::of(old.size, 8);
        let fits = |chunk: &Slots| !chunk.moved && chunk.live < chunk.slots && Some(chunk.class) == class;
        let first = || {
            let fits = |(_, chunk): &(usize, &Slots)| fits(chunk) && chunk.live > 0;
            let fitting = self.chunks.iter().enumerate().filter(fits);
            fitting.min_by_key(|(_, chunk)| chunk.index).map(|(place, _)| place)
        };
        let into = self.into.filter(|place| fits(&self.chunks[*place])).or_else(first);
        let place = into.ok_or_else(|| Error::damaged("chunks of a table", old.offset, old.size))?;
        self.into = Some(place);
        let Slots { index, class, .. } = self.chunks[place];
        let chunk = self.table.chunk(tx, index)?;
        let head = self.owner.head(tx, class)?;
        let block = Room::of(tx, head, chunk, class)?.take(tx, self.table)?;
        self.chunks[place].live += 1;
        // As every fresh block.
        tx.region.before_write(block.offset, block.size)?;
        Ok(block)
    }

    /// E1.
    fn emptiest(&self) -> Option<usize> {
        let mut room = vec![0; classes::COUNT];
        // One that is empty is no room: to fill it is to empty nothing, and the next call would move the same blocks back (E3).
        for chunk in self.chunks.iter().filter(|chunk| !chunk.moved && chunk.live > 0) {
            room[chunk.class] += chunk.slots - chunk.live;
        }
        let has_room = |place: &usize| {
            let chunk = &self.chunks[*place];
            let movable = !chunk.moved && !chunk.pinned && chunk.live > 0;
            // Its own free slots are no room for its blocks.
            movable && room[chunk.class] >= chunk.slots
        };
        let worth = (0..self.chunks.len()).filter(has_room);
        worth.min_by_key(|place| {
            let chunk = &self.chunks[*place];
            (chunk.live * STEPS / chunk.slots, Reverse(chunk.index))
        })
    }

    /// E2.
    fn last(&self) -> Option<usize> {
        let (first, _) = *self.free.last()?;
        let there = self
            .chunks
            .iter()
            .enumerate()
            .filter(|(_, chunk)| !chunk.moved && !chunk.pinned && chunk.live > 0);
        let (place, chunk) = there.max_by_key(|(_, chunk)| chunk.index)?;
        (first / self.piece < chunk.index / self.piece).then_some(place)
    }

    /// Makes the first free chunk one of the class.
    fn bring_forward(&mut self, tx: &mut Tx<'_>, class: usize) -> Result<usize> {
        let (first, length) = self
            .free
            .pop()
            .ok_or_else(|| Error::damaged("free runs", 0, class as u64))?;
        if length > 1 {
            self.free.push((first + 1, length - 1));
        }
        let run = self.table.chunk(tx, first)?;
        let chunk = runs::take_first(tx, self.owner, run, length)?;
        chunk.format(tx, self.owner, class)?;
        let head = self.owner.head(tx, class)?;
        runs::push(tx, self.table, head, List::Room, chunk)?;
        self.owner.adopt(tx, self.table, chunk)?;
        self.chunks.push(Slots {
            index: first,
            class,
            live: 0,
            slots: classes::slots(class),
            moved: false,
            pinned: false,
        });
        Ok(self.chunks.len() - 1)
    }
}
