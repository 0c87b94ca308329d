//! Tables whose records move to other tables: what this process knows of them.
//!
//! - **F1** A move is entered here when it is opened. Whatever looks at a target as a whole, or for a key that it does not have, or is about to
//!   change something there, asks here; [`Mixed::has`](super::mixed::Mixed::has) says by one word whether it has to.
//! - **F2** Before the first transaction under an ownership every move is *settled* in a transaction of its own; nothing is read under that
//!   ownership before, unless they were settled by this process and are so still. Who finds moves in the region that it does not know says so there too.
//!
//! It does not know types, keys, or what becomes of a record.

use crate::error::{Error, Result};
use crate::region::view::View;
use crate::tx::Tx;
use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// A table whose records move to others.
pub(crate) trait Mover: Send + Sync {
    /// The table that it empties.
    fn source(&self) -> &str;

    /// Whether it fills the table of that name.
    fn may_fill(&self, table: &str) -> bool;

    /// Rows of the tables that it fills, as far as there are any.
    fn targets(&self) -> Vec<u64>;

    /// Makes the catalog say what this process does (F2). A way back that it has no use for stays open until all moves are settled.
    fn settle(&self, tx: &mut Tx<'_>) -> Result<()>;

    /// Whether what this process knows of it is so still: nobody who does not know the move has worked since.
    fn is_settled(&self, view: &View) -> Result<bool>;

    /// Whether this process knows the way back.
    fn can_go_back(&self) -> bool;

    /// Closes the way back if this process has no use for it.
    fn close_unwanted(&self, tx: &mut Tx<'_>) -> Result<()>;

    /// Both were committed.
    fn was_settled(&self);

    /// Something is about to change in a target under that key: what is still in the source for it moves first. `me` is this move's number.
    fn before(&self, tx: &mut Tx<'_>, me: usize, target: u64, key: &[u8]) -> Result<()>;

    /// What would stand in a target under a key if it had moved: a value of the target's type.
    fn pending(&self, view: &View, target: u64, key: &[u8]) -> Result<Option<Box<dyn Any>>>;

    /// Something was changed in the targets of what became of the source's record of that key: the source follows, if there is a way back.
    fn mirror(&self, tx: &mut Tx<'_>, key: &[u8]) -> Result<()>;

    /// How many records are still to move.
    fn left(&self, view: &View) -> Result<u64>;

    fn close_way_back(&self, tx: &mut Tx<'_>) -> Result<()>;

    /// That was committed.
    fn way_back_is_closed(&self);

    /// Whether the version before could go on with the source.
    fn has_way_back(&self) -> bool;
}

/// See the module's header.
#[derive(Default)]
pub(crate) struct Moves {
    active: AtomicBool,
    all: RwLock<Vec<Arc<dyn Mover>>>,
}

impl fmt::Debug for Moves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Moves")
            .field("active", &self.active)
            .finish_non_exhaustive()
    }
}

impl Moves {
    /// Whether there is any.
    #[inline]
    pub(crate) fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed)
    }

    /// Enters a move, in place of another one of the same source.
    pub(crate) fn enter(&self, mover: Arc<dyn Mover>) {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        match all.iter_mut().find(|known| known.source() == mover.source()) {
            Some(known) => *known = mover,
            None => all.push(mover),
        }
        self.active.store(true, Ordering::Relaxed);
    }

    /// All moves; the number of one is its place.
    pub(crate) fn all(&self) -> Vec<Arc<dyn Mover>> {
        if !self.is_active() {
            return Vec::new();
        }
        self.all.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a reader finds what there is (F2).
    pub(crate) fn are_settled(&self, view: &View) -> Result<bool> {
        for mover in self.all() {
            if !mover.is_settled(view)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether there is a way back from all that becomes of a move's records, also where they move on: moves do not go in a circle.
    pub(crate) fn all_go_back(&self, mover: &dyn Mover) -> bool {
        let all = self.all();
        mover.can_go_back()
            && all
                .iter()
                .filter(|next| next.source() != mover.source() && mover.may_fill(next.source()))
                .all(|next| self.all_go_back(&**next))
    }

    /// Those that fill the table whose row is given, with their numbers.
    pub(crate) fn into(&self, target: u64) -> impl Iterator<Item = (usize, Arc<dyn Mover>)> + use<> {
        let all = self.all().into_iter().enumerate();
        all.filter(move |(_, mover)| mover.targets().contains(&target))
    }

    /// Refuses to let a table be looked at as a whole that some records have not come to yet.
    #[cold]
    pub(crate) fn check_whole(&self, view: &View, target: u64, table: impl FnOnce() -> String) -> Result<()> {
        for (_, mover) in self.into(target) {
            let left = mover.left(view)?;
            if left > 0 {
                return Err(Error::StillMoving {
                    table: table().into(),
                    source_table: mover.source().into(),
                    left,
                });
            }
        }
        Ok(())
    }
}
