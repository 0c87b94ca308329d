//! The way back: version 1 goes on with what version 2 has made of its table, and version 2 after it.

use crate::MANY;
use crate::shapes::{Citizen, Player, Thing, one_way, player, two_way, zone};
use crate::world::{World, check, get_one};
use shmstate::{Error, Result};

fn citizen(name: &str, score: u64) -> Citizen {
    Citizen {
        name: name.into(),
        score,
        mana: 1,
    }
}

/// What version 2 does in its time, and then it dies in a transaction.
fn play(world: &World) {
    let mut two = world.two(two_way());
    assert!(two.region.has_ways_back());
    two.write(|tx, citizens, things| {
        citizens
            .get_mut(tx, &zone(1))?
            .expect("there")
            .set(|c| &c.score, 1_000.into())?;
        citizens.insert(tx, &zone(2), &citizen("two", u64::MAX))?;
        citizens.remove(tx, &zone(3))?;
        for thing in 0..3 {
            things.remove(tx, &(3, thing))?;
        }
        things.insert(tx, &(5, 1), &Thing { kind: 55 })?;
        citizens.insert(tx, &zone(MANY), &citizen("new", 9))?;
        things.insert(tx, &(MANY, 0), &Thing { kind: 1 })?;
        citizens.insert(tx, &zone(MANY + 1), &citizen("gone", 9))?;
        citizens.remove(tx, &zone(MANY + 1)).map(|_| ())
    })
    .expect("play");
    let refused: Result<()> = two.write(|tx, citizens, _| {
        citizens.remove(tx, &zone(6))?;
        Err(Error::GateClosed)
    });
    assert!(refused.is_err());
    check(&mut two.region);
    let gate = two.region.gate().clone();
    let pass = gate.enter().expect("pass");
    let mut tx = two.region.begin(&pass).expect("begin");
    two.citizens.remove(&mut tx, &zone(8)).expect("remove");
    std::mem::forget(tx);
}

/// What version 1 finds then.
fn expected() -> Vec<(u32, Option<Player>)> {
    let changed = |id, change: fn(&mut Player)| {
        let mut player = player(id);
        change(&mut player);
        (id, Some(player))
    };
    vec![
        (0, Some(player(0))),
        changed(1, |p| p.score = 1_000),
        changed(2, |p| (p.name, p.score) = ("two".into(), u32::MAX)),
        (3, None),
        (4, Some(player(4))),
        changed(5, |p| p.bag = vec![5, 55]),
        (6, Some(player(6))),
        (8, Some(player(8))),
        (
            MANY,
            Some(Player {
                name: "new".into(),
                score: 9,
                bag: vec![1],
            }),
        ),
        (MANY + 1, None),
        (MANY - 1, Some(player(MANY - 1))),
    ]
}

fn found_by_one(world: &World) {
    let (region, players) = world.one().expect("version 1");
    for (id, player) in expected() {
        assert_eq!(get_one(&region, &players, id), player, "{id}");
    }
}

#[test]
fn the_version_before_finds_what_was_committed() {
    let world = World::of_players("back", MANY);
    play(&world);
    found_by_one(&world);
    // It has changed nothing: version 2 goes on where it was, with what only it knows.
    let mut two = world.two(two_way());
    assert_eq!(two.get(2).map(|(_, mana)| mana), Some(1));
    assert_eq!(two.get(1).map(|(p, mana)| (p.score, mana)), Some((1_000, 100)));
    two.sweep_all();
    check(&mut two.region);
    drop(two);
    found_by_one(&world);
    let two = world.two(two_way());
    assert_eq!((two.left(), two.get(2).map(|(_, mana)| mana)), (0, Some(1)));
}

/// Version 1 has worked in between: what it has is what counts.
#[test]
fn after_the_version_before_the_move_begins_anew() {
    let world = World::of_players("anew", MANY);
    play(&world);
    world.write(|tx| {
        let players = crate::shapes::Players::open_or_create(tx, "players")?;
        players.get_mut(tx, &1)?.expect("there").set(|p| &p.score, 1.into())?;
        players.remove(tx, &2)?;
        players.insert(tx, &3, &player(3))?;
        players.remove(tx, &4).map(|_| ())
    });
    let mut two = world.two(two_way());
    check(&mut two.region);
    assert_eq!(two.get(1).map(|(p, mana)| (p.score, mana)), Some((1, 100)));
    assert_eq!((two.get(2), two.get(4)), (None, None));
    assert_eq!(two.get(3), Some((player(3), 100)));
    assert_eq!(two.get(5).map(|(p, _)| p.bag), Some(vec![5, 55]));
    assert_eq!(two.get(MANY).map(|(p, _)| p.score), Some(9));
    assert_eq!(two.left(), u64::from(MANY) - 1);
    two.write(|tx, citizens, _| citizens.get_mut(tx, &zone(7))?.expect("there").set(|c| &c.mana, 7))
        .expect("play");
    let swept = two.sweep_all();
    assert!(swept > u64::from(MANY), "what was out of date is gone, too: {swept}");
    check(&mut two.region);
    drop(two);
    // And once more, with all moved.
    world.write(|tx| {
        let players = crate::shapes::Players::open_or_create(tx, "players")?;
        players.get_mut(tx, &7)?.expect("there").set(|p| &p.score, 70.into())
    });
    let mut two = world.two(two_way());
    assert_eq!(two.get(7).map(|(p, mana)| (p.score, mana)), Some((70, 100)));
    two.sweep_all();
    check(&mut two.region);
    assert_eq!(world.names(), [".moved.players", "citizens", "players", "things"]);
}

