//! The catalog: a row for each table, with its name, its shape and its roots.
//!
//! ```text
//!   0 u32 state (0 empty, 1 live, 3 being dropped) · u16 kind · u16 length of the name      8 [u8; 64] name
//!  72 u128 fingerprint of the value    88 u128 fingerprint of the key
//! 104 u16 declared version · u16 check of the descriptions · u32 flags (1: records have checksums, 2: they have moved for good, 8 bits from 256
//!     on: moves that lead here, the upper 16: the declared version that the table was made with)     112 u64 block with the descriptions
//! 120 u64 their length in bytes      128 [12 x u64] roots, by kind     224 u64 identity
//! 232 u64 XXH3 of bytes 0..128 and the identity
//! 240 u64 first chunk of the table's records    248 u64 heads of their lists, see `heap::owner`
//! ```
//!
//! The descriptions are text: the key's shape, a line `---`, the value's description. A row appears and changes inside a
//! transaction like everything else. A successor reads rows while the owner is at work, so it reads until they hold still.
//!
//! - **R1** A table has an *identity*: the region's tag and the number of tables that the region had made by then, which is not logged, so that it never falls. No
//!   other table of any region has it (a region's tag is 64 bits of chance), also if the table's making is taken back. A handle has the offset of a row and the identity of the table that it was
//!   given for, and is honoured only where both stand together. So a row may be another table's as soon as its table is gone: whoever has a
//!   handle of that, in whatever process, is told so.
//! - **R2** Versions of a table are less than 256 apart in all its life, so that a record's header, which has 8 bits of its version, tells a handle of any
//!   shape that the table ever had that it is not its own; a handle of one may be kept as long as the table is there. And a record is only written by a handle of the
//!   version that the row says ([`check_version`]).
//! - **R3** Who keeps a row's offset without a handle looks at the row's name or identity before each use.
//!
//! In reading order: `spec`, `identity`, `versions`, `change`. This file reads and finds rows.

mod change;
mod identity;
mod spec;
mod versions;

pub(crate) use change::{add, check_name, create, redescribe, set_dying, set_moved, set_moves, set_vacant};
pub(crate) use identity::{check_identity, no_table_of, renew_identities};
pub use spec::{Kind, TableOptions};
pub(crate) use spec::{Shape, Spec, check_text, compare, parts};
pub(crate) use versions::{check_future, check_keys, check_version};

use crate::error::{Error, Result};
use crate::region::Region;
use crate::region::header::{HEADER, ROW, ROWS, at};
use crate::region::view::View;
use crate::table::declared;
use crate::tx::undo::Log;
use change::sum_of;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const WHAT: &str = "catalog";
/// Longest name of a table, in bytes.
pub const MAX_TABLE_NAME: usize = 64;
/// Most tables of a region, those among them that are made for records of older shapes.
pub const MAX_TABLES: u64 = ROWS;
/// Longest text of both descriptions, in bytes.
pub(crate) const MAX_DESCRIPTION: u64 = 1 << 20;
/// Roots of a row.
pub(crate) const ROOTS: usize = 16;
/// Where they start in the row.
pub(crate) const ROOT: u64 = 128;
/// Where the table's identity stands (R1).
pub(crate) const IDENTITY: u64 = ROOT + 12 * 8;
/// Where the checksum of the part before the roots, and of the identity, stands.
const SUM: u64 = IDENTITY + 8;
/// Where version and flags stand.
const VERSION: u64 = 104;
/// In the flags: every record has a checksum.
pub(crate) const CHECKED: u64 = 1 << 32;
/// Where in the word of version and flags the check of the descriptions stands.
const CHECK_SHIFT: u32 = 16;
/// How long a reader waits for the catalog to hold still while its owner works.
const PATIENCE: Duration = Duration::from_secs(2);

