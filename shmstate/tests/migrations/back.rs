//! The way back: the program before goes on after this one.

use crate::MANY;
use crate::shapes::{PlayerV2, v1};
use crate::world::{self, World, player_v1};
use rkyv::{Archive, Deserialize, Serialize};
use shmstate::{Gap, Map, Region, Schema, Steps, Timers, Tx};
use std::num::NonZeroU64;

fn get_v1(region: &Region, players: &Map<u64, v1::Player>, id: u64) -> Option<(String, u32, u8)> {
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let reader = region.read(&pass).expect("read");
    let player = players.get(&reader, &id).expect("get");
    player.map(|p| (p.name.to_string(), p.score.to_native(), p.title))
}

/// Version 2 changes, replaces, adds and removes, and dies in a transaction.
fn play_v2(world: &World) {
    let (mut region, players) = world.open_v2_with_way_back();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    assert!(!region.has_ways_back(), "nothing is written yet");
    region
        .write(&pass, |tx| {
            players
                .get_mut(tx, &1)?
                .expect("there")
                .set(|p| &p.score, 1_000.into())?;
            players.insert(tx, &2, &PlayerV2::new("a much longer name than it had before", 2, 2))?;
            players.remove(tx, &3)?;
            players.insert(tx, &MANY, &PlayerV2::new("new", 7, 7))?;
            players.get_mut(tx, &4)?.expect("there").set(|p| &p.mana, 4)?;
            players.insert(tx, &5, &PlayerV2::new("gone", 5, 5))?;
            players.remove(tx, &5)?;
            players.insert(tx, &5, &PlayerV2::new("five", u64::MAX, 5))
        })
        .expect("play");
    assert!(region.has_ways_back());
    let refused: Result<(), shmstate::Error> = region.write(&pass, |tx| {
        players
            .get_mut(tx, &6)?
            .expect("there")
            .set(|p| &p.score, 6_000.into())?;
        Err(shmstate::Error::ForeignTable)
    });
    assert!(refused.is_err());
    world::check(&mut region);
    let mut tx = region.begin(&pass).expect("begin");
    players
        .get_mut(&mut tx, &7)
        .expect("get")
        .expect("there")
        .set(|p| &p.score, 7_000.into())
        .expect("set");
    std::mem::forget(tx);
}

#[test]
fn the_old_version_goes_on_with_all_that_the_new_one_committed() {
    let mut world = World::new("back");
    world.fill_v1(MANY);
    play_v2(&world);
    let (mut region, players) = world.open_v1().expect("the way back");
    let expected = [
        // With the title that version 2 does not have.
        (1, Some(("p1".to_owned(), 1_000, 5))),
        (2, Some(("a much longer name than it had before".to_owned(), 2, 5))),
        (3, None),
        (4, Some(("p4".to_owned(), 12, 5))),
        // Taken away, and made anew.
        (5, Some(("five".to_owned(), u32::MAX, 0))),
        // Never committed, and never touched: as it was, with what version 2 does not have.
        (6, Some(("p6".to_owned(), 18, 5))),
        (7, Some(("p7".to_owned(), 21, 5))),
        (8, Some(("p8".to_owned(), 24, 5))),
        (MANY, Some(("new".to_owned(), 7, 0))),
    ];
    let all_is_there = |region: &Region| {
        for (id, player) in &expected {
            assert_eq!(get_v1(region, &players, *id), *player, "{id}");
        }
    };
    all_is_there(&region);
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    assert_eq!(players.len(&region.read(&pass).expect("read")).expect("len"), MANY);
    // It writes, sweeps and reads on.
    region
        .write(&pass, |tx| players.insert(tx, &9, &player_v1(9)))
        .expect("insert");
    all_is_there(&region);
    assert_eq!(players.unswept(&region.read(&pass).expect("read")).expect("left"), 5);
    while region.write(&pass, |tx| players.sweep(tx, 2)).expect("sweep").left > 0 {
        world::check(&mut region);
    }
    all_is_there(&region);
    world::check(&mut region);
    drop(pass);
    drop(region);
    // Once more, now with nothing of version 2 in it.
    let (mut region, players) = world.open_v2_with_way_back();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    assert_eq!(
        players
            .get(&region.read(&pass).expect("read"), &1)
            .expect("get")
            .expect("there")
            .score
            .to_native(),
        1_000
    );
    region.write(&pass, |tx| players.remove(tx, &1)).expect("remove");
    world::check(&mut region);
}

mod old {
    use rkyv::{Archive, Deserialize, Serialize};
    use shmstate::Schema;

