//! Operations are whole: one that fails has changed nothing, so that a program may go on with its transaction and commit it.
//!
//! Small regions are filled and emptied at random; errors are counted and forgotten, and every transaction is committed. What is there then is
//! what succeeded, and nothing else: by a model, and by a check of every byte. A region that is full fails in the middle of operations: when a leaf
//! is cut and its parent has no room, when an index grows, when a page of slots is to be made.

use shmstate::{
    Cell, Error, Gap, Map, Migrate, OrderedMap, Queue, Region, Result, Rings, Slab, SlabId, Steps, StreamId, Streams,
    TableOptions, TimerId, Timers, Tx, verify,
};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::num::NonZeroU64;
use std::ops::Bound;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Bytes of the region: some thousand records.
const CAPACITY: u64 = 3 << 20;
const TRANSACTIONS: u32 = 6000;
/// Transactions between two looks at every byte.
const LOOK: u32 = 50;

#[derive(Clone, Copy)]
struct Tables {
    map: Map<u64, Vec<u8>>,
    ordered: OrderedMap<String, Vec<u8>>,
    slab: Slab<Vec<u8>>,
    queue: Queue<Vec<u8>>,
    timers: Timers<Vec<u8>>,
    cell: Cell<Vec<u8>>,
    streams: Streams,
}

impl Tables {
    fn create(tx: &mut Tx<'_>) -> Result<Self> {
        Ok(Self {
            map: Map::create_with(tx, "map", TableOptions::default().checksums(true))?,
            ordered: OrderedMap::create(tx, "ordered")?,
            slab: Slab::create(tx, "slab")?,
            queue: Queue::create(tx, "queue")?,
            timers: Timers::create(tx, "timers", Gap::All)?,
            cell: Cell::create(tx, "cell", &vec![])?,
            streams: Streams::create(
                tx,
                "streams",
                Rings {
                    input: 1 << 16,
                    output: 1 << 16,
                },
            )?,
        })
    }
}

/// What should be in them.
#[derive(Clone, Debug, Default, PartialEq)]
struct World {
    map: HashMap<u64, Vec<u8>>,
    ordered: BTreeMap<String, Vec<u8>>,
    slab: Vec<(SlabId, Vec<u8>)>,
    queue: VecDeque<Vec<u8>>,
    /// Id, deadline, period, record.
    timers: Vec<(TimerId, u64, u64, Vec<u8>)>,
    cell: Vec<u8>,
    /// How many bytes each has produced.
    streams: Vec<(StreamId, u64)>,
}

impl World {
    /// What is there; of streams, which have no list, those that this one has.
    fn read(&self, reader: &shmstate::View, t: &Tables) -> Result<Self> {
        let mut found = Self::default();
        for item in t.map.iter(reader)? {
            let (key, value) = item?;
            found.map.insert(key, value.to_vec());
        }
        for item in t.ordered.iter(reader)? {
            let (key, value) = item?;
            found.ordered.insert(key, value.to_vec());
        }
        for item in t.slab.iter(reader)? {
            let (id, value) = item?;
            found.slab.push((id, value.to_vec()));
        }
        for item in t.queue.iter(reader)? {
            found.queue.push_back(item?.1.to_vec());
        }
        for item in t.timers.iter(reader)? {
            let (id, deadline, value) = item?;
            let period = t.timers.period(reader, id)?.expect("there");
            found.timers.push((id, deadline, period, value.to_vec()));
        }
        found.cell = t.cell.get(reader)?.to_vec();
        for (id, _) in &self.streams {
            found.streams.push((*id, t.streams.unsent(reader, *id)?));
        }
        assert_eq!(t.streams.len(reader)?, self.streams.len() as u64);
        Ok(found)
    }

    /// Where the order is the tables' own.
    fn sorted(mut self) -> Self {
        self.slab.sort();
        self.timers.sort();
        self
    }
}

/// Kinds of operations.
const KINDS: u8 = 14;

/// What most operations of some transactions are.
#[derive(Clone, Copy)]
struct Mood {
    filling: bool,
    which: u8,
}

