//! What must hold whatever was struck (M2, M3, M5).

use actors::node::scene::owner_of;
use actors::node::standstill;
use actors::node::wait::within;
use actors::node::witness::{Line, last, lines, now};
use actors::node::{Actor, Scene};
use std::path::PathBuf;
use std::time::Duration;

/// How long nobody may be in a pass, beyond the time for which one is stopped: what takes over does so at once, or after a hasty deadline. The rest is
/// for a machine with other work.
pub(crate) const SOON: Duration = Duration::from_secs(3);

/// How long what one holds may be more: threads end and mirrors close a moment later.
const SETTLES: Duration = Duration::from_secs(4);
/// By how much one that took over may differ from one that was the first.
const KIN: Holds = Holds {
    descriptors: 0,
    threads: 0,
};

/// What a server holds when nothing goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holds {
    descriptors: usize,
    threads: usize,
}

impl Holds {
    pub(crate) fn of(actor: &Actor) -> Self {
        Self {
            descriptors: actor.descriptors(),
            threads: actor.threads(),
        }
    }
}

/// Watches one node.
pub(crate) struct Judge {
    witness: PathBuf,
}

impl Judge {
    pub(crate) fn new(scene: &Scene) -> Self {
        standstill::watch();
        Self {
            witness: scene.base().with_file_name("witness"),
        }
    }

    /// What every server of the node is told.
    pub(crate) fn arguments(&self) -> [String; 2] {
        ["--witness".into(), self.witness.display().to_string()]
    }

    /// M3: another one of these processes serves while that one is stopped, unless it owns the node still, or no other lives.
    ///
    /// # Panics
    /// None does within `allowed` and [`SOON`].
    pub(crate) fn serves_beside(&self, scene: &Scene, servers: &mut [Actor], stopped: u32, allowed: Duration) {
        let begun = now();
        let serves = within(allowed + SOON, || {
            let (process, end) = last(&self.witness).expect("the witness")?;
            let status = scene.try_status()?;
            let owner = owner_of(&status).map(|owner| owner.process.pid);
            let alone = servers.iter_mut().all(|s| s.pid() == stopped || s.ended().is_some());
            (alone || owner == Some(stopped) || (process != stopped && end > begun)).then_some(())
        });
        assert!(serves.is_some(), "nobody served beside the stopped {stopped}");
    }

    /// M3: this process serves.
    ///
    /// # Panics
    /// It does not within `allowed` and [`SOON`].
    pub(crate) fn serves(&self, process: u32, allowed: Duration) {
        let begun = now();
        let serves = within(allowed + SOON, || {
            let (found, end) = last(&self.witness).expect("the witness")?;
            (found == process && end > begun).then_some(())
        });
        assert!(serves.is_some(), "nobody served: {process} was to");
    }

    /// M2, M3: what the servers have noted; nobody may serve for so long, and [`SOON`].
    ///
    /// # Panics
    /// Two owners, or none for too long.
    pub(crate) fn witnessed(&self, allowed: Duration) {
        let text = std::fs::read_to_string(lines(&self.witness)).expect("the lines of the witness");
        for line in text.lines() {
            match serde_json::from_str(line).expect("a line") {
                Line::TwoOwners { .. } => panic!("two owners: {line}"),
                Line::Gap { end, length, .. } => {
                    let stood = standstill::between(end.saturating_sub(length), end);
                    let length = Duration::from_nanos(length).saturating_sub(stood);
                    assert!(length <= allowed + SOON, "nobody served for {length:?}: {line}");
                }
            }
        }
    }

    /// M5: the owner holds what one of its kind ever does, and no more.
    ///
    /// # Panics
    /// It holds more.
    pub(crate) fn left(&self, owner: &Actor, usual: Holds) {
        let settled = within(SETTLES, || {
            let held = Holds::of(owner);
            let most = Holds {
                descriptors: usual.descriptors + KIN.descriptors,
                threads: usual.threads + KIN.threads,
            };
            (held.descriptors <= most.descriptors && held.threads <= most.threads).then_some(())
        });
        assert!(
            settled.is_some(),
            "left: {:?}, not {usual:?}: {:#?}",
            Holds::of(owner),
            owner.open_files()
        );
    }
}
