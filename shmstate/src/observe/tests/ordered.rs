//! Ordered maps, store by store.

use super::interleave::{Course, Reading, Said, nothing, right, settled, wrong};
use super::{Player, owned, player};
use crate::observe::Observer;
use crate::observe::sabotage::Left;
use crate::{OrderedMap, Region, Result, Tx, View};
use std::ops::Bound;

type Board = OrderedMap<u32, Player>;
type Names = OrderedMap<String, u64>;

/// Keys that are multiples of 10.
fn board(tx: &mut Tx<'_>, keys: impl Iterator<Item = u32>) -> Result<Board> {
    let board = Board::create(tx, "board")?;
    for key in keys {
        board.insert(tx, &(key * 10), &player(u64::from(key) % 30))?;
    }
    Ok(board)
}

/// Everything, and what the order of the keys tells.
fn all(view: &View, board: &Board) -> Result<Said> {
    let items: Result<Vec<_>> = board
        .iter(view)?
        .map(|seen| seen.map(|(key, p)| (key, p.low.to_native())))
        .collect();
    let items = items?;
    let few: Result<Vec<_>> = board
        .range(view, 15..45)?
        .rev()
        .map(|seen| seen.map(|seen| seen.0))
        .collect();
    let ends =
        [board.first(view)?, board.last(view)?, board.nth(view, 2)?].map(|seen| seen.map(|(key, p)| (key, owned(p))));
    let one = board.get(view, &30)?.map(owned);
    let numbers = (board.len(view)?, board.rank(view, &35)?);
    Ok(format!("{numbers:?} {items:?} {:?} {ends:?} {one:?}", few?))
}

fn snapshot(observer: &Observer) -> Reading<'_> {
    let board = observer.ordered_map::<u32, Player>("board").expect("board");
    Box::new(move || {
        observer.snapshot(|s| {
            let items: Result<Vec<_>> = board
                .iter(s)?
                .map(|seen| seen.map(|(key, p)| (key, p.low.to_native())))
                .collect();
            let items = items?;
            let few: Result<Vec<_>> = board
                .range(s, 15..45)?
                .rev()
                .map(|seen| seen.map(|seen| seen.0))
                .collect();
            let ends = [board.first(s)?, board.last(s)?, board.nth(s, 2)?];
            let ends = ends.map(|seen| seen.map(|(key, p)| (key, owned(&p))));
            let one = board.get(s, &30)?.map(|p| owned(&p));
            let numbers = (board.count(s)?, board.rank(s, &35)?);
            Ok(format!("{numbers:?} {items:?} {:?} {ends:?} {one:?}", few?))
        })
    })
}

fn some(view: &View, board: &Board) -> Result<Said> {
    let found = [30, 35, 650, 120].map(|key| Ok(board.get(view, &key)?.map(owned)));
    let found: Result<Vec<_>> = found.into_iter().collect();
    let numbers = (board.len(view)?, board.rank(view, &600)?);
    let last: Result<Vec<_>> = board
        .iter(view)?
        .rev()
        .take(3)
        .map(|seen| seen.map(|seen| seen.0))
        .collect();
    Ok(format!("{numbers:?} {:?} {:?}", found?, last?))
}

fn snapshot_of_some(observer: &Observer) -> Reading<'_> {
    let board = observer.ordered_map::<u32, Player>("board").expect("board");
    Box::new(move || {
        observer.snapshot(|s| {
            let found = [30, 35, 650, 120].map(|key| Ok(board.get(s, &key)?.map(|p| owned(&p))));
            let found: Result<Vec<_>> = found.into_iter().collect();
            let numbers = (board.count(s)?, board.rank(s, &600)?);
            let last: Result<Vec<_>> = board
                .iter(s)?
                .rev()
                .take(3)
                .map(|seen| seen.map(|seen| seen.0))
                .collect();
            Ok(format!("{numbers:?} {:?} {:?}", found?, last?))
        })
    })
}

fn one(key: u32) -> impl Fn(&View, &Board) -> Result<Said> {
    move |view, board| {
        let found = board.get(view, &key)?;
        if let Some(found) = found {
            settled(view, crate::archive::offset_of(view, found) + Board::GEOMETRY.root)?;
        }
        Ok(format!("{:?}", found.map(owned)))
    }
}

fn peek(observer: &Observer, key: u32) -> Reading<'_> {
    let board = observer.ordered_map::<u32, Player>("board").expect("board");
    Box::new(move || Ok(format!("{:?}", board.peek(&key)?.map(|p| owned(&p)))))
}

fn snapshot_of(observer: &Observer, key: u32) -> Reading<'_> {
    let board = observer.ordered_map::<u32, Player>("board").expect("board");
    Box::new(move || Ok(format!("{:?}", board.snapshot(&key)?.map(|p| owned(&p)))))
}

/// A few in one leaf: made, replaced, taken away, taken back.
fn few(region: &mut Region, board: &Board) -> Result<()> {
    let gate = region.gate().clone();
    let pass = gate.enter()?;
    let mut tx = region.begin(&pass)?;
    board.insert(&mut tx, &35, &player(4))?;
    board.remove(&mut tx, &20)?;
    tx.rollback();
    region.write(&pass, |tx| board.insert(tx, &5, &player(4)).map(|_| ()))?;
    region.write(&pass, |tx| board.insert(tx, &30, &player(40)).map(|_| ()))?;
    region.write(&pass, |tx| {
        board.get_mut(tx, &30)?.expect("there").set(|p| &p.high, 9.into())
    })?;
    region.write(&pass, |tx| {
        board.remove(tx, &30)?;
        board.insert(tx, &35, &player(3)).map(|_| ())
    })
}

