//! The hash index of a map: an extendible hash of small segments, so that it grows and shrinks a segment at a time and never
//! pauses.
//!
//! ```text
//! directory: 2^depth words: offset of a segment's first group, in the low 6 bits how many; the top `depth` bits of the hash choose
//! segment of 3 or 4 KiB: | u64: depth u8, groups u8, live u16, 0 u32 | 56 bytes 0 | 47 or 63 groups of 64 bytes |
//! ```
//!
//! A group is a cache line with ten entries, see [`group`](super::group).
//!
//! - **I1** An entry lies in the group that its hash names (the low 32 bits), or, if that was full, in the next one (cyclic)
//!   that was not. Every group that it went past counts it in *overflow*. A lookup ends at the first group that nobody went past.
//! - **I2** So removing an entry leaves no mark: it becomes empty, and the groups that it went past count one less.
//! - **I3** A segment with seven eighths of its entries used is replaced before the next insertion: one of 3 KiB by one of 4 KiB,
//!   one of 4 KiB by two of 3 KiB of the next depth. Two neighbours with a quarter of 4 KiB between them become one. The work is
//!   bounded by one segment. The directory is doubled and halved by copying it, 8 bytes a segment.
//! - **I4** Nothing here trusts what it reads: every offset is checked, every loop is bounded.
//!
//! It does not know keys or values: callers say whether a record is the one they look for, and what a record's hash is.

use super::group::{self, Group};
use crate::crash::{self, Point};
use crate::error::{Error, Report};
use crate::heap::{self, Block, Owner};
use crate::region::header::{Activity, at};
use crate::region::view::{Bad, Near, View, Window};
use crate::table::catalog::ROOT;
use crate::tx::Tx;

use std::collections::HashMap;

type Result<T, E = Error> = std::result::Result<T, E>;

/// Bytes of a small and of a large segment.
pub(crate) const BYTES: [u64; 2] = [(SMALL + 1) * 64, (LARGE + 1) * 64];

const WHAT: &str = "index";
/// Groups of a small and of a large segment; with the head that makes 3 and 4 KiB.
pub(crate) const SMALL: u64 = 47;
pub(crate) const LARGE: u64 = 63;
/// Bytes before the groups.
const HEAD: u64 = 64;
/// Where a directory word has the number of groups.
const SIZE: u64 = 63;
/// Entries of a group.
const GROUP: u64 = group::ENTRIES as u64;
/// Deepest directory: half of a hash chooses one of its words.
pub(crate) const MAX_DEPTH: u64 = 32;

/// First root of the row: the directory, then how many words it has, the seed, how many segments are as deep as it.
pub(crate) const DIRECTORY: u64 = ROOT;
const WORDS: u64 = ROOT + 8;
/// The seed of the hash, which the map keeps; it stands here to be read together with the other two.
pub(crate) const SEED: u64 = ROOT + 16;
const DEEPEST: u64 = ROOT + 24;
/// Roots that the index uses.
pub(crate) const ROOTS: usize = 4;

/// The index of the map whose catalog row is at `row`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Index {
    row: u64,
}

/// An entry of a record that is in the index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    segment: Segment,
    /// Offset of its group.
    group: u64,
    /// Which entry of the group.
    slot: u32,
    /// Offset of the record's header.
    pub(crate) record: u64,
}

/// A segment as the directory names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) offset: u64,
    pub(crate) groups: u64,
}

impl Segment {
    /// No segment: nothing lies there.
    pub(crate) const NONE: Self = Self { offset: 0, groups: 0 };

    #[inline]
    pub(crate) fn of(word: u64) -> Self {
        Self {
            offset: (word & !SIZE).wrapping_sub(HEAD),
            groups: word & SIZE,
        }
    }

    fn word(self) -> u64 {
        self.offset.wrapping_add(HEAD) | self.groups
    }

    fn bytes(self) -> u64 {
        (self.groups + 1) * 64
    }

