//! Looks at a region from outside, read-only and without any right to it: for tools.
//!
//! Nothing is trusted and nothing is changed. The owner may be at work meanwhile, so numbers that belong together may
//! differ by what it did between two reads.

use crate::error::{Error, Result};
use crate::lease::Lease;
use crate::os::shm::{self, Place};
use crate::region::header::{Activity, FormatVersion, ROWS, at};
use crate::region::{MemoryInfo, Region, View, check_name, read_birth};
use crate::table::catalog::{self, Kind};
use crate::table::{cell, map, ordered, queue, slab, timers};
use crate::tx::undo;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{Ordering, fence};

/// What a region's header, log and catalog say.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Its name.
    pub name: String,
    /// Format of the bytes.
    pub format: FormatVersion,
    /// The number that no other region has.
    pub id: [u64; 2],
    /// The node it belongs to; zero if it is used alone.
    pub node_id: [u64; 2],
    /// What it may hold now, in bytes.
    pub capacity: u64,
    /// End of the memory taken from the mount for it, in bytes from its start.
    pub taken: u64,
    /// Bytes of the heap in use by chunks.
    pub heap: u64,
    /// When it was made, in ns since 1970.
    pub made_at: u64,
    /// Whether it was made in this boot.
    pub this_boot: bool,
    /// Whether a living process holds it.
    pub held: bool,
    /// What its owner is doing, or was when it died.
    pub activity: Activity,
    /// Bytes in the undo log: what recovery will take back if the owner is dead.
    pub log: u64,
    /// Bytes of all log extents.
    pub log_capacity: u64,
    /// Transactions committed.
    pub commits: u64,
    /// Transactions rolled back.
    pub rollbacks: u64,
    /// Recoveries after a killed owner.
    pub recoveries: u64,
    /// Undo entries that they took back.
    pub entries_undone: u64,
    /// How often a writer had to take memory itself.
    pub growth_steps: u64,
    /// Where its memory comes from, and how much of it lies on large pages.
    pub memory: MemoryInfo,
    /// The lease word of a region with its own lease.
    pub lease: Option<Lease>,
    /// Its tables.
    pub tables: Vec<TableInfo>,
}

/// What the catalog says of a table.
#[derive(Clone, Debug)]
pub struct TableInfo {
    /// Its name.
    pub name: String,
    /// What it is; `None` if a later version of the library made it.
    pub kind: Option<Kind>,
    /// Declared version of its schema.
    pub version: u16,
    /// Fingerprint of its records' shape.
    pub fingerprint: u128,
    /// Records.
    pub records: u64,
    /// Bytes of their archives.
    pub archived_bytes: u64,
    /// Shape of keys and records, as text.
    pub description: String,
}

impl Inspection {
    /// Looks at the region `name` in /dev/shm.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotReady`], [`Error::NotARegion`], [`Error::Damaged`], [`Error::Io`].
    pub fn of(name: &str) -> Result<Self> {
        Self::of_descriptor(name, Place::Shm.open(name, false)?)
    }

    /// What the owner of the region `name` in /dev/shm is doing, or was when it died. Reads the header only, so it can be asked
    /// again and again.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotReady`], [`Error::NotARegion`], [`Error::Io`].
    pub fn activity(name: &str) -> Result<Activity> {
        let fd = Place::Shm.open(name, false)?;
        read_birth(&fd, name)?;
        let read = |at: u64| {
            let mut word = [0; 8];
            rustix::io::pread(&fd, &mut word, at).map_err(|e| Error::io("read header of", name, e))?;
            Ok(u64::from_le_bytes(word))
        };
        Ok(activity(read(at::ACTIVITY)?, read(at::LOG_LENGTH)?))
    }

    /// Looks at the region `name` in a directory of the user's choice.
    ///
    /// # Errors
    /// Those of [`of`](Self::of), [`Error::BadName`] and [`Error::NotMemory`].
    pub fn in_directory(directory: impl Into<PathBuf>, name: &str) -> Result<Self> {
        let place = Place::Directory(directory.into());
        Self::of_descriptor(name, place.open(check_name(name)?, false)?)
    }

