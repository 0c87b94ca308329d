//! Going over a table of any kind without its types, a batch at a time: every record as it was committed at some moment.
//!
//! - **B1** A batch is read from live memory between two looks at the header that found no log open and the same epoch: then it was
//!   committed all that time (N2 of `snapshot`), and whole. If the owner does not leave that much time, it is read in a snapshot; if it does not leave
//!   that either, what names the records is read in a snapshot and then each of them in one of its own, which an owner that never
//!   pauses does not prevent (N4).
//! - **B2** What a batch begins with does not depend on what comes and goes: a hash, a page, a serial number, a key. So a record that stays is
//!   met once; one that comes or goes meanwhile, once or not at all.
//! - **B3** A record that is damaged is an item of its own and does not end the walk. Damage in what leads to records does.

use super::any::AnyTable;
use super::index::Loaded;
use super::iter::Places;
use super::marks::Marks;
use super::memory::acquire;
use super::pieces::Piece;
use super::record::{self, Copies, Raw};
use super::source::{Live, Source};
use super::tree::{self, Toward};
use super::way::Way;
use super::{ring, slots, streams, timers};
use crate::error::{Error, Result};
use crate::region::header::at;
use crate::table::ordered::node::Probe;
use crate::table::streams::StreamInfo;

/// How often a batch is read from live memory before a snapshot is taken.
const LIVE_TRIES: usize = 4;
/// How often a record is looked for in live memory if what is committed is not to be had.
const RECORD_TRIES: usize = 16;
/// Items of a queue in a batch.
const ITEMS: u64 = 256;

/// Where the next batch begins (B2).
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// The least hash of a map.
    Hash(u64),
    /// A page of slots, of a slab, timers or streams.
    Page(u64),
    /// A serial number of a queue.
    Serial(u64),
    /// The keys of an ordered map behind this one.
    After(Option<Vec<u8>>),
    /// A cell's only record.
    Only,
}

/// What was met.
#[derive(Debug)]
pub(crate) struct Met {
    /// Id or serial number, 0 if the table's records have none.
    pub(crate) number: u64,
    /// When it fires, of a timer.
    pub(crate) deadline: Option<u64>,
    pub(crate) raw: Result<Raw>,
}

/// What was met, and where to go on.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) met: Vec<Met>,
    pub(crate) streams: Vec<StreamInfo>,
    pub(crate) next: Option<Place>,
}

impl Place {
    /// Where the table begins.
    pub(crate) fn first(table: &AnyTable<'_>) -> Option<Self> {
        use crate::table::catalog::Kind;
        Some(match table.kind()? {
            Kind::Map => Self::Hash(0),
            Kind::Slab | Kind::Timers | Kind::Streams => Self::Page(0),
            Kind::Queue => Self::Serial(0),
            Kind::OrderedMap => Self::After(None),
            Kind::Cell => Self::Only,
        })
    }
}

/// The batch that begins at `place`.
pub(crate) fn batch(table: &AnyTable<'_>, place: &Place) -> Result<Batch> {
    let memory = table.observer().memory();
    let idle = || memory.header(at::LOG_LENGTH) == 0;
    for _ in 0..LIVE_TRIES {
        let marks = Marks::now(memory);
        if marks.log == 0 {
            let found = read(&mut Live(memory), table, place);
            acquire();
            if idle() && memory.header(at::EPOCH) == marks.epoch {
                match found {
                    Err(Error::Retry { .. }) => {}
                    found => return found,
                }
            }
        }
        std::hint::spin_loop();
    }
    let found = table.observer().snapshot(|s| {
        s.be_strict();
        let found = read(s, table, place);
        s.note(found)
    });
    match found {
        Err(Error::Retry { .. }) => one_by_one(table, place),
        found => found,
    }
}

/// A record by its header; what does not hold still is for the caller to repeat, what is damaged is an item (B3).
fn met<S: Source>(source: &mut S, table: &AnyTable<'_>, number: u64, header: u64) -> Result<Met> {
    let raw = record::copy(source, &table.observer().layout(), table.shape(), header);
    match raw {
        Err(Error::Retry { what, tries }) => Err(Error::Retry { what, tries }),
        raw => Ok(Met {
            number,
            deadline: None,
            raw,
        }),
    }
}

