//! The undo log: the bytes that a transaction overwrote, in the region, so that any process can take them back.
//!
//! An entry is its data followed by a footer, so that the log is read backwards from its length:
//!
//! ```text
//! old bytes, a multiple of 8 · footer: u48 offset they were at · u16 check · u32 their length · i32 record
//! ```
//!
//! The check is folded from every other bit of the entry, and so is the upper quarter of the published length from the rest of
//! it ([`seal`]): one altered byte is always noticed. `record` is the distance in bytes from the offset to the header of the record that was being changed in place, 0 if
//! none: taking the entry back makes that record's sequence even again.
//!
//! - **U1** The log is a chain of extents kept for the region's life (T7). The first lies behind the catalog, each further
//!   one is twice as long and is made where the memory taken so far ends (B2); they are linked outside any transaction.
//! - **U2** Positions are logical: extent `i` covers `start_i .. start_i + length_i`. An entry never straddles two extents;
//!   where the log goes on in the next extent, the row of the one before says how much of it was used, sealed: a lesser number
//!   would pass over entries, and all that is left would still fit.
//! - **U3** Order (T6): data and footer → release store of the length → compiler fence → the change itself.
//! - **U4** `undo` checks the whole log before it writes the first byte, needs no memory, and may be killed and repeated
//!   at any point: it restores the same bytes to the same places, and empties the log last (T1).

use crate::broken::{self, Broken};
use crate::crash::{self, Point};
use crate::error::{Error, FOR_LOG, Result};
use crate::region::backing::{Backing, Taking};
use crate::region::growth;
use crate::region::header::{Activity, CHUNK, FIRST_LOG, LOG_TABLE_ROW, LOG_TABLE_ROWS, Layout, at};
pub(crate) use crate::region::seal::{CHECK_SHIFT, LOW, seal, unseal};
use crate::region::seal::{SALT, fold};
use crate::region::view::View;
use std::sync::atomic::{AtomicU64, Ordering, compiler_fence};

/// Bytes of an entry's footer.
pub(crate) const FOOTER: u64 = 16;
/// Longest data of one entry; longer ranges are logged in pieces.
pub(crate) const MAX_ENTRY: u64 = 32 * 1024;
/// Bytes of a word.
const WORD: u64 = 8;
/// Bytes of a record's header, see `table::record`.
const RECORD_HEADER: u64 = 8;
const WHAT: &str = "undo log";

/// The check of an entry: `sum` over its data, `target` and `second` from its footer.
#[inline]
pub(crate) const fn check(sum: u64, target: u64, second: u64) -> u64 {
    fold(sum ^ target ^ second.rotate_left(8)) ^ SALT
}

#[derive(Clone, Copy, Debug)]
struct Extent {
    offset: u64,
    length: u64,
    /// Logical position of its first byte.
    start: u64,
}

/// The log as its writer sees it: where the next entry goes.
#[derive(Debug)]
pub(crate) struct Log {
    layout: Layout,
    extents: Vec<Extent>,
    current: usize,
    /// Where in the region the next entry goes. An atomic, like the length, only so that a transaction that is being read can
    /// log what it had held back.
    next: AtomicU64,
    /// Where the current extent ends, and the logical position of the region's byte 0 if it were part of it.
    end: u64,
    bias: u64,
    /// Published length.
    length: AtomicU64,
}

/// A place in the log, to go back to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    extent: usize,
    next: u64,
    length: u64,
}

/// What `undo` took back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Undone {
    /// Entries of the log.
    pub entries: u64,
    /// Bytes restored.
    pub bytes: u64,
}

impl Log {
    /// Reads the chain from the header.
    pub(crate) fn load(view: &View, layout: Layout) -> Result<Self> {
        let mut log = Self {
            layout,
            extents: Vec::new(),
            current: 0,
            next: AtomicU64::new(0),
            end: 0,
            bias: 0,
            length: AtomicU64::new(0),
        };
        log.reload(view)?;
        Ok(log)
    }

