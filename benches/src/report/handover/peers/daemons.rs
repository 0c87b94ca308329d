//! Proxies that reload: nginx and HAProxy, where they are installed. They carry no state; a request is answered by the worker itself.

use crate::Result;
use crate::handover::speech::Speech;
use crate::report::handover::peers::row::Peer;
use crate::report::handover::peers::tool::{Tool, end, is_dead};
use crate::report::handover::scene::{address, pid};
use rustix::process::{Signal, kill_process};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// How long an old worker may take to end: longer than either takes here.
const DRAIN: Duration = Duration::from_secs(5);
const NONE: &str = "none";

/// The first line in which a program tells its version.
fn version(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).stdin(Stdio::null()).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let line = String::from_utf8_lossy(&text).lines().next()?.to_owned();
    // "nginx version: nginx/1.22.1", "HAProxy version 2.6.12-1 2025/…".
    let words = line
        .split([' ', '/'])
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    words.map(Into::into)
}

fn row(tool: &'static str, version: Option<String>) -> Peer {
    Peer {
        tool,
        note: version.is_none().then(|| "not installed".into()),
        version,
        state: NONE,
        ..Peer::default()
    }
}

/// A master that is told to reload, and keeps its pid.
struct Master {
    address: SocketAddr,
    directory: Option<TempDir>,
    process: Option<Child>,
}

impl Default for Master {
    fn default() -> Self {
        Self {
            address: address(),
            directory: None,
            process: None,
        }
    }
}

impl Master {
    fn start(
        &mut self,
        configuration: impl FnOnce(&str, SocketAddr) -> String,
        command: impl FnOnce(&str) -> Command,
    ) -> Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory
            .path()
            .to_str()
            .ok_or("a directory whose name is no text")?
            .to_owned();
        let file = format!("{path}/configuration");
        std::fs::write(&file, configuration(&path, self.address))?;
        self.directory = Some(directory);
        let mut command = command(&file);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(command.spawn()?);
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let process = self.process.as_ref().ok_or("not started")?;
        Ok(kill_process(pid(process.id())?, signal)?)
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        // A master that is asked ends its workers; one that is killed leaves them.
        if self.signal(Signal::TERM).is_ok()
            && let Some(process) = &mut self.process
        {
            let _ = crate::handover::child::until("the end of a master", DRAIN, || process.try_wait().ok().flatten());
        }
        end(&mut self.process);
    }
}

/// `nginx`, reloaded by SIGHUP.
#[derive(Default)]
pub(super) struct Nginx(Master);

impl Tool for Nginx {
    fn row(&self) -> Peer {
        row("nginx reload", version("nginx", "-v"))
    }

    fn speech(&self) -> Speech {
        Speech::Http
    }

    fn address(&self) -> SocketAddr {
        self.0.address
    }

    fn drain(&self) -> Duration {
        DRAIN
    }

    fn start(&mut self) -> Result<()> {
        self.0.start(
            |directory, address| {
                format!(
                    "daemon off; worker_processes 1; worker_rlimit_nofile 8192; pid {directory}/pid; error_log {directory}/log;
                     worker_shutdown_timeout {}s; events {{ worker_connections 4096; }}
                     http {{ access_log off; keepalive_requests 100000000; default_type text/plain;
                         client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
                         fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi;
                         scgi_temp_path {directory}/scgi;
                         server {{ listen {address} backlog=1024; location / {{ return 200 \"$pid $uri\\n\"; }} }} }}\n",
                    DRAIN.as_secs()
                )
            },
            |file| {
                let mut command = Command::new("nginx");
                command.args(["-c", file, "-e", "/dev/null"]);
                command
            },
        )
    }

    fn upgrade(&mut self) -> Result<()> {
        self.0.signal(Signal::HUP)
    }

    fn is_gone(&mut self, pid: u32) -> bool {
        is_dead(pid)
    }
}

/// `haproxy` in master-worker mode, reloaded by SIGUSR2.
#[derive(Default)]
pub(super) struct Haproxy(Master);

impl Tool for Haproxy {
    fn row(&self) -> Peer {
        row("HAProxy reload", version("haproxy", "-v"))
    }

    fn speech(&self) -> Speech {
        Speech::Http
    }

    fn address(&self) -> SocketAddr {
        self.0.address
    }

    fn drain(&self) -> Duration {
        DRAIN
    }

    fn start(&mut self) -> Result<()> {
        self.0.start(
            |_, address| {
                format!(
                    "global\n  maxconn 4096\n  hard-stop-after {}s\ndefaults\n  mode http\n  timeout client 60s\n  \
                     timeout http-keep-alive 60s\nfrontend bench\n  bind {address}\n  \
                     http-request return status 200 content-type text/plain lf-string \"%pid %HP\"\n",
                    DRAIN.as_secs()
                )
            },
            |file| {
                let mut command = Command::new("haproxy");
                command.args(["-W", "-db", "-q", "-f", file]);
                command
            },
        )
    }

    fn upgrade(&mut self) -> Result<()> {
        self.0.signal(Signal::USR2)
    }

    fn is_gone(&mut self, pid: u32) -> bool {
        is_dead(pid)
    }
}