    /// Used entries at which it is replaced.
    fn full(self) -> u64 {
        self.groups * GROUP * 7 / 8
    }

    #[inline]
    pub(crate) fn home(self, hash: u64) -> u64 {
        ((hash & 0xffff_ffff) * self.groups) >> 32
    }

    #[inline]
    pub(crate) fn group(self, index: u64) -> u64 {
        self.offset.wrapping_add(HEAD + index * 64)
    }

    #[inline]
    pub(crate) fn next(self, index: u64) -> u64 {
        if index + 1 >= self.groups { 0 } else { index + 1 }
    }

    fn head(self, view: &View) -> Result<Head> {
        let word = view.load(self.offset, WHAT)?;
        let head = Head {
            depth: word & 0xff,
            live: word >> 16 & 0xffff,
        };
        if head.word(self) != word || head.depth > MAX_DEPTH {
            return Err(Error::damaged(WHAT, self.offset, word));
        }
        Ok(head)
    }
}

#[derive(Clone, Copy, Debug)]
struct Head {
    depth: u64,
    live: u64,
}

impl Head {
    fn word(self, segment: Segment) -> u64 {
        self.depth | segment.groups << 8 | self.live << 16
    }
}

/// A directory, read once for a lookup.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Directory {
    offset: u64,
    words: u64,
    pub(crate) seed: u64,
}

/// How deep a directory of so many words is, if there is such.
#[inline]
pub(crate) fn depth_of(words: u64) -> Option<u64> {
    let depth = u64::from(words.trailing_zeros());
    (words.is_power_of_two() && depth <= MAX_DEPTH).then_some(depth)
}

impl Directory {
    /// Where the word is that names the segment of a hash: the top bits of the hash count the words. A number that is damaged gives a
    /// place that is checked like any other.
    #[inline(always)]
    fn place(self, hash: u64) -> u64 {
        let slot = (hash >> 32).wrapping_mul(self.words) >> 32;
        self.offset.wrapping_add(slot.wrapping_mul(8))
    }

    /// The segment of a hash.
    #[inline(always)]
    pub(crate) fn segment(self, window: Window<'_>, hash: u64) -> Result<Segment, Bad> {
        Ok(Segment::of(window.word_at(self.place(hash))?))
    }

    /// The group that a hash names, for a prefetch.
    #[inline]
    pub(crate) fn home(self, window: Window<'_>, hash: u64) -> Result<u64, Bad> {
        let segment = self.segment(window, hash)?;
        Ok(segment.group(segment.home(hash)))
    }

    /// The first entry of the first group that has the tag of the hash: nine of ten lookups end there. `Ok(None)` if the index
    /// has no record with that hash, `Bad` if only [`find`](Self::find) can tell.
    #[inline(always)]
    pub(crate) fn first(self, near: Near<'_>, hash: u64) -> Result<Option<u64>, Bad> {
        let segment = Segment::of(near.word_at(self.place(hash))?);
        let line = near.line(segment.group(segment.home(hash)))?;
        let candidates = group::matches(line, group::tag(hash));
        if candidates != 0 {
            return Ok(Some(group::record(line, candidates.trailing_zeros() as usize)));
        }
        if group::overflow(line) == 0 { Ok(None) } else { Err(Bad) }
    }

    /// Finds the record with that hash for which `is_it` gives something.
    #[inline(always)]
    pub(crate) fn find<T>(
        self,
        window: Window<'_>,
        hash: u64,
        is_it: impl Fn(u64) -> Result<Option<T>, Bad>,
    ) -> Result<Option<(Place, T)>, Bad> {
        let segment = self.segment(window, hash)?;
        let tag = group::tag(hash);
        let mut index = segment.home(hash);
        for _ in 0..segment.groups {
            let group = segment.group(index);
            let line = window.line(group)?;
            let mut candidates = group::matches(line, tag);
            while candidates != 0 {
                let slot = candidates.trailing_zeros();
                let record = group::record(line, slot as usize);
                if record != 0
                    && let Some(found) = is_it(record)?
                {
                    let place = Place {
                        segment,
                        group,
                        slot,
                        record,
                    };
                    return Ok(Some((place, found)));
                }
                candidates &= candidates - 1;
            }
            if group::overflow(line) == 0 {
                break;
            }
            index = segment.next(index);
        }
        Ok(None)
    }
}