    fn reload(&mut self, view: &View) -> Result<()> {
        // EXTENT pair: the rows that count are complete, and `TAKEN` is above them.
        let count = view.header_word(at::LOG_EXTENTS).load(Ordering::Acquire);
        let taken = view.size(at::TAKEN);
        if !(1..=LOG_TABLE_ROWS).contains(&count) {
            return Err(Error::damaged(WHAT, at::LOG_EXTENTS, count));
        }
        self.extents.clear();
        let mut start = 0;
        let mut free = self.layout.heap;
        for i in 0..count {
            let row = at::LOG_TABLE + i * LOG_TABLE_ROW;
            let (offset, length) = (view.header(row), view.header(row + 8));
            let sound = if i == 0 {
                offset == self.layout.log && length == FIRST_LOG
            } else {
                let end = offset.checked_add(length).filter(|end| *end <= taken);
                length == FIRST_LOG << i && offset >= free && offset.is_multiple_of(CHUNK) && end.is_some()
            };
            if !sound {
                return Err(Error::damaged(WHAT, row, offset));
            }
            if i > 0 {
                free = offset + length;
            }
            self.extents.push(Extent { offset, length, start });
            start += length;
        }
        self.empty();
        Ok(())
    }

    /// The sealed word of the published length: 0 if nothing is to be taken back.
    #[inline]
    pub(crate) fn published(view: &View) -> u64 {
        // LOG pair: whoever sees that nothing is open sees what was taken back, also by another thread.
        view.header_word(at::LOG_LENGTH).load(Ordering::Acquire)
    }

    /// Goes back to the start: the published length is 0.
    #[inline]
    pub(crate) fn empty(&mut self) {
        *self.length.get_mut() = 0;
        self.enter(0);
    }

    /// Another process may have lengthened the chain since this one looked.
    pub(crate) fn refresh(&mut self, view: &View) -> Result<()> {
        self.reload(view)
    }

    #[inline]
    fn enter(&mut self, extent: usize) {
        let e = self.extents[extent];
        self.current = extent;
        *self.next.get_mut() = e.offset;
        self.end = e.offset + e.length;
        self.bias = e.start.wrapping_sub(e.offset);
    }

