//! Timers.

use crate::{Random, native, numbers, random, sound, transaction};
use shmstate::{Gap, Region, Result, TimerId, Timers, Tx, View};
use std::collections::BTreeMap;
use std::num::NonZeroU64;

#[derive(Clone, Debug, PartialEq)]
struct Timer {
    deadline: u64,
    /// Among those with the same deadline.
    order: u64,
    period: u64,
    value: Vec<u32>,
}

#[derive(Clone, Debug, Default)]
struct Clock {
    all: BTreeMap<TimerId, Timer>,
    gone: Vec<TimerId>,
    order: u64,
    now: u64,
}

impl Clock {
    fn order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    fn first(&self) -> Option<(TimerId, &Timer)> {
        let first = self.all.iter().min_by_key(|(_, timer)| (timer.deadline, timer.order));
        first.map(|(id, timer)| (*id, timer))
    }

    fn forget(&mut self, id: TimerId) {
        self.all.remove(&id);
        self.gone.push(id);
    }
}

fn change_timers(timers: Timers<Vec<u32>>, tx: &mut Tx<'_>, model: &mut Clock, random: &mut Random) -> Result<()> {
    // A few values, so that there are ties.
    let deadline = model.now + random.u64(..40) * 25;
    let period = NonZeroU64::new(random.u64(..3) * 333);
    let some = random.usize(..model.all.len().max(1));
    let id = model.all.keys().nth(some).copied();
    match (random.u8(..14), id) {
        (0..3, _) | (_, None) => {
            let most = if random.u8(..9) == 0 { 90 } else { 5 };
            for _ in 0..random.u8(1..most) {
                let (value, order) = (numbers(random), model.order());
                let id = match period {
                    Some(period) => timers.insert_every(tx, deadline, period, &value)?,
                    None => timers.insert(tx, deadline, &value)?,
                };
                let timer = Timer {
                    deadline,
                    order,
                    period: period.map_or(0, NonZeroU64::get),
                    value,
                };
                model.all.insert(id, timer);
            }
        }
        (3, Some(id)) => {
            assert!(timers.cancel(tx, id)?);
            model.forget(id);
        }
        (4..7, Some(id)) => {
            let value = numbers(random);
            assert!(timers.replace(tx, id, &value)?);
            model.all.get_mut(&id).expect("there").value = value;
        }
        (7 | 8, Some(id)) => {
            assert!(timers.reschedule_every(tx, id, deadline, period)?);
            let order = model.order();
            let timer = model.all.get_mut(&id).expect("there");
            (timer.deadline, timer.order, timer.period) = (deadline, order, period.map_or(0, NonZeroU64::get));
        }
        (9, Some(id)) => {
            assert!(timers.reschedule(tx, id, deadline)?);
            let order = model.order();
            let timer = model.all.get_mut(&id).expect("there");
            (timer.deadline, timer.order) = (deadline, order);
        }
        (10, _) => {
            let by = random.u64(2..12);
            let keep = |id: TimerId, deadline: u64, length: usize| {
                let mixed = id.token() ^ deadline ^ length as u64;
                !mixed.is_multiple_of(by)
            };
            let mut shown = BTreeMap::new();
            let cancelled = timers.retain(tx, |id, deadline, value| {
                assert!(shown.insert(id, (deadline, native(value))).is_none(), "once each");
                keep(id, deadline, value.len())
            })?;
            let expected = model.all.iter();
            let expected: BTreeMap<_, _> = expected.map(|(id, t)| (*id, (t.deadline, t.value.clone()))).collect();
            assert_eq!(shown, expected);
            let there = model.all.len();
            for (id, (deadline, value)) in shown {
                if !keep(id, deadline, value.len()) {
                    model.forget(id);
                }
            }
            assert_eq!(cancelled, (there - model.all.len()) as u64);
        }
        (11, Some(_)) => {
            let by = random.u64(..50);
            timers.rebase(tx, by as i64)?;
            model.now += by;
            model.all.values_mut().for_each(|timer| timer.deadline += by);
        }
        (12, Some(_)) => {
            let (id, first) = model.first().map(|(id, timer)| (id, timer.clone())).expect("some");
            let fired = timers.pop_due(tx, first.deadline, |id, at, value| (id, at, native(value)))?;
            assert_eq!(fired, Some((id, first.deadline, first.value)));
            match first.period {
                0 => model.forget(id),
                period => {
                    let order = model.order();
                    let timer = model.all.get_mut(&id).expect("there");
                    (timer.deadline, timer.order) = (first.deadline + period, order);
                }
            }
        }
        (_, Some(_)) => {
            // What is gone is not found, whatever is asked of it.
            for id in &model.gone {
                assert!(!timers.replace(tx, *id, &vec![1])? && !timers.reschedule_every(tx, *id, 1, period)?);
                assert!(!timers.contains(tx, *id)?);
            }
        }
    }
    Ok(())
}

fn compare_timers(timers: Timers<Vec<u32>>, view: &View, model: &Clock) -> Result<()> {
    let first = timers.first(view)?.map(|(id, at, value)| (id, at, native(value)));
    let expected = model
        .first()
        .map(|(id, timer)| (id, timer.deadline, timer.value.clone()));
    assert_eq!(first, expected);
    assert_eq!(timers.next_deadline(view)?, first.map(|(_, at, _)| at));
    assert_eq!(timers.len(view)?, model.all.len() as u64);
    for (id, timer) in &model.all {
        assert!(timers.contains(view, *id)?);
        assert_eq!(timers.get(view, *id)?.map(native).as_ref(), Some(&timer.value));
        let when = (timers.deadline(view, *id)?, timers.period(view, *id)?);
        assert_eq!(when, (Some(timer.deadline), Some(timer.period)));
    }
    for id in &model.gone {
        assert!(!timers.contains(view, *id)?);
    }
    Ok(())
}

#[test]
fn timers_do_as_the_model_says() {
    let mut random = random();
    let mut region = Region::in_memory(16 << 20).expect("region");
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let timers = region
        .write(&pass, |tx| Timers::create(tx, "timers", Gap::All))
        .expect("table");
    let mut model = Clock {
        now: 10_000,
        ..Clock::default()
    };
    for round in 0..500 {
        transaction(&mut region, &pass, &mut random, &mut model, |tx, model, random| {
            change_timers(timers, tx, model, random)
        });
        compare_timers(timers, &region.read(&pass).expect("read"), &model).expect("all can be read");
        if round % 10 == 0 {
            sound(&region, &pass);
        }
    }
    assert!(model.gone.len() > 200, "{}", model.gone.len());
    let left = region.write(&pass, |tx| {
        timers.retain(tx, |_, _, _| false)?;
        timers.archived_bytes(tx)
    });
    assert_eq!(left.expect("empty"), 0, "what came and what went is counted alike");
    sound(&region, &pass);
}
