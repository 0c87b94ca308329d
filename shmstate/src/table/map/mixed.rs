//! A map whose records have more than one shape: while its records migrate, and while there is a way back.
//!
//! ```text
//! players     the map: records of any of these shapes under one index; its row describes the shape that its owner writes
//! .1.players  its companion of version 1: how many records of that version the map has (`LEFT`); twins (`WAY`)
//! ```
//!
//! - **M1** The header of a record says its version. For each version but the owner's there is a companion, whose row describes that
//!   shape and whose `LEFT` counts the map's records of it, exactly.
//! - **M2** A *twin* is a record of the companion under the same key: what the map's record is in the companion's shape. As long as `WAY` is
//!   set, every record of the map that is not of the companion's shape, and was written by a program that knew the way back, has a twin
//!   that is as new as itself: both are changed by one transaction.
//! - **M3** Whoever meets a record of another version takes the twin in the companion of its own version if that is good, else its steps, else it
//!   has no business with the table: `open` refuses.
//! - **M4** A record is changed only after it was given the owner's shape, in the same transaction. So no program changes what it cannot read.
//! - **M5** The row is rewritten in a transaction before the first that changes the table (B2 of `region::mixed`), and `LEFT` of what it
//!   described until then becomes all that is not counted elsewhere.
//!
//! A program that goes back needs no code of the one that it follows: it finds the shapes in the catalog, and what it reads in the
//! companion of its own version.

use super::{COUNT, KEYS, LEFT, Map, WAY, WHAT, index::Index, index::Place};
use crate::archive::{self, Geometry, Value};
use crate::broken;
use crate::crash::{self, Point};
use crate::error::{Error, Report, Result};
use crate::heap::{self, Owner};
use crate::region::Region;
use crate::region::mixed::Bridge;
use crate::region::seal::{seal, unseal};
use crate::region::view::View;
use crate::schema::{self, Model};
use crate::table::catalog::{self, Kind, MAX_TABLE_NAME, ROOT, Row, Shape, Spec, TableOptions};
use crate::table::key::{Encoded, Key};
use crate::table::keyed::{self, Stored};
use crate::table::record::{self, Home, Parts, Written};
use crate::table::steps::Steps;
use crate::tx::Tx;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// How many chunks a call of the sweep looks at.
const MOST_CHUNKS: u64 = 4096;
const COMPANION: &str = "companion of a map";
const VERSION: &str = "schema version of a record";
/// Longest name of a table that can have companions: `.65535.` stands before it.
const MOST_NAME: usize = MAX_TABLE_NAME - 7;
/// In `WAY`: the twins are good.
const GOOD: u64 = seal(1);

/// A table beside a map, for one version of its records.
#[derive(Clone, Debug)]
pub(crate) struct Companion {
    pub(crate) row: Row,
    /// Records of that version in the map.
    pub(crate) left: u64,
    /// Whether its twins are good.
    pub(crate) good: bool,
}

/// The table that `name` is a companion of, and for which version.
pub(crate) fn companion_of(name: &str) -> Option<(u16, &str)> {
    let (version, table) = name.strip_prefix('.')?.split_once('.')?;
    Some((version.parse().ok()?, table))
}

fn name_of(version: u16, table: &str) -> String {
    format!(".{version}.{table}")
}

/// All companions of a table.
pub(crate) fn companions(view: &View, table: &str) -> Result<Vec<Companion>> {
    let mut found = Vec::new();
    for row in catalog::rows(view)? {
        if companion_of(&row.name).is_none_or(|(_, of)| of != table) {
            continue;
        }
        let [left, way] = view.words(row.offset + LEFT, COMPANION)?;
        if way != 0 && way != GOOD {
            return Err(Error::damaged(COMPANION, row.offset + WAY, way));
        }
        let left = match left {
            0 => 0,
            word => unseal(word).ok_or_else(|| Error::damaged(COMPANION, row.offset + LEFT, word))?,
        };
        found.push(Companion {
            left,
            good: way == GOOD,
            row,
        });
    }
    Ok(found)
}

