//! An ordered map as an observer sees it.

use super::range::ObservedRange;
use super::seen::Seen;
use super::snapshot::Snapshot;
use super::tree::{self, Toward};
use super::way::Way;
use super::{Copied, Observer};
use crate::archive::CheckedValue;
use crate::error::{Error, Result};
use crate::table::key::{Encoded, Form, Key};
use crate::table::keyed::Stored;
use crate::table::ordered::OrderedMap;
use crate::table::ordered::node::{Probe, Shape};
use crate::table::ordered::tree::Tree;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};

/// An ordered map in a region that another process writes.
pub struct ObservedOrderedMap<'o, K, V> {
    pub(super) seen: Seen<'o>,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> fmt::Debug for ObservedOrderedMap<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObservedOrderedMap")
            .field("name", &self.seen.prints.name())
            .finish_non_exhaustive()
    }
}

impl Observer {
    /// Finds an ordered map and checks that its records have the shape of `V` and its keys that of `K`.
    ///
    /// # Errors
    /// [`Error::NoTable`], [`Error::SchemaMismatch`], [`Error::Retry`], [`Error::Damaged`].
    pub fn ordered_map<K: Key, V: CheckedValue>(&self, name: &str) -> Result<ObservedOrderedMap<'_, K, V>> {
        let spec = OrderedMap::<K, V>::spec();
        let geometry = OrderedMap::<K, V>::GEOMETRY;
        Ok(ObservedOrderedMap {
            seen: Seen::find(self, name, &spec, geometry, Stored::of::<K>())?,
            types: PhantomData,
        })
    }
}

impl<'o, K, V> ObservedOrderedMap<'o, K, V> {
    /// The table without its types.
    pub(crate) fn into_seen(self) -> Seen<'o> {
        self.seen
    }
}