/// One operation at random. If it succeeds, the model has it too; if it fails, the model has not.
fn operate(tx: &mut Tx<'_>, t: &Tables, world: &mut World, random: &mut fastrand::Rng, mood: Mood) -> Result<()> {
    let length = match random.u8(..8) {
        0 => random.usize(..9000),
        1 | 2 => random.usize(..600),
        _ => random.usize(..80),
    };
    let value = vec![random.u8(..); length];
    let key = random.u64(..4000);
    let text = format!("{}{key}", "k".repeat((key % 40) as usize));
    let grows = random.u8(..10) < if mood.filling { 9 } else { 3 };
    let which = match random.u8(..10) {
        0..7 => mood.which,
        _ => random.u8(..KINDS),
    };
    match (which, grows) {
        (0 | 1, true) => {
            t.map.insert(tx, &key, &value)?;
            world.map.insert(key, value);
        }
        (0, false) => {
            t.map.remove(tx, &key)?;
            world.map.remove(&key);
        }
        (1, false) => {
            let taken = t.map.take(tx, &key)?.map(|record| record.to_vec());
            assert_eq!(taken, world.map.remove(&key));
        }
        (2, true) => {
            let mut record = t.map.entry(tx, &key)?.or_insert(&value)?;
            let first = record.first().copied();
            world.map.entry(key).or_insert(value);
            if first.is_some() {
                record.set(|r| &r[0], 7)?;
                if let Some(first) = world.map.get_mut(&key).and_then(|r| r.first_mut()) {
                    *first = 7;
                }
            }
        }
        (2, false) => {
            if let shmstate::Entry::Occupied(mut entry) = t.map.entry(tx, &key)? {
                if random.bool() {
                    entry.insert(&value)?;
                    world.map.insert(key, value);
                } else {
                    entry.remove()?;
                    world.map.remove(&key);
                }
            }
        }
        (3 | 4, true) => {
            t.ordered.insert(tx, &text, &value)?;
            world.ordered.insert(text, value);
        }
        (3, false) => {
            if random.bool() {
                t.ordered.remove(tx, &text)?;
                world.ordered.remove(&text);
            } else {
                let taken = t.ordered.take(tx, &text)?.map(|record| record.to_vec());
                assert_eq!(taken, world.ordered.remove(&text));
            }
        }
        (4, false) if random.bool() => {
            // Those that begin so.
            let bounds = (Bound::Included(text.as_str()), Bound::Excluded("l"));
            let gone: Vec<String> = world
                .ordered
                .range::<str, _>(bounds)
                .map(|(key, _)| key.clone())
                .take(40)
                .collect();
            let Some(last) = gone.last() else { return Ok(()) };
            let removed = t.ordered.remove_range(tx, (bounds.0, Bound::Included(last.as_str())))?;
            assert_eq!(removed, gone.len() as u64);
            world.ordered.retain(|key, _| !gone.contains(key));
        }
        (4, false) => {
            t.ordered.pop_first(tx)?;
            world.ordered.pop_first();
        }
        (5, true) => {
            let id = t.slab.insert(tx, &value)?;
            world.slab.push((id, value));
        }
        (6, true) => {
            let mut with_id = value;
            let id = t.slab.insert_with(tx, |id| {
                with_id.extend(id.token().to_le_bytes());
                with_id.clone()
            })?;
            world.slab.push((id, with_id));
        }
        (5 | 6, false) if !world.slab.is_empty() => {
            let at = random.usize(..world.slab.len());
            match random.u8(..4) {
                0 | 1 => {
                    t.slab.replace(tx, world.slab[at].0, &value)?;
                    world.slab[at].1 = value;
                }
                2 => {
                    t.slab.remove(tx, world.slab[at].0)?;
                    world.slab.swap_remove(at);
                }
                _ => {
                    let taken = t.slab.take(tx, world.slab[at].0)?.map(|record| record.to_vec());
                    assert_eq!(taken, Some(world.slab.swap_remove(at).1));
                }
            }
        }
        (7, true) => {
            t.queue.push_back(tx, &value)?;
            world.queue.push_back(value);
        }
        (7, false) if random.u8(..3) == 0 => {
            let first = t.queue.next_serial(tx)? - world.queue.len() as u64;
            let most = if random.bool() { 12 } else { 600 };
            let few = random.usize(..most).min(world.queue.len());
            assert_eq!(t.queue.remove_before(tx, first + few as u64)?, few as u64);
            world.queue.drain(..few);
        }
        (7, false) => {
            t.queue.pop_front(tx, |_, _| ())?;
            world.queue.pop_front();
        }
        (8 | 9, true) => {
            let deadline = random.u64(..1_000_000);
            let id = t.timers.insert(tx, deadline, &value)?;
            world.timers.push((id, deadline, 0, value));
        }
        (8 | 9, false) if !world.timers.is_empty() => {
            let at = random.usize(..world.timers.len());
            let id = world.timers[at].0;
            match random.u8(..10) {
                0..4 => {
                    t.timers.cancel(tx, id)?;
                    world.timers.swap_remove(at);
                }
                4 | 5 => {
                    t.timers.reschedule(tx, id, key)?;
                    world.timers[at].1 = key;
                }
                6 | 7 => {
                    t.timers.replace(tx, id, &value)?;
                    world.timers[at].3 = value;
                }
                8 => {
                    let period = random.u64(..3) * 1000;
                    t.timers.reschedule_every(tx, id, key, NonZeroU64::new(period))?;
                    (world.timers[at].1, world.timers[at].2) = (key, period);
                }
                _ => {
                    let odd = random.u64(2..60);
                    let keep = |id: TimerId| id.token() % odd != 1;
                    t.timers.retain(tx, |id, _, _| keep(id))?;
                    world.timers.retain(|(id, ..)| keep(*id));
                }
            }
        }
        (10, _) => {
            t.cell.set(tx, &value)?;
            world.cell = value;
        }
        // What has no room for its row, is there, or has no name.
        (11, true) => {
            match random.u8(..6) {
                0 => drop(Map::<u64, Vec<u8>>::create(tx, "ordered")?),
                1 => drop(OrderedMap::<u64, Vec<u8>>::create(tx, "map")?),
                2 => drop(Slab::<Vec<u8>>::create(tx, "")?),
                3 => drop(Queue::<Vec<u8>>::create(tx, "cell")?),
                4 => drop(Timers::<Vec<u8>>::create(tx, "queue", Gap::All)?),
                _ => drop(Cell::create(tx, "map", &value)?),
            }
            unreachable!("no such table can be made");
        }
        (12, true) => {
            let (own, _) = UnixStream::pair().expect("sockets");
            let id = t.streams.adopt(tx, own.as_fd(), key)?;
            world.streams.push((id, 0));
        }
        (13, true) if !world.streams.is_empty() => {
            let at = random.usize(..world.streams.len());
            let (id, produced) = &mut world.streams[at];
            if t.streams.produce(tx, *id, &value)? {
                *produced += value.len() as u64;
            }
        }
        (12 | 13, false) if !world.streams.is_empty() => {
            let at = random.usize(..world.streams.len());
            t.streams.end(tx, world.streams[at].0)?;
            world.streams.swap_remove(at);
        }
        (11, false) if random.u8(..40) == 0 => match random.u8(..5) {
            0 => {
                t.map.clear(tx)?;
                world.map.clear();
            }
            1 => {
                t.ordered.clear(tx)?;
                world.ordered.clear();
            }
            2 => {
                t.slab.clear(tx)?;
                world.slab.clear();
            }
            3 => {
                t.queue.clear(tx)?;
                world.queue.clear();
            }
            _ => {
                t.timers.clear(tx)?;
                world.timers.clear();
            }
        },
        _ => {}
    }
    Ok(())
}

