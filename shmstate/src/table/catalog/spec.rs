//! What a table is, by its row or by a program: kind, keys, values and how it is made, and how the two are compared.
//!
//! It does not know where a row is, nor how it changes.

use super::{CHECK_SHIFT, Row, VERSION, WHAT};
use crate::error::{Error, Result};
use crate::region::view::View;
use crate::schema::{self, Description, Fingerprint};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

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
    pub(super) checksums: bool,
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
    pub(super) fn of(spec: &'t Spec) -> Self {
        Self {
            kind: spec.kind,
            key: &spec.key,
            value: spec.value.text(),
            version: spec.value.version(),
        }
    }

    pub(super) fn text(&self) -> String {
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

/// The check of the descriptions, 16 bits.
pub(super) fn check_of(text: &[u8]) -> u64 {
    xxh3_64(text) & 0xffff
}

/// Compares the text of both descriptions with the check of it in the row.
pub(crate) fn check_text(view: &View, row: &Row, text: &str) -> Result<()> {
    let check = view.load(row.offset + VERSION, WHAT)? >> CHECK_SHIFT & 0xffff;
    if check_of(text.as_bytes()) == check {
        return Ok(());
    }
    Err(Error::damaged("description", row.description.0, check))
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