impl<K: Key, V: CheckedValue> ObservedOrderedMap<'_, K, V> {
    pub(super) fn tree(&self) -> Tree {
        Tree::new(self.seen.row(), Shape::of::<K>())
    }

    fn way<'k>(&self, key: &'k Encoded<'_, K>) -> Way<'k> {
        Way::Tree {
            tree: self.tree(),
            key: Cow::Borrowed(key),
        }
    }

    /// The record under `key`, whole, as it was at some moment of this call: perhaps changed by a transaction that is not
    /// committed yet, or will never be.
    ///
    /// # Errors
    /// [`Error::Retry`] if it did not hold still in many tries, [`Error::SchemaMismatch`] if the table was given another shape,
    /// [`Error::KeyTooLong`], [`Error::Damaged`].
    pub fn peek(&self, key: &K::Borrowed) -> Result<Option<Copied<V>>> {
        let key = Encoded::of(key, Form::Ordered)?;
        self.seen.peek(&self.way(&key))
    }

    /// The record under `key` that was committed at some moment of this call.
    ///
    /// # Errors
    /// Those of [`peek`](Self::peek).
    pub fn snapshot(&self, key: &K::Borrowed) -> Result<Option<Copied<V>>> {
        let key = Encoded::of(key, Form::Ordered)?;
        self.seen.snapshot(&self.way(&key))
    }

    /// The record under `key` at the moment of a snapshot.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::SchemaMismatch`], [`Error::KeyTooLong`], [`Error::Damaged`]; [`Error::Retry`], after
    /// which the snapshot is taken again.
    pub fn get(&self, s: &mut Snapshot<'_>, key: &K::Borrowed) -> Result<Option<Copied<V>>> {
        let key = Encoded::of(key, Form::Ordered)?;
        self.seen.get(s, &self.way(&key))
    }

    /// How many records there are at the moment of a snapshot.
    ///
    /// # Errors
    /// Those of [`get`](Self::get).
    pub fn count(&self, s: &mut Snapshot<'_>) -> Result<u64> {
        self.seen.read(s, |s| tree::count(s, self.seen.row()))
    }

    /// How many records are committed.
    ///
    /// # Errors
    /// Those of [`peek`](Self::peek).
    pub fn len(&self) -> Result<u64> {
        self.seen.observer.snapshot(|s| self.count(s))
    }

    /// Whether no record is committed.
    ///
    /// # Errors
    /// Those of [`peek`](Self::peek).
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// How many records have a lesser key at the moment of a snapshot, whether or not there is one under `key`.
    ///
    /// # Errors
    /// Those of [`get`](Self::get).
    pub fn rank(&self, s: &mut Snapshot<'_>, key: &K::Borrowed) -> Result<u64> {
        Ok(self.place(s, key)?.0)
    }

    /// How many records come before a key, and whether it has one.
    fn place(&self, s: &mut Snapshot<'_>, key: &K::Borrowed) -> Result<(u64, bool)> {
        let (key, tree) = (Encoded::<K>::of(key, Form::Ordered)?, self.tree());
        self.seen.read(s, |s| {
            let probe = Probe::new(tree.shape, &key);
            let spot = tree::descend(s, tree, Toward::Key(&probe))?;
            Ok(spot.map_or((0, false), |spot| (spot.rank, spot.found)))
        })
    }

    /// The record with the least key at the moment of a snapshot.
    ///
    /// # Errors
    /// Those of [`get`](Self::get).
    pub fn first(&self, s: &mut Snapshot<'_>) -> Result<Option<(K, Copied<V>)>> {
        self.iter(s)?.next().transpose()
    }

    /// The record with the greatest key at the moment of a snapshot.
    ///
    /// # Errors
    /// Those of [`get`](Self::get).
    pub fn last(&self, s: &mut Snapshot<'_>) -> Result<Option<(K, Copied<V>)>> {
        self.iter(s)?.next_back().transpose()
    }

    /// The record that `i` others come before at the moment of a snapshot; `None` if there are not so many.
    ///
    /// # Errors
    /// Those of [`get`](Self::get).
    pub fn nth(&self, s: &mut Snapshot<'_>, i: u64) -> Result<Option<(K, Copied<V>)>> {
        let count = self.count(s)?;
        ObservedRange::new(self, s, i.min(count), count).next().transpose()
    }

    /// All records at the moment of a snapshot, ascending by key; from the back, descending.
    ///
    /// # Errors
    /// Those of [`get`](Self::get).
    pub fn iter<'t, 's, 'x>(&'t self, s: &'s mut Snapshot<'x>) -> Result<ObservedRange<'t, 's, 'x, K, V>> {
        let count = self.count(s)?;
        Ok(ObservedRange::new(self, s, 0, count))
    }

    /// The records whose keys lie within `bounds` at the moment of a snapshot, ascending by key. None if the bounds are the wrong
    /// way round. Long ranges can be read in pieces, each in a snapshot of its own that begins behind the last key.
    ///
    /// # Errors
    /// Those of [`get`](Self::get).
    pub fn range<'t, 's, 'x>(
        &'t self,
        s: &'s mut Snapshot<'x>,
        bounds: impl RangeBounds<K::Borrowed>,
    ) -> Result<ObservedRange<'t, 's, 'x, K, V>> {
        let most = self.count(s)?;
        let mut place = |key: &K::Borrowed, behind: bool| {
            let (rank, found) = self.place(s, key)?;
            Ok(rank.saturating_add(u64::from(behind && found)))
        };
        let front = match bounds.start_bound() {
            Bound::Included(key) => place(key, false)?,
            Bound::Excluded(key) => place(key, true)?,
            Bound::Unbounded => 0,
        };
        let back = match bounds.end_bound() {
            Bound::Included(key) => place(key, true)?,
            Bound::Excluded(key) => place(key, false)?,
            Bound::Unbounded => most,
        };
        if back > most {
            let found = Err(Error::damaged("number of records below", self.seen.row(), back));
            return s.note(found);
        }
        Ok(ObservedRange::new(self, s, front, back))
    }
}
