//! `Timers` against a `BTreeMap` in the order of deadlines and insertions.

use crate::{SEEDS, region, sound, transaction};
use shmstate::{Error, Gap, MAX_DEADLINE, Region, Result, TimerId, Timers, Tx, verify};
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU64;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Timer {
    id: TimerId,
    value: u64,
    period: u64,
}

/// What a table of timers should be, written down plainly.
#[derive(Clone, Default)]
struct Model {
    /// By deadline and order.
    timers: BTreeMap<(i128, u64), Timer>,
    keys: HashMap<TimerId, (i128, u64)>,
    order: u64,
}

impl Model {
    fn put(&mut self, deadline: i128, timer: Timer) {
        self.order += 1;
        self.timers.insert((deadline, self.order), timer);
        self.keys.insert(timer.id, (deadline, self.order));
    }

    fn take(&mut self, id: TimerId) -> Option<Timer> {
        self.keys.remove(&id).and_then(|key| self.timers.remove(&key))
    }

    fn pop_due(&mut self, now: i128, gap: Gap) -> Option<(TimerId, u64, u64)> {
        loop {
            let (&(deadline, order), &timer) = self.timers.first_key_value()?;
            if deadline > now {
                return None;
            }
            self.timers.remove(&(deadline, order));
            self.keys.remove(&timer.id);
            let fired = Some((timer.id, deadline.max(0) as u64, timer.value));
            let period = i128::from(timer.period);
            if period == 0 {
                return fired;
            }
            // Step by step, as nobody in a hurry would.
            let mut next = deadline + period;
            let missed = next <= now;
            while gap != Gap::All && next <= now {
                next += period;
            }
            self.put(next, timer);
            if !(gap == Gap::Skip && missed) {
                return fired;
            }
        }
    }

    fn shift(&mut self, by: i128) {
        self.timers = std::mem::take(&mut self.timers)
            .into_iter()
            .map(|((at, order), timer)| ((at + by, order), timer))
            .collect();
        self.keys.values_mut().for_each(|(at, _)| *at += by);
    }
}

#[test]
fn as_an_ordered_map_under_each_policy() {
    for seed in SEEDS {
        walk(seed, [Gap::All, Gap::Coalesce, Gap::Skip][seed as usize % 3]);
    }
}

fn walk(seed: u64, gap: Gap) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut region = region();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let timers: Timers<u64> = transaction(&mut region, &pass, true, |tx| Timers::create(tx, "timers", gap));
    let mut model = Model::default();
    let mut now = 10_000u64;
    let (mut fired, mut shifted) = (0, 0);
    let mut gone: Vec<TimerId> = Vec::new();
    for round in 0..150 {
        let keep = random.u8(..4) > 0;
        let growing = (round / 25) % 2 == 0;
        let mut next = model.clone();
        let mut then = now;
        let mut ended = Vec::new();
        transaction(&mut region, &pass, keep, |tx| {
            for _ in 0..random.usize(..80) {
                // A few values, so that there are ties.
                let deadline = now + random.u64(..40) * 25;
                let some = next.keys.keys().min_by_key(|id| id.token() % 97).copied();
                match (some, random.u8(..10)) {
                    (Some(id), 0 | 1) => {
                        assert!(timers.cancel(tx, id)?);
                        next.take(id);
                        ended.push(id);
                    }
                    (Some(id), 2 | 3) => {
                        assert!(timers.reschedule(tx, id, deadline)?);
                        let timer = next.take(id).expect("in the model");
                        next.put(deadline.into(), timer);
                    }
                    (_, 4) if growing => {
                        let (value, period) = (random.u64(..), NonZeroU64::MIN.saturating_add(random.u64(20..900)));
                        let id = timers.insert_every(tx, deadline, period, &value)?;
                        let period = period.get();
                        next.put(deadline.into(), Timer { id, value, period });
                    }
                    _ if growing || next.timers.len() < 20 => {
                        let value = random.u64(..);
                        let id = timers.insert(tx, deadline, &value)?;
                        next.put(deadline.into(), Timer { id, value, period: 0 });
                    }
                    (Some(id), _) => {
                        assert!(timers.cancel(tx, id)?);
                        next.take(id);
                        ended.push(id);
                    }
                    (None, _) => {}
                }
            }
            // Mostly a tick, sometimes a gap.
            then += if random.u8(..6) == 0 {
                random.u64(..5000)
            } else {
                random.u64(..60)
            };
            for _ in 0..random.usize(..2000) {
                let popped = timers.pop_due(tx, then, |id, at, value| (id, at, value.to_native()))?;
                let expected = next.pop_due(then.into(), gap);
                assert_eq!(popped, expected, "seed {seed}, round {round}, {gap:?}");
                let Some((id, ..)) = popped else { break };
                fired += 1;
                if !next.keys.contains_key(&id) {
                    ended.push(id);
                }
            }
            if random.u8(..10) == 0 {
                let by = random.i64(-9000..9000);
                timers.rebase(tx, by)?;
                next.shift(by.into());
                shifted += 1;
            }
            for id in &ended {
                assert!(!timers.cancel(tx, *id)? && !timers.reschedule(tx, *id, 0)?);
            }
            Ok(())
        });
        if keep {
            model = next;
            now = then;
            gone.extend(ended);
        }
        let reader = region.read(&pass).expect("reader");
        let first = model.timers.first_key_value().map(|((at, _), _)| (*at).max(0) as u64);
        assert_eq!(timers.next_deadline(&reader).expect("next"), first);
        let items = timers.iter(&reader).expect("iter");
        assert_eq!(items.len(), model.timers.len());
        for item in items {
            let (id, at, value) = item.expect("item");
            let key = model.keys[&id];
            let timer = model.timers[&key];
            assert_eq!(
                (at, value.to_native()),
                (key.0.max(0) as u64, timer.value),
                "seed {seed}"
            );
            assert_eq!(timers.deadline(&reader, id).expect("deadline"), Some(at));
            assert_eq!(timers.period(&reader, id).expect("period"), Some(timer.period));
            assert_eq!(
                timers.get(&reader, id).expect("get").map(|v| v.to_native()),
                Some(timer.value)
            );
        }
        for id in &gone {
            assert!(timers.get(&reader, *id).expect("get").is_none());
        }
        sound(&region, &pass);
    }
    assert!(fired > 400 && shifted > 3, "{fired} fired, {shifted} shifts");
}