/// Copies of records of a table, about so many.
fn copies<'t>(table: &'t AnyTable<'_>, count: usize) -> Copies<'t> {
    Copies::new(table.observer().layout(), table.shape(), count)
}

/// Fetches the ends of records that are about to be copied, so that they are waited for together and not one after the other. One that is in no
/// memory is said to be so when it is copied.
fn touch<S: Source>(source: &S, headers: impl Iterator<Item = u64>) {
    for header in headers {
        source.memory().prefetch(header);
    }
}

fn read<S: Source>(source: &mut S, table: &AnyTable<'_>, place: &Place) -> Result<Batch> {
    table.confirm(source)?;
    let row = table.row();
    let mut batch = Batch::default();
    match place {
        Place::Hash(hash) => {
            let segment = Loaded::of(source, row, *hash)?;
            let records = segment.records();
            touch(source, records.iter().copied());
            let mut copies = copies(table, records.len());
            for record in records {
                copies.add(source, record)?;
            }
            batch.met.extend(copies.done().map(|raw| plain(0, raw)));
            batch.next = segment.next().map(Place::Hash);
        }
        Place::Page(page) if table.is_streams() => {
            if let Some(found) = streams::of_page(source, row, *page)? {
                batch.streams = found;
                batch.next = Some(Place::Page(page + 1));
            }
        }
        Place::Page(page) => {
            if let Some(found) = slots::of_page(source, row, *page)? {
                touch(source, found.iter().map(|slot| slot.record));
                let mut copies = copies(table, found.len());
                let mut names = Vec::with_capacity(found.len());
                for slot in found {
                    copies.add(source, slot.record)?;
                    let deadline = match table.is_timers() {
                        true => Some(timers::deadline_of(source, row, &slot)?),
                        false => None,
                    };
                    names.push((slot.token, deadline));
                }
                let met = copies.done().zip(names);
                batch.met.extend(met.map(|(raw, (number, deadline))| Met {
                    deadline,
                    ..plain(number, raw)
                }));
                batch.next = Some(Place::Page(page + 1));
            }
        }
        Place::Serial(first) => {
            let roots = ring::roots(source, row)?;
            let first = (*first).max(roots.head);
            let end = first.saturating_add(ITEMS).min(roots.tail);
            let mut copies = copies(table, (end.saturating_sub(first)) as usize);
            for serial in first..end {
                let header = ring::item(source, row, &roots, serial)?;
                copies.add(source, header)?;
            }
            let met = (first..end).zip(copies.done());
            batch.met.extend(met.map(|(serial, raw)| plain(serial, raw)));
            batch.next = (end < roots.tail).then_some(Place::Serial(end));
        }
        Place::After(key) => leaf(source, table, key.as_deref(), &mut batch)?,
        Place::Only => {
            let header = Way::Cell { row }.find(source, table.shape())?;
            let header = header.ok_or_else(|| Error::damaged("cell", row, 0))?;
            batch.met.push(met(source, table, 0, header)?);
        }
    }
    Ok(batch)
}

/// The records of one leaf behind a key.
fn leaf<S: Source>(source: &mut S, table: &AnyTable<'_>, after: Option<&[u8]>, batch: &mut Batch) -> Result<()> {
    let tree = table.tree();
    let count = tree::count(source, tree.row)?;
    let mut rank = match after {
        None => 0,
        Some(key) => {
            let probe = Probe::new(tree.shape, key);
            let spot = tree::descend(source, tree, Toward::Key(&probe))?;
            spot.map_or(0, |spot| spot.rank + u64::from(spot.found))
        }
    };
    if rank >= count {
        return Ok(());
    }
    let fewer = || Error::damaged("number of records", tree.row, count);
    let spot = tree::descend(source, tree, Toward::Rank(rank))?.ok_or_else(fewer)?;
    let mut last = None;
    while let Some((words, header)) = spot.entry(rank)? {
        let met = met(source, table, 0, header)?;
        last = match &met.raw {
            Ok(raw) if tree.shape.key_words(raw.key(table.shape())) != words => {
                return Err(Error::damaged("key of a record", header, rank));
            }
            Ok(raw) => Some(raw.key(table.shape()).to_vec()),
            // Behind a damaged record the walk goes on with what its entry says of its key.
            Err(_) => Some(tree.shape.key_bytes(&words)),
        };
        batch.met.push(met);
        rank += 1;
    }
    // Keys only grow: if they do not, the walk would not end.
    if rank < count && last.is_some() && last.as_deref() > after {
        batch.next = Some(Place::After(last));
    }
    Ok(())
}

