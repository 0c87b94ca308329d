//! How a region is made or opened: a builder of names, places, sizes and gates.

use crate::checkpoint;
use crate::error::{Error, Result};
use crate::gate::Gate;
use crate::os::shm::Place;
use crate::region::Region;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

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
    pub(crate) place: Place,
    /// None was asked for: [`DEFAULT_CAPACITY`], or that of a checkpoint.
    pub(crate) capacity: Option<u64>,
    pub(crate) reserve: Option<u64>,
    pub(crate) ahead: Option<u64>,
    pub(crate) gate: Option<Gate>,
    pub(crate) node_id: [u64; 2],
    pub(crate) prefault: bool,
}

/// What [`Options`] ask for, before sizes are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Asked<'o> {
    /// What the region may hold, in bytes.
    pub capacity: u64,
    /// Address space to reserve, in bytes.
    pub reserve: u64,
    /// The directory of the user's choice that it lies in.
    pub directory: Option<&'o Path>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            place: Place::Shm,
            capacity: None,
            reserve: None,
            ahead: None,
            gate: None,
            node_id: [0; 2],
            prefault: true,
        }
    }
}

impl Options {
    /// What the region may hold in bytes, a multiple of 64 KiB (rounded down; on hugetlbfs of its page). Memory is taken only as it
    /// is used. One that exists already has the capacity that it has, whatever is said here: [`Region::raise_capacity`].
    #[must_use]
    pub fn capacity(mut self, bytes: u64) -> Self {
        self.capacity = Some(bytes);
        self
    }

    /// Address space to reserve in bytes, at least the capacity (the default): as far as [`Region::raise_capacity`] can go later.
    /// It costs a few hundred bytes of sparse file for each 64 KiB, and no memory. Regions that reserve 16 MiB or more are laid out
    /// for pages of 2 MiB. It stays what it was when the region was made, so choose it for what the world may become.
    #[must_use]
    pub fn reserve(mut self, bytes: u64) -> Self {
        self.reserve = Some(bytes);
        self
    }

    /// How many bytes a background thread keeps ready in front of the heap, in large pages where the system gives them, so that the
    /// writer never waits for memory; 0 for no thread. The default is [`DEFAULT_AHEAD`](crate::DEFAULT_AHEAD) for regions that reserve at
    /// least 16 MiB, up to [`MOST_AHEAD`](crate::MOST_AHEAD) a sixteenth of the capacity and a quarter of what is in use for a writer that has overtaken the thread,
    /// and none for smaller ones. A region that is opened counts like one that is made.
    #[must_use]
    pub fn reserve_ahead(mut self, bytes: u64) -> Self {
        self.ahead = Some(bytes);
        self
    }

    /// A directory on a tmpfs or hugetlbfs in which the region's file is made, opened and removed, instead of where `shm_open`
    /// puts it. Whoever continues the region by its name has to name the directory too.
    #[must_use]
    pub fn directory(mut self, path: impl Into<PathBuf>) -> Self {
        self.place = Place::Directory(path.into());
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

    pub(crate) fn capacity_or_default(&self) -> u64 {
        self.capacity.unwrap_or(DEFAULT_CAPACITY)
    }

    /// What was asked for: for who shows it before there is a region.
    #[must_use]
    pub fn asked(&self) -> Asked<'_> {
        Asked {
            capacity: self.capacity_or_default(),
            reserve: self.reserve.unwrap_or(self.capacity_or_default()),
            directory: match &self.place {
                Place::Shm => None,
                Place::Directory(path) => Some(path),
            },
        }
    }

    /// These options with the gate decided: the region and its reserve-ahead thread look at the same one.
    pub(crate) fn with_gate(&self) -> Self {
        let mut options = self.clone();
        options.gate.get_or_insert_with(Gate::alone);
        options
    }

    /// Makes a new region.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::BadName`], [`Error::BadCapacity`], [`Error::OutOfSpace`], [`Error::NotMemory`],
    /// [`Error::Io`].
    pub fn create(&self, name: &str) -> Result<Region> {
        Region::create(check_name(name)?, self)
    }

    /// Makes a new region without a name, in a memfd that is sealed against shrinking. It lives as long as somebody holds its
    /// [`descriptor`](Region::descriptor), and is continued by [`attach`](Self::attach). `label` is for messages and tools; a directory is not
    /// used.
    ///
    /// ```
    /// # fn main() -> shmstate::Result<()> {
    /// let region = shmstate::Region::options().capacity(4 << 20).create_anonymous("room-7")?;
    /// let descriptor = region.descriptor().expect("a memfd").try_clone_to_owned().expect("duplicate");
    /// drop(region);
    /// let again = shmstate::Region::options().attach("room-7", descriptor)?;
    /// assert_eq!(again.capacity(), 4 << 20);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::BadName`], [`Error::BadCapacity`], [`Error::OutOfSpace`], [`Error::Io`].
    pub fn create_anonymous(&self, label: &str) -> Result<Region> {
        Region::create_anonymous(check_name(label)?, self)
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
    /// checkpoint's, unless another is asked for. The file is checked against damage, not against malice: restore what a program of yours has
    /// written.
    ///
    /// # Errors
    /// [`Error::NotACheckpoint`], [`Error::CheckpointDamaged`], [`Error::CheckpointCut`], [`Error::CheckpointCapacity`]
    /// if the [`capacity`](Self::capacity) that was asked for does not hold it, or is more than was reserved for it, [`Error::Damaged`] if the region in it contradicts
    /// itself; those of [`create`](Self::create).
    pub fn restore(&self, path: impl AsRef<Path>, name: &str) -> Result<Region> {
        checkpoint::restore(path.as_ref(), check_name(name)?, self)
    }

    /// Maps a region that a living owner hands over. It is neither recovered nor written before a pass is given, and
    /// the gate gives none before this process owns the node. Without a [`gate`](Self::gate) over a lease nobody else may have the region: nothing would
    /// keep two from writing.
    ///
    /// # Errors
    /// [`Error::NotARegion`], [`Error::Damaged`], [`Error::Io`]; [`Error::InUse`] if there is no lease and somebody else holds the region, or this process has it
    /// behind the same gate already.
    pub fn attach(&self, name: &str, descriptor: OwnedFd) -> Result<Region> {
        Region::attach(check_name(name)?, descriptor, self)
    }

    /// Opens a region whose owner is gone, as [`open`](Self::open) does, through a descriptor which that owner had: for an owner that has ended, but holds
    /// the region still because its core is being written. That it has ended is the caller's to prove, who has taken its lease; without a
    /// [`gate`](Self::gate) over a lease this is refused while anybody holds the region.
    ///
    /// # Errors
    /// Those of [`open`](Self::open); [`Error::InUse`] if `descriptor` is not what the region is held by.
    pub fn recover(&self, name: &str, descriptor: OwnedFd) -> Result<Region> {
        let name = check_name(name)?;
        Region::recover(name, Region::alone_with(descriptor, name, self)?, self)
    }

    /// Removes the name of a region. Its memory goes when the last process that maps it lets go. Says whether there was one.
    ///
    /// # Errors
    /// [`Error::BadName`], [`Error::Io`].
    pub fn remove(&self, name: &str) -> Result<bool> {
        self.place.unlink(check_name(name)?)
    }
}

pub(crate) fn check_name(name: &str) -> Result<&str> {
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
