//! A region: one shared-memory object that holds typed tables, written by one process at a time.
//!
//! - **R2** A header is readable knowing nothing else; parsed is not usable: a region is only given out after its log
//!   was checked and, where its owner is dead, taken back.
//! - **R4** Creation writes the magic last; a half-made region whose maker is dead is reclaimed.
//! - **R5** Every access borrows from a pass, and no reference outlives it.
//! - **R8** A child does not inherit the mapping, a core dump does not carry it; a memfd is sealed against shrinking.
//!
//! While a checkpoint of it is being copied it carries the hook that saves pages before they change
//! (`checkpoint::hook`).
//!
//! It does not know tables; the catalog is found through the view.

pub(crate) mod backing;
pub(crate) mod header;
pub(crate) mod mapping;
pub(crate) mod mixed;
pub(crate) mod moves;
mod options;
pub(crate) mod seal;
pub(crate) mod view;

mod ahead;
mod figures;
pub(crate) mod growth;
mod trim;

pub use ahead::{DEFAULT_AHEAD, MOST_AHEAD};
pub use figures::MemoryInfo;
pub use header::{Activity, FormatVersion};
pub(crate) use options::check_name;
pub use options::{Asked, DEFAULT_CAPACITY, MAX_NAME, Options};
pub use trim::Trimmed;
use view::Places;
pub use view::View;

