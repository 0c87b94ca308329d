//! Two versions take turns at random, die in transactions and are taken back, against a model of what was committed.

use crate::shapes::{Citizen, Citizens, Player, Thing, Things, Two, two_way, zone};
use crate::world::{World, check};
use shmstate::{Error, Map, Moving, Result, Tx};
use std::collections::BTreeMap;

const IDS: u32 = 400;

/// What was committed: players, and the mana that version 2 gave them in its time.
#[derive(Clone, Debug, Default)]
struct Model {
    players: BTreeMap<u32, Player>,
    mana: BTreeMap<u32, u8>,
}

fn any_player(random: &mut fastrand::Rng) -> Player {
    Player {
        name: "n".repeat(random.usize(..60)),
        score: random.u32(..1 << 30),
        bag: (0..random.usize(..4)).map(|_| random.u16(..)).collect(),
    }
}

/// Version 1 does something to one player.
fn change_one(tx: &mut Tx<'_>, model: &mut Model, random: &mut fastrand::Rng) -> Result<()> {
    let players: Map<u32, Player> = Map::open_or_create(tx, "players")?;
    let id = random.u32(..IDS);
    match random.u8(..3) {
        0 => {
            let player = any_player(random);
            players.insert(tx, &id, &player)?;
            model.players.insert(id, player);
        }
        1 => {
            assert_eq!(players.remove(tx, &id)?, model.players.remove(&id).is_some());
        }
        _ => {
            let found = players.get_mut(tx, &id)?;
            assert_eq!(found.is_some(), model.players.contains_key(&id));
            if let (Some(mut found), Some(player)) = (found, model.players.get_mut(&id)) {
                player.score = random.u32(..1 << 30);
                found.set(|p| &p.score, player.score.into())?;
            }
        }
    }
    Ok(())
}

/// Version 2 does.
fn change_two(
    tx: &mut Tx<'_>,
    (citizens, things, moving): (Citizens, Things, &Moving<u32, Player>),
    model: &mut Model,
    random: &mut fastrand::Rng,
) -> Result<()> {
    let id = random.u32(..IDS);
    match random.u8(..7) {
        0 => {
            let player = any_player(random);
            let citizen = Citizen {
                name: player.name.clone(),
                score: player.score.into(),
                mana: random.u8(..),
            };
            citizens.insert(tx, &zone(id), &citizen)?;
            let before = model.players.get(&id).map_or(0, |p| p.bag.len());
            for i in 0..before.max(player.bag.len()) {
                match player.bag.get(i) {
                    Some(kind) => things.insert(tx, &(id, i as u16), &Thing { kind: *kind })?,
                    None => things.remove(tx, &(id, i as u16))?,
                };
            }
            model.mana.insert(id, citizen.mana);
            model.players.insert(id, player);
        }
        1 => {
            let player = model.players.remove(&id);
            let mana = model.mana.remove(&id);
            if random.bool() {
                assert_eq!(citizens.remove(tx, &zone(id))?, player.is_some());
            } else {
                // It may still be in the source.
                let taken = citizens.take(tx, &zone(id))?;
                let taken = taken.map(|c| (c.name.to_string(), c.score.to_native(), c.mana));
                let expected = player.as_ref();
                let expected = expected.map(|p| (p.name.clone(), p.score.into(), mana.unwrap_or(100)));
                assert_eq!(taken, expected);
            }
            let bag = player.map_or(0, |player| player.bag.len());
            for i in 0..bag {
                assert!(things.remove(tx, &(id, i as u16))?);
            }
        }
        2 | 3 => {
            let found = citizens.get_mut(tx, &zone(id))?;
            assert_eq!(found.is_some(), model.players.contains_key(&id));
            if let (Some(mut found), Some(player)) = (found, model.players.get_mut(&id)) {
                player.score = random.u32(..1 << 30);
                let mana = random.u8(..);
                found.set(|c| &c.score, u64::from(player.score).into())?;
                found.set(|c| &c.mana, mana)?;
                model.mana.insert(id, mana);
            }
        }
        4 => {
            // By the other target first.
            if let Some(player) = model.players.get_mut(&id)
                && !player.bag.is_empty()
            {
                player.bag[0] = random.u16(..);
                things.insert(tx, &(id, 0), &Thing { kind: player.bag[0] })?;
            }
        }
        5 => {
            let entry = citizens.entry(tx, &zone(id))?;
            let is_there = matches!(entry, shmstate::Entry::Occupied(_));
            assert_eq!(is_there, model.players.contains_key(&id));
        }
        _ => {
            moving.sweep(tx, random.u64(1..40))?;
        }
    }
    Ok(())
}

