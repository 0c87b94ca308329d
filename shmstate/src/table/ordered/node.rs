//! Nodes of an ordered map's tree: what lies in one, how it is read and searched, and the rules of its size.
//!
//! ```text
//! node, 1024 bytes: | u8 level · u8 0 · u16 entries · u32 mark | u64 catalog row | entries, ascending by key |
//! entry of a leaf (level 0):   | key words | u64 offset of the record's header |
//! entry of an inner node:      | separator | u64 offset of the child | u64 records below it |
//! separator:                   | key words | of keys of variable length: u64 offset of a record's header |
//! ```
//!
//! Key words: the key's ordered form, eight bytes a word, most significant first, zero-padded; so words compare as keys do.
//! Of a key of variable length they hold the first 16 bytes; where those are equal the record decides.
//!
//! - **O1** The separator of an inner node's entry *is* the least key below it, and names that key's record. The separator of
//!   a node's first entry means nothing: the node's own separator in its parent says it.
//! - **O2** A node's level is its distance from the leaves. Who reads a node says which level it must have, so a walk down ends
//!   after as many steps as the tree is deep, whatever was damaged.
//! - **O3** A node that is not the root has at least one entry, an inner node two. Below [`Shape::least`] it is joined with its
//!   neighbour, or gets entries from it.
//!
//! It does not know the types of keys and values; [`Shape`] has all that it needs.

use crate::error::{Error, Result};
use crate::region::view::View;
use crate::table::key::Key;
use crate::table::keyed::Stored;
use std::cmp::Ordering;

pub(crate) const WHAT: &str = "ordered map";
/// Bytes of a node.
pub(crate) const NODE: u64 = 1024;
/// Words of a node.
pub(crate) const WORDS: usize = (NODE / 8) as usize;
/// Words before the entries.
pub(crate) const HEAD: usize = 2;
/// Most words of a key in an entry.
pub(crate) const MAX_KEY_WORDS: usize = 4;
/// Words of a key of variable length in an entry.
const PREFIX_WORDS: usize = 2;
/// Most words of an entry.
pub(crate) const MAX_ENTRY: usize = MAX_KEY_WORDS + 3;
/// What the upper half of a node's first word says.
const MARK: u64 = 0x6e6f_6465;

const _: () = {
    assert!(MAX_KEY_WORDS * 8 == crate::table::key::MAX_KEY);
    assert!(PREFIX_WORDS <= MAX_KEY_WORDS);
    // Room for two inner entries and two over: less could not be split.
    assert!((WORDS - HEAD) / MAX_ENTRY >= 4);
};

/// How the entries of a table's nodes look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Words of the key in an entry.
    key: usize,
    pub(crate) stored: Stored,
}

impl Shape {
    pub(crate) const fn of<K: Key>() -> Self {
        Self::with(Stored::of::<K>())
    }

    /// For who does not know the types.
    pub(crate) const fn with(stored: Stored) -> Self {
        let key = if stored.variable {
            PREFIX_WORDS
        } else {
            stored.size.div_ceil(8) as usize
        };
        Self { key, stored }
    }

    /// Words of a separator.
    #[inline]
    pub(crate) const fn separator(self) -> usize {
        self.key + self.stored.variable as usize
    }

    /// Words of an entry at that level.
    #[inline]
    pub(crate) const fn entry(self, level: usize) -> usize {
        if level == 0 { self.key + 1 } else { self.separator() + 2 }
    }

    /// Most entries of a node at that level.
    #[inline]
    pub(crate) const fn most(self, level: usize) -> usize {
        (WORDS - HEAD) / self.entry(level)
    }

    /// Entries below which a node is joined with its neighbour, or gets some from it (O3).
    pub(crate) const fn least(self, level: usize) -> usize {
        let quarter = self.most(level) / 4;
        if quarter < 2 { 2 } else { quarter }
    }

    /// Two nodes are joined if they have no more entries together: what is joined is not full, and what is shared out is
    /// well above the least, so that coming and going at one place does neither time after time.
    pub(crate) const fn joined(self, level: usize) -> usize {
        self.most(level) * 3 / 4
    }

