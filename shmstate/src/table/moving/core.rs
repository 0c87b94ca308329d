//! What a process knows of a move, and what it does with single records.

use super::target::{Target, Targets};
use super::{WHAT, marks_of};
use crate::archive::{self, OwnedValue};
use crate::broken::{self, Broken};
use crate::crash::{self, Point};
use crate::error::{Error, Result};
use crate::region::Region;
use crate::region::moves::Mover;
use crate::region::view::View;
use crate::table::catalog::{self, Row};
use crate::table::key::{self, Encoded, Form, Key};
use crate::table::map::Map;
use crate::table::mixed::{self, Table};
use crate::table::steps::Steps;
use crate::tx::Tx;
use std::any::Any;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

/// What the source had for a key, from what the targets have.
pub(super) type Back<K, V> = Box<dyn Fn(&Targets<'_>, &K, Option<V>) -> Result<Option<V>> + Send + Sync>;

/// A table of a move that may go by a transaction, which may be taken back.
#[derive(Clone, Copy)]
pub(super) struct Transient<M> {
    pub(super) row: u64,
    /// Check of what the row says of it.
    sum: u64,
    map: M,
}

impl<M> Transient<M> {
    pub(super) fn new(view: &View, row: u64, map: M) -> Result<Self> {
        let sum = catalog::sum(view, row)?;
        Ok(Self { row, sum, map })
    }

    /// Whether it is still there.
    pub(super) fn is_there(&self, view: &View) -> Result<bool> {
        Ok(catalog::sum(view, self.row)? == self.sum)
    }
}

impl<M> Deref for Transient<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.map
    }
}

/// A move that is not over.
pub(super) struct Open<K, V> {
    pub(super) source: Map<K, V>,
    /// The keys of records that have moved (N1).
    pub(super) marks: Transient<Map<K, u8>>,
    /// Whether the source keeps all records (N2).
    pub(super) way_back: bool,
    /// Tables that were set aside, and which target's keys they have; `None` for keys of the source.
    pub(super) aside: Vec<(Transient<()>, Option<usize>)>,
}

impl<K, V> Clone for Open<K, V> {
    fn clone(&self) -> Self {
        Self {
            aside: self.aside.clone(),
            ..*self
        }
    }
}

/// See the module's header.
pub(crate) struct Core<K: Key, V: OwnedValue> {
    source: Box<str>,
    pub(super) targets: Vec<Target<K, V>>,
    pub(super) back: Option<Back<K, V>>,
    region: u64,
    open: RwLock<Option<Open<K, V>>>,
    /// The part of the source that the sweep looks at next.
    pub(super) cursor: AtomicU64,
    /// Tables were dropped, or would have been; the next calls of the sweep finish that (L1 of `table::dropped`).
    pub(super) dropping: AtomicBool,
    /// Whether this process has settled it, and that is committed.
    pub(super) settled: AtomicBool,
    /// The end of the move was committed.
    pub(super) over: AtomicBool,
}

impl<K: Key, V: OwnedValue> Core<K, V> {
    pub(super) fn new(source: Box<str>, targets: Vec<Target<K, V>>, back: Option<Back<K, V>>, region: u64) -> Self {
        Self {
            source,
            targets,
            back,
            region,
            open: RwLock::default(),
            cursor: AtomicU64::new(0),
            dropping: AtomicBool::new(false),
            settled: AtomicBool::new(false),
            over: AtomicBool::new(false),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.source
    }

    pub(super) fn admit(&self, view: &View) -> Result<()> {
        if view.tag() == self.region {
            Ok(())
        } else {
            Err(Error::ForeignTable)
        }
    }

    /// What there is; `None` if there is nothing to move, or it was not settled yet.
    pub(super) fn open(&self, view: &View) -> Result<Option<Open<K, V>>> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(match open {
            Some(open) if open.marks.is_there(view)? => Some(open),
            _ => None,
        })
    }

    pub(super) fn set_open(&self, open: Option<Open<K, V>>) {
        *self.open.write().unwrap_or_else(PoisonError::into_inner) = open;
    }

