//! A node between `start` and `ready`: everything is here, nothing is owned.
//!
//! The server takes its regions, opens its tables (a successor's schemas are compared here), warms up, and calls
//! [`Starting::ready`]. Dropped or refused before that, a successor leaves the predecessor serving (H2).

use crate::control::{ControlBlock, HandoverRecord, Outcome, Phase};
use crate::error::{Error, Result, WhoServes};
use crate::node::builder;
use crate::node::config::Config;
use crate::node::descriptors::set::Descriptors;
use crate::node::join::{Join, Stand};
use crate::node::new_regions::{self, NewRegions};
use crate::node::serving::Node;
use crate::node::shared::{Parts, Shared, Stage};
use crate::node::{probation, reception};
use crate::os::clock;
use crate::os::dir::NodeDir;
use crate::os::lock::OwnedLock;
use crate::os::pidfd::ProcessId;
pub use crate::phase::parked::Cause;
use crate::points::{Point, point};
use crate::registry::Registry;
use shmstate::lease::{Lease, LeaseCell};
use shmstate::{Gate, Region};
use std::sync::Arc;

/// What this process is to the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// There was nothing: regions are empty.
    First,
    /// The last owner has ended: regions are as its last commit left them, connections are gone. What it held outside
    /// the node (a lock on a file, a port of its own) it may hold for a moment still, until its memory and its core are done with: try such
    /// things more than once.
    Recovered {
        /// Generation of the dead owner.
        generation: u64,
    },
    /// A predecessor serves, and hands over when this process is ready.
    Successor {
        /// Generation of the predecessor.
        generation: u64,
    },
    /// This process owned the node before, handed it over, and has it back: the regions are as the successor's last commit left them, the
    /// connections are here, those that it accepted too. What a dead successor held outside the node it may hold for a
    /// moment still, as above.
    Returned {
        /// Generation of the successor that has lost it.
        generation: u64,
        /// Why.
        cause: Cause,
    },
}

/// A node that this process does not own yet.
#[derive(Debug)]
pub struct Starting {
    pub(super) shared: Arc<Shared>,
    role: Role,
    regions: Vec<(String, Region)>,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Owned(Lease),
    Join(Box<Join>),
    Back {
        lease: Lease,
        /// Whether the successor died as owner.
        dead: bool,
        record: Option<HandoverRecord>,
    },
}

impl Starting {
    pub(crate) fn first(shared: Shared, role: Role, mut regions: Vec<(String, Region)>, owned: Lease) -> Self {
        shared.carry.claim(&mut regions);
        Self {
            shared: Arc::new(shared),
            role,
            regions,
            way: Way::Owned(owned),
        }
    }

    pub(crate) fn back(
        shared: Arc<Shared>,
        role: Role,
        mut regions: Vec<(String, Region)>,
        lease: Lease,
        dead: bool,
        record: Option<HandoverRecord>,
    ) -> Self {
        shared.carry.claim(&mut regions);
        let way = Way::Back { lease, dead, record };
        Self {
            shared,
            role,
            regions,
            way,
        }
    }

    pub(crate) fn joining(config: Config, dir: NodeDir, mut join: Join) -> Result<Self> {
        let new = NewRegions::default();
        match Self::claim(config, dir, &mut join, new) {
            Ok((shared, mut regions)) => {
                shared.carry.claim(&mut regions);
                point(Point::NewClaimed);
                let role = Role::Successor {
                    generation: join.offer.generation,
                };
                Ok(Self {
                    shared: Arc::new(shared),
                    role,
                    regions,
                    way: Way::Join(Box::new(join)),
                })
            }
            Err(error) => {
                let who = join.refuse(&error.to_string());
                Err(error.served_by(who))
            }
        }
    }

