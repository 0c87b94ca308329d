//! Going over a map while its owner changes it.
//!
//! The walk goes through the hashes from the least to the greatest, a segment of the index at a time: a record's hash never
//! changes, so one that stays lies in the one range of hashes in which it is met, whatever segments are split or joined. Within a
//! segment an entry never moves (I2 of `table::map::index`). A segment is done when a copy of it that held still
//! has the very entries whose records were copied: so all that were in it at that moment are there, and none twice.

use super::index::{Entry, Loaded};
use super::map::Table;
use super::marks::Marks;
use super::memory::acquire;
use super::record::{self, Raw};
use super::source::{Live, torn};
use super::{Copied, PATIENCE, again};
use crate::archive::CheckedValue;
use crate::error::{Error, Result};
use crate::region::header::at;
use crate::table::key::{self, Form, Key};
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::time::Instant;

/// How often a segment is copied from live memory before what is committed is read instead.
const LIVE_TRIES: usize = 16;
/// How often a record is.
const RECORD_TRIES: usize = 8;

/// The records of a range of hashes.
#[derive(Debug)]
pub(crate) struct Places<'t, 'o> {
    table: &'t Table<'o>,
    /// The least hash that was not visited.
    next: Option<u64>,
    /// The greatest that is.
    last: u64,
    /// How often something was read again.
    pub(crate) retried: u64,
}

/// What was found of one segment: each record, or what is wrong with it.
pub(crate) type Batch = Vec<Result<Raw>>;

/// A place of a segment: the entry that was read there, and its record, `None` if that is not committed.
type Known = HashMap<usize, (Entry, Option<Result<Raw>>)>;

impl<'t, 'o> Places<'t, 'o> {
    pub(crate) fn all(table: &'t Table<'o>) -> Self {
        Self::within(table, 0, u64::MAX)
    }

    /// Hashes from `first` to `last`.
    pub(crate) fn within(table: &'t Table<'o>, first: u64, last: u64) -> Self {
        Self {
            table,
            next: Some(first),
            last,
            retried: 0,
        }
    }

    /// The least hash that was not visited; `None` behind the last.
    pub(crate) fn next(&self) -> Option<u64> {
        self.next
    }

    /// The records of the next segment; `None` behind the last.
    ///
    /// # Errors
    /// [`Error::Retry`], [`Error::Damaged`] in the index: then the walk is at its end.
    pub(crate) fn batch(&mut self) -> Result<Option<Batch>> {
        let Some(from) = self.next.take().filter(|next| *next <= self.last) else {
            return Ok(None);
        };
        let (segment, known) = self.segment(from)?;
        self.next = segment.next();
        let inside = |raw: &Result<Raw>| match raw {
            Ok(raw) => (from..=self.last).contains(&self.table.hash(raw.key(&self.table.seen.shape))),
            Err(_) => true,
        };
        let records = known.into_values().filter_map(|(_, raw)| raw);
        Ok(Some(records.filter(inside).collect()))
    }

    fn segment(&mut self, from: u64) -> Result<(Loaded, Known)> {
        let (mut tries, start) = (0, Instant::now());
        let mut known = Known::new();
        let mut before: Option<Loaded> = None;
        loop {
            let now = self.loaded(from)?;
            if before.as_ref().is_some_and(|before| !before.is(&now)) {
                known.clear();
            }
            known.retain(|place, (entry, _)| now.entry(*place) == Some(*entry));
            let mut news = false;
            for (place, entry) in now.entries() {
                if known.contains_key(&place) {
                    continue;
                }
                news = true;
                match self.record(&now, entry) {
                    Ok(raw) => {
                        known.insert(place, (entry, Some(Ok(raw))));
                    }
                    Err(_) => {
                        self.retried += 1;
                        if let Some(found) = self.committed(from, &now, place) {
                            known.insert(place, (entry, found));
                        }
                    }
                }
            }
            if !news {
                return Ok((now, known));
            }
            before = Some(now);
            again(&mut tries, start, PATIENCE).ok_or(Error::Retry {
                what: "a part of an index",
                tries,
            })?;
        }
    }

