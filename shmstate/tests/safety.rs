#![forbid(unsafe_code)]
//! What a program without a line of unsafe code cannot do: read a record as another type, half of one, or one that somebody else is writing. Each test is a
//! program that once could.

use rkyv::{Archive, Deserialize, Serialize};
use shmstate::{
    Cell, Error, Gate, Key, KeyForm, KeySink, Map, Migrate, Move, OrderedMap, Queue, Region, Result, Schema, Slab,
    Steps, Timers, verify,
};
use std::cell::Cell as Counter;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};

mod v1 {
    use super::*;

    /// Of which hardly any bytes are one.
    #[derive(Archive, Serialize, Deserialize, Schema)]
    #[schema(name = "P", version = 1)]
    pub(crate) struct P {
        pub(crate) a: char,
        pub(crate) b: bool,
        pub(crate) s: String,
    }
}

mod v2 {
    use super::*;

    #[derive(Archive, Serialize, Deserialize, Schema)]
    #[schema(name = "P", version = 2)]
    pub(crate) struct P {
        pub(crate) a: u32,
    }
}

mod v257 {
    use super::*;

    #[derive(Archive, Serialize, Deserialize, Schema)]
    #[schema(name = "P", version = 257)]
    pub(crate) struct P {
        pub(crate) a: [u32; 4],
    }
}

impl Migrate<v1::P> for v2::P {
    fn migrate(old: v1::P) -> Self {
        Self { a: old.a as u32 }
    }
}

impl Migrate<v2::P> for v1::P {
    fn migrate(old: v2::P) -> Self {
        Self {
            a: 'x',
            b: old.a > 1,
            s: old.a.to_string(),
        }
    }
}

impl Migrate<v2::P> for v257::P {
    fn migrate(old: v2::P) -> Self {
        Self { a: [old.a; 4] }
    }
}

fn old() -> v1::P {
    v1::P {
        a: 'a',
        b: true,
        s: "a string of some length".into(),
    }
}

fn world() -> (Region, Gate) {
    let region = Region::in_memory(8 << 20).expect("region");
    let gate = region.gate().clone();
    (region, gate)
}

fn sound(region: &Region, gate: &Gate) {
    let pass = gate.enter().expect("pass");
    let found = verify(&region.read(&pass).expect("read")).expect("verify");
    assert!(found.is_sound(), "{found:?}");
}

/// The table that a move is to fill has records of another type: also if that has the same version.
#[test]
fn a_move_does_not_fill_a_table_of_another_type() {
    let mut region = Region::options()
        .capacity(8 << 20)
        .create_anonymous("safety-move")
        .expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let filled: Map<u64, v1::P> = region
        .write(&pass, |tx| {
            Map::<u64, u32>::create(tx, "source")?.insert(tx, &1, &5)?;
            Map::create(tx, "target")
        })
        .expect("tables");
    #[derive(Archive, Serialize, Deserialize, Schema)]
    #[schema(name = "P", version = 1)]
    struct Four {
        a: [u32; 4],
    }
    let four = Move::<u64, u32>::of("source").to::<u64, Four>(
        "target",
        |key| Some(*key),
        |_, key, _| Ok(vec![(*key, Four { a: [u32::MAX; 4] })]),
    );
    let refused = four.open(&region).map(|_| ());
    assert!(matches!(refused, Err(Error::SchemaMismatch { .. })), "{refused:?}");
    // Of another version it may be, if the program opens the target with the steps. This one does not.
    let two = Move::<u64, u32>::of("source").to::<u64, v2::P>(
        "target",
        |key| Some(*key),
        |_, key, _| Ok(vec![(*key, v2::P { a: u32::MAX })]),
    );
    let moving = two.open(&region).expect("nothing is known against it yet");
    let refused = region.write(&pass, |tx| moving.sweep(tx, 10).map(|_| ()));
    assert!(matches!(refused, Err(Error::SchemaMismatch { .. })), "{refused:?}");
    drop(pass);
    // A process that does not know the moves finds nothing of them.
    let descriptor = region.descriptor().expect("a memfd").try_clone_to_owned();
    drop((region, moving));
    let options = Region::options();
    let region = options
        .attach("safety-move", descriptor.expect("duplicate"))
        .expect("attach");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let reader = region.read(&pass).expect("read");
    assert!(filled.get(&reader, &1).expect("get").is_none());
    assert!(verify(&reader).expect("verify").is_sound());
}