    #[derive(Archive, Serialize, Deserialize, Schema, Clone, Debug, PartialEq)]
    pub(super) struct Item {
        pub(super) kind: u16,
        pub(super) wear: u8,
    }

    #[derive(Archive, Serialize, Deserialize, Schema, Clone, Debug, PartialEq)]
    pub(super) struct Bag {
        pub(super) weight: f32,
        pub(super) items: Vec<Item>,
    }
}

#[derive(Archive, Serialize, Deserialize, Schema)]
#[schema(version = 2, name = "Item", from = old::Item, back, removed(wear))]
struct Item {
    kind: u16,
}

/// Of what it drops nothing has a place of its own, so only what is left alone comes back whole.
#[derive(Archive, Serialize, Deserialize, Schema)]
#[schema(version = 2, name = "Bag", from = old::Bag, back)]
struct Bag {
    #[schema(migrate = |weight: f32| weight as u32, back = |weight: u32| weight as f32)]
    weight: u32,
    items: Vec<Item>,
}

#[test]
fn what_the_sweep_migrates_comes_back_exactly() {
    let bag = |n: u64| old::Bag {
        weight: n as f32 + 0.5,
        items: (0..n % 5)
            .map(|kind| old::Item {
                kind: kind as u16,
                wear: n as u8,
            })
            .collect(),
    };
    let world = World::new("swept");
    world.make(|tx| {
        let bags: Map<u64, old::Bag> = Map::create(tx, "bags")?;
        for n in 0..MANY {
            bags.insert(tx, &n, &bag(n))?;
        }
        Ok(())
    });
    {
        let mut region = world.open();
        let steps = Steps::new().from::<old::Bag>().back::<old::Bag>();
        let bags: Map<u64, Bag> = Map::open_migrating(&region, "bags", steps).expect("version 2");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        while region.write(&pass, |tx| bags.sweep(tx, 50)).expect("sweep").left > 0 {
            world::check(&mut region);
        }
        let change = |tx: &mut Tx<'_>| bags.get_mut(tx, &3)?.expect("there").set(|b| &b.weight, 9.into());
        region.write(&pass, change).expect("change");
        // Migrated, and changed in the same transaction.
        let both = |tx: &mut Tx<'_>| {
            bags.sweep(tx, 1)?;
            bags.get_mut(tx, &4)?.expect("there").set(|b| &b.weight, 9.into())
        };
        region.write(&pass, both).expect("both");
    }
    let mut region = world.open();
    let bags: Map<u64, old::Bag> = Map::open(&region, "bags").expect("the way back");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let reader = region.read(&pass).expect("read");
    for n in 0..MANY {
        let mut expected = bag(n);
        if n == 3 || n == 4 {
            expected.weight = 9.0;
            expected.items.iter_mut().for_each(|item| item.wear = 0);
        }
        let found = bags.get(&reader, &n).expect("get").expect("there");
        let found = shmstate::owned::<old::Bag>(found).expect("a bag");
        assert_eq!(found, expected, "{n}");
    }
    drop(pass);
    world::check(&mut region);
}

/// A period is no part of what has a shape: one that is changed is no change of the record, also in the transaction in which that migrates.
#[test]
fn a_period_that_changes_leaves_what_comes_back_alone() {
    let bag = |wear| old::Bag {
        weight: 1.5,
        items: vec![old::Item { kind: 1, wear }],
    };
    let period = NonZeroU64::new(7);
    let world = World::new("period");
    let mut ids = Vec::new();
    world.make(|tx| {
        let bags: Timers<old::Bag> = Timers::create(tx, "bags", Gap::All)?;
        for wear in 0..2 {
            ids.push(bags.insert(tx, 100, &bag(wear))?);
        }
        Ok(())
    });
    {
        let mut region = world.open();
        let steps = Steps::new().from::<old::Bag>().back::<old::Bag>();
        let bags: Timers<Bag> = Timers::open_migrating(&region, "bags", steps).expect("version 2");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        // Of the older shape; then in the transaction that migrates it, and in a later one.
        let again = |tx: &mut Tx<'_>| bags.reschedule_every(tx, ids[0], 50, period);
        assert!(region.write(&pass, again).expect("of the older shape"));
        let both = |tx: &mut Tx<'_>| {
            bags.sweep(tx, 100)?;
            bags.reschedule_every(tx, ids[0], 60, period)
        };
        assert!(region.write(&pass, both).expect("both"));
        assert!(
            region
                .write(&pass, |tx| bags.reschedule_every(tx, ids[1], 70, period))
                .expect("later")
        );
        world::check(&mut region);
    }
    let mut region = world.open();
    let bags: Timers<old::Bag> = Timers::open(&region, "bags").expect("the way back");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let reader = region.read(&pass).expect("read");
    for (wear, id) in (0..).zip(&ids) {
        let found = bags.get(&reader, *id).expect("get").expect("there");
        let found = rkyv::deserialize::<old::Bag, rkyv::rancor::Error>(found).expect("a bag");
        assert_eq!(found, bag(wear));
        assert_eq!(bags.period(&reader, *id).expect("period"), Some(7));
    }
    assert_eq!(bags.deadline(&reader, ids[0]).expect("deadline"), Some(60));
    drop(pass);
    world::check(&mut region);
}

