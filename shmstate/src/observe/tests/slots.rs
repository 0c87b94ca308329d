//! Slabs and timers, store by store.

use super::interleave::{Course, Reading, Said, nothing, right, settled, wrong};
use super::{Player, owned, player};
use crate::observe::Observer;
use crate::observe::sabotage::Left;
use crate::table::slots::PER_PAGE;
use crate::{Gap, Region, Result, Slab, SlabId, TimerId, Timers, Tx, View};
use std::num::NonZeroU64;

/// A player as long as [`player`] of the other, so that it takes its block.
const fn like(seed: u64) -> u64 {
    seed + 7 * 41
}

#[derive(Clone, Debug)]
struct Dense {
    slab: Slab<Player>,
    ids: Vec<SlabId>,
}

fn dense(tx: &mut Tx<'_>, count: u64) -> Result<Dense> {
    let slab = Slab::create(tx, "slab")?;
    let ids: Result<Vec<_>> = (0..count).map(|i| slab.insert(tx, &player(i))).collect();
    Ok(Dense { slab, ids: ids? })
}

fn all(view: &View, t: &Dense) -> Result<Said> {
    let items: Result<Vec<_>> = t
        .slab
        .iter(view)?
        .map(|item| item.map(|(id, p)| (id, p.low.to_native())))
        .collect();
    let some: Result<Vec<_>> = t
        .ids
        .iter()
        .take(3)
        .map(|id| Ok(t.slab.get(view, *id)?.map(owned)))
        .collect();
    Ok(format!("{} {:?} {:?}", t.slab.len(view)?, items?, some?))
}

fn one(at: usize) -> impl Fn(&View, &Dense) -> Result<Said> {
    move |view, t| {
        let found = t.slab.get(view, t.ids[at])?;
        if let Some(found) = found {
            settled(
                view,
                crate::archive::offset_of(view, found) + Slab::<Player>::GEOMETRY.root,
            )?;
        }
        Ok(format!("{:?}", found.map(owned)))
    }
}

fn snapshot(observer: &Observer, ids: Vec<SlabId>) -> Reading<'_> {
    let slab = observer.slab::<Player>("slab").expect("slab");
    Box::new(move || {
        observer.snapshot(|s| {
            let items: Result<Vec<_>> = slab
                .iter(s)?
                .map(|item| item.map(|(id, p)| (id, p.low.to_native())))
                .collect();
            let some: Result<Vec<_>> = ids
                .iter()
                .take(3)
                .map(|id| Ok(slab.get(s, *id)?.map(|p| owned(&p))))
                .collect();
            Ok(format!("{} {:?} {:?}", slab.count(s)?, items?, some?))
        })
    })
}

/// The first and the last of a page, and how many there are.
fn few(view: &View, t: &Dense) -> Result<Said> {
    let found = [t.ids[0], t.ids[254]].map(|id| Ok(t.slab.get(view, id)?.map(owned)));
    let found: Result<Vec<_>> = found.into_iter().collect();
    Ok(format!("{} {:?}", t.slab.len(view)?, found?))
}

fn snapshot_of_few(observer: &Observer, ids: [SlabId; 2]) -> Reading<'_> {
    let slab = observer.slab::<Player>("slab").expect("slab");
    Box::new(move || {
        observer.snapshot(|s| {
            let found = ids.map(|id| Ok(slab.get(s, id)?.map(|p| owned(&p))));
            let found: Result<Vec<_>> = found.into_iter().collect();
            Ok(format!("{} {:?}", slab.count(s)?, found?))
        })
    })
}

fn peek(observer: &Observer, id: SlabId) -> Reading<'_> {
    let slab = observer.slab::<Player>("slab").expect("slab");
    Box::new(move || Ok(format!("{:?}", slab.peek(id)?.map(|p| owned(&p)))))
}

fn snapshot_of(observer: &Observer, id: SlabId) -> Reading<'_> {
    let slab = observer.slab::<Player>("slab").expect("slab");
    Box::new(move || Ok(format!("{:?}", slab.snapshot(id)?.map(|p| owned(&p)))))
}

/// Replacing in the same block and in another, removing, and taking what was just freed.
fn changes(region: &mut Region, t: &Dense) -> Result<()> {
    let gate = region.gate().clone();
    let pass = gate.enter()?;
    let mut tx = region.begin(&pass)?;
    t.slab.replace(&mut tx, t.ids[0], &player(like(0)))?;
    t.slab.insert(&mut tx, &player(9))?;
    tx.rollback();
    region.write(&pass, |tx| t.slab.replace(tx, t.ids[0], &player(40)).map(|_| ()))?;
    region.write(&pass, |tx| {
        t.slab.get_mut(tx, t.ids[1])?.expect("one").set(|p| &p.high, 77.into())
    })?;
    region.write(&pass, |tx| {
        t.slab.remove(tx, t.ids[2])?;
        t.slab.insert(tx, &player(2)).map(|_| ())
    })?;
    region.write(&pass, |tx| t.slab.insert(tx, &player(like(2))).map(|_| ()))
}

/// A page more, and one less.
fn pages(region: &mut Region, t: &Dense) -> Result<()> {
    let gate = region.gate().clone();
    let pass = gate.enter()?;
    let id = region.write(&pass, |tx| t.slab.insert(tx, &player(3)))?;
    let mut tx = region.begin(&pass)?;
    t.slab.insert(&mut tx, &player(4))?;
    t.slab.remove(&mut tx, id)?;
    tx.rollback();
    let more = region.write(&pass, |tx| t.slab.insert(tx, &player(5)))?;
    region.write(&pass, |tx| {
        t.slab.remove(tx, more)?;
        t.slab.remove(tx, t.ids[0]).map(|_| ())
    })?;
    region.write(&pass, |tx| t.slab.clear(tx))?;
    region.write(&pass, |tx| t.slab.insert(tx, &player(6)).map(|_| ()))
}

