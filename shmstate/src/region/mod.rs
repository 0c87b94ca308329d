//! A region: one shared-memory object that holds typed tables, written by one process at a time.
//!
//! - **R2** A header is readable knowing nothing else; parsed is not usable: a region is only given out after its log
//!   was checked and, where its owner is dead, taken back.
//! - **R4** Creation writes the magic last; a half-made region whose maker is dead is reclaimed.
//! - **R5** Every access borrows from a pass, and no reference outlives it.
//! - **R8** A child does not inherit the mapping, a core dump does not carry it.
//!
//! While a checkpoint of it is being copied it carries the hook that saves pages before they change
//! (`checkpoint::hook`).
//!
//! It does not know tables; the catalog is found through the view.

pub(crate) mod backing;
pub(crate) mod header;
mod options;
pub(crate) mod view;

pub use header::{Activity, FormatVersion};
pub use options::{DEFAULT_CAPACITY, MAX_NAME, Options};
use view::Places;
pub use view::View;

use crate::checkpoint::hook::Hook;
use crate::error::{Error, Result};
use crate::gate::{Gate, Pass};
use crate::heap;
use crate::os::{clock, shm};
use crate::tx::undo::{Log, Undone};
use crate::tx::{Pending, Tx};
use backing::{Backing, Mapping, Memory, PAGE};
use header::{Birth, CHUNK_ENTRY, FIRST_LOG, HEADER, Layout, at};
use std::ops::Deref;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

/// How often creation is tried again when another process takes the half-made object for abandoned.
const CREATE_TRIES: usize = 8;

/// A region, mapped and recovered.
#[derive(Debug)]
pub struct Region {
    // Declared before the backing: the view must not outlive it (V3).
    pub(crate) view: View,
    pub(crate) log: Log,
    pub(crate) frees: Vec<u64>,
    pub(crate) pending: Pending,
    /// Saves pages for a checkpoint that is being copied.
    pub(crate) hook: Option<Box<Hook>>,
    pub(crate) backing: Box<dyn Backing>,
    birth: Birth,
    gate: Gate,
    name: Box<str>,
    undone: Mutex<Undone>,
    /// Generation under which this process last looked at the log's chain.
    seen: u64,
}

impl Region {
    /// The builder: capacity, gate, then `create`, `open` or `attach`.
    #[must_use]
    pub fn options() -> Options {
        Options::default()
    }

    /// Makes a region in plain memory of this process, for tests of code that uses tables. It is gone when dropped.
    ///
    /// # Errors
    /// [`Error::BadCapacity`].
    pub fn in_memory(capacity: u64) -> Result<Self> {
        let layout = Layout::of(capacity)?;
        let backing = Box::new(Memory::new(layout.capacity, layout.capacity));
        Self::format(backing, layout, "memory", &Options::default())
    }

