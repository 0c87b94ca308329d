//! Every-prefix replay and rollback of slabs, queues and timers: after a kill between any two stores nothing is lost, nothing is
//! there twice, and every id means what it meant.

use super::every_prefix_of;
use crate::{Cell, Gap, Queue, Region, Result, Slab, SlabId, TimerId, Timers, Tx, verify};
use std::num::NonZeroU64;

/// Records of a slab's page and of a queue's page, and then some.
const PAGE_AND_MORE: u64 = 300;
const QUEUE_PAGE: u64 = 512;

#[derive(Clone, Copy)]
struct Tables {
    slab: Slab<String>,
    queue: Queue<String>,
    timers: Timers<String>,
    fired: Cell<u64>,
}

#[derive(Clone, Debug, PartialEq)]
struct World {
    slab: Vec<(SlabId, String)>,
    queue: Vec<(u64, String)>,
    next_serial: u64,
    /// Deadline, id, period, record.
    timers: Vec<(u64, TimerId, u64, String)>,
    fired: u64,
    archived: [u64; 3],
}

fn text(seed: u64) -> String {
    format!("{seed} {}", "x".repeat((seed % 23) as usize))
}

fn world(region: &Region, t: Tables) -> World {
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let reader = region.read(&pass).expect("reader");
    let verification = verify(&reader).expect("metadata is sound");
    assert!(verification.is_sound(), "{verification:?}");
    let slab: Vec<_> = t
        .slab
        .iter(&reader)
        .expect("slab")
        .map(|item| item.expect("record"))
        .collect();
    for (id, value) in &slab {
        let found = t
            .slab
            .get(&reader, *id)
            .expect("get")
            .expect("by the id that iteration gives");
        assert_eq!(found, *value);
    }
    let mut timers: Vec<_> = t
        .timers
        .iter(&reader)
        .expect("timers")
        .map(|item| item.expect("timer"))
        .map(|(id, at, who)| {
            let period = t.timers.period(&reader, id).expect("period").expect("there");
            (at, id, period, who.to_string())
        })
        .collect();
    timers.sort();
    assert_eq!(
        t.timers.next_deadline(&reader).expect("next"),
        timers.first().map(|t| t.0)
    );
    let first = t.timers.first(&reader).expect("first");
    assert_eq!(first.map(|(_, at, _)| at), timers.first().map(|t| t.0));
    World {
        slab: slab.iter().map(|(id, value)| (*id, value.to_string())).collect(),
        queue: t
            .queue
            .iter(&reader)
            .expect("queue")
            .map(|item| item.expect("item"))
            .map(|(serial, value)| (serial, value.to_string()))
            .collect(),
        next_serial: t.queue.next_serial(&reader).expect("serial"),
        timers,
        fired: t.fired.get(&reader).expect("fired").to_native(),
        archived: [
            t.slab.archived_bytes(&reader).expect("bytes"),
            t.queue.archived_bytes(&reader).expect("bytes"),
            t.timers.archived_bytes(&reader).expect("bytes"),
        ],
    }
}

