//! Walks a whole region and compares what the heap says is in use with what the tables refer to.
//!
//! It names every altered byte that has a meaning in: the header's unchanging part, the sizes and lists in it, the catalog with its
//! descriptions, an open log, the heap's chunk table, the indexes of maps, the directories and pages of the other tables; and
//! in tables with checksums every altered byte of a record. What it cannot see: records without a checksum, and words that
//! nothing else in the region is bound to, above all figures (transactions, bytes of archives). §11 of DESIGN.md has the list.

use crate::error::{Error, Report, Result};
use crate::heap::{self, HeapStats, Held, Owner};
use crate::region::header::{Layout, ROWS, at};
use crate::region::{Reader, View, check_header};
use crate::table::catalog::{self, Kind, Row, State};
use crate::table::mixed::{self, Versions};
use crate::table::moving;
use crate::table::{cell, map, ordered, queue, slab, streams, timers};
use std::fmt;

/// Most faults that are named, and most offsets of leaked or dangling blocks.
pub const MAX_FAULTS: usize = 4096;

/// One thing that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which structure.
    pub what: &'static str,
    /// Where in the region, in bytes from its start.
    pub at: u64,
    /// What was found there.
    pub found: u64,
    /// The table it belongs to; `None` if that is none, or not known.
    pub table: Option<Box<str>>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {:#x} holds {:#x}", self.what, self.at, self.found)?;
        match &self.table {
            Some(table) => write!(f, ", in table {table}"),
            None => Ok(()),
        }
    }
}

/// What a verification found. Sound if nothing is wrong, leaked or dangling.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// The heap's own figures; of what could be read, if there are faults.
    pub heap: HeapStats,
    /// Blocks that tables refer to.
    pub reachable: u64,
    /// Blocks in use that nothing refers to: offsets. Not looked for if there are faults: what refers to them may be what is
    /// damaged.
    pub leaked: Vec<u64>,
    /// References to blocks that are not in use, or are referred to twice: offsets.
    pub dangling: Vec<u64>,
    /// What contradicts itself, in the order in which it was found: header, heap, catalog, tables. The first [`MAX_FAULTS`].
    pub faults: Vec<Fault>,
}

impl Verification {
    /// Whether everything agrees.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.leaked.is_empty() && self.dangling.is_empty() && self.faults.is_empty()
    }

    /// The first thing that is wrong, as an error.
    ///
    /// # Errors
    /// [`Error::Damaged`] if not everything agrees.
    pub fn into_sound(self) -> Result<Self> {
        let block = || self.leaked.first().or(self.dangling.first());
        match (self.faults.first(), block()) {
            (Some(fault), _) => Err(Error::damaged(fault.what, fault.at, fault.found)),
            (None, Some(at)) => Err(Error::damaged("block", *at, self.reachable)),
            (None, None) => Ok(self),
        }
    }

    fn add(&mut self, fault: Error, table: Option<&str>) -> Result<()> {
        let Error::Damaged { what, at, found } = fault else {
            return Err(fault);
        };
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(Fault {
                what,
                at,
                found,
                table: table.map(Into::into),
            });
        }
        Ok(())
    }
}

/// Checks all metadata of a region: header, heap, catalog, indexes, and that every block in use is referred to exactly once; and
/// the records of tables with checksums. Damage is no error: it is what is [found](Verification::faults).
///
/// It looks at every index entry and the header and key of every record, one after the other, some two microseconds each, and keeps 17 bytes of each meanwhile: eight
/// seconds and 70 MiB for four million records. The pass is held all the while, so nothing is written; [`Observer::validate`](crate::Observer::validate) looks at
/// the records on all cores while the owner writes. For figures alone [`View::heap_stats`](crate::View::heap_stats) takes a hundredth of a second.
///
/// # Errors
/// None that damage could cause.
pub fn verify(reader: &Reader<'_>) -> Result<Verification> {
    check(reader)
}