    /// Whether nothing was logged since it was emptied.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.length.load(Ordering::Relaxed) == 0
    }

    /// Logs the bytes of `offset..offset + length`, rounded outward to words, and publishes the entry (U3). `record` is the
    /// offset of the header of the record being changed, 0 if none.
    #[inline]
    pub(crate) fn append(
        &mut self,
        view: &View,
        backing: &dyn Backing,
        offset: u64,
        length: u64,
        record: u64,
    ) -> Result<()> {
        let bytes = (offset + length - (offset & !7)).next_multiple_of(8);
        if *self.next.get_mut() + bytes + FOOTER > self.end {
            self.next_extent(view, backing)?;
        }
        self.append_here(view, offset & !7, bytes, record)
    }

    /// Logs one word as the first entry of a transaction: there is always room for it.
    #[inline]
    pub(crate) fn append_first(&self, view: &View, offset: u64, record: u64) -> Result<()> {
        self.append_here(view, offset, 8, record)
    }

    /// Logs and changes one word of a record that was checked before; the record's sequence moves with it. `false` if the
    /// current extent has no room for the entry.
    #[inline(always)]
    pub(crate) fn change_word(&self, view: &View, offset: u64, value: u64, record: u64) -> bool {
        let Some([next, before, length]) = self.enter_word(view) else {
            return false;
        };
        let second = WORD | u64::from(record.wrapping_sub(offset) as u32) << 32;
        view.change_known_word(
            [next, offset, record],
            value,
            |old| [offset | check(old, offset, second) << CHECK_SHIFT, second],
            || Self::publish(view, before, length),
            [|word| word | CHANGING, settled],
        );
        true
    }

    /// Logs and changes one word that is no part of a record. Says whether it did: it does not if the current extent has no room for the
    /// entry.
    #[inline]
    pub(crate) fn put_word(&self, view: &View, offset: u64, value: u64, what: &'static str) -> Result<bool> {
        let word = view.word(offset, what)?;
        let Some([next, before, length]) = self.enter_word(view) else {
            return Ok(false);
        };
        let old = word.load(Ordering::Relaxed);
        view.enter_known(next, [old, offset | check(old, offset, WORD) << CHECK_SHIFT, WORD]);
        Self::publish(view, before, length);
        word.store(value, Ordering::Relaxed);
        view.record(offset, WORD);
        Ok(true)
    }

    /// Where the entry of one word goes, and the log's length before and after it; the next one goes behind it. `None` if the current extent
    /// has no room for it.
    #[inline(always)]
    fn enter_word(&self, view: &View) -> Option<[u64; 3]> {
        let next = self.next.load(Ordering::Relaxed);
        let after = next + WORD + FOOTER;
        if after > self.end {
            return None;
        }
        let length = after.wrapping_add(self.bias);
        let before = self.length.load(Ordering::Relaxed);
        if before == 0 {
            turn(view);
        }
        self.next.store(after, Ordering::Relaxed);
        self.length.store(length, Ordering::Relaxed);
        Some([next, before, length])
    }

    #[inline(always)]
    fn publish(view: &View, before: u64, length: u64) {
        crash::point(Point::LogWritten);
        if !broken::is(Broken::Publish) {
            // LOG pair: whoever sees the new length, in this boot, sees the entry: the release store keeps the compiler from
            // moving the entry's stores below it, and the fence keeps the change itself from moving above it (T6).
            let published = if broken::is(Broken::Fence) { before } else { length };
            view.publish_header(at::LOG_LENGTH, seal(published));
        }
        compiler_fence(Ordering::SeqCst);
        crash::point(Point::LogPublished);
    }

    #[inline]
    fn append_here(&self, view: &View, start: u64, bytes: u64, record: u64) -> Result<()> {
        let distance = if record == 0 {
            0
        } else {
            record.wrapping_sub(start) as u32
        };
        let second = bytes | u64::from(distance) << 32;
        let before = self.length.load(Ordering::Relaxed);
        if before == 0 {
            turn(view);
        }
        let next = self.next.load(Ordering::Relaxed);
        let tail = |sum| [start | check(sum, start, second) << CHECK_SHIFT, second];
        view.append(start, next, bytes / 8, tail, WHAT)?;
        let next = next + bytes + FOOTER;
        self.next.store(next, Ordering::Relaxed);
        let length = next.wrapping_add(self.bias);
        self.length.store(length, Ordering::Relaxed);
        Self::publish(view, before, length);
        Ok(())
    }

    #[cold]
    fn next_extent(&mut self, view: &View, backing: &dyn Backing) -> Result<()> {
        let used = *self.next.get_mut() - self.extents[self.current].offset;
        let row = at::LOG_TABLE + self.current as u64 * LOG_TABLE_ROW;
        view.set_header(row + 16, seal(used));
        crash::point(Point::LogFull);
        if self.current + 1 == self.extents.len() {
            self.lengthen(view, backing)?;
        }
        self.enter(self.current + 1);
        Ok(())
    }

    /// Links a further extent, twice as long as the last, outside any transaction (U1).
    fn lengthen(&mut self, view: &View, backing: &dyn Backing) -> Result<()> {
        let activity = view.header(at::ACTIVITY);
        view.set_header(at::ACTIVITY, Activity::Growth as u64);
        let linked = self.link(view, backing);
        view.set_header(at::ACTIVITY, activity);
        self.extents.push(linked?);
        Ok(())
    }

    fn link(&self, view: &View, backing: &dyn Backing) -> Result<Extent> {
        let i = self.extents.len() as u64;
        let offset = growth::size(view, at::TAKEN)?;
        let length = FIRST_LOG.checked_shl(i as u32).filter(|_| i < LOG_TABLE_ROWS);
        let full = |wanted| Error::RegionFull {
            what: FOR_LOG,
            wanted,
            used: offset,
            capacity: growth::capacity(view, &self.layout),
            reserve: self.layout.reserve,
        };
        let length = length.ok_or_else(|| full(FIRST_LOG))?;
        // A kill after this leaves memory that the heap grows into.
        let grown = growth::grow_to(view, backing, &self.layout, offset + length, Taking::Step);
        if grown.map_err(|e| {
            if matches!(e, Error::RegionFull { .. }) {
                full(length)
            } else {
                e
            }
        })? {
            view.set_header(at::SMALL_STEPS, view.header(at::SMALL_STEPS).wrapping_add(1));
        }
        crash::point(Point::ExtentTaken);
        let row = at::LOG_TABLE + i * LOG_TABLE_ROW;
        view.set_header(row, offset);
        view.set_header(row + 8, length);
        view.set_header(row + 16, 0);
        // EXTENT pair: the row is complete, and its memory below `TAKEN`, before it counts. A kill before this store leaves a
        // row that is written again.
        compiler_fence(Ordering::SeqCst);
        crash::point(Point::ExtentRow);
        view.publish_header(at::LOG_EXTENTS, i + 1);
        crash::point(Point::ExtentCounts);
        let last = self.extents[self.extents.len() - 1];
        Ok(Extent {
            offset,
            length,
            start: last.start + last.length,
        })
    }

    /// Takes back everything in the log and empties it (U4). The caller owns the region, and whoever wrote the log is dead
    /// or is this thread (T4).
    pub(crate) fn undo(&mut self, view: &View) -> Result<Undone> {
        self.reload(view)?;
        let word = Self::published(view);
        let length = unseal(word).ok_or_else(|| Error::damaged(WHAT, at::LOG_LENGTH, word))?;
        let checked = self.walk(view, length, 0, |_| Ok(()))?;
        crash::point(Point::UndoChecked);
        self.walk(view, length, 0, |entry| entry.restore(view))?;
        crash::point(Point::UndoAll);
        turn(view);
        // The restored bytes are there before the log says that there is nothing to restore.
        compiler_fence(Ordering::SeqCst);
        view.publish_header(at::LOG_LENGTH, 0);
        compiler_fence(Ordering::SeqCst);
        crash::point(Point::UndoDone);
        self.empty();
        Ok(checked)
    }

    /// Whether the log, as it is published now, has an entry for any of these bytes: then they are of a transaction that is not committed. For who
    /// looks on: against a writer that goes on it may find damage that is none.
    pub(crate) fn covers(view: &View, layout: Layout, from: u64, to: u64) -> Result<bool> {
        let log = Self::load(view, layout)?;
        let word = Self::published(view);
        let length = unseal(word).ok_or_else(|| Error::damaged(WHAT, at::LOG_LENGTH, word))?;
        let mut covered = false;
        log.walk(view, length, 0, |entry| {
            covered |= entry.target < to && entry.target + entry.bytes > from;
            Ok(())
        })?;
        Ok(covered)
    }

    /// Where the log is now.
    pub(crate) fn mark(&self) -> Mark {
        Mark {
            extent: self.current,
            next: self.next.load(Ordering::Relaxed),
            length: self.length.load(Ordering::Relaxed),
        }
    }

    /// Takes back what was logged since the mark, which is one of this transaction. A kill meanwhile leaves the whole log, and all of
    /// it is undone then: restoring twice restores the same.
    pub(crate) fn undo_to(&mut self, view: &View, mark: Mark) -> Result<()> {
        let length = *self.length.get_mut();
        if mark.length > length || mark.extent >= self.extents.len() {
            return Err(Error::damaged(WHAT, at::LOG_LENGTH, mark.length));
        }
        // Nothing was logged, nor changed: nobody who looks on need know.
        if length != mark.length {
            self.walk(view, length, mark.length, |_| Ok(()))?;
            self.walk(view, length, mark.length, |entry| entry.restore(view))?;
            // As in `undo`: the bytes first, then the length that no longer covers their entries.
            turn(view);
            compiler_fence(Ordering::SeqCst);
            view.publish_header(at::LOG_LENGTH, seal(mark.length));
            compiler_fence(Ordering::SeqCst);
            // Again, for who looked in between: the log may get as long as it was.
            turn(view);
            compiler_fence(Ordering::SeqCst);
        }
        self.enter(mark.extent);
        *self.next.get_mut() = mark.next;
        *self.length.get_mut() = mark.length;
        Ok(())
    }

    /// Visits the entries from the last to the first behind `stop`.
    fn walk(&self, view: &View, length: u64, stop: u64, mut visit: impl FnMut(Entry) -> Result<()>) -> Result<Undone> {
        let mut undone = Undone::default();
        let mut position = length;
        let bad = |found| Error::damaged(WHAT, at::LOG_LENGTH, found);
        if !length.is_multiple_of(8) {
            return Err(bad(length));
        }
        while position > stop {
            let i = self
                .extents
                .iter()
                .position(|e| position <= e.start + e.length)
                .ok_or_else(|| bad(position))?;
            let e = self.extents[i];
            let inside = position - e.start;
            if inside == 0 {
                return Err(bad(position));
            }
            let footer = e.offset + inside.checked_sub(FOOTER).ok_or_else(|| bad(position))?;
            let first = view.load(footer, WHAT)?;
            let target = first & LOW;
            let word = view.load(footer + 8, WHAT)?;
            let bytes = word & 0xffff_ffff;
            if bytes == 0 || bytes % 8 != 0 || bytes > inside - FOOTER {
                return Err(Error::damaged(WHAT, footer + 8, word));
            }
            if check(view.sum(footer - bytes, bytes / 8, WHAT)?, target, word) != first >> CHECK_SHIFT {
                return Err(Error::damaged(WHAT, footer, first));
            }
            let distance = i64::from((word >> 32) as u32 as i32);
            let entry = Entry {
                data: footer - bytes,
                target,
                bytes,
                record: if distance == 0 {
                    0
                } else {
                    target.wrapping_add_signed(distance)
                },
            };
            self.check_target(view, footer, &entry)?;
            visit(entry)?;
            undone.entries += 1;
            undone.bytes += bytes;
            position -= bytes + FOOTER;
            if i > 0 && position == e.start {
                let row = at::LOG_TABLE + (i as u64 - 1) * LOG_TABLE_ROW;
                let word = view.header(row + 16);
                let used = unseal(word).unwrap_or(0);
                let before = self.extents[i - 1];
                if used == 0 || used > before.length || !used.is_multiple_of(8) {
                    return Err(Error::damaged(WHAT, row + 16, word));
                }
                position = before.start + used;
            }
        }
        Ok(undone)
    }

    /// An entry may only name what transactions change: the ends of the heap and, where both move down, of the memory taken, the lists, the catalog, the chunk table, the heap.
    fn check_target(&self, view: &View, footer: u64, entry: &Entry) -> Result<()> {
        let l = &self.layout;
        let taken = view.size(at::TAKEN);
        let end = entry.target.saturating_add(entry.bytes);
        let within = |from: u64, to: u64| entry.target >= from && end <= to;
        let in_log = |from: u64, to: u64| self.extents.iter().any(|e| from < e.offset + e.length && to > e.offset);
        let allowed = within(at::TAKEN, at::HEAP_END + 8)
            || within(at::CLASS_HEADS, at::HOLES_STALE)
            || within(at::MOVES, at::RESERVED)
            || within(l.catalog, l.log)
            || within(l.chunks, l.heap)
            || (within(l.heap, taken) && !in_log(entry.target, end));
        if !allowed || !entry.target.is_multiple_of(8) {
            return Err(Error::damaged(WHAT, footer, entry.target));
        }
        if entry.record != 0
            && (entry.record < l.heap
                || !entry.record.is_multiple_of(8)
                || entry.record.saturating_add(RECORD_HEADER) > taken
                || in_log(entry.record, entry.record + RECORD_HEADER))
        {
            return Err(Error::damaged(WHAT, footer + 8, entry.record));
        }
        Ok(())
    }
}

