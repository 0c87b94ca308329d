//! Many records at once: batches of keys whose cache misses overlap, and passes over a whole map.

use super::probe::{Probe, Word};
use super::{ARCHIVED, COUNT, Map, WHAT};
use crate::archive::{self, Value};
use crate::error::{Error, Result};
use crate::gate::Pass;
use crate::heap::Blocks;
use crate::region::Region;
use crate::region::view::{Bad, View, Window};
use crate::table::catalog::ROOT;
use crate::table::key::Key;
use crate::table::map::index::{Directory, Index, SEED};
use crate::table::record::{self, RecordMut};
use crate::tx::Tx;

/// How many keys a lookup of many is ahead with lines of the index, and again with records: enough to cover one miss of the cache, and no more
/// than there are misses at a time.
const AHEAD: usize = 8;

/// What was found out of the keys that come next. Key `i` has slot `i % AHEAD`, first of its line of the index and then of its record.
#[derive(Default)]
struct Ahead {
    hashes: [u64; AHEAD],
    groups: [u64; AHEAD],
    records: [u64; AHEAD],
}

impl Ahead {
    /// The record that the key `2 * AHEAD` steps before this most likely has.
    #[inline(always)]
    fn record(&self, step: usize) -> u64 {
        self.records[step % AHEAD]
    }
}

impl<K: Key, V: Value> Map<K, V> {
    /// Looks up many keys: `each` gets the place of the key in `keys` and the record, in the order of the keys. The misses of the
    /// cache overlap, those of some keys with those of the keys before, so that it takes less than half the time of as many
    /// [`get`](Self::get).
    ///
    /// # Errors
    /// As [`get`](Self::get).
    #[inline]
    pub fn get_many<'v>(
        &self,
        view: &'v View,
        keys: &[K],
        mut each: impl FnMut(usize, Option<&'v V::Archived>),
    ) -> Result<()> {
        self.admit(view)?;
        let window = view.window();
        let directory = Index::of(self.row).directory(window);
        let mut ahead = Ahead::default();
        for step in 0..keys.len() + 2 * AHEAD {
            if let Some(place) = step.checked_sub(2 * AHEAD) {
                let (key, record) = (&keys[place], ahead.record(step));
                let found = match self.root_at(window, record, key) {
                    Some(root) => Some(root),
                    None => self.get(view, key.borrowed())?,
                };
                each(place, found);
            }
            self.look_ahead(view, window, directory, keys, &mut ahead, step);
        }
        Ok(())
    }

