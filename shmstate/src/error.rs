//! What can go wrong, with the numbers and names that a caller needs to act.

use std::io;

/// The result of everything in this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// Every way in which a region can refuse.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    #[error("{what} {name}: {source}")]
    Io {
        /// What was being done, as a verb: "open", "map".
        what: &'static str,
        /// On which object.
        name: Box<str>,
        /// What the system said.
        source: io::Error,
    },
    /// The mount that holds the region has no memory left. Nothing was touched.
    #[error(
        "{mount} is full: {wanted} more bytes wanted for {name}, {free} of {size} free; free some, enlarge the mount, or lower the load"
    )]
    OutOfSpace {
        /// The region.
        name: Box<str>,
        /// Where the region's memory comes from.
        mount: Box<str>,
        /// Bytes asked for.
        wanted: u64,
        /// Bytes the mount says are free.
        free: u64,
        /// Bytes of the mount; of the whole system where the mount sets no limit.
        size: u64,
    },
    /// The directory's files are not memory.
    #[error(
        "{directory} is no place for region {name}: its file system (type {magic:#x}) keeps files on a device; choose a tmpfs or hugetlbfs"
    )]
    NotMemory {
        /// The region.
        name: Box<str>,
        /// The directory.
        directory: Box<str>,
        /// The file system's magic number.
        magic: u64,
    },
    /// The region itself is used up. An operation that gives it has changed nothing, and its transaction goes on; a commit that gives it has rolled back. The
    /// region stays usable.
    #[error(
        "the region is full: {wanted} more bytes wanted for {what}, its memory is in use up to byte {used} of {capacity}; {}",
        relief(what, *capacity, *reserve)
    )]
    RegionFull {
        /// What for: "a record, an index or a page", or "the undo log".
        what: &'static str,
        /// Bytes asked for behind what is in use.
        wanted: u64,
        /// How far the region's memory is in use, in bytes from its start. There may be free pieces below that
        /// ([`View::heap_stats`](crate::View::heap_stats)), none of them large enough.
        used: u64,
        /// Bytes the region may hold now.
        capacity: u64,
        /// Bytes that its capacity can be raised to.
        reserve: u64,
    },
    /// The capacity asked for cannot hold even an empty region, or cannot be addressed.
    #[error("a region cannot have {wanted} bytes: the least is {least}, the most {most}")]
    BadCapacity {
        /// Bytes asked for.
        wanted: u64,
        /// Least possible.
        least: u64,
        /// Most possible.
        most: u64,
    },
    /// The capacity cannot become that: it only grows, up to the address space that was reserved when the region was made.
    #[error(
        "the capacity cannot be raised to {wanted}: it is {capacity}, and {reserve} bytes were reserved when the region was made (Options::reserve)"
    )]
    CannotRaise {
        /// Bytes asked for.
        wanted: u64,
        /// Bytes the region may hold now.
        capacity: u64,
        /// Bytes reserved.
        reserve: u64,
    },
    /// A name that shared memory or the catalog cannot carry.
    #[error("{name:?} is no valid name: 1 to {most} of the characters A-Z a-z 0-9 . _ - and no dot in front")]
    BadName {
        /// The name.
        name: Box<str>,
        /// Longest allowed.
        most: usize,
    },
    /// There is no such region.
    #[error("there is no region {name}")]
    NotFound {
        /// The region.
        name: Box<str>,
    },
    /// A region of that name exists already.
    #[error("a region {name} exists already; open it, or remove it first")]
    Exists {
        /// The region.
        name: Box<str>,
    },
    /// Its maker has not finished it and is alive.
    #[error("region {name} is being made by another process; try again")]
    NotReady {
        /// The region.
        name: Box<str>,
    },
    /// Another living process holds the region.
    #[error(
        "region {name} is in use: a living process has it open, perhaps this one; hand it over, or end that process first"
    )]
    InUse {
        /// The region.
        name: Box<str>,
    },
    /// The bytes are no region, or one this version cannot read.
    #[error("{name} is no region this version can read: {why}")]
    NotARegion {
        /// The object.
        name: Box<str>,
        /// What was found instead.
        why: Box<str>,
    },
    /// Metadata says something that no version of this library writes. Nothing was changed.
    #[error(
        "the region is damaged: {what} at byte {at:#x} holds {found:#x}; verify names every fault, a checkpoint can be restored"
    )]
    Damaged {
        /// Which structure.
        what: &'static str,
        /// Where in the region.
        at: u64,
        /// What was found there.
        found: u64,
    },
    /// The table's records have another shape than the program's type.
    #[error("{report}")]
    SchemaMismatch {
        /// The table.
        table: Box<str>,
        /// Both descriptions and what differs.
        report: Box<str>,
    },
    /// A record is still of another version than the program's type: it was not migrated yet, and who looks knows no step from it.
    #[error(
        "the record at byte {at:#x} is of schema version {version} (its low byte), not {expected}: the table's migration is not over; open it with the steps from that version, or wait for the sweep"
    )]
    OtherVersion {
        /// Offset of its header.
        at: u64,
        /// Low byte of its version.
        version: u8,
        /// Low byte of the version that the program's type declares.
        expected: u8,
    },
    /// The table's records would point to values of a larger alignment than they have themselves: where those lie is as aligned as the record.
    #[error(
        "the records of table {table} would point to values of type {held}, which are aligned to 16 bytes, and are not so themselves; store them as [u64; 2], or give the record a field of that type"
    )]
    Overaligned {
        /// The table.
        table: Box<str>,
        /// The type that is pointed to.
        held: Box<str>,
    },
    /// The steps given for a table cannot be what was meant.
    #[error("the steps for table {table} do not fit: {why}")]
    BadSteps {
        /// The table.
        table: Box<str>,
        /// What is wrong, and what to do.
        why: Box<str>,
    },
    /// A later version of the program has moved the table's records to other tables, and closed the way back.
    #[error(
        "the records of table {table} have moved to other tables, by a later version of the program that has closed its way back: only that version, or one after it, can go on"
    )]
    TableMoved {
        /// The table.
        table: Box<str>,
    },
    /// Records are still on their way from one table to others.
    #[error(
        "table {table} is not whole: {left} records are still in table {source_table}; sweep its move until nothing is left, or ask for records by their keys"
    )]
    StillMoving {
        /// The table that was to be looked at as a whole, or dropped.
        table: Box<str>,
        /// The table that the move empties.
        source_table: Box<str>,
        /// How many are left there.
        left: u64,
    },
    /// Tables of this region are being moved, and this process does not know yet how far: its first transaction finds that out.
    #[error(
        "region {name} has tables that are moving: begin a transaction, an empty one will do, before the first read under an ownership"
    )]
    ReadTooEarly {
        /// The region.
        name: Box<str>,
    },
    /// A table of connections cannot be dropped.
    #[error("table {table} holds connections: it cannot be dropped; close them")]
    Streams {
        /// The table.
        table: Box<str>,
    },
    /// The program declared which tables it opens ([`Region::expect_only`](crate::Region::expect_only)), and opens another one, or one otherwise.
    #[error("table {table} is not what was declared: {why}")]
    Undeclared {
        /// The table.
        table: Box<str>,
        /// What differs.
        why: Box<str>,
    },
    /// There is no such table.
    #[error("there is no table {name}; create it in a transaction")]
    NoTable {
        /// The table.
        name: Box<str>,
    },
    /// A table of that name exists already.
    #[error("a table {name} exists already; open it, or drop it first")]
    TableExists {
        /// The table.
        name: Box<str>,
    },
    /// The catalog has no free row.
    #[error(
        "the catalog is full: {rows} tables, with those that are kept for older shapes; drop what is not needed any more, and finish the sweeps"
    )]
    CatalogFull {
        /// Rows in the catalog.
        rows: u64,
    },
    /// All places of a table are taken. The operation changed nothing.
    #[error("the table is full: {most} records are the most it can hold")]
    TableFull {
        /// Most records of such a table.
        most: u64,
    },
    /// Deadlines would be moved out of what a table of timers can hold. Nothing was changed.
    #[error("deadlines cannot be moved by {shift_ns} ns: with earlier moves it must stay within {most_ns} ns")]
    ShiftTooLarge {
        /// The move asked for, in ns.
        shift_ns: i64,
        /// Farthest that all moves together may go, in ns either way.
        most_ns: i64,
    },
    /// The catalog is being changed by its owner right now.
    #[error("the catalog did not hold still for {waited_ms} ms; the owner is in a long transaction, try again")]
    Busy {
        /// Milliseconds waited.
        waited_ms: u64,
    },
    /// What an observer reads was changed by its owner in each of many tries.
    #[error("{what} did not hold still in {tries} tries; the owner is at work, try again")]
    Retry {
        /// What was read.
        what: &'static str,
        /// How often it was tried.
        tries: u64,
    },
    /// A region that was opened to be checked is asked for before all of its tables were.
    #[error("table {table} was not checked; open it from the unverified region first")]
    Unchecked {
        /// The table.
        table: Box<str>,
    },
    /// There is no such table among those that are still to be checked.
    #[error("no table {table} is left to be checked: there is none of that name, or it was checked or trusted already")]
    NothingToCheck {
        /// The table.
        table: Box<str>,
    },
    /// The table is of a kind that has nothing of that sort.
    #[error("table {table} has no {what}: it is of another kind")]
    OtherKind {
        /// The table.
        table: Box<str>,
        /// What was asked for.
        what: &'static str,
    },
    /// The gate is closed: this process is handing over, or has.
    #[error(
        "the gate is closed: this process is handing over, or has; it must not read or write the region until the gate opens again"
    )]
    GateClosed,
    /// Another process owns the node now. This one must not write any more.
    #[error(
        "fenced: another process owns the node, this one must stop; it held generation {held}, the lease word is {word:#018x}"
    )]
    Fenced {
        /// Generation under which this process was serving.
        held: u64,
        /// The lease word found.
        word: u64,
    },
    /// The pass is of another gate than the region.
    #[error(
        "the pass belongs to another gate than the region {name}; enter Region::gate, or give the region that gate when it is made or opened (Options::gate)"
    )]
    ForeignPass {
        /// The region.
        name: Box<str>,
    },
    /// The table handle is of another region.
    #[error("the table handle belongs to another region")]
    ForeignTable,
    /// The table that the handle was given for is not there any more.
    #[error(
        "the table of this handle is gone: it was dropped, or the transaction or savepoint that made it was rolled back; open or create it again"
    )]
    TableGone,
    /// A record larger than the heap can hold in one piece.
    #[error("a record of {bytes} bytes is too large: at most {most}")]
    TooLarge {
        /// Bytes of the record.
        bytes: u64,
        /// Largest possible.
        most: u64,
    },
    /// A key longer than a table takes.
    #[error("a key of {bytes} bytes is too long: at most {most}")]
    KeyTooLong {
        /// Bytes of the key as stored.
        bytes: usize,
        /// Longest possible.
        most: usize,
    },
    /// The value's own serialisation failed or did not repeat itself.
    #[error("the value could not be archived: {why}")]
    Archive {
        /// What happened.
        why: &'static str,
    },
    /// An operation of the transaction ended by a panic that was caught before the transaction was over. It is rolled back.
    #[error("an operation of the transaction was broken off by a panic; it was rolled back: begin another one")]
    BrokenOff,
    /// A projection pointed outside the record it was given.
    #[error("the field is not a part of the record: the projection must lead into what it is given")]
    ForeignField,
    /// A projection pointed to bytes of a string, which have to stay UTF-8.
    #[error("the field is a part of a string, which cannot be changed in place: replace the record")]
    FieldOfText,
    /// A ring of a stream cannot be so large.
    #[error("a ring of {bytes} bytes is too large: at most {most}")]
    RingTooLarge {
        /// Bytes asked for.
        bytes: u32,
        /// Most possible.
        most: u32,
    },
    /// The stream is not open (any more).
    #[error("stream {token:#x} is not open")]
    NoStream {
        /// Its token.
        token: u64,
    },
    /// More bytes were consumed than are there.
    #[error("stream {token:#x}: {asked} bytes to consume, {there} are there")]
    ShortInput {
        /// Its token.
        token: u64,
        /// Bytes asked for.
        asked: u64,
        /// Bytes unprocessed.
        there: u64,
    },
    /// The kernel's counts and the region's do not meet: the descriptor is of another connection, or another
    /// process read from it or wrote to it.
    #[error(
        "stream {token:#x} cannot be continued: {direction} position {kernel} by the kernel, {low}..={high} by the region; end it, and close its socket"
    )]
    StreamLost {
        /// Its token.
        token: u64,
        /// "input" or "output".
        direction: &'static str,
        /// Position by the kernel's count.
        kernel: u64,
        /// Lowest possible by the region.
        low: u64,
        /// Highest possible by the region.
        high: u64,
    },
    /// The region lies in memory of this process alone.
    #[error("region {name} is no shared memory object, so no descriptor leads to it; make it with a name")]
    NoDescriptor {
        /// The region.
        name: Box<str>,
    },
    /// A checkpoint was prepared for another region.
    #[error("the checkpoint was prepared for another region than {name}")]
    ForeignCheckpoint {
        /// The region that was to be marked.
        name: Box<str>,
    },
    /// A checkpoint is being made; one at a time.
    #[error(
        "a checkpoint is being made: {done} of {pages} pages are done (0: not counted yet); wait for it, or drop its handle"
    )]
    CheckpointRunning {
        /// Pages in the file.
        done: u64,
        /// Pages that there will be; 0 if it is not known yet.
        pages: u64,
    },
    /// A checkpoint was given up. What was at its path before is still there; the region is as it would be without it.
    #[error("the checkpoint was given up: {why}")]
    CheckpointAborted {
        /// By whom, or what happened.
        why: &'static str,
    },
    /// There is no room for a file. The unfinished file was removed; the region is as it would be without it.
    #[error("no room for {path}: {written} bytes were written, {free} are free; free some, or choose another place")]
    DiskFull {
        /// The file.
        path: Box<str>,
        /// Bytes written until then.
        written: u64,
        /// Bytes the file system says are free for this user.
        free: u64,
    },
    /// The file is no checkpoint, or one this version cannot read.
    #[error("{path} is no checkpoint this version can read: {why}")]
    NotACheckpoint {
        /// The file.
        path: Box<str>,
        /// What was found instead.
        why: Box<str>,
    },
    /// A checkpoint's bytes are not those that were written. Nothing was restored.
    #[error("checkpoint {path} is damaged: {what} at byte {at}; restore an older one")]
    CheckpointDamaged {
        /// The file.
        path: Box<str>,
        /// Which part is not what it should be.
        what: &'static str,
        /// Where in the file that part starts.
        at: u64,
    },
    /// A checkpoint ends too early. Nothing was restored.
    #[error("checkpoint {path} was cut: it ends in its {what}, after {length} bytes; restore an older one")]
    CheckpointCut {
        /// The file.
        path: Box<str>,
        /// Which part is not all there.
        what: &'static str,
        /// Bytes of the file.
        length: u64,
    },
    /// A restored region holds what is in the checkpoint, and has its reserved address space: where records lie follows from it.
    #[error("{path} cannot be restored with a capacity of {asked}: at least {least}, at most {most}; or ask for none")]
    CheckpointCapacity {
        /// The file.
        path: Box<str>,
        /// Capacity asked for.
        asked: u64,
        /// Least that holds it.
        least: u64,
        /// Address space that was reserved for it.
        most: u64,
    },
}

