//! The tree of an ordered map: finding and adding entries; `shrink` takes them away.
//!
//! - **O4** Only what changes is logged: the entries of a node that move are one range. Upper halves that a split copied away
//!   stay where they were, beyond the count. Fresh nodes are not logged (T3).
//! - **O5** Every node says how many records are below each of its entries, so ranks are found on the way down.
//! - **O6** A node that is full is split in halves; at the right edge of the tree, where ascending keys arrive, a fresh node is
//!   begun and the full one stays full.
//!
//! Roots in the catalog row: node at the top (0: empty), depth in nodes, records, bytes of their archives, [`Shape`].
//!
//! It does not know records, except through [`Stored`](crate::table::keyed::Stored), nor how many there are.

use super::node::{HEAD, MAX_ENTRY, NODE, Node, Probe, Shape, WHAT, WORDS, head};
use crate::broken::{self, Broken};
use crate::crash::{self, Point};
use crate::error::{Error, Result};
use crate::heap;
use crate::region::view::View;
use crate::table::catalog::ROOT;
use crate::tx::Tx;

/// Deepest tree. Nodes have at least four entries but for those at the right edge, and a region has less than 2⁴¹ records.
pub(crate) const MAX_DEPTH: usize = 22;

/// The tree of the table whose catalog row is at `row`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tree {
    pub(crate) row: u64,
    pub(crate) shape: Shape,
}

/// A node on a path, and the entry taken there.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Step {
    pub(crate) node: u64,
    pub(crate) index: usize,
}

/// A way down the tree: a step for each level, the leaf's is the first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path {
    pub(crate) depth: usize,
    pub(crate) steps: [Step; MAX_DEPTH],
}

/// Where a walk down turns.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Toward<'p> {
    /// To the first entry that is not less.
    Key(&'p Probe<'p>),
    /// Before the first entry.
    Start,
    /// To so many records from the first.
    Rank(u64),
    /// Behind the last entry.
    End,
}

/// Where a walk down ended: at an entry, or at the place where one would be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    pub(crate) path: Path,
    /// Whether the entry there has the key looked for.
    pub(crate) found: bool,
}

/// What a split left to be entered in the parent.
struct Split {
    separator: [u64; MAX_ENTRY],
    left_total: u64,
    right: u64,
    right_total: u64,
}

impl Tree {
    pub(crate) const fn new(row: u64, shape: Shape) -> Self {
        Self { row, shape }
    }

    #[inline]
    pub(crate) fn roots(self, view: &View) -> Result<(u64, usize)> {
        let [root, depth] = view.words(self.row + ROOT, WHAT)?;
        if depth > MAX_DEPTH as u64 || (root == 0) != (depth == 0) {
            return Err(Error::damaged(WHAT, self.row + ROOT + 8, depth));
        }
        Ok((root, depth as usize))
    }

