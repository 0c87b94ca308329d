//! The programs of the demo: those beside its own, built if they are missing or may be old.
//!
//! `cargo run --bin arena-demo` builds that program and no other of its package, so the demo asks cargo for the others.

use super::error::{DemoError, Result};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

/// What must be there.
pub const NAMES: [&str; 8] = [
    "arena-v1",
    "arena-v2",
    "arena-bots",
    "arena-bad-exit",
    "arena-bad-crash",
    "arena-bad-hang",
    "arena-bad-late",
    "arena-bad-stuck",
];
const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    directory: PathBuf,
}

impl Programs {
    /// Programs in `directory`, whether they are there or not.
    #[must_use]
    pub fn at(directory: &Path) -> Self {
        Self {
            directory: directory.into(),
        }
    }

    /// Finds the programs beside this one. If one is missing or older than this one, or cargo runs this one, they are built
    /// first, with `say` told about it, unless `build` forbids it.
    ///
    /// # Errors
    /// [`DemoError::Programs`].
    pub fn find(build: bool, say: impl FnOnce(&str)) -> Result<Self> {
        let own = std::env::current_exe().map_err(DemoError::system("find the program that runs"))?;
        let programs = Self::at(own.parent().unwrap_or(Path::new("/")));
        let missing = programs.missing();
        let cargo = std::env::var_os("CARGO");
        if !build {
            return programs.complete("--no-build was given".into());
        }
        let why = if !missing.is_empty() {
            format!("{} missing", missing.join(", "))
        } else if programs.older_than(&own) {
            "some programs are older than this one".into()
        } else if cargo.is_some() {
            "cargo runs this program and may not have looked at the others".into()
        } else {
            return Ok(programs);
        };
        say(&format!("{why}: running `cargo build --bins` for them"));
        match build_all(cargo, &programs.directory) {
            Ok(()) => programs.complete("cargo did not put them there".into()),
            // Programs that are there are good enough where there is no cargo to make newer ones.
            Err(Failure::NoCargo(why)) => programs.complete(why),
            Err(Failure::Build(why)) => Err(DemoError::Programs {
                missing: if missing.is_empty() {
                    vec!["newer programs".into()]
                } else {
                    missing
                },
                directory: programs.directory,
                why,
            }),
        }
    }

    /// The path of one of [`NAMES`].
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn missing(&self) -> Vec<String> {
        let names = NAMES.iter().filter(|name| !self.path(name).is_file());
        names.map(|name| (*name).to_owned()).collect()
    }

    fn complete(self, why: String) -> Result<Self> {
        let missing = self.missing();
        if missing.is_empty() {
            return Ok(self);
        }
        Err(DemoError::Programs {
            missing,
            directory: self.directory,
            why,
        })
    }

    fn older_than(&self, own: &Path) -> bool {
        let changed = |path: &Path| -> Option<SystemTime> { path.metadata().ok()?.modified().ok() };
        let own = changed(own);
        NAMES.iter().any(|name| changed(&self.path(name)) < own)
    }
}

enum Failure {
    NoCargo(String),
    Build(String),
}

fn build_all(cargo: Option<OsString>, directory: &Path) -> Result<(), Failure> {
    let cargo = cargo.unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(&cargo);
    command.args([
        "build",
        "--manifest-path",
        MANIFEST,
        "-p",
        env!("CARGO_PKG_NAME"),
        "--bins",
    ]);
    command.args(profile(directory));
    if let Some(target) = directory.parent() {
        command.arg("--target-dir").arg(target);
    }
    // Stdout belongs to the report; cargo talks on stderr.
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::Build(format!("the build ended with {status}"))),
        Err(error) => Err(Failure::NoCargo(format!("{} cannot be run: {error}", cargo.display()))),
    }
}

/// The options of cargo that build into a directory of this name.
fn profile(directory: &Path) -> Vec<OsString> {
    match directory.file_name() {
        None => vec![],
        Some(name) if name == OsStr::new("debug") => vec![],
        Some(name) if name == OsStr::new("release") => vec!["--release".into()],
        Some(name) => vec!["--profile".into(), name.into()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_is_that_of_the_directory() {
        assert_eq!(profile(Path::new("/x/target/debug")), Vec::<OsString>::new());
        assert_eq!(profile(Path::new("/x/target/release")), ["--release"]);
        assert_eq!(profile(Path::new("/x/target/fast")), ["--profile", "fast"]);
    }

    #[test]
    fn what_is_missing_is_named_with_what_to_do() {
        let error = Programs::at(Path::new("/nonexistent"))
            .complete("there is no cargo".into())
            .expect_err("nothing is there");
        let text = error.to_string();
        for part in [
            "arena-v1",
            "arena-bad-hang",
            "there is no cargo",
            "cargo build --release",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
