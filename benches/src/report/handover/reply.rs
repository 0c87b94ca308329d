//! A server that answers at once, with busy connections, changes its process again and again: from the last answer of the old
//! process to the first of the new one, as the clients read them, and whether any byte was lost, doubled or torn meanwhile.

use crate::Result;
use crate::handover::child::LIMIT;
use crate::handover::clients::Seen;
use crate::handover::node::Pace;
use crate::handover::quantiles::Quantiles;
use crate::report::handover::plan::Plan;
use crate::report::handover::scene::Pair;
use serde::Serialize;

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub(in crate::report) struct Replies {
    pub(super) connections: usize,
    /// µs from the last answer of the old to the first of the new.
    pub(super) gap_us: Option<Quantiles>,
    /// µs between two answers of one process in the same run.
    pub(super) spacing_us: Option<Quantiles>,
    pub(super) load: Load,
}

/// What upgrades did to connections under load.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(in crate::report) struct Load {
    pub(super) upgrades: usize,
    pub(super) answered: u64,
    pub(super) connections_cut: u64,
    /// Requests that were not answered, or skipped.
    pub(super) lost: u64,
    /// Requests that were answered or counted twice.
    pub(super) doubled: u64,
    /// Connections on which bytes were missing or too many.
    pub(super) torn: u64,
}

impl Load {
    pub(super) fn of(upgrades: usize, seen: &Seen) -> Self {
        Self {
            upgrades,
            answered: seen.answered,
            connections_cut: seen.cut,
            lost: seen.lost + seen.skipped,
            doubled: seen.doubled,
            torn: seen.torn,
        }
    }

    /// Both together.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            upgrades: self.upgrades + other.upgrades,
            answered: self.answered + other.answered,
            connections_cut: self.connections_cut + other.connections_cut,
            lost: self.lost + other.lost,
            doubled: self.doubled + other.doubled,
            torn: self.torn + other.torn,
        }
    }
}

pub(super) fn run(plan: &Plan) -> Result<Replies> {
    if plan.reply_turns == 0 {
        return Ok(Replies::default());
    }
    eprintln!("answers of {} busy connections", plan.busy);
    let mut pair = Pair::start(Pace::AtOnce, plan.bytes, 1, plan.busy)?;
    let mut turns = 0;
    while turns < plan.reply_turns && plan.has(std::time::Duration::ZERO) {
        let serving = pair.turn()?;
        pair.clients().first_of(serving.generation as u32, LIMIT)?;
        turns += 1;
    }
    let seen = pair.finish()?;
    let gaps: Vec<f64> = seen
        .who
        .windows(2)
        .map(|pair| (pair[1].first as f64 - pair[0].last as f64) / 1e3)
        .collect();
    Ok(Replies {
        connections: plan.busy,
        gap_us: Quantiles::of(&gaps),
        spacing_us: seen.spacing,
        load: Load::of(turns, &seen),
    })
}
