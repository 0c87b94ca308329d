//! How a server asks for its node, and what it gets: it is the first, it recovers what a dead owner left, or it joins as
//! successor. Starting the new binary *is* the upgrade.

use crate::control::{ControlBlock, HandoverRecord, NodeIdentity, Origin, Outcome, ParticipantState, Phase};
use crate::error::{Error, Result};
use crate::node::carry;
use crate::node::config::{Config, Deadlines, RegionSpec};
use crate::node::describe;
use crate::node::descriptors::activation::Activation;
use crate::node::descriptors::set::Descriptors;
use crate::node::join::{self, Door, Joined};
use crate::node::new_regions::NewRegions;
use crate::node::orphan::{Inheritance, Orphan};
use crate::node::shared::{Parts, Shared};
use crate::node::starting::{Role, Starting};
use crate::os::clock::{self, Deadline};
use crate::os::dir::{self, NodeDir};
use crate::os::lock;
use crate::os::pidfd::ProcessId;
use crate::points::{Point, point};
use crate::registry::Registry;
use crate::wire::channel::{Channel, Listener};
use crate::wire::frame::{HIGHEST, LOWEST};
use crate::wire::message::MAX_BUILD_ID;
use shmstate::lease::{self, Lease, LeaseCell};
use shmstate::{Declared, Gate, Options, Region};
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Least address space of a region for which none is given: see [`shmstate::DEFAULT_CAPACITY`].
const DEFAULT_TICK: Duration = Duration::from_millis(20);
/// How long a connection is tried before the lock is looked at again.
const LOOK: Duration = Duration::from_millis(50);
/// Between two looks at an owner that writes its core, where nothing can be had of it before.
const CORE_LOOK: Duration = Duration::from_millis(10);
/// How often a joining process starts over because the predecessor died in the middle of the offer.
const MAX_STARTS: usize = 4;

/// Builder of a node: name, then listeners and regions, then [`start`](Builder::start).
#[derive(Clone, Debug)]
pub struct Builder(pub(crate) Config);

