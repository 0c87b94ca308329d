//! Many records at once: batches of keys whose cache misses overlap, and passes over a whole map.

use super::probe::{Probe, Word};
use super::{ARCHIVED, COUNT, Map, WHAT};
use crate::archive::{self, Value};
use crate::error::Error;
use crate::gate::Pass;
use crate::heap::Blocks;
use crate::region::Region;
use crate::region::view::{Bad, View, Window};
use crate::table::catalog::ROOT;
use crate::table::key::{self, Form, Key};
use crate::table::map::index::{Index, SEED};
use crate::table::mixed;
use crate::table::moving;
use crate::table::record::{self, RecordMut};
use crate::tx::Tx;

type Result<T, E = Error> = std::result::Result<T, E>;

/// How many keys further on a line of the index is read than a record, and asked for than read: as many misses of the cache overlap.
const STEP: usize = 16;
/// Keys that are under way at the same time: a power of two.
const RING: usize = 2 * STEP;

/// How many records further on is fetched what a walk in memory order looks at: the end of a record, of which the processor does not
/// guess where the next one lies if there are lines between them that nobody looks at.
const AHEAD: u64 = 32;

/// Fetches the end, from the root on, of the block that lies [`AHEAD`] blocks behind, if there is one. `root`: from the root to the header.
#[inline(always)]
pub(super) fn fetch_ahead(view: &View, header: u64, size: u64, root: u64) {
    let ahead = header.wrapping_add(size.wrapping_mul(AHEAD));
    view.prefetch(ahead);
    // Where that is another line.
    view.prefetch(ahead.wrapping_sub(root));
}

/// Asks for all that looking up keys will touch, some keys ahead of who looks them up: first for a line of the index, then for the record that
/// it most likely leads to.
struct Ahead<'k, K, V> {
    map: Map<K, V>,
    keys: &'k [K],
    /// Which key is next.
    next: usize,
    /// For each key that is under way: its hash, and its group or record.
    hashes: [u64; RING],
    places: [u64; RING],
}

impl<'k, K: Key, V: Value> Ahead<'k, K, V> {
    #[inline(always)]
    fn new(map: &Map<K, V>, view: &View, keys: &'k [K]) -> Result<Self> {
        map.admit(view)?;
        let mut ahead = Self {
            map: *map,
            keys,
            next: 0,
            hashes: [0; RING],
            places: [0; RING],
        };
        for number in 0..RING {
            ahead.fetch_group(view, number)?;
            if number >= STEP {
                ahead.fetch_record(view, number - STEP);
            }
        }
        Ok(ahead)
    }

    /// Where the next key's record most likely has its header; whoever uses it compares the key. It may be anywhere.
    #[inline(always)]
    fn next(&mut self, view: &View) -> Result<u64> {
        let next = self.next;
        let record = self.places[next % RING];
        self.fetch_group(view, next + RING)?;
        self.fetch_record(view, next + STEP);
        self.next = next + 1;
        Ok(record)
    }

    #[inline(always)]
    fn fetch_group(&mut self, view: &View, number: usize) -> Result<()> {
        let Some(key) = self.keys.get(number) else {
            return Ok(());
        };
        let window = view.window();
        let directory = Index::of(self.map.row).directory(window);
        let hash = if const { Word::<K>::FITS } {
            Word::<K>::of(key.borrowed()).hash(directory.seed)
        } else {
            Map::<K, V>::encode(key.borrowed())?.hash(directory.seed)
        };
        // Where the window does not reach there is nothing to fetch, and the lookup looks again.
        let group = directory.home(window, hash).unwrap_or(0);
        view.prefetch(group);
        (self.hashes[number % RING], self.places[number % RING]) = (hash, group);
        Ok(())
    }

    #[inline(always)]
    fn fetch_record(&mut self, view: &View, number: usize) {
        let (hash, place) = (self.hashes[number % RING], &mut self.places[number % RING]);
        let record = Index::guess(view.window(), *place, hash);
        // Key and header, and where the root starts if that is another line. A key of variable length has a third: its place is
        // not known before the record is there.
        view.prefetch(record);
        view.prefetch(record.wrapping_sub(Map::<K, V>::GEOMETRY.root));
        *place = record;
    }
}

