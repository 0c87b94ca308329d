//! What cannot be meant, or cannot be read.

use crate::shapes::{self, PlayerV2, PlayerV3, v1};
use crate::world::World;
use shmstate::{Error, Map, Observer, Options, Region, Schema, Steps};

#[test]
fn a_program_without_steps_is_refused_until_all_is_swept() {
    let mut world = World::new("refused");
    world.fill_v1(50);
    let refused = Map::<u64, PlayerV2>::open(&world.open(), "players").expect_err("another shape");
    assert!(
        matches!(&refused, Error::SchemaMismatch { report, .. } if report.contains("migration")),
        "{refused}"
    );
    {
        let (mut region, players) = world.open_v2();
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        region
            .write(&pass, |tx| players.insert(tx, &1, &PlayerV2::new("one", 1, 1)))
            .expect("insert");
    }
    // The row is of version 2 now, some records are not.
    let refused = Map::<u64, PlayerV2>::open(&world.open(), "players").expect_err("left over");
    let said = refused.to_string();
    assert!(said.contains("some of its records are still of version 1"), "{said}");
    assert!(said.contains("table \"players\""), "{said}");
    let mut region = world.open();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let mut tx = region.begin(&pass).expect("begin");
    let refused = Map::<u64, PlayerV2>::open_or_create(&mut tx, "players").expect_err("left over");
    assert!(refused.to_string().contains("49 of its records"), "{refused}");
}

#[test]
fn steps_that_do_not_fit_are_named() {
    let mut world = World::new("steps");
    world.fill_v1(1);
    let refuse = |steps: Steps<PlayerV3>, what: &str| {
        let error = Map::<u64, PlayerV3>::open_migrating(&world.open(), "players", steps).expect_err("refused");
        assert!(error.to_string().contains(what), "{error}");
    };
    refuse(Steps::new().through::<v1::Player, PlayerV2>(), "is not said before");
    refuse(shapes::to_v3().from::<PlayerV2>(), "declared twice");
    refuse(Steps::new().back::<PlayerV2>(), "needs a step from it");
    refuse(Steps::new().from::<PlayerV2>(), "holds records of another shape");
}

/// Of the shape of version 1 and its version.
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize, Schema)]
#[schema(version = 257, name = "Player")]
struct TooAlike(u8);

impl shmstate::Migrate<v1::Player> for TooAlike {
    fn migrate(old: v1::Player) -> Self {
        Self(old.title)
    }
}

#[test]
fn versions_that_records_cannot_tell_apart_are_refused() {
    let mut world = World::new("alike");
    world.fill_v1(1);
    let steps = Steps::<TooAlike>::new().from::<v1::Player>();
    let error = Map::<u64, TooAlike>::open_migrating(&world.open(), "players", steps).expect_err("refused");
    assert!(error.to_string().contains("256"), "{error}");
}

#[test]
fn who_only_looks_is_told_that_a_record_is_older() {
    let mut world = World::new("observers");
    world.fill_v1(10);
    let (mut region, players) = world.open_v2();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    region
        .write(&pass, |tx| players.insert(tx, &1, &PlayerV2::new("one", 1, 1)))
        .expect("insert");
    let observer = Observer::open(region.name()).expect("observer");
    let seen = observer.map::<u64, PlayerV2>("players").expect("of version 2");
    assert_eq!(seen.peek(&1).expect("peek").expect("there").mana, 1);
    let old = seen.peek(&2).map(|_| ()).expect_err("older");
    assert!(
        matches!(
            old,
            Error::OtherVersion {
                version: 1,
                expected: 2,
                ..
            }
        ),
        "{old}"
    );
    let validation = observer
        .validate()
        .map::<u64, PlayerV2>("players")
        .expect("of version 2");
    let report = validation.run_gently().expect("validation");
    assert_eq!((report.records, report.older, report.faulty), (10, 9, 0), "{report:?}");
    // Without types each is shown in its own shape.
    let table = observer.table("players").expect("table");
    let mut versions = [0; 3];
    let mut records = table.records();
    while let Some(batch) = records.batch().expect("batch") {
        for record in batch {
            let version = record.version().expect("version");
            versions[usize::from(version)] += 1;
            let value = record.value().expect("value").to_string();
            assert_eq!(value.contains("title"), version == 1, "{value}");
        }
    }
    assert_eq!(versions, [0, 9, 1]);
    let name = region.name().to_owned();
    drop(pass);
    drop(region);
    let mut unverified = Options::default().open_checked(&name).expect("open");
    let old = unverified.table::<Map<u64, PlayerV2>>("players").expect_err("older");
    assert!(
        matches!(
            old,
            Error::OtherVersion {
                version: 1,
                expected: 2,
                ..
            }
        ),
        "{old}"
    );
    drop(unverified);
    let _ = Region::remove(&name);
}
