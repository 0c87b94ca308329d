//! Checkpoints that the child makes while it transacts, and what must hold of the files when it was killed.
//!
//! - **C1** Under the checkpoint's name there is a whole file or none: it restores to a world in which everything holds, at a step
//!   between that of the last checkpoint known to be done and the last committed one.
//! - **C2** A killed maker leaves one temporary file at most, and the next maker removes it: never are there two.
//!
//! The files lie in memory, so that no disk is waited for.

use super::witness::Witness;
use super::world::Tables;
use serde::Serialize;
use shmstate::{CheckpointOptions, Pass, Region, RunningCheckpoint};
use std::error::Error as Fault;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

type Outcome<T> = Result<T, Box<dyn Fault>>;

/// Where the directory with the files is made.
const MEMORY: &str = "/dev/shm";

/// What happened to checkpoints.
#[derive(Debug, Default, Serialize)]
pub(super) struct Images {
    /// Checkpoints that children finished.
    pub(super) made: u64,
    /// Kills while one was being made.
    pub(super) kills_in_checkpoint: u64,
    /// Files restored and checked.
    pub(super) restored: u64,
    /// Of these, files of the checkpoint that was being made, or whose end was not told: the new one, not the old.
    pub(super) newer: u64,
    /// Temporary files that killed makers left.
    pub(super) temporary: u64,
}

/// The directory of one run, removed when dropped.
#[derive(Debug)]
pub(super) struct Shelf(PathBuf);

impl Shelf {
    pub(super) fn new() -> std::io::Result<Self> {
        let path = Path::new(MEMORY).join(format!("shmstate-torture-{}-images", std::process::id()));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }

    /// Where children put their checkpoint.
    pub(super) fn file(&self) -> PathBuf {
        self.0.join("image")
    }

    /// A new region begins.
    pub(super) fn clear(&self) -> std::io::Result<()> {
        for entry in std::fs::read_dir(&self.0)? {
            std::fs::remove_file(entry?.path())?;
        }
        Ok(())
    }

    fn temporary(&self) -> std::io::Result<u64> {
        let entries = std::fs::read_dir(&self.0)?;
        Ok(entries.flatten().filter(|entry| entry.file_name() != "image").count() as u64)
    }

    /// What of C1 and C2 does not hold after a kill of a child that made checkpoints of the region `name`.
    pub(super) fn faults(&self, name: &str, witness: &Witness<OwnedFd>, images: &mut Images) -> Outcome<Vec<String>> {
        let (begun, done, least) = witness.images()?;
        images.kills_in_checkpoint += u64::from(begun > done);
        let temporary = self.temporary()?;
        images.temporary += temporary;
        if temporary > 1 {
            return Ok(vec![format!("{temporary} temporary files of checkpoints")]);
        }
        if !self.file().exists() {
            let lost = done > 0;
            return Ok(lost
                .then(|| "a checkpoint that was done is gone".to_owned())
                .into_iter()
                .collect());
        }
        let copy = Copy(format!("{name}-restored"));
        let region = match Region::restore(self.file(), &copy.0) {
            Ok(region) => region,
            Err(e) => return Ok(vec![format!("a checkpoint does not restore: {e}")]),
        };
        images.restored += 1;
        let gate = region.gate().clone();
        let pass = gate.enter()?;
        let reader = region.read(&pass)?;
        let tables = Tables::open(&region, 0)?;
        let mut faults = tables.faults(&region, &reader)?;
        let step = tables.step(&reader)?;
        // The mark may be set after a commit that was not told yet.
        let most = witness.step()?.unwrap_or(0) + 1;
        if !(least..=most).contains(&step) {
            faults.push(format!("it is at step {step}, not in {least}..={most}"));
        }
        images.newer += u64::from(step > least);
        for fault in &mut faults {
            fault.insert_str(0, "restored checkpoint: ");
        }
        Ok(faults)
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_dir_all(&self.0) {
            eprintln!("torture: {e}; remove {} by hand", self.0.display());
        }
    }
}

/// The name of a restored region, removed when dropped.
struct Copy(String);

impl Drop for Copy {
    fn drop(&mut self) {
        if let Err(e) = Region::remove(&self.0) {
            eprintln!("torture: {e}; remove it by hand");
        }
    }
}

/// The child's side: makes one checkpoint after the other.
#[derive(Debug)]
pub(super) struct Maker {
    path: PathBuf,
    running: Option<(RunningCheckpoint, u64)>,
}

impl Maker {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, running: None }
    }

    /// Between two transactions: begins one if none is being made, and tells of one that is done.
    pub(super) fn go_on<F: AsFd>(
        &mut self,
        region: &mut Region,
        pass: &Pass<'_>,
        step: u64,
        witness: &Witness<F>,
    ) -> Outcome<()> {
        match &mut self.running {
            None => {
                witness.image_begun()?;
                let running = region.checkpoint(pass, &self.path, &CheckpointOptions::default())?;
                self.running = Some((running, step));
            }
            Some((running, marked)) if running.is_done() => {
                running.wait(Instant::now())?;
                witness.image_done(*marked)?;
                self.running = None;
            }
            Some(_) => {}
        }
        Ok(())
    }
}
