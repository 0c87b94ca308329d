//! Sequences that come round: so many changes between two looks at a record that its header is what it was.

use super::interleave::Course;
use super::maps::word;
use super::{EACH, Tables, create, transfer};
use crate::observe::sabotage::{Left, leave_out};
use crate::observe::{ObservedMap, Observer};
use crate::{Region, Result};

/// Changes in place after which a sequence is what it was.
const ROUND: u64 = 1 << 15;

type Ledger<'o> = ObservedMap<'o, u32, (u64, u64)>;

/// Records what `change` does. (What is committed in between is not asked for: the changes say it.)
fn course(what: &str, change: impl FnOnce(&mut Region, &Tables) -> Result<()>) -> Course {
    let mut region = Region::in_memory(2 << 20).expect("region");
    let gate = region.gate().clone();
    let tables = region.write(&gate.enter().expect("pass"), create).expect("tables");
    let image = region.view.start_recording();
    change(&mut region, &tables).expect("change");
    Course::of(what, image, region.view.stop_recording())
}

/// Lets all stores happen at each load of a reading in turn. Gives what was read and never was.
fn misfits(course: &Course, read: impl Fn(&Observer, &Ledger<'_>) -> Result<(u64, u64)>) -> Vec<(u64, u64)> {
    let total = course.stores.len();
    let observer = Observer::open(&course.name).expect("observer");
    let ledger = observer.map("ledger").expect("ledger");
    let read = || read(&observer, &ledger);
    let (_, _, loads) = course.run(0, Vec::new(), || read().expect("at rest"));
    let all = (0..loads).map(|load| course.run(0, vec![(load, total)], read).0);
    // The first is changed first, and never gets further ahead.
    let all = all.map(|read| read.expect("the owner is done"));
    all.filter(|(first, second)| first.wrapping_sub(*second) > 1).collect()
}

fn check(course: &Course, read: impl Fn(&Observer, &Ledger<'_>) -> Result<(u64, u64)>) {
    assert_eq!(misfits(course, &read), []);
    leave_out(Left::Round);
    let found = misfits(course, read).len();
    leave_out(Left::Nothing);
    assert!(found > 0, "sequences are believed, and nobody noticed");
}

fn two_accounts(observer: &Observer, ledger: &Ledger<'_>) -> Result<(u64, u64)> {
    observer.snapshot(|s| {
        let [first, second] = [ledger.get(s, &1)?, ledger.get(s, &2)?].map(|record| record.expect("account"));
        Ok((first.0.to_native(), second.0.to_native()))
    })
}

#[test]
fn a_snapshot_of_two_records() {
    let change = |region: &mut Region, tables: &Tables| {
        (1..=ROUND).try_for_each(|i| {
            word(region, tables, 1, false, EACH + i)?;
            word(region, tables, 2, false, EACH + i)
        })
    };
    check(&course("round-snapshot", change), two_accounts);
}

/// With a log in between, so that there is no epoch that holds, only the headers (N4).
#[test]
fn a_snapshot_of_two_records_without_an_epoch() {
    let change = |region: &mut Region, tables: &Tables| {
        let gate = region.gate().clone();
        region.write(&gate.enter()?, |tx| transfer(tx, tables, 5, 6, 1))?;
        (1..=ROUND).try_for_each(|i| {
            word(region, tables, 1, false, EACH + i)?;
            word(region, tables, 2, false, EACH + i)
        })
    };
    check(&course("round-epoch", change), two_accounts);
}

#[test]
fn a_peek() {
    let change = |region: &mut Region, tables: &Tables| {
        (1..=ROUND / 2).try_for_each(|i| {
            word(region, tables, 1, false, EACH + i)?;
            word(region, tables, 1, true, i)
        })
    };
    check(&course("round-peek", change), |_, ledger| {
        let seen = ledger.peek(&1)?.expect("account");
        Ok((seen.0.to_native(), EACH + seen.1.to_native()))
    });
}
