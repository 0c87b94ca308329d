//! A handle is honoured where its table is, and nowhere else: not in the row that another table got after it, in whatever way its own went, and not in
//! another region, also if that was made of a checkpoint of the same one.

use shmstate::{
    Cell, CheckpointOptions, Error, Gap, Gate, Map, Observer, OrderedMap, Queue, Region, Result, Rings, Slab, Streams,
    Timers, Tx, View, verify,
};
use std::time::{Duration, Instant};

/// A handle of a table of any kind.
#[derive(Clone, Copy)]
enum Any {
    Map(Map<u64, String>),
    Ordered(OrderedMap<u64, String>),
    Slab(Slab<String>),
    Queue(Queue<String>),
    Timers(Timers<String>),
    Cell(Cell<String>),
    Streams(Streams),
}

const KINDS: usize = 7;

/// Makes a table of that kind with something in it.
fn make(tx: &mut Tx<'_>, kind: usize, name: &str) -> Result<Any> {
    let text = "what a reference leads to, if it is taken for one".to_owned();
    Ok(match kind {
        0 => {
            let map = Map::create(tx, name)?;
            map.insert(tx, &7, &text)?;
            Any::Map(map)
        }
        1 => {
            let ordered = OrderedMap::create(tx, name)?;
            ordered.insert(tx, &7, &text)?;
            Any::Ordered(ordered)
        }
        2 => {
            let slab = Slab::create(tx, name)?;
            slab.insert(tx, &text)?;
            Any::Slab(slab)
        }
        3 => {
            let queue = Queue::create(tx, name)?;
            queue.push_back(tx, &text)?;
            Any::Queue(queue)
        }
        4 => {
            let timers = Timers::create(tx, name, Gap::All)?;
            timers.insert(tx, 7, &text)?;
            Any::Timers(timers)
        }
        5 => Any::Cell(Cell::create(tx, name, &text)?),
        _ => {
            let rings = Rings {
                input: 1 << 12,
                output: 1 << 12,
            };
            Any::Streams(Streams::create(tx, name, rings)?)
        }
    })
}

/// Makes one of numbers, which no text is.
fn make_numbers(tx: &mut Tx<'_>, kind: usize, name: &str) -> Result<()> {
    match kind {
        0 => Map::<u64, [u64; 3]>::create(tx, name)?
            .insert(tx, &7, &[u64::MAX; 3])
            .map(|_| ()),
        1 => OrderedMap::<u64, [u64; 3]>::create(tx, name)?
            .insert(tx, &7, &[u64::MAX; 3])
            .map(|_| ()),
        2 => Slab::create(tx, name)?.insert(tx, &[u64::MAX; 3]).map(|_| ()),
        3 => Queue::create(tx, name)?.push_back(tx, &[u64::MAX; 3]).map(|_| ()),
        4 => Timers::create(tx, name, Gap::All)?
            .insert(tx, 7, &[u64::MAX; 3])
            .map(|_| ()),
        5 => Cell::create(tx, name, &[u64::MAX; 3]).map(|_| ()),
        _ => make(tx, 6, name).map(|_| ()),
    }
}

fn read(any: Any, view: &View) -> Result<u64> {
    match any {
        Any::Map(map) => map.get(view, &7).map(|found| found.map_or(0, |text| text.len() as u64)),
        Any::Ordered(ordered) => ordered
            .get(view, &7)
            .map(|found| found.map_or(0, |text| text.len() as u64)),
        Any::Slab(slab) => {
            let mut bytes = 0;
            for found in slab.iter(view)? {
                bytes += found?.1.len() as u64;
            }
            Ok(bytes)
        }
        Any::Queue(queue) => queue
            .front(view)
            .map(|found| found.map_or(0, |(_, text)| text.len() as u64)),
        Any::Timers(timers) => timers.next_deadline(view).map(|next| next.map_or(0, |_| 49)),
        Any::Cell(cell) => cell.get(view).map(|text| text.len() as u64),
        Any::Streams(streams) => streams.len(view).map(|_| 49),
    }
}

/// All that reads, and all that counts.
fn count(any: Any, view: &View) -> Result<u64> {
    match any {
        Any::Map(map) => map.len(view),
        Any::Ordered(ordered) => ordered.len(view),
        Any::Slab(slab) => slab.len(view),
        Any::Queue(queue) => queue.len(view),
        Any::Timers(timers) => timers.len(view),
        Any::Cell(cell) => cell.get(view).map(|_| 1),
        Any::Streams(streams) => streams.len(view).map(|_| 1),
    }
}

