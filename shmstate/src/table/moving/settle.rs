//! What an owner says of moves before it changes anything else, and what others may do meanwhile.

use super::core::{Core, Open, Transient, marks_row};
use super::{ASIDE, MARKS, WHAT, aside, marks_of};
use crate::archive::OwnedValue;
use crate::crash::{self, Point};
use crate::error::{Error, Result};
use crate::inspect::MoveInfo;
use crate::region::header::at;
use crate::region::seal::seal;
use crate::region::view::View;
use crate::table::catalog::{self, Row, TableOptions};
use crate::table::dropped;
use crate::table::key::Key;
use crate::table::map::{self, Map, WAY};
use crate::tx::Tx;
use std::sync::atomic::Ordering;

/// In `WAY` of the marks: the source keeps all records, and follows its targets.
const KEPT: u64 = seal(1);
/// In `WAY` of the marks: it did, but somebody has owned the region who did not know of the move.
const OUTDATED: u64 = seal(2);

impl<K: Key, V: OwnedValue> Core<K, V> {
    /// The first thing of a new owner.
    pub(super) fn settle(&self, tx: &mut Tx<'_>) -> Result<()> {
        self.set_open(None);
        self.settled.store(false, Ordering::Relaxed);
        self.over.store(false, Ordering::Relaxed);
        let row = catalog::rows(tx)?.into_iter().find(|row| row.name == self.name());
        let marks = marks_row(tx, self.name())?;
        let Some(row) = row else {
            if let Some(marks) = marks {
                return Err(Error::damaged(WHAT, marks.offset, 0));
            }
            // Its drop may not have come to its end.
            dropped::finish(tx)?;
            self.tell_targets(tx);
            return Ok(());
        };
        Self::compare_source(tx, &row)?;
        let marks = match marks {
            Some(marks) => marks,
            None => self.begin(tx, &row)?,
        };
        self.find_targets(tx, true)?;
        let mut way = tx.load(marks.offset + WAY, WHAT)?;
        if way == OUTDATED {
            self.begin_anew(tx, &marks)?;
            way = KEPT;
        }
        if way != KEPT && way != 0 {
            return Err(Error::damaged(WHAT, marks.offset + WAY, way));
        }
        let open = Open {
            source: Map::handle_of(row.offset, tx)?,
            marks: Transient::new(tx, marks.offset, Map::handle_of(marks.offset, tx)?)?,
            way_back: way == KEPT,
            aside: self.find_aside(tx)?,
        };
        self.set_open(Some(open));
        self.tell_targets(tx);
        Ok(())
    }

    /// See [`Mover::is_settled`](crate::region::moves::Mover::is_settled).
    pub(super) fn is_settled(&self, view: &View) -> Result<bool> {
        if !self.settled.load(Ordering::Relaxed) {
            return Ok(false);
        }
        Ok(match self.open(view)? {
            Some(open) => view.load(open.marks.row + WAY, WHAT)? == if open.way_back { KEPT } else { 0 },
            // A source may have come since, by somebody who does not know the move.
            None => catalog::rows(view)?.iter().all(|row| row.name != self.name()),
        })
    }

    /// See [`Mover::close_unwanted`](crate::region::moves::Mover::close_unwanted).
    pub(super) fn close_unwanted(&self, tx: &mut Tx<'_>) -> Result<()> {
        if let Some(open) = self.open(tx)?
            && open.way_back
            && !tx.moves().all_go_back(self)
        {
            self.close(tx, open.marks.row)?;
            self.forget_way_back();
        }
        Ok(())
    }

    /// The move begins.
    fn begin(&self, tx: &mut Tx<'_>, row: &Row) -> Result<Row> {
        let marks = Map::<K, u8>::create_for_move(tx, &marks_of(self.name()))?;
        let keeps = self.could_go_back() && !row.moved;
        tx.put(marks + WAY, if keeps { KEPT } else { 0 }, WHAT)?;
        if !keeps {
            catalog::set_moved(tx, row)?;
        }
        let moves = tx.header(at::MOVES).wrapping_add(1);
        tx.put(at::MOVES, moves, WHAT)?;
        self.find_targets(tx, false)?;
        for target in &self.targets {
            let row = catalog::named(tx, target.name())?;
            catalog::set_moves(tx, &row, row.moves + 1)?;
        }
        crash::point(Point::MoveBegun);
        marks_row(tx, self.name())?.ok_or_else(|| Error::damaged(WHAT, marks, 0))
    }

