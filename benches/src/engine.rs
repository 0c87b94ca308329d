//! One trait for all engines.
//!
//! - **E1** An operation runs over a list of keys and gives a sum over what it saw, the same for every engine in the same state: the
//!   work cannot be left out by a compiler, and engines that disagree are found out (`report::agree`).
//! - **E2** What an engine has not got it answers with `None`, and the report says so.
//! - **E3** "In its own transaction" holds for every engine that has transactions; a map without them just changes its memory.
//! - **E4** A new value is lent (`&Player`), and the engine makes of it what it keeps: a clone, an archive, bytes.
//! - **E5** Lookups get the best an engine has: one read transaction for the whole list where there are such.
//!
//! It does not know what is measured, or how often.

mod heed;
mod mmap_sync;
mod native;
mod redb;
mod redis;
mod shm;

use crate::Result;
use crate::players::Player;
use crate::smaps::Pages;
use serde::Serialize;

pub(crate) use shm::unique_name;
pub use shm::{Blobs, Room};

/// Sum over what an operation saw; `None` if the engine has no such operation.
pub type Answer = Result<Option<i64>>;

/// Records a transaction in a pass over all.
pub const PASS: usize = 64;
/// Operations a transaction in `update_batched`.
pub const BATCH: usize = 1024;
/// Keys a batch in `batch_get`.
pub const GROUP: usize = 16;

/// A store of players.
pub trait Engine {
    /// Puts in players `keys`, in that order.
    ///
    /// # Errors
    /// Those of the engine, as for every operation.
    fn fill(&mut self, keys: &[u64]) -> Result<()>;

    /// Score and x of each.
    ///
    /// # Errors
    /// Those of the engine.
    fn get(&mut self, keys: &[u64]) -> Answer;

    /// Adds one to the score of each, in a transaction of its own. The sum is that of the new scores.
    ///
    /// # Errors
    /// Those of the engine.
    fn update(&mut self, keys: &[u64]) -> Answer;

    /// As `update`, [`BATCH`] in a transaction.
    ///
    /// # Errors
    /// Those of the engine.
    fn update_batched(&mut self, _keys: &[u64]) -> Answer {
        Ok(None)
    }

    /// Replaces each by the template of the round, in a transaction of its own. The sum counts those that were there.
    ///
    /// # Errors
    /// Those of the engine.
    fn replace(&mut self, keys: &[u64], templates: &[Player], round: u64) -> Answer;

    /// As `replace`, by a player made on the spot and handed over.
    ///
    /// # Errors
    /// Those of the engine.
    fn replace_made(&mut self, _keys: &[u64], _round: u64) -> Answer {
        Ok(None)
    }

    /// Puts in new players, each in a transaction of its own. The sum counts those that were new.
    ///
    /// # Errors
    /// Those of the engine.
    fn insert(&mut self, keys: &[u64], templates: &[Player]) -> Answer;

    /// Takes players away, each in a transaction of its own. The sum counts those that were there.
    ///
    /// # Errors
    /// Those of the engine.
    fn remove(&mut self, keys: &[u64]) -> Answer;

    /// The scores of all.
    ///
    /// # Errors
    /// Those of the engine.
    fn iterate(&mut self) -> Answer;

    /// Moves each one to the right, all in one transaction. The sum is that of the new x.
    ///
    /// # Errors
    /// Those of the engine.
    fn tick(&mut self, keys: &[u64]) -> Answer;

    /// The same with all keys given at once.
    ///
    /// # Errors
    /// Those of the engine.
    fn tick_together(&mut self, _keys: &[u64]) -> Answer {
        Ok(None)
    }

    /// Tidies up before a measure, outside of it.
    ///
    /// # Errors
    /// Those of the engine.
    fn settle(&mut self) -> Result<()> {
        Ok(())
    }

    /// Makes what it takes as little as it can, if it has a way to. Not measured.
    ///
    /// # Errors
    /// Those of the engine.
    fn compact(&mut self) -> Result<()> {
        Ok(())
    }

