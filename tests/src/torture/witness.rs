//! The last step known to be committed, in memory that neither the region nor its recovery touches.
//!
//! It is a nameless file that child and parent share as a descriptor. The child writes it after each commit, in one call that a
//! kill cannot cut; so the region holds the step written here, or one more. A word of 0 says that no one has opened the region
//! yet; any other is the step and 1. Three more words tell of checkpoints: begun, done, and the step of the last one done.

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{pread, pwrite};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Words of it.
const WORDS: usize = 4;

/// The shared words.
#[derive(Debug)]
pub(super) struct Witness<F>(F);

impl Witness<OwnedFd> {
    /// A new one, of which nothing is known.
    pub(super) fn new() -> io::Result<Self> {
        let witness = Self(memfd_create("shmstate-torture-witness", MemfdFlags::CLOEXEC)?);
        witness.forget()?;
        Ok(witness)
    }

    /// For a child's stdin.
    pub(super) fn share(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }
}

impl<F: AsFd> Witness<F> {
    /// The one that a parent gave.
    pub(super) fn of(descriptor: F) -> Self {
        Self(descriptor)
    }

    /// The last step known to be committed; `None` if the region may not exist.
    pub(super) fn step(&self) -> io::Result<Option<u64>> {
        let mut word = [0; 8];
        let n = pread(&self.0, &mut word, 0)?;
        if n != word.len() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the witness has {n} bytes, not 8; is stdin not what the parent gave?"),
            ));
        }
        Ok(u64::from_le_bytes(word).checked_sub(1))
    }

    /// `step` is committed.
    pub(super) fn tell(&self, step: u64) -> io::Result<()> {
        self.put(step + 1)
    }

    /// A new region begins.
    pub(super) fn forget(&self) -> io::Result<()> {
        pwrite(&self.0, &[0; 8 * WORDS], 0)?;
        Ok(())
    }

    fn put(&self, word: u64) -> io::Result<()> {
        pwrite(&self.0, &word.to_le_bytes(), 0)?;
        Ok(())
    }

    /// Checkpoints begun and done, and the step of the last one done.
    pub(super) fn images(&self) -> io::Result<(u64, u64, u64)> {
        let mut bytes = [0; 24];
        pread(&self.0, &mut bytes, 8)?;
        let word = |i: usize| {
            bytes
                .iter()
                .skip(i * 8)
                .take(8)
                .rev()
                .fold(0, |n, b| n << 8 | u64::from(*b))
        };
        Ok((word(0), word(1), word(2)))
    }

    /// A checkpoint begins.
    pub(super) fn image_begun(&self) -> io::Result<()> {
        let (_, done, _) = self.images()?;
        // One that a dead maker began does not count any more.
        pwrite(&self.0, &(done + 1).to_le_bytes(), 8)?;
        Ok(())
    }

    /// The checkpoint of `step` is safe under its name.
    pub(super) fn image_done(&self, step: u64) -> io::Result<()> {
        let (_, done, _) = self.images()?;
        let words = [(done + 1).to_le_bytes(), step.to_le_bytes()];
        pwrite(&self.0, words.as_flattened(), 16)?;
        Ok(())
    }

    /// What is wrong with the step that was found in the region, if anything (K3).
    pub(super) fn fault(&self, found: u64) -> io::Result<Option<String>> {
        let told = self.step()?;
        let least = told.unwrap_or(0);
        if (least..=least + 1).contains(&found) && (told.is_some() || found == 0) {
            return Ok(None);
        }
        Ok(Some(format!(
            "the region is at step {found}, the last committed step told was {told:?}"
        )))
    }
}
