//! A region has 64 rows for tables: one that changes its shape for years does not use them up.

use crate::world::{self, World};
use rkyv::{Archive, Deserialize, Serialize};
use shmstate::{Error, Inspection, MAX_TABLES, Map, Migrate, Region, Result, Schema, Steps};

const PLAYERS: u64 = 300;

macro_rules! versions {
    ($($name:ident = $version:literal from $before:ident),*) => {$(
        #[derive(Archive, Serialize, Deserialize, Schema, Clone, Debug)]
        #[schema(version = $version, name = "Player")]
        struct $name {
            score: u64,
            marks: [u8; $version],
        }

        impl Migrate<$before> for $name {
            fn migrate(old: $before) -> Self {
                Self { score: old.score + 1, marks: [$version; $version] }
            }
        }
    )*};
}

#[derive(Archive, Serialize, Deserialize, Schema, Clone, Debug)]
#[schema(version = 1, name = "Player")]
struct V1 {
    score: u64,
    marks: [u8; 1],
}

versions!(V2 = 2 from V1, V3 = 3 from V2, V4 = 4 from V3, V5 = 5 from V4, V6 = 6 from V5, V7 = 7 from V6);

/// A region in which so many rows are left for what migrations need.
fn world(what: &str, free: u64) -> World {
    let world = World::new(what);
    world.make(|tx| {
        let players: Map<u64, V1> = Map::create(tx, "players")?;
        (0..PLAYERS).try_for_each(|id| {
            let player = V1 { score: id, marks: [1] };
            players.insert(tx, &id, &player).map(drop)
        })?;
        (0..MAX_TABLES - 1 - free).try_for_each(|i| Map::<u8, u8>::create(tx, &format!("other-{i}")).map(drop))
    });
    world
}

/// How many companions there are.
fn companions(world: &World) -> usize {
    let found = Inspection::of(world.name()).expect("inspect");
    found.tables.iter().filter(|table| table.name.starts_with('.')).count()
}

/// A version that knows the one before takes over, and does something.
macro_rules! upgrade {
    ($world:expr, $new:ident from $old:ident, $work:expr) => {{
        let mut region = $world.open();
        let steps = Steps::<$new>::new().from::<$old>();
        let players = Map::<u64, $new>::open_migrating(&region, "players", steps).expect("open");
        let work: fn(&mut Region, Map<u64, $new>) -> Result<()> = $work;
        work(&mut region, players).expect(stringify!($new));
        world::check(&mut region);
    }};
}

macro_rules! swept {
    () => {
        |region: &mut Region, players: Map<u64, _>| {
            let gate = region.gate().clone();
            let pass = gate.enter()?;
            // One more than until nothing is left: by then the companion is gone, and its row free.
            let mut left = 1;
            while left > 0 {
                left = region.write(&pass, |tx| players.sweep(tx, 50))?.left;
            }
            region.write(&pass, |tx| players.sweep(tx, 50)).map(drop)
        }
    };
}

macro_rules! touched {
    () => {
        |region, players| {
            let gate = region.gate().clone();
            let pass = gate.enter()?;
            region.write(&pass, |tx| {
                (0..PLAYERS).try_for_each(|id| {
                    let mut player = players.get_mut(tx, &id)?.expect("there");
                    let score = player.score.to_native();
                    player.set(|p| &p.score, (score + 1).into())
                })
            })
        }
    };
}

#[test]
fn what_was_swept_leaves_no_row_behind() {
    let world = world("swept", 1);
    upgrade!(world, V2 from V1, swept!());
    assert_eq!(companions(&world), 0);
    upgrade!(world, V3 from V2, swept!());
    upgrade!(world, V4 from V3, swept!());
    upgrade!(world, V5 from V4, swept!());
    upgrade!(world, V6 from V5, swept!());
    upgrade!(world, V7 from V6, swept!());
    assert_eq!(companions(&world), 0);
    let region = world.open();
    let players = Map::<u64, V7>::open(&region, "players").expect("plain");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let reader = region.read(&pass).expect("read");
    for id in 0..PLAYERS {
        let player = players.get(&reader, &id).expect("get").expect("there");
        assert_eq!((player.score.to_native(), player.marks), (id + 6, [7; 7]));
    }
}

#[test]
fn a_table_in_the_row_of_a_companion_is_let_alone() {
    let world = world("let-alone", 1);
    upgrade!(world, V2 from V1, |region, players| {
        swept!()(region, players)?;
        let gate = region.gate().clone();
        let pass = gate.enter()?;
        let late = region.write(&pass, |tx| {
            let late: Map<u64, u64> = Map::create(tx, "late")?;
            (0..PLAYERS).try_for_each(|id| late.insert(tx, &id, &id).map(drop))?;
            Ok::<_, Error>(late)
        })?;
        for _ in 0..3 {
            assert_eq!(region.write(&pass, |tx| players.sweep(tx, u64::MAX))?, shmstate::Swept::default());
        }
        let reader = region.read(&pass)?;
        assert_eq!((players.unswept(&reader)?, late.len(&reader)?), (0, PLAYERS));
        Ok(())
    });
}

#[test]
fn what_was_only_touched_goes_with_the_next_version() {
    // The companion of the version before, one that is being dropped, and the one that is made.
    let world = world("touched", 2);
    upgrade!(world, V2 from V1, touched!());
    assert_eq!(companions(&world), 1);
    upgrade!(world, V3 from V2, touched!());
    upgrade!(world, V4 from V3, touched!());
    upgrade!(world, V5 from V4, touched!());
    upgrade!(world, V6 from V5, touched!());
    upgrade!(world, V7 from V6, touched!());
    assert_eq!(companions(&world), 1);
}

#[test]
fn a_sweep_that_is_taken_back_takes_nothing_with_it() {
    let world = world("taken-back", 1);
    upgrade!(world, V2 from V1, |region, players| {
        let gate = region.gate().clone();
        let pass = gate.enter()?;
        for _ in 0..3 {
            let mut tx = region.begin(&pass)?;
            let taken_back: Result<()> = tx.savepoint(|tx| {
                assert_eq!(players.sweep(tx, u64::MAX)?.left, 0);
                Err(Error::NoTable { name: "on purpose".into() })
            });
            taken_back.expect_err("on purpose");
            assert_eq!(players.unswept(&tx)?, PLAYERS);
            assert_eq!(players.sweep(&mut tx, u64::MAX)?.left, 0);
            drop(tx);
            let reader = region.read(&pass)?;
            assert_eq!(players.unswept(&reader)?, PLAYERS);
            for id in 0..PLAYERS {
                let player = players.get(&reader, &id)?.expect("there");
                assert_eq!((player.score.to_native(), player.marks), (id + 1, [2, 2]));
            }
        }
        region.write(&pass, |tx| players.sweep(tx, u64::MAX))?;
        let reader = region.read(&pass)?;
        assert_eq!(players.unswept(&reader)?, 0);
        Ok(())
    });
    assert_eq!(companions(&world), 0);
}

#[test]
fn without_a_row_for_the_companion_the_first_transaction_is_refused() {
    let world = world("full", 0);
    let mut region = world.open();
    let steps = Steps::<V2>::new().from::<V1>();
    let players = Map::<u64, V2>::open_migrating(&region, "players", steps).expect("open");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let refused = region.write(&pass, |tx| players.sweep(tx, 1)).expect_err("no row");
    assert!(matches!(refused, Error::CatalogFull { .. }), "{refused}");
}
