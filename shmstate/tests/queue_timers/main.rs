//! Queues and timers whose records are changed, replaced and acknowledged, by a model: random plays of transactions, of which some are rolled back,
//! with parts that are.

mod queue;
mod timers;

use rkyv::rend::u32_le;
use rkyv::vec::ArchivedVec;
use shmstate::{Error, Gap, Observer, Pass, Queue, Region, Result, Timers, Tx, verify};
use std::num::NonZeroU64;

type Random = fastrand::Rng;

fn random() -> Random {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    Random::with_seed(seed)
}

fn sound(region: &Region, pass: &Pass<'_>) {
    let verdict = verify(&region.read(pass).expect("read")).expect("verify");
    assert!(verdict.is_sound(), "{verdict:?}");
}

/// A transaction of some operations, of which some are taken back alone: as `operate` changes the model, which is what is committed.
fn transaction<M: Clone>(
    region: &mut Region,
    pass: &Pass<'_>,
    random: &mut Random,
    model: &mut M,
    mut operate: impl FnMut(&mut Tx<'_>, &mut M, &mut Random) -> Result<()>,
) {
    let mut tx = region.begin(pass).expect("begin");
    let mut after = model.clone();
    for _ in 0..random.u8(..12) {
        let mut part = after.clone();
        let kept = tx.savepoint(|tx| {
            operate(tx, &mut part, random)?;
            if random.u8(..8) == 0 {
                Err(Error::ForeignField)
            } else {
                Ok(())
            }
        });
        match kept {
            Ok(()) => after = part,
            Err(Error::ForeignField) => {}
            Err(other) => panic!("{other}"),
        }
    }
    match random.u8(..8) {
        0 => drop(tx),
        1 => std::mem::forget(tx),
        _ => {
            tx.commit().expect("commit");
            *model = after;
        }
    }
}

/// Sometimes so long that it needs another block than another one does.
fn numbers(random: &mut Random) -> Vec<u32> {
    let most = if random.u8(..20) == 0 { 900 } else { 12 };
    (0..random.usize(..most)).map(|_| random.u32(..)).collect()
}

fn native(value: &ArchivedVec<u32_le>) -> Vec<u32> {
    value.iter().map(|number| number.to_native()).collect()
}

/// What another process sees of it.
#[test]
fn observers_see_what_was_changed() {
    let name = format!("queue-timers-{}", std::process::id());
    struct Gone<'n>(&'n str);
    impl Drop for Gone<'_> {
        fn drop(&mut self) {
            let _ = Region::remove(self.0);
        }
    }
    let _gone = Gone(&name);
    let mut region = Region::options().capacity(4 << 20).create(&name).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let (queue, timers): (Queue<u64>, Timers<u64>) = region
        .write(&pass, |tx| {
            Ok::<_, Error>((Queue::create(tx, "queue")?, Timers::create(tx, "timers", Gap::Skip)?))
        })
        .expect("tables");
    let period = NonZeroU64::new(70);
    let id = region
        .write(&pass, |tx| {
            (0..5).try_for_each(|n| queue.push_back(tx, &n).map(|_| ()))?;
            let id = timers.insert(tx, 500, &1)?;
            timers.reschedule_every(tx, id, 600, period)?;
            Ok::<_, Error>(id)
        })
        .expect("filled");
    let observer = Observer::open(&name).expect("observer");
    let seen = observer.timers::<u64>("timers").expect("timers");
    let items = observer.queue::<u64>("queue").expect("queue");
    let due = || observer.snapshot(|s| seen.due(s, id)).expect("due");
    let item = |serial| observer.snapshot(|s| Result::Ok(items.get_serial(s, serial)?.map(|n| n.to_native())));
    assert_eq!(due(), Some((600, 70)));
    // Of what is not committed nothing.
    let mut tx = region.begin(&pass).expect("begin");
    assert!(timers.reschedule_every(&mut tx, id, 700, None).expect("moved"));
    assert!(timers.replace(&mut tx, id, &2).expect("replaced"));
    queue
        .get_serial_mut(&mut tx, 4)
        .expect("get")
        .expect("there")
        .set(|n| n, 44.into())
        .expect("set");
    assert_eq!(queue.remove_before(&mut tx, 3).expect("removed"), 2);
    assert_eq!(due(), Some((600, 70)));
    assert_eq!(item(4).expect("item"), Some(3));
    assert_eq!(item(2).expect("item"), Some(1));
    tx.commit().expect("commit");
    assert_eq!(due(), Some((700, 0)));
    assert_eq!(seen.snapshot(id).expect("seen").map(|n| n.to_native()), Some(2));
    assert_eq!(
        [item(2).expect("item"), item(3).expect("item"), item(4).expect("item")],
        [None, Some(2), Some(44)]
    );
}
