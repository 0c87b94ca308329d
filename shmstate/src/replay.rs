//! Every-prefix replay (T1, T6): every store of a transaction is recorded; for each prefix of them a region is made as a
//! SIGKILL at that point would have left it, recovered, and compared with the states before and after the transaction.

mod bytes;
mod damage;
mod keys;
mod log;
mod migrations;
mod moves;
mod streams;
mod tables;
mod trim;

use crate::region::header::at;
use crate::region::seal::seal;
use crate::region::view::Store;

use crate::{Cell, Map, Region, Result, Schema, Tx, verify};
use rkyv::{Archive, Serialize};
use std::collections::BTreeMap;

#[derive(Archive, Serialize, Schema, Clone, Debug, PartialEq)]
struct Player {
    name: String,
    score: u32,
    bag: Vec<u16>,
}

#[derive(Clone, Copy)]
struct Tables {
    players: Map<u64, Player>,
    ledger: Map<u32, u64>,
    clock: Cell<u64>,
}

/// Everything that committed state says.
#[derive(Clone, Debug, PartialEq, Default)]
struct World {
    players: BTreeMap<u64, (String, u32, Vec<u16>)>,
    ledger: BTreeMap<u32, u64>,
    clock: u64,
}

fn player(seed: u64) -> Player {
    Player {
        name: format!("player {} {}", seed, "x".repeat((seed % 37) as usize)),
        score: seed as u32,
        bag: (0..seed % 23).map(|i| i as u16).collect(),
    }
}

fn create(tx: &mut Tx<'_>) -> Result<Tables> {
    Ok(Tables {
        players: Map::create(tx, "players")?,
        ledger: Map::create(tx, "ledger")?,
        clock: Cell::create(tx, "clock", &0)?,
    })
}

fn world(region: &Region, tables: Tables) -> World {
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let reader = region.read(&pass).expect("reader");
    let verification = verify(&reader).expect("metadata is sound");
    assert!(verification.is_sound(), "{verification:?}");
    let mut world = World {
        clock: tables.clock.get(&reader).expect("clock").to_native(),
        ..World::default()
    };
    for item in tables.players.iter(&reader).expect("players") {
        let (id, p) = item.expect("player");
        let bag = p.bag.iter().map(|item| item.to_native()).collect();
        world.players.insert(id, (p.name.to_string(), p.score.to_native(), bag));
    }
    for item in tables.ledger.iter(&reader).expect("ledger") {
        let (id, amount) = item.expect("entry");
        world.ledger.insert(id, amount.to_native());
    }
    world
}

/// Of so many prefixes one is recovered twice.
const TWICE: usize = 5;

fn apply(image: &mut [u8], stores: &[Store]) {
    for store in stores {
        image[store.offset as usize..][..store.bytes.len()].copy_from_slice(&store.bytes);
    }
}

