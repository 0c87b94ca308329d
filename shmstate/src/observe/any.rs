//! A table of any kind, read without the program's types, by the descriptions that the catalog has of it.

use super::any_record::AnyRecord;
use super::map::Table;
use super::record::{Raw, Shape};
use super::seen::{KEYLESS, Seen};
use super::source::Source;
use super::sweep::{self, Place};
use super::tables::Prints;
use super::way::Way;
use super::{Observer, slots, timers};
use crate::archive::{Geometry, MAX_ALIGN};
use crate::decode::{Decoder, KeyShape, NoField, Selected};
use crate::error::{Error, Result};
use crate::heap::Owner;
use crate::schema::Fingerprint;
use crate::table::catalog::{Kind, Row, parts};
use crate::table::keyed::Stored;
use crate::table::map::{self, index::SEED};
use crate::table::mixed::companion_of;
use crate::table::ordered::{self, node, tree::Tree};
use std::borrow::Cow;
use std::fmt;

/// What names a record in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Naming {
    /// A key, of a map and an ordered map.
    Key,
    /// The number of an id (`token`), of a slab, timers and streams.
    Id,
    /// A serial number, of a queue.
    Serial,
    /// Nothing: a cell has one.
    Only,
}

/// A table in a region that another process writes, of whatever kind and types: for tools.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use shmstate::{Map, Observer, Region};
/// # let name = format!("doc-any-{}", std::process::id());
/// # let mut region = Region::options().capacity(4 << 20).create(&name)?;
/// # let gate = region.gate().clone();
/// # region.write(&gate.enter()?, |tx| {
/// #     let scores: Map<u64, (String, u32)> = Map::create(tx, "scores")?;
/// #     scores.insert(tx, &7, &("ada".to_owned(), 100))
/// # })?;
/// let observer = Observer::open(&name)?;
/// let table = observer.table("scores")?;
/// let mut records = table.records();
/// while let Some(batch) = records.batch()? {
///     for record in batch {
///         assert_eq!(record.name().to_string(), "7");
///         assert_eq!(record.value()?.to_string(), r#"["ada", 100]"#);
///     }
/// }
/// # Region::remove(&name)?;
/// # Ok(())
/// # }
/// ```
pub struct AnyTable<'o> {
    seen: Seen<'o>,
    kind: Option<Kind>,
    version: u16,
    fingerprint: Fingerprint,
    description: String,
    key: KeyShape,
    decoder: std::result::Result<Decoder, Box<str>>,
    /// Shapes that records may still have, see `table::mixed`.
    older: Vec<Older>,
    seed: u64,
}

/// A shape that records may still have.
struct Older {
    version: u16,
    decoder: Decoder,
    shape: Shape,
}

impl fmt::Debug for AnyTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyTable")
            .field("name", &self.name())
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl Observer {
    /// All tables, in the order of the catalog.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Retry`].
    pub fn any_tables(&self) -> Result<Vec<AnyTable<'_>>> {
        let (tables, rows) = match super::committed(self) {
            Err(Error::Retry { .. }) => super::live(self)?,
            found => found?,
        };
        let all = &rows;
        rows.iter()
            .map(|(row, text)| {
                let keys = match Kind::from_number(row.kind) {
                    Some(Kind::Map) => Stored::read(tables.view(), row.offset + map::KEYS)?,
                    Some(Kind::OrderedMap) => Stored::read(tables.view(), row.offset + ordered::KEYS)?,
                    Some(Kind::Timers) => Stored::of::<u64>(),
                    _ => KEYLESS,
                };
                let mut table = AnyTable::new(self, tables.prints(row)?, row, text, keys)?;
                for (other, text) in all {
                    if companion_of(&other.name).is_some_and(|(_, of)| of == row.name) {
                        table.add_older(other, text);
                    }
                }
                Ok(table)
            })
            .collect()
    }

    /// The table of that name.
    ///
    /// # Errors
    /// [`Error::NoTable`], [`Error::Damaged`], [`Error::Retry`].
    pub fn table(&self, name: &str) -> Result<AnyTable<'_>> {
        let found = self.any_tables()?.into_iter().find(|table| table.name() == name);
        found.ok_or_else(|| Error::NoTable { name: name.into() })
    }
}

