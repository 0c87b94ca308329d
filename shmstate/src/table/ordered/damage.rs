//! Damage: whatever a byte of a tree's nodes says, reading, changing and verifying end, with a result or an error.

use super::node::{HEAD, NODE, Node, Shape};
use super::{COUNT, OrderedMap, all_blocks};
use crate::{Error, Key, Region, Result, Tx, verify};
use std::collections::BTreeSet;
use std::ops::Bound;

/// A region with a tree of several levels, and the offsets of the tree's blocks.
fn tree<K: Key>(count: u64, key: impl Fn(u64) -> K) -> (Region, OrderedMap<K, u64>, BTreeSet<u64>) {
    assert!(!count.is_multiple_of(7), "every number comes up once");
    let mut region = Region::in_memory(2 << 20).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let map = region
        .write(&pass, |tx| {
            let map = OrderedMap::create(tx, "map")?;
            // Every seventh number, from 0 on: in no order.
            for i in 0..count {
                map.insert(tx, key(i * 7 % count).borrowed(), &i)?;
            }
            Result::Ok(map)
        })
        .expect("fill");
    let mut found = BTreeSet::new();
    all_blocks(&region.view, map.row, |held| {
        found.insert(held.at());
    })
    .expect("sound");
    drop(pass);
    (region, map, found)
}

/// What was given, if anything was: a flipped byte may only come to damage.
fn tolerate<T>(result: Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(Error::Damaged { .. }) => None,
        Err(other) => panic!("{other}"),
    }
}

/// How many items come, one after the other.
fn walked(items: impl Iterator) -> u64 {
    items.fold(0, |n, _| n + 1)
}

/// Does everything that can be done, each change taken back. Says whether the region verifies as sound.
fn exercise<K: Key>(region: &mut Region, map: OrderedMap<K, u64>, count: u64, key: &impl Fn(u64) -> K) -> bool {
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    {
        let reader = region.read(&pass).expect("read");
        for i in [0, 1, count / 3, count / 2, count - 1, count + 5] {
            tolerate(map.get(&reader, key(i).borrowed()));
            tolerate(map.rank(&reader, key(i).borrowed()));
            tolerate(map.nth(&reader, i)).flatten();
        }
        for walk in [
            map.iter(&reader),
            map.range(
                &reader,
                (
                    Bound::Excluded(key(1).borrowed()),
                    Bound::Included(key(count / 2).borrowed()),
                ),
            ),
        ] {
            let Some(walk) = tolerate(walk) else { continue };
            let most = region.capacity();
            assert!(walked(walk.clone()) < most && walked(walk.clone().rev()) < most);
            for n in [0, 1, count as usize / 2, count as usize - 1, usize::MAX] {
                tolerate(walk.clone().nth(n).transpose());
                tolerate(walk.clone().nth_back(n).transpose());
                assert!(walked(walk.clone().skip(n)) < most && walked(walk.clone().rev().skip(n)) < most);
            }
        }
        tolerate(map.first(&reader));
        tolerate(map.last(&reader));
    }
    let change = |region: &mut Region, change: &dyn Fn(&mut Tx<'_>) -> Result<()>| {
        let mut tx = region.begin(&pass).expect("begin");
        tolerate(change(&mut tx));
        tx.rollback();
    };
    change(region, &|tx| map.insert(tx, key(count / 3).borrowed(), &1).map(|_| ()));
    change(region, &|tx| {
        (count..count + 40).try_for_each(|i| map.insert(tx, key(i).borrowed(), &1).map(|_| ()))
    });
    change(region, &|tx| {
        (0..40).try_for_each(|i| map.remove(tx, key(i).borrowed()).map(|_| ()))
    });
    change(region, &|tx| (0..40).try_for_each(|_| map.pop_last(tx).map(|_| ())));
    change(region, &|tx| {
        map.drain(tx).map(|drain| assert!(walked(drain) < 1 << 20))
    });
    change(region, &|tx| map.retain(tx, |_, _| false).map(|_| ()));
    let reader = region.read(&pass).expect("read");
    tolerate(verify(&reader)).is_some_and(|found| found.is_sound())
}

