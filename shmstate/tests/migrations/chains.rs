//! More than two versions.

use crate::shapes::{self, PlayerV2, PlayerV3, v1};
use crate::world::{self, World};
use shmstate::{Error, Map, RecordMut, Region, Steps, Tx, Value};

fn open_v3(world: &World) -> (Region, Map<u64, PlayerV3>) {
    let region = world.open();
    let players = Map::open_migrating(&region, "players", shapes::to_v3().back::<PlayerV2>()).expect("version 3");
    (region, players)
}

#[test]
fn three_versions_meet_in_one_table() {
    let mut world = World::new("chain");
    world.fill_v1(60);
    {
        let (mut region, players) = world.open_v2();
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        for id in 0..20 {
            region
                .write(&pass, |tx| players.insert(tx, &id, &PlayerV2::new("two", id, 2)))
                .expect("insert");
        }
    }
    {
        let (mut region, players) = open_v3(&world);
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        for id in [0, 1, 30, 31] {
            let mut tx = region.begin(&pass).expect("begin");
            players
                .get_mut(&mut tx, &id)
                .expect("get")
                .expect("there")
                .set(|p| &p.mana, 3.into())
                .expect("set");
            tx.commit().expect("commit");
        }
        let reader = region.read(&pass).expect("read");
        let mana = |id| players.get(&reader, &id).expect("get").expect("there").mana.to_native();
        assert_eq!([mana(0), mana(2), mana(30), mana(32)], [3, 2, 3, 100]);
        assert_eq!(players.unswept(&reader).expect("left"), 56);
        world::check(&mut region);
    }
    // The second version comes back: what the third has changed, what was its own, what is older.
    let (mut region, players) = world.open_v2();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    {
        let reader = region.read(&pass).expect("read");
        let mana = |id| players.get(&reader, &id).expect("get").expect("there").mana;
        assert_eq!([mana(0), mana(2), mana(30), mana(32)], [3, 2, 3, 100]);
    }
    while region.write(&pass, |tx| players.sweep(tx, 7)).expect("sweep").left > 0 {
        world::check(&mut region);
    }
    {
        let reader = region.read(&pass).expect("read");
        let mana = |id| players.get(&reader, &id).expect("get").expect("there").mana;
        assert_eq!([mana(0), mana(2), mana(30), mana(32)], [3, 2, 3, 100]);
    }
    world::check(&mut region);
    drop(pass);
    drop(region);
    // And the third again.
    let (mut region, players) = open_v3(&world);
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    assert_eq!(
        region
            .write(&pass, |tx| players.sweep(tx, u64::MAX))
            .expect("sweep")
            .left,
        0
    );
    assert_eq!(
        players
            .get(&region.read(&pass).expect("read"), &31)
            .expect("get")
            .expect("there")
            .mana
            .to_native(),
        3
    );
    world::check(&mut region);
    // The first knows no way from there.
    drop(pass);
    drop(region);
    assert!(Map::<u64, v1::Player>::open(&world.open(), "players").is_err());
}

/// What version 2 reads of a player.
fn mana_of(region: &Region, players: &Map<u64, PlayerV2>, id: u64) -> u8 {
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let reader = region.read(&pass).expect("read");
    players.get(&reader, &id).expect("get").expect("there").mana
}

/// Records of three versions: 0 to 19 were written by version 2, the others by version 1; of both, version 3 has changed some.
fn three_in_one(what: &str) -> World {
    let mut world = World::new(what);
    world.fill_v1(60);
    {
        let (mut region, players) = world.open_v2();
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let fill = |tx: &mut Tx<'_>| {
            (0..20).try_for_each(|id| players.insert(tx, &id, &PlayerV2::new("two", id, 2)).map(|_| ()))
        };
        region.write(&pass, fill).expect("insert");
    }
    let (mut region, players) = open_v3(&world);
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let change = |tx: &mut Tx<'_>| {
        [0, 1, 30, 31].iter().try_for_each(|id| {
            let mut player = players.get_mut(tx, id)?.expect("there");
            player.set(|p| &p.mana, 3.into())
        })
    };
    region.write(&pass, change).expect("change");
    drop(pass);
    world::check(&mut region);
    world
}

