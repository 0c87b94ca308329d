//! The blackout with a migration pending: handovers to a program of the next version, all records of a table still to migrate, beside
//! handovers between two processes of one version, with the same table, in the same run.
//!
//! Each is a handover of the whole protocol between two processes that tick and serve connections. The two of different versions go
//! forth and back; forth is what is measured, here and there. Going back, the older version makes its own again what the newer one
//! touched, so that each way forth begins with all records pending: the new owner counts them itself, in its first transaction.

use crate::Result;
use crate::handover::event::Serving;
use crate::handover::node::{Pace, TOUCHED};
use crate::handover::quantiles::Quantiles;
use crate::report::handover::scene::{Pair, Scene};
use serde::Serialize;
use std::time::Duration;

const TICK: Duration = Duration::from_millis(10);
const CONNECTIONS: usize = 100;
/// Bytes of bodies beside the small records.
const BYTES: u64 = 1 << 20;
/// How much longer the blackout may be.
const TARGET: f64 = 1.5;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(in crate::report) struct Amount {
    pub(in crate::report) records: u64,
    pub(in crate::report) rounds: usize,
    /// Handovers of each kind in each round.
    pub(in crate::report) turns: usize,
}

/// What came of it, with the names it has in the JSON.
#[derive(Debug, Serialize)]
pub(in crate::report) struct Migrating {
    /// Records of the table.
    blackout_records: u64,
    /// The fewest and the most that were pending when the new owner's first transaction had begun.
    pending_at_cutover: [u64; 2],
    /// As the library's history has it, µs.
    blackout_pending_us: Quantiles,
    blackout_without_us: Quantiles,
    /// How far the medians of the rounds without are from that of all, by the middle one of them, µs: below it a difference says nothing.
    blackout_noise_us: f64,
    ratio_blackout_pending: f64,
    blackout_pending_target: &'static str,
    blackout_pending_met: bool,
    /// The first transaction after the cutover, which settles the table and touches records of it, µs.
    first_tick_pending_us: Quantiles,
    first_tick_without_us: Quantiles,
    /// From the last tick of the old owner to the first pass of the new one, as the server sees it, µs.
    tick_gap_pending_us: Quantiles,
    tick_gap_without_us: Quantiles,
    /// Connections that were cut, requests lost or answered twice.
    blackout_broken: u64,
}

/// Two processes that take turns, and what the second told each time when it had taken over.
struct Measured {
    pair: Pair,
    rounds: Vec<Vec<Serving>>,
}

impl Measured {
    /// Two processes, standing still. `next`: the second is of the next version.
    fn start(records: u64, next: bool) -> Result<Self> {
        let scene = Scene::new(Pace::Ticks(TICK), BYTES, 1)?.crowded(records);
        let pair = Pair::of(scene, CONNECTIONS, |options| options.next = next)?;
        pair.freeze(true)?;
        Ok(Self {
            pair,
            rounds: Vec::new(),
        })
    }

    fn round(&mut self, turns: usize) -> Result<()> {
        self.pair.freeze(false)?;
        let mut forth = Vec::new();
        // The first after a stand-still is not counted: caches, and what the clients have to make up for.
        for number in 0..=turns {
            let serving = self.pair.turn()?;
            if number > 0 {
                forth.push(serving);
            }
            self.pair.turn()?;
        }
        self.rounds.push(forth);
        self.pair.freeze(true)
    }

    fn all(&self) -> impl Iterator<Item = &Serving> {
        self.rounds.iter().flatten()
    }

    /// Of all handovers; 0 is no stamp.
    fn micros(&self, what: fn(&Serving) -> u64) -> Result<Quantiles> {
        let stamped = self.all().map(what).filter(|ns| *ns > 0);
        let numbers: Vec<f64> = stamped.map(|ns| ns as f64 / 1e3).collect();
        Quantiles::of(&numbers).ok_or_else(|| "no handover has a stamp".into())
    }

    fn finish(self) -> Result<u64> {
        self.pair.freeze(false)?;
        let seen = self.pair.finish()?;
        Ok(seen.cut + seen.lost + seen.doubled + seen.skipped + seen.torn)
    }
}

fn gap(serving: &Serving) -> u64 {
    serving.first_pass.saturating_sub(serving.last_tick)
}

/// What a new owner found pending, and what it left: the touched ones only were to migrate.
fn check<'a>(all: impl Iterator<Item = &'a Serving>, records: u64) -> Result<()> {
    for serving in all.filter(|serving| serving.first_tick > 0) {
        let Serving { pending, left, .. } = serving;
        let migrated = TOUCHED.min(records);
        if (*pending, *left) != (records, records - migrated) {
            return Err(format!(
                "of {records} records {pending} were pending at a cutover and {left} after a tick that touches {migrated}"
            )
            .into());
        }
    }
    Ok(())
}

