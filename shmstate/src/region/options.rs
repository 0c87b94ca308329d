//! How a region is made or opened: a builder of names, sizes and gates.

use crate::checkpoint;
use crate::error::{Error, Result};
use crate::gate::Gate;
use crate::region::Region;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Longest name of a region, in bytes.
pub const MAX_NAME: usize = 128;
/// Capacity of a region for which none was asked: address space, not memory.
pub const DEFAULT_CAPACITY: u64 = 1 << 30;

/// Builder of a [`Region`].
///
/// ```
/// # fn main() -> shmstate::Result<()> {
/// let name = format!("doc-options-{}", std::process::id());
/// let region = shmstate::Region::options().capacity(4 << 20).create(&name)?;
/// assert_eq!(region.capacity(), 4 << 20);
/// shmstate::Region::remove(&name)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) capacity: u64,
    pub(crate) gate: Option<Gate>,
    pub(crate) node_id: [u64; 2],
    pub(crate) prefault: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            capacity: DEFAULT_CAPACITY,
            gate: None,
            node_id: [0; 2],
            prefault: true,
        }
    }
}

impl Options {
    /// Address space of the region in bytes, a multiple of 64 KiB (rounded down). Memory is taken only as it is used.
    #[must_use]
    pub fn capacity(mut self, bytes: u64) -> Self {
        self.capacity = bytes;
        self
    }

    /// The gate whose passes give access. Without it the region gets a trivial gate of its own, [`Region::gate`].
    #[must_use]
    pub fn gate(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    /// The node that the region belongs to, for tools that look at it.
    #[must_use]
    pub fn node_id(mut self, id: [u64; 2]) -> Self {
        self.node_id = id;
        self
    }

    /// Whether opening enters all memory of the region into this process's page tables at once (the default), so that
    /// no later access has to.
    #[must_use]
    pub fn prefault(mut self, yes: bool) -> Self {
        self.prefault = yes;
        self
    }

    /// Makes a new region.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::BadName`], [`Error::BadCapacity`], [`Error::OutOfSpace`], [`Error::Io`].
    pub fn create(&self, name: &str) -> Result<Region> {
        Region::create(check_name(name)?, self)
    }

    /// Opens a region whose owner is gone, and recovers it: what a killed owner had not committed is taken back.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::InUse`] if a living process holds it, [`Error::NotReady`], [`Error::NotARegion`],
    /// [`Error::Damaged`], [`Error::Io`].
    pub fn open(&self, name: &str) -> Result<Region> {
        Region::open(check_name(name)?, self)
    }

    /// Opens the region, or makes it if there is none. The second value says whether it is new.
    ///
    /// # Errors
    /// Those of [`open`](Self::open) and [`create`](Self::create), except `NotFound` and `Exists`.
    pub fn open_or_create(&self, name: &str) -> Result<(Region, bool)> {
        match self.open(name) {
            Err(Error::NotFound { .. }) => Ok((self.create(name)?, true)),
            other => Ok((other?, false)),
        }
    }

    /// Makes a new region with the contents of a checkpoint: as the old one was at the mark, but with an id of its own,
    /// no open stream (their sockets are gone), and its clock set on ([`Region::clock_ns`]). The capacity is the
    /// checkpoint's. The file is checked against damage, not against malice: restore what a program of yours has
    /// written.
    ///
    /// # Errors
    /// [`Error::NotACheckpoint`], [`Error::CheckpointDamaged`], [`Error::CheckpointCut`], [`Error::CheckpointCapacity`]
    /// if another [`capacity`](Self::capacity) was asked for, [`Error::Damaged`] if the region in it contradicts
    /// itself; those of [`create`](Self::create).
    pub fn restore(&self, path: impl AsRef<Path>, name: &str) -> Result<Region> {
        checkpoint::restore(path.as_ref(), check_name(name)?, self)
    }

    /// Maps a region that a living owner hands over. It is neither recovered nor written before a pass is given, and
    /// the gate gives none before this process owns the node.
    ///
    /// # Errors
    /// [`Error::NotARegion`], [`Error::Damaged`], [`Error::Io`].
    pub fn attach(&self, name: &str, descriptor: OwnedFd) -> Result<Region> {
        Region::attach(check_name(name)?, descriptor, self)
    }
}

fn check_name(name: &str) -> Result<&str> {
    let fits = !name.is_empty()
        && name.len() <= MAX_NAME
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if fits {
        Ok(name)
    } else {
        Err(Error::BadName {
            name: name.into(),
            most: MAX_NAME,
        })
    }
}