use crate::checkpoint::hook::Hook;
use crate::crash::{self, Point};
use crate::error::{Error, Report, Result};
use crate::gate::{Behind, Gate, Pass};
use crate::heap;
use crate::os::shm::Place;
use crate::os::{clock, mount, shm};
use crate::table::text::Texts;
use crate::tx::undo::{self, Log, Undone};
use crate::tx::{Progress, Tx};
use ahead::Ahead;
use backing::{Backing, Memory, Taking};
use header::{Birth, CHUNK, FIRST_LOG, HEADER, HUGE, Layout, at};
use mapping::{Access, Mapping};
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering, compiler_fence};
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
    /// Records that were changed and have, or must get, a twin of an older shape: row, header, the header's word before (0: it has none).
    pub(crate) touched: Vec<[u64; 4]>,
    /// Records of moves' sources of which something was changed in the targets: which move, and the key.
    pub(crate) carried: Vec<(usize, Box<[u8]>)>,
    pub(crate) progress: Progress,
    /// For drafts of archives, see `archive`.
    pub(crate) draft: Vec<u8>,
    /// Where the strings of records are, by their types.
    pub(crate) texts: Texts,
    /// Saves pages for a checkpoint that is being copied.
    pub(crate) hook: Option<Box<Hook>>,
    pub(crate) backing: Box<dyn Backing>,
    birth: Birth,
    gate: Gate,
    /// Nobody else in this process has the region behind that gate.
    behind: Behind,
    name: Box<str>,
    undone: Mutex<Undone>,
    /// Whether the backing was told how far the heap is: by the first transaction (P4).
    told: bool,
    /// The lease's word under which this process last looked at the log's chain; 0 if it must look again.
    seen: AtomicU64,
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
        Self::in_memory_reserving(capacity, capacity)
    }

    pub(crate) fn in_memory_reserving(capacity: u64, reserve: u64) -> Result<Self> {
        let options = Options::default().capacity(capacity).reserve(reserve);
        let (layout, capacity) = sizes(&options, CHUNK)?;
        let backing = Box::new(Memory::new(layout.reserve, layout.reserve)?);
        Self::format(backing, layout, capacity, "memory", &options)
    }

    /// Removes the name of a region in /dev/shm; [`Options::remove`] does it for other directories. Its memory goes when the last
    /// process that maps it lets go. Says whether there was one.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remove(name: &str) -> Result<bool> {
        Place::Shm.unlink(name)
    }

    fn create(name: &str, options: &Options) -> Result<Self> {
        sizes(options, CHUNK)?;
        Self::make(name, options, |fd| Self::fill(fd, name, options, false))
    }

    /// Makes an object that this process holds and lets `finish` make a region of it. Nothing half-made stays behind.
    fn make(name: &str, options: &Options, mut finish: impl FnMut(OwnedFd) -> Result<Self>) -> Result<Self> {
        for _ in 0..CREATE_TRIES {
            let fd = options.place.create(name)?;
            // Between the two calls another process may have found the object and taken it for abandoned (R4).
            if !shm::try_hold(&fd, name)? {
                continue;
            }
            let made = finish(fd);
            if made.is_err() {
                // The reason is in `made`.
                let _ = options.place.unlink(name);
            }
            return made;
        }
        Err(Error::NotReady { name: name.into() })
    }

    fn create_anonymous(label: &str, options: &Options) -> Result<Self> {
        let fd = shm::anonymous(label)?;
        shm::try_hold(&fd, label)?;
        Self::fill(fd, label, options, true)
    }

    /// Makes a region of an empty object.
    fn fill(fd: OwnedFd, name: &str, options: &Options, seal: bool) -> Result<Self> {
        let (layout, capacity) = sizes(options, mount::page(fd.as_fd()))?;
        shm::set_length(&fd, name, capacity)?;
        crash::point(Point::CreateSized);
        if seal {
            shm::seal(&fd, name)?;
        }
        let mapping = Mapping::new(fd, name, layout.reserve, Access::Write, layout.is_large())?;
        let options = options.with_gate();
        Self::format(backed(mapping, layout, &options), layout, capacity, name, &options)
    }

    /// Makes a region of contents from elsewhere, of a heap that ends at `heap_end`. `fill` writes everything from byte 256 on
    /// and gives the seed; `settle` is run on the region under a gate of its own, before anybody else can see that it is one (R4).
    pub(crate) fn rebuild(
        name: &str,
        options: &Options,
        (layout, capacity): (Layout, u64),
        heap_end: u64,
        mut fill: impl FnMut(&View) -> Result<u64>,
        mut settle: impl FnMut(&mut Self) -> Result<()>,
    ) -> Result<Self> {
        Self::make(name, options, |fd| {
            shm::set_length(&fd, name, capacity)?;
            let mapping = Mapping::new(fd, name, layout.reserve, Access::Write, layout.is_large())?;
            let options = options.with_gate();
            let backing = backed(mapping, layout, &options);
            let mut birth = Self::birth_of(layout, capacity, &options);
            let view = Self::prepare_fixed(&*backing, &birth)?;
            growth::grow_to(&view, &*backing, &layout, heap_end, Taking::Ahead)?;
            birth.seed = fill(&view)?;
            view.set_size(at::LIMIT, capacity);
            let bytes = birth.encode();
            view.write_fresh(8, &bytes[8..], "header")?;
            check_dynamic(&view, &birth)?;
            let mut region = Self::usable(view, backing, birth, name, &Options::default())?;
            heap::check(&region.view, &layout)?;
            region.punch_holes()?;
            settle(&mut region)?;
            // MAGIC pair, see `format`.
            region.view.publish_header(at::MAGIC, header::MAGIC);
            if let Some(gate) = options.gate {
                let behind = gate.take_in(region.birth.region_id);
                region.behind = behind.ok_or_else(|| Error::InUse { name: name.into() })?;
                region.gate = gate;
            }
            Ok(region)
        })
    }

    /// What a region that is made now has from birth.
    fn birth_of(layout: Layout, capacity: u64, options: &Options) -> Birth {
        let mut words = [[0u8; 8]; 3];
        // A failure leaves them zero, which is a valid, if poor, seed and id.
        for word in &mut words {
            let _ = rustix::rand::getrandom(&mut word[..], rustix::rand::GetRandomFlags::empty());
        }
        let random = words.map(u64::from_le_bytes);
        Birth {
            layout,
            capacity,
            region_id: [random[0], random[1]],
            boot_id: clock::boot_id(),
            made_at: clock::realtime_ns(),
            maker: u64::from(std::process::id()),
            seed: random[2],
            node_id: options.node_id,
        }
    }

    /// Takes the memory of the fixed parts and writes the words that an empty heap and log have.
    fn prepare_fixed(backing: &dyn Backing, birth: &Birth) -> Result<View> {
        let layout = birth.layout;
        // The fixed parts are used all the time: a large page for them, if there is room for one.
        if !layout.is_large() || backing.take(0, HUGE, Taking::Ahead).is_err() {
            backing.take(0, layout.chunks, Taking::Step)?;
        }
        let view = view_of(backing, layout.heap, birth.places());
        view.set_size(at::TAKEN, layout.heap);
        view.set_size(at::HEAP_END, layout.heap);
        view.set_size(at::LIMIT, birth.capacity);
        view.set_header(at::LOG_TABLE, layout.log);
        view.set_header(at::LOG_TABLE + 8, FIRST_LOG);
        view.set_header(at::LOG_EXTENTS, 1);
        Ok(view)
    }

    /// Writes an empty region: everything, a fence, the magic (R4).
    fn format(backing: Box<dyn Backing>, layout: Layout, capacity: u64, name: &str, options: &Options) -> Result<Self> {
        let birth = Self::birth_of(layout, capacity, options);
        let view = Self::prepare_fixed(&*backing, &birth)?;
        let bytes = birth.encode();
        view.write_fresh(8, &bytes[8..], "header")?;
        if wants_ahead(&layout, options).0 > 0 {
            // A head start for the thread. If the mount has not so much, the writer will be told when it wants it.
            let first = (layout.heap + HUGE).min(capacity);
            let _ = growth::grow_to(&view, &*backing, &layout, first, Taking::Ahead);
        }
        crash::point(Point::CreateUnnamed);
        // MAGIC pair: whoever reads the magic sees the rest.
        view.publish_header(at::MAGIC, header::MAGIC);
        Self::usable(view, backing, birth, name, options)
    }

    fn open(name: &str, options: &Options) -> Result<Self> {
        Self::recover(name, options.place.open(name, true)?, options)
    }

    /// Of an owner that is gone. Through a descriptor of its own the lock is held already.
    fn recover(name: &str, fd: OwnedFd, options: &Options) -> Result<Self> {
        let held = shm::try_hold(&fd, name)?;
        let birth = match read_birth(&fd, name) {
            Err(Error::NotReady { .. }) if held => {
                // Its maker died before the end (R4): the half-made object is no region.
                options.place.unlink(name)?;
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
        let fd = Self::alone_with(fd, name, options)?;
        let birth = read_birth(&fd, name)?;
        Self::map(fd, birth, name, options)
    }

    /// The same object, held by nobody but who calls, unless the gate's lease says who may write.
    fn alone_with(fd: OwnedFd, name: &str, options: &Options) -> Result<OwnedFd> {
        if options.gate.as_ref().is_some_and(|gate| !gate.is_alone()) {
            return Ok(fd);
        }
        // A lock belongs to an open file, which descriptors share that were passed on or duplicated.
        let own = shm::reopen(&fd, name)?;
        drop(fd);
        if shm::try_hold(&own, name)? {
            return Ok(own);
        }
        Err(Error::InUse { name: name.into() })
    }

    fn map(fd: OwnedFd, birth: Birth, name: &str, options: &Options) -> Result<Self> {
        let layout = birth.layout;
        let mapping = Mapping::new(fd, name, layout.reserve, Access::Write, layout.is_large())?;
        let view = view_of(&mapping, layout.heap, birth.places());
        check_dynamic(&view, &birth)?;
        if options.prefault {
            let taken = view.size(at::TAKEN);
            mapping.populate(0, layout.chunks)?;
            if taken > layout.heap {
                let (offset, length) = layout.entries(layout.heap, taken);
                mapping.populate(offset, length)?;
                // Holes have no memory. A living owner may make some meanwhile; what this takes of them goes with its next trim, and
                // what it cannot take is none of its business.
                let known = heap::holes::all(&view, &layout);
                let mut populated = Ok(());
                heap::holes::between(&known, layout.heap, taken, |offset, length| {
                    if populated.is_ok() {
                        populated = mapping.populate(offset, length);
                    }
                });
                if view.header(at::GIVEN_BACK) == 0 {
                    populated?;
                }
            }
        }
        let options = options.with_gate();
        Self::usable(view, backed(mapping, layout, &options), birth, name, &options)
    }

    fn usable(view: View, backing: Box<dyn Backing>, birth: Birth, name: &str, options: &Options) -> Result<Self> {
        let gate = options.gate.clone().unwrap_or_else(Gate::alone);
        let behind = gate.take_in(birth.region_id);
        let behind = behind.ok_or_else(|| Error::InUse { name: name.into() })?;
        let log = Log::load(&view, birth.layout)?;
        Ok(Self {
            view,
            log,
            frees: Vec::new(),
            touched: Vec::new(),
            carried: Vec::new(),
            progress: Progress::default(),
            draft: Vec::new(),
            texts: Texts::default(),
            hook: None,
            backing,
            birth,
            gate,
            behind,
            name: name.into(),
            undone: Mutex::new(Undone::default()),
            told: false,
            seen: AtomicU64::new(0),
        })
    }

    /// A region over an image of memory, as after a crash at that point.
    #[cfg(test)]
    pub(crate) fn from_image(image: &[u8]) -> Result<Self> {
        let mut bytes = [0; 256];
        bytes.copy_from_slice(&image[..256]);
        let birth = Birth::decode("image", &bytes)?;
        // Memory that was not taken was never touched. Only pages that are written take memory, so that an image costs what is in it.
        let mut word = [0; 8];
        word.copy_from_slice(&image[at::TAKEN as usize..][..8]);
        let taken = seal::unseal(u64::from_le_bytes(word)).unwrap_or(u64::MAX);
        let image = &image[..image.len().min(taken.max(birth.layout.heap) as usize)];
        let backing = Box::new(Memory::sparse(birth.layout.reserve, birth.layout.reserve)?);
        let view = view_of(&*backing, birth.layout.reserve, birth.places());
        for (i, page) in image.chunks(4096).enumerate() {
            // A page of zeroes is there already.
            if page != &[0; 4096][..page.len()] {
                view.write_fresh(i as u64 * 4096, page, "image")?;
            }
        }
        drop(view);
        let view = view_of(&*backing, birth.layout.heap, birth.places());
        check_dynamic(&view, &birth)?;
        Self::usable(view, backing, birth, "image", &Options::default())
    }

    /// Lets code read under a pass.
    ///
    /// # Errors
    /// [`Error::ForeignPass`]; [`Error::ReadTooEarly`] before the first transaction under an ownership if tables are moving; [`Error::Damaged`] if a dead
    /// owner's log cannot be taken back.
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
        if self.view.moves().is_active()
            && self.seen.load(Ordering::Relaxed) != pass.gate().word()
            && !self.view.moves().are_settled(&self.view)?
        {
            return Err(Error::ReadTooEarly {
                name: self.name.clone(),
            });
        }
        Ok(Reader { region: self })
    }

    /// Begins a transaction under a pass (T4).
    ///
    /// The first under an ownership makes the catalog say what this process writes, where tables migrate or move, in a transaction of its own before it.
    ///
    /// # Errors
    /// [`Error::ForeignPass`]; [`Error::Damaged`] if a dead owner's log cannot be taken back; of the first under an ownership also those of the
    /// [heap](Tx#errors), [`Error::CatalogFull`], [`Error::NoTable`] and [`Error::TableGone`] for a migrating table that another process dropped, [`Error::BadSteps`].
    #[inline(always)]
    pub fn begin<'a>(&'a mut self, pass: &'a Pass<'a>) -> Result<Tx<'a>> {
        self.prepare(pass)?;
        Ok(Tx::begin(self, pass))
    }

    #[inline(always)]
    fn prepare(&mut self, pass: &Pass<'_>) -> Result<()> {
        let gate = pass.gate();
        if !gate.same(&self.gate) {
            return Err(self.foreign());
        }
        // Under a word that was seen, with nothing begun, this process was the last to write and the log is empty: a log that could not be
        // undone, and a guard that was forgotten, leave something begun.
        if self.seen.load(Ordering::Relaxed) != gate.word() || !self.progress.is_untouched() {
            self.admit(pass)?;
            self.look_again(pass)?;
        }
        Ok(())
    }

    /// Before a transaction that is not like the one before: the first under this ownership, one after a guard that was
    /// forgotten, one while a checkpoint is being copied.
    #[cold]
    fn look_again(&mut self, pass: &Pass<'_>) -> Result<()> {
        if self.hook.as_ref().is_some_and(|hook| hook.is_over()) {
            self.hook = None;
        }
        // Nothing is left of a transaction that ended as it should.
        let seen = self.seen.load(Ordering::Relaxed) == pass.gate().word();
        if !seen || !self.log.is_empty() || !self.frees.is_empty() || self.hook.is_none() {
            self.refresh()?;
        }
        self.progress = Progress::default();
        self.rest();
        if !seen {
            self.view.mixed().unsettle();
            let moves = self.view.header(at::MOVES) != 0 || self.view.moves().is_active();
            // A row that cannot be read is for who asks for its table.
            let dying = crate::table::dropped::any_dying(&self.view).unwrap_or(false);
            if self.view.mixed().is_unsettled() || moves || dying {
                self.settle_tables(pass)?;
            }
            self.seen.store(pass.gate().word(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// The catalog says from now on what this process writes: of tables with records of several shapes (B2 of `mixed`), and of tables that
    /// move (F2 of `moves`).
    #[cold]
    fn settle_tables(&mut self, pass: &Pass<'_>) -> Result<()> {
        let mut tx = Tx::begin(self, pass);
        // What others dropped and did not come to the end of.
        crate::table::dropped::finish(&mut tx)?;
        let movers = tx.moves().all();
        for (row, bridge) in tx.mixed().all() {
            // The source of a move that is over went with it.
            if !bridge.is_of(&tx) && movers.iter().any(|mover| mover.source() == bridge.table()) {
                tx.mixed().leave(row);
                continue;
            }
            bridge.settle(&mut tx)?;
        }
        crate::table::moving::disown(&mut tx)?;
        for mover in &movers {
            mover.settle(&mut tx)?;
        }
        for mover in &movers {
            mover.close_unwanted(&mut tx)?;
        }
        tx.commit()?;
        for mover in &movers {
            mover.was_settled();
        }
        self.view.mixed().settled();
        Ok(())
    }

    /// As [`View::has_ways_back`]; `false` before the first transaction.
    #[must_use]
    pub fn has_ways_back(&self) -> bool {
        self.view.has_ways_back()
    }

    /// Closes the ways back of all tables, in a transaction of its own: the program before cannot go on after this one any more, and its
    /// twins are only in the way. The sweeps of the tables take them away. For when a new version is confirmed.
    ///
    /// # Errors
    /// Those of [`begin`](Self::begin) and [`Tx::commit`].
    pub fn close_ways_back(&mut self, pass: &Pass<'_>) -> Result<()> {
        let mut tx = self.begin(pass)?;
        let (bridges, movers) = (tx.mixed().all(), tx.moves().all());
        for (_, bridge) in &bridges {
            bridge.close_way_back(&mut tx)?;
        }
        for mover in &movers {
            mover.close_way_back(&mut tx)?;
        }
        tx.commit()?;
        for (_, bridge) in &bridges {
            bridge.way_back_is_closed();
        }
        for mover in &movers {
            mover.way_back_is_closed();
        }
        Ok(())
    }

    /// The next transaction looks first at what is new.
    pub(crate) fn look_first(&self) {
        self.seen.store(0, Ordering::Relaxed);
    }

    /// Between two transactions: only what the next one has to look at.
    #[inline]
    pub(crate) fn rest(&self) {
        self.progress.rest(self.hook.is_some());
    }

    /// Another process may have written since.
    fn refresh(&mut self) -> Result<()> {
        self.frees.clear();
        self.touched.clear();
        self.carried.clear();
        self.view.mixed_mut().forget();
        self.view.look_at_limit();
        if self.view.header(at::HOLES) != 0 {
            // Mapping it, this process may have touched what was being given back.
            self.view.set_header(at::HOLES_STALE, 1);
        }
        self.log.refresh(&self.view)?;
        // EPOCH pair: the writer before may have died between the store of a word and the count of it (T8).
        undo::turn(&self.view);
        compiler_fence(Ordering::SeqCst);
        self.tell();
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
        Ok(Io { region: self, pass })
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

    #[inline(always)]
    pub(crate) fn admit(&self, pass: &Pass<'_>) -> Result<()> {
        if !pass.gate().same(&self.gate) {
            return Err(self.foreign());
        }
        // No transaction of this process is open (it would borrow the region): what is in the log was left by a dead owner,
        // or by a guard that was forgotten (T2).
        if Log::published(&self.view) != 0 {
            self.settle()?;
        }
        Ok(())
    }

    #[cold]
    fn foreign(&self) -> Error {
        Error::ForeignPass {
            name: self.name.clone(),
        }
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
        let count = |field, add| self.view.set_header(field, self.view.header(field).wrapping_add(add));
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

    /// Tells the backing, once, that this process owns the region and how far it is (P4).
    #[inline]
    fn tell(&mut self) {
        if !self.told {
            self.tell_first();
        }
    }

    #[cold]
    fn tell_first(&mut self) {
        self.told = true;
        let limit = growth::capacity(&self.view, &self.birth.layout);
        let (end, taken) = (self.view.size(at::HEAP_END), self.view.size(at::TAKEN));
        self.backing.want(end, taken, limit);
    }

    /// Takes memory for `bytes` more of records now, in large pages where the system gives them, so that growing into it later
    /// costs nothing: first where memory was [given back](Self::trim), then behind the heap's end. Takes a few milliseconds for each 2 MiB: not for a tick.
    ///
    /// A world that is filled as fast as memory allows should ask for its memory first: a writer that is ahead of the memory stays in small
    /// pages there, for as long as the region is ([`memory`](Self::memory) says how much), and mapping it takes the longer.
    ///
    /// # Errors
    /// [`Error::OutOfSpace`], [`Error::RegionFull`], [`Error::ForeignPass`].
    pub fn reserve(&mut self, pass: &Pass<'_>, bytes: u64) -> Result<()> {
        self.prepare(pass)?;
        let piece = self.layout().piece(self.backing.unit());
        let mut bytes = bytes;
        while bytes > 0 && self.view.header(at::HOLES) != 0 {
            let mut tx = Tx::begin(self, pass);
            let filled = heap::holes::fill(&mut tx, piece / CHUNK, Taking::Ahead)?;
            tx.commit()?;
            if !filled {
                break;
            }
            bytes = bytes.saturating_sub(piece);
        }
        heap::reserve(&self.view, &*self.backing, &self.birth.layout, bytes)
    }

    /// Raises what the region may hold to `bytes` (rounded down to 64 KiB; on hugetlbfs to its page), at most the address space that
    /// was [reserved](Options::reserve) when it was made. Takes no memory, moves nothing, and costs two system calls; readers
    /// and successors that have mapped the region see it at once. Gives the new capacity.
    ///
    /// # Errors
    /// [`Error::CannotRaise`], [`Error::ForeignPass`], [`Error::Io`].
    pub fn raise_capacity(&mut self, pass: &Pass<'_>, bytes: u64) -> Result<u64> {
        self.admit(pass)?;
        self.tell();
        let new = growth::raise(&self.view, &*self.backing, &self.birth.layout, bytes)?;
        let (end, taken) = (self.view.size(at::HEAP_END), self.view.size(at::TAKEN));
        self.backing.want(end, taken, new);
        Ok(new)
    }

    /// Where the region's memory comes from, and how much of it lies on large pages. Touches a byte of each 2 MiB in use.
    ///
    /// # Errors
    /// [`Error::ForeignPass`]; [`Error::Io`] if /proc cannot be read.
    pub fn memory(&self, pass: &Pass<'_>) -> Result<MemoryInfo> {
        self.admit(pass)?;
        self.figures()
    }

    pub(crate) fn figures(&self) -> Result<MemoryInfo> {
        MemoryInfo::of(&self.view, &*self.backing, &self.birth.layout, &self.name)
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

    /// What the region may hold now, in bytes.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        growth::capacity(&self.view, &self.birth.layout)
    }

    /// Address space reserved for the region in bytes: as far as its capacity can be raised.
    #[must_use]
    pub fn reserved(&self) -> u64 {
        self.birth.layout.reserve
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

    pub(crate) fn birth(&self) -> &Birth {
        &self.birth
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.birth.layout
    }

    pub(crate) fn seed(&self) -> u64 {
        self.birth.seed
    }
}

/// Layout and capacity of a region as asked for, in multiples of the chunk and of the mount's page.
fn sizes(options: &Options, page: u64) -> Result<(Layout, u64)> {
    let unit = page.max(CHUNK);
    let capacity = options.capacity_or_default() / unit * unit;
    let reserve = options.reserve.map_or(capacity, |reserve| reserve / unit * unit);
    let asked = options.reserve.unwrap_or(options.capacity_or_default());
    // What was asked for is what the error tells, not what it was rounded to.
    let as_asked = |asked| {
        move |e| match e {
            Error::BadCapacity { least, most, .. } => Error::BadCapacity {
                wanted: asked,
                least,
                most,
            },
            e => e,
        }
    };
    let layout = Layout::of(reserve).map_err(as_asked(asked))?;
    let checked = layout.check_capacity(capacity);
    checked.map_err(as_asked(options.capacity_or_default()))?;
    Ok((layout, capacity))
}

/// How far ahead of the heap memory is to be kept ready, at first and at most; 0 for not at all.
fn wants_ahead(layout: &Layout, options: &Options) -> (u64, u64) {
    match options.ahead {
        Some(bytes) => (bytes.min(layout.reserve), bytes.min(layout.reserve)),
        None if layout.is_large() => (DEFAULT_AHEAD, MOST_AHEAD),
        None => (0, 0),
    }
}

/// Adds the reserve-ahead thread to a mapping, if one is wanted.
fn backed(mapping: Mapping, layout: Layout, options: &Options) -> Box<dyn Backing> {
    match (wants_ahead(&layout, options), &options.gate) {
        ((0, _), _) | (_, None) => Box::new(mapping),
        ((ahead, most), Some(gate)) => Box::new(Ahead::start(mapping, layout, ahead, most, gate)),
    }
}

/// Makes the view of a backing whose fixed parts can be touched.
#[expect(unsafe_code, reason = "the one place where a view is made")]
pub(crate) fn view_of(backing: &dyn Backing, limit: u64, places: Places) -> View {
    // SAFETY: the backing is mapped (page-aligned) for `length` bytes, and `Region` keeps it for as long as
    // the view (V3); the fixed parts below `limit` were taken when the region was made.
    unsafe { View::new(backing.base(), backing.length(), limit, places) }
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
    let mut bytes = [0; FIRST_WORDS];
    let n = rustix::io::pread(fd, &mut bytes, 0).map_err(|e| Error::io("read header of", name, e))?;
    if n < bytes.len() {
        return Err(Error::NotReady { name: name.into() });
    }
    let (fixed, dynamic) = bytes.split_at(256);
    let mut head = [0; 256];
    head.copy_from_slice(fixed);
    let birth = Birth::decode(name, &head)?;
    let mut word = [0; 8];
    word.copy_from_slice(&dynamic[at::LIMIT as usize - 256..][..8]);
    // CAPACITY pair: a living owner may raise it meanwhile; the object is longer before the word is higher, so its length is
    // asked for again. A word that no region has is found out when the region is mapped.
    let limit = seal::unseal(u64::from_le_bytes(word))
        .unwrap_or(0)
        .clamp(birth.capacity, birth.layout.reserve);
    let length = shm::length(fd, name)?;
    if length < limit {
        return Err(Error::NotARegion {
            name: name.into(),
            why: format!("it was cut: {length} bytes are left of {limit} (R8)").into(),
        });
    }
    Ok(birth)
}

/// Bytes of the header that are read without mapping the region.
const FIRST_WORDS: usize = 512;

/// How often they are read if they do not fit together.
const WORD_TRIES: usize = 8;

/// Checks the words of the header that change.
fn check_dynamic(view: &View, birth: &Birth) -> Result<()> {
    check_words(|field| view.header_word(field).load(Ordering::Acquire), birth)
}

/// The same, for whoever reads the header otherwise.
pub(crate) fn check_words(get: impl Fn(u64) -> u64, birth: &Birth) -> Result<()> {
    let layout = &birth.layout;
    // A living owner may be growing the region meanwhile; it moves the capacity before `taken`, and that before the end of
    // the heap, so read them in the other order. Where it gives memory back they go down the other way round (W2 of `trim`): then
    // once more.
    let size = |field| {
        let word = get(field);
        seal::unseal(word).ok_or_else(|| Error::damaged(growth::what(field), field, word))
    };
    let read = || -> Result<[u64; 3]> { Ok([size(at::HEAP_END)?, size(at::TAKEN)?, size(at::LIMIT)?]) };
    let mut words = read()?;
    for _ in 0..WORD_TRIES {
        if words[0] <= words[1] {
            break;
        }
        words = read()?;
    }
    let [end, taken, limit] = words;
    size(at::TABLES_MADE)?;
    if limit < birth.capacity || limit > layout.reserve || !limit.is_multiple_of(CHUNK) {
        return Err(Error::damaged("capacity", at::LIMIT, limit));
    }
    if taken < layout.heap || taken > limit || !taken.is_multiple_of(CHUNK) {
        return Err(Error::damaged("end of the memory taken", at::TAKEN, taken));
    }
    if end < layout.heap || end > taken || !end.is_multiple_of(CHUNK) {
        return Err(Error::damaged("end of the heap", at::HEAP_END, end));
    }
    Ok(())
}

/// Checks every part of the header that is bound to anything: for `verify`, under a pass, so that no transaction is open.
pub(crate) fn check_header(view: &View, layout: &Layout, report: &mut Report<'_>) -> Result<()> {
    let mut bytes = [0; 256];
    bytes.copy_from_slice(view.bytes(0, 256, "header")?);
    // A region that is being restored has no magic yet (R4).
    if view.header(at::MAGIC) == 0 {
        bytes[..8].copy_from_slice(&header::MAGIC.to_le_bytes());
    }
    match Birth::decode("", &bytes) {
        Ok(birth) => {
            if let Err(fault) = check_dynamic(view, &birth) {
                report(fault)?;
            }
        }
        // What is wrong with it is told where a region is opened; here it is in use.
        Err(_) if view.header(at::MAGIC) == 0 || view.header(at::MAGIC) == header::MAGIC => {
            report(Error::damaged("header", at::CHECKSUM, view.header(at::CHECKSUM)))?;
        }
        Err(_) => report(Error::damaged("header", at::MAGIC, view.header(at::MAGIC)))?,
    }
    if let Err(fault) = Log::load(view, *layout) {
        report(fault)?;
    }
    let length = view.header(at::LOG_LENGTH);
    if length != 0 {
        report(Error::damaged("undo log", at::LOG_LENGTH, length))?;
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
    pass: &'a Pass<'a>,
}

impl Io<'_> {
    /// A transaction of the library's own, between two movements of bytes.
    pub(crate) fn begin(&mut self) -> Result<Tx<'_>> {
        self.region.begin(self.pass)
    }
}

impl Deref for Io<'_> {
    type Target = View;

    #[inline]
    fn deref(&self) -> &View {
        &self.region.view
    }
}