impl<'o> AnyTable<'o> {
    fn new(observer: &'o Observer, prints: Prints, row: &Row, text: &str, keys: Stored) -> Result<Self> {
        let kind = Kind::from_number(row.kind);
        let (key, description) = parts(text);
        let decoder = match Decoder::new(description) {
            Ok(_) if Fingerprint::of_text(description).as_u128() != row.value => {
                Err("the description is not the one that the fingerprint was made of".into())
            }
            Ok(decoder) if decoder.model().root().align > MAX_ALIGN => Err("an alignment that no record has".into()),
            Ok(decoder) => Ok(decoder),
            Err(error) => Err(error.to_string().into()),
        };
        let root = decoder.as_ref().map_or((0, 1), |decoder| {
            let root = decoder.model().root();
            (root.size, root.align)
        });
        let owner = match kind {
            Some(Kind::Cell) => Owner::SHARED,
            _ => Owner::of_row(prints.row()),
        };
        let shape = Shape {
            owner,
            geometry: Geometry::with(root.0, root.1, keys.size as usize),
            keys,
        };
        let seed = match kind {
            // Written when the table is made and never again.
            Some(Kind::Map) => observer.memory().load(row.offset + SEED, "map")?,
            _ => 0,
        };
        Ok(Self {
            kind,
            version: row.version,
            fingerprint: Fingerprint::from_u128(row.value),
            key: KeyShape::new(key, kind == Some(Kind::OrderedMap)),
            description: description.to_owned(),
            decoder,
            older: Vec::new(),
            seed,
            seen: Seen {
                observer,
                prints,
                shape,
            },
        })
    }

    /// Records may have the shape that a companion's row describes. One that cannot be read is met again with its records.
    fn add_older(&mut self, row: &Row, text: &str) {
        let Ok(decoder) = Decoder::new(parts(text).1) else {
            return;
        };
        let root = decoder.model().root();
        let (size, align) = (root.size, root.align);
        if row.version == self.version || align > MAX_ALIGN {
            return;
        }
        let shape = self.seen.shape;
        self.older.push(Older {
            version: row.version,
            decoder,
            shape: Shape {
                geometry: Geometry::with(size, align, shape.keys.size as usize),
                ..shape
            },
        });
    }

    /// What reads the records whose header has this version, and what they look like, and the version as it was declared.
    pub(super) fn reads(&self, version: u8) -> std::result::Result<(&Decoder, &Shape, u16), Box<str>> {
        if version == self.version as u8 {
            return match &self.decoder {
                Ok(decoder) => Ok((decoder, &self.seen.shape, self.version)),
                Err(why) => Err(why.clone()),
            };
        }
        let older = self.older.iter().find(|older| older.version as u8 == version);
        match older {
            Some(older) => Ok((&older.decoder, &older.shape, older.version)),
            None => Err(format!("no shape of version {version} (its low byte) is described").into()),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.seen.prints.name()
    }

    /// What it is; `None` if a later version of the library made it.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// Declared version of its records.
    #[must_use]
    pub fn version(&self) -> u16 {
        self.version
    }

    /// Fingerprint of its records.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The description of its records, as text.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// The shape of its keys; of tables without keys an empty text.
    #[must_use]
    pub fn key_shape(&self) -> &KeyShape {
        &self.key
    }

    /// What names its records.
    #[must_use]
    pub fn naming(&self) -> Naming {
        match self.kind {
            Some(Kind::Map | Kind::OrderedMap) => Naming::Key,
            Some(Kind::Queue) => Naming::Serial,
            Some(Kind::Slab | Kind::Timers | Kind::Streams) => Naming::Id,
            Some(Kind::Cell) | None => Naming::Only,
        }
    }

    /// Reads its records.
    ///
    /// # Errors
    /// Why they cannot be read: the description is damaged, or of a later version.
    pub fn decoder(&self) -> std::result::Result<&Decoder, &str> {
        self.decoder.as_ref().map_err(|why| &**why)
    }

    /// Finds a field of its records.
    ///
    /// # Errors
    /// [`NoField`].
    pub fn select(&self, path: &str) -> std::result::Result<Selected, NoField> {
        match &self.decoder {
            Ok(decoder) => decoder.select(path),
            Err(why) => Err(NoField {
                path: path.to_owned(),
                known: String::new(),
                of: why.to_string(),
                instead: Vec::new(),
            }),
        }
    }

    /// Goes over all records, each as it was committed at some moment. One that is there all the while is met once; one that comes or goes
    /// meanwhile is met once or not at all.
    #[must_use]
    pub fn records(&self) -> Records<'_, 'o> {
        Records {
            table: self,
            next: Place::first(self),
        }
    }

    /// The record under a key, in the form that [`KeyShape::parse`] gives, as it is committed.
    ///
    /// # Errors
    /// [`Error::Retry`], [`Error::Damaged`]; of a table without keys [`Error::NoTable`].
    pub fn get(&self, key: &[u8]) -> Result<Option<AnyRecord<'_, 'o>>> {
        let way = match self.kind {
            Some(Kind::Map) => self.map_way(key),
            Some(Kind::OrderedMap) => Way::Tree {
                tree: self.tree(),
                key: Cow::Borrowed(key),
            },
            _ => return Err(self.without("keys")),
        };
        self.found(&way, 0, None)
    }

    /// The record of an id's or a serial number, as it is committed.
    ///
    /// # Errors
    /// [`Error::Retry`], [`Error::Damaged`]; of a table whose records have no numbers [`Error::NoTable`].
    pub fn get_number(&self, number: u64) -> Result<Option<AnyRecord<'_, 'o>>> {
        let row = self.row();
        match self.kind {
            Some(Kind::Slab) => self.found(&Way::Slot { row, token: number }, number, None),
            Some(Kind::Timers) => {
                let deadline = self.deadline(number)?;
                self.found(&Way::Slot { row, token: number }, number, deadline)
            }
            Some(Kind::Queue) => self.found(&Way::Item { row, serial: number }, number, None),
            Some(Kind::Streams) => {
                let place = Place::Page((number & 0xffff_ffff) / crate::table::streams::PAGE_SLOTS);
                let streams = sweep::batch(self, &place)?.streams;
                let stream = streams.into_iter().find(|stream| stream.id.token() == number);
                Ok(stream.map(|stream| AnyRecord::of_stream(self, stream)))
            }
            _ => Err(self.without("numbers")),
        }
    }

    fn without(&self, what: &'static str) -> Error {
        Error::OtherKind {
            table: self.name().into(),
            what,
        }
    }

    fn found(&self, way: &Way<'_>, number: u64, deadline: Option<u64>) -> Result<Option<AnyRecord<'_, 'o>>> {
        Ok(self
            .committed(way)?
            .map(|raw| AnyRecord::new(self, number, deadline, Ok(raw))))
    }

    pub(super) fn observer(&self) -> &'o Observer {
        self.seen.observer
    }

