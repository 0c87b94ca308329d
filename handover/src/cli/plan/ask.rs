//! Runs a program so that it describes itself, and gives what it wrote.
//!
//! - **A1** Whatever it does, it is over when this returns: it and all its descendants are killed at the deadline, and what it leaves behind when it ends
//!   well is killed too. None gets away by leaving its group or losing its parent: meanwhile orphans become children of this process.
//! - **A2** It looks for nodes in a directory that is empty and removed afterwards. A program that starts for real, against all that was looked at
//!   before, makes a node of its own there; what that left in shared memory is removed with it.
//! - **A3** What it wrote is bounded and not believed here.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, set_child_subreaper, waitpid};
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io::{self, PipeReader, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::super::exit::{Exit, Failure};
use super::super::kin;
use super::super::objects::{MOUNT, PREFIX};
use super::super::text::{clean, roughly};
use crate::error::{Error, Result};
use crate::node::describe::VARIABLE;
use crate::os::clock::Deadline;
use crate::os::dir::{NodeDir, NodeId};
use crate::os::pidfd::{Pidfd, ProcessId};

/// Longest manifest that is read: 64 tables of a region with a description of 100 KiB each, and twice that.
const MOST: u64 = 16 << 20;
/// Bytes of what the program prints that are kept, its last ones.
const KEPT: usize = 4096;
/// Lines of them that are shown.
const SHOWN: usize = 12;
/// How long a killed process may take to die.
const KERNEL: Duration = Duration::from_secs(5);

/// What came of it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) manifest: Vec<u8>,
    /// Where it was told to look for nodes.
    pub(super) directory: PathBuf,
}

/// A directory of its own, gone when dropped.
struct Place(PathBuf);