/// How far the medians of rounds are from that of all, by the middle one.
fn noise(rounds: &[Vec<Serving>], all: f64) -> f64 {
    let far = rounds.iter().filter_map(|round| {
        let numbers: Vec<f64> = round.iter().map(|serving| serving.blackout as f64 / 1e3).collect();
        Some((Quantiles::of(&numbers)?.p50 - all).abs())
    });
    Quantiles::of(&far.collect::<Vec<_>>()).map_or(0.0, |far| far.p50)
}

pub(in crate::report) fn measure(amount: Amount) -> Result<Migrating> {
    let Amount { records, rounds, turns } = amount;
    eprintln!("handovers with {records} records pending, and without");
    let mut pending = Measured::start(records, true)?;
    let mut without = Measured::start(records, false)?;
    for _ in 0..rounds {
        pending.round(turns)?;
        without.round(turns)?;
    }
    check(pending.all(), records)?;
    if let Some(wrong) = without.all().find(|serving| serving.pending + serving.left > 0) {
        return Err(format!("nothing was to be pending: {wrong:?}").into());
    }
    let [with, control] = [&pending, &without].map(|measured| measured.micros(|s| s.blackout));
    let (with, control) = (with?, control?);
    let ratio = with.p50 / control.p50;
    let noise = noise(&without.rounds, control.p50);
    let counted = || pending.all().filter(|s| s.first_tick > 0).map(|s| s.pending);
    Ok(Migrating {
        blackout_records: records,
        pending_at_cutover: [counted().min().unwrap_or(0), counted().max().unwrap_or(0)],
        blackout_pending_us: with,
        blackout_without_us: control,
        blackout_noise_us: noise,
        ratio_blackout_pending: ratio,
        blackout_pending_target: "ratio ≤ 1.5, or the difference within the noise of the run",
        blackout_pending_met: ratio <= TARGET || with.p50 - control.p50 <= noise,
        first_tick_pending_us: pending.micros(|s| s.first_tick)?,
        first_tick_without_us: without.micros(|s| s.first_tick)?,
        tick_gap_pending_us: pending.micros(gap)?,
        tick_gap_without_us: without.micros(gap)?,
        blackout_broken: pending.finish()? + without.finish()?,
    })
}

impl Migrating {
    /// Lines for people.
    pub(in crate::report) fn table(&self) -> String {
        let mut out = format!(
            "\n  handovers, {} records pending and none      {:>8} {:>8} {:>8} {:>8} {:>5}\n",
            self.blackout_records, "min", "p50", "p99", "max", "n"
        );
        for (name, of) in [
            ("blackout, pending, µs", &self.blackout_pending_us),
            ("blackout, without, µs", &self.blackout_without_us),
            ("first tick, pending, µs", &self.first_tick_pending_us),
            ("first tick, without, µs", &self.first_tick_without_us),
            ("last to first tick, pending, µs", &self.tick_gap_pending_us),
            ("last to first tick, without, µs", &self.tick_gap_without_us),
        ] {
            let Quantiles { n, min, p50, p99, max } = of;
            out += &format!("  {name:<46} {min:>8.1} {p50:>8.1} {p99:>8.1} {max:>8.1} {n:>5}\n");
        }
        out + &format!(
            "  blackout, pending : without: {:.2} ({}: {}; noise {:.1} µs); {} broken connections and answers\n",
            self.ratio_blackout_pending,
            self.blackout_pending_target,
            if self.blackout_pending_met { "met" } else { "missed" },
            self.blackout_noise_us,
            self.blackout_broken
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(pending: u64, left: u64) -> Serving {
        Serving {
            pending,
            left,
            first_tick: 1,
            ..Serving::default()
        }
    }

    #[test]
    fn a_cutover_with_less_than_all_pending_is_found_out() {
        let good = owner(2000, 2000 - TOUCHED);
        assert!(check([good, good].iter(), 2000).is_ok());
        for bad in [owner(0, 0), owner(1999, 1999 - TOUCHED), owner(2000, 2000)] {
            assert!(check([good, bad].iter(), 2000).is_err(), "{bad:?}");
        }
        // The gate closed before it ticked: there is nothing to say of it.
        assert!(check([Serving::default()].iter(), 2000).is_ok());
    }

    #[test]
    fn one_disturbed_round_is_not_the_noise() {
        let round = |micros: u64| {
            vec![Serving {
                blackout: micros * 1000,
                ..Serving::default()
            }]
        };
        let rounds = [round(10), round(11), round(13), round(500)];
        assert_eq!(noise(&rounds, 11.0), 1.0);
        assert_eq!(noise(&[], 11.0), 0.0);
    }
}
