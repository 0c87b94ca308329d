//! The catalog: a row for each table, with its name, its shape and its roots.
//!
//! ```text
//!   0 u32 state (0 empty, 1 live) · u16 kind · u16 length of the name      8 [u8; 64] name
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
//!   other table of any region has it, also if the table's making is taken back. A handle has the offset of a row and the identity of the table that it was
//!   given for, and is honoured only where both stand together. So a row may be another table's as soon as its table is gone: whoever has a
//!   handle of that, in whatever process, is told so.
//! - **R2** Versions of a table are less than 256 apart in all its life, so that a record's header, which has 8 bits of its version, tells a handle of any
//!   shape that the table ever had that it is not its own; a handle of one may be kept as long as the table is there. And a record is only written by a handle of the
//!   version that the row says ([`check_version`]).
//! - **R3** Who keeps a row's offset without a handle looks at the row's name or identity before each use.

use crate::error::{Error, Result};
use crate::heap::{self, FIRST, Owner};
use crate::region::Region;
use crate::region::header::{HEADER, ROW, ROWS, at};
use crate::region::seal;
use crate::region::view::View;
use crate::schema::{self, Description, Fingerprint, Model};
use crate::table::declared;
use crate::tx::Tx;
use crate::tx::undo::Log;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

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

/// What a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
#[non_exhaustive]
pub enum Kind {
    /// `Map<K, V>`
    Map = 1,
    /// `Slab<T>`
    Slab = 2,
    /// `Cell<T>`
    Cell = 3,
    /// `Queue<T>`
    Queue = 4,
    /// `OrderedMap<K, V>`
    OrderedMap = 5,
    /// `Timers<T>`
    Timers = 6,
    /// `Streams`
    Streams = 7,
}

impl Kind {
    pub(crate) fn from_number(number: u16) -> Option<Self> {
        match number {
            1 => Some(Self::Map),
            2 => Some(Self::Slab),
            3 => Some(Self::Cell),
            4 => Some(Self::Queue),
            5 => Some(Self::OrderedMap),
            6 => Some(Self::Timers),
            7 => Some(Self::Streams),
            _ => None,
        }
    }
}

/// What a program says that a table is.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) kind: Kind,
    pub(crate) key: String,
    pub(crate) value: Description,
}

/// How a table is made.
///
/// ```
/// # fn main() -> shmstate::Result<()> {
/// # use shmstate::{Map, Region, TableOptions};
/// let mut region = Region::in_memory(4 << 20)?;
/// let gate = region.gate().clone();
/// region.write(&gate.enter()?, |tx| {
///     let accounts: Map<u64, u64> = Map::create_with(tx, "accounts", TableOptions::default().checksums(true))?;
///     accounts.insert(tx, &1, &100)
/// })?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableOptions {
    checksums: bool,
}

impl TableOptions {
    /// Whether every record carries a checksum, so that [`verify`](crate::verify()) names every altered byte of it. Each change of a
    /// record then costs a pass over it. The default is not to. Maps and ordered maps can have them; what is in the other tables is found from there, or is short-lived, and has none.
    #[must_use]
    pub fn checksums(mut self, yes: bool) -> Self {
        self.checksums = yes;
        self
    }
}

/// Whether the records of the table whose row is given have checksums.
pub(crate) fn is_checked(view: &View, row: u64) -> Result<bool> {
    Ok(view.load(row + VERSION, WHAT)? & CHECKED != 0)
}

/// Refuses a record of a version that is not the table's now: its handle is older, or newer, than what the row says (R2).
#[inline]
pub(crate) fn check_version(view: &View, row: u64, version: u16) -> Result<()> {
    let now = view.load(row + VERSION, WHAT)? as u16;
    if now == version {
        return Ok(());
    }
    Err(other_version(view, row, now, version))
}