/// B1 at its worst: an owner that never leaves a moment.
fn one_by_one(table: &AnyTable<'_>, place: &Place) -> Result<Batch> {
    let (observer, row) = (table.observer(), table.row());
    let mut batch = Batch::default();
    let retry = || Error::Retry {
        what: "a part of a table",
        tries: 1,
    };
    let mut piece = match place {
        Place::Hash(hash) => {
            let map = table.map().ok_or_else(retry)?;
            let mut places = Places::within(&map, *hash, u64::MAX);
            let Some(found) = places.batch()? else { return Ok(batch) };
            for raw in found {
                let key = raw.as_ref().ok().map(|raw| raw.key(table.shape()).to_vec());
                batch.met.extend(match key {
                    Some(key) => committed(table, &map.way(&key), raw),
                    None => Some(plain(0, raw)),
                });
            }
            batch.next = places.next().map(Place::Hash);
            return Ok(batch);
        }
        Place::Page(page) if !table.is_streams() => {
            let pages = observer.snapshot(|s| {
                s.be_strict();
                let pages = slots::pages(s, row);
                s.note(pages)
            })?;
            if *page >= pages {
                return Ok(batch);
            }
            batch.next = Some(Place::Page(page + 1));
            Piece::Pages(*page..page + 1)
        }
        Place::Serial(serial) => {
            let roots = observer.snapshot(|s| {
                s.be_strict();
                let roots = ring::roots(s, row);
                s.note(roots)
            })?;
            let first = (*serial).max(roots.head);
            let end = first.saturating_add(ITEMS).min(roots.tail);
            batch.next = (end < roots.tail).then_some(Place::Serial(end));
            Piece::Serials(first..end)
        }
        Place::After(key) => Piece::Keys {
            tree: table.tree(),
            first: key.clone(),
            end: None,
        },
        Place::Only => {
            let way = Way::Cell { row };
            let raw = table.look(&way)?.ok_or_else(retry);
            batch.met.extend(committed(table, &way, raw));
            return Ok(batch);
        }
        Place::Page(_) => return Err(retry()),
    };
    // A piece of keys begins with the key that the last batch ended with.
    let known = |way: &Way<'_>| match (place, way) {
        (Place::After(before), Way::Tree { key, .. }) => before.as_deref().is_some_and(|before| &**key <= before),
        _ => false,
    };
    while let Some(ways) = piece.batch(observer, row)? {
        let mut fresh = ways.into_iter().filter(|way| !known(way)).peekable();
        if fresh.peek().is_none() && matches!(place, Place::After(_)) {
            continue;
        }
        for way in fresh {
            if let Way::Tree { key, .. } = &way {
                batch.next = Some(Place::After(Some(key.to_vec())));
            }
            batch.met.extend(committed(table, &way, Err(retry())));
        }
        return Ok(batch);
    }
    Ok(batch)
}

fn plain(number: u64, raw: Result<Raw>) -> Met {
    Met {
        number,
        deadline: None,
        raw,
    }
}

/// What is committed under a way; if that is not to be had, what is there now; `None` if nothing is.
fn committed(table: &AnyTable<'_>, way: &Way<'_>, live: Result<Raw>) -> Option<Met> {
    let number = match way {
        Way::Slot { token, .. } => *token,
        Way::Item { serial, .. } => *serial,
        _ => 0,
    };
    let deadline = table
        .is_timers()
        .then(|| table.deadline(number))
        .and_then(Result::ok)
        .flatten();
    let raw = match table.committed(way) {
        Ok(Some(raw)) => Ok(raw),
        Ok(None) => return None,
        Err(Error::Retry { .. }) => {
            let again = (0..RECORD_TRIES).find_map(|_| table.look(way).ok());
            match again {
                Some(Some(raw)) => Ok(raw),
                Some(None) => return None,
                None => live,
            }
        }
        Err(e) => Err(e),
    };
    Some(Met { number, deadline, raw })
}