thread_local! {
    /// After how many blobs the next one panics.
    static FUSE: Counter<u32> = const { Counter::new(u32::MAX) };
}

/// Panics when it was told to, once its bytes are in the archive.
#[derive(Archive, Schema)]
struct Bomb {
    bytes: Vec<u8>,
}

impl<S> Serialize<S> for Bomb
where
    S: rkyv::rancor::Fallible + rkyv::ser::Writer + rkyv::ser::Allocator + ?Sized,
{
    fn serialize(&self, serializer: &mut S) -> std::result::Result<BombResolver, S::Error> {
        let bytes = self.bytes.serialize(serializer)?;
        FUSE.with(|fuse| {
            assert!(fuse.get() != 1, "the fuse is burnt");
            fuse.set(fuse.get() - 1);
        });
        Ok(BombResolver { bytes })
    }
}

#[derive(Archive, Serialize, Schema)]
struct Armed {
    blob: Bomb,
    names: Vec<String>,
}

/// A value that panics while it is archived into its block, where an old record was or whatever was there before: who catches the panic and reads on
/// finds what was there before the operation, and cannot commit.
#[test]
fn a_panic_leaves_no_half_of_a_record() {
    let (mut region, gate) = world();
    let pass = gate.enter().expect("pass");
    let names: Vec<String> = (0..1000).map(|i| format!("name number {i:04}.")).collect();
    let first = Armed {
        blob: Bomb { bytes: vec![] },
        names,
    };
    type Tables = (
        Map<u64, Armed>,
        OrderedMap<u64, Armed>,
        Slab<Armed>,
        Queue<Armed>,
        Timers<Armed>,
        Cell<Armed>,
    );
    let (map, ordered, slab, queue, timers, cell): Tables = region
        .write(&pass, |tx| -> Result<_> {
            let dirt: Map<u64, Vec<u8>> = Map::create(tx, "dirt")?;
            for key in 0..20 {
                dirt.insert(tx, &key, &vec![1; 60_000])?;
            }
            let tables: Tables = (
                Map::create(tx, "map")?,
                OrderedMap::create(tx, "ordered")?,
                Slab::create(tx, "slab")?,
                Queue::create(tx, "queue")?,
                Timers::create(tx, "timers", shmstate::Gap::All)?,
                Cell::create(tx, "cell", &first)?,
            );
            tables.0.insert(tx, &1, &first)?;
            tables.1.insert(tx, &1, &first)?;
            tables.2.insert(tx, &first)?;
            tables.3.push_back(tx, &first)?;
            tables.4.insert(tx, 1, &first)?;
            Ok(tables)
        })
        .expect("tables");
    region
        .write(&pass, |tx| Map::<u64, Vec<u8>>::open_or_create(tx, "dirt")?.clear(tx))
        .expect("blocks that are free, and dirty");
    let id = {
        let reader = region.read(&pass).expect("read");
        let first = slab.iter(&reader).expect("iter").next();
        first.expect("one").expect("sound").0
    };
    // As long as the record that is there, and of another length.
    for length in [25_000, 17_000, 40_000] {
        let next = Armed {
            blob: Bomb {
                bytes: vec![0xbf; length],
            },
            names: vec![],
        };
        // A value of that length is archived twice: to see how long it is, and into its block.
        for (operation, fuse) in (0..9).flat_map(|operation| [(operation, 1), (operation, 2)]) {
            let mut tx = region.begin(&pass).expect("begin");
            // Something that the transaction has done before.
            map.insert(&mut tx, &2, &first).expect("insert");
            FUSE.set(fuse);
            let caught = catch_unwind(AssertUnwindSafe(|| match operation {
                0 => map.insert(&mut tx, &1, &next).map(|_| ()),
                1 => map.insert(&mut tx, &3, &next).map(|_| ()),
                2 => ordered.insert(&mut tx, &1, &next).map(|_| ()),
                3 => ordered.insert(&mut tx, &3, &next).map(|_| ()),
                4 => slab.replace(&mut tx, id, &next).map(|_| ()),
                5 => slab.insert(&mut tx, &next).map(|_| ()),
                6 => queue.push_back(&mut tx, &next).map(|_| ()),
                7 => timers.insert(&mut tx, 2, &next).map(|_| ()),
                _ => cell.set(&mut tx, &next),
            }));
            FUSE.set(u32::MAX);
            assert!(caught.is_err(), "operation {operation} of {length} bytes did not panic");
            let is_first = |found: &<Armed as Archive>::Archived| {
                assert_eq!(
                    (found.blob.bytes.len(), found.names.len()),
                    (0, 1000),
                    "operation {operation}"
                );
                assert!(found.names.iter().zip(&first.names).all(|(a, b)| a == b));
            };
            is_first(map.get(&tx, &1).expect("get").expect("there"));
            is_first(map.get(&tx, &2).expect("get").expect("there"));
            assert!(map.get(&tx, &3).expect("get").is_none());
            let mut seen = 0;
            for entry in map.iter(&tx).expect("iter") {
                is_first(entry.expect("sound").1);
                seen += 1;
            }
            for entry in ordered.iter(&tx).expect("iter") {
                is_first(entry.expect("sound").1);
                seen += 1;
            }
            for entry in slab.iter(&tx).expect("iter") {
                is_first(entry.expect("sound").1);
                seen += 1;
            }
            for entry in queue.iter(&tx).expect("iter") {
                is_first(entry.expect("sound").1);
                seen += 1;
            }
            is_first(cell.get(&tx).expect("get"));
            assert_eq!((seen, timers.len(&tx).expect("len")), (5, 1), "operation {operation}");
            map.for_each_mut(&mut tx, |_, record| {
                is_first(record);
                Ok::<_, Error>(())
            })
            .expect("pass");
            let refused = tx.commit();
            assert!(matches!(refused, Err(Error::BrokenOff)), "{refused:?}");
            assert!(map.get(&region.read(&pass).expect("read"), &2).expect("get").is_none());
        }
    }
    sound(&region, &gate);
}