impl<K: Key, V: Value> Map<K, V> {
    /// Looks up many keys: `each` gets the place of the key in `keys` and the record, in the order of the keys. The misses of the
    /// cache of 16 keys overlap, so that it takes about half the time of as many [`get`](Self::get).
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
        let mut ahead = Ahead::new(self, view, keys)?;
        for (place, key) in keys.iter().enumerate() {
            let record = ahead.next(view)?;
            let found = match self.root_at(view.window(), record, key) {
                Some(root) => Some(root),
                None => self.get(view, key.borrowed())?,
            };
            each(place, found);
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
    pub fn update_many<'a, E: From<Error>>(
        &self,
        tx: &mut Tx<'a>,
        keys: &[K],
        mut change: impl FnMut(usize, &mut RecordMut<'_, 'a, V>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let mut ahead = Ahead::new(self, tx, keys)?;
        let mut found = 0;
        for (place, key) in keys.iter().enumerate() {
            let record = ahead.next(tx)?;
            let guessed = self.root_at(tx.window(), record, key).is_some();
            let record = if guessed && !tx.mixed().has(self.row) {
                Some(RecordMut::found(tx, self.home(), record))
            } else {
                self.get_mut(tx, key.borrowed())?
            };
            if let Some(mut record) = record {
                change(place, &mut record)?;
                found += 1;
            }
        }
        Ok(found)
    }

    /// Changes all records in place, in the order in which they lie in memory.
    ///
    /// # Errors
    /// What `change` returns; [`Error::ForeignTable`](crate::Error::ForeignTable), [`Error::TableGone`](crate::Error::TableGone), [`Error::StillMoving`](crate::Error::StillMoving), [`Error::Damaged`](crate::Error::Damaged).
    #[inline]
    pub fn for_each_mut<'a, E: From<Error>>(
        &self,
        tx: &mut Tx<'a>,
        mut change: impl FnMut(K, &mut RecordMut<'_, 'a, V>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.admit(tx)?;
        if mixed::is_mixed(self, tx) {
            let keys = self.keys(tx)?.collect::<Result<Vec<K>>>()?;
            return self.change_all(tx, &keys, &mut change);
        }
        let mut blocks = Blocks::of(tx, self.home().owner)?;
        self.walk(tx, &mut blocks, usize::MAX, change).map(|_| ())
    }

    /// Changes all records in place, so many in each transaction: for a pass over a world that need not be one transaction. Says how
    /// many there were.
    ///
    /// # Errors
    /// What `change` returns, with the transaction that it was in rolled back; those of [`Region::begin`] and [`Tx::commit`].
    pub fn pass<E: From<Error>>(
        &self,
        region: &mut Region,
        pass: &Pass<'_>,
        each: usize,
        mut change: impl FnMut(K, &mut RecordMut<'_, '_, V>) -> Result<(), E>,
    ) -> Result<u64, E> {
        self.admit(&region.view)?;
        // What migrates on the way would be met again.
        if mixed::is_mixed(self, &region.view) {
            let keys = {
                let reader = region.read(pass)?;
                self.keys(&reader)?.collect::<Result<Vec<K>>>()?
            };
            for keys in keys.chunks(each.max(1)) {
                let mut tx = region.begin(pass)?;
                self.change_all(&mut tx, keys, &mut change)?;
                tx.commit()?;
            }
            return Ok(keys.len() as u64);
        }
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

    /// The same for the records of these keys.
    fn change_all<'a, E: From<Error>>(
        &self,
        tx: &mut Tx<'a>,
        keys: &[K],
        change: &mut impl FnMut(K, &mut RecordMut<'_, 'a, V>) -> Result<(), E>,
    ) -> Result<(), E> {
        for key in keys {
            // Decoded from the record itself, so that a copy of the key is not asked for.
            let own = key::decode::<K>(Form::Hashed, &Self::encode(key.borrowed())?);
            if let (Some(own), Some(mut record)) = (own, self.get_mut(tx, key.borrowed())?) {
                change(own, &mut record)?;
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn walk<'a, E: From<Error>>(
        &self,
        tx: &mut Tx<'a>,
        blocks: &mut Blocks,
        limit: usize,
        mut change: impl FnMut(K, &mut RecordMut<'_, 'a, V>) -> Result<(), E>,
    ) -> Result<u64, E> {
        let home = self.home();
        let mut records = 0;
        while records < limit as u64
            && let Some(block) = blocks.next(tx)?
        {
            let header = block.offset + block.size - record::HEADER;
            let view: &View = tx;
            fetch_ahead(view, header, block.size, Self::GEOMETRY.root);
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

    /// Keeps the records for which `keep` says yes; it may change them in place. Says how many were taken away. Its errors are the table's, so that a
    /// `keep` that has none need not say which.
    ///
    /// # Errors
    /// What `keep` returns; those of [`remove`](Self::remove).
    pub fn retain<'a>(
        &self,
        tx: &mut Tx<'a>,
        mut keep: impl FnMut(&K, &mut RecordMut<'_, 'a, V>) -> Result<bool>,
    ) -> Result<u64> {
        tx.whole(|tx| {
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
        })
    }

    /// Takes all records away, after `each` has seen them. Says how many there were.
    ///
    /// # Errors
    /// What `each` returns; [`Error::ForeignTable`](crate::Error::ForeignTable), [`Error::TableGone`](crate::Error::TableGone), [`Error::StillMoving`](crate::Error::StillMoving), [`Error::Damaged`](crate::Error::Damaged), those of the [log](crate::Tx#errors).
    pub fn drain(&self, tx: &mut Tx<'_>, mut each: impl FnMut(K, &V::Archived) -> Result<()>) -> Result<u64> {
        tx.whole(|tx| {
            for item in self.iter(tx)? {
                let (key, record) = item?;
                each(key, record)?;
            }
            let records = self.len(tx)?;
            self.clear(tx)?;
            Ok(records)
        })
    }

    /// Takes all records away.
    ///
    /// # Errors
    /// [`Error::ForeignTable`](crate::Error::ForeignTable), [`Error::TableGone`](crate::Error::TableGone), [`Error::StillMoving`](crate::Error::StillMoving), [`Error::Damaged`](crate::Error::Damaged), those of the [log](crate::Tx#errors).
    pub fn clear(&self, tx: &mut Tx<'_>) -> Result<()> {
        tx.whole(|tx| {
            let index = self.admit(tx)?;
            self.check_whole(tx)?;
            if tx.mixed().is_target(self.row) {
                let keys = self.keys(tx)?.collect::<Result<Vec<K>>>()?;
                for key in keys {
                    moving::before(tx, self.row, &Self::encode(key.borrowed())?)?;
                }
            }
            mixed::clear(self, tx)?;
            let mut blocks = Blocks::of(tx, self.home().owner)?;
            while let Some(block) = blocks.next(tx)? {
                let header = block.offset + block.size - record::HEADER;
                if !record::is_dead(Self::checked_tail(tx, header)?) {
                    record::forget(tx, header)?;
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
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is asked for ahead is what is needed: a batch of wrong guesses would give the same answers, later.
    #[test]
    fn nearly_all_keys_of_a_batch_are_guessed() {
        let mut region = Region::in_memory(8 << 20).expect("region");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let map: Map<u64, u64> = region.write(&pass, |tx| Map::create(tx, "map")).expect("table");
        region
            .write(&pass, |tx| {
                (0..3000).try_for_each(|key| map.insert(tx, &key, &key).map(|_| ()))
            })
            .expect("filled");
        let reader = region.read(&pass).expect("read");
        let all: Vec<u64> = (0..3000).collect();
        // Fewer than are under way at a time, and more.
        for count in [1, STEP, RING, RING + 1, all.len()] {
            let mut guessed = 0;
            for keys in all.chunks(count) {
                let mut ahead = Ahead::new(&map, &reader, keys).expect("ahead");
                for key in keys {
                    let record = ahead.next(&reader).expect("next");
                    let found = map.root_at(reader.window(), record, key);
                    guessed += usize::from(found.is_some_and(|found| found.to_native() == *key));
                }
            }
            assert!(guessed * 10 > all.len() * 8, "{guessed} of {} by {count}", all.len());
        }
    }
}