/// A full leaf is split in halves, and those are joined again.
fn split(region: &mut Region, board: &Board) -> Result<()> {
    let gate = region.gate().clone();
    let pass = gate.enter()?;
    let mut tx = region.begin(&pass)?;
    board.insert(&mut tx, &35, &player(4))?;
    board.remove(&mut tx, &30)?;
    tx.rollback();
    region.write(&pass, |tx| board.insert(tx, &35, &player(4)).map(|_| ()))?;
    region.write(&pass, |tx| board.insert(tx, &650, &player(4)).map(|_| ()))
}

/// Two leaves, of which the first has as few entries as it may.
fn halves(tx: &mut Tx<'_>) -> Result<Board> {
    let board = board(tx, 1..64)?;
    board.insert(tx, &35, &player(4))?;
    (15..32).try_for_each(|key| board.remove(tx, &(key * 10)).map(|_| ()))?;
    Ok(board)
}

/// They are joined.
fn join(region: &mut Region, board: &Board) -> Result<()> {
    let gate = region.gate().clone();
    let pass = gate.enter()?;
    let mut tx = region.begin(&pass)?;
    board.remove(&mut tx, &30)?;
    tx.rollback();
    region.write(&pass, |tx| board.remove(tx, &120).map(|_| ()))?;
    region.write(&pass, |tx| board.insert(tx, &650, &player(2)).map(|_| ()))
}

/// A record is replaced in its block.
fn in_place(region: &mut Region, board: &Board) -> Result<()> {
    let gate = region.gate().clone();
    region.write(&gate.enter()?, |tx| {
        board.insert(tx, &30, &player(3 + 7 * 41)).map(|_| ())
    })
}

#[test]
fn snapshots_of_an_ordered_map() {
    let (course, _) = Course::new("ordered", |tx| board(tx, 1..5), all, nothing, few);
    right(&course, true, snapshot);
    wrong(&course, Left::Overlay, true, snapshot);
    let (course, _) = Course::new("ordered-split", |tx| board(tx, 1..64), some, nothing, split);
    right(&course, true, snapshot_of_some);
    wrong(&course, Left::Overlay, true, snapshot_of_some);
    let (course, _) = Course::new("ordered-join", halves, some, nothing, join);
    right(&course, true, snapshot_of_some);
}

#[test]
fn peeks_at_an_ordered_map() {
    for (key, what) in [(30, "30"), (35, "35")] {
        let name = format!("ordered-peek-{what}");
        let (course, _) = Course::new(&name, |tx| board(tx, 1..5), one(key), one(key), few);
        right(&course, false, |observer| peek(observer, key));
        right(&course, true, |observer| snapshot_of(observer, key));
        let name = format!("ordered-split-{what}");
        let (course, _) = Course::new(&name, |tx| board(tx, 1..64), one(key), one(key), split);
        right(&course, false, |observer| peek(observer, key));
        right(&course, true, |observer| snapshot_of(observer, key));
    }
    let (course, _) = Course::new("ordered-peek-join", halves, one(30), one(30), join);
    right(&course, false, |observer| peek(observer, 30));
    let (course, _) = Course::new("ordered-torn", |tx| board(tx, 1..5), one(30), one(30), in_place);
    right(&course, false, |observer| peek(observer, 30));
    wrong(&course, Left::Sequence, false, |observer| peek(observer, 30));
}

/// A name of which the leaf has not enough.
fn name(i: u64) -> String {
    format!("all of them begin alike {i:03}")
}

#[test]
fn snapshots_of_long_keys() {
    let make = |tx: &mut Tx<'_>| {
        let names = Names::create(tx, "names")?;
        (0..42).try_for_each(|i| names.insert(tx, &name(i * 10), &i).map(|_| ()))?;
        Ok(names)
    };
    let read = |view: &View, names: &Names| {
        let bounds = (
            Bound::Excluded("all of them begin alike 100"),
            Bound::Included("all of them begin alike 145"),
        );
        let items: Result<Vec<_>> = names
            .range(view, bounds)?
            .map(|seen| seen.map(|(name, n)| (name, n.to_native())))
            .collect();
        let one = names.get(view, &name(135))?.map(|n| n.to_native());
        Ok(format!("{} {:?} {one:?}", names.len(view)?, items?))
    };
    let change = |region: &mut Region, names: &Names| {
        let gate = region.gate().clone();
        let pass = gate.enter()?;
        region.write(&pass, |tx| names.insert(tx, &name(135), &1).map(|_| ()))?;
        region.write(&pass, |tx| names.remove(tx, &name(140)).map(|_| ()))?;
        let mut tx = region.begin(&pass)?;
        names.remove(&mut tx, &name(135))?;
        tx.rollback();
        region.write(&pass, |tx| {
            names.get_mut(tx, &name(135))?.expect("there").set(|n| n, 5.into())
        })
    };
    let (course, _) = Course::new("ordered-names", make, read, nothing, change);
    right(&course, true, |observer| {
        let names = observer.ordered_map::<String, u64>("names").expect("names");
        Box::new(move || {
            observer.snapshot(|s| {
                let bounds = (
                    Bound::Excluded("all of them begin alike 100"),
                    Bound::Included("all of them begin alike 145"),
                );
                let items: Result<Vec<_>> = names
                    .range(s, bounds)?
                    .map(|seen| seen.map(|(name, n)| (name, n.to_native())))
                    .collect();
                let one = names.get(s, &name(135))?.map(|n| n.to_native());
                Ok(format!("{} {:?} {one:?}", names.count(s)?, items?))
            })
        })
    });
}