/// What the memory of a full region was wanted for.
pub(crate) const FOR_HEAP: &str = "a record, an index or a page";
pub(crate) const FOR_LOG: &str = "the undo log";

/// What to do about a full region.
fn relief(what: &str, capacity: u64, reserve: u64) -> String {
    let first = if what == FOR_LOG {
        "change less in a transaction"
    } else {
        "remove or compact what is there"
    };
    if capacity < reserve {
        format!("{first}, or raise its capacity (Region::raise_capacity, up to {reserve})")
    } else {
        format!("{first}; its capacity cannot be raised, for no more was reserved when it was made (Options::reserve)")
    }
}

/// What is told of each fault that a check finds: it says whether to go on.
pub(crate) type Report<'r> = dyn FnMut(Error) -> Result<()> + 'r;

/// A report that ends a check at the first fault.
pub(crate) fn refuse(fault: Error) -> Result<()> {
    Err(fault)
}

impl Error {
    pub(crate) fn io(what: &'static str, name: &str, source: impl Into<io::Error>) -> Self {
        Self::Io {
            what,
            name: name.into(),
            source: source.into(),
        }
    }

    /// Whether memory ran out: of the region, or of the mount that it lies in. Nothing was changed; what takes no memory still works, and so does
    /// everything once some was freed.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::RegionFull { .. } | Self::OutOfSpace { .. })
    }

    /// Whether this process must not write any more: it is handing over or has, or another one owns the node.
    #[must_use]
    pub fn is_not_owner(&self) -> bool {
        matches!(self, Self::GateClosed | Self::Fenced { .. })
    }

    #[cold]
    pub(crate) fn damaged(what: &'static str, at: u64, found: u64) -> Self {
        Self::Damaged { what, at, found }
    }
}
