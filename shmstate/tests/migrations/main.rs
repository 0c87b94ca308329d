//! Tables whose records change their shape: lazily, by the sweep, and back again.

mod back;
mod chains;
mod declared;
mod full;
mod kinds;
mod random;
mod refused;
mod rows;
mod shapes;
mod world;

use shapes::{PlayerV2, v1};
use shmstate::{Map, Steps};
use world::World;

/// Records of version 1, as `world` fills them.
const MANY: u64 = 500;

#[test]
fn records_are_converted_when_read_and_migrate_when_changed() {
    let mut world = World::new("touch");
    world.fill_v1(MANY);
    let (mut region, players) = world.open_v2();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    {
        // Before the first transaction, and again: the same answer, from the same place.
        let reader = region.read(&pass).expect("read");
        for id in 0..MANY {
            let [first, again] = [(); 2].map(|()| players.get(&reader, &id).expect("get").expect("there"));
            assert!(std::ptr::eq(first, again));
            assert_eq!((first.score.to_native(), first.mana), (id * 3, 100));
            assert_eq!(first.nick, format!("p{id}").as_str());
        }
        assert_eq!(
            players.iter(&reader).expect("iter").filter(Result::is_ok).count(),
            MANY as usize
        );
    }
    let left = |region: &shmstate::Region| players.unswept(&region.read(&pass).expect("read")).expect("left");
    region.write(&pass, |_| shmstate::Result::Ok(())).expect("settled");
    assert_eq!(left(&region), MANY);
    // A change of one field, a replacement, a removal, an entry: each takes one record.
    let mut tx = region.begin(&pass).expect("begin");
    let mut player = players.get_mut(&mut tx, &1).expect("get").expect("there");
    player.set(|p| &p.mana, 7).expect("set");
    players
        .insert(&mut tx, &2, &PlayerV2::new("two", 2, 2))
        .expect("insert");
    assert!(players.remove(&mut tx, &3).expect("remove"));
    let entry = players.entry(&mut tx, &4).expect("entry");
    let mut four = entry.or_insert_with(|| unreachable!("it is there")).expect("four");
    four.set(|p| &p.score, 44.into()).expect("set");
    tx.commit().expect("commit");
    assert_eq!(left(&region), MANY - 4);
    // What is rolled back is as old as it was.
    let mut tx = region.begin(&pass).expect("begin");
    let mut player = players.get_mut(&mut tx, &5).expect("get").expect("there");
    player.set(|p| &p.mana, 7).expect("set");
    drop(tx);
    assert_eq!(left(&region), MANY - 4);
    let reader = region.read(&pass).expect("read");
    let get = |id| {
        players
            .get(&reader, &id)
            .expect("get")
            .map(|p| (p.nick.to_string(), p.score.to_native(), p.mana))
    };
    assert_eq!(get(1), Some(("p1".into(), 3, 7)));
    assert_eq!(get(2), Some(("two".into(), 2, 2)));
    assert_eq!(get(3), None);
    assert_eq!(get(4), Some(("p4".into(), 44, 100)));
    assert_eq!(get(5), Some(("p5".into(), 15, 100)));
    world::check(&mut region);
}

#[test]
fn a_second_handle_is_one_more_of_the_first() {
    let mut world = World::new("second");
    world.fill_v1(20);
    let (mut region, players) = world.open_v2_with_way_back();
    let again: Map<u64, PlayerV2> = Map::open(&region, "players").expect("the process knows the steps");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let change = |tx: &mut shmstate::Tx<'_>| again.get_mut(tx, &1)?.expect("there").set(|p| &p.score, 11.into());
    region.write(&pass, change).expect("change");
    assert!(region.has_ways_back());
    // Of the other version, in the same process: it may look, as far as it can, but not change.
    let older: Map<u64, v1::Player> = Map::open(&region, "players").expect("the way back");
    let refused = region
        .write(&pass, |tx| players.remove(tx, &2))
        .expect_err("another version came after");
    assert!(matches!(refused, shmstate::Error::ForeignTable), "{refused}");
    assert_eq!(
        older
            .get(&region.read(&pass).expect("read"), &1)
            .expect("get")
            .expect("there")
            .score
            .to_native(),
        11
    );
    world::check(&mut region);
}

#[test]
fn the_sweep_migrates_what_nobody_touches() {
    let mut world = World::new("sweep");
    world.fill_v1(MANY);
    let (mut region, players) = world.open_v2();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let mut swept = 0;
    loop {
        let step = region.write(&pass, |tx| players.sweep(tx, 50)).expect("sweep");
        swept += step.done;
        assert_eq!(step.left, MANY - swept);
        world::check(&mut region);
        if step.left == 0 {
            break;
        }
    }
    assert_eq!(swept, MANY);
    drop(pass);
    drop(region);
    // Nothing of the old shape is left, so a program that knows no steps opens it.
    let region = world.open();
    let players: Map<u64, PlayerV2> = Map::open(&region, "players").expect("open");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let reader = region.read(&pass).expect("read");
    assert_eq!(players.len(&reader).expect("len"), MANY);
    assert_eq!(
        players.get(&reader, &9).expect("get").expect("there").score.to_native(),
        27
    );
}