/// A shape that records may have beside the owner's.
#[derive(Clone, Copy, Debug)]
struct Older {
    /// Low byte of its version.
    version: u8,
    geometry: Geometry,
    /// Which of the steps reads it.
    source: Option<usize>,
    /// Row of its companion; 0 before the table was settled.
    companion: u64,
}

/// What this process knows of the table.
#[derive(Clone, Debug, Default)]
struct State {
    older: Vec<Older>,
    /// Row of the companion of this program's own version, if its twins are good.
    mine: Option<u64>,
    /// Row of the companion that gets a twin of everything that changes.
    back: Option<u64>,
    /// Rows of all companions.
    companions: Vec<u64>,
}

/// A map that may hold records of several shapes.
struct Mixture<K, V: Value> {
    map: Map<K, V>,
    name: Box<str>,
    steps: Steps<V>,
    state: RwLock<State>,
    round: Mutex<Round>,
}

/// A sweep's way through the table.
#[derive(Debug, Default)]
struct Round {
    /// Chunks that are still to be looked at; `None` before it has begun.
    chunks: Option<Vec<u64>>,
    /// Whether any record migrated in it, or was moved to a chunk that it does not know.
    found: bool,
}

impl<K, V: Value> fmt::Debug for Mixture<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mixture")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Opens a map, and enters it among the tables of several shapes if it is one.
pub(super) fn open<K: Key, V: Value>(region: &Region, name: &str, steps: Steps<V>) -> Result<Map<K, V>> {
    let bad = |why: &str| Error::BadSteps {
        table: name.into(),
        why: why.into(),
    };
    if let Some(why) = &steps.wrong {
        return Err(bad(why));
    }
    if !steps.sources.is_empty() && name.len() > MOST_NAME {
        return Err(bad("a table that migrates has a name of at most 57 bytes"));
    }
    let found = |view: &View| catalog::named(view, name).map(|row| (row.offset, row));
    let row = catalog::live(region, found)?.offset;
    let map = Map::handle_of(row, &region.view)?;
    // A second handle in a process that knows the steps: it is one more of the first.
    if steps.sources.is_empty() && map.mixture(&region.view).is_some() {
        return Ok(map);
    }
    let state = catalog::live(region, |view| {
        let row = catalog::named(view, name)?;
        Ok((row.offset, State::of::<K, V>(view, &row, &steps)?))
    })?;
    match state {
        None => region.view.mixed().leave(row),
        Some(state) => {
            let mixture = Mixture {
                map,
                name: name.into(),
                steps,
                state: RwLock::new(state),
                round: Mutex::default(),
            };
            region.view.mixed().enter(row, Arc::new(mixture));
            region.look_first();
        }
    }
    Ok(map)
}

/// Refuses a table that holds records of other shapes, for who knows no others.
pub(crate) fn check_plain<V: Value>(view: &View, name: &str) -> Result<()> {
    for companion in companions(view, name)? {
        if companion.row.version != V::VERSION && (companion.left > 0 || companion.good) {
            return Err(Error::BadSteps {
                table: name.into(),
                why: format!(
                    "{} of its records are still of version {}, or there is a way back to it: open it with `open` or `open_migrating`, before the first transaction",
                    companion.left, companion.row.version
                )
                .into(),
            });
        }
    }
    Ok(())
}

