//! A table other than a map, parted so that several threads can go over it while its owner changes it: which records there are, a
//! few at a time, each named by its way.
//!
//! What names a record does not change while it is there, whatever becomes of those around it: the slot and generation of an id,
//! the serial number of an item, a key. So who goes through all places, serials or keys meets each that stays. The records are then
//! read one by one, by their ways.

use super::Observer;
use super::source::{Source, torn};
use super::tree::{self, Toward};
use super::way::{Way, long_key};
use super::{ring, slots};
use crate::error::{Error, Result};
use crate::table::ordered::node::{Probe, Shape};
use crate::table::ordered::tree::Tree;
use std::borrow::Cow;
use std::ops::Range;

/// Pages of slots in a piece.
const PAGES: u64 = 16;
/// Items of a queue in a piece, and in a batch.
const ITEMS: u64 = 4096;
/// See [`ITEMS`].
const ITEMS_AT_ONCE: u64 = 256;
/// Records of an ordered map in a piece, about.
const RECORDS: u64 = 4096;

/// How a table keeps its records.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Keeps {
    /// In slots.
    Slots,
    /// In the ring of a queue.
    Ring,
    /// In the tree of an ordered map.
    Tree(Shape),
}

/// A part of a table.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// Pages of slots that were not visited.
    Pages(Range<u64>),
    /// Serial numbers that were not.
    Serials(Range<u64>),
    /// Keys that were not: from the first, which is the least there is if none is given, to one behind the last.
    Keys {
        tree: Tree,
        first: Option<Vec<u8>>,
        end: Option<Vec<u8>>,
    },
}

/// `range` in pieces of `size`.
fn parted(range: Range<u64>, size: u64) -> impl Iterator<Item = Range<u64>> {
    let end = range.end;
    let starts = range.step_by(size as usize);
    starts.map(move |start| start..start.saturating_add(size).min(end))
}

/// The pieces of the table whose row is given.
pub(crate) fn of(observer: &Observer, row: u64, keeps: Keeps) -> Result<Vec<Piece>> {
    match keeps {
        Keeps::Slots => {
            let pages = committed(observer, |s| slots::pages(s, row))?;
            Ok(parted(0..pages, PAGES).map(Piece::Pages).collect())
        }
        Keeps::Ring => {
            let roots = committed(observer, |s| ring::roots(s, row))?;
            Ok(parted(roots.head..roots.tail, ITEMS).map(Piece::Serials).collect())
        }
        Keeps::Tree(shape) => {
            let tree = Tree::new(row, shape);
            let count = committed(observer, |s| tree::count(s, row))?;
            let mut pieces = Vec::new();
            let mut first = None;
            for rank in (RECORDS..count).step_by(RECORDS as usize) {
                // There may be fewer records meanwhile: then the last piece is longer.
                let end = committed(observer, |s| match tree::count(s, row)? > rank {
                    true => key_at(s, tree, rank).map(Some),
                    false => Ok(None),
                })?;
                // Ranks move while records come and go, keys do not.
                if end.is_none() || (first.is_some() && end <= first) {
                    break;
                }
                pieces.push(Piece::Keys {
                    tree,
                    first: first.take(),
                    end: end.clone(),
                });
                first = end;
            }
            pieces.push(Piece::Keys { tree, first, end: None });
            Ok(pieces)
        }
    }
}

