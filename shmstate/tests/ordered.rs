//! Ordered maps as their users see them: against `BTreeMap`, with every kind of key, in regions that fill and empty.

use fastrand::Rng;
use rkyv::{Archive, Serialize};
use shmstate::ordered::Entry;
use shmstate::{Error, Key, Map, OrderedMap, Region, Result, Schema, TableOptions, Tx, View, verify};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Bound;

#[derive(Archive, Serialize, Schema, Clone, Debug, PartialEq)]
struct Score {
    by: String,
    points: u32,
}

/// Blocks of a region whose one table is empty: the table's description, and the heads of its lists of chunks.
const EMPTY: u64 = 2;

type Plain = (String, u32);

fn plain(score: &ArchivedScore) -> Plain {
    (score.by.to_string(), score.points.to_native())
}

fn score(random: &mut Rng) -> Score {
    Score {
        by: "n".repeat(random.usize(..60)),
        points: random.u32(..),
    }
}

type Board<K> = OrderedMap<K, Score>;
type Model<K> = BTreeMap<K, Plain>;

trait TestKey: Key + Ord + Clone + Debug {}
impl<K: Key + Ord + Clone + Debug> TestKey for K {}

fn read<K: TestKey>(item: Option<Result<(K, &ArchivedScore)>>) -> Option<(K, Plain)> {
    item.map(|item| item.expect("sound"))
        .map(|(key, score)| (key, plain(score)))
}

/// Everything that can be read, against the model.
fn compare<K: TestKey>(view: &View, board: Board<K>, model: &Model<K>, random: &mut Rng, probes: &[K]) {
    assert_eq!(board.len(view).expect("len"), model.len() as u64);
    assert_eq!(board.is_empty(view).expect("empty"), model.is_empty());
    let all = board.iter(view).expect("iter");
    assert_eq!(all.len(), model.len());
    let found: Vec<(K, Plain)> = all.clone().map(|item| read(Some(item)).expect("item")).collect();
    assert!(found.iter().map(|(k, v)| (k, v)).eq(model.iter()), "ascending");
    let found: Vec<(K, Plain)> = all.rev().map(|item| read(Some(item)).expect("item")).collect();
    assert!(found.iter().map(|(k, v)| (k, v)).eq(model.iter().rev()), "descending");
    let owned = |pair: Option<(&K, &Plain)>| pair.map(|(k, v)| (k.clone(), v.clone()));
    let first = board.first(view).expect("first").map(|(k, v)| (k, plain(v)));
    assert_eq!(first, owned(model.first_key_value()));
    let last = board.last(view).expect("last").map(|(k, v)| (k, plain(v)));
    assert_eq!(last, owned(model.last_key_value()));
    for key in probes {
        let found = board.get(view, key.borrowed()).expect("get").map(plain);
        assert_eq!(found.as_ref(), model.get(key), "{key:?}");
        assert_eq!(
            board.contains_key(view, key.borrowed()).expect("contains"),
            model.contains_key(key)
        );
        let rank = board.rank(view, key.borrowed()).expect("rank");
        assert_eq!(rank, model.range(..key).count() as u64, "{key:?}");
        let nth = board.nth(view, rank).expect("nth").map(|(k, v)| (k, plain(v)));
        assert_eq!(nth, owned(model.range(key..).next()));
    }
    assert!(board.nth(view, model.len() as u64).expect("nth").is_none());
    assert!(board.nth(view, u64::MAX).expect("nth").is_none());
    for _ in 0..12 {
        let (a, b) = (
            &probes[random.usize(..probes.len())],
            &probes[random.usize(..probes.len())],
        );
        let (a, b) = (a.min(b), a.max(b));
        let start = [Bound::Included(a), Bound::Excluded(a), Bound::Unbounded][random.usize(..3)];
        let end = [Bound::Included(b), Bound::Excluded(b), Bound::Unbounded][random.usize(..3)];
        if matches!((start, end), (Bound::Excluded(a), Bound::Excluded(b)) if a == b) {
            continue; // `BTreeMap` panics
        }
        let mut wanted = model.range((start, end));
        let borrow = |bound: Bound<&'_ K>| match bound {
            Bound::Included(key) => Bound::Included(key.clone()),
            Bound::Excluded(key) => Bound::Excluded(key.clone()),
            Bound::Unbounded => Bound::Unbounded,
        };
        let (start, end) = (borrow(start), borrow(end));
        let bounds = (as_borrowed(&start), as_borrowed(&end));
        let mut found = board.range(view, bounds).expect("range");
        assert_eq!(found.len(), wanted.clone().count());
        // From both ends, in a random order, until they meet.
        loop {
            let (got, want) = if random.bool() {
                (read(found.next()), wanted.next())
            } else {
                (read(found.next_back()), wanted.next_back())
            };
            assert_eq!(got, owned(want));
            if got.is_none() {
                break;
            }
        }
        assert!(found.next().is_none() && found.next_back().is_none());
    }
    let (Some(low), Some(high)) = (probes.iter().min(), probes.iter().max()) else {
        return;
    };
    let inverted = (Bound::Excluded(high.borrowed()), Bound::Excluded(low.borrowed()));
    assert_eq!(board.range(view, inverted).expect("range").len(), 0);
}