/// A savepoint is of the transaction that it began in, whatever a program puts in its place.
#[test]
fn a_savepoint_does_not_take_back_another_transaction() {
    type Tables = (Map<u64, String>, Map<u64, (u64, u128)>);
    for changes in 0..60 {
        let (mut one, mut two) = (world(), world());
        let mut made: Vec<Tables> = Vec::new();
        for (region, gate) in [&mut one, &mut two] {
            let pass = gate.enter().expect("pass");
            let tables = region.write(&pass, |tx| -> Result<_> {
                let names: Map<u64, String> = Map::create(tx, "names")?;
                for key in 0..10 {
                    names.insert(tx, &key, &format!("a value of some length {key}"))?;
                }
                let numbers = Map::create(tx, "numbers")?;
                numbers.insert(tx, &0, &(0, 0))?;
                Ok((names, numbers))
            });
            made.push(tables.expect("tables"));
        }
        let [(names_of_one, _), (names, numbers)] = made[..] else {
            panic!("two")
        };
        let (pass_one, pass_two) = (one.1.enter().expect("pass"), two.1.enter().expect("pass"));
        let mut tx_one = one.0.begin(&pass_one).expect("begin");
        let mut tx_two = two.0.begin(&pass_two).expect("begin");
        names_of_one.remove(&mut tx_one, &5).expect("remove");
        for i in 0..changes {
            let mut record = numbers.get_mut(&mut tx_two, &0).expect("get").expect("there");
            record.set(|n| &n.0, u64::from(i as u32).into()).expect("set");
        }
        names.remove(&mut tx_two, &6).expect("remove");
        let failed: Result<()> = tx_one.savepoint(|inner| {
            std::mem::swap(inner, &mut tx_two);
            Err(Error::ForeignField)
        });
        assert!(matches!(failed, Err(Error::ForeignField)));
        // This is the transaction of the other region now, and it is not known how far it was.
        assert!(tx_one.commit().is_err(), "{changes}");
        drop(tx_two);
        drop((pass_one, pass_two));
        for (region, gate) in [&one, &two] {
            sound(region, gate);
        }
        let pass = two.1.enter().expect("pass");
        let reader = two.0.read(&pass).expect("read");
        assert_eq!(
            names.get(&reader, &6).expect("get").expect("there"),
            "a value of some length 6"
        );
    }
}

