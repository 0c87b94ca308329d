//! What a node is made of: names, sizes, deadlines.

use shmstate::Options;
use std::net::SocketAddr;
use std::time::Duration;

/// How long a spinning successor outlasts a tick (H4).
pub const SPIN_SLACK: Duration = Duration::from_millis(1);

/// Every wait of a handover and how long it may last. Each has an outcome, see "Who serves after a failure" in DESIGN.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deadlines {
    /// A starting process: the start lock, a connection to the owner.
    pub connect: Duration,
    /// The owner: the hello of who connected. The successor: the offer.
    pub hello: Duration,
    /// Each batch of descriptors and its acknowledgement.
    pub batch: Duration,
    /// From `offered` to `ready`: the successor's preparations.
    pub ready: Duration,
    /// From `ready` to `stand by`, and from there to `standing`.
    pub stand_by: Duration,
    /// From arming the gate to a tick; then the gate is closed without one.
    pub tick: Duration,
    /// From arming the gate to quiet.
    pub quiet: Duration,
    /// From the release to the take.
    pub take: Duration,
    /// Phase 1 of the drain: idle connections that were asked to close.
    pub drain_idle: Duration,
    /// Phase 2 of the drain: work in flight.
    pub drain: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            hello: Duration::from_secs(5),
            batch: Duration::from_secs(5),
            ready: Duration::from_secs(60),
            stand_by: Duration::from_secs(5),
            tick: Duration::from_millis(200),
            quiet: Duration::from_secs(5),
            take: Duration::from_secs(2),
            drain_idle: Duration::from_secs(5),
            drain: Duration::from_secs(30),
        }
    }
}

/// A region of the node.
#[derive(Clone, Debug)]
pub(crate) struct RegionSpec {
    pub(crate) name: String,
    /// How it is made or opened; gate and node are the node's.
    pub(crate) options: Options,
}

/// A listener of the node.
#[derive(Clone, Debug)]
pub(crate) struct ListenerSpec {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
}

/// All a builder collects.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) name: String,
    pub(crate) build_id: String,
    pub(crate) tick: Duration,
    pub(crate) regions: Vec<RegionSpec>,
    pub(crate) listeners: Vec<ListenerSpec>,
    pub(crate) deadlines: Deadlines,
    pub(crate) base: std::path::PathBuf,
}
