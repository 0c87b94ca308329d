//! A program that was asked what it is, and does nothing else.
//!
//! - **P1** Asked through the environment, a program writes its manifest and ends: before any directory, lock, socket or region is touched. If the
//!   variable is set, it never starts for real, also where it cannot write.
//! - **P2** It writes into a new file at the path that the variable names: that works through wrappers that close descriptors, and overwrites
//!   nothing. Its stdout stays the program's own.
//! - **P3** Whoever asks first looks for [`MARKER`] in the program's file: a program with an older library does not know the variable and would
//!   start for real. The marker is in a program if and only if [`if_asked`] is, since nothing else refers to it. A second one is there if the
//!   program declares tables: an upgrade of one that does not is not held up by asking.
//!
//! It does not know what a manifest is good for.

use crate::error::{Error, Result};
use crate::node::config::Config;
use crate::node::manifest;
use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Names the file into which a program describes itself.
pub(crate) const VARIABLE: &str = "HANDOVER_DESCRIBE";
/// Version of the manifest.
pub(crate) const VERSION: u32 = 1;
/// What comes before the version in [`MARKER`].
#[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "only the command looks for it"))]
pub(crate) const MARK: [u8; 35] = *b"handover.describe.c41f07d95ab2e638:";
/// The same in [`DECLARES`].
#[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "only the command looks for it"))]
pub(crate) const DECLARES_MARK: [u8; 35] = *b"handover.declares.c41f07d95ab2e638:";

/// What tells a program that can describe itself from others (P3): [`MARK`], the manifest's version, a semicolon.
static MARKER: [u8; 37] = *b"handover.describe.c41f07d95ab2e638:1;";
/// What tells one that declares tables.
static DECLARES: [u8; 37] = *b"handover.declares.c41f07d95ab2e638:1;";

const _: () = {
    let mut i = 0;
    while i < MARK.len() {
        assert!(MARK[i] == MARKER[i] && DECLARES_MARK[i] == DECLARES[i]);
        i += 1;
    }
    assert!(MARKER[i] == b'0' + VERSION as u8 && MARKER[i + 1] == b';' && MARKER.len() == i + 2);
};

/// Whoever declares a table calls this, so that its file shows that it does.
pub(crate) fn declares() {
    // As in `if_asked`.
    std::hint::black_box(&DECLARES);
}

/// Whether this process was started only to describe itself, as `handover plan` does: [`Builder::start`](crate::Builder::start) will write down what was
/// declared and end the process. For programs that would do something else before it that others could notice, or that would not come so far
/// where nobody serves.
#[must_use]
pub fn is_describing() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// Describes the program and ends it, if that is what it was started for (P1).
///
/// # Errors
/// The manifest cannot be written. Nothing was touched.
pub(crate) fn if_asked(config: &Config) -> Result<()> {
    // The compiler cannot know that nobody reads it there, so it is in the program's file as it stands here (P3).
    std::hint::black_box(&MARKER);
    let Some(path) = std::env::var_os(VARIABLE) else {
        return Ok(());
    };
    write(&path, &manifest::of(config)).map_err(|e| Error::io("write the manifest to", path.display(), e))?;
    std::process::exit(0)
}

fn write(path: &OsStr, manifest: &str) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(Path::new(path))?;
    file.write_all(manifest.as_bytes())
}
