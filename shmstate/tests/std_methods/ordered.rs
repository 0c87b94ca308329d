//! Ordered maps against `BTreeMap`: what is taken away, changed and given by ranges of keys and of ranks.

use crate::walks::walk;
use crate::{Item, World, random};
use shmstate::ordered::Entry;
use shmstate::{Key, OrderedMap, RecordMut, Result, Tx, View};
use std::collections::BTreeMap;
use std::ops::{Bound, RangeBounds};

/// Keys that stand for numbers, in the same order.
pub(crate) trait Name: Key {
    fn of(n: u64) -> Self;
    fn number(&self) -> u64;
}

impl Name for u64 {
    fn of(n: u64) -> Self {
        n
    }

    fn number(&self) -> u64 {
        *self
    }
}

const PREFIX: &str = "as many bytes as stand in a node ";

impl Name for String {
    fn of(n: u64) -> Self {
        format!("{PREFIX}{n:05}")
    }

    fn number(&self) -> u64 {
        self[PREFIX.len()..].parse().expect("a number")
    }
}

/// Keys are numbers below this: a tree of three levels, as long as most are there.
const KEYS: u64 = 4000;

type Model = BTreeMap<u64, Item>;
type Bounds = (Bound<u64>, Bound<u64>);

fn bound(random: &mut fastrand::Rng, at: u64) -> Bound<u64> {
    match random.u8(..12) {
        0 => Bound::Unbounded,
        1..6 => Bound::Included(at),
        _ => Bound::Excluded(at),
    }
}

/// Mostly near each other; now and then the wrong way round, or the same.
fn bounds(random: &mut fastrand::Rng, below: u64) -> Bounds {
    let start = random.u64(..below);
    let end = match random.u8(..6) {
        0 => random.u64(..below),
        1 => start,
        _ => start + random.u64(..below / 16 + 2),
    };
    (bound(random, start), bound(random, end))
}

/// `work` with the same bounds as keys.
fn by_keys<K: Name, R>(bounds: Bounds, work: impl FnOnce((Bound<&K::Borrowed>, Bound<&K::Borrowed>)) -> R) -> R {
    let (start, end) = (bounds.0.map(K::of), bounds.1.map(K::of));
    work((start.as_ref().map(Key::borrowed), end.as_ref().map(Key::borrowed)))
}

fn read<K: Name>((key, item): (K, &<Item as rkyv::Archive>::Archived)) -> (u64, Item) {
    (key.number(), Item::of(item))
}

/// The model's records within bounds.
fn within(model: &Model, bounds: Bounds) -> Vec<(u64, Item)> {
    let inside = model.iter().filter(|(n, _)| bounds.contains(*n));
    inside.map(|(n, item)| (*n, item.clone())).collect()
}

fn add(record: &mut RecordMut<'_, '_, Item>, more: u64) -> Result<()> {
    let points = record.points.to_native() + more;
    record.set(|item| &item.points, points.into())
}

