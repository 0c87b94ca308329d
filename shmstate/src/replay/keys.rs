//! Maps whose keys are strings and tuples: recovery after every prefix of the stores of a transaction, and every byte of a record's
//! key altered in turn.

use super::every_prefix_of;
use crate::heap::{Blocks, Owner};
use crate::region::view::View;
use crate::table::catalog;
use crate::table::keyed::Stored;
use crate::{Error, Key, Map, Region, Result, TableOptions, Tx, verify};
use std::fmt::Debug;

const EACH: u64 = 60;

/// What a map of these keys holds, in the order of the keys.
type World<K> = Vec<(K, u64)>;

fn world<K: Key + Ord + Debug>(region: &Region, map: Map<K, u64>) -> World<K> {
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let reader = region.read(&pass).expect("reader");
    let verification = verify(&reader).expect("metadata is sound");
    assert!(verification.is_sound(), "{verification:?}");
    let all = map.iter(&reader).expect("iter");
    let mut world: World<K> = all
        .map(|item| item.map(|(key, value)| (key, value.to_native())).expect("item"))
        .collect();
    world.sort();
    for (key, value) in &world {
        let found = map
            .get(&reader, key.borrowed())
            .expect("get")
            .expect("what a walk shows");
        assert_eq!(found.to_native(), *value, "{key:?}");
    }
    assert_eq!(map.len(&reader).expect("len"), world.len() as u64);
    world
}

fn filled<K: Key>(options: TableOptions, key: impl Fn(u64) -> K) -> (Region, Map<K, u64>) {
    let mut region = Region::in_memory(3 << 20).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let map = region
        .write(&pass, |tx| {
            let map = Map::create_with(tx, "map", options)?;
            for i in 0..EACH {
                map.insert(tx, key(i).borrowed(), &(i << 40))?;
            }
            Result::Ok(map)
        })
        .expect("fill");
    drop(pass);
    (region, map)
}

/// Names of many lengths: none, less than a word, more than a line, more than a size class is coarse.
fn name(i: u64) -> String {
    match i {
        0 => String::new(),
        _ => format!("{i} {}", "n".repeat((i * i % 97) as usize)),
    }
}

fn small_changes<K: Key + Ord + Debug>(tx: &mut Tx<'_>, map: Map<K, u64>, key: &impl Fn(u64) -> K) -> Result<()> {
    map.insert(tx, key(200).borrowed(), &1)?;
    map.insert(tx, key(3).borrowed(), &2)?;
    map.remove(tx, key(0).borrowed())?;
    map.remove(tx, key(17).borrowed())?;
    map.insert(tx, key(17).borrowed(), &3)?;
    map.insert(tx, key(0).borrowed(), &4)?;
    let mut record = map.get_mut(tx, key(21).borrowed())?.expect("there");
    record.set(|n| n, 5.into())?;
    let taken_back: std::result::Result<(), ()> = tx.savepoint(|tx| {
        map.remove(tx, key(22).borrowed()).expect("remove");
        map.insert(tx, key(201).borrowed(), &6).expect("insert");
        Err(())
    });
    assert_eq!(taken_back, Err(()));
    map.entry(tx, key(202).borrowed())?.or_insert(&7)?;
    map.remove(tx, key(200).borrowed()).map(|_| ())
}

fn every_prefix<K: Key + Ord + Debug>(key: impl Fn(u64) -> K) {
    for options in [TableOptions::default(), TableOptions::default().checksums(true)] {
        let (mut region, map) = filled(options, &key);
        let look = |region: &Region| world(region, map);
        let n = every_prefix_of(&mut region, look, 1, |tx| small_changes(tx, map, &key));
        assert!(n > 60, "only {n} stores");
        // Segments are enlarged and split, blocks of many classes are made.
        every_prefix_of(&mut region, look, 67, |tx| {
            (1000..1500).try_for_each(|i| map.insert(tx, key(i).borrowed(), &i).map(|_| ()))
        });
        every_prefix_of(&mut region, look, 97, |tx| {
            map.retain(tx, |_, record| Ok(record.to_native() % 9 == 0)).map(|_| ())
        });
        every_prefix_of(&mut region, look, 7, |tx| {
            map.drain(tx, |_, _| Ok(()))?;
            map.insert(tx, key(1).borrowed(), &1).map(|_| ())
        });
    }
}

#[test]
fn string_keys_after_every_prefix() {
    every_prefix(name);
}

#[test]
fn tuple_keys_after_every_prefix() {
    every_prefix(|i| (i as u32 % 7, i));
}

