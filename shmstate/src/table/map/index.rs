//! The hash index of a map: an extendible hash of small segments, so that it grows and shrinks a segment at a time and never
//! pauses.
//!
//! ```text
//! directory: 2^depth words: offset of a segment, in the low 6 bits its groups; the top `depth` bits of the hash choose
//! segment of 3 or 4 KiB: | u64: depth u8, groups u8, live u16, 0 u32 | 56 bytes 0 | 47 or 63 groups of 64 bytes |
//! group: control word: 7 tags of 8 bits (0 empty; else 0x80 and hash bits 32..39), u8 overflow · 7 entries of 8 bytes
//! entry: bits 0..48 offset of the record's header, bits 48..64 hash bits 40..56; 0 if empty
//! ```
//!
//! - **I1** An entry lies in the group that its hash names (the low 32 bits), or, if that was full, in the next one (cyclic)
//!   that was not. Every group that it went past counts it in *overflow*; 255 stays 255 until the segment is written anew. A
//!   lookup ends at the first group that nobody went past.
//! - **I2** So removing an entry leaves no mark: its tag becomes 0, and the groups that it went past count one less.
//! - **I3** A segment with seven eighths of its entries used is replaced before the next insertion: one of 3 KiB by one of 4 KiB,
//!   one of 4 KiB by two of 3 KiB of the next depth. Two neighbours with a quarter of 4 KiB between them become one. The work is
//!   bounded by one segment. The directory is doubled and halved by copying it, 8 bytes a segment.
//! - **I4** Nothing here trusts what it reads: every offset is checked, every loop is bounded.
//!
//! It does not know keys or values: callers say whether a record is the one they look for, and what a record's hash is.

use crate::crash::{self, Point};
use crate::error::{Error, Report};
use crate::heap::{self, Block};
use crate::region::header::{Activity, at};
use crate::region::view::{Bad, View, Window};
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
/// Where a directory word has the number of groups.
const SIZE: u64 = 63;
/// Entries of a group.
pub(crate) const GROUP: u64 = 7;
/// Deepest directory.
pub(crate) const MAX_DEPTH: u64 = 40;
pub(crate) const OFFSET: u64 = (1 << 48) - 1;

/// Lowest and highest bit of each tag of a control word.
const LOW_BITS: u64 = 0x0001_0101_0101_0101;
const HIGH_BITS: u64 = LOW_BITS << 7;
/// One in the count of overflow, and its most.
pub(crate) const PASSED: u64 = 1 << 56;
const MOST_PASSED: u64 = 255;

/// First root of the row: the directory, then its depth, the seed, how many segments are as deep as it.
pub(crate) const DIRECTORY: u64 = ROOT;
const DEPTH: u64 = ROOT + 8;
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
    slot: u64,
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
    #[inline]
    pub(crate) fn of(word: u64) -> Self {
        Self {
            offset: word & !SIZE,
            groups: word & SIZE,
        }
    }

    fn word(self) -> u64 {
        self.offset | self.groups
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
        self.offset.wrapping_add(64 + index * 64)
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

/// The tag of a hash in a control word, and in an entry.
#[inline]
pub(crate) fn tags(hash: u64) -> (u64, u64) {
    (0x80 | hash >> 32 & 0x7f, hash >> 40 & 0xffff)
}

fn entry(hash: u64, record: u64) -> u64 {
    record | tags(hash).1 << 48
}

/// The first empty entry of a group.
fn vacant(control: u64) -> Option<u64> {
    let empty = !control & HIGH_BITS;
    (empty != 0).then(|| u64::from(empty.trailing_zeros()) / 8)
}

fn with_tag(control: u64, slot: u64, tag: u64) -> u64 {
    control & !(0xff << (slot * 8)) | tag << (slot * 8)
}

/// A directory, read once for a lookup.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Directory {
    offset: u64,
    depth: u64,
    pub(crate) seed: u64,
}

impl Directory {
    #[inline(always)]
    fn segment(self, window: Window<'_>, hash: u64) -> Result<Segment, Bad> {
        // Two shifts, because one by 64 is none. A depth that is damaged gives a place that is checked like any other.
        let slot = (hash >> 1).wrapping_shr(63u32.wrapping_sub(self.depth as u32));
        let word = window.load((self.offset & !7).wrapping_add(slot.wrapping_mul(8)))?;
        Ok(Segment::of(word))
    }

