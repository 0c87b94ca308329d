//! Walks the chunk table from end to end: checks that everything in it agrees, and counts.

use crate::error::{Error, Report, Result, refuse};
use crate::heap::chunk::{BITMAP_WORDS, Chunk, Kind, List, Table};
use crate::heap::owner::{FIRST, HEADS, HEADS_BYTES};
use crate::heap::{Block, Owner, check_block, classes, holes, runs};
use crate::region::growth;
use crate::region::header::{BINS, CHUNK, Layout, ROWS, at};
use crate::region::view::View;

/// Blocks of one size class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassStats {
    /// Bytes of a slot.
    pub size: u64,
    /// Chunks of 64 KiB that hold such slots.
    pub chunks: u64,
    /// Slots in use.
    pub live: u64,
    /// Slots free.
    pub free: u64,
}

/// What the heap holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeapStats {
    /// Blocks in use.
    pub blocks: u64,
    /// Bytes of blocks in use.
    pub used: u64,
    /// Bytes of free slots and free runs below the end of the heap.
    pub free: u64,
    /// Bytes taken from the mount for the heap, without those that were given back.
    pub taken: u64,
    /// Bytes of the heap whose memory was given back ([`Region::trim`](crate::Region::trim)); neither free nor taken.
    pub holes: u64,
    /// The classes that have chunks, from the smallest slot to the largest.
    pub classes: Vec<ClassStats>,
    /// Bytes of the blocks of each table that keeps records for itself, by [`TableInfo::row`](crate::TableInfo::row); last what
    /// belongs to no table: indexes, descriptions, rings.
    pub owned: Vec<u64>,
}

/// Walks the chunk table. `each` gets every block in use, with its owner; `report` every fault. After a fault the walk goes on
/// with the next chunk or list, if `report` says so.
pub(crate) fn walk(
    view: &View,
    layout: &Layout,
    mut each: impl FnMut(Block, Owner),
    report: &mut Report<'_>,
) -> Result<HeapStats> {
    let table = Table::of(layout);
    let mut used = table.used(view);
    if used > layout.chunk_count {
        report(Error::damaged(
            "end of the heap",
            at::HEAP_END,
            view.header(at::HEAP_END),
        ))?;
        used = layout.chunk_count;
    }
    let mut tally = Tally::default();
    let mut index = 0;
    while index < used {
        index += match tally.chunk(view, table, index, &mut each) {
            Ok(length) => length,
            Err(fault) => {
                report(fault)?;
                1
            }
        };
    }
    if index != used {
        report(Error::damaged("chunk table", layout.chunks, index))?;
    }
    let end = view.size(at::HEAP_END);
    if growth::log_extents(view).filter(|(offset, _)| *offset < end).count() as u64 != tally.passed {
        report(Error::damaged("undo log in the heap", at::LOG_EXTENTS, tally.passed))?;
    }
    tally.lists(view, table, layout, report)?;
    let taken = view.size(at::TAKEN).saturating_sub(layout.heap);
    tally.stats.taken = taken.saturating_sub(tally.stats.holes);
    tally.stats.classes.retain(|class| class.chunks != 0);
    Ok(tally.stats)
}

/// What was counted, by owner where that matters.
struct Tally {
    stats: HeapStats,
    with_room: Vec<u64>,
    chunks: Vec<u64>,
    free_runs: u64,
    holes: u64,
    /// Extents of the log that the heap has passed.
    passed: u64,
}

impl Default for Tally {
    fn default() -> Self {
        let owners = ROWS as usize + 1;
        let class = |class| ClassStats {
            size: classes::size(class),
            ..ClassStats::default()
        };
        Self {
            stats: HeapStats {
                classes: (0..classes::COUNT).map(class).collect(),
                owned: vec![0; owners],
                ..HeapStats::default()
            },
            with_room: vec![0; owners],
            chunks: vec![0; owners],
            free_runs: 0,
            holes: 0,
            passed: 0,
        }
    }
}

impl Tally {
    fn own(&mut self, owner: Owner, bytes: u64) {
        self.stats.used += bytes;
        // Nobody in particular comes last.
        let place = owner.number().checked_sub(1).unwrap_or(ROWS);
        self.stats.owned[place as usize] += bytes;
    }

    /// Counts what chunk `index` begins; gives its length in chunks.
    fn chunk(&mut self, view: &View, table: Table, index: u64, each: &mut impl FnMut(Block, Owner)) -> Result<u64> {
        let chunk = table.chunk(view, index)?;
        let start = table.start(index);
        match chunk.kind(view)? {
            Kind::Slots { owner, class } => {
                self.slots(view, chunk, owner, class, |slot| {
                    let size = classes::size(class);
                    let offset = start + slot * size;
                    each(Block { offset, size }, owner);
                })?;
                Ok(1)
            }
            Kind::Run { owner, length } => {
                ends(view, table, chunk, length, Kind::RunEnd { length })?;
                let size = length * CHUNK;
                each(Block { offset: start, size }, owner);
                self.stats.blocks += 1;
                self.own(owner, size);
                self.chunks[owner.number() as usize] += 1;
                Ok(length)
            }
            Kind::Free { length } => {
                ends(view, table, chunk, length, Kind::FreeEnd { length })?;
                self.free_runs += 1;
                self.stats.free += length * CHUNK;
                Ok(length)
            }
            Kind::Hole { length } => {
                ends(view, table, chunk, length, Kind::Hole { length })?;
                self.holes += 1;
                self.stats.holes += length * CHUNK;
                Ok(length)
            }
            Kind::Log { length } => {
                ends(view, table, chunk, length, Kind::Log { length })?;
                let extent = (start, length * CHUNK);
                if !growth::log_extents(view).any(|known| known == extent) {
                    return Err(chunk.damaged(length));
                }
                self.passed += 1;
                Ok(length)
            }
            Kind::RunEnd { length } | Kind::FreeEnd { length } => Err(chunk.damaged(length)),
        }
    }