    /// The root of the record whose header is at `record`, if it has that key.
    #[inline(always)]
    fn root_at<'v>(&self, window: Window<'v>, record: u64, key: &K) -> Option<&'v V::Archived> {
        let tail = Self::tail(window, record).ok()?;
        let is_it = if const { Word::<K>::FITS } {
            Word::<K>::of(key.borrowed()).is_of(window, record, tail)
        } else {
            Self::encode(key.borrowed()).ok()?.is_of(window, record, tail)
        };
        if is_it != Ok(true) {
            return None;
        }
        archive::root_in::<V>(tail, Self::GEOMETRY).ok()
    }

    /// Changes many records in place: `change` gets the place of the key in `keys` and the record, in the order of the keys; keys
    /// without a record are passed over. Says how many there were.
    ///
    /// # Errors
    /// What `change` returns; as [`get`](Self::get).
    #[inline]
    pub fn update_many<'a>(
        &self,
        tx: &mut Tx<'a>,
        keys: &[K],
        mut change: impl FnMut(usize, &mut RecordMut<'_, 'a, V>) -> Result<()>,
    ) -> Result<usize> {
        self.admit(tx)?;
        let directory = Index::of(self.row).directory(tx.window());
        let (mut ahead, mut found) = (Ahead::default(), 0);
        for step in 0..keys.len() + 2 * AHEAD {
            if let Some(place) = step.checked_sub(2 * AHEAD) {
                let (key, record) = (&keys[place], ahead.record(step));
                let guessed = self.root_at(tx.window(), record, key).is_some();
                let record = if guessed {
                    Some(RecordMut::found(tx, self.home(), record))
                } else {
                    self.get_mut(tx, key.borrowed())?
                };
                if let Some(mut record) = record {
                    change(place, &mut record)?;
                    found += 1;
                }
            }
            // What the transaction holds back is no part of the index.
            let view = &tx.region.view;
            self.look_ahead(view, view.window(), directory, keys, &mut ahead, step);
        }
        Ok(found)
    }

    /// Starts to fetch the line of the index for the key `step`, and the record of the key that is [`AHEAD`] before it, whose line of the index
    /// is there by now. Whoever uses such a record compares its key. What cannot be fetched is not: the lookup tells why.
    #[inline(always)]
    fn look_ahead(
        &self,
        view: &View,
        window: Window<'_>,
        directory: Directory,
        keys: &[K],
        ahead: &mut Ahead,
        step: usize,
    ) {
        let slot = step % AHEAD;
        let record = Index::guess(window, ahead.groups[slot], ahead.hashes[slot]);
        // Key and header, and where the root starts if that is another line. A key of variable length has a third: its place is
        // not known before the record is there.
        view.prefetch(record);
        view.prefetch(record.wrapping_sub(Self::GEOMETRY.root));
        ahead.records[slot] = record;
        let Some(key) = keys.get(step) else { return };
        let hash = if const { Word::<K>::FITS } {
            Word::<K>::of(key.borrowed()).hash(directory.seed)
        } else {
            Self::encode(key.borrowed()).map_or(0, |key| key.hash(directory.seed))
        };
        let group = directory.home(window, hash).unwrap_or(0);
        view.prefetch(group);
        (ahead.hashes[slot], ahead.groups[slot]) = (hash, group);
    }

    /// Changes all records in place, in the order in which they lie in memory.
    ///
    /// # Errors
    /// What `change` returns; [`Error::ForeignTable`](crate::Error::ForeignTable), [`Error::Damaged`](crate::Error::Damaged).
    #[inline]
    pub fn for_each_mut<'a>(
        &self,
        tx: &mut Tx<'a>,
        change: impl FnMut(K, &mut RecordMut<'_, 'a, V>) -> Result<()>,
    ) -> Result<()> {
        self.admit(tx)?;
        let mut blocks = Blocks::of(tx, self.home().owner)?;
        self.walk(tx, &mut blocks, usize::MAX, change).map(|_| ())
    }

    /// Changes all records in place, so many in each transaction: for a pass over a world that need not be one transaction. Says how
    /// many there were.
    ///
    /// # Errors
    /// What `change` returns, with the transaction that it was in rolled back; those of [`Region::begin`] and [`Tx::commit`].
    pub fn pass(
        &self,
        region: &mut Region,
        pass: &Pass<'_>,
        each: usize,
        mut change: impl FnMut(K, &mut RecordMut<'_, '_, V>) -> Result<()>,
    ) -> Result<u64> {
        self.admit(&region.view)?;
        // In-place changes move no block, and nothing else can change the region meanwhile.
        let mut blocks = Blocks::of(&*region.read(pass)?, self.home().owner)?;
        let mut records = 0;
        loop {
            let mut tx = region.begin(pass)?;
            let n = self.walk(&mut tx, &mut blocks, each, &mut change)?;
            tx.commit()?;
            records += n;
            if n == 0 {
                return Ok(records);
            }
        }
    }

    #[inline(always)]
    fn walk<'a>(
        &self,
        tx: &mut Tx<'a>,
        blocks: &mut Blocks,
        limit: usize,
        mut change: impl FnMut(K, &mut RecordMut<'_, 'a, V>) -> Result<()>,
    ) -> Result<u64> {
        let home = self.home();
        let mut records = 0;
        while records < limit as u64
            && let Some(block) = blocks.next(tx)?
        {
            let header = block.offset + block.size - record::HEADER;
            let view: &View = tx;
            // What is walked in order the processor fetches by itself, but only up to the end of a page of 4 KiB.
            view.prefetch(header + block.size * AHEAD as u64);
            let tail = match Self::tail(view.window(), header) {
                Ok(tail) => tail,
                Err(Bad) => Self::checked_tail(view, header)?,
            };
            if record::is_dead(tail) {
                continue;
            }
            let key = Self::decode(view, header, tail)?;
            archive::root_in::<V>(tail, Self::GEOMETRY).map_err(|Bad| Error::damaged("record", header, 0))?;
            change(key, &mut RecordMut::found(tx, home, header))?;
            records += 1;
        }
        Ok(records)
    }

    /// Keeps the records for which `keep` says yes; it may change them in place. Says how many were taken away.
    ///
    /// # Errors
    /// What `keep` returns; those of [`remove`](Self::remove).
    pub fn retain<'a>(
        &self,
        tx: &mut Tx<'a>,
        mut keep: impl FnMut(&K, &mut RecordMut<'_, 'a, V>) -> Result<bool>,
    ) -> Result<u64> {
        let mut gone = Vec::new();
        self.for_each_mut(tx, |key, record| {
            if !keep(&key, record)? {
                gone.push(key);
            }
            Ok(())
        })?;
        for key in &gone {
            self.remove(tx, key.borrowed())?;
        }
        Ok(gone.len() as u64)
    }

    /// Takes all records away, after `each` has seen them. Says how many there were.
    ///
    /// # Errors
    /// What `each` returns; [`Error::ForeignTable`](crate::Error::ForeignTable), [`Error::Damaged`](crate::Error::Damaged), those of the log.
    pub fn drain(&self, tx: &mut Tx<'_>, mut each: impl FnMut(K, &V::Archived) -> Result<()>) -> Result<u64> {
        for item in self.iter(tx)? {
            let (key, record) = item?;
            each(key, record)?;
        }
        let records = self.len(tx)?;
        self.clear(tx)?;
        Ok(records)
    }

    /// Takes all records away.
    ///
    /// # Errors
    /// [`Error::ForeignTable`](crate::Error::ForeignTable), [`Error::Damaged`](crate::Error::Damaged), those of the log.
    pub fn clear(&self, tx: &mut Tx<'_>) -> Result<()> {
        let index = self.admit(tx)?;
        let mut blocks = Blocks::of(tx, self.home().owner)?;
        while let Some(block) = blocks.next(tx)? {
            let header = block.offset + block.size - record::HEADER;
            if !record::is_dead(Self::checked_tail(tx, header)?) {
                self.discard(tx, header)?;
            }
        }
        let mut old = Vec::new();
        index.blocks(tx, |block| old.push(block))?;
        let seed = tx.load(self.row + SEED, WHAT)?;
        let roots = Index::create(tx, seed)?;
        tx.put_all(self.row + ROOT, &roots, WHAT)?;
        tx.put_all(self.row + COUNT, &[0, 0], WHAT)?;
        const { assert!(ARCHIVED == COUNT + 8) };
        for block in old {
            tx.free(block);
        }
        Ok(())
    }
}
