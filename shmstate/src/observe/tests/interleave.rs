//! Real stores against real loads, one by one: the stores of real transactions are recorded, and the reader runs over a region
//! into which they are written between any two of its loads. What it says must be what a recovery at some point between its
//! first load and its last would have found.

use super::{Name, Player, Tables, create, player, transfer};
use crate::observe::Observer;
use crate::observe::sabotage::{Left, leave_out};
use crate::observe::source::torn;
use crate::region::header::at;
use crate::region::mapping::{Access, Mapping};
use crate::region::view::{Places, Store};
use crate::region::view_of;
use crate::tx::undo::CHANGING;
use crate::{Region, Result, View};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

/// Writes stores at chosen loads.
struct Writer {
    object: Rc<Object>,
    stores: Rc<Vec<Store>>,
    /// Stores that were written.
    done: usize,
    loads: usize,
    /// At which load how many stores follow, in order.
    plan: Vec<(usize, usize)>,
}

/// The object that the observer maps, mapped for writing.
struct Object {
    // Declared before the mapping: the view must not outlive it (V3).
    view: View,
    _mapping: Box<Mapping>,
    _name: Name,
}

impl Object {
    fn new(name: Name, image: &[u8]) -> Self {
        let mapping = Mapping::new(
            name.write(image).into(),
            &name.0,
            image.len() as u64,
            Access::Write,
            false,
        );
        let mapping = Box::new(mapping.expect("map"));
        let places = Places {
            tag: 0,
            chunks: 0,
            heap: 0,
        };
        Self {
            view: view_of(&*mapping, image.len() as u64, places),
            _mapping: mapping,
            _name: name,
        }
    }

    fn write(&self, offset: u64, bytes: &[u8]) {
        self.view.write_fresh(offset, bytes, "store").expect("store");
    }
}

thread_local! {
    static WRITER: RefCell<Option<Writer>> = const { RefCell::new(None) };
}

/// Called by the memory of an observer before each load.
pub(crate) fn before_load() {
    WRITER.with_borrow_mut(|writer| {
        if let Some(writer) = writer {
            writer.loads += 1;
            while let Some((at, count)) = writer.plan.first().copied()
                && at < writer.loads
            {
                writer.plan.remove(0);
                writer.write(count);
            }
        }
    });
}

impl Writer {
    fn write(&mut self, count: usize) {
        let end = (self.done + count).min(self.stores.len());
        for store in &self.stores[self.done..end] {
            self.object.write(store.offset, &store.bytes);
        }
        self.done = end;
    }
}

/// Readings that are all tried, and else how many at random.
const EXHAUSTIVE: usize = 250_000;
/// Stores of a course of which some double bursts are all tried.
const SMALL: usize = 40;
/// See [`EXHAUSTIVE`].
const RANDOM: usize = 10_000;

/// What a reader says, in words, so that all readers can be compared.
type Said = String;

struct Course {
    name: String,
    object: Rc<Object>,
    image: Vec<u8>,
    stores: Rc<Vec<Store>>,
    /// What is committed after each number of stores.
    committed: Vec<Said>,
    /// What a record may look like between them.
    between: BTreeSet<Said>,
}

impl Course {
    /// Records the transactions of `change`; `read` says what is committed, `peeked` what is whole but perhaps is not.
    fn new(
        what: &str,
        read: impl Fn(&View, &Tables) -> Result<Said>,
        peeked: impl Fn(&View, &Tables) -> Result<Said>,
        change: impl FnOnce(&mut Region, &Tables) -> Result<()>,
    ) -> Self {
        let mut region = Region::in_memory(2 << 20).expect("region");
        let gate = region.gate().clone();
        let tables = region.write(&gate.enter().expect("pass"), create).expect("tables");
        let image = region.view.start_recording();
        change(&mut region, &tables).expect("change");
        let stores = region.view.stop_recording();
        let mut committed = Vec::new();
        let mut between = BTreeSet::new();
        let mut now = image.clone();
        for n in 0..=stores.len() {
            if n > 0 {
                let store = &stores[n - 1];
                now[store.offset as usize..store.offset as usize + store.bytes.len()].copy_from_slice(&store.bytes);
            }
            let crashed = Region::from_image(&now).expect("region");
            // Before it is recovered: what a peek may see.
            if let Ok(said) = peeked(&crashed.view, &tables) {
                between.insert(said);
            }
            let gate = crashed.gate().clone();
            let pass = gate.enter().expect("pass");
            committed.push(read(&crashed.read(&pass).expect("reader"), &tables).expect("committed"));
        }
        let name = Name::new(what);
        Self {
            name: name.0.clone(),
            object: Rc::new(Object::new(name, &image)),
            image,
            stores: Rc::new(stores),
            committed,
            between,
        }
    }

