//! Opening with every record validated.

use super::{Name, Player, create, player};
use crate::{Cell, Error, Map, OpenChecked, Region, Slab};
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