#[cold]
fn other_version(view: &View, row: u64, now: u16, version: u16) -> Error {
    let name = row_at(view, row).map_or_else(|_| String::new(), |row| row.name);
    Error::SchemaMismatch {
        table: name.as_str().into(),
        report: format!(
            "table {name} has records of schema version {now} now, and this handle is for version {version}: open the table again, with the steps between them"
        )
        .into(),
    }
}

/// Refuses keys that are kept otherwise than those of the table, though they have the same shape; other keys are for [`compare`] to refuse. How the
/// table keeps them stands at `at`.
#[inline]
pub(crate) fn check_keys(view: &View, row: u64, at: u64, (mine, spec): (u64, impl FnOnce() -> Spec)) -> Result<()> {
    let kept = view.load(at, WHAT)?;
    if kept == mine {
        return Ok(());
    }
    keys_kept_otherwise(view, row, (kept, mine), &spec())
}

#[cold]
fn keys_kept_otherwise(view: &View, row: u64, (kept, mine): (u64, u64), spec: &Spec) -> Result<()> {
    let row = row_at(view, row)?;
    if row.kind != spec.kind as u16 || row.key != spec.key_print() {
        return Ok(());
    }
    let name = row.name;
    Err(Error::SchemaMismatch {
        table: name.as_str().into(),
        report: format!(
            "table {name} keeps its keys in {} bytes (bit 16: of any length), the program's type in {}: another type has the same shape",
            kept, mine
        )
        .into(),
    })
}

/// The check of the descriptions, 16 bits.
fn check_of(text: &[u8]) -> u64 {
    xxh3_64(text) & 0xffff
}

/// The text of both descriptions of a row, which must be the one that was written. Says where it is not.
pub(crate) fn checked_description(view: &View, row: &Row) -> Result<String> {
    let text = description(view, row)?;
    check_text(view, row, &text)?;
    Ok(text)
}

/// Compares the text of both descriptions with the check of it in the row.
pub(crate) fn check_text(view: &View, row: &Row, text: &str) -> Result<()> {
    let check = view.load(row.offset + VERSION, WHAT)? >> CHECK_SHIFT & 0xffff;
    if check_of(text.as_bytes()) == check {
        return Ok(());
    }
    Err(Error::damaged("description", row.description.0, check))
}

fn sum_of(fixed: &Fixed, identity: u64) -> u64 {
    let mut bytes = [0; ROOT as usize + 8];
    for (i, word) in fixed.iter().chain([&identity]).enumerate() {
        bytes[i * 8..i * 8 + 8].copy_from_slice(&word.to_le_bytes());
    }
    xxh3_64(&bytes)
}

impl Spec {
    /// Whether two programs mean the same.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let version = |spec: &Self| spec.value.version();
        let print = |spec: &Self| spec.value.fingerprint();
        (self.kind, &self.key, version(self), print(self)) == (other.kind, &other.key, version(other), print(other))
    }

    pub(crate) fn key_print(&self) -> u128 {
        xxh3_128(self.key.as_bytes())
    }
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

/// Reads row `index` of the catalog, also of a table that was dropped; `None` if there never was one.
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

/// Whether there is no table in row `index`, nor what is left of one.
fn is_vacant(view: &View, index: u64) -> Result<bool> {
    Ok(view.load(HEADER + index * ROW, WHAT)? as u32 == 0)
}

/// Nothing is left of a table that was dropped: its row may be another one's (R1).
pub(crate) fn set_vacant(tx: &mut Tx<'_>, row: &Row) -> Result<()> {
    tx.put_all(row.offset, &[0; (ROW / 8) as usize], WHAT)
}

/// Changes the fixed part of a row.
fn change(tx: &mut Tx<'_>, row: u64, change: impl FnOnce(&mut Fixed)) -> Result<()> {
    let identity = tx.load(row + IDENTITY, WHAT)?;
    change_to(tx, row, identity, change)
}

/// The same, with another identity.
fn change_to(tx: &mut Tx<'_>, row: u64, identity: u64, change: impl FnOnce(&mut Fixed)) -> Result<()> {
    let mut words: Fixed = tx.words(row, WHAT)?;
    change(&mut words);
    tx.put_all(row, &words, WHAT)?;
    tx.put_all(row + IDENTITY, &[identity, sum_of(&words, identity)], WHAT)
}