/// Runs `change` in a transaction and checks recovery after each prefix of its stores. Gives the number of prefixes.
fn every_prefix(
    region: &mut Region,
    tables: Tables,
    step: usize,
    change: impl FnOnce(&mut Tx<'_>) -> Result<()>,
) -> usize {
    every_prefix_of(region, |region| world(region, tables), step, change)
}

/// The same for any tables: `world` gives everything that committed state says, and has checked it.
fn every_prefix_of<W: PartialEq + std::fmt::Debug>(
    region: &mut Region,
    world: impl Fn(&Region) -> W,
    step: usize,
    change: impl FnOnce(&mut Tx<'_>) -> Result<()>,
) -> usize {
    every_prefix_picked(region, world, |n, _| n % step == 0, change)
}

/// The same for the prefixes that end with a store that is picked, and for the last few.
fn every_prefix_picked<W: PartialEq + std::fmt::Debug>(
    region: &mut Region,
    world: impl Fn(&Region) -> W,
    pick: impl Fn(usize, &Store) -> bool,
    change: impl FnOnce(&mut Tx<'_>) -> Result<()>,
) -> usize {
    let before = world(region);
    let mut at = region.view.start_recording();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let mut tx = region.begin(&pass).expect("begin");
    change(&mut tx).expect("change");
    tx.commit().expect("commit");
    drop(pass);
    let stores = region.view.stop_recording();
    let after = world(region);
    assert_ne!(before, after, "the transaction must do something");

    let mut committed = false;
    let mut replayed = 0;
    for n in 0..=stores.len() {
        if n > 0 {
            apply(&mut at, &stores[n - 1..n]);
        }
        if n > 0 && n + 40 < stores.len() && !pick(n, &stores[n - 1]) {
            continue;
        }
        let crashed = Region::from_image(&at).expect("a region after a crash");
        crashed.view.record_from_here();
        let found = world(&crashed);
        // The reader's pass has recovered it; its stores are what a kill during recovery would cut.
        let recovery = crashed.view.stop_recording();
        assert!(
            found == before || found == after,
            "after {n} of {} stores: {found:?}",
            stores.len()
        );
        committed |= found == after;
        assert!(!committed || found == after, "store {n} took a commit back");
        // Killed again in the middle of recovery, at a few places; for some of the prefixes, because it takes most of the time.
        replayed += 1;
        if replayed % TWICE != 0 && n + TWICE < stores.len() {
            continue;
        }
        let (mut twice, mut done) = (at.clone(), 0);
        for cut in [recovery.len() / 3, recovery.len() / 2, recovery.len().saturating_sub(2)] {
            if cut > done {
                apply(&mut twice, &recovery[done..cut]);
                done = cut;
            }
            let twice = Region::from_image(&twice).expect("a region after two crashes");
            assert_eq!(world(&twice), found, "recovery cut at {cut} of {}", recovery.len());
        }
    }
    assert!(committed, "the last prefix holds the commit");
    stores.len()
}

fn small_world() -> (Region, Tables) {
    world_in(2 << 20)
}

fn world_in(capacity: u64) -> (Region, Tables) {
    let mut region = Region::in_memory(capacity).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let tables = region.write(&pass, create).expect("tables");
    region
        .write(&pass, |tx| {
            for i in 0..100u64 {
                tables.players.insert(tx, &i, &player(i))?;
                tables.ledger.insert(tx, &(i as u32), &(1000 + i))?;
            }
            Result::Ok(())
        })
        .expect("fill");
    drop(pass);
    (region, tables)
}

#[test]
fn in_place_changes_of_several_tables() {
    let (mut region, tables) = small_world();
    let n = every_prefix(&mut region, tables, 1, |tx| {
        tables.clock.get_mut(tx)?.set(|c| c, 7.into())?;
        for (from, to) in [(1, 2), (3, 4)] {
            tables
                .ledger
                .get_mut(tx, &from)?
                .expect("entry")
                .set(|a| a, 900.into())?;
            tables
                .ledger
                .get_mut(tx, &to)?
                .expect("entry")
                .set(|a| a, 1100.into())?;
        }
        let mut p = tables.players.get_mut(tx, &22)?.expect("player");
        p.set(|p| &p.score, 1_000_000.into())?;
        p.set(|p| &p.bag[3], 77.into())
    });
    assert!(n > 45, "only {n} stores");
}

/// One word and nothing else: no log, and still all or nothing (T8).
#[test]
fn a_single_word() {
    let (mut region, tables) = small_world();
    let n = every_prefix(&mut region, tables, 1, |tx| {
        let mut entry = tables.ledger.get_mut(tx, &33)?.expect("entry");
        entry.set(|a| a, 5.into())
    });
    assert!(
        n <= 4,
        "{n} stores: the word, the record's header, the number of commits"
    );
}

/// A word that was held back is logged as soon as anything else is looked at or changed.
#[test]
fn a_word_held_back_and_then_more() {
    let (mut region, tables) = small_world();
    every_prefix(&mut region, tables, 1, |tx| {
        let mut entry = tables.ledger.get_mut(tx, &33)?.expect("entry");
        entry.set(|a| a, 5.into())?;
        assert_eq!(entry.to_native(), 5, "what was held back is read");
        let mut player = tables.players.get_mut(tx, &22)?.expect("player");
        player.set(|p| &p.score, 9.into())?;
        player.set(|p| &p.score, 10.into())
    });
    every_prefix(&mut region, tables, 1, |tx| {
        let mut player = tables.players.get_mut(tx, &22)?.expect("player");
        player.set(|p| &p.score, 11.into())?;
        tables.players.remove(tx, &21).map(|_| ())
    });
    let before = world(&region, tables);
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let held_back = |tx: &mut Tx<'_>| {
        let mut entry = tables.ledger.get_mut(tx, &33).expect("find").expect("entry");
        entry.set(|a| a, 6.into()).expect("set");
    };
    let mut tx = region.begin(&pass).expect("begin");
    held_back(&mut tx);
    drop(tx);
    assert_eq!(world(&region, tables), before, "drop");
    let mut tx = region.begin(&pass).expect("begin");
    held_back(&mut tx);
    std::mem::forget(tx);
    region.begin(&pass).expect("begin").commit().expect("commit");
    assert_eq!(world(&region, tables), before, "forgotten");
}

/// A part that failed is taken back; what comes before and after it is committed.
#[test]
fn a_savepoint() {
    let (mut region, tables) = small_world();
    let n = every_prefix(&mut region, tables, 1, |tx| {
        tables.players.insert(tx, &5, &player(30))?;
        let taken_back: std::result::Result<(), &str> = tx.savepoint(|tx| {
            tables.players.remove(tx, &5).expect("remove");
            tables.players.insert(tx, &2000, &player(9)).expect("insert");
            let inner: std::result::Result<(), &str> = tx.savepoint(|tx| {
                tables.ledger.insert(tx, &3, &77).expect("insert");
                Err("inner")
            });
            assert_eq!(inner, Err("inner"));
            let kept: std::result::Result<(), &str> = tx.savepoint(|tx| {
                let mut entry = tables.ledger.get_mut(tx, &4).expect("find").expect("entry");
                entry.set(|a| a, 1.into()).expect("set");
                Ok(())
            });
            kept.and(Err("outer"))
        });
        assert_eq!(taken_back, Err("outer"));
        assert_eq!(tables.players.get(tx, &5)?.expect("there").score.to_native(), 30);
        assert!(tables.players.get(tx, &2000)?.is_none());
        tables.players.remove(tx, &6).map(|_| ())
    });
    assert!(n > 100, "only {n} stores");
}

/// A savepoint that was rolled back over several extents of the log.
#[test]
fn a_long_savepoint() {
    let (mut region, tables) = small_world();
    every_prefix(&mut region, tables, 97, |tx| {
        tables.clock.get_mut(tx)?.set(|c| c, 3.into())?;
        let long: Result<()> = tx.savepoint(|tx| {
            for i in 5000..5700u64 {
                tables.players.insert(tx, &i, &player(i))?;
            }
            Err(crate::Error::GateClosed)
        });
        assert!(long.is_err());
        tables.ledger.insert(tx, &1, &2).map(|_| ())
    });
}

/// A record of the same size class is replaced in its own block.
#[test]
fn replaced_in_place() {
    let (mut region, tables) = small_world();
    let used = |region: &Region| {
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        verify(&region.read(&pass).expect("reader")).expect("sound").heap
    };
    let before = used(&region);
    every_prefix(&mut region, tables, 1, |tx| {
        let mut other = player(5);
        other.name = "PLAYER 5 XXXXX".into();
        other.bag.reverse();
        tables.players.insert(tx, &5, &other)?;
        tables.ledger.insert(tx, &3, &4).map(|_| ())
    });
    assert_eq!(used(&region), before);
}

/// Segments are split, joined, and the directory doubled and halved.
#[test]
fn an_index_that_shrinks() {
    let (mut region, tables) = small_world();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let fill = |tx: &mut Tx<'_>| -> Result<()> {
        for i in 1000..2500u32 {
            tables.ledger.insert(tx, &i, &0)?;
        }
        Ok(())
    };
    region.write(&pass, fill).expect("fill");
    drop(pass);
    let n = every_prefix(&mut region, tables, 31, |tx| {
        for i in 1000..2500u32 {
            tables.ledger.remove(tx, &i)?;
        }
        Ok(())
    });
    assert!(n > 10_000, "only {n} stores");
}

#[test]
fn whole_records_through_seal() {
    let (mut region, tables) = small_world();
    every_prefix(&mut region, tables, 1, |tx| {
        let mut entry = tables.ledger.get_mut(tx, &33)?.expect("entry");
        *entry.seal()? = 5.into();
        Ok(())
    });
}

#[test]
fn replaced_inserted_and_removed_records() {
    let (mut region, tables) = small_world();
    every_prefix(&mut region, tables, 1, |tx| {
        tables.players.insert(tx, &5, &player(30))?;
        tables.players.insert(tx, &1000, &player(7))?;
        tables.players.remove(tx, &6)?;
        tables.players.remove(tx, &7)?;
        tables.players.insert(tx, &7, &player(8))?;
        tables.clock.set(tx, &99)
    });
}

#[test]
fn growth_of_index_heap_and_log() {
    let (mut region, tables) = small_world();
    let n = every_prefix(&mut region, tables, 23, |tx| {
        for i in 2000..2900u64 {
            tables.players.insert(tx, &i, &player(i))?;
        }
        Ok(())
    });
    assert!(n > 10_000, "only {n} stores");
}

#[test]
fn rollback_by_drop_panic_and_forgotten_guard() {
    let (mut region, tables) = small_world();
    let before = world(&region, tables);
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let change = |tx: &mut Tx<'_>| {
        tables.players.insert(tx, &5, &player(30)).expect("insert");
        tables.players.remove(tx, &6).expect("remove");
    };
    let mut tx = region.begin(&pass).expect("begin");
    change(&mut tx);
    drop(tx);
    assert_eq!(world(&region, tables), before, "drop");
    let mut tx = region.begin(&pass).expect("begin");
    change(&mut tx);
    std::mem::forget(tx);
    assert_eq!(world(&region, tables), before, "forgotten, found by a reader");
    let mut tx = region.begin(&pass).expect("begin");
    change(&mut tx);
    std::mem::forget(tx);
    region.begin(&pass).expect("begin").rollback();
    assert_eq!(world(&region, tables), before, "forgotten, found by a writer");
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut tx = region.begin(&pass).expect("begin");
        change(&mut tx);
        panic!("in the middle");
    }));
    assert!(panicked.is_err());
    assert_eq!(world(&region, tables), before, "panic");
}

