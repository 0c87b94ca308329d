//! What was measured: a number per round, and the rows that the report prints.

use super::plan::Operation;
use crate::engine::Kind;
use crate::keys::Distribution;
use serde::Serialize;
use std::collections::BTreeMap;

/// Smallest, middle and largest of the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) min: f64,
    pub(super) median: f64,
    pub(super) max: f64,
}

impl Spread {
    /// Of at least one number.
    pub(super) fn of(numbers: &[f64]) -> Option<Self> {
        let mut sorted = numbers.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            (sorted[middle - 1] + sorted[middle]) / 2.0
        };
        Some(Self { min, median, max })
    }
}

/// One line of the report.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    /// What was done.
    pub(super) operation: &'static str,
    /// By whom.
    pub(super) engine: &'static str,
    /// How many players there were; 0 where players do not matter.
    pub(super) players: u64,
    /// How keys were drawn, where they were drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) distribution: Option<&'static str>,
    /// Bytes of the region, where that is what matters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) region_bytes: Option<u64>,
    /// Nanoseconds an operation; nothing if it could not be measured.
    pub(super) ns: Option<Spread>,
    /// Rounds behind them.
    pub(super) rounds: usize,
    /// Operations a round.
    pub(super) operations: usize,
    /// Why there is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<&'static str>,
}

/// Which number it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Measure {
    pub(super) players: u64,
    pub(super) operation: Operation,
    pub(super) skewed: bool,
    pub(super) kind: Kind,
}

impl Measure {
    fn distribution(self) -> Option<&'static str> {
        let drawn = match self.operation {
            Operation::Iterate | Operation::PassAll | Operation::Insert | Operation::Remove => return None,
            _ if self.skewed => Distribution::Zipf,
            _ => Distribution::Uniform,
        };
        Some(drawn.name())
    }
}

/// Numbers of one measure, a round each.
#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    /// Nanoseconds an operation.
    pub(super) ns: Vec<f64>,
    pub(super) operations: usize,
    pub(super) note: Option<&'static str>,
}

/// All measures of the rounds.
#[derive(Clone, Debug, Default)]
pub(super) struct Results(BTreeMap<Measure, Series>);

impl Results {
    pub(super) fn add(&mut self, measure: Measure, operations: usize, ns: f64) {
        let series = self.0.entry(measure).or_default();
        series.operations = operations;
        series.ns.push(ns);
    }

    /// Says why a measure has no numbers.
    pub(super) fn lacks(&mut self, measure: Measure, note: &'static str) {
        self.0.entry(measure).or_default().note = Some(note);
    }

    /// Median over the rounds of ours over theirs; nothing if one of them is missing.
    pub(super) fn ratio(&self, ours: Measure, theirs: Measure) -> Option<f64> {
        let (ours, theirs) = (self.0.get(&ours)?, self.0.get(&theirs)?);
        let ratios: Vec<f64> = ours
            .ns
            .iter()
            .zip(&theirs.ns)
            .map(|(ours, theirs)| ours / theirs)
            .collect();
        Some(Spread::of(&ratios)?.median)
    }

    pub(super) fn rows(&self) -> Vec<Row> {
        let row = |(measure, series): (&Measure, &Series)| Row {
            operation: measure.operation.name(),
            engine: measure.kind.name(),
            players: measure.players,
            distribution: measure.distribution(),
            region_bytes: None,
            ns: Spread::of(&series.ns),
            rounds: series.ns.len(),
            operations: series.operations,
            note: series.note,
        };
        self.0.iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_in_each_round() {
        let measure = |kind| Measure {
            players: 1,
            operation: Operation::Get,
            skewed: false,
            kind,
        };
        let mut results = Results::default();
        // The machine was ten times slower in the second round; the ratio of medians would be 2.
        for (ours, theirs) in [(10.0, 20.0), (100.0, 200.0), (30.0, 10.0)] {
            results.add(measure(Kind::Shmstate), 1, ours);
            results.add(measure(Kind::Hashmap), 1, theirs);
        }
        assert_eq!(
            results.ratio(measure(Kind::Shmstate), measure(Kind::Hashmap)),
            Some(0.5)
        );
        assert_eq!(results.ratio(measure(Kind::Shmstate), measure(Kind::Heed)), None);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        let spread = Spread::of(&[4.0, 1.0, 3.0, 2.0]);
        assert_eq!(
            spread,
            Some(Spread {
                min: 1.0,
                median: 2.5,
                max: 4.0
            })
        );
        assert_eq!(Spread::of(&[]), None);
    }
}
