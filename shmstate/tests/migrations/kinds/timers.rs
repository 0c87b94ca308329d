//! Timers: ids, deadlines and periods stay what they are.

use super::chains::{refusals, three_versions_follow_each_other};
use super::{Is, Kind, Model, Random, Result, Seen, TABLE, Version, any, as_version, put, versions_follow_each_other};
use crate::shapes::PlayerV2;
use crate::world::player_v1;
use shmstate::{Gap, Observer, Reader, Region, Steps, Swept, TimerId, Timers, Tx, Unverified, Value};
use std::collections::BTreeMap;
use std::num::NonZeroU64;

const MANY: u64 = 60;

struct Clocks;

fn add<V: Version>(table: Timers<V>, tx: &mut Tx<'_>, deadline: u64, period: u64, value: &V) -> Result<TimerId> {
    match NonZeroU64::new(period) {
        Some(period) => table.insert_every(tx, deadline, period, value),
        None => table.insert(tx, deadline, value),
    }
}

/// A deadline that no other timer has, so that it is known which one fires.
fn deadline(model: &Model<Clocks>, random: &mut Random) -> u64 {
    loop {
        let deadline = random.u64(1000..1_000_000);
        if model.values().all(|((other, _), _)| *other != deadline) {
            return deadline;
        }
    }
}

impl Kind for Clocks {
    type Of<V: Value> = Timers<V>;
    type Id = TimerId;
    /// Deadline and period.
    type Beside = (u64, u64);

    fn fill(tx: &mut Tx<'_>, model: &mut Model<Self>, _checksums: bool) -> Result<()> {
        let table = Timers::create(tx, TABLE, Gap::Coalesce)?;
        for n in 0..MANY {
            let beside = (500 + n, n % 3 * 10_007);
            let id = add(table, tx, beside.0, beside.1, &player_v1(n))?;
            model.insert(id, (beside, Is::One(player_v1(n))));
        }
        Ok(())
    }

    fn open<V: Version>(region: &Region, steps: Steps<V>) -> Result<Timers<V>> {
        Timers::open_migrating(region, TABLE, steps)
    }

    fn open_plain<V: Version>(region: &Region) -> Result<Timers<V>> {
        Timers::open(region, TABLE)
    }

    fn change<V: Version>(
        table: Timers<V>,
        tx: &mut Tx<'_>,
        model: &mut Model<Self>,
        random: &mut Random,
    ) -> Result<()> {
        let (id, score) = (any::<Self>(model, random), random.u32(..));
        match (random.u8(..15), id) {
            (0 | 1, _) | (_, None) => {
                let (value, beside) = (V::random(random), (deadline(model, random), random.u64(..3) * 10_007));
                let id = add(table, tx, beside.0, beside.1, &value)?;
                put::<Self, V>(model, id, beside, value);
            }
            (2, Some(id)) => {
                assert!(table.cancel(tx, id)?);
                model.remove(&id);
            }
            (3, Some(id)) => {
                let to = deadline(model, random);
                assert!(table.reschedule(tx, id, to)?);
                model.get_mut(&id).expect("there").0.0 = to;
            }
            (10 | 11, Some(id)) => {
                let value = V::random(random);
                assert!(table.replace(tx, id, &value)?);
                let beside = model[&id].0;
                put::<Self, V>(model, id, beside, value);
            }
            (12, Some(id)) => {
                let beside = (deadline(model, random), random.u64(..3) * 10_007);
                assert!(table.reschedule_every(tx, id, beside.0, NonZeroU64::new(beside.1))?);
                model.get_mut(&id).expect("there").0 = beside;
            }
            (13, _) => {
                let odd = random.u64(2..20);
                let keep = |id: TimerId, at| (id.token() + at) % odd != 1;
                let there = model.len();
                let cancelled = table.retain(tx, |id, at, value| {
                    assert_eq!((at, V::read(value)), (model[&id].0.0, V::of(&model[&id].1)));
                    keep(id, at)
                })?;
                model.retain(|id, ((at, _), _)| keep(*id, *at));
                assert_eq!(cancelled, (there - model.len()) as u64);
            }
            (14, _) => {
                let first = table.first(tx)?.map(|(id, at, value)| (id, at, V::read(value)));
                let expected = model.iter().min_by_key(|(_, ((at, _), _))| *at);
                assert_eq!(first, expected.map(|(id, ((at, _), is))| (*id, *at, V::of(is))));
            }
            (4, _) if random.u8(..) < 20 => {
                table.clear(tx)?;
                model.clear();
            }
            (5 | 6, _) => {
                let now = model.values().map(|((deadline, _), _)| *deadline).min().unwrap_or(0);
                let fired = table.pop_due(tx, now, |id, at, value| (id, at, V::read(value)))?;
                let first = model.iter().find(|(_, ((at, _), _))| *at == now);
                let Some((id, ((at, period), is))) = first.map(|(id, of)| (*id, of.clone())) else {
                    panic!("one was due");
                };
                assert_eq!(fired, Some((id, at, V::of(&is))));
                match period {
                    0 => drop(model.remove(&id)),
                    _ => {
                        let to = table.deadline(tx, id)?.expect("there");
                        assert_eq!((to - at) % period, 0);
                        model.get_mut(&id).expect("there").0.0 = to;
                        // Where another one has that deadline it moves on.
                        let to = deadline(model, random);
                        table.reschedule(tx, id, to)?;
                        model.get_mut(&id).expect("there").0.0 = to;
                    }
                }
            }
            (_, Some(id)) => {
                V::set(&mut table.get_mut(tx, id)?.expect("there"), score)?;
                as_version::<V, _>(model.get_mut(&id).expect("there"), |v| v.set_own(score));
            }
        }
        Ok(())
    }

    fn all<V: Version>(table: Timers<V>, reader: &Reader<'_>) -> Result<Seen<Self, V>> {
        let mut all = BTreeMap::new();
        for item in table.iter(reader)? {
            let (id, deadline, value) = item?;
            assert!(std::ptr::eq(value, table.get(reader, id)?.expect("there")));
            let period = table.period(reader, id)?.expect("there");
            all.insert(id, ((deadline, period), V::read(value)));
        }
        Ok(all)
    }

    fn sweep<V: Version>(table: Timers<V>, tx: &mut Tx<'_>) -> Result<Swept> {
        table.sweep(tx, 5)
    }

    fn unswept<V: Version>(table: Timers<V>, reader: &Reader<'_>) -> Result<u64> {
        table.unswept(reader)
    }

    fn peek(observer: &Observer, id: &Self::Id) -> Result<bool> {
        Ok(observer.timers::<PlayerV2>(TABLE)?.peek(*id)?.is_some())
    }

    fn open_checked(unverified: &mut Unverified) -> Result<()> {
        unverified.table::<Timers<PlayerV2>>(TABLE).map(|_| ())
    }

    fn empty<V: Version>(table: Timers<V>, tx: &mut Tx<'_>) -> Result<u64> {
        let ids: Vec<_> = table
            .iter(tx)?
            .map(|item| item.map(|(id, _, _)| id))
            .collect::<Result<_>>()?;
        for id in ids {
            table.cancel(tx, id)?;
        }
        table.archived_bytes(tx)
    }
}

#[test]
fn timers() {
    versions_follow_each_other::<Clocks>();
}

#[test]
fn timers_in_three_versions() {
    three_versions_follow_each_other::<Clocks>();
}

#[test]
fn timers_are_refused() {
    refusals::<Clocks>();
}
