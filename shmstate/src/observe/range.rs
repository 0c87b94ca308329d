//! Going over a part of an ordered map within a snapshot, from both ends: by ranks, of which a leaf has many at a time.

use super::Copied;
use super::ordered::ObservedOrderedMap;
use super::snapshot::Snapshot;
use super::tree::{self, Spot, Toward};
use super::way::Way;
use crate::archive::CheckedValue;
use crate::error::{Error, Result};
use crate::table::key::{self, Form, Key};
use std::borrow::Cow;
use std::fmt;
use std::iter::FusedIterator;

/// Iterator over records of an ordered map at the moment of a snapshot. Each item can be an error, after which there are no more.
pub struct ObservedRange<'t, 's, 'x, K, V> {
    table: &'t ObservedOrderedMap<'t, K, V>,
    snapshot: &'s mut Snapshot<'x>,
    /// Ranks of the next from the front, and behind the next from the back.
    front: u64,
    back: u64,
    /// The leaves that either was found in.
    leaves: [Option<Box<Spot>>; 2],
}

impl<K, V> fmt::Debug for ObservedRange<'_, '_, '_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObservedRange")
            .field("left", &self.back.saturating_sub(self.front))
            .finish_non_exhaustive()
    }
}

impl<'t, 's, 'x, K: Key, V: CheckedValue> ObservedRange<'t, 's, 'x, K, V> {
    pub(super) fn new(
        table: &'t ObservedOrderedMap<'t, K, V>,
        snapshot: &'s mut Snapshot<'x>,
        front: u64,
        back: u64,
    ) -> Self {
        Self {
            table,
            snapshot,
            front,
            back,
            leaves: [None, None],
        }
    }

    /// The record of a rank, in the leaf of that end or in another one.
    fn item(&mut self, end: usize, rank: u64) -> Result<(K, Copied<V>)> {
        let (seen, tree) = (&self.table.seen, self.table.tree());
        let leaf = &mut self.leaves[end];
        seen.read(self.snapshot, |s| {
            let known = leaf.as_ref().map_or(Ok(None), |leaf| leaf.entry(rank))?;
            let (words, record) = match known {
                Some(entry) => entry,
                None => {
                    let fewer = || Error::damaged("number of records", tree.row, rank);
                    let found = tree::descend(s, tree, Toward::Rank(rank))?.ok_or_else(fewer)?;
                    leaf.insert(Box::new(found)).entry(rank)?.ok_or_else(fewer)?
                }
            };
            // The key is not known before the record was copied; nothing that is read so is found again by it.
            let way = Way::Tree {
                tree,
                key: Cow::Borrowed(&[]),
            };
            let raw = seen.record_at(s, &way, record)?;
            let bytes = raw.key(&seen.shape);
            if tree.shape.key_words(bytes) != words {
                return Err(Error::damaged("key of a record", record, rank));
            }
            let key = key::decode::<K>(Form::Ordered, bytes);
            let key = key.ok_or_else(|| Error::damaged("key", record, raw.word))?;
            Ok((key, Copied::new(raw, &seen.shape)?))
        })
    }

    fn give(&mut self, item: Result<(K, Copied<V>)>) -> Option<Result<(K, Copied<V>)>> {
        if item.is_err() {
            self.front = self.back;
        }
        Some(item)
    }
}

impl<K: Key, V: CheckedValue> Iterator for ObservedRange<'_, '_, '_, K, V> {
    type Item = Result<(K, Copied<V>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.front >= self.back {
            return None;
        }
        let item = self.item(0, self.front);
        self.front += 1;
        self.give(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.back.saturating_sub(self.front) as usize))
    }
}

impl<K: Key, V: CheckedValue> DoubleEndedIterator for ObservedRange<'_, '_, '_, K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.front >= self.back {
            return None;
        }
        self.back -= 1;
        let item = self.item(1, self.back);
        self.give(item)
    }
}

impl<K: Key, V: CheckedValue> FusedIterator for ObservedRange<'_, '_, '_, K, V> {}