fn operate<K: Name>(
    map: OrderedMap<K, Item>,
    tx: &mut Tx<'_>,
    model: &mut Model,
    random: &mut fastrand::Rng,
) -> Result<()> {
    let n = random.u64(..KEYS);
    let key = K::of(n);
    let key = key.borrowed();
    match random.u8(..16) {
        0..3 => {
            // Side by side, so that there is something within narrow bounds.
            for n in n..n + random.u64(..800) {
                let item = Item::random(random);
                map.insert(tx, K::of(n).borrowed(), &item)?;
                model.insert(n, item);
            }
        }
        3 => {
            let near: Vec<u64> = model.range(n..).take(20).map(|(n, _)| *n).collect();
            for n in near {
                let taken = map.take(tx, K::of(n).borrowed())?.map(Item::of);
                assert_eq!(taken, model.remove(&n));
            }
            assert_eq!(map.take(tx, key)?.map(Item::of), model.remove(&n));
        }
        4 | 5 => {
            let bounds = bounds(random, KEYS);
            let gone = by_keys::<K, _>(bounds, |bounds| map.remove_range(tx, bounds))?;
            let before = model.len();
            model.retain(|n, _| !bounds.contains(n));
            assert_eq!(gone as usize, before - model.len(), "{bounds:?}");
        }
        6 | 7 => {
            let bounds = bounds(random, KEYS);
            let (mut met, more) = (Vec::new(), random.u64(..100));
            let changed = by_keys::<K, _>(bounds, |bounds| {
                map.for_each_mut(tx, bounds, |key, record| {
                    met.push((key.number(), Item::of(record)));
                    add(record, more)
                })
            })?;
            assert_eq!(met, within(model, bounds), "{bounds:?}");
            assert_eq!(changed as usize, met.len());
            for (n, _) in met {
                model.get_mut(&n).expect("there").points += more;
            }
        }
        8 => {
            let more = random.u64(..100);
            let mut change = |(key, mut record): (K, RecordMut<'_, '_, Item>)| {
                add(&mut record, more).map(|()| (key.number(), Item::of(&record)))
            };
            let mut changed = |(n, item): (&u64, &mut Item)| {
                item.points += more;
                (*n, item.clone())
            };
            let first = map.first_mut(tx)?.map(&mut change).transpose()?;
            assert_eq!(first, model.iter_mut().next().map(&mut changed));
            let last = map.last_mut(tx)?.map(&mut change).transpose()?;
            assert_eq!(last, model.iter_mut().next_back().map(&mut changed));
        }
        9 => enter(map.entry(tx, key)?, n, model, random)?,
        10 => {
            let first = map.pop_first(tx)?.map(read);
            let last = map.pop_last(tx)?.map(read);
            assert_eq!([first, last], [model.pop_first(), model.pop_last()]);
        }
        11 if random.u8(..8) == 0 => {
            let all: Vec<_> = std::mem::take(model).into_iter().collect();
            // Out of nodes that are in no tree any more.
            walk(map.drain(tx)?, &all, random);
        }
        _ => look(map, tx, model, random)?,
    }
    Ok(())
}

/// The place of a key, as a program uses it.
fn enter<K: Name>(entry: Entry<'_, '_, K, Item>, n: u64, model: &mut Model, random: &mut fastrand::Rng) -> Result<()> {
    assert_eq!(entry.key().number(), n);
    match (random.u8(..3), entry) {
        (0, entry) => {
            add(&mut entry.and_modify(|record| add(record, 5))?.or_default()?, 1)?;
            let item = model.entry(n).and_modify(|item| item.points += 5).or_default();
            item.points += 1;
        }
        (1, Entry::Occupied(mut entry)) => {
            assert_eq!(entry.key().number(), n);
            add(&mut entry.get_mut(), 2)?;
            let item = Item::random(random);
            entry.insert(&item)?;
            let mut record = entry.into_mut();
            add(&mut record, 3)?;
            let points = item.points + 3;
            assert_eq!(record.points.to_native(), points);
            model.insert(n, Item { points, ..item });
        }
        (_, Entry::Occupied(entry)) => {
            entry.remove()?;
            assert!(model.remove(&n).is_some());
        }
        (_, Entry::Vacant(entry)) => {
            assert_eq!(entry.key().number(), n);
            let item = Item::random(random);
            entry.insert(&item)?;
            assert!(model.insert(n, item).is_none());
        }
    }
    Ok(())
}

/// What is there, by ranges, ranks and iterators of all kinds.
fn look<K: Name>(map: OrderedMap<K, Item>, view: &View, model: &Model, random: &mut fastrand::Rng) -> Result<()> {
    let by_key = bounds(random, KEYS);
    let range = by_keys::<K, _>(by_key, |bounds| map.range(view, bounds))?;
    walk(range, &within(model, by_key), random);
    let by_rank = bounds(random, model.len() as u64 + 3);
    let ranked = (0u64..).zip(model).filter(|(rank, _)| by_rank.contains(rank));
    let ranked: Vec<_> = ranked.map(|(_, (n, item))| (*n, item.clone())).collect();
    walk(map.ranks(view, by_rank)?, &ranked, random);
    let (skip, step) = (random.usize(..model.len() + 2), random.usize(1..90));
    let stepped = map.iter(view)?.skip(skip).step_by(step).map(|item| item.map(read));
    let expected = model.iter().skip(skip).step_by(step);
    let expected: Vec<_> = expected.map(|(n, item)| (*n, item.clone())).collect();
    assert_eq!(stepped.collect::<Result<Vec<_>>>()?, expected, "{skip}, {step}");
    if random.u8(..4) == 0 {
        let (keys, values) = (map.keys(view)?, map.values(view)?);
        assert_eq!((keys.len(), values.len()), (model.len(), model.len()));
        let keys = keys.rev().map(|key| key.map(|key| key.number()));
        assert!(keys.collect::<Result<Vec<_>>>()?.iter().eq(model.keys().rev()));
        let values = values.rev().map(|item| item.map(Item::of));
        assert!(values.collect::<Result<Vec<_>>>()?.iter().eq(model.values().rev()));
    }
    Ok(())
}