    /// Index of the first word of entry `i`.
    #[inline]
    pub(crate) const fn start(self, level: usize, i: usize) -> usize {
        HEAD + i * self.entry(level)
    }

    /// The words of a key's ordered form.
    #[inline]
    pub(crate) fn key_words(self, bytes: &[u8]) -> [u64; MAX_KEY_WORDS] {
        let mut words = [0; MAX_KEY_WORDS];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks(8)).take(self.key) {
            let mut padded = [0; 8];
            padded[..chunk.len()].copy_from_slice(chunk);
            *word = u64::from_be_bytes(padded);
        }
        words
    }

    /// The bytes of a key's ordered form that its words hold: of one of variable length no more than they have room for.
    pub(crate) fn key_bytes(self, words: &[u64; MAX_KEY_WORDS]) -> Vec<u8> {
        let mut bytes: Vec<u8> = words
            .iter()
            .take(self.key)
            .flat_map(|word| word.to_be_bytes())
            .collect();
        if !self.stored.variable {
            bytes.truncate(self.stored.size as usize);
        }
        bytes
    }

    /// An entry of a leaf: a key and its record.
    pub(crate) fn leaf_entry(self, key: &[u64; MAX_KEY_WORDS], record: u64) -> ([u64; MAX_ENTRY], usize) {
        let mut entry = [0; MAX_ENTRY];
        entry[..self.key].copy_from_slice(&key[..self.key]);
        entry[self.key] = record;
        (entry, self.key + 1)
    }

    /// An entry of an inner node.
    pub(crate) fn inner_entry(self, separator: &[u64], child: u64, total: u64) -> ([u64; MAX_ENTRY], usize) {
        let mut entry = [0; MAX_ENTRY];
        let length = self.separator();
        entry[..length].copy_from_slice(&separator[..length]);
        entry[length] = child;
        entry[length + 1] = total;
        (entry, length + 2)
    }
}

/// The first word of a node.
pub(crate) fn head(level: usize, count: usize) -> u64 {
    level as u64 | (count as u64) << 16 | MARK << 32
}

/// What a search looks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe<'k> {
    pub(crate) words: [u64; MAX_KEY_WORDS],
    bytes: &'k [u8],
}

impl<'k> Probe<'k> {
    /// `bytes` are a key's ordered form.
    #[inline]
    pub(crate) fn new(shape: Shape, bytes: &'k [u8]) -> Self {
        Self {
            words: shape.key_words(bytes),
            bytes,
        }
    }

    /// The key's ordered form.
    pub(crate) fn bytes(&self) -> &'k [u8] {
        self.bytes
    }
}

/// A node, as read for as long as the view is lent out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node<'v> {
    pub(crate) at: u64,
    pub(crate) level: usize,
    pub(crate) count: usize,
    shape: Shape,
    words: &'v [[u8; 8]; WORDS],
}

impl<'v> Node<'v> {
    /// Reads the node at `at`, which must be of the table at `row` and of that level (O2).
    #[inline]
    pub(crate) fn read(view: &'v View, row: u64, shape: Shape, at: u64, level: usize) -> Result<Self> {
        let words = view.bytes(at, NODE, WHAT)?.as_chunks::<8>().0;
        let Some(words) = words.first_chunk::<WORDS>() else {
            return Err(Error::damaged(WHAT, at, NODE));
        };
        Self::of(words, row, shape, at, level)
    }

    /// The node whose words are given: the same, for whoever copied them.
    #[inline]
    pub(crate) fn of(words: &'v [[u8; 8]; WORDS], row: u64, shape: Shape, at: u64, level: usize) -> Result<Self> {
        let first = u64::from_le_bytes(words[0]);
        let count = (first >> 16 & 0xffff) as usize;
        let sound = at.is_multiple_of(8) && u64::from_le_bytes(words[1]) == row && count <= shape.most(level);
        if !sound || first != head(level, count) {
            return Err(Error::damaged(WHAT, at, first));
        }
        Ok(Self {
            at,
            level,
            count,
            shape,
            words,
        })
    }

    /// Word `i` of the node. `i` is bounded by the entries there can be.
    #[inline]
    pub(crate) fn word(&self, i: usize) -> u64 {
        u64::from_le_bytes(self.words[i & (WORDS - 1)])
    }

