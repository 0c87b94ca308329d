//! A record of a table of any kind, copied out of its region: what names it, and what its description says of its bytes.

use super::any::{AnyTable, Naming};
use super::record::{Raw, Shape};
use crate::decode::{Broken, Builder, Decoder, Selected, Value, Visit};
use crate::error::Result;
use crate::table::streams::StreamInfo;
use std::fmt;

/// Where a damaged record is, or what is wrong with it.
#[derive(Debug)]
#[non_exhaustive]
pub enum BadRecord {
    /// It could not be read from the region.
    Unread(Box<str>),
    /// Its bytes do not hold what the description says.
    Broken(Broken),
    /// The table's description cannot be read.
    Undescribed(Box<str>),
}

impl fmt::Display for BadRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unread(why) => f.write_str(why),
            Self::Broken(broken) => broken.fmt(f),
            Self::Undescribed(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for BadRecord {}

/// A record of a table of any types, copied out of its region.
#[derive(Debug)]
pub struct AnyRecord<'t, 'o> {
    table: &'t AnyTable<'o>,
    number: u64,
    deadline: Option<u64>,
    /// Apart, since nearly all records are none.
    stream: Option<Box<StreamInfo>>,
    /// `None` of a stream, which has none.
    raw: Option<Result<Raw>>,
}

impl<'t, 'o> AnyRecord<'t, 'o> {
    pub(super) fn new(table: &'t AnyTable<'o>, number: u64, deadline: Option<u64>, raw: Result<Raw>) -> Self {
        Self {
            table,
            number,
            deadline,
            stream: None,
            raw: Some(raw),
        }
    }

    pub(super) fn of_stream(table: &'t AnyTable<'o>, stream: StreamInfo) -> Self {
        Self {
            table,
            number: stream.id.token(),
            deadline: None,
            stream: Some(Box::new(stream)),
            raw: None,
        }
    }

    fn raw(&self) -> std::result::Result<&Raw, BadRecord> {
        match &self.raw {
            Some(Ok(raw)) => Ok(raw),
            Some(Err(error)) => Err(BadRecord::Unread(error.to_string().into())),
            None => Err(BadRecord::Undescribed("a stream has no record".into())),
        }
    }

    /// Whether its bytes could not be read, so that it has neither a key nor a value.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        matches!(self.raw, Some(Err(_)))
    }

    /// The table that it is of.
    #[must_use]
    pub fn table(&self) -> &'t AnyTable<'o> {
        self.table
    }

    /// The stored key; empty if the table's records have none.
    #[must_use]
    pub fn key_bytes(&self) -> &[u8] {
        match &self.raw {
            Some(Ok(raw)) if self.table.naming() == Naming::Key => raw.key(self.table.shape()),
            _ => &[],
        }
    }

    /// The id's or serial number, 0 if the table's records have none.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// When a timer fires next, in ns as its table shows it, and its period, 0 if it fires once.
    #[must_use]
    pub fn due(&self) -> Option<(u64, u64)> {
        let deadline = self.deadline?;
        let Some(Ok(raw)) = &self.raw else {
            return Some((deadline, 0));
        };
        let period = raw.key(self.table.shape()).first_chunk();
        Some((deadline, period.map_or(0, |period| u64::from_le_bytes(*period))))
    }

    /// The stream, of a table of streams.
    #[must_use]
    pub fn stream(&self) -> Option<&StreamInfo> {
        self.stream.as_deref()
    }

    /// Tells `visit` what names the record: its key or its number.
    pub fn visit_name<V: Visit>(&self, visit: &mut V) {
        match self.table.naming() {
            Naming::Key => self.table.key_shape().visit(self.key_bytes(), visit),
            Naming::Id | Naming::Serial => visit.unsigned(self.number),
            Naming::Only => visit.nothing(),
        }
    }

    /// What names the record.
    #[must_use]
    pub fn name(&self) -> Value {
        match self.table.naming() {
            Naming::Key => self.table.key_shape().value(self.key_bytes()),
            Naming::Id | Naming::Serial => Value::Unsigned(self.number.into()),
            Naming::Only => Value::Nothing,
        }
    }

    /// Tells `visit` of the record.
    ///
    /// # Errors
    /// [`BadRecord`]; then what was told is the beginning of a value, or nothing.
    pub fn visit<V: Visit>(&self, visit: &mut V) -> std::result::Result<(), BadRecord> {
        if let Some(stream) = &self.stream {
            tell_stream(stream, visit);
            return Ok(());
        }
        let raw = self.raw()?;
        let (decoder, shape, _) = self.described(raw)?;
        let (bytes, root) = raw.archive(shape);
        decoder.visit(bytes, root, visit).map_err(BadRecord::Broken)
    }

    /// Tells `visit` of a field of it; `false` if it is not there: another variant, `None`, an older version that has no such field.
    ///
    /// # Errors
    /// Those of [`visit`](Self::visit).
    pub fn visit_selected<V: Visit>(&self, selected: &Selected, visit: &mut V) -> std::result::Result<bool, BadRecord> {
        let raw = self.raw()?;
        let (decoder, shape, version) = self.described(raw)?;
        let (bytes, root) = raw.archive(shape);
        let older;
        let selected = if version == self.table.version() {
            selected
        } else {
            match decoder.select(selected.path()) {
                Ok(found) => older = found,
                Err(_) => return Ok(false),
            }
            &older
        };
        decoder
            .visit_selected(selected, bytes, root, visit)
            .map_err(BadRecord::Broken)
    }

    /// The record as a tree.
    ///
    /// # Errors
    /// Those of [`visit`](Self::visit).
    pub fn value(&self) -> std::result::Result<Value, BadRecord> {
        let mut builder = Builder::default();
        self.visit(&mut builder)?;
        Ok(builder.done())
    }

    /// Whether the archives of both are the same bytes: then so are the values, if the tables' fingerprints are equal.
    #[must_use]
    pub fn has_same_bytes(&self, other: &AnyRecord<'_, '_>) -> bool {
        match (self.raw(), other.raw()) {
            (Ok(a), Ok(b)) => match (self.described(a), other.described(b)) {
                (Ok((_, of_a, v)), Ok((_, of_b, w))) => v == w && a.archive(of_a) == b.archive(of_b),
                _ => false,
            },
            _ => false,
        }
    }

    /// Declared version of its shape: the table's, or an older one if it was not migrated yet.
    ///
    /// # Errors
    /// [`BadRecord::Unread`], [`BadRecord::Undescribed`].
    pub fn version(&self) -> std::result::Result<u16, BadRecord> {
        Ok(self.described(self.raw()?)?.2)
    }

    fn described(&self, raw: &Raw) -> std::result::Result<(&'t Decoder, &'t Shape, u16), BadRecord> {
        self.table.reads(raw.version()).map_err(BadRecord::Undescribed)
    }
}

/// A stream has no record: what its slot says is told instead.
fn tell_stream<V: Visit>(stream: &StreamInfo, visit: &mut V) {
    visit.begin_struct();
    visit.field("socket");
    visit.str(if stream.unix { "unix" } else { "tcp" });
    for (name, number) in [
        ("user", stream.user),
        ("received", stream.received),
        ("consumed", stream.consumed),
        ("produced", stream.produced),
        ("sent", stream.sent),
        ("input_ring", stream.input_ring),
        ("output_ring", stream.output_ring),
        ("adopted_ns", stream.adopted_at),
    ] {
        visit.field(name);
        visit.unsigned(number);
    }
    visit.field("finished");
    visit.bool(stream.finished);
    visit.end_struct();
}