fn compare<K: Name>(map: OrderedMap<K, Item>, view: &View, model: &Model) -> Result<()> {
    assert_eq!(map.len(view)? as usize, model.len());
    let found = map.iter(view)?.map(|item| item.map(read)).collect::<Result<Model>>()?;
    assert_eq!(&found, model);
    Ok(())
}

fn play<K: Name>() {
    let mut random = random();
    let mut world = World::new();
    let map: OrderedMap<K, Item> = world.tx(|tx| OrderedMap::create(tx, "map"));
    let mut model: Model = (0..KEYS).map(|n| (n, Item::random(&mut random))).collect();
    world.tx(|tx| {
        let mut all = model.iter();
        all.try_for_each(|(n, item)| map.insert(tx, K::of(*n).borrowed(), item).map(|_| ()))
    });
    world.play(
        150,
        &mut model,
        &mut random,
        |tx, model, random| operate(map, tx, model, random),
        |view, model| compare(map, view, model),
    );
    // To the last: what came and what went is counted alike.
    world.tx(|tx| {
        while let Some(n) = model.keys().nth(random.usize(..model.len().max(1))).copied() {
            let to = n + random.u64(..200);
            let gone = by_keys::<K, _>((Bound::Included(n), Bound::Included(to)), |bounds| {
                map.remove_range(tx, bounds)
            })?;
            let before = model.len();
            model.retain(|known, _| !(n..=to).contains(known));
            assert_eq!(gone as usize, before - model.len());
        }
        assert_eq!((map.len(tx)?, map.archived_bytes(tx)?), (0, 0));
        Ok(())
    });
    world.check();
}

#[test]
fn keys_of_fixed_length() {
    play::<u64>();
}

#[test]
fn keys_of_variable_length() {
    play::<String>();
}

/// Where numbers end, and where there is nothing.
#[test]
fn ranks_that_cannot_be() {
    let mut world = World::new();
    let map: OrderedMap<u64, Item> = world.tx(|tx| OrderedMap::create(tx, "map"));
    let most = u64::MAX;
    let at = |view: &View, bounds: Bounds| map.ranks(view, bounds).map(|range| range.count());
    use Bound::{Excluded, Included, Unbounded};
    for records in 0..3usize {
        world.tx(|tx| {
            for (bounds, expected) in [
                ((Unbounded, Unbounded), records),
                ((Unbounded, Included(most)), records),
                ((Unbounded, Excluded(most)), records),
                ((Included(most), Included(most)), 0),
                ((Excluded(most), Unbounded), 0),
                ((Excluded(most), Included(most)), 0),
                ((Included(1), Excluded(0)), 0),
                ((Excluded(0), Included(0)), 0),
                ((Included(0), Included(0)), records.min(1)),
                ((Excluded(0), Unbounded), records.saturating_sub(1)),
            ] {
                assert_eq!(at(tx, bounds)?, expected, "{bounds:?} of {records}");
            }
            assert_eq!(map.first_mut(tx)?.is_some(), records > 0);
            assert_eq!(map.last_mut(tx)?.is_some(), records > 0);
            assert!(map.take(tx, &1000)?.is_none());
            assert_eq!(map.remove_range(tx, 1000..)?, 0);
            map.insert(tx, &(records as u64), &Item::default()).map(|_| ())
        });
    }
}