#[test]
fn a_second_try_finds_what_the_first_had_and_the_old_one_left_alone() {
    let mut world = World::new("again");
    world.fill_v1(MANY);
    play_v2(&world);
    {
        let (mut region, players) = world.open_v1().expect("the way back");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        region
            .write(&pass, |tx| {
                players.get_mut(tx, &2)?.expect("there").set(|p| &p.score, 22.into())
            })
            .expect("change");
        world::check(&mut region);
    }
    let (mut region, players) = world.open_v2_with_way_back();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let get = |region: &Region, id| {
        let reader = region.read(&pass).expect("read");
        players
            .get(&reader, &id)
            .expect("get")
            .map(|p| (p.score.to_native(), p.mana))
    };
    assert_eq!(get(&region, 2), Some((22, 100)), "version 1 has changed it");
    assert_eq!(get(&region, 4), Some((12, 4)), "version 1 has not");
    region
        .write(&pass, |tx| {
            players.get_mut(tx, &2)?.expect("there").set(|p| &p.score, 23.into())
        })
        .expect("change");
    assert_eq!(get(&region, 2), Some((23, 100)));
    world::check(&mut region);
    drop(pass);
    drop(region);
    let (region, players) = world.open_v1().expect("the way back again");
    assert_eq!(get_v1(&region, &players, 2).expect("there").1, 23);
    assert_eq!(get_v1(&region, &players, 4).expect("there").1, 12);
}

#[test]
fn a_way_back_that_is_closed_is_no_way_back() {
    let mut world = World::new("closed");
    world.fill_v1(MANY);
    play_v2(&world);
    {
        let (mut region, players) = world.open_v2_with_way_back();
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        region
            .write(&pass, |tx| players.insert(tx, &10, &PlayerV2::new("ten", 10, 10)))
            .expect("insert");
        assert!(region.has_ways_back());
        region.close_ways_back(&pass).expect("close");
        assert!(!region.has_ways_back());
        region
            .write(&pass, |tx| players.insert(tx, &10, &PlayerV2::new("ten", 11, 10)))
            .expect("insert");
    }
    // A twin that is not kept up would be read.
    assert!(world.open_v1().is_err());
    {
        let (mut region, players) = world.open_v2();
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        region.write(&pass, |_| shmstate::Result::Ok(())).expect("settled");
        while region.write(&pass, |tx| players.sweep(tx, 100)).expect("sweep").left > 0 {
            world::check(&mut region);
        }
        assert_eq!(
            players
                .get(&region.read(&pass).expect("read"), &10)
                .expect("get")
                .expect("there")
                .score
                .to_native(),
            11
        );
        world::check(&mut region);
    }
    assert!(world.open_v1().is_err());
    // Nothing is left of it: no steps are needed.
    let region = world.open();
    Map::<u64, PlayerV2>::open(&region, "players").expect("all of version 2");
}

#[test]
fn one_that_has_no_way_back_closes_the_one_that_was_there() {
    let mut world = World::new("one-way");
    world.fill_v1(MANY);
    play_v2(&world);
    drop(world.open_v2());
    drop(world.open_v1().expect("still good: nothing was written"));
    let (mut region, players) = world.open_v2();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    region
        .write(&pass, |tx| players.insert(tx, &1, &PlayerV2::new("one", 1, 1)))
        .expect("insert");
    world::check(&mut region);
    drop(pass);
    drop(region);
    assert!(world.open_v1().is_err());
}

#[test]
fn tables_with_checksums_have_them_in_twins_too() {
    let mut world = World::checked("checked");
    world.fill_v1(MANY);
    play_v2(&world);
    {
        let (mut region, players) = world.open_v1().expect("the way back");
        world::check(&mut region);
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        while region.write(&pass, |tx| players.sweep(tx, 100)).expect("sweep").left > 0 {}
        world::check(&mut region);
    }
    let (mut region, players) = world.open_v2();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    while region.write(&pass, |tx| players.sweep(tx, 100)).expect("sweep").left > 0 {}
    world::check(&mut region);
}