    /// Runs a reader that begins after `first` stores. Gives what it said and how many stores there were at its end, and how
    /// often it loaded.
    fn run<T>(&self, first: usize, plan: Vec<(usize, usize)>, read: impl FnOnce() -> T) -> (T, usize, usize) {
        let mut writer = Writer {
            object: self.object.clone(),
            stores: self.stores.clone(),
            done: 0,
            loads: 0,
            plan,
        };
        writer.write(first);
        WRITER.set(Some(writer));
        let said = read();
        let writer = WRITER.take().expect("writer");
        for store in &self.stores[..writer.done] {
            let old = &self.image[store.offset as usize..store.offset as usize + store.bytes.len()];
            writer.object.write(store.offset, old);
        }
        (said, writer.done, writer.loads)
    }

    /// Tries readings with stores in between: every burst of stores at every load, from every start, if those are not too many;
    /// else some of them; and random ones of several bursts. Gives the number of readings, and what the first wrong one said.
    fn explore(&self, snapshot: bool, reader: Reader) -> (usize, Option<String>) {
        let total = self.stores.len();
        let observer = Observer::open(&self.name).expect("observer");
        let mut reader = reader(&observer);
        let mut read = |first, plan| {
            // Here the same epoch comes again and again, and an observer remembers the log of the last.
            *observer.log.lock().expect("log") = None;
            self.run(first, plan, &mut reader)
        };
        let mut random = fastrand::Rng::with_seed(0x5eed);
        let (_, _, loads) = read(0, Vec::new());
        let mut plans = Vec::new();
        let all = loads * total * (total + 1) / 2;
        if all <= EXHAUSTIVE {
            for first in 0..total {
                for load in 0..loads {
                    plans.extend((1..=total - first).map(|count| (first, vec![(load, count)])));
                }
            }
        }
        if total <= SMALL {
            // A reader that begins with a transaction, and is interrupted in the middle of it and again by the rest.
            for first in 0..3 {
                for load in 0..loads {
                    for later in load + 1..loads {
                        plans.extend((1..total).map(|count| (first, vec![(load, count), (later, total)])));
                    }
                }
            }
            if plans.len() > EXHAUSTIVE {
                random.shuffle(&mut plans);
                plans.truncate(EXHAUSTIVE);
            }
        }
        let most = RANDOM;
        for _ in plans.len()..most {
            let first = random.usize(..total);
            let count = random.usize(1..=total - first);
            plans.push((first, vec![(random.usize(..loads), count)]));
        }
        for _ in 0..most {
            let first = random.usize(..=total);
            let bursts = random.usize(1..6);
            let mut at: Vec<_> = (0..bursts).map(|_| random.usize(..loads * 2)).collect();
            at.sort_unstable();
            let scale = if random.bool() { 4 } else { total };
            plans.push((first, at.into_iter().map(|at| (at, random.usize(1..=scale))).collect()));
        }
        let runs = plans.len();
        for (first, plan) in plans {
            let (said, last, _) = read(first, plan.clone());
            let said = match said {
                Ok(said) => said,
                Err(e) => return (runs, Some(format!("{e} from {first} to {last} with {plan:?}"))),
            };
            let right = self.committed[first..=last].contains(&said) || (!snapshot && self.between.contains(&said));
            if !right {
                let from = &self.committed[first];
                return (
                    runs,
                    Some(format!(
                        "{said} from {first} ({from}) to {last} of {total} with {plan:?}"
                    )),
                );
            }
        }
        (runs, None)
    }
}

/// What is seen of some accounts and players.
fn seen(accounts: &[(u64, u64)], players: &[Option<Player>]) -> Said {
    format!("{accounts:?} {players:?}")
}

