//! `Map` against `HashMap`: random operations through every method, with the whole region verified as it goes.

use rkyv::{Archive, Serialize};
use shmstate::{Entry, Error, Gate, Handle, Key, Map, Region, Schema, TableOptions, Tx, verify};
use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;

#[derive(Archive, Serialize, Schema, Clone, Debug, PartialEq)]
struct Player {
    name: String,
    score: u64,
    bag: Vec<u16>,
}

/// The heap hands out blocks by chunks of so many bytes.
const CHUNK: u64 = 64 << 10;

type World<K> = HashMap<K, Player>;

/// A key that the tests make from a number below 300.
trait TestKey: Key + Clone + Debug + Eq + Hash {
    fn make(number: u64) -> Self;

    /// A number that is the same for the same key.
    fn number(&self) -> u64;
}

impl TestKey for u64 {
    fn make(number: u64) -> Self {
        number
    }

    fn number(&self) -> u64 {
        *self
    }
}

impl TestKey for String {
    /// The empty one, the longest there is, and short ones of many lengths.
    fn make(number: u64) -> Self {
        match number {
            0 => Self::new(),
            1 => "k".repeat(shmstate::MAX_LONG_KEY),
            _ => format!("{}{number}", "k".repeat(number as usize % 41)),
        }
    }

    fn number(&self) -> u64 {
        self.bytes().map(u64::from).sum::<u64>() + self.len() as u64
    }
}

impl TestKey for (u16, String, bool) {
    fn make(number: u64) -> Self {
        // A zero byte is two bytes in the key.
        (
            number as u16 / 7,
            "a\0".repeat(number as usize % 7),
            number.is_multiple_of(2),
        )
    }

    fn number(&self) -> u64 {
        u64::from(self.0) * 31 + self.1.len() as u64
    }
}

fn player(random: &mut fastrand::Rng) -> Player {
    // Now and then one that is larger than half a chunk: a run.
    let items = if random.u8(..100) == 0 {
        20_000
    } else {
        random.usize(..40)
    };
    Player {
        name: "x".repeat(random.usize(..30)),
        score: random.u64(..),
        bag: (0..items).map(|_| random.u16(..)).collect(),
    }
}

fn plain(p: &ArchivedPlayer) -> Player {
    Player {
        name: p.name.to_string(),
        score: p.score.to_native(),
        bag: p.bag.iter().map(|item| item.to_native()).collect(),
    }
}

struct Scene<K> {
    region: Region,
    gate: Gate,
    map: Map<K, Player>,
    model: World<K>,
    handles: HashMap<K, Handle<Player>>,
}

impl<K: TestKey> Scene<K> {
    fn new(checksums: bool) -> Self {
        let mut region = Region::in_memory(64 << 20).expect("region");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let options = TableOptions::default().checksums(checksums);
        let map = region
            .write(&pass, |tx| Map::create_with(tx, "players", options))
            .expect("table");
        drop(pass);
        Self {
            region,
            gate,
            map,
            model: World::new(),
            handles: HashMap::new(),
        }
    }

    fn check(&self) {
        let pass = self.gate.enter().expect("pass");
        let reader = self.region.read(&pass).expect("reader");
        let found = verify(&reader).expect("sound metadata");
        assert!(found.is_sound(), "{found:?}");
        let iter = self.map.iter(&reader).expect("iter");
        assert_eq!(iter.len(), self.model.len());
        let seen: World<K> = iter
            .map(|item| item.map(|(key, p)| (key, plain(p))).expect("record"))
            .collect();
        assert_eq!(seen, self.model);
        let keys: Vec<K> = (0..300).map(K::make).collect();
        let mut many = 0;
        self.map
            .get_many(&reader, &keys, |i, p| {
                assert_eq!(p.map(plain).as_ref(), self.model.get(&keys[i]));
                many += 1;
            })
            .expect("many");
        assert_eq!(many, keys.len());
        for (key, handle) in &self.handles {
            let found = self.map.get_at(&reader, *handle).expect("handle").map(plain);
            // A handle of a record that went leads nowhere, or its key has another record by now.
            assert!(found.is_none() || found.as_ref() == self.model.get(key));
        }
    }

