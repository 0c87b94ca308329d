//! The work of a validation: threads that take pieces of tables, copy records, check them, and keep to a rate.

use super::Observer;
use super::index;
use super::iter::Places;
use super::map::Table;
use super::pieces::{self, Keeps};
use super::record::{Raw, Shape};
use super::seen::Seen;
use super::validate::{RecordFault, ValidationReport};
use super::way::Way;
use crate::error::{Error, Result};
use crate::region::header::at;
use crossbeam_utils::thread;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A table's hashes are parted into as many pieces at most; a thread takes one after the other.
const MOST_PIECES_LOG: u64 = 10;
/// Shortest wait for the rate: shorter ones are saved up.
const LEAST_WAIT: Duration = Duration::from_millis(1);
/// Longest wait at a time, so that a low rate is kept evenly.
const LONGEST_WAIT: Duration = Duration::from_millis(100);
/// What the least important threads have (`nice`).
const LOWEST_PRIORITY: i32 = 19;
/// How often a record is looked for in live memory before what is committed is read instead.
const TRIES: usize = 8;
/// Faults that are kept; more are only counted.
const MOST_FAULTS: usize = 1000;

/// Checks that a copy is a record of its table's type.
pub(super) type CheckRaw = fn(Raw, &Shape) -> Result<()>;

/// How fast records are read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// At most so many bytes per second.
    Always(u64),
    /// At most so many while the owner writes, on threads that give way to others.
    WhileWritten(u64),
}

/// What the threads share.
pub(super) struct Work<'o> {
    observer: &'o Observer,
    threads: usize,
    pace: Pace,
    start: Instant,
    /// What was read so far is within the rate at this time, in ns since the start.
    due: AtomicU64,
    /// Transactions and their parts, counted when somebody last looked.
    seen: AtomicU64,
    report: Mutex<ValidationReport>,
}

impl<'o> Work<'o> {
    pub(super) fn new(observer: &'o Observer, threads: usize, pace: Pace) -> Self {
        Self {
            observer,
            threads: threads.max(1),
            pace,
            start: Instant::now(),
            due: AtomicU64::new(0),
            seen: AtomicU64::new(counted(observer)),
            report: Mutex::default(),
        }
    }

    pub(super) fn report(self) -> ValidationReport {
        let mut report = self.report.into_inner().unwrap_or_else(PoisonError::into_inner);
        report.took = self.start.elapsed();
        report
    }

    fn add(&self, more: &ValidationReport) {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        report.records += more.records;
        report.bytes += more.bytes;
        report.retried += more.retried;
        report.skipped += more.skipped;
    }

    fn fault(&self, table: &str, key: &[u8], error: &Error) {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(error, Error::OtherVersion { .. }) {
            report.older += 1;
            return;
        }
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
        let rate = match self.pace {
            Pace::Always(rate) => rate,
            Pace::WhileWritten(rate) => {
                let now = counted(self.observer);
                if self.seen.swap(now, Ordering::Relaxed) == now {
                    return;
                }
                rate
            }
        };
        let elapsed = || u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let cost = u64::try_from(u128::from(bytes) * 1_000_000_000 / u128::from(rate)).unwrap_or(u64::MAX);
        // Time in which nothing was read is not made up for.
        let (now, mut due) = (elapsed(), 0);
        let later = |before: u64| {
            due = before.max(now).saturating_add(cost);
            Some(due)
        };
        let _ = self.due.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
        while let ahead = Duration::from_nanos(due.saturating_sub(elapsed()))
            && ahead >= LEAST_WAIT
        {
            std::thread::sleep(ahead.min(LONGEST_WAIT));
        }
    }

    /// The record of a cell.
    pub(super) fn cell(&self, seen: &Seen<'_>, check: CheckRaw) {
        let mut found = ValidationReport::default();
        self.record(seen, &Way::Cell { row: seen.row() }, check, &mut found);
        self.add(&found);
    }

    /// The records of a map.
    pub(super) fn map(&self, table: &Table<'_>, check: CheckRaw) -> Result<()> {
        let seen = &table.seen;
        let depth = seen.observer.snapshot(|s| {
            s.be_strict();
            let depth = index::depth(s, seen.row());
            s.note(depth)
        })?;
        let pieces_log = depth.min(MOST_PIECES_LOG);
        self.share(1 << pieces_log, |piece| {
            // Two shifts, because one by 64 is none.
            let first = piece << (63 - pieces_log) << 1;
            let last = first + (u64::MAX >> pieces_log);
            self.places(Places::within(table, first, last), table, check)
        })
    }

