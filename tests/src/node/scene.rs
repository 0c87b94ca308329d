//! One node of a test: its directory, its address, its servers, and the proof that nothing of it is left.

use crate::node::options::Fault;
use crate::node::process::Actor;
use crate::node::report::{Order, Report};
use crate::node::wait::until;
use handover::Status;
use handover::control::{
    ControlBlock, HandoverRecord, NodeIdentity, Outcome, Participant, ParticipantState, Phase, Request,
};
use handover::os::clock::Deadline;
use handover::os::dir::NodeId;
use shmstate::lease::Lease;
use std::cell::Cell;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use tempfile::TempDir;

/// Where regions and control blocks are.
const SHM: &str = "/dev/shm";
/// Every node has an address of its own in 127/8, so that no port is taken twice, not even by a client. A process with more nodes than there are
/// such addresses goes on with the next ports.
const PORT: u16 = 4100;
/// Ports of a node: the second is for connections that its server keeps itself.
const PORTS: u16 = 2;
/// Addresses of a process.
const HOSTS: u16 = 250;
static NEXT: AtomicU16 = AtomicU16::new(0);

/// A node and its surroundings.
#[derive(Debug)]
pub struct Scene {
    program: PathBuf,
    /// Removed with everything in it.
    _directory: TempDir,
    base: PathBuf,
    node: String,
    address: SocketAddr,
    id: Cell<Option<u128>>,
}

