//! Every-prefix replay of migrations: after a kill between any two stores each record is old or new, and either version reads the same
//! as before or after the transaction, in its own shape.

mod tables;

use super::every_prefix_of;
use crate::table::mixed;
use crate::{Map, Migrate, Region, Result, Schema, Steps, Tx, verify};
use rkyv::{Archive, Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Archive, Serialize, Deserialize, Schema)]
#[schema(name = "Player")]
struct One {
    name: String,
    score: u32,
    /// Version 2 has no place for it.
    title: u8,
}

#[derive(Archive, Serialize, Deserialize, Schema)]
#[schema(name = "Player", version = 2)]
struct Two {
    name: String,
    score: u64,
    mana: u8,
}

impl Migrate<One> for Two {
    fn migrate(old: One) -> Self {
        Self {
            name: old.name,
            score: old.score.into(),
            mana: 100,
        }
    }
}

impl Migrate<Two> for One {
    fn migrate(new: Two) -> Self {
        Self {
            name: new.name,
            score: new.score as u32,
            title: 0,
        }
    }

    fn migrate_over(new: Two, before: Self) -> Self {
        Self {
            title: before.title,
            ..Self::migrate(new)
        }
    }

    fn wants_before() -> bool {
        true
    }
}

/// Of the records that version 1 has made.
fn title(id: u64) -> u8 {
    id as u8 + 1
}

/// Everything that committed state says, to either version; nothing to one that it refuses.
#[derive(Debug, PartialEq)]
struct World {
    one: Option<BTreeMap<u64, (String, u32)>>,
    two: Option<BTreeMap<u64, (String, u64, u8)>>,
    /// Version, records of it, twins, whether they are good.
    companions: Vec<(u16, u64, u64, bool)>,
}

fn world(region: &Region) -> World {
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let reader = region.read(&pass).expect("reader");
    let verification = verify(&reader).expect("verify");
    assert!(verification.is_sound(), "{verification:?}");
    let one = Map::<u64, One>::open(region, "players").ok().map(|players| {
        let items = players.iter(&reader).expect("iter").map(|item| item.expect("record"));
        items
            .map(|(id, p)| {
                // Whatever version 2 has done since. What it has made has none.
                assert_eq!(p.title, if id < MADE_BY_TWO { title(id) } else { 0 });
                (id, (p.name.to_string(), p.score.to_native()))
            })
            .collect()
    });
    let steps = Steps::new().from::<One>().back::<One>();
    let two = Map::<u64, Two>::open_migrating(region, "players", steps)
        .ok()
        .map(|players| {
            let items = players.iter(&reader).expect("iter").map(|item| item.expect("record"));
            items
                .map(|(id, p)| (id, (p.name.to_string(), p.score.to_native(), p.mana)))
                .collect()
        });
    let companions = mixed::companions(&reader, "players").expect("companions").into_iter();
    let companions = companions
        .map(|companion| {
            let twins = crate::table::map::counts(&reader, companion.row.offset)
                .expect("counts")
                .0;
            (companion.row.version, companion.left, twins, companion.good)
        })
        .collect();
    World { one, two, companions }
}

/// The first record that version 2 makes.
const MADE_BY_TWO: u64 = 100;

fn name(id: u64) -> String {
    format!("player {id} {}", "x".repeat((id % 40) as usize))
}

/// A region with so many players of version 1.
fn filled(players: u64) -> Region {
    let mut region = Region::in_memory(2 << 20).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let fill = |tx: &mut Tx<'_>| -> Result<()> {
        let map: Map<u64, One> = Map::create(tx, "players")?;
        for id in 0..players {
            let one = One {
                name: name(id),
                score: id as u32,
                title: title(id),
            };
            map.insert(tx, &id, &one)?;
        }
        Ok(())
    };
    region.write(&pass, fill).expect("fill");
    drop(pass);
    region
}

fn two(region: &Region) -> Map<u64, Two> {
    let steps = Steps::new().from::<One>().back::<One>();
    Map::open_migrating(region, "players", steps).expect("version 2")
}