impl Builder {
    /// A node called `name`: 1 to 64 of `A-Z a-z 0-9 . _ -`, no dot in front.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(Config {
            name: name.into(),
            build_id: env!("CARGO_PKG_VERSION").into(),
            tick: DEFAULT_TICK,
            regions: Vec::new(),
            tables: Vec::new(),
            descriptors: Vec::new(),
            activation: Activation::default(),
            deadlines: Deadlines::default(),
            base: dir::base(),
            speaks: HIGHEST,
        })
    }

    /// What this program was built from, for people who look at the node: at most 64 bytes are kept.
    #[must_use]
    pub fn build_id(mut self, id: &str) -> Self {
        self.0.build_id = id[..id.floor_char_boundary(MAX_BUILD_ID)].into();
        self
    }

    /// How long a tick of this server is: a successor is woken that long before the cutover. Default 20 ms.
    #[must_use]
    pub fn tick(mut self, tick: Duration) -> Self {
        self.0.tick = tick;
        self
    }

    /// A region, found again by its name in every version, with so many bytes of address space.
    #[must_use]
    pub fn region(self, name: &str, capacity: u64) -> Self {
        self.region_with(name, Region::options().capacity(capacity))
    }

    /// A region, found again by its name in every version, made and opened with these options: what it reserves, in which
    /// directory it lies, how much memory is kept ready. Gate and node id are set by the node. Whoever takes up what a dead owner left
    /// has to name the same directory.
    ///
    /// ```no_run
    /// let world = shmstate::Region::options().capacity(1 << 30).reserve(8 << 30).directory("/mnt/worlds");
    /// let starting = handover::Node::builder("arena").region_with("world", world).start()?;
    /// # Ok::<(), handover::Error>(())
    /// ```
    #[must_use]
    pub fn region_with(mut self, name: &str, options: Options) -> Self {
        self.0.regions.push(RegionSpec {
            name: name.into(),
            options,
            tables: Vec::new(),
        });
        self
    }

    /// A table that this program opens or makes in a region, so that `handover plan` can tell what an upgrade to it would do. Once one table of a
    /// region is declared, all have to be: another one, one of another shape, or one opened by other steps is refused
    /// ([`shmstate::Error::Undeclared`]). A region without declared tables may hold anything, and nothing is said of it.
    ///
    /// ```no_run
    /// use shmstate::Declared;
    /// let starting = handover::Node::builder("arena")
    ///     .region("world", 1 << 30)
    ///     .table("world", Declared::map::<u64, String>("players"))
    ///     .table("world", Declared::cell::<u64>("clock"))
    ///     .start()?;
    /// # Ok::<(), handover::Error>(())
    /// ```
    #[must_use]
    pub fn table(mut self, region: &str, table: Declared) -> Self {
        describe::declares();
        self.0.tables.push((region.into(), table));
        self
    }

    /// The same for several tables of a region.
    #[must_use]
    pub fn tables(self, region: &str, tables: impl IntoIterator<Item = Declared>) -> Self {
        tables
            .into_iter()
            .fold(self, |builder, table| builder.table(region, table))
    }

    /// Room for blobs that are carried over (see [`Node::carry`](crate::Node::carry)), `bytes` in all, at most 1 GiB. It lies in a region of its
    /// own; a version that declares less than the one before it finds the larger one.
    #[must_use]
    pub fn carry(self, bytes: u64) -> Self {
        self.region_with(carry::REGION, carry::options(bytes.min(carry::MOST)))
    }

    /// How long each step of a handover may take.
    #[must_use]
    pub fn deadlines(mut self, deadlines: Deadlines) -> Self {
        self.0.deadlines = deadlines;
        self
    }

    /// Where the nodes' directories are, instead of `$HANDOVER_DIR`, `$XDG_RUNTIME_DIR/handover` or
    /// `/tmp/handover-<uid>`.
    #[must_use]
    pub fn directory(mut self, base: PathBuf) -> Self {
        self.0.base = base;
        self
    }

    /// Speaks no higher protocol version than this, as an older library does: for tests of versions that meet.
    #[doc(hidden)]
    #[must_use]
    pub fn speak_at_most(mut self, version: u16) -> Self {
        self.0.speaks = version.clamp(LOWEST, HIGHEST);
        self
    }

    /// Finds out what this process is to the node, and gets everything: as first it makes it, as successor it receives it
    /// from the predecessor, which goes on serving meanwhile.
    ///
    /// If the environment has `HANDOVER_DESCRIBE`, as under `handover plan`, it only writes down what was declared and ends the process with
    /// status 0, before anything is touched. So a program comes here before it does anything else that others could notice; see
    /// [`is_describing`](crate::is_describing).
    ///
    /// # Errors
    /// Anything from the runtime directory to the predecessor's refusal. Where it matters, [`Error::who_serves`] tells.
    pub fn start(self) -> Result<Starting> {
        let mut config = self.0;
        config.check()?;
        describe::if_asked(&config)?;
        for _ in 0..MAX_STARTS {
            let dir = NodeDir::open(&config.base, &config.name)?;
            let connect = Deadline::after(config.deadlines.connect);
            let start = lock::lock_until(dir.start_file()?, connect)?;
            let unlinked = rustix::fs::fstat(start.as_fd()).is_ok_and(|stat| stat.st_nlink == 0);
            if unlinked {
                // The node was stopped and removed while this process waited: it starts with a directory of its own.
                continue;
            }
            let (door, channel) = loop {
                if let Some(lock) = lock::try_lock(dir.lock_file()?)? {
                    return first(config, dir, Inheritance::free(lock));
                }
                // Held by one that writes its core: what can be had of it is taken over, or free when that is written.
                if let Some(orphan) = Orphan::of(&dir)? {
                    if let Some(inheritance) = orphan.take(&dir)? {
                        return first(config, dir, inheritance);
                    }
                    if !connect.pause(CORE_LOOK) {
                        return Err(connect.error("the end of the core that the dead owner of the node writes"));
                    }
                    continue;
                }
                // `start` is held, so it is the node's as long as that.
                let door = Door::of(&dir);
                // Held: by an owner that is there, is about to listen, or has just died (a child of it between fork and exec
                // holds a copy for a moment). So look at both, in turn.
                match Channel::connect(&dir.control_path(), connect.or(Deadline::after(LOOK))) {
                    Err(Error::Deadline { .. }) if !connect.passed() => {}
                    other => break (door, other?),
                }
            };
            drop(start);
            point(Point::NewConnected);
            match join::receive(&config, &dir, &door, channel)? {
                Joined::Received(join) => return Starting::joining(config, dir, *join),
                // The predecessor died before all was offered (H10): look again what this process is.
                Joined::StartOver => {}
            }
        }
        Err(Error::Deadline {
            what: "a predecessor that lives long enough to offer",
            waited: config.deadlines.connect,
        })
    }
}

