//! Ordered maps: keys of fixed and of variable length.

use super::chains::{refusals, three_versions_follow_each_other};
use super::{Is, Kind, Model, Random, Result, Seen, TABLE, Version, any, as_version, put, versions_follow_each_other};
use crate::shapes::PlayerV2;
use crate::world::player_v1;
use shmstate::ordered::Entry;
use shmstate::{Key, Observer, OrderedMap, Reader, Region, Steps, Swept, TableOptions, Tx, Unverified, Value};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::marker::PhantomData;

/// Keys that tests can make.
trait Name: Key<Borrowed = Self> + Ord + Clone + Debug {
    fn of(n: u64) -> Self;
}

impl Name for i64 {
    fn of(n: u64) -> Self {
        n as i64 - 30
    }
}

impl Name for (String, u16) {
    fn of(n: u64) -> Self {
        ("\0x".repeat((n % 7) as usize), n as u16)
    }
}

struct Ordered<K>(PhantomData<K>);

impl<K: Name> Kind for Ordered<K> {
    type Of<V: Value> = OrderedMap<K, V>;
    type Id = K;
    type Beside = ();

    fn fill(tx: &mut Tx<'_>, model: &mut Model<Self>, checksums: bool) -> Result<()> {
        let table: OrderedMap<K, _> = OrderedMap::create_with(tx, TABLE, TableOptions::default().checksums(checksums))?;
        for n in 0..40 {
            table.insert(tx, &K::of(n), &player_v1(n))?;
            model.insert(K::of(n), ((), Is::One(player_v1(n))));
        }
        Ok(())
    }

    fn open<V: Version>(region: &Region, steps: Steps<V>) -> Result<OrderedMap<K, V>> {
        OrderedMap::open_migrating(region, TABLE, steps)
    }

    fn open_plain<V: Version>(region: &Region) -> Result<OrderedMap<K, V>> {
        OrderedMap::open(region, TABLE)
    }

    fn change<V: Version>(
        table: OrderedMap<K, V>,
        tx: &mut Tx<'_>,
        model: &mut Model<Self>,
        random: &mut Random,
    ) -> Result<()> {
        let (key, score) = (K::of(random.u64(..60)), random.u32(..));
        match random.u8(..16) {
            0 | 1 => {
                let value = V::random(random);
                let there = table.insert(tx, &key, &value)?;
                assert_eq!(there, put::<Self, V>(model, key, (), value));
            }
            2 => {
                let there = table.remove(tx, &key)?;
                assert_eq!(there, model.remove(&key).is_some());
            }
            3 => {
                let popped = table.pop_first(tx)?.map(|(key, value)| (key, V::read(value)));
                let expected = model.pop_first().map(|(key, (_, is))| (key, V::of(&is)));
                assert_eq!(popped, expected);
            }
            4 => {
                let popped = table.pop_last(tx)?.map(|(key, value)| (key, V::read(value)));
                let expected = model.pop_last().map(|(key, (_, is))| (key, V::of(&is)));
                assert_eq!(popped, expected);
            }
            5 => match table.entry(tx, &key)? {
                Entry::Occupied(mut entry) if random.bool() => {
                    let value = V::random(random);
                    entry.insert(&value)?;
                    put::<Self, V>(model, key, (), value);
                }
                Entry::Occupied(entry) => {
                    assert_eq!(V::read(entry.get()?), V::of(&model[&key].1));
                    entry.remove()?;
                    model.remove(&key);
                }
                Entry::Vacant(entry) => {
                    let mut value = V::random(random);
                    V::set(&mut entry.insert(&value)?, score)?;
                    value.set_own(score);
                    put::<Self, V>(model, key, (), value);
                }
            },
            6 if random.u8(..) < 40 => {
                let drained = table.drain(tx)?;
                let drained: Vec<_> = drained
                    .map(|item| item.map(|(key, value)| (key, V::read(value))))
                    .collect::<Result<_>>()?;
                let expected = std::mem::take(model).into_iter();
                let expected: Vec<_> = expected.map(|(key, (_, is))| (key, V::of(&is))).collect();
                assert_eq!(drained, expected);
            }
            7 if random.u8(..) < 20 => {
                table.clear(tx)?;
                model.clear();
            }
            8 => {
                let least = K::of(random.u64(..30));
                table.retain(tx, |key, _| *key >= least || key.clone() == K::of(7))?;
                model.retain(|key, _| *key >= least || *key == K::of(7));
            }
            9 => {
                let place = random.u64(..60);
                let found = table.nth(tx, place)?.map(|(key, value)| (key, V::read(value)));
                let expected = model.iter().nth(place as usize);
                assert_eq!(found, expected.map(|(key, (_, is))| (key.clone(), V::of(is))));
                let seen = table.range(tx, key.clone()..)?.rev().count();
                assert_eq!(seen, model.range(key..).count());
            }
            10 => {
                let taken = table.take(tx, &key)?.map(V::read);
                assert_eq!(taken, model.remove(&key).map(|(_, is)| V::of(&is)));
            }
            11 => {
                let to = K::of(random.u64(..60));
                let gone = table.remove_range(tx, &key..&to)?;
                let before = model.len();
                model.retain(|known, _| !(&key..&to).contains(&known));
                assert_eq!(gone as usize, before - model.len());
            }
            12 => {
                let mut met = Vec::new();
                table.for_each_mut(tx, &key.., |key, record| {
                    met.push((key, V::read(record)));
                    V::set(record, score)
                })?;
                let expected = model
                    .range(key.clone()..)
                    .map(|(key, (_, is))| (key.clone(), V::of(is)));
                assert_eq!(met, expected.collect::<Vec<_>>());
                for (_, of) in model.range_mut(key..) {
                    as_version::<V, _>(of, |v| v.set_own(score));
                }
            }
            13 => {
                let ends = [model.first_key_value(), model.last_key_value()].map(|end| end.map(|(key, _)| key.clone()));
                for (end, key) in ends.into_iter().enumerate() {
                    let found = if end == 0 {
                        table.first_mut(tx)?
                    } else {
                        table.last_mut(tx)?
                    };
                    assert_eq!(found.is_some(), key.is_some());
                    if let (Some((found, mut record)), Some(key)) = (found, key) {
                        assert_eq!(found, key);
                        V::set(&mut record, score)?;
                        as_version::<V, _>(model.get_mut(&key).expect("there"), |v| v.set_own(score));
                    }
                }
            }
            _ => {
                let Some(key) = any::<Self>(model, random) else {
                    return Ok(());
                };
                V::set(&mut table.get_mut(tx, &key)?.expect("there"), score)?;
                as_version::<V, _>(model.get_mut(&key).expect("there"), |v| v.set_own(score));
            }
        }
        Ok(())
    }

