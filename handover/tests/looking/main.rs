//! `handover dump`, `diff` and `schema`: what they print of real regions and checkpoints, against what the program that wrote them says of the
//! same values through serde.
//!
//! Each test has a region of its own name, which [`World`] removes also when the test fails; random values come from a seed that is printed.
#![cfg(feature = "cli")]

mod beside;
mod damage;
mod diff;
mod equal;
mod figures;
mod live;
mod types;
mod usage;

use shmstate::{CheckpointOptions, Gate, Region};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// More than anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// A region, and a directory for files.
pub(crate) struct World {
    pub(crate) name: String,
    pub(crate) region: Region,
    pub(crate) gate: Gate,
    pub(crate) directory: tempfile::TempDir,
}

/// What a command left.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::sized(64 << 20)
    }

    pub(crate) fn sized(capacity: u64) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("looking-{}-{number}", std::process::id());
        let region = Region::options().capacity(capacity).create(&name).expect("region");
        Self {
            gate: region.gate().clone(),
            name,
            region,
            directory: tempfile::tempdir().expect("directory"),
        }
    }

    /// Changes the region in one transaction.
    pub(crate) fn write<R>(&mut self, change: impl FnOnce(&mut shmstate::Tx<'_>) -> shmstate::Result<R>) -> R {
        let pass = self.gate.enter().expect("pass");
        self.region.write(&pass, change).expect("written")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A checkpoint of the region.
    pub(crate) fn checkpoint(&mut self, name: &str) -> String {
        let path = self.path(name);
        let pass = self.gate.enter().expect("pass");
        let mut running = self
            .region
            .checkpoint(&pass, &path, &CheckpointOptions::default())
            .expect("begun");
        drop(pass);
        running.wait(Instant::now() + LONG).expect("written");
        path.to_string_lossy().into_owned()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = Region::remove(&self.name);
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_handover"));
    command.args(arguments).stdin(Stdio::null());
    command
}

pub(crate) fn run(arguments: &[&str]) -> Ran {
    let output = command(arguments).output().expect("the command runs");
    Ran {
        code: output.status.code().expect("it ends by itself"),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

/// The output of a command that must do its work.
#[track_caller]
pub(crate) fn done(arguments: &[&str]) -> String {
    let ran = run(arguments);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{arguments:?}: {}", ran.out);
    ran.out
}

/// The JSON that a command prints.
#[track_caller]
pub(crate) fn json(arguments: &[&str]) -> serde_json::Value {
    let out = done(arguments);
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"))
}

/// A seed, printed so that a failure can be replayed with `SEED=…`.
pub(crate) fn random() -> fastrand::Rng {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    // Shown if the test fails.
    let _ = writeln!(std::io::stdout(), "SEED={seed}");
    fastrand::Rng::with_seed(seed)
}