    pub(super) fn row(&self) -> u64 {
        self.seen.row()
    }

    pub(super) fn shape(&self) -> &Shape {
        &self.seen.shape
    }

    pub(super) fn is_streams(&self) -> bool {
        self.kind == Some(Kind::Streams)
    }

    pub(super) fn is_timers(&self) -> bool {
        self.kind == Some(Kind::Timers)
    }

    pub(super) fn tree(&self) -> Tree {
        Tree::new(self.row(), node::Shape::with(self.seen.shape.keys))
    }

    /// The same table as a map.
    pub(super) fn map(&self) -> Option<Table<'o>> {
        (self.kind == Some(Kind::Map)).then(|| {
            let seen = Seen {
                observer: self.seen.observer,
                prints: self.seen.prints.clone(),
                shape: self.seen.shape,
            };
            Table::of(seen, self.seed)
        })
    }

    fn map_way<'k>(&self, key: &'k [u8]) -> Way<'k> {
        Way::Index {
            row: self.row(),
            hash: crate::table::hash::of(key, self.seed),
            key: Cow::Borrowed(key),
        }
    }

    pub(super) fn confirm<S: Source>(&self, source: &mut S) -> Result<()> {
        self.seen.prints.confirm(source)
    }

    pub(super) fn look(&self, way: &Way<'_>) -> Result<Option<Raw>> {
        self.seen.look(way)
    }

    pub(super) fn committed(&self, way: &Way<'_>) -> Result<Option<Raw>> {
        self.observer().snapshot(|s| {
            let found = self.seen.committed(s, way);
            s.note(found)
        })
    }

    /// When a timer fires; `None` if there is none.
    pub(super) fn deadline(&self, token: u64) -> Result<Option<u64>> {
        let row = self.row();
        self.observer().snapshot(|s| {
            s.be_strict();
            let mut deadline = || match slots::find(s, row, token)? {
                Some(slot) => timers::deadline_of(s, row, &slot).map(Some),
                None => Ok(None),
            };
            let found = deadline();
            s.note(found)
        })
    }
}

/// The records of a table, a batch at a time.
#[derive(Debug)]
pub struct Records<'t, 'o> {
    table: &'t AnyTable<'o>,
    next: Option<Place>,
}

impl<'t, 'o> Records<'t, 'o> {
    /// The next records, perhaps none; `None` behind the last.
    ///
    /// # Errors
    /// [`Error::Retry`]; [`Error::Damaged`] in what leads to records: then there are no more. A record that is damaged itself says so when it is read.
    pub fn batch(&mut self) -> Result<Option<Vec<AnyRecord<'t, 'o>>>> {
        let Some(place) = self.next.take() else { return Ok(None) };
        let batch = sweep::batch(self.table, &place)?;
        self.next = batch.next;
        let table = self.table;
        let met = batch.met.into_iter();
        let records = met.map(|met| AnyRecord::new(table, met.number, met.deadline, met.raw));
        let streams = batch
            .streams
            .into_iter()
            .map(|stream| AnyRecord::of_stream(table, stream));
        Ok(Some(records.chain(streams).collect()))
    }
}
