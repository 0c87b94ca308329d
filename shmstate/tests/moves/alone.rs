//! One version alone: what it finds, and what becomes of the tables.

use crate::MANY;
use crate::shapes::{Citizen, Citizens, Players, Thing, one_way, player, zone};
use crate::world::{World, check};
use shmstate::{Error, Map, Move, Result, TableOptions, verify};

/// Records are found where they are asked for, whether they have moved or not, and move when they are changed.
#[test]
fn records_move_when_they_are_needed() {
    let world = World::of_players("needed", MANY);
    let mut two = world.two(one_way());
    assert_eq!(two.left(), u64::from(MANY));
    for id in [0, 1, 7, MANY - 1] {
        assert_eq!(two.get(id), Some((player(id), 100)));
    }
    assert_eq!(two.get(MANY), None);
    assert_eq!(two.left(), u64::from(MANY), "reading moves nothing");
    two.write(|tx, citizens, things| {
        citizens.get_mut(tx, &zone(1))?.expect("there").set(|c| &c.mana, 7)?;
        let new = Citizen {
            name: "new".into(),
            score: 1 << 40,
            mana: 3,
        };
        assert!(citizens.insert(tx, &zone(2), &new)?, "it was there, in the source");
        assert!(citizens.remove(tx, &zone(3))?);
        assert!(!citizens.remove(tx, &zone(3))?);
        assert!(!citizens.contains_key(tx, &zone(3))?);
        assert!(citizens.contains_key(tx, &zone(4))?);
        assert_eq!(citizens.get(tx, &zone(5))?.expect("there").score.to_native(), 15);
        // A thing of the same player: its record has moved with the player's.
        assert_eq!(things.get(tx, &(3, 0))?.expect("there").kind.to_native(), 3);
        things.insert(tx, &(6, 0), &Thing { kind: 60 })?;
        assert!(!citizens.insert(tx, &zone(MANY + 1), &new)?);
        Ok(())
    })
    .expect("play");
    assert_eq!(two.left(), u64::from(MANY) - 4);
    check(&mut two.region);
    drop(two);

    // Another process goes on with it.
    let mut two = world.two(one_way());
    assert_eq!(two.left(), u64::from(MANY) - 4);
    assert_eq!(two.get(1), Some((player(1), 7)));
    assert_eq!(two.get(2).map(|(p, mana)| (p.name, mana)), Some(("new".into(), 3)));
    assert_eq!(two.get(3), None);
    let mut six = player(6);
    six.bag[0] = 60;
    assert_eq!(two.get(6), Some((six, 100)));
    assert_eq!(two.sweep_all(), u64::from(MANY) - 4);
    check(&mut two.region);
    let citizens = two.citizens;
    two.write(|tx, _, _| {
        assert_eq!(citizens.len(tx)?, u64::from(MANY));
        assert_eq!(citizens.iter(tx)?.count(), MANY as usize);
        Ok(())
    })
    .expect("whole");
    drop(two);
    let gone = world.one().map(|_| ());
    assert!(matches!(gone, Err(Error::NoTable { .. })), "{gone:?}");
    // It is over: who does not know it opens the targets, and the name is free.
    let region = world.open();
    let _: Citizens = Map::open(&region, "citizens").expect("a table like any other");
    drop(region);
    world.write(|tx| Map::<u32, u8>::create(tx, "players").map(|_| ()));
    // Who still declares it is told that this is another table.
    let refused = one_way().open(&world.open()).map(|_| ());
    assert!(matches!(refused, Err(Error::SchemaMismatch { .. })), "{refused:?}");
}