    /// Removes the name of a region. Its memory goes when the last process that maps it lets go. Says whether there was
    /// one.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remove(name: &str) -> Result<bool> {
        shm::unlink(name)
    }

    fn create(name: &str, options: &Options) -> Result<Self> {
        let layout = Layout::of(options.capacity)?;
        Self::make(name, layout.capacity, |backing| {
            Self::format(backing, layout, name, options)
        })
    }

    /// Makes an object that this process holds and lets `finish` make a region of it. Nothing half-made stays behind.
    fn make(name: &str, capacity: u64, finish: impl FnOnce(Box<dyn Backing>) -> Result<Self>) -> Result<Self> {
        for _ in 0..CREATE_TRIES {
            let fd = shm::create(name)?;
            // Between the two calls another process may have found the object and taken it for abandoned (R4).
            if !shm::try_hold(&fd, name)? {
                continue;
            }
            let made = shm::set_length(&fd, name, capacity)
                .and_then(|()| Mapping::new(fd, name, capacity))
                .and_then(|mapping| finish(Box::new(mapping)));
            if made.is_err() {
                // The reason is in `made`.
                let _ = shm::unlink(name);
            }
            return made;
        }
        Err(Error::NotReady { name: name.into() })
    }

    /// Makes a region of contents from elsewhere. `fill` writes everything from byte 256 on and gives the seed;
    /// `settle` is run on the region under a gate of its own, before anybody else can see that it is one (R4).
    pub(crate) fn rebuild(
        name: &str,
        options: &Options,
        layout: Layout,
        heap_end: u64,
        fill: impl FnOnce(&View) -> Result<u64>,
        settle: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<Self> {
        Self::make(name, layout.capacity, |backing| {
            let used = (heap_end - layout.heap) / header::CHUNK;
            backing.take(0, layout.chunks + used * CHUNK_ENTRY)?;
            if heap_end > layout.heap {
                backing.take(layout.heap, heap_end - layout.heap)?;
            }
            let mut birth = Self::birth_of(layout, options);
            let view = view_of(&*backing, layout.heap, birth.places());
            view.set_header(at::TAKEN, heap_end);
            birth.seed = fill(&view)?;
            let bytes = birth.encode();
            view.write_fresh(8, &bytes[8..], "header")?;
            check_dynamic(&view, &layout)?;
            let mut region = Self::usable(view, backing, birth, name, &Options::default())?;
            heap::check(&region.view, &layout)?;
            settle(&mut region)?;
            // MAGIC pair, see `format`.
            region.view.publish_header(at::MAGIC, header::MAGIC);
            if let Some(gate) = &options.gate {
                region.gate = gate.clone();
            }
            Ok(region)
        })
    }

    /// What a region that is made now has from birth.
    fn birth_of(layout: Layout, options: &Options) -> Birth {
        let mut words = [[0u8; 8]; 3];
        // A failure leaves them zero, which is a valid, if poor, seed and id.
        for word in &mut words {
            let _ = rustix::rand::getrandom(&mut word[..], rustix::rand::GetRandomFlags::empty());
        }
        let random = words.map(u64::from_le_bytes);
        Birth {
            layout,
            region_id: [random[0], random[1]],
            boot_id: clock::boot_id(),
            made_at: clock::realtime_ns(),
            maker: u64::from(std::process::id()),
            seed: random[2],
            node_id: options.node_id,
        }
    }

    /// Writes an empty region: everything, a fence, the magic (R4).
    fn format(backing: Box<dyn Backing>, layout: Layout, name: &str, options: &Options) -> Result<Self> {
        backing.take(0, layout.chunks)?;
        let birth = Self::birth_of(layout, options);
        let view = view_of(&*backing, birth.layout.heap, birth.places());
        view.set_header(at::TAKEN, layout.heap);
        view.set_header(at::HEAP_END, layout.heap);
        view.set_header(at::LOG_FLOOR, layout.capacity);
        view.set_header(at::LOG_TABLE, layout.log);
        view.set_header(at::LOG_TABLE + 8, FIRST_LOG);
        view.set_header(at::LOG_EXTENTS, 1);
        let bytes = birth.encode();
        view.write_fresh(8, &bytes[8..], "header")?;
        // MAGIC pair: whoever reads the magic sees the rest.
        view.publish_header(at::MAGIC, header::MAGIC);
        Self::usable(view, backing, birth, name, options)
    }

    fn open(name: &str, options: &Options) -> Result<Self> {
        let fd = shm::open(name, true)?;
        let held = shm::try_hold(&fd, name)?;
        let birth = match read_birth(&fd, name) {
            Err(Error::NotReady { .. }) if held => {
                // Its maker died before the end (R4): the half-made object is no region.
                shm::unlink(name)?;
                return Err(Error::NotFound { name: name.into() });
            }
            Ok(_) if !held => return Err(Error::InUse { name: name.into() }),
            other => other?,
        };
        let region = Self::map(fd, birth, name, options)?;
        region.settle()?;
        heap::check(&region.view, &region.birth.layout)?;
        Ok(region)
    }

    fn attach(name: &str, fd: OwnedFd, options: &Options) -> Result<Self> {
        let birth = read_birth(&fd, name)?;
        Self::map(fd, birth, name, options)
    }

    fn map(fd: OwnedFd, birth: Birth, name: &str, options: &Options) -> Result<Self> {
        let layout = birth.layout;
        let mapping = Mapping::new(fd, name, layout.capacity)?;
        let view = view_of(&mapping, layout.heap, birth.places());
        check_dynamic(&view, &layout)?;
        if options.prefault {
            let end = view.header(at::HEAP_END);
            mapping.populate(0, layout.chunks)?;
            let used = (end - layout.heap) / header::CHUNK;
            mapping.populate(layout.chunks, (used * CHUNK_ENTRY).max(1))?;
            if view.header(at::TAKEN) > layout.heap {
                mapping.populate(layout.heap, view.header(at::TAKEN) - layout.heap)?;
            }
            let floor = view.header(at::LOG_FLOOR);
            if floor < layout.capacity {
                mapping.populate(floor, layout.capacity - floor)?;
            }
        }
        Self::usable(view, Box::new(mapping), birth, name, options)
    }

    fn usable(view: View, backing: Box<dyn Backing>, birth: Birth, name: &str, options: &Options) -> Result<Self> {
        let log = Log::load(&view, birth.layout)?;
        Ok(Self {
            view,
            log,
            frees: Vec::new(),
            pending: Pending::default(),
            hook: None,
            backing,
            birth,
            gate: options.gate.clone().unwrap_or_else(Gate::alone),
            name: name.into(),
            undone: Mutex::new(Undone::default()),
            seen: 0,
        })
    }

    /// A region over an image of memory, as after a crash at that point.
    #[cfg(test)]
    pub(crate) fn from_image(image: &[u8]) -> Result<Self> {
        let mut bytes = [0; 256];
        bytes.copy_from_slice(&image[..256]);
        let birth = Birth::decode("image", &bytes)?;
        let backing = Box::new(Memory::from_image(image));
        let view = view_of(&*backing, birth.layout.heap, birth.places());
        check_dynamic(&view, &birth.layout)?;
        Self::usable(view, backing, birth, "image", &Options::default())
    }

    /// Lets code read under a pass.
    ///
    /// # Errors
    /// [`Error::ForeignPass`]; [`Error::Damaged`] if a dead owner's log cannot be taken back.
    ///
    /// What is read cannot outlive the pass:
    /// ```compile_fail,E0505
    /// # use shmstate::{Cell, Region};
    /// # fn f(region: Region, cell: Cell<u64>) -> shmstate::Result<()> {
    /// let gate = region.gate().clone();
    /// let pass = gate.enter()?;
    /// let reader = region.read(&pass)?;
    /// let value = cell.get(&reader)?;
    /// drop(pass);
    /// println!("{value}");
    /// # Ok(())
    /// # }
    /// ```
    /// and without a pass there is nothing to read or write with:
    /// ```compile_fail,E0061
    /// # use shmstate::Region;
    /// # fn f(mut region: Region) {
    /// let tx = region.begin();
    /// # }
    /// ```
    /// While a transaction is open nothing else may be read through the region:
    /// ```compile_fail,E0502
    /// # use shmstate::{Cell, Region};
    /// # fn f(mut region: Region, cell: Cell<u64>) -> shmstate::Result<()> {
    /// let gate = region.gate().clone();
    /// let pass = gate.enter()?;
    /// let reader = region.read(&pass)?;
    /// let value = cell.get(&reader)?;
    /// let tx = region.begin(&pass)?;
    /// println!("{value}");
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn read<'a>(&'a self, pass: &'a Pass<'a>) -> Result<Reader<'a>> {
        self.admit(pass)?;
        Ok(Reader { region: self })
    }

    /// Begins a transaction under a pass (T4).
    ///
    /// # Errors
    /// [`Error::ForeignPass`]; [`Error::Damaged`] if a dead owner's log cannot be taken back.
    #[inline]
    pub fn begin<'a>(&'a mut self, pass: &'a Pass<'a>) -> Result<Tx<'a>> {
        self.prepare(pass)?;
        Ok(Tx::begin(self, pass))
    }

    #[inline]
    fn prepare(&mut self, pass: &Pass<'_>) -> Result<()> {
        self.admit(pass)?;
        if self.seen != pass.generation() || !self.log.is_empty() {
            self.look_again(pass)?;
        }
        Ok(())
    }

    /// Another process may have written since, or a guard was forgotten.
    #[cold]
    fn look_again(&mut self, pass: &Pass<'_>) -> Result<()> {
        self.frees.clear();
        self.log.refresh(&self.view)?;
        self.seen = pass.generation();
        Ok(())
    }

    /// Runs `change` in a transaction: committed if it returns `Ok`, rolled back if it returns `Err` or panics.
    ///
    /// # Errors
    /// What `change` returns; those of [`begin`](Self::begin) and [`Tx::commit`].
    #[inline]
    pub fn write<R, E: From<Error>>(
        &mut self,
        pass: &Pass<'_>,
        change: impl FnOnce(&mut Tx<'_>) -> std::result::Result<R, E>,
    ) -> std::result::Result<R, E> {
        self.prepare(pass)?;
        let mut tx = Tx::begin(self, pass);
        let result = change(&mut tx)?;
        tx.commit()?;
        Ok(result)
    }

    /// Lets sockets be read into and written from the region's rings, outside any transaction.
    ///
    /// # Errors
    /// [`Error::ForeignPass`]; [`Error::Damaged`] if a dead owner's log cannot be taken back.
    #[inline]
    pub fn io<'a>(&'a mut self, pass: &'a Pass<'a>) -> Result<Io<'a>> {
        self.admit(pass)?;
        Ok(Io { region: self })
    }

    /// Saves what a checkpoint still needs of a range that is about to change.
    #[inline]
    pub(crate) fn before_write(&mut self, offset: u64, length: u64) -> Result<()> {
        if self.hook.is_none() {
            return Ok(());
        }
        self.save(offset, length)
    }

    #[cold]
    fn save(&mut self, offset: u64, length: u64) -> Result<()> {
        match &mut self.hook {
            None => Ok(()),
            Some(hook) => hook.before_write(&self.view, offset, length),
        }
    }

    #[inline]
    pub(crate) fn admit(&self, pass: &Pass<'_>) -> Result<()> {
        if !pass.gate().same(&self.gate) {
            return Err(Error::ForeignPass {
                name: self.name.clone(),
            });
        }
        // No transaction of this process is open (it would borrow the region): what is in the log was left by a dead
        // owner, or by a guard that was forgotten (T2).
        if Log::published(&self.view) != 0 {
            self.settle()?;
        }
        Ok(())
    }

    /// Takes back what a dead owner or a forgotten guard left. The caller owns the region.
    #[cold]
    fn settle(&self) -> Result<()> {
        let mut undone = self.undone.lock().unwrap_or_else(PoisonError::into_inner);
        let mut log = Log::load(&self.view, self.birth.layout)?;
        if Log::published(&self.view) == 0 {
            self.view.set_header(at::ACTIVITY, Activity::Idle as u64);
            return Ok(());
        }
        self.view.set_header(at::ACTIVITY, Activity::Recovery as u64);
        let taken_back = log.undo(&self.view)?;
        let count = |field, add| self.view.set_header(field, self.view.header(field) + add);
        count(at::RECOVERIES, 1);
        count(at::ENTRIES_UNDONE, taken_back.entries);
        self.view.set_header(at::ACTIVITY, Activity::Idle as u64);
        undone.entries += taken_back.entries;
        undone.bytes += taken_back.bytes;
        Ok(())
    }

    /// What this process has taken back since it opened the region: zero if its last owner ended between transactions.
    #[must_use]
    pub fn recovered(&self) -> Undone {
        *self.undone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes memory for `bytes` more of records now, so that growing into it later costs nothing.
    ///
    /// # Errors
    /// [`Error::OutOfSpace`], [`Error::RegionFull`], [`Error::ForeignPass`].
    pub fn reserve(&mut self, pass: &Pass<'_>, bytes: u64) -> Result<()> {
        self.admit(pass)?;
        heap::reserve(&self.view, &*self.backing, &self.birth.layout, bytes)
    }

    /// The gate whose passes this region takes.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The region's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Address space of the region in bytes.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.birth.layout.capacity
    }

    /// The number that no other region has.
    #[must_use]
    pub fn id(&self) -> [u64; 2] {
        self.birth.region_id
    }

    /// The descriptor to hand to a successor; `None` for a region in plain memory.
    #[must_use]
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.backing.descriptor()
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.birth.layout
    }

    pub(crate) fn birth(&self) -> &Birth {
        &self.birth
    }

    pub(crate) fn seed(&self) -> u64 {
        self.birth.seed
    }
}