fn as_borrowed<K: Key>(bound: &Bound<K>) -> Bound<&K::Borrowed> {
    match bound {
        Bound::Included(key) => Bound::Included(key.borrowed()),
        Bound::Excluded(key) => Bound::Excluded(key.borrowed()),
        Bound::Unbounded => Bound::Unbounded,
    }
}

/// One random operation on both.
fn operate<K: TestKey>(tx: &mut Tx<'_>, board: Board<K>, model: &mut Model<K>, random: &mut Rng, key: K) {
    let borrowed = key.borrowed();
    match random.u32(..1000) {
        0..=449 => {
            let value = score(random);
            let was = board.insert(tx, borrowed, &value).expect("insert");
            assert_eq!(was, model.insert(key, (value.by, value.points)).is_some());
        }
        450..=699 => {
            let was = board.remove(tx, borrowed).expect("remove");
            assert_eq!(was, model.remove(&key).is_some());
        }
        700..=759 => {
            let mut record = board.get_mut(tx, borrowed).expect("get_mut");
            assert_eq!(record.is_some(), model.contains_key(&key));
            if let Some(record) = &mut record {
                record.set(|s| &s.points, 7.into()).expect("set");
                model.get_mut(&key).expect("there").1 = 7;
            }
        }
        760..=839 => {
            let value = score(random);
            let entry = board.entry(tx, borrowed).expect("entry");
            let modified = entry
                .and_modify(|record| record.set(|s| &s.points, 9.into()))
                .expect("and_modify");
            let record = modified.or_insert_with(|| value.clone()).expect("or_insert");
            let found = plain(&record);
            let wanted = model
                .entry(key)
                .and_modify(|(_, points)| *points = 9)
                .or_insert((value.by, value.points));
            assert_eq!(&found, wanted);
        }
        840..=889 => match board.entry(tx, borrowed).expect("entry") {
            Entry::Occupied(mut entry) => {
                assert_eq!(Some(&plain(entry.get().expect("get"))), model.get(&key));
                if random.bool() {
                    let value = score(random);
                    entry.insert(&value).expect("insert");
                    assert_eq!(plain(entry.get().expect("get")), (value.by.clone(), value.points));
                    model.insert(key, (value.by, value.points));
                } else {
                    entry.remove().expect("remove");
                    model.remove(&key);
                }
            }
            Entry::Vacant(_) => assert!(!model.contains_key(&key)),
        },
        890..=939 => {
            let found = board.pop_first(tx).expect("pop").map(|(k, v)| (k, plain(v)));
            assert_eq!(found, model.pop_first());
        }
        940..=991 => {
            let found = board.pop_last(tx).expect("pop").map(|(k, v)| (k, plain(v)));
            assert_eq!(found, model.pop_last());
        }
        992..=996 => {
            let bit = 1 << random.u32(..4);
            let gone = board
                .retain(tx, |_, v| v.points.to_native() & bit != 0)
                .expect("retain");
            let before = model.len();
            model.retain(|_, (_, points)| *points & bit != 0);
            assert_eq!(gone, (before - model.len()) as u64);
        }
        997 => {
            board.clear(tx).expect("clear");
            model.clear();
        }
        _ => {
            let drained = board.drain(tx).expect("drain");
            assert_eq!(drained.len(), model.len());
            // Sometimes not to the end.
            let some = random.usize(..=drained.len());
            let found: Vec<(K, Plain)> = drained.take(some).map(|item| read(Some(item)).expect("item")).collect();
            let wanted: Vec<(K, Plain)> = std::mem::take(model).into_iter().take(some).collect();
            assert_eq!(found, wanted);
        }
    }
}

