//! Every-prefix replay of moves: after a kill between any two stores a record has moved or not, the source follows its targets or nothing was
//! committed, and tables that are out of date, or go, go as a whole.

use super::every_prefix_of;
use crate::archive::{self, OwnedValue};
use crate::region::seal::seal;
use crate::table::catalog::{self, State};
use crate::table::key::{Encoded, Form, Key};
use crate::table::map;
use crate::{Map, Move, Moving, Region, Result, Schema, Tx, View, verify};
use rkyv::{Archive, Deserialize, Serialize};
use std::collections::BTreeMap;

type Old = Map<u32, u64>;
type New = Map<u64, Text>;
type Twice = Map<(u8, u32), u64>;

#[derive(Archive, Serialize, Deserialize, Schema, Clone)]
struct Text {
    text: String,
}

const IDS: u32 = 12;

fn key(id: u32) -> u64 {
    u64::from(id) | 1 << 40
}

fn text(value: u64) -> Text {
    Text {
        text: "x".repeat(value as usize % 70),
    }
}

/// From numbers to texts under other keys, and twice to numbers.
fn declared(back: bool) -> Move<u32, u64> {
    let declared = Move::<u32, u64>::of("old")
        .to::<u64, Text>(
            "new",
            |key| Some(*key as u32),
            |_, id, value| Ok(vec![(key(*id), text(*value))]),
        )
        .to::<(u8, u32), u64>(
            "twice",
            |(_, id)| Some(*id),
            |_, id, value| Ok(vec![((0, *id), *value), ((1, *id), value * 2)]),
        );
    if !back {
        return declared;
    }
    declared.back(|targets, id, _| {
        let twice: Twice = targets.map("twice")?;
        Ok(twice.get(targets, &(0, *id))?.map(|value| value.to_native()))
    })
}

/// Everything that committed state says, without asking a move.
#[derive(Debug, PartialEq)]
struct World {
    /// Name, records, state and flags of every table, and what marks say of the way back.
    rows: Vec<(String, u64, State, bool, [u64; 2])>,
    old: BTreeMap<u32, u64>,
    marked: Vec<u32>,
    new: BTreeMap<u32, [Option<u64>; 3]>,
}

/// What stands in a table under a key.
fn raw<K: Key, V: OwnedValue>(view: &View, table: &str, key: &K) -> Option<V> {
    let row = catalog::named(view, table).ok()?;
    let map: Map<K, V> = Map::handle_of(row.offset, view).expect("handle");
    let encoded = Encoded::<K>::of(key.borrowed(), Form::Hashed).expect("key");
    let header = map.find_record(view, &encoded).expect("find")?;
    Some(archive::owned_at::<V>(view, header, Map::<K, V>::GEOMETRY).expect("value"))
}

fn world(region: &Region) -> World {
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let reader = region.read(&pass).expect("reader");
    let verification = verify(&reader).expect("verify");
    assert!(verification.is_sound(), "{verification:?}");
    let view: &View = &reader;
    let mut rows = Vec::new();
    for index in 0..64 {
        if let Some(row) = catalog::any_row(view, index).expect("row") {
            let live = row.state == State::Live;
            let records = if live {
                map::counts(view, row.offset).expect("counts").0
            } else {
                0
            };
            let way = if row.name.starts_with('.') {
                view.load(row.offset + map::WAY, "way").expect("word")
            } else {
                0
            };
            rows.push((row.name, records, row.state, row.moved, [row.moves, way]));
        }
    }
    let ids = || 0..IDS + 5;
    let old: BTreeMap<u32, u64> = ids().filter_map(|id| Some((id, raw(view, "old", &id)?))).collect();
    let marked: Vec<u32> = ids()
        .filter(|id| raw::<u32, u8>(view, ".moved.old", id).is_some())
        .collect();
    let new = ids().map(|id| {
        let text = raw::<u64, Text>(view, "new", &key(id)).map(|text| text.text.len() as u64);
        let value = |half| raw(view, "twice", &(half, id));
        (id, [text, value(0u8), value(1u8)])
    });
    let new: BTreeMap<u32, _> = new.filter(|(_, all)| *all != [None; 3]).collect();
    // As long as nobody has worked who does not know the move.
    let kept = |row: &catalog::Row| view.load(row.offset + map::WAY, "way").expect("word") == seal(1);
    let way_back = catalog::named(view, ".moved.old").is_ok_and(|row| kept(&row));
    for id in &marked {
        // N1, N2.
        let [text, value, _] = new.get(id).copied().unwrap_or_default();
        assert!(text.is_some(), "{id} is marked");
        assert!(!way_back || value == old.get(id).copied(), "{id}: the source follows");
    }
    World { rows, old, marked, new }
}