/// How the region with this object is made and removed.
pub(crate) fn options_of<'c>(config: &'c Config, object: &str) -> Option<&'c Options> {
    let named = |spec: &&RegionSpec| {
        let node = object.strip_suffix(spec.name.as_str());
        node.is_some_and(|node| node.len() == REGION_PREFIX)
    };
    config.regions.iter().find(named).map(|spec| &spec.options)
}

/// Length of what a region's object has before the region's own name.
const REGION_PREFIX: usize = "handover-".len() + 32 + 1;

/// Name of a region's shared-memory object.
pub(crate) fn region_object(node: &NodeIdentity, region: &str) -> String {
    format!("handover-{:032x}-{region}", node.id.0)
}

/// Nobody living owns the node: make it, or take up what a dead owner left. The lock proves that all owners are dead, or have ended (H5).
fn first(config: Config, dir: NodeDir, inheritance: Inheritance) -> Result<Starting> {
    let Inheritance {
        lock,
        lease,
        mut estate,
    } = inheritance;
    point(Point::FirstLocked);
    // What fails most often, a port in use, fails before anything is made.
    let named = Descriptors::first(&config.descriptors, config.activation, &mut estate)?;
    let identity = NodeIdentity::of(&dir)?;
    let (block, origin) = ControlBlock::open_or_create(&identity)?;
    let block = Arc::new(block);
    let me = block.claim(ProcessId::current()?, &config.build_id, ParticipantState::Preparing)?;
    let found = lease.map_or_else(|| block.lease(), Ok)?;
    let inherit = |lease: Lease| lease.inherit(me).filter(|_| lease == found);
    let owned = lease::change(block.word(), inherit).map_err(|word| Error::Protocol {
        expected: "a lease whose owner is dead",
        got: format!("lease word {word:#018x}"),
    })?;
    point(Point::FirstInherited);
    // A handover that the dead owner was in the middle of is over.
    block.set_phase(Phase::None, 0);
    let gate = Gate::closed(Arc::clone(&block) as Arc<dyn LeaseCell>);
    let mut made = Made {
        node: (origin == Origin::Created).then(|| (Arc::clone(&block), &dir)),
        regions: Vec::new(),
    };
    let mut regions = Vec::new();
    for spec in &config.regions {
        let id = identity.id.0;
        let name = region_object(&identity, &spec.name);
        let options = spec.options.clone().gate(&gate);
        let options = options.node_id([id as u64, (id >> 64) as u64]);
        let held = |path: &Path| path.file_name() == Some(OsStr::new(&name));
        let left = estate.file(held, lock::is_of).map(|fd| options.recover(&name, fd));
        let (mut region, new) = match left {
            // None, or one that its maker had not finished.
            None | Some(Err(shmstate::Error::NotFound { .. })) => options.open_or_create(&name)?,
            Some(region) => (region?, false),
        };
        if new {
            made.regions.push((name, options));
        }
        spec.expect(&mut region)?;
        regions.push((spec.name.clone(), region));
    }
    let control = Listener::bind(&dir.control_path())?;
    point(Point::FirstListens);
    let control = control
        .as_fd()
        .try_clone_to_owned()
        .map_err(|e| Error::io("duplicate", "the control socket", e))?;
    let role = if made.regions.len() < regions.len() || (regions.is_empty() && origin == Origin::Found) {
        let mut record = HandoverRecord::new(Outcome::Inherited, "started on what a dead owner left");
        record.started = clock::now();
        record.from_generation = found.generation();
        record.to_generation = owned.generation();
        record.successor_pid = std::process::id();
        block.append(&record);
        Role::Recovered {
            generation: found.generation(),
        }
    } else {
        Role::First
    };
    let region_descriptors = duplicates(&regions)?;
    let registry = Registry::new()?;
    made.keep();
    let shared = Shared::new(Parts {
        config,
        dir,
        block,
        me,
        gate,
        registry,
        regions: region_descriptors,
        descriptors: named,
        lock,
        control,
        new_regions: NewRegions::default(),
    })?;
    Ok(Starting::first(shared, role, regions, owned))
}

