//! How long it takes: no check, a figure for whoever changes the structures.
//! `cargo test --release -p shmstate --test tables speed -- --ignored --nocapture`

use rustix::time::{ClockId, clock_gettime};
use shmstate::{Gap, Queue, Region, Slab, Timers};
use std::collections::BTreeMap;
use std::hint::black_box;

const MANY: u64 = 1_000_000;
/// Changes in one transaction: a tick.
const TICK: u64 = 100;

/// Time of this thread: the machine may be busy with other things.
fn cpu_ns() -> u64 {
    let t = clock_gettime(ClockId::ThreadCPUTime);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

fn timed(what: &str, count: u64, run: impl FnOnce()) {
    let start = cpu_ns();
    run();
    println!("{what}: {} ns", (cpu_ns() - start) / count);
}

#[test]
#[ignore = "a figure, not a check"]
fn a_million_of_each() {
    ordered_map();
    let mut region = Region::in_memory(1 << 30).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let mut random = fastrand::Rng::with_seed(1);
    let mut tx = region.begin(&pass).expect("begin");
    let timers: Timers<u64> = Timers::create(&mut tx, "timers", Gap::All).expect("timers");
    let slab: Slab<u64> = Slab::create(&mut tx, "slab").expect("slab");
    let queue: Queue<u64> = Queue::create(&mut tx, "queue").expect("queue");
    tx.commit().expect("commit");
    let ticks = |region: &mut Region, each: &mut dyn FnMut(&mut shmstate::Tx<'_>, u64)| {
        for start in (0..MANY).step_by(TICK as usize) {
            let mut tx = region.begin(&pass).expect("begin");
            (start..start + TICK).for_each(|i| each(&mut tx, i));
            tx.commit().expect("commit");
        }
    };
    let mut ids = Vec::new();
    timed("timers: insert until there are 10^6", MANY, || {
        ticks(&mut region, &mut |tx, i| {
            ids.push(timers.insert(tx, random.u64(..1 << 40), &i).expect("insert"));
        });
    });
    timed("timers: pop + insert at 10^6", MANY, || {
        ticks(&mut region, &mut |tx, i| {
            let at = timers.pop_due(tx, 1 << 41, |_, at, _| at).expect("pop").expect("due");
            timers.insert(tx, at + random.u64(..1 << 40), &i).expect("insert");
        });
    });
    ids.clear();
    ids.extend(
        timers
            .iter(&region.read(&pass).expect("reader"))
            .expect("iter")
            .map(|t| t.expect("timer").0),
    );
    random.shuffle(&mut ids);
    timed("timers: reschedule at 10^6", MANY, || {
        ticks(&mut region, &mut |tx, i| {
            let at = 1 << 40 | random.u64(..1 << 40);
            assert!(timers.reschedule(tx, ids[i as usize], at).expect("reschedule"));
        });
    });
    timed("timers: cancel all", MANY, || {
        ticks(&mut region, &mut |tx, i| {
            assert!(timers.cancel(tx, ids[i as usize]).expect("cancel"))
        });
    });
    let mut ids = Vec::new();
    timed("slab: insert", MANY, || {
        ticks(&mut region, &mut |tx, i| ids.push(slab.insert(tx, &i).expect("insert")));
    });
    random.shuffle(&mut ids);
    timed("slab: get, random", MANY, || {
        let reader = region.read(&pass).expect("reader");
        for id in &ids {
            black_box(slab.get(&reader, *id).expect("get").expect("there").to_native());
        }
    });
    timed("slab: iterate", MANY, || {
        let reader = region.read(&pass).expect("reader");
        let sum: u64 = slab
            .iter(&reader)
            .expect("iter")
            .map(|r| r.expect("record").1.to_native())
            .sum();
        assert_eq!(sum, MANY * (MANY - 1) / 2);
    });
    timed("slab: remove, random", MANY, || {
        ticks(&mut region, &mut |tx, i| {
            assert!(slab.remove(tx, ids[i as usize]).expect("remove"))
        });
    });
    timed("queue: push", MANY, || {
        ticks(&mut region, &mut |tx, i| {
            assert!(queue.push_back(tx, &i).expect("push") > i)
        });
    });
    timed("queue: pop", MANY, || {
        ticks(&mut region, &mut |tx, i| {
            assert_eq!(queue.pop_front(tx, |_, v| v.to_native()).expect("pop"), Some(i));
        });
    });
}

/// What std has for timers that can be cancelled, and that survive nothing.
fn ordered_map() {
    let mut random = fastrand::Rng::with_seed(1);
    let mut timers: BTreeMap<(u64, u64), Box<u64>> = BTreeMap::new();
    for i in 0..MANY {
        timers.insert((random.u64(..1 << 40), i), Box::new(i));
    }
    timed("BTreeMap with boxed values: pop + insert at 10^6", MANY, || {
        for i in MANY..2 * MANY {
            let ((at, _), value) = timers.pop_first().expect("due");
            black_box(*value);
            timers.insert((at + random.u64(..1 << 40), i), Box::new(i));
        }
    });
}
