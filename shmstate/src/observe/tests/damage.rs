//! Damaged bytes: a refusal or an answer, never a panic, a hang or an access outside.

use super::{ACCOUNTS, Name, PLAYERS, Player, create, create_others, transfer, validate_others};
use crate::observe::Observer;
use crate::{Error, Region, Result, SlabId, TimerId};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// Longest that looking at everything in a small region may take, damaged or not: what cannot be read costs a tenth of a second.
const LONGEST: Duration = Duration::from_secs(20);

fn look(name: &Name) -> Result<u64> {
    let observer = Observer::open(&name.0)?;
    let mut seen = 0;
    let _ = observer.inspect();
    if let Ok(players) = observer.map::<u64, Player>("players") {
        for key in [0, 1, 777] {
            seen += u64::from(players.peek(&key).is_ok());
            seen += u64::from(players.snapshot(&key).is_ok());
        }
        seen += players.iter().take(1000).filter(|item| item.is_ok()).count() as u64;
        seen += players.len().unwrap_or(0);
    }
    if let Ok(ledger) = observer.map::<u32, (u64, u64)>("ledger") {
        seen += u64::from(ledger.snapshot(&0).is_ok());
    }
    if let Ok(clock) = observer.cell::<(u64, u64)>("clock") {
        seen += u64::from(clock.peek().is_ok());
    }
    if let Ok(validation) = observer.validate().map::<u64, Player>("players") {
        seen += validation.run(1, u64::MAX).map_or(0, |report| report.records);
    }
    Ok(seen + look_at_others(&observer))
}

fn look_at_others(observer: &Observer) -> u64 {
    let mut seen = 0;
    // Ids of the first, and of nothing.
    let tokens = [0, 1 << 32, 5 << 32 | 3];
    if let Ok(slab) = observer.slab::<Player>("slab") {
        for token in tokens {
            seen += u64::from(slab.peek(SlabId::from_token(token)).is_ok());
        }
        let items = observer.snapshot(|s| Ok::<_, Error>(slab.iter(s)?.take(1000).filter(Result::is_ok).count()));
        seen += items.unwrap_or(0) as u64 + slab.len().unwrap_or(0);
    }
    if let Ok(queue) = observer.queue::<Player>("queue") {
        seen += u64::from(queue.peek(1).is_ok()) + u64::from(queue.snapshot(7).is_ok());
        let items = observer.snapshot(|s| Ok::<_, Error>(queue.iter(s)?.take(1000).filter(Result::is_ok).count()));
        seen += items.unwrap_or(0) as u64 + queue.len().unwrap_or(0);
    }
    if let Ok(timers) = observer.timers::<Player>("timers") {
        for token in tokens {
            seen += u64::from(timers.peek(TimerId::from_token(token)).is_ok());
        }
        seen += u64::from(observer.snapshot(|s| timers.next_deadline(s)).is_ok());
        let items = observer.snapshot(|s| Ok::<_, Error>(timers.iter(s)?.take(1000).filter(Result::is_ok).count()));
        seen += items.unwrap_or(0) as u64;
    }
    if let Ok(board) = observer.ordered_map::<u32, Player>("board") {
        seen += u64::from(board.peek(&3).is_ok()) + u64::from(board.snapshot(&777).is_ok());
        let items =
            observer.snapshot(|s| Ok::<_, Error>(board.range(s, 2..)?.rev().take(1000).filter(Result::is_ok).count()));
        seen += items.unwrap_or(0) as u64;
    }
    if let Ok(names) = observer.ordered_map::<String, Player>("names") {
        seen += u64::from(names.peek("they all begin alike 7").is_ok());
        let items = observer.snapshot(|s| Ok::<_, Error>(names.iter(s)?.take(1000).filter(Result::is_ok).count()));
        seen += items.unwrap_or(0) as u64;
    }
    if let Ok(validation) = validate_others(observer) {
        seen += validation.run(1, u64::MAX).map_or(0, |report| report.records);
    }
    seen
}

#[test]
fn flipped_bytes_anywhere() {
    let mut region = Region::in_memory(4 << 20).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let tables = region.write(&pass, create).expect("tables");
    let others = region.write(&pass, |tx| create_others(tx, 70)).expect("others");
    // A transaction is open, so that the log is read too.
    let mut tx = region.begin(&pass).expect("begin");
    transfer(&mut tx, &tables, 0, ACCOUNTS - 1, 5).expect("transfer");
    tables.players.remove(&mut tx, &1).expect("remove");
    others.slab.remove(&mut tx, others.ids[2]).expect("remove");
    others.queue.pop_front(&mut tx, |_, _| ()).expect("pop");
    others.board.remove(&mut tx, &9).expect("remove");
    std::mem::forget(tx);
    let image = region.view.image();
    let name = Name::new("flipped");
    let file = name.write(&image);
    assert!(look(&name).expect("sound") > PLAYERS + 9 * 70);
    // Bytes that mean something, so that not all flips are wasted.
    let used: Vec<_> = (256..image.len()).filter(|at| image[*at] != 0).collect();
    let mut random = fastrand::Rng::with_seed(0xbad);
    let start = Instant::now();
    for _ in 0..600 {
        let at = if random.u8(..4) == 0 {
            random.usize(256..image.len())
        } else {
            used[random.usize(..used.len())]
        };
        let byte = if random.bool() {
            random.u8(..)
        } else {
            image[at] ^ 1 << random.u8(..8)
        };
        file.write_all_at(&[byte], at as u64).expect("flip");
        let begun = Instant::now();
        let _ = look(&name);
        assert!(
            begun.elapsed() < LONGEST,
            "byte {at:#x} as {byte:#x} took {:?}",
            begun.elapsed()
        );
        file.write_all_at(&image[at..=at], at as u64).expect("restore");
    }
    println!("{:?}", start.elapsed());
}