fn write(any: Any, tx: &mut Tx<'_>) -> Result<()> {
    let text = "text".to_owned();
    match any {
        Any::Map(map) => map.insert(tx, &7, &text).map(|_| ()),
        Any::Ordered(ordered) => ordered.insert(tx, &7, &text).map(|_| ()),
        Any::Slab(slab) => slab.insert(tx, &text).map(|_| ()),
        Any::Queue(queue) => queue.push_back(tx, &text).map(|_| ()),
        Any::Timers(timers) => timers.insert(tx, 7, &text).map(|_| ()),
        Any::Cell(cell) => cell.set(tx, &text),
        Any::Streams(streams) => streams.ids(tx).map(|_| ()),
    }
}

fn clear(any: Any, tx: &mut Tx<'_>) -> Result<()> {
    match any {
        Any::Map(map) => map.clear(tx),
        Any::Ordered(ordered) => ordered.clear(tx),
        Any::Slab(slab) => slab.clear(tx),
        Any::Queue(queue) => queue.clear(tx),
        Any::Timers(timers) => timers.clear(tx),
        Any::Cell(cell) => cell.get_mut(tx).map(|_| ()),
        Any::Streams(streams) => streams.len(tx).map(|_| ()),
    }
}

fn is_refused(any: Any, tx: &mut Tx<'_>, how: &str) {
    let all = [
        read(any, tx).map(|_| ()),
        count(any, tx).map(|_| ()),
        write(any, tx),
        clear(any, tx),
        read(any, tx).map(|_| ()),
    ];
    for (i, refused) in all.into_iter().enumerate() {
        assert!(matches!(refused, Err(Error::TableGone)), "{how}, {i}: {refused:?}");
    }
}

/// How a table goes.
#[derive(Clone, Copy, Debug)]
enum End {
    Savepoint,
    Rollback,
    Dropped,
    /// The transaction is left open by a process that ends; the next one takes it back.
    Recovered,
}

struct Named(String);

impl Named {
    fn new(what: &str) -> Self {
        Self(format!("identity-{what}-{}", std::process::id()))
    }

    fn create(&self) -> Region {
        Region::options().capacity(16 << 20).create(&self.0).expect("region")
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = Region::remove(&self.0);
    }
}

