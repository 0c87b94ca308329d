//! What a peer's row says.

use serde::Serialize;

/// A peer, or our own server in the peers' harness.
#[derive(Clone, Debug, Default, Serialize)]
pub(in crate::report) struct Peer {
    pub(in crate::report::handover) tool: &'static str,
    pub(in crate::report::handover) version: Option<String>,
    /// Connections of all that were cut by one upgrade.
    pub(in crate::report::handover) connections_cut: Option<u64>,
    pub(in crate::report::handover) connections: usize,
    /// Requests lost on them or under way when they were cut, and answers that do not fit.
    pub(in crate::report::handover) lost: Option<u64>,
    /// Longest time in which a client heard nothing, ms, in an upgrade, and in an equal time without one.
    pub(in crate::report::handover) longest_gap_ms: Option<f64>,
    pub(in crate::report::handover) baseline_gap_ms: Option<f64>,
    /// From the order to upgrade to the first answer of the new process.
    pub(in crate::report::handover) new_serves_after_ms: Option<f64>,
    /// From the order to upgrade to the end of the old process.
    pub(in crate::report::handover) old_gone_after_ms: Option<f64>,
    /// "serves" or "outage": whether anything answered within the next seconds.
    pub(in crate::report::handover) killed_1s_after_upgrade: Option<&'static str>,
    /// Connections that were cut by its death, from the order of that upgrade on.
    pub(in crate::report::handover) cut_when_killed: Option<u64>,
    /// How the state is carried.
    pub(in crate::report::handover) state: &'static str,
    pub(in crate::report::handover) state_bytes: u64,
    /// Bytes of state a second, from the order to upgrade to the first answer of the new process.
    pub(in crate::report::handover) state_bytes_per_s: Option<f64>,
    /// Why something is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::report::handover) note: Option<String>,
}