/// A store that the log does not cover must be noticed by these tests: the checks can fail.
#[test]
fn an_unlogged_store_is_seen() {
    let (mut region, tables) = small_world();
    let before = world(&region, tables);
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let mut tx = region.begin(&pass).expect("begin");
    tables
        .ledger
        .get_mut(&mut tx, &1)
        .expect("find")
        .expect("entry")
        .set(|a| a, 5.into())
        .expect("set");
    let at = {
        let amount = tables.ledger.get(&tx, &2).expect("find").expect("entry");
        crate::archive::offset_of(&tx, amount)
    };
    tx.store(at, 6, "test").expect("store around the log");
    drop(tx);
    let after = world(&region, tables);
    assert_eq!(after.ledger[&1], before.ledger[&1]);
    assert_ne!(after.ledger[&2], before.ledger[&2]);
}

/// A kill between any two stores of linking a log extent leaves a chain that can still be lengthened and undone (U1).
#[test]
fn a_log_extent_half_linked() {
    let (mut region, tables) = small_world();
    let long = |tx: &mut Tx<'_>| -> Result<()> {
        for i in 3000..3600u64 {
            tables.players.insert(tx, &i, &player(i))?;
        }
        Ok(())
    };
    let before = world(&region, tables);
    let image = region.view.start_recording();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let mut tx = region.begin(&pass).expect("begin");
    long(&mut tx).expect("change");
    drop(tx);
    drop(pass);
    let stores = region.view.stop_recording();
    let linking = |s: &Store| {
        let words = [crate::region::header::at::TAKEN, crate::region::header::at::LOG_EXTENTS];
        words.contains(&s.offset)
    };
    let (mut seen, mut at) = (0, image);
    for n in 0..stores.len() {
        apply(&mut at, &stores[n..=n]);
        if !linking(&stores[n]) {
            continue;
        }
        seen += 1;
        let mut crashed = Region::from_image(&at).expect("a region after a crash");
        assert_eq!(world(&crashed, tables), before);
        // The next owner lengthens the chain, and is killed too: its log must be taken back.
        let gate = crashed.gate().clone();
        let pass = gate.enter().expect("pass");
        let mut tx = crashed.begin(&pass).expect("begin");
        long(&mut tx).expect("change");
        std::mem::forget(tx);
        drop(pass);
        assert_eq!(world(&crashed, tables), before, "after store {n}, {:?}", stores[n]);
    }
    assert!(seen >= 2, "only {seen} stores of linking");
}