fn sound(region: &Region, pass: &shmstate::Pass<'_>, when: &str) {
    let verdict = verify(&region.read(pass).expect("read")).expect("verify");
    assert!(verdict.is_sound(), "{when}: {verdict:?}");
}

#[test]
fn an_operation_that_fails_has_changed_nothing() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut region = Region::in_memory(CAPACITY).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let t = region.write(&pass, Tables::create).expect("tables");
    let mut world = World::default();
    let mut failed: BTreeMap<&str, u32> = BTreeMap::new();
    let mut mood = Mood {
        filling: true,
        which: 0,
    };
    for number in 0..TRANSACTIONS {
        if number % 20 == 0 {
            mood.which = random.u8(..KINDS);
        }
        mood.filling = number / 300 % 3 != 2;
        // So long that the log grows, and finds no memory in the middle of an operation.
        let most = if random.u8(..50) == 0 { 3000 } else { 12 };
        let before = world.clone();
        let mut tx = region.begin(&pass).expect("begin");
        for _ in 0..random.u32(1..most) {
            if let Err(e) = operate(&mut tx, &t, &mut world, &mut random, mood) {
                let kind = match e {
                    Error::RegionFull { .. } => "full",
                    Error::TableExists { .. } => "there is such a table",
                    Error::BadName { .. } => "no name",
                    other => panic!("{number}: {other}"),
                };
                *failed.entry(kind).or_default() += 1;
            }
        }
        match tx.commit() {
            Ok(()) => {}
            // What was freed needs a log to be freed by: all is as before.
            Err(Error::RegionFull { .. }) => {
                *failed.entry("full at the end").or_default() += 1;
                world = before;
            }
            Err(other) => panic!("{number}: {other}"),
        }
        if number % LOOK == 0 || number + 1 == TRANSACTIONS {
            sound(&region, &pass, &format!("after {number}"));
            let reader = region.read(&pass).expect("read");
            let found = world.read(&reader, &t).expect("all can be read");
            assert_eq!(found.sorted(), world.clone().sorted(), "after {number}");
        }
    }
    println!("{failed:?}");
    assert!(failed.get("full").is_some_and(|n| *n > 1000), "{failed:?}");
    for kind in ["there is such a table", "no name"] {
        assert!(failed.contains_key(kind), "{failed:?}");
    }
}

