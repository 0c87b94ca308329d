//! Reading what was committed while the owner goes on: the words of one moment between two transactions.
//!
//! All that a transaction changes of committed memory is in its log before it changes (T6), or is one word of one record
//! (T8). What it frees stays as it is until its commit, because frees are applied last and change nothing but the chunk
//! table; what it takes fresh is not reachable from committed words, and a block that committed words lead to is in use,
//! so it is never taken fresh. So the committed word at an offset is the one that the open log has for it, else the one in
//! memory, and a walk over committed words meets committed memory only.
//!
//! - **N1** A word is loaded first and the log's length after it. Were the word changed by the open transaction, its entry would
//!   be in the log as it is then (LOG pair): the log is read as far as it has grown, and its word is taken instead.
//! - **N2** That holds while the same transaction is open, or none was and one has begun. The epoch changes before a transaction
//!   publishes its first entry, before its log is emptied (EPOCH pair), and when another process begins to write. So with the
//!   same epoch and log nothing has begun or ended, but perhaps an entry is about to be published or a log to be emptied; with the
//!   same epoch and a longer log it is the same transaction; and with no log first and then a log of the same epoch or the
//!   next, it is the first transaction since (or one that is about to end, whose log still has all it changed). Anything
//!   else means that a transaction may have ended, and what was read is not of one moment.
//! - **N3** Transactions of one word change neither log nor epoch. They are counted in COMMITS after their word, and the sequence
//!   of their record changes between the two. So what was read is of one moment if COMMITS is the same at the end; or if the
//!   headers of all records that were read are, because nothing but records is changed so. One word can have been
//!   stored and not counted; then all that was read is of the moment before that store, or all of the one after it: unless the
//!   word was read twice. So the copies of a record that is read again must be equal.
//! - **N4** Against a writer that ends transactions faster than anything is read, records that were found can be read without the
//!   log: if at one moment no log is open, each record's header was the same before and is the same after that moment, and the
//!   index leads to it afterwards too, then they all were as they were copied, committed, and under their keys, at
//!   that moment. (A record that was made and taken back before it has not its generation any more where the index leads to
//!   it again; one that was taken away has generation 0.) For a key that was *not* found there is no such argument.
//!
//! A sequence that comes round is noticed as `marks` says. It does not know tables.

use super::marks::{FEW_COMMITS, Marks};
use super::memory::{Memory, acquire};
use super::overlay::{Overlay, Spread};
use super::record::{self, Raw, Shape};
use super::source::{Live, Source, torn};
use super::way::Way;
use super::{Observer, sabotage};
use crate::error::{Error, Result};
use crate::region::header::at;
use crate::tx::undo;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use xxhash_rust::xxh3::xxh3_64;

/// How often a reader looks for the end of a short transaction before it reads its log.
const SPINS: usize = 200;

/// A record that was read: how it was found, and its header as it was then.
#[derive(Debug)]
struct Found {
    way: Way<'static>,
    shape: Shape,
    record: u64,
    word: u64,
}

/// What is committed, at one moment. Lent by [`Observer::snapshot`].
#[derive(Debug)]
pub struct Snapshot<'o> {
    observer: &'o Observer,
    start: Marks,
    /// Epoch and log that are known; the log only grows.
    epoch: u64,
    log: u64,
    overlay: Overlay,
    /// Something was read while a log was open.
    overlaid: bool,
    /// A transaction has ended since the start (N2).
    broken: bool,
    /// Something other than records that were found was read.
    strict: bool,
    /// Something did not hold still, whatever came of it.
    lost: bool,
    found: Vec<Found>,
    /// Sums over the copies of records, by their headers.
    sums: HashMap<u64, u64, BuildHasherDefault<Spread>>,
}

impl<'o> Snapshot<'o> {
    pub(crate) fn begin(observer: &'o Observer) -> Result<Self> {
        let memory = observer.memory();
        let mut start = Marks::now(memory);
        for _ in 0..SPINS {
            if start.log == 0 {
                break;
            }
            std::hint::spin_loop();
            start = Marks::now(memory);
        }
        let mut snapshot = Self {
            observer,
            start,
            epoch: start.epoch,
            log: start.log,
            overlay: Overlay::default(),
            overlaid: false,
            broken: false,
            strict: false,
            lost: false,
            found: Vec::new(),
            sums: HashMap::default(),
        };
        if start.log != 0 {
            if let Some(overlay) = observer.known_log(start.epoch) {
                snapshot.overlay = overlay;
            }
            snapshot.broken = !snapshot.read_log(start.log, start.epoch)?;
        }
        Ok(snapshot)
    }

