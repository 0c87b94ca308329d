//! Taking entries out of the tree of an ordered map: nodes that become small are joined, so that memory returns to the heap.

use super::node::{HEAD, MAX_ENTRY, WHAT, WORDS, head};
use super::tree::{Path, Step, Tree};
use crate::crash::{self, Point};
use crate::error::{Error, Result};
use crate::table::catalog::ROOT;
use crate::tx::Tx;

impl Tree {
    /// Takes the entry at the end of `path` out, and joins nodes that have become small (O3).
    pub(crate) fn remove(self, tx: &mut Tx<'_>, path: &Path) -> Result<()> {
        let shape = self.shape;
        let Step { node, index } = path.steps[0];
        let leaf = self.node(tx, node, 0)?;
        let count = leaf.count;
        if index >= count {
            return Err(leaf.damaged());
        }
        for level in 1..path.depth {
            let step = path.steps[level];
            let node = self.node(tx, step.node, level)?;
            let (word, total) = (node.offset(node.total_word(step.index)), node.total(step.index));
            tx.put(word, total.wrapping_sub(1), WHAT)?;
        }
        self.take_out(tx, 0, node, index, None)?;
        if index == 0 && count > 1 {
            let separator = self.node(tx, node, 0)?.separator(0);
            self.set_separator(tx, path, &separator)?;
        }
        for level in 0..path.depth {
            let at = path.steps[level].node;
            let count = self.node(tx, at, level)?.count;
            if level + 1 == path.depth {
                return self.settle_root(tx, at, level, count);
            }
            if count >= shape.least(level) {
                return Ok(());
            }
            if !self.mend(tx, path, level)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// A root without entries goes, and so does an inner one with only one child.
    fn settle_root(self, tx: &mut Tx<'_>, at: u64, level: usize, count: usize) -> Result<()> {
        let now = match (level, count) {
            (0, 0) => [0, 0],
            (0, _) => return Ok(()),
            (_, 1) => [self.node(tx, at, level)?.child(0), level as u64],
            _ => return Ok(()),
        };
        tx.put_all(self.row + ROOT, &now, WHAT)?;
        tx.free(at);
        Ok(())
    }

    /// Takes entry `i` of a node out; if `before` is given, the entry before it gets that total.
    fn take_out(self, tx: &mut Tx<'_>, level: usize, at: u64, i: usize, before: Option<u64>) -> Result<()> {
        let shape = self.shape;
        let node = self.node(tx, at, level)?;
        let count = node.count;
        if i >= count || (before.is_some() && i == 0) {
            return Err(node.damaged());
        }
        let start = shape.start(level, i);
        let lead = usize::from(before.is_some());
        let length = lead + shape.start(level, count) - shape.start(level, i + 1);
        let mut words = [0; WORDS];
        words[0] = before.unwrap_or(0);
        node.copy(shape.start(level, i + 1), shape.start(level, count), &mut words[lead..]);
        if length > 0 {
            tx.put_all(at + (start - lead) as u64 * 8, &words[..length], WHAT)?;
        }
        tx.put(at, head(level, count - 1), WHAT)
    }

    /// Joins the node at `level` of `path` with a neighbour, or shares their entries out. Says whether the parent lost one.
    fn mend(self, tx: &mut Tx<'_>, path: &Path, level: usize) -> Result<bool> {
        let shape = self.shape;
        let step = path.steps[level + 1];
        let parent = self.node(tx, step.node, level + 1)?;
        // The pair is `p` and `p + 1`.
        let p = step.index.saturating_sub(1);
        if p + 1 >= parent.count {
            return Err(parent.damaged());
        }
        let separator = parent.separator(p + 1);
        let left = self.node(tx, parent.child(p), level)?;
        let right = self.node(tx, parent.child(p + 1), level)?;
        let (left_at, right_at) = (left.at, right.at);
        let (l, r) = (left.count, right.count);
        // Less than the least is only in the node that was just made smaller, and in those at the right edge (O6), which are
        // never the left of a pair but with that one: so the left one is not empty.
        if left_at == right_at || l == 0 {
            return Err(parent.damaged());
        }
        // Entries of both, in order. What the right one's first entry lacks stands in the parent (O1).
        let (mut words, middle, end) = ([0; WORDS * 2], shape.start(level, l), shape.start(level, l + r));
        left.copy(HEAD, middle, &mut words[HEAD..]);
        right.copy(HEAD, shape.start(level, r), &mut words[middle..]);
        if r > 0 {
            words[middle..middle + shape.separator()].copy_from_slice(&separator[..shape.separator()]);
        }
        let both = parent.total(p).wrapping_add(parent.total(p + 1));
        if l + r <= shape.joined(level) || r == 0 {
            if r > 0 {
                tx.put_all(left_at + middle as u64 * 8, &words[middle..end], WHAT)?;
                tx.put(left_at, head(level, l + r), WHAT)?;
            }
            tx.free(right_at);
            self.take_out(tx, level + 1, step.node, p + 1, Some(both))?;
            crash::point(Point::OrderedJoined);
            return Ok(true);
        }
        let stay = (l + r) / 2;
        let cut = shape.start(level, stay);
        if stay > l {
            tx.put_all(left_at + middle as u64 * 8, &words[middle..cut], WHAT)?;
        }
        tx.put_all(right_at + HEAD as u64 * 8, &words[cut..end], WHAT)?;
        tx.put(left_at, head(level, stay), WHAT)?;
        tx.put(right_at, head(level, l + r - stay), WHAT)?;
        let right_total = self.node(tx, right_at, level)?.totals(l + r - stay);
        // In the parent, side by side: the left one's total, the separator, the right one, its total.
        let (entry, length) = shape.inner_entry(&words[cut..], right_at, right_total);
        let mut row = [0; MAX_ENTRY + 1];
        row[0] = both.wrapping_sub(right_total);
        row[1..=length].copy_from_slice(&entry[..length]);
        let at = step.node + (shape.start(level + 1, p + 1) as u64 - 1) * 8;
        tx.put_all(at, &row[..=length], WHAT)?;
        crash::point(Point::OrderedShared);
        Ok(false)
    }

    /// Frees all nodes and calls `each` for every record, and leaves the tree empty. `most` bounds the records.
    pub(crate) fn clear(
        self,
        tx: &mut Tx<'_>,
        most: u64,
        mut each: impl FnMut(&mut Tx<'_>, u64) -> Result<()>,
    ) -> Result<()> {
        let (root, depth) = self.roots(tx)?;
        let mut left = most;
        if depth > 0 {
            self.clear_below(tx, root, depth - 1, &mut left, &mut each)?;
        }
        tx.put_all(self.row + ROOT, &[0, 0], WHAT)
    }

    fn clear_below(
        self,
        tx: &mut Tx<'_>,
        at: u64,
        level: usize,
        left: &mut u64,
        each: &mut impl FnMut(&mut Tx<'_>, u64) -> Result<()>,
    ) -> Result<()> {
        let count = self.node(tx, at, level)?.count;
        if count == 0 {
            return Err(Error::damaged(WHAT, at, 0));
        }
        for i in 0..count {
            if level > 0 {
                let child = self.node(tx, at, level)?.child(i);
                self.clear_below(tx, child, level - 1, left, each)?;
                continue;
            }
            *left = left
                .checked_sub(1)
                .ok_or_else(|| Error::damaged(WHAT, at, count as u64))?;
            let record = self.node(tx, at, 0)?.record(i);
            each(tx, record)?;
        }
        tx.free(at);
        Ok(())
    }
}