impl Index {
    pub(crate) const fn of(row: u64) -> Self {
        Self { row }
    }

    /// An empty index: its roots.
    pub(crate) fn create(tx: &mut Tx<'_>, seed: u64) -> Result<[u64; ROOTS]> {
        let segment = new_segment(tx, SMALL)?;
        fill(tx, segment, 0, &mut [])?;
        let directory = heap::alloc(tx, 8)?.offset;
        tx.store(directory, segment.word(), WHAT)?;
        Ok([directory, 1, seed, 1])
    }

    #[inline]
    fn roots(self, view: &View) -> Result<(u64, u64)> {
        let [directory, words] = view.words(self.row + DIRECTORY, WHAT)?;
        let depth = depth_of(words).ok_or_else(|| Error::damaged(WHAT, self.row + WORDS, words))?;
        Ok((directory, depth))
    }

    /// The directory as it is now.
    #[inline(always)]
    pub(crate) fn directory(self, window: Window<'_>) -> Directory {
        let &[offset, words, seed] = window.row(self.row + DIRECTORY);
        Directory { offset, words, seed }
    }

    /// Offset of the record that `hash` most likely leads to, for a prefetch; it may be another one's or none.
    #[inline]
    pub(crate) fn guess(window: Window<'_>, group: u64, hash: u64) -> u64 {
        let Ok(line) = window.line(group) else { return 0 };
        let candidates = group::matches(line, group::tag(hash));
        group::record(line, candidates.trailing_zeros() as usize)
    }

    /// The segment of a hash.
    fn segment(self, view: &View, hash: u64) -> Result<Segment> {
        let (directory, depth) = self.roots(view)?;
        let word = view.load(directory.wrapping_add((hash >> 1 >> (63 - depth)) * 8), WHAT)?;
        Ok(Segment::of(word))
    }

    /// Walks where [`Directory::find`] walks, and says what is wrong there.
    #[cold]
    pub(crate) fn diagnose(self, view: &View, hash: u64, hash_of: impl Fn(&View, u64) -> Result<u64>) -> Error {
        let look = || {
            let segment = self.segment(view, hash)?;
            segment.head(view)?;
            for index in 0..segment.groups {
                for (_, _, record) in Group::load(view, segment.group(index))?.entries() {
                    hash_of(view, record)?;
                }
            }
            Err(Error::damaged(WHAT, segment.offset, hash))
        };
        look().map_or_else(|e| e, |()| Error::damaged(WHAT, self.row, hash))
    }

    /// Adds a record that is not in the index. `hash_of` tells the hash of a record that is.
    pub(crate) fn add(
        self,
        tx: &mut Tx<'_>,
        hash: u64,
        record: u64,
        hash_of: impl Fn(&View, u64) -> Result<u64>,
    ) -> Result<()> {
        let mut segment = self.segment(tx, hash)?;
        let mut head = segment.head(tx)?;
        // One replacement makes room, unless all entries share the next bit of their hashes: then another one does.
        for _ in 0..2 * MAX_DEPTH {
            if head.live < segment.full() {
                break;
            }
            self.grow(tx, hash, segment, head, &hash_of)?;
            segment = self.segment(tx, hash)?;
            head = segment.head(tx)?;
        }
        let mut index = segment.home(hash);
        for _ in 0..segment.groups {
            let at = segment.group(index);
            let before = Group::load(tx, at)?;
            let mut group = before;
            if let Some(slot) = before.vacant() {
                group.fill(slot, hash, record);
                group.put(tx, at, &before)?;
                head.live += 1;
                return tx.put(segment.offset, head.word(segment), WHAT);
            }
            group.pass(1);
            group.put(tx, at, &before)?;
            index = segment.next(index);
        }
        // The head said that there is room.
        Err(Error::damaged(WHAT, segment.offset, head.live))
    }

