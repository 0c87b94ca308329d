//! What tables call for single records: when they read one of another version, before they change one, when they make one, and when one goes.
//!
//! None of it is on the way of a table of one shape: reading comes here only with a record that is not of the handle's version, changing
//! only in a table that is entered (B1 of `region::mixed`).

use super::companion::{companions, count_off, set_left};
use super::state::State;
use super::{At, HEADER, Mixture, Table, VERSION, mixture};
use crate::archive::{self, ArchivedOf};
use crate::crash::{self, Point};
use crate::error::{Error, Result};
use crate::region::view::View;
use crate::schema::Schema;
use crate::table::map::Map;
use crate::table::record::{self, Home};
use crate::table::{catalog, keyed};
use crate::tx::Tx;
use std::sync::Arc;

/// Whether records of the table may have other shapes, or twins.
#[inline]
pub(crate) fn is_mixed<T: Table>(table: &T, view: &View) -> bool {
    view.mixed().has(table.row())
}

/// A record, if its version is another one's: its twin, or what the steps make of it. `None` if it is of this version, so that something
/// else is wrong with it.
#[cold]
pub(crate) fn other<'v, T: Table>(table: &T, view: &'v View, at: At) -> Result<Option<&'v ArchivedOf<T::Value>>> {
    let word = view.load(at.header, HEADER)?;
    if archive::version_in(word) == archive::version::<T::Value>() {
        return Ok(None);
    }
    let unknown = || Error::damaged(VERSION, at.header, word);
    let mixture = mixture(table, view).ok_or_else(unknown)?;
    let state = mixture.state();
    if let Some(twins) = mixture.mine(view, &state)?
        && let Some(twin) = twins.find(view, &table.name(view, at)?)?
    {
        return archive::root::<T::Value>(view, twin, twins.home.geometry).map(Some);
    }
    let older = state.shape_of(at.header, word)?;
    let Some(source) = older.source else {
        return Err(Error::OtherVersion {
            at: at.header,
            version: archive::version_in(word),
            expected: archive::version::<T::Value>(),
        });
    };
    let read = &mixture.steps.sources[source].read;
    let key = [table.row(), at.header, word];
    archive::converted::<T::Value>(view, key, || read(view, at.header, older.geometry)).map(Some)
}

/// A record that could not be read for the reason given: [`other`], or that reason.
#[cold]
pub(crate) fn read<'v, T: Table>(table: &T, view: &'v View, at: At, why: Error) -> Result<&'v ArchivedOf<T::Value>> {
    other(table, view, at)?.ok_or(why)
}

/// What is known of a table that is entered; `None` if it is only the target of moves.
fn known<T: Table>(table: &T, view: &View) -> Result<Option<Arc<Mixture<T>>>> {
    match mixture(table, view) {
        None if view.mixed().is_entered(table.row(), view) => {
            // Entered by another type: this one would not keep what that one does (M4).
            Err(Error::ForeignTable)
        }
        known => Ok(known),
    }
}

/// Before a record is changed: gives it this program's shape (M4), and notes that it may be changed. Gives its header.
#[cold]
pub(crate) fn renew<T: Table>(table: &T, tx: &mut Tx<'_>, at: At) -> Result<u64> {
    if !tx.mixed().has(table.row()) {
        return Ok(at.header);
    }
    let Some(mixture) = known(table, tx)? else {
        return Ok(at.header);
    };
    tx.region.view.mixed_mut().tidy();
    let word = tx.load(at.header, HEADER)?;
    let state = mixture.state();
    if archive::version_in(word) != archive::version::<T::Value>() {
        let keep = mixture.steps.back.as_ref().is_some_and(|back| back.wants_before);
        return tx.whole(|tx| migrate(&mixture, &state, tx, at, keep));
    }
    if state.back.is_some() {
        tx.touch(table.row(), at, word);
    }
    Ok(at.header)
}

