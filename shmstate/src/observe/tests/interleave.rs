//! Real stores against real loads, one by one: the stores of real transactions are recorded, and the reader runs over a region
//! into which they are written between any two of its loads. What it says must be what a recovery at some point between its
//! first load and its last would have found.

use super::Name;
use crate::observe::Observer;
use crate::observe::sabotage::{Left, leave_out};
use crate::observe::source::torn;
use crate::region::mapping::{Access, Mapping};
use crate::region::view::{Places, Store};
use crate::region::view_of;
use crate::tx::undo::CHANGING;
use crate::{Region, Result, Tx, View};
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
pub(super) struct Object {
    // Declared before the mapping: the view must not outlive it (V3).
    view: View,
    _mapping: Box<Mapping>,
    _name: Name,
}

impl Object {
    pub(super) fn new(name: Name, image: &[u8]) -> Self {
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

    pub(super) fn write(&self, offset: u64, bytes: &[u8]) {
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
pub(super) type Said = String;

pub(super) struct Course {
    pub(super) name: String,
    object: Rc<Object>,
    image: Vec<u8>,
    pub(super) stores: Rc<Vec<Store>>,
    /// What is committed after each number of stores.
    committed: Vec<Said>,
    /// What a record may look like between them.
    between: BTreeSet<Said>,
}

impl Course {
    /// Records the transactions of `change`; `read` says what is committed, `peeked` what is whole but perhaps is not. Gives what
    /// `create` gave, too.
    pub(super) fn new<T>(
        what: &str,
        create: impl FnOnce(&mut Tx<'_>) -> Result<T>,
        read: impl Fn(&View, &T) -> Result<Said>,
        peeked: impl Fn(&View, &T) -> Result<Said>,
        change: impl FnOnce(&mut Region, &T) -> Result<()>,
    ) -> (Self, T) {
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
        let course = Self {
            committed,
            between,
            ..Self::of(what, image, stores)
        };
        (course, tables)
    }

    /// Of an image and stores that were recorded.
    pub(super) fn of(what: &str, image: Vec<u8>, stores: Vec<Store>) -> Self {
        let name = Name::new(what);
        Self {
            name: name.0.clone(),
            object: Rc::new(Object::new(name, &image)),
            image,
            stores: Rc::new(stores),
            committed: Vec::new(),
            between: BTreeSet::new(),
        }
    }

    /// Runs a reader that begins after `first` stores. Gives what it said and how many stores there were at its end, and how
    /// often it loaded.
    pub(super) fn run<T>(
        &self,
        first: usize,
        plan: Vec<(usize, usize)>,
        read: impl FnOnce() -> T,
    ) -> (T, usize, usize) {
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
    fn explore(&self, snapshot: bool, reader: impl Reader) -> (usize, Option<String>) {
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
            if 3 * loads * loads / 2 * total <= 8 * EXHAUSTIVE {
                for first in 0..3 {
                    for load in 0..loads {
                        for later in load + 1..loads {
                            plans.extend((1..total).map(|count| (first, vec![(load, count), (later, total)])));
                        }
                    }
                }
            } else {
                plans.extend((0..RANDOM).map(|_| {
                    let load = random.usize(..loads - 1);
                    let bursts = vec![(load, random.usize(1..total)), (random.usize(load + 1..loads), total)];
                    (random.usize(..3), bursts)
                }));
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

/// Opens tables, and gives what reads from them.
pub(super) trait Reader: for<'o> Fn(&'o Observer) -> Reading<'o> {}

impl<F: for<'o> Fn(&'o Observer) -> Reading<'o>> Reader for F {}

/// Reads once.
pub(super) type Reading<'o> = Box<dyn FnMut() -> Result<Said> + 'o>;

/// Refuses a record that is being changed, or was taken away.
pub(super) fn settled(view: &View, header: u64) -> Result<()> {
    let word = view.load(header, "record")?;
    if word & CHANGING != 0 || word as u32 == 0 {
        return Err(torn("record"));
    }
    Ok(())
}

/// Nothing but what is committed.
pub(super) fn nothing<T>(_: &View, _: &T) -> Result<Said> {
    Err(torn("record"))
}

pub(super) fn right(course: &Course, is_snapshot: bool, read: impl Reader) {
    let (runs, wrong) = course.explore(is_snapshot, read);
    assert_eq!(wrong, None);
    println!("{runs} readings against {} stores", course.stores.len());
}

pub(super) fn wrong(course: &Course, left: Left, is_snapshot: bool, read: impl Reader) {
    leave_out(left);
    let (_, wrong) = course.explore(is_snapshot, read);
    leave_out(Left::Nothing);
    assert!(wrong.is_some(), "{left:?} left out, and nobody noticed");
}