    /// Lets an entry point to another record with the same key.
    pub(crate) fn swap(self, tx: &mut Tx<'_>, place: Place, record: u64) -> Result<()> {
        let before = Group::load(tx, place.group)?;
        let (mut group, slot) = (before, place.slot as usize);
        group.swap(slot, record);
        group.put(tx, place.group, &before)
    }

    /// Where every segment lies, and which word of the directory names it first.
    pub(crate) fn places(self, view: &View) -> Result<HashMap<u64, u64>> {
        let mut places = HashMap::new();
        self.segments(view, |segment, slot| {
            places.insert(segment.offset, slot);
            Ok(())
        })?;
        Ok(places)
    }

    /// Moves the segment that the directory's word `slot` names first to a fresh block of the same size.
    pub(crate) fn relocate(self, tx: &mut Tx<'_>, slot: u64, block: Block) -> Result<()> {
        let (directory, depth) = self.roots(tx)?;
        let old = Segment::of(tx.load(directory.wrapping_add(slot * 8), WHAT)?);
        let head = old.head(tx)?;
        if head.depth > depth || old.bytes() > block.size {
            return Err(Error::damaged(WHAT, old.offset, head.depth));
        }
        tx.copy_words(old.offset, block.offset, old.bytes() / 8, WHAT)?;
        let new = Segment {
            offset: block.offset,
            groups: old.groups,
        };
        Self::point(tx, directory, slot, 1 << (depth - head.depth), new)?;
        tx.free(old.offset);
        Ok(())
    }

    /// Takes an entry out (I2), and joins its segment with the neighbour if both are nearly empty (I3).
    pub(crate) fn remove(
        self,
        tx: &mut Tx<'_>,
        hash: u64,
        place: Place,
        hash_of: impl Fn(&View, u64) -> Result<u64>,
    ) -> Result<()> {
        let segment = place.segment;
        let mut index = segment.home(hash);
        for _ in 0..segment.groups {
            let at = segment.group(index);
            if at == place.group {
                break;
            }
            let before = Group::load(tx, at)?;
            let mut group = before;
            group.pass(-1);
            group.put(tx, at, &before)?;
            index = segment.next(index);
        }
        let before = Group::load(tx, place.group)?;
        let mut group = before;
        group.clear(place.slot as usize, hash);
        group.put(tx, place.group, &before)?;
        let mut head = segment.head(tx)?;
        head.live = head.live.saturating_sub(1);
        tx.put(segment.offset, head.word(segment), WHAT)?;
        if head.depth > 0 && head.live * 4 < segment.full() && head.live % 8 == 0 {
            match tx.whole(|tx| self.shrink(tx, hash, segment, head, &hash_of)) {
                // The index stays as large as it is: where there is no memory, records must be taken away all the same. A later removal tries again.
                Err(Error::RegionFull { .. } | Error::OutOfSpace { .. }) => {}
                done => done?,
            }
        }
        Ok(())
    }

    /// The words of the directory that name the segment of a hash: the first, and how many.
    fn covered(hash: u64, depth: u64, segment_depth: u64) -> (u64, u64) {
        let covered = depth - segment_depth;
        let slot = hash >> 1 >> (63 - depth);
        (slot >> covered << covered, 1 << covered)
    }

    fn point(tx: &mut Tx<'_>, directory: u64, first: u64, count: u64, segment: Segment) -> Result<()> {
        let words = vec![segment.word(); count.min(512) as usize];
        let mut done = 0;
        while done < count {
            let n = (count - done).min(512);
            tx.put_all(directory + (first + done) * 8, &words[..n as usize], WHAT)?;
            done += n;
        }
        Ok(())
    }