/// A handle that is older than the table's shape reads what it can, or is refused; it writes nothing.
#[test]
fn an_old_handle_neither_reads_another_shape_nor_writes_its_own() {
    let options = Region::options().capacity(8 << 20);
    let mut region = options.create_anonymous("safety-old").expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let handles = region.write(&pass, |tx| -> Result<_> {
        let map: Map<u64, v1::P> = Map::create(tx, "map")?;
        let ordered: OrderedMap<u64, v1::P> = OrderedMap::create(tx, "ordered")?;
        let slab: Slab<v1::P> = Slab::create(tx, "slab")?;
        let queue: Queue<v1::P> = Queue::create(tx, "queue")?;
        let timers: Timers<v1::P> = Timers::create(tx, "timers", shmstate::Gap::All)?;
        let cell = Cell::create(tx, "cell", &old())?;
        map.insert(tx, &1, &old())?;
        ordered.insert(tx, &1, &old())?;
        Ok((map, ordered, slab, queue, timers, cell))
    });
    let (map, ordered, slab, queue, timers, cell) = handles.expect("tables");
    let steps = || Steps::new().from::<v1::P>();
    let new: Map<u64, v2::P> = Map::open_migrating(&region, "map", steps()).expect("open");
    let board: OrderedMap<u64, v2::P> = OrderedMap::open_migrating(&region, "ordered", steps()).expect("open");
    Slab::<v2::P>::open_migrating(&region, "slab", steps()).expect("open");
    Queue::<v2::P>::open_migrating(&region, "queue", steps()).expect("open");
    Timers::<v2::P>::open_migrating(&region, "timers", steps()).expect("open");
    let kept: Cell<v2::P> = Cell::open_migrating(&region, "cell", steps()).expect("open");
    for _ in 0..4 {
        region
            .write(&pass, |tx| -> Result<()> {
                new.sweep(tx, 1000)?;
                kept.get_mut(tx)?;
                board.sweep(tx, 1000).map(|_| ())
            })
            .expect("sweep");
    }
    drop(pass);
    // Another owner, who knows of no migration: all tables are of one shape.
    let descriptor = region.descriptor().expect("a memfd").try_clone_to_owned();
    drop(region);
    let mut region = options
        .attach("safety-old", descriptor.expect("duplicate"))
        .expect("attach");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let refused = [
        region.write(&pass, |tx| map.insert(tx, &9, &old()).map(|_| ())),
        region.write(&pass, |tx| map.insert(tx, &1, &old()).map(|_| ())),
        region.write(&pass, |tx| ordered.insert(tx, &9, &old()).map(|_| ())),
        region.write(&pass, |tx| slab.insert(tx, &old()).map(|_| ())),
        region.write(&pass, |tx| queue.push_back(tx, &old()).map(|_| ())),
        region.write(&pass, |tx| timers.insert(tx, 1, &old()).map(|_| ())),
        region.write(&pass, |tx| cell.set(tx, &old())),
    ];
    for (i, refused) in refused.into_iter().enumerate() {
        assert!(
            matches!(refused, Err(Error::SchemaMismatch { .. })),
            "writing {i}: {refused:?}"
        );
    }
    let reader = region.read(&pass).expect("read");
    assert!(map.get(&reader, &1).is_err());
    assert_eq!(
        new.get(&reader, &1).expect("get").expect("there").a.to_native(),
        'a' as u32
    );
    assert!(verify(&reader).expect("verify").is_sound());
    // A version whose low byte is that of the first.
    let steps = Steps::new().from::<v2::P>();
    let refused = Map::<u64, v257::P>::open_migrating(&region, "map", steps);
    assert!(matches!(refused, Err(Error::BadSteps { .. })), "{refused:?}");
    region
        .write(&pass, |tx| new.insert(tx, &5, &v2::P { a: 5 }))
        .expect("goes on");
    sound(&region, &gate);
}

struct Short([u8; 8]);
struct Long([u8; 16]);

macro_rules! keys {
    ($($type:ident, $size:literal;)*) => {$(
        impl Key for $type {
            type Borrowed = Self;
            const SIZE: usize = $size;
            const VARIABLE: bool = false;

            fn borrowed(&self) -> &Self {
                self
            }

            fn write(key: &Self, _: KeyForm, out: &mut impl KeySink) {
                out.put(&key.0);
            }

            fn read(_: KeyForm, input: &mut &[u8]) -> Option<Self> {
                let (bytes, rest) = input.split_first_chunk()?;
                *input = rest;
                Some(Self(*bytes))
            }

            fn shape() -> String {
                "key".into()
            }
        }
    )*};
}

