//! A table whose records have more than one shape: while its records migrate, and while there is a way back.
//!
//! ```text
//! players     the table: records of any of these shapes side by side; its row describes the shape that its owner writes
//! .1.players  its companion of version 1, a map: how many records of that version the table has (`LEFT`); twins (`WAY`)
//! ```
//!
//! - **M1** The header of a record says its version. For each version but the owner's there is a companion, whose row describes that
//!   shape and whose `LEFT` counts the table's records of it, exactly.
//! - **M2** A *twin* is a record of the companion under the record's name ([`Table::Name`]): what the table's record is in the companion's
//!   shape. As long as `WAY` is set, every record of the table that is not of the companion's shape, and was written by a program that
//!   knew the way back, has a twin that is as new as itself: both are changed by one transaction.
//! - **M3** Whoever meets a record of another version takes the twin in the companion of its own version if that is good, else its steps, else it
//!   has no business with the table: `open` refuses, also where only some records without a twin are of such a version: twins are
//!   as many as records that are not of their shape, or those without one are all of versions that the steps lead from.
//! - **M4** A record is changed only after it was given the owner's shape, in the same transaction. So no program changes what it cannot read.
//!   To be taken away it needs no other shape, so that takes no memory.
//! - **M5** The row is rewritten in a transaction before the first that changes the table (B2 of `region::mixed`), and `LEFT` of what it
//!   described until then becomes all that is not counted elsewhere.
//!   A companion without records and twins that nobody wants goes, with its row, so that a table that changes its shape for years has
//!   rows for the shapes that it has, and no others.
//! - **M6** A record that migrates keeps its name, and what its table keeps of it beside the archive: the key or the period before its
//!   header, and its place in the table's order.
//! - **M7** A record that migrates from the companion's shape is copied first, and is its own twin until it is changed, if the sweep migrates
//!   it or the step back takes from what a record was. Every later twin is made of the record and the twin before.
//!
//! A program that goes back needs no code of the one that it follows: it finds the shapes in the catalog, and what it reads in the
//! companion of its own version.
//!
//! In reading order: `table` is what a kind of table has to say of itself, `companion` what the catalog says, `state` what a program makes of
//! that; `twins`; `records` is what tables call when they read and change; `sweep`, `check`. This file opens and settles.

mod check;
mod companion;
mod records;
mod state;
mod sweep;
mod table;
mod twins;

pub(crate) use check::{Versions, check};
pub(crate) use companion::{Companion, companions};
pub(crate) use companion::{check_plain, companion_of};
pub(crate) use records::{check_mine, clear, discard, is_mixed, note, other, read, renew};
pub use sweep::Swept;
pub(crate) use sweep::{drop_records, sweep, unswept};
pub(crate) use table::{At, Table, ends_at, in_chunk};

use crate::archive;
use crate::broken::{self, Broken};
use crate::crash::{self, Point};
use crate::error::{Error, Result};
use crate::region::Region;
use crate::region::header::at;
use crate::region::mixed::Bridge;
use crate::region::seal::seal;
use crate::region::view::View;
use crate::schema::Schema;
use crate::table::catalog::{self, Kind, MAX_TABLE_NAME, Row, Shape, TableOptions};
use crate::table::declared;
use crate::table::key::{Encoded, Key};
use crate::table::map::{self, LEFT, Map, WAY};
use crate::table::moving;
use crate::table::record::{self, Home};
use crate::table::steps::Steps;
use crate::tx::Tx;
use companion::{companions as all_companions, name_of, set_left};
use state::{Older, State, is_like};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use twins::Twins;

const COMPANION: &str = "companion of a table";
const VERSION: &str = "schema version of a record";
const HEADER: &str = "record header";
/// Longest name of a table that can have companions: `.65535.` stands before it.
const MOST_NAME: usize = MAX_TABLE_NAME - 7;
/// How long a table in which records seem to have no twins is looked at for a moment between two transactions: more than a tick.
const MOMENT: Duration = Duration::from_millis(20);
/// In `WAY`: the twins are good.
const GOOD: u64 = seal(1);

/// A table that may hold records of several shapes, and how they become the program's.
struct Mixture<T: Table> {
    table: T,
    name: Box<str>,
    steps: Steps<T::Value>,
    state: RwLock<State>,
    /// The part of the table that the sweep looks at next.
    cursor: AtomicU64,
    /// Nothing is left to retire.
    tidy: AtomicBool,
}

impl<T: Table> fmt::Debug for Mixture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mixture")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Refuses a name that leaves no room for those of companions, unless the table stays `plain`.
pub(crate) fn check_name(name: &str, plain: bool) -> Result<()> {
    if plain || name.len() <= MOST_NAME {
        return Ok(());
    }
    Err(Error::BadSteps {
        table: name.into(),
        why: "a table that migrates has a name of at most 57 bytes".into(),
    })
}

/// Opens a table, and enters it among those of several shapes if it is one.
pub(crate) fn open<T: Table>(region: &Region, name: &str, steps: Steps<T::Value>) -> Result<T> {
    let known = |view: &View, row: &Row| {
        catalog::check_there(row)?;
        moving::check_known(view, row)
    };
    open_for(region, name, steps, known)
}