/// A record that is damaged is named, by key and place, and the others are read.
#[test]
fn a_damaged_record_is_named() {
    let name = Name::new("named");
    let mut region = Region::options().capacity(4 << 20).create(&name.0).expect("region");
    let gate = region.gate().clone();
    let tables = region.write(&gate.enter().expect("pass"), create).expect("tables");
    let (root, header) = {
        let pass = gate.enter().expect("pass");
        let reader = region.read(&pass).expect("reader");
        let player = tables.players.get(&reader, &4).expect("get").expect("there");
        let handle = tables.players.handle(&reader, &4).expect("handle").expect("there");
        (crate::archive::offset_of(&reader, &player.bag), handle.to_bits() as u64)
    };
    // The bag's length: it no longer lies within the record.
    name.file().write_all_at(&[0xff; 4], root + 4).expect("damage");
    let observer = Observer::open(&name.0).expect("observer");
    let players = observer.map::<u64, Player>("players").expect("players");
    assert!(players.peek(&4).is_err() && players.snapshot(&4).is_err());
    assert!(players.peek(&5).expect("the next").is_some());
    assert_eq!(players.iter().filter(Result::is_err).count(), 1);
    for threads in [1, 2] {
        let report = observer
            .validate()
            .map::<u64, Player>("players")
            .and_then(|v| v.map::<u32, (u64, u64)>("ledger"))
            .and_then(|v| v.run(threads, u64::MAX))
            .expect("report");
        assert_eq!((report.faulty, report.skipped), (1, 0), "{report:?}");
        assert_eq!(report.records, PLAYERS + u64::from(ACCOUNTS));
        let fault = &report.faults[0];
        assert_eq!(
            (&*fault.table, &*fault.key, fault.at),
            ("players", &4u64.to_le_bytes()[..], header)
        );
    }
}

/// The same of all other kinds of tables, each record named as its table names it.
#[test]
fn damaged_records_of_every_kind_are_named() {
    let name = Name::new("kinds-named");
    let mut region = Region::options().capacity(128 << 20).create(&name.0).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let t = region.write(&pass, |tx| create_others(tx, 9000)).expect("others");
    let observer = Observer::open(&name.0).expect("observer");
    for threads in [1, 2] {
        let report = validate_others(&observer)
            .and_then(|v| v.run(threads, u64::MAX))
            .expect("report");
        assert!(report.is_sound(), "{report:?}");
        assert_eq!(report.records, 5 * 9000);
    }
    let reader = region.read(&pass).expect("reader");
    let long = "they all begin alike 4444";
    let bags = [
        &t.slab.get(&reader, t.ids[4444]).expect("get").expect("there").bag,
        &t.queue.get(&reader, 4444).expect("get").expect("there").1.bag,
        &t.timers
            .get(&reader, t.timer_ids[4444])
            .expect("get")
            .expect("there")
            .bag,
        &t.board.get(&reader, &4444).expect("get").expect("there").bag,
        &t.names.get(&reader, long).expect("get").expect("there").bag,
    ];
    let file = name.file();
    for bag in bags {
        let at = crate::archive::offset_of(&reader, bag);
        file.write_all_at(&[0xff; 4], at + 4).expect("damage");
    }
    let expected: [(&str, Vec<u8>); 5] = [
        ("slab", t.ids[4444].token().to_le_bytes().to_vec()),
        ("queue", 4445u64.to_le_bytes().to_vec()),
        ("timers", t.timer_ids[4444].token().to_le_bytes().to_vec()),
        ("board", 4444u32.to_be_bytes().to_vec()),
        ("names", long.into()),
    ];
    for threads in [1, 2] {
        let report = validate_others(&observer)
            .and_then(|v| v.run(threads, u64::MAX))
            .expect("report");
        assert_eq!(
            (report.faulty, report.skipped, report.records),
            (5, 0, 5 * 9000),
            "{report:?}"
        );
        let mut found: Vec<_> = report
            .faults
            .iter()
            .map(|fault| (&*fault.table, fault.key.to_vec()))
            .collect();
        found.sort();
        let mut expected = expected.clone();
        expected.sort();
        assert_eq!(found, expected);
    }
}