const CHUNK: u64 = crate::region::header::CHUNK;

/// Makes the log longer than its first extents in a transaction that is taken back.
fn lengthen_log(region: &mut Region, tables: Tables, players: u64) {
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let mut tx = region.begin(&pass).expect("begin");
    for i in 0..players {
        tables
            .players
            .insert(&mut tx, &(50_000 + i), &player(i))
            .expect("insert");
    }
    drop(tx);
}

fn header(region: &Region, word: u64) -> u64 {
    if [at::LIMIT, at::TAKEN, at::HEAP_END].contains(&word) {
        return region.view.size(word);
    }
    region.view.header(word)
}

fn log_chunks(region: &Region) -> Vec<(u64, u64)> {
    crate::region::growth::log_extents(&region.view).collect()
}

/// The heap grows past extents of the log: what is left before them becomes free, and a kill in between leaves them whole (B2).
#[test]
fn a_heap_that_grows_past_the_log() {
    let mut region = Region::in_memory(4 << 20).expect("region");
    let gate = region.gate().clone();
    let tables = region.write(&gate.enter().expect("pass"), create).expect("tables");
    lengthen_log(&mut region, tables, 1600);
    let extents = log_chunks(&region);
    let end = header(&region, at::HEAP_END);
    assert!(extents.len() >= 2 && extents[0].0 > end, "{extents:?}, heap to {end}");
    // More in one piece than fits before the log, so that a gap stays; then blocks that use the gap.
    let gap = extents[0].0 - end;
    let large = vec![7u16; (gap / 2) as usize + 1];
    // All prefixes that end in the header or the chunk table, a few of those that end in fresh records.
    let layout = *region.layout();
    let metadata = |s: &Store| s.offset < layout.catalog || (layout.chunks..layout.heap).contains(&s.offset);
    let n = every_prefix_picked(
        &mut region,
        |region| world(region, tables),
        |n, s| metadata(s) || n % 9973 == 0,
        |tx| {
            let whale = Player {
                name: "whale".into(),
                score: 1,
                bag: large.clone(),
            };
            tables.players.insert(tx, &1, &whale)?;
            tables.players.insert(tx, &2, &player(9))?;
            tables.ledger.insert(tx, &3, &4).map(|_| ())
        },
    );
    assert!(n > 60, "only {n} stores");
    let grown = header(&region, at::HEAP_END);
    assert!(grown >= extents[1].0 + extents[1].1 || grown > extents[0].0 + extents[0].1);
    assert_eq!(log_chunks(&region), extents, "they stay where they are");
    // The gap before the log is used like any free run.
    let before = header(&region, at::HEAP_END);
    let pass = gate.enter().expect("pass");
    region
        .write(&pass, |tx| {
            let bag = vec![1; (gap / 4) as usize];
            let minnow = Player { bag, ..player(1) };
            tables.players.insert(tx, &4, &minnow).map(|_| ())
        })
        .expect("insert");
    assert_eq!(header(&region, at::HEAP_END), before, "it found room before the log");
    drop(pass);
    world(&region, tables);
}