#[test]
fn passes_over_all_meet_each_record_once() {
    let mut world = World::new("passes");
    world.fill_v1(MANY);
    let (mut region, players) = world.open_v2();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    // Some are of the new shape already, and longer, so that they lie elsewhere.
    for id in 0..50 {
        let long = PlayerV2::new(&"long".repeat(50), id, 1);
        region
            .write(&pass, |tx| players.insert(tx, &(id * 7), &long))
            .expect("insert");
    }
    let mut met = Vec::new();
    let see = |met: &mut Vec<u64>, id, player: &mut shmstate::RecordMut<'_, '_, PlayerV2>| {
        met.push(id);
        let mana = player.mana.wrapping_add(1);
        player.set(|p| &p.mana, mana)
    };
    region
        .write(&pass, |tx| {
            players.for_each_mut(tx, |id, player| see(&mut met, id, player))
        })
        .expect("all");
    met.sort_unstable();
    assert_eq!(met, (0..MANY).collect::<Vec<_>>());
    met.clear();
    drop(pass);
    drop(region);
    let (mut region, players) = world.open_v2();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let n = players
        .pass(&mut region, &pass, 64, |id, player| see(&mut met, id, player))
        .expect("pass");
    met.sort_unstable();
    assert_eq!((n, met.len()), (MANY, MANY as usize));
    let kept = region
        .write(&pass, |tx| players.retain(tx, |id, _| Ok(id % 2 == 0)))
        .expect("retain");
    assert_eq!(kept, MANY / 2);
    world::check(&mut region);
    let reader = region.read(&pass).expect("read");
    let ids: Vec<u64> = (0..20).collect();
    let mut found = 0;
    players
        .get_many(&reader, &ids, |_, player| {
            found += usize::from(player.is_some_and(|p| p.mana == 102 || p.mana == 3))
        })
        .expect("many");
    assert_eq!(found, 10);
}

#[test]
fn handles_and_compaction_and_clearing_know_old_records() {
    let mut world = World::new("handles");
    world.fill_v1(MANY);
    let (mut region, players) = world.open_v2();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let handle = players
        .handle(&region.read(&pass).expect("read"), &8)
        .expect("handle")
        .expect("there");
    assert_eq!(
        players
            .get_at(&region.read(&pass).expect("read"), handle)
            .expect("at")
            .expect("fresh")
            .mana,
        100
    );
    let mut tx = region.begin(&pass).expect("begin");
    let mut player = players.get_mut_at(&mut tx, handle).expect("at").expect("fresh");
    player.set(|p| &p.mana, 1).expect("set");
    tx.commit().expect("commit");
    assert_eq!(
        players
            .get(&region.read(&pass).expect("read"), &8)
            .expect("get")
            .expect("there")
            .mana,
        1
    );
    assert!(
        players
            .get_at(&region.read(&pass).expect("read"), handle)
            .expect("at")
            .is_none(),
        "stale"
    );
    for id in 0..MANY / 2 {
        region.write(&pass, |tx| players.remove(tx, &(id * 2))).expect("remove");
    }
    while region.write(&pass, |tx| players.compact(tx, 100)).expect("compact") > 0 {}
    world::check(&mut region);
    assert_eq!(
        players.unswept(&region.read(&pass).expect("read")).expect("left"),
        MANY / 2
    );
    assert_eq!(
        players
            .get(&region.read(&pass).expect("read"), &9)
            .expect("get")
            .expect("there")
            .score
            .to_native(),
        27
    );
    region.write(&pass, |tx| players.clear(tx)).expect("clear");
    assert_eq!(players.unswept(&region.read(&pass).expect("read")).expect("left"), 0);
    world::check(&mut region);
}

#[test]
fn a_panic_of_the_programs_code_changes_nothing() {
    let mut world = World::new("panic");
    world.fill_v1(20);
    let region = &mut world.open();
    let steps = Steps::new().from::<v1::Player>();
    let players: Map<u64, shapes::Fragile> = Map::open_migrating(region, "players", steps).expect("open");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        region.write(&pass, |tx| {
            players.get_mut(tx, &1)?.expect("there").set(|p| &p.score, 1.into())?;
            players
                .get_mut(tx, &shapes::FRAGILE)?
                .expect("there")
                .set(|p| &p.score, 1.into())
        })
    }));
    assert!(panicked.is_err());
    world::check(region);
    let reader = region.read(&pass).expect("read");
    assert_eq!(
        players.get(&reader, &1).expect("get").expect("there").score.to_native(),
        3,
        "as it was"
    );
    assert_eq!(players.unswept(&reader).expect("left"), 20);
}
