//! Opening with every record validated.

use super::{Name, Player, create, create_others, player};
use crate::heap::Owner;
use crate::{Cell, Error, Map, OpenChecked, OrderedMap, Queue, Region, Result, Slab, Timers, Unverified, View};
use std::os::unix::fs::FileExt;

/// A region with a long record too, closed; where the root's vector of player 4 and of the long one lie, and their headers.
fn closed(what: &str) -> (Name, [(u64, u64); 2]) {
    let name = Name::new(what);
    let mut region = Region::options().capacity(8 << 20).create(&name.0).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let tables = region.write(&pass, create).expect("tables");
    region
        .write(&pass, |tx| {
            let long = Player {
                bag: vec![7; 50_000],
                ..player(1)
            };
            tables.players.insert(tx, &500, &long).map(|_| ())
        })
        .unwrap_or_else(|e: Error| panic!("{e}"));
    let reader = region.read(&pass).expect("reader");
    let place = |key| {
        let player = tables.players.get(&reader, &key).expect("get").expect("there");
        let handle = tables.players.handle(&reader, &key).expect("handle").expect("there");
        (crate::archive::offset_of(&reader, &player.bag), handle.to_bits() as u64)
    };
    let places = [place(4), place(500)];
    (name, places)
}

#[test]
fn a_sound_region_passes() {
    let (name, _) = closed("sound");
    let mut unverified = Region::options().open_checked(&name.0).expect("open");
    let players: Map<u64, Player> = unverified.table("players").expect("players");
    assert!(matches!(
        unverified.table::<Map<u64, u64>>("ledger"),
        Err(Error::SchemaMismatch { .. })
    ));
    let _ledger: Map<u32, (u64, u64)> = unverified.table("ledger").expect("ledger");
    assert_eq!(unverified.unchecked().collect::<Vec<_>>(), ["clock"]);
    let clock: Cell<(u64, u64)> = unverified.table("clock").expect("clock");
    let region = unverified.finish().expect("all checked");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let reader = region.read(&pass).expect("reader");
    assert_eq!(players.len(&reader).expect("len"), super::PLAYERS + 1);
    assert_eq!(clock.get(&reader).expect("clock").0, 0);
    assert!(Map::<u64, Player>::open_checked(&reader, "players").is_ok());
}

#[test]
fn a_table_that_was_not_checked_is_asked_for() {
    let (name, _) = closed("asked");
    let mut region = Region::options().open(&name.0).expect("open");
    let gate = region.gate().clone();
    region
        .write(&gate.enter().expect("pass"), |tx| {
            Slab::<u64>::create(tx, "slab").map(|_| ())
        })
        .expect("slab");
    drop(region);
    let mut unverified = Region::options().open_checked(&name.0).expect("open");
    unverified.table::<Map<u64, Player>>("players").expect("players");
    unverified.trust("ledger").expect("ledger");
    unverified.trust("clock").expect("clock");
    assert!(unverified.trust("clock").is_err());
    let error = unverified.finish().expect_err("one is left");
    assert!(
        matches!(&error, Error::Unchecked { table } if &**table == "slab"),
        "{error}"
    );
}

#[test]
fn a_damaged_record_is_refused_with_its_place() {
    for long in [false, true] {
        let (name, places) = closed(if long { "refused-long" } else { "refused" });
        let (bag, header) = places[usize::from(long)];
        name.file().write_all_at(&[0xff; 3], bag + 4).expect("damage");
        let mut unverified = Region::options().open_checked(&name.0).expect("metadata are sound");
        let error = unverified.table::<Map<u64, Player>>("players").expect_err("damaged");
        assert!(matches!(error, Error::Damaged { at, .. } if at == header), "{error}");
        // Unchecked it opens: the records of a program of one's own are trusted.
        drop(unverified);
        let region = Region::options().open(&name.0).expect("open");
        assert!(Map::<u64, Player>::open(&region, "players").is_ok());
    }
}

