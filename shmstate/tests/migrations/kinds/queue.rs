//! Queues: serial numbers stay what they are, and go on where they were.

use super::chains::{refusals, three_versions_follow_each_other};
use super::{Is, Kind, Model, Random, Result, Seen, TABLE, Version, any, as_version, put, versions_follow_each_other};
use crate::shapes::PlayerV2;
use crate::world::player_v1;
use shmstate::{Observer, Queue, Reader, Region, Steps, Swept, Tx, Unverified, Value};
use std::collections::BTreeMap;

/// More than one page.
const MANY: u64 = 530;

struct Queues;

impl Kind for Queues {
    type Of<V: Value> = Queue<V>;
    type Id = u64;
    type Beside = ();

    fn fill(tx: &mut Tx<'_>, model: &mut Model<Self>, _checksums: bool) -> Result<()> {
        let table = Queue::create(tx, TABLE)?;
        for n in 0..MANY {
            model.insert(table.push_back(tx, &player_v1(n))?, ((), Is::One(player_v1(n))));
        }
        Ok(())
    }

    fn open<V: Version>(region: &Region, steps: Steps<V>) -> Result<Queue<V>> {
        Queue::open_migrating(region, TABLE, steps)
    }

    fn open_plain<V: Version>(region: &Region) -> Result<Queue<V>> {
        Queue::open(region, TABLE)
    }

    fn change<V: Version>(
        table: Queue<V>,
        tx: &mut Tx<'_>,
        model: &mut Model<Self>,
        random: &mut Random,
    ) -> Result<()> {
        let (some, score) = (any::<Self>(model, random), random.u32(..));
        match random.u8(..15) {
            0..4 => {
                let value = V::random(random);
                let serial = table.push_back(tx, &value)?;
                assert!(!put::<Self, V>(model, serial, (), value));
            }
            4 if random.u8(..) < 20 => {
                let mut drained = BTreeMap::new();
                table.drain(tx, |serial, value| {
                    drained.insert(serial, V::read(value));
                })?;
                let expected = std::mem::take(model).into_iter();
                assert_eq!(
                    drained,
                    expected.map(|(serial, (_, is))| (serial, V::of(&is))).collect()
                );
            }
            5 if random.u8(..) < 10 => {
                table.clear(tx)?;
                model.clear();
            }
            6 => {
                let back = table.back(tx)?.map(|(serial, value)| (serial, V::read(value)));
                let expected = model.last_key_value();
                assert_eq!(back, expected.map(|(serial, (_, is))| (*serial, V::of(is))));
            }
            10 => {
                let before = table.next_serial(tx)?.min(some.unwrap_or(0)) + random.u64(..2);
                let gone = model.range(..before).count() as u64;
                // Mostly a few, so that others are left.
                if gone < 20 || random.u8(..) < 20 {
                    assert_eq!(table.remove_before(tx, before)?, gone);
                    *model = model.split_off(&before);
                }
            }
            11 | 12 if !model.is_empty() => {
                let index = random.usize(..model.len());
                let serial = *model.keys().nth(index).expect("there");
                let (again, mut record) = table.get_mut(tx, index as u64)?.expect("there");
                assert_eq!(again, serial);
                assert_eq!(V::read(&record), V::of(&model[&serial].1));
                V::set(&mut record, score)?;
                as_version::<V, _>(model.get_mut(&serial).expect("there"), |v| v.set_own(score));
            }
            13 | 14 if let Some(serial) = some => {
                V::set(&mut table.get_serial_mut(tx, serial)?.expect("there"), score)?;
                as_version::<V, _>(model.get_mut(&serial).expect("there"), |v| v.set_own(score));
                let found = table.get_serial(tx, serial)?.expect("there");
                assert_eq!(V::read(found), V::of(&model[&serial].1));
            }
            _ => {
                for _ in 0..random.u8(1..30) {
                    let popped = table.pop_front(tx, |serial, value| (serial, V::read(value)))?;
                    let expected = model.pop_first().map(|(serial, (_, is))| (serial, V::of(&is)));
                    assert_eq!(popped, expected);
                }
            }
        }
        Ok(())
    }

    fn all<V: Version>(table: Queue<V>, reader: &Reader<'_>) -> Result<Seen<Self, V>> {
        let mut all = BTreeMap::new();
        for (i, item) in table.iter(reader)?.enumerate() {
            let (serial, value) = item?;
            let (again, same) = table.get(reader, i as u64)?.expect("there");
            assert!(again == serial && std::ptr::eq(value, same));
            all.insert(serial, ((), V::read(value)));
        }
        Ok(all)
    }

    fn sweep<V: Version>(table: Queue<V>, tx: &mut Tx<'_>) -> Result<Swept> {
        table.sweep(tx, 5)
    }

    fn unswept<V: Version>(table: Queue<V>, reader: &Reader<'_>) -> Result<u64> {
        table.unswept(reader)
    }

    fn peek(observer: &Observer, id: &Self::Id) -> Result<bool> {
        Ok(observer.queue::<PlayerV2>(TABLE)?.peek(*id)?.is_some())
    }

    fn open_checked(unverified: &mut Unverified) -> Result<()> {
        unverified.table::<Queue<PlayerV2>>(TABLE).map(|_| ())
    }

    fn empty<V: Version>(table: Queue<V>, tx: &mut Tx<'_>) -> Result<u64> {
        table.drain(tx, |_, _| {})?;
        table.archived_bytes(tx)
    }
}

#[test]
fn queues() {
    versions_follow_each_other::<Queues>();
}

#[test]
fn queues_in_three_versions() {
    three_versions_follow_each_other::<Queues>();
}

#[test]
fn queues_are_refused() {
    refusals::<Queues>();
}
