//! The whole of an ordered map, checked without knowing the types of its keys and values.

use super::node::{MAX_ENTRY, MAX_KEY_WORDS, NODE, Node, Shape};
use super::tree::Tree;
use super::{ARCHIVED, COUNT, KEYS, WHAT, confirm};
use crate::error::{Error, Result};
use crate::heap;
use crate::heap::Held;
use crate::region::header::Layout;
use crate::region::view::View;
use crate::table::catalog;
use crate::table::keyed::Stored;
use crate::table::record::{self, HEADER};

/// What was seen so far.
struct Walk<'v, F> {
    view: &'v View,
    tree: Tree,
    layout: &'v Layout,
    /// Whether records have checksums.
    checked: bool,
    each: F,
    /// Records that may still come.
    left: u64,
    /// The key and record before.
    previous: Option<([u64; MAX_KEY_WORDS], u64)>,
}

impl<F: FnMut(Held)> Walk<'_, F> {
    /// Visits the node and all below it; `least` is the separator that stands for it. Gives the records below it.
    fn node(&mut self, at: u64, level: usize, least: Option<[u64; MAX_ENTRY]>) -> Result<u64> {
        let node = self.tree.node(self.view, at, level)?;
        // O3.
        if node.count < 1 + usize::from(level > 0) {
            return Err(node.damaged());
        }
        (self.each)(Held::Block { at, bytes: NODE });
        if level == 0 {
            return self.leaf(&node, least);
        }
        let mut total = 0u64;
        for i in 0..node.count {
            let least = if i == 0 { least } else { Some(node.separator(i)) };
            let found = self.node(node.child(i), level - 1, least)?;
            if found != node.total(i) {
                let word = node.offset(node.total_word(i));
                return Err(Error::damaged("number of records below", word, node.total(i)));
            }
            total = total.saturating_add(found);
        }
        Ok(total)
    }

    fn leaf(&mut self, leaf: &Node<'_>, least: Option<[u64; MAX_ENTRY]>) -> Result<u64> {
        if let Some(least) = least
            && least != leaf.separator(0)
        {
            return Err(Error::damaged("separator", leaf.offset(leaf.start(0)), least[0]));
        }
        for i in 0..leaf.count {
            let (key, record) = (leaf.key(i), leaf.record(i));
            let at = leaf.offset(leaf.start(i));
            self.left = self
                .left
                .checked_sub(1)
                .ok_or_else(|| Error::damaged("number of records", self.tree.row + COUNT, leaf.count as u64))?;
            // A key of zeroes is found in many places: the header must be where a record's is.
            let block = heap::block_of(self.view, self.layout, record)?;
            if block.offset + block.size != record.wrapping_add(HEADER) {
                return Err(Error::damaged("record", at, record));
            }
            let bytes = confirm(self.view, self.tree.shape, leaf, i)?;
            if let Some((before, theirs)) = self.previous {
                let stored = self.tree.shape.stored;
                let ascending =
                    before < key || (before == key && stored.variable && stored.key(self.view, theirs)? < bytes);
                if !ascending {
                    return Err(Error::damaged("order of keys", at, key[0]));
                }
            }
            self.previous = Some((key, record));
            self.tree
                .shape
                .stored
                .check(self.view, self.layout, record, self.checked)?;
            if self.checked {
                record::check_sum(self.view, self.layout, record)?;
            }
            (self.each)(Held::Record(record));
        }
        Ok(leaf.count as u64)
    }
}

/// Visits the blocks of an ordered map whose types are not known, nodes and records, and checks that keys ascend, totals and
/// separators are right, all leaves are equally deep, and every entry names a record that has its key, and its checksum if the
/// table keeps them.
pub(crate) fn check(view: &View, layout: &Layout, row: u64, each: impl FnMut(Held)) -> Result<()> {
    let shape = Shape::with(Stored::read(view, row + KEYS)?);
    let tree = Tree::new(row, shape);
    let counted = view.load(row + COUNT, WHAT)?;
    let (root, depth) = tree.roots(view)?;
    let mut walk = Walk {
        view,
        tree,
        layout,
        checked: catalog::is_checked(view, row)?,
        each,
        left: counted,
        previous: None,
    };
    let found = match depth {
        0 => 0,
        _ => walk.node(root, depth - 1, None)?,
    };
    if found != counted {
        return Err(Error::damaged("number of records", row + COUNT, counted));
    }
    Ok(())
}

/// Records of the table whose row is given, and bytes of their archives.
pub(crate) fn counts(view: &View, row: u64) -> Result<(u64, u64)> {
    Ok((view.load(row + COUNT, WHAT)?, view.load(row + ARCHIVED, WHAT)?))
}

/// [`check`] for who has only a view.
#[cfg(test)]
pub(crate) fn all_blocks(view: &View, row: u64, each: impl FnMut(Held)) -> Result<()> {
    check(view, &Layout::of(view.capacity())?, row, each)
}