    /// One transaction of a few changes; rolled back now and then.
    fn step(&mut self, random: &mut fastrand::Rng) {
        let pass = self.gate.enter().expect("pass");
        let before = (self.model.clone(), self.handles.clone());
        let mut tx = self.region.begin(&pass).expect("begin");
        let (map, model, handles) = (self.map, &mut self.model, &mut self.handles);
        for _ in 0..random.usize(1..20) {
            let key = K::make(random.u64(..300));
            match random.u8(..12) {
                0..3 => {
                    let new = player(random);
                    let there = map.insert(&mut tx, key.borrowed(), &new).expect("insert");
                    assert_eq!(there, model.insert(key.clone(), new).is_some());
                    handles.remove(&key);
                }
                3..5 => {
                    let there = map.remove(&mut tx, key.borrowed()).expect("remove");
                    assert_eq!(there, model.remove(&key).is_some());
                }
                5..7 => {
                    let score = random.u64(..);
                    let found = map.get_mut(&mut tx, key.borrowed()).expect("get");
                    assert_eq!(found.is_some(), model.contains_key(&key));
                    if let Some(mut p) = found {
                        p.set(|p| &p.score, score.into()).expect("set");
                        assert_eq!(p.score.to_native(), score, "read what was set");
                        model.get_mut(&key).expect("there").score = score;
                    }
                }
                7 => {
                    if let Some(handle) = map.handle(&tx, key.borrowed()).expect("handle") {
                        assert_eq!(Handle::from_bits(handle.to_bits()), handle);
                        let mut p = map.get_mut_at(&mut tx, handle).expect("at").expect("fresh");
                        p.set(|p| &p.score, 7.into()).expect("set");
                        model.get_mut(&key).expect("there").score = 7;
                        handles.insert(key, handle);
                    }
                }
                8 => match map.entry(&mut tx, key.borrowed()).expect("entry") {
                    Entry::Occupied(mut entry) => {
                        assert_eq!(plain(entry.get().expect("get")), model[&key]);
                        if random.bool() {
                            let new = player(random);
                            entry.insert(&new).expect("replace");
                            model.insert(key.clone(), new);
                        } else {
                            entry.remove().expect("remove");
                            model.remove(&key);
                        }
                        handles.remove(&key);
                    }
                    Entry::Vacant(entry) => {
                        assert_eq!(entry.key(), key);
                        let new = player(random);
                        assert_eq!(plain(&entry.insert(&new).expect("insert")), new);
                        assert!(model.insert(key, new).is_none());
                    }
                },
                9 => {
                    let n = map
                        .retain(&mut tx, |key, p| {
                            Ok(p.score.to_native() % 5 != 0 || key.number() % 3 == 0)
                        })
                        .expect("retain");
                    let there = model.len();
                    model.retain(|key, p| p.score % 5 != 0 || key.number() % 3 == 0);
                    assert_eq!(n as usize, there - model.len());
                }
                10 => {
                    map.for_each_mut(&mut tx, |key, p| {
                        let score = p.score.to_native() ^ key.number();
                        p.set(|p| &p.score, score.into())
                    })
                    .expect("pass");
                    for (key, p) in model.iter_mut() {
                        p.score ^= key.number();
                    }
                }
                _ if random.u8(..20) == 0 => {
                    let mut seen = World::<K>::new();
                    let n = map.drain(&mut tx, |key, p| {
                        seen.insert(key, plain(p));
                        Ok(())
                    });
                    assert_eq!(n.expect("drain") as usize, model.len());
                    assert_eq!(&seen, model);
                    model.clear();
                }
                _ => {
                    // What a transaction took away is not seen by its own walk.
                    let n = map.iter(&tx).expect("iter").filter(|item| item.is_ok()).count();
                    assert_eq!(n, model.len());
                }
            }
        }
        if random.u8(..6) == 0 {
            tx.rollback();
            (self.model, self.handles) = before;
        } else {
            tx.commit().expect("commit");
        }
    }
}

