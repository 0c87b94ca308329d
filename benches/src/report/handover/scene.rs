//! One node of the report: its directory, its address, its servers.

use crate::Result;
use crate::handover::child::{Child, LIMIT, until};
use crate::handover::clients::{Clients, Plan as Load, Seen};
use crate::handover::event::{Event, Order, Serving};
use crate::handover::node::{Options, Pace};
use crate::handover::speech::Speech;
use crate::report::handover::plan::{GIB, rate};
use handover::control::ParticipantState;
use rustix::process::{Pid, Signal, kill_process};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// Every node has an address of its own in 127/8.
const PORT: u16 = 4200;
/// How long filling a GiB may take: pages of 2 MiB are collapsed on the way.
const FILLING: Duration = Duration::from_secs(30);
/// How long what is under way may take at the end.
const ANSWERS: Duration = Duration::from_secs(3);
static NEXT: AtomicU16 = AtomicU16::new(0);

/// An address that nobody else uses.
pub(super) fn address() -> SocketAddr {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let [high, low] = (std::process::id() as u16).to_be_bytes();
    (Ipv4Addr::new(127, high, low, (number % 250 + 2) as u8), PORT).into()
}

/// A node nobody serves yet. Dropped, what its servers left is removed.
#[derive(Debug)]
pub(super) struct Scene {
    /// Removed with everything in it.
    directory: TempDir,
    options: Options,
}

impl Scene {
    pub(super) fn new(pace: Pace, bytes: u64, regions: u64) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let tick = match pace {
            Pace::Ticks(tick) => tick.as_micros() as u64,
            Pace::AtOnce => 0,
        };
        let options = Options {
            // Made by the library, closed to others.
            dir: directory.path().join("nodes"),
            node: "bench".into(),
            listen: address(),
            tick_us: tick,
            bytes,
            regions,
            crowd: 0,
            next: false,
            probation_ms: 0,
            core: false,
            small_pages: false,
            resident: false,
            hold: false,
        };
        Ok(Self { directory, options })
    }

    /// The same with so many small records.
    pub(super) fn crowded(mut self, records: u64) -> Self {
        self.options.crowd = records;
        self
    }

    fn base(&self) -> PathBuf {
        self.directory.path().join("nodes")
    }

    /// Starts a server of it.
    pub(super) fn spawn(&self, change: impl FnOnce(&mut Options)) -> Result<Child> {
        let mut options = self.options.clone();
        change(&mut options);
        let mut command = Command::new(std::env::current_exe()?);
        // A core that it leaves goes with the directory.
        command.arg("node").current_dir(self.directory.path());
        options.put(&mut command);
        Child::spawn("the server", &mut command)
    }

    /// How long the first server may take to fill its regions.
    pub(super) fn filling(&self) -> Duration {
        LIMIT + FILLING.mul_f64(self.options.bytes as f64 / GIB as f64)
    }

    /// Clients of it.
    pub(super) fn clients(&self, connections: usize) -> Result<Clients> {
        let load = Load {
            address: self.options.listen,
            connections,
            a_second: rate(connections),
            speech: Speech::Frames,
            again: false,
        };
        Clients::start(load, LIMIT)
    }

    /// Waits until the process with this pid is parked.
    pub(super) fn parked(&self, pid: u32) -> Result<()> {
        until("a parked process", LIMIT, || {
            let status = handover::status(&self.base(), &self.options.node).ok()?;
            let parked = status
                .participants
                .iter()
                .filter(|p| p.state == ParticipantState::Parked);
            parked.map(|p| p.process.pid).find(|parked| *parked == pid)
        })?;
        Ok(())
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.options.listen
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // Nothing is left if its last server was told to stop.
        crate::handover::node::sweep(&self.base(), &self.options.node);
    }
}

/// Two resident servers of a node, which take turns, and their clients.
pub(super) struct Pair {
    owner: Child,
    other: Child,
    clients: Clients,
    /// What the first told when it served.
    pub(super) first: Serving,
    _scene: Scene,
}

impl Pair {
    pub(super) fn start(pace: Pace, bytes: u64, regions: u64, connections: usize) -> Result<Self> {
        Self::of(Scene::new(pace, bytes, regions)?, connections, |_| {})
    }

    /// Two programs, of which the second is not quite what the first is.
    pub(super) fn of(scene: Scene, connections: usize, second: impl FnOnce(&mut Options)) -> Result<Self> {
        let mut owner = scene.spawn(|options| options.resident = true)?;
        owner.expect(&Event::Resident)?;
        owner.tell(Order::Join)?;
        let first = owner.serving(scene.filling())?;
        let mut other = scene.spawn(|options| {
            options.resident = true;
            second(options);
        })?;
        other.expect(&Event::Resident)?;
        let clients = scene.clients(connections)?;
        Ok(Self {
            owner,
            other,
            clients,
            first,
            _scene: scene,
        })
    }

    pub(super) fn clients(&self) -> &Clients {
        &self.clients
    }

    /// One handover; gives what the new owner tells, when the old one has drained.
    pub(super) fn turn(&mut self) -> Result<Serving> {
        self.other.tell(Order::Join)?;
        let serving = self.other.serving(LIMIT)?;
        self.owner.drained()?;
        std::mem::swap(&mut self.owner, &mut self.other);
        Ok(serving)
    }

    /// Stands still, servers and clients, so that others have the machine.
    pub(super) fn freeze(&self, frozen: bool) -> Result<()> {
        let signal = if frozen { Signal::STOP } else { Signal::CONT };
        if frozen {
            self.clients.pause(true);
        }
        for child in [&self.owner, &self.other] {
            kill_process(pid(child.pid())?, signal)?;
        }
        if !frozen {
            self.clients.pause(false);
        }
        Ok(())
    }

    /// Ends everything; gives what the clients saw.
    pub(super) fn finish(mut self) -> Result<Seen> {
        let seen = self.clients.finish(ANSWERS)?;
        self.owner.tell(Order::Stop)?;
        self.owner.expect(&Event::Stopped)?;
        Ok(seen)
    }
}

/// A process id as the kernel's functions take it.
pub(super) fn pid(pid: u32) -> Result<Pid> {
    Pid::from_raw(pid.cast_signed()).ok_or_else(|| "there is no process 0".into())
}
