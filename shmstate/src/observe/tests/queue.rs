//! Queues, store by store.

use super::interleave::{Course, Reading, Said, nothing, right, settled, wrong};
use super::{Player, owned, player};
use crate::observe::Observer;
use crate::observe::sabotage::Left;
use crate::table::queue::ring::PER_PAGE;
use crate::{Queue, Region, Result, Tx, View};

fn filled(tx: &mut Tx<'_>, count: u64) -> Result<Queue<Player>> {
    let queue = Queue::create(tx, "queue")?;
    for i in 0..count {
        queue.push_back(tx, &player(i % 5))?;
    }
    Ok(queue)
}

fn item((serial, seen): (u64, &super::ArchivedPlayer)) -> (u64, Player) {
    (serial, owned(seen))
}

fn ends(view: &View, queue: &Queue<Player>) -> Result<Said> {
    let (front, back) = (queue.front(view)?.map(item), queue.back(view)?.map(item));
    let third = queue.get(view, 2)?.map(item);
    let numbers = (queue.len(view)?, queue.next_serial(view)?);
    Ok(format!("{numbers:?} {front:?} {third:?} {back:?}"))
}

fn snapshot_of_ends(observer: &Observer) -> Reading<'_> {
    let queue = observer.queue::<Player>("queue").expect("queue");
    Box::new(move || {
        observer.snapshot(|s| {
            let (front, back) = (queue.front(s)?, queue.back(s)?);
            let [front, third, back] = [front, queue.get(s, 2)?, back].map(|seen| seen.map(|(n, p)| (n, owned(&p))));
            let numbers = (queue.count(s)?, queue.next_serial(s)?);
            Ok(format!("{numbers:?} {front:?} {third:?} {back:?}"))
        })
    })
}

fn all(view: &View, queue: &Queue<Player>) -> Result<Said> {
    let items: Result<Vec<_>> = queue.iter(view)?.map(|seen| seen.map(item)).collect();
    Ok(format!("{:?}", items?))
}

fn snapshot_of_all(observer: &Observer) -> Reading<'_> {
    let queue = observer.queue::<Player>("queue").expect("queue");
    Box::new(move || {
        observer.snapshot(|s| {
            let items: Result<Vec<_>> = queue.iter(s)?.map(|seen| seen.map(|(n, p)| (n, owned(&p)))).collect();
            Ok(format!("{:?}", items?))
        })
    })
}

const SERIAL: u64 = 4;

/// The item with that serial, which is pushed, taken back, and pushed again as another.
fn fourth(view: &View, queue: &Queue<Player>) -> Result<Said> {
    let found = match queue.front(view)? {
        Some((first, _)) if first <= SERIAL => queue.get(view, SERIAL - first)?,
        _ => None,
    };
    if let Some((_, found)) = found {
        settled(
            view,
            crate::archive::offset_of(view, found) + Queue::<Player>::GEOMETRY.root,
        )?;
    }
    Ok(format!("{:?}", found.map(|(_, found)| owned(found))))
}

fn peek(observer: &Observer) -> Reading<'_> {
    let queue = observer.queue::<Player>("queue").expect("queue");
    Box::new(move || Ok(format!("{:?}", queue.peek(SERIAL)?.map(|p| owned(&p)))))
}

fn snapshot_of(observer: &Observer) -> Reading<'_> {
    let queue = observer.queue::<Player>("queue").expect("queue");
    Box::new(move || Ok(format!("{:?}", queue.snapshot(SERIAL)?.map(|p| owned(&p)))))
}

fn come_and_go(region: &mut Region, queue: &Queue<Player>) -> Result<()> {
    let gate = region.gate().clone();
    let pass = gate.enter()?;
    let mut tx = region.begin(&pass)?;
    queue.push_back(&mut tx, &player(33))?;
    queue.pop_front(&mut tx, |_, _| ())?;
    tx.rollback();
    region.write(&pass, |tx| queue.push_back(tx, &player(40)).map(|_| ()))?;
    region.write(&pass, |tx| {
        queue.pop_front(tx, |_, _| ())?;
        queue.push_back(tx, &player(7)).map(|_| ())
    })?;
    region.write(&pass, |tx| queue.drain(tx, |_, _| ()).map(|_| ()))?;
    region.write(&pass, |tx| queue.push_back(tx, &player(8)).map(|_| ()))
}

/// A page more, for which the directory is doubled; and items that go.
fn grow(region: &mut Region, queue: &Queue<Player>) -> Result<()> {
    let gate = region.gate().clone();
    let pass = gate.enter()?;
    let mut tx = region.begin(&pass)?;
    for i in 0..3 {
        queue.push_back(&mut tx, &player(i + 20))?;
    }
    tx.rollback();
    for i in 0..3 {
        region.write(&pass, |tx| queue.push_back(tx, &player(i + 10)).map(|_| ()))?;
    }
    region.write(&pass, |tx| queue.pop_front(tx, |_, _| ()).map(|_| ()))
}

#[test]
fn snapshots_of_a_queue() {
    let (course, _) = Course::new("queue-all", |tx| filled(tx, 3), all, nothing, come_and_go);
    right(&course, true, snapshot_of_all);
    wrong(&course, Left::Overlay, true, snapshot_of_all);
    let (course, _) = Course::new("queue-ends", |tx| filled(tx, 3), ends, nothing, come_and_go);
    right(&course, true, snapshot_of_ends);
    // Serials begin with 1.
    let full = 8 * PER_PAGE - 2;
    let (course, _) = Course::new("queue-grows", |tx| filled(tx, full), ends, nothing, grow);
    right(&course, true, snapshot_of_ends);
}

#[test]
fn peeks_at_a_queue() {
    let (course, _) = Course::new("queue-peek", |tx| filled(tx, 3), fourth, fourth, come_and_go);
    right(&course, false, peek);
    right(&course, true, snapshot_of);
}