/// Thousands of operations in transactions of which a quarter is rolled back.
fn agrees<K: TestKey>(seed: u64, rounds: usize, key: impl Fn(&mut Rng) -> K) {
    agrees_with(TableOptions::default(), seed, rounds, key);
}

fn agrees_with<K: TestKey>(options: TableOptions, seed: u64, rounds: usize, key: impl Fn(&mut Rng) -> K) {
    println!("seed {seed:#x}");
    let mut random = Rng::with_seed(seed);
    let mut region = Region::in_memory(64 << 20).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let board: Board<K> = region
        .write(&pass, |tx| OrderedMap::create_with(tx, "board", options))
        .expect("table");
    let mut model = Model::new();
    let mut largest = 0;
    for round in 0..rounds {
        // Times of growth, so that the tree gets deep, and times of everything.
        let growing = round % 20 < 4;
        let mut next = model.clone();
        let mut tx = region.begin(&pass).expect("begin");
        for _ in 0..random.usize(1..if growing { 400 } else { 80 }) {
            if growing {
                let (key, value) = (key(&mut random), score(&mut random));
                board.insert(&mut tx, key.borrowed(), &value).expect("insert");
                next.insert(key, (value.by, value.points));
            } else {
                let key = key(&mut random);
                operate(&mut tx, board, &mut next, &mut random, key);
            }
        }
        largest = largest.max(next.len());
        if round % 8 == 0 {
            let probes: Vec<K> = (0..30).map(|_| key(&mut random)).collect();
            compare(&tx, board, &next, &mut random, &probes);
        }
        if random.u8(..4) > 0 {
            tx.commit().expect("commit");
            model = next;
        } else {
            drop(tx);
        }
        let reader = region.read(&pass).expect("read");
        let verification = verify(&reader).expect("sound");
        assert!(verification.is_sound(), "round {round}: {verification:?}");
        if round % 8 == 1 {
            let probes: Vec<K> = (0..30).map(|_| key(&mut random)).collect();
            compare(&reader, board, &model, &mut random, &probes);
        }
    }
    assert!(largest > 400, "only {largest} records at once");
    // Emptied one by one, in a random order, all memory comes back.
    let mut keys: Vec<K> = model.keys().cloned().collect();
    random.shuffle(&mut keys);
    for keys in keys.chunks(7) {
        region
            .write(&pass, |tx| {
                for key in keys {
                    assert!(board.remove(tx, key.borrowed())?);
                }
                Result::Ok(())
            })
            .expect("remove");
        let reader = region.read(&pass).expect("read");
        assert!(verify(&reader).expect("sound").is_sound());
    }
    let reader = region.read(&pass).expect("read");
    assert_eq!(board.archived_bytes(&reader).expect("bytes"), 0);
    assert_eq!(
        verify(&reader).expect("sound").reachable,
        EMPTY,
        "what an empty table has is left"
    );
}

#[test]
fn numbers() {
    agrees(0x0dd5, 160, |random| random.u64(..6000));
}

#[test]
fn numbers_that_ascend_mostly() {
    let next = std::cell::Cell::new(0);
    agrees(0xa5ce, 160, |random| {
        next.set(next.get() + 3);
        if random.u8(..3) == 0 {
            random.i64(-10..10_000)
        } else {
            next.get()
        }
    });
}

