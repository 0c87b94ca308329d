//! Validating every record of many tables while their owner goes on: on several threads, throttled.
//!
//! The types must be named, because a stored description tells what an archive looks like and not which values are valid. Records
//! are copied a few at a time; the owner is slowed down only by the cache lines that it shares with the reader,
//! which is what the limit in bytes per second is for.

use super::map::Table;
use super::pieces::Keeps;
use super::record::{Raw, Shape};
use super::seen::Seen;
use super::work::{CheckRaw, Pace, Work};
use super::{Copied, Observer};
use crate::archive::CheckedValue;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::table::key::Key;
use crate::table::ordered::node;
use std::fmt;
use std::time::Duration;

/// Bytes of records that [`Validation::run_gently`] reads in a second, at most, while the owner writes.
pub const GENTLE_RATE: u64 = 128 << 20;

/// What is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordFault {
    /// The table.
    pub table: Box<str>,
    /// What names the record in its table: the encoded key; the number of an id, or a serial number, as 8 bytes, little-endian. Empty
    /// if it is not known, and for a cell.
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
    /// Records that were looked at, damaged ones too.
    pub records: u64,
    /// Bytes of their blocks.
    pub bytes: u64,
    /// How often something was read again because its owner changed it.
    pub retried: u64,
    /// Parts of tables that did not hold still in many tries, and were not validated.
    pub skipped: u64,
    /// Records that still have an older shape, which the program's type cannot judge: they were not validated.
    pub older: u64,
    /// Records that are damaged.
    pub faulty: u64,
    /// The first of them.
    pub faults: Vec<RecordFault>,
    /// How long it took.
    pub took: Duration,
}

impl ValidationReport {
    /// Whether everything of the program's shape was validated and nothing is damaged.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.faulty == 0 && self.skipped == 0
    }
}

/// Where the records of a table are, and how one is validated.
enum Job<'o> {
    Map(Table<'o>, CheckRaw),
    Cell(Seen<'o>, CheckRaw),
    Other(Seen<'o>, Keeps, CheckRaw),
}

/// Which tables to validate; see [`Observer::validate`].
pub struct Validation<'o> {
    observer: &'o Observer,
    jobs: Vec<Job<'o>>,
}

impl fmt::Debug for Validation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Validation")
            .field("tables", &self.jobs.len())
            .finish_non_exhaustive()
    }
}

impl Observer {
    /// Validates records while the owner goes on: name the tables, then [`run_gently`](Validation::run_gently) or
    /// [`run`](Validation::run).
    ///
    /// ```no_run
    /// # use shmstate::Observer;
    /// let observer = Observer::open("world")?;
    /// let report = observer.validate().map::<u64, String>("names")?.cell::<u64>("clock")?.run_gently()?;
    /// assert!(report.is_sound(), "{:?}", report.faults);
    /// # shmstate::Result::Ok(())
    /// ```
    #[must_use]
    pub fn validate(&self) -> Validation<'_> {
        Validation {
            observer: self,
            jobs: Vec::new(),
        }
    }
}

/// Whether a copy is a record of that type.
fn check<V: CheckedValue>(raw: Raw, shape: &Shape) -> Result<()> {
    Copied::<V>::new(raw, shape).map(drop)
}

impl<'o> Validation<'o> {
    /// Adds a map.
    ///
    /// # Errors
    /// Those of [`Observer::map`].
    pub fn map<K: Key, V: CheckedValue>(mut self, name: &str) -> Result<Self> {
        let table = Table::open::<K, V>(self.observer, name)?;
        self.jobs.push(Job::Map(table, check::<V>));
        Ok(self)
    }

    /// Adds a cell.
    ///
    /// # Errors
    /// Those of [`Observer::cell`].
    pub fn cell<T: CheckedValue>(mut self, name: &str) -> Result<Self> {
        let seen = self.observer.cell::<T>(name)?.into_seen();
        self.jobs.push(Job::Cell(seen, check::<T>));
        Ok(self)
    }

    /// Adds a slab.
    ///
    /// # Errors
    /// Those of [`Observer::slab`].
    pub fn slab<T: CheckedValue>(mut self, name: &str) -> Result<Self> {
        let seen = self.observer.slab::<T>(name)?.into_seen();
        self.jobs.push(Job::Other(seen, Keeps::Slots, check::<T>));
        Ok(self)
    }

    /// Adds a queue.
    ///
    /// # Errors
    /// Those of [`Observer::queue`].
    pub fn queue<T: CheckedValue>(mut self, name: &str) -> Result<Self> {
        let seen = self.observer.queue::<T>(name)?.into_seen();
        self.jobs.push(Job::Other(seen, Keeps::Ring, check::<T>));
        Ok(self)
    }

    /// Adds timers.
    ///
    /// # Errors
    /// Those of [`Observer::timers`].
    pub fn timers<T: CheckedValue>(mut self, name: &str) -> Result<Self> {
        let seen = self.observer.timers::<T>(name)?.into_seen();
        self.jobs.push(Job::Other(seen, Keeps::Slots, check::<T>));
        Ok(self)
    }

    /// Adds an ordered map.
    ///
    /// # Errors
    /// Those of [`Observer::ordered_map`].
    pub fn ordered_map<K: Key, V: CheckedValue>(mut self, name: &str) -> Result<Self> {
        let seen = self.observer.ordered_map::<K, V>(name)?.into_seen();
        let keeps = Keeps::Tree(node::Shape::of::<K>());
        self.jobs.push(Job::Other(seen, keeps, check::<V>));
        Ok(self)
    }

    /// Validates all records of the tables that were added, on so many threads, reading at most so many bytes per second
    /// (`u64::MAX`: as fast as it goes).
    ///
    /// # Errors
    /// [`Error::Damaged`] if an index cannot be walked, [`Error::SchemaMismatch`] if a table was given another shape. Records that
    /// are damaged are no error, they are in the report.
    pub fn run(&self, threads: usize, bytes_per_second: u64) -> Result<ValidationReport> {
        self.work(Work::new(self.observer, threads, Pace::Always(bytes_per_second.max(1))))
    }

    /// Validates them beside an owner that shall hardly notice: on all cores, on threads that give way to all others (the lowest
    /// priority there is), and with at most [`GENTLE_RATE`] bytes per second while the owner commits; as fast as it goes while it
    /// does not.
    ///
    /// # Errors
    /// Those of [`run`](Self::run).
    pub fn run_gently(&self) -> Result<ValidationReport> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        self.work(Work::new(self.observer, threads, Pace::WhileWritten(GENTLE_RATE)))
    }

    fn work(&self, work: Work<'_>) -> Result<ValidationReport> {
        for job in &self.jobs {
            match job {
                Job::Map(table, check) => work.map(table, *check)?,
                Job::Cell(seen, check) => work.cell(seen, *check),
                Job::Other(seen, keeps, check) => work.other(seen, *keeps, *check)?,
            }
        }
        Ok(work.report())
    }
}