const KEYS: [u64; 3] = [3, 5, 100];

fn state(view: &View, tables: &Tables) -> Result<Said> {
    let mut accounts = Vec::new();
    for account in 0..3 {
        let record = tables.ledger.get(view, &account)?.expect("account");
        accounts.push((record.0.to_native(), record.1.to_native()));
    }
    let mut players = Vec::new();
    for key in KEYS {
        players.push(tables.players.get(view, &key)?.map(owned));
    }
    Ok(seen(&accounts, &players))
}

fn owned(player: &super::ArchivedPlayer) -> Player {
    Player {
        name: player.name.to_string(),
        low: player.low.to_native(),
        bag: player.bag.iter().map(|x| x.to_native()).collect(),
        high: player.high.to_native(),
    }
}

/// Opens tables, and gives what reads from them.
type Reader = for<'o> fn(&'o Observer) -> Box<dyn FnMut() -> Result<Said> + 'o>;

fn snapshot(observer: &Observer) -> Box<dyn FnMut() -> Result<Said> + '_> {
    let ledger = observer.map::<u32, (u64, u64)>("ledger").expect("ledger");
    let players = observer.map::<u64, Player>("players").expect("players");
    Box::new(move || {
        observer.snapshot(|s| {
            let mut accounts = Vec::new();
            for account in 0..3 {
                let record = ledger.get(s, &account)?;
                accounts.push(record.map_or((0, 0), |r| (r.0.to_native(), r.1.to_native())));
            }
            let mut found = Vec::new();
            for key in KEYS {
                found.push(players.get(s, &key)?.map(|player| owned(&player)));
            }
            Ok(seen(&accounts, &found))
        })
    })
}

fn one(key: u64) -> impl Fn(&View, &Tables) -> Result<Said> {
    move |view, tables| {
        if let Some(handle) = tables.players.handle(view, &key)? {
            settled(view, handle.to_bits())?;
        }
        Ok(format!("{:?}", tables.players.get(view, &key)?.map(owned)))
    }
}

/// Refuses a record that is being changed, or was taken away.
fn settled(view: &View, handle: u128) -> Result<()> {
    let word = view.load(handle as u64, "record")?;
    if word & CHANGING != 0 || word as u32 == 0 {
        return Err(torn("record"));
    }
    Ok(())
}

/// Nothing but what is committed.
fn nothing(_: &View, _: &Tables) -> Result<Said> {
    Err(torn("record"))
}

fn peek<const KEY: u64>(observer: &Observer) -> Box<dyn FnMut() -> Result<Said> + '_> {
    let players = observer.map::<u64, Player>("players").expect("players");
    Box::new(move || Ok(format!("{:?}", players.peek(&KEY)?.map(|player| owned(&player)))))
}

fn snapshot_of<const KEY: u64>(observer: &Observer) -> Box<dyn FnMut() -> Result<Said> + '_> {
    let players = observer.map::<u64, Player>("players").expect("players");
    Box::new(move || Ok(format!("{:?}", players.snapshot(&KEY)?.map(|player| owned(&player)))))
}

fn account(view: &View, tables: &Tables) -> Result<Said> {
    if let Some(handle) = tables.ledger.handle(view, &1)? {
        settled(view, handle.to_bits())?;
    }
    let record = tables.ledger.get(view, &1)?.expect("account");
    Ok(format!("{:?}", (record.0.to_native(), record.1.to_native())))
}

fn peek_account(observer: &Observer) -> Box<dyn FnMut() -> Result<Said> + '_> {
    let ledger = observer.map::<u32, (u64, u64)>("ledger").expect("ledger");
    Box::new(move || {
        let record = ledger.peek(&1)?.expect("account");
        Ok(format!("{:?}", (record.0.to_native(), record.1.to_native())))
    })
}

fn snapshot_of_account(observer: &Observer) -> Box<dyn FnMut() -> Result<Said> + '_> {
    let ledger = observer.map::<u32, (u64, u64)>("ledger").expect("ledger");
    Box::new(move || {
        let record = ledger.snapshot(&1)?.expect("account");
        Ok(format!("{:?}", (record.0.to_native(), record.1.to_native())))
    })
}

