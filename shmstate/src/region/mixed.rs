//! Tables with records of more than one shape: what this process knows of them, and the records that it has converted for reading.
//!
//! - **B1** A table is entered here by its handle's `open`, which compared all shapes that the table holds (A1 of `archive`). What stands
//!   here is looked up only where a record turns out to have another version than the handle's type, or where something is changed in a
//!   table that is entered ([`Mixed::has`]): all others pay nothing but a look at that word.
//! - **B2** Before the first transaction under an ownership every entry is *settled* in a transaction of its own: the catalog says then
//!   what this process writes.
//! - **B3** What was converted for reading stays until the region is borrowed mutably, for no reference to it can be alive then.
//!
//! It does not know shapes, tables or how anything is converted.

use crate::error::{Error, Result};
use crate::region::header::{HEADER, ROW, ROWS};
use crate::region::view::View;
use crate::table::mixed::At;
use crate::tx::Tx;
use rkyv::util::AlignedVec;
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// So many converted records are kept from one transaction to the next.
const MOST_CONVERTED: usize = 4096;

/// A table that may hold records of several shapes.
pub(crate) trait Bridge: Any + Send + Sync {
    /// Its name.
    fn table(&self) -> &str;

    /// Whether the table that it was entered for is still in its row.
    fn is_of(&self, view: &View) -> bool;

    /// Makes the catalog say what this process writes (B2).
    fn settle(&self, tx: &mut Tx<'_>) -> Result<()>;

    /// Writes the older shape's twin of a record, if it still is one; `word` is what its header was when nothing was changed yet, 0 for a
    /// record that has no twin.
    fn write_twin(&self, tx: &mut Tx<'_>, at: At, word: u64) -> Result<()>;

    /// Makes the catalog say that nothing is kept for an older shape any more.
    fn close_way_back(&self, tx: &mut Tx<'_>) -> Result<()>;

    /// That was committed.
    fn way_back_is_closed(&self);

    /// Whether something is kept for an older shape.
    fn has_way_back(&self) -> bool;
}

/// The bit of a row of the catalog.
#[inline(always)]
const fn bit(row: u64) -> u64 {
    const { assert!(ROWS == 64) };
    1 << (row.wrapping_sub(HEADER) / ROW % ROWS)
}

/// A record that was converted: its archive, and where the root is.
type Converted = (AlignedVec<16>, usize);

/// See the module's header.
#[derive(Default)]
pub(crate) struct Mixed {
    /// A bit for each row of the catalog whose table is entered.
    rows: AtomicU64,
    /// A bit for each row whose table is the target of a move (`moves`): what changes there needs a look too, and is told by the same word.
    targets: AtomicU64,
    unsettled: AtomicBool,
    tables: RwLock<Vec<(u64, Arc<dyn Bridge>)>>,
    /// By type, and by row, header and the header's word, which changes with the record.
    converted: Mutex<HashMap<(TypeId, [u64; 3]), Converted>>,
}

impl fmt::Debug for Mixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mixed")
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

impl Mixed {
    /// Whether any table of this process may hold records of several shapes.
    pub(crate) fn is_active(&self) -> bool {
        self.rows.load(Ordering::Relaxed) != 0
    }

    /// Whether the table whose row is given may.
    #[inline(always)]
    pub(crate) fn has(&self, row: u64) -> bool {
        self.rows.load(Ordering::Relaxed) & bit(row) != 0
    }

    /// Whether the table whose row is given is entered, whatever its type.
    pub(crate) fn is_entered(&self, row: u64, view: &View) -> bool {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        tables.iter().any(|(known, bridge)| *known == row && bridge.is_of(view))
    }

    /// Whether the table whose row is given is the target of a move.
    pub(crate) fn is_target(&self, row: u64) -> bool {
        self.targets.load(Ordering::Relaxed) & bit(row) != 0
    }

    /// These tables are the targets of moves, all others are not.
    pub(crate) fn set_targets(&self, rows: impl Iterator<Item = u64>) {
        let tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        self.targets
            .store(rows.fold(0, |all, row| all | bit(row)), Ordering::Relaxed);
        self.note(&tables);
    }

    fn note(&self, tables: &[(u64, Arc<dyn Bridge>)]) {
        let targets = self.targets.load(Ordering::Relaxed);
        let bits = tables.iter().fold(targets, |all, (row, _)| all | bit(*row));
        self.rows.store(bits, Ordering::Relaxed);
    }

    /// Enters the table whose row is given; what was known of it before, in this row or another, is forgotten.
    pub(crate) fn enter(&self, row: u64, bridge: Arc<dyn Bridge>) {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        tables.retain(|(known, before)| *known != row && before.table() != bridge.table());
        tables.push((row, bridge));
        self.note(&tables);
        self.unsettled.store(true, Ordering::Relaxed);
    }

    /// The table is known to hold records of one shape.
    pub(crate) fn leave(&self, row: u64) {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        tables.retain(|(known, _)| *known != row);
        self.note(&tables);
    }

    /// What is known of the table whose row is given, if it is a `B`.
    pub(crate) fn bridge<B: Bridge>(&self, row: u64) -> Option<Arc<B>> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        let (_, bridge) = tables.iter().find(|(known, _)| *known == row)?;
        let bridge: Arc<dyn Any + Send + Sync> = Arc::<dyn Bridge>::clone(bridge);
        bridge.downcast().ok()
    }

    /// All tables with their rows.
    pub(crate) fn all(&self) -> Vec<(u64, Arc<dyn Bridge>)> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another process may have written: what the catalog says is looked at again (B2).
    pub(crate) fn unsettle(&self) {
        self.unsettled.store(self.is_active(), Ordering::Relaxed);
    }

    pub(crate) fn is_unsettled(&self) -> bool {
        self.unsettled.load(Ordering::Relaxed)
    }

    pub(crate) fn settled(&self) {
        self.unsettled.store(false, Ordering::Relaxed);
    }

    /// Forgets what was converted for reading (B3).
    pub(crate) fn forget(&mut self) {
        self.converted.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The same once it is much.
    pub(crate) fn tidy(&mut self) {
        let converted = self.converted.get_mut().unwrap_or_else(PoisonError::into_inner);
        if converted.len() > MOST_CONVERTED {
            converted.clear();
        }
    }

    /// The root of a record that was converted, perhaps just now by `convert`. It stays where it is until `forget` (B3).
    pub(crate) fn converted(
        &self,
        key: (TypeId, [u64; 3]),
        convert: impl FnOnce() -> Result<Converted>,
    ) -> Result<NonNull<u8>> {
        let known = || self.converted.lock().unwrap_or_else(PoisonError::into_inner);
        let root = |(bytes, root): &Converted| bytes.get(*root..).map(|bytes| NonNull::from(bytes).cast::<u8>());
        let damaged = || Error::damaged("converted record", key.1[1], key.1[2]);
        if let Some(converted) = known().get(&key) {
            return root(converted).ok_or_else(damaged);
        }
        // Without the lock: it calls the program's code, which may panic, and may read other records.
        let converted = convert()?;
        root(known().entry(key).or_insert(converted)).ok_or_else(damaged)
    }
}
