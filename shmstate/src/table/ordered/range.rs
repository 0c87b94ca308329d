//! The walk over an ordered map, from both ends.
//!
//! A gap is a place between two entries; a range has one at either end and knows how many records lie between, from the ranks
//! of both (O5). That number is checked against what the region can hold, so a walk ends whatever was damaged. Ranks also tell where a
//! walk is after so many records, so none of those need be looked at.

use super::node::Node;
use super::tree::{Path, Spot, Step, Toward, Tree};
use super::{OrderedMap, WHAT};
use crate::archive::Value;
use crate::error::{Error, Result};
use crate::region::view::View;
use crate::table::key::Key;
use std::iter::FusedIterator;

/// A place between two entries.
#[derive(Clone, Copy, Debug)]
struct Gap<'v> {
    path: Path,
    leaf: Option<Node<'v>>,
}

impl<'v> Gap<'v> {
    fn new(tree: Tree, view: &'v View, path: Path) -> Result<Self> {
        let leaf = match path.depth {
            0 => None,
            _ => Some(tree.node(view, path.steps[0].node, 0)?),
        };
        Ok(Self { path, leaf })
    }

    /// Moves over the next entry and gives it.
    #[inline]
    fn forward(&mut self, tree: Tree, view: &'v View) -> Result<(Node<'v>, usize)> {
        let i = self.path.steps[0].index;
        match self.leaf {
            Some(leaf) if i < leaf.count => {
                self.path.steps[0].index = i + 1;
                Ok((leaf, i))
            }
            _ => {
                let leaf = self.turn(tree, view, true)?;
                self.path.steps[0].index = 1;
                Ok((leaf, 0))
            }
        }
    }

    /// Moves back over the entry before and gives it.
    #[inline]
    fn back(&mut self, tree: Tree, view: &'v View) -> Result<(Node<'v>, usize)> {
        let i = self.path.steps[0].index;
        match self.leaf {
            Some(leaf) if i > 0 && i <= leaf.count => {
                self.path.steps[0].index = i - 1;
                Ok((leaf, i - 1))
            }
            _ => {
                let leaf = self.turn(tree, view, false)?;
                self.path.steps[0].index = leaf.count - 1;
                Ok((leaf, leaf.count - 1))
            }
        }
    }

    /// Goes to the neighbouring leaf, which has at least one entry.
    #[cold]
    fn turn(&mut self, tree: Tree, view: &'v View, forward: bool) -> Result<Node<'v>> {
        for level in 1..self.path.depth {
            let step = &mut self.path.steps[level];
            let node = tree.node(view, step.node, level)?;
            let next = if forward {
                Some(step.index + 1).filter(|i| *i < node.count)
            } else {
                step.index.checked_sub(1).filter(|i| *i < node.count)
            };
            let Some(next) = next else { continue };
            step.index = next;
            let mut at = node.child(next);
            for below in (0..level).rev() {
                let node = tree.node(view, at, below)?;
                if node.count == 0 {
                    return Err(node.damaged());
                }
                let index = if forward { 0 } else { node.count - 1 };
                self.path.steps[below] = Step { node: at, index };
                if below == 0 {
                    self.leaf = Some(node);
                    return Ok(node);
                }
                at = node.child(index);
            }
        }
        // The ranks of both ends said that there are more.
        Err(Error::damaged(WHAT, tree.row, self.path.steps[0].node))
    }

    /// Moves over `n` entries, forward or back, by what the nodes say of those below them (O5).
    fn jump(&mut self, tree: Tree, view: &'v View, n: u64, forward: bool) -> Result<()> {
        let i = self.path.steps[0].index as u64;
        let near = if forward { i.checked_add(n) } else { i.checked_sub(n) };
        if let (Some(near), Some(leaf)) = (near, self.leaf)
            && near <= leaf.count as u64
        {
            self.path.steps[0].index = near as usize;
            return Ok(());
        }
        let rank = tree.rank(view, &self.path)?;
        let to = if forward {
            rank.checked_add(n)
        } else {
            rank.checked_sub(n)
        };
        let to = to.ok_or_else(|| Error::damaged("number of records below", tree.row, rank))?;
        // From where this path begins, not from the table's root: what `drain` gives is not below that any more.
        let top = self
            .path
            .depth
            .checked_sub(1)
            .map_or(0, |level| self.path.steps[level].node);
        let from = (top, self.path.depth);
        *self = Self::new(tree, view, tree.locate_below(view, from, Toward::Rank(to))?.path)?;
        Ok(())
    }
}

/// Moves a path over the next entry and gives that: for who changes records on the way, which borrows the view in between.
pub(super) fn forward<'v>(path: &mut Path, tree: Tree, view: &'v View) -> Result<(Node<'v>, usize)> {
    let mut gap = Gap::new(tree, view, *path)?;
    let entry = gap.forward(tree, view)?;
    *path = gap.path;
    Ok(entry)
}

