#![expect(unsafe_code, reason = "opening LMDB, and its flags, are unsafe")]
//! LMDB through heed: a file on /dev/shm, written through the map, never synchronised, integer keys.

use super::{Answer, BATCH, Engine};
use crate::Result;
use crate::players::{Player, encode, player, raise_score, score_of, step, template, two_fields};
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, IntegerComparator, RwTxn};
use std::os::unix::fs::MetadataExt;
use tempfile::TempDir;

/// Address space a player: what they take, doubled by pages being copied, with room to spare.
const ROOM: u64 = 4096;
/// Address space at least.
const LEAST: u64 = 64 << 20;
/// Players a transaction while it is filled.
const FILL: usize = 1 << 16;

type Table<'e> = Database<'e, Bytes, Bytes, IntegerComparator>;

/// An LMDB environment with one table.
pub(super) struct Heed {
    // Before the directory, which goes when it is dropped.
    env: Env,
    directory: TempDir,
    bytes: Vec<u8>,
}

impl Heed {
    /// Makes the environment and its table.
    pub(super) fn empty(players: u64) -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix(&format!("shmstate-bench-heed-{}-", std::process::id()))
            .tempdir_in("/dev/shm")?;
        let mut options = EnvOpenOptions::new();
        options.map_size((players * ROOM).max(LEAST) as usize);
        let fast = EnvFlags::NO_SYNC | EnvFlags::NO_META_SYNC | EnvFlags::WRITE_MAP | EnvFlags::MAP_ASYNC;
        // SAFETY: a crash may lose what was written, and this file is gone with its process anyway; the directory was made a moment
        // ago under a name of its own, so nobody else opens or changes the file.
        let env = unsafe {
            options
                .flags(fast | EnvFlags::NO_READ_AHEAD | EnvFlags::NO_MEM_INIT)
                .open(directory.path())
        }?;
        let heed = Self {
            env,
            directory,
            bytes: Vec::new(),
        };
        heed.table()?;
        Ok(heed)
    }

    /// The table: the one without a name, which spares every transaction a page. Found once an operation, not once a key.
    fn table(&self) -> Result<Table<'_>> {
        let made = self
            .env
            .create_databases_and_commit(self.env.write_txn()?, |opener, tx| {
                let options = opener
                    .database_options()
                    .types::<Bytes, Bytes>()
                    .key_comparator::<IntegerComparator>();
                options.create(tx).map(CommitOrAbort::<_, ()>::Commit)
            })?;
        made.commit().ok_or_else(|| "heed: no table".into())
    }

    /// Changes `keys`, so many in a transaction, and sums what `change` gives of each that is there.
    fn change(&mut self, keys: &[u64], together: usize, change: impl Fn(&mut [u8]) -> i64) -> Answer {
        let mut bytes = std::mem::take(&mut self.bytes);
        let table = self.table()?;
        let mut sum = 0;
        for keys in keys.chunks(together.max(1)) {
            let mut tx = self.env.write_txn()?;
            for key in keys {
                let key = key.to_ne_bytes();
                let Some(old) = table.get(&tx, &key)? else {
                    continue;
                };
                bytes.clear();
                bytes.extend_from_slice(old);
                sum += change(&mut bytes);
                table.put(&mut tx, &key, &bytes)?;
            }
            tx.commit()?;
        }
        self.bytes = bytes;
        Ok(Some(sum))
    }

    /// Does `each` in a transaction of its own for each key, and counts where it says yes.
    fn each(
        &mut self,
        keys: &[u64],
        each: impl Fn(Table<'_>, &mut RwTxn<'_>, u64, &mut Vec<u8>) -> heed::Result<bool>,
    ) -> Answer {
        let mut bytes = std::mem::take(&mut self.bytes);
        let table = self.table()?;
        let mut yes = 0;
        for key in keys {
            let mut tx = self.env.write_txn()?;
            yes += i64::from(each(table, &mut tx, *key, &mut bytes)?);
            tx.commit()?;
        }
        self.bytes = bytes;
        Ok(Some(yes))
    }
}

impl Engine for Heed {
    fn fill(&mut self, keys: &[u64]) -> Result<()> {
        let table = self.table()?;
        let mut bytes = Vec::new();
        for keys in keys.chunks(FILL) {
            let mut tx = self.env.write_txn()?;
            for key in keys {
                encode(&player(*key), &mut bytes);
                table.put(&mut tx, &key.to_ne_bytes(), &bytes)?;
            }
            tx.commit()?;
        }
        Ok(())
    }

    fn get(&mut self, keys: &[u64]) -> Answer {
        let table = self.table()?;
        let tx = self.env.read_txn()?;
        let mut sum = 0;
        for key in keys {
            sum += table.get(&tx, &key.to_ne_bytes())?.map_or(0, two_fields);
        }
        Ok(Some(sum))
    }

    fn update(&mut self, keys: &[u64]) -> Answer {
        self.change(keys, 1, |bytes| raise_score(bytes) as i64)
    }

    fn update_batched(&mut self, keys: &[u64]) -> Answer {
        self.change(keys, BATCH, |bytes| raise_score(bytes) as i64)
    }

    fn replace(&mut self, keys: &[u64], templates: &[Player], round: u64) -> Answer {
        self.each(keys, |table, tx, key, bytes| {
            encode(template(templates, key, round), bytes);
            let key = key.to_ne_bytes();
            let there = table.get(tx, &key)?.is_some();
            table.put(tx, &key, bytes)?;
            Ok(there)
        })
    }

    fn insert(&mut self, keys: &[u64], templates: &[Player]) -> Answer {
        self.each(keys, |table, tx, key, bytes| {
            encode(template(templates, key, 0), bytes);
            let key = key.to_ne_bytes();
            let new = table.get(tx, &key)?.is_none();
            table.put(tx, &key, bytes)?;
            Ok(new)
        })
    }

    fn remove(&mut self, keys: &[u64]) -> Answer {
        self.each(keys, |table, tx, key, _| table.delete(tx, &key.to_ne_bytes()))
    }

    fn iterate(&mut self) -> Answer {
        let table = self.table()?;
        let tx = self.env.read_txn()?;
        let mut sum = 0;
        for entry in table.iter(&tx)? {
            sum += score_of(entry?.1) as i64;
        }
        Ok(Some(sum))
    }

    fn tick(&mut self, keys: &[u64]) -> Answer {
        self.change(keys, keys.len(), |bytes| i64::from(step(bytes)))
    }

    fn memory(&self) -> Result<Option<u64>> {
        Ok(Some(
            std::fs::metadata(self.directory.path().join("data.mdb"))?.blocks() * 512,
        ))
    }
}
