//! Tables that go.

use crate::shapes::{Players, Thing, one_way, two_way, zone};
use crate::world::{World, check};
use shmstate::{
    Cell, CheckpointOptions, Error, Gap, Map, Move, OrderedMap, Queue, Region, Rings, Slab, Streams, Timers,
};

fn thing(kind: u16) -> Thing {
    Thing { kind }
}

/// All that a table held is there again for others, whatever its kind; its name is free, and its handle finds nothing.
#[test]
fn every_kind_of_table_goes() {
    let world = World::new("kinds");
    let mut region = world.open();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let used = |region: &Region| {
        let reader = region.read(&pass).expect("read");
        shmstate::verify(&reader).expect("verify").heap.blocks
    };
    region
        .write(&pass, |tx| Map::<u64, Thing>::create(tx, "stays").map(|_| ()))
        .expect("stays");
    let before = used(&region);
    for round in 0..3u16 {
        let (map, ordered, slab, queue, timers, cell) = region
            .write(&pass, |tx| {
                let map: Map<String, Thing> = Map::create(tx, "map")?;
                let ordered: OrderedMap<u64, Thing> = OrderedMap::create(tx, "ordered")?;
                let slab: Slab<Thing> = Slab::create(tx, "slab")?;
                let queue: Queue<Thing> = Queue::create(tx, "queue")?;
                let timers: Timers<Thing> = Timers::create(tx, "timers", Gap::All)?;
                let cell: Cell<Thing> = Cell::create(tx, "cell", &thing(1))?;
                for i in 0..2_000u16 {
                    map.insert(tx, &format!("{i}{}", "x".repeat(usize::from(i % 300))), &thing(i))?;
                    ordered.insert(tx, &u64::from(i), &thing(i))?;
                    slab.insert(tx, &thing(i))?;
                    queue.push_back(tx, &thing(i))?;
                    timers.insert(tx, u64::from(i) + 1, &thing(i))?;
                }
                Ok::<_, Error>((map, ordered, slab, queue, timers, cell))
            })
            .expect("fill");
        for name in ["map", "ordered", "slab", "queue", "timers", "cell"] {
            assert!(region.drop_table(&pass, name).expect(name), "{name} in round {round}");
            assert!(!region.drop_table(&pass, name).expect(name));
        }
        let refused = [
            region.write(&pass, |tx| map.insert(tx, "7", &thing(1)).map(|_| ())),
            region.write(&pass, |tx| ordered.insert(tx, &7, &thing(1)).map(|_| ())),
            region.write(&pass, |tx| slab.insert(tx, &thing(1)).map(|_| ())),
            region.write(&pass, |tx| queue.push_back(tx, &thing(1)).map(|_| ())),
            region.write(&pass, |tx| timers.insert(tx, 1, &thing(1)).map(|_| ())),
            region.write(&pass, |tx| cell.set(tx, &thing(1)).map(|_| ())),
        ];
        for (i, refused) in refused.into_iter().enumerate() {
            assert!(
                matches!(refused, Err(Error::TableGone)),
                "stale handle {i}: {refused:?}"
            );
        }
        let reader = region.read(&pass).expect("read");
        assert!(matches!(map.get(&reader, "7"), Err(Error::TableGone)));
        assert!(matches!(ordered.get(&reader, &7), Err(Error::TableGone)));
        assert!(matches!(cell.get(&reader), Err(Error::TableGone)));
        assert_eq!(used(&region), before, "round {round}");
    }
    drop(pass);
    check(&mut region);
}

/// Whatever the length of a record, a table that was dropped takes none.
#[test]
fn a_table_that_was_dropped_takes_nothing() {
    let world = World::new("takes-nothing");
    let mut region = world.open();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let slab: Slab<String> = region.write(&pass, |tx| Slab::create(tx, "slab")).expect("slab");
    assert!(region.drop_table(&pass, "slab").expect("dropped"));
    for length in (0..4_000).step_by(7) {
        let mut tx = region.begin(&pass).expect("begin");
        let taken = slab.insert(&mut tx, &"x".repeat(length));
        assert!(matches!(taken, Err(Error::TableGone)), "{length} bytes");
        // Nothing that a commit would keep.
        tx.commit().expect("commit");
    }
    drop(pass);
    check(&mut region);
}