keys! {
    Short, 8;
    Long, 16;
}

/// Types of keys that say the same of themselves and are kept otherwise.
#[test]
fn keys_of_one_shape_and_two_sizes_are_told_apart() {
    let (mut region, gate) = world();
    let pass = gate.enter().expect("pass");
    region
        .write(&pass, |tx| -> Result<()> {
            Map::<Short, Vec<u32>>::create(tx, "map")?.insert(tx, &Short([0x41; 8]), &vec![7; 4])?;
            OrderedMap::<Short, u64>::create(tx, "ordered")?
                .insert(tx, &Short([0x41; 8]), &7)
                .map(|_| ())
        })
        .expect("tables");
    let map = Map::<Long, Vec<u32>>::open(&region, "map");
    assert!(matches!(map, Err(Error::SchemaMismatch { .. })), "{map:?}");
    let ordered = OrderedMap::<Long, u64>::open(&region, "ordered");
    assert!(matches!(ordered, Err(Error::SchemaMismatch { .. })), "{ordered:?}");
    assert!(Map::<Short, Vec<u32>>::open(&region, "map").is_ok());
}

/// Nobody gets a second way to write memory that is in use, where no lease decides between the two.
#[test]
fn a_region_is_not_mapped_twice_without_a_lease() {
    let region = Region::options()
        .capacity(4 << 20)
        .create_anonymous("safety-twice")
        .expect("region");
    let descriptor = || {
        let held = region.descriptor().expect("a memfd");
        held.try_clone_to_owned().expect("duplicate")
    };
    let alone = Gate::alone();
    let refused = [
        Region::options().attach("safety-twice", descriptor()).map(|_| ()),
        Region::options().recover("safety-twice", descriptor()).map(|_| ()),
        Region::options()
            .gate(&alone)
            .attach("safety-twice", descriptor())
            .map(|_| ()),
        // One pass of that gate would give access to the same memory twice.
        Region::options()
            .gate(region.gate())
            .attach("safety-twice", descriptor())
            .map(|_| ()),
    ];
    for (i, refused) in refused.into_iter().enumerate() {
        assert!(matches!(refused, Err(Error::InUse { .. })), "{i}: {refused:?}");
    }
    // A gate over a lease: once.
    let leased = Gate::closed(std::sync::Arc::new(shmstate::lease::LocalLease::default()));
    let options = Region::options().gate(&leased);
    let heir = options.attach("safety-twice", descriptor()).expect("behind a lease");
    let twice = options.attach("safety-twice", descriptor()).map(|_| ());
    assert!(matches!(twice, Err(Error::InUse { .. })), "{twice:?}");
    drop(heir);
    drop(options.attach("safety-twice", descriptor()).expect("once again"));
    let last = descriptor();
    drop(region);
    let alone = Region::options().attach("safety-twice", last).expect("the only one");
    sound(&alone, &alone.gate().clone());
}

