//! Queues.

use crate::{Random, native, numbers, random, sound, transaction};
use rkyv::rend::u32_le;
use rkyv::vec::ArchivedVec;
use shmstate::{Queue, QueueIter, Region, Result, Tx, View};
use std::collections::VecDeque;
use std::ops::{Bound, RangeBounds};

/// What a queue should hold, and the next serial number.
#[derive(Clone, Debug)]
struct Items {
    all: VecDeque<(u64, Vec<u32>)>,
    next: u64,
}

impl Items {
    fn place(&self, serial: u64) -> Option<usize> {
        self.all.iter().position(|(own, _)| *own == serial)
    }

    /// A serial number that there is, or one around the ends, or one far away.
    fn any(&self, random: &mut Random) -> u64 {
        let head = self.next - self.all.len() as u64;
        match random.u8(..10) {
            0 => [0, 1, u64::MAX - 1, u64::MAX][random.usize(..4)],
            1 | 2 => (head + random.u64(..4)).saturating_sub(2),
            3 | 4 => (self.next + random.u64(..4)).saturating_sub(2),
            _ => random.u64(head..=self.next),
        }
    }
}

fn own(item: (u64, &ArchivedVec<u32_le>)) -> (u64, Vec<u32>) {
    (item.0, native(item.1))
}

fn change_queue(queue: Queue<Vec<u32>>, tx: &mut Tx<'_>, model: &mut Items, random: &mut Random) -> Result<()> {
    let (serial, number) = (model.any(random), random.u32(..));
    match random.u8(..12) {
        0..4 => {
            let most = if random.u8(..6) == 0 { 200 } else { 5 };
            for _ in 0..random.u8(..most) {
                let value = numbers(random);
                assert_eq!(queue.push_back(tx, &value)?, model.next);
                model.all.push_back((model.next, value));
                model.next += 1;
            }
        }
        4 => {
            let popped = queue.pop_front(tx, |serial, value| (serial, native(value)))?;
            assert_eq!(popped, model.all.pop_front());
        }
        5..8 => {
            let index = random.usize(..model.all.len() + 2);
            let found = queue.get_mut(tx, index as u64)?;
            let expected = model.all.get_mut(index);
            assert_eq!(
                found.as_ref().map(|(serial, value)| (*serial, native(value))),
                expected.as_deref().cloned()
            );
            if let (Some((_, mut record)), Some((_, value))) = (found, expected)
                && let Some(last) = value.last_mut()
            {
                *last = number;
                record.set(|r| &r[r.len() - 1], number.into())?;
                assert_eq!(native(&record), *value);
            }
        }
        8..10 => {
            let found = queue.get_serial_mut(tx, serial)?;
            let expected = model.place(serial).map(|place| &mut model.all[place].1);
            assert_eq!(found.as_ref().map(|value| native(value)), expected.as_deref().cloned());
            if let (Some(mut record), Some(value)) = (found, expected)
                && let Some(first) = value.first_mut()
            {
                *first = number;
                record.set(|r| &r[0], number.into())?;
            }
        }
        // Mostly a few.
        10 => {
            let head = model.next - model.all.len() as u64;
            let before = if random.u8(..4) == 0 {
                serial
            } else {
                head + random.u64(..9)
            };
            let gone = model.all.iter().take_while(|(own, _)| *own < before).count();
            assert_eq!(queue.remove_before(tx, before)?, gone as u64, "before {before}");
            model.all.drain(..gone);
        }
        _ if random.u8(..10) == 0 => {
            queue.clear(tx)?;
            model.all.clear();
        }
        _ => {}
    }
    Ok(())
}

fn bounds(model: &Items, random: &mut Random) -> (Bound<u64>, Bound<u64>) {
    let mut bound = || match random.u8(..3) {
        0 => Bound::Included(model.any(random)),
        1 => Bound::Excluded(model.any(random)),
        _ => Bound::Unbounded,
    };
    (bound(), bound())
}

/// Steps of all kinds from both ends, as std's iterator over the same items takes them.
fn walk(mut items: QueueIter<'_, Vec<u32>>, model: Vec<(u64, Vec<u32>)>, random: &mut Random) {
    let mut expected = model.into_iter();
    let far = random.bool();
    loop {
        assert_eq!(items.len(), expected.len());
        assert_eq!(items.size_hint(), (expected.len(), Some(expected.len())));
        let n = random.usize(..if far { 40 } else { 3 });
        let (found, of_model) = match random.u8(..4) {
            0 => (items.next(), expected.next()),
            1 => (items.next_back(), expected.next_back()),
            2 => (items.nth(n), expected.nth(n)),
            _ => (items.nth_back(n), expected.nth_back(n)),
        };
        assert_eq!(found.map(|item| own(item.expect("an item"))), of_model);
        if of_model.is_none() && expected.len() == 0 {
            break;
        }
    }
    for _ in 0..2 {
        assert!(items.next().is_none() && items.next_back().is_none());
        assert!(items.nth(usize::MAX).is_none() && items.nth_back(usize::MAX).is_none());
    }
}

fn compare_queue(queue: Queue<Vec<u32>>, view: &View, model: &Items, random: &mut Random) -> Result<()> {
    let all: Vec<_> = queue.iter(view)?.map(|item| item.map(own)).collect::<Result<_>>()?;
    assert_eq!(model.all, all);
    assert_eq!(
        (queue.len(view)?, queue.next_serial(view)?),
        (all.len() as u64, model.next)
    );
    for _ in 0..8 {
        let serial = model.any(random);
        let expected = model.place(serial).map(|place| model.all[place].1.clone());
        assert_eq!(queue.get_serial(view, serial)?.map(native), expected, "{serial}");
        let range = bounds(model, random);
        let within = all.iter().filter(|(serial, _)| range.contains(serial)).cloned();
        walk(queue.range(view, range)?, within.collect(), random);
    }
    walk(queue.iter(view)?, all, random);
    Ok(())
}

#[test]
fn queues_do_as_the_model_says() {
    let mut random = random();
    let mut region = Region::in_memory(16 << 20).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let queue: Queue<Vec<u32>> = region.write(&pass, |tx| Queue::create(tx, "queue")).expect("table");
    let mut model = Items {
        all: VecDeque::new(),
        next: 1,
    };
    for round in 0..400 {
        transaction(&mut region, &pass, &mut random, &mut model, |tx, model, random| {
            change_queue(queue, tx, model, random)
        });
        let reader = region.read(&pass).expect("read");
        compare_queue(queue, &reader, &model, &mut random).expect("all can be read");
        if round % 10 == 0 {
            sound(&region, &pass);
        }
    }
    assert!(model.next > 1000, "more than a page: {}", model.next);
    let left = region.write(&pass, |tx| {
        queue.remove_before(tx, u64::MAX)?;
        queue.archived_bytes(tx)
    });
    assert_eq!(left.expect("empty"), 0, "what came and what went is counted alike");
    sound(&region, &pass);
}