fn commit<R>(region: &mut Region, gate: &Gate, work: impl FnOnce(&mut Tx<'_>) -> Result<R>) -> R {
    let pass = gate.enter().expect("pass");
    region.write(&pass, work).expect("written")
}

#[test]
fn whatever_became_of_a_table_its_handle_finds_no_other() {
    let named = Named::new("ends");
    let mut region = named.create();
    for end in [End::Savepoint, End::Rollback, End::Dropped, End::Recovered] {
        for (kind, next) in (0..KINDS).flat_map(|kind| (0..KINDS).map(move |next| (kind, next))) {
            let how = format!("{end:?}, kind {kind}, then {next}");
            let mut gate = region.gate().clone();
            let pass = gate.enter().expect("pass");
            let handle = match end {
                End::Savepoint => {
                    let mut tx = region.begin(&pass).expect("begin");
                    let mut handle = None;
                    let undone: Result<()> = tx.savepoint(|tx| {
                        handle = Some(make(tx, kind, "first")?);
                        Err(Error::GateClosed)
                    });
                    assert!(matches!(undone, Err(Error::GateClosed)));
                    let handle = handle.expect("made");
                    // In the same transaction, before and after another is there.
                    is_refused(handle, &mut tx, &how);
                    make_numbers(&mut tx, next, "second").expect("made");
                    is_refused(handle, &mut tx, &how);
                    tx.commit().expect("commit");
                    handle
                }
                End::Rollback => {
                    let mut tx = region.begin(&pass).expect("begin");
                    let handle = make(&mut tx, kind, "first").expect("made");
                    assert!(read(handle, &tx).expect("there") == 49, "{how}");
                    drop(tx);
                    handle
                }
                End::Dropped => {
                    let handle = region.write(&pass, |tx| make(tx, kind, "first")).expect("made");
                    if kind == 6 {
                        // A table of connections cannot be dropped.
                        let refused = region.drop_table(&pass, "first");
                        assert!(matches!(refused, Err(Error::Streams { .. })));
                        drop(pass);
                        drop(region);
                        Region::remove(&named.0).expect("removed");
                        region = named.create();
                        continue;
                    }
                    assert!(region.drop_table(&pass, "first").expect("dropped"));
                    handle
                }
                End::Recovered => {
                    let mut tx = region.begin(&pass).expect("begin");
                    let handle = make(&mut tx, kind, "first").expect("made");
                    std::mem::forget(tx);
                    drop(pass);
                    drop(region);
                    region = Region::options().open(&named.0).expect("recovered");
                    gate = region.gate().clone();
                    handle
                }
            };
            if !matches!(end, End::Savepoint) {
                commit(&mut region, &gate, |tx| make_numbers(tx, next, "second"));
            }
            let pass = gate.enter().expect("pass");
            let mut tx = region.begin(&pass).expect("begin");
            is_refused(handle, &mut tx, &how);
            // What was refused changed nothing.
            tx.commit().expect("commit");
            let reader = region.read(&pass).expect("reader");
            let found = verify(&reader).expect("verified");
            assert!(found.is_sound(), "{how}: {found:?}");
            drop(pass);
            if next == 6 {
                drop(region);
                Region::remove(&named.0).expect("removed");
                region = named.create();
            } else {
                let gate = region.gate().clone();
                let pass = gate.enter().expect("pass");
                assert!(region.drop_table(&pass, "second").expect("dropped"));
            }
        }
    }
}

/// The table of a handle may be found again by its name, and a table that was made again in the same row is not the one before.
#[test]
fn a_table_made_again_is_another_one() {
    let mut region = Region::in_memory(4 << 20).expect("region");
    let gate = region.gate().clone();
    let first = commit(&mut region, &gate, |tx| make(tx, 0, "table"));
    let pass = gate.enter().expect("pass");
    assert!(region.drop_table(&pass, "table").expect("dropped"));
    let second = region.write(&pass, |tx| make(tx, 0, "table")).expect("made");
    let found = Any::Map(Map::open(&region, "table").expect("opened"));
    let mut tx = region.begin(&pass).expect("begin");
    is_refused(first, &mut tx, "the first");
    for handle in [second, found] {
        assert_eq!(read(handle, &tx).expect("there"), 49);
    }
    for handle in [second, found] {
        write(handle, &mut tx).expect("written");
    }
}

/// Handles of the region that a checkpoint was made of are foreign to the one that is made of it, and the other way round, also for tables that both go on
/// to make.
#[test]
fn a_restored_region_is_another_one() {
    let (from, to) = (Named::new("from"), Named::new("to"));
    let mut region = from.create();
    let gate = region.gate().clone();
    let old: Vec<Any> = (0..KINDS)
        .map(|kind| commit(&mut region, &gate, |tx| make(tx, kind, &format!("t{kind}"))))
        .collect();
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("world");
    let pass = gate.enter().expect("pass");
    let mut running = region
        .checkpoint(&pass, &path, &CheckpointOptions::default())
        .expect("begun");
    running.wait(Instant::now() + Duration::from_secs(20)).expect("made");
    let mut restored = Region::restore(&path, &to.0).expect("restored");
    let theirs = restored.gate().clone();
    let their_pass = theirs.enter().expect("pass");
    let map = Any::Map(Map::open(&restored, "t0").expect("opened"));
    let one = region.write(&pass, |tx| make(tx, 0, "later")).expect("made");
    let two = restored.write(&their_pass, |tx| make(tx, 0, "later")).expect("made");
    let here = region.read(&pass).expect("reader");
    let there = restored.read(&their_pass).expect("reader");
    for handle in old.into_iter().chain([one]) {
        assert_eq!(read(handle, &here).expect("there"), 49);
        let refused = read(handle, &there);
        assert!(matches!(refused, Err(Error::ForeignTable)), "{refused:?}");
    }
    for handle in [map, two] {
        assert_eq!(read(handle, &there).expect("there"), 49);
        let refused = read(handle, &here);
        assert!(matches!(refused, Err(Error::ForeignTable)), "{refused:?}");
    }
    assert!(verify(&there).expect("verified").is_sound());
}

/// Who observes a table that goes is told so, whatever has its row then.
#[test]
fn an_observed_table_that_goes_is_gone() {
    let named = Named::new("observed");
    let mut region = named.create();
    let gate = region.gate().clone();
    commit(&mut region, &gate, |tx| make(tx, 0, "table"));
    let observer = Observer::open(&named.0).expect("observer");
    let seen = observer.map::<u64, String>("table").expect("table");
    assert_eq!(seen.peek(&7).expect("looked").expect("there").len(), 49);
    let pass = gate.enter().expect("pass");
    assert!(region.drop_table(&pass, "table").expect("dropped"));
    let refused = |what: &str| {
        let all = [
            seen.peek(&7).map(|_| ()),
            seen.snapshot(&7).map(|_| ()),
            seen.len().map(|_| ()),
        ];
        for refused in all {
            assert!(matches!(refused, Err(Error::TableGone)), "{what}: {refused:?}");
        }
    };
    refused("gone");
    // Of the same shape, in the same row.
    region.write(&pass, |tx| make(tx, 0, "table")).expect("made");
    refused("made again");
    let again = observer.map::<u64, String>("table").expect("table");
    assert_eq!(again.peek(&7).expect("looked").expect("there").len(), 49);
}