/// Rows that the library keeps for itself are no tables to a program.
#[test]
fn the_librarys_own_tables_are_nobodys() {
    let (mut region, gate) = world();
    let pass = gate.enter().expect("pass");
    region
        .write(&pass, |tx| -> Result<()> {
            Map::<u64, v1::P>::create(tx, "t")?.insert(tx, &1, &old())?;
            Map::<u64, u64>::create(tx, "source")?.insert(tx, &1, &1).map(|_| ())
        })
        .expect("tables");
    let steps = Steps::new().from::<v1::P>().back::<v1::P>();
    let two: Map<u64, v2::P> = Map::open_migrating(&region, "t", steps).expect("open");
    let moving = Move::<u64, u64>::of("source")
        .to::<u64, u64>("target", |key| Some(*key), |_, key, value| Ok(vec![(*key, *value)]))
        .open(&region)
        .expect("open");
    region
        .write(&pass, |tx| two.insert(tx, &2, &v2::P { a: 7 }))
        .expect("insert");
    let reader = region.read(&pass).expect("read");
    let own: Vec<String> = reader.tables().expect("tables").into_iter().map(|t| t.name).collect();
    assert!(own.iter().any(|name| name == ".1.t") && own.iter().any(|name| name == ".moved.source"));
    for name in [".1.t", ".moved.source"] {
        let gone = |refused: Result<()>| assert!(matches!(refused, Err(Error::NoTable { .. })), "{name}: {refused:?}");
        gone(Map::<u64, v1::P>::open(&region, name).map(|_| ()));
        gone(Map::<u64, u8>::open(&region, name).map(|_| ()));
        gone(Map::<u64, v2::P>::open_migrating(&region, name, Steps::new().from::<v1::P>()).map(|_| ()));
        gone(region.drop_table(&pass, name).map(|_| ()));
        let refused = region.write(&pass, |tx| Map::<u64, v1::P>::open_or_create(tx, name).map(|_| ()));
        assert!(matches!(refused, Err(Error::BadName { .. })), "{name}: {refused:?}");
    }
    assert_eq!(moving.left(&region.read(&pass).expect("read")).expect("left"), 1);
    // A companion that nobody wants goes, also if all had been swept before its way back was closed.
    for _ in 0..3 {
        region.write(&pass, |tx| two.sweep(tx, 1000)).expect("sweep");
    }
    region.close_ways_back(&pass).expect("closed");
    for _ in 0..4 {
        region.write(&pass, |tx| two.sweep(tx, 1000)).expect("sweep");
    }
    let left = region.read(&pass).expect("read").tables().expect("tables");
    assert!(left.iter().all(|table| table.name != ".1.t"), "{left:?}");
}

/// A type that cannot be described so that it can be read again has no table: what its records point to could not be told.
#[test]
fn what_cannot_be_described_is_not_stored() {
    #[derive(Archive, Serialize, Schema)]
    #[schema(
        name = "Aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    )]
    struct Long0;
    #[derive(Archive, Serialize, Schema)]
    struct Twice<A, B> {
        a: PhantomData<(A, A)>,
        b: PhantomData<(B, B)>,
    }
    type T1 = Twice<Long0, Long0>;
    type T2 = Twice<T1, T1>;
    type T3 = Twice<T2, T2>;
    type T4 = Twice<T3, T3>;
    type T5 = Twice<T4, T4>;
    type T6 = Twice<T5, T5>;
    type T7 = Twice<T6, T6>;
    #[derive(Archive, Serialize, Schema)]
    struct Pointing<T> {
        numbers: Vec<u128>,
        of: PhantomData<T>,
    }
    let (mut region, gate) = world();
    let pass = gate.enter().expect("pass");
    let refused = region.write(&pass, |tx| Map::<u64, Pointing<T7>>::create(tx, "t").map(|_| ()));
    assert!(matches!(refused, Err(Error::Archive { .. })), "{refused:?}");
    sound(&region, &gate);
}

/// More memory ahead than there can be.
#[test]
fn any_number_may_be_asked_for() {
    for bytes in [0, 1, 65_536, 1 << 47, u64::MAX / 2, u64::MAX] {
        let mut region = Region::options()
            .capacity(32 << 20)
            .reserve_ahead(bytes)
            .create_anonymous("safety-ahead")
            .expect("region");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        region
            .write(&pass, |tx| Map::<u64, u64>::create(tx, "t")?.insert(tx, &1, &1))
            .expect("insert");
        region.trim(&pass, bytes).expect("trim");
        let reader = region.read(&pass).expect("read");
        let found = verify(&reader).expect("verify");
        assert!(found.is_sound(), "{bytes}: {found:?}");
    }
}

/// What a table had for its older shape is nobody's once that is gone: its row may be another table's.
#[test]
fn clearing_a_table_that_has_migrated_clears_no_other() {
    for vacant in [false, true] {
        let (mut region, gate) = world();
        let pass = gate.enter().expect("pass");
        region
            .write(&pass, |tx| Map::<u64, v1::P>::create(tx, "t")?.insert(tx, &1, &old()))
            .expect("table");
        let two: Map<u64, v2::P> = Map::open_migrating(&region, "t", Steps::new().from::<v1::P>()).expect("open");
        while region.write(&pass, |tx| two.sweep(tx, 100)).expect("sweep").left > 0 {}
        if vacant {
            for _ in 0..3 {
                region.write(&pass, |tx| two.sweep(tx, 100)).expect("sweep");
            }
        }
        let gold: Map<u64, u64> = region
            .write(&pass, |tx| -> Result<_> {
                let gold = Map::create(tx, "gold")?;
                gold.insert(tx, &7, &70)?;
                Ok(gold)
            })
            .expect("another table");
        region.write(&pass, |tx| two.clear(tx)).expect("cleared");
        let reader = region.read(&pass).expect("read");
        assert_eq!(two.len(&reader).expect("len"), 0);
        assert_eq!(gold.get(&reader, &7).expect("get").expect("there").to_native(), 70);
        drop(pass);
        sound(&region, &gate);
    }
}