    fn all<V: Version>(table: OrderedMap<K, V>, reader: &Reader<'_>) -> Result<Seen<Self, V>> {
        let mut all = BTreeMap::new();
        for item in table.iter(reader)? {
            let (key, value) = item?;
            let again = table.get(reader, &key)?.expect("there");
            assert!(std::ptr::eq(value, again));
            all.insert(key, ((), V::read(value)));
        }
        Ok(all)
    }

    fn sweep<V: Version>(table: OrderedMap<K, V>, tx: &mut Tx<'_>) -> Result<Swept> {
        table.sweep(tx, 5)
    }

    fn unswept<V: Version>(table: OrderedMap<K, V>, reader: &Reader<'_>) -> Result<u64> {
        table.unswept(reader)
    }

    fn peek(observer: &Observer, id: &Self::Id) -> Result<bool> {
        Ok(observer.ordered_map::<K, PlayerV2>(TABLE)?.peek(id)?.is_some())
    }

    fn open_checked(unverified: &mut Unverified) -> Result<()> {
        unverified.table::<OrderedMap<K, PlayerV2>>(TABLE).map(|_| ())
    }

    fn empty<V: Version>(table: OrderedMap<K, V>, tx: &mut Tx<'_>) -> Result<u64> {
        while table.pop_last(tx)?.is_some() {}
        table.archived_bytes(tx)
    }
}

#[test]
fn keys_of_fixed_length() {
    versions_follow_each_other::<Ordered<i64>>();
}

#[test]
fn keys_of_variable_length() {
    versions_follow_each_other::<Ordered<(String, u16)>>();
}

#[test]
fn keys_of_fixed_length_in_three_versions() {
    three_versions_follow_each_other::<Ordered<i64>>();
}

#[test]
fn keys_of_variable_length_in_three_versions() {
    three_versions_follow_each_other::<Ordered<(String, u16)>>();
}

#[test]
fn ordered_maps_are_refused() {
    refusals::<Ordered<(String, u16)>>();
}