    fn slots(
        &mut self,
        view: &View,
        chunk: Chunk,
        owner: Owner,
        class: usize,
        mut each: impl FnMut(u64),
    ) -> Result<()> {
        let (size, slots) = (classes::size(class), classes::slots(class));
        let mut in_use = 0;
        for word in 0..BITMAP_WORDS {
            let mut bits = chunk.bits(view, word)?;
            while bits != 0 {
                let slot = word * 64 + u64::from(bits.trailing_zeros());
                if slot >= slots {
                    return Err(chunk.damaged(slot));
                }
                each(slot);
                in_use += 1;
                bits &= bits - 1;
            }
        }
        let free = chunk.free(view)?;
        if slots.checked_sub(in_use) != Some(free) {
            return Err(chunk.damaged(free));
        }
        self.with_room[owner.number() as usize] += u64::from(free > 0);
        self.chunks[owner.number() as usize] += 1;
        self.stats.blocks += in_use;
        self.stats.free += CHUNK - in_use * size;
        self.own(owner, in_use * size);
        let stats = &mut self.stats.classes[class];
        stats.chunks += 1;
        stats.live += in_use;
        stats.free += free;
        Ok(())
    }

    /// Every chunk that has room, every chunk of a table and every free run is in its list, once.
    fn lists(&self, view: &View, table: Table, layout: &Layout, report: &mut Report<'_>) -> Result<()> {
        let used = table.used(view).min(layout.chunk_count);
        // `named` is where it says where the heads are.
        let listed = |(heads, named): (u64, u64), count: u64, list: List, fits: &dyn Fn(u64, Kind) -> bool| {
            let mut total = 0;
            for i in 0..count {
                let head = heads.wrapping_add(i * 8);
                let next = view.load(head, "list of chunks");
                let mut next = next.map_err(|_| Error::damaged("heads of a table", named, heads))?;
                let mut previous = 0;
                while next != 0 {
                    let chunk = table.chunk(view, next - 1).map_err(|fault| {
                        if previous == 0 {
                            Error::damaged("list of chunks", head, next)
                        } else {
                            fault
                        }
                    })?;
                    let links = chunk.links(view, list)?;
                    if u64::from(links.high) != previous || total > used || !fits(i, chunk.kind(view)?) {
                        return Err(Error::damaged(
                            "links of a chunk",
                            chunk.links_at(list),
                            links.high.into(),
                        ));
                    }
                    total += 1;
                    previous = next;
                    next = links.low.into();
                }
            }
            Ok(total)
        };
        let agree = |what, at, found: Result<u64>, counted: u64| match found {
            Ok(found) if found == counted => Ok(()),
            Ok(found) => Err(Error::damaged(what, at, found)),
            Err(fault) => Err(fault),
        };
        for number in 0..=ROWS {
            let owner = Owner::from_number(number).unwrap_or(Owner::SHARED);
            let (with_room, chunks) = (self.with_room[number as usize], self.chunks[number as usize]);
            let (heads, named) = match owner.row() {
                None => (at::CLASS_HEADS, at::CLASS_HEADS),
                Some(row) => (view.load(row + HEADS, "heads of a table")?, row + HEADS),
            };
            if heads == 0 {
                if let Err(fault) = agree("chunks of no table", layout.chunks, Ok(0), chunks) {
                    report(fault)?;
                }
                continue;
            }
            if owner != Owner::SHARED
                && let Err(fault) = check_block(view, heads, HEADS_BYTES, "heads of a table", named)
            {
                report(fault)?;
                continue;
            }
            let found = listed((heads, named), classes::COUNT as u64, List::Room, &|i, kind| {
                kind == Kind::Slots {
                    owner,
                    class: i as usize,
                }
            });
            if let Err(fault) = agree("list of chunks with room", named, found, with_room) {
                report(fault)?;
            }
            if let Some(row) = owner.row() {
                let found = listed(
                    (row + FIRST, row + FIRST),
                    1,
                    List::Owner,
                    &|_, kind| matches!(kind, Kind::Slots { owner: o, .. } | Kind::Run { owner: o, .. } if o == owner),
                );
                if let Err(fault) = agree("list of a table's chunks", row + FIRST, found, chunks) {
                    report(fault)?;
                }
            }
        }
        let found = listed(
            (at::RUN_BINS, at::RUN_BINS),
            BINS,
            List::Room,
            &|bin, kind| matches!(kind, Kind::Free { length } if runs::bin(length) == bin),
        );
        if let Err(fault) = agree("list of free runs", at::RUN_BINS, found, self.free_runs) {
            report(fault)?;
        }
        let hole = |_: u64, kind| matches!(kind, Kind::Hole { .. });
        let found = listed((at::HOLE_HEAD, at::HOLE_HEAD), 1, List::Room, &hole);
        let listed = agree("list of holes", at::HOLE_HEAD, found, self.holes);
        match listed.and_then(|()| holes::check_sum(view, self.stats.holes)) {
            Ok(()) => Ok(()),
            Err(fault) => report(fault),
        }
    }
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
    walk(view, layout, |_, _| {}, &mut refuse).map(|_| ())
}