struct Entry {
    data: u64,
    target: u64,
    bytes: u64,
    record: u64,
}

impl Entry {
    fn restore(&self, view: &View) -> Result<()> {
        if self.record == 0 {
            view.copy_words(self.data, self.target, self.bytes / 8, WHAT)?;
        } else {
            self.restore_record(view)?;
        }
        crash::point(Point::UndoEntry);
        Ok(())
    }

    /// SEQUENCE pair, as when the record was changed: odd while its bytes are restored. The sequence is never restored with them, so
    /// that no observer finds the one that it saw before.
    fn restore_record(&self, view: &View) -> Result<()> {
        let header = view.load(self.record, WHAT)? | CHANGING;
        view.store(self.record, header, WHAT)?;
        compiler_fence(Ordering::SeqCst);
        let end = self.target + self.bytes;
        let mut rest = header;
        if (self.target..end).contains(&self.record) {
            let before = self.record - self.target;
            view.copy_words(self.data, self.target, before / 8, WHAT)?;
            rest = view.load(self.data + before, WHAT)?;
            let (from, to) = (self.data + before + 8, self.record + 8);
            view.copy_words(from, to, (end - to) / 8, WHAT)?;
        } else {
            view.copy_words(self.data, self.target, self.bytes / 8, WHAT)?;
        }
        compiler_fence(Ordering::SeqCst);
        view.store(self.record, rest & !SEQUENCE | settled(header) & SEQUENCE, WHAT)
    }
}

/// EPOCH pair: the epoch changes before a transaction publishes its first entry, and before its log is emptied or shortened, by
/// whomever. So an observer that saw anything of a transaction, and now sees its end or another one, sees another epoch.
#[inline]
pub(crate) fn turn(view: &View) {
    view.set_header(at::EPOCH, view.header(at::EPOCH).wrapping_add(1));
}

/// Where the sequence stands in a record's header word, see `table::record`.
const SEQUENCE: u64 = 0xffff << 48;

/// In a record's header: it is being changed.
pub(crate) const CHANGING: u64 = 1 << 48;

/// The word of a record's header with the sequence made even: nobody is changing it any more.
#[inline]
pub(crate) const fn settled(word: u64) -> u64 {
    // The sequence is the highest part of the word: what comes round falls off.
    (word | CHANGING).wrapping_add(CHANGING)
}

/// Settles the record whose header is at `record`.
#[inline]
pub(crate) fn settle(view: &View, record: u64) -> Result<()> {
    let word = view.load(record, "record header")?;
    view.store(record, settled(word), "record header")
}
