//! What the course needs of a tool.

use crate::Result;
use crate::handover::speech::Speech;
use crate::report::handover::peers::row::Peer;
use std::net::SocketAddr;
use std::process::Child;
use std::time::Duration;

/// A way to change the process of a server. Dropped, it ends what it started.
pub(super) trait Tool {
    /// Its name, its version, how it carries state; a note if it cannot run here.
    fn row(&self) -> Peer;

    /// How its clients speak.
    fn speech(&self) -> Speech {
        Speech::Frames
    }

    /// Where it listens.
    fn address(&self) -> SocketAddr;

    /// How long its old process may take to end.
    fn drain(&self) -> Duration {
        Duration::ZERO
    }

    /// Starts the first process.
    fn start(&mut self) -> Result<()>;

    /// Orders the upgrade. It may return before the new process serves.
    fn upgrade(&mut self) -> Result<()>;

    /// The process that answers in this name.
    fn pid_of(&self, who: u32) -> u32 {
        who
    }

    /// A process has answered in this name for the first time.
    fn noticed(&mut self, _who: u32) {}

    /// Whether that process has ended.
    fn is_gone(&mut self, pid: u32) -> bool;
}

/// Whether a process is gone: no such process, or one that waits for nobody but its parent.
pub(super) fn is_dead(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return true;
    };
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    matches!(state, None | Some('Z' | 'X'))
}

/// Ends a process that this one started, and waits for it.
pub(super) fn end(child: &mut Option<Child>) {
    if let Some(mut child) = child.take() {
        let _ = child.kill();
        let _ = child.wait();
    }
}