    /// Looks at a region by a descriptor, which need not be writable: the only way to one without a name. `held` only tells of
    /// other open files: an owner from whom the descriptor was duplicated does not show.
    ///
    /// # Errors
    /// Those of [`of`](Self::of), except `NotFound`.
    pub fn of_descriptor(name: &str, descriptor: OwnedFd) -> Result<Self> {
        let held = shm::is_held(&descriptor, name)?;
        let birth = read_birth(&descriptor, name)?;
        let region = Region::look(name, descriptor)?;
        let view = &region.view;
        Ok(Self {
            name: name.into(),
            format: FormatVersion::V1,
            id: birth.region_id,
            node_id: birth.node_id,
            capacity: region.capacity(),
            taken: view.header(at::TAKEN),
            heap: view.header(at::HEAP_END).saturating_sub(birth.layout.heap),
            made_at: birth.made_at,
            this_boot: birth.boot_id == crate::os::clock::boot_id(),
            held,
            activity: activity(view.header(at::ACTIVITY), view.header(at::LOG_LENGTH)),
            log: undo::unseal(view.header(at::LOG_LENGTH)).unwrap_or(0),
            log_capacity: region.log.capacity(),
            commits: view.header(at::COMMITS),
            rollbacks: view.header(at::ROLLBACKS),
            recoveries: view.header(at::RECOVERIES),
            entries_undone: view.header(at::ENTRIES_UNDONE),
            growth_steps: view.header(at::SMALL_STEPS),
            memory: region.figures()?,
            lease: Lease::from_word(view.header(at::LEASE)),
            tables: tables(view)?,
        })
    }
}

/// An owner marks what it does only where that takes longer; a log says that a transaction is open.
fn activity(word: u64, log: u64) -> Activity {
    match Activity::from_word(word) {
        Activity::Idle if log != 0 => Activity::Transaction,
        activity => activity,
    }
}

/// All tables. One that an open transaction is changing, or that a dead owner's was, may contradict itself until the log is taken
/// back: it is left out then, and is no damage.
pub(crate) fn tables(view: &View) -> Result<Vec<TableInfo>> {
    let state = || {
        (
            view.header_word(at::LOG_LENGTH).load(Ordering::Acquire),
            view.header(at::COMMITS),
        )
    };
    let before = state();
    let mut tables = Vec::new();
    for index in 0..ROWS {
        match table(view, index) {
            Ok(found) => tables.extend(found),
            Err(fault @ Error::Damaged { .. }) => {
                // INSPECT pair: no transaction was open before or after, and none was committed between: it is damage.
                fence(Ordering::Acquire);
                if before.0 == 0 && state() == before {
                    return Err(fault);
                }
            }
            Err(e) => return Err(e),
        }
    }
    Ok(tables)
}

fn table(view: &View, index: u64) -> Result<Option<TableInfo>> {
    let Some(row) = catalog::row(view, index)? else {
        return Ok(None);
    };
    let kind = Kind::from_number(row.kind);
    let (records, archived_bytes) = match kind {
        Some(Kind::Map) => map::counts(view, row.offset)?,
        Some(Kind::OrderedMap) => ordered::counts(view, row.offset)?,
        Some(Kind::Cell) => (1, cell::roots(view, row.offset)?.1),
        Some(Kind::Slab) => slab::counts(view, row.offset)?,
        Some(Kind::Queue) => queue::counts(view, row.offset)?,
        Some(Kind::Timers) => timers::counts(view, row.offset)?,
        Some(Kind::Streams) => (crate::table::streams::open(view, row.offset)?, 0),
        None => (0, 0),
    };
    Ok(Some(TableInfo {
        description: catalog::description(view, &row)?,
        name: row.name,
        kind,
        version: row.version,
        fingerprint: row.value,
        records,
        archived_bytes,
    }))
}

impl From<Error> for std::io::Error {
    fn from(e: Error) -> Self {
        Self::other(e)
    }
}