/// Half of an operation is not committed, whoever catches the panic that ended it.
#[test]
fn an_operation_that_a_panic_ends_is_not_committed() {
    let mut region = Region::in_memory(CAPACITY).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let t = region.write(&pass, Tables::create).expect("tables");
    let push = |tx: &mut Tx<'_>| t.queue.push_back(tx, &vec![1]).expect("pushed");
    let mut tx = region.begin(&pass).expect("begin");
    push(&mut tx);
    push(&mut tx);
    tx.commit().expect("commit");

    // In an operation, after others.
    let mut tx = region.begin(&pass).expect("begin");
    t.cell.set(&mut tx, &vec![3]).expect("set");
    let broken = catch_unwind(AssertUnwindSafe(|| t.queue.pop_front(&mut tx, |_, _| panic!("read"))));
    assert!(broken.is_err());
    push(&mut tx);
    assert!(matches!(tx.commit(), Err(Error::BrokenOff)));

    // In a part, as the first that the transaction does.
    let mut tx = region.begin(&pass).expect("begin");
    let broken = catch_unwind(AssertUnwindSafe(|| {
        tx.savepoint(|tx| -> Result<()> {
            push(tx);
            panic!("in the middle")
        })
    }));
    assert!(broken.is_err());
    assert!(matches!(tx.commit(), Err(Error::BrokenOff)));

    // In the middle of many, some of which are taken away already.
    let fill = |tx: &mut Tx<'_>| -> Result<()> {
        for n in 0..6u64 {
            t.map.insert(tx, &n, &vec![])?;
            t.ordered.insert(tx, &format!("{n}"), &vec![])?;
            t.slab.insert(tx, &vec![])?;
            t.timers.insert(tx, n, &vec![])?;
        }
        Ok(())
    };
    region.write(&pass, fill).expect("filled");
    type Way<'w> = &'w dyn Fn(&mut Tx<'_>, &mut dyn FnMut());
    let ways: [(&str, Way<'_>); 9] = [
        ("map retain", &|tx, third| {
            _ = t.map.retain(tx, |_, _| {
                Ok({
                    third();
                    false
                })
            })
        }),
        ("map drain", &|tx, third| {
            _ = t.map.drain(tx, |_, _| {
                third();
                Ok(())
            })
        }),
        ("ordered retain", &|tx, third| {
            _ = t.ordered.retain(tx, |_, _| {
                third();
                false
            })
        }),
        ("slab retain", &|tx, third| {
            _ = t.slab.retain(tx, |_, _| {
                third();
                false
            })
        }),
        ("slab drain", &|tx, third| _ = t.slab.drain(tx, |_, _| third())),
        ("slab insert_with", &|tx, third| {
            _ = t.slab.insert_with(tx, |_| {
                third();
                third();
                third();
                vec![]
            })
        }),
        ("queue drain", &|tx, third| {
            _ = t.queue.drain(tx, |_, _| {
                third();
                third()
            })
        }),
        ("timers retain", &|tx, third| {
            _ = t.timers.retain(tx, |_, _, _| {
                third();
                false
            })
        }),
        ("timers", &|tx, third| {
            _ = t.timers.pop_due(tx, 9, |_, _, _| {
                third();
                third();
                third()
            })
        }),
    ];
    for (name, way) in ways {
        let mut tx = region.begin(&pass).expect("begin");
        let mut calls = 0;
        let mut third = || {
            calls += 1;
            assert!(calls < 3, "on purpose");
        };
        assert!(
            catch_unwind(AssertUnwindSafe(|| way(&mut tx, &mut third))).is_err(),
            "{name}"
        );
        let end = tx.commit();
        assert!(matches!(end, Err(Error::BrokenOff)), "{name}: {end:?}");
    }
    region
        .write(&pass, |tx| {
            let left = [t.map.len(tx)?, t.ordered.len(tx)?, t.slab.len(tx)?, t.timers.len(tx)?];
            assert_eq!(left, [6; 4]);
            t.map.clear(tx)?;
            t.ordered.clear(tx)?;
            t.slab.clear(tx)?;
            t.timers.clear(tx)
        })
        .expect("all there, and cleared");

    // With nothing changed, or a word held back.
    let mut tx = region.begin(&pass).expect("begin");
    let broken = catch_unwind(AssertUnwindSafe(|| {
        tx.savepoint(|_| -> Result<()> { panic!("at once") })
    }));
    assert!(broken.is_err());
    assert!(matches!(tx.commit(), Err(Error::BrokenOff)));
    let mut tx = region.begin(&pass).expect("begin");
    let broken = catch_unwind(AssertUnwindSafe(|| {
        tx.savepoint(|tx| -> Result<()> {
            t.cell.get_mut(tx)?.seal()?;
            panic!("while a record is being changed")
        })
    }));
    assert!(broken.is_err());
    assert!(matches!(tx.commit(), Err(Error::BrokenOff)));

    let counter: Cell<u64> = region.write(&pass, |tx| Cell::create(tx, "counter", &1)).expect("cell");
    let mut tx = region.begin(&pass).expect("begin");
    let broken = catch_unwind(AssertUnwindSafe(|| {
        tx.savepoint(|tx| -> Result<()> {
            counter.get_mut(tx)?.set(|n| n, 2.into())?;
            panic!("while a word is held back")
        })
    }));
    assert!(broken.is_err());
    assert!(matches!(tx.commit(), Err(Error::BrokenOff)));
    // The next one has nothing to do with it.
    region
        .write(&pass, |tx| {
            assert_eq!(counter.get(tx)?.to_native(), 1);
            counter.set(tx, &3)
        })
        .expect("the next");

    // In a part that is taken back: the rest is whole.
    let mut tx = region.begin(&pass).expect("begin");
    t.cell.set(&mut tx, &vec![4]).expect("set");
    let caught: std::result::Result<(), ()> = tx.savepoint(|tx| {
        let broken = catch_unwind(AssertUnwindSafe(|| t.queue.pop_front(tx, |_, _| panic!("read"))));
        broken.map(|_| ()).map_err(|_| ())
    });
    assert_eq!(caught, Err(()));
    tx.commit().expect("what is left is whole");

    sound(&region, &pass, "at the end");
    let reader = region.read(&pass).expect("read");
    assert_eq!(t.cell.get(&reader).expect("cell").as_slice(), [4]);
    assert_eq!(t.queue.len(&reader).expect("len"), 2);
    assert_eq!(counter.get(&reader).expect("counter").to_native(), 3);
}

mod older {
    /// A record of the version before: short.
    #[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize, shmstate::Schema)]
    pub struct Item {
        pub value: u64,
    }
}

/// The same in this version: longer, so that each needs another block when it migrates.
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize, shmstate::Schema)]
#[schema(version = 2)]
struct Item {
    value: u64,
    more: Vec<u8>,
}