    /// A copy of the segment of a hash that held still.
    fn loaded(&mut self, from: u64) -> Result<Loaded> {
        let (observer, row) = (self.table.seen.observer, self.table.seen.prints.row());
        let memory = observer.memory();
        let idle = || memory.header(at::LOG_LENGTH) == 0;
        for _ in 0..LIVE_TRIES {
            // In the middle of a transaction the words of the row may not fit together.
            if idle() {
                acquire();
                let first = Loaded::of(&mut Live(memory), row, from);
                acquire();
                let second = Loaded::of(&mut Live(memory), row, from);
                acquire();
                if let (Ok(first), Ok(second)) = (first, second)
                    && first == second
                    && idle()
                {
                    return Ok(second);
                }
            }
            std::hint::spin_loop();
        }
        self.retried += 1;
        observer.snapshot(|s| {
            s.be_strict();
            let loaded = Loaded::of(s, row, from);
            s.note(loaded)
        })
    }

    /// The record of an entry, from live memory.
    fn record(&mut self, segment: &Loaded, entry: Entry) -> Result<Raw> {
        let (table, memory) = (self.table, self.table.seen.observer.memory());
        let mut error = torn("record");
        for _ in 0..RECORD_TRIES {
            let marks = Marks::now(memory);
            let layout = table.seen.observer.layout();
            match record::copy(&mut Live(memory), &layout, &table.seen.shape, entry.record) {
                Ok(raw) if !segment.has(table.hash(raw.key(&table.seen.shape)), entry) => {
                    error = Error::damaged("entry of an index", raw.header, entry.record);
                }
                Ok(raw) if marks.few_since(memory) => return Ok(raw),
                Ok(_) => {}
                Err(e) => error = e,
            }
            std::hint::spin_loop();
        }
        Err(error)
    }

    /// What is committed at a place of a segment; the outer `None` if that is not to be had now.
    fn committed(&self, from: u64, segment: &Loaded, place: usize) -> Option<Option<Result<Raw>>> {
        let table = self.table;
        let row = table.seen.prints.row();
        let found = table.seen.observer.snapshot(|s| {
            s.be_strict();
            let mut look = || {
                let now = Loaded::of(s, row, from)?;
                if !now.is(segment) {
                    return Ok(None);
                }
                let Some(entry) = now.entry(place) else {
                    return Ok(Some(None));
                };
                let raw = record::copy(s, &table.seen.observer.layout(), &table.seen.shape, entry.record)?;
                if !now.has(table.hash(raw.key(&table.seen.shape)), entry) {
                    return Err(Error::damaged("entry of an index", raw.header, entry.record));
                }
                Ok(Some(Some(raw)))
            };
            let looked = look();
            s.note(looked)
        });
        match found {
            Ok(found) => found.map(|raw| raw.map(Ok)),
            Err(Error::Retry { .. }) => None,
            Err(e) => Some(Some(Err(e))),
        }
    }
}

/// Iterator over the records of a map that another process changes. What it says of a record that is damaged is an item of its
/// own; after [`Error::Retry`], or damage of the index, there are no more.
pub struct ObservedIter<'t, 'o, K, V> {
    places: Places<'t, 'o>,
    batch: Batch,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> fmt::Debug for ObservedIter<'_, '_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObservedIter").finish_non_exhaustive()
    }
}

impl<'t, 'o, K: Key, V: CheckedValue> ObservedIter<'t, 'o, K, V> {
    pub(crate) fn new(places: Places<'t, 'o>) -> Self {
        Self {
            places,
            batch: Vec::new(),
            types: PhantomData,
        }
    }
}

impl<K: Key, V: CheckedValue> Iterator for ObservedIter<'_, '_, K, V> {
    type Item = Result<(K, Copied<V>)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(raw) = self.batch.pop() {
                let shape = self.places.table.seen.shape;
                return Some(raw.and_then(|raw| {
                    let key = key::decode::<K>(Form::Hashed, raw.key(&shape));
                    let key = key.ok_or_else(|| Error::damaged("key", raw.header, raw.word))?;
                    Ok((key, Copied::new(raw, &shape)?))
                }));
            }
            match self.places.batch() {
                Ok(batch) => self.batch = batch?,
                Err(e) => return Some(Err(e)),
            }
        }
    }
}