/// The same for the move that empties the table.
pub(crate) fn open_source<T: Table>(region: &Region, name: &str, steps: Steps<T::Value>) -> Result<T> {
    open_for(region, name, steps, moving::check_known)
}

fn open_for<T: Table>(
    region: &Region,
    name: &str,
    steps: Steps<T::Value>,
    may: impl Fn(&View, &Row) -> Result<()>,
) -> Result<T> {
    let bad = |why: &str| Error::BadSteps {
        table: name.into(),
        why: why.into(),
    };
    if let Some(why) = &steps.wrong {
        return Err(bad(why));
    }
    catalog::check_public(name)?;
    check_name(name, steps.sources.is_empty())?;
    declared::admit_steps(&region.view, name, &T::spec(), &steps)?;
    let found = |view: &View| {
        let row = catalog::named(view, name)?;
        may(view, &row)?;
        if !steps.sources.is_empty() {
            catalog::check_future(view, &row, &T::spec())?;
        }
        Ok((row.offset, T::of_row(row.offset, view)?))
    };
    let table = catalog::live(region, found)?;
    let row = table.row();
    // A second handle in a process that knows the steps: it is one more of the first.
    if steps.sources.is_empty() && mixture(&table, &region.view).is_some() {
        return Ok(table);
    }
    let until = Instant::now() + MOMENT;
    let state = loop {
        let (state, doubt, is_open) = catalog::live(region, |view| {
            let row = catalog::named(view, name)?;
            // Another one may have got its name since: what is compared is the table of the handle.
            table.belongs(view)?;
            if row.offset != table.row() {
                return Err(Error::TableGone);
            }
            let state = State::of::<T>(view, &row, &steps)?;
            let checked = state.as_ref().map(|state| state.check_twins(&table, view, &row));
            let is_open = view.header(at::LOG_LENGTH) != 0;
            Ok((row.offset, (state, checked.and_then(Result::err), is_open)))
        })?;
        match doubt {
            Some(refusal) if !is_open => return Err(refusal),
            // The twins of a transaction come at its end. If it does not end, its owner may be dead: `settle` decides when it was taken back.
            Some(_) if Instant::now() < until => std::thread::yield_now(),
            _ => break state,
        }
    };
    match state {
        None => region.view.mixed().leave(row),
        Some(state) => {
            let mixture = Mixture {
                table,
                name: name.into(),
                steps,
                state: RwLock::new(state),
                cursor: AtomicU64::new(0),
                tidy: AtomicBool::new(false),
            };
            region.view.mixed().enter(row, Arc::new(mixture));
            region.look_first();
        }
    }
    Ok(table)
}

/// What this process knows of a table that may hold records of several shapes, and of none that was in its row before (R3 of `catalog`).
fn mixture<T: Table>(table: &T, view: &View) -> Option<Arc<Mixture<T>>> {
    let found = view.mixed().bridge::<Mixture<T>>(table.row());
    found.filter(|mixture| mixture.is_of(view))
}

impl<T: Table> Mixture<T> {
    fn state(&self) -> State {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The twins of this program's own version, if they are good.
    fn mine(&self, view: &View, state: &State) -> Result<Option<Twins<T::Name>>> {
        let geometry = archive::Geometry::of::<T::Value>(T::Name::SIZE);
        state.mine.map(|row| Twins::of(view, row, geometry)).transpose()
    }

    /// The twins that are kept for the program before.
    fn back(&self, view: &View, state: &State) -> Result<Option<Twins<T::Name>>> {
        let (Some(row), Some(back)) = (state.back, &self.steps.back) else {
            return Ok(None);
        };
        Twins::of(view, row, (back.geometry)(T::Name::SIZE)).map(Some)
    }

    /// Copies a record of the shape that there is a way back to, as its own twin (M7). Says whether it did.
    fn keep(
        &self,
        tx: &mut Tx<'_>,
        state: &State,
        (from, older): (Home, Older),
        record: (u64, u64),
        name: &Encoded<'_, T::Name>,
    ) -> Result<bool> {
        let Some(twins) = self.back(tx, state)? else {
            return Ok(false);
        };
        let back = self.steps.back.as_ref();
        if back.is_none_or(|back| back.shape.version() as u8 != older.version) {
            return Ok(false);
        }
        twins.remove(tx, name)?;
        twins.put(tx, name, |tx, home, key, _| {
            record::adopt(tx, (from, home), record, key).map(|written| (written, 0))
        })?;
        crash::point(Point::TwinKept);
        Ok(true)
    }

    /// The companion for the shape that a row describes; makes it if there is none.
    fn companion(&self, tx: &mut Tx<'_>, row: &Row) -> Result<u64> {
        let known = all_companions(tx, &self.name)?;
        if let Some(known) = known.iter().find(|known| known.row.version == row.version) {
            if known.row.value == row.value {
                return Ok(known.row.offset);
            }
            return Err(Error::BadSteps {
                table: (*self.name).into(),
                why: format!("its version {} was another shape once; raise the version", row.version).into(),
            });
        }
        let text = catalog::checked_description(tx, row)?;
        let shape = Shape {
            kind: Kind::Map,
            key: &T::Name::shape(),
            value: catalog::parts(&text).1,
            version: row.version,
        };
        let roots = map::shapes::companion_roots::<T::Name>(tx)?;
        let options = TableOptions::default().checksums(catalog::is_checked(tx, row.offset)?);
        catalog::add(tx, &name_of(row.version, &self.name), &shape, options, &roots)
    }

    /// The row is of another shape: it is this program's from now on (M5).
    fn take_over(&self, tx: &mut Tx<'_>, row: &Row) -> Result<()> {
        let old = self.companion(tx, row)?;
        let companions = all_companions(tx, &self.name)?;
        let counted = companions.iter().filter(|companion| companion.row.offset != old);
        let counted: u64 = counted.map(|companion| companion.left).sum();
        let records = self.table.records(tx)?;
        let left = records.checked_sub(counted);
        let left = left.ok_or_else(|| Error::damaged(COMPANION, row.offset, counted))?;
        set_left(tx, old, left)?;
        if let Some(mine) = companions.iter().find(|known| known.row.version == T::Value::VERSION) {
            set_left(tx, mine.row.offset, 0)?;
        }
        catalog::redescribe(tx, row, &T::spec())?;
        crash::point(Point::ShapeDescribed);
        Ok(())
    }
}

impl<T: Table> Bridge for Mixture<T> {
    fn table(&self) -> &str {
        &self.name
    }