/// Iterator over records of an [`OrderedMap`], ascending by key; from the back, descending.
///
/// It knows how many records are left, so `count` looks at none; `nth`, and with it `skip` and `step_by`, costs as much as a lookup however many records
/// it passes over, from either end. Each item can be [`Error::Damaged`], after which there are no more.
pub struct Range<'v, K, V> {
    view: &'v View,
    map: OrderedMap<K, V>,
    tree: Tree,
    front: Gap<'v>,
    back: Gap<'v>,
    left: u64,
}

impl<K, V> std::fmt::Debug for Range<'_, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Range")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl<K, V> Clone for Range<'_, K, V> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

impl<'v, K: Key, V: Value> Range<'v, K, V> {
    /// The `left` records between two places.
    pub(super) fn between(map: OrderedMap<K, V>, view: &'v View, front: &Spot, back: &Spot, left: u64) -> Result<Self> {
        let tree = map.admit(view)?;
        Ok(Self {
            view,
            map,
            tree,
            front: Gap::new(tree, view, front.path)?,
            back: Gap::new(tree, view, back.path)?,
            left,
        })
    }

    fn give(&mut self, entry: Result<(Node<'v>, usize)>) -> Option<Result<(K, &'v V::Archived)>> {
        let item = entry.and_then(|(leaf, i)| self.map.item(self.view, &leaf, i));
        self.left = if item.is_ok() { self.left - 1 } else { 0 };
        Some(item)
    }

    /// Passes over `n` records at one end, or over all if there are not more.
    fn pass(&mut self, n: u64, front: bool) -> Result<()> {
        // Whatever happens on the way, there are no more after an error.
        let left = std::mem::take(&mut self.left).saturating_sub(n);
        if n > 0 && left > 0 {
            let end = if front { &mut self.front } else { &mut self.back };
            end.jump(self.tree, self.view, n, front)?;
        }
        self.left = left;
        Ok(())
    }
}

impl<'v, K: Key, V: Value> Iterator for Range<'v, K, V> {
    type Item = Result<(K, &'v V::Archived)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let entry = self.front.forward(self.tree, self.view);
        self.give(entry)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }

    fn count(self) -> usize {
        self.left as usize
    }

    fn last(mut self) -> Option<Self::Item> {
        self.next_back()
    }

    fn nth(&mut self, n: usize) -> Option<Self::Item> {
        match self.pass(n as u64, true) {
            Ok(()) => self.next(),
            Err(e) => Some(Err(e)),
        }
    }
}

impl<K: Key, V: Value> DoubleEndedIterator for Range<'_, K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let entry = self.back.back(self.tree, self.view);
        self.give(entry)
    }

    fn nth_back(&mut self, n: usize) -> Option<Self::Item> {
        match self.pass(n as u64, false) {
            Ok(()) => self.next_back(),
            Err(e) => Some(Err(e)),
        }
    }
}

impl<K: Key, V: Value> ExactSizeIterator for Range<'_, K, V> {}
impl<K: Key, V: Value> FusedIterator for Range<'_, K, V> {}
