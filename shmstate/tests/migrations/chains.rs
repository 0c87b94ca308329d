//! More than two versions.

use crate::shapes::{self, PlayerV2, PlayerV3, v1};
use crate::world::{self, World};
use shmstate::{Map, Region};

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
