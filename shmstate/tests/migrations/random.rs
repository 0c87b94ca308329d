//! Random plays of versions that follow each other, against a map of std. `MIGRATIONS_SEED` and `MIGRATIONS_ROUNDS` say which.

use crate::shapes::{PlayerV2, v1};
use crate::world::{self, World, player_v1};
use shmstate::{Map, Migrate, Region, Tx};
use std::collections::BTreeMap;

/// What a record is, in the shape in which it was written last.
#[derive(Clone, Debug)]
enum Is {
    One(v1::Player),
    /// With the title that version 1 finds again, which version 2 does not have.
    Two(PlayerV2, u8),
}

impl Is {
    fn one(self) -> v1::Player {
        match self {
            Self::One(player) => player,
            Self::Two(player, title) => v1::Player {
                title,
                ..v1::Player::migrate(player)
            },
        }
    }

    fn two(self) -> PlayerV2 {
        match self {
            Self::One(player) => PlayerV2::migrate(player),
            Self::Two(player, _) => player,
        }
    }

    /// What it is when version 2 has changed it.
    fn changed(self, change: impl FnOnce(&mut PlayerV2)) -> Self {
        let title = match &self {
            Self::One(player) => player.title,
            Self::Two(_, title) => *title,
        };
        let mut player = self.two();
        change(&mut player);
        Self::Two(player, title)
    }
}

type Model = BTreeMap<u64, Is>;

fn name(random: &mut fastrand::Rng) -> String {
    let length = if random.u8(..) < 8 {
        random.usize(..3000)
    } else {
        random.usize(..40)
    };
    std::iter::repeat_with(|| random.alphanumeric()).take(length).collect()
}

/// Some transactions of one version; the last may be left open, as by a kill.
fn play<V: shmstate::Value>(
    region: &mut Region,
    model: &mut Model,
    random: &mut fastrand::Rng,
    change: impl Fn(&mut Tx<'_>, &mut Model, &mut fastrand::Rng) -> shmstate::Result<()>,
    players: &Map<u64, V>,
) {
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    for _ in 0..random.usize(..12) {
        let mut tx = region.begin(&pass).expect("begin");
        let mut after = model.clone();
        for _ in 0..random.usize(..8) {
            let before = after.clone();
            let undone: Result<(), shmstate::Error> = tx.savepoint(|tx| {
                change(tx, &mut after, random)?;
                if random.u8(..) < 30 {
                    Err(shmstate::Error::ForeignTable)
                } else {
                    Ok(())
                }
            });
            match undone {
                Ok(()) => {}
                Err(shmstate::Error::ForeignTable) => after = before,
                Err(error) => panic!("{error}"),
            }
        }
        match random.u8(..20) {
            0 => {
                std::mem::forget(tx);
                break;
            }
            1 => drop(tx),
            2 => {
                players.compact(&mut tx, 20).expect("compact");
                tx.commit().expect("commit");
                *model = after;
            }
            _ => {
                tx.commit().expect("commit");
                *model = after;
            }
        }
    }
}

fn play_one(world: &World, model: &mut Model, random: &mut fastrand::Rng) {
    let (mut region, players) = world.open_v1().expect("version 1");
    let change = |tx: &mut Tx<'_>, model: &mut Model, random: &mut fastrand::Rng| {
        let id = random.u64(..60);
        match random.u8(..4) {
            0 => {
                let player = v1::Player {
                    name: name(random),
                    score: random.u32(..),
                    title: random.u8(..),
                };
                players.insert(tx, &id, &player)?;
                model.insert(id, Is::One(player));
            }
            1 => {
                let there = players.remove(tx, &id)?;
                assert_eq!(there, model.remove(&id).is_some());
            }
            2 => {
                let taken = players.take(tx, &id)?;
                let taken = taken.map(|p| (p.name.to_string(), p.score.to_native(), p.title));
                let expected = model.remove(&id).map(Is::one);
                assert_eq!(taken, expected.map(|p| (p.name, p.score, p.title)));
            }
            _ => {
                if let Some(mut player) = players.get_mut(tx, &id)? {
                    let score = random.u32(..);
                    player.set(|p| &p.score, score.into())?;
                    let mut one = model[&id].clone().one();
                    one.score = score;
                    model.insert(id, Is::One(one));
                }
            }
        }
        Ok(())
    };
    play(&mut region, model, random, change, &players);
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    if random.bool() {
        while region.write(&pass, |tx| players.sweep(tx, 5)).expect("sweep").left > 0 {}
        for is in model.values_mut() {
            *is = Is::One(is.clone().one());
        }
    }
    world::check(&mut region);
    let reader = region.read(&pass).expect("read");
    let mut seen = BTreeMap::new();
    for item in players.iter(&reader).expect("iter") {
        let (id, p) = item.expect("item");
        seen.insert(id, (p.name.to_string(), p.score.to_native(), p.title));
    }
    let expected = model.iter().map(|(id, is)| (*id, is.clone().one()));
    assert_eq!(seen, expected.map(|(id, p)| (id, (p.name, p.score, p.title))).collect());
}