/// Checks what the catalog says of the shapes of a map's records; `versions` is how many it has with each low byte of a version.
pub(crate) fn check(view: &View, at: u64, versions: &BTreeMap<u8, u64>, report: &mut Report<'_>) -> Result<()> {
    let Some(row) = catalog::rows(view)?.into_iter().find(|row| row.offset == at) else {
        return Ok(());
    };
    if companion_of(&row.name).is_none() {
        let words: [u64; 2] = view.words(at + LEFT, COMPANION)?;
        for (i, word) in words.into_iter().enumerate() {
            if word != 0 {
                report(Error::damaged(COMPANION, at + LEFT + i as u64 * 8, word))?;
            }
        }
    }
    let mut counted = BTreeMap::new();
    match companions(view, &row.name) {
        Ok(companions) => {
            for companion in companions {
                let version = companion.row.version as u8;
                let found = versions.get(&version).copied().unwrap_or(0);
                counted.insert(version, companion.left);
                let own = version == row.version as u8;
                if companion.left != if own { 0 } else { found } {
                    report(Error::damaged(COMPANION, companion.row.offset + LEFT, companion.left))?;
                }
            }
        }
        Err(fault) => return report(fault),
    }
    for (version, records) in versions {
        if *version != row.version as u8 && !counted.contains_key(version) {
            report(Error::damaged(VERSION, at, *records))?;
        }
    }
    Ok(())
}

/// Whether a row describes what a program says.
fn is_like(row: &Row, shape: &schema::Description) -> bool {
    row.version == shape.version() && row.value == shape.fingerprint().as_u128()
}

impl State {
    /// What the catalog says of the table; `None` if all is of the shape that the program writes and nobody wants another. The steps lead
    /// from every shape that it has records of, or the twins do (M3).
    fn of<K: Key, V: Value>(view: &View, row: &Row, steps: &Steps<V>) -> Result<Option<Self>> {
        let spec = Map::<K, V>::spec();
        let companions = companions(view, &row.name)?;
        let text = || catalog::description(view, row);
        // Kind and keys never differ, whatever the steps.
        let same_keys = row.kind == Kind::Map as u16 && row.key == spec.key_print();
        let own = companions.iter().find(|companion| companion.row.version == V::VERSION);
        let mine = own.filter(|own| own.good && is_like(&own.row, &spec.value));
        let is_own = is_like(row, &spec.value);
        let mut state = Self {
            mine: mine.map(|own| own.row.offset),
            companions: companions.iter().map(|companion| companion.row.offset).collect(),
            ..Self::default()
        };
        let others = companions
            .iter()
            .filter(|companion| companion.row.version != V::VERSION);
        let present = others.clone().filter(|companion| companion.left > 0);
        let shapes = (!is_own).then_some((row, 0)).into_iter();
        for (of, companion) in shapes.chain(present.map(|companion| (&companion.row, companion.row.offset))) {
            let source = steps.sources.iter().position(|source| is_like(of, &source.shape));
            let distinct = (of.version ^ V::VERSION) & 0xff != 0;
            if !same_keys || !distinct || source.is_none() && mine.is_none() {
                return Err(match catalog::compare(row, &spec, text) {
                    Err(refusal) => refusal,
                    // The table is of the program's shape, but some of its records are not.
                    Ok(()) => left_over(view, of, &spec)?,
                });
            }
            let geometry = match source {
                Some(source) => (steps.sources[source].geometry)(K::SIZE),
                None => geometry_of(view, of, K::SIZE)?,
            };
            state.older.push(Older {
                version: of.version as u8,
                geometry,
                source,
                companion,
            });
        }
        if is_own {
            catalog::compare(row, &spec, text)?;
        }
        let wanted = others.clone().any(|companion| companion.good);
        Ok((!state.older.is_empty() || wanted).then_some(state))
    }
}

/// The refusal of a table of which some records are still of another shape.
fn left_over(view: &View, of: &Row, spec: &Spec) -> Result<Error> {
    let text = catalog::description(view, of)?;
    let (_, table) = companion_of(&of.name).unwrap_or((0, &of.name));
    let more = [format!("some of its records are still of version {}", of.version)];
    let report = schema::refusal(table, &more, catalog::parts(&text).1, spec.value.text());
    Ok(Error::SchemaMismatch {
        table: table.into(),
        report: report.into(),
    })
}

