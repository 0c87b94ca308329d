//! Validating every record of many tables while their owner goes on: on several threads, throttled.
//!
//! The types must be named, because a stored description tells what an archive looks like and not which values are valid. Records
//! are copied a segment of an index at a time; the owner is slowed down only by the cache lines that it shares with the reader,
//! which is what the limit in bytes per second is for.

use super::iter::Places;
use super::map::Table;
use super::record::{Raw, Shape};
use super::{Copied, Observer, index};
use crate::archive::CheckedValue;
use crate::error::{Error, Result};
use crate::table::key::Key;
use crossbeam_utils::thread;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A table's hashes are parted into as many pieces at most; a thread takes one after the other.
const MOST_PIECES_LOG: u64 = 10;
/// Shortest wait for the rate: shorter ones are saved up.
const LEAST_WAIT: Duration = Duration::from_millis(1);
/// Longest wait at a time, so that a low rate is kept evenly.
const LONGEST_WAIT: Duration = Duration::from_millis(100);
/// Faults that are kept; more are only counted.
const MOST_FAULTS: usize = 1000;

/// What is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordFault {
    /// The table.
    pub table: Box<str>,
    /// The encoded key; empty if it is not known, and for a cell.
    pub key: Box<[u8]>,
    /// Offset in the region of what is damaged: of the record's header if that is known.
    pub at: u64,
    /// What was found, in words.
    pub what: Box<str>,
}

impl fmt::Display for RecordFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table {}", self.table)?;
        if !self.key.is_empty() {
            write!(f, ", key ")?;
            for byte in &self.key {
                write!(f, "{byte:02x}")?;
            }
        }
        write!(f, ", byte {:#x}: {}", self.at, self.what)
    }
}

/// What a validation found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ValidationReport {
    /// Records that were validated.
    pub records: u64,
    /// Bytes of their blocks.
    pub bytes: u64,
    /// How often something was read again because its owner changed it.
    pub retried: u64,
    /// Parts of tables that did not hold still in many tries, and were not validated.
    pub skipped: u64,
    /// Records that are damaged.
    pub faulty: u64,
    /// The first of them.
    pub faults: Vec<RecordFault>,
    /// How long it took.
    pub took: Duration,
}

impl ValidationReport {
    /// Whether everything was validated and nothing is damaged.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.faulty == 0 && self.skipped == 0
    }
}

type CheckRaw = fn(Raw, &Shape) -> Result<()>;
type CheckCell<'o> = Box<dyn Fn() -> Result<u64> + Send + Sync + 'o>;

/// Which tables to validate; see [`Observer::validate`].
pub struct Validation<'o> {
    observer: &'o Observer,
    maps: Vec<(Table<'o>, CheckRaw)>,
    cells: Vec<(Box<str>, CheckCell<'o>)>,
}

impl fmt::Debug for Validation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Validation")
            .field("maps", &self.maps.len())
            .field("cells", &self.cells.len())
            .finish_non_exhaustive()
    }
}

impl Observer {
    /// Validates records while the owner goes on: name the tables, then [`run`](Validation::run).
    ///
    /// ```no_run
    /// # use shmstate::Observer;
    /// let observer = Observer::open("world")?;
    /// let report = observer.validate().map::<u64, String>("names")?.cell::<u64>("clock")?.run(2, 500 << 20)?;
    /// assert!(report.is_sound(), "{:?}", report.faults);
    /// # shmstate::Result::Ok(())
    /// ```
    #[must_use]
    pub fn validate(&self) -> Validation<'_> {
        Validation {
            observer: self,
            maps: Vec::new(),
            cells: Vec::new(),
        }
    }
}

impl<'o> Validation<'o> {
    /// Adds a map.
    ///
    /// # Errors
    /// Those of [`Observer::map`].
    pub fn map<K: Key, V: CheckedValue>(mut self, name: &str) -> Result<Self> {
        let check: CheckRaw = |raw, shape| Copied::<V>::new(raw, shape).map(drop);
        self.maps.push((Table::open::<K, V>(self.observer, name)?, check));
        Ok(self)
    }

    /// Adds a cell.
    ///
    /// # Errors
    /// Those of [`Observer::cell`].
    pub fn cell<T: CheckedValue>(mut self, name: &str) -> Result<Self> {
        let cell = self.observer.cell::<T>(name)?;
        let check = move || cell.snapshot().map(|_| size_of::<T::Archived>() as u64);
        self.cells.push((name.into(), Box::new(check)));
        Ok(self)
    }