/// In the flags: the records have moved to other tables, and there is no way back to this one (`table::moving`).
const MOVED: u64 = 1 << 33;
/// In the flags: of how many moves that are not over this table is a target.
const TARGET_SHIFT: u32 = 40;
/// In the flags: the declared version that the table was made with.
const FIRST_SHIFT: u32 = 48;
/// Versions below the first that a table may have.
const EARLIER: u16 = 64;
/// Versions that a table may have in its life (R2).
const VERSIONS: u16 = 256;
const MOST_MOVES: u64 = 0xff;

const LIVE: u64 = 1;
/// Is being dropped: nothing is left of it but the heads of its lists of chunks (`table::dropped`).
const DYING: u64 = 3;

const _: () = assert!(ROOT + ROOTS as u64 * 8 == ROW && SUM + 3 * 8 == ROW && VERSION == 13 * 8);

/// Whether the records of the table whose row is given have checksums.
pub(crate) fn is_checked(view: &View, row: u64) -> Result<bool> {
    Ok(view.load(row + VERSION, WHAT)? & CHECKED != 0)
}

/// The text of both descriptions of a row, which must be the one that was written. Says where it is not.
pub(crate) fn checked_description(view: &View, row: &Row) -> Result<String> {
    let text = description(view, row)?;
    check_text(view, row, &text)?;
    Ok(text)
}

/// The part of a row before its roots.
type Fixed = [u64; ROOT as usize / 8];

/// What has become of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Live,
    Dying,
}

/// A row, as read.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) offset: u64,
    pub(crate) state: State,
    pub(crate) kind: u16,
    pub(crate) name: String,
    pub(crate) value: u128,
    pub(crate) key: u128,
    pub(crate) version: u16,
    pub(crate) description: (u64, u64),
    /// Its records have moved to other tables for good.
    pub(crate) moved: bool,
    /// Moves that are not over of which it is a target.
    pub(crate) moves: u64,
}

fn words(view: &View, at: u64) -> Result<u128> {
    Ok(u128::from(view.load(at, WHAT)?) | u128::from(view.load(at + 8, WHAT)?) << 64)
}

/// Reads row `index` of the catalog; `None` if there is no table.
pub(crate) fn row(view: &View, index: u64) -> Result<Option<Row>> {
    Ok(any_row(view, index)?.filter(|row| row.state == State::Live))
}

/// Reads row `index` of the catalog, also of a table that is being dropped; `None` if there is none.
pub(crate) fn any_row(view: &View, index: u64) -> Result<Option<Row>> {
    let offset = HEADER + index * ROW;
    let head = view.load(offset, WHAT)?;
    if head as u32 == 0 {
        // What is no table is zero.
        let words: [u64; ROW as usize / 8] = view.words(offset, WHAT)?;
        return match words.iter().position(|word| *word != 0) {
            None => Ok(None),
            Some(i) => Err(Error::damaged(WHAT, offset + i as u64 * 8, words[i])),
        };
    }
    let length = (head >> 48) as usize;
    let state = match u64::from(head as u32) {
        LIVE => State::Live,
        DYING => State::Dying,
        _ => return Err(Error::damaged(WHAT, offset, head)),
    };
    if length == 0 || length > MAX_TABLE_NAME {
        return Err(Error::damaged(WHAT, offset, head));
    }
    let fixed: Fixed = view.words(offset, WHAT)?;
    let [identity, sum] = view.words(offset + IDENTITY, WHAT)?;
    if sum_of(&fixed, identity) != sum {
        return Err(Error::damaged("checksum of a catalog row", offset + SUM, sum));
    }
    let mut name = Vec::with_capacity(MAX_TABLE_NAME);
    for i in 0..MAX_TABLE_NAME as u64 / 8 {
        name.extend_from_slice(&view.load(offset + 8 + i * 8, WHAT)?.to_le_bytes());
    }
    name.truncate(length);
    let name = String::from_utf8(name).map_err(|_| Error::damaged(WHAT, offset + 8, head))?;
    let flags = view.load(offset + VERSION, WHAT)?;
    Ok(Some(Row {
        offset,
        state,
        kind: (head >> 32) as u16,
        name,
        value: words(view, offset + 72)?,
        key: words(view, offset + 88)?,
        version: flags as u16,
        description: (view.load(offset + 112, WHAT)?, view.load(offset + 120, WHAT)?),
        moved: flags & MOVED != 0,
        moves: flags >> TARGET_SHIFT & MOST_MOVES,
    }))
}

