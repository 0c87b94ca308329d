//! The file that a checkpoint is written to: under a temporary name beside its place, and renamed when it is whole.
//!
//! - **O1** `path.tmp-<16 hex digits>` in the same directory; then fsync of the file, rename over `path`, fsync of the
//!   directory. A crash at any point leaves what was at `path` before, or the new file, whole.
//! - **O2** The maker holds a lock on its temporary file, so a later checkpoint to the same path knows those of dead
//!   makers and removes them.
//! - **O3** Written from front to back, never read; at most so many bytes a second, if asked.
//!
//! It does not know where pages come from.

use crate::checkpoint::format::{self, BLOCK_PAGES, Digest, Facts, HEAD, Trailer};
use crate::checkpoint::pages::PAGE;
use crate::checkpoint::shared::Shared;
use crate::crash::{self, Point};
use crate::error::{Error, Result};
use rustix::fs::fstatvfs;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often another process may take the fresh temporary file for abandoned, between its making and its lock.
const CREATE_TRIES: usize = 8;
/// Longest sleep of a throttled writer before it looks around again.
const NAP: Duration = Duration::from_millis(5);

/// The file being written.
#[derive(Debug)]
pub(crate) struct Output {
    path: PathBuf,
    directory: PathBuf,
    file: File,
    block: Vec<u8>,
    numbers: Vec<u64>,
    digest: Digest,
    blocks: u64,
    pages: u64,
    bytes: u64,
    rate: Option<u64>,
    started: Instant,
    shared: Arc<Shared>,
}

/// A path for an error.
pub(crate) fn text(path: &Path) -> Box<str> {
    path.to_string_lossy().into()
}

impl Output {
    /// Makes the temporary file, and removes those of dead makers.
    pub(crate) fn create(path: &Path, rate: Option<u64>, shared: &Arc<Shared>) -> Result<Self> {
        let Some(name) = path.file_name() else {
            let e = io::Error::new(io::ErrorKind::InvalidInput, "it names no file");
            return Err(Error::io("create checkpoint", &text(path), e));
        };
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        let mut prefix = name.to_os_string();
        prefix.push(".tmp-");
        sweep(&directory, prefix.as_encoded_bytes());
        for _ in 0..CREATE_TRIES {
            let mut random = [0; 8];
            rustix::rand::getrandom(&mut random[..], rustix::rand::GetRandomFlags::empty())
                .map_err(|e| Error::io("name", &text(path), e))?;
            let mut temporary = prefix.clone();
            temporary.push(format!("{:016x}", u64::from_le_bytes(random)));
            let temporary = directory.join(temporary);
            let file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&temporary)
                .map_err(|e| Error::io("create checkpoint", &text(&temporary), e))?;
            shared.register(temporary.clone())?;
            // O2. Another process may have found it before it was locked; then it is gone, or goes now.
            if file.try_lock().is_err() || file.metadata().is_ok_and(|m| m.nlink() == 0) {
                let _ = std::fs::remove_file(temporary);
                continue;
            }
            return Ok(Self {
                path: path.into(),
                directory,
                file,
                block: vec![0; HEAD],
                numbers: Vec::with_capacity(BLOCK_PAGES),
                digest: Digest::new(),
                blocks: 0,
                pages: 0,
                bytes: 0,
                rate,
                started: Instant::now(),
                shared: Arc::clone(shared),
            });
        }
        Err(Error::CheckpointAborted {
            why: "other processes kept removing its temporary file",
        })
    }

    /// Writes the header. The clock of the rate starts here.
    pub(crate) fn begin(&mut self, facts: &Facts) -> Result<()> {
        self.started = Instant::now();
        let (bytes, sum) = facts.encode();
        self.digest.add(sum);
        self.write(&bytes)
    }

    /// Adds a page.
    pub(crate) fn push(&mut self, page: u64, bytes: &[u8]) -> Result<()> {
        debug_assert_eq!(bytes.len() as u64, PAGE);
        self.block.extend_from_slice(bytes);
        self.numbers.push(page);
        self.pages += 1;
        self.shared.done.store(self.pages, Ordering::Relaxed);
        if self.numbers.len() == BLOCK_PAGES {
            self.flush()?;
            self.throttle()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.numbers.is_empty() {
            return Ok(());
        }
        let sum = format::seal_block(&mut self.block, self.blocks, &self.numbers);
        self.digest.add(sum);
        self.blocks += 1;
        let block = std::mem::take(&mut self.block);
        let written = self.write(&block);
        self.block = block;
        self.block.truncate(HEAD);
        self.numbers.clear();
        written
    }

    /// Ends the file, makes it safe, and gives it its name (O1). Says how many bytes and pages it has.
    pub(crate) fn finish(mut self) -> Result<(u64, u64)> {
        self.flush()?;
        let trailer = Trailer {
            blocks: self.blocks,
            pages: self.pages,
            bytes: self.bytes + HEAD as u64,
            digest: self.digest.value(),
        };
        self.write(&trailer.encode())?;
        self.file.sync_all().map_err(|e| self.refused("sync", e))?;
        crash::point(Point::FileWhole);
        let temporary = self.shared.place()?;
        if let Err(e) = std::fs::rename(&temporary, &self.path) {
            let _ = std::fs::remove_file(&temporary);
            return Err(Error::io("rename checkpoint to", &text(&self.path), e));
        }
        crash::point(Point::FileNamed);
        File::open(&self.directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|e| Error::io("sync directory", &text(&self.directory), e))?;
        Ok((self.bytes, self.pages))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|e| self.refused("write", e))?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn refused(&self, what: &'static str, e: io::Error) -> Error {
        match e.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Error::DiskFull {
                    path: text(&self.path),
                    written: self.bytes,
                    free: fstatvfs(&self.file).map_or(0, |s| s.f_bavail * s.f_frsize),
                }
            }
            _ => Error::io(what, &text(&self.path), e),
        }
    }

    /// Sleeps until no more than the rate has been written (O3), and makes spares for the writer meanwhile.
    fn throttle(&mut self) -> Result<()> {
        let Some(rate) = self.rate else { return Ok(()) };
        let due = Duration::from_secs_f64(self.bytes as f64 / rate.max(1) as f64);
        while let Some(early) = due.checked_sub(self.started.elapsed()).filter(|d| !d.is_zero()) {
            self.shared.check()?;
            self.shared.spares.refill();
            self.shared.sleep(early.min(NAP));
        }
        Ok(())
    }
}

/// Removes temporary files whose makers are dead (O2). What cannot be removed is left to the next time.
fn sweep(directory: &Path, prefix: &[u8]) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let ours = name
            .as_encoded_bytes()
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.len() == 16 && rest.iter().all(u8::is_ascii_hexdigit));
        if !ours || !entry.file_type().is_ok_and(|t| t.is_file()) {
            continue;
        }
        let path = entry.path();
        let dead = OpenOptions::new()
            .write(true)
            .open(&path)
            .is_ok_and(|file| file.try_lock().is_ok());
        if dead {
            let _ = std::fs::remove_file(&path);
        }
    }
}