/// A rollback moves the heap's end back over extents that were passed: they are passed again, once.
#[test]
fn passing_the_log_is_taken_back() {
    let mut region = Region::in_memory(4 << 20).expect("region");
    let gate = region.gate().clone();
    let tables = region.write(&gate.enter().expect("pass"), create).expect("tables");
    lengthen_log(&mut region, tables, 500);
    let end = header(&region, at::HEAP_END);
    let before = world(&region, tables);
    let whale = Player {
        bag: vec![3; 700_000],
        ..player(2)
    };
    for keep in [false, false, true] {
        let pass = gate.enter().expect("pass");
        let mut tx = region.begin(&pass).expect("begin");
        tables.players.insert(&mut tx, &1, &whale).expect("insert");
        assert!(tx.size(at::HEAP_END) > log_end(&tx));
        if keep {
            tx.commit().expect("commit");
        } else {
            drop(tx);
            assert_eq!(header(&region, at::HEAP_END), end);
        }
        drop(pass);
        let now = world(&region, tables);
        assert_eq!(now == before, !keep);
    }
}

fn log_end(view: &crate::View) -> u64 {
    crate::region::growth::log_extents(view)
        .map(|(offset, bytes)| offset + bytes)
        .max()
        .unwrap_or(0)
}

/// The capacity is raised on a full region whose log has grown; a kill at any store leaves a region that goes on, and that
/// can be raised further (B3).
#[test]
fn a_raised_capacity_cut_anywhere() {
    const RESERVE: u64 = 6 << 20;
    let mut region = Region::in_memory_reserving(2 << 20, RESERVE).expect("region");
    assert_eq!((region.capacity(), region.reserved()), (2 << 20, RESERVE));
    let gate = region.gate().clone();
    let tables = region.write(&gate.enter().expect("pass"), create).expect("tables");
    lengthen_log(&mut region, tables, 200);
    let fill = |region: &mut Region, from: u64| {
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        for i in from.. {
            let one = region.write(&pass, |tx| {
                let bag = vec![i as u16; 20_000];
                tables.players.insert(tx, &i, &Player { bag, ..player(i) }).map(|_| ())
            });
            match one {
                Ok(()) => {}
                Err(crate::Error::RegionFull { capacity, .. }) => return (i, capacity),
                Err(other) => panic!("{other}"),
            }
        }
        unreachable!("a region is never full")
    };
    let (kept, full) = fill(&mut region, 0);
    assert!(kept > 5 && full == 2 << 20);
    let before = world(&region, tables);

    let image = region.view.start_recording();
    {
        let pass = gate.enter().expect("pass");
        assert_eq!(region.raise_capacity(&pass, (3 << 20) + 5).expect("raise"), 3 << 20);
        region
            .write(&pass, |tx| tables.players.insert(tx, &7_000, &player(3)).map(|_| ()))
            .expect("room again");
    }
    lengthen_log(&mut region, tables, 900);
    let stores = region.view.stop_recording();
    let after = world(&region, tables);
    assert_ne!(before, after);
    assert!(
        log_chunks(&region).iter().any(|(offset, _)| *offset >= 2 << 20),
        "log beyond the old capacity"
    );

    let special = [at::LIMIT, at::TAKEN, at::LOG_EXTENTS, at::HEAP_END];
    let mut looked = 0;
    let mut crashed_image = image;
    for (n, store) in stores.iter().enumerate() {
        apply(&mut crashed_image, std::slice::from_ref(store));
        if !special.contains(&store.offset) && n % 9973 != 0 {
            continue;
        }
        looked += 1;
        let mut crashed = Region::from_image(&crashed_image).expect("a region after a crash");
        let found = world(&crashed, tables);
        assert!(found == before || found == after, "after store {n}, {store:?}");
        let gate = crashed.gate().clone();
        let pass = gate.enter().expect("pass");
        let capacity = crashed.capacity();
        assert!(capacity == 2 << 20 || capacity == 3 << 20);
        assert!(matches!(
            crashed.raise_capacity(&pass, capacity - CHUNK),
            Err(crate::Error::CannotRaise { .. })
        ));
        assert!(matches!(
            crashed.raise_capacity(&pass, RESERVE + CHUNK),
            Err(crate::Error::CannotRaise { .. })
        ));
        crashed.raise_capacity(&pass, RESERVE).expect("raise");
        drop(pass);
        lengthen_log(&mut crashed, tables, 900);
        assert_eq!(world(&crashed, tables), found);
        let (more, full) = fill(&mut crashed, 10_000);
        assert!(more > 10_020 && full == RESERVE, "{more} records");
        world(&crashed, tables);
    }
    assert!(looked >= 6, "only {looked} places");
}