fn random_operations<K: TestKey>(checksums: bool) {
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut scene = Scene::<K>::new(checksums);
    for i in 0..600 {
        scene.step(&mut random);
        if i % 10 == 0 {
            scene.check();
        }
    }
    scene.check();
}

#[test]
fn does_what_a_hash_map_does() {
    random_operations::<u64>(false);
}

#[test]
fn does_it_with_checksums_too() {
    random_operations::<u64>(true);
}

#[test]
fn does_it_with_strings_as_keys() {
    random_operations::<String>(false);
}

#[test]
fn does_it_with_strings_and_checksums() {
    random_operations::<String>(true);
}

#[test]
fn does_it_with_strings_in_tuples() {
    random_operations::<(u16, String, bool)>(false);
}

/// Keys that are too long are refused wherever they come up, and change nothing.
#[test]
fn a_key_that_is_too_long_is_refused() {
    let mut scene = Scene::<String>::new(false);
    let pass = scene.gate.enter().expect("pass");
    let mut tx = scene.region.begin(&pass).expect("begin");
    let long = "k".repeat(shmstate::MAX_LONG_KEY + 1);
    let map = scene.map;
    let new = player(&mut fastrand::Rng::with_seed(5));
    map.insert(&mut tx, "short", &new).expect("insert");
    let refused = |e: Option<Error>| assert!(matches!(e, Some(Error::KeyTooLong { bytes: 4097, .. })), "{e:?}");
    refused(map.insert(&mut tx, &long, &new).err());
    refused(map.get(&tx, &long).err());
    refused(map.get_mut(&mut tx, &long).err());
    refused(map.remove(&mut tx, &long).err());
    refused(map.entry(&mut tx, &long).err());
    refused(map.handle(&tx, &long).err());
    refused(map.get_many(&tx, &["short".to_owned(), long.clone()], |_, _| ()).err());
    tx.commit().expect("commit");
    drop(pass);
    scene.model.insert("short".to_owned(), new);
    scene.check();
}

/// A map that had many records gives its memory back when they go.
#[test]
fn shrinks_as_it_grew() {
    let mut region = Region::in_memory(256 << 20).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let map: Map<u64, u64> = region.write(&pass, |tx| Map::create(tx, "numbers")).expect("table");
    let used = |region: &Region| verify(&region.read(&pass).expect("reader")).expect("sound").heap.used;
    let empty = used(&region);
    for round in 0..3u64 {
        for chunk in 0..100u64 {
            let fill = |tx: &mut shmstate::Tx<'_>| {
                (0..500).try_for_each(|i| map.insert(tx, &(round << 32 | (chunk * 500 + i)), &i).map(|_| ()))
            };
            region.write(&pass, fill).expect("insert");
        }
        let full = used(&region);
        assert!(full > empty + 50_000 * 40);
        for chunk in 0..100u64 {
            let take = |tx: &mut shmstate::Tx<'_>| {
                (0..500).try_for_each(|i| map.remove(tx, &(round << 32 | (chunk * 500 + i))).map(|_| ()))
            };
            region.write(&pass, take).expect("remove");
        }
        let after = used(&region);
        assert!(map.is_empty(&region.read(&pass).expect("reader")).expect("len"));
        assert!(
            after < empty + (full - empty) / 50,
            "{after} bytes are left of {full}, {empty} at first"
        );
    }
}

