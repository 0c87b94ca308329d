//! `Queue` against a `VecDeque`.

use crate::{SEEDS, region, sound, text, transaction};
use shmstate::{Queue, verify};
use std::collections::VecDeque;

#[test]
fn as_a_deque() {
    for seed in SEEDS {
        walk(seed);
    }
}

fn walk(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut region = region();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let queue: Queue<String> = transaction(&mut region, &pass, true, |tx| Queue::create(tx, "queue"));
    let mut model: VecDeque<(u64, String)> = VecDeque::new();
    let mut serial = 1;
    for round in 0..120 {
        let keep = random.u8(..4) > 0;
        let growing = (round / 20) % 2 == 0;
        let mut next = model.clone();
        let mut next_serial = serial;
        transaction(&mut region, &pass, keep, |tx| {
            for _ in 0..random.usize(..400) {
                if random.u8(..10) < if growing { 7 } else { 3 } {
                    let value = text(next_serial);
                    assert_eq!(queue.push_back(tx, &value)?, next_serial);
                    next.push_back((next_serial, value));
                    next_serial += 1;
                } else {
                    let popped = queue.pop_front(tx, |serial, value| (serial, value.to_string()))?;
                    assert_eq!(popped, next.pop_front(), "seed {seed}, round {round}");
                }
            }
            if random.u8(..30) == 0 {
                assert_eq!(queue.drain(tx, |_, _| ())?, next.len() as u64);
                next.clear();
            }
            Ok(())
        });
        if keep {
            model = next;
            serial = next_serial;
        }
        let reader = region.read(&pass).expect("reader");
        let items = queue.iter(&reader).expect("iter");
        assert_eq!(items.len(), model.len());
        let items: VecDeque<_> = items
            .map(|i| i.expect("item"))
            .map(|(s, v)| (s, v.to_string()))
            .collect();
        assert_eq!(items, model, "seed {seed}, round {round}");
        let owned = |item: Option<(u64, &rkyv::string::ArchivedString)>| item.map(|(s, v)| (s, v.to_string()));
        assert_eq!(owned(queue.front(&reader).expect("front")), model.front().cloned());
        assert_eq!(owned(queue.back(&reader).expect("back")), model.back().cloned());
        let middle = model.len() as u64 / 2;
        let found = owned(queue.get(&reader, middle).expect("get"));
        assert_eq!(found, model.get(middle as usize).cloned());
        assert!(queue.get(&reader, model.len() as u64).expect("get").is_none());
        assert_eq!(queue.next_serial(&reader).expect("serial"), serial);
        sound(&region, &pass);
    }
    assert!(serial > 3000, "{serial}");
}

#[test]
fn a_queue_that_moves_on_takes_no_more_memory() {
    let mut region = region();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let queue: Queue<u64> = transaction(&mut region, &pass, true, |tx| Queue::create(tx, "queue"));
    transaction(&mut region, &pass, true, |tx| {
        (0..100).try_for_each(|i| queue.push_back(tx, &i).map(|_| ()))
    });
    let mut most = 0;
    for i in 0..20_000 {
        transaction(&mut region, &pass, true, |tx| {
            queue.push_back(tx, &i)?;
            queue.pop_front(tx, |_, _| ()).map(|_| ())
        });
        if i % 500 == 0 {
            let found = verify(&region.read(&pass).expect("reader")).expect("sound");
            most = most.max(found.reachable);
        }
    }
    // A description, heads of lists, a directory, two pages, the records.
    assert_eq!(most, 1 + 1 + 1 + 2 + 100);
}