impl Migrate<older::Item> for Item {
    fn migrate(old: older::Item) -> Self {
        let more = vec![7; (old.value % 300) as usize];
        Self { value: old.value, more }
    }
}

/// Records migrate, some where there is no room for it; what was refused has its older shape, and is read as ever.
#[test]
fn a_migration_that_finds_no_memory_has_changed_nothing() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut region = Region::in_memory(CAPACITY).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let mut model: HashMap<u64, u64> = HashMap::new();
    {
        let mut tx = region.begin(&pass).expect("begin");
        let map: Map<u64, older::Item> = Map::create(&mut tx, "map").expect("table");
        let slab: Slab<older::Item> = Slab::create(&mut tx, "slab").expect("table");
        tx.commit().expect("commit");
        // Until nothing more goes in; then some goes out again, so that there is memory for some of those that get longer.
        let full = |result: Result<()>| matches!(result, Err(Error::RegionFull { .. }));
        for key in 0.. {
            let item = older::Item { value: key };
            let put = region.write(&pass, |tx| {
                slab.insert(tx, &item)?;
                map.insert(tx, &key, &item).map(|_| ())
            });
            if full(put) {
                break;
            }
            model.insert(key, key);
        }
        let keys = model.len() as u64;
        for key in 0..keys {
            if key < keys / 3 || random.u8(..8) == 0 {
                region.write(&pass, |tx| map.remove(tx, &key)).expect("removed");
                model.remove(&key);
            }
        }
    }
    let keys = model.keys().max().copied().unwrap_or(0);
    let map: Map<u64, Item> = Map::open_migrating(&region, "map", Steps::new().from::<older::Item>()).expect("map");
    let slab: Slab<Item> = Slab::open_migrating(&region, "slab", Steps::new().from::<older::Item>()).expect("slab");
    let mut refused = 0;
    let mut migrated = 0;
    for number in 0..3000 {
        let mut tx = region.begin(&pass).expect("begin");
        let before = model.clone();
        for _ in 0..random.u32(1..20) {
            let key = random.u64(..=keys);
            let outcome: Result<()> = match random.u8(..6) {
                0 | 1 => match map.get_mut(&mut tx, &key) {
                    Ok(Some(mut item)) => {
                        item.set(|i| &i.value, (key + 1).into()).expect("set");
                        migrated += 1;
                        model.insert(key, key + 1);
                        Ok(())
                    }
                    Ok(None) => Ok(()),
                    Err(e) => Err(e),
                },
                2 => map.remove(&mut tx, &key).map(|_| {
                    model.remove(&key);
                }),
                3 => {
                    let item = Item {
                        value: key + 2,
                        more: vec![1; random.usize(..100)],
                    };
                    map.insert(&mut tx, &key, &item).map(|_| {
                        model.insert(key, key + 2);
                    })
                }
                4 => map.sweep(&mut tx, 5).map(|swept| migrated += swept.done),
                _ => slab.sweep(&mut tx, 5).map(|swept| migrated += swept.done),
            };
            match outcome {
                Ok(()) => {}
                Err(Error::RegionFull { .. }) => refused += 1,
                Err(other) => panic!("{number}: {other}"),
            }
        }
        match tx.commit() {
            Ok(()) => {}
            Err(Error::RegionFull { .. }) => model = before,
            Err(other) => panic!("{number}: {other}"),
        }
        if number % LOOK == 0 {
            sound(&region, &pass, &format!("after {number}"));
        }
    }
    println!("{refused} refused, {migrated} migrated");
    assert!(
        refused > 1000 && migrated > 100,
        "{refused} refused, {migrated} migrated"
    );
    sound(&region, &pass, "at the end");
    let reader = region.read(&pass).expect("read");
    let mut found = HashMap::new();
    for item in map.iter(&reader).expect("iter") {
        let (key, item) = item.expect("an item");
        found.insert(key, item.value.to_native());
    }
    assert_eq!(found, model);
}