    /// Replaces a full segment (I3). New segments are fresh memory: only the directory is logged.
    #[cold]
    fn grow(
        self,
        tx: &mut Tx<'_>,
        hash: u64,
        segment: Segment,
        head: Head,
        hash_of: &impl Fn(&View, u64) -> Result<u64>,
    ) -> Result<()> {
        let before = tx.activity(Activity::Growth);
        let (mut directory, mut depth) = self.roots(tx)?;
        if head.depth > depth {
            return Err(Error::damaged(WHAT, segment.offset, head.depth));
        }
        let mut entries = entries(tx, segment, hash_of)?;
        if segment.groups < LARGE {
            let new = new_segment(tx, LARGE)?;
            fill(tx, new, head.depth, &mut entries)?;
            let (first, count) = Self::covered(hash, depth, head.depth);
            Self::point(tx, directory, first, count, new)?;
            crash::point(Point::IndexEnlarged);
        } else {
            let mut deepest = tx.load(self.row + DEEPEST, WHAT)?;
            if head.depth == depth {
                if depth == MAX_DEPTH {
                    return Err(Error::damaged(WHAT, self.row + WORDS, 1 << depth));
                }
                directory = self.double(tx, directory, depth)?;
                depth += 1;
                deepest = 0;
            }
            let bit = 63u64.wrapping_sub(head.depth);
            entries.sort_unstable_by_key(|(hash, _)| hash >> bit & 1);
            let zeroes = entries.partition_point(|(hash, _)| hash >> bit & 1 == 0);
            let (low, high) = entries.split_at_mut(zeroes);
            let (first, count) = Self::covered(hash, depth, head.depth);
            for (i, half) in [low, high].into_iter().enumerate() {
                // Nearly all on one side: then that one gets the large size again.
                let size = if half.len() as u64 >= SMALL * GROUP * 3 / 4 {
                    LARGE
                } else {
                    SMALL
                };
                let new = new_segment(tx, size)?;
                fill(tx, new, head.depth + 1, half)?;
                Self::point(tx, directory, first + i as u64 * count / 2, count / 2, new)?;
            }
            if head.depth + 1 == depth {
                deepest += 2;
            }
            crash::point(Point::IndexSplit);
            tx.put(self.row + DEEPEST, deepest, WHAT)?;
        }
        tx.free(segment.offset);
        tx.set_header(at::ACTIVITY, before);
        Ok(())
    }

    /// Joins a segment with the one that shares its bits but the last, if a quarter of a large one holds both (I3).
    #[cold]
    fn shrink(
        self,
        tx: &mut Tx<'_>,
        hash: u64,
        segment: Segment,
        head: Head,
        hash_of: &impl Fn(&View, u64) -> Result<u64>,
    ) -> Result<()> {
        let (directory, depth) = self.roots(tx)?;
        if head.depth > depth {
            return Err(Error::damaged(WHAT, segment.offset, head.depth));
        }
        let (first, count) = Self::covered(hash, depth, head.depth);
        let other = Segment::of(tx.load(directory + (first ^ count) * 8, WHAT)?);
        let other_head = other.head(tx)?;
        let together = head.live + other_head.live;
        if other_head.depth != head.depth || together * 4 > LARGE * GROUP {
            return Ok(());
        }
        let mut all = entries(tx, segment, hash_of)?;
        all.extend(entries(tx, other, hash_of)?);
        let new = new_segment(tx, SMALL)?;
        fill(tx, new, head.depth - 1, &mut all)?;
        Self::point(tx, directory, first & !count, count * 2, new)?;
        crash::point(Point::IndexJoined);
        tx.free(segment.offset);
        tx.free(other.offset);
        if head.depth == depth {
            let deepest = tx.load(self.row + DEEPEST, WHAT)?.saturating_sub(2);
            tx.put(self.row + DEEPEST, deepest, WHAT)?;
            if deepest == 0 {
                self.halve(tx, directory, depth)?;
            }
        }
        Ok(())
    }

