//! Parts of a transaction that are taken back while it goes on, and the ids that are lost with what is taken back.
//!
//! - **W13** What a savepoint takes back leaves nothing: in the middle of transactions parts of every kind fail on purpose, before and
//!   after parts that stay, and within each other. All the other rules hold as if they had never been.
//! - **W14** An id that was given by a change which was taken back, by a savepoint or a rollback, is not given again.

use super::work::{Change, Kind};
use shmstate::{Error, Result, SlabId};
use std::collections::VecDeque;

/// One transaction in so many has such parts.
const PARTS: u32 = 5;
/// How deep they lie within each other.
const DEPTH: u32 = 3;
/// Lost ids that are remembered.
const REMEMBERED: usize = 64;

/// Why a part is taken back.
enum Back {
    /// It was meant to be.
    Planned,
    /// The library refused something.
    Refused(Error),
}

/// Ids of things: those that the open transaction gave, and those that were lost.
#[derive(Debug, Default)]
pub(super) struct Ids {
    given: Vec<SlabId>,
    lost: VecDeque<SlabId>,
    /// The first that was given again (W14).
    again: Option<SlabId>,
}

impl Ids {
    /// The slab gave this one.
    pub(super) fn give(&mut self, id: SlabId) {
        if self.lost.contains(&id) {
            self.again.get_or_insert(id);
        }
        self.given.push(id);
    }

    /// What the open transaction gave from its `from`-th on is taken back.
    pub(super) fn lose(&mut self, from: usize) {
        self.lost.extend(self.given.drain(from.min(self.given.len())..));
        let over = self.lost.len().saturating_sub(REMEMBERED);
        self.lost.drain(..over);
    }

    /// The open transaction was committed.
    pub(super) fn keep(&mut self) {
        self.given.clear();
    }

    /// What of W14 does not hold.
    pub(super) fn fault(&self) -> Option<String> {
        self.again.map(|id| format!("{id:?} was given again"))
    }
}

impl Change<'_, '_, '_> {
    /// Perhaps a few parts, some of which are taken back.
    pub(super) fn parts(&mut self, kind: Kind) -> Result<()> {
        if self.random.u32(..PARTS) == 0 {
            for _ in 0..self.random.u32(1..3) {
                self.part(kind, DEPTH)?;
            }
        }
        Ok(())
    }

    fn part(&mut self, kind: Kind, depth: u32) -> Result<()> {
        let Self {
            tables,
            vaults,
            clock,
            books,
            ..
        } = *self;
        let (random, ids) = (&mut *self.random, &mut *self.ids);
        let given = ids.given.len();
        let done = self.tx.savepoint(|tx| {
            let mut part = Change {
                vaults,
                tx,
                tables,
                clock,
                books,
                random: &mut *random,
                ids: &mut *ids,
            };
            part.body(kind).map_err(Back::Refused)?;
            if depth > 1 && part.random.bool() {
                part.part(kind, depth - 1).map_err(Back::Refused)?;
                part.body(Kind::Mixed).map_err(Back::Refused)?;
            }
            match part.random.u8(..3) {
                0 => Ok((part.clock, part.books)),
                _ => Err(Back::Planned),
            }
        });
        match done {
            Ok((clock, books)) => (self.clock, self.books) = (clock, books),
            Err(Back::Planned) => self.ids.lose(given),
            Err(Back::Refused(e)) => return Err(e),
        }
        Ok(())
    }
}