    /// Finds the targets, and makes those that are not there.
    fn find_targets(&self, tx: &mut Tx<'_>, counted: bool) -> Result<()> {
        let source = catalog::named(tx, self.name())?;
        let options = TableOptions::default().checksums(catalog::is_checked(tx, source.offset)?);
        for target in &self.targets {
            let found = catalog::rows(tx)?.into_iter().find(|row| row.name == target.name());
            let row = match found {
                Some(row) => {
                    target.compare(tx, &row, true)?;
                    row.offset
                }
                None => target.create(tx, options)?,
            };
            // One that a version before did not have.
            let row = catalog::row_at(tx, row)?;
            if counted && row.moves == 0 {
                catalog::set_moves(tx, &row, 1)?;
            }
            target.set_row(row.offset);
        }
        Ok(())
    }

    /// Somebody has written who did not know of the move (N3): what has moved counts no more.
    fn begin_anew(&self, tx: &mut Tx<'_>, marks: &Row) -> Result<()> {
        dropped::finish(tx)?;
        for target in &self.targets {
            let row = catalog::named(tx, target.name())?;
            // What another move has brought there, and has nowhere else, would go with it.
            let mut with_a_way = 0;
            for mover in tx.moves().all().iter().filter(|mover| mover.may_fill(&row.name)) {
                if let Some(marks) = marks_row(tx, mover.source())?
                    && tx.load(marks.offset + WAY, WHAT)? != 0
                {
                    with_a_way += 1;
                }
            }
            if row.moves > with_a_way {
                return Err(Error::BadSteps {
                    table: self.name().into(),
                    why: format!(
                        "its move must begin anew, but {} of the {} moves to {} have no way back: what they have brought there would be lost; let them come to their end first",
                        row.moves - with_a_way, row.moves, row.name
                    )
                    .into(),
                });
            }
            aside::set_aside(tx, &row)?;
        }
        aside::set_aside(tx, marks)?;
        tx.put(marks.offset + WAY, KEPT, WHAT)?;
        crash::point(Point::MoveAside);
        Ok(())
    }

    /// Nobody goes on with the source after this (N4).
    pub(super) fn close(&self, tx: &mut Tx<'_>, marks: u64) -> Result<()> {
        tx.put(marks + WAY, 0, WHAT)?;
        let row = catalog::named(tx, self.name())?;
        catalog::set_moved(tx, &row)
    }

    /// Tables that were set aside for this move.
    fn find_aside(&self, view: &View) -> Result<Vec<(Transient<()>, Option<usize>)>> {
        let mut found = Vec::new();
        for row in catalog::rows(view)? {
            let Some((_, of)) = row.name.strip_prefix(ASIDE).and_then(|rest| rest.split_once('.')) else {
                continue;
            };
            if of == marks_of(self.name()) {
                found.push((Transient::new(view, row.offset, ())?, None));
            } else if let Some(target) = self.targets.iter().position(|target| target.name() == of) {
                found.push((Transient::new(view, row.offset, ())?, Some(target)));
            }
        }
        Ok(found)
    }

    /// Which tables must ask before they change anything.
    pub(super) fn tell_targets(&self, view: &View) {
        let all = view.moves().all();
        view.mixed().set_targets(all.iter().flat_map(|mover| mover.targets()));
    }
}

/// An owner that does not know a move says so, before it changes anything (N3).
pub(crate) fn disown(tx: &mut Tx<'_>) -> Result<()> {
    // One that is being restored has no magic yet (R4), and nobody works on it.
    if tx.header(at::MOVES) == 0 || tx.header(at::MAGIC) == 0 {
        return Ok(());
    }
    for marks in unknown_marks(tx)? {
        if tx.load(marks.offset + WAY, WHAT)? == KEPT {
            tx.put(marks.offset + WAY, OUTDATED, WHAT)?;
        }
    }
    spread(tx)
}

/// A move that begins anew sets its targets aside, with what other moves have brought there: those begin anew with it.
fn spread(tx: &mut Tx<'_>) -> Result<()> {
    let movers = tx.moves().all();
    let targets: Vec<Row> = catalog::rows(tx)?.into_iter().filter(|row| row.moves > 0).collect();
    loop {
        let mut more = false;
        for target in &targets {
            let mut marks = Vec::new();
            for mover in movers.iter().filter(|mover| mover.may_fill(&target.name)) {
                if let Some(row) = marks_row(tx, mover.source())? {
                    marks.push((row.offset, tx.load(row.offset + WAY, WHAT)?));
                }
            }
            if marks.iter().any(|(_, way)| *way == OUTDATED) {
                for (row, _) in marks.into_iter().filter(|(_, way)| *way == KEPT) {
                    tx.put(row + WAY, OUTDATED, WHAT)?;
                    more = true;
                }
            }
        }
        if !more {
            return Ok(());
        }
    }
}