/// Gives a record of another version this program's shape, and keeps it as its twin if it is to (M7). Gives its header.
pub(super) fn migrate<T: Table>(
    mixture: &Mixture<T>,
    state: &State,
    tx: &mut Tx<'_>,
    at: At,
    keep: bool,
) -> Result<u64> {
    let table = &mixture.table;
    let word = tx.load(at.header, HEADER)?;
    let older = state.shape_of(at.header, word)?;
    let home = table.home();
    let (carried, name) = (T::carried(tx, at.header)?, table.name(tx, at)?);
    let key = carried.parts();
    let from = Home {
        geometry: older.geometry,
        ..home
    };
    let kept = keep && mixture.keep(tx, state, (from, older), (at.header, key.head()), &name)?;
    let twins = mixture.mine(tx, state)?;
    let twin = match &twins {
        Some(twins) => twins.find(tx, &name)?.map(|twin| (twins, twin)),
        None => None,
    };
    let (new, before) = match (twin, older.source) {
        (Some((twins, twin)), _) => {
            let head = keyed::head_of::<T::Name>(tx, twin)?;
            let new = record::adopt(tx, (twins.home, home), (twin, head), key)?;
            twins.remove(tx, &name)?;
            (new, record::discard(tx, from, at.header, key.head())?)
        }
        (None, Some(source)) => {
            let value = (mixture.steps.sources[source].read)(tx, at.header, older.geometry)?;
            record::renew(tx, home, older.geometry, at.header, key, &value)?
        }
        (None, None) => return Err(Error::damaged(VERSION, at.header, word)),
    };
    crash::point(Point::ShapeWritten);
    if new.header != at.header {
        table.swap(tx, at, new.header)?;
    }
    table.recount(tx, before, new.archived)?;
    count_off(tx, older.companion)?;
    crash::point(Point::ShapeCounted);
    let at = At {
        header: new.header,
        ..at
    };
    if state.back.is_some() {
        // The twin that was kept is that of the record as it is now.
        let word = if kept { tx.load(at.header, HEADER)? } else { 0 };
        tx.touch(table.row(), at, word);
    }
    Ok(at.header)
}

/// Notes that a record was made, which must have a twin.
#[cold]
pub(crate) fn note<T: Table>(table: &T, tx: &mut Tx<'_>, at: At) {
    if let Some(mixture) = mixture(table, tx)
        && mixture.state().back.is_some()
    {
        tx.touch(table.row(), at, 0);
    }
}

/// Takes a record of whatever shape away, with its twin: it is freed at commit. Gives the bytes of its archive. The place where the table
/// names it is the caller's.
#[cold]
pub(crate) fn discard<T: Table>(table: &T, tx: &mut Tx<'_>, at: At) -> Result<u64> {
    let head = T::carried(tx, at.header)?.parts().head();
    let mut home = table.home();
    let known = if tx.mixed().has(table.row()) {
        known(table, tx)?
    } else {
        None
    };
    if known.is_none() {
        check_mine(table, tx, at.header)?;
    }
    if let Some(mixture) = known {
        tx.region.view.mixed_mut().tidy();
        let (state, name) = (mixture.state(), table.name(tx, at)?);
        let word = tx.load(at.header, HEADER)?;
        let twins = if archive::version_in(word) == archive::version::<T::Value>() {
            mixture.back(tx, &state)?
        } else {
            let older = state.shape_of(at.header, word)?;
            home.geometry = older.geometry;
            count_off(tx, older.companion)?;
            mixture.mine(tx, &state)?
        };
        if let Some(twins) = twins {
            twins.remove(tx, &name)?;
        }
    }
    record::discard(tx, home, at.header, head)
}

/// Refuses to take all records away by a handle that is not of the version that the table has, or while some are of another: what is counted of those
/// would be wrong for good. A program that knows the other versions has entered the table.
fn check_all<T: Table>(table: &T, view: &View) -> Result<()> {
    let row = catalog::row_at(view, table.row())?;
    // The library's own tables have no versions of their own.
    if row.name.starts_with('.') {
        return Ok(());
    }
    catalog::check_version(view, row.offset, T::Value::VERSION)?;
    match companions(view, &row.name)?.iter().find(|companion| companion.left > 0) {
        None => Ok(()),
        Some(companion) => Err(Error::OtherVersion {
            at: companion.row.offset,
            version: companion.row.version as u8,
            expected: archive::version::<T::Value>(),
        }),
    }
}

/// Refuses to take a record away, in a table that is not entered, by a handle that is not of the version that the table and the record have: a count
/// of records of another would be wrong for good. `header` is that of the record.
#[inline]
pub(crate) fn check_mine<T: Table>(table: &T, view: &View, header: u64) -> Result<()> {
    catalog::check_version(view, table.row(), T::Value::VERSION)?;
    let word = view.load(header, HEADER)?;
    if archive::version_in(word) == archive::version::<T::Value>() {
        return Ok(());
    }
    Err(Error::damaged(VERSION, header, word))
}

/// All records are about to go: so do their twins.
#[cold]
pub(crate) fn clear<T: Table>(table: &T, tx: &mut Tx<'_>) -> Result<()> {
    let Some(mixture) = known(table, tx)? else {
        return check_all(table, tx);
    };
    for companion in mixture.state().companions {
        // One that nobody wanted may be gone, and its row another table's (U2 of `sweep`).
        if !mixture.is_there(tx, companion)? {
            continue;
        }
        set_left(tx, companion, 0)?;
        Map::<T::Name, u8>::handle_of(companion, tx)?.clear(tx)?;
    }
    Ok(())
}
