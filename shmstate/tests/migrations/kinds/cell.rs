//! Cells: one value.

use super::chains::{refusals, three_versions_follow_each_other};
use super::{Is, Kind, Model, Random, Result, Seen, TABLE, Version, as_version, put, versions_follow_each_other};
use crate::shapes::PlayerV2;
use crate::world::player_v1;
use shmstate::{Cell, Observer, Reader, Region, Steps, Swept, Tx, Unverified, Value};
use std::collections::BTreeMap;

struct Cells;

impl Kind for Cells {
    type Of<V: Value> = Cell<V>;
    type Id = ();
    type Beside = ();

    fn fill(tx: &mut Tx<'_>, model: &mut Model<Self>, _checksums: bool) -> Result<()> {
        Cell::create(tx, TABLE, &player_v1(7))?;
        model.insert((), ((), Is::One(player_v1(7))));
        Ok(())
    }

    fn open<V: Version>(region: &Region, steps: Steps<V>) -> Result<Cell<V>> {
        Cell::open_migrating(region, TABLE, steps)
    }

    fn open_plain<V: Version>(region: &Region) -> Result<Cell<V>> {
        Cell::open(region, TABLE)
    }

    fn change<V: Version>(table: Cell<V>, tx: &mut Tx<'_>, model: &mut Model<Self>, random: &mut Random) -> Result<()> {
        if random.bool() {
            let value = V::random(random);
            table.set(tx, &value)?;
            put::<Self, V>(model, (), (), value);
        } else {
            let score = random.u32(..);
            V::set(&mut table.get_mut(tx)?, score)?;
            as_version::<V, _>(model.get_mut(&()).expect("there"), |v| v.set_own(score));
        }
        Ok(())
    }

    fn all<V: Version>(table: Cell<V>, reader: &Reader<'_>) -> Result<Seen<Self, V>> {
        Ok(BTreeMap::from([((), ((), V::read(table.get(reader)?)))]))
    }

    fn sweep<V: Version>(table: Cell<V>, tx: &mut Tx<'_>) -> Result<Swept> {
        table.sweep(tx)
    }

    fn unswept<V: Version>(table: Cell<V>, reader: &Reader<'_>) -> Result<u64> {
        table.unswept(reader)
    }

    fn peek(observer: &Observer, _: &Self::Id) -> Result<bool> {
        observer.cell::<PlayerV2>(TABLE)?.peek().map(|_| true)
    }

    fn open_checked(unverified: &mut Unverified) -> Result<()> {
        unverified.table::<Cell<PlayerV2>>(TABLE).map(|_| ())
    }

    fn empty<V: Version>(table: Cell<V>, _tx: &mut Tx<'_>) -> Result<u64> {
        // There always is one.
        let _ = table;
        Ok(0)
    }
}

#[test]
fn cells() {
    versions_follow_each_other::<Cells>();
}

#[test]
fn cells_in_three_versions() {
    three_versions_follow_each_other::<Cells>();
}

#[test]
fn cells_are_refused() {
    refusals::<Cells>();
}