#[test]
fn tuples_with_a_sign() {
    agrees(0x7u64, 160, |random| {
        (random.i32(-40..40), random.u16(..100), random.bool())
    });
}

#[test]
fn the_widest_fixed_keys() {
    agrees(0x32, 120, |random| (random.u128(..60), random.i128(-50..50)));
}

#[test]
fn strings() {
    agrees(0x57, 160, |random| {
        // Many share their first 16 bytes.
        let stem = ["", "a", "the same first 16 bytes ", "the same first 16 bytes and on "][random.usize(..4)];
        format!("{stem}{}", random.u32(..2000))
    });
}

#[test]
fn strings_in_tuples_and_bytes() {
    agrees(0x58, 100, |random| {
        let name: String = (0..random.usize(..6))
            .map(|_| ['\0', 'a', 'ü'][random.usize(..3)])
            .collect();
        (name, random.i16(-20..20))
    });
    agrees(0x59, 100, |random| {
        (0..random.usize(..9)).map(|_| random.u8(..5)).collect::<Vec<u8>>()
    });
}

/// Trees of five levels, filled in a random order, then emptied by `next`, with inner nodes split and joined on the way.
#[test]
fn numbers_and_strings_with_checksums() {
    let options = TableOptions::default().checksums(true);
    agrees_with(options, 0x37, 80, |random| random.u64(..2000));
    agrees_with(options, 0x38, 80, |random| {
        format!("{}{}", "the same ".repeat(random.usize(..4)), random.u32(..900))
    });
}

fn deep<K: TestKey>(seed: u64, count: u32, key: impl Fn(u32) -> K, next: impl Fn(&mut Rng, usize) -> usize) {
    println!("seed {seed:#x}");
    let mut random = Rng::with_seed(seed);
    let mut region = Region::in_memory(64 << 20).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let tree: OrderedMap<K, u32> = region.write(&pass, |tx| OrderedMap::create(tx, "tree")).expect("table");
    let mut numbers: Vec<u32> = (0..count).collect();
    random.shuffle(&mut numbers);
    for some in numbers.chunks(1000) {
        region
            .write(&pass, |tx| {
                some.iter()
                    .try_for_each(|i| tree.insert(tx, key(*i).borrowed(), i).map(|_| ()))
            })
            .expect("insert");
    }
    let mut left: Vec<u32> = (0..count).collect();
    let check = |region: &Region, left: &[u32]| {
        let reader = region.read(&pass).expect("read");
        assert!(verify(&reader).expect("sound").is_sound());
        assert_eq!(tree.len(&reader).expect("len"), left.len() as u64);
        for (i, number) in left.iter().enumerate().step_by(97) {
            assert_eq!(tree.rank(&reader, key(*number).borrowed()).expect("rank"), i as u64);
        }
    };
    check(&region, &left);
    while !left.is_empty() {
        let mut tx = region.begin(&pass).expect("begin");
        for _ in 0..left.len().min(1500) {
            let i = next(&mut random, left.len());
            assert!(tree.remove(&mut tx, key(left.remove(i)).borrowed()).expect("remove"));
        }
        tx.commit().expect("commit");
        check(&region, &left);
    }
    assert_eq!(
        verify(&region.read(&pass).expect("read")).expect("sound").reachable,
        EMPTY
    );
}

#[test]
fn deep_trees() {
    let wide = |i: u32| (u128::from(i) << 70, i128::from(i) - 5000);
    deep(0xdee9, 20_000, wide, |random, n| random.usize(..n));
    deep(0xdeea, 20_000, wide, |_, _| 0);
    deep(0xdeeb, 20_000, wide, |_, n| n - 1);
    deep(
        0xdeec,
        20_000,
        |i| format!("player number {i:07}"),
        |random, n| n / 2 + random.usize(..n.div_ceil(2)) / 9,
    );
    deep(0xdeed, 30_000, |i| i64::from(i) - 9999, |random, n| random.usize(..n));
}