/// Takes all memory that is left: long values first, then shorter ones.
fn fill_up(region: &mut Region, pass: &shmstate::Pass<'_>) {
    let filler: Slab<Vec<u8>> = region.write(pass, |tx| Slab::create(tx, "filler")).expect("table");
    for length in [200_000, 50_000, 20_000, 5000, 2000, 900, 400, 100, 16] {
        while region.write(pass, |tx| filler.insert(tx, &vec![0; length])).is_ok() {}
    }
}

/// There is room for records, but none for what leads to them: nodes of a tree, segments of an index.
#[test]
fn where_there_is_no_room_for_an_index_it_is_as_it_was() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut region = Region::in_memory(4 << 20).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let spread = 1 << 40;
    let (map, ordered) = region
        .write(&pass, |tx| -> Result<(Map<u64, u64>, OrderedMap<u64, u64>)> {
            Ok((Map::create(tx, "map")?, OrderedMap::create(tx, "ordered")?))
        })
        .expect("tables");
    let (mut records, mut sorted): (HashMap<u64, u64>, BTreeMap<u64, u64>) = Default::default();
    for i in 0..8000u64 {
        let put = region.write(&pass, |tx| {
            map.insert(tx, &i, &i)?;
            ordered.insert(tx, &(i * spread), &i)
        });
        put.expect("room");
        records.insert(i, i);
        sorted.insert(i * spread, i);
    }
    fill_up(&mut region, &pass);
    // Records go and leave room for others; nodes and segments stay, half full.
    for i in (0..8000u64).filter(|i| i % 2 == 1) {
        let taken = region.write(&pass, |tx| -> Result<bool> {
            map.remove(tx, &i)?;
            ordered.remove(tx, &(i * spread))
        });
        assert!(taken.expect("removed"));
        records.remove(&i);
        sorted.remove(&(i * spread));
    }
    let mut refused = [0, 0];
    for _ in 0..8000 {
        // All of them in a few leaves; and wherever chance leads them to.
        let (near, far) = (random.u64(..3 * spread), random.u64(1 << 20..));
        let mut tx = region.begin(&pass).expect("begin");
        match ordered.insert(&mut tx, &near, &near) {
            Ok(_) => _ = sorted.insert(near, near),
            Err(Error::RegionFull { .. }) => refused[0] += 1,
            Err(other) => panic!("{other}"),
        }
        match map.insert(&mut tx, &far, &far) {
            Ok(_) => _ = records.insert(far, far),
            Err(Error::RegionFull { .. }) => refused[1] += 1,
            Err(other) => panic!("{other}"),
        }
        tx.commit().expect("commit");
    }
    println!("{refused:?} refused");
    assert!(refused.iter().all(|n| *n > 100), "{refused:?}");
    sound(&region, &pass, "at the end");
    let reader = region.read(&pass).expect("read");
    let found: Result<HashMap<u64, u64>> = map
        .iter(&reader)
        .expect("iter")
        .map(|i| i.map(|(k, v)| (k, v.to_native())))
        .collect();
    assert_eq!(found.expect("all can be read"), records);
    let found: Result<BTreeMap<u64, u64>> = ordered
        .iter(&reader)
        .expect("iter")
        .map(|i| i.map(|(k, v)| (k, v.to_native())))
        .collect();
    assert_eq!(found.expect("all can be read"), sorted);
}