impl Place {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("handover-plan-{}", NodeId::random()?));
        let io = |e| Error::io("make", path.display(), e);
        DirBuilder::new().mode(0o700).create(&path).map_err(io)?;
        let place = Self(path.clone());
        DirBuilder::new().mode(0o700).create(place.nodes()).map_err(io)?;
        Ok(place)
    }

    fn nodes(&self) -> PathBuf {
        self.0.join("nodes")
    }

    fn manifest(&self) -> PathBuf {
        self.0.join("manifest")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A2. What cannot be removed is left: the answer does not depend on it.
        for node in crate::status::nodes(&self.nodes()).unwrap_or_default() {
            if let Ok(Some(dir)) = NodeDir::find(&self.nodes(), &node)
                && let Ok(Some(id)) = dir.read_id()
            {
                remove_objects(&format!("{PREFIX}{id}"));
            }
        }
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn remove_objects(prefix: &str) {
    for entry in fs::read_dir(MOUNT).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Asks `command`, whose first word is the program.
pub(super) fn ask(command: &[OsString], timeout: Duration) -> std::result::Result<Answer, Failure> {
    let place = Place::new()?;
    let program = command.first().map_or_else(String::new, |p| p.display().to_string());
    let failed = |what: String| Failure::new(Exit::Unknown, format!("{program:?} {what}"));
    let adopting = Adopting::begin()?;
    let (child, output) = spawn(command, &place).map_err(|e| failed(format!("cannot be started: {e}")))?;
    let mut asked = Asked {
        child,
        output,
        last: Vec::new(),
        adopting,
    };
    let ended = asked.wait(Deadline::after(timeout))?;
    let shown = |failure: Failure| asked.show(failure);
    let Some(status) = ended else {
        let what = format!(
            "did not describe itself within {}; it and what it had started were killed",
            roughly(timeout)
        );
        return Err(shown(failed(what))
            .and("--timeout gives it more time; it must come to `Builder::start` before anything that waits"));
    };
    if !status.success() {
        return Err(shown(failed(format!("did not describe itself: {status}"))));
    }
    match read(&place.manifest()) {
        Ok(Some(manifest)) => Ok(Answer {
            manifest,
            directory: place.nodes(),
        }),
        Ok(None) => {
            let made = crate::status::nodes(&place.nodes()).unwrap_or_default();
            let why = match &made[..] {
                [] => "ended well without describing itself: it did not come to `Builder::start`".to_owned(),
                made => format!(
                    "does not know how to describe itself: it started the node {} in a directory of its own instead, which was removed",
                    made.join(", ")
                ),
            };
            Err(shown(failed(why)))
        }
        Err(error) => Err(shown(failed(format!("wrote no manifest that can be read: {error}")))),
    }
}

fn spawn(command: &[OsString], place: &Place) -> io::Result<(Child, PipeReader)> {
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let (output, input) = io::pipe()?;
    fcntl_setfl(&output, OFlags::NONBLOCK)?;
    let child = Command::new(program)
        .args(arguments)
        .env(VARIABLE, place.manifest())
        .env("HANDOVER_DIR", place.nodes())
        .stdin(Stdio::null())
        .stdout(input.try_clone()?)
        .stderr(input)
        // No signal of the terminal is for it.
        .process_group(0)
        .spawn()?;
    Ok((child, output))
}

/// A program that is to describe itself.
struct Asked {
    child: Child,
    output: PipeReader,
    /// The last of what it printed.
    last: Vec<u8>,
    adopting: Adopting,
}

/// As long as it lives, orphans among the descendants of this process become its children (A1).
struct Adopting {
    me: u32,
    /// Descendants that were there before, which are none of the program's.
    before: Vec<ProcessId>,
}

impl Adopting {
    fn begin() -> Result<Self> {
        let me = std::process::id();
        let before = kin::below(me)?.iter().map(Pidfd::process).collect();
        adopt(true)?;
        Ok(Self { me, before })
    }

    /// Those that are there since.
    fn since(&self) -> Result<Vec<Pidfd>> {
        let mut all = kin::below(self.me)?;
        all.retain(|process| !self.before.contains(&process.process()));
        Ok(all)
    }
}

impl Drop for Adopting {
    fn drop(&mut self) {
        // It was allowed before, so it is now.
        let _ = adopt(false);
    }
}

fn adopt(yes: bool) -> Result<()> {
    let any = yes.then(rustix::process::getpid);
    set_child_subreaper(any).map_err(|e| Error::io("become the parent of", "what the program starts", e))
}

impl Asked {
    /// Waits for its end; `None` if it was killed. Nothing of it lives afterwards (A1).
    fn wait(&mut self, deadline: Deadline) -> Result<Option<ExitStatus>> {
        let pid = self.child.id();
        let failed = |e: io::Error| Error::io("wait for", format!("process {pid}"), e);
        // It is not reaped before all is over, so its number names nobody else.
        let hold = ProcessId::of(pid)?.map(Pidfd::open).transpose()?.flatten();
        let mut in_time = true;
        if let Some(hold) = hold {
            let mut open = true;
            while !hold.is_dead()? {
                if deadline.passed() {
                    in_time = false;
                    break;
                }
                let mut fds = vec![PollFd::from_borrowed_fd(hold.as_fd(), PollFlags::IN)];
                if open {
                    fds.push(PollFd::new(&self.output, PollFlags::IN));
                }
                match poll(&mut fds, Some(&deadline.remaining().try_into().unwrap_or_default())) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(e) => return Err(failed(e.into())),
                }
                open = open && self.drain();
            }
        }
        self.end()?;
        self.drain();
        let status = self.child.wait().map_err(failed)?;
        Ok(in_time.then_some(status))
    }

    /// Kills all that is left of it. It itself is not reaped.
    fn end(&self) -> Result<()> {
        let end = Deadline::after(KERNEL);
        loop {
            let left = self.adopting.since()?;
            if left.is_empty() {
                return Ok(());
            }
            if end.passed() {
                return Err(end.error("the end of the program that was to describe itself"));
            }
            kin::signal(&left, Signal::KILL)?;
            for process in &left {
                process.wait_dead(end)?;
                let pid = process.process().pid;
                if pid != self.child.id() {
                    // If it has another parent, that reaps it.
                    let _ = waitpid(Pid::from_raw(pid.cast_signed()), WaitOptions::NOHANG);
                }
            }
        }
    }

    /// Reads what it printed, as much as is there now. `false` if no more can come.
    fn drain(&mut self) -> bool {
        let mut bytes = [0; KEPT];
        match self.output.read(&mut bytes) {
            Ok(0) => false,
            Ok(read) => {
                self.last.extend_from_slice(&bytes[..read]);
                self.last.drain(..self.last.len().saturating_sub(KEPT));
                true
            }
            Err(e) => matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
        }
    }

    /// Adds what it printed last.
    fn show(&self, mut failure: Failure) -> Failure {
        let text = clean(&String::from_utf8_lossy(&self.last));
        let lines: Vec<&str> = text.lines().collect();
        for line in &lines[lines.len().saturating_sub(SHOWN)..] {
            failure = failure.and(format!("| {line}"));
        }
        failure
    }
}

/// The manifest, if one was written.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    // What lies there was put there by a program that is not believed: no link is followed, and no pipe waited for.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let file = File::options().read(true).custom_flags(flags.cast_signed()).open(path);
    let file = match file {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    file.take(MOST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST {
        return Err(io::Error::other(format!("it has more than {MOST} bytes")));
    }
    Ok(Some(bytes))
}