/// The region as another process finds it.
fn reopened(region: Region) -> Region {
    let at = region.view.start_recording();
    region.view.stop_recording();
    drop(region);
    Region::from_image(&at).expect("a region")
}

fn filled() -> Region {
    let mut region = Region::in_memory(2 << 20).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let fill = |tx: &mut Tx<'_>| -> Result<()> {
        let old: Old = Map::create(tx, "old")?;
        for id in 0..IDS {
            old.insert(tx, &id, &(u64::from(id) * 3))?;
        }
        Ok(())
    };
    region.write(&pass, fill).expect("fill");
    drop(pass);
    region
}

/// Replays the beginning of a version that knows the move.
fn begun(region: &mut Region, back: bool) -> (Moving<u32, u64>, New, Twice) {
    let moving = declared(back).open(region).expect("open");
    every_prefix_of(region, anywhere, 1, |_| Ok(()));
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let tables =
        |tx: &mut Tx<'_>| Ok::<_, crate::Error>((New::open_or_create(tx, "new")?, Twice::open_or_create(tx, "twice")?));
    let (new, twice) = region.write(&pass, tables).expect("tables");
    (moving, new, twice)
}

/// Before the first transaction nothing is read where a move is open, so it is read from a copy.
fn anywhere(region: &Region) -> World {
    if !region.view.moves().is_active() {
        return world(region);
    }
    let at = region.view.image();
    world(&Region::from_image(&at).expect("a region"))
}