    /// The records of another table.
    pub(super) fn other(&self, seen: &Seen<'_>, keeps: Keeps, check: CheckRaw) -> Result<()> {
        let pieces = match pieces::of(seen.observer, seen.row(), keeps) {
            Ok(pieces) => pieces,
            Err(Error::Retry { .. }) => {
                self.skip();
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        self.share(pieces.len() as u64, |piece| {
            let mut piece = pieces[piece as usize].clone();
            loop {
                let ways = match piece.batch(seen.observer, seen.row()) {
                    Ok(Some(ways)) => ways,
                    Ok(None) => return Ok(()),
                    Err(Error::Retry { .. }) => {
                        self.skip();
                        return Ok(());
                    }
                    Err(e) => return Err(e),
                };
                let mut found = ValidationReport::default();
                for way in &ways {
                    self.record(seen, way, check, &mut found);
                }
                self.add(&found);
                self.throttle(found.bytes);
            }
        })
    }

    fn skip(&self) {
        self.add(&ValidationReport {
            skipped: 1,
            ..ValidationReport::default()
        });
    }

    fn places(&self, mut places: Places<'_, '_>, table: &Table<'_>, check: CheckRaw) -> Result<()> {
        loop {
            let before = places.retried;
            let mut found = ValidationReport::default();
            let batch = match places.batch() {
                Ok(Some(batch)) => batch,
                Ok(None) => return Ok(()),
                Err(Error::Retry { .. }) => {
                    self.skip();
                    return Ok(());
                }
                Err(e) => return Err(e),
            };
            for raw in batch {
                match raw {
                    Ok(raw) => {
                        let key = raw.key(&table.seen.shape).to_vec();
                        self.copied(&table.seen, raw, &table.way(&key), check, &mut found);
                    }
                    Err(e) => self.fault(table.seen.prints.name(), &[], &e),
                }
            }
            found.retried += places.retried - before;
            self.add(&found);
            self.throttle(found.bytes);
        }
    }

    /// Validates the record that a way leads to, if it is still there.
    fn record(&self, seen: &Seen<'_>, way: &Way<'_>, check: CheckRaw, found: &mut ValidationReport) {
        for _ in 0..TRIES {
            match seen.look(way) {
                Ok(Some(raw)) => return self.copied(seen, raw, way, check, found),
                Ok(None) => break,
                Err(_) => found.retried += 1,
            }
            std::hint::spin_loop();
        }
        self.committed(seen, way, check, found);
    }

    /// Validates a copy. One that seems damaged is read again as it is committed: a checksum is written after what it is over.
    fn copied(&self, seen: &Seen<'_>, raw: Raw, way: &Way<'_>, check: CheckRaw, found: &mut ValidationReport) {
        let bytes = raw.block().len() as u64;
        if seen.check_sum(&raw).and_then(|()| check(raw, &seen.shape)).is_ok() {
            found.records += 1;
            found.bytes += bytes;
        } else {
            self.committed(seen, way, check, found);
        }
    }

    fn committed(&self, seen: &Seen<'_>, way: &Way<'_>, check: CheckRaw, found: &mut ValidationReport) {
        let committed = seen.observer.snapshot(|s| {
            let raw = seen.committed(s, way);
            s.note(raw)
        });
        let checked = match committed {
            // It was taken away meanwhile.
            Ok(None) => return,
            Ok(Some(raw)) => {
                found.bytes += raw.block().len() as u64;
                seen.check_sum(&raw).and_then(|()| check(raw, &seen.shape))
            }
            Err(Error::Retry { .. }) => {
                found.skipped += 1;
                return;
            }
            Err(e) => Err(e),
        };
        found.records += 1;
        if let Err(e) = checked {
            self.fault(seen.prints.name(), &way.name(), &e);
        }
    }

    /// Lets the threads take pieces, one after the other.
    fn share(&self, pieces: u64, work: impl Fn(u64) -> Result<()> + Sync) -> Result<()> {
        let next = AtomicU64::new(0);
        let work = || -> Result<()> {
            loop {
                let piece = next.fetch_add(1, Ordering::Relaxed);
                if piece >= pieces {
                    return Ok(());
                }
                if let Err(e) = work(piece) {
                    // The others need not begin what is left.
                    next.store(pieces, Ordering::Relaxed);
                    return Err(e);
                }
            }
        };
        let gentle = matches!(self.pace, Pace::WhileWritten(_));
        if self.threads == 1 && !gentle {
            return work();
        }
        let thread = || {
            if gentle {
                // Of this thread alone. Where it is refused, the rate is what is left.
                let _ = rustix::process::setpriority_process(None, LOWEST_PRIORITY);
            }
            work()
        };
        let joined = thread::scope(|scope| {
            let handles: Vec<_> = (0..self.threads).map(|_| scope.spawn(|_| thread())).collect();
            handles
                .into_iter()
                .try_for_each(|handle| handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// A number that changes whenever the owner does something.
fn counted(observer: &Observer) -> u64 {
    let memory = observer.memory();
    memory.header(at::COMMITS).wrapping_add(memory.header(at::EPOCH) << 32)
}