    fn is_of(&self, view: &View) -> bool {
        self.table.belongs(view).is_ok()
    }

    fn settle(&self, tx: &mut Tx<'_>) -> Result<()> {
        self.table.belongs(tx)?;
        let row = catalog::named(tx, &self.name)?;
        if let Some(state) = State::of::<T>(tx, &row, &self.steps)? {
            state.check_twins(&self.table, tx, &row)?;
        }
        // Rows may be few: before another companion is made.
        self.retire(tx)?;
        self.tidy.store(false, Ordering::Relaxed);
        let own = is_like(&row, &T::spec().value);
        if !own {
            self.take_over(tx, &row)?;
        }
        let companions = all_companions(tx, &self.name)?;
        let mut keep = None;
        for companion in &companions {
            let back = self.steps.back.as_ref();
            let wanted = back.is_some_and(|back| is_like(&companion.row, &back.shape));
            let mine = companion.row.version == T::Value::VERSION;
            // It was good all the while, or nothing was written in another shape since this one was the table's (M2).
            let good = companion.good || row.version == companion.row.version && !own;
            if wanted && good {
                if !companion.good {
                    // Twins of a way back that was closed.
                    Map::<T::Name, u8>::handle_of(companion.row.offset, tx)?.clear(tx)?;
                    tx.put(companion.row.offset + WAY, GOOD, COMPANION)?;
                }
                keep = Some(companion.row.offset);
            } else if companion.good && !mine {
                tx.put(companion.row.offset + WAY, 0, COMPANION)?;
            }
        }
        let row = catalog::named(tx, &self.name)?;
        let mut state = State::of::<T>(tx, &row, &self.steps)?.unwrap_or_default();
        state.back = keep;
        state.companions = companions.iter().map(|companion| companion.row.offset).collect();
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        Ok(())
    }

    fn write_twin(&self, tx: &mut Tx<'_>, at: At, word: u64) -> Result<()> {
        let state = self.state();
        let (Some(twins), Some(back)) = (self.back(tx, &state)?, &self.steps.back) else {
            return Ok(());
        };
        if broken::is(Broken::Twin) {
            return Ok(());
        }
        // It may have been replaced or taken away since it was noted.
        if !self.table.is_record(tx, at)? {
            return Ok(());
        }
        let now = tx.load(at.header, HEADER)?;
        if now as u32 == 0 || now == word || archive::version_in(now) != archive::version::<T::Value>() {
            return Ok(());
        }
        let name = self.table.name(tx, at)?;
        let from = (at.header, self.table.home().geometry);
        twins.put(tx, &name, |tx, home, key, before| {
            (back.write)(tx, from, home, key, before)
        })?;
        crash::point(Point::TwinWritten);
        Ok(())
    }

    fn close_way_back(&self, tx: &mut Tx<'_>) -> Result<()> {
        match self.state().back {
            // It may be gone with its table, and its row another one's (U2 of `sweep`).
            Some(back) if self.is_there(tx, back)? => tx.put(back + WAY, 0, COMPANION),
            _ => Ok(()),
        }
    }

    fn way_back_is_closed(&self) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).back = None;
        // Its twins, and then its row, are nobody's any more.
        self.tidy.store(false, Ordering::Relaxed);
    }

    fn has_way_back(&self) -> bool {
        self.state().back.is_some()
    }
}

const _: () = assert!(WAY == LEFT + 8);