#[test]
fn strings_are_keys_of_hashed_maps_too() {
    let mut region = Region::in_memory(16 << 20).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let mut tx = region.begin(&pass).expect("begin");
    let ages: Map<String, u32> = Map::create(&mut tx, "ages").expect("table");
    let bags: Map<(u32, String), Vec<u16>> = Map::create(&mut tx, "bags").expect("table");
    let mut model = BTreeMap::new();
    let mut random = Rng::with_seed(3);
    for _ in 0..4000 {
        let name = format!("{}{}", "long name ".repeat(random.usize(..9)), random.u32(..900));
        let age = random.u32(..);
        if random.u8(..4) == 0 {
            assert_eq!(
                ages.remove(&mut tx, &name).expect("remove"),
                model.remove(&name).is_some()
            );
        } else {
            ages.insert(&mut tx, &name, &age).expect("insert");
            bags.insert(&mut tx, &(age % 50, name.clone()), &vec![7; name.len()])
                .expect("insert");
            model.insert(name, age);
        }
    }
    tx.commit().expect("commit");
    let reader = region.read(&pass).expect("read");
    assert!(verify(&reader).expect("sound").is_sound());
    for (name, age) in &model {
        assert_eq!(ages.get(&reader, name).expect("get").expect("there").to_native(), *age);
        let bag = bags
            .get(&reader, &(age % 50, name.clone()))
            .expect("get")
            .expect("there");
        assert_eq!(bag.len(), name.len());
    }
    assert!(ages.get(&reader, "nobody").expect("get").is_none());
    let mut found = BTreeMap::new();
    for item in ages.iter(&reader).expect("iter") {
        let (name, age) = item.expect("item");
        found.insert(name, age.to_native());
    }
    assert_eq!(found, model);
}

#[test]
fn a_tree_that_grows_at_its_end_is_full() {
    let mut region = Region::in_memory(64 << 20).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let board: OrderedMap<u64, u64> = region
        .write(&pass, |tx| OrderedMap::create(tx, "board"))
        .expect("table");
    let count = 20_000u64;
    for start in (0..count).step_by(100) {
        region
            .write(&pass, |tx| {
                (start..start + 100).try_for_each(|i| board.insert(tx, &i, &i).map(|_| ()))
            })
            .expect("insert");
    }
    let reader = region.read(&pass).expect("read");
    let nodes = verify(&reader).expect("sound").reachable - EMPTY - count;
    // 63 entries a leaf, 42 an inner node.
    let leaves = count.div_ceil(63);
    assert!(nodes <= leaves + leaves / 40 + 3, "{nodes} nodes for {leaves} leaves");
}

#[test]
fn shapes_are_compared_and_long_keys_refused() {
    let mut region = Region::in_memory(4 << 20).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let names: OrderedMap<String, u32> = region
        .write(&pass, |tx| OrderedMap::create(tx, "names"))
        .expect("table");
    let mismatch = |e: Error| match e {
        Error::SchemaMismatch { report, .. } => report.to_string(),
        other => panic!("{other}"),
    };
    let report = mismatch(OrderedMap::<Vec<u8>, u32>::open(&region, "names").expect_err("other keys"));
    assert!(
        report.contains(r#"its keys are "String", the program expects "Vec<u8>""#),
        "{report}"
    );
    let report = mismatch(Map::<String, u32>::open(&region, "names").expect_err("other kind"));
    assert!(report.contains("the table is a OrderedMap"), "{report}");
    let mut tx = region.begin(&pass).expect("begin");
    let long = "x".repeat(shmstate::MAX_LONG_KEY + 1);
    assert!(matches!(
        names.insert(&mut tx, &long, &1),
        Err(Error::KeyTooLong { .. })
    ));
    names.insert(&mut tx, &long[1..], &1).expect("just fits");
    tx.commit().expect("commit");
    assert!(
        names
            .contains_key(&region.read(&pass).expect("read"), &long[1..])
            .expect("get")
    );
}
