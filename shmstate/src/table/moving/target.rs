//! A target: a map that gets records of a source, and what its handles ask.

use crate::archive::{self, OwnedValue, Value};
use crate::error::{Error, Result};
use crate::region::view::View;
use crate::table::catalog::{self, Row, TableOptions};
use crate::table::declared;
use crate::table::key::{self, Encoded, Form, Key};
use crate::table::map::Map;
use crate::table::mixed;
use crate::tx::Tx;
use std::any::{Any, TypeId};
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use xxhash_rust::xxh3::xxh3_64;

/// From which key of the source a record comes.
type SourceOf<K, K2> = Box<dyn Fn(&K2) -> Option<K> + Send + Sync>;
/// What becomes of a record.
type Make<K, V, K2, V2> = Box<dyn Fn(&View, &K, &V) -> Result<Vec<(K2, V2)>> + Send + Sync>;

/// What of a target depends on its types; `K` and `V` are those of the source.
trait Work<K, V>: Send + Sync {
    fn admit(&self, view: &View, name: &str) -> Result<()>;
    fn compare(&self, view: &View, row: &Row, settled: bool) -> Result<()>;
    fn create(&self, tx: &mut Tx<'_>, name: &str, options: TableOptions) -> Result<u64>;
    fn put(&self, tx: &mut Tx<'_>, row: u64, key: &K, value: &V) -> Result<()>;
    fn source_of(&self, key: &[u8]) -> Result<Option<K>>;
    fn find(&self, view: &View, target_key: &[u8], key: &K, value: &V) -> Result<Option<Box<dyn Any>>>;
    fn drop_some(&self, tx: &mut Tx<'_>, row: &Row, most: u64) -> Result<u64>;
}

struct Typed<K, V, K2, V2> {
    source_of: SourceOf<K, K2>,
    make: Make<K, V, K2, V2>,
}

impl<K: Key, V: OwnedValue, K2: Key, V2: OwnedValue> Work<K, V> for Typed<K, V, K2, V2> {
    fn admit(&self, view: &View, name: &str) -> Result<()> {
        declared::admit(view, name, &Map::<K2, V2>::spec())
    }

    fn compare(&self, view: &View, row: &Row, settled: bool) -> Result<()> {
        let spec = Map::<K2, V2>::spec();
        // One whose records have another version's shape is compared by who opens it with the steps; when that is settled, it has this one.
        let other_version = row.version != spec.value.version();
        if !settled && other_version && row.key == spec.key_print() && row.kind == catalog::Kind::Map as u16 {
            return Ok(());
        }
        catalog::compare(row, &spec, || catalog::description(view, row))
    }

    fn create(&self, tx: &mut Tx<'_>, name: &str, options: TableOptions) -> Result<u64> {
        Map::<K2, V2>::create_with(tx, name, options).map(|map| mixed::Table::row(&map))
    }

    fn put(&self, tx: &mut Tx<'_>, row: u64, key: &K, value: &V) -> Result<()> {
        let made = (self.make)(tx, key, value)?;
        let map = Map::<K2, V2>::handle_of(row, tx)?;
        for (key, value) in made {
            map.insert_carried(tx, key.borrowed(), &value)?;
        }
        Ok(())
    }

    fn source_of(&self, key: &[u8]) -> Result<Option<K>> {
        let decoded = key::decode::<K2>(Form::Hashed, key);
        let decoded = decoded.ok_or_else(|| Error::damaged("key", 0, key.len() as u64))?;
        Ok((self.source_of)(&decoded))
    }

    fn find(&self, view: &View, target_key: &[u8], key: &K, value: &V) -> Result<Option<Box<dyn Any>>> {
        for (made, value) in (self.make)(view, key, value)? {
            if *Encoded::<K2>::of(made.borrowed(), Form::Hashed)? == *target_key {
                return Ok(Some(Box::new(value)));
            }
        }
        Ok(None)
    }

    fn drop_some(&self, tx: &mut Tx<'_>, row: &Row, most: u64) -> Result<u64> {
        mixed::drop_records::<K2>(tx, row, most)
    }
}

/// A target of a move from a map with keys `K` and values `V`.
pub(super) struct Target<K, V> {
    name: Box<str>,
    /// Its row of the catalog; 0 before the move was settled.
    row: AtomicU64,
    /// Of its keys and values.
    types: [TypeId; 2],
    work: Box<dyn Work<K, V>>,
}

/// The targets of a move as its way back sees them, and the rest of the region.
pub struct Targets<'v> {
    view: &'v View,
    all: Vec<(&'v str, u64, [TypeId; 2])>,
}

impl<'v> Targets<'v> {
    pub(super) fn new<K: Key, V: OwnedValue>(view: &'v View, targets: &'v [Target<K, V>]) -> Self {
        let all = targets
            .iter()
            .map(|target| (target.name(), target.row().unwrap_or(0), target.types));
        Self {
            view,
            all: all.collect(),
        }
    }

    /// The target of that name, with the types that the move was declared with.
    ///
    /// # Errors
    /// [`Error::BadSteps`] if it is none of the move's, or has other types.
    pub fn map<K2: Key, V2: Value>(&self, name: &str) -> Result<Map<K2, V2>> {
        let found = self.all.iter().find(|(known, row, _)| *known == name && *row != 0);
        let bad = |why: &str| Error::BadSteps {
            table: name.into(),
            why: why.into(),
        };
        let (_, row, types) = found.ok_or_else(|| bad("it is none of the tables that the move fills"))?;
        if *types != [TypeId::of::<K2>(), TypeId::of::<V2>()] {
            return Err(bad("the move was declared with other types of its keys or values"));
        }
        Map::handle_of(*row, self.view)
    }
}

impl Deref for Targets<'_> {
    type Target = View;

    fn deref(&self) -> &View {
        self.view
    }
}

impl fmt::Debug for Targets<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all.iter().map(|(name, ..)| name)).finish()
    }
}