/// The source of a move that is over is gone with all that was kept for it, and what this process knew of it is nobody's: neither of who gets its row,
/// nor of the next owner.
#[test]
fn a_move_that_is_over_leaves_nothing_of_its_source() {
    let (mut region, gate) = world();
    let pass = gate.enter().expect("pass");
    region
        .write(&pass, |tx| -> Result<()> {
            Map::<u64, v1::P>::create(tx, "later")?.insert(tx, &1, &old())?;
            let source: Map<u64, v1::P> = Map::create(tx, "source")?;
            for key in 0..100 {
                source.insert(tx, &key, &old())?;
            }
            Ok(())
        })
        .expect("tables");
    let moving = Move::<u64, v2::P>::of("source")
        .steps(Steps::new().from::<v1::P>())
        .to::<u64, u64>(
            "target",
            |key| Some(*key),
            |_, key, two| Ok(vec![(*key, u64::from(two.a))]),
        )
        .open(&region)
        .expect("open");
    let mut calls = 0;
    while region.write(&pass, |tx| moving.sweep(tx, 30)).expect("sweep").left > 0 {
        calls += 1;
        assert!(calls < 100);
    }
    let names = |region: &Region| -> Vec<String> {
        let tables = region.read(&pass).expect("read").tables().expect("tables");
        tables.into_iter().map(|table| table.name).collect()
    };
    assert_eq!(names(&region), ["later", "target"]);
    // Whatever gets the row of the source.
    let others = region.write(&pass, |tx| -> Result<_> {
        let mut others = Vec::new();
        for i in 0..8 {
            let other: Map<u64, v2::P> = Map::create(tx, &format!("other-{i}"))?;
            other.insert(tx, &1, &v2::P { a: i })?;
            others.push(other);
        }
        let numbers: Map<u64, [u32; 3]> = Map::create(tx, "numbers")?;
        numbers.insert(tx, &1, &[1; 3])?;
        assert!(numbers.remove(tx, &1)?);
        Ok(others)
    });
    for (i, other) in others.expect("made").into_iter().enumerate() {
        region
            .write(&pass, |tx| -> Result<()> {
                let mut record = other.get_mut(tx, &1)?.expect("there");
                assert_eq!(record.a.to_native(), i as u32);
                record.set(|p| &p.a, 9.into())?;
                assert!(other.remove(tx, &1)?);
                other.insert(tx, &2, &v2::P { a: 2 })?;
                other.clear(tx)
            })
            .expect("changed");
    }
    // What the next owner does first, this process does here.
    let later: Map<u64, v2::P> = Map::open_migrating(&region, "later", Steps::new().from::<v1::P>()).expect("open");
    region
        .write(&pass, |tx| later.get_mut(tx, &1).map(|found| assert!(found.is_some())))
        .expect("begun");
    drop(pass);
    sound(&region, &gate);
}

