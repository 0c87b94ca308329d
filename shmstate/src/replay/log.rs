//! An open log, every byte of it altered in turn: recovery refuses it as damage before it writes anything, and never takes back
//! something else than what was changed.
//!
//! What lies behind the published length is no part of the log: altered, it changes nothing. Two bytes altered at once may slip
//! through a check of 16 bits; whatever comes of it, nothing panics and nothing outside of the region is touched.

use super::{Tables, World, lengthen_log, player, small_world, world};
use crate::region::header::{CHUNK, FIRST_LOG, LOG_TABLE_ROW, at};
use crate::region::view::Store;
use crate::tx::undo;
use crate::{Error, Region, Result, Tx, verify};

/// Every kind of entry: one word, a field of a record, several words, a whole record, words of heap and catalog.
fn several(tx: &mut Tx<'_>, t: Tables) -> Result<()> {
    t.clock.get_mut(tx)?.set(|c| c, 7.into())?;
    t.players
        .get_mut(tx, &22)?
        .expect("player")
        .set(|p| &p.bag[3], 77.into())?;
    t.players.insert(tx, &5, &super::Player { score: 9, ..player(5) })?;
    t.ledger.remove(tx, &3)?;
    t.ledger.insert(tx, &7000, &1).map(|_| ())
}