/// Where the roots of records lie whose type this program does not have.
fn geometry_of(view: &View, row: &Row, key_size: usize) -> Result<Geometry> {
    let text = catalog::checked_description(view, row)?;
    let model = Model::read(catalog::parts(&text).1);
    let model = model.map_err(|_| Error::damaged("description", row.description.0, row.description.1))?;
    let root = model.root();
    if root.align > archive::MAX_ALIGN {
        return Err(Error::damaged("alignment of a record", row.offset, root.align as u64));
    }
    Ok(Geometry::with(root.size, root.align, key_size))
}

/// The twins of a map: a companion whose records have a shape that the caller need not know.
struct Twins<K> {
    /// Of bytes, for keys and index only: both lie at the same places whatever a record's type.
    map: Map<K, u8>,
    home: Home,
}

impl<K: Key> Twins<K> {
    fn of(view: &View, row: u64, geometry: Geometry) -> Result<Self> {
        let map = Map::handle_of(row, view)?;
        Ok(Self {
            home: Home { geometry, ..map.home() },
            map,
        })
    }

    fn find(&self, view: &View, key: &Encoded<'_, K>) -> Result<Option<u64>> {
        Ok(self.map.look_up(view, key)?.1.map(|found| found.place.record))
    }

    /// Puts a record under a key, as `write` makes it: anew, or in place of the one that is there.
    fn put(
        &self,
        tx: &mut Tx<'_>,
        key: &Encoded<'_, K>,
        write: impl FnOnce(&mut Tx<'_>, Home, Parts<'_>, Option<u64>) -> Result<(Written, u64)>,
    ) -> Result<()> {
        let (hash, found) = self.map.look_up(tx, key)?;
        let place = found.map(|found| found.place);
        let (new, before) = write(
            tx,
            self.home,
            keyed::parts::<K>(key),
            place.map(|place: Place| place.record),
        )?;
        let index = self.map.admit(tx)?;
        match place {
            Some(place) if place.record == new.header => {}
            Some(place) => index.swap(tx, place, new.header)?,
            None => {
                let hasher = self.map.hasher(tx)?;
                index.add(tx, hash, new.header, hasher)?;
            }
        }
        self.map.count(tx, i64::from(place.is_none()), new.archived, before)
    }

    fn remove(&self, tx: &mut Tx<'_>, key: &Encoded<'_, K>) -> Result<()> {
        let (hash, Some(found)) = self.map.look_up(tx, key)? else {
            return Ok(());
        };
        let place = found.place;
        let head = keyed::head_of::<K>(tx, place.record)?;
        let hasher = self.map.hasher(tx)?;
        let archived = record::discard(tx, self.home, place.record, head)?;
        self.map.admit(tx)?.remove(tx, hash, place, hasher)?;
        self.map.count(tx, -1, 0, archived)
    }
}

fn set_left(tx: &mut Tx<'_>, companion: u64, left: u64) -> Result<()> {
    tx.put(companion + LEFT, if left == 0 { 0 } else { seal(left) }, COMPANION)
}

fn left_of(view: &View, companion: u64) -> Result<u64> {
    match view.load(companion + LEFT, COMPANION)? {
        0 => Ok(0),
        word => unseal(word).ok_or_else(|| Error::damaged(COMPANION, companion + LEFT, word)),
    }
}