/// What a first process has made so far; undone if it does not get to the end.
struct Made<'a> {
    node: Option<(Arc<ControlBlock>, &'a NodeDir)>,
    regions: Vec<(String, Options)>,
}

impl Made<'_> {
    fn keep(mut self) {
        self.node = None;
        self.regions.clear();
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        // The reason for the failure is on its way to the caller; a leftover is not worth another.
        for (name, options) in &self.regions {
            let _ = options.remove(name);
        }
        if let Some((block, dir)) = &self.node {
            let _ = block.remove();
            let _ = dir.remove();
        }
    }
}

/// Descriptors of the regions, for handovers to come; the regions themselves go to the server.
pub(crate) fn duplicates(
    regions: &[(String, Region)],
) -> Result<Vec<crate::node::shared::Named<std::os::fd::OwnedFd>>> {
    let mut all = Vec::new();
    for (name, region) in regions {
        if let Some(fd) = region.descriptor() {
            let fd = fd
                .try_clone_to_owned()
                .map_err(|e| Error::io("duplicate the descriptor of", name, e))?;
            all.push((name.clone(), Arc::new(fd)));
        }
    }
    Ok(all)
}

/// Maps a region that came from the predecessor.
pub(crate) fn attach(
    identity: &NodeIdentity,
    spec: &RegionSpec,
    fd: std::os::fd::OwnedFd,
    gate: &Gate,
) -> Result<Region> {
    let options = spec.options.clone().gate(gate);
    let mut region = options.attach(&region_object(identity, &spec.name), fd)?;
    spec.expect(&mut region)?;
    Ok(region)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_lease_that_was_seen_is_inherited() {
        let directory = tempfile::tempdir().expect("a directory");
        let base = directory.path().join("nodes");
        let builder = Builder::new("orphan").directory(base.clone());
        let node = builder.clone().start().expect("first").ready().expect("ready");
        node.stop(Vec::new(), false).expect("stopped");
        let find = |lease| {
            let dir = NodeDir::open(&base, "orphan").expect("open");
            let soon = Deadline::after(Duration::from_secs(10));
            let lock = lock::lock_until(dir.lock_file().expect("open"), soon).expect("free");
            let lease = Some(lease);
            let found = Inheritance {
                lease,
                ..Inheritance::free(lock)
            };
            first(builder.0.clone(), dir, found)
        };
        let owned = |generation| Lease::Owned { owner: 0, generation };
        for other in [owned(1), owned(2), Lease::Vacant { generation: 2 }] {
            // O3.
            assert!(matches!(find(other), Err(Error::Protocol { .. })), "{other:?}");
        }
        let starting = find(Lease::Vacant { generation: 1 }).expect("as it was seen");
        let node = starting.ready().expect("ready");
        assert_eq!(node.generation(), 2);
        node.stop(Vec::new(), true).expect("removed");
    }
}