/// An identity that no table had (R1).
fn next_identity(tx: &Tx<'_>) -> Result<u64> {
    let word = tx.header(at::TABLES_MADE);
    let made = seal::unseal(word).filter(|made| *made < seal::LOW);
    let made = made.ok_or_else(|| Error::damaged("number of tables made", at::TABLES_MADE, word))?;
    tx.set_size(at::TABLES_MADE, made + 1);
    Ok(tx.tag().wrapping_add(made + 1))
}

/// Whether an identity is of a table that this region made.
fn is_own(view: &View, identity: u64) -> bool {
    let made = view.size(at::TABLES_MADE);
    (1..=made).contains(&identity.wrapping_sub(view.tag()))
}

/// Why a handle with this identity finds no table in its row.
#[cold]
pub(crate) fn no_table_of(view: &View, identity: u64) -> Error {
    if is_own(view, identity) {
        Error::TableGone
    } else {
        Error::ForeignTable
    }
}

/// Refuses an identity that no table of this region has.
pub(crate) fn check_identity(view: &View, row: &Row) -> Result<()> {
    let identity = view.load(row.offset + IDENTITY, WHAT)?;
    if row.state == State::Dying || is_own(view, identity) {
        return Ok(());
    }
    Err(Error::damaged("identity of a table", row.offset + IDENTITY, identity))
}

/// Gives every table another identity: in a region that was made of another one's checkpoint, where no handle of that may be honoured.
pub(crate) fn renew_identities(tx: &mut Tx<'_>) -> Result<()> {
    for row in rows(tx)? {
        let identity = next_identity(tx)?;
        change_to(tx, row.offset, identity, |_| ())?;
    }
    Ok(())
}

/// Notes that the records of a table have moved to others for good: only the move itself opens it from now on.
pub(crate) fn set_moved(tx: &mut Tx<'_>, row: &Row) -> Result<()> {
    if row.moved {
        return Ok(());
    }
    change(tx, row.offset, |words| words[(VERSION / 8) as usize] |= MOVED)
}

/// Notes of how many moves a table is a target.
pub(crate) fn set_moves(tx: &mut Tx<'_>, row: &Row, moves: u64) -> Result<()> {
    let moves = moves.min(MOST_MOVES) << TARGET_SHIFT;
    change(tx, row.offset, |words| {
        let flags = &mut words[(VERSION / 8) as usize];
        *flags = *flags & !(MOST_MOVES << TARGET_SHIFT) | moves;
    })
}

