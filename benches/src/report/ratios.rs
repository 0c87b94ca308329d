//! The few numbers that say whether the targets are met. A ratio is ours over theirs: small is good.

use super::attach::Attached;
use super::grow::Grown;
use super::plan::Operation;
use super::results::Measure;
use super::rounds::Outcome;
use crate::engine::Kind;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    /// Nothing if it could not be measured.
    pub(super) value: Option<f64>,
    /// At most this, where there is a target.
    pub(super) target: Option<f64>,
}

/// All of them; as JSON an object of names and numbers.
#[derive(Clone, Debug)]
pub(super) struct Ratios(pub(super) Vec<Figure>);

impl Serialize for Ratios {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for figure in &self.0 {
            map.serialize_entry(figure.name, &figure.value)?;
        }
        map.end()
    }
}

/// A ratio: our operation over theirs, whose, with popular keys or not, and the target.
type Definition = (&'static str, Operation, Operation, Kind, bool, Option<f64>);

const DEFINITIONS: [Definition; 18] = {
    use Kind::{Hashmap, Heed, Redb};
    use Operation as O;
    [
        ("get_vs_hashmap", O::Get, O::Get, Hashmap, false, Some(1.0)),
        ("get_vs_hashmap_zipf", O::Get, O::Get, Hashmap, true, Some(1.0)),
        (
            "get_chained_vs_hashmap",
            O::GetChained,
            O::GetChained,
            Hashmap,
            false,
            None,
        ),
        ("update_vs_hashmap", O::Update, O::Update, Hashmap, false, Some(1.5)),
        ("update_vs_hashmap_zipf", O::Update, O::Update, Hashmap, true, Some(1.3)),
        ("replace_vs_hashmap", O::Replace, O::Replace, Hashmap, false, Some(0.5)),
        (
            "replace_vs_hashmap_zipf",
            O::Replace,
            O::Replace,
            Hashmap,
            true,
            Some(0.5),
        ),
        (
            "replace_made_vs_hashmap",
            O::ReplaceMade,
            O::ReplaceMade,
            Hashmap,
            false,
            None,
        ),
        ("insert_vs_hashmap", O::Insert, O::Insert, Hashmap, false, None),
        ("remove_vs_hashmap", O::Remove, O::Remove, Hashmap, false, None),
        ("tick_vs_hashmap", O::Tick, O::Tick, Hashmap, false, None),
        (
            "tick_together_vs_hashmap",
            O::TickTogether,
            O::Tick,
            Hashmap,
            false,
            None,
        ),
        ("update_vs_heed", O::Update, O::Update, Heed, false, Some(1.0 / 50.0)),
        ("update_vs_redb", O::Update, O::Update, Redb, false, Some(1.0 / 150.0)),
        ("get_by_handle", O::GetByHandle, O::Get, Hashmap, false, Some(0.4)),
        (
            "update_by_handle",
            O::UpdateByHandle,
            O::Update,
            Hashmap,
            false,
            Some(0.5),
        ),
        ("batch_get", O::BatchGet, O::Get, Hashmap, false, Some(0.6)),
        ("pass_all", O::PassAll, O::PassAll, Hashmap, false, Some(0.7)),
    ]
};

/// Of the largest population.
pub(super) fn of(outcome: &Outcome, players: u64, grown: &Grown, attached: &Attached) -> Ratios {
    let mut figures = Vec::new();
    for (name, ours, theirs, peer, skewed, target) in DEFINITIONS {
        let measure = |operation, kind| Measure {
            players,
            operation,
            skewed,
            kind,
        };
        let value = outcome
            .results
            .ratio(measure(ours, Kind::Shmstate), measure(theirs, peer));
        figures.push(Figure { name, value, target });
    }
    let overhead = |when| {
        let is = |m: &&super::rounds::Memory| (m.engine, m.players, m.when) == (Kind::Shmstate.name(), players, when);
        outcome.memory.iter().find(is)?.overhead_percent
    };
    figures.extend([
        figure("worst_insert_us", grown.worst_us, Some(200.0)),
        figure("worst_insert_reserved_us", grown.worst_reserved_us, Some(200.0)),
        figure("worst_insert_noise_us", grown.noise_us, None),
        figure("attach_1gib_ms", attached.page_tables_ms, Some(5.0)),
        figure("attach_1gib_header_ms", attached.header_ms, Some(0.2)),
        figure("overhead_percent", overhead("filled"), Some(15.0)),
        figure("overhead_used_percent", overhead("used"), None),
        figure("overhead_compacted_percent", overhead("compacted"), Some(15.0)),
    ]);
    Ratios(figures)
}

fn figure(name: &'static str, value: Option<f64>, target: Option<f64>) -> Figure {
    Figure { name, value, target }
}