/// How far the move that empties a table has come; `None` if there is none. `records` is how many the table has.
pub(crate) fn progress(view: &View, source: &str, records: u64) -> Result<Option<MoveInfo>> {
    let Some(marks) = marks_row(view, source)? else {
        return Ok(None);
    };
    let way = view.load(marks.offset + WAY, WHAT)?;
    let moved = if way == OUTDATED {
        0
    } else {
        map::counts(view, marks.offset)?.0
    };
    Ok(Some(MoveInfo {
        left: records.saturating_sub(moved),
        way_back: way != 0,
        outdated: way == OUTDATED,
    }))
}

/// Whether a row is that of a move which is not over.
pub(crate) fn is_move(row: &Row) -> bool {
    row.name.starts_with(MARKS)
}

/// Whether a word can stand in `WAY` of the marks, if it is not 0.
pub(crate) fn is_way(word: u64) -> bool {
    word == KEPT || word == OUTDATED
}

/// Refuses a table that records are on their way to, for who does not know the move (N5).
pub(crate) fn check_known(view: &View, row: &Row) -> Result<()> {
    if row.moves == 0 || view.moves().all().iter().any(|mover| mover.may_fill(&row.name)) {
        return Ok(());
    }
    Err(Error::BadSteps {
        table: row.name.as_str().into(),
        why: "records are still on their way to it from other tables: open the Move that brings them first".into(),
    })
}

/// Refuses to drop a table that is part of a move, unless that counts no more: nobody of this program knows the move, and the source has
/// all that there is, because an owner has disowned it.
pub(crate) fn check_idle(view: &View, row: &Row) -> Result<()> {
    let marks = marks_row(view, &row.name)?;
    if row.moves == 0 && marks.is_none() {
        return Ok(());
    }
    let known = view.moves().all().into_iter();
    let mut known = known.filter(|mover| mover.source() == row.name || mover.may_fill(&row.name));
    let (source_table, left) = match known.next() {
        Some(mover) => (mover.source().into(), mover.left(view)?),
        None => {
            let unknown = unknown_marks(view)?;
            let concern = |marks: &Row| row.moves > 0 || marks.name == marks_of(&row.name);
            let mut superseded = true;
            for marks in unknown.iter().filter(|marks| concern(marks)) {
                superseded &= view.load(marks.offset + WAY, WHAT)? == OUTDATED;
            }
            if superseded {
                return Ok(());
            }
            (row.name.as_str().into(), 0)
        }
    };
    Err(Error::StillMoving {
        table: row.name.as_str().into(),
        source_table,
        left,
    })
}

/// A table is about to be dropped that was part of moves which count no more ([`check_idle`]): with a source go its marks, with the last target of moves
/// that nobody knows the marks of all of them, and what was set aside.
pub(crate) fn forget(tx: &mut Tx<'_>, dropped: &Row) -> Result<()> {
    let rows = catalog::rows(tx)?;
    let known = tx.moves().all();
    let is_known_target = |row: &Row| known.iter().any(|mover| mover.may_fill(&row.name));
    let is_last = dropped.moves > 0
        && rows
            .iter()
            .all(|row| row.moves == 0 || row.name == dropped.name || is_known_target(row));
    let mut gone = vec![dropped.name.clone()];
    for marks in unknown_marks(tx)? {
        if is_last || marks.name == marks_of(&dropped.name) {
            dropped::drop_row(tx, &marks)?;
            let moves = tx.header(at::MOVES).saturating_sub(1);
            tx.put(at::MOVES, moves, WHAT)?;
            gone.push(marks.name);
        }
    }
    for row in &rows {
        if let Some((_, of)) = row.name.strip_prefix(ASIDE).and_then(|rest| rest.split_once('.'))
            && gone.iter().any(|name| name == of)
        {
            dropped::drop_row(tx, row)?;
        }
    }
    Ok(())
}

/// The marks of moves that nobody of this program knows.
fn unknown_marks(view: &View) -> Result<Vec<Row>> {
    let known = view.moves().all();
    let mut rows = catalog::rows(view)?;
    rows.retain(|row| {
        let source = row.name.strip_prefix(MARKS);
        source.is_some_and(|source| known.iter().all(|mover| mover.source() != source))
    });
    Ok(rows)
}