impl Scene {
    /// A node nobody serves yet. `program` is the server.
    ///
    /// # Panics
    /// There is no room for a temporary directory.
    #[must_use]
    pub fn new(program: &str) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let [high, low] = (std::process::id() as u16).to_be_bytes();
        let ip = Ipv4Addr::new(127, high, low, (number % HOSTS + 2) as u8);
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self {
            program: program.into(),
            // Made by the library, closed to others.
            base: directory.path().join("nodes"),
            _directory: directory,
            node: format!("test-{}-{number}", std::process::id()),
            address: (ip, PORT + number / HOSTS * PORTS).into(),
            id: Cell::new(None),
        }
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The runtime directory of the node.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.base.join(&self.node)
    }

    /// The node's name.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Where the nodes' directories are.
    #[must_use]
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// The arguments of a server called `build`, and more.
    #[must_use]
    pub fn arguments(&self, build: &str, more: &[&str]) -> Vec<OsString> {
        let mut all: Vec<OsString> = ["--node", &self.node, "--build", build, "--listen"]
            .map(Into::into)
            .into();
        all.extend([
            self.address.to_string().into(),
            "--dir".into(),
            self.base.clone().into(),
        ]);
        all.extend(more.iter().map(Into::into));
        all
    }

    /// Starts a server called `build` with more arguments.
    #[must_use]
    pub fn spawn(&self, build: &str, arguments: &[&str]) -> Actor {
        let mut command = Command::new(&self.program);
        command.args(self.arguments(build, arguments));
        Actor::spawn(build, &mut command)
    }

    /// Starts the first server and waits until it serves.
    #[must_use]
    pub fn first(&self, arguments: &[&str]) -> Actor {
        let mut actor = self.spawn("A", arguments);
        assert_eq!(actor.started(), ("first".into(), 0));
        assert_eq!(actor.serving(), 1);
        self.know();
        actor
    }

    /// Remembers which node this is, for the proof that nothing of it is left.
    pub fn know(&self) {
        self.id.set(Some(self.status().id));
    }

    /// Starts a successor that prepares until told to go on, and waits until it has everything.
    #[must_use]
    pub fn prepared(&self, build: &str, arguments: &[&str]) -> Actor {
        let mut actor = self.spawn(build, &[&["--wait"], arguments].concat());
        assert_eq!(actor.started().0, "successor");
        actor
    }

    /// Starts a successor that fails in this way, and waits for its end.
    #[must_use]
    pub fn bad(&self, build: &str, fault: Fault) -> Actor {
        let name = clap::ValueEnum::to_possible_value(&fault).expect("has a name");
        let mut actor = self.spawn(build, &["--fault", name.get_name()]);
        actor.exit();
        actor
    }

    /// What the control block says.
    ///
    /// # Panics
    /// It cannot be read.
    #[must_use]
    pub fn status(&self) -> Status {
        handover::status(&self.base, &self.node).expect("status")
    }

    /// The same; `None` while there is nothing that can be read.
    #[must_use]
    pub fn try_status(&self) -> Option<Status> {
        handover::status(&self.base, &self.node).ok()
    }

    /// The generation of the owner.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.status().lease.generation()
    }

    /// Waits until the handover in progress is in this phase.
    pub fn wait_phase(&self, phase: Phase) {
        until(&format!("phase {phase:?}"), || {
            (self.status().phase == phase).then_some(())
        });
    }

    /// Waits until the owner has this generation.
    pub fn wait_generation(&self, generation: u64) {
        until(&format!("generation {generation}"), || {
            let lease = self.status().lease;
            (matches!(lease, Lease::Owned { .. }) && lease.generation() == generation).then_some(())
        });
    }

    /// Waits until this process says that it holds so many connections.
    pub fn wait_connections(&self, pid: u32, count: u64) {
        until(&format!("{count} connections"), || {
            let status = self.status();
            let found = status.participants.iter().find(|p| p.process.pid == pid)?;
            (found.connections == count).then_some(())
        });
    }

    /// Leaves a wish for the parked process, as `handover rollback` does.
    ///
    /// # Panics
    /// There is no control block.
    pub fn request(&self, request: Request) {
        let identity = NodeIdentity {
            id: NodeId(self.status().id),
            name: self.node.clone(),
        };
        let block = ControlBlock::open(&identity, Deadline::now()).expect("control block");
        block.request(request);
    }

    /// Waits until the history has `n` records; gives the last.
    ///
    /// # Panics
    /// There are more.
    #[must_use]
    pub fn record(&self, n: usize) -> HandoverRecord {
        let history = until(&format!("record {n} of the history"), || {
            let history = self.status().history;
            (history.len() >= n).then_some(history)
        });
        assert_eq!(history.len(), n, "{history:#?}");
        history[n - 1].clone()
    }

    /// As [`record`](Self::record), and it says so.
    ///
    /// # Panics
    /// The handover ended otherwise.
    #[must_use]
    pub fn outcome(&self, n: usize, outcome: Outcome) -> HandoverRecord {
        let record = self.record(n);
        assert_eq!(record.outcome, outcome, "{record:?}");
        record
    }

    /// Waits until the owner's row says that it serves.
    pub fn wait_serving(&self) {
        until("an owner whose row says that it serves", || {
            let owner = self.status().owner?;
            (owner.state == ParticipantState::Serving).then_some(())
        });
    }

    /// Waits until these processes, and no others, take part in the node.
    pub fn wait_participants(&self, pids: &[u32]) {
        until(&format!("participants {pids:?}"), || {
            let status = self.status();
            let living = status.participants.iter().filter(|p| p.is_alive().unwrap_or(true));
            let mut found: Vec<u32> = living.map(|p| p.process.pid).collect();
            let mut expected = pids.to_vec();
            found.sort_unstable();
            expected.sort_unstable();
            (found == expected).then_some(())
        });
    }

    /// Objects of this node in /dev/shm.
    ///
    /// # Panics
    /// /dev/shm cannot be read.
    #[must_use]
    pub fn shared_objects(&self) -> Vec<String> {
        let Some(id) = self.id.get() else {
            return Vec::new();
        };
        let prefix = format!("handover-{id:032x}");
        let entries = std::fs::read_dir(SHM).expect("list /dev/shm");
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| name.starts_with(&prefix)).collect();
        names.sort();
        names
    }

    /// Ends the node by its owner, and checks that nothing is left.
    ///
    /// # Panics
    /// Something is.
    pub fn close(self, mut owner: Actor) {
        owner.tell(Order::Stop);
        owner.expect(&Report::Stopped);
        assert!(owner.exit().success());
        self.assert_gone();
    }

    /// The same, whatever else the owner has said.
    ///
    /// # Panics
    /// Something is left.
    pub fn end(&self, mut owner: Actor) {
        owner.tell(Order::Stop);
        owner.skip_to(&Report::Stopped);
        assert!(owner.exit().success());
        self.assert_gone();
    }

    /// Checks that nothing of the node is left.
    ///
    /// # Panics
    /// Something is.
    pub fn assert_gone(&self) {
        assert_eq!(self.shared_objects(), Vec::<String>::new(), "left in /dev/shm");
        assert!(!self.directory().exists(), "the runtime directory is left");
    }
}

/// The row of who owns the node; `None` while the lease is offered, or nobody's.
#[must_use]
pub fn owner_of(status: &Status) -> Option<&Participant> {
    status
        .owner
        .as_ref()
        .filter(|_| matches!(status.lease, Lease::Owned { .. }))
}

impl Drop for Scene {
    fn drop(&mut self) {
        if self.id.get().is_none() {
            // A first server that failed half way.
            self.id
                .set(handover::status(&self.base, &self.node).ok().map(|status| status.id));
        }
        // Its servers end with their input (N2); what they leave is removed here, also after a panic.
        for name in self.shared_objects() {
            let _ = std::fs::remove_file(Path::new(SHM).join(name));
        }
    }
}
