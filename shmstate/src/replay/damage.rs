//! Damage: each byte of what slabs, queues and timers keep in a region is changed, in several ways; whatever is then read,
//! verified or tried gives a value or an error, and comes back.
//!
//! The records are strings that are longer than what lies in a root: one that is read from a wrong place leads out of the
//! region, and is then seen to (the values must be among those that were put in).

use crate::region::view::View;
use crate::table::catalog::{self, ROOT};
use crate::{Cell, Gap, Queue, Region, Result, Slab, SlabId, TimerId, Timers, Tx, verify};
use rkyv::string::ArchivedString;
use std::num::NonZeroU64;

const EACH: u64 = 300;
/// What every record is: recognised without being looked up.
const MARK: &str = "a record of the damage test, long enough not to lie in its root: ";

struct Tables {
    slab: Slab<String>,
    queue: Queue<String>,
    timers: Timers<String>,
    ids: Vec<SlabId>,
    timer_ids: Vec<TimerId>,
}

fn text(i: u64) -> String {
    format!("{MARK}{i}")
}

fn filled(gap: Gap) -> (Region, Tables) {
    let mut region = Region::in_memory(2 << 20).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let fill = |tx: &mut Tx<'_>| -> Result<Tables> {
        let mut t = Tables {
            slab: Slab::create(tx, "slab")?,
            queue: Queue::create(tx, "queue")?,
            timers: Timers::create(tx, "timers", gap)?,
            ids: Vec::new(),
            timer_ids: Vec::new(),
        };
        Cell::create(tx, "another", &7u64)?;
        for i in 0..EACH {
            t.ids.push(t.slab.insert(tx, &text(i))?);
            t.queue.push_back(tx, &text(i))?;
            let at = 1000 + i * 37 % 50 * 10;
            t.timer_ids.push(if i % 7 == 0 {
                t.timers
                    .insert_every(tx, at, NonZeroU64::MIN.saturating_add(99), &text(i))?
            } else {
                t.timers.insert(tx, at, &text(i))?
            });
        }
        Ok(t)
    };
    let t = region.write(&pass, fill).expect("fill");
    region
        .write(&pass, |tx| {
            for i in (0..EACH as usize).step_by(5) {
                t.slab.remove(tx, t.ids[i])?;
                t.timers.cancel(tx, t.timer_ids[i])?;
                t.queue.pop_front(tx, |_, _| ())?;
            }
            Result::Ok(())
        })
        .expect("thin out");
    drop(pass);
    (region, t)
}

/// Every range that the tables keep for themselves: roots, directories, pages.
fn metadata(view: &View) -> Vec<(u64, u64)> {
    let mut ranges = Vec::new();
    let mut pages = |roots: u64| {
        let [directory, room, _] = view.words(roots, "test").expect("roots");
        ranges.push((directory, room * 8));
        for i in 0..room {
            let word = view.load(directory + i * 8, "test").expect("directory");
            if word != 0 {
                ranges.push((word & 0xffff_ffff_ffff, 4096));
            }
        }
    };
    let rows: Vec<_> = catalog::rows(view)
        .expect("rows")
        .iter()
        .map(|row| row.offset)
        .collect();
    for row in &rows[..3] {
        pages(row + ROOT);
    }
    pages(rows[2] + ROOT + 7 * 8);
    ranges.extend(rows[..3].iter().map(|row| (row + ROOT, 14 * 8)));
    ranges
}

/// A value that was found must be one that was put in. Reading one from a wrong place would show here, or crash the test.
fn known(value: &ArchivedString) {
    assert!(
        value.starts_with(MARK),
        "a record that was never put in: {:?}",
        value.as_bytes()
    );
}

/// Reads everything there is to read. Errors are welcome.
fn read(view: &View, t: &Tables) {
    if let Ok(items) = t.slab.iter(view) {
        items.flatten().for_each(|(_, value)| known(value));
    }
    if let Ok(items) = t.queue.iter(view) {
        items.flatten().for_each(|(_, value)| known(value));
    }
    if let Ok(items) = t.timers.iter(view) {
        items.flatten().for_each(|(_, _, value)| known(value));
    }
    // What callers do first: take the iterator's word for its length.
    let _ = t.slab.iter(view).and_then(Iterator::collect::<Result<Vec<_>>>);
    let _ = t.queue.iter(view).and_then(Iterator::collect::<Result<Vec<_>>>);
    let _ = t.timers.iter(view).and_then(Iterator::collect::<Result<Vec<_>>>);
    for i in [1, 5, 255, 256, 299] {
        if let Ok(Some(value)) = t.slab.get(view, t.ids[i]) {
            known(value);
        }
        if let Ok(Some(value)) = t.timers.get(view, t.timer_ids[i]) {
            known(value);
        }
        if let Ok(Some((_, value))) = t.queue.get(view, i as u64) {
            known(value);
        }
        let _ = t.timers.deadline(view, t.timer_ids[i]);
        let _ = t.timers.period(view, t.timer_ids[i]);
    }
    let _ = (t.slab.len(view), t.queue.len(view), t.timers.len(view));
    let _ = (
        t.queue.front(view),
        t.queue.back(view),
        t.timers.next_deadline(view),
        t.timers.gap(view),
    );
}

