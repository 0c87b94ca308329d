//! A region whose program said what it will open.

use crate::shapes::{self, PlayerV2, PlayerV3, v1};
use crate::world::{self, World};
use shmstate::{
    Cell, Declared, Error, Gap, Inspection, Kind, Map, OrderedMap, Queue, Region, Result, Rings, Slab, Steps, Streams,
    Timers, Tx,
};

const RINGS: Rings = Rings { input: 64, output: 64 };

fn declared() -> Vec<Declared> {
    vec![
        Declared::map::<u64, PlayerV2>("players").steps(&shapes::to_v2().back::<v1::Player>()),
        Declared::map::<(u8, String), u64>("map"),
        Declared::ordered_map::<String, v1::Player>("ordered"),
        Declared::slab::<v1::Player>("slab"),
        Declared::cell::<u64>("cell"),
        Declared::queue::<v1::Player>("queue"),
        Declared::timers::<u8>("timers"),
        Declared::streams("streams"),
    ]
}

/// Makes, or finds, all that is declared but the players.
fn make(tx: &mut Tx<'_>) -> Result<()> {
    Map::<(u8, String), u64>::open_or_create(tx, "map")?;
    OrderedMap::<String, v1::Player>::open_or_create(tx, "ordered")?;
    Slab::<v1::Player>::open_or_create(tx, "slab")?;
    Cell::<u64>::open_or_create(tx, "cell", &1)?;
    Queue::<v1::Player>::open_or_create(tx, "queue")?;
    Timers::<u8>::open_or_create(tx, "timers", Gap::Coalesce)?;
    Streams::open_or_create(tx, "streams", RINGS)?;
    Ok(())
}

fn undeclared<T>(opened: Result<T>, what: &str) {
    match opened.err() {
        Some(Error::Undeclared { why, .. }) => assert!(why.contains(what), "{why}"),
        other => panic!("{what}: {other:?}"),
    }
}

fn expecting(world: &World) -> Region {
    let mut region = world.open();
    region.expect_only(declared()).expect("declared");
    region
}

#[test]
fn what_is_declared_is_made_and_opened_and_is_what_the_catalog_says() {
    let mut world = World::new("declared");
    world.fill_v1(20);
    let mut region = expecting(&world);
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let steps = shapes::to_v2().back::<v1::Player>();
    let players = Map::<u64, PlayerV2>::open_migrating(&region, "players", steps).expect("by its steps");
    for _ in 0..2 {
        region.write(&pass, make).expect("made, then found");
    }
    // A second handle, and one that is opened from the region.
    Map::<u64, PlayerV2>::open(&region, "players").expect("another handle");
    Streams::open(&region, "streams").expect("streams");
    Queue::<v1::Player>::open(&region, "queue").expect("queue");
    // Companions are the library's own.
    region
        .write(&pass, |tx| players.insert(tx, &1, &PlayerV2::new("one", 1, 1)))
        .expect("a twin");
    let found = Inspection::of(world.name()).expect("inspect");
    for declared in declared() {
        let table = found.tables.iter().find(|t| t.name == declared.name()).expect("there");
        let value = declared.description();
        assert_eq!(table.kind, Some(declared.kind()), "{}", table.name);
        assert_eq!(table.version, value.version(), "{}", table.name);
        assert_eq!(table.fingerprint, value.fingerprint().as_u128(), "{}", table.name);
        let text = format!("{}\n---\n{}", declared.key(), value.text());
        assert_eq!(table.description, text, "{}", table.name);
    }
    let players = found.tables.iter().find(|t| t.name == "players").expect("players");
    let [older] = &players.shapes[..] else {
        panic!("{:?}", players.shapes)
    };
    assert_eq!((older.version, older.records, older.way_back), (1, 19, true));
    drop(pass);
    world::check(&mut region);
}

#[test]
fn what_is_not_declared_or_declared_otherwise_is_refused_and_nothing_is_made() {
    let mut world = World::new("undeclared");
    world.fill_v1(3);
    let mut region = expecting(&world);
    let open = |name| Map::<u64, v1::Player>::open(&region, name);
    undeclared(open("others"), "not among them");
    undeclared(open("players"), "declared it as Map<u64, Player> version 2");
    undeclared(Streams::open(&region, "map"), "opens it as Streams<u64, ()>");
    undeclared(Cell::<u32>::open(&region, "cell"), "Cell<u32>");
    undeclared(
        Map::<(u8, u64), u64>::open(&region, "map"),
        "opens it as Map<(u8, u64), u64>",
    );
    // Other steps: none of the declared ones, more, and without the way back.
    let steps = |steps: Steps<PlayerV2>| Map::<u64, PlayerV2>::open_migrating(&region, "players", steps);
    undeclared(
        steps(shapes::to_v2()),
        "opens it with steps from version 1 and no way back",
    );
    undeclared(
        steps(Steps::new().from::<PlayerV3>()),
        "opens it with steps from version 3",
    );
    // None at all is less than was declared (E2): the refusal is that of the shape.
    let plain = Map::<u64, PlayerV2>::open(&region, "players");
    assert!(matches!(plain, Err(Error::SchemaMismatch { .. })), "{plain:?}");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let write = |region: &mut Region, change: fn(&mut Tx<'_>) -> Result<()>| region.write(&pass, change);
    let made = write(&mut region, |tx| Map::<u64, u64>::create(tx, "others").map(drop));
    undeclared(made, "not among them");
    let made = write(&mut region, |tx| Cell::<u8>::open_or_create(tx, "cell", &1).map(drop));
    undeclared(made, "declared it as Cell<u64>");
    let made = write(&mut region, |tx| Slab::<u8>::create(tx, "queue").map(drop));
    undeclared(made, "declared it as Queue<Player>");
    // A region that was told nothing opens anything.
    drop(pass);
    drop(region);
    let names: Vec<String> = Inspection::of(world.name())
        .expect("inspect")
        .tables
        .into_iter()
        .map(|table| table.name)
        .collect();
    assert_eq!(names, ["players"]);
    Map::<u64, v1::Player>::open(&world.open(), "players").expect("undeclared, and free");
}

#[test]
fn what_cannot_be_declared_is_named() {
    let check = |declared: Declared, what: &str| {
        let error = declared.check().expect_err("refused").to_string();
        assert!(error.contains(what), "{error}");
    };
    check(Declared::cell::<u64>(".cell"), "no valid name");
    check(Declared::cell::<u64>(&"n".repeat(65)), "no valid name");
    let long = Declared::map::<u64, PlayerV2>(&"n".repeat(58));
    long.check().expect("it does not migrate");
    check(long.steps(&shapes::to_v2()), "at most 57 bytes");
    let other = Declared::map::<u64, PlayerV3>("players").steps(&shapes::to_v2());
    check(other, "its steps lead to Player");
    let twice = Declared::map::<u64, PlayerV2>("players").steps(&shapes::to_v2().from::<v1::Player>());
    check(twice, "declared twice");
    check(
        Declared::streams("streams").steps(&Steps::<()>::new()),
        "its steps lead to ()",
    );
    let mut region = Region::in_memory(4 << 20).expect("region");
    let twice = [Declared::cell::<u64>("a"), Declared::queue::<u64>("a")];
    assert!(matches!(region.expect_only(twice), Err(Error::TableExists { .. })));
    // What was refused is not expected.
    let gate = region.gate().clone();
    let made = region.write(&gate.enter().expect("pass"), |tx| {
        Cell::create(tx, "b", &1u64).map(drop)
    });
    made.expect("anything");
    assert_eq!(Declared::timers::<u8>("t").kind(), Kind::Timers);
}