/// The row at an offset, of a table that is there.
pub(crate) fn row_at(view: &View, offset: u64) -> Result<Row> {
    let found = row(view, offset.wrapping_sub(HEADER) / ROW % ROWS)?;
    found.ok_or_else(|| Error::damaged(WHAT, offset, 0))
}

/// The check of what a row says of its table: another one if the table goes.
pub(crate) fn sum(view: &View, row: u64) -> Result<u64> {
    view.load(row + SUM, WHAT)
}

/// All live rows.
pub(crate) fn rows(view: &View) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for index in 0..ROWS {
        rows.extend(row(view, index)?);
    }
    Ok(rows)
}

/// The text of both descriptions of a row.
pub(crate) fn description(view: &View, row: &Row) -> Result<String> {
    let (offset, length) = row.description;
    if length > MAX_DESCRIPTION {
        return Err(Error::damaged(WHAT, row.offset + 120, length));
    }
    let bytes = view.bytes(offset, length, "description")?.to_vec();
    String::from_utf8(bytes).map_err(|_| Error::damaged("description", offset, length))
}

/// Finds the row of a table.
pub(crate) fn named(view: &View, name: &str) -> Result<Row> {
    let found = rows(view)?.into_iter().find(|row| row.name == name);
    found.ok_or_else(|| Error::NoTable { name: name.into() })
}

/// Finds the table and compares its shape with what the program says. Gives the row's offset.
pub(crate) fn find(view: &View, name: &str, spec: &Spec) -> Result<u64> {
    check_public(name)?;
    declared::admit(view, name, spec)?;
    let row = named(view, name)?;
    check_there(&row)?;
    compare(&row, spec, || description(view, &row))?;
    Ok(row.offset)
}

/// Refuses a table whose records have moved for good, for all but the move itself.
pub(crate) fn check_there(row: &Row) -> Result<()> {
    if !row.moved {
        return Ok(());
    }
    Err(Error::TableMoved {
        table: row.name.as_str().into(),
    })
}

/// Reads of the catalog what was committed, without a pass: for a successor whose predecessor may be changing the catalog right now, or may have died in
/// the middle of a transaction that nobody has taken back yet. A row that the open log does not cover was committed before. `look` gives the row that it
/// depends on, and what it found: a handle is made there, so that its identity is that of the table that was found (R1).
pub(crate) fn live<R>(region: &Region, look: impl Fn(&View) -> Result<(u64, R)>) -> Result<R> {
    let view = &region.view;
    let deadline = Instant::now() + PATIENCE;
    loop {
        // CATALOG pair: no transaction was open before and after, and none was committed between: what was read is committed.
        let before = (
            view.header_word(at::LOG_LENGTH).load(Ordering::Acquire),
            view.header(at::COMMITS),
        );
        let found = look(view);
        std::sync::atomic::fence(Ordering::Acquire);
        let after = (
            view.header_word(at::LOG_LENGTH).load(Ordering::Acquire),
            view.header(at::COMMITS),
        );
        if before == after {
            let layout = *region.layout();
            let committed = before.0 == 0
                || match &found {
                    Ok((row, _)) => matches!(Log::covers(view, layout, *row, row + ROOT), Ok(false)),
                    Err(_) => false,
                };
            std::sync::atomic::fence(Ordering::Acquire);
            if committed && view.header_word(at::LOG_LENGTH).load(Ordering::Acquire) == before.0 {
                return found.map(|(_, found)| found);
            }
        }
        if Instant::now() >= deadline {
            return Err(Error::Busy {
                waited_ms: PATIENCE.as_millis() as u64,
            });
        }
        std::thread::yield_now();
    }
}

/// A name that begins with a dot is the library's own: for a program there is no such table.
pub(crate) fn check_public(name: &str) -> Result<()> {
    if name.starts_with('.') {
        return Err(Error::NoTable { name: name.into() });
    }
    Ok(())
}
