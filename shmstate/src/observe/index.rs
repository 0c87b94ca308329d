//! The walk of `table::map::index` over words that were copied: the same places, every loop bounded, nothing trusted.
//!
//! Over live words it may meet a directory, a segment or a group in the middle of a change. What it finds is then checked by
//! whoever asked: a record by its key and header, a segment by reading it again.

use super::source::Source;
use crate::error::{Error, Result};
use crate::table::map::group::{self, Group};
use crate::table::map::index::{DIRECTORY, LARGE, MAX_DEPTH, SMALL, Segment, depth_of};

const WHAT: &str = "index";

/// Directory and depth of the map whose row is given.
fn directory<S: Source>(source: &mut S, row: u64) -> Result<(u64, u64)> {
    let [offset, words] = source.words(row + DIRECTORY, WHAT)?;
    let depth = depth_of(words).ok_or_else(|| Error::damaged(WHAT, row + DIRECTORY + 8, words))?;
    Ok((offset, depth))
}

fn segment<S: Source>(source: &mut S, row: u64, hash: u64) -> Result<Segment> {
    let (directory, depth) = directory(source, row)?;
    let at = directory.wrapping_add((hash >> 1 >> (63 - depth)) * 8);
    let word = source.word(at, WHAT)?;
    let segment = Segment::of(word);
    if segment.groups != SMALL && segment.groups != LARGE {
        return Err(Error::damaged(WHAT, at, word));
    }
    Ok(segment)
}

/// Finds the record with that hash for which `is_it` says yes: the offset of its header.
pub(crate) fn find<S: Source>(
    source: &mut S,
    row: u64,
    hash: u64,
    mut is_it: impl FnMut(&mut S, u64) -> Result<bool>,
) -> Result<Option<u64>> {
    let segment = segment(source, row, hash)?;
    let tag = group::tag(hash);
    let mut index = segment.home(hash);
    for _ in 0..segment.groups {
        let group = Group::of(&source.words(segment.group(index), WHAT)?);
        for (_, found, record) in group.entries() {
            if found == tag && is_it(source, record)? {
                return Ok(Some(record));
            }
        }
        if group.overflow() == 0 {
            break;
        }
        index = segment.next(index);
    }
    Ok(None)
}

/// Whether the index leads from a hash to a record.
pub(crate) fn leads_to<S: Source>(source: &mut S, row: u64, hash: u64, record: u64) -> Result<bool> {
    Ok(find(source, row, hash, |_, found| Ok(found == record))?.is_some())
}

/// A segment, copied: the range of hashes that it has the records of, and its groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loaded {
    segment: Segment,
    depth: u64,
    /// Least hash.
    first: u64,
    groups: Vec<Group>,
}

impl Loaded {
    /// Copies the segment of a hash.
    pub(crate) fn of<S: Source>(source: &mut S, row: u64, hash: u64) -> Result<Self> {
        let segment = segment(source, row, hash)?;
        let head = source.word(segment.offset, WHAT)?;
        let depth = head & 0xff;
        if depth > MAX_DEPTH || head >> 8 & 0xff != segment.groups {
            return Err(Error::damaged(WHAT, segment.offset, head));
        }
        let mut words = vec![0; segment.groups as usize * 8];
        source.copy(segment.group(0), &mut words, WHAT)?;
        Ok(Self {
            segment,
            depth,
            // Two shifts, because one by 64 is none.
            first: hash >> 1 >> (63 - depth) << (63 - depth) << 1,
            groups: words.as_chunks().0.iter().map(Group::of).collect(),
        })
    }

    /// The least hash behind its range; `None` if it has the last.
    pub(crate) fn next(&self) -> Option<u64> {
        match self.depth {
            0 => None,
            depth => self.first.checked_add(1 << (64 - depth)),
        }
    }

    /// Whether it is the place of records with that hash, whose entries are such.
    pub(crate) fn has(&self, hash: u64, entry: Entry) -> bool {
        let after = self.next().is_some_and(|next| hash >= next);
        hash >= self.first && !after && group::tag(hash) == entry.tag
    }

    /// Whether the other is the same segment, perhaps with other entries.
    pub(crate) fn is(&self, other: &Self) -> bool {
        (self.segment, self.depth) == (other.segment, other.depth)
    }

    /// Its places: which of them, and their entries.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (usize, Entry)> + '_ {
        self.groups.iter().enumerate().flat_map(|(group, entries)| {
            let entries = entries.entries();
            entries.map(move |(slot, tag, record)| (group * group::ENTRIES + slot, Entry { tag, record }))
        })
    }

    /// What its entries lead to, in the order of the places.
    pub(crate) fn records(&self) -> Vec<u64> {
        let mut records = Vec::with_capacity(self.groups.len() * group::ENTRIES);
        for group in &self.groups {
            records.extend(
                (0..group::ENTRIES)
                    .map(|slot| group.record(slot))
                    .filter(|record| *record != 0),
            );
        }
        records
    }

    /// The entry at a place; `None` if there is none.
    pub(crate) fn entry(&self, place: usize) -> Option<Entry> {
        let (group, slot) = (self.groups.get(place / group::ENTRIES)?, place % group::ENTRIES);
        (group.record(slot) != 0).then(|| Entry {
            tag: group.tag(slot),
            record: group.record(slot),
        })
    }
}

/// An entry of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    tag: u8,
    /// Offset of the header of the record that it leads to.
    pub(crate) record: u64,
}

/// Depth of the directory.
pub(crate) fn depth<S: Source>(source: &mut S, row: u64) -> Result<u64> {
    Ok(directory(source, row)?.1)
}
