//! What a handle may do with a table whose records have, or get, another version (R2).
//!
//! It does not know how a table comes to another version: that is for `table::mixed`.

use super::change::check_alignment;
use super::{EARLIER, FIRST_SHIFT, Row, Shape, Spec, VERSION, VERSIONS, WHAT, row_at};
use crate::error::{Error, Result};
use crate::region::view::View;
use crate::table::keyed::Stored;

/// Refuses a record of a version that is not the table's now: its handle is older, or newer, than what the row says (R2).
#[inline]
pub(crate) fn check_version(view: &View, row: u64, version: u16) -> Result<()> {
    let now = view.load(row + VERSION, WHAT)? as u16;
    if now == version {
        return Ok(());
    }
    Err(other_version(view, row, now, version))
}

#[cold]
fn other_version(view: &View, row: u64, now: u16, version: u16) -> Error {
    let name = row_at(view, row).map_or_else(|_| String::new(), |row| row.name);
    Error::SchemaMismatch {
        table: name.as_str().into(),
        report: format!(
            "table {name} has records of schema version {now} now, and this handle is for version {version}: open the table again, with the steps between them"
        )
        .into(),
    }
}

/// Refuses keys that are kept otherwise than those of the table, though they have the same shape; other keys are for [`compare`](super::compare) to
/// refuse. How the table keeps them stands at `at`.
#[inline]
pub(crate) fn check_keys(view: &View, row: u64, at: u64, mine: Stored, spec: impl FnOnce() -> Spec) -> Result<()> {
    if view.load(at, WHAT)? == mine.word() {
        return Ok(());
    }
    keys_kept_otherwise(view, row, at, mine, &spec())
}

#[cold]
fn keys_kept_otherwise(view: &View, row: u64, at: u64, mine: Stored, spec: &Spec) -> Result<()> {
    let Row { kind, key, name, .. } = row_at(view, row)?;
    if kind != spec.kind as u16 || key != spec.key_print() {
        return Ok(());
    }
    let kept = Stored::read(view, at)?;
    Err(Error::SchemaMismatch {
        table: name.as_str().into(),
        report: format!(
            "table {name} keeps its keys {kept}, the program's type {mine}: another type has the same shape"
        )
        .into(),
    })
}

/// Refuses a version that is too far from the one that the table was made with (R2).
pub(super) fn check_span(view: &View, row: &Row, spec: &Spec) -> Result<()> {
    let version = spec.value.version();
    let first = (view.load(row.offset + VERSION, WHAT)? >> FIRST_SHIFT) as u16;
    let least = first.saturating_sub(EARLIER);
    if version >= least && version - least < VERSIONS {
        return Ok(());
    }
    let most = least.saturating_add(VERSIONS - 1);
    Err(Error::BadSteps {
        table: row.name.as_str().into(),
        why: format!(
            "it was made with version {first}, so it may have versions {least} to {most}, not {version}: move its records to another table"
        )
        .into(),
    })
}

/// Refuses what could not become the table's shape, before anybody relies on it.
pub(crate) fn check_future(view: &View, row: &Row, spec: &Spec) -> Result<()> {
    check_span(view, row, spec)?;
    check_alignment(&row.name, &Shape::of(spec))
}
