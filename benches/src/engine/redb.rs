//! redb in a file on /dev/shm, without durability.

use super::{Answer, BATCH, Engine};
use crate::Result;
use crate::players::{Player, encode, player, raise_score, score_of, step, template, two_fields};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use tempfile::TempDir;

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("players");
/// Players a transaction while it is filled.
const FILL: usize = 1 << 16;
/// Bytes of its own cache: all that it will hold.
const CACHE: usize = 2 << 30;

/// A database with one table.
pub(super) struct Redb {
    // Before the directory, which goes when it is dropped.
    database: Database,
    _directory: TempDir,
    file: PathBuf,
    bytes: Vec<u8>,
}

impl Redb {
    /// Makes the file and its table.
    pub(super) fn empty() -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix(&format!("shmstate-bench-redb-{}-", std::process::id()))
            .tempdir_in("/dev/shm")?;
        let file = directory.path().join("players.redb");
        let database = Database::builder().set_cache_size(CACHE).create(&file)?;
        let redb = Self {
            database,
            _directory: directory,
            file,
            bytes: Vec::new(),
        };
        redb.commit_durably()?;
        Ok(redb)
    }

    fn begin(&self) -> Result<WriteTransaction> {
        let mut tx = self.database.begin_write()?;
        tx.set_durability(Durability::None)?;
        Ok(tx)
    }

    /// A durable commit, outside what is measured: without any, no page that a transaction freed is used again.
    fn commit_durably(&self) -> Result<()> {
        let tx = self.database.begin_write()?;
        tx.open_table(TABLE)?;
        Ok(tx.commit()?)
    }

    /// Does `each` for each key, so many in a transaction, and sums what it gives.
    fn change(
        &mut self,
        keys: &[u64],
        together: usize,
        mut each: impl FnMut(&mut Table<'_, u64, &'static [u8]>, u64, &mut Vec<u8>) -> Result<i64>,
    ) -> Answer {
        let mut bytes = std::mem::take(&mut self.bytes);
        let mut sum = 0;
        for keys in keys.chunks(together.max(1)) {
            let tx = self.begin()?;
            {
                let mut table = tx.open_table(TABLE)?;
                for key in keys {
                    sum += each(&mut table, *key, &mut bytes)?;
                }
            }
            tx.commit()?;
        }
        self.bytes = bytes;
        Ok(Some(sum))
    }

    fn rewrite(&mut self, keys: &[u64], together: usize, change: impl Fn(&mut [u8]) -> i64) -> Answer {
        self.change(keys, together, |table, key, bytes| {
            bytes.clear();
            match table.get(key)? {
                Some(old) => bytes.extend_from_slice(old.value()),
                None => return Ok(0),
            }
            let seen = change(bytes);
            table.insert(key, bytes.as_slice())?;
            Ok(seen)
        })
    }
}

impl Engine for Redb {
    fn fill(&mut self, keys: &[u64]) -> Result<()> {
        self.change(keys, FILL, |table, key, bytes| {
            encode(&player(key), bytes);
            table.insert(key, bytes.as_slice())?;
            Ok(0)
        })?;
        self.commit_durably()
    }

    fn get(&mut self, keys: &[u64]) -> Answer {
        let table = self.database.begin_read()?.open_table(TABLE)?;
        let mut sum = 0;
        for key in keys {
            sum += table.get(*key)?.map_or(0, |bytes| two_fields(bytes.value()));
        }
        Ok(Some(sum))
    }

    fn update(&mut self, keys: &[u64]) -> Answer {
        self.rewrite(keys, 1, |bytes| raise_score(bytes) as i64)
    }

    fn update_batched(&mut self, keys: &[u64]) -> Answer {
        self.rewrite(keys, BATCH, |bytes| raise_score(bytes) as i64)
    }

    fn replace(&mut self, keys: &[u64], templates: &[Player], round: u64) -> Answer {
        self.change(keys, 1, |table, key, bytes| {
            encode(template(templates, key, round), bytes);
            let there = table.insert(key, bytes.as_slice())?.is_some();
            Ok(i64::from(there))
        })
    }

    fn insert(&mut self, keys: &[u64], templates: &[Player]) -> Answer {
        self.change(keys, 1, |table, key, bytes| {
            encode(template(templates, key, 0), bytes);
            let new = table.insert(key, bytes.as_slice())?.is_none();
            Ok(i64::from(new))
        })
    }

    fn remove(&mut self, keys: &[u64]) -> Answer {
        self.change(keys, 1, |table, key, _| Ok(i64::from(table.remove(key)?.is_some())))
    }

    fn iterate(&mut self) -> Answer {
        let table = self.database.begin_read()?.open_table(TABLE)?;
        let mut sum = 0;
        for entry in table.iter()? {
            sum += score_of(entry?.1.value()) as i64;
        }
        Ok(Some(sum))
    }

    fn tick(&mut self, keys: &[u64]) -> Answer {
        self.rewrite(keys, keys.len(), |bytes| i64::from(step(bytes)))
    }

    fn settle(&mut self) -> Result<()> {
        self.commit_durably()
    }

    fn memory(&self) -> Result<Option<u64>> {
        Ok(Some(std::fs::metadata(&self.file)?.blocks() * 512))
    }
}