/// Replays a change by version 2, with its way back.
fn as_two(region: &mut Region, change: impl FnOnce(&mut Tx<'_>, Map<u64, Two>) -> Result<()>) {
    // Looking at the world has entered the table anew, so each replay settles first: the same, and nothing is written.
    let players = two(region);
    every_prefix_of(region, world, 1, |tx| change(tx, players));
}

fn as_one(region: &mut Region, change: impl FnOnce(&mut Tx<'_>, Map<u64, One>) -> Result<()>) {
    let open = |region: &Region| Map::<u64, One>::open(region, "players").expect("version 1");
    let players = open(region);
    let before = world(region);
    open(region);
    let last = |region: &Region| {
        let found = world(region);
        open(region);
        found
    };
    assert_eq!(before, last(region));
    every_prefix_of(region, last, 1, |tx| change(tx, players));
}

/// Everything that a version does to a table, there and back again.
#[test]
fn each_record_is_old_or_new() {
    let mut region = filled(24);
    as_two(&mut region, |_, _| Ok(()));
    as_two(&mut region, |tx, players| {
        players.get_mut(tx, &1)?.expect("there").set(|p| &p.mana, 1)?;
        let longer = Two {
            name: name(39),
            score: 2,
            mana: 2,
        };
        players.insert(tx, &2, &longer)?;
        players.remove(tx, &3)?;
        players.insert(tx, &MADE_BY_TWO, &longer).map(|_| ())
    });
    // Twins in place, a twin that needs another block, one that goes.
    as_two(&mut region, |tx, players| {
        players.get_mut(tx, &1)?.expect("there").set(|p| &p.score, 11.into())?;
        let longer = Two {
            name: name(39).repeat(4),
            score: 4,
            mana: 4,
        };
        players.insert(tx, &2, &longer)?;
        players.remove(tx, &MADE_BY_TWO).map(|_| ())
    });
    as_two(&mut region, |tx, players| players.sweep(tx, 1).map(|_| ()));
    // The version before, which has no steps.
    as_one(&mut region, |_, _| Ok(()));
    as_one(&mut region, |tx, players| {
        players.get_mut(tx, &1)?.expect("there").set(|p| &p.score, 12.into())?;
        players.remove(tx, &2)?;
        players.insert(
            tx,
            &4,
            &One {
                name: name(4),
                score: 4,
                title: title(4),
            },
        )?;
        Ok(())
    });
    as_one(&mut region, |tx, players| players.sweep(tx, 1).map(|_| ()));
    as_two(&mut region, |_, _| Ok(()));
    as_two(&mut region, |tx, players| players.clear(tx));
}

/// Closing the way back, and what it leaves.
#[test]
fn the_way_back_is_there_or_not() {
    let mut region = filled(6);
    as_two(&mut region, |_, _| Ok(()));
    as_two(&mut region, |tx, players| {
        players.get_mut(tx, &1)?.expect("there").set(|p| &p.mana, 1)
    });
    let players = two(&region);
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let before = world(&region);
    two(&region);
    region.close_ways_back(&pass).expect("close");
    let after = world(&region);
    assert!(before.one.is_some() && after.one.is_none());
    drop(pass);
    let steps = || Steps::new().from::<One>();
    let last = |region: &Region| {
        let found = world(region);
        Map::<u64, Two>::open_migrating(region, "players", steps()).expect("version 2");
        found
    };
    last(&region);
    every_prefix_of(&mut region, last, 1, |tx| players.sweep(tx, 100).map(|_| ()));
    // With the last twin went the companion; what it leaves of its row goes with the next call, or, where the table was opened
    // anew in between, as here to look at it, when the next owner settles.
    assert_eq!(world(&region).companions, []);
    let dying = |region: &Region| crate::table::dropped::any_dying(&region.view).expect("rows");
    let whole = |region: &Region| (last(region), dying(region));
    every_prefix_of(&mut region, whole, 1, |tx| {
        crate::table::dropped::finish(tx).map(|_| ())
    });
    assert!(!dying(&region));
}
