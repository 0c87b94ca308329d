//! Records come, are replaced, and go.
//!
//! - **M1** A change of one record waits for memory four times — the index, the record there is, what the heap says of its block, the block of the
//!   new one — and none of these waits needs the work that is done otherwise. So all are asked for as soon as their places can be guessed, and
//!   the value is archived meanwhile ([`Way`]).
//! - **M2** A guess is never trusted: what is done with it is right whatever it was. A new record that will not lie where the old one does is
//!   written before the old one is looked up; if that fails, it is taken back with the rest (T10).
//! - **M3** Only what the heap has at hand is taken early (M2): a record that can be replaced in its own block is, also when there is no memory left.

use super::index::{Index, Place, Segment};
use super::{ARCHIVED, COUNT, Found, Map, WHAT};
use crate::archive::Value;
use crate::error::Error;
use crate::heap;
use crate::region::view::View;
use crate::table::hash;
use crate::table::key::{Encoded, Key};
use crate::table::keyed;
use crate::table::mixed::{self, At};
use crate::table::moving;
use crate::table::record::{self, Drafted, Written};
use crate::tx::Tx;

type Result<T, E = Error> = std::result::Result<T, E>;

/// Where a key leads to in the index: asked for, not looked at.
#[derive(Clone, Copy, Debug)]
struct Way {
    hash: u64,
    segment: Segment,
    group: u64,
}

