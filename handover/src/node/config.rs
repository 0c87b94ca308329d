//! What a node is made of: names, sizes, deadlines.

use crate::error::{Error, Result};
use crate::node::carry;
use crate::node::descriptors::activation::Activation;
use crate::node::descriptors::set;
use crate::node::descriptors::spec::Spec;
use crate::os::dir::check_node_name;
use shmstate::{Declared, Options, Region};
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
    /// The successor's probation: how long its predecessor stays parked after the cutover and could take the node back. The
    /// predecessor's setting counts. Zero: it drains at once.
    pub probation: Duration,
    /// How long a successor on probation may go without a pass before it counts as hung and the node is taken back. Zero: for ever. Longer than
    /// the longest pause of a healthy server.
    pub watchdog: Duration,
    /// From asking a successor on probation for the node to its release; then it is killed. And from there to the proof of its death; then it is
    /// killed again.
    pub give_back: Duration,
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
            probation: Duration::from_secs(10),
            watchdog: Duration::ZERO,
            give_back: Duration::from_secs(1),
        }
    }
}

/// A region of the node.
#[derive(Clone, Debug)]
pub(crate) struct RegionSpec {
    pub(crate) name: String,
    /// How it is made or opened; gate and node are the node's.
    pub(crate) options: Options,
    /// Its tables, if the program declares them; filled by [`Config::check`].
    pub(crate) tables: Vec<Declared>,
}

impl RegionSpec {
    /// Holds a region to what was declared of it.
    pub(crate) fn expect(&self, region: &mut Region) -> Result<()> {
        if self.tables.is_empty() {
            return Ok(());
        }
        Ok(region.expect_only(self.tables.iter().cloned())?)
    }
}

/// All a builder collects.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) name: String,
    pub(crate) build_id: String,
    pub(crate) tick: Duration,
    pub(crate) regions: Vec<RegionSpec>,
    /// Declared tables, each with the name of its region.
    pub(crate) tables: Vec<(String, Declared)>,
    pub(crate) descriptors: Vec<Spec>,
    pub(crate) activation: Activation,
    pub(crate) deadlines: Deadlines,
    pub(crate) base: std::path::PathBuf,
    /// The highest protocol version that is spoken.
    pub(crate) speaks: u16,
}

impl Config {
    /// Whether all that was declared can be meant; then every region has its tables.
    pub(crate) fn check(&mut self) -> Result<()> {
        for region in &self.regions {
            check_node_name(&region.name)?;
        }
        for (i, spec) in self.regions.iter().enumerate() {
            if self.regions[..i].iter().any(|other| other.name == spec.name) {
                let problem = "two regions of the node have this name (`carry` is that of Builder::carry)";
                let name = spec.name.clone();
                return Err(Error::NodeName { name, problem });
            }
        }
        set::check(&self.descriptors)?;
        for (region, table) in std::mem::take(&mut self.tables) {
            let bad = |problem: String| Error::Declaration {
                region: region.clone(),
                table: table.name().into(),
                problem,
            };
            if region == carry::REGION {
                return Err(bad("what is carried has no tables of the program's".into()));
            }
            let Some(spec) = self.regions.iter_mut().find(|spec| spec.name == region) else {
                return Err(bad("no such region is declared; declare it with Builder::region".into()));
            };
            table.check().map_err(|error| bad(error.to_string()))?;
            if spec.tables.iter().any(|other| other.name() == table.name()) {
                return Err(bad("it is declared twice".into()));
            }
            spec.tables.push(table);
        }
        Ok(())
    }
}
