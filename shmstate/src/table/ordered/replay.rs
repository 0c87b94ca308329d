//! Every-prefix replay (T1, T6) of what a tree does: recovery after each prefix of the stores of a transaction gives the state
//! before it or the state after it, whole.

use super::OrderedMap;
use crate::region::view::Store;
use crate::{Key, Region, Result, Tx, verify};
use std::fmt::Debug;

type World<K> = Vec<(K, u64)>;

fn world<K: Key>(region: &Region, map: OrderedMap<K, u64>) -> World<K> {
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let reader = region.read(&pass).expect("reader");
    let verification = verify(&reader).expect("metadata is sound");
    assert!(verification.is_sound(), "not sound: {verification:?}");
    let all = map.iter(&reader).expect("iter");
    all.map(|item| item.map(|(key, value)| (key, value.to_native())).expect("item"))
        .collect()
}

fn apply(image: &mut [u8], stores: &[Store]) {
    for store in stores {
        image[store.offset as usize..][..store.bytes.len()].copy_from_slice(&store.bytes);
    }
}

/// Runs `change` in a transaction and checks recovery after every prefix of its stores. Gives the number of stores.
fn every_prefix<K: Key + PartialEq + Debug>(
    region: &mut Region,
    map: OrderedMap<K, u64>,
    change: impl FnOnce(&mut Tx<'_>) -> Result<()>,
) -> usize {
    let before = world(region, map);
    let mut image = region.view.start_recording();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let mut tx = region.begin(&pass).expect("begin");
    change(&mut tx).expect("change");
    tx.commit().expect("commit");
    drop(pass);
    let stores = region.view.stop_recording();
    let after = world(region, map);
    assert!(before != after, "the transaction must do something");
    let mut committed = false;
    for n in 0..=stores.len() {
        if n > 0 {
            apply(&mut image, &stores[n - 1..n]);
        }
        let crashed = Region::from_image(&image).expect("a region after a crash");
        crashed.view.record_from_here();
        let found = world(&crashed, map);
        let recovery = crashed.view.stop_recording();
        assert!(
            found == before || found == after,
            "after {n} of {} stores",
            stores.len()
        );
        committed |= found == after;
        assert!(!committed || found == after, "store {n} took a commit back");
        // Killed again in the middle of recovery.
        if n % 16 == 0 {
            let mut twice = image.clone();
            apply(&mut twice, &recovery[..recovery.len() / 2]);
            assert!(world(&Region::from_image(&twice).expect("a region after two crashes"), map) == found);
        }
    }
    assert!(committed, "the last prefix holds the commit");
    stores.len()
}

fn filled<K: Key>(keys: impl Iterator<Item = K>) -> (Region, OrderedMap<K, u64>) {
    let mut region = Region::in_memory(2 << 20).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let map = region
        .write(&pass, |tx| {
            let map = OrderedMap::create(tx, "map")?;
            for (i, key) in keys.enumerate() {
                map.insert(tx, key.borrowed(), &(i as u64))?;
            }
            Result::Ok(map)
        })
        .expect("fill");
    drop(pass);
    (region, map)
}

fn nodes<K: Key>(region: &Region, map: OrderedMap<K, u64>) -> u64 {
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let reader = region.read(&pass).expect("reader");
    let mut blocks = 0;
    super::all_blocks(&reader, map.row, |_| blocks += 1).expect("sound");
    blocks - map.len(&reader).expect("len")
}

/// A key that fills entries as far as can be: few go into a node, so that small trees are deep.
fn wide(i: u64) -> (u128, u128) {
    (u128::from(i), 0)
}

#[test]
fn the_first_record_and_the_last() {
    let (mut region, map) = filled(std::iter::empty::<u64>());
    every_prefix(&mut region, map, |tx| map.insert(tx, &7, &1).map(|_| ()));
    assert_eq!(nodes(&region, map), 1);
    every_prefix(&mut region, map, |tx| map.remove(tx, &7).map(|_| ()));
    assert_eq!(nodes(&region, map), 0);
}

#[test]
fn an_insertion_that_splits_up_to_the_root() {
    // Right-edge splits leave everything on the left full: one more key there splits leaf, inner node and root.
    let (mut region, map) = filled((0..525).map(|i| wide(i * 2)));
    let before = nodes(&region, map);
    let gate = region.gate().clone();
    let depth = |region: &Region| {
        let pass = gate.enter().expect("pass");
        let reader = region.read(&pass).expect("reader");
        map.admit(&reader).expect("tree").roots(&reader).expect("roots").1
    };
    assert_eq!((before, depth(&region)), (22, 2), "21 full leaves below a full root");
    let n = every_prefix(&mut region, map, |tx| map.insert(tx, &wide(101), &1).map(|_| ()));
    assert_eq!((nodes(&region, map), depth(&region)), (before + 3, 3));
    assert!(n > 100, "only {n} stores");
}

#[test]
fn ascending_insertions_and_a_replacement() {
    let (mut region, map) = filled((0..200).map(wide));
    every_prefix(&mut region, map, |tx| {
        for i in 200..230 {
            map.insert(tx, &wide(i), &i)?;
        }
        map.insert(tx, &wide(3), &1000).map(|_| ())
    });
}

#[test]
fn removals_that_join_down_to_a_lesser_depth() {
    let (mut region, map) = filled((0..60).map(wide));
    let before = nodes(&region, map);
    every_prefix(&mut region, map, |tx| {
        for i in (0..60).filter(|i| i % 5 != 0) {
            map.remove(tx, &wide(i))?;
        }
        Ok(())
    });
    assert_eq!((before, nodes(&region, map)), (4, 1));
}

#[test]
fn popping_at_both_ends_and_coming_back() {
    let (mut region, map) = filled((0..120).map(wide));
    every_prefix(&mut region, map, |tx| {
        for i in 0..20 {
            let (key, value) = map.pop_first(tx)?.expect("there");
            let value = value.to_native();
            let (last, _) = map.pop_last(tx)?.expect("there");
            // Every other time it goes into the very words of the entry just taken out, which are still committed: beyond the
            // count, and logged all the same.
            let back = if i % 2 == 0 { (last.0, 1) } else { (last.0 - 30, 1) };
            map.insert(tx, &back, &value)?;
            assert!(key < last);
        }
        Ok(())
    });
}

#[test]
fn ranges_that_go() {
    let (mut region, map) = filled((0..200).map(wide));
    every_prefix(&mut region, map, |tx| {
        // Leaves of its own, and parts of two.
        assert_eq!(map.remove_range(tx, wide(30)..=wide(140))?, 111);
        let taken = map.take(tx, &wide(150))?.expect("there").to_native();
        map.insert(tx, &wide(100), &taken).map(|_| ())
    });
    every_prefix(&mut region, map, |tx| {
        map.for_each_mut(tx, wide(5).., |_, record| record.set(|n| n, 1.into()))?;
        map.remove_range(tx, ..).map(|_| ())
    });
    assert_eq!(nodes(&region, map), 0);
}

#[test]
fn strings_whose_separators_name_records() {
    let name = |i: u64| format!("the same sixteen bytes {i:04}");
    let (mut region, map) = filled((0..150).map(name));
    every_prefix(&mut region, map, |tx| {
        // The least of a leaf is replaced and removed: its separator has to follow.
        for i in (0..150).step_by(6) {
            map.insert(tx, &name(i), &7)?;
            map.remove(tx, &name(i + 1))?;
        }
        for i in 20..70 {
            map.remove(tx, &name(i))?;
        }
        Ok(())
    });
}

#[test]
fn draining_and_clearing() {
    let (mut region, map) = filled((0..100).map(wide));
    every_prefix(&mut region, map, |tx| {
        assert_eq!(map.drain(tx)?.filter(Result::is_ok).count(), 100);
        map.insert(tx, &wide(1), &1).map(|_| ())
    });
    every_prefix(&mut region, map, |tx| map.clear(tx));
    assert_eq!(nodes(&region, map), 0);
}

/// The replay can fail: a store around the log, into an entry that is still committed, is seen.
#[test]
#[should_panic(expected = "sound")]
fn an_unlogged_store_is_seen() {
    let (mut region, map) = filled((0..100).map(wide));
    every_prefix(&mut region, map, |tx| {
        let root = map.admit(tx)?.roots(tx)?.0;
        let word = tx.load(root, "test")?;
        map.insert(tx, &wide(1000), &1)?;
        tx.store(root, word + 0x10000, "test")?;
        tx.store(root, word, "test")
    });
}