/// A handle that was made up is stale, whatever lies where it points.
#[test]
fn made_up_handles_are_stale_or_right() {
    let mut scene = Scene::<u64>::new(false);
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..50 {
        scene.step(&mut random);
    }
    let pass = scene.gate.enter().expect("pass");
    let reader = scene.region.read(&pass).expect("reader");
    let mut right = 0;
    for at in (0..(4u64 << 20)).step_by(8) {
        for generation in [0, 1, 50, 200] {
            let handle = Handle::from_bits(u128::from(at) | generation << 64);
            if let Some(p) = scene.map.get_at(&reader, handle).expect("no damage") {
                assert!(scene.model.values().any(|there| *there == plain(p)));
                right += 1;
            }
        }
    }
    println!("{right} guesses were right");
    // The same with the slots of real ones, which say that one need not look closely, wherever such slots can end.
    let mut fresh = 0;
    for key in scene.model.keys() {
        let real = scene.map.handle(&reader, key).expect("no damage").expect("is there");
        assert!(scene.map.get_at(&reader, real).expect("no damage").is_some());
        let (slot, record) = (real.to_bits() >> 96 << 96, real.to_bits() as u64);
        for at in (record % CHUNK..4 << 20).step_by(CHUNK as usize) {
            for generation in [0, 1, 50, 200, real.to_bits() >> 64 & 0xffff_ffff] {
                let handle = Handle::from_bits(slot | generation << 64 | u128::from(at));
                if let Some(p) = scene.map.get_at(&reader, handle).expect("no damage") {
                    assert!(scene.model.values().any(|there| *there == plain(p)));
                    fresh += u64::from(handle == real);
                }
            }
        }
    }
    assert_eq!(fresh, scene.model.len() as u64, "each was its own guess once");
    assert!(
        scene
            .map
            .get_at(&reader, Handle::from_bits(u128::MAX))
            .expect("no damage")
            .is_none()
    );
}

#[test]
fn a_handle_of_another_region_is_refused() {
    let scene = Scene::<u64>::new(false);
    let other = Scene::<u64>::new(false);
    let pass = other.gate.enter().expect("pass");
    let reader = other.region.read(&pass).expect("reader");
    assert!(matches!(scene.map.get(&reader, &1), Err(Error::ForeignTable)));
    assert!(matches!(
        scene.map.get_at(&reader, Handle::from_bits(0)),
        Err(Error::ForeignTable)
    ));
}

/// A handle that was made up, or whose record lay where the heap has drawn back from, takes no memory of the mount to find that out.
#[test]
fn handles_behind_the_memory_taken_touch_nothing() {
    let name = format!("shmstate-far-{}", std::process::id());
    let options = Region::options().capacity(64 << 20).reserve(8 << 30).reserve_ahead(0);
    let mut region = options.create(&name).expect("create");
    let removed = Region::remove(&name).expect("remove");
    assert!(removed);
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let map: Map<u64, u64> = region.write(&pass, |tx| Map::create(tx, "map")).expect("map");
    let insert = |tx: &mut Tx<'_>| map.insert(tx, &1, &1);
    region.write(&pass, insert).expect("insert");
    let before = region.memory(&pass).expect("memory").allocated;
    let reader = region.read(&pass).expect("read");
    let real = map.handle(&reader, &1).expect("no damage").expect("is there").to_bits();
    for chunks in (1 << 4..(8u64 << 30) / CHUNK).step_by(1 << 4).chain([1 << 47]) {
        let handle = Handle::from_bits(real + u128::from(chunks * CHUNK));
        assert!(
            map.get_at(&reader, handle).expect("no damage").is_none(),
            "{chunks} chunks behind"
        );
    }
    for at in (0..8u64 << 30).step_by(1 << 20).chain([u64::MAX, u64::MAX - 8]) {
        let handle = Handle::from_bits(u128::from(at) | 1 << 64);
        assert!(map.get_at(&reader, handle).expect("no damage").is_none(), "{at:#x}");
    }
    assert_eq!(region.memory(&pass).expect("memory").allocated, before);
}

