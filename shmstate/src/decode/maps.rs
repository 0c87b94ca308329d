//! The walk through rkyv's archived maps: the places of `collections` in rkyv 0.8, computed from the sizes of key and value.
//!
//! ```text
//! BTreeMap: | i32 root | u32 length |     node: | u8 kind (0 leaf, 1 inner) | 5 keys | 5 values |
//!     leaf:  node | u32 entries |          inner: node | 5 × i32 lesser | i32 greater |
//! HashMap:  | i32 controls | u32 length | u32 buckets |
//!     buckets lie before the controls, the first one last; a control byte with its highest bit set is an empty bucket
//! ```

use super::Visit;
use super::read::{Result, broken};
use super::walk::Walk;
use crate::schema::TypeIndex;

/// Entries of a node of a B-tree.
const ENTRIES: usize = 5;
/// Control bytes are counted in groups of so many, and the first ones repeated behind the last group.
const GROUP: usize = 16;
/// An empty bucket.
const EMPTY: u8 = 0x80;

/// Where the parts of a pair or a node lie.
const fn after(offset: usize, align: usize) -> usize {
    offset.next_multiple_of(align)
}

/// The places in a node of a B-tree.
#[derive(Clone, Copy)]
struct Node {
    key: TypeIndex,
    value: TypeIndex,
    keys: usize,
    values: usize,
    sizes: (usize, usize),
    /// Behind the node proper: a leaf's length, an inner node's pointers.
    end: usize,
    /// What both are aligned to.
    align: usize,
}

impl<V: Visit> Walk<'_, '_, V> {
    fn layout(&self, of: TypeIndex) -> (usize, usize) {
        let of = self.decoder.model().get(of);
        (of.size, of.align)
    }

    pub(super) fn btree(&mut self, key: TypeIndex, value: TypeIndex, at: usize) -> Result<()> {
        let length = self.bytes.word(at + 4, "BTreeMap")? as usize;
        self.begin_map(length, key);
        if length > 0 {
            let ((key_size, key_align), (value_size, value_align)) = (self.layout(key), self.layout(value));
            let keys = after(1, key_align);
            let values = after(keys + ENTRIES * key_size, value_align);
            let align = key_align.max(value_align);
            let own = after(values + ENTRIES * value_size, align);
            let node = Node {
                key,
                value,
                keys,
                values,
                sizes: (key_size, value_size),
                end: after(own, 4),
                align: align.max(4),
            };
            let root = self
                .bytes
                .target(at, "BTreeMap")?
                .ok_or_else(|| broken("BTreeMap", at))?;
            let found = self.node(&node, root)?;
            if found != length {
                return Err(broken("BTreeMap of that length", at));
            }
        }
        self.visit.end_map();
        Ok(())
    }

    /// Goes through a node; gives how many entries are in and below it.
    fn node(&mut self, node: &Node, at: usize) -> Result<usize> {
        const WHAT: &str = "node of a BTreeMap";
        self.deeper(at)?;
        let found = match self.bytes.byte(at, WHAT)? {
            0 => {
                self.bytes.claim(at, after(node.end + 4, node.align), WHAT)?;
                let length = self.bytes.word(at + node.end, WHAT)? as usize;
                if length > ENTRIES {
                    return Err(broken(WHAT, at));
                }
                for i in 0..length {
                    self.entry(node, at, i)?;
                }
                length
            }
            1 => {
                self.bytes
                    .claim(at, after(node.end + (ENTRIES + 1) * 4, node.align), WHAT)?;
                let mut found = ENTRIES;
                for i in 0..=ENTRIES {
                    if let Some(lesser) = self.bytes.target(at + node.end + i * 4, WHAT)? {
                        found += self.node(node, lesser)?;
                    }
                    if i < ENTRIES {
                        self.entry(node, at, i)?;
                    }
                }
                found
            }
            _ => return Err(broken(WHAT, at)),
        };
        self.back();
        Ok(found)
    }

    fn entry(&mut self, node: &Node, at: usize, i: usize) -> Result<()> {
        self.visit.key();
        self.value(node.key, at + node.keys + i * node.sizes.0)?;
        self.visit.value();
        self.value(node.value, at + node.values + i * node.sizes.1)
    }

    pub(super) fn hash(&mut self, key: TypeIndex, value: TypeIndex, at: usize) -> Result<()> {
        const WHAT: &str = "HashMap";
        let length = self.bytes.word(at + 4, WHAT)? as usize;
        let buckets = self.bytes.word(at + 8, WHAT)? as usize;
        self.begin_map(length, key);
        if length > 0 {
            let ((key_size, key_align), (value_size, value_align)) = (self.layout(key), self.layout(value));
            let to_value = after(key_size, value_align);
            let pair = after(to_value + value_size, key_align.max(value_align));
            let controls = self.bytes.target(at, WHAT)?.ok_or_else(|| broken(WHAT, at))?;
            let all = pair.checked_mul(buckets).filter(|_| length < buckets);
            let all = all.ok_or_else(|| broken(WHAT, at))?;
            let first = controls.checked_sub(all).ok_or_else(|| broken(WHAT, at))?;
            let control_bytes = buckets.next_multiple_of(GROUP) + GROUP - 1;
            self.bytes.claim(first, all + control_bytes, WHAT)?;
            let marks = self.bytes.get(controls, buckets, WHAT)?;
            let mut found = 0;
            for (i, _) in marks.iter().enumerate().filter(|(_, mark)| **mark & EMPTY == 0) {
                let entry = controls - (i + 1) * pair;
                self.visit.key();
                self.value(key, entry)?;
                self.visit.value();
                self.value(value, entry + to_value)?;
                found += 1;
            }
            if found != length {
                return Err(broken("HashMap of that length", at));
            }
        }
        self.visit.end_map();
        Ok(())
    }
}