    #[inline]
    pub(crate) fn node(self, view: &View, at: u64, level: usize) -> Result<Node<'_>> {
        Node::read(view, self.row, self.shape, at, level)
    }

    /// The record under a key: the shortest way down.
    #[inline]
    pub(crate) fn find(self, view: &View, probe: &Probe<'_>) -> Result<Option<u64>> {
        let (mut at, depth) = self.roots(view)?;
        for level in (1..depth).rev() {
            let node = self.node(view, at, level)?;
            at = node.child(node.below(view, probe)?);
        }
        if depth == 0 {
            return Ok(None);
        }
        let leaf = self.node(view, at, 0)?;
        let (i, found) = leaf.search(view, 0, probe)?;
        Ok(found.then(|| leaf.record(i)))
    }

    /// Walks down and notes the way.
    pub(crate) fn locate(self, view: &View, toward: Toward<'_>) -> Result<Spot> {
        let roots = self.roots(view)?;
        self.locate_below(view, roots, toward)
    }

    /// The same from a node that lies `depth` levels above the ground: the root, or one that was when a path was noted.
    pub(crate) fn locate_below(self, view: &View, (mut at, depth): (u64, usize), toward: Toward<'_>) -> Result<Spot> {
        let mut spot = Spot {
            path: Path {
                depth,
                steps: [Step::default(); MAX_DEPTH],
            },
            found: false,
        };
        let mut wanted = toward;
        for level in (0..depth).rev() {
            let node = self.node(view, at, level)?;
            if level > 0 && node.count == 0 {
                return Err(node.damaged());
            }
            let last = node.count - usize::from(level > 0);
            let index = match wanted {
                Toward::Key(probe) if level > 0 => node.below(view, probe)?,
                Toward::Key(probe) => {
                    let (i, found) = node.search(view, 0, probe)?;
                    spot.found = found;
                    i
                }
                Toward::Rank(rank) if level > 0 => {
                    let mut i = 0;
                    let mut before = 0u64;
                    while i < last && before.saturating_add(node.total(i)) <= rank {
                        before = before.saturating_add(node.total(i));
                        i += 1;
                    }
                    wanted = Toward::Rank(rank - before);
                    i
                }
                Toward::Rank(rank) => (rank as usize).min(last),
                Toward::Start => 0,
                Toward::End => last,
            };
            spot.path.steps[level] = Step { node: at, index };
            if level > 0 {
                at = node.child(index);
            }
        }
        Ok(spot)
    }

    /// Records before the place that `path` leads to (O5).
    pub(crate) fn rank(self, view: &View, path: &Path) -> Result<u64> {
        let mut rank = 0u64;
        for level in 0..path.depth {
            let step = path.steps[level];
            rank = rank.wrapping_add(self.node(view, step.node, level)?.totals(step.index));
        }
        Ok(rank)
    }

    /// Adds an entry where `path` says that it would be.
    pub(crate) fn insert(self, tx: &mut Tx<'_>, path: &Path, entry: &[u64]) -> Result<()> {
        if path.depth == 0 {
            let leaf = self.fresh(tx, 0, 1, entry)?;
            return tx.put_all(self.row + ROOT, &[leaf, 1], WHAT);
        }
        let edge = self.at_right_edge(tx, path)?;
        let mut split = self.add(tx, 0, path.steps[0], entry, None, edge)?;
        for level in 1..path.depth {
            let step = path.steps[level];
            let Some(done) = split else {
                let node = self.node(tx, step.node, level)?;
                let (word, total) = (node.offset(node.total_word(step.index)), node.total(step.index));
                tx.put(word, total.wrapping_add(1), WHAT)?;
                continue;
            };
            let (entry, length) = self.shape.inner_entry(&done.separator, done.right, done.right_total);
            let place = Step {
                index: step.index + 1,
                ..step
            };
            split = self.add(tx, level, place, &entry[..length], Some(done.left_total), edge)?;
        }
        let Some(done) = split else { return Ok(()) };
        if path.depth == MAX_DEPTH {
            return Err(Error::damaged(WHAT, self.row + ROOT + 8, path.depth as u64));
        }
        let old = path.steps[path.depth - 1].node;
        let (left, length) = self.shape.inner_entry(&[0; MAX_ENTRY], old, done.left_total);
        let (right, _) = self.shape.inner_entry(&done.separator, done.right, done.right_total);
        let mut entries = [0; MAX_ENTRY * 2];
        entries[..length].copy_from_slice(&left[..length]);
        entries[length..length * 2].copy_from_slice(&right[..length]);
        let root = self.fresh(tx, path.depth, 2, &entries[..length * 2])?;
        tx.put_all(self.row + ROOT, &[root, path.depth as u64 + 1], WHAT)?;
        crash::point(Point::OrderedRaised);
        Ok(())
    }

    /// Whether an entry at the end of `path` would be the last of the tree.
    fn at_right_edge(self, view: &View, path: &Path) -> Result<bool> {
        if self.node(view, path.steps[0].node, 0)?.count != path.steps[0].index {
            return Ok(false);
        }
        for level in 1..path.depth {
            let step = path.steps[level];
            if self.node(view, step.node, level)?.count != step.index + 1 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Puts `entry` at `place`; if `before` is given, the entry before it gets that total.
    fn add(
        self,
        tx: &mut Tx<'_>,
        level: usize,
        place: Step,
        entry: &[u64],
        before: Option<u64>,
        edge: bool,
    ) -> Result<Option<Split>> {
        let shape = self.shape;
        let node = self.node(tx, place.node, level)?;
        let (at, count, i) = (node.at, node.count, place.index);
        if i > count || (before.is_some() && i == 0) {
            return Err(node.damaged());
        }
        // The total of the entry before is the word before: one range.
        let from = shape.start(level, i) - usize::from(before.is_some());
        let mut words = [0; WORDS + MAX_ENTRY];
        if let Some(total) = before {
            words[from] = total;
        }
        let start = shape.start(level, i);
        let behind = start + entry.len();
        words[start..behind].copy_from_slice(entry);
        node.copy(start, shape.start(level, count), &mut words[behind..]);
        let end = shape.start(level, count + 1);
        if count < shape.most(level) {
            if broken::is(Broken::Entry) {
                tx.write_fresh_words(at + from as u64 * 8, &words[from..end], WHAT)?;
            } else {
                tx.put_all(at + from as u64 * 8, &words[from..end], WHAT)?;
            }
            tx.put(at, head(level, count + 1), WHAT)?;
            return Ok(None);
        }
        node.copy(HEAD, from, &mut words[HEAD..]);
        let stay = match (edge && i == count, level) {
            (true, 0) => count,
            (true, _) => count - 1,
            (false, _) => count.div_ceil(2),
        };
        let cut = shape.start(level, stay);
        let total = |from: usize, to: usize| match level {
            0 => (to - from) as u64,
            _ => (from..to).fold(0u64, |sum, i| sum.wrapping_add(words[shape.start(level, i + 1) - 1])),
        };
        let (left_total, right_total) = (total(0, stay), total(stay, count + 1));
        let mut separator = [0; MAX_ENTRY];
        separator[..shape.separator()].copy_from_slice(&words[cut..cut + shape.separator()]);
        let right = self.fresh(tx, level, count + 1 - stay, &words[cut..end])?;
        if from < cut {
            // What moved within the left half, or only the total before the cut.
            let to = if i < stay { cut } else { start };
            tx.put_all(at + from as u64 * 8, &words[from..to], WHAT)?;
        }
        if stay != count {
            tx.put(at, head(level, stay), WHAT)?;
        }
        crash::point(Point::OrderedSplit);
        Ok(Some(Split {
            separator,
            left_total,
            right,
            right_total,
        }))
    }

    fn fresh(self, tx: &mut Tx<'_>, level: usize, count: usize, entries: &[u64]) -> Result<u64> {
        let at = heap::alloc(tx, NODE)?.offset;
        tx.store(at, head(level, count), WHAT)?;
        tx.store(at + 8, self.row, WHAT)?;
        for (i, word) in entries.iter().enumerate() {
            tx.store(at + (HEAD + i) as u64 * 8, *word, WHAT)?;
        }
        Ok(at)
    }

    /// Lets the entry at the end of `path` name another record with the same key.
    pub(crate) fn replace(self, tx: &mut Tx<'_>, path: &Path, record: u64) -> Result<()> {
        let leaf = self.node(tx, path.steps[0].node, 0)?;
        let i = path.steps[0].index;
        if i >= leaf.count {
            return Err(leaf.damaged());
        }
        let word = leaf.offset(leaf.start(i + 1) - 1);
        tx.put(word, record, WHAT)?;
        if i == 0 && self.shape.stored.variable {
            let separator = self.node(tx, path.steps[0].node, 0)?.separator(0);
            self.set_separator(tx, path, &separator)?;
        }
        Ok(())
    }

    /// Writes the separator of the leaf of `path` into the lowest node above where it has one (O1).
    pub(super) fn set_separator(self, tx: &mut Tx<'_>, path: &Path, separator: &[u64; MAX_ENTRY]) -> Result<()> {
        for level in 1..path.depth {
            let step = path.steps[level];
            if step.index > 0 {
                let at = step.node + self.shape.start(level, step.index) as u64 * 8;
                return tx.put_all(at, &separator[..self.shape.separator()], WHAT);
            }
        }
        Ok(())
    }
}
