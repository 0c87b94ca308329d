//! Where one demo happens: a runtime directory and a node of its own. Nothing of it is left when this value is dropped.

use super::error::{DemoError, Result};
use handover::control::{ControlBlock, NodeIdentity, Participant, ParticipantState, Request};
use handover::os::clock::Deadline;
use handover::os::dir::NodeId;
use shmstate::lease::Lease;
use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where shared memory objects are.
const SHM: &str = "/dev/shm";
/// Names tried for the directory.
const ATTEMPTS: u32 = 16;
/// The variable that tells every program where nodes are.
const VARIABLE: &str = "HANDOVER_DIR";

/// A directory for nodes, with one node in it.
#[derive(Debug)]
pub struct Place {
    base: PathBuf,
    node: String,
    /// The node's id as its objects' names have it, once it is known.
    id: Option<String>,
    /// Its control block, once that was needed.
    control: Option<ControlBlock>,
}

impl Place {
    /// Makes the directory, for this user only.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(node: &str) -> Result<Self> {
        for _ in 0..ATTEMPTS {
            let name = format!("arena-demo-{}-{:08x}", std::process::id(), fastrand::u32(..));
            let base = std::env::temp_dir().join(name);
            match DirBuilder::new().mode(0o700).create(&base) {
                Ok(()) => {
                    return Ok(Self {
                        base,
                        node: node.into(),
                        id: None,
                        control: None,
                    });
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(DemoError::system(format!("make {}", base.display()))(error)),
            }
        }
        let error = std::io::Error::from(ErrorKind::AlreadyExists);
        Err(DemoError::system("find a free name for a directory")(error))
    }

    /// The directory.
    #[must_use]
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// A command for `program` that finds its nodes here.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env(VARIABLE, &self.base);
        command
    }

    /// What the control block of the node says.
    ///
    /// # Errors
    /// [`DemoError::Node`].
    pub fn status(&mut self) -> Result<handover::Status> {
        let status = handover::status(&self.base, &self.node)?;
        self.id = Some(format!("{:032x}", status.id));
        Ok(status)
    }

    /// Confirms the upgrade to process `new`, as `handover confirm` does, if it owns the node and `old` is parked. `false`: not yet. It only reads
    /// shared memory, so that what is watched is not disturbed.
    ///
    /// # Errors
    /// [`DemoError::Node`].
    pub fn confirm(&mut self, old: u32, new: u32) -> Result<bool> {
        let block = match &self.control {
            Some(block) => block,
            None => {
                let id = NodeId(self.status()?.id);
                let name = self.node.clone();
                let block = ControlBlock::open(&NodeIdentity { id, name }, Deadline::now())?;
                self.control.insert(block)
            }
        };
        let Lease::Owned { owner, .. } = block.lease()? else {
            return Ok(false);
        };
        let rows = block.participants()?;
        let owns = rows.iter().any(|row| row.slot == owner && row.process.pid == new);
        let parked = |row: &Participant| row.process.pid == old && row.state == ParticipantState::Parked;
        let both = owns && rows.iter().any(parked);
        if both {
            block.request(Request::Confirm);
        }
        Ok(both)
    }

    /// Name of the object of one of the node's regions, once the node's state was read.
    #[must_use]
    pub fn region(&self, name: &str) -> Option<String> {
        self.id.as_ref().map(|id| format!("handover-{id}-{name}"))
    }

    /// Everything of this node that is left: objects, files, and processes that were started here.
    #[must_use]
    pub fn left_behind(&self) -> Vec<String> {
        let mut left: Vec<String> = self.objects().iter().map(|path| path.display().to_string()).collect();
        let entries = fs::read_dir(&self.base).into_iter().flatten();
        left.extend(entries.filter_map(|entry| Some(entry.ok()?.path().display().to_string())));
        left.extend(self.processes().map(|pid| format!("process {pid}")));
        left
    }

    /// The node's shared memory objects.
    fn objects(&self) -> Vec<PathBuf> {
        let id = self.id.clone().or_else(|| {
            let text = fs::read_to_string(self.base.join(&self.node).join("id")).ok()?;
            Some(text.trim().to_owned()).filter(|id| id.len() == 32)
        });
        let Some(id) = id else {
            return Vec::new();
        };
        let entries = fs::read_dir(SHM).into_iter().flatten();
        entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.to_string_lossy().contains(&id))
            .collect()
    }

    /// Processes that were told to find their nodes here. Those of other users cannot be read, and are none of ours.
    fn processes(&self) -> impl Iterator<Item = u32> {
        let wanted = format!("{VARIABLE}={}", self.base.display()).into_bytes();
        let entries = fs::read_dir("/proc").into_iter().flatten();
        entries.filter_map(move |entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
            let here = environment.split(|byte| *byte == 0).any(|variable| variable == wanted);
            (here && pid != std::process::id()).then_some(pid)
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What is removed here was not removed by its owner: the report has said so, if there was time for one.
        for object in self.objects() {
            let _ = fs::remove_file(object);
        }
        let _ = fs::remove_dir_all(&self.base);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn what_is_left_is_seen_and_removed() {
        let place = Place::new("somewhere").expect("a directory");
        let base = place.base().to_owned();
        assert_eq!(place.left_behind(), Vec::<String>::new());
        fs::create_dir(base.join("somewhere")).expect("a directory");
        let mut child = place
            .command(Path::new("/bin/cat"))
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("cat");
        // `spawn` may return before the kernel has put the new environment in place; a program that answers has it.
        let mut answer = [0];
        child.stdin.as_mut().expect("piped").write_all(b"x").expect("a pipe");
        child
            .stdout
            .as_mut()
            .expect("piped")
            .read_exact(&mut answer)
            .expect("an answer");
        let left = place.left_behind();
        assert!(left.iter().any(|l| l.ends_with("/somewhere")), "{left:?}");
        child.kill().expect("our child");
        child.wait().expect("our child");
        assert!(left.contains(&format!("process {}", child.id())), "{left:?}");
        drop(place);
        assert!(!base.exists());
    }
}
