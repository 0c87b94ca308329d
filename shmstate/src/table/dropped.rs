//! Tables that go: all that a table holds is given back, and its row says that it is none any more.
//!
//! - **L1** It takes two transactions. By the first the table is gone, its name is free, and what it held is freed at the commit; for that the
//!   lists of its chunks must still be there, so the row stays, *dying*. The second gives back what is left: chunks that the heap keeps
//!   for the next record, and the heads of the lists. Whoever drops a table finishes what another one did not come to.
//! - **L2** Then the row is free for another table. Handles of the one that was there may be kept, in this process or another: they are of
//!   another identity (R1 of `catalog`), and whatever is done by them is refused.
//!
//! It knows the kinds of tables only by the blocks that they visit.

use crate::crash::{self, Point};
use crate::error::{Error, Result};
use crate::gate::Pass;
use crate::heap::{self, Held, Owner};
use crate::region::Region;
use crate::region::header::ROWS;
use crate::region::view::View;
use crate::table::catalog::{self, Kind, ROOT, Row, State};
use crate::table::{cell, map, mixed, moving, ordered, queue, record, slab, timers};
use crate::tx::Tx;
use crate::tx::undo::Log;

impl Region {
    /// Drops a table with all that it holds, whatever its shape; its memory goes back to the heap. Says whether there was one.
    ///
    /// It is gone at once, with the first of two transactions, and for good: a version before that knows the table cannot go on without it. So drop
    /// what a newer version does not use any more when it is confirmed; a large map piecemeal, by a [`Move`](crate::Move) without targets, because this is one step
    /// for all records. A version that does not know a move, and has owned the region after one that does, may drop the tables that it filled: what it left
    /// goes with the last. Whatever is done by a handle of the table is refused then ([`Error::TableGone`]).
    ///
    /// ```
    /// # fn main() -> shmstate::Result<()> {
    /// # use shmstate::{Map, Region};
    /// let mut region = Region::in_memory(4 << 20)?;
    /// let gate = region.gate().clone();
    /// let pass = gate.enter()?;
    /// region.write(&pass, |tx| Map::<u64, u64>::create(tx, "votes")?.insert(tx, &1, &2))?;
    /// assert!(region.drop_table(&pass, "votes")?);
    /// assert!(!region.drop_table(&pass, "votes")?);
    /// assert!(Map::<u64, u64>::open(&region, "votes").is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::StillMoving`] for a table that a move empties or fills, if this program knows the move or the source has not all records; [`Error::Streams`] for connections; those of [`begin`](Self::begin), of the log and of
    /// [`Tx::commit`]. Nothing was dropped then, except that after the first transaction the table is gone.
    pub fn drop_table(&mut self, pass: &Pass<'_>, name: &str) -> Result<bool> {
        catalog::check_public(name)?;
        let mut tx = self.begin(pass)?;
        let row = match catalog::named(&tx, name) {
            Ok(row) => row,
            Err(Error::NoTable { .. }) => {
                let dying = any_dying(&tx)?;
                drop(tx);
                if dying {
                    self.finish_drops(pass)?;
                }
                return Ok(false);
            }
            Err(e) => return Err(e),
        };
        moving::check_idle(&tx, &row)?;
        if row.kind == Kind::Streams as u16 {
            return Err(Error::Streams { table: name.into() });
        }
        moving::forget(&mut tx, &row)?;
        for companion in mixed::companions(&tx, name)? {
            drop_row(&mut tx, &companion.row)?;
        }
        drop_row(&mut tx, &row)?;
        tx.commit()?;
        self.view.mixed().leave(row.offset);
        self.finish_drops(pass)?;
        Ok(true)
    }

    /// The second transaction (L1).
    fn finish_drops(&mut self, pass: &Pass<'_>) -> Result<()> {
        let mut tx = self.begin(pass)?;
        finish(&mut tx)?;
        tx.commit()
    }
}

/// Whether a table is left whose drop is not over.
pub(crate) fn any_dying(view: &View) -> Result<bool> {
    Ok(dying(view)?.next().is_some())
}

fn dying(view: &View) -> Result<impl Iterator<Item = Row> + use<>> {
    let mut rows = Vec::new();
    for index in 0..ROWS {
        rows.extend(catalog::any_row(view, index)?);
    }
    Ok(rows.into_iter().filter(|row| row.state == State::Dying))
}

/// The first of the two steps: the table is gone with this transaction.
pub(crate) fn drop_row(tx: &mut Tx<'_>, row: &Row) -> Result<()> {
    let (mut records, mut blocks) = (Vec::new(), Vec::new());
    let each = |held: Held| match held {
        Held::Record(header) => records.push(header),
        Held::Block { at, .. } => blocks.push(at),
    };
    match Kind::from_number(row.kind) {
        Some(Kind::Map) => map::held(tx, row.offset, each)?,
        Some(Kind::OrderedMap) => ordered::check(tx, tx.region.layout(), row.offset, each)?,
        Some(Kind::Cell) => records.push(cell::roots(tx, row.offset)?.0),
        Some(Kind::Slab) => slab::blocks(tx, row.offset, each)?,
        Some(Kind::Queue) => queue::blocks(tx, row.offset, each)?,
        Some(Kind::Timers) => timers::blocks(tx, row.offset, each)?,
        Some(Kind::Streams) | None => return Err(Error::damaged("kind of a table", row.offset, row.kind.into())),
    }
    for header in records {
        record::forget(tx, header)?;
    }
    for block in blocks {
        tx.free(block);
    }
    catalog::set_dying(tx, row)?;
    crash::point(Point::TableDying);
    Ok(())
}

/// The second of the two steps, for all tables whose first was committed. Says whether there was any, or is one that this transaction has
/// dropped: what that held is freed by the commit.
pub(crate) fn finish(tx: &mut Tx<'_>) -> Result<bool> {
    let layout = *tx.region.layout();
    let mut any = false;
    for row in dying(tx)? {
        any = true;
        if Log::covers(tx, layout, row.offset, row.offset + ROOT)? {
            continue;
        }
        let owner = Owner::of_row(row.offset);
        if let Some(heads) = owner.heads(tx)? {
            heap::release_empty_of(tx, owner)?;
            tx.free(heads);
        }
        catalog::set_vacant(tx, &row)?;
        crash::point(Point::TableDead);
    }
    Ok(any)
}
