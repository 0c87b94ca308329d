//! What a run counts, how it says so, and whether that is enough.

use super::plan::{DECK, Kind};
use serde::Serialize;
use std::collections::BTreeMap;

/// Rounds that are enough to demand that signals at random moments fell on both sides of a cutover.
const ENOUGH: u64 = 300;
/// What they must have hit then.
const BOTH_SIDES: [&str; 4] = [
    "successor_killed_before_cutover",
    "successor_killed_after_cutover",
    "predecessor_killed_before_cutover",
    "predecessor_killed_after_cutover",
];

/// The counts of a run, as `--json` prints them.
#[derive(Debug, Default, Serialize)]
pub(super) struct Tally {
    pub(super) rounds: u64,
    pub(super) seed: u64,
    /// Connections that ended and should not have.
    pub(super) disconnects: u64,
    /// Answers that never came.
    pub(super) lost: u64,
    /// Answers that came twice, requests that were counted twice.
    pub(super) doubled: u64,
    /// Passes of two processes at once, or of one whose time was over.
    pub(super) two_owners: u64,
    /// Times without an owner's pass that were longer than the round allows; nodes that nobody served.
    pub(super) no_owner_beyond_deadline: u64,
    /// Descriptors, threads, processes, files and shared objects that were left.
    pub(super) leaks: u64,
    /// Whatever else was not as it must be, or did not come in time.
    pub(super) failures: u64,
    /// Rounds in which each fault really hit.
    pub(super) faults: BTreeMap<Kind, u64>,
    /// On which side of a cutover signals at random moments fell.
    pub(super) fell: BTreeMap<&'static str, u64>,
    /// Cutovers to a successor.
    pub(super) takeovers: u64,
    /// Predecessors that got the node back.
    pub(super) give_backs: u64,
    /// Rounds in which everybody who held the connections was killed or stopped the node, and connections that ended so.
    pub(super) cutting_rounds: u64,
    pub(super) cut_on_purpose: u64,
    /// Connections that were a moment old, and died with the only process that had them.
    pub(super) cut_young: u64,
    /// Longest time between two passes, of rounds in which nobody was stopped, made to hang, or killed alone; and of all.
    pub(super) longest_without_owner_ms: f64,
    pub(super) longest_without_owner_at_all_ms: f64,
    /// Requests answered, connections made.
    pub(super) answered: u64,
    pub(super) connections: u64,
    pub(super) seconds: f64,
    /// A run that plays less than it was told to.
    #[serde(skip)]
    pub(super) interrupted: bool,
}

impl Tally {
    /// One JSON object.
    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|e| format!("{{\"error\":\"{e}\"}}"))
    }

    /// What must be 0, with its name.
    pub(super) fn violations(&self) -> [(&'static str, u64); 7] {
        [
            ("disconnects", self.disconnects),
            ("lost", self.lost),
            ("doubled", self.doubled),
            ("two_owners", self.two_owners),
            ("no_owner_beyond_deadline", self.no_owner_beyond_deadline),
            ("leaks", self.leaks),
            ("failures", self.failures),
        ]
    }

    /// Whether something was wrong.
    pub(super) fn is_violated(&self) -> bool {
        self.violations().iter().any(|(_, count)| *count > 0)
    }

    /// Why the run failed; empty if it did not.
    pub(super) fn verdict(&self) -> Vec<String> {
        let wrong = self.violations().into_iter().filter(|(_, count)| *count > 0);
        let mut failures: Vec<String> = wrong.map(|(name, count)| format!("{name}: {count}")).collect();
        if self.interrupted {
            failures.push(format!("the time was over after {} rounds", self.rounds));
        }
        if failures.is_empty() && self.rounds >= DECK.len() as u64 {
            let missed = DECK.iter().filter(|kind| !self.faults.contains_key(kind));
            failures.extend(missed.map(|kind| format!("{kind:?} never hit, so this run proved nothing of it")));
        }
        if failures.is_empty() && self.rounds >= ENOUGH {
            let missed = BOTH_SIDES.iter().filter(|name| !self.fell.contains_key(*name));
            failures.extend(missed.map(|name| format!("no {name}")));
        }
        failures
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let mut rows: Vec<(String, String)> = vec![("rounds".into(), self.rounds.to_string())];
        rows.extend(self.violations().map(|(name, count)| (name.into(), count.to_string())));
        let more = [
            ("takeovers", self.takeovers),
            ("give-backs", self.give_backs),
            ("cutting rounds", self.cutting_rounds),
            ("  connections cut so", self.cut_on_purpose),
            ("young connections cut", self.cut_young),
            ("answered", self.answered),
            ("connections", self.connections),
        ];
        rows.extend(more.map(|(name, count)| (name.into(), count.to_string())));
        rows.push((
            "longest without owner, ms".into(),
            format!("{:.1}", self.longest_without_owner_ms),
        ));
        rows.push((
            "  with stops and hangs, ms".into(),
            format!("{:.1}", self.longest_without_owner_at_all_ms),
        ));
        rows.push(("seconds".into(), format!("{:.1}", self.seconds)));
        rows.extend(
            self.faults
                .iter()
                .map(|(kind, n)| (format!("fault {kind:?}"), n.to_string())),
        );
        rows.extend(
            self.fell
                .iter()
                .map(|(name, n)| (format!("fell: {name}"), n.to_string())),
        );
        let lines = rows.iter().map(|(name, value)| format!("{name:<44}{value:>12}"));
        lines.collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_run_must_have_hit_everything() {
        let mut tally = Tally {
            rounds: DECK.len() as u64,
            ..Tally::default()
        };
        tally.faults = DECK.iter().skip(1).map(|kind| (*kind, 1)).collect();
        assert_eq!(tally.verdict().len(), 1);
        tally.faults.insert(DECK[0], 1);
        assert!(tally.verdict().is_empty());
        tally.rounds = ENOUGH;
        assert_eq!(tally.verdict().len(), BOTH_SIDES.len());
        tally.lost = 1;
        assert_eq!(tally.verdict(), ["lost: 1"]);
    }
}