    pub(super) fn forget_way_back(&self) {
        if let Some(open) = &mut *self.open.write().unwrap_or_else(PoisonError::into_inner) {
            open.way_back = false;
        }
    }

    /// Whether the version before could go on with the source as long as nobody closes the way.
    pub(super) fn could_go_back(&self) -> bool {
        self.back.is_some() || self.targets.is_empty()
    }

    /// Compares the shapes of the tables that are there with the program's, without a pass.
    pub(super) fn compare(&self, region: &Region, steps: Steps<V>) -> Result<()> {
        let there = |found: Result<()>| match found {
            Err(Error::NoTable { .. }) => Ok(()),
            other => other,
        };
        there(mixed::open_source::<Map<K, V>>(region, &self.source, steps).map(|_| ()))?;
        for target in &self.targets {
            target.admit(&region.view)?;
            there(catalog::live(region, |view| {
                let row = catalog::named(view, target.name())?;
                target.compare(view, &row, false)?;
                Ok((row.offset, ()))
            }))?;
        }
        Ok(())
    }

    /// The shape of the source may have been another one's when the move was opened, and is this program's since its first transaction.
    pub(super) fn compare_source(view: &View, row: &Row) -> Result<()> {
        catalog::compare(row, &Map::<K, V>::spec(), || catalog::description(view, row))
    }

    /// The record of the source under a key, if it has not moved.
    pub(super) fn pending(&self, view: &View, open: &Open<K, V>, key: &K) -> Result<Option<V>> {
        let encoded = Encoded::<K>::of(key.borrowed(), Form::Hashed)?;
        if open.marks.find_record(view, &encoded)?.is_some() {
            return Ok(None);
        }
        if let Some(header) = open.source.find_record(view, &encoded)? {
            let word = view.load(header, WHAT)?;
            if archive::version_in(word) == archive::version::<V>() {
                return archive::owned_at::<V>(view, header, Map::<K, V>::GEOMETRY).map(Some);
            }
            return open
                .source
                .get(view, key.borrowed())?
                .map(archive::owned::<V>)
                .transpose();
        }
        // It may be on its way to the source.
        for (_, mover) in view.moves().into(open.source.row()) {
            if let Some(value) = mover.pending(view, open.source.row(), &encoded)? {
                let value = value.downcast::<V>().map_err(|_| Error::ForeignTable)?;
                return Ok(Some(*value));
            }
        }
        Ok(None)
    }

    /// Moves the record of the source under a key, if it has not moved (N1).
    pub(super) fn bring(&self, tx: &mut Tx<'_>, key: &K) -> Result<bool> {
        tx.whole(|tx| {
            let Some(open) = self.open(tx)? else {
                return Ok(false);
            };
            // What is still on its way to the source comes there first, so that each mark is one of a record of the source.
            if tx.mixed().is_target(open.source.row()) {
                let encoded = Encoded::<K>::of(key.borrowed(), Form::Hashed)?;
                super::target::before(tx, open.source.row(), &encoded)?;
            }
            let Some(value) = self.pending(tx, &open, key)? else {
                return Ok(false);
            };
            for target in &self.targets {
                target.put(tx, key, &value)?;
            }
            crash::point(Point::MoveCarried);
            if open.way_back {
                open.marks.insert(tx, key.borrowed(), &1)?;
            } else {
                open.source.remove(tx, key.borrowed())?;
            }
            crash::point(Point::MoveMarked);
            Ok(true)
        })
    }

    /// How many records have not moved: each mark is one of a record of the source.
    pub(super) fn left_to_move(&self, view: &View) -> Result<u64> {
        let Some(open) = self.open(view)? else { return Ok(0) };
        // Without targets nothing becomes of them: they go when the way back is closed.
        if self.targets.is_empty() {
            return Ok(0);
        }
        let (records, marks) = (open.source.records(view)?, open.marks.records(view)?);
        let left = records.checked_sub(marks);
        let mut left = left.ok_or_else(|| Error::damaged(WHAT, open.marks.row, marks))?;
        // What has not come to the source yet will have to move, too.
        for (_, mover) in view.moves().into(open.source.row()) {
            left += mover.left(view)?;
        }
        Ok(left)
    }
}

