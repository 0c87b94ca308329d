#![expect(unsafe_code, reason = "reading a published state is unsafe in mmap-sync")]
//! mmap-sync: the state lives in a map of the writer's own, and every change publishes all of it.
//!
//! A reader keeps a published state in place; lookups go through its archived map.

use super::{Answer, Engine};
use crate::Result;
use crate::players::{Player, encode, player, raise_score, score_of, step, template, two_fields};
use mmap_sync::synchronizer::Synchronizer;
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;
use tempfile::TempDir;

/// How long a writer waits for readers; there is one process here, which reads and writes in turn.
const GRACE: Duration = Duration::from_secs(1);

type State = HashMap<u64, Vec<u8>>;

/// The writer's own state, and where it is published.
pub(super) struct MmapSync {
    state: State,
    synchronizer: Synchronizer,
    directory: TempDir,
}

impl MmapSync {
    /// Publishes an empty state.
    pub(super) fn empty() -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix(&format!("shmstate-bench-mmap-sync-{}-", std::process::id()))
            .tempdir_in("/dev/shm")?;
        let synchronizer = Synchronizer::new(directory.path().join("players").as_os_str());
        let mut made = Self {
            state: State::new(),
            synchronizer,
            directory,
        };
        made.publish()?;
        Ok(made)
    }

    fn publish(&mut self) -> Result<()> {
        self.synchronizer.write(&self.state, GRACE)?;
        Ok(())
    }

    /// Does `each` for each key and publishes after each one.
    fn each(&mut self, keys: &[u64], mut each: impl FnMut(&mut State, u64) -> i64) -> Answer {
        let mut sum = 0;
        for key in keys {
            sum += each(&mut self.state, *key);
            self.publish()?;
        }
        Ok(Some(sum))
    }
}

fn bytes_of(player: &Player) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(player, &mut bytes);
    bytes
}

impl Engine for MmapSync {
    fn fill(&mut self, keys: &[u64]) -> Result<()> {
        self.state
            .extend(keys.iter().map(|key| (*key, bytes_of(&player(*key)))));
        // Once into each of its two files, as it is after any two changes.
        self.publish()?;
        self.publish()
    }

    fn get(&mut self, keys: &[u64]) -> Answer {
        // SAFETY: the bytes were written as this type by this process, and the guard is gone before the next publication.
        let state = unsafe { self.synchronizer.read::<State>(false) }?;
        let get = |key| state.get(key).map_or(0, |bytes| two_fields(bytes));
        Ok(Some(keys.iter().map(get).sum()))
    }

    fn update(&mut self, keys: &[u64]) -> Answer {
        self.each(keys, |state, key| {
            state.get_mut(&key).map_or(0, |bytes| raise_score(bytes) as i64)
        })
    }

    fn replace(&mut self, keys: &[u64], templates: &[Player], round: u64) -> Answer {
        self.each(keys, |state, key| {
            i64::from(state.insert(key, bytes_of(template(templates, key, round))).is_some())
        })
    }

    fn insert(&mut self, keys: &[u64], templates: &[Player]) -> Answer {
        self.each(keys, |state, key| {
            i64::from(state.insert(key, bytes_of(template(templates, key, 0))).is_none())
        })
    }

    fn remove(&mut self, keys: &[u64]) -> Answer {
        self.each(keys, |state, key| i64::from(state.remove(&key).is_some()))
    }

    fn iterate(&mut self) -> Answer {
        // SAFETY: as in `get`.
        let state = unsafe { self.synchronizer.read::<State>(false) }?;
        Ok(Some(state.values().map(|bytes| score_of(bytes) as i64).sum()))
    }

    fn tick(&mut self, keys: &[u64]) -> Answer {
        let mut sum = 0;
        for key in keys {
            sum += self.state.get_mut(key).map_or(0, |bytes| i64::from(step(bytes)));
        }
        self.publish()?;
        Ok(Some(sum))
    }

    /// Of the published files; the writer's own state comes on top.
    fn memory(&self) -> Result<Option<u64>> {
        let mut blocks = 0;
        for entry in std::fs::read_dir(self.directory.path())? {
            blocks += entry?.metadata()?.blocks();
        }
        Ok(Some(blocks * 512))
    }
}
