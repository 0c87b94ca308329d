//! Walks a whole region and compares what the heap says is in use with what the tables refer to.

use crate::error::{Error, Result};
use crate::heap::{self, HeapStats, Owner};
use crate::region::header::{Layout, at};
use crate::region::{Reader, View};
use crate::table::catalog::{self, Kind};
use crate::table::{cell, map, ordered, queue, slab, streams, timers};
use std::collections::BTreeSet;

/// What a verification found. Sound if nothing is leaked or dangling.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// The heap's own figures.
    pub heap: HeapStats,
    /// Blocks that tables refer to.
    pub reachable: u64,
    /// Blocks in use that nothing refers to: offsets.
    pub leaked: Vec<u64>,
    /// References to blocks that are not in use, or are referred to twice: offsets.
    pub dangling: Vec<u64>,
}

impl Verification {
    /// Whether heap and tables agree.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.leaked.is_empty() && self.dangling.is_empty()
    }
}

/// Checks all metadata of a region: heap, catalog, indexes, and that every block in use is referred to exactly once.
///
/// # Errors
/// [`Error::Damaged`], with the place, if a structure contradicts itself.
pub fn verify(reader: &Reader<'_>) -> Result<Verification> {
    check(reader)
}

pub(crate) fn check(view: &View) -> Result<Verification> {
    let layout = Layout::of(view.capacity())?;
    let mut blocks = BTreeSet::new();
    let heap = heap::walk(view, &layout, |block, _| {
        blocks.insert(block.offset);
    })?;
    let mut found = Verification {
        heap,
        ..Verification::default()
    };
    let mut references = Vec::new();
    for row in catalog::rows(view)? {
        references.push(row.description.0);
        references.extend(Owner::of_row(row.offset).heads(view)?);
        match Kind::from_number(row.kind) {
            Some(Kind::Map) => map::check(view, &layout, row.offset, |at| references.push(at))?,
            Some(Kind::OrderedMap) => ordered::check(view, &layout, row.offset, |at| references.push(at))?,
            Some(Kind::Cell) => references.push(cell::roots(view, row.offset)?.0),
            Some(Kind::Slab) => slab::blocks(view, row.offset, |at| references.push(at))?,
            Some(Kind::Queue) => queue::blocks(view, row.offset, |at| references.push(at))?,
            Some(Kind::Timers) => timers::blocks(view, row.offset, |at| references.push(at))?,
            Some(Kind::Streams) => streams::blocks(view, row.offset, |at| references.push(at))?,
            None => return Err(Error::damaged("kind of a table", row.offset, row.kind.into())),
        }
    }
    found.reachable = references.len() as u64;
    for reference in references {
        // Records are referred to by their headers, at their blocks' ends; everything else by its block's start.
        let block = heap::block_of(view, &layout, reference).map(|block| block.offset);
        match block {
            Ok(offset) if blocks.remove(&offset) => {}
            _ => found.dangling.push(reference),
        }
    }
    found.leaked = blocks.into_iter().collect();
    if view.header(at::LOG_LENGTH) != 0 {
        return Err(Error::damaged("undo log", at::LOG_LENGTH, view.header(at::LOG_LENGTH)));
    }
    Ok(found)
}
