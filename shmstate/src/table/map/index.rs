//! The hash index of a map: an extendible hash of small segments, so that it grows a segment at a time and never pauses.
//!
//! ```text
//! directory: 2^depth words, each the offset of a segment; the top `depth` bits of the hash choose
//! segment, 4096 bytes: | u64: depth u8, 0 u8, live u16, deleted u16 | 56 bytes 0 | 63 groups of 8 entries of 8 bytes |
//! entry: bits 0..48 offset of the record's header, bits 48..64 tag (hash bits 32..48); 0 empty, 1 deleted
//! ```
//!
//! - **I1** An entry lies in the group that its hash names, or in one of the following (cyclic) with no group that has an
//!   empty entry between. A lookup ends at the first group with an empty entry.
//! - **I2** An entry is deleted by making it empty if its group has another empty one, else by a mark.
//! - **I3** A segment with more than [`FULL`] entries used is replaced before the next insertion: by two of the next depth, or,
//!   if much of it is marks, by one without them. The work for it is bounded by one segment. The directory is doubled by
//!   copying it, 8 bytes a segment.
//! - **I4** Nothing here trusts what it reads: every offset is checked, every loop is bounded.
//!
//! It does not know keys or values: callers say whether a record is the one they look for, and what a record's hash is.

use crate::error::{Error, Result};
use crate::heap;
use crate::region::header::Activity;
use crate::region::view::View;
use crate::table::catalog::ROOT;
use crate::tx::Tx;

const WHAT: &str = "index";
/// Bytes of a segment.
pub(crate) const SEGMENT: u64 = 4096;
/// Groups of a segment.
pub(crate) const GROUPS: u64 = 63;
/// Entries of a group.
const GROUP: u64 = 8;
/// Used entries at which a segment is replaced: seven eighths.
pub(crate) const FULL: u64 = GROUPS * GROUP * 7 / 8;
/// Deepest directory.
const MAX_DEPTH: u64 = 40;
const OFFSET: u64 = (1 << 48) - 1;
const EMPTY: u64 = 0;
const DELETED: u64 = 1;

const _: () = assert!(64 + GROUPS * GROUP * 8 == SEGMENT);

/// The index of the map whose catalog row is at `row`; its first two roots are the directory and its depth.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Index {
    row: u64,
}

/// An entry of a record that is in the index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    segment: u64,
    entry: u64,
    /// Offset of the record's header.
    pub(crate) record: u64,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    depth: u64,
    live: u64,
    deleted: u64,
}

impl Head {
    fn of(word: u64) -> Self {
        Self {
            depth: word & 0xff,
            live: word >> 16 & 0xffff,
            deleted: word >> 32 & 0xffff,
        }
    }

    fn word(self) -> u64 {
        self.depth | self.live << 16 | self.deleted << 32
    }
}

#[inline]
fn tag(hash: u64) -> u64 {
    hash >> 32 & 0xffff
}

#[inline]
fn first_group(hash: u64) -> u64 {
    ((hash & 0xffff_ffff) * GROUPS) >> 32
}

#[inline]
fn group_at(segment: u64, group: u64) -> u64 {
    segment + 64 + group * 64
}

impl Index {
    pub(crate) const fn of(row: u64) -> Self {
        Self { row }
    }

    /// An empty index: its two roots.
    pub(crate) fn create(tx: &mut Tx<'_>) -> Result<[u64; 2]> {
        let segment = new_segment(tx, 0)?;
        let directory = heap::alloc(tx, 8)?.offset;
        tx.store(directory, segment, WHAT)?;
        Ok([directory, 0])
    }

    #[inline]
    fn roots(self, view: &View) -> Result<(u64, u64)> {
        let [directory, depth] = view.words(self.row + ROOT, WHAT)?;
        if depth > MAX_DEPTH {
            return Err(Error::damaged(WHAT, self.row + ROOT + 8, depth));
        }
        Ok((directory, depth))
    }

    #[inline]
    fn segment(self, view: &View, hash: u64) -> Result<u64> {
        let (directory, depth) = self.roots(view)?;
        // Two shifts, because one by 64 is none.
        let slot = hash >> 1 >> (63 - depth);
        view.load(directory + slot * 8, WHAT)
    }

