//! Whether what the catalog says of the shapes of a table's records is so.

use super::companion::{companion_of, companions};
use super::{COMPANION, HEADER, VERSION};
use crate::archive;
use crate::error::{Error, Report, Result};
use crate::region::view::View;
use crate::table::catalog::{self, Kind};
use crate::table::map::LEFT;
use crate::table::moving;
use std::collections::BTreeMap;

/// How many records a table has with each low byte of a version.
#[derive(Debug, Default)]
pub(crate) struct Versions(BTreeMap<u8, u64>);

impl Versions {
    /// Counts the record whose header is given.
    pub(crate) fn note(&mut self, view: &View, header: u64) {
        let version = view.load(header, HEADER).map_or(0, archive::version_in);
        *self.0.entry(version).or_insert(0) += 1;
    }
}

/// Checks what the catalog says of the shapes of a table's records (M1).
pub(crate) fn check(view: &View, at: u64, versions: &Versions, report: &mut Report<'_>) -> Result<()> {
    // A row that cannot be read is a fault of its own, and named as that.
    let rows = catalog::rows(view).unwrap_or_default();
    let Some(row) = rows.into_iter().find(|row| row.offset == at) else {
        return Ok(());
    };
    if row.kind == Kind::Map as u16 && companion_of(&row.name).is_none() {
        let words: [u64; 2] = view.words(at + LEFT, COMPANION)?;
        for (i, word) in words.into_iter().enumerate() {
            // The marks of a move say there whether there is a way back.
            if word != 0 && !(i == 1 && moving::is_move(&row) && moving::is_way(word)) {
                report(Error::damaged(COMPANION, at + LEFT + i as u64 * 8, word))?;
            }
        }
    }
    let mut counted = BTreeMap::new();
    match companions(view, &row.name) {
        Ok(companions) => {
            for companion in companions {
                let version = companion.row.version as u8;
                let found = versions.0.get(&version).copied().unwrap_or(0);
                counted.insert(version, companion.left);
                let own = version == row.version as u8;
                if companion.left != if own { 0 } else { found } {
                    report(Error::damaged(COMPANION, companion.row.offset + LEFT, companion.left))?;
                }
            }
        }
        Err(fault) => return report(fault),
    }
    for (version, records) in &versions.0 {
        if *version != row.version as u8 && !counted.contains_key(version) {
            report(Error::damaged(VERSION, at, *records))?;
        }
    }
    Ok(())
}