    pub(crate) fn observer(&self) -> &'o Observer {
        self.observer
    }

    /// What is read from now on is not the copy of a record that was found (N4).
    pub(crate) fn be_strict(&mut self) {
        self.strict = true;
    }

    /// The log that was read, for the next snapshot of the same transaction.
    pub(crate) fn into_log(self) -> Option<(u64, Overlay)> {
        (!self.broken && self.log != 0).then_some((self.epoch, self.overlay))
    }

    /// Reads the log up to a length. Says whether its transaction is still open afterwards.
    fn read_log(&mut self, log: u64, epoch: u64) -> Result<bool> {
        let memory = self.observer.memory();
        let length = undo::unseal(log);
        let read = match length {
            Some(length) if length >= self.overlay.length() => self.overlay.extend(memory, length),
            _ => Err(Error::damaged("undo log", at::LOG_LENGTH, log)),
        };
        acquire();
        // EPOCH pair: a log is not emptied or shortened before the epoch has changed.
        let open = memory.header(at::EPOCH) == epoch;
        if open {
            read?;
            (self.log, self.epoch) = (log, epoch);
        }
        Ok(open)
    }

    /// Looks at the log after something was loaded (N1, N2).
    fn follow(&mut self) -> Result<()> {
        if self.broken {
            return Ok(());
        }
        let memory = self.observer.memory();
        acquire();
        let mut log = memory.header(at::LOG_LENGTH);
        acquire();
        let mut epoch = memory.header(at::EPOCH);
        if log == self.log && epoch == self.epoch {
            return Ok(());
        }
        // One that has begun publishes its first entry within a moment.
        for _ in 0..SPINS {
            if log != 0 {
                break;
            }
            acquire();
            log = memory.header(at::LOG_LENGTH);
            acquire();
            epoch = memory.header(at::EPOCH);
        }
        let begun = self.log == 0 && epoch == self.epoch.wrapping_add(1);
        let same = epoch == self.epoch;
        self.broken = log == 0 || !(begun || same) || !self.read_log(log, epoch)?;
        Ok(())
    }

    /// Copies the record whose header is at `header`, which was found that way.
    pub(crate) fn record(&mut self, shape: &Shape, way: &Way<'_>, header: u64) -> Result<Raw> {
        let layout = self.observer.layout();
        let raw = record::copy(self, &layout, shape, header)?;
        let sum = xxh3_64(raw.block());
        if *self.sums.entry(header).or_insert(sum) != sum && !sabotage::twice() {
            return Err(torn("record"));
        }
        self.found.push(Found {
            way: way.keep(),
            shape: *shape,
            record: header,
            word: raw.word,
        });
        Ok(raw)
    }

    /// Notes what came of a part of the reading.
    pub(crate) fn note<T>(&mut self, result: Result<T>) -> Result<T> {
        match &result {
            Err(Error::Retry { .. }) => self.lost = true,
            Err(_) => self.strict = true,
            Ok(_) => {}
        }
        result
    }

    /// Whether all that was read is of one moment.
    pub(crate) fn holds(&mut self) -> bool {
        let followed = self.follow();
        if self.lost || followed.is_err() {
            return false;
        }
        let memory = self.observer.memory();
        if self.broken {
            return !self.strict && !self.overlaid && self.held_once(memory);
        }
        acquire();
        let commits = memory.header(at::COMMITS).wrapping_sub(self.start.commits);
        acquire();
        commits == 0 || ((commits < FEW_COMMITS || sabotage::round()) && self.same_headers(memory))
    }

    fn same_headers(&self, memory: &Memory) -> bool {
        let same = |found: &Found| memory.load(found.record, "record").is_ok_and(|word| word == found.word);
        self.found.iter().all(same) || sabotage::sequence()
    }

    /// N4: there is a moment between then and now at which all that was found was committed.
    fn held_once(&self, memory: &Memory) -> bool {
        let idle = (0..SPINS).any(|_| {
            std::hint::spin_loop();
            memory.header(at::LOG_LENGTH) == 0
        });
        acquire();
        let mut live = Live(memory);
        let mut still = |found: &Found| {
            let leads = found.way.leads_to(&mut live, &found.shape, found.record);
            leads.unwrap_or(false) || sabotage::way()
        };
        let led = idle && self.found.iter().all(&mut still);
        acquire();
        led && self.same_headers(memory) && self.start.few_since(memory)
    }
}

impl Source for Snapshot<'_> {
    #[inline]
    fn copy(&mut self, offset: u64, out: &mut [u64], what: &'static str) -> Result<()> {
        self.observer.memory().copy(offset, out, what)?;
        self.follow()?;
        if self.broken {
            return if self.strict || self.overlaid {
                Err(torn(what))
            } else {
                Ok(())
            };
        }
        if self.log != 0 {
            self.overlaid = true;
            self.overlay.apply(offset, out);
        }
        Ok(())
    }

    fn memory(&self) -> &Memory {
        self.observer.memory()
    }

    fn whole(&self, same: bool, quiet: bool) -> bool {
        // While a log is open no transaction of one word can be committed; before it was, COMMITS tells.
        let whole = if self.broken {
            same
        } else if self.log == 0 {
            same || quiet
        } else {
            quiet
        };
        whole || sabotage::sequence()
    }
}
