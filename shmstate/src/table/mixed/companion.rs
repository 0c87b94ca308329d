//! Companions: what the catalog says of the shapes of a table's records beside its row.

use super::{COMPANION, GOOD};
use crate::error::{Error, Result};
use crate::region::seal::{seal, unseal};
use crate::region::view::View;
use crate::schema::Schema;
use crate::table::catalog::{self, Row};
use crate::table::map::{LEFT, WAY};
use crate::tx::Tx;

/// A map beside a table, for one version of its records.
#[derive(Clone, Debug)]
pub(crate) struct Companion {
    pub(crate) row: Row,
    /// Records of that version in the table.
    pub(crate) left: u64,
    /// Whether its twins are good.
    pub(crate) good: bool,
}

/// The table that `name` is a companion of, and for which version.
pub(crate) fn companion_of(name: &str) -> Option<(u16, &str)> {
    let (version, table) = name.strip_prefix('.')?.split_once('.')?;
    Some((version.parse().ok()?, table))
}

pub(super) fn name_of(version: u16, table: &str) -> String {
    format!(".{version}.{table}")
}

/// All companions of a table.
pub(crate) fn companions(view: &View, table: &str) -> Result<Vec<Companion>> {
    let mut found = Vec::new();
    for row in catalog::rows(view)? {
        if companion_of(&row.name).is_none_or(|(_, of)| of != table) {
            continue;
        }
        let way = view.load(row.offset + WAY, COMPANION)?;
        if way != 0 && way != GOOD {
            return Err(Error::damaged(COMPANION, row.offset + WAY, way));
        }
        found.push(Companion {
            left: left_of(view, row.offset)?,
            good: way == GOOD,
            row,
        });
    }
    Ok(found)
}

pub(super) fn set_left(tx: &mut Tx<'_>, companion: u64, left: u64) -> Result<()> {
    tx.put(companion + LEFT, if left == 0 { 0 } else { seal(left) }, COMPANION)
}

pub(super) fn left_of(view: &View, companion: u64) -> Result<u64> {
    match view.load(companion + LEFT, COMPANION)? {
        0 => Ok(0),
        word => unseal(word).ok_or_else(|| Error::damaged(COMPANION, companion + LEFT, word)),
    }
}

/// A record of the companion's version is one no more.
pub(super) fn count_off(tx: &mut Tx<'_>, companion: u64) -> Result<()> {
    let left = left_of(tx, companion)?.checked_sub(1);
    let left = left.ok_or_else(|| Error::damaged(COMPANION, companion + LEFT, 0))?;
    set_left(tx, companion, left)
}

/// Refuses a table that holds records of other shapes, for who knows no others.
pub(crate) fn check_plain<V: Schema>(view: &View, name: &str) -> Result<()> {
    for companion in companions(view, name)? {
        if companion.row.version != V::VERSION && (companion.left > 0 || companion.good) {
            return Err(Error::BadSteps {
                table: name.into(),
                why: format!(
                    "{} of its records are still of version {}, or there is a way back to it: open it with `open` or `open_migrating`, before the first transaction",
                    companion.left, companion.row.version
                )
                .into(),
            });
        }
    }
    Ok(())
}