/// A table is being dropped: its row names no description and has neither roots, but those of its chunks, nor an identity, so that no handle finds it.
pub(crate) fn set_dying(tx: &mut Tx<'_>, row: &Row) -> Result<()> {
    change_to(tx, row.offset, 0, |words| {
        words[0] = words[0] & !u64::from(u32::MAX) | DYING;
        words[(ROOT / 8) as usize - 2..].fill(0);
    })?;
    const { assert!(FIRST == SUM + 8) };
    tx.put_all(row.offset + ROOT, &[0; (IDENTITY - ROOT) as usize / 8], WHAT)?;
    tx.free(row.description.0);
    Ok(())
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

/// Compares the shape of a table with what the program says; `text` gives the description that the row names.
pub(crate) fn compare(row: &Row, spec: &Spec, text: impl FnOnce() -> Result<String>) -> Result<()> {
    let same = row.kind == spec.kind as u16
        && row.value == spec.value.fingerprint().as_u128()
        && row.key == spec.key_print()
        && row.version == spec.value.version();
    if same {
        return Ok(());
    }
    let name = row.name.as_str();
    let text = text()?;
    let (key, value) = parts(&text);
    let mut more = Vec::new();
    if row.kind != spec.kind as u16 {
        let stored =
            Kind::from_number(row.kind).map_or_else(|| format!("kind {}", row.kind), |kind| format!("{kind:?}"));
        more.push(format!(
            "the table is a {stored}, the program expects a {:?}",
            spec.kind
        ));
    }
    if row.key != spec.key_print() {
        more.push(format!("its keys are {key:?}, the program expects {:?}", spec.key));
    }
    let report = schema::refusal(name, &more, value, spec.value.text());
    Err(Error::SchemaMismatch {
        table: name.into(),
        report: report.into(),
    })
}

/// [`find`] without a pass: for a successor whose predecessor may be changing the catalog right now, or may have died in the middle of a
/// transaction that nobody has taken back yet. A row that the open log does not cover was committed before. If the table is dropped
/// afterwards, its handle finds nothing (R1).
pub(crate) fn find_live(region: &Region, name: &str, spec: &Spec) -> Result<u64> {
    live(region, |view| find(view, name, spec).map(|row| (row, row)))
}

/// Reads of the catalog what was committed, as [`find_live`] does: `look` gives the row that it depends on, and what it found.
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

/// A table's shape, as its row has it.
#[derive(Debug)]
pub(crate) struct Shape<'t> {
    pub(crate) kind: Kind,
    /// Shape of the keys.
    pub(crate) key: &'t str,
    /// Description of the values.
    pub(crate) value: &'t str,
    pub(crate) version: u16,
}

impl<'t> Shape<'t> {
    fn of(spec: &'t Spec) -> Self {
        Self {
            kind: spec.kind,
            key: &spec.key,
            value: spec.value.text(),
            version: spec.value.version(),
        }
    }

    fn text(&self) -> String {
        format!("{}\n---\n{}", self.key, self.value)
    }

    /// Fingerprints of values and keys.
    pub(crate) fn prints(&self) -> [u128; 2] {
        [
            Fingerprint::of_text(self.value).as_u128(),
            xxh3_128(self.key.as_bytes()),
        ]
    }
}

/// The texts of a row: shape of its keys, description of its values.
pub(crate) fn parts(text: &str) -> (&str, &str) {
    text.split_once("\n---\n").unwrap_or(("", text))
}

/// Makes a row. `roots` are its first roots, the rest are zero. Gives the row's offset.
pub(crate) fn create(tx: &mut Tx<'_>, name: &str, spec: &Spec, options: TableOptions, roots: &[u64]) -> Result<u64> {
    check_name(name)?;
    declared::admit(tx, name, spec)?;
    add(tx, name, &Shape::of(spec), options, roots)
}

/// A name that begins with a dot is the library's own: for a program there is no such table.
pub(crate) fn check_public(name: &str) -> Result<()> {
    if name.starts_with('.') {
        return Err(Error::NoTable { name: name.into() });
    }
    Ok(())
}

pub(crate) fn check_name(name: &str) -> Result<()> {
    let fits = !name.is_empty()
        && name.len() <= MAX_TABLE_NAME
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if !fits {
        return Err(Error::BadName {
            name: name.into(),
            most: MAX_TABLE_NAME,
        });
    }
    Ok(())
}

/// A block is as aligned as the record's root asks, and so is all that the root points to; a list of `u128` in a record of 8 would not lie where
/// it may be read.
fn check_alignment(name: &str, shape: &Shape<'_>) -> Result<()> {
    let model = Model::read(shape.value).map_err(|_| Error::Archive {
        why: "the description of its type cannot be read: names of types are too long, or the types lie too deep in one another",
    })?;
    let block = if model.root().align > 8 { 16 } else { 8 };
    match model.types().find(|(_, held)| held.align > block) {
        None => Ok(()),
        Some((_, held)) => Err(Error::Overaligned {
            table: name.into(),
            held: held.name.as_str().into(),
        }),
    }
}

