//! Every prefix of a trim, and of a transaction that uses what it gave back: nothing in use is ever without memory (D1, W1, W2).

use super::{Tables, World, apply, every_prefix_picked, header, lengthen_log, player, world, world_in};
use crate::heap;
use crate::region::header::at;
use crate::region::view::Store;
use crate::{Region, Result};

/// Many large records, most of which go again: free runs inside the heap and at its end.
fn sparse() -> (Region, Tables) {
    let (mut region, tables) = world_in(4 << 20);
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let large = |i: u64| super::Player {
        bag: vec![i as u16; 40_000],
        ..player(i)
    };
    region
        .write(&pass, |tx| {
            for i in 500..508 {
                tables.players.insert(tx, &i, &large(i))?;
            }
            Result::Ok(())
        })
        .expect("fill");
    region
        .write(&pass, |tx| {
            for i in [500, 502, 503, 506, 507] {
                tables.players.remove(tx, &i)?;
            }
            Result::Ok(())
        })
        .expect("remove");
    drop(pass);
    (region, tables)
}

fn trim(region: &mut Region) -> crate::Trimmed {
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    region.trim(&pass, u64::MAX).expect("trim")
}

/// Whether a range is a hole, or lies behind the memory taken.
fn given_back(region: &Region, offset: u64, bytes: u64) -> bool {
    let holes = heap::holes::all(&region.view, region.layout());
    offset >= header(region, at::TAKEN)
        || holes
            .iter()
            .any(|(from, n)| *from <= offset && offset + bytes <= from + n)
}

/// A region that a kill left goes on: it is trimmed, filled, and trimmed again.
fn goes_on(region: &mut Region, tables: Tables, before: &World) {
    trim(region);
    assert_eq!(header(region, at::HOLES_STALE), 0);
    assert_eq!(&world(region, tables), before);
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    region
        .write(&pass, |tx| {
            let bag = vec![9; 100_000];
            tables.players.insert(tx, &900, &super::Player { bag, ..player(3) })
        })
        .expect("insert");
    region
        .write(&pass, |tx| tables.players.remove(tx, &900))
        .expect("remove");
    drop(pass);
    trim(region);
    assert_eq!(&world(region, tables), before);
}

#[test]
fn a_trim_cut_anywhere() {
    let (mut region, tables) = sparse();
    let before = world(&region, tables);
    let image = region.view.start_recording();
    let trimmed = trim(&mut region);
    let stores = region.view.stop_recording();
    assert!(trimmed.bytes > 500_000 && header(&region, at::HOLES) > 0, "{trimmed:?}");
    assert_eq!(world(&region, tables), before);
    let punches = stores.iter().filter(|s| s.punched).count();
    assert!(punches >= 2 && stores.len() > 60, "{punches} of {}", stores.len());
    let mut at = image;
    let mut punched: Vec<&Store> = Vec::new();
    for n in 0..=stores.len() {
        if let Some(store) = n.checked_sub(1).map(|last| &stores[last]) {
            apply(&mut at, std::slice::from_ref(store));
            punched.extend(store.punched.then_some(store));
        }
        let mut crashed = Region::from_image(&at).expect("a region after a crash");
        let recorded = crashed.view.start_recording();
        assert_eq!(world(&crashed, tables), before, "after {n} of {} stores", stores.len());
        let recovery = crashed.view.stop_recording();
        for store in &punched {
            assert!(
                given_back(&crashed, store.offset, store.bytes.len() as u64),
                "after {n} stores {:#x} is counted on",
                store.offset
            );
        }
        for cut in [recovery.len() / 2, recovery.len().saturating_sub(1)] {
            let mut image = recorded.clone();
            apply(&mut image, &recovery[..cut]);
            let twice = Region::from_image(&image).expect("a region after two crashes");
            assert_eq!(
                world(&twice, tables),
                before,
                "recovery cut at {cut} of {}",
                recovery.len()
            );
        }
        goes_on(&mut crashed, tables, &before);
    }
}