/// Where no memory is left records can still be taken away, to the last.
#[test]
fn a_full_region_can_be_emptied() {
    let mut region = Region::in_memory(8 << 20).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let t = region.write(&pass, Tables::create).expect("tables");
    let value = |n: u64| vec![n as u8; (n % 90) as usize];
    let (mut count, mut ids, mut timers) = (0, Vec::new(), Vec::new());
    loop {
        let put = region.write(&pass, |tx| -> Result<(SlabId, TimerId)> {
            t.map.insert(tx, &count, &value(count))?;
            t.ordered.insert(tx, &format!("{count}"), &value(count))?;
            t.queue.push_back(tx, &value(count))?;
            let timer = t.timers.insert(tx, count * 7919 % 1000, &value(count))?;
            Ok((t.slab.insert(tx, &value(count))?, timer))
        });
        match put {
            Ok((id, timer)) => {
                ids.push(id);
                timers.push(timer);
            }
            Err(Error::RegionFull { .. }) => break,
            Err(other) => panic!("{other}"),
        }
        count += 1;
    }
    fill_up(&mut region, &pass);
    assert!(count > 4000, "{count}");
    // In another order than they came in.
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut order: Vec<u64> = (0..count).collect();
    fastrand::Rng::with_seed(seed).shuffle(&mut order);
    for n in order {
        let (id, timer) = (ids[n as usize], timers[n as usize]);
        let taken = region.write(&pass, |tx| -> Result<bool> {
            let mut all = t.map.remove(tx, &n)?;
            all &= t.ordered.remove(tx, &format!("{n}"))?;
            all &= t.queue.pop_front(tx, |_, _| ())?.is_some();
            all &= t.slab.remove(tx, id)?;
            Ok(all & t.timers.cancel(tx, timer)?)
        });
        assert!(
            taken.unwrap_or_else(|e| panic!("{n} of {count}: {e}")),
            "{n} of {count}"
        );
    }
    sound(&region, &pass, "at the end");
    let reader = region.read(&pass).expect("read");
    let left = [
        t.map.len(&reader),
        t.ordered.len(&reader),
        t.queue.len(&reader),
        t.slab.len(&reader),
        t.timers.len(&reader),
    ];
    assert_eq!(left.map(|n| n.expect("len")), [0; 5]);
}