    /// Validates all records of the tables that were added, on so many threads, reading at most so many bytes per second
    /// (`u64::MAX`: as fast as it goes).
    ///
    /// # Errors
    /// [`Error::Damaged`] if an index cannot be walked, [`Error::SchemaMismatch`] if a table was given another shape. Records that
    /// are damaged are no error, they are in the report.
    pub fn run(&self, threads: usize, bytes_per_second: u64) -> Result<ValidationReport> {
        let work = Work {
            start: Instant::now(),
            rate: bytes_per_second.max(1),
            read: AtomicU64::new(0),
            report: Mutex::default(),
        };
        for (name, check) in &self.cells {
            match check() {
                Ok(bytes) => work.add(&ValidationReport {
                    records: 1,
                    bytes,
                    ..ValidationReport::default()
                }),
                Err(Error::Retry { .. }) => work.add(&ValidationReport {
                    skipped: 1,
                    ..ValidationReport::default()
                }),
                Err(e) => work.fault(name, &[], &e),
            }
        }
        for (table, check) in &self.maps {
            work.table(table, *check, threads.max(1))?;
        }
        let mut report = work.report.into_inner().unwrap_or_else(PoisonError::into_inner);
        report.took = work.start.elapsed();
        Ok(report)
    }
}

/// What the threads share.
struct Work {
    start: Instant,
    rate: u64,
    read: AtomicU64,
    report: Mutex<ValidationReport>,
}

impl Work {
    fn add(&self, more: &ValidationReport) {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        report.records += more.records;
        report.bytes += more.bytes;
        report.retried += more.retried;
        report.skipped += more.skipped;
    }

    fn fault(&self, table: &str, key: &[u8], error: &Error) {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        report.faulty += 1;
        if report.faults.len() < MOST_FAULTS {
            report.faults.push(RecordFault {
                table: table.into(),
                key: key.into(),
                at: match error {
                    Error::Damaged { at, .. } => *at,
                    _ => 0,
                },
                what: error.to_string().into(),
            });
        }
    }

    /// Waits until so many bytes more are within the rate.
    fn throttle(&self, bytes: u64) {
        let read = self.read.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let due = Duration::try_from_secs_f64(read as f64 / self.rate as f64).unwrap_or(Duration::MAX);
        while let Some(ahead) = due.checked_sub(self.start.elapsed())
            && ahead >= LEAST_WAIT
        {
            std::thread::sleep(ahead.min(LONGEST_WAIT));
        }
    }

    fn table(&self, table: &Table<'_>, check: CheckRaw, threads: usize) -> Result<()> {
        let depth = table.observer.snapshot(|s| {
            s.be_strict();
            let depth = index::depth(s, table.prints.row());
            s.note(depth)
        })?;
        let pieces_log = depth.min(MOST_PIECES_LOG);
        let next = AtomicU64::new(0);
        let work = || -> Result<()> {
            loop {
                let piece = next.fetch_add(1, Ordering::Relaxed);
                if piece >> pieces_log != 0 {
                    return Ok(());
                }
                // Two shifts, because one by 64 is none.
                let first = piece << (63 - pieces_log) << 1;
                let last = first + (u64::MAX >> pieces_log);
                if let Err(e) = self.piece(Places::within(table, first, last), table, check) {
                    // The others need not begin what is left.
                    next.store(1 << pieces_log, Ordering::Relaxed);
                    return Err(e);
                }
            }
        };
        if threads == 1 {
            return work();
        }
        let joined = thread::scope(|scope| {
            let handles: Vec<_> = (0..threads).map(|_| scope.spawn(|_| work())).collect();
            handles
                .into_iter()
                .try_for_each(|handle| handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn piece(&self, mut places: Places<'_, '_>, table: &Table<'_>, check: CheckRaw) -> Result<()> {
        loop {
            let before = places.retried;
            let mut found = ValidationReport::default();
            let batch = match places.batch() {
                Ok(Some(batch)) => batch,
                Ok(None) => return Ok(()),
                Err(Error::Retry { .. }) => {
                    found.skipped = 1;
                    self.add(&found);
                    return Ok(());
                }
                Err(e) => return Err(e),
            };
            for raw in batch {
                match raw {
                    Ok(raw) => {
                        found.records += 1;
                        found.bytes += raw.block().len() as u64;
                        self.record(table, raw, check);
                    }
                    Err(e) => self.fault(table.prints.name(), &[], &e),
                }
            }
            found.retried = places.retried - before;
            self.add(&found);
            self.throttle(found.bytes);
        }
    }

    /// Validates a record. One that seems damaged is read again as it is committed: a checksum is written after what it is over.
    fn record(&self, table: &Table<'_>, raw: Raw, check: CheckRaw) {
        let shape = &table.shape;
        let key = raw.key(shape).to_vec();
        let validate = |raw: Raw| table.check_sum(&raw).and_then(|()| check(raw, shape));
        if validate(raw).is_ok() {
            return;
        }
        let hash = table.hash(&key);
        let committed = table.observer.snapshot(|s| {
            let raw = table.committed(s, &key, hash);
            s.note(raw)
        });
        match committed.map(|raw| raw.map_or(Ok(()), validate)) {
            Ok(Ok(())) => {}
            Ok(Err(e)) => self.fault(table.prints.name(), &key, &e),
            Err(Error::Retry { .. }) => self.add(&ValidationReport {
                skipped: 1,
                ..ValidationReport::default()
            }),
            Err(e) => self.fault(table.prints.name(), &key, &e),
        }
    }
}