/// 64 tables at a time, however many come and go; a table that is gone makes room for another.
#[test]
fn a_region_has_room_for_so_many_tables() {
    let world = World::new("rows");
    let mut region = world.open();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let make =
        |region: &mut Region, name: &str| region.write(&pass, |tx| Map::<u64, Thing>::create(tx, name).map(|_| ()));
    for i in 0..200 {
        let name = format!("t{i}");
        make(&mut region, &name).expect("room");
        assert!(region.drop_table(&pass, &name).expect("dropped"));
    }
    for i in 0..64 {
        make(&mut region, &format!("t{i}")).expect("room");
    }
    let refused = make(&mut region, "one more");
    assert!(matches!(refused, Err(Error::BadName { .. })), "{refused:?}");
    let full = make(&mut region, "one-more");
    assert!(matches!(full, Err(Error::CatalogFull { rows: 64 })), "{full:?}");
    assert!(region.drop_table(&pass, "t17").expect("dropped"));
    make(&mut region, "one-more").expect("room again");
    drop(pass);
    check(&mut region);
}

/// What a checkpoint has of a move goes on where it stood, for nobody has worked on it since.
#[test]
fn a_move_goes_on_in_a_restored_region() {
    let world = World::of_players("restored", 500);
    let mut two = world.two(crate::shapes::two_way());
    two.write(|tx, citizens, _| {
        let key = crate::shapes::zone(1);
        citizens.get_mut(tx, &key)?.expect("there").set(|c| &c.mana, 1)
    })
    .expect("play");
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("world");
    let gate = two.region.gate().clone();
    let soon = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let pass = gate.enter().expect("pass");
    let mut running = two
        .region
        .checkpoint(&pass, &path, &CheckpointOptions::default())
        .expect("begun");
    running.wait(soon).expect("made");
    let again = World::new("restored-again");
    Region::remove(again.name()).expect("removed");
    Region::restore(&path, again.name()).expect("restored");
    let mut two = again.two(crate::shapes::two_way());
    assert_eq!((two.left(), two.get(1).map(|(_, mana)| mana)), (499, Some(1)));
    two.sweep_all();
    check(&mut two.region);
}

#[test]
fn connections_do_not_go() {
    let world = World::new("streams");
    let mut region = world.open();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let rings = Rings {
        input: 4096,
        output: 4096,
    };
    region
        .write(&pass, |tx| Streams::open_or_create(tx, "streams", rings).map(|_| ()))
        .expect("made");
    let refused = region.drop_table(&pass, "streams");
    assert!(matches!(refused, Err(Error::Streams { .. })), "{refused:?}");
}

/// A move without targets: the table stays until the way back is closed, and goes piecemeal.
#[test]
fn a_table_is_given_up_piecemeal() {
    let world = World::of_players("given-up", 2_000);
    let give_up = || Move::<u32, crate::shapes::Player>::of("players");
    let over = || {
        let region = world.open();
        let moving = give_up().open(&region).expect("open");
        (region, moving)
    };
    let (mut region, moving) = over();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let swept = region.write(&pass, |tx| moving.sweep(tx, 100)).expect("sweep");
    assert_eq!((swept.done, swept.left), (0, 0), "there is a way back");
    assert!(region.has_ways_back());
    drop(pass);
    drop(region);
    // The version before goes on, and the newer one again.
    world.write(|tx| {
        crate::shapes::Players::open_or_create(tx, "players")?
            .remove(tx, &1)
            .map(|_| ())
    });
    let (mut region, moving) = over();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    region.close_ways_back(&pass).expect("close");
    let (mut calls, mut done) = (0, 0);
    loop {
        let swept = region.write(&pass, |tx| moving.sweep(tx, 100)).expect("sweep");
        (calls, done) = (calls + 1, done + swept.done);
        if swept.left == 0 {
            break;
        }
    }
    assert_eq!(done, 1_999);
    assert!(calls > 3, "piecemeal: {calls} calls");
    drop(pass);
    check(&mut region);
    assert!(matches!(
        crate::shapes::Players::open(&region, "players"),
        Err(Error::NoTable { .. })
    ));
}