fn play_two(world: &World, model: &mut Model, random: &mut fastrand::Rng, back: bool) {
    let (mut region, players) = if back {
        world.open_v2_with_way_back()
    } else {
        world.open_v2()
    };
    let change = |tx: &mut Tx<'_>, model: &mut Model, random: &mut fastrand::Rng| {
        let id = random.u64(..60);
        match random.u8(..6) {
            0 => {
                let player = PlayerV2 {
                    nick: name(random),
                    score: random.u64(..),
                    mana: random.u8(..),
                };
                let there = players.insert(tx, &id, &player)?;
                let before = model.remove(&id);
                assert_eq!(there, before.is_some());
                let is = match before {
                    Some(before) => before.changed(|p| *p = player),
                    None => Is::Two(player, 0),
                };
                model.insert(id, is);
            }
            1 => {
                let there = players.remove(tx, &id)?;
                assert_eq!(there, model.remove(&id).is_some());
            }
            2 if random.u8(..) < 20 => {
                players.clear(tx)?;
                model.clear();
            }
            2 => {
                // Whatever shape it had.
                let taken = players.take(tx, &id)?;
                let taken = taken.map(|p| (p.nick.to_string(), p.score.to_native(), p.mana));
                let expected = model.remove(&id).map(Is::two);
                assert_eq!(taken, expected.map(|p| (p.nick, p.score, p.mana)));
            }
            3 => {
                players.update_many(tx, &[id, id + 1], |_, player| {
                    let mana = player.mana.wrapping_add(1);
                    player.set(|p| &p.mana, mana)
                })?;
                for id in [id, id + 1] {
                    if let Some(is) = model.get_mut(&id) {
                        *is = is.clone().changed(|p| p.mana = p.mana.wrapping_add(1));
                    }
                }
            }
            _ => {
                if let Some(mut player) = players.get_mut(tx, &id)? {
                    let score = random.u64(..);
                    player.set(|p| &p.score, score.into())?;
                    let is = model[&id].clone().changed(|p| p.score = score);
                    model.insert(id, is);
                }
            }
        }
        Ok(())
    };
    play(&mut region, model, random, change, &players);
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    if random.u8(..) < 60 {
        while region.write(&pass, |tx| players.sweep(tx, 5)).expect("sweep").left > 0 {}
        for is in model.values_mut() {
            *is = is.clone().changed(|_| {});
        }
    }
    world::check(&mut region);
    let reader = region.read(&pass).expect("read");
    let mut seen = BTreeMap::new();
    for item in players.iter(&reader).expect("iter") {
        let (id, p) = item.expect("item");
        seen.insert(id, (p.nick.to_string(), p.score.to_native(), p.mana));
    }
    let expected = model.iter().map(|(id, is)| (*id, is.clone().two()));
    assert_eq!(seen, expected.map(|(id, p)| (id, (p.nick, p.score, p.mana))).collect());
}

#[test]
fn versions_that_follow_each_other_lose_nothing() {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |n| n.parse().expect("a number"));
    let first = number("MIGRATIONS_SEED", 0);
    for seed in first..first + number("MIGRATIONS_ROUNDS", 60) {
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let mut world = if seed % 4 == 0 {
            World::checked("random")
        } else {
            World::new("random")
        };
        world.fill_v1(40);
        let mut model: Model = (0..40).map(|id| (id, Is::One(player_v1(id)))).collect();
        for _ in 0..random.usize(2..12) {
            if random.bool() {
                play_one(&world, &mut model, &mut random);
            } else {
                play_two(&world, &mut model, &mut random, true);
            }
        }
        // At last the new version stays.
        play_two(&world, &mut model, &mut random, false);
        play_two(&world, &mut model, &mut random, false);
    }
}
