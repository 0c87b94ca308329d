//! Observers: reading a region that another process writes, without any right to it.
//!
//! - **O1** An observer maps read-only, holds no lock, waits for nobody and changes nothing, whether the owner works, is
//!   stopped or is dead with a transaction open. A descriptor opened read-only is enough.
//! - **O2** It never makes a reference into the region (M1): words are copied, one relaxed load each, and only a copy that was
//!   validated is given a type ([`Copied`]).
//! - **O3** Nothing it reads is trusted: offsets are checked, loops are bounded, tries are counted. What was changed too often while
//!   it was read is [`Error::Retry`]; what contradicts itself while nothing changed is [`Error::Damaged`].
//! - **O4** Two readings. *peek*: one record, whole, as it was at some moment of the call, perhaps in the middle of a transaction.
//!   *snapshot*: what was committed at one moment, for one record or for all that a closure reads.
//!
//! In reading order: `memory` turns offsets into copies; `source` is how the rest takes words, live or committed; `marks` says how
//! much a writer may have done meanwhile; `record` copies a record; `index`, `slots`, `ring` and `tree` walk what leads to records, and
//! `way` is one such walk; `overlay` reads the open log; `snapshot` puts them together and holds the argument; `seen` is a table
//! without its types. `map` with `iter`, `cell`, `slab`, `timers`, `queue`, `ordered` with `range`, and `validate`, which has its `work` done
//! on `pieces` of tables, are what users see. `any` is a table for who has only its description, with `any_record`, and `sweep` (with `streams`) goes over it.

mod any;
mod any_record;
mod cell;
mod copied;
mod index;
mod iter;
mod map;
mod marks;
mod memory;
mod ordered;
mod overlay;
mod pieces;
mod queue;
mod range;
mod record;
mod ring;
mod sabotage;
mod seen;
mod slab;
mod slots;
mod snapshot;
mod source;
mod streams;
mod sweep;
mod tables;
#[cfg(test)]
mod tests;
mod timers;
mod tree;
mod validate;
mod way;
mod work;

pub use any::{AnyTable, Naming, Records};
pub use any_record::{AnyRecord, BadRecord};
pub use cell::ObservedCell;
pub use copied::Copied;
pub use iter::ObservedIter;
pub use map::ObservedMap;
pub use ordered::ObservedOrderedMap;
pub use queue::{ObservedQueue, ObservedQueueIter};
pub use range::ObservedRange;
pub use slab::{ObservedSlab, ObservedSlabIter};
pub use snapshot::Snapshot;
pub(crate) use tables::{committed, live};
pub use timers::{ObservedTimers, ObservedTimersIter};
pub use validate::{GENTLE_RATE, RecordFault, Validation, ValidationReport};

use crate::error::{Error, Result};
use crate::os::shm::{self, Place};
use crate::region::header::{Birth, Layout};
use crate::region::{MemoryInfo, check_name, check_words, read_birth, view_of};
use memory::Memory;
use overlay::Overlay;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a snapshot is tried before it is given up, and how often at least.
pub(crate) const PATIENCE: Duration = Duration::from_millis(100);
/// See [`PATIENCE`].
const LEAST_TRIES: u64 = 32;
/// Tries after which another thread is let run.
const TRIES_PER_YIELD: u64 = 16;

/// Waits a moment before the next try; `None` once there have been enough of them since `start`.
pub(crate) fn again(tries: &mut u64, start: Instant, patience: Duration) -> Option<()> {
    *tries += 1;
    if *tries >= LEAST_TRIES && start.elapsed() >= patience {
        return None;
    }
    if tries.is_multiple_of(TRIES_PER_YIELD) {
        std::thread::yield_now();
    } else {
        std::hint::spin_loop();
    }
    Some(())
}

/// A region seen from outside, read-only.
///
/// ```
/// # fn main() -> shmstate::Result<()> {
/// # use shmstate::{Map, Observer, Region};
/// # let name = format!("doc-observer-{}", std::process::id());
/// let mut region = Region::options().capacity(4 << 20).create(&name)?;
/// let gate = region.gate().clone();
/// let scores: Map<u64, u32> = region.write(&gate.enter()?, |tx| {
///     let scores = Map::create(tx, "scores")?;
///     scores.insert(tx, &7, &100)?;
///     shmstate::Result::Ok(scores)
/// })?;
///
/// // In another process:
/// let observer = Observer::open(&name)?;
/// let seen = observer.map::<u64, u32>("scores")?;
/// assert_eq!(seen.peek(&7)?.expect("is there").to_native(), 100);
/// let (one, all) = observer.snapshot(|s| shmstate::Result::Ok((seen.get(s, &7)?.is_some(), seen.count(s)?)))?;
/// assert_eq!((one, all), (true, 1));
/// # Region::remove(&name)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Observer {
    memory: Memory,
    name: Box<str>,
    birth: Birth,
    /// The last log that was read, by its epoch: a long transaction's log is read once.
    log: Mutex<Option<(u64, Overlay)>>,
}

