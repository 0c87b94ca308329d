//! Slabs: ids stay what they are.

use super::chains::{refusals, three_versions_follow_each_other};
use super::{Is, Kind, Model, Random, Result, Seen, TABLE, Version, any, as_version, put, versions_follow_each_other};
use crate::shapes::PlayerV2;
use crate::world::player_v1;
use shmstate::{Observer, Reader, Region, Slab, SlabId, Steps, Swept, Tx, Unverified, Value};
use std::collections::BTreeMap;

/// More than one page of slots.
const MANY: u64 = 300;

struct Slabs;

impl Kind for Slabs {
    type Of<V: Value> = Slab<V>;
    type Id = SlabId;
    type Beside = ();

    fn fill(tx: &mut Tx<'_>, model: &mut Model<Self>, _checksums: bool) -> Result<()> {
        let table = Slab::create(tx, TABLE)?;
        for n in 0..MANY {
            model.insert(table.insert(tx, &player_v1(n))?, ((), Is::One(player_v1(n))));
        }
        Ok(())
    }

    fn open<V: Version>(region: &Region, steps: Steps<V>) -> Result<Slab<V>> {
        Slab::open_migrating(region, TABLE, steps)
    }

    fn open_plain<V: Version>(region: &Region) -> Result<Slab<V>> {
        Slab::open(region, TABLE)
    }

    fn change<V: Version>(table: Slab<V>, tx: &mut Tx<'_>, model: &mut Model<Self>, random: &mut Random) -> Result<()> {
        let (id, score) = (any::<Self>(model, random), random.u32(..));
        match (random.u8(..12), id) {
            (0, _) => {
                let mut value = V::random(random);
                value.set_own(score);
                let id = table.insert_with(tx, |id| {
                    assert!(!model.contains_key(&id));
                    value.clone()
                })?;
                put::<Self, V>(model, id, (), value);
            }
            (1..3, _) | (_, None) => {
                let value = V::random(random);
                put::<Self, V>(model, table.insert(tx, &value)?, (), value);
            }
            (3, Some(id)) => {
                let value = V::random(random);
                assert!(table.replace(tx, id, &value)?);
                put::<Self, V>(model, id, (), value);
            }
            (4, Some(id)) => {
                let taken = table.take(tx, id)?.map(V::read);
                assert_eq!(taken, model.remove(&id).map(|(_, is)| V::of(&is)));
                assert!(table.take(tx, id)?.is_none() && !table.contains(tx, id)?);
            }
            (5, Some(id)) => {
                assert!(table.remove(tx, id)?);
                assert!(!table.remove(tx, id)? && !table.contains(tx, id)?);
                model.remove(&id);
            }
            (6, _) => {
                let odd = random.u32(2..9);
                table.retain(tx, |id, value| {
                    assert_eq!(V::read(value), V::of(&model[&id].1));
                    id.index() % odd != 1
                })?;
                model.retain(|id, _| id.index() % odd != 1);
            }
            (7, _) if random.u8(..) < 40 => {
                let mut drained = BTreeMap::new();
                table.drain(tx, |id, value| {
                    drained.insert(id, V::read(value));
                })?;
                let expected = std::mem::take(model).into_iter();
                assert_eq!(drained, expected.map(|(id, (_, is))| (id, V::of(&is))).collect());
            }
            (8, _) if random.u8(..) < 40 => table.for_each_mut(tx, |id, record| {
                V::set(record, score)?;
                as_version::<V, _>(model.get_mut(&id).expect("there"), |v| v.set_own(score));
                Result::Ok(())
            })?,
            (_, Some(id)) => {
                V::set(&mut table.get_mut(tx, id)?.expect("there"), score)?;
                as_version::<V, _>(model.get_mut(&id).expect("there"), |v| v.set_own(score));
            }
        }
        Ok(())
    }

    fn all<V: Version>(table: Slab<V>, reader: &Reader<'_>) -> Result<Seen<Self, V>> {
        let mut all = BTreeMap::new();
        for item in table.iter(reader)? {
            let (id, value) = item?;
            assert!(std::ptr::eq(value, table.get(reader, id)?.expect("there")));
            all.insert(id, ((), V::read(value)));
        }
        Ok(all)
    }

    fn sweep<V: Version>(table: Slab<V>, tx: &mut Tx<'_>) -> Result<Swept> {
        table.sweep(tx, 5)
    }

    fn unswept<V: Version>(table: Slab<V>, reader: &Reader<'_>) -> Result<u64> {
        table.unswept(reader)
    }

    fn peek(observer: &Observer, id: &Self::Id) -> Result<bool> {
        Ok(observer.slab::<PlayerV2>(TABLE)?.peek(*id)?.is_some())
    }

    fn open_checked(unverified: &mut Unverified) -> Result<()> {
        unverified.table::<Slab<PlayerV2>>(TABLE).map(|_| ())
    }

    fn empty<V: Version>(table: Slab<V>, tx: &mut Tx<'_>) -> Result<u64> {
        table.retain(tx, |_, _| false)?;
        table.archived_bytes(tx)
    }
}

#[test]
fn slabs() {
    versions_follow_each_other::<Slabs>();
}

#[test]
fn slabs_in_three_versions() {
    three_versions_follow_each_other::<Slabs>();
}

#[test]
fn slabs_are_refused() {
    refusals::<Slabs>();
}