/// Flips `bit` of every byte of every inner node, and of each `step`th leaf.
fn flip_every_byte<K: Key>(records: u64, depth: u64, key: impl Fn(u64) -> K, bit: u64, step: usize) {
    let (mut region, map, all) = tree(records, &key);
    let word = map.row + crate::table::catalog::ROOT + 8;
    assert_eq!(region.view.load(word, "test").expect("inside"), depth);
    assert!(exercise(&mut region, map, records, &key), "sound before");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let nodes = all.into_iter().filter(|at| is_node(&region, map.row, *at));
    let (leaves, mut nodes): (Vec<u64>, Vec<u64>) =
        nodes.partition(|at| region.view.load(*at, "test").expect("inside") & 0xff == 0);
    nodes.extend(leaves.iter().step_by(step));
    drop(pass);
    assert!(nodes.len() > 4);
    for at in nodes {
        let level = (region.view.load(at, "test").expect("inside") & 0xff) as usize;
        let shape = Shape::of::<K>();
        let count = Node::read(&region.view, map.row, shape, at, level)
            .expect("sound")
            .count as u64;
        let end = shape.start(level, count as usize) as u64;
        // The separator of an inner node's first entry means nothing (O1), nor does what lies beyond the count.
        let idle = HEAD as u64..(HEAD + shape.separator()) as u64;
        for byte in 0..NODE {
            let word = at + byte / 8 * 8;
            let was = region.view.load(word, "test").expect("inside");
            let flipped = was ^ bit << (byte % 8 * 8);
            region.view.store(word, flipped, "test").expect("inside");
            let noticed = !exercise(&mut region, map, records, &key);
            let in_use = byte / 8 < end && !(level > 0 && idle.contains(&(byte / 8)));
            assert_eq!(
                noticed, in_use,
                "byte {byte} of the node at {at:#x}, level {level}, {count} entries"
            );
            region.view.store(word, was, "test").expect("inside");
        }
    }
    assert!(exercise(&mut region, map, records, &key), "sound again");
}

fn is_node(region: &Region, row: u64, at: u64) -> bool {
    region.view.load(at + 8, "test").expect("inside") == row
        && region.view.load(at, "test").expect("inside") >> 32 == 0x6e6f_6465
}

fn root<K: Key>(region: &Region, map: OrderedMap<K, u64>) -> u64 {
    region
        .view
        .load(map.row + crate::table::catalog::ROOT, "test")
        .expect("inside")
}

#[test]
fn every_byte_of_nodes_with_numbers() {
    flip_every_byte(200, 2, |i| i, 0xff, 1);
}

#[test]
fn every_byte_of_nodes_with_strings() {
    flip_every_byte(150, 2, |i| format!("the same sixteen bytes {i:04}"), 1, 1);
}

#[test]
fn every_byte_of_deep_nodes() {
    // Three levels, so that inner nodes are below inner nodes.
    flip_every_byte(600, 3, |i| (u128::from(i), 0u128), 0x10, 9);
}

/// Every byte of the row's roots: a tree of another depth, shape or size than it says.
#[test]
fn every_byte_of_the_roots() {
    let key = |i| i;
    let (mut region, map, _) = tree(300, key);
    for byte in 0..40 {
        let word = map.row + crate::table::catalog::ROOT + byte / 8 * 8;
        let was = region.view.load(word, "test").expect("inside");
        for bit in [0xff, 1, 0x80] {
            region
                .view
                .store(word, was ^ bit << (byte % 8 * 8), "test")
                .expect("inside");
            let sound = exercise(&mut region, map, 300, &key);
            // The bytes of archives are a figure that nothing depends on.
            assert!(!sound || (24..32).contains(&byte), "byte {byte}");
            region.view.store(word, was, "test").expect("inside");
        }
    }
    // What bounds every walk is bounded itself.
    let most = region.capacity() / super::LEAST_RECORD;
    for (count, sound) in [(most, true), (most + 1, false)] {
        region.view.store(map.row + COUNT, count, "test").expect("inside");
        assert_eq!(map.len(&region.view).is_ok(), sound);
        assert_eq!(map.iter(&region.view).is_ok(), sound);
    }
}

