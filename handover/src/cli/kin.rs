//! The processes that CMD became: itself, those in its session, and those it is an ancestor of.
//!
//! CMD may be a wrapper (`sh -c`, `sudo`, `env`) whose child is the server. /proc tells who belongs to whom; a process
//! that left the session *and* lost its parent is not found.

use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};
use std::fs;
use std::path::Path;

use crate::error::{Error, Result};
use crate::os::clock::Deadline;
use crate::os::pidfd::{Pidfd, ProcessId};
use std::time::Duration;

/// Most ancestors that are looked at.
const MAX_DEPTH: usize = 64;
/// Between two looks at threads that are being stopped.
const LOOK: Duration = Duration::from_millis(1);

/// Fields of /proc/PID/stat behind the command name: state is 0.
const STATE: usize = 0;
const PARENT: usize = 1;
const SESSION: usize = 3;

/// One field of a stat file; the name in it may hold anything, so fields are counted from its last parenthesis.
fn field(stat: &Path, index: usize) -> Option<String> {
    let stat = fs::read(stat).ok()?;
    let end = stat.iter().rposition(|&b| b == b')')?;
    let rest = std::str::from_utf8(&stat[end + 1..]).ok()?;
    rest.split_ascii_whitespace().nth(index).map(str::to_owned)
}

fn number(pid: u32, index: usize) -> Option<u32> {
    field(Path::new(&format!("/proc/{pid}/stat")), index)?.parse().ok()
}

/// Whether the process `pid` is `root`, of its session, or a descendant of it. `root` leads its session and is not reaped,
/// so that its number is nobody else's.
pub(super) fn is_kin(root: u32, pid: u32) -> bool {
    let mut at = pid;
    for _ in 0..MAX_DEPTH {
        if at == root || number(at, SESSION) == Some(root) {
            return true;
        }
        match number(at, PARENT) {
            Some(parent) if parent > 1 => at = parent,
            _ => return false,
        }
    }
    false
}

/// A hold on every living process that belongs to `root`.
///
/// # Errors
/// /proc cannot be read.
pub(super) fn living(root: u32) -> Result<Vec<Pidfd>> {
    living_if(|pid| is_kin(root, pid))
}

/// A hold on every living process that `root` is an ancestor of.
///
/// # Errors
/// /proc cannot be read.
pub(super) fn below(root: u32) -> Result<Vec<Pidfd>> {
    living_if(|pid| is_below(root, pid))
}

fn is_below(root: u32, mut pid: u32) -> bool {
    for _ in 0..MAX_DEPTH {
        match number(pid, PARENT) {
            Some(parent) if parent == root => return true,
            Some(parent) if parent > 1 => pid = parent,
            _ => return false,
        }
    }
    false
}

fn living_if(wanted: impl Fn(u32) -> bool) -> Result<Vec<Pidfd>> {
    let entries = fs::read_dir("/proc").map_err(|e| Error::io("list", "/proc", e))?;
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let mut living = Vec::new();
    for pid in pids {
        if !wanted(pid) {
            continue;
        }
        let held = ProcessId::of(pid)?.map(Pidfd::open).transpose()?.flatten();
        if let Some(held) = held
            && !held.is_dead()?
        {
            living.push(held);
        }
    }
    Ok(living)
}

/// Sends a signal to each. Who is dead already is no error.
///
/// # Errors
/// A signal may not be sent; the others were sent.
pub(super) fn signal(processes: &[Pidfd], signal: Signal) -> Result<()> {
    let mut done = Ok(());
    for process in processes {
        match pidfd_send_signal(process, signal) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(e) => done = Err(Error::io("signal", format!("process {}", process.process().pid), e)),
        }
    }
    done
}

/// Waits until no thread of a process that got SIGSTOP can run its own code any more. `false` if that did not happen in
/// time.
pub(super) fn stopped(processes: &[Pidfd], deadline: Deadline) -> bool {
    loop {
        if processes.iter().all(|p| is_still(p.process().pid)) {
            return true;
        }
        if !deadline.pause(LOOK) {
            return false;
        }
    }
}

fn is_still(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return true;
    };
    threads.flatten().all(|thread| {
        // A thread in `D` meets the signal before it gets back to its own code.
        field(&thread.path().join("stat"), STATE).is_none_or(|state| "TtDZX".contains(&state))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn finds_children_and_stops_them() {
        let me = std::process::id();
        let mut child = Command::new("sh")
            .args(["-c", "sleep 600 & echo ready; wait"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("spawn");
        let mut out = child.stdout.take().expect("stdout");
        std::io::Read::read_exact(&mut out, &mut [0; 6]).expect("ready");

        assert!(is_kin(me, me) && is_kin(me, child.id()));
        assert!(!is_kin(child.id(), me));
        assert!(is_below(me, child.id()) && !is_below(child.id(), me) && !is_below(me, me));
        let kin = living(child.id()).expect("proc");
        assert_eq!(kin.len(), 2, "{kin:?}");
        signal(&kin, Signal::STOP).expect("stop");
        assert!(stopped(&kin, Deadline::after(Duration::from_secs(30))));
        signal(&kin, Signal::KILL).expect("kill");
        for process in &kin {
            process
                .wait_dead(Deadline::after(Duration::from_secs(30)))
                .expect("dead");
        }
        assert!(living(child.id()).expect("proc").is_empty());
        signal(&kin, Signal::KILL).expect("the dead are no error");
        child.wait().expect("reap");
    }
}