#[test]
fn snapshots_of_a_slab() {
    let (course, t) = Course::new("slab", |tx| dense(tx, 3), all, nothing, changes);
    right(&course, true, |observer| snapshot(observer, t.ids.clone()));
    wrong(&course, Left::Overlay, true, |observer| {
        snapshot(observer, t.ids.clone())
    });
    let (course, t) = Course::new("slab-pages", |tx| dense(tx, PER_PAGE), few, nothing, pages);
    right(&course, true, |observer| {
        snapshot_of_few(observer, [t.ids[0], t.ids[254]])
    });
}

#[test]
fn peeks_at_a_slab() {
    for at in 0..3 {
        let (course, t) = Course::new("slab-peek", |tx| dense(tx, 3), one(at), one(at), changes);
        right(&course, false, |observer| peek(observer, t.ids[at]));
        right(&course, true, |observer| snapshot_of(observer, t.ids[at]));
        if at == 0 {
            wrong(&course, Left::Sequence, false, |observer| peek(observer, t.ids[at]));
        }
    }
}

#[derive(Clone, Debug)]
struct Due {
    timers: Timers<u64>,
    ids: Vec<TimerId>,
}

fn due(tx: &mut Tx<'_>) -> Result<Due> {
    let timers = Timers::create(tx, "timers", Gap::Coalesce)?;
    let mut ids = Vec::new();
    for i in 0..12 {
        ids.push(timers.insert(tx, 1000 + i * 7 % 12 * 10, &i)?);
    }
    let period = NonZeroU64::new(15).expect("not 0");
    ids.push(timers.insert_every(tx, 990, period, &99)?);
    Ok(Due { timers, ids })
}

fn all_timers(view: &View, t: &Due) -> Result<Said> {
    let timers = &t.timers;
    let mut items = Vec::new();
    for item in timers.iter(view)? {
        let (id, at, who) = item?;
        items.push((id, at, who.to_native()));
    }
    items.sort();
    let mut some = Vec::new();
    for id in [t.ids[3], t.ids[12]] {
        let who = timers.get(view, id)?.map(|who| who.to_native());
        some.push((timers.deadline(view, id)?.zip(timers.period(view, id)?), who));
    }
    let next = timers.next_deadline(view)?;
    Ok(format!("{} {next:?} {items:?} {some:?}", timers.len(view)?))
}

fn snapshot_of_timers(observer: &Observer, ids: Vec<TimerId>) -> Reading<'_> {
    let timers = observer.timers::<u64>("timers").expect("timers");
    Box::new(move || {
        observer.snapshot(|s| {
            let mut items = Vec::new();
            for item in timers.iter(s)? {
                let (id, at, who) = item?;
                items.push((id, at, who.to_native()));
            }
            items.sort();
            let mut some = Vec::new();
            for id in [ids[3], ids[12]] {
                let who = timers.get(s, id)?.map(|who| who.to_native());
                some.push((timers.due(s, id)?, who));
            }
            let next = timers.next_deadline(s)?;
            Ok(format!("{} {next:?} {items:?} {some:?}", timers.count(s)?))
        })
    })
}

/// Firing, cancelling, moving, and all at once.
fn fire(region: &mut Region, t: &Due) -> Result<()> {
    let gate = region.gate().clone();
    let pass = gate.enter()?;
    let pop = |tx: &mut Tx<'_>, now| t.timers.pop_due(tx, now, |_, at, _| at).map(|_| ());
    region.write(&pass, |tx| pop(tx, 1003))?;
    let mut tx = region.begin(&pass)?;
    pop(&mut tx, 1100)?;
    pop(&mut tx, 1100)?;
    t.timers.insert(&mut tx, 5, &7)?;
    tx.rollback();
    region.write(&pass, |tx| pop(tx, 1100))?;
    region.write(&pass, |tx| t.timers.cancel(tx, t.ids[3]).map(|_| ()))?;
    region.write(&pass, |tx| t.timers.rebase(tx, 1_000_000))?;
    region.write(&pass, |tx| t.timers.insert(tx, 1_000_500, &50).map(|_| ()))?;
    region.write(&pass, |tx| t.timers.reschedule(tx, t.ids[5], 1_000_001).map(|_| ()))
}

#[test]
fn snapshots_of_timers() {
    let (course, t) = Course::new("timers", due, all_timers, nothing, fire);
    right(&course, true, |observer| snapshot_of_timers(observer, t.ids.clone()));
    wrong(&course, Left::Overlay, true, |observer| {
        snapshot_of_timers(observer, t.ids.clone())
    });
}

#[test]
fn peeks_at_timers() {
    let read = |view: &View, t: &Due| {
        let found = t.timers.get(view, t.ids[3])?;
        if let Some(found) = found {
            settled(
                view,
                crate::archive::offset_of(view, found) + Timers::<u64>::GEOMETRY.root,
            )?;
        }
        Ok(format!("{:?}", found.map(|who| who.to_native())))
    };
    let (course, t) = Course::new("timers-peek", due, read, read, fire);
    right(&course, false, |observer| {
        let timers = observer.timers::<u64>("timers").expect("timers");
        let id = t.ids[3];
        Box::new(move || Ok(format!("{:?}", timers.peek(id)?.map(|who| who.to_native()))))
    });
}