/// The way is closed, in time or before anything has moved; the source goes with the sweep.
#[test]
fn a_closed_way_is_closed() {
    for (what, sweep_first) in [("closed", false), ("closed-swept", true)] {
        let world = World::of_players(what, MANY);
        play(&world);
        let mut two = world.two(two_way());
        if sweep_first {
            two.sweep_all();
        }
        let gate = two.region.gate().clone();
        two.region.close_ways_back(&gate.enter().expect("pass")).expect("close");
        assert!(!two.region.has_ways_back());
        check(&mut two.region);
        two.write(|tx, citizens, _| citizens.get_mut(tx, &zone(9))?.expect("there").set(|c| &c.mana, 9))
            .expect("goes on");
        drop(two);
        let refused = world.one().map(|_| ());
        assert!(matches!(refused, Err(Error::TableMoved { .. })), "{refused:?}");
        // Another process takes the rest.
        let mut two = world.two(two_way());
        assert!(!two.region.has_ways_back());
        two.sweep_all();
        check(&mut two.region);
        for (id, player) in expected() {
            assert_eq!(two.get(id).map(|(found, _)| found), player, "{id}");
        }
        assert_eq!(two.get(9).map(|(_, mana)| mana), Some(9));
        assert_eq!(world.names(), ["citizens", "things"]);
    }
}

/// A later version has no way back: it closes the one that it finds.
#[test]
fn a_version_without_a_way_closes_it() {
    let world = World::of_players("closes", 100);
    play_little(&world);
    let mut two = world.two(one_way());
    assert!(!two.region.has_ways_back());
    check(&mut two.region);
    assert_eq!(two.get(1).map(|(p, mana)| (p.score, mana)), Some((1, 100)));
    two.sweep_all();
    check(&mut two.region);
    assert_eq!(two.get(1).map(|(p, mana)| (p.score, mana)), Some((1, 100)));
}

fn play_little(world: &World) {
    let mut two = world.two(two_way());
    two.write(|tx, citizens, _| {
        citizens
            .get_mut(tx, &zone(1))?
            .expect("there")
            .set(|c| &c.score, 1.into())
    })
    .expect("play");
}

/// What only the source has a place for stays there, also in records that were changed.
#[test]
fn what_the_targets_have_no_place_for_stays() {
    let world = World::of_players("before", 20);
    let declared = || {
        shmstate::Move::<u32, Player>::of("players")
            .to::<u64, u32>(
                "scores",
                |id| Some(*id as u32),
                |_, id, player| Ok(vec![(u64::from(*id), player.score)]),
            )
            .back(|targets, id, before| {
                let scores: shmstate::Map<u64, u32> = targets.map("scores")?;
                let score = scores.get(targets, &u64::from(*id))?.map(|score| score.to_native());
                Ok(score.map(|score| match before {
                    Some(player) => Player { score, ..player },
                    None => Player {
                        name: "somebody".into(),
                        score,
                        bag: Vec::new(),
                    },
                }))
            })
    };
    {
        let mut region = world.open();
        let _moving = declared().open(&region).expect("open");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        region
            .write(&pass, |tx| {
                let scores: shmstate::Map<u64, u32> = shmstate::Map::open_or_create(tx, "scores")?;
                for score in [100, 200] {
                    scores.get_mut(tx, &3)?.expect("there").set(|s| s, score.into())?;
                }
                scores.insert(tx, &50, &7)?;
                scores.remove(tx, &4).map(|_| ())
            })
            .expect("play");
        drop(pass);
        check(&mut region);
    }
    let (region, players) = world.one().expect("version 1");
    let expected = Player {
        score: 200,
        ..player(3)
    };
    assert_eq!(get_one(&region, &players, 3), Some(expected));
    assert_eq!(get_one(&region, &players, 50).map(|p| p.name), Some("somebody".into()));
    assert_eq!(get_one(&region, &players, 4), None);
}