/// Words that say how large things are, each with a value that no version writes: refused, with the place.
#[test]
fn sizes_that_cannot_be_are_damage() {
    let (mut region, tables) = small_world();
    lengthen_log(&mut region, tables, 700);
    assert!(!log_chunks(&region).is_empty());
    let image = region.view.image();
    let row = at::LOG_TABLE + crate::region::header::LOG_TABLE_ROW;
    let heap = region.layout().heap;
    let cases = [
        (at::LIMIT, 0),
        (at::LIMIT, (2 << 20) + CHUNK),
        (at::LIMIT, (2 << 20) - CHUNK),
        (at::TAKEN, (2 << 20) + CHUNK),
        (at::TAKEN, heap - CHUNK),
        (at::TAKEN, header(&region, at::TAKEN) + 4096),
        (at::TAKEN, u64::MAX),
        (at::HEAP_END, header(&region, at::TAKEN) + CHUNK),
        (at::LOG_EXTENTS, 0),
        (at::LOG_EXTENTS, 33),
        (row, heap + 8),
        (row, u64::MAX - 7),
        (row, heap - CHUNK),
        (row + 8, 1 << 40),
        (row, header(&region, at::TAKEN) - CHUNK),
    ];
    for (word, value) in cases {
        let mut bad = image.clone();
        // The sizes are sealed: what is tried is a number that somebody would have to have written.
        let size = [at::LIMIT, at::TAKEN, at::HEAP_END].contains(&word) && value < u64::MAX;
        let value = if size { seal(value) } else { value };
        bad[word as usize..][..8].copy_from_slice(&value.to_le_bytes());
        let found = Region::from_image(&bad);
        assert!(
            matches!(found, Err(crate::Error::Damaged { .. })),
            "{word}: {value:#x} gave {found:?}"
        );
    }
    // An extent that the heap claims to have passed, and did not mark.
    let mut bad = image;
    let end = log_end(&region.view);
    bad[at::HEAP_END as usize..][..8].copy_from_slice(&seal(end).to_le_bytes());
    let passed = Region::from_image(&bad).expect("its sizes are possible");
    let gate = passed.gate().clone();
    let pass = gate.enter().expect("pass");
    let found = verify(&passed.read(&pass).expect("read")).expect("verify");
    assert!(!found.faults.is_empty(), "{found:?}");
}
