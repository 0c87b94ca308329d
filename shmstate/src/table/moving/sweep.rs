//! The sweep of a move: records that nobody has asked for, tables that are out of date, and at last the source itself.
//!
//! How far it has come is not kept: what has moved is gone from the source, or marked. What it remembers in this process only saves it a second
//! look.

use super::WHAT;
use super::core::{Core, Open, marks_row};
use crate::archive::OwnedValue;
use crate::crash::{self, Point};
use crate::error::{Error, Result};
use crate::region::header::at;
use crate::region::view::View;
use crate::table::catalog::{self, Row};
use crate::table::dropped;
use crate::table::key::{self, Form, Key};
use crate::table::map;
use crate::table::mixed::{self, Swept, Table};
use crate::tx::Tx;
use std::sync::atomic::Ordering;

/// How many chunks of the source one call looks at.
const MOST_PARTS: u64 = 4096;

impl<K: Key, V: OwnedValue> Core<K, V> {
    /// See [`Moving::sweep`](super::Moving::sweep).
    pub(super) fn sweep(&self, tx: &mut Tx<'_>, budget: u64) -> Result<Swept> {
        tx.whole(|tx| {
            if self.dropping.load(Ordering::Relaxed) {
                // What was begun by a transaction that is committed; found again until that is, too.
                let found = dropped::finish(tx)?;
                self.dropping.store(found, Ordering::Relaxed);
            }
            let Some(open) = self.open(tx)? else {
                let left = self.dropping.load(Ordering::Relaxed);
                if !left && !self.over.swap(true, Ordering::Relaxed) {
                    self.tell_targets(tx);
                }
                return Ok(Swept {
                    done: 0,
                    left: left.into(),
                });
            };
            tx.region.view.mixed_mut().tidy();
            let mut done = self.sweep_aside(tx, &open, budget)?;
            if done < budget && self.left_in_source(tx, &open)? > 0 {
                done += self.sweep_source(tx, &open, budget - done)?;
            }
            if !open.way_back && open.source.records(tx)? == 0 {
                self.finish(tx, &open)?;
            }
            Ok(Swept {
                done,
                left: self.unswept(tx)?,
            })
        })
    }

    pub(super) fn unswept(&self, view: &View) -> Result<u64> {
        let Some(open) = self.open(view)? else {
            // The last of it is given back by the next call.
            return Ok(self.dropping.load(Ordering::Relaxed).into());
        };
        let mut left = self.left_in_source(view, &open)?;
        for (row, _) in self.rows_aside(view, &open)? {
            left += map::counts(view, row.offset)?.0 + 1;
        }
        // While there is no way back, the move is not over before its source is gone.
        Ok(left + u64::from(!open.way_back))
    }

    /// What the sweep has to do with records of the source.
    fn left_in_source(&self, view: &View, open: &Open<K, V>) -> Result<u64> {
        if open.way_back {
            self.left_to_move(view)
        } else {
            open.source.records(view)
        }
    }

    /// The tables that were set aside and are still there.
    fn rows_aside(&self, view: &View, open: &Open<K, V>) -> Result<Vec<(Row, Option<usize>)>> {
        let mut rows = Vec::new();
        for (table, target) in &open.aside {
            if table.is_there(view)? {
                rows.push((catalog::row_at(view, table.row)?, *target));
            }
        }
        Ok(rows)
    }

    fn sweep_aside(&self, tx: &mut Tx<'_>, open: &Open<K, V>, budget: u64) -> Result<u64> {
        let mut done = 0;
        for (row, target) in self.rows_aside(tx, open)? {
            if done >= budget {
                break;
            }
            let most = budget - done;
            done += match target {
                Some(target) => self.targets[target].drop_some(tx, &row, most)?,
                None => mixed::drop_records::<K>(tx, &row, most)?,
            };
            if map::counts(tx, row.offset)?.0 == 0 {
                dropped::drop_row(tx, &row)?;
                self.dropping.store(true, Ordering::Relaxed);
            }
        }
        Ok(done)
    }

    fn sweep_source(&self, tx: &mut Tx<'_>, open: &Open<K, V>, budget: u64) -> Result<u64> {
        let parts = open.source.parts(tx)?;
        let mut done = 0;
        for _ in 0..MOST_PARTS.min(parts) {
            let part = self.cursor.fetch_add(1, Ordering::Relaxed) % parts;
            for at in open.source.part(tx, part)? {
                // One that this transaction took away is none.
                if tx.load(at.header, WHAT)? as u32 == 0 {
                    continue;
                }
                let bytes = open.source.stored_key(tx, at.header)?;
                let key = key::decode::<K>(Form::Hashed, &bytes);
                let key = key.ok_or_else(|| Error::damaged("key", at.header, bytes.len() as u64))?;
                let brought = match self.bring(tx, &key) {
                    // As far as memory goes.
                    Err(full) if full.is_full() && done > 0 => return Ok(done),
                    brought => brought?,
                };
                if brought {
                    done += 1;
                } else if !open.way_back {
                    // It has moved while there was a way back.
                    open.source.remove(tx, key.borrowed())?;
                    open.marks.remove(tx, key.borrowed())?;
                    done += 1;
                }
            }
            if done >= budget {
                break;
            }
        }
        // All was looked at: there is no such record.
        if done == 0 && parts <= MOST_PARTS && tx.moves().into(open.source.row()).next().is_none() {
            return Err(Error::damaged(WHAT, open.marks.row, self.left_in_source(tx, open)?));
        }
        Ok(done)
    }

    /// The source is empty, and nobody goes back to it: the move is over.
    fn finish(&self, tx: &mut Tx<'_>, open: &Open<K, V>) -> Result<()> {
        let source = catalog::named(tx, self.name())?;
        let Some(marks) = marks_row(tx, self.name())? else {
            return Ok(());
        };
        // The source may be a target of another move, which is not over; and what is out of date goes first.
        if source.moves > 0 || !self.rows_aside(tx, open)?.is_empty() {
            return Ok(());
        }
        for target in &self.targets {
            let row = catalog::named(tx, target.name())?;
            catalog::set_moves(tx, &row, row.moves.saturating_sub(1))?;
        }
        let moves = tx.header(at::MOVES).saturating_sub(1);
        tx.put(at::MOVES, moves, WHAT)?;
        for companion in mixed::companions(tx, self.name())? {
            dropped::drop_row(tx, &companion.row)?;
        }
        dropped::drop_row(tx, &marks)?;
        dropped::drop_row(tx, &source)?;
        self.dropping.store(true, Ordering::Relaxed);
        crash::point(Point::MoveOver);
        Ok(())
    }
}