    fn double(self, tx: &mut Tx<'_>, directory: u64, depth: u64) -> Result<u64> {
        let count = 1u64 << depth;
        let new = heap::alloc(tx, count * 16)?.offset;
        for i in 0..count {
            let word = tx.load(directory + i * 8, WHAT)?;
            tx.store(new + i * 16, word, WHAT)?;
            tx.store(new + i * 16 + 8, word, WHAT)?;
        }
        tx.put_all(self.row + DIRECTORY, &[new, 2 << depth], WHAT)?;
        crash::point(Point::IndexDoubled);
        tx.free(directory);
        Ok(new)
    }

    /// No segment is as deep as the directory: every second word of it says nothing new.
    fn halve(self, tx: &mut Tx<'_>, directory: u64, depth: u64) -> Result<()> {
        let depth = depth - 1;
        let count = 1u64 << depth;
        let new = heap::alloc(tx, count * 8)?.offset;
        for i in 0..count {
            let word = tx.load(directory + i * 16, WHAT)?;
            tx.store(new + i * 8, word, WHAT)?;
        }
        let mut deepest = 0;
        let mut slot = 0;
        while slot < count {
            let segment = Segment::of(tx.load(new + slot * 8, WHAT)?);
            let head = segment.head(tx)?;
            if head.depth > depth {
                return Err(Error::damaged(WHAT, segment.offset, head.depth));
            }
            deepest += u64::from(head.depth == depth);
            slot += 1 << (depth - head.depth);
        }
        tx.put_all(self.row + DIRECTORY, &[new, 1 << depth], WHAT)?;
        crash::point(Point::IndexHalved);
        tx.put(self.row + DEEPEST, deepest, WHAT)?;
        tx.free(directory);
        Ok(())
    }

    /// The roots of a directory that is a block long enough.
    fn checked_roots(self, view: &View) -> Result<(u64, u64)> {
        let (directory, depth) = self.roots(view)?;
        heap::check_block(view, directory, 8 << depth, WHAT, self.row + DIRECTORY)?;
        Ok((directory, depth))
    }

    /// Visits every segment once.
    fn segments(self, view: &View, mut each: impl FnMut(Segment, u64) -> Result<()>) -> Result<()> {
        let (directory, depth) = self.roots(view)?;
        let mut slot = 0u64;
        while slot < 1 << depth {
            let word = view.load(directory + slot * 8, WHAT)?;
            let segment = Segment::of(word);
            let head = match segment.head(view) {
                Ok(head) => head,
                Err(fault) => {
                    // Is it the head, or the word that leads to it?
                    heap::check_block(view, segment.offset, segment.bytes(), WHAT, directory + slot * 8)?;
                    return Err(fault);
                }
            };
            if head.depth > depth {
                return Err(Error::damaged(WHAT, segment.offset, head.depth));
            }
            each(segment, slot)?;
            slot += 1 << (depth - head.depth);
        }
        Ok(())
    }

    /// Visits the blocks of the index: the directory and the segments.
    pub(crate) fn blocks(self, view: &View, mut each: impl FnMut(u64)) -> Result<()> {
        each(self.checked_roots(view)?.0);
        self.segments(view, |segment, _| {
            each(segment.offset);
            Ok(())
        })
    }