/// Memory given back before the commit would be found out: the check can fail.
#[test]
fn giving_back_too_early_is_seen() {
    let (mut region, tables) = sparse();
    let mut image = region.view.start_recording();
    trim(&mut region);
    let stores = region.view.stop_recording();
    let punch = stores.iter().find(|s| s.punched).expect("a punch");
    apply(&mut image, std::slice::from_ref(punch));
    let crashed = Region::from_image(&image).expect("a region");
    world(&crashed, tables);
    assert!(!given_back(&crashed, punch.offset, punch.bytes.len() as u64));
}

#[test]
fn holes_filled_and_the_heap_grown_again() {
    let (mut region, tables) = sparse();
    trim(&mut region);
    let holes = header(&region, at::HOLES);
    let layout = *region.layout();
    let metadata = |s: &Store| s.offset < layout.catalog || (layout.chunks..layout.heap).contains(&s.offset);
    every_prefix_picked(
        &mut region,
        |region| world(region, tables),
        |n, s| metadata(s) || n % 9973 == 0,
        |tx| {
            for i in 600..604u64 {
                let bag = vec![i as u16; 40_000 + i as usize * 10];
                tables.players.insert(tx, &i, &super::Player { bag, ..player(i) })?;
            }
            Ok(())
        },
    );
    assert!(header(&region, at::HOLES) < holes);
}

/// The log lies behind the heap's end, then in the middle of the heap: it stays where it is (W3).
#[test]
fn a_log_in_the_way() {
    let (mut region, tables) = sparse();
    let before = world(&region, tables);
    lengthen_log(&mut region, tables, 700);
    let extents = super::log_chunks(&region);
    assert!(extents[0].0 >= header(&region, at::HEAP_END));
    let end = header(&region, at::HEAP_END);
    trim(&mut region);
    assert_eq!(header(&region, at::HEAP_END), end, "it does not draw back");
    let last = extents[extents.len() - 1];
    assert!(header(&region, at::TAKEN) >= last.0 + last.1);
    assert_eq!(super::log_chunks(&region), extents);
    goes_on(&mut region, tables, &before);
    lengthen_log(&mut region, tables, 700);
    assert_eq!(world(&region, tables), before);
}

/// Records and index move together: a kill at any store leaves every record where the index says.
#[test]
fn a_compaction_cut_anywhere() {
    let (mut region, tables) = world_in(4 << 20);
    let gate = region.gate().clone();
    let write = |region: &mut Region, change: &dyn Fn(&mut crate::Tx<'_>) -> Result<()>| {
        region.write(&gate.enter().expect("pass"), change).expect("transaction");
    };
    write(&mut region, &|tx| {
        for i in 0..6000u64 {
            tables.ledger.insert(tx, &(10_000 + i as u32), &i)?;
        }
        Ok(())
    });
    write(&mut region, &|tx| {
        for i in (0..6000).filter(|i| i % 9 != 0) {
            tables.ledger.remove(tx, &(10_000 + i))?;
        }
        Ok(())
    });
    let (mut calls, mut moved) = (0, 0);
    loop {
        let records = std::cell::Cell::new(0);
        let compact = |tx: &mut crate::Tx<'_>| -> Result<()> {
            records.set(tables.ledger.compact(tx, 300)?);
            // So that there is a difference.
            tables.clock.get_mut(tx)?.set(|c| c, (100 + calls).into())
        };
        if calls % 3 == 0 {
            let layout = *region.layout();
            let special = |s: &Store| s.offset < layout.heap;
            every_prefix_picked(
                &mut region,
                |region| world(region, tables),
                |n, s| n % 611 == 0 || special(s) && n % 29 == 0,
                compact,
            );
        } else {
            write(&mut region, &compact);
        }
        calls += 1;
        moved += records.get();
        if records.get() == 0 {
            break;
        }
        assert!(calls < 100, "it never ends");
    }
    assert!(moved > 300, "{moved} records");
    let before = world(&region, tables);
    let stats = |region: &Region| {
        let pass = gate.enter().expect("pass");
        crate::verify(&region.read(&pass).expect("read")).expect("verify").heap
    };
    assert!(trim(&mut region).bytes > 0);
    assert_eq!(world(&region, tables), before);
    // Twenty chunks were filled; hardly more than a ninth is left of them.
    let ledger = stats(&region).owned[1];
    assert!(ledger < 4 * super::CHUNK, "{ledger} bytes");
}