/// The same for a name that is the library's own, or was checked.
pub(crate) fn add(tx: &mut Tx<'_>, name: &str, shape: &Shape<'_>, options: TableOptions, roots: &[u64]) -> Result<u64> {
    check_alignment(name, shape)?;
    let mut vacant = None;
    for index in 0..ROWS {
        match row(tx, index)? {
            Some(row) if row.name == name => return Err(Error::TableExists { name: name.into() }),
            Some(_) => {}
            None if vacant.is_none() && is_vacant(tx, index)? => vacant = Some(index),
            None => {}
        }
    }
    let index = vacant.ok_or(Error::CatalogFull { rows: ROWS })?;
    let text = shape.text();
    let block = heap::alloc(tx, text.len() as u64)?;
    tx.write_fresh(block.offset, text.as_bytes(), "description")?;
    let mut words = [0u64; (ROW / 8) as usize];
    words[0] = LIVE | u64::from(shape.kind as u16) << 32 | (name.len() as u64) << 48;
    for (i, bytes) in name.as_bytes().chunks(8).enumerate() {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        words[1 + i] = u64::from_le_bytes(word);
    }
    describe(&mut words, shape, &text, block.offset);
    words[13] |= u64::from(shape.version) << FIRST_SHIFT | if options.checksums { CHECKED } else { 0 };
    words[16..16 + roots.len()].copy_from_slice(roots);
    let identity = next_identity(tx)?;
    words[(IDENTITY / 8) as usize] = identity;
    words[(SUM / 8) as usize] = sum_of(words.first_chunk().unwrap_or(&[0; ROOT as usize / 8]), identity);
    if !matches!(shape.kind, Kind::Cell | Kind::Streams) {
        words[(ROW / 8) as usize - 2..].copy_from_slice(&Owner::roots(tx)?);
    }
    let offset = HEADER + index * ROW;
    tx.put_all(offset, &words, WHAT)?;
    Ok(offset)
}

/// Writes what a row says of its records: the words of its fixed part behind the name.
fn describe(words: &mut [u64], shape: &Shape<'_>, text: &str, block: u64) {
    for (i, print) in shape.prints().into_iter().enumerate() {
        words[9 + i * 2] = print as u64;
        words[10 + i * 2] = (print >> 64) as u64;
    }
    let flags = words[13] & !u64::from(u32::MAX);
    words[13] = u64::from(shape.version) | check_of(text.as_bytes()) << CHECK_SHIFT | flags;
    words[14] = block;
    words[15] = text.len() as u64;
}

/// Refuses a version that is too far from the one that the table was made with (R2).
fn check_span(view: &View, row: &Row, spec: &Spec) -> Result<()> {
    let version = spec.value.version();
    let first = (view.load(row.offset + VERSION, WHAT)? >> FIRST_SHIFT) as u16;
    let least = first.saturating_sub(EARLIER);
    if version >= least && version - least < VERSIONS {
        return Ok(());
    }
    let most = least.saturating_add(VERSIONS - 1);
    Err(Error::BadSteps {
        table: row.name.as_str().into(),
        why: format!(
            "it was made with version {first}, so it may have versions {least} to {most}, not {version}: move its records to another table"
        )
        .into(),
    })
}

/// Refuses what could not become the table's shape, before anybody relies on it.
pub(crate) fn check_future(view: &View, row: &Row, spec: &Spec) -> Result<()> {
    check_span(view, row, spec)?;
    check_alignment(&row.name, &Shape::of(spec))
}

/// Gives a table another description of its values; name, kind, keys and roots stay.
pub(crate) fn redescribe(tx: &mut Tx<'_>, row: &Row, spec: &Spec) -> Result<()> {
    let shape = Shape::of(spec);
    check_alignment(&row.name, &shape)?;
    check_span(tx, row, spec)?;
    let text = shape.text();
    let block = heap::alloc(tx, text.len() as u64)?;
    tx.write_fresh(block.offset, text.as_bytes(), "description")?;
    change(tx, row.offset, |words| {
        describe(words, &shape, &text, block.offset);
    })?;
    tx.free(row.description.0);
    Ok(())
}