    /// Finds the record with that hash for which `is_it` says yes.
    #[inline]
    pub(crate) fn find(
        self,
        view: &View,
        hash: u64,
        mut is_it: impl FnMut(u64) -> Result<bool>,
    ) -> Result<Option<Place>> {
        let segment = self.segment(view, hash)?;
        let tag = tag(hash);
        let mut group = first_group(hash);
        for _ in 0..GROUPS {
            let at = group_at(segment, group);
            let line = view.line(at, WHAT)?;
            // Empty and deleted entries may look like tag 0; they are told apart below, where one is rarely looked at.
            let mut candidates = 0u32;
            for (i, entry) in line.iter().enumerate() {
                candidates |= u32::from(entry >> 48 == tag) << i;
            }
            while candidates != 0 {
                let i = candidates.trailing_zeros();
                let entry = line[i as usize & 7];
                if entry > DELETED && is_it(entry & OFFSET)? {
                    return Ok(Some(Place {
                        segment,
                        entry: at + u64::from(i) * 8,
                        record: entry & OFFSET,
                    }));
                }
                candidates &= candidates - 1;
            }
            if line.contains(&EMPTY) {
                return Ok(None);
            }
            group = if group + 1 == GROUPS { 0 } else { group + 1 };
        }
        Ok(None)
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
        let mut head = Head::of(tx.load(segment, WHAT)?);
        // One replacement makes room, unless all entries share the next bit of their hashes: then another one does.
        for _ in 0..MAX_DEPTH {
            if head.live + head.deleted < FULL {
                break;
            }
            self.replace(tx, hash, segment, head, &hash_of)?;
            segment = self.segment(tx, hash)?;
            head = Head::of(tx.load(segment, WHAT)?);
        }
        let mut group = first_group(hash);
        for _ in 0..GROUPS {
            let at = group_at(segment, group);
            let line = tx.line(at, WHAT)?;
            let vacant = (0..GROUP as usize).map(|i| (i, line[i])).find(|(_, e)| *e <= DELETED);
            if let Some((i, found)) = vacant {
                tx.put(at + i as u64 * 8, record | tag(hash) << 48, WHAT)?;
                head.live += 1;
                head.deleted -= u64::from(found == DELETED).min(head.deleted);
                return tx.put(segment, head.word(), WHAT);
            }
            group = (group + 1) % GROUPS;
        }
        // The head said that there is room.
        Err(Error::damaged(WHAT, segment, head.word()))
    }

    /// Lets an entry point to another record with the same key.
    pub(crate) fn swap(self, tx: &mut Tx<'_>, place: Place, record: u64) -> Result<()> {
        let tag = tx.load(place.entry, WHAT)? & !OFFSET;
        tx.put(place.entry, tag | record, WHAT)
    }

    /// Takes an entry out (I2).
    pub(crate) fn remove(self, tx: &mut Tx<'_>, place: Place) -> Result<()> {
        let line = tx.line(place.entry & !63, WHAT)?;
        let has_empty = (0..GROUP as usize).any(|i| line[i] == EMPTY);
        let mut head = Head::of(tx.load(place.segment, WHAT)?);
        head.live = head.live.saturating_sub(1);
        head.deleted += u64::from(!has_empty);
        tx.put(place.entry, if has_empty { EMPTY } else { DELETED }, WHAT)?;
        tx.put(place.segment, head.word(), WHAT)
    }