    /// Takes what came over: maps regions, registers connections (H4). What this version does not know is closed (H6).
    fn claim(
        config: Config,
        dir: NodeDir,
        join: &mut Join,
        new_regions: NewRegions,
    ) -> Result<(Shared, Vec<(String, Region)>)> {
        let staged = std::mem::take(&mut join.staged);
        let missing = |what: &'static str| Error::Protocol {
            expected: what,
            got: "an offer without it".into(),
        };
        let gate = Gate::closed(Arc::clone(&join.block) as Arc<dyn LeaseCell>);
        let mut regions = Vec::new();
        for (name, fd) in staged.regions {
            if let Some(spec) = config.regions.iter().find(|spec| spec.name == name) {
                regions.push((name, builder::attach(&join.identity, spec, fd, &gate)?));
            }
        }
        let is_here = |name: &str| regions.iter().any(|(known, _)| known == name);
        let all_came = config.regions.iter().all(|spec| is_here(&spec.name))
            && config.descriptors.iter().all(|spec| {
                let came = |(name, mark, fd): &(String, u64, _)| *name == spec.name && spec.accepts(*mark, fd);
                staged.named.iter().any(came)
            });
        if !all_came {
            new_regions::wait_for_the_dying(&join.block, join.predecessor())?;
        }
        for spec in &config.regions {
            if !regions.iter().any(|(name, _)| *name == spec.name) {
                let region = new_regions.make(&join.block, spec, &gate)?;
                regions.push((spec.name.clone(), region));
            }
        }
        let descriptors = Descriptors::joining(&config.descriptors, staged.named, config.activation)?;
        let registry = Registry::new()?;
        for (token, fd) in staged.streams {
            registry.insert(token, fd)?;
        }
        let shared = Shared::new(Parts {
            config,
            dir,
            block: Arc::clone(&join.block),
            me: join.me,
            gate,
            registry,
            regions: builder::duplicates(&regions)?,
            descriptors,
            lock: OwnedLock::from_fd(staged.lock.ok_or_else(|| missing("the liveness lock"))?)?,
            control: staged.control.ok_or_else(|| missing("the control socket"))?,
            new_regions,
        })?;
        Ok((shared, regions))
    }

    /// What this process is to the node.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// The gate of the node's regions: closed until [`ready`](Self::ready).
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.shared.gate
    }

    /// Takes the region that was declared with this name.
    ///
    /// # Errors
    /// [`Error::Unknown`] if none was declared, or it was taken already.
    pub fn region(&mut self, name: &str) -> Result<Region> {
        let index = self.regions.iter().position(|(n, _)| n == name);
        let index = index.ok_or_else(|| Error::Unknown {
            what: "region",
            name: name.into(),
        })?;
        Ok(self.regions.swap_remove(index).1)
    }

    /// Whether the region that was declared with this name is new in this version: it has no tables yet, and gets them when this process
    /// owns the node.
    #[must_use]
    pub fn is_new(&self, name: &str) -> bool {
        let object = builder::region_object(self.shared.block.identity(), name);
        matches!(self.role, Role::First) || self.shared.new_regions.has(&object)
    }

    /// The node's control block.
    #[must_use]
    pub fn control(&self) -> &ControlBlock {
        &self.shared.block
    }

    /// Says that this process will not serve, for a reason that the predecessor records. Gives who serves.
    #[must_use]
    pub fn refuse(self, reason: &str) -> WhoServes {
        match self.way {
            Way::Join(join) => join.refuse(reason),
            Way::Owned(_) | Way::Back { .. } => WhoServes::Nobody,
        }
    }

    /// This process is ready to serve. Returns when it owns the node: at once for the first, at the cutover for a successor.
    ///
    /// # Errors
    /// The handover was called off; [`Error::who_serves`] says who serves.
    pub fn ready(self) -> Result<Node> {
        let Self { shared, role, way, .. } = self;
        let mut inherited = matches!(role, Role::Recovered { .. });
        // A probation has a thread of its own, which sleeps until then.
        let on_probation = match &way {
            Way::Join(join) => join.probation().is_some(),
            _ => false,
        };
        // Everything that can be slow happens before, so that the gate opens into a process that is complete (H4).
        reception::start(&shared)?;
        if on_probation {
            probation::start(&shared).inspect_err(|_| {
                shared.set_stage(Stage::Leaving);
                shared.new_regions.remove();
            })?;
        }
        match way {
            Way::Owned(lease) => {
                shared.settle();
                shared.gate.open(lease);
                shared.set_stage(Stage::Serving);
            }
            Way::Back { lease, dead, record } => {
                if let Err(error) = shared.descriptors.come_back(&shared.config.descriptors) {
                    // The others serve, and an operator sees which does not.
                    let reason = format!("after the give-back: {error}");
                    shared
                        .block
                        .append(&HandoverRecord::new(Outcome::ProtocolError, reason));
                }
                shared.gate.open(lease);
                point(Point::BackOpen);
                shared.set_stage(Stage::Serving);
                inherited = dead;
                if let Some(mut record) = record {
                    record.first_tick = clock::now();
                    shared.block.append(&record);
                }
                shared.block.set_phase(Phase::None, 0);
                point(Point::BackWritten);
            }
            Way::Join(mut join) => {
                let spin = std::thread::available_parallelism().is_ok_and(|n| n.get() > 1);
                let stand = Stand { shared: &shared, spin };
                let taken = join.take_over(&stand).inspect_err(|_| {
                    shared.set_stage(Stage::Leaving);
                    shared.new_regions.remove();
                })?;
                join.write_down(taken, shared.registry.len());
                point(Point::NewWritten);
                join.receive_late(&shared);
                inherited = join.inherited;
                let (terms, leftover) = join.part();
                shared.descriptors.own(&shared.config.descriptors, terms.is_some());
                match terms {
                    Some(terms) => probation::begin(&shared, terms),
                    None => shared.settle(),
                }
                point(Point::NewProbation);
                shared.leave_over(leftover);
            }
        }
        // For who plans the next upgrade. Nobody waits for it, so it comes last.
        if let Ok(me) = ProcessId::current() {
            let declared = shared.descriptors.declared();
            let declared = declared.iter().map(|(name, mark)| (name.as_str(), *mark));
            shared.block.declare(me, declared);
        }
        shared.set_complete();
        Ok(Node::new(shared, role, inherited))
    }
}