/// Every kind of table, closed; where the roots' vectors of player 4 of each lie, and their headers.
fn closed_others(what: &str, count: u64) -> (Name, [(u64, u64); 5]) {
    let name = Name::new(what);
    let mut region = Region::options().capacity(8 << 20).create(&name.0).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let t = region.write(&pass, |tx| create_others(tx, count)).expect("tables");
    let reader = region.read(&pass).expect("reader");
    let bag = |view: &View, seen: &super::ArchivedPlayer, root: u64| {
        (
            crate::archive::offset_of(view, &seen.bag),
            crate::archive::offset_of(view, seen) + root,
        )
    };
    let read = || -> Result<_> {
        Ok([
            bag(
                &reader,
                t.slab.get(&reader, t.ids[4])?.expect("there"),
                Slab::<Player>::GEOMETRY.root,
            ),
            bag(
                &reader,
                t.queue.get(&reader, 4)?.expect("there").1,
                Queue::<Player>::GEOMETRY.root,
            ),
            bag(
                &reader,
                t.timers.get(&reader, t.timer_ids[4])?.expect("there"),
                Timers::<Player>::GEOMETRY.root,
            ),
            bag(
                &reader,
                t.board.get(&reader, &4)?.expect("there"),
                OrderedMap::<u32, Player>::GEOMETRY.root,
            ),
            bag(
                &reader,
                t.names.get(&reader, "they all begin alike 4")?.expect("there"),
                OrderedMap::<String, Player>::GEOMETRY.root,
            ),
        ])
    };
    let places = read().expect("places");
    (name, places)
}

/// Opens each kind, and says which of them were sound.
fn open_others(unverified: &mut Unverified) -> [Result<()>; 5] {
    [
        unverified.table::<Slab<Player>>("slab").map(|_| ()),
        unverified.table::<Queue<Player>>("queue").map(|_| ()),
        unverified.table::<Timers<Player>>("timers").map(|_| ()),
        unverified.table::<OrderedMap<u32, Player>>("board").map(|_| ()),
        unverified.table::<OrderedMap<String, Player>>("names").map(|_| ()),
    ]
}

#[test]
fn every_kind_of_table_is_checked() {
    let (name, places) = closed_others("kinds", 300);
    let mut unverified = Region::options().open_checked(&name.0).expect("open");
    assert_eq!(unverified.unchecked().count(), 5);
    for opened in open_others(&mut unverified) {
        opened.expect("sound");
    }
    drop(unverified.finish().expect("all checked"));
    // The last has checksums: its damage is found before any type is known.
    for (broken, (bag, header)) in places.into_iter().enumerate().take(4) {
        let mut before = [0; 3];
        name.file().read_exact_at(&mut before, bag + 4).expect("read");
        name.file().write_all_at(&[0xff; 3], bag + 4).expect("damage");
        let mut unverified = Region::options().open_checked(&name.0).expect("metadata are sound");
        for (i, opened) in open_others(&mut unverified).into_iter().enumerate() {
            match opened {
                Err(Error::Damaged { at, .. }) if i == broken => assert_eq!(at, header),
                opened => assert!(opened.is_ok() && i != broken, "{i} of {broken}: {opened:?}"),
            }
        }
        drop(unverified);
        name.file().write_all_at(&before, bag + 4).expect("repair");
    }
    name.file().write_all_at(&[0xff; 3], places[4].0 + 4).expect("damage");
    assert!(matches!(
        Region::options().open_checked(&name.0),
        Err(Error::Damaged { .. })
    ));
}

/// What a table's structure leads to must be what it takes it for: here a page of a slab is said to begin in the middle of a block,
/// and its reference is made to fit.
#[test]
fn a_structure_that_leads_astray_is_refused() {
    use crate::table::reference;
    use crate::table::slots::PAGES;
    let (name, _) = closed_others("astray", 300);
    let region = Region::options().open(&name.0).expect("open");
    let row = crate::table::catalog::find(&region.view, "slab", &Slab::<Player>::spec()).expect("row");
    let directory = region.view.load(row + PAGES, "test").expect("directory");
    let word = region.view.load(directory, "test").expect("word");
    let page = reference::open(word, row + PAGES, 0, "test", 0)
        .expect("sound")
        .expect("page");
    let owner = Owner::of_row(row);
    let held = |at| crate::heap::Held::Block { at, bytes: 4096 };
    assert!(crate::heap::check_held(&region.view, owner, held(page)).is_ok());
    assert!(crate::heap::check_held(&region.view, owner, held(page + 16)).is_err());
    // Copied to where it would read the same, so that nothing but its place is wrong.
    let words: Vec<u64> = (0..510)
        .map(|i| region.view.load(page + i * 8, "test").expect("word"))
        .collect();
    drop(region);
    let file = name.file();
    for (i, word) in words.iter().enumerate() {
        file.write_all_at(&word.to_le_bytes(), page + 16 + i as u64 * 8)
            .expect("moved");
    }
    let moved = reference::seal(page + 16, row + PAGES, 0);
    file.write_all_at(&moved.to_le_bytes(), directory).expect("moved");
    let error = Region::options().open_checked(&name.0).expect_err("astray");
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
}