#[test]
fn who_knows_the_steps_reads_all_three_and_who_does_not_is_refused_at_open() {
    let world = three_in_one("three");
    {
        let (region, players) = world.open_v2();
        assert_eq!([0, 2, 30, 32].map(|id| mana_of(&region, &players, id)), [3, 2, 3, 100]);
    }
    let refused = Map::<u64, PlayerV2>::open(&world.open(), "players").expect_err("version 1 is left");
    assert!(matches!(refused, Error::SchemaMismatch { .. }), "{refused}");
    let said = refused.to_string();
    for part in [
        "some of its records are of version 1, and 38 of all have no twin in version 2",
        "register a migration of Player from version 1 to 2",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // Where a step leads from all, or all have a twin, nothing is refused.
    {
        let (mut region, players) = open_v3(&world);
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        while region.write(&pass, |tx| players.sweep(tx, 10)).expect("sweep").left > 0 {}
    }
    let mut region = world.open();
    let players: Map<u64, PlayerV2> = Map::open(&region, "players").expect("twins of all");
    assert_eq!([0, 2, 30, 32].map(|id| mana_of(&region, &players, id)), [3, 2, 3, 100]);
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let mend = |tx: &mut Tx<'_>| players.get_mut(tx, &30)?.expect("there").set(|p| &p.mana, 30);
    region.write(&pass, mend).expect("it goes on");
    world::check(&mut region);
}

/// Version 1 that reads version 2 by a step, as a program does that was taken back for good.
fn open_v1_by_steps(world: &World) -> (Region, Map<u64, v1::Player>) {
    let region = world.open();
    let steps = Steps::new().from::<PlayerV2>();
    let players = Map::open_migrating(&region, "players", steps).expect("version 1");
    (region, players)
}

/// Changes the score of one player.
fn score<V: Value>(region: &mut Region, players: &Map<u64, V>, id: u64, change: fn(&mut RecordMut<'_, '_, V>)) {
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let changed = region.write(&pass, |tx| {
        change(&mut players.get_mut(tx, &id)?.expect("there"));
        shmstate::Result::Ok(())
    });
    changed.expect("change");
    drop(pass);
    world::check(region);
}

fn score_v1(player: &mut RecordMut<'_, '_, v1::Player>) {
    player.set(|p| &p.score, 11.into()).expect("set");
}

fn score_v2(player: &mut RecordMut<'_, '_, PlayerV2>) {
    player.set(|p| &p.score, 22.into()).expect("set");
}

/// Version 1 finds records of version 2 without twins: by its steps it reads them, without it is refused before it reads anything.
fn check_left_of_v2(world: &World, bare: &[u64]) {
    let refused = Map::<u64, v1::Player>::open(&world.open(), "players").expect_err("of version 2");
    assert!(matches!(refused, Error::SchemaMismatch { .. }), "{refused}");
    let said = refused.to_string();
    let counted = format!("{} of all have no twin in version 1", bare.len());
    assert!(
        said.contains(&counted) && said.contains("written by a newer program"),
        "{said}"
    );
    {
        let (region, players) = open_v1_by_steps(world);
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let reader = region.read(&pass).expect("read");
        for item in players.iter(&reader).expect("iter") {
            item.expect("all can be read");
        }
    }
    // As soon as each of them was changed under the way back, it is whole.
    {
        let (mut region, players) = world.open_v2_with_way_back();
        for id in bare {
            score(&mut region, &players, *id, score_v2);
        }
    }
    let (region, players) = world.open_v1().expect("twins of all");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let reader = region.read(&pass).expect("read");
    for id in bare {
        assert_eq!(players.get(&reader, id).expect("get").expect("there").score, 22);
    }
}

#[test]
fn a_way_back_does_not_lead_from_what_was_there_before_it() {
    let mut world = World::new("left");
    world.fill_v1(20);
    {
        let (mut region, players) = world.open_v2();
        (0..5).for_each(|id| score(&mut region, &players, id, score_v2));
    }
    {
        let (mut region, players) = open_v1_by_steps(&world);
        score(&mut region, &players, 10, score_v1);
        score(&mut region, &players, 0, score_v1);
    }
    {
        let (mut region, players) = world.open_v2_with_way_back();
        score(&mut region, &players, 11, score_v2);
    }
    check_left_of_v2(&world, &[1, 2, 3, 4]);
}

#[test]
fn a_way_back_that_was_closed_does_not_come_back_with_its_twins() {
    let mut world = World::new("reopened");
    world.fill_v1(20);
    {
        let (mut region, players) = world.open_v2_with_way_back();
        (0..5).for_each(|id| score(&mut region, &players, id, score_v2));
    }
    {
        let (mut region, players) = world.open_v1().expect("the way back");
        score(&mut region, &players, 10, score_v1);
    }
    {
        let (mut region, players) = world.open_v2();
        score(&mut region, &players, 0, score_v2);
    }
    assert!(world.open_v1().is_err(), "it was closed");
    {
        let (mut region, players) = open_v1_by_steps(&world);
        score(&mut region, &players, 4, score_v1);
    }
    {
        let (mut region, players) = world.open_v2_with_way_back();
        score(&mut region, &players, 11, score_v2);
    }
    check_left_of_v2(&world, &[0, 1, 2, 3]);
}
