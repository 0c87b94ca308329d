//! Looks at a region from outside, read-only and without any right to it: for tools.
//!
//! Nothing is trusted and nothing is changed. The owner may be at work meanwhile, so numbers that belong together may
//! differ by what it did between two reads.

use crate::error::{Error, Result};
use crate::lease::Lease;
use crate::os::shm;
use crate::region::header::{Activity, FormatVersion, at};
use crate::region::{Region, View, read_birth};
use crate::table::catalog::{self, Kind};
use crate::table::{cell, map, ordered};

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
    /// Address space in bytes.
    pub capacity: u64,
    /// Bytes taken from the mount.
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
    /// Looks at the region `name`.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotReady`], [`Error::NotARegion`], [`Error::Damaged`], [`Error::Io`].
    pub fn of(name: &str) -> Result<Self> {
        // Mapping needs a writable descriptor because a region's memory is always shared for writing; nothing writes here.
        let fd = shm::open(name, true)?;
        let held = shm::is_held(&fd, name)?;
        let birth = read_birth(&fd, name)?;
        let region = Region::options().prefault(false).attach(name, fd)?;
        let view = &region.view;
        Ok(Self {
            name: name.into(),
            format: FormatVersion::V1,
            id: birth.region_id,
            node_id: birth.node_id,
            capacity: birth.layout.capacity,
            taken: view.header(at::TAKEN),
            heap: view.header(at::HEAP_END).saturating_sub(birth.layout.heap),
            made_at: birth.made_at,
            this_boot: birth.boot_id == crate::os::clock::boot_id(),
            held,
            activity: Activity::from_word(view.header(at::ACTIVITY)),
            log: view.header(at::LOG_LENGTH),
            log_capacity: region.log.capacity(),
            commits: view.header(at::COMMITS),
            rollbacks: view.header(at::ROLLBACKS),
            recoveries: view.header(at::RECOVERIES),
            entries_undone: view.header(at::ENTRIES_UNDONE),
            growth_steps: view.header(at::SMALL_STEPS),
            lease: Lease::from_word(view.header(at::LEASE)),
            tables: tables(view)?,
        })
    }
}

fn tables(view: &View) -> Result<Vec<TableInfo>> {
    let mut tables = Vec::new();
    for row in catalog::rows(view)? {
        let kind = Kind::from_number(row.kind);
        let (records, archived_bytes) = match kind {
            Some(Kind::Map) => map::counts(view, row.offset)?,
            Some(Kind::OrderedMap) => ordered::counts(view, row.offset)?,
            Some(Kind::Cell) => (1, cell::roots(view, row.offset)?.1),
            Some(Kind::Streams) => (crate::table::streams::open(view, row.offset)?, 0),
            None => (0, 0),
        };
        tables.push(TableInfo {
            description: catalog::description(view, &row)?,
            name: row.name,
            kind,
            version: row.version,
            fingerprint: row.value,
            records,
            archived_bytes,
        });
    }
    Ok(tables)
}

impl From<Error> for std::io::Error {
    fn from(e: Error) -> Self {
        Self::other(e)
    }
}