impl<K: Key, V: Value> Mixture<K, V> {
    fn state(&self) -> State {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The companion for the shape that a row describes; makes it if there is none.
    fn companion(&self, tx: &mut Tx<'_>, row: &Row) -> Result<u64> {
        let known = companions(tx, &self.name)?;
        if let Some(known) = known.iter().find(|known| known.row.version == row.version) {
            if known.row.value == row.value {
                return Ok(known.row.offset);
            }
            return Err(Error::BadSteps {
                table: (*self.name).into(),
                why: format!("its version {} was another shape once; raise the version", row.version).into(),
            });
        }
        let text = catalog::checked_description(tx, row)?;
        let (key, value) = catalog::parts(&text);
        let shape = Shape {
            kind: Kind::Map,
            key,
            value,
            version: row.version,
        };
        let seed = tx.region.seed();
        let [directory, depth, seed, deepest] = Index::create(tx, seed)?;
        let roots = [directory, depth, seed, deepest, 0, 0, Stored::of::<K>().word(), 0, 0];
        const { assert!(WAY == ROOT + 8 * 8 && LEFT == KEYS + 8) };
        let options = TableOptions::default().checksums(catalog::is_checked(tx, row.offset)?);
        catalog::add(tx, &name_of(row.version, &self.name), &shape, options, &roots)
    }
}

impl<K: Key, V: Value> Bridge for Mixture<K, V> {
    fn settle(&self, tx: &mut Tx<'_>) -> Result<()> {
        let spec = Map::<K, V>::spec();
        let row = catalog::named(tx, &self.name)?;
        State::of::<K, V>(tx, &row, &self.steps)?;
        let own = is_like(&row, &spec.value);
        if !own {
            let old = self.companion(tx, &row)?;
            let companions = companions(tx, &self.name)?;
            let counted = companions.iter().filter(|companion| companion.row.offset != old);
            let counted: u64 = counted.map(|companion| companion.left).sum();
            let records = self.map.records(tx)?;
            let left = records.checked_sub(counted);
            let left = left.ok_or_else(|| Error::damaged(COMPANION, row.offset + COUNT, counted))?;
            set_left(tx, old, left)?;
            if let Some(mine) = companions.iter().find(|companion| companion.row.version == V::VERSION) {
                set_left(tx, mine.row.offset, 0)?;
            }
            catalog::redescribe(tx, &row, &spec)?;
            crash::point(Point::ShapeDescribed);
        }
        let companions = companions(tx, &self.name)?;
        let mut keep = None;
        for companion in &companions {
            let wanted = self
                .steps
                .back
                .as_ref()
                .filter(|back| is_like(&companion.row, &back.shape));
            let mine = companion.row.version == V::VERSION;
            // It was good all the while, or nothing was written in another shape since this one was the table's (M2).
            let good = companion.good || row.version == companion.row.version && !own;
            if wanted.is_some() && good {
                if !companion.good {
                    // Twins of a way back that was closed.
                    Map::<K, u8>::handle_of(companion.row.offset, tx)?.clear(tx)?;
                    tx.put(companion.row.offset + WAY, GOOD, COMPANION)?;
                }
                keep = Some(companion.row.offset);
            } else if companion.good && !mine {
                tx.put(companion.row.offset + WAY, 0, COMPANION)?;
            }
        }
        let row = catalog::named(tx, &self.name)?;
        let mut state = State::of::<K, V>(tx, &row, &self.steps)?.unwrap_or_default();
        state.back = keep;
        state.companions = companions.iter().map(|companion| companion.row.offset).collect();
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        Ok(())
    }

    fn write_twin(&self, tx: &mut Tx<'_>, header: u64, word: u64) -> Result<()> {
        let (state, map) = (self.state(), &self.map);
        let (Some(row), Some(back)) = (state.back, &self.steps.back) else {
            return Ok(());
        };
        if broken::TWIN {
            return Ok(());
        }
        // It may have been replaced or taken away since it was noted.
        if !matches!(
            heap::ends_block(tx, tx.fresh_window(), map.home().owner, header),
            Ok(true)
        ) {
            return Ok(());
        }
        let now = tx.load(header, WHAT)?;
        if now as u32 == 0 || now == word || archive::version_in(now) != archive::version::<V>() {
            return Ok(());
        }
        let key = map.stored_key(tx, header)?;
        let twins = Twins::<K>::of(tx, row, (back.geometry)(K::SIZE))?;
        let from = (header, Map::<K, V>::GEOMETRY);
        twins.put(tx, &key, |tx, home, key, before| {
            (back.write)(tx, from, home, key, before)
        })?;
        crash::point(Point::TwinWritten);
        Ok(())
    }