fn two(view: &View, tables: &Tables) -> Result<Said> {
    let one = |account| -> Result<_> {
        let record = tables.ledger.get(view, &account)?.expect("account");
        Ok((record.0.to_native(), record.1.to_native()))
    };
    Ok(format!("{:?} {:?}", one(1)?, one(2)?))
}

fn snapshot_of_two(observer: &Observer) -> Box<dyn FnMut() -> Result<Said> + '_> {
    let ledger = observer.map::<u32, (u64, u64)>("ledger").expect("ledger");
    Box::new(move || {
        observer.snapshot(|s| {
            let mut one = |account| -> Result<_> {
                let record = ledger.get(s, &account)?;
                Ok(record.map_or((0, 0), |r| (r.0.to_native(), r.1.to_native())))
            };
            Ok(format!("{:?} {:?}", one(1)?, one(2)?))
        })
    })
}

/// Changes a field of an account in a transaction of its own: one word, no log.
fn word(region: &mut Region, tables: &Tables, account: u32, second: bool, value: u64) -> Result<()> {
    let gate = region.gate().clone();
    region.write(&gate.enter()?, |tx| {
        let mut record = tables.ledger.get_mut(tx, &account)?.expect("account");
        if second {
            record.set(|r| &r.1, value.into())
        } else {
            record.set(|r| &r.0, value.into())
        }
    })
}

fn transfers(region: &mut Region, tables: &Tables) -> Result<()> {
    let gate = region.gate().clone();
    let pass = gate.enter()?;
    region.write(&pass, |tx| transfer(tx, tables, 0, 1, 10))?;
    let mut tx = region.begin(&pass)?;
    transfer(&mut tx, tables, 1, 2, 500)?;
    tx.rollback();
    region.write(&pass, |tx| transfer(tx, tables, 2, 0, 70))
}

fn words(region: &mut Region, tables: &Tables) -> Result<()> {
    for i in 1..4 {
        word(region, tables, 1, false, i)?;
        word(region, tables, 1, true, i)?;
        word(region, tables, 2, false, i)?;
    }
    Ok(())
}

fn mixed(region: &mut Region, tables: &Tables) -> Result<()> {
    let gate = region.gate().clone();
    word(region, tables, 0, true, 77)?;
    region.write(&gate.enter()?, |tx| transfer(tx, tables, 0, 1, 10))?;
    word(region, tables, 1, true, 88)?;
    word(region, tables, 0, true, 99)
}

/// A player as long as the third, so that it takes its block.
const LIKE_3: u64 = 3 + 7 * 41;

/// Replacing in the same block and in another, removing and making, into what was just freed.
fn blocks(region: &mut Region, tables: &Tables) -> Result<()> {
    let gate = region.gate().clone();
    let pass = gate.enter()?;
    let mut tx = region.begin(&pass)?;
    tables.players.insert(&mut tx, &3, &player(LIKE_3))?;
    tables.players.insert(&mut tx, &100, &player(5))?;
    tx.rollback();
    region.write(&pass, |tx| tables.players.insert(tx, &3, &player(LIKE_3)).map(|_| ()))?;
    region.write(&pass, |tx| tables.players.insert(tx, &3, &player(40)).map(|_| ()))?;
    region.write(&pass, |tx| tables.players.remove(tx, &5).map(|_| ()))?;
    region.write(&pass, |tx| tables.players.insert(tx, &100, &player(5)).map(|_| ()))?;
    region.write(&pass, |tx| {
        tables.players.remove(tx, &3)?;
        tables.players.insert(tx, &5, &player(3)).map(|_| ())
    })
}

/// Parts of a transaction that fail, so that its log gets shorter and longer again, and once empty.
fn parts(region: &mut Region, tables: &Tables) -> Result<()> {
    let gate = region.gate().clone();
    let pass = gate.enter()?;
    let mut tx = region.begin(&pass)?;
    let fails = |tx: &mut crate::Tx<'_>, from, to| {
        let failed: std::result::Result<(), ()> =
            tx.savepoint(|tx| transfer(tx, tables, from, to, 5).map_err(|_| ()).and(Err(())));
        assert!(failed.is_err());
    };
    fails(&mut tx, 0, 1);
    transfer(&mut tx, tables, 1, 2, 10)?;
    fails(&mut tx, 0, 2);
    transfer(&mut tx, tables, 2, 0, 20)?;
    tx.commit()?;
    word(region, tables, 1, true, 9)
}

