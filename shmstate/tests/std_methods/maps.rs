//! Maps against `HashMap`: taking, and entries.

use crate::{Item, World, random};
use shmstate::{Entry, Map, Result, TableOptions, Tx, View};
use std::collections::HashMap;

const KEYS: u64 = 3000;

type Model = HashMap<String, Item>;

fn operate(map: Map<String, Item>, tx: &mut Tx<'_>, model: &mut Model, random: &mut fastrand::Rng) -> Result<()> {
    for _ in 0..random.u32(1..100) {
        let key = format!("key {}", random.u64(..KEYS));
        let is = model.get(&key).cloned();
        match random.u8(..6) {
            0 | 1 => {
                let item = Item::random(random);
                assert_eq!(map.insert(tx, &key, &item)?, is.is_some());
                model.insert(key, item);
            }
            2 | 3 => {
                let handle = map.handle(tx, &key)?;
                assert_eq!(map.take(tx, &key)?.map(Item::of), model.remove(&key));
                assert!(map.take(tx, &key)?.is_none() && !map.contains_key(tx, &key)?);
                if let Some(handle) = handle {
                    assert!(map.get_at(tx, handle)?.is_none(), "it is gone");
                }
            }
            4 => {
                let entry = map.entry(tx, &key)?;
                assert_eq!(matches!(entry, Entry::Occupied(_)), is.is_some());
                let mut record = entry.or_default()?;
                assert_eq!(Item::of(&record), is.unwrap_or_default());
                record.set(|item| &item.points, 77.into())?;
                model.entry(key).or_default().points = 77;
            }
            _ => {
                let entry = map.entry(tx, &key)?;
                let changed = entry.and_modify(|record| {
                    // By what the program calls wrong, not the table.
                    if record.points.to_native() % 3 == 0 {
                        Err("a third")
                    } else {
                        Ok(())
                    }
                });
                let third = is.is_some_and(|item| item.points % 3 == 0);
                assert_eq!(changed.is_err(), third);
            }
        }
    }
    Ok(())
}

fn compare(map: Map<String, Item>, view: &View, model: &Model) -> Result<()> {
    let all = map
        .iter(view)?
        .map(|item| item.map(|(key, item)| (key, Item::of(item))));
    assert_eq!(&all.collect::<Result<Model>>()?, model);
    Ok(())
}

fn play(checksums: bool) {
    let mut random = random();
    let mut world = World::new();
    let options = TableOptions::default().checksums(checksums);
    let map: Map<String, Item> = world.tx(|tx| Map::create_with(tx, "map", options));
    let mut model = Model::new();
    world.play(
        150,
        &mut model,
        &mut random,
        |tx, model, random| operate(map, tx, model, random),
        |view, model| compare(map, view, model),
    );
    world.tx(|tx| {
        for (key, item) in &model {
            assert_eq!(map.take(tx, key)?.map(Item::of).as_ref(), Some(item));
        }
        assert_eq!((map.len(tx)?, map.archived_bytes(tx)?), (0, 0));
        Ok(())
    });
    world.check();
}

#[test]
fn maps() {
    play(false);
}

#[test]
fn maps_with_checksums() {
    play(true);
}

/// What was taken is lent until the transaction goes on, though its block is the first that another record would get.
#[test]
fn what_was_taken_is_read_and_its_memory_is_free_afterwards() {
    let mut world = World::new();
    let map: Map<u64, Vec<u8>> = world.tx(|tx| Map::create(tx, "map"));
    let used = |world: &World| {
        let pass = world.gate.enter().expect("pass");
        let reader = world.region.read(&pass).expect("read");
        shmstate::verify(&reader).expect("verify").heap.used
    };
    world.tx(|tx| map.insert(tx, &1, &vec![1; 5000]).map(|_| ()));
    let one = used(&world);
    world.tx(|tx| {
        let taken = map.take(tx, &1)?.expect("there");
        assert!(taken.len() == 5000 && taken.iter().all(|byte| *byte == 1));
        map.insert(tx, &1, &vec![2; 5000])?;
        map.insert(tx, &2, &vec![3; 5000])?;
        let taken = map.take(tx, &2)?.expect("made just now");
        assert!(taken.iter().all(|byte| *byte == 3));
        Ok(())
    });
    assert_eq!(used(&world), one);
    world.tx(|tx| map.take(tx, &1).map(|taken| assert!(taken.is_some())));
    assert!(used(&world) <= one - 5000);
}
