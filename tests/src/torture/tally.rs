//! What a run counts, how it says so, and whether that is enough.

use super::images::Images;
use super::points::{Hits, Points};
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// Most violations that are described on stderr.
const DESCRIBED: u64 = 12;

/// Times of recoveries in microseconds: opening a region whose log is not empty — map, take back, check the heap.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Times {
    pub(super) p50: u64,
    pub(super) max: u64,
}

/// The counts of a run, as `--json` prints them.
#[derive(Debug, Default, Serialize)]
pub(super) struct Tally {
    /// Random choices of the run.
    pub(super) seed: u64,
    /// SIGKILLs sent, one to each child; a child that had ended by itself is a violation too.
    pub(super) kills: u64,
    /// Kills beyond those asked for, at points that were not hit by then.
    pub(super) kills_more: u64,
    /// Kills that left a log which was not empty.
    pub(super) torn: u64,
    /// Logs that a later opening took back.
    pub(super) logs_undone: u64,
    /// Torn kills inside a commit.
    pub(super) kills_in_commit: u64,
    /// Torn kills while an index, the heap or the log grew.
    pub(super) kills_in_growth: u64,
    /// Torn kills of a child that was taking back the log of one killed before.
    pub(super) kills_in_recovery: u64,
    /// Torn kills while a child rolled back a transaction of its own.
    pub(super) kills_in_rollback: u64,
    /// Kills of a child that had not opened a region which nobody had opened before.
    pub(super) kills_in_creation: u64,
    /// Kills at named points, and how many at each.
    pub(super) kills_at_points: u64,
    pub(super) points: Hits,
    pub(super) checkpoints: Images,
    /// Checks by the parent, after a recovery.
    pub(super) checks: u64,
    /// Regions that were tortured, one after the other.
    pub(super) regions: u64,
    /// Bytes of the longest log found.
    pub(super) longest_log: u64,
    /// Undo entries that openings took back.
    pub(super) entries_undone: u64,
    /// What should hold and did not.
    pub(super) violations: u64,
    pub(super) recovery_us: Times,
    /// Committed steps.
    pub(super) commits: u64,
    /// How long the run took.
    pub(super) seconds: f64,
    /// A signal ended the run early.
    #[serde(skip)]
    pub(super) interrupted: bool,
    #[serde(skip)]
    recoveries: Vec<u64>,
}

impl Tally {
    pub(super) fn new(seed: u64, points: &Points) -> Self {
        Self {
            seed,
            points: Hits::of(points),
            ..Self::default()
        }
    }

    /// Counts and describes a violation.
    pub(super) fn violation(&mut self, what: &str) {
        self.violations += 1;
        if self.violations <= DESCRIBED {
            eprintln!("torture: violation at kill {}: {what}", self.kills);
        }
    }

    /// Notes how long the parent took to open a region with a log.
    pub(super) fn recovery(&mut self, took: Duration) {
        self.recoveries.push(took.as_micros() as u64);
    }

    /// The run is over.
    pub(super) fn finish(&mut self, took: Duration) {
        self.seconds = (took.as_secs_f64() * 1e3).round() / 1e3;
        self.recoveries.sort_unstable();
        let times = &self.recoveries;
        self.recovery_us = Times {
            p50: times.get(times.len() / 2).copied().unwrap_or(0),
            max: times.last().copied().unwrap_or(0),
        };
    }

    /// One JSON object.
    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|e| format!("{{\"error\":\"{e}\"}}"))
    }

    /// Why the run failed; empty if it did not (K2).
    pub(super) fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        if self.violations > 0 {
            failures.push(format!(
                "{} violations; the same choices again: --seed {}",
                self.violations, self.seed
            ));
        }
        if self.interrupted {
            failures.push(format!("interrupted after {} kills", self.kills));
        }
        let needed = [
            (self.torn, "no kill left a log: nothing was torn"),
            (self.kills_in_commit, "no kill fell into a commit"),
            (self.kills_in_growth, "no kill fell into a growth"),
            (self.kills_in_recovery, "no kill fell into a recovery"),
        ];
        for (count, what) in needed {
            if count == 0 {
                failures.push(format!("{what}, so this run proved nothing; give it more --kills"));
            }
        }
        for name in self.points.missed(self.kills) {
            failures.push(format!("no kill fell at the point \"{name}\""));
        }
        failures
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [
            ("kills", self.kills),
            ("  torn: they left a log", self.torn),
            ("    in a commit", self.kills_in_commit),
            ("    in a growth", self.kills_in_growth),
            ("    in a recovery", self.kills_in_recovery),
            ("    in a rollback", self.kills_in_rollback),
            ("  in a creation", self.kills_in_creation),
            ("  at a named point", self.kills_at_points),
            ("  in a checkpoint", self.checkpoints.kills_in_checkpoint),
            ("checkpoints made", self.checkpoints.made),
            ("  restored", self.checkpoints.restored),
            ("  temporary files left", self.checkpoints.temporary),
            ("logs undone", self.logs_undone),
            ("  entries", self.entries_undone),
            ("  longest log, bytes", self.longest_log),
            ("recovery, us: p50", self.recovery_us.p50),
            ("              max", self.recovery_us.max),
            ("commits", self.commits),
            ("regions", self.regions),
            ("checks", self.checks),
            ("violations", self.violations),
        ];
        for (name, count) in rows {
            writeln!(f, "{name:<26}{count:>14}")?;
        }
        writeln!(f, "{:<26}{:>14.1}", "seconds", self.seconds)?;
        write!(
            f,
            "{:<26}{:>14}",
            "verdict",
            if self.failures().is_empty() { "sound" } else { "FAILED" }
        )
    }
}