/// Changes both fields of an account, with a log.
fn both(tx: &mut crate::Tx<'_>, tables: &Tables, account: u32, value: u64) -> Result<()> {
    let mut record = tables.ledger.get_mut(tx, &account)?.expect("account");
    record.set(|r| &r.0, value.into())?;
    record.set(|r| &r.1, value.into())
}

/// A part that fails, and then one whose log is as long.
fn part(region: &mut Region, tables: &Tables) -> Result<()> {
    let gate = region.gate().clone();
    let pass = gate.enter()?;
    let mut tx = region.begin(&pass)?;
    both(&mut tx, tables, 0, 1)?;
    let failed: std::result::Result<(), ()> = tx.savepoint(|tx| both(tx, tables, 1, 2).map_err(|_| ()).and(Err(())));
    assert!(failed.is_err());
    both(&mut tx, tables, 2, 3)?;
    tx.commit()
}

/// Two transactions that change the same record.
fn twice(region: &mut Region, tables: &Tables) -> Result<()> {
    let gate = region.gate().clone();
    let pass = gate.enter()?;
    region.write(&pass, |tx| both(tx, tables, 1, 2))?;
    region.write(&pass, |tx| both(tx, tables, 1, 3))
}

/// A record replaced in its block, and all of it restored.
fn restored(region: &mut Region, tables: &Tables) -> Result<()> {
    let gate = region.gate().clone();
    let pass = gate.enter()?;
    let mut tx = region.begin(&pass)?;
    tables.players.insert(&mut tx, &3, &player(LIKE_3))?;
    tx.rollback();
    Ok(())
}

fn right(course: &Course, is_snapshot: bool, read: Reader) {
    let (runs, wrong) = course.explore(is_snapshot, read);
    assert_eq!(wrong, None);
    println!("{runs} readings against {} stores", course.stores.len());
}

fn wrong(course: &Course, left: Left, is_snapshot: bool, read: Reader) {
    leave_out(left);
    let (_, wrong) = course.explore(is_snapshot, read);
    leave_out(Left::Nothing);
    assert!(wrong.is_some(), "{left:?} left out, and nobody noticed");
}

#[test]
fn snapshots_of_transfers() {
    let course = Course::new("transfers", state, nothing, transfers);
    right(&course, true, snapshot);
    wrong(&course, Left::Overlay, true, snapshot);
}

#[test]
fn snapshots_of_words() {
    right(&Course::new("words", state, nothing, words), true, snapshot);
    right(&Course::new("mixed", state, nothing, mixed), true, snapshot);
    right(&Course::new("parts", state, nothing, parts), true, snapshot);
}

#[test]
fn snapshots_of_what_is_taken_back() {
    right(
        &Course::new("restored", one(3), nothing, restored),
        true,
        snapshot_of::<3>,
    );
    right(&Course::new("part", two, nothing, part), true, snapshot_of_two);
    right(
        &Course::new("twice", account, nothing, twice),
        true,
        snapshot_of_account,
    );
}

#[test]
fn snapshots_of_blocks_that_come_and_go() {
    let course = Course::new("blocks", state, nothing, blocks);
    right(&course, true, snapshot);
    wrong(&course, Left::Overlay, true, snapshot);
}

#[test]
fn peeks_at_words_and_transfers() {
    let course = Course::new("peek-words", account, account, words);
    right(&course, false, peek_account);
    wrong(&course, Left::Sequence, false, peek_account);
    right(
        &Course::new("peek-transfers", account, account, transfers),
        false,
        peek_account,
    );
    right(&Course::new("peek-mixed", account, account, mixed), false, peek_account);
    right(&Course::new("peek-parts", account, account, parts), false, peek_account);
}

