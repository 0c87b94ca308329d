//! The few numbers that say whether the targets are met.

use super::Report;
use super::give_back::GiveBack;
use serde::Serialize;

/// One of them.
#[derive(Clone, Debug, Serialize)]
pub(in crate::report) struct Figure {
    pub(super) name: &'static str,
    /// Nothing if it could not be measured.
    pub(super) value: Option<f64>,
    /// At most this; at least, where `more_is_better`.
    pub(super) target: f64,
    pub(super) more_is_better: bool,
    /// Nothing if there is no value.
    pub(super) met: Option<bool>,
}

/// All of them.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub(in crate::report) struct Figures(pub(super) Vec<Figure>);

/// The median of the slowest way to die.
fn worst(give_back: &GiveBack) -> Option<f64> {
    let ways = [give_back.by_kill_ms?, give_back.by_crash_ms?];
    // The last part of the run, for which there may be no time: its row says so.
    let small = give_back.by_kill_in_small_pages_ms;
    ways.iter().chain(&small).map(|way| way.p50).reduce(f64::max)
}

pub(super) fn of(report: &Report) -> Figures {
    // What was not tried has not been met.
    let count = |tried: usize, number: u64| (tried > 0).then_some(number as f64);
    let at_most = |name, value: Option<f64>, target| Figure {
        name,
        value,
        target,
        more_is_better: false,
        met: value.map(|value| value <= target),
    };
    let load = &report.under_load;
    let short = &report.short_connections.tally;
    let staged = report.staged_per_s;
    Figures(vec![
        at_most("blackout_p50_us", report.blackout_us.map(|q| q.p50), 10.0),
        at_most("blackout_p99_us", report.blackout_us.map(|q| q.p99), 300.0),
        at_most("ratio_8gib_1mib", report.ratio_8gib_1mib, 1.5),
        at_most("ratio_10k_1", report.ratio_10k_1, 2.0),
        at_most("reply_gap_p50_us", report.reply_gap_us.map(|q| q.p50), 150.0),
        at_most(
            "client_gap_over_baseline_ms",
            report.upgrades.over_ms(),
            report.upgrades.tick_ms,
        ),
        at_most("give_back_p50_ms", worst(&report.give_back), 5.0),
        Figure {
            name: "staged_per_s",
            value: staged,
            target: 200_000.0,
            more_is_better: true,
            met: staged.map(|value| value >= 200_000.0),
        },
        at_most("connections_cut", count(load.upgrades, load.connections_cut), 0.0),
        at_most(
            "lost_doubled_torn",
            count(load.upgrades, load.lost + load.doubled + load.torn),
            0.0,
        ),
        at_most(
            "short_refused_reset_late",
            count(
                report.short_connections.upgrades,
                short.refused + short.reset + short.late,
            ),
            0.0,
        ),
    ])
}