/// What is committed, read within a moment.
fn committed<R>(observer: &Observer, mut read: impl FnMut(&mut super::Snapshot<'_>) -> Result<R>) -> Result<R> {
    observer.snapshot(|s| {
        s.be_strict();
        let result = read(s);
        s.note(result)
    })
}

/// The key of an entry: its words, or the record's.
fn key_of<S: Source>(source: &mut S, tree: Tree, words: &[u64], record: u64) -> Result<Vec<u8>> {
    if tree.shape.stored.variable {
        return long_key(source, record);
    }
    let mut key: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    key.truncate(tree.shape.stored.size as usize);
    Ok(key)
}

fn key_at<S: Source>(source: &mut S, tree: Tree, rank: u64) -> Result<Vec<u8>> {
    let spot = tree::descend(source, tree, Toward::Rank(rank))?;
    let entry = spot.map_or(Ok(None), |spot| spot.entry(rank))?;
    let (words, record) = entry.ok_or_else(|| Error::damaged("number of records", tree.row, rank))?;
    key_of(source, tree, &words, record)
}

impl Piece {
    /// The ways to the next records of the piece; `None` behind the last.
    ///
    /// # Errors
    /// [`Error::Retry`]; [`Error::Damaged`] in the table's structure. The rest of the piece cannot be visited then.
    pub(crate) fn batch(&mut self, observer: &Observer, row: u64) -> Result<Option<Vec<Way<'static>>>> {
        match self {
            Self::Pages(pages) => {
                let Some(page) = pages.next() else { return Ok(None) };
                // Pages at the end go when they are empty.
                let slots = committed(observer, |s| slots::of_page(s, row, page))?.unwrap_or_default();
                let way = |slot: slots::Slot| Way::Slot { row, token: slot.token };
                Ok(Some(slots.into_iter().map(way).collect()))
            }
            Self::Serials(serials) => {
                if serials.is_empty() {
                    return Ok(None);
                }
                let end = serials.start.saturating_add(ITEMS_AT_ONCE).min(serials.end);
                let batch = serials.start..end;
                serials.start = end;
                Ok(Some(batch.map(|serial| Way::Item { row, serial }).collect()))
            }
            Self::Keys { tree, first, end } => {
                let tree = *tree;
                let (keys, next) = committed(observer, |s| leaf(s, tree, first.as_deref()))?;
                let Some(keys) = keys.filter(|keys| !keys.is_empty()) else {
                    return Ok(None);
                };
                let inside = |key: &Vec<u8>| end.as_ref().is_none_or(|end| key < end);
                let all = keys.iter().all(inside);
                let ways = keys.into_iter().filter(inside).map(|key| Way::Tree {
                    tree,
                    key: Cow::Owned(key),
                });
                let ways: Vec<_> = ways.collect();
                match next.filter(|_| all) {
                    // Keys only grow: if they do not, the walk would not end.
                    Some(next) if first.as_ref().is_some_and(|first| next <= *first) => {
                        return Err(torn("ordered map"));
                    }
                    Some(next) => *first = Some(next),
                    // Nothing is less than that: the next batch is the end.
                    None => *end = Some(Vec::new()),
                }
                Ok(Some(ways).filter(|ways| !ways.is_empty()))
            }
        }
    }
}

/// Keys of a leaf from one on, which are none if there are none behind it; and the key that the next leaf begins with, if there is
/// one.
type Keys = (Option<Vec<Vec<u8>>>, Option<Vec<u8>>);

fn leaf<S: Source>(source: &mut S, tree: Tree, first: Option<&[u8]>) -> Result<Keys> {
    let count = tree::count(source, tree.row)?;
    if count == 0 {
        return Ok((None, None));
    }
    let rank = match first {
        None => 0,
        Some(key) => {
            let probe = Probe::new(tree.shape, key);
            tree::descend(source, tree, Toward::Key(&probe))?.map_or(0, |spot| spot.rank)
        }
    };
    if rank >= count {
        return Ok((None, None));
    }
    // The place of a key may be the end of a leaf; that of a rank is an entry.
    let fewer = || Error::damaged("number of records", tree.row, count);
    let spot = tree::descend(source, tree, Toward::Rank(rank))?.ok_or_else(fewer)?;
    let (mut keys, mut rank) = (Vec::new(), rank);
    while let Some((words, record)) = spot.entry(rank)? {
        keys.push(key_of(source, tree, &words, record)?);
        rank += 1;
    }
    let next = match rank < count {
        true => Some(key_at(source, tree, rank)?),
        false => None,
    };
    Ok((Some(keys), next))
}