fn create(gap: Gap) -> (Region, Timers<u64>) {
    let mut region = region();
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let timers = transaction(&mut region, &pass, true, |tx| Timers::create(tx, "timers", gap));
    drop(pass);
    (region, timers)
}

fn fire(tx: &mut Tx<'_>, timers: Timers<u64>, now: u64) -> Result<Vec<u64>> {
    let mut fired = Vec::new();
    while let Some(at) = timers.pop_due(tx, now, |_, at, _| at)? {
        fired.push(at);
    }
    Ok(fired)
}

#[test]
fn a_gap_of_five_firings() {
    let period = NonZeroU64::new(100).expect("period");
    for (gap, expected) in [
        (Gap::All, vec![1000, 1100, 1200, 1300, 1400]),
        (Gap::Coalesce, vec![1000]),
        (Gap::Skip, vec![]),
    ] {
        let (mut region, timers) = create(gap);
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        transaction(&mut region, &pass, true, |tx| {
            timers.insert_every(tx, 1000, period, &0)?;
            assert_eq!(fire(tx, timers, 999)?, [0u64; 0]);
            assert_eq!(fire(tx, timers, 1450)?, expected, "{gap:?}");
            assert_eq!(timers.next_deadline(tx)?, Some(1500), "{gap:?}: on the grid");
            // Late by less than a period is no gap.
            assert_eq!(fire(tx, timers, 1599)?, [1500], "{gap:?}");
            assert_eq!(timers.next_deadline(tx)?, Some(1600));
            Ok(())
        });
    }
}

#[test]
fn missed_firings_are_skipped_in_portions() {
    let (mut region, timers) = create(Gap::Skip);
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let period = NonZeroU64::new(10).expect("period");
    transaction(&mut region, &pass, true, |tx| {
        for i in 0..500 {
            timers.insert_every(tx, i % 10, period, &i)?;
        }
        assert_eq!(timers.skip_missed(tx, 1000, 200)?, 200);
        assert_eq!(timers.skip_missed(tx, 1000, 200)?, 200);
        assert_eq!(timers.skip_missed(tx, 1000, 200)?, 100);
        assert_eq!(timers.skip_missed(tx, 1000, 200)?, 0);
        assert_eq!(fire(tx, timers, 1000)?, [0u64; 0]);
        assert_eq!(fire(tx, timers, 1005)?.len(), 250);
        Ok(())
    });
    sound(&region, &pass);
}

#[test]
fn a_restore_on_a_younger_boot_keeps_what_remained() {
    let (mut region, timers) = create(Gap::All);
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    // The clock of the checkpoint, and that of the boot on which it is restored.
    let (old, young) = (1_000_000_000u64, 500u64);
    transaction(&mut region, &pass, true, |tx| {
        timers.insert(tx, old + 70, &1)?;
        let late = timers.insert(tx, old - 2000, &2)?;
        timers.rebase(tx, young as i64 - old as i64)?;
        assert_eq!(timers.deadline(tx, late)?, Some(0), "before the clock's beginning");
        timers.insert(tx, young + 60, &3)?;
        assert_eq!(fire(tx, timers, young)?, [0]);
        assert_eq!(fire(tx, timers, young + 60)?, [young + 60]);
        assert_eq!(fire(tx, timers, young + 69)?, [0u64; 0]);
        assert_eq!(fire(tx, timers, young + 70)?, [young + 70]);
        Ok(())
    });
}

#[test]
fn the_ends_of_time() {
    let (mut region, timers) = create(Gap::All);
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    transaction(&mut region, &pass, true, |tx| {
        let never = timers.insert(tx, u64::MAX, &1)?;
        timers.insert_every(tx, 0, NonZeroU64::MAX, &2)?;
        assert_eq!(timers.deadline(tx, never)?, Some(MAX_DEADLINE));
        assert_eq!(fire(tx, timers, u64::MAX)?, [0], "the second firing never comes");
        for by in [MAX_DEADLINE as i64, -(MAX_DEADLINE as i64), -(MAX_DEADLINE as i64)] {
            timers.rebase(tx, by)?;
        }
        for by in [i64::MIN, i64::MAX, -1] {
            let refused = timers.rebase(tx, by);
            assert!(matches!(refused, Err(Error::ShiftTooLarge { .. })), "{by}: {refused:?}");
        }
        Ok(())
    });
    assert!(verify(&region.read(&pass).expect("reader")).expect("sound").is_sound());
}
