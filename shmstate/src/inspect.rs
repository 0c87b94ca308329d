//! What an observer says of a region as a whole: for tools.
//!
//! Nothing is trusted and nothing is changed. The owner may be at work meanwhile, so numbers of the header that belong together
//! may differ by what it did between two reads; the tables are of one moment.

use crate::error::{Error, Result, refuse};
use crate::heap::{self, HeapStats, Owner};
use crate::lease::Lease;
use crate::observe::{self, Observer};
use crate::os::shm::Place;
use crate::region::header::{Activity, FIRST_LOG, FormatVersion, LOG_TABLE_ROWS, Layout, at};
use crate::region::{MemoryInfo, View, check_name, read_birth};
use crate::table::catalog::{self, Kind, Row};
use crate::table::mixed::{self, Companion};
use crate::table::{cell, map, moving, ordered, queue, slab, timers};
use crate::tx::undo;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

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
    /// Bytes of the heap in use by chunks, without those that were given back to the mount.
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
    /// The place of its row in the catalog: where [`HeapStats::owned`](crate::HeapStats::owned) has what it keeps.
    pub row: usize,
    /// What it is; `None` if a later version of the library made it.
    pub kind: Option<Kind>,
    /// Declared version of its schema.
    pub version: u16,
    /// Fingerprint of its records' shape.
    pub fingerprint: u128,
    /// Records.
    pub records: u64,
    /// Those of them that still have an older shape.
    pub older: u64,
    /// Bytes of their archives.
    pub archived_bytes: u64,
    /// Whether its records carry checksums.
    pub checksums: bool,
    /// Shape of keys and records, as text.
    pub description: String,
    /// The other shapes that its records have, or had, as the catalog knows them.
    pub shapes: Vec<ShapeInfo>,
    /// The move of its records to other tables, while it is not over.
    pub moving: Option<MoveInfo>,
    /// Whether its records have moved for good: only the move itself opens it.
    pub moved: bool,
    /// How many moves that are not over bring records here.
    pub incoming: u64,
}

/// How far a move of a table's records to others has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoveInfo {
    /// Records that have not moved yet.
    pub left: u64,
    /// Whether the table follows what becomes of its records, so that a program before can go on with it.
    pub way_back: bool,
    /// Whether a program that does not know the move has worked since: it begins anew.
    pub outdated: bool,
}

/// A shape of a table's records beside the one that its owner writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeInfo {
    /// Declared version of its schema.
    pub version: u16,
    /// Fingerprint of the shape.
    pub fingerprint: u128,
    /// Records that have it.
    pub records: u64,
    /// Whether a program that knows only this shape could go on with the table: a way back is open to it.
    pub way_back: bool,
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
        Observer::attach(name, descriptor)?.inspect()
    }
}

impl Observer {
    /// What header, log and catalog say. The tables are those that are committed, unless the owner is in a transaction that is too
    /// long to look through, or commits too often: then they are as they stand.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Io`].
    pub fn inspect(&self) -> Result<Inspection> {
        let (memory, birth) = (self.memory(), self.birth());
        let tables = match observe::committed(self) {
            Err(Error::Retry { .. }) => observe::live(self),
            tables => tables,
        }?;
        Ok(Inspection {
            name: self.name().into(),
            format: FormatVersion::V1,
            id: birth.region_id,
            node_id: birth.node_id,
            capacity: memory.size(at::LIMIT),
            taken: memory.size(at::TAKEN),
            heap: memory
                .size(at::HEAP_END)
                .saturating_sub(birth.layout.heap)
                .saturating_sub(memory.header(at::HOLES)),
            made_at: birth.made_at,
            this_boot: birth.boot_id == crate::os::clock::boot_id(),
            held: self.is_held()?,
            activity: activity(memory.header(at::ACTIVITY), memory.header(at::LOG_LENGTH)),
            log: undo::unseal(memory.header(at::LOG_LENGTH)).unwrap_or(0),
            log_capacity: log_capacity(memory.header(at::LOG_EXTENTS)),
            commits: memory.header(at::COMMITS),
            rollbacks: memory.header(at::ROLLBACKS),
            recoveries: memory.header(at::RECOVERIES),
            entries_undone: memory.header(at::ENTRIES_UNDONE),
            growth_steps: memory.header(at::SMALL_STEPS),
            memory: self.figures()?,
            lease: Lease::from_word(memory.header(at::LEASE)),
            tables: infos(tables.0.view(), tables.1)?,
        })
    }
}