/// Nodes that name each other, or a child twice: walks end.
#[test]
fn cycles_and_shared_children_end() {
    let key = |i: u64| (u128::from(i), 0u128);
    let (mut region, map, _) = tree(600, key);
    let root = root(&region, map);
    let (first, second) = {
        let tree = map.admit(&region.view).expect("tree");
        let node = tree.node(&region.view, root, 2).expect("root");
        assert!(node.count >= 2);
        (node.offset(node.total_word(0) - 1), node.offset(node.total_word(1) - 1))
    };
    let (a, b) = (
        region.view.load(first, "test").expect("a"),
        region.view.load(second, "test").expect("b"),
    );
    for (at, child) in [
        (first, root),
        (second, a),
        (first, b),
        (first, 0),
        (first, map.row),
        (first, u64::MAX),
    ] {
        let was = region.view.load(at, "test").expect("inside");
        region.view.store(at, child, "test").expect("inside");
        assert!(!exercise(&mut region, map, 600, &key), "{child:#x}");
        // And with a count that would let a walk go on for long.
        let counted = region.view.load(map.row + COUNT, "test").expect("inside");
        region
            .view
            .store(map.row + COUNT, region.capacity() / 16, "test")
            .expect("inside");
        assert!(!exercise(&mut region, map, 600, &key));
        region.view.store(map.row + COUNT, counted, "test").expect("inside");
        region.view.store(at, was, "test").expect("inside");
    }
    assert!(exercise(&mut region, map, 600, &key));
}

/// Each thing that the structural check promises to find, broken alone.
#[test]
fn the_structural_check_finds_each_kind_of_damage() {
    let (region, map, _) = tree(300, |i| i);
    let view = &region.view;
    let root_at = root(&region, map);
    let places = {
        let tree = map.admit(view).expect("tree");
        let node = tree.node(view, root_at, 1).expect("root");
        let leaf = tree.node(view, node.child(1), 0).expect("leaf");
        [
            ("separator", node.offset(node.start(1))),
            ("number of records below", node.offset(node.total_word(1))),
            ("key of a record", leaf.offset(leaf.start(3))),
            ("key of a record", leaf.offset(leaf.start(3) + 1)),
            ("ordered map", leaf.at),
            // The node of another table.
            ("ordered map", leaf.at + 8),
            ("number of records", map.row + COUNT),
        ]
    };
    for (what, at) in places {
        let was = view.load(at, "test").expect("inside");
        // A record that is there, but not this entry's; else a number one higher.
        let wrong = if at == places[3].1 {
            view.load(at + 16, "test").expect("inside")
        } else {
            was + 1
        };
        view.store(at, wrong, "test").expect("inside");
        match all_blocks(view, map.row, |_| {}) {
            Err(Error::Damaged { what: found, .. }) => assert_eq!(found, what),
            other => panic!("{what} at {at:#x}: {other:?}"),
        }
        view.store(at, was, "test").expect("inside");
    }
    // Two entries the wrong way round, each with its own record.
    let (a, b) = (places[2].1, places[2].1 + 16);
    let words: Vec<u64> = (0..4).map(|i| view.load(a + i * 8, "test").expect("inside")).collect();
    for (i, word) in [words[2], words[3], words[0], words[1]].into_iter().enumerate() {
        view.store(a + i as u64 * 8, word, "test").expect("inside");
    }
    assert!(b > a);
    assert!(matches!(
        all_blocks(view, map.row, |_| {}),
        Err(Error::Damaged {
            what: "order of keys",
            ..
        })
    ));
}