    /// Copies words `from..to` to the front of `out`.
    pub(crate) fn copy(&self, from: usize, to: usize, out: &mut [u64]) {
        for (out, i) in out.iter_mut().zip(from..to) {
            *out = self.word(i);
        }
    }

    /// Where in the region word `i` lies.
    #[inline]
    pub(crate) fn offset(&self, i: usize) -> u64 {
        self.at + i as u64 * 8
    }

    /// Index of the first word of entry `i`.
    #[inline]
    pub(crate) fn start(&self, i: usize) -> usize {
        self.shape.start(self.level, i)
    }

    /// The key words of entry `i`.
    #[inline]
    pub(crate) fn key(&self, i: usize) -> [u64; MAX_KEY_WORDS] {
        let start = self.start(i);
        let mut words = [0; MAX_KEY_WORDS];
        for (k, word) in words.iter_mut().enumerate().take(self.shape.key) {
            *word = self.word(start + k);
        }
        words
    }

    /// The separator that stands for entry `i` in the parent of a leaf, or that entry `i` of an inner node has.
    pub(crate) fn separator(&self, i: usize) -> [u64; MAX_ENTRY] {
        let mut separator = [0; MAX_ENTRY];
        let start = self.start(i);
        self.copy(
            start,
            start + self.shape.separator(),
            &mut separator[..self.shape.separator()],
        );
        separator
    }

    /// The record that entry `i` names: a leaf's own, or the one of a separator, of keys of variable length.
    #[inline]
    pub(crate) fn record(&self, i: usize) -> u64 {
        self.word(self.start(i) + self.shape.key)
    }

    /// The child of entry `i` of an inner node.
    #[inline]
    pub(crate) fn child(&self, i: usize) -> u64 {
        self.word(self.total_word(i) - 1)
    }

    /// Index of the word that counts the records below entry `i` of an inner node.
    #[inline]
    pub(crate) fn total_word(&self, i: usize) -> usize {
        self.start(i) + self.shape.separator() + 1
    }

    /// Records below entry `i` of an inner node.
    #[inline]
    pub(crate) fn total(&self, i: usize) -> u64 {
        self.word(self.total_word(i))
    }

    /// Records below the first `n` entries; of a leaf, `n`.
    pub(crate) fn totals(&self, n: usize) -> u64 {
        if self.level == 0 {
            return n as u64;
        }
        (0..n.min(self.count)).fold(0, |sum, i| sum.wrapping_add(self.total(i)))
    }

    /// How the key of entry `i` compares with what is looked for.
    #[inline]
    pub(crate) fn compare(&self, view: &View, i: usize, probe: &Probe<'_>) -> Result<Ordering> {
        let start = self.start(i);
        for k in 0..self.shape.key {
            let order = self.word(start + k).cmp(&probe.words[k & (MAX_KEY_WORDS - 1)]);
            if order.is_ne() {
                return Ok(order);
            }
        }
        if self.shape.stored.variable {
            return Ok(self.shape.stored.key(view, self.record(i))?.cmp(probe.bytes));
        }
        Ok(Ordering::Equal)
    }

    /// The first of the entries from `first` on whose key is not less than what is looked for, and whether it is that key.
    #[inline]
    pub(crate) fn search(&self, view: &View, first: usize, probe: &Probe<'_>) -> Result<(usize, bool)> {
        let (mut low, mut high) = (first, self.count);
        while low < high {
            let middle = low.midpoint(high);
            match self.compare(view, middle, probe)? {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok((middle, true)),
                Ordering::Greater => high = middle,
            }
        }
        Ok((low, false))
    }

    /// The entry of an inner node below which the key lies, if anywhere.
    #[inline]
    pub(crate) fn below(&self, view: &View, probe: &Probe<'_>) -> Result<usize> {
        if self.count == 0 {
            return Err(self.damaged());
        }
        let (i, equal) = self.search(view, 1, probe)?;
        Ok(if equal { i } else { i - 1 })
    }

    pub(crate) fn damaged(&self) -> Error {
        Error::damaged(WHAT, self.at, self.word(0))
    }
}
