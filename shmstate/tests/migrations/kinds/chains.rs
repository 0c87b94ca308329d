//! Three versions of a table's records, and what is refused, for any kind of table.

use super::{Is, Kind, Model, Random, Seen, TABLE, Version, live};
use crate::shapes::{PlayerV2, PlayerV3, to_v2, to_v3, v1};
use crate::world::{self, World};
use shmstate::{Error, Inspection, Observer, Options, Region, Steps};

/// What a version reads.
fn read<K: Kind, V: Version>(region: &Region, table: K::Of<V>) -> Seen<K, V> {
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    K::all::<V>(table, &region.read(&pass).expect("read")).expect("all")
}

fn expected<K: Kind, V: Version>(model: &Model<K>) -> Seen<K, V> {
    let records = model.iter();
    records
        .map(|(id, (beside, is))| (id.clone(), (beside.clone(), V::of(is))))
        .collect()
}

/// The version that the row describes, and the records that are of another.
fn row(world: &World) -> (u16, u64) {
    let tables = Inspection::of(world.name()).expect("inspection").tables;
    let row = tables.iter().find(|table| table.name == TABLE).expect("the table");
    (row.version, row.older)
}

/// Version 2 owns the table, and has changed nothing yet.
fn take_over<K: Kind>(world: &World) {
    let mut region = world.open();
    K::open(&region, to_v2()).expect("version 2");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    region.write(&pass, |_| shmstate::Result::Ok(())).expect("settled");
    drop(pass);
    world::check(&mut region);
}

/// Versions 2 and 3 follow each other, with a way back from 3 to 2 and steps from 1 to both. Without those steps version 2 can go on if nothing
/// of version 1 is left, and is refused before it reads anything if there is.
pub(crate) fn three_versions_follow_each_other<K: Kind>() {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |n| n.parse().expect("a number"));
    let first = number("MIGRATIONS_SEED", 0);
    for seed in first..first + number("MIGRATIONS_ROUNDS", 40) {
        println!("seed {seed}");
        let mut random = Random::with_seed(seed);
        let world = World::new("chains");
        let mut model = Model::<K>::new();
        world.make(|tx| K::fill(tx, &mut model, seed % 4 == 0));
        take_over::<K>(&world);
        for _ in 0..random.usize(2..10) {
            if random.bool() {
                live::<K, PlayerV2>(&world, &mut model, &mut random, Some(to_v2()));
            } else {
                let steps = to_v3().back::<PlayerV2>();
                live::<K, PlayerV3>(&world, &mut model, &mut random, Some(steps));
            }
            let region = world.open();
            let plain = K::open_plain::<PlayerV2>(&region);
            // What one of version 1 wrote has no twin.
            if model.values().any(|(_, is)| matches!(is, Is::One(_))) {
                let refused = plain.map(|_| ()).expect_err("records that it cannot read");
                assert!(matches!(refused, Error::SchemaMismatch { .. }), "{refused}");
            } else {
                let seen = read::<K, PlayerV2>(&region, plain.expect("all that is not its own has a twin"));
                assert_eq!(seen, expected::<K, PlayerV2>(&model));
            }
            let refused = K::open_plain::<v1::Player>(&region)
                .map(|_| ())
                .expect_err("no way back");
            assert!(matches!(refused, Error::SchemaMismatch { .. }), "{refused}");
        }
        live::<K, PlayerV3>(&world, &mut model, &mut random, Some(to_v3()));
        let mut region = world.open();
        let table = K::open(&region, to_v3()).expect("open");
        let gate = region.gate().clone();
        let left = region.write(&gate.enter().expect("pass"), |tx| K::empty::<PlayerV3>(table, tx));
        assert_eq!(left.expect("empty"), 0, "what came and what went is counted alike");
        world::check(&mut region);
    }
}

/// Each refusal has its type, whatever the kind of table.
pub(crate) fn refusals<K: Kind>() {
    let world = World::new("refusals");
    let mut model = Model::<K>::new();
    world.make(|tx| K::fill(tx, &mut model, false));
    let region = world.open();
    let wrong = |steps: Steps<PlayerV3>, what: &str| {
        let error = K::open(&region, steps).map(|_| ()).expect_err("refused");
        assert!(
            matches!(&error, Error::BadSteps { table, .. } if **table == *TABLE),
            "{error}"
        );
        assert!(error.to_string().contains(what), "{error}");
    };
    wrong(Steps::new().through::<v1::Player, PlayerV2>(), "is not said before");
    wrong(to_v3().from::<PlayerV2>(), "declared twice");
    wrong(Steps::new().back::<PlayerV2>(), "needs a step from it");
    for refused in [
        K::open_plain::<PlayerV2>(&region).map(|_| ()),
        // The steps do not lead from what is there.
        K::open(&region, Steps::<PlayerV3>::new().from::<PlayerV2>()).map(|_| ()),
    ] {
        let refused = refused.expect_err("refused");
        assert!(matches!(&refused, Error::SchemaMismatch { .. }), "{refused}");
        assert!(refused.to_string().contains(TABLE), "{refused}");
    }
    drop(region);

    take_over::<K>(&world);
    assert_eq!(row(&world), (2, model.len() as u64));
    let region = world.open();
    for refused in [
        K::open_plain::<PlayerV2>(&region).map(|_| ()),
        K::open_plain::<v1::Player>(&region).map(|_| ()),
    ] {
        let refused = refused.expect_err("refused");
        assert!(matches!(&refused, Error::SchemaMismatch { .. }), "{refused}");
    }
    drop(region);
    let observer = Observer::open(world.name()).expect("observer");
    let is_older = |error: &Error| {
        matches!(
            error,
            Error::OtherVersion {
                version: 1,
                expected: 2,
                ..
            }
        )
    };
    for id in model.keys().take(3) {
        let older = K::peek(&observer, id).expect_err("older");
        assert!(is_older(&older), "{older}");
    }
    let mut unverified = Options::default().open_checked(world.name()).expect("open");
    let older = K::open_checked(&mut unverified).expect_err("older");
    assert!(is_older(&older), "{older}");
    drop(unverified);

    // Nothing is left of version 1, and nothing is refused.
    {
        let mut region = world.open();
        let table = K::open(&region, to_v2()).expect("version 2");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        while region.write(&pass, |tx| K::sweep(table, tx)).expect("sweep").left > 0 {}
    }
    for id in model.keys().take(3) {
        assert!(K::peek(&observer, id).expect("of version 2"));
    }
    let region = world.open();
    let table = K::open_plain::<PlayerV2>(&region).expect("all is of version 2");
    assert_eq!(read::<K, PlayerV2>(&region, table), expected::<K, PlayerV2>(&model));
    drop(region);
    let mut unverified = Options::default().open_checked(world.name()).expect("open");
    K::open_checked(&mut unverified).expect("all is of version 2");
}