    /// As `get`, but each key is only known when the answer before it is: what one lookup takes when nothing else runs beside it in
    /// the processor.
    ///
    /// # Errors
    /// Those of the engine.
    fn get_chained(&mut self, _keys: &[u64]) -> Answer {
        Ok(None)
    }

    /// Resolves keys for the operations by handle. Not measured; done for those only, since it warms the caches.
    ///
    /// # Errors
    /// Those of the engine.
    fn resolve(&mut self, _keys: &[u64]) -> Result<()> {
        Ok(())
    }

    /// As `get`, of what was last resolved.
    ///
    /// # Errors
    /// Those of the engine.
    fn get_by_handle(&mut self) -> Answer {
        Ok(None)
    }

    /// As `update`, of what was last resolved.
    ///
    /// # Errors
    /// Those of the engine.
    fn update_by_handle(&mut self) -> Answer {
        Ok(None)
    }

    /// As `get`, by [`GROUP`]s that are known together.
    ///
    /// # Errors
    /// Those of the engine.
    fn batch_get(&mut self, _keys: &[u64]) -> Answer {
        Ok(None)
    }

    /// Adds one to the score of every player, [`PASS`] in a transaction. The sum counts them.
    ///
    /// # Errors
    /// Those of the engine.
    fn pass_all(&mut self) -> Answer {
        Ok(None)
    }

    /// Bytes of memory in use for the players; `None` if they cannot be told from the rest.
    ///
    /// # Errors
    /// Those of the engine.
    fn memory(&self) -> Result<Option<u64>>;

    /// Bytes of the players' archives, from an engine that counts them.
    ///
    /// # Errors
    /// Those of the engine.
    fn archived(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    /// Where its memory lies.
    ///
    /// # Errors
    /// If the kernel does not say.
    fn pages(&self) -> Result<Vec<Pages>> {
        Ok(Vec::new())
    }
}

/// The engines there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// This project's store: shared memory, crash-atomic.
    Shmstate,
    /// `hashbrown` with `foldhash` on 2 MiB pages: survives nothing.
    Hashmap,
    /// The same with the standard library's hasher.
    HashmapSip,
    /// LMDB, without sync.
    Heed,
    /// redb, without durability.
    Redb,
    /// mmap-sync: publishes the whole state.
    MmapSync,
    /// A Redis or Valkey server on a Unix socket.
    Redis,
}

/// An engine, or why there is none here.
pub enum Opened {
    /// It is empty.
    Engine(Box<dyn Engine>),
    /// What it lacks.
    Absent(&'static str),
}

impl Kind {
    /// All, in the order in which they take turns.
    pub const ALL: [Self; 7] = [
        Self::Shmstate,
        Self::Hashmap,
        Self::HashmapSip,
        Self::Heed,
        Self::Redb,
        Self::MmapSync,
        Self::Redis,
    ];

    /// As it stands in results.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Shmstate => "shmstate",
            Self::Hashmap => "hashmap",
            Self::HashmapSip => "hashmap_sip",
            Self::Heed => "heed",
            Self::Redb => "redb",
            Self::MmapSync => "mmap-sync",
            Self::Redis => "redis",
        }
    }

    /// An empty engine with room for `players`; taken from the system beforehand if `room` says so.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn open(self, players: u64, room: Room) -> Result<Opened> {
        Ok(Opened::Engine(match self {
            Self::Shmstate => Box::new(shm::Shm::empty(players, room)?),
            Self::Hashmap => Box::new(native::fast(players, room)),
            Self::HashmapSip => Box::new(native::standard(players, room)),
            Self::Heed => Box::new(heed::Heed::empty(players)?),
            Self::Redb => Box::new(redb::Redb::empty()?),
            Self::MmapSync => Box::new(mmap_sync::MmapSync::empty()?),
            Self::Redis => match redis::Redis::start()? {
                Some(redis) => Box::new(redis),
                None => return Ok(Opened::Absent("not installed")),
            },
        }))
    }
}