impl Observer {
    /// Looks at the region `name`.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotReady`], [`Error::NotARegion`], [`Error::Damaged`], [`Error::Io`].
    pub fn open(name: &str) -> Result<Self> {
        Self::attach(name, Place::Shm.open(name, false)?)
    }

    /// Looks at the region `name` in a directory of the user's choice.
    ///
    /// # Errors
    /// Those of [`open`](Self::open), [`Error::BadName`] and [`Error::NotMemory`].
    pub fn in_directory(directory: impl Into<PathBuf>, name: &str) -> Result<Self> {
        let place = Place::Directory(directory.into());
        Self::attach(name, place.open(check_name(name)?, false)?)
    }

    /// Looks at the region that a descriptor leads to; `name` is only for messages. It may be open for reading alone.
    ///
    /// # Errors
    /// [`Error::NotReady`], [`Error::NotARegion`], [`Error::Damaged`], [`Error::Io`].
    pub fn attach(name: &str, descriptor: OwnedFd) -> Result<Self> {
        if !memory::ORDERED {
            let why = std::io::Error::from(std::io::ErrorKind::Unsupported);
            return Err(Error::io("observe, on this processor,", name, why));
        }
        let birth = read_birth(&descriptor, name)?;
        let memory = Memory::new(descriptor, name, &birth.layout)?;
        let load = |field| {
            let word = memory.header(field);
            memory::acquire();
            word
        };
        check_words(load, &birth)?;
        Ok(Self {
            memory,
            name: name.into(),
            birth,
            log: Mutex::default(),
        })
    }

    /// The region's name, as it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number that no other region has.
    #[must_use]
    pub fn id(&self) -> [u64; 2] {
        self.birth.region_id
    }

    /// Whether a living process holds the region.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn is_held(&self) -> Result<bool> {
        let descriptor = self.memory.descriptor();
        descriptor.map_or(Ok(false), |descriptor| shm::is_held(descriptor, &self.name))
    }

    /// Where the region's memory comes from.
    pub(crate) fn figures(&self) -> Result<MemoryInfo> {
        let (backing, layout) = (self.memory.backing(), self.birth.layout);
        // Its figures are read word by word, like everything here (O2).
        let view = view_of(backing, layout.heap, self.birth.places());
        MemoryInfo::of(&view, backing, &layout, &self.name)
    }

    /// Reads what was committed at one moment: all that `read` gets from its [`Snapshot`] is of that moment. If the owner commits
    /// in between, `read` is run again, so it should do nothing else and be short: some microseconds, against an owner that
    /// commits every few. What it was given in a run that is repeated may not fit together.
    ///
    /// # Errors
    /// What `read` returns; [`Error::Retry`] if the owner committed in each of many tries, for a tenth of a second;
    /// [`Error::Damaged`].
    pub fn snapshot<R, E: From<Error>>(
        &self,
        read: impl FnMut(&mut Snapshot<'_>) -> std::result::Result<R, E>,
    ) -> std::result::Result<R, E> {
        self.snapshot_within(PATIENCE, read)
    }

    pub(crate) fn snapshot_within<R, E: From<Error>>(
        &self,
        patience: Duration,
        mut read: impl FnMut(&mut Snapshot<'_>) -> std::result::Result<R, E>,
    ) -> std::result::Result<R, E> {
        let (mut tries, start) = (0, Instant::now());
        loop {
            match Snapshot::begin(self) {
                Ok(mut snapshot) => {
                    let result = read(&mut snapshot);
                    if snapshot.holds() {
                        self.keep_log(snapshot.into_log());
                        return result;
                    }
                    self.keep_log(snapshot.into_log());
                }
                Err(Error::Retry { .. }) => {}
                Err(e) => return Err(e.into()),
            }
            if again(&mut tries, start, patience).is_none() {
                return Err(Error::Retry {
                    what: "what a snapshot reads",
                    tries,
                }
                .into());
            }
        }
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(crate) fn layout(&self) -> Layout {
        self.birth.layout
    }

    pub(crate) fn birth(&self) -> &Birth {
        &self.birth
    }

    /// The log of that epoch as far as it was read before.
    fn known_log(&self, epoch: u64) -> Option<Overlay> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.take_if(|(known, _)| *known == epoch).map(|(_, log)| log)
    }

    fn keep_log(&self, log: Option<(u64, Overlay)>) {
        if log.is_some() {
            *self.log.lock().unwrap_or_else(PoisonError::into_inner) = log;
        }
    }
}
