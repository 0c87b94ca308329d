//! Tables that are out of date: their contents are set aside at once, whatever there is of it, and taken away piecemeal.
//!
//! The table keeps its row, for handles name it, and is empty; another row, that is the library's own, has what it held: the roots of its index,
//! and its chunks, which say whose they are (`Owner::hand_over`).

use super::{ASIDE, WHAT};
use crate::error::{Error, Result};
use crate::heap::Owner;
use crate::region::header::ROWS;
use crate::table::catalog::{self, ROOT, Row, Shape, TableOptions};
use crate::table::dropped;
use crate::table::map;
use crate::tx::Tx;

/// Tables that are set aside for one, at most: versions took turns that often before a sweep came to its end. Then the smallest goes at once, for
/// the catalog has no room for any number.
const MOST: usize = 4;
/// Words of a row from its first root on that belong to the index and to what it counts.
const ROOTS: usize = 6;

/// Leaves a map empty; what it held is in another row now.
pub(super) fn set_aside(tx: &mut Tx<'_>, row: &Row) -> Result<()> {
    if map::counts(tx, row.offset)?.0 == 0 {
        return Ok(());
    }
    let rows = catalog::rows(tx)?;
    let of = |known: &&Row| {
        known
            .name
            .strip_prefix(ASIDE)
            .and_then(|rest| rest.split_once('.'))
            .is_some_and(|(_, of)| of == row.name)
    };
    let known: Vec<&Row> = rows.iter().filter(of).collect();
    if known.len() >= MOST {
        let mut least = None;
        for row in known {
            let records = map::counts(tx, row.offset)?.0;
            if least.is_none_or(|(fewest, _)| records < fewest) {
                least = Some((records, row));
            }
        }
        if let Some((_, row)) = least {
            dropped::drop_row(tx, row)?;
        }
    }
    let free = (0..ROWS).map(|number| format!("{ASIDE}{number}.{}", row.name));
    let name = free.into_iter().find(|name| rows.iter().all(|row| row.name != *name));
    let name = name.ok_or(Error::CatalogFull { rows: ROWS })?;
    let text = catalog::checked_description(tx, row)?;
    let (key, value) = catalog::parts(&text);
    let shape = Shape {
        kind: catalog::Kind::Map,
        key,
        value,
        version: row.version,
    };
    let options = TableOptions::default().checksums(catalog::is_checked(tx, row.offset)?);
    let empty = map::shapes::roots_like(tx, row.offset)?;
    let other = catalog::add(tx, &name, &shape, options, &empty)?;
    let theirs: [u64; ROOTS] = tx.words(other + ROOT, WHAT)?;
    let mine: [u64; ROOTS] = tx.words(row.offset + ROOT, WHAT)?;
    tx.put_all(other + ROOT, &mine, WHAT)?;
    tx.put_all(row.offset + ROOT, &theirs, WHAT)?;
    Owner::of_row(row.offset).hand_over(tx, Owner::of_row(other))
}