/// By a handle of another version nothing is taken away either: it would be counted as what it is not.
#[test]
fn an_old_handle_takes_nothing_away() {
    let options = Region::options().capacity(8 << 20);
    for swept in [false, true] {
        let mut region = options.create_anonymous("safety-take").expect("region");
        let mut gate = region.gate().clone();
        let made = region.write(&gate.enter().expect("pass"), |tx| -> Result<_> {
            let map: Map<u64, v1::P> = Map::create(tx, "map")?;
            let ordered: OrderedMap<u64, v1::P> = OrderedMap::create(tx, "ordered")?;
            let slab: Slab<v1::P> = Slab::create(tx, "slab")?;
            let queue: Queue<v1::P> = Queue::create(tx, "queue")?;
            let timers: Timers<v1::P> = Timers::create(tx, "timers", shmstate::Gap::All)?;
            let (mut ids, mut due) = (Vec::new(), Vec::new());
            for key in 0..10 {
                map.insert(tx, &key, &old())?;
                ordered.insert(tx, &key, &old())?;
                ids.push(slab.insert(tx, &old())?);
                queue.push_back(tx, &old())?;
                due.push(timers.insert(tx, key, &old())?);
            }
            Ok((map, ordered, slab, queue, timers, ids, due))
        });
        let (map, ordered, slab, queue, timers, ids, due) = made.expect("tables");
        for owner in 0..2 {
            let pass = gate.enter().expect("pass");
            if owner == 0 {
                let steps = || Steps::new().from::<v1::P>();
                let maps: Map<u64, v2::P> = Map::open_migrating(&region, "map", steps()).expect("open");
                let trees: OrderedMap<u64, v2::P> =
                    OrderedMap::open_migrating(&region, "ordered", steps()).expect("open");
                let slabs: Slab<v2::P> = Slab::open_migrating(&region, "slab", steps()).expect("open");
                let queues: Queue<v2::P> = Queue::open_migrating(&region, "queue", steps()).expect("open");
                let alarms: Timers<v2::P> = Timers::open_migrating(&region, "timers", steps()).expect("open");
                let budget = if swept { 1000 } else { 0 };
                for _ in 0..4 {
                    region
                        .write(&pass, |tx| -> Result<()> {
                            if budget > 0 {
                                maps.sweep(tx, budget)?;
                                trees.sweep(tx, budget)?;
                                slabs.sweep(tx, budget)?;
                                queues.sweep(tx, budget)?;
                                alarms.sweep(tx, budget)?;
                            }
                            Ok(())
                        })
                        .expect("settled");
                }
            }
            let mut attempts: Vec<(&str, Result<()>)> = Vec::new();
            let mut attempt = |what, work: &dyn Fn(&mut shmstate::Tx<'_>) -> Result<()>| {
                let mut tx = region.begin(&pass).expect("begin");
                let result = work(&mut tx);
                // Refused, so nothing has changed, and may be committed.
                tx.commit().expect("commit");
                attempts.push((what, result));
            };
            attempt("map remove", &|tx| map.remove(tx, &1).map(|_| ()));
            attempt("map take", &|tx| map.take(tx, &1).map(|_| ()));
            attempt("map clear", &|tx| map.clear(tx));
            attempt("ordered remove", &|tx| ordered.remove(tx, &1).map(|_| ()));
            attempt("ordered range", &|tx| ordered.remove_range(tx, 2..4).map(|_| ()));
            attempt("ordered all", &|tx| ordered.remove_range(tx, ..).map(|_| ()));
            attempt("ordered pop", &|tx| ordered.pop_first(tx).map(|_| ()));
            attempt("ordered clear", &|tx| ordered.clear(tx));
            attempt("slab remove", &|tx| slab.remove(tx, ids[1]).map(|_| ()));
            attempt("slab drain", &|tx| slab.drain(tx, |_, _| ()).map(|_| ()));
            attempt("slab clear", &|tx| slab.clear(tx));
            attempt("queue pop", &|tx| queue.pop_front(tx, |_, _| ()).map(|_| ()));
            attempt("queue before", &|tx| queue.remove_before(tx, u64::MAX).map(|_| ()));
            attempt("queue clear", &|tx| queue.clear(tx));
            attempt("timers cancel", &|tx| timers.cancel(tx, due[1]).map(|_| ()));
            attempt("timers retain", &|tx| timers.retain(tx, |_, _, _| false).map(|_| ()));
            attempt("timers due", &|tx| timers.pop_due(tx, 100, |_, _, _| ()).map(|_| ()));
            attempt("timers clear", &|tx| timers.clear(tx));
            for (what, refused) in attempts {
                assert!(refused.is_err(), "{what}, swept {swept}, owner {owner}");
            }
            drop(pass);
            sound(&region, &gate);
            if owner == 0 {
                // Another one, who opens none of the tables.
                let descriptor = region.descriptor().expect("a memfd").try_clone_to_owned();
                drop(region);
                region = options
                    .attach("safety-take", descriptor.expect("duplicate"))
                    .expect("attach");
                gate = region.gate().clone();
            }
        }
        let reader_pass = gate.enter().expect("pass");
        let tables = region.read(&reader_pass).expect("read").tables().expect("tables");
        assert!(
            tables
                .iter()
                .filter(|table| !table.name.starts_with('.'))
                .all(|table| table.records == 10)
        );
    }
}