/// Makes the view of a backing whose fixed parts can be touched.
#[expect(unsafe_code, reason = "the one place where a view is made")]
pub(crate) fn view_of(backing: &dyn Backing, limit: u64, places: Places) -> View {
    // SAFETY: the backing is mapped (page- or 64-byte-aligned) for `capacity` bytes, and `Region` keeps it for as long as
    // the view (V3); the fixed parts below `limit` were taken when the region was made.
    unsafe { View::new(backing.base(), backing.capacity(), limit, places) }
}

/// Reads and checks the unchanging part of a header without mapping anything.
pub(crate) fn read_birth(fd: &OwnedFd, name: &str) -> Result<Birth> {
    let length = shm::length(fd, name)?;
    if length < HEADER {
        return Err(if length == 0 {
            Error::NotReady { name: name.into() }
        } else {
            Error::NotARegion {
                name: name.into(),
                why: format!("it has {length} bytes, a header alone has {HEADER}").into(),
            }
        });
    }
    let mut bytes = [0; 256];
    let n = rustix::io::pread(fd, &mut bytes, 0).map_err(|e| Error::io("read header of", name, e))?;
    if n < bytes.len() {
        return Err(Error::NotReady { name: name.into() });
    }
    let birth = Birth::decode(name, &bytes)?;
    if length < birth.layout.capacity {
        return Err(Error::NotARegion {
            name: name.into(),
            why: format!("it was cut: {length} bytes are left of {} (R8)", birth.layout.capacity).into(),
        });
    }
    Ok(birth)
}