impl<K: Key, V: OwnedValue> Mover for Core<K, V> {
    fn source(&self) -> &str {
        &self.source
    }

    fn may_fill(&self, table: &str) -> bool {
        self.targets.iter().any(|target| target.name() == table)
    }

    fn targets(&self) -> Vec<u64> {
        if self.over.load(Ordering::Relaxed) {
            return Vec::new();
        }
        self.targets.iter().filter_map(Target::row).collect()
    }

    fn settle(&self, tx: &mut Tx<'_>) -> Result<()> {
        self.settle(tx)
    }

    fn is_settled(&self, view: &View) -> Result<bool> {
        self.is_settled(view)
    }

    fn can_go_back(&self) -> bool {
        self.could_go_back()
    }

    fn close_unwanted(&self, tx: &mut Tx<'_>) -> Result<()> {
        self.close_unwanted(tx)
    }

    fn was_settled(&self) {
        self.settled.store(true, Ordering::Relaxed);
    }

    fn before(&self, tx: &mut Tx<'_>, me: usize, target: u64, bytes: &[u8]) -> Result<()> {
        let Some(open) = self.open(tx)? else { return Ok(()) };
        for target in self.targets.iter().filter(|known| known.row() == Some(target)) {
            let Some(key) = target.source_of(bytes)? else { continue };
            self.bring(tx, &key)?;
            if open.way_back {
                let key = Encoded::<K>::of(key.borrowed(), Form::Hashed)?;
                tx.carry(me, &key);
            }
        }
        Ok(())
    }

    fn pending(&self, view: &View, target: u64, bytes: &[u8]) -> Result<Option<Box<dyn Any>>> {
        let Some(open) = self.open(view)? else { return Ok(None) };
        for target in self.targets.iter().filter(|known| known.row() == Some(target)) {
            if let Some(key) = target.source_of(bytes)?
                && let Some(value) = self.pending(view, &open, &key)?
                && let Some(found) = target.find(view, bytes, &key, &value)?
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn mirror(&self, tx: &mut Tx<'_>, bytes: &[u8]) -> Result<()> {
        let (Some(open), Some(back)) = (self.open(tx)?, &self.back) else {
            return Ok(());
        };
        if !open.way_back || broken::is(Broken::Follow) {
            return Ok(());
        }
        let key = key::decode::<K>(Form::Hashed, bytes);
        let key = key.ok_or_else(|| Error::damaged("key", open.marks.row, bytes.len() as u64))?;
        // It was brought, and a savepoint has taken that back.
        if self.pending(tx, &open, &key)?.is_some() {
            return Ok(());
        }
        let before = open
            .source
            .get(tx, key.borrowed())?
            .map(archive::owned::<V>)
            .transpose()?;
        let value = back(&Targets::new(tx, &self.targets), &key, before)?;
        match value {
            Some(value) => {
                open.source.insert(tx, key.borrowed(), &value)?;
                if !open.marks.contains_key(tx, key.borrowed())? {
                    open.marks.insert(tx, key.borrowed(), &1)?;
                }
            }
            None => {
                open.source.remove(tx, key.borrowed())?;
                open.marks.remove(tx, key.borrowed())?;
            }
        }
        crash::point(Point::MoveMirrored);
        Ok(())
    }

    fn left(&self, view: &View) -> Result<u64> {
        self.left_to_move(view)
    }

    fn close_way_back(&self, tx: &mut Tx<'_>) -> Result<()> {
        match self.open(tx)? {
            Some(open) if open.way_back => self.close(tx, open.marks.row),
            _ => Ok(()),
        }
    }

    fn way_back_is_closed(&self) {
        self.forget_way_back();
    }

    fn has_way_back(&self) -> bool {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.as_ref().is_some_and(|open| open.way_back)
    }
}

/// The marks of the move that empties a table, if there is one.
pub(super) fn marks_row(view: &View, source: &str) -> Result<Option<Row>> {
    let name = marks_of(source);
    Ok(catalog::rows(view)?.into_iter().find(|row| row.name == name))
}
