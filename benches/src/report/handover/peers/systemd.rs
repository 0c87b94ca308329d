//! systemd's descriptor store: connections and a memfd lie with the service manager while the service has no process.
//!
//! The manager is the user's own, if there is one; otherwise one is started for this run, which needs root: `systemd --user` in a mount
//! namespace whose `/run` says that systemd runs.

use crate::Result;
use crate::handover::child::until;
use crate::report::handover::peers::row::Peer;
use crate::report::handover::peers::tool::{Tool, end, is_dead};
use crate::report::handover::scene::address;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// How long a manager may take to start.
const STARTS: Duration = Duration::from_secs(5);
/// Where distributions keep it.
const MANAGERS: [&str; 2] = ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"];

pub(super) struct Store {
    program: std::result::Result<PathBuf, String>,
    bytes: u64,
    address: SocketAddr,
    unit: String,
    manager: Option<Manager>,
}

impl Store {
    pub(super) fn new(program: &std::result::Result<PathBuf, String>, bytes: u64) -> Self {
        Self {
            program: program.clone(),
            bytes,
            address: address(),
            unit: format!("handover-bench-{}.service", std::process::id()),
            manager: None,
        }
    }

    fn manager(&self) -> Result<&Manager> {
        self.manager.as_ref().ok_or_else(|| "not started".into())
    }
}

impl Tool for Store {
    fn row(&self) -> Peer {
        let version = Command::new("systemctl")
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .ok();
        let version = version.and_then(|output| {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.split_whitespace().nth(1).map(ToOwned::to_owned)
        });
        let missing = version.is_none().then(|| "not installed".into());
        Peer {
            tool: "systemd descriptor store",
            version,
            state: "a memfd in the store, mapped by the new process",
            state_bytes: self.bytes,
            note: missing.or_else(|| self.program.clone().err()),
            ..Peer::default()
        }
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn start(&mut self) -> Result<()> {
        let program = self.program.clone()?;
        let manager = Manager::find().map_err(|e| format!("not available: {e}"))?;
        let (address, bytes) = (self.address, self.bytes);
        let unit = format!(
            "[Service]\nType=notify\nNotifyAccess=main\nFileDescriptorStoreMax=8192\nLimitNOFILE=16384\nRestart=always\n\
             ExecStart={} fdstore --listen {address} --bytes {bytes}\n",
            program.display()
        );
        std::fs::write(manager.units().join(&self.unit), unit)?;
        self.manager = Some(manager);
        self.manager()?.control(&["daemon-reload"])?;
        self.manager()?.control(&["start", &self.unit])
    }

    fn upgrade(&mut self) -> Result<()> {
        self.manager()?.control(&["restart", "--no-block", &self.unit])
    }

    fn is_gone(&mut self, pid: u32) -> bool {
        is_dead(pid)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(manager) = &self.manager {
            // What is not there need not be stopped.
            let _ = manager.control(&["stop", &self.unit]);
            let _ = std::fs::remove_file(manager.units().join(&self.unit));
            let _ = manager.control(&["daemon-reload"]);
        }
    }
}

/// A service manager.
struct Manager {
    runtime: PathBuf,
    own: Option<(Child, TempDir)>,
}

impl Manager {
    fn find() -> Result<Self> {
        if let Some(runtime) = std::env::var_os("XDG_RUNTIME_DIR") {
            let user = Self {
                runtime: runtime.into(),
                own: None,
            };
            if user.control(&["show-environment"]).is_ok() && std::fs::create_dir_all(user.units()).is_ok() {
                return Ok(user);
            }
        }
        if !rustix::process::geteuid().is_root() {
            return Err("this user has no service manager, and only root can start one for this run".into());
        }
        let program = MANAGERS.iter().find(|path| Path::new(path).exists());
        let program = program.ok_or("there is no program systemd")?;
        let directory = tempfile::tempdir()?;
        let runtime = directory.path().join("run");
        std::fs::create_dir_all(runtime.join("systemd/user"))?;
        // Its /run and its home are its own, so that it finds nothing of anybody else's to start.
        let script = format!("mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system && exec {program} --user");
        let child = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", directory.path())
            .env("XDG_RUNTIME_DIR", &runtime)
            .env("SYSTEMD_LOG_TARGET", "null")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("unshare: {e}"))?;
        let manager = Self {
            runtime,
            own: Some((child, directory)),
        };
        until("a service manager of our own", STARTS, || {
            manager.control(&["show-environment"]).ok()
        })?;
        Ok(manager)
    }

    /// Where units for this boot are found.
    fn units(&self) -> PathBuf {
        self.runtime.join("systemd/user")
    }

    fn control(&self, arguments: &[&str]) -> Result<()> {
        let mut command = match &self.own {
            // It finds a manager only where systemd is said to run.
            Some((child, _)) => {
                let mut command = Command::new("nsenter");
                command.args(["--mount", "--target", &child.id().to_string(), "systemctl"]);
                command
            }
            None => Command::new("systemctl"),
        };
        let output = command
            .arg("--user")
            .args(arguments)
            .env("XDG_RUNTIME_DIR", &self.runtime)
            .stdin(Stdio::null())
            .output()?;
        if output.status.success() {
            return Ok(());
        }
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(format!("systemctl {}: {why}", arguments.join(" ")).into())
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if self.own.is_none() {
            return;
        }
        let _ = self.control(&["exit"]);
        if let Some((mut child, _directory)) = self.own.take() {
            let _ = until("the end of the service manager", STARTS, || {
                child.try_wait().ok().flatten()
            });
            end(&mut Some(child));
        }
    }
}
