//! Kills at named points: the child arms one, and kills itself when it gets there for the n-th time.
//!
//! - **N1** Points are tried in turn, those first that were tried and hit least. So none is forgotten, and one that was missed
//!   is tried again sooner.
//! - **N2** A run of [`ENOUGH`] kills a point must have hit each of them.
//!
//! Which points there are is the library's business; a build without them has none.

use super::work::Kind;
use serde::Serialize;
use std::collections::BTreeMap;

/// Kills a point that are enough to demand that each was hit.
const ENOUGH: u64 = 10;

/// What a build of the library has of points.
#[derive(Clone, Copy, Debug)]
pub struct Points {
    /// Their names; a point's number is its place.
    pub names: &'static [&'static str],
    /// Has the n-th hit of a point call something.
    pub arm: fn(usize, u64, fn()),
}

impl Points {
    /// A build without points.
    pub const NONE: Self = Self {
        names: &[],
        arm: |_, _, _| {},
    };
}

/// What leads to a point.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    /// What the child mostly does.
    pub(super) kind: Kind,
    /// Whether only a region that is fresh, or has not grown yet, leads there for sure.
    pub(super) fresh: bool,
    /// Whether the child must make checkpoints.
    pub(super) checkpoint: bool,
    /// The most hits to wait for.
    pub(super) most: u64,
}

/// How to get to the point with that name.
pub(super) fn way(name: &str) -> Way {
    let (area, _) = name.split_once(": ").unwrap_or((name, ""));
    let way = |kind, fresh, most| Way {
        kind,
        fresh,
        checkpoint: area == "checkpoint",
        most,
    };
    match (area, name) {
        ("create", _) => way(Kind::Mixed, true, 1),
        ("log extent" | "growth", _) => way(Kind::Grow, true, 2),
        (_, "log: use of an extent noted") => way(Kind::Grow, true, 3),
        ("log", _) => way(Kind::Mixed, false, 20_000),
        ("undo", "undo: entry restored") => way(Kind::Sweep, false, 2_000),
        ("undo", _) => way(Kind::Mixed, false, 2),
        (_, "index: segments joined" | "index: directory halved") => way(Kind::Shrink, true, 2),
        ("index" | "heap", _) => way(Kind::Grow, true, 4),
        ("ordered", _) => way(Kind::Purge, false, 12),
        ("timers", _) => way(Kind::Trade, false, 100),
        // A process writes one shape or the other, so half of them do not get to some of these.
        (_, "shape: row describes another") => way(Kind::Mixed, false, 1),
        ("shape", _) => way(Kind::Mixed, false, 3),
        ("move", "move: source follows its targets") => way(Kind::Mixed, false, 10),
        ("move", "move: tables described") => way(Kind::Mixed, true, 1),
        ("move" | "drop", _) => way(Kind::Mixed, false, 1),
        ("savepoint", _) => way(Kind::Mixed, false, 3),
        ("slots" | "queue", _) => way(Kind::Trade, name.ends_with("page added"), 3),
        (_, "commit: one block freed") => way(Kind::Shrink, false, 3_000),
        ("checkpoint", "checkpoint: page saved by the writer") => way(Kind::Sweep, false, 40),
        ("checkpoint", _) => way(Kind::Mixed, false, 2),
        ("hole" | "trim", _) => way(Kind::Trim, false, 3),
        ("store", _) => way(Kind::Mixed, false, 50_000),
        ("field", _) => way(Kind::Sweep, false, 300),
        _ => way(Kind::Mixed, false, 6),
    }
}

/// Whether only a process gets to the point that knows the move of the vaults.
pub(super) fn knows(name: &str) -> bool {
    matches!(name, "move: source follows its targets" | "move: table set aside")
}

/// Kills at each point.
#[derive(Debug, Default)]
pub(super) struct Hits {
    names: &'static [&'static str],
    hit: Vec<u64>,
    tried: Vec<u64>,
}

impl Hits {
    pub(super) fn of(points: &Points) -> Self {
        Self {
            names: points.names,
            hit: vec![0; points.names.len()],
            tried: vec![0; points.names.len()],
        }
    }

    /// The number of the point to try next (N1); `None` if there are none.
    pub(super) fn next(&self) -> Option<usize> {
        (0..self.names.len()).min_by_key(|i| self.hit[*i] + self.tried[*i])
    }

    /// The same among those that were not hit.
    pub(super) fn next_missed(&self) -> Option<usize> {
        let missed = (0..self.names.len()).filter(|i| self.hit[*i] == 0);
        missed.min_by_key(|i| self.tried[*i])
    }

    pub(super) fn name(&self, number: usize) -> &'static str {
        self.names[number]
    }

    pub(super) fn count(&mut self, number: usize, hit: bool) {
        self.tried[number] += 1;
        self.hit[number] += u64::from(hit);
    }

    /// Points that a run of so many kills should have hit and did not (N2).
    pub(super) fn missed(&self, kills: u64) -> Vec<&'static str> {
        if kills < ENOUGH * self.names.len() as u64 {
            return Vec::new();
        }
        let missed = self.names.iter().zip(&self.hit).filter(|(_, hit)| **hit == 0);
        missed.map(|(name, _)| *name).collect()
    }
}

impl Serialize for Hits {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let hits: BTreeMap<_, _> = self.names.iter().zip(&self.hit).collect();
        hits.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &["log: a", "undo: b", "create: c"];

    fn hits() -> Hits {
        Hits::of(&Points {
            names: NAMES,
            ..Points::NONE
        })
    }

    #[test]
    fn a_missed_point_is_tried_again_sooner() {
        let mut hits = hits();
        for _ in 0..300 {
            let next = hits.next().expect("there are three");
            hits.count(next, next != 1);
        }
        assert_eq!(hits.tried, [75, 150, 75]);
    }

    #[test]
    fn only_a_full_run_must_have_hit_every_point() {
        let mut hits = hits();
        hits.count(0, true);
        hits.count(1, false);
        let enough = ENOUGH * NAMES.len() as u64;
        assert!(hits.missed(enough - 1).is_empty());
        assert_eq!(hits.missed(enough), ["undo: b", "create: c"]);
        assert_eq!(Hits::of(&Points::NONE).next(), None);
        assert!(Hits::of(&Points::NONE).missed(enough).is_empty());
    }
}