/// Version 1 is there again and stays: it drops what version 2 has left, and nothing of the move is there any more.
#[test]
fn what_a_version_left_that_does_not_come_again_can_be_dropped() {
    let world = World::of_players("left", 500);
    let play = |key| {
        let mut two = world.two(two_way());
        two.write(|tx, citizens, _| citizens.get_mut(tx, &zone(key))?.expect("there").set(|c| &c.mana, 1))
            .expect("play");
    };
    let remove = |id| {
        world.write(|tx| Players::open_or_create(tx, "players")?.remove(tx, &id).map(|_| ()));
    };
    play(1);
    remove(2);
    // Begun anew, so that something is set aside, and disowned once more.
    play(3);
    remove(4);
    let before = [".aside.0..moved.players", ".aside.0.citizens", ".aside.0.things"];
    let names = world.names();
    assert!(
        before.iter().all(|name| names.iter().any(|known| known == name)),
        "{names:?}"
    );
    {
        let (mut region, players) = world.one().expect("version 1");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        assert!(region.drop_table(&pass, "things").expect("dropped"));
        check(&mut region);
        assert!(region.drop_table(&pass, "citizens").expect("dropped"));
        check(&mut region);
        region
            .write(&pass, |tx| players.remove(tx, &5).map(|_| ()))
            .expect("goes on");
    }
    assert_eq!(world.names(), ["players"]);
    // It may come again all the same, and begins as if it never had been.
    let mut two = world.two(two_way());
    assert_eq!(two.left(), 497);
    assert_eq!((two.get(5), two.get(1).map(|(_, mana)| mana)), (None, Some(100)));
    two.sweep_all();
    check(&mut two.region);
}

/// The source, too, and what only a move of it has filled stays until it is dropped itself.
#[test]
fn the_source_of_a_move_that_nobody_knows_can_be_dropped() {
    let world = World::of_players("source", 500);
    {
        let mut two = world.two(two_way());
        two.write(|tx, citizens, _| citizens.get_mut(tx, &zone(1))?.expect("there").set(|c| &c.mana, 1))
            .expect("play");
        let gate = two.region.gate().clone();
        let pass = gate.enter().expect("pass");
        for table in ["players", "citizens", "things"] {
            let refused = two.region.drop_table(&pass, table);
            assert!(
                matches!(refused, Err(Error::StillMoving { .. })),
                "{table}: {refused:?}"
            );
        }
    }
    let mut region = world.open();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    assert!(region.drop_table(&pass, "players").expect("dropped"));
    check(&mut region);
    assert_eq!(world.names(), ["citizens", "things"]);
    for table in ["citizens", "things"] {
        assert!(region.drop_table(&pass, table).expect("dropped"));
        check(&mut region);
    }
    assert!(world.names().is_empty());
}

/// Records are nowhere but in the targets: nobody who does not know the move can throw them away for tables that count no more.
#[test]
fn what_has_moved_for_good_is_not_dropped_by_who_does_not_know() {
    let world = World::of_players("for-good", 500);
    {
        let mut two = world.two(one_way());
        two.write(|tx, citizens, _| citizens.get_mut(tx, &zone(1))?.expect("there").set(|c| &c.mana, 1))
            .expect("play");
    }
    let mut region = world.open();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    for table in ["players", "citizens", "things"] {
        let refused = region.drop_table(&pass, table);
        assert!(
            matches!(refused, Err(Error::StillMoving { .. })),
            "{table}: {refused:?}"
        );
    }
    check(&mut region);
}