type Change<'c> = &'c dyn Fn(&mut Tx<'_>) -> Result<()>;

/// Tries each kind of change in a transaction that is then rolled back.
fn change(region: &mut Region, t: &Tables) {
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let changes: [Change<'_>; 9] = [
        &|tx| t.slab.insert(tx, &text(1)).map(|_| ()),
        &|tx| t.slab.remove(tx, t.ids[1]).map(|_| ()),
        &|tx| t.slab.replace(tx, t.ids[299], &text(2)).map(|_| ()),
        &|tx| t.queue.push_back(tx, &text(3)).map(|_| ()),
        &|tx| t.queue.pop_front(tx, |_, value| known(value)).map(|_| ()),
        &|tx| t.timers.insert(tx, 1100, &text(4)).map(|_| ()),
        &|tx| t.timers.cancel(tx, t.timer_ids[1]).map(|_| ()),
        &|tx| t.timers.reschedule(tx, t.timer_ids[299], 7).map(|_| ()),
        &|tx| {
            for _ in 0..20 {
                t.timers.pop_due(tx, 1400, |_, _, value| known(value))?;
            }
            Ok(())
        },
    ];
    for change in changes {
        let mut tx = region.begin(&pass).expect("begin");
        let _ = change(&mut tx);
        drop(tx);
    }
}

/// Changes each byte in each way of `ways` and gives, of so many changes, how many `verify` noticed.
fn damage_each_byte(gap: Gap, ways: &[u8], every: u64) -> (u64, u64) {
    let (mut region, t) = filled(gap);
    let ranges = metadata(&region.view);
    let (mut tried, mut noticed) = (0, 0);
    for (start, length) in ranges {
        for at in (start..start + length).filter(|at| at % every == 0 || length < 4096) {
            let (word_at, shift) = (at & !7, at % 8 * 8);
            let word = region.view.load(word_at, "test").expect("inside");
            for way in ways {
                let changed = word ^ u64::from(*way) << shift;
                region.view.store(word_at, changed, "test").expect("inside");
                {
                    let gate = region.gate().clone();
                    let pass = gate.enter().expect("pass");
                    let reader = region.read(&pass).expect("reader");
                    read(&reader, &t);
                    tried += 1;
                    noticed += u64::from(!matches!(verify(&reader), Ok(found) if found.is_sound()));
                }
                change(&mut region, &t);
                region.view.store(word_at, word, "test").expect("inside");
            }
        }
    }
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let reader = region.read(&pass).expect("reader");
    assert!(
        verify(&reader).expect("restored").is_sound(),
        "nothing else was changed"
    );
    (tried, noticed)
}

#[test]
fn every_byte_turned_over() {
    let (tried, noticed) = damage_each_byte(Gap::All, &[0xff], 1);
    assert!(tried > 20_000, "{tried}");
    assert!(noticed * 10 > tried * 3, "{noticed} of {tried} noticed");
}

#[test]
fn single_bits_turned_over() {
    for gap in [Gap::Coalesce, Gap::Skip] {
        damage_each_byte(gap, &[0x01, 0x80], 5);
    }
}

/// Q3: a head that moved back would give records that were freed, a tail that moved on what a rollback left; neither is believed.
#[test]
fn no_byte_of_a_queues_positions_can_change_unnoticed() {
    let (region, t) = filled(Gap::All);
    let view = &region.view;
    let roots = catalog::rows(view).expect("rows")[1].offset + ROOT;
    assert!(t.queue.front(view).expect("front").is_some());
    // Directory, room, head; the bytes of archives are only a figure; tail, check.
    for root in [0, 1, 2, 4, 5] {
        let at = roots + root * 8;
        let word = view.load(at, "test").expect("root");
        for bit in 0..64 {
            view.store(at, word ^ 1 << bit, "test").expect("store");
            let refused = [
                t.queue.front(view).is_err(),
                t.queue.len(view).is_err(),
                t.queue.iter(view).is_err(),
            ];
            assert_eq!(refused, [true; 3], "bit {bit} of root {root}");
        }
        view.store(at, word, "test").expect("store");
    }
    assert!(t.queue.front(view).expect("front").is_some());
}

/// The check can fail: a slot's reference that is sealed as it should be, but leads to another table's record, is followed.
#[test]
fn a_well_sealed_wrong_reference_is_followed() {
    let (region, t) = filled(Gap::All);
    let view = &region.view;
    let rows = catalog::rows(view).expect("rows");
    let cell = view.load(rows[3].offset + ROOT, "test").expect("the cell's record") & 0xffff_ffff_ffff;
    let slab = rows[0].offset;
    let place = u64::from(t.ids[1].index());
    let directory = view.load(slab + ROOT, "test").expect("directory");
    let page = view.load(directory, "test").expect("page") & 0xffff_ffff_ffff;
    let word = crate::table::reference::seal(cell, slab, t.ids[1].token());
    view.store(page + 16 + place * 16, word, "test").expect("store");
    let found = crate::table::slots::Slots::of(slab)
        .find(view, t.ids[1].token())
        .expect("find");
    assert_eq!(found.map(|slot| slot.record), Some(cell));
}