fn write<R>(region: &mut Region, change: impl FnOnce(&mut Tx<'_>) -> Result<R>) -> R {
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    region.write(&pass, change).expect("transaction")
}

/// Tables in which `each` records were put and every third removed.
fn filled(gap: Gap, each: u64) -> (Region, Tables, Vec<SlabId>, Vec<TimerId>) {
    let mut region = Region::in_memory(3 << 20).expect("region");
    let tables = write(&mut region, |tx| {
        Ok(Tables {
            slab: Slab::create(tx, "slab")?,
            queue: Queue::create(tx, "queue")?,
            timers: Timers::create(tx, "timers", gap)?,
            fired: Cell::create(tx, "fired", &0)?,
        })
    });
    let (ids, timers) = write(&mut region, |tx| {
        let (mut ids, mut timers) = (Vec::new(), Vec::new());
        for i in 0..each {
            ids.push(tables.slab.insert(tx, &text(i))?);
            tables.queue.push_back(tx, &text(i))?;
            // Not in order, with ties.
            let deadline = 1000 + i * 37 % 50 * 10;
            timers.push(tables.timers.insert(tx, deadline, &text(i))?);
        }
        Ok((ids, timers))
    });
    write(&mut region, |tx| {
        for i in (0..each as usize).step_by(3) {
            assert!(tables.slab.remove(tx, ids[i])?);
            assert!(tables.timers.cancel(tx, timers[i])?);
            tables.queue.pop_front(tx, |_, _| ())?;
        }
        Ok(())
    });
    (region, tables, ids, timers)
}

fn tick(tx: &mut Tx<'_>, t: Tables, now: u64) -> Result<u64> {
    let mut fired = 0;
    while t.timers.pop_due(tx, now, |_, _, _| ())?.is_some() {
        fired += 1;
    }
    let before = t.fired.get(tx)?.to_native();
    t.fired.set(tx, &(before + fired))?;
    Ok(fired)
}

#[test]
fn slab_inserts_removes_replaces_and_uses_slots_again() {
    let (mut region, t, ids, _) = filled(Gap::All, 40);
    every_prefix_of(
        &mut region,
        |region| world(region, t),
        1,
        |tx| {
            t.slab.insert(tx, &text(100))?;
            t.slab.remove(tx, ids[1])?;
            t.slab.insert(tx, &text(101))?;
            t.slab.replace(tx, ids[2], &text(102))?;
            t.slab.remove(tx, ids[4])?;
            let last = t.slab.insert(tx, &text(103))?;
            assert_eq!(t.slab.take(tx, last)?.expect("there"), text(103).as_str());
            t.slab.insert_with(tx, |id| format!("{:?}", id.token())).map(|_| ())
        },
    );
}

#[test]
fn slab_pages_come_and_go() {
    let (mut region, t, ..) = filled(Gap::All, 6);
    every_prefix_of(
        &mut region,
        |region| world(region, t),
        7,
        |tx| {
            for i in 0..2 * PAGE_AND_MORE {
                t.slab.insert(tx, &text(i))?;
            }
            Ok(())
        },
    );
    every_prefix_of(
        &mut region,
        |region| world(region, t),
        7,
        |tx| t.slab.retain(tx, |id, _| id.index() % 200 == 0).map(|_| ()),
    );
    every_prefix_of(
        &mut region,
        |region| world(region, t),
        1,
        |tx| {
            t.slab.clear(tx)?;
            t.slab.insert(tx, &text(1)).map(|_| ())
        },
    );
}

#[test]
fn slab_directory_is_doubled_and_halved() {
    let (mut region, t, ..) = filled(Gap::All, 6);
    let full = 8 * crate::table::slots::PER_PAGE;
    let ids = write(&mut region, |tx| {
        let there = t.slab.len(tx)?;
        (there..full)
            .map(|i| t.slab.insert(tx, &i.to_string()))
            .collect::<Result<Vec<_>>>()
    });
    let mut last = ids[0];
    every_prefix_of(
        &mut region,
        |region| world(region, t),
        9,
        |tx| {
            last = t.slab.insert(tx, &text(1))?;
            t.slab.insert(tx, &text(2)).map(|_| ())
        },
    );
    assert_eq!(u64::from(last.index()), full, "in the ninth page");
    write(&mut region, |tx| {
        t.slab.retain(tx, |id, _| id.index() < 20 || id == last)
    });
    every_prefix_of(
        &mut region,
        |region| world(region, t),
        1,
        |tx| t.slab.remove(tx, last).map(|_| ()),
    );
}

#[test]
fn queue_pushes_and_pops() {
    let (mut region, t, ..) = filled(Gap::All, 40);
    every_prefix_of(
        &mut region,
        |region| world(region, t),
        1,
        |tx| {
            t.queue.push_back(tx, &text(100))?;
            t.queue.pop_front(tx, |_, _| ())?;
            t.queue.pop_front(tx, |_, _| ())?;
            t.queue.push_back(tx, &text(101)).map(|_| ())
        },
    );
    every_prefix_of(
        &mut region,
        |region| world(region, t),
        1,
        |tx| {
            t.queue.clear(tx)?;
            t.queue.push_back(tx, &text(102)).map(|_| ())
        },
    );
}

#[test]
fn queue_records_change_and_go_up_to_a_serial() {
    let (mut region, t, ..) = filled(Gap::All, 40);
    every_prefix_of(
        &mut region,
        |region| world(region, t),
        1,
        |tx| {
            let (serial, mut record) = t.queue.get_mut(tx, 3)?.expect("there");
            record.seal()?;
            t.queue.remove_before(tx, serial)?;
            t.queue.get_serial_mut(tx, serial + 2)?.expect("there").seal()?;
            t.queue.push_back(tx, &text(100))?;
            t.queue.remove_before(tx, serial + 4).map(|_| ())
        },
    );
    // Across the end of a page.
    drive(&mut region, t, true, |_, tail| tail == QUEUE_PAGE + 2);
    every_prefix_of(
        &mut region,
        |region| world(region, t),
        23,
        |tx| t.queue.remove_before(tx, QUEUE_PAGE + 1).map(|_| ()),
    );
}

/// Pushes or pops until `done` says so of the head's serial and the tail's.
fn drive(region: &mut Region, t: Tables, push: bool, done: impl Fn(u64, u64) -> bool) {
    write(region, |tx| {
        loop {
            let tail = t.queue.next_serial(tx)?;
            if done(tail - t.queue.len(tx)?, tail) {
                return Ok(());
            }
            if push {
                t.queue.push_back(tx, &text(tail))?;
            } else {
                t.queue.pop_front(tx, |_, _| ())?;
            }
        }
    });
}

#[test]
fn queue_pages_and_directory_come_and_go() {
    let (mut region, t, ..) = filled(Gap::All, 6);
    let push_some = |tx: &mut Tx<'_>| (0..3).try_for_each(|i| t.queue.push_back(tx, &text(i)).map(|_| ()));
    let pop_some = |tx: &mut Tx<'_>| (0..3).try_for_each(|_| t.queue.pop_front(tx, |_, _| ()).map(|_| ()));
    // The second page, the ninth, which doubles the directory, and back, until a quarter of it is used and it is halved.
    drive(&mut region, t, true, |_, tail| tail == QUEUE_PAGE - 1);
    every_prefix_of(&mut region, |region| world(region, t), 1, push_some);
    drive(&mut region, t, true, |_, tail| tail == 8 * QUEUE_PAGE - 1);
    every_prefix_of(&mut region, |region| world(region, t), 11, push_some);
    drive(&mut region, t, false, |head, _| head == 5 * QUEUE_PAGE - 1);
    every_prefix_of(&mut region, |region| world(region, t), 11, pop_some);
    // Across the end of a page with both ends, in one transaction.
    drive(&mut region, t, true, |_, tail| tail == 10 * QUEUE_PAGE - 1);
    drive(&mut region, t, false, |head, tail| head == tail - 1);
    every_prefix_of(
        &mut region,
        |region| world(region, t),
        1,
        |tx| {
            push_some(tx)?;
            pop_some(tx)
        },
    );
}

#[test]
fn timers_come_go_move_and_fire() {
    let (mut region, t, _, timers) = filled(Gap::All, 40);
    every_prefix_of(
        &mut region,
        |region| world(region, t),
        1,
        |tx| {
            t.timers.insert(tx, 5, &text(100))?;
            t.timers.insert(tx, 1205, &text(101))?;
            t.timers.cancel(tx, timers[1])?;
            t.timers.reschedule(tx, timers[2], 2)?;
            t.timers.reschedule(tx, timers[4], 9000)?;
            t.timers.rebase(tx, -3)
        },
    );
    let before = world(&region, t);
    let mut fired = 0;
    every_prefix_of(
        &mut region,
        |region| world(region, t),
        1,
        |tx| {
            fired = tick(tx, t, 1100)?;
            Ok(())
        },
    );
    let after = world(&region, t);
    assert!(fired > 3, "only {fired}");
    assert_eq!(before.timers.len() as u64, after.timers.len() as u64 + fired);
    assert_eq!(after.fired, fired);
}

#[test]
fn timers_are_replaced_given_other_periods_and_not_kept() {
    let (mut region, t, _, timers) = filled(Gap::All, 40);
    let period = NonZeroU64::new(30);
    write(&mut region, |tx| t.timers.reschedule_every(tx, timers[5], 1500, period));
    every_prefix_of(
        &mut region,
        |region| world(region, t),
        1,
        |tx| {
            // In place and elsewhere.
            t.timers.replace(tx, timers[1], &text(24))?;
            t.timers.replace(tx, timers[2], &"y".repeat(400))?;
            t.timers.reschedule_every(tx, timers[4], 2, period)?;
            t.timers.reschedule_every(tx, timers[5], 1600, None)?;
            t.timers.replace(tx, timers[4], &"z".repeat(300)).map(|_| ())
        },
    );
    every_prefix_of(
        &mut region,
        |region| world(region, t),
        1,
        |tx| {
            t.timers
                .retain(tx, |id, at, _| at % 20 != 0 || id == timers[5])
                .map(|_| ())
        },
    );
}

#[test]
fn periodic_timers_fire_with_their_effect_under_each_policy() {
    let period = NonZeroU64::new(100).expect("period");
    // Due at 250 with a deadline of 50: the firings at 50 and 150 and 250.
    for (gap, firings) in [(Gap::All, 3), (Gap::Coalesce, 1), (Gap::Skip, 0)] {
        let (mut region, t, ..) = filled(gap, 10);
        write(&mut region, |tx| t.timers.insert_every(tx, 50, period, &text(1)));
        every_prefix_of(
            &mut region,
            |region| world(region, t),
            1,
            |tx| {
                // Something else fires too, so that the transaction is seen under each policy.
                t.timers.insert(tx, 240, &text(2))?;
                tick(tx, t, 250).map(|_| ())
            },
        );
        let after = world(&region, t);
        assert_eq!(after.fired, firings + 1, "{gap:?}");
        assert_eq!(after.timers[0].0, 350, "{gap:?}: on its grid");
    }
}

#[test]
fn timers_pages_come_and_go() {
    let (mut region, t, ..) = filled(Gap::All, 6);
    every_prefix_of(
        &mut region,
        |region| world(region, t),
        13,
        |tx| {
            for i in 0..2 * PAGE_AND_MORE {
                t.timers.insert(tx, i * 7919 % 5000, &text(i))?;
            }
            Ok(())
        },
    );
    every_prefix_of(
        &mut region,
        |region| world(region, t),
        29,
        |tx| tick(tx, t, 4900).map(|_| ()),
    );
    every_prefix_of(
        &mut region,
        |region| world(region, t),
        1,
        |tx| {
            t.timers.clear(tx)?;
            t.timers.insert(tx, 1, &text(1)).map(|_| ())
        },
    );
}

#[test]
fn making_the_tables_is_all_or_nothing() {
    let mut region = Region::in_memory(4 << 20).expect("region");
    let tables = |region: &Region| -> Vec<String> {
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let reader = region.read(&pass).expect("reader");
        assert!(verify(&reader).expect("metadata is sound").is_sound());
        crate::table::catalog::rows(&reader)
            .expect("rows")
            .into_iter()
            .map(|row| row.name)
            .collect()
    };
    every_prefix_of(&mut region, tables, 1, |tx| {
        Slab::<u64>::create(tx, "slab")?;
        Queue::<u64>::create(tx, "queue")?;
        Timers::<u64>::create(tx, "timers", Gap::Skip)?;
        Ok(())
    });
}

/// Rolls `change` back by drop and by a forgotten guard, and checks that nothing of it is left.
fn rolled_back(region: &mut Region, t: Tables, change: impl Fn(&mut Tx<'_>) -> Result<()>) {
    let before = world(region, t);
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let mut tx = region.begin(&pass).expect("begin");
    change(&mut tx).expect("change");
    drop(tx);
    assert_eq!(world(region, t), before, "drop");
    let mut tx = region.begin(&pass).expect("begin");
    change(&mut tx).expect("change");
    std::mem::forget(tx);
    assert_eq!(world(region, t), before, "forgotten");
}

#[test]
fn rollback_leaves_nothing() {
    let (mut region, t, ids, timers) = filled(Gap::All, 2 * PAGE_AND_MORE);
    rolled_back(&mut region, t, |tx| t.slab.clear(tx));
    rolled_back(&mut region, t, |tx| t.queue.clear(tx));
    rolled_back(&mut region, t, |tx| t.timers.clear(tx));
    rolled_back(&mut region, t, |tx| t.timers.rebase(tx, 77));
    rolled_back(&mut region, t, |tx| tick(tx, t, u64::MAX).map(|_| ()));
    rolled_back(&mut region, t, |tx| {
        for i in 0..1500 {
            t.slab.insert(tx, &text(i))?;
            t.queue.push_back(tx, &text(i))?;
            t.timers.insert(tx, i * 31 % 700, &text(i))?;
        }
        for id in &ids {
            t.slab.remove(tx, *id)?;
        }
        for timer in &timers {
            t.timers.reschedule(tx, *timer, timer.token() % 997)?;
        }
        // A page goes and another comes in its place, in one transaction.
        t.slab.retain(tx, |_, _| false)?;
        t.slab.insert(tx, &text(7))?;
        for _ in 0..1500 {
            t.queue.pop_front(tx, |_, _| ())?;
        }
        Ok(())
    });
}

/// L1: ids given in a transaction that was taken back, by drop or by recovery, never come to name another record.
#[test]
fn ids_of_a_rolled_back_transaction_are_not_given_again() {
    let (mut region, t, ..) = filled(Gap::All, 9);
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let mut stale = Vec::new();
    for round in 0..20 {
        let mut tx = region.begin(&pass).expect("begin");
        for i in 0..5 {
            stale.push((
                t.slab.insert(&mut tx, &text(i)).expect("insert"),
                t.timers.insert(&mut tx, i, &text(i)).expect("insert"),
            ));
        }
        if round % 2 == 0 {
            drop(tx);
        } else {
            std::mem::forget(tx);
            region.read(&pass).expect("recovery");
        }
        if round % 3 == 0 {
            region
                .write(&pass, |tx| {
                    t.slab.insert(tx, &text(1))?;
                    t.timers.insert(tx, 1, &text(1)).map(|_| ())
                })
                .expect("insert");
        }
    }
    // Now all slots that the stale ids name are in use.
    let made = region
        .write(&pass, |tx| {
            (0..20)
                .map(|i| Ok((t.slab.insert(tx, &text(i))?, t.timers.insert(tx, i, &text(i))?)))
                .collect::<Result<Vec<_>>>()
        })
        .expect("insert");
    let reader = region.read(&pass).expect("reader");
    assert_eq!(made.len(), 20);
    let in_use: Vec<u32> = t
        .slab
        .iter(&reader)
        .expect("slab")
        .flatten()
        .map(|(id, _)| id.index())
        .collect();
    for (id, timer) in stale {
        assert!(
            in_use.contains(&id.index()),
            "the test must ask for slots that others are in"
        );
        assert!(t.slab.get(&reader, id).expect("get").is_none());
        assert!(t.timers.get(&reader, timer).expect("get").is_none());
    }
}

/// Q2 is an argument about words that are not logged; a push before the tail would be one that is wrong. These tests see that.
#[test]
fn an_unlogged_store_before_the_tail_is_seen() {
    let (mut region, t, ..) = filled(Gap::All, 9);
    let before = world(&region, t);
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let mut tx = region.begin(&pass).expect("begin");
    let row = crate::table::catalog::rows(&tx).expect("rows")[1].offset;
    assert_eq!(crate::table::catalog::rows(&tx).expect("rows")[1].name, "queue");
    let directory = tx.load(row + crate::table::catalog::ROOT, "test").expect("directory");
    let page = tx.load(directory, "test").expect("page") & 0xffff_ffff_ffff;
    let serial = before.queue[1].0;
    let other = tx.load(page + (serial + 1) * 8, "test").expect("item");
    tx.store(page + serial * 8, other, "test")
        .expect("store around the log");
    t.queue.push_back(&mut tx, &text(1)).expect("push");
    drop(tx);
    let reader = region.read(&pass).expect("reader");
    assert!(
        t.queue.get(&reader, 1).is_err(),
        "a reference of another place is not followed"
    );
    let found = verify(&reader).expect("verify");
    assert_eq!(
        found.faults.first().and_then(|fault| fault.table.as_deref()),
        Some("queue")
    );
}