    /// Replaces a full segment (I3). New segments are fresh memory: only the directory is logged.
    #[cold]
    fn replace(
        self,
        tx: &mut Tx<'_>,
        hash: u64,
        segment: u64,
        head: Head,
        hash_of: &impl Fn(&View, u64) -> Result<u64>,
    ) -> Result<()> {
        let before = tx.activity(Activity::Growth);
        let (mut directory, mut depth) = self.roots(tx)?;
        if head.depth > depth {
            return Err(Error::damaged(WHAT, segment, head.word()));
        }
        let mut entries = Vec::with_capacity((GROUPS * GROUP) as usize);
        for group in 0..GROUPS {
            let line = tx.line(group_at(segment, group), WHAT)?;
            for entry in line.iter().copied() {
                if entry > DELETED {
                    entries.push((hash_of(tx, entry & OFFSET)?, entry));
                }
            }
        }
        let split = head.live > FULL / 2;
        if split && head.depth == depth {
            if depth == MAX_DEPTH {
                return Err(Error::damaged(WHAT, self.row + ROOT + 8, depth));
            }
            directory = self.double(tx, directory, depth)?;
            depth += 1;
        }
        // The words of the directory that name this segment: those that share its top bits.
        let covered = depth - head.depth;
        let first = (hash >> 1 >> (63 - depth)) >> covered << covered;
        let halves = if split { 2 } else { 1 };
        let each = (1 << covered) / halves;
        for half in 0..halves {
            let new_depth = head.depth + (halves - 1);
            let new = new_segment(tx, new_depth)?;
            let bit = 63u64.wrapping_sub(head.depth);
            let mine = entries.iter().filter(|(hash, _)| !split || hash >> bit & 1 == half);
            fill(tx, new, new_depth, mine)?;
            let words = vec![new; each as usize];
            let at = directory + (first + half * each) * 8;
            for (i, words) in words.chunks(512).enumerate() {
                tx.put_all(at + i as u64 * 4096, words, WHAT)?;
            }
        }
        tx.free(segment);
        tx.set_header(crate::region::header::at::ACTIVITY, before);
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
        tx.put_all(self.row + ROOT, &[new, depth + 1], WHAT)?;
        tx.free(directory);
        Ok(new)
    }

    /// Visits every segment once, with the offset of the segment.
    pub(crate) fn segments(self, view: &View, mut each: impl FnMut(u64) -> Result<()>) -> Result<()> {
        let (directory, depth) = self.roots(view)?;
        let mut slot = 0u64;
        while slot < 1 << depth {
            let segment = view.load(directory + slot * 8, WHAT)?;
            let head = Head::of(view.load(segment, WHAT)?);
            if head.depth > depth {
                return Err(Error::damaged(WHAT, segment, head.word()));
            }
            each(segment)?;
            slot += 1 << (depth - head.depth);
        }
        Ok(())
    }

    /// The directory's block.
    pub(crate) fn directory(self, view: &View) -> Result<u64> {
        Ok(self.roots(view)?.0)
    }

    /// Where the walk over all entries starts.
    pub(crate) fn cursor() -> Cursor {
        Cursor::default()
    }

    /// The next record from the cursor on, in the order of the index; `None` at the end.
    pub(crate) fn next(self, view: &View, cursor: &mut Cursor) -> Result<Option<u64>> {
        let (directory, depth) = self.roots(view)?;
        while cursor.slot < 1 << depth {
            let segment = view.load(directory + cursor.slot * 8, WHAT)?;
            while cursor.entry < GROUPS * GROUP {
                let entry = view.load(segment + 64 + cursor.entry * 8, WHAT)?;
                cursor.entry += 1;
                if entry > DELETED {
                    return Ok(Some(entry & OFFSET));
                }
            }
            let head = Head::of(view.load(segment, WHAT)?);
            if head.depth > depth {
                return Err(Error::damaged(WHAT, segment, head.word()));
            }
            cursor.entry = 0;
            cursor.slot += 1 << (depth - head.depth);
        }
        Ok(None)
    }
}

/// A place in the walk over an index.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor {
    slot: u64,
    entry: u64,
}

fn new_segment(tx: &mut Tx<'_>, depth: u64) -> Result<u64> {
    let segment = heap::alloc(tx, SEGMENT)?.offset;
    tx.zero_fresh(segment, SEGMENT, WHAT)?;
    let head = Head {
        depth,
        live: 0,
        deleted: 0,
    };
    tx.store(segment, head.word(), WHAT)?;
    Ok(segment)
}

/// Fills a fresh segment: no log, nobody refers to it yet.
fn fill<'e>(tx: &Tx<'_>, segment: u64, depth: u64, entries: impl Iterator<Item = &'e (u64, u64)>) -> Result<()> {
    let mut used = [0u8; GROUPS as usize];
    let mut live = 0;
    for (hash, entry) in entries {
        let mut group = first_group(*hash);
        // A segment has more places than the one that it replaces had entries.
        while u64::from(used[group as usize]) == GROUP {
            group = (group + 1) % GROUPS;
        }
        let i = u64::from(used[group as usize]);
        used[group as usize] += 1;
        tx.store(group_at(segment, group) + i * 8, *entry, WHAT)?;
        live += 1;
    }
    let head = Head {
        depth,
        live,
        deleted: 0,
    };
    tx.store(segment, head.word(), WHAT)
}