/// The first look of a lookup goes to one group; a part of the records of full segments is in others.
#[test]
fn records_that_found_their_group_full_are_found() {
    let mut region = Region::in_memory(16 << 20).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let mut tx = region.begin(&pass).expect("begin");
    let map: Map<u64, u64> = Map::create(&mut tx, "map").expect("create");
    for key in 0..20_000 {
        map.insert(&mut tx, &key, &(key * 3)).expect("insert");
        // What is asked for most often, and what is not there.
        assert_eq!(map.get(&tx, &key).expect("get").expect("is there").to_native(), key * 3);
        assert!(map.get(&tx, &(key + 20_000)).expect("get").is_none());
    }
    for key in 0..20_000 {
        let mut record = map.get_mut(&mut tx, &key).expect("get").expect("is there");
        record.set(|value| value, (key * 5).into()).expect("set");
        if key % 3 == 0 {
            assert!(map.remove(&mut tx, &key).expect("remove"));
        }
    }
    tx.commit().expect("commit");
    let reader = region.read(&pass).expect("reader");
    let keys: Vec<u64> = (0..20_000).collect();
    let (mut singly, mut together) = (Vec::new(), Vec::new());
    for key in &keys {
        singly.push(map.get(&reader, key).expect("get").map(|value| value.to_native()));
    }
    map.get_many(&reader, &keys, |_, value| {
        together.push(value.map(|value| value.to_native()))
    })
    .expect("get");
    let right: Vec<_> = keys.iter().map(|key| (key % 3 != 0).then_some(key * 5)).collect();
    assert_eq!(singly, right);
    assert_eq!(together, right);
}

/// A record that was made and was being changed in a part that is taken back is nothing to settle any more.
#[test]
fn what_a_savepoint_made_and_changed_is_gone() {
    let mut region = Region::in_memory(16 << 20).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    for checksums in [false, true] {
        let mut tx = region.begin(&pass).expect("begin");
        let options = TableOptions::default().checksums(checksums);
        let map: Map<u64, [u64; 9]> =
            Map::create_with(&mut tx, if checksums { "checked" } else { "plain" }, options).expect("create");
        let refused: Result<(), Error> = tx.savepoint(|tx| {
            map.insert(tx, &1, &[1; 9])?;
            let mut record = map.get_mut(tx, &1)?.expect("just inserted");
            record.seal()?;
            Err(Error::GateClosed)
        });
        assert!(refused.is_err());
        tx.commit().expect("nothing is wrong");
        let mut tx = region.begin(&pass).expect("begin");
        map.insert(&mut tx, &2, &[2; 9]).expect("insert");
        tx.commit().expect("commit");
        let mut tx = region.begin(&pass).expect("begin");
        let mut record = map.get_mut(&mut tx, &2).expect("get").expect("is there");
        // Which field it is may depend on one that was changed just before, and is not written yet.
        record.set(|all| &all[0], 8.into()).expect("set");
        record
            .set(|all| &all[all[0].to_native() as usize], 9.into())
            .expect("set");
        assert_eq!(record.map(|word| word.to_native()), [8, 2, 2, 2, 2, 2, 2, 2, 9]);
        record.set(|all| all, [3.into(); 9]).expect("set");
        record.set(|all| &all[4], 4.into()).expect("set");
        assert!(record.seal().is_ok());
        record.set(|all| &all[5], 5.into()).expect("set");
        tx.commit().expect("commit");
        let reader = region.read(&pass).expect("reader");
        let found = map.get(&reader, &2).expect("get").expect("is there");
        assert_eq!(found.map(|word| word.to_native()), [3, 3, 3, 3, 4, 5, 3, 3, 3]);
        assert!(map.get(&reader, &1).expect("get").is_none());
        let verified = verify(&reader).expect("verify");
        assert!(verified.is_sound(), "{verified:?}");
    }
}