impl<K: Key, V: OwnedValue> Target<K, V> {
    pub(super) fn new<K2: Key, V2: OwnedValue>(
        name: &str,
        source_of: impl Fn(&K2) -> Option<K> + Send + Sync + 'static,
        make: impl Fn(&View, &K, &V) -> Result<Vec<(K2, V2)>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            row: AtomicU64::new(0),
            types: [TypeId::of::<K2>(), TypeId::of::<V2>()],
            work: Box::new(Typed {
                source_of: Box::new(source_of),
                make: Box::new(make),
            }),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn row(&self) -> Option<u64> {
        Some(self.row.load(Ordering::Relaxed)).filter(|row| *row != 0)
    }

    pub(super) fn set_row(&self, row: u64) {
        self.row.store(row, Ordering::Relaxed);
    }

    /// Refuses to make it if it was not declared, before it is too late for that.
    pub(super) fn admit(&self, view: &View) -> Result<()> {
        self.work.admit(view, &self.name)
    }

    /// Refuses a table of another shape. Before the tables that migrate are settled, it may be of another version.
    pub(super) fn compare(&self, view: &View, row: &Row, settled: bool) -> Result<()> {
        self.work.compare(view, row, settled)
    }

    /// Makes the table. Gives its row.
    pub(super) fn create(&self, tx: &mut Tx<'_>, options: TableOptions) -> Result<u64> {
        self.work.create(tx, &self.name, options)
    }

    /// Puts what becomes of a record of the source.
    pub(super) fn put(&self, tx: &mut Tx<'_>, key: &K, value: &V) -> Result<()> {
        match self.row() {
            Some(row) => self.work.put(tx, row, key, value),
            None => Err(Error::NoTable {
                name: self.name.clone(),
            }),
        }
    }

    /// The key of the source that a key of this target comes from.
    pub(super) fn source_of(&self, key: &[u8]) -> Result<Option<K>> {
        self.work.source_of(key)
    }

    /// What would stand here under `target_key` if the record had moved: a value of this target's type.
    pub(super) fn find(&self, view: &View, target_key: &[u8], key: &K, value: &V) -> Result<Option<Box<dyn Any>>> {
        self.work.find(view, target_key, key, value)
    }

    /// Takes so many records away of a table that has keys like this one and was set aside.
    pub(super) fn drop_some(&self, tx: &mut Tx<'_>, row: &Row, most: u64) -> Result<u64> {
        self.work.drop_some(tx, row, most)
    }
}

/// Before something is changed in a table under a key: if it is a target, what is still in the sources for it moves first.
#[cold]
pub(crate) fn before(tx: &mut Tx<'_>, row: u64, key: &[u8]) -> Result<()> {
    if tx.mixed().is_target(row) {
        for (number, mover) in tx.moves().into(row) {
            mover.before(tx, number, row, key)?;
        }
    }
    Ok(())
}

/// What a target does not have under a key, if a source still has it.
#[cold]
pub(crate) fn pending<'v, V: Value>(view: &'v View, row: u64, key: &[u8]) -> Result<Option<&'v V::Archived>> {
    if !view.mixed().is_target(row) {
        return Ok(None);
    }
    for (_, mover) in view.moves().into(row) {
        if let Some(value) = mover.pending(view, row, key)? {
            let value = value.downcast::<V>().map_err(|_| Error::ForeignTable)?;
            return archive::lent::<V>(view, [row, xxh3_64(key)], &value).map(Some);
        }
    }
    Ok(None)
}

/// Whether a target has all its records.
#[cold]
pub(crate) fn is_whole(view: &View, row: u64) -> Result<()> {
    if !view.mixed().is_target(row) {
        return Ok(());
    }
    view.moves().check_whole(view, row, || {
        let rows = catalog::rows(view).unwrap_or_default();
        let named = rows.into_iter().find(|known| known.offset == row);
        named.map_or_else(String::new, |row| row.name)
    })
}
