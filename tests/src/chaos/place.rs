//! The node that is tormented: its directory, its address, what the library and the system say of it.

use crate::node::Sabotage;
use clap::ValueEnum;
use handover::Status;
use handover::control::{ControlBlock, NodeIdentity, Request};
use handover::os::clock::Deadline;
use handover::os::dir::NodeId;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Where regions and control blocks are.
const SHM: &str = "/dev/shm";
/// The node has an address of its own in 127/8, so that the port is taken by nobody else.
const PORT: u16 = 4200;
/// Deadlines of every server: short where a round waits for one to pass, long where none may.
const DEADLINES: &[&str] = &[
    "connect=8000",
    "hello=8000",
    "batch=8000",
    "ready=4000",
    "stand-by=8000",
    "tick=50",
    "quiet=8000",
    "take=8000",
    "drain=300",
    "probation=600000",
    "watchdog=1000",
    "give-back=300",
];

/// A node and its surroundings.
#[derive(Debug)]
pub(super) struct Place {
    program: PathBuf,
    /// Removed with everything in it.
    directory: TempDir,
    node: String,
    address: SocketAddr,
    sabotage: Option<Sabotage>,
    /// A node that was stopped has another life: a new identity, generations from 1 on.
    life: u32,
    sockets: u32,
}

impl Place {
    /// A node that nobody serves yet.
    pub(super) fn new(sabotage: Option<Sabotage>) -> Result<Self, String> {
        let [high, low] = (std::process::id() as u16).to_be_bytes();
        Ok(Self {
            program: std::env::current_exe().map_err(|e| format!("the path of this program: {e}"))?,
            directory: tempfile::tempdir().map_err(|e| format!("a temporary directory: {e}"))?,
            node: format!("chaos-{}", std::process::id()),
            address: (Ipv4Addr::new(127, high, low, 254), PORT).into(),
            sabotage,
            life: 0,
            sockets: 0,
        })
    }

    /// Where clients connect.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The node's name.
    pub(super) fn node(&self) -> &str {
        &self.node
    }

    /// This program: server and command line as well.
    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// Where the nodes' directories are. Made by the library, closed to others.
    pub(super) fn base(&self) -> PathBuf {
        self.directory.path().join("nodes")
    }

    /// The node begins anew.
    pub(super) fn reborn(&mut self) {
        self.life += 1;
    }

    /// Where the servers of this life note their passes.
    pub(super) fn witness(&self) -> PathBuf {
        self.directory.path().join(format!("witness-{}", self.life))
    }

    /// A path for a socket that was never used before.
    pub(super) fn socket(&mut self) -> PathBuf {
        self.sockets += 1;
        self.directory.path().join(format!("{}.socket", self.sockets))
    }

    /// The arguments of a server, behind the program's name.
    pub(super) fn arguments(&self, socket: &Path, more: &[&str]) -> Vec<OsString> {
        let mut all: Vec<OsString> = ["serve", "--park", "--node", &self.node].map(Into::into).into();
        for (name, path) in [
            ("--dir", &*self.base()),
            ("--witness", &*self.witness()),
            ("--through", socket),
        ] {
            all.extend([name.into(), path.into()]);
        }
        all.extend(["--listen".into(), self.address.to_string().into()]);
        for deadline in DEADLINES {
            all.extend(["--deadline".into(), deadline.into()]);
        }
        if let Some(sabotage) = self.sabotage.and_then(|s| s.to_possible_value()) {
            all.extend(["--sabotage".into(), sabotage.get_name().into()]);
        }
        all.extend(more.iter().map(Into::into));
        all
    }

    /// What the control block says.
    pub(super) fn status(&self) -> Result<Status, String> {
        handover::status(&self.base(), &self.node).map_err(|e| format!("status: {e}"))
    }

    /// Leaves a wish for the parked process, as `handover rollback` does.
    pub(super) fn request(&self, request: Request) -> Result<(), String> {
        let identity = NodeIdentity {
            id: NodeId(self.status()?.id),
            name: self.node.clone(),
        };
        let block = ControlBlock::open(&identity, Deadline::now()).map_err(|e| format!("control block: {e}"))?;
        block.request(request);
        Ok(())
    }

    /// Objects of the node with that id in /dev/shm.
    pub(super) fn objects(&self, id: u128) -> Result<Vec<String>, String> {
        let prefix = format!("handover-{id:032x}");
        let mut names = names(Path::new(SHM))?;
        names.retain(|name| name.starts_with(&prefix));
        Ok(names)
    }

    /// Files of the node's runtime directory; empty if there is none.
    pub(super) fn files(&self) -> Result<Vec<String>, String> {
        let directory = self.base().join(&self.node);
        match directory.exists() {
            true => names(&directory),
            false => Ok(Vec::new()),
        }
    }

    /// Living processes, other than this, that have `text` in their command line.
    pub(super) fn processes(&self, text: &str) -> Vec<u32> {
        let mut found = Vec::new();
        for name in names(Path::new("/proc")).unwrap_or_default() {
            let Ok(pid) = name.parse::<u32>() else { continue };
            // A dead process has no command line any more.
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if pid != std::process::id() && String::from_utf8_lossy(&line).contains(text) {
                found.push(pid);
            }
        }
        found
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Whatever a run that went wrong has left.
        if let Ok(status) = self.status() {
            for name in self.objects(status.id).unwrap_or_default() {
                let _ = std::fs::remove_file(Path::new(SHM).join(name));
            }
        }
    }
}

fn names(directory: &Path) -> Result<Vec<String>, String> {
    let entries = std::fs::read_dir(directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    Ok(names)
}
