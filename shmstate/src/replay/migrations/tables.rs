//! The same for the other kinds of tables: what names a record, and what its table keeps of it beside the archive, stays through every
//! migration, there and back again.

use super::{One, Two, name};
use crate::region::view::View;
use crate::replay::every_prefix_of;
use crate::table::mixed;
use crate::{
    Cell, Gap, OrderedMap, Queue, RecordMut, Region, Result, Slab, Steps, TableOptions, Timers, Tx, Value, verify,
};
use std::num::NonZeroU64;

const TABLE: &str = "table";
/// Records at the beginning.
const MANY: u64 = 8;

/// What a play needs of a version.
trait Version: Value + Sized {
    fn make(n: u64) -> Self;
    fn change(record: &mut RecordMut<'_, '_, Self>) -> Result<()>;
    fn show(archived: &Self::Archived) -> String;
    fn steps() -> Steps<Self>;
}

impl Version for One {
    fn make(n: u64) -> Self {
        Self {
            name: name(n),
            score: n as u32,
            title: 7,
        }
    }

    fn change(record: &mut RecordMut<'_, '_, Self>) -> Result<()> {
        record.set(|p| &p.score, 111.into())
    }

    fn show(p: &Self::Archived) -> String {
        format!("{} {} {}", p.name, p.score, p.title)
    }

    fn steps() -> Steps<Self> {
        Steps::new()
    }
}

impl Version for Two {
    fn make(n: u64) -> Self {
        Self {
            name: name(n),
            score: n,
            mana: n as u8,
        }
    }

    fn change(record: &mut RecordMut<'_, '_, Self>) -> Result<()> {
        record.set(|p| &p.score, 222.into())?;
        record.set(|p| &p.mana, 22)
    }

    fn show(p: &Self::Archived) -> String {
        format!("{} {} {}", p.name, p.score, p.mana)
    }

    fn steps() -> Steps<Self> {
        Steps::new().from::<One>().back::<One>()
    }
}

/// A record: what names it, what its table keeps beside it, what it is.
type Shown = (String, [u64; 2], String);

/// A kind of table.
trait Kind {
    type Of<V: Value>: Copy;