/// A target is not looked at as a whole, nor opened by who does not know the move, while records are on their way; a source not at all.
#[test]
fn what_is_not_whole_says_so() {
    let world = World::of_players("whole", 100);
    let mut two = world.two(one_way());
    let moving = two.moving.clone();
    two.write(|tx, citizens, _| {
        let refused = [
            citizens.len(tx).map(|_| ()),
            citizens.is_empty(tx).map(|_| ()),
            citizens.iter(tx).map(|_| ()),
            citizens.keys(tx).map(|_| ()),
            citizens.retain(tx, |_, _| Ok(true)).map(|_| ()),
            citizens.drain(tx, |_, _| Ok(())).map(|_| ()),
            citizens.clear(tx),
            citizens.handle(tx, &zone(5)).map(|_| ()),
        ];
        for refused in refused {
            match refused {
                Err(Error::StillMoving {
                    table,
                    source_table,
                    left,
                }) => {
                    assert_eq!((&*table, &*source_table, left), ("citizens", "players", 100));
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(citizens.handle(tx, &zone(500))?, None);
        assert!(moving.bring(tx, &5)?);
        assert!(!moving.bring(tx, &5)?);
        assert!(!moving.bring(tx, &500)?);
        let handle = citizens.handle(tx, &zone(5))?.expect("has moved");
        assert_eq!(citizens.get_at(tx, handle)?.expect("there").score.to_native(), 15);
        Ok(())
    })
    .expect("asked");
    let gate = two.region.gate().clone();
    let pass = gate.enter().expect("pass");
    let dropped = two.region.drop_table(&pass, "citizens");
    assert!(matches!(dropped, Err(Error::StillMoving { .. })), "{dropped:?}");
    let dropped = two.region.drop_table(&pass, "players");
    assert!(matches!(dropped, Err(Error::StillMoving { .. })), "{dropped:?}");
    drop(pass);
    drop(two);
    let refused = world.one().map(|_| ());
    assert!(matches!(refused, Err(Error::TableMoved { .. })), "{refused:?}");
    let region = world.open();
    let refused = Citizens::open(&region, "citizens");
    assert!(matches!(refused, Err(Error::BadSteps { .. })), "{refused:?}");
    // Nothing is read before it is known how far the moves are.
    let _moving = one_way().open(&region).expect("open");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    assert!(matches!(region.read(&pass), Err(Error::ReadTooEarly { .. })));
}

/// A transaction that is taken back has moved nothing, nor ended the move.
#[test]
fn a_transaction_that_is_taken_back_moves_nothing() {
    let world = World::of_players("rollback", 50);
    let mut two = world.two(one_way());
    let moving = two.moving.clone();
    let refused: Result<()> = two.write(|tx, citizens, _| {
        citizens.remove(tx, &zone(1))?;
        while moving.sweep(tx, 10)?.left > 1 {}
        assert_eq!(moving.left(tx)?, 0);
        Err(Error::GateClosed)
    });
    assert!(refused.is_err());
    assert_eq!(two.left(), 50);
    assert_eq!(two.get(1), Some((player(1), 100)));
    check(&mut two.region);
    let saved = two.write(|tx, citizens, _| {
        let part: Result<()> = tx.savepoint(|tx| {
            citizens.get_mut(tx, &zone(1))?.expect("there").set(|c| &c.mana, 1)?;
            Err(Error::GateClosed)
        });
        assert!(part.is_err());
        assert_eq!(moving.left(tx)?, 50);
        Ok(())
    });
    saved.expect("saved");
    assert_eq!(two.sweep_all(), 50);
    check(&mut two.region);
}

/// The program's code panics, or fails.
#[test]
fn code_that_fails_has_moved_nothing() {
    let world = World::of_players("panic", 50);
    let bad = || {
        Move::<u32, crate::shapes::Player>::of("players").to::<u64, Thing>(
            "bad",
            |id| Some(*id as u32),
            |_, id, _| match id {
                7 => panic!("on purpose"),
                8 => Err(Error::GateClosed),
                _ => Ok(vec![(u64::from(*id), Thing { kind: 1 })]),
            },
        )
    };
    let mut region = world.open();
    let moving = bad().open(&region).expect("open");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let map: Map<u64, Thing> = region.write(&pass, |tx| Map::open_or_create(tx, "bad")).expect("made");
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        region.write(&pass, |tx| map.get_mut(tx, &7).map(|_| ()))
    }));
    assert!(panicked.is_err());
    let failed = region.write(&pass, |tx| map.get_mut(tx, &8).map(|_| ()));
    assert!(matches!(failed, Err(Error::GateClosed)));
    region
        .write(&pass, |tx| {
            assert_eq!(moving.left(tx)?, 50);
            assert!(map.get(tx, &9)?.is_some());
            assert!(map.get(tx, &8).is_err());
            shmstate::Result::Ok(())
        })
        .expect("nothing has moved");
    drop(pass);
    check(&mut region);
}

/// What cannot be meant.
#[test]
fn moves_that_cannot_be_meant() {
    let world = World::of_players("bad", 1);
    let region = world.open();
    let to = |name: &str| {
        Move::<u32, crate::shapes::Player>::of("players").to::<u64, Thing>(name, |_| None, |_, _, _| Ok(vec![]))
    };
    for bad in [
        to("players"),
        to(&"x".repeat(64)),
        to("a").to::<u64, Thing>("a", |_| None, |_, _, _| Ok(vec![])),
    ] {
        let refused = bad.open(&region).map(|_| ());
        assert!(matches!(refused, Err(Error::BadSteps { .. })), "{refused:?}");
    }
    let other = Move::<u64, crate::shapes::Player>::of("players")
        .open(&region)
        .map(|_| ());
    assert!(matches!(other, Err(Error::SchemaMismatch { .. })), "{other:?}");
}

/// A letter that is not what it was is noticed in a target because it was noticed in the source.
#[test]
fn targets_have_checksums_if_the_source_has() {
    for checksums in [false, true] {
        let world = World::new("checksums");
        world.write(|tx| {
            let options = TableOptions::default().checksums(checksums);
            let players = Players::create_with(tx, "players", options)?;
            (0..20).try_for_each(|id| players.insert(tx, &id, &player(id)).map(|_| ()))
        });
        world.two(one_way()).sweep_all();
        assert_eq!(world.names(), ["citizens", "things"]);
        let file = format!("/dev/shm/{}", world.name());
        let mut bytes = std::fs::read(&file).expect("read");
        let name = player(17).name;
        let mut found = 0;
        for at in 0..bytes.len() - name.len() {
            if bytes[at..].starts_with(name.as_bytes()) {
                bytes[at + 5] ^= 1;
                found += 1;
            }
        }
        assert!(found > 0, "what memory has is not what was written");
        std::fs::write(&file, &bytes).expect("write");
        let region = world.open();
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let verified = verify(&region.read(&pass).expect("read")).expect("verify");
        assert_eq!(verified.is_sound(), !checksums, "{verified:?}");
    }
}