#[test]
fn peeks_at_blocks_that_come_and_go() {
    right(&Course::new("peek-3", one(3), one(3), blocks), false, peek::<3>);
    right(&Course::new("peek-5", one(5), one(5), blocks), false, peek::<5>);
    right(&Course::new("peek-100", one(100), one(100), blocks), false, peek::<100>);
    right(
        &Course::new("peek-restored", one(3), one(3), restored),
        false,
        peek::<3>,
    );
    let course = Course::new("peek-torn", one(3), one(3), blocks);
    wrong(&course, Left::Sequence, false, peek::<3>);
    right(&course, true, snapshot_of::<3>);
    right(
        &Course::new("snapshot-100", one(100), nothing, blocks),
        true,
        snapshot_of::<100>,
    );
}

/// A segment is replaced by a larger one, by two, and by one again; those who stay are met once.
#[test]
fn walks_while_the_index_grows_and_shrinks() {
    let course = {
        let mut region = Region::in_memory(4 << 20).expect("region");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let tables = region.write(&pass, create).expect("tables");
        let image = region.view.start_recording();
        for (from, to) in [(1000, 1290), (1290, 1420)] {
            region
                .write(&pass, |tx| {
                    (from..to).try_for_each(|i| tables.players.insert(tx, &i, &player(i % 30)).map(|_| ()))
                })
                .expect("grow");
        }
        region
            .write(&pass, |tx| {
                (1020..1420).try_for_each(|i| tables.players.remove(tx, &i).map(|_| ()))
            })
            .expect("shrink");
        let stores = Rc::new(region.view.stop_recording());
        let name = Name::new("walk");
        Course {
            name: name.0.clone(),
            object: Rc::new(Object::new(name, &image)),
            image,
            stores,
            committed: Vec::new(),
            between: BTreeSet::new(),
        }
    };
    let total = course.stores.len();
    let mut random = fastrand::Rng::with_seed(7);
    for run in 0..60 {
        let first = random.usize(..total);
        let mut plan: Vec<_> = (0..random.usize(1..12))
            .map(|_| (random.usize(..20_000), random.usize(..total / 6)))
            .collect();
        plan.sort_unstable();
        let (keys, last, _) = course.run(first, plan, || {
            let observer = Observer::open(&course.name).expect("observer");
            let players = observer.map::<u64, Player>("players").expect("players");
            let keys: Result<Vec<_>> = players
                .iter()
                .map(|item| item.map(|(key, seen)| (key, owned(&seen))))
                .collect();
            keys
        });
        let keys = keys.unwrap_or_else(|e| panic!("run {run} from {first} to {last}: {e}"));
        let unique: BTreeSet<_> = keys.iter().map(|(key, _)| *key).collect();
        assert_eq!(unique.len(), keys.len(), "run {run}: a record was met twice");
        for key in 0..super::PLAYERS {
            assert!(
                unique.contains(&key),
                "run {run}: {key} was there all the time and was not met"
            );
        }
        for (key, seen) in keys {
            let expected = if key < super::PLAYERS {
                player(key)
            } else {
                player(key % 30)
            };
            assert_eq!(seen, expected);
        }
    }
}

/// A tool may look at what a killed owner left, wherever it was killed: nothing is called damage that the log takes back, and
/// what is shown is what was committed, or what stands there.
#[test]
fn what_a_kill_leaves_can_be_looked_at() {
    let mut region = Region::in_memory(2 << 20).expect("region");
    let image = region.view.start_recording();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    region.write(&pass, |tx| create(tx).map(|_| ())).expect("tables");
    let stores = region.view.stop_recording();
    let name = Name::new("killed");
    let observed = name.0.clone();
    let object = Object::new(name, &image);
    let observer = Observer::open(&observed).expect("observer");
    let mut live = BTreeSet::new();
    for store in &stores {
        object.write(store.offset, &store.bytes);
        let tables = observer.inspect().expect("no damage").tables.len();
        let committed = !store_pending(&observer);
        assert_eq!(tables, if committed { 3 } else { 0 }, "what is committed");
        live.insert(crate::observe::live(&observer).expect("no damage").1.len());
    }
    assert!(
        live.contains(&1) && live.contains(&3),
        "no table was seen while it was made: {live:?}"
    );
}

/// Whether the transaction that makes the tables is not over.
fn store_pending(observer: &Observer) -> bool {
    let memory = observer.memory();
    memory.header(at::LOG_LENGTH) != 0 || memory.header(at::COMMITS) == 0
}