    /// Makes the table, with so many records of version 1.
    fn fill(tx: &mut Tx<'_>) -> Result<()>;
    fn open<V: Version>(region: &Region) -> Result<Self::Of<V>>;
    fn all<V: Version>(table: Self::Of<V>, view: &View) -> Result<Vec<Shown>>;
    /// Of everything that can be done something; `n` differs from call to call.
    fn play<V: Version>(table: Self::Of<V>, tx: &mut Tx<'_>, n: u64) -> Result<()>;
    fn sweep<V: Version>(table: Self::Of<V>, tx: &mut Tx<'_>) -> Result<()>;
    fn end<V: Version>(table: Self::Of<V>, tx: &mut Tx<'_>) -> Result<()>;
}

struct Ordered;

impl Kind for Ordered {
    type Of<V: Value> = OrderedMap<(String, i64), V>;

    fn fill(tx: &mut Tx<'_>) -> Result<()> {
        let options = TableOptions::default().checksums(true);
        let table: Self::Of<One> = OrderedMap::create_with(tx, TABLE, options)?;
        for n in 0..MANY {
            table.insert(tx, &(format!("{}\0", n % 3), -(n as i64)), &One::make(n))?;
        }
        Ok(())
    }

    fn open<V: Version>(region: &Region) -> Result<Self::Of<V>> {
        OrderedMap::open_migrating(region, TABLE, V::steps())
    }

    fn all<V: Version>(table: Self::Of<V>, view: &View) -> Result<Vec<Shown>> {
        let items = table.iter(view)?;
        items
            .map(|item| item.map(|(key, value)| (format!("{key:?}"), [0; 2], V::show(value))))
            .collect()
    }

    fn play<V: Version>(table: Self::Of<V>, tx: &mut Tx<'_>, n: u64) -> Result<()> {
        let keys: Vec<_> = table
            .iter(tx)?
            .map(|item| item.map(|(key, _)| key))
            .collect::<Result<_>>()?;
        V::change(&mut table.get_mut(tx, &keys[1])?.expect("there"))?;
        table.insert(tx, &keys[2], &V::make(n))?;
        table.remove(tx, &keys[3])?;
        table.insert(tx, &("new".into(), n as i64), &V::make(n + 1))?;
        table.pop_first(tx).map(|_| ())
    }

    fn sweep<V: Version>(table: Self::Of<V>, tx: &mut Tx<'_>) -> Result<()> {
        table.sweep(tx, 1).map(|_| ())
    }

    fn end<V: Version>(table: Self::Of<V>, tx: &mut Tx<'_>) -> Result<()> {
        table.drain(tx).map(|_| ())
    }
}

struct Slabs;

impl Kind for Slabs {
    type Of<V: Value> = Slab<V>;

    fn fill(tx: &mut Tx<'_>) -> Result<()> {
        let table: Slab<One> = Slab::create(tx, TABLE)?;
        for n in 0..MANY {
            table.insert(tx, &One::make(n))?;
        }
        Ok(())
    }

    fn open<V: Version>(region: &Region) -> Result<Slab<V>> {
        Slab::open_migrating(region, TABLE, V::steps())
    }

    fn all<V: Version>(table: Slab<V>, view: &View) -> Result<Vec<Shown>> {
        let items = table.iter(view)?;
        items
            .map(|item| item.map(|(id, value)| (format!("{id:?}"), [0; 2], V::show(value))))
            .collect()
    }

    fn play<V: Version>(table: Slab<V>, tx: &mut Tx<'_>, n: u64) -> Result<()> {
        let ids: Vec<_> = table
            .iter(tx)?
            .map(|item| item.map(|(id, _)| id))
            .collect::<Result<_>>()?;
        V::change(&mut table.get_mut(tx, ids[0])?.expect("there"))?;
        table.replace(tx, ids[1], &V::make(n))?;
        table.remove(tx, ids[2])?;
        table.insert(tx, &V::make(n + 1)).map(|_| ())
    }

    fn sweep<V: Version>(table: Slab<V>, tx: &mut Tx<'_>) -> Result<()> {
        table.sweep(tx, 1).map(|_| ())
    }

    fn end<V: Version>(table: Slab<V>, tx: &mut Tx<'_>) -> Result<()> {
        table.clear(tx)
    }
}

struct Cells;

impl Kind for Cells {
    type Of<V: Value> = Cell<V>;

    fn fill(tx: &mut Tx<'_>) -> Result<()> {
        Cell::create(tx, TABLE, &One::make(3)).map(|_| ())
    }

    fn open<V: Version>(region: &Region) -> Result<Cell<V>> {
        Cell::open_migrating(region, TABLE, V::steps())
    }

    fn all<V: Version>(table: Cell<V>, view: &View) -> Result<Vec<Shown>> {
        Ok(vec![(String::new(), [0; 2], V::show(table.get(view)?))])
    }

    fn play<V: Version>(table: Cell<V>, tx: &mut Tx<'_>, n: u64) -> Result<()> {
        if n.is_multiple_of(2) {
            table.set(tx, &V::make(n))?;
        }
        V::change(&mut table.get_mut(tx)?)
    }

    fn sweep<V: Version>(table: Cell<V>, tx: &mut Tx<'_>) -> Result<()> {
        table.sweep(tx).map(|_| ())
    }

    fn end<V: Version>(table: Cell<V>, tx: &mut Tx<'_>) -> Result<()> {
        table.set(tx, &V::make(39))
    }
}

struct Queues;

impl Kind for Queues {
    type Of<V: Value> = Queue<V>;

    fn fill(tx: &mut Tx<'_>) -> Result<()> {
        let table: Queue<One> = Queue::create(tx, TABLE)?;
        for n in 0..MANY {
            table.push_back(tx, &One::make(n))?;
        }
        Ok(())
    }

    fn open<V: Version>(region: &Region) -> Result<Queue<V>> {
        Queue::open_migrating(region, TABLE, V::steps())
    }

    fn all<V: Version>(table: Queue<V>, view: &View) -> Result<Vec<Shown>> {
        let next = table.next_serial(view)?;
        let items = table.iter(view)?;
        items
            .map(|item| item.map(|(serial, value)| (serial.to_string(), [next, 0], V::show(value))))
            .collect()
    }

    fn play<V: Version>(table: Queue<V>, tx: &mut Tx<'_>, n: u64) -> Result<()> {
        table.push_back(tx, &V::make(n))?;
        table.pop_front(tx, |_, _| ())?;
        V::change(&mut table.get_mut(tx, 1)?.expect("there").1)?;
        table.push_back(tx, &V::make(n + 1)).map(|_| ())
    }

    fn sweep<V: Version>(table: Queue<V>, tx: &mut Tx<'_>) -> Result<()> {
        table.sweep(tx, 1).map(|_| ())
    }

    fn end<V: Version>(table: Queue<V>, tx: &mut Tx<'_>) -> Result<()> {
        table.clear(tx)
    }
}

struct Clocks;

impl Kind for Clocks {
    type Of<V: Value> = Timers<V>;

    fn fill(tx: &mut Tx<'_>) -> Result<()> {
        let table: Timers<One> = Timers::create(tx, TABLE, Gap::All)?;
        for n in 0..MANY * 2 {
            let period = NonZeroU64::new(n % 3 * 100);
            match period {
                Some(period) => table.insert_every(tx, 100 + n, period, &One::make(n))?,
                None => table.insert(tx, 100 + n, &One::make(n))?,
            };
        }
        Ok(())
    }

    fn open<V: Version>(region: &Region) -> Result<Timers<V>> {
        Timers::open_migrating(region, TABLE, V::steps())
    }

    fn all<V: Version>(table: Timers<V>, view: &View) -> Result<Vec<Shown>> {
        let mut all = Vec::new();
        for item in table.iter(view)? {
            let (id, deadline, value) = item?;
            let period = table.period(view, id)?.expect("there");
            all.push((format!("{id:?}"), [deadline, period], V::show(value)));
        }
        all.sort_unstable();
        Ok(all)
    }

    fn play<V: Version>(table: Timers<V>, tx: &mut Tx<'_>, n: u64) -> Result<()> {
        let ids: Vec<_> = table
            .iter(tx)?
            .map(|item| item.map(|(id, _, _)| id))
            .collect::<Result<_>>()?;
        table.insert(tx, 150 + n, &V::make(n))?;
        V::change(&mut table.get_mut(tx, ids[1])?.expect("there"))?;
        table.cancel(tx, ids[2])?;
        table.reschedule(tx, ids[3], 90)?;
        table.replace(tx, ids[4], &V::make(n + 1))?;
        table.reschedule_every(tx, ids[5], 95 + n, NonZeroU64::new(n % 2 * 10))?;
        for _ in 0..2 {
            table.pop_due(tx, 140, |_, _, _| ())?;
        }
        Ok(())
    }

    fn sweep<V: Version>(table: Timers<V>, tx: &mut Tx<'_>) -> Result<()> {
        table.sweep(tx, 1).map(|_| ())
    }

    fn end<V: Version>(table: Timers<V>, tx: &mut Tx<'_>) -> Result<()> {
        table.clear(tx)
    }
}

/// Everything that committed state says, to either version.
#[derive(Debug, PartialEq)]
struct World {
    one: Vec<Shown>,
    two: Vec<Shown>,
    /// Version, records of it, twins, whether they are good.
    companions: Vec<(u16, u64, u64, bool)>,
}

fn world<K: Kind>(region: &Region) -> World {
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let reader = region.read(&pass).expect("reader");
    let verification = verify(&reader).expect("verify");
    assert!(verification.is_sound(), "{verification:?}");
    let companions = mixed::companions(&reader, TABLE).expect("companions").into_iter();
    let companions = companions
        .map(|companion| {
            let (twins, _) = crate::table::map::counts(&reader, companion.row.offset).expect("counts");
            (companion.row.version, companion.left, twins, companion.good)
        })
        .collect();
    let one = K::open::<One>(region).expect("version 1");
    let one = K::all(one, &reader).expect("version 1");
    let two = K::open::<Two>(region).expect("version 2");
    let two = K::all(two, &reader).expect("version 2");
    World { one, two, companions }
}

/// Replays a change by a version.
fn replay<K: Kind, V: Version>(region: &mut Region, change: impl FnOnce(&mut Tx<'_>, K::Of<V>) -> Result<()>) {
    let open = |region: &Region| K::open::<V>(region).expect("open");
    let table = open(region);
    // Looking at the world enters the table anew, as another version perhaps.
    let look = |region: &Region| {
        let found = world::<K>(region);
        open(region);
        found
    };
    every_prefix_of(region, look, 1, |tx| change(tx, table));
}

fn there_and_back_again<K: Kind>() {
    let mut region = Region::in_memory(2 << 20).expect("region");
    let gate = region.gate().clone();
    region.write(&gate.enter().expect("pass"), K::fill).expect("fill");
    replay::<K, Two>(&mut region, |_, _| Ok(()));
    replay::<K, Two>(&mut region, |tx, table| K::play(table, tx, 30));
    // Twins in place, twins that need other blocks, twins that go.
    replay::<K, Two>(&mut region, |tx, table| K::play(table, tx, 38));
    // The version before, which has no steps.
    replay::<K, One>(&mut region, |_, _| Ok(()));
    replay::<K, One>(&mut region, |tx, table| K::play(table, tx, 37));
    replay::<K, Two>(&mut region, |_, _| Ok(()));
    replay::<K, Two>(&mut region, |tx, table| K::play(table, tx, 33));
    replay::<K, One>(&mut region, |_, _| Ok(()));
    replay::<K, One>(&mut region, |tx, table| K::sweep(table, tx));
    replay::<K, Two>(&mut region, |_, _| Ok(()));
    replay::<K, Two>(&mut region, |tx, table| K::sweep(table, tx));
    replay::<K, One>(&mut region, |_, _| Ok(()));
    replay::<K, One>(&mut region, |tx, table| K::end(table, tx));
}

#[test]
fn ordered_maps() {
    there_and_back_again::<Ordered>();
}

#[test]
fn slabs() {
    there_and_back_again::<Slabs>();
}

#[test]
fn cells() {
    there_and_back_again::<Cells>();
}

#[test]
fn queues() {
    there_and_back_again::<Queues>();
}

#[test]
fn timers() {
    there_and_back_again::<Clocks>();
}
