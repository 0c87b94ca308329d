//! How a record is found: the same way over live words and over committed ones, and again to see whether it still leads there.

use super::index;
use super::record::{Raw, Shape};
use super::source::Source;
use super::{ring, slots, tree};
use crate::error::{Error, Result};
use crate::region::view::Bad;
use crate::table::catalog::ROOT;
use crate::table::key::LONG_KEY_WORD;
use crate::table::keyed::read_word;
use crate::table::ordered::tree::Tree;
use crate::table::reference;
use std::borrow::Cow;

/// How a record is found, from the row of its table on.
#[derive(Clone, Debug)]
pub(crate) enum Way<'k> {
    /// Through the index of a map.
    Index { row: u64, hash: u64, key: Cow<'k, [u8]> },
    /// A cell's only one.
    Cell { row: u64 },
    /// The slot that an id names.
    Slot { row: u64, token: u64 },
    /// The item of a queue with that serial number.
    Item { row: u64, serial: u64 },
    /// Down the tree of an ordered map.
    Tree { tree: Tree, key: Cow<'k, [u8]> },
}

impl Way<'_> {
    /// Offset of the record's header; `None` if nothing is there.
    pub(crate) fn find<S: Source>(&self, source: &mut S, shape: &Shape) -> Result<Option<u64>> {
        match self {
            Self::Index { row, hash, key } => index::find(source, *row, *hash, |source, record| {
                has_key(source, shape, record, key)
            }),
            Self::Cell { row } => {
                let at = *row + ROOT;
                let word = source.word(at, "cell")?;
                let record = reference::open(word, *row, 0, "cell", at)?;
                record.ok_or_else(|| Error::damaged("cell", at, word)).map(Some)
            }
            Self::Slot { row, token } => Ok(slots::find(source, *row, *token)?.map(|slot| slot.record)),
            Self::Item { row, serial } => ring::find(source, *row, *serial),
            Self::Tree { tree, key } => tree::find(source, *tree, key),
        }
    }

    /// Whether it leads to a record. Over live words that record's header says whether it is the one that was copied.
    pub(crate) fn leads_to<S: Source>(&self, source: &mut S, shape: &Shape, record: u64) -> Result<bool> {
        match self {
            Self::Index { row, hash, .. } => index::leads_to(source, *row, *hash, record),
            _ => Ok(self.find(source, shape)? == Some(record)),
        }
    }

    /// Whether the record that was copied has the key that was looked for, if it has one.
    pub(crate) fn is_of(&self, raw: &Raw, shape: &Shape) -> bool {
        match self {
            Self::Index { key, .. } | Self::Tree { key, .. } => raw.key(shape) == &**key,
            _ => true,
        }
    }

    /// What names the record in its table, as bytes.
    pub(crate) fn name(&self) -> Vec<u8> {
        match self {
            Self::Index { key, .. } | Self::Tree { key, .. } => key.to_vec(),
            Self::Cell { .. } => Vec::new(),
            Self::Slot { token: number, .. } | Self::Item { serial: number, .. } => number.to_le_bytes().to_vec(),
        }
    }

    /// What is needed to go it once more.
    pub(crate) fn keep(&self) -> Way<'static> {
        match *self {
            // The hash is enough.
            Self::Index { row, hash, .. } => Way::Index {
                row,
                hash,
                key: Cow::Borrowed(&[]),
            },
            Self::Cell { row } => Way::Cell { row },
            Self::Slot { row, token } => Way::Slot { row, token },
            Self::Item { row, serial } => Way::Item { row, serial },
            Self::Tree { tree, ref key } => Way::Tree {
                tree,
                key: Cow::Owned(key.to_vec()),
            },
        }
    }
}

/// The key of variable length of the record whose header is at `record`.
pub(crate) fn long_key<S: Source>(source: &mut S, record: u64) -> Result<Vec<u8>> {
    let word = source.word(record.wrapping_sub(LONG_KEY_WORD as u64), "key")?;
    let (length, start) = read_word(word, record).map_err(|Bad| Error::damaged("key", record, word))?;
    let mut words = vec![0; length.div_ceil(8) as usize];
    source.copy(start, &mut words, "key")?;
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.truncate(length as usize);
    Ok(bytes)
}

/// Whether the record whose header is at `record` has that key.
fn has_key<S: Source>(source: &mut S, shape: &Shape, record: u64, key: &[u8]) -> Result<bool> {
    if shape.keys.variable {
        return Ok(long_key(source, record)? == key);
    }
    // Whole words: the last one ends in the record, whatever it is of.
    let mut words = vec![0; key.len().div_ceil(8)];
    source.copy(record.wrapping_sub(shape.geometry.key), &mut words, "key")?;
    let bytes = words.iter().flat_map(|word| word.to_le_bytes());
    Ok(bytes.take(key.len()).eq(key.iter().copied()))
}