impl<K: Key, V: Value> Map<K, V> {
    /// Puts a record under `key`. Says whether there was one before; handles of that one are stale then.
    ///
    /// # Errors
    /// [`Error::RegionFull`], [`Error::OutOfSpace`], [`Error::TooLarge`],
    /// [`Error::Archive`], [`Error::KeyTooLong`], [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn insert(&self, tx: &mut Tx<'_>, key: &K::Borrowed, value: &V) -> Result<bool> {
        if tx.mixed().has(self.row) {
            self.renew(tx, key)?;
        }
        self.put(tx, key, value)
    }

    /// Puts a record under `key`: what has to be said before was said.
    pub(crate) fn put(&self, tx: &mut Tx<'_>, key: &K::Borrowed, value: &V) -> Result<bool> {
        tx.whole(|tx| {
            self.admit(tx)?;
            let key = Self::encode(key)?;
            let way = self.fetch_way(tx, &key);
            let home = self.home();
            record::with_draft(tx, home, keyed::parts::<K>(&key), value, |tx, new| {
                let (bytes, align) = (new.bytes(home), home.geometry.align);
                let room = heap::Room::next(tx, home.owner, bytes, align);
                let before = Self::fetch_record(tx, way);
                let size = if before == 0 {
                    tx.prefetch(way.segment.offset);
                    0
                } else {
                    heap::fetch::slots_at(tx, before)
                };
                if let Ok(Some(room)) = room
                    && !heap::fits(size, bytes, align)
                {
                    room.fetch(tx);
                    return self.put_early(tx, &key, room, new);
                }
                // Most likely all of its block is logged and written.
                heap::fetch::block(tx, before.wrapping_add(record::HEADER).wrapping_sub(size), size);
                let (hash, found) = self.look_up(tx, &key)?;
                match found.map(|found| found.place) {
                    Some(place) => self.replace_drafted(tx, place, new).map(|_| true),
                    None => self.add_drafted(tx, hash, new).map(|_| false),
                }
            })
        })
    }

    /// The same, with the new record written first (M2).
    fn put_early(&self, tx: &mut Tx<'_>, key: &Encoded<'_, K>, room: heap::Room, new: Drafted<'_, V>) -> Result<bool> {
        let head = new.head();
        let new = record::create_in(tx, self.home(), room, new)?;
        let (hash, found) = self.look_up(tx, key)?;
        match found.map(|found| found.place) {
            Some(place) => {
                let before = record::discard(tx, self.home(), place.record, head)?;
                self.exchanged(tx, place, new, before).map(|_| true)
            }
            None => self.enter(tx, hash, new).map(|_| false),
        }
    }

    /// Asks for the line of the index that a key leads to.
    #[inline]
    fn fetch_way(&self, view: &View, key: &Encoded<'_, K>) -> Way {
        let window = view.window();
        let directory = Index::of(self.row).directory(window);
        let hash = hash::of(key, directory.seed);
        // Where the window does not reach there is nothing to fetch, and the lookup looks again.
        let segment = directory.segment(window, hash).unwrap_or(Segment::NONE);
        let group = segment.group(segment.home(hash));
        view.prefetch(group);
        Way { hash, segment, group }
    }

    /// Asks for the record that most likely is the key's; gives where its header would be, 0 if most likely there is none.
    #[inline]
    fn fetch_record(view: &View, way: Way) -> u64 {
        let record = Index::guess(view.window(), way.group, way.hash);
        if record != 0 {
            view.prefetch(record);
            view.prefetch(record.wrapping_sub(Self::GEOMETRY.root));
        }
        record
    }

    /// Adds a record under a key that has none. Gives the offset of its header.
    pub(super) fn add(&self, tx: &mut Tx<'_>, key: &Encoded<'_, K>, hash: u64, value: &V) -> Result<u64> {
        tx.whole(|tx| {
            record::with_draft(tx, self.home(), keyed::parts::<K>(key), value, |tx, new| {
                self.add_drafted(tx, hash, new)
            })
        })
    }

    fn add_drafted(&self, tx: &mut Tx<'_>, hash: u64, new: Drafted<'_, V>) -> Result<u64> {
        self.admit(tx)?;
        let new = record::create_drafted(tx, self.home(), new)?;
        self.enter(tx, hash, new)
    }

    /// Enters a record that was written under a key that has none.
    fn enter(&self, tx: &mut Tx<'_>, hash: u64, new: Written) -> Result<u64> {
        let hasher = self.hasher(tx)?;
        self.admit(tx)?.add(tx, hash, new.header, hasher)?;
        self.count(tx, 1, new.archived, 0)?;
        self.note(tx, new.header);
        Ok(new.header)
    }

    /// Replaces the record at a place by another. Gives the offset of its header.
    pub(super) fn replace_at(&self, tx: &mut Tx<'_>, place: Place, key: &Encoded<'_, K>, value: &V) -> Result<u64> {
        tx.whole(|tx| {
            record::with_draft(tx, self.home(), keyed::parts::<K>(key), value, |tx, new| {
                self.replace_drafted(tx, place, new)
            })
        })
    }

    fn replace_drafted(&self, tx: &mut Tx<'_>, place: Place, new: Drafted<'_, V>) -> Result<u64> {
        let (new, before) = record::replace_drafted(tx, self.home(), place.record, new)?;
        self.exchanged(tx, place, new, before)
    }

    /// The record at a place, whose archive had `before` bytes, was replaced by another that was written.
    fn exchanged(&self, tx: &mut Tx<'_>, place: Place, new: Written, before: u64) -> Result<u64> {
        if new.header != place.record {
            self.admit(tx)?.swap(tx, place, new.header)?;
        }
        if new.archived != before {
            self.count(tx, 0, new.archived, before)?;
        }
        self.note(tx, new.header);
        Ok(new.header)
    }

    fn note(&self, tx: &mut Tx<'_>, header: u64) {
        if tx.mixed().has(self.row) {
            mixed::note(self, tx, At::keyed(header));
        }
    }

    /// Takes the record under `key` away. Says whether there was one.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`], [`Error::KeyTooLong`], those of the [log](crate::Tx#errors).
    pub fn remove(&self, tx: &mut Tx<'_>, key: &K::Borrowed) -> Result<bool> {
        self.admit(tx)?;
        let key = Self::encode(key)?;
        if tx.mixed().has(self.row) {
            moving::before(tx, self.row, &key)?;
        }
        let way = self.fetch_way(tx, &key);
        tx.prefetch(way.segment.offset);
        let record = Self::fetch_record(tx, way);
        if record != 0 {
            heap::fetch::slots_at(tx, record);
        }
        let (hash, Some(Found { place, .. })) = self.look_up(tx, &key)? else {
            return Ok(false);
        };
        self.remove_at(tx, hash, place)?;
        Ok(true)
    }

    pub(super) fn remove_at(&self, tx: &mut Tx<'_>, hash: u64, place: Place) -> Result<()> {
        tx.whole(|tx| {
            let hasher = self.hasher(tx)?;
            let archived = self.discard(tx, place.record)?;
            self.admit(tx)?.remove(tx, hash, place, hasher)?;
            self.count(tx, -1, 0, archived)
        })
    }

    /// Frees a record at commit. Gives the bytes of its archive.
    fn discard(&self, tx: &mut Tx<'_>, record: u64) -> Result<u64> {
        if tx.mixed().has(self.row) {
            return mixed::discard(self, tx, At::keyed(record));
        }
        mixed::check_mine(self, tx, record)?;
        let head = keyed::head_of::<K>(tx, record)?;
        record::discard(tx, self.home(), record, head)
    }

    pub(crate) fn count(&self, tx: &mut Tx<'_>, records: i64, more: u64, less: u64) -> Result<()> {
        if records != 0 {
            let count = tx.load(self.row + COUNT, WHAT)?;
            tx.put(self.row + COUNT, count.wrapping_add_signed(records), WHAT)?;
        }
        let archived = tx.load(self.row + ARCHIVED, WHAT)?;
        tx.put(
            self.row + ARCHIVED,
            archived.wrapping_add(more).wrapping_sub(less),
            WHAT,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::SEED;
    use super::*;
    use crate::heap::chunk::{BITMAP, Table};
    use crate::region::header::at;
    use crate::table::map::group::Group;
    use crate::{Region, verify};

    /// A map of records of 100 bytes, with room for some of 200.
    fn filled(region: &mut Region) -> Map<u64, Vec<u8>> {
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let filled = region.write(&pass, |tx| -> Result<_> {
            let map = Map::create(tx, "map")?;
            for key in 0..20 {
                map.insert(tx, &key, &vec![1; 100])?;
            }
            map.insert(tx, &100, &vec![1; 200])?;
            map.insert(tx, &101, &vec![1; 200])?;
            Ok(map)
        });
        filled.expect("filled")
    }

    /// Replaces the record under key 7, which is damaged in some way by `alter`: the new one was written before that is seen (M2), and nothing of
    /// it stays, although the transaction is committed.
    fn taken_back(alter: impl FnOnce(&View, u64, Map<u64, Vec<u8>>) -> Vec<(u64, u64)>) {
        let mut region = Region::in_memory(4 << 20).expect("region");
        let map = filled(&mut region);
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let made = region.view.header(at::RECORDS_MADE);
        let key = Map::<u64, Vec<u8>>::encode(&7).expect("key");
        let (_, found) = map.look_up(&region.view, &key).expect("look up");
        let record = found.expect("there").place.record;
        // Gives words and what they were.
        let altered = alter(&region.view, record, map);
        let refused = region.write(&pass, |tx| Ok::<_, Error>(map.insert(tx, &7, &vec![2; 200])));
        let refused = refused.expect("committed");
        assert!(matches!(refused, Err(Error::Damaged { .. })), "{refused:?}");
        // It was written: else this would say nothing.
        assert!(region.view.header(at::RECORDS_MADE) > made);
        for (at, word) in altered {
            region.view.store(at, word, "test").expect("mended");
        }
        let reader = region.read(&pass).expect("read");
        let verdict = verify(&reader).expect("verify");
        assert!(verdict.is_sound(), "{verdict:?}");
        assert_eq!(map.get(&reader, &7).expect("get").expect("there").len(), 100);
    }

    /// The entry leads nowhere.
    #[test]
    fn what_was_written_early_is_taken_back_if_the_lookup_fails() {
        taken_back(|view, _, map| {
            let window = view.window();
            let directory = Index::of(map.row).directory(window);
            let key = Map::<u64, Vec<u8>>::encode(&7).expect("key");
            let hash = hash::of(&key, view.load(map.row + SEED, "test").expect("seed"));
            let at = directory.home(window, hash).expect("group");
            let group = Group::load(view, at).expect("group");
            let mut altered = group;
            for (slot, _, _) in group.entries() {
                altered.swap(slot, view.capacity() & !7);
            }
            let words = group.words().into_iter().zip(altered.words()).zip((at..).step_by(8));
            let alter = |((was, word), at)| {
                view.store(at, word, "test").expect("altered");
                (at, was)
            };
            words.map(alter).collect()
        });
    }

    /// The record is there, but the heap says that nothing is.
    #[test]
    fn what_was_written_early_is_taken_back_if_the_old_record_cannot_be_freed() {
        taken_back(|view, record, _| {
            let chunk = Table::in_view(view).chunk_at(view, record).expect("chunk");
            let slot = heap::slot_of(view, record).expect("slot").expect("slot").number();
            let at = chunk.entry() + BITMAP + slot / 64 * 8;
            let was = view.load(at, "test").expect("bits");
            view.store(at, was & !(1 << (slot % 64)), "test").expect("altered");
            vec![(at, was)]
        });
    }

    /// No memory is left, and every record is replaced in its own block: whatever the guess was, none takes another one (M3).
    #[test]
    fn in_a_full_region_records_are_replaced_in_their_blocks() {
        let mut region = Region::in_memory(4 << 20).expect("region");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let map: Map<u64, Vec<u8>> = region.write(&pass, |tx| Map::create(tx, "map")).expect("table");
        // So far apart that none gets a block of the other class (P3 of `heap`).
        let length = |key: u64| 100 + (key % 2) as usize * 200;
        let mut full = 0;
        while region
            .write(&pass, |tx| map.insert(tx, &full, &vec![1; length(full)]))
            .is_ok()
        {
            full += 1;
        }
        assert!(full > 10_000, "{full}");
        for key in 0..full {
            let replaced = region.write(&pass, |tx| map.insert(tx, &key, &vec![2; length(key)]));
            assert!(replaced.expect("in its block"), "{key}");
        }
        let reader = region.read(&pass).expect("read");
        assert!(verify(&reader).expect("verify").is_sound());
    }

    /// Records of many lengths under many keys, so that tags are shared and guesses are wrong: against a model.
    #[test]
    fn whatever_the_guess_the_record_is_the_keys() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let mut region = Region::in_memory(32 << 20).expect("region");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let map: Map<u64, Vec<u8>> = region.write(&pass, |tx| Map::create(tx, "map")).expect("table");
        let mut model = std::collections::HashMap::new();
        let (mut right, mut wrong) = (0, 0);
        for _ in 0..30_000 {
            let key = random.u64(..5000);
            let mut tx = region.begin(&pass).expect("begin");
            if random.u8(..8) == 0 {
                let there = map.remove(&mut tx, &key).expect("remove");
                assert_eq!(there, model.remove(&key).is_some());
            } else {
                let encoded = Map::<u64, Vec<u8>>::encode(&key).expect("key");
                let way = map.fetch_way(&tx, &encoded);
                let guess = Map::<u64, Vec<u8>>::fetch_record(&tx, way);
                let found = map.look_up(&tx, &encoded).expect("look up").1;
                if guess == found.map_or(0, |found| found.place.record) {
                    right += 1;
                } else {
                    wrong += 1;
                }
                let value = vec![random.u8(..); random.usize(..20) * 16];
                let there = map.insert(&mut tx, &key, &value).expect("insert");
                assert_eq!(there, model.insert(key, value).is_some());
            }
            tx.commit().expect("commit");
        }
        // Some, so that this test says something, and few, so that guessing pays.
        assert!(
            wrong > 100 && right > 8 * wrong,
            "{wrong} guesses were wrong, {right} right"
        );
        let reader = region.read(&pass).expect("read");
        assert_eq!(map.len(&reader).expect("len"), model.len() as u64);
        for (key, value) in &model {
            assert_eq!(map.get(&reader, key).expect("get").expect("there").as_slice(), value);
        }
        let verdict = verify(&reader).expect("verify");
        assert!(verdict.is_sound(), "{verdict:?}");
    }
}
