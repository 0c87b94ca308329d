//! The way down the tree of an ordered map over nodes that were copied: as many steps as the tree is deep, nothing trusted.
//!
//! A node is copied from its first word on, and its writer writes the entries before the number of them that counts, so what is
//! read of a living owner's node may be entries of two moments, but no words that were no entries.

use super::source::Source;
use super::way::long_key;
use crate::error::{Error, Result};
use crate::table::catalog::ROOT;
use crate::table::ordered::node::{HEAD, Node, Probe, WHAT, WORDS};
use crate::table::ordered::tree::{MAX_DEPTH, Tree};
use crate::table::ordered::{COUNT, LEAST_RECORD};
use std::cmp::Ordering;

/// Where a way down turns.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Toward<'p> {
    /// To the first entry that is not less.
    Key(&'p Probe<'p>),
    /// To so many records from the first.
    Rank(u64),
}

/// A leaf, copied, and a place in it.
#[derive(Clone, Debug)]
pub(crate) struct Spot {
    tree: Tree,
    at: u64,
    words: [[u8; 8]; WORDS],
    /// Which entry.
    index: usize,
    /// How many records come before it.
    pub(crate) rank: u64,
    /// Whether it has the key that was looked for.
    pub(crate) found: bool,
}

impl Spot {
    /// The key words and the record of the entry that `rank` records come before; `None` if it is not in this leaf.
    pub(crate) fn entry(&self, rank: u64) -> Result<Option<([u64; 4], u64)>> {
        let leaf = Node::of(&self.words, self.tree.row, self.tree.shape, self.at, 0)?;
        let first = self.rank.wrapping_sub(self.index as u64);
        let index = rank.wrapping_sub(first);
        Ok((index < leaf.count as u64).then(|| (leaf.key(index as usize), leaf.record(index as usize))))
    }
}

/// Copies the head of a node and then as many entries as it says; what was not copied is zero.
fn copy<S: Source>(source: &mut S, tree: Tree, at: u64, level: usize) -> Result<[[u8; 8]; WORDS]> {
    let mut words = [0; WORDS];
    source.copy(at, &mut words[..HEAD], WHAT)?;
    let count = (words[0] >> 16 & 0xffff) as usize;
    let end = tree.shape.start(level, count.min(tree.shape.most(level)));
    let entries = at.wrapping_add(HEAD as u64 * 8);
    source.copy(entries, &mut words[HEAD..end], WHAT)?;
    Ok(words.map(u64::to_le_bytes))
}

/// How the key of entry `i` compares with what is looked for.
fn compare<S: Source>(source: &mut S, tree: Tree, node: &Node<'_>, i: usize, probe: &Probe<'_>) -> Result<Ordering> {
    // Words that a key has not got are 0 on both sides.
    match node.key(i).cmp(&probe.words) {
        Ordering::Equal if tree.shape.stored.variable => {
            Ok(long_key(source, node.record(i))?.as_slice().cmp(probe.bytes()))
        }
        order => Ok(order),
    }
}

/// The first of the entries from `first` on whose key is not less, and whether it is that key.
fn search<S: Source>(
    source: &mut S,
    tree: Tree,
    node: &Node<'_>,
    first: usize,
    probe: &Probe<'_>,
) -> Result<(usize, bool)> {
    let (mut low, mut high) = (first, node.count);
    while low < high {
        let middle = low.midpoint(high);
        match compare(source, tree, node, middle, probe)? {
            Ordering::Less => low = middle + 1,
            Ordering::Equal => return Ok((middle, true)),
            Ordering::Greater => high = middle,
        }
    }
    Ok((low, false))
}

/// Walks down; `None` if the tree is empty.
pub(crate) fn descend<S: Source>(source: &mut S, tree: Tree, toward: Toward<'_>) -> Result<Option<Spot>> {
    let [mut at, depth] = source.words(tree.row + ROOT, WHAT)?;
    if depth > MAX_DEPTH as u64 || (at == 0) != (depth == 0) {
        return Err(Error::damaged(WHAT, tree.row + ROOT + 8, depth));
    }
    let mut before = 0u64;
    for level in (1..depth as usize).rev() {
        let words = copy(source, tree, at, level)?;
        let node = Node::of(&words, tree.row, tree.shape, at, level)?;
        if node.count == 0 {
            return Err(node.damaged());
        }
        let index = match toward {
            Toward::Key(probe) => {
                let (i, equal) = search(source, tree, &node, 1, probe)?;
                if equal { i } else { i - 1 }
            }
            Toward::Rank(rank) => {
                let (mut i, mut sum) = (0, before);
                while i + 1 < node.count && sum.saturating_add(node.total(i)) <= rank {
                    sum = sum.saturating_add(node.total(i));
                    i += 1;
                }
                i
            }
        };
        before = before.saturating_add(node.totals(index));
        at = node.child(index);
    }
    if depth == 0 {
        return Ok(None);
    }
    let words = copy(source, tree, at, 0)?;
    let leaf = Node::of(&words, tree.row, tree.shape, at, 0)?;
    let (index, found) = match toward {
        Toward::Key(probe) => search(source, tree, &leaf, 0, probe)?,
        Toward::Rank(rank) => {
            let index = rank.saturating_sub(before);
            if index >= leaf.count as u64 {
                return Err(leaf.damaged());
            }
            (index as usize, true)
        }
    };
    Ok(Some(Spot {
        tree,
        at,
        words,
        index,
        rank: before.saturating_add(index as u64),
        found,
    }))
}

/// The record under a key, whose ordered form is given.
pub(crate) fn find<S: Source>(source: &mut S, tree: Tree, key: &[u8]) -> Result<Option<u64>> {
    let probe = Probe::new(tree.shape, key);
    let spot = descend(source, tree, Toward::Key(&probe))?.filter(|spot| spot.found);
    match spot {
        Some(spot) => Ok(spot.entry(spot.rank)?.map(|(_, record)| record)),
        None => Ok(None),
    }
}

/// How many records there are.
pub(crate) fn count<S: Source>(source: &mut S, row: u64) -> Result<u64> {
    let count = source.word(row + COUNT, WHAT)?;
    if count > source.memory().most() / LEAST_RECORD {
        return Err(Error::damaged("number of records", row + COUNT, count));
    }
    Ok(count)
}