fn compare_two(two: &Two, model: &Model, seed: u64) {
    for id in 0..IDS {
        let expected = model.players.get(&id).map(|player| {
            let mana = model.mana.get(&id).copied().unwrap_or(100);
            (player.clone(), mana)
        });
        assert_eq!(two.get(id), expected, "version 2, player {id}, seed {seed}");
    }
}

fn play(seed: u64, rounds: u32) {
    let mut random = fastrand::Rng::with_seed(seed);
    let world = World::new("random");
    let mut model = Model::default();
    world.write(|tx| {
        for _ in 0..IDS {
            change_one(tx, &mut model, &mut random)?;
        }
        Ok(())
    });
    let closes = random.u32(rounds / 2..rounds * 2);
    for round in 0..rounds {
        if round < closes && random.bool() {
            let (mut region, players) = world.one().expect("version 1");
            let gate = region.gate().clone();
            let pass = gate.enter().expect("pass");
            let works = random.u32(..3);
            for _ in 0..works {
                // It has worked: the mana of version 2 is lost.
                model.mana.clear();
                let mut after = model.clone();
                let mut tx = region.begin(&pass).expect("begin");
                for _ in 0..random.u32(..6) {
                    change_one(&mut tx, &mut after, &mut random).expect("change");
                }
                if random.u8(..4) > 0 {
                    tx.commit().expect("commit");
                    model = after;
                }
            }
            let reader = region.read(&pass).expect("read");
            assert_eq!(
                players.len(&reader).expect("len"),
                model.players.len() as u64,
                "seed {seed}"
            );
            for (id, player) in &model.players {
                let found = players.get(&reader, id).expect("get").expect("there");
                assert_eq!(
                    (found.name.as_str(), found.score.to_native()),
                    (player.name.as_str(), player.score)
                );
                assert!(
                    found
                        .bag
                        .iter()
                        .map(|kind| kind.to_native())
                        .eq(player.bag.iter().copied())
                );
            }
            drop(pass);
            // A look that begins a transaction is work, too.
            if works > 0 {
                check(&mut region);
            }
            continue;
        }
        let mut two = world.two(two_way());
        compare_two(&two, &model, seed);
        let gate = two.region.gate().clone();
        let pass = gate.enter().expect("pass");
        if round >= closes {
            two.region.close_ways_back(&pass).expect("close");
        }
        for _ in 0..random.u32(..6) {
            let mut after = model.clone();
            let mut tx = two.region.begin(&pass).expect("begin");
            for _ in 0..random.u32(..8) {
                let tables = (two.citizens, two.things, &two.moving);
                if random.u8(..6) == 0 {
                    let mut lost = after.clone();
                    let part: Result<()> = tx.savepoint(|tx| {
                        change_two(tx, tables, &mut lost, &mut random)?;
                        Err(Error::GateClosed)
                    });
                    assert!(matches!(part, Err(Error::GateClosed)), "{part:?}");
                } else {
                    change_two(&mut tx, tables, &mut after, &mut random).expect("change");
                }
            }
            match random.u8(..8) {
                0 => drop(tx),
                1 => {
                    // It dies.
                    std::mem::forget(tx);
                    break;
                }
                _ => {
                    tx.commit().expect("commit");
                    model = after;
                }
            }
        }
        drop(pass);
        if random.bool() {
            check(&mut two.region);
            compare_two(&two, &model, seed);
        }
    }
    let mut two = world.two(two_way());
    let gate = two.region.gate().clone();
    two.region.close_ways_back(&gate.enter().expect("pass")).expect("close");
    two.sweep_all();
    compare_two(&two, &model, seed);
    check(&mut two.region);
    assert_eq!(world.names(), ["citizens", "things"], "seed {seed}");
    let (citizens, left) = (two.citizens, model.players.len() as u64);
    two.write(|tx, _, _| {
        assert_eq!(citizens.len(tx)?, left);
        Ok(())
    })
    .expect("whole");
}

/// `MOVES_SEED` replays one, `MOVES_ROUNDS` says how long.
#[test]
fn versions_that_take_turns_lose_nothing() {
    let given = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let rounds = given("MOVES_ROUNDS").unwrap_or(40) as u32;
    match given("MOVES_SEED") {
        Some(seed) => play(seed, rounds),
        None => {
            for _ in 0..6 {
                let seed = fastrand::u64(..1 << 32);
                println!("MOVES_SEED={seed}");
                play(seed, rounds);
            }
        }
    }
}