    /// The group that a hash names, for a prefetch.
    #[inline]
    pub(crate) fn home(self, window: Window<'_>, hash: u64) -> Result<u64, Bad> {
        let segment = self.segment(window, hash)?;
        Ok(segment.group(segment.home(hash)))
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
        let (tag, high) = tags(hash);
        let mut index = segment.home(hash);
        for _ in 0..segment.groups {
            let group = segment.group(index);
            let words: &[u64; 8] = window.words(group)?;
            let mut candidates = matches(words[0], tag);
            while candidates != 0 {
                let slot = u64::from(candidates.trailing_zeros()) / 8;
                let entry = words[(slot as usize + 1) & 7];
                // A header is aligned; where an entry says otherwise the key tells.
                let record = entry & OFFSET & !7;
                if entry >> 48 == high
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
            if words[0] < PASSED {
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
        Ok([directory, 0, seed, 1])
    }

    #[inline]
    fn roots(self, view: &View) -> Result<(u64, u64)> {
        let [directory, depth] = view.words(self.row + DIRECTORY, WHAT)?;
        if depth > MAX_DEPTH {
            return Err(Error::damaged(WHAT, self.row + DEPTH, depth));
        }
        Ok((directory, depth))
    }

    /// The directory as it is now.
    #[inline(always)]
    pub(crate) fn directory(self, window: Window<'_>) -> Directory {
        let &[offset, depth, seed] = window.row(self.row + DIRECTORY);
        Directory { offset, depth, seed }
    }

    /// Offset of the record that `hash` most likely leads to, for a prefetch; it may be another one's or none.
    #[inline]
    pub(crate) fn guess(window: Window<'_>, group: u64, hash: u64) -> u64 {
        let (tag, high) = tags(hash);
        let Ok(words) = window.words::<8>(group) else { return 0 };
        let mut candidates = matches(words[0], tag);
        while candidates != 0 {
            let entry = words[candidates.trailing_zeros() as usize / 8 + 1];
            if entry >> 48 == high {
                return entry & OFFSET;
            }
            candidates &= candidates - 1;
        }
        0
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
                let group: [u64; 8] = view.words(segment.group(index), WHAT)?;
                for (i, entry) in group.iter().enumerate().skip(1) {
                    if group[0] >> (i * 8 - 8) & 0x80 != 0 {
                        hash_of(view, entry & OFFSET)?;
                    }
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
            let group = segment.group(index);
            let control = tx.load(group, WHAT)?;
            if let Some(slot) = vacant(control) {
                tx.put(group + 8 + slot * 8, entry(hash, record), WHAT)?;
                tx.put(group, with_tag(control, slot, tags(hash).0), WHAT)?;
                head.live += 1;
                return tx.put(segment.offset, head.word(segment), WHAT);
            }
            if control >> 56 < MOST_PASSED {
                tx.put(group, control + PASSED, WHAT)?;
            }
            index = segment.next(index);
        }
        // The head said that there is room.
        Err(Error::damaged(WHAT, segment.offset, head.live))
    }

    /// Lets an entry point to another record with the same key.
    pub(crate) fn swap(self, tx: &mut Tx<'_>, place: Place, record: u64) -> Result<()> {
        let at = place.group + 8 + place.slot * 8;
        let tag = tx.load(at, WHAT)? & !OFFSET;
        tx.put(at, tag | record, WHAT)
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
        let new = Segment::of(block.offset | old.groups);
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
            let group = segment.group(index);
            if group == place.group {
                break;
            }
            let control = tx.load(group, WHAT)?;
            if (1..MOST_PASSED).contains(&(control >> 56)) {
                tx.put(group, control - PASSED, WHAT)?;
            }
            index = segment.next(index);
        }
        let control = tx.load(place.group, WHAT)?;
        tx.put(place.group, with_tag(control, place.slot, 0), WHAT)?;
        tx.put(place.group + 8 + place.slot * 8, 0, WHAT)?;
        let mut head = segment.head(tx)?;
        head.live = head.live.saturating_sub(1);
        tx.put(segment.offset, head.word(segment), WHAT)?;
        if head.depth > 0 && head.live * 4 < segment.full() && head.live % 8 == 0 {
            self.shrink(tx, hash, segment, head, &hash_of)?;
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
                    return Err(Error::damaged(WHAT, self.row + DEPTH, depth));
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
        tx.put_all(self.row + DIRECTORY, &[new, depth + 1], WHAT)?;
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
        tx.put_all(self.row + DIRECTORY, &[new, depth], WHAT)?;
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
    (segment, slot): (Segment, u64),
    hash_of: &impl Fn(&View, u64) -> Result<u64>,
    each: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<u64> {
    let head = segment.head(view)?;
    if ![SMALL, LARGE].contains(&segment.groups) {
        return Err(Error::damaged(WHAT, directory + slot * 8, segment.word()));
    }
    for i in 0..1 << (depth - head.depth) {
        let at = directory + (slot + i) * 8;
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
        let group = segment.group(index);
        let control = view.load(group, WHAT)?;
        for i in 0..GROUP {
            let (tag, at) = (control >> (i * 8) & 0xff, group + 8 + i * 8);
            let word = view.load(at, WHAT)?;
            if tag == 0 && word == 0 {
                continue;
            }
            let record = word & OFFSET;
            // The record may be out of reach because the entry was altered: the entry is the place to name.
            let hash = hash_of(view, record).map_err(|_| Error::damaged(WHAT, at, word))?;
            if hash >> 1 >> (63 - depth) >> (depth - head.depth) != slot >> (depth - head.depth)
                || tags(hash) != (tag, word >> 48)
            {
                return Err(Error::damaged(WHAT, at, word));
            }
            each(record)?;
            live += 1;
            let mut home = segment.home(hash);
            while home != index {
                passed[home as usize] += 1;
                home = segment.next(home);
            }
        }
    }
    for (index, passed) in passed.iter().enumerate() {
        let group = segment.group(index as u64);
        let counted = view.load(group, WHAT)? >> 56;
        // 255 stays 255 (I1), and only makes lookups look further than they need.
        if counted != *passed && counted != MOST_PASSED {
            return Err(Error::damaged(WHAT, group, counted));
        }
    }
    if live != head.live {
        return Err(Error::damaged(WHAT, segment.offset, head.live));
    }
    Ok(live)
}

/// The entries of a control word with that tag, as the highest bit of each; now and then one too many.
#[inline]
pub(crate) fn matches(control: u64, tag: u64) -> u64 {
    let x = control ^ tag.wrapping_mul(LOW_BITS);
    x.wrapping_sub(LOW_BITS) & !x & HIGH_BITS
}

/// Hash and record of every entry of a segment.
fn entries(view: &View, segment: Segment, hash_of: &impl Fn(&View, u64) -> Result<u64>) -> Result<Vec<(u64, u64)>> {
    let mut entries = Vec::with_capacity((segment.groups * GROUP) as usize);
    for index in 0..segment.groups {
        let words: [u64; 8] = view.words(segment.group(index), WHAT)?;
        for (i, word) in words[1..].iter().enumerate() {
            if words[0] >> (i * 8) & 0x80 != 0 {
                let record = word & OFFSET;
                // All of them are read in the next loop.
                view.prefetch(record.wrapping_sub(8));
                entries.push((0, record));
            }
        }
    }
    for (hash, record) in &mut entries {
        *hash = hash_of(view, *record)?;
    }
    Ok(entries)
}

fn new_segment(tx: &mut Tx<'_>, groups: u64) -> Result<Segment> {
    let offset = heap::alloc(tx, (groups + 1) * 64)?.offset;
    Ok(Segment::of(offset | groups))
}

/// Writes a fresh segment: no log, nobody refers to it yet. A segment has more places than it gets entries.
fn fill(tx: &Tx<'_>, segment: Segment, depth: u64, entries: &mut [(u64, u64)]) -> Result<()> {
    let mut words = vec![[0u64; 8]; segment.groups as usize + 1];
    let head = Head {
        depth,
        live: entries.len() as u64,
    };
    words[0][0] = head.word(segment);
    for (hash, record) in entries.iter() {
        let mut index = segment.home(*hash);
        for _ in 0..segment.groups {
            let group = &mut words[index as usize + 1];
            if let Some(slot) = vacant(group[0]) {
                group[0] = with_tag(group[0], slot, tags(*hash).0);
                group[slot as usize + 1] = entry(*hash, *record);
                break;
            }
            if group[0] >> 56 < MOST_PASSED {
                group[0] += PASSED;
            }
            index = segment.next(index);
        }
    }
    tx.write_fresh_words(segment.offset, words.as_flattened(), WHAT)?;
    debug_assert_eq!(words.len() as u64 * 64, segment.bytes());
    Ok(())
}