    fn close_way_back(&self, tx: &mut Tx<'_>) -> Result<()> {
        match self.state().back {
            Some(back) => tx.put(back + WAY, 0, COMPANION),
            None => Ok(()),
        }
    }

    fn way_back_is_closed(&self) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).back = None;
    }

    fn has_way_back(&self) -> bool {
        self.state().back.is_some()
    }
}

impl<K: Key, V: Value> Map<K, V> {
    fn mixture(&self, view: &View) -> Option<Arc<Mixture<K, V>>> {
        view.mixed().bridge::<Mixture<K, V>>(self.row)
    }

    /// Whether records may have other shapes, or twins.
    #[inline]
    pub(super) fn is_mixed(&self, view: &View) -> bool {
        view.mixed().has(self.row)
    }

    /// The key of the record whose header is given.
    fn stored_key(&self, view: &View, header: u64) -> Result<Encoded<'static, K>> {
        let tail = Self::checked_tail(view, header)?;
        let bytes = keyed::key_at::<K>(view, header, tail)?;
        Encoded::stored(bytes).ok_or_else(|| Error::damaged("key", header, bytes.len() as u64))
    }

    /// The record whose header is given, if its version is another one's: its twin, or what the steps make of it. `None` if it is of this
    /// version, so that something else is wrong with it.
    #[cold]
    pub(super) fn other<'v>(&self, view: &'v View, header: u64, tail: &[u8]) -> Result<Option<&'v V::Archived>> {
        let word = tail.last_chunk::<8>().map_or(0, |word| u64::from_le_bytes(*word));
        let version = archive::version_in(word);
        if version == archive::version::<V>() {
            return Ok(None);
        }
        // The shapes that a table has records of were all compared when it was opened.
        let unknown = Error::damaged(VERSION, header, word);
        let Some(mixture) = self.mixture(view) else {
            return Err(unknown);
        };
        let state = mixture.state();
        if let Some(mine) = state.mine {
            let twins = Twins::<K>::of(view, mine, Self::GEOMETRY)?;
            if let Some(twin) = twins.find(view, &self.stored_key(view, header)?)? {
                return archive::root::<V>(view, twin, Self::GEOMETRY).map(Some);
            }
        }
        let older = state.older.iter().find(|older| older.version == version);
        let Some((older, source)) = older.and_then(|older| Some((older, older.source?))) else {
            return Err(unknown);
        };
        let read = &mixture.steps.sources[source].read;
        archive::converted::<V>(view, [self.row, header, word], || read(view, header, older.geometry)).map(Some)
    }

    /// Before the record under a key is changed: gives it this program's shape (M4), and notes that it may be changed.
    #[cold]
    pub(super) fn renew(&self, tx: &mut Tx<'_>, key: &K::Borrowed) -> Result<()> {
        // Entered by another type: this one would not keep what that one does (M4).
        let mixture = self.mixture(tx).ok_or(Error::ForeignTable)?;
        tx.region.view.mixed_mut().tidy();
        let key = Self::encode(key)?;
        let Some(found) = self.look_up(tx, &key)?.1 else {
            return Ok(());
        };
        let header = found.place.record;
        let word = tx.load(header, WHAT)?;
        let state = mixture.state();
        if archive::version_in(word) != archive::version::<V>() {
            self.migrate(tx, &mixture, &state, header, &key)?;
        } else if state.back.is_some() {
            tx.touch(self.row, header, word);
        }
        Ok(())
    }

    /// Gives the record whose header is given, which is of another version, this program's shape.
    fn migrate(
        &self,
        tx: &mut Tx<'_>,
        mixture: &Mixture<K, V>,
        state: &State,
        header: u64,
        key: &Encoded<'_, K>,
    ) -> Result<()> {
        let word = tx.load(header, WHAT)?;
        let unknown = || Error::damaged(VERSION, header, word);
        let mut older = state.older.iter();
        let older = older.find(|older| older.version == archive::version_in(word));
        let older = *older.ok_or_else(unknown)?;
        let head = keyed::head_of::<K>(tx, header)?;
        let twins = match state.mine {
            Some(mine) => Some(Twins::<K>::of(tx, mine, Self::GEOMETRY)?),
            None => None,
        };
        let twin = match &twins {
            Some(twins) => twins.find(tx, key)?,
            None => None,
        };
        let (new, before) = match (twin, older.source) {
            (Some(twin), _) => {
                let new = record::adopt(tx, self.home(), twin, head)?;
                let from = Home {
                    geometry: older.geometry,
                    ..self.home()
                };
                (new, record::discard(tx, from, header, head)?)
            }
            (None, Some(source)) => {
                let value = (mixture.steps.sources[source].read)(tx, header, older.geometry)?;
                record::renew(tx, self.home(), older.geometry, header, keyed::parts::<K>(key), &value)?
            }
            (None, None) => return Err(unknown()),
        };
        crash::point(Point::ShapeWritten);
        if new.header != header {
            let place = self.look_up(tx, key)?.1.map(|found| found.place);
            let place = place.ok_or_else(|| Error::damaged("record that the index does not know", header, 0))?;
            self.admit(tx)?.swap(tx, place, new.header)?;
        }
        self.count(tx, 0, new.archived, before)?;
        let left = left_of(tx, older.companion)?;
        let left = left.checked_sub(1);
        let left = left.ok_or_else(|| Error::damaged(COMPANION, older.companion + LEFT, 0))?;
        set_left(tx, older.companion, left)?;
        crash::point(Point::ShapeCounted);
        if let (Some(twins), Some(_)) = (twins, twin) {
            twins.remove(tx, key)?;
        }
        if state.back.is_some() {
            tx.touch(self.row, new.header, 0);
        }
        Ok(())
    }

    /// Notes that a record was made, which must have a twin.
    #[cold]
    pub(super) fn touch(&self, tx: &mut Tx<'_>, header: u64) {
        if let Some(mixture) = self.mixture(tx)
            && mixture.state().back.is_some()
        {
            tx.touch(self.row, header, 0);
        }
    }

    /// Notes that a record was moved: it must have a twin as before, and the sweep may have passed the place.
    #[cold]
    pub(super) fn moved(&self, tx: &mut Tx<'_>, header: u64) {
        self.touch(tx, header);
        if let Some(mixture) = self.mixture(tx) {
            mixture.round.lock().unwrap_or_else(PoisonError::into_inner).found = true;
        }
    }

    /// Takes the twin of a record away, which is about to go.
    #[cold]
    pub(super) fn remove_twin(&self, tx: &mut Tx<'_>, header: u64) -> Result<()> {
        let Some(mixture) = self.mixture(tx) else { return Ok(()) };
        if let (Some(row), Some(back)) = (mixture.state().back, &mixture.steps.back) {
            let key = self.stored_key(tx, header)?;
            Twins::<K>::of(tx, row, (back.geometry)(K::SIZE))?.remove(tx, &key)?;
        }
        Ok(())
    }

    /// All records are about to go: so do their twins.
    #[cold]
    pub(super) fn clear_companions(&self, tx: &mut Tx<'_>) -> Result<()> {
        let Some(mixture) = self.mixture(tx) else { return Ok(()) };
        for companion in mixture.state().companions {
            set_left(tx, companion, 0)?;
            Map::<K, u8>::handle_of(companion, tx)?.clear(tx)?;
        }
        Ok(())
    }

    /// Records of other versions, by companion.
    pub(super) fn left(&self, view: &View) -> Result<u64> {
        let Some(mixture) = self.mixture(view) else {
            return Ok(0);
        };
        let older = mixture.state().older;
        older.iter().try_fold(0, |sum, older| match older.companion {
            0 => Ok(sum),
            companion => Ok(sum + left_of(view, companion)?),
        })
    }

    /// Migrates the record whose header is given if it is of another version. Says whether it was.
    fn migrate_at(&self, tx: &mut Tx<'_>, header: u64) -> Result<bool> {
        let word = tx.load(header, WHAT)?;
        if word as u32 == 0 || archive::version_in(word) == archive::version::<V>() {
            return Ok(false);
        }
        let Some(mixture) = self.mixture(tx) else {
            return Ok(false);
        };
        let key = self.stored_key(tx, header)?;
        self.migrate(tx, &mixture, &mixture.state(), header, &key)?;
        Ok(true)
    }

    /// Migrates the records of about `budget`, of those that have another version: there are some.
    pub(super) fn sweep_chunks(&self, tx: &mut Tx<'_>, budget: u64) -> Result<u64> {
        let Some(mixture) = self.mixture(tx) else { return Ok(0) };
        let owner = self.home().owner;
        let mut round = mixture.round.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = 0;
        let mut looked = 0;
        while done < budget && looked < MOST_CHUNKS {
            let Some(chunk) = round.chunks.as_mut().and_then(Vec::pop) else {
                let left = self.left(tx)?;
                if left == 0 {
                    break;
                }
                // What was moved, or taken back, meanwhile is found in the next round.
                if round.chunks.is_some() && !round.found {
                    return Err(Error::damaged(COMPANION, self.row + COUNT, left));
                }
                *round = Round {
                    chunks: Some(owner.chunks(tx)?),
                    found: false,
                };
                looked += 1;
                continue;
            };
            looked += 1;
            for block in heap::Blocks::of_chunk(tx, owner, chunk)? {
                let migrated = self.migrate_at(tx, block.offset + block.size - record::HEADER)?;
                round.found |= migrated;
                done += u64::from(migrated);
            }
        }
        Ok(done)
    }

    /// Twins that nobody wants any more.
    pub(super) fn stale(&self, view: &View) -> Result<Vec<(u64, u64)>> {
        let Some(mixture) = self.mixture(view) else {
            return Ok(Vec::new());
        };
        let state = mixture.state();
        let mut stale = Vec::new();
        for companion in state.companions {
            if Some(companion) == state.back || Some(companion) == state.mine {
                continue;
            }
            let twins = view.load(companion + COUNT, COMPANION)?;
            if twins > 0 {
                stale.push((companion, twins));
            }
        }
        Ok(stale)
    }

    /// Takes twins away that nobody wants, so many. Says how many there were.
    pub(super) fn drop_stale(&self, tx: &mut Tx<'_>, companion: u64, most: u64) -> Result<u64> {
        let map: Map<K, u8> = Map::handle_of(companion, tx)?;
        let row = catalog::rows(tx)?.into_iter().find(|row| row.offset == companion);
        let row = row.ok_or_else(|| Error::damaged(COMPANION, companion, 0))?;
        let twins = Twins::<K>::of(tx, companion, geometry_of(tx, &row, K::SIZE)?)?;
        let mut blocks = heap::Blocks::of(tx, Owner::of_row(companion))?;
        let mut headers = Vec::new();
        while (headers.len() as u64) < most
            && let Some(block) = blocks.next(tx)?
        {
            headers.push(block.offset + block.size - record::HEADER);
        }
        let mut gone = 0;
        for header in headers {
            if !record::is_dead(Map::<K, u8>::checked_tail(tx, header)?) {
                let key = map.stored_key(tx, header)?;
                twins.remove(tx, &key)?;
                gone += 1;
            }
        }
        Ok(gone)
    }
}