#[test]
fn tuples_with_strings_after_every_prefix() {
    every_prefix(|i| (name(i), i as u16, name(i / 2)));
}

/// What was given, if anything was: an altered byte may only come to damage.
fn tolerate<T>(result: Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(Error::Damaged { .. }) => None,
        Err(other) => panic!("{other}"),
    }
}

/// Does everything that can be done, each change taken back. Says whether the region verifies as sound.
fn exercise<K: Key>(region: &mut Region, map: Map<K, u64>, key: &impl Fn(u64) -> K) -> bool {
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let sound = {
        let reader = region.read(&pass).expect("read");
        for i in [0, 1, EACH / 2, EACH - 1, 500] {
            tolerate(map.get(&reader, key(i).borrowed()));
        }
        tolerate(map.get_many(&reader, &[key(0), key(2), key(600)], |_, _| ()));
        let handle = tolerate(map.handle(&reader, key(1).borrowed())).flatten();
        handle.map(|handle| tolerate(map.get_at(&reader, handle)));
        tolerate(map.iter(&reader).map(|items| items.collect::<Vec<_>>()));
        tolerate(verify(&reader)).is_some_and(|found| found.is_sound())
    };
    let mut change = |change: &dyn Fn(&mut Tx<'_>) -> Result<()>| {
        let mut tx = region.begin(&pass).expect("begin");
        tolerate(change(&mut tx));
        tx.rollback();
    };
    change(&|tx| (0..3).try_for_each(|i| map.insert(tx, key(i).borrowed(), &1).map(|_| ())));
    change(&|tx| (0..EACH).try_for_each(|i| map.remove(tx, key(i).borrowed()).map(|_| ())));
    change(&|tx| map.retain(tx, |_, _| Ok(false)).map(|_| ()));
    change(&|tx| map.clear(tx));
    sound
}

/// Which bytes of a record are its key, or say where it is.
fn keys_of(view: &View, stored: Stored, header: u64) -> [std::ops::Range<u64>; 2] {
    if !stored.variable {
        let start = header - stored.size.next_multiple_of(8);
        return [start..start + stored.size, header..header];
    }
    let word = view.load(header - 8, "test").expect("word");
    let start = header - (word >> 32);
    [start..start + (word & 0xffff_ffff), header - 8..header]
}

/// Alters every byte of every record. Those of keys, and in tables with checksums all others, must be named.
fn every_byte<K: Key>(checked: bool, key: impl Fn(u64) -> K) {
    let (mut region, map) = filled(TableOptions::default().checksums(checked), &key);
    assert!(exercise(&mut region, map, &key), "sound before");
    let row = catalog::rows(&region.view).expect("rows")[0].offset;
    let mut records = Vec::new();
    let mut blocks = Blocks::of(&region.view, Owner::of_row(row)).expect("blocks");
    while let Some(block) = blocks.next(&region.view).expect("block") {
        records.push((block.offset, block.size));
    }
    assert_eq!(records.len() as u64, EACH);
    let (mut tried, mut named) = (0u64, 0u64);
    for (start, size) in records {
        let header = start + size - 8;
        let keys = keys_of(&region.view, Stored::of::<K>(), header);
        for byte in start..start + size {
            let in_key = keys.iter().any(|range| range.contains(&byte));
            // A record's sequence is bound to nothing.
            let sequence = (header + 6..header + 8).contains(&byte);
            for way in [0xff, 1] {
                let word = region.view.load(byte & !7, "test").expect("inside");
                let altered = word ^ way << (byte % 8 * 8);
                region.view.store(byte & !7, altered, "test").expect("inside");
                let noticed = !exercise(&mut region, map, &key);
                region.view.store(byte & !7, word, "test").expect("inside");
                (tried, named) = (tried + 1, named + u64::from(noticed));
                let must = (in_key || checked) && !sequence;
                assert!(
                    noticed || !must,
                    "byte {} of a record of {size}, ^ {way:#x}",
                    byte - start
                );
            }
        }
    }
    println!("{tried} alterations, {named} named");
    assert!(
        tried > 2000 && exercise(&mut region, map, &key),
        "everything was put back"
    );
}

#[test]
fn string_keys_with_an_altered_byte() {
    every_byte(false, name);
    every_byte(true, name);
}

#[test]
fn tuple_keys_with_an_altered_byte() {
    every_byte(false, |i| (i as u32 % 7, i));
    every_byte(false, |i| (name(i % 20), i as u16, name(i / 2 % 9)));
}