    /// Checks every byte of the index that means something: all words of the directory, heads, tags, counts, and that what is
    /// empty is zero. `hash_of` tells the hash of a record; `each` gets every record, `report` every fault: after one in a
    /// segment it goes on with the next, if `report` says so. Gives the number of records.
    pub(crate) fn check(
        self,
        view: &View,
        hash_of: impl Fn(&View, u64) -> Result<u64>,
        mut each: impl FnMut(u64, &mut Report<'_>) -> Result<()>,
        report: &mut Report<'_>,
    ) -> Result<u64> {
        let (directory, depth) = self.checked_roots(view)?;
        let (mut records, mut deepest) = (0, 0);
        self.segments(view, |segment, slot| {
            let head = segment.head(view)?;
            deepest += u64::from(head.depth == depth);
            let mut found = |record| each(record, report);
            let checked = check_segment(view, (directory, depth), (segment, slot), &hash_of, &mut found);
            match checked {
                Ok(live) => records += live,
                Err(fault) => report(fault)?,
            }
            Ok(())
        })?;
        let counted = view.load(self.row + DEEPEST, WHAT)?;
        if counted != deepest {
            report(Error::damaged(WHAT, self.row + DEEPEST, counted))?;
        }
        Ok(records)
    }
}

/// Checks a segment that stands at word `slot` of a directory; gives the number of its records.
fn check_segment(
    view: &View,
    (directory, depth): (u64, u64),
    (segment, slot_of_directory): (Segment, u64),
    hash_of: &impl Fn(&View, u64) -> Result<u64>,
    each: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<u64> {
    let head = segment.head(view)?;
    if ![SMALL, LARGE].contains(&segment.groups) {
        return Err(Error::damaged(WHAT, directory + slot_of_directory * 8, segment.word()));
    }
    for i in 0..1 << (depth - head.depth) {
        let at = directory + (slot_of_directory + i) * 8;
        let word = view.load(at, WHAT)?;
        if word != segment.word() {
            return Err(Error::damaged(WHAT, at, word));
        }
    }
    for i in 1..8 {
        let word = view.load(segment.offset + i * 8, WHAT)?;
        if word != 0 {
            return Err(Error::damaged(WHAT, segment.offset + i * 8, word));
        }
    }
    let mut live = 0;
    let mut passed = vec![0u64; segment.groups as usize];
    for index in 0..segment.groups {
        let at = segment.group(index);
        let group = Group::load(view, at)?;
        let mut check = 0;
        for slot in 0..group::ENTRIES {
            let (tag, record) = (group.tag(slot), group.record(slot));
            if tag == 0 && record == 0 {
                continue;
            }
            // The record may be out of reach because the entry was altered: the entry is the place to name.
            let fault = || Error::damaged(WHAT, at + slot as u64, record);
            let hash = hash_of(view, record).map_err(|_| fault())?;
            if hash >> 1 >> (63 - depth) >> (depth - head.depth) != slot_of_directory >> (depth - head.depth)
                || group::tag(hash) != tag
            {
                return Err(fault());
            }
            each(record)?;
            live += 1;
            check ^= group::check_of(hash);
            let mut home = segment.home(hash);
            while home != index {
                passed[home as usize] += 1;
                home = segment.next(home);
            }
        }
        if check != group.check() {
            return Err(Error::damaged(WHAT, at + 8, group.check().into()));
        }
    }
    for (index, passed) in passed.iter().enumerate() {
        let at = segment.group(index as u64);
        let counted = Group::load(view, at)?.overflow();
        if u64::from(counted) != *passed {
            return Err(Error::damaged(WHAT, at + 8, counted.into()));
        }
    }
    if live != head.live {
        return Err(Error::damaged(WHAT, segment.offset, head.live));
    }
    Ok(live)
}

/// Hash and record of every entry of a segment.
fn entries(view: &View, segment: Segment, hash_of: &impl Fn(&View, u64) -> Result<u64>) -> Result<Vec<(u64, u64)>> {
    let mut entries = Vec::with_capacity((segment.groups * GROUP) as usize);
    for index in 0..segment.groups {
        for (_, _, record) in Group::load(view, segment.group(index))?.entries() {
            // All of them are read in the next loop.
            view.prefetch(record.wrapping_sub(8));
            entries.push((0, record));
        }
    }
    for (hash, record) in &mut entries {
        *hash = hash_of(view, *record)?;
    }
    Ok(entries)
}

/// A fresh segment. Its groups are lines of memory, and the directory has its size where the low bits of its offset would be: so it lies at a multiple
/// of 64, also where it is put in a slot that is larger than it.
fn new_segment(tx: &mut Tx<'_>, groups: u64) -> Result<Segment> {
    let offset = heap::alloc_for(tx, Owner::SHARED, (groups + 1) * 64, 64)?.offset;
    Ok(Segment { offset, groups })
}

/// Writes a fresh segment: no log, nobody refers to it yet. A segment has more places than it gets entries.
fn fill(tx: &Tx<'_>, segment: Segment, depth: u64, entries: &mut [(u64, u64)]) -> Result<()> {
    let mut groups = vec![Group::EMPTY; segment.groups as usize];
    let head = Head {
        depth,
        live: entries.len() as u64,
    };
    for (hash, record) in entries.iter() {
        let mut index = segment.home(*hash);
        for _ in 0..segment.groups {
            let group = &mut groups[index as usize];
            if let Some(slot) = group.vacant() {
                group.fill(slot, *hash, *record);
                break;
            }
            group.pass(1);
            index = segment.next(index);
        }
    }
    debug_assert_eq!((groups.len() as u64 + 1) * 64, segment.bytes());
    tx.write_fresh_words(segment.offset, &[head.word(segment), 0, 0, 0, 0, 0, 0, 0], WHAT)?;
    for (group, index) in groups.iter().zip(0..) {
        tx.write_fresh(segment.group(index), &group.0, WHAT)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::refuse;
    use crate::table::catalog;
    use crate::{Map, Region};

    /// More entries than a byte could count went past one group: the count is right while they come and go.
    /// Where a slot that is larger than a segment is at hand, and none of its own size.
    #[test]
    fn segments_lie_at_whole_lines_in_whatever_slot() {
        let mut region = Region::in_memory(8 << 20).expect("region");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let mut tx = region.begin(&pass).expect("begin");
        for bytes in (BYTES[0] + 16..2 * BYTES[1]).step_by(16) {
            heap::alloc(&mut tx, bytes).expect("alloc");
            for groups in [SMALL, LARGE] {
                let segment = new_segment(&mut tx, groups).expect("segment");
                assert_eq!(segment.offset % 64, 0, "beside blocks of {bytes}");
                assert_eq!(Segment::of(segment.word()), segment);
            }
        }
    }

    #[test]
    fn hundreds_that_go_past_one_group_are_counted() {
        let mut region = Region::in_memory(4 << 20).expect("region");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let mut tx = region.begin(&pass).expect("begin");
        let _map: Map<u64, u64> = Map::create(&mut tx, "map").expect("create");
        let row = catalog::rows(&tx).expect("rows")[0].offset;
        let index = Index::of(row);
        // A record that is nothing but its hash.
        let hash_of = |view: &View, record: u64| view.load(record, "test");
        let sound = |tx: &Tx<'_>| index.check(tx, hash_of, |_, _| Ok(()), &mut refuse).expect("sound");
        let mut hashes = Vec::new();
        for i in 0..380u64 {
            let hash = (i << 32) | (i % 3);
            let record = heap::alloc(&mut tx, 8).expect("alloc").offset;
            tx.store(record, hash, "test").expect("store");
            index.add(&mut tx, hash, record, hash_of).expect("add");
            hashes.push((hash, record));
            assert_eq!(sound(&tx), i + 1);
        }
        let window = tx.window();
        let first = index.directory(window).home(window, 0).expect("group");
        let passed = Group::load(&tx, first).expect("group").overflow();
        assert!(passed > 255, "{passed} went past the first group");
        fastrand::Rng::with_seed(9).shuffle(&mut hashes);
        for (i, (hash, record)) in hashes.iter().enumerate() {
            let window = tx.window();
            let is_it = |found| Ok((found == *record).then_some(()));
            let found = index.directory(window).find(window, *hash, is_it);
            let (place, ()) = found.ok().flatten().expect("there");
            index.remove(&mut tx, *hash, place, hash_of).expect("remove");
            assert_eq!(sound(&tx), 379 - i as u64);
        }
    }
}