pub(crate) fn check(view: &View) -> Result<Verification> {
    let layout = Layout::of(view.capacity())?;
    let mut found = Verification::default();
    check_header(view, &layout, &mut |fault| found.add(fault, None))?;
    let mut blocks = Vec::new();
    let note = |block: heap::Block, _| blocks.push(block.offset);
    match heap::walk(view, &layout, note, &mut |fault| found.add(fault, None)) {
        Ok(stats) => found.heap = stats,
        Err(fault) => found.add(fault, None)?,
    }
    // The walk gives them in order, but what is damaged may come twice.
    blocks.sort_unstable();
    blocks.dedup();
    let mut referred = vec![false; blocks.len()];
    let mut references = Vec::new();
    let mut moves = 0;
    for index in 0..ROWS {
        let row = match catalog::any_row(view, index) {
            Ok(Some(row)) if row.state != State::Live => {
                // A table that is being dropped: the heads of its lists are left.
                match Owner::of_row(row.offset).heads(view) {
                    Ok(heads) => references.extend(heads),
                    Err(fault) => found.add(fault, None)?,
                }
                continue;
            }
            Ok(None) => continue,
            Ok(Some(row)) => row,
            Err(fault) => {
                found.add(fault, None)?;
                continue;
            }
        };
        moves += u64::from(moving::is_move(&row));
        let mut report = |fault| found.add(fault, Some(&row.name));
        if let Err(fault) = catalog::check_identity(view, &row) {
            report(fault)?;
        }
        if let Err(fault) = check_table(view, &layout, &row, &mut references, &mut report) {
            report(fault)?;
        }
    }
    if view.header(at::MOVES) != moves {
        found.add(
            Error::damaged("number of moves", at::MOVES, view.header(at::MOVES)),
            None,
        )?;
    }
    found.reachable = references.len() as u64;
    for reference in references {
        // Records are referred to by their headers, at their blocks' ends; everything else by its block's start.
        let block = heap::block_of(view, &layout, reference).ok();
        match block.and_then(|block| blocks.binary_search(&block.offset).ok()) {
            Some(i) if !referred[i] => referred[i] = true,
            _ if found.dangling.len() < MAX_FAULTS => found.dangling.push(reference),
            _ => {}
        }
    }
    if found.faults.is_empty() {
        let leaked = blocks.into_iter().zip(referred).filter(|(_, referred)| !referred);
        found.leaked = leaked.map(|(offset, _)| offset).take(MAX_FAULTS).collect();
    }
    Ok(found)
}

fn check_table(
    view: &View,
    layout: &Layout,
    row: &Row,
    references: &mut Vec<u64>,
    report: &mut Report<'_>,
) -> Result<()> {
    // A damaged list may name a block again and again; no more than this can be.
    let most = view.capacity() / heap::classes::LEAST;
    let mut note = |at| {
        if (references.len() as u64) <= most {
            references.push(at);
        }
    };
    note(row.description.0);
    if let Some(heads) = Owner::of_row(row.offset).heads(view)? {
        note(heads);
    }
    if let Err(fault) = catalog::checked_description(view, row) {
        report(fault)?;
    }
    let (owner, mut misplaced, mut versions) = (Owner::of_row(row.offset), None, Versions::default());
    let each = |held: Held| {
        note(held.at());
        if let Held::Record(header) = held {
            versions.note(view, header);
        }
        if misplaced.is_none() {
            misplaced = heap::check_held(view, owner, held).err();
        }
    };
    match Kind::from_number(row.kind) {
        Some(Kind::Map) => map::check(view, layout, row.offset, note, report),
        Some(Kind::OrderedMap) => ordered::check(view, layout, row.offset, each),
        Some(Kind::Cell) => {
            let (header, _) = cell::roots(view, row.offset)?;
            note(header);
            versions.note(view, header);
            Ok(())
        }
        Some(Kind::Slab) => slab::blocks(view, row.offset, each),
        Some(Kind::Queue) => queue::blocks(view, row.offset, each),
        Some(Kind::Timers) => timers::blocks(view, row.offset, each),
        Some(Kind::Streams) => streams::blocks(view, row.offset, note),
        None => Err(Error::damaged("kind of a table", row.offset, row.kind.into())),
    }?;
    // A map's walk has done so.
    if row.kind != Kind::Map as u16 {
        mixed::check(view, row.offset, &versions, report)?;
    }
    misplaced.map_or(Ok(()), report)
}