/// An image of a region with a log that nobody took back, what the region holds without it, and where the log's end is.
fn torn(change: impl FnOnce(&mut Tx<'_>, Tables) -> Result<()>) -> (Vec<u8>, Tables, World, u64) {
    let (mut region, tables) = small_world();
    let before = world(&region, tables);
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let mut tx = region.begin(&pass).expect("begin");
    change(&mut tx, tables).expect("change");
    std::mem::forget(tx);
    let length = undo::unseal(undo::Log::published(&region.view)).expect("sealed");
    let image = region.view.image();
    let recovered = Region::from_image(&image).expect("a region after a crash");
    assert_eq!(world(&recovered, tables), before, "as it is, it is taken back");
    (image, tables, before, length)
}

/// What opening and recovering an image comes to; with what was written, if it was refused.
fn recover(image: &[u8]) -> std::result::Result<Region, (Error, Vec<Store>)> {
    let region = Region::from_image(image).map_err(|e| (e, Vec::new()))?;
    region.view.record_from_here();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let recovered = region.read(&pass).map(drop);
    let stores = region.view.stop_recording();
    drop(pass);
    match recovered {
        Ok(()) => Ok(region),
        Err(e) => Err((e, stores)),
    }
}

fn refused(image: &[u8], what: &str) {
    match recover(image) {
        Err((Error::Damaged { .. }, stores)) => {
            // What it is doing it may say, although it refuses.
            let written = stores.iter().find(|store| store.offset != at::ACTIVITY);
            assert!(
                written.is_none(),
                "{what}: refused, and written all the same (U4): {written:?}"
            );
        }
        Err((other, _)) => panic!("{what}: {other}"),
        Ok(_) => panic!("{what}: not noticed"),
    }
}

#[test]
fn every_byte_of_an_open_log() {
    let (image, tables, before, length) = torn(several);
    let log = crate::region::header::Layout::of(2 << 20).expect("layout").log as usize;
    let end = log + length as usize;
    assert!(length > 300 && length < 4096, "several entries: {length} bytes");
    let ways = [0xff, 1, 2, 4, 8, 16, 32, 64, 128, 0x81, 0x55];
    let mut bad = image.clone();
    for byte in (log..end).chain(at::LOG_LENGTH as usize..at::LOG_LENGTH as usize + 8) {
        for way in ways {
            bad[byte] ^= way;
            refused(&bad, &format!("byte {byte:#x} ^ {way:#x}"));
            bad[byte] ^= way;
        }
    }
    // Behind the end nothing counts.
    for byte in end..end + 64 {
        bad[byte] ^= 0xff;
        let recovered = recover(&bad).map_err(|(e, _)| e).expect("no part of the log");
        assert_eq!(world(&recovered, tables), before, "byte {byte:#x} behind the log");
        bad[byte] ^= 0xff;
    }
    assert_eq!(bad, image);
}

/// A log of two extents: the length, the table of extents, the entries on both sides of where it goes on.
#[test]
fn every_byte_where_a_log_goes_on() {
    let (image, tables, before, length) = torn(|tx, t| {
        for i in 5000..5700u64 {
            t.players.insert(tx, &i, &player(i))?;
        }
        Ok(())
    });
    assert!(length > FIRST_LOG, "two extents");
    let word = |at: u64| u64::from_le_bytes(image[at as usize..][..8].try_into().expect("eight"));
    let first = crate::region::header::Layout::of(2 << 20).expect("layout").log;
    let used = undo::unseal(word(at::LOG_TABLE + 16)).expect("sealed");
    let second = word(at::LOG_TABLE + LOG_TABLE_ROW);
    let last = second + length - FIRST_LOG;
    let rows = at::LOG_TABLE..at::LOG_TABLE + LOG_TABLE_ROW + 16;
    let sizes = [at::LOG_EXTENTS, at::TAKEN].map(|at| at..at + 8);
    let entries = [
        first..first + 64,
        first + used - 96..first + used,
        second..second + 96,
        last - 96..last,
    ];
    let mut bad = image.clone();
    for range in entries.into_iter().chain(sizes).chain([rows]) {
        for byte in range.start as usize..range.end as usize {
            // The rest of a row of the table means nothing.
            if (at::LOG_TABLE + 24..at::LOG_TABLE + 32).contains(&(byte as u64)) {
                continue;
            }
            for way in [0xff, 1, 0x80] {
                bad[byte] ^= way;
                refused(&bad, &format!("byte {byte:#x} ^ {way:#x}"));
                bad[byte] ^= way;
            }
        }
    }
    let recovered = recover(&bad).map_err(|(e, _)| e).expect("as it was");
    assert_eq!(world(&recovered, tables), before);
}

/// More than one byte, and bytes of the region beside the log: no promise but that everything comes back with a value or an error.
#[test]
fn a_log_altered_at_random() {
    let (image, _, _, length) = torn(|tx, t| {
        several(tx, t)?;
        tx.savepoint(|tx| several(tx, t)).map(|_| ())
    });
    let log = crate::region::header::Layout::of(2 << 20).expect("layout").log as usize;
    let mut random = fastrand::Rng::with_seed(12);
    let mut recovered = 0;
    for _ in 0..3000 {
        let mut bad = image.clone();
        for _ in 0..random.u32(2..6) {
            let byte = random.usize(log..log + length as usize);
            // Whole words of the log too, in another place: entries that fit themselves, and not each other.
            if random.bool() {
                let from = random.usize(log..log + length as usize - 64) & !7;
                let words = bad[from..from + 24].to_vec();
                bad[byte & !7..(byte & !7) + 24].copy_from_slice(&words);
            } else {
                bad[byte] ^= random.u8(1..);
            }
        }
        match recover(&bad) {
            Ok(region) => {
                recovered += 1;
                let gate = region.gate().clone();
                let pass = gate.enter().expect("pass");
                let _ = verify(&region.read(&pass).expect("recovered")).expect("verify");
            }
            Err((Error::Damaged { .. }, _)) => {}
            Err((other, _)) => panic!("{other}"),
        }
    }
    println!("{recovered} of 3000 were recovered");
}

/// The refusal ends with the damage: a log that is put right again is taken back, after any number of attempts.
#[test]
fn a_log_that_is_put_right_is_taken_back() {
    let (image, tables, before, length) = torn(several);
    let mut region = Region::from_image(&image).expect("region");
    let byte = (region.layout().log + length - 12) & !7;
    let word = region.view.load(byte, "test").expect("word");
    region.view.store(byte, word ^ 0x100, "test").expect("store");
    let gate = region.gate().clone();
    {
        let pass = gate.enter().expect("pass");
        for _ in 0..3 {
            assert!(matches!(region.read(&pass).map(drop), Err(Error::Damaged { .. })));
            assert!(matches!(region.begin(&pass).map(drop), Err(Error::Damaged { .. })));
        }
    }
    region.view.store(byte, word, "test").expect("store");
    assert_eq!(world(&region, tables), before);
    lengthen_log(&mut region, tables, 700);
    assert!(region.view.size(at::TAKEN).is_multiple_of(CHUNK));
    assert_eq!(world(&region, tables), before);
}
