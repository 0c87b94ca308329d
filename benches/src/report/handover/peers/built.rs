//! Peers that are libraries, or nothing but a restart: servers of `benches/peers`.

use crate::Result;
use crate::report::handover::peers::row::Peer;
use crate::report::handover::peers::tool::{Tool, end, is_dead};
use crate::report::handover::scene::{address, pid};
use rustix::process::{Signal, kill_process};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The package, and the program that it makes.
const PACKAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers");
const PROGRAM: &str = "handover-peer";
/// How long an old process of a plain restart may take to write its state.
const LEAVES: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(1);

/// Compiles the package beside the program that runs, no longer than `limit`.
pub(super) fn build(limit: Duration) -> std::result::Result<PathBuf, String> {
    let here = std::env::current_exe().map_err(|e| format!("not built: {e}"))?;
    let target = here
        .parent()
        .and_then(Path::parent)
        .ok_or("not built: no target directory")?
        .join("peers");
    let program = target.join("release").join(PROGRAM);
    eprintln!("compiling the peers, at most {} s", limit.as_secs());
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let command = Command::new(cargo)
        .args(["build", "--release", "--locked", "--manifest-path"])
        .arg(Path::new(PACKAGE).join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut child = command.map_err(|e| format!("not built: cargo cannot be started: {e}"))?;
    let begun = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() && program.exists() => return Ok(program),
            Ok(Some(_)) => {
                return Err(format!(
                    "not built: `cargo build --release --locked --manifest-path {PACKAGE}/Cargo.toml` failed"
                ));
            }
            Ok(None) if begun.elapsed() < limit => std::thread::sleep(Duration::from_millis(20)),
            Ok(None) | Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!(
                    "not built within {} s; a run without --quick builds it",
                    limit.as_secs()
                ));
            }
        }
    }
}

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Server {
    Ecdysis,
    Shellflip,
    Restart,
}

impl Server {
    pub(super) const ALL: [Self; 3] = [Self::Ecdysis, Self::Shellflip, Self::Restart];

    fn word(self) -> &'static str {
        match self {
            Self::Ecdysis => "ecdysis",
            Self::Shellflip => "shellflip",
            Self::Restart => "restart",
        }
    }

    fn state(self) -> &'static str {
        match self {
            Self::Ecdysis => "bincode through the library's datagram sockets, by the old process while it serves",
            Self::Shellflip => "bincode through the library's pipe, by the old process while it serves",
            Self::Restart => "bincode to a file on tmpfs, between the two processes",
        }
    }
}

/// The version of a package that the peers are locked to.
pub(super) fn locked(package: &str) -> Option<String> {
    let lock = std::fs::read_to_string(Path::new(PACKAGE).join("Cargo.lock")).ok()?;
    let (_, after) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    Some(after.split_once('"')?.0.into())
}

pub(super) struct Built {
    server: Server,
    program: std::result::Result<PathBuf, String>,
    bytes: u64,
    drain: Duration,
    address: SocketAddr,
    directory: Option<TempDir>,
    first: Option<Child>,
    /// Processes that were started by their predecessors.
    others: Vec<u32>,
}

impl Built {
    pub(super) fn new(
        server: Server,
        program: &std::result::Result<PathBuf, String>,
        bytes: u64,
        drain: Duration,
    ) -> Self {
        Self {
            server,
            program: program.clone(),
            bytes,
            drain,
            address: address(),
            directory: None,
            first: None,
            others: Vec::new(),
        }
    }

    fn spawn(&mut self) -> Result<()> {
        let program = self.program.clone()?;
        if self.directory.is_none() {
            self.directory = Some(tempfile::tempdir_in("/dev/shm")?);
        }
        let mut command = Command::new(program);
        command
            .arg(self.server.word())
            .args(["--listen", &self.address.to_string()])
            .args(["--bytes", &self.bytes.to_string()])
            .args(["--drain-ms", &self.drain.as_millis().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        if let Some(directory) = &self.directory {
            command.arg("--file").arg(directory.path().join("state"));
        }
        self.first = Some(command.spawn()?);
        Ok(())
    }

    /// The process that serves.
    fn current(&self) -> Result<u32> {
        let first = self.first.as_ref().map(Child::id);
        self.others
            .last()
            .copied()
            .or(first)
            .ok_or_else(|| "not started".into())
    }
}

impl Tool for Built {
    fn row(&self) -> Peer {
        Peer {
            tool: match self.server {
                Server::Restart => "plain restart",
                other => other.word(),
            },
            version: match self.server {
                Server::Restart => None,
                other => locked(other.word()),
            },
            state: self.server.state(),
            state_bytes: self.bytes,
            note: self.program.clone().err(),
            ..Peer::default()
        }
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn drain(&self) -> Duration {
        match self.server {
            Server::Restart => Duration::ZERO,
            _ => self.drain,
        }
    }

    fn start(&mut self) -> Result<()> {
        self.spawn()
    }

    fn upgrade(&mut self) -> Result<()> {
        let signal = match self.server {
            Server::Ecdysis => Signal::HUP,
            Server::Shellflip => Signal::USR1,
            Server::Restart => {
                let mut old = self.first.take().ok_or("not started")?;
                kill_process(pid(old.id())?, Signal::TERM)?;
                let begun = Instant::now();
                while old.try_wait()?.is_none() {
                    if begun.elapsed() > LEAVES {
                        end(&mut Some(old));
                        return Err("the old process did not end".into());
                    }
                    std::thread::sleep(LOOK);
                }
                return self.spawn();
            }
        };
        Ok(kill_process(pid(self.current()?)?, signal)?)
    }

    fn noticed(&mut self, who: u32) {
        if self.first.as_ref().is_none_or(|first| first.id() != who) && !self.others.contains(&who) {
            self.others.push(who);
        }
    }

    fn is_gone(&mut self, pid: u32) -> bool {
        if let Some(first) = &mut self.first
            && first.id() == pid
        {
            return first.try_wait().is_ok_and(|status| status.is_some());
        }
        is_dead(pid)
    }
}

impl Drop for Built {
    fn drop(&mut self) {
        end(&mut self.first);
        for other in std::mem::take(&mut self.others) {
            let ours = std::fs::read_link(format!("/proc/{other}/exe")).ok() == self.program.clone().ok();
            // Ended already is as good.
            if let (true, Ok(pid)) = (ours, pid(other)) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}