/// Checks the words of the header that change.
fn check_dynamic(view: &View, layout: &Layout) -> Result<()> {
    let get = |field| view.header(field);
    // A living owner may be growing the region meanwhile; it moves `taken` before the end of the heap, so read them in
    // the other order.
    let end = get(at::HEAP_END);
    let (taken, floor) = (get(at::TAKEN), get(at::LOG_FLOOR));
    if taken < layout.heap || taken > layout.capacity || taken % PAGE != 0 {
        return Err(Error::damaged("end of the memory taken", at::TAKEN, taken));
    }
    if end < layout.heap || end > taken || end % header::CHUNK != 0 {
        return Err(Error::damaged("end of the heap", at::HEAP_END, end));
    }
    if floor < taken || floor > layout.capacity || floor % PAGE != 0 {
        return Err(Error::damaged("lowest log extent", at::LOG_FLOOR, floor));
    }
    Ok(())
}

/// Reading access to a region, lent by a pass.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    region: &'a Region,
}

impl Deref for Reader<'_> {
    type Target = View;

    #[inline]
    fn deref(&self) -> &View {
        &self.region.view
    }
}

/// Access for moving bytes between sockets and rings, lent by a pass while no transaction is open.
#[derive(Debug)]
pub struct Io<'a> {
    region: &'a mut Region,
}

impl Deref for Io<'_> {
    type Target = View;

    #[inline]
    fn deref(&self) -> &View {
        &self.region.view
    }
}