/// Bytes of so many extents, each twice as long as the one before.
fn log_capacity(extents: u64) -> u64 {
    FIRST_LOG * ((1 << extents.min(LOG_TABLE_ROWS)) - 1)
}

/// An owner marks what it does only where that takes longer; a log says that a transaction is open.
fn activity(word: u64, log: u64) -> Activity {
    match Activity::from_word(word) {
        Activity::Idle if log != 0 => Activity::Transaction,
        activity => activity,
    }
}

impl View {
    /// The tables, as whoever holds a pass sees them: what [`Inspection::tables`] tells an observer. Reads the catalog only.
    ///
    /// ```
    /// # fn main() -> shmstate::Result<()> {
    /// # use shmstate::{Map, Region};
    /// let mut region = Region::in_memory(4 << 20)?;
    /// let gate = region.gate().clone();
    /// let pass = gate.enter()?;
    /// region.write(&pass, |tx| Map::<u64, u64>::create(tx, "gold")?.insert(tx, &7, &100))?;
    /// let reader = region.read(&pass)?;
    /// let tables = reader.tables()?;
    /// assert_eq!((tables[0].name.as_str(), tables[0].records), ("gold", 1));
    /// // What they keep in the heap, in bytes.
    /// let heap = reader.heap_stats()?;
    /// assert!(heap.owned[tables[0].row] >= 16 && heap.used > heap.owned[tables[0].row]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn tables(&self) -> Result<Vec<TableInfo>> {
        let rows = catalog::rows(self)?;
        let described = rows.into_iter().map(|row| Ok((catalog::description(self, &row)?, row)));
        let rows: Result<Vec<_>> = described.map(|row| row.map(|(text, row)| (row, text))).collect();
        infos(self, rows?)
    }

    /// What the heap holds, by size class and by table. It looks at the heap's own tables once, 288 bytes for each 64 KiB, and at no record:
    /// about a hundredth of a second for a GiB of small records.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn heap_stats(&self) -> Result<HeapStats> {
        let layout = Layout::of(self.capacity())?;
        heap::walk(self, &layout, |_, _| (), &mut refuse)
    }
}

fn infos(view: &View, rows: Vec<(Row, String)>) -> Result<Vec<TableInfo>> {
    let mut infos = Vec::new();
    for (row, description) in rows {
        let kind = Kind::from_number(row.kind);
        // A table's count stands in its row.
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
        let others = mixed::companions(view, &row.name)?;
        infos.push(TableInfo {
            moving: moving::progress(view, &row.name, records)?,
            moved: row.moved,
            incoming: row.moves,
            older: others.iter().map(|companion| companion.left).sum(),
            shapes: others.iter().map(shape_info).collect(),
            description,
            checksums: catalog::is_checked(view, row.offset)?,
            row: (Owner::of_row(row.offset).number() - 1) as usize,
            name: row.name,
            kind,
            version: row.version,
            fingerprint: row.value,
            records,
            archived_bytes,
        });
    }
    Ok(infos)
}

fn shape_info(companion: &Companion) -> ShapeInfo {
    ShapeInfo {
        version: companion.row.version,
        fingerprint: companion.row.value,
        records: companion.left,
        way_back: companion.good,
    }
}

impl From<Error> for std::io::Error {
    fn from(e: Error) -> Self {
        Self::other(e)
    }
}