fn change(region: &mut Region, change: impl FnOnce(&mut Tx<'_>) -> Result<()>) {
    every_prefix_of(region, anywhere, 2, change);
}

/// There and back again, anew, and to the end.
#[test]
fn each_record_has_moved_or_not() {
    let mut region = filled();
    let (moving, new, twice) = begun(&mut region, true);
    change(&mut region, |tx| {
        twice.insert(tx, &(0, 1), &77)?;
        new.remove(tx, &key(2))?;
        twice.remove(tx, &(0, 2))?;
        twice.remove(tx, &(1, 2))?;
        new.insert(tx, &key(IDS), &text(5))?;
        twice.insert(tx, &(0, IDS), &5)?;
        new.get_mut(tx, &key(3)).map(|_| ())
    });
    change(&mut region, |tx| moving.sweep(tx, 1).map(|_| ()));
    // The version before.
    let mut region = reopened(region);
    let old: Old = Map::open(&region, "old").expect("version before");
    change(&mut region, |_| Ok(()));
    change(&mut region, |tx| {
        old.insert(tx, &1, &1)?;
        old.remove(tx, &4).map(|_| ())
    });
    // The newer one again, which begins anew.
    let mut region = reopened(region);
    let (moving, _, twice) = begun(&mut region, true);
    change(&mut region, |tx| twice.insert(tx, &(0, 6), &66).map(|_| ()));
    for _ in 0..2 {
        change(&mut region, |tx| moving.sweep(tx, 40).map(|_| ()));
    }
    // One without a way back.
    let mut region = reopened(region);
    let (moving, _, twice) = begun(&mut region, false);
    change(&mut region, |tx| twice.insert(tx, &(0, 7), &70).map(|_| ()));
    let mut steps = 0;
    loop {
        let gate = region.gate().clone();
        let left = moving.unswept(&region.read(&gate.enter().expect("pass")).expect("read"));
        if left.expect("left") == 0 {
            break;
        }
        if world(&region).rows.iter().all(|row| !row.0.contains("old")) {
            // All is gone, and the last call only sees that it is.
            let gate = region.gate().clone();
            let pass = gate.enter().expect("pass");
            region.write(&pass, |tx| moving.sweep(tx, 10)).expect("seen");
            continue;
        }
        change(&mut region, |tx| moving.sweep(tx, 10).map(|_| ()));
        steps += 1;
    }
    assert!(steps > 1, "{steps}");
    let names: Vec<String> = world(&region).rows.into_iter().map(|row| row.0).collect();
    assert_eq!(names, ["new", "twice"], "nothing of the library's own is left");
}

/// Every kind of table that goes, in two transactions.
#[test]
fn a_table_goes_as_a_whole() {
    let mut region = filled();
    change(&mut region, |tx| {
        let row = catalog::named(tx, "old")?;
        crate::table::dropped::drop_row(tx, &row)
    });
    change(&mut region, |tx| crate::table::dropped::finish(tx).map(|_| ()));
    assert!(world(&region).rows.is_empty());
}

/// What a drop that was cut off left is nobody's row with the first transaction of the next owner, also if that knows of nothing that migrates or moves.
#[test]
fn a_drop_that_was_cut_off_is_finished_by_the_next_owner() {
    let mut region = filled();
    change(&mut region, |tx| {
        let row = catalog::named(tx, "old")?;
        crate::table::dropped::drop_row(tx, &row)
    });
    let mut region = reopened(region);
    assert_eq!(
        world(&region).rows,
        [("old".to_owned(), 0, State::Dying, false, [0, 0])]
    );
    let gate = region.gate().clone();
    region
        .begin(&gate.enter().expect("pass"))
        .expect("begin")
        .commit()
        .expect("commit");
    assert!(world(&region).rows.is_empty());
}

/// A reader under a new ownership of the same process finds what there is, unless another one has worked that does not know the move.
#[test]
fn what_was_settled_is_read_as_long_as_it_is_so() {
    let mut region = filled();
    let _moving = declared(true).open(&region).expect("open");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    assert!(matches!(region.read(&pass), Err(crate::Error::ReadTooEarly { .. })));
    let refused: Result<()> = region.write(&pass, |_| Err(crate::Error::GateClosed));
    assert!(refused.is_err());
    assert!(
        region.read(&pass).is_ok(),
        "settled, whatever became of the transaction after"
    );
    region.look_first();
    assert!(region.read(&pass).is_ok(), "and is so still");
    let marks = catalog::named(&region.view, ".moved.old").expect("marks").offset;
    region
        .view
        .store(marks + map::WAY, seal(2), "way")
        .expect("as if another had worked");
    assert!(matches!(region.read(&pass), Err(crate::Error::ReadTooEarly { .. })));
    region.begin(&pass).expect("begun anew").commit().expect("commit");
    assert!(region.read(&pass).is_ok());
}

/// A process that dies between the two steps of a drop leaves one that the next finishes, and a move that is over asks nothing of its targets.
#[test]
fn what_a_move_leaves_is_finished_by_the_next() {
    let mut region = filled();
    let moving = declared(false).open(&region).expect("open");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let states = |region: &Region| -> Vec<State> {
        let rows = (0..64).filter_map(|index| catalog::any_row(&region.view, index).expect("row"));
        rows.map(|row| row.state)
            .filter(|state| *state != State::Live)
            .collect()
    };
    while states(&region).is_empty() {
        region.write(&pass, |tx| moving.sweep(tx, 100)).expect("sweep");
    }
    assert_eq!(states(&region), [State::Dying; 2], "the source, and the marks");
    let target = catalog::named(&region.view, "new").expect("new").offset;
    assert!(region.view.mixed().is_target(target));
    drop(pass);
    let mut region = reopened(region);
    let moving = declared(false).open(&region).expect("open");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    region.begin(&pass).expect("begin").commit().expect("commit");
    assert!(states(&region).is_empty());
    assert_eq!(region.write(&pass, |tx| moving.sweep(tx, 1)).expect("sweep").left, 0);
    drop(pass);
    // The same process finishes it by going on.
    let mut region = filled();
    let moving = declared(false).open(&region).expect("open");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    while region.write(&pass, |tx| moving.sweep(tx, 100)).expect("sweep").left > 0 {}
    assert!(states(&region).is_empty());
    assert!(!region.view.mixed().is_target(target));
}
