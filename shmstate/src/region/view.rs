#![expect(unsafe_code, reason = "the one file that turns offsets into pointers (R3)")]
//! The pointer core: offsets in, words and bytes out, every access checked against the memory that is there (R3).
//!
//! - **V1** Every access is checked to lie inside the memory taken from the mount and to be aligned; an offset that
//!   does not is damage, a typed error. Inside it lie the heap's holes, which nothing that is sound refers to (D1 of `heap::holes`): an
//!   altered offset that leads into one reads zeroes.
//! - **V2** Words are written by relaxed or release atomic stores; bytes of fresh memory by plain copies through
//!   pointers that derive from the base of the mapping.
//! - **V3** The memory outlives the view: a view is only ever lent out by the `Region` that owns the mapping.
//! - **V4** One process and, in it, one thread writes at a time (T4, T5); whoever reads through references does so
//!   under a pass, so that nobody writes meanwhile (R5).
//!
//! It does not know what the bytes mean, except for the two words that say how much memory there is.

use crate::crash::{self, Point};
use crate::error::{Error, Result};
use crate::region::header::{FIRST_LOG, HEADER, ROW, ROWS, at};
use crate::region::mixed::Mixed;
use crate::region::moves::Moves;
use crate::region::seal;
use crate::schema::Plain;
use crate::table::catalog::IDENTITY;
use crate::table::declared::Expected;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Header and catalog: every region has so much, and no limit is below it, so that differences from a limit do not wrap.
const FIXED: u64 = HEADER + ROWS * ROW;
/// The bits of the offset of a row.
const ROWS_MASK: u64 = (HEADER + ROWS * ROW).next_power_of_two() - ROW;

const _: () = {
    assert!(HEADER.is_multiple_of(ROW) && ROW.is_power_of_two() && IDENTITY.is_multiple_of(8));
    // The first extent of the log lies behind the catalog.
    assert!(ROWS_MASK + ROW <= FIXED + FIRST_LOG);
};

/// What is the same for a region's whole life, kept beside the pointer so that no lookup has to read it from the header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    /// A number that tells this region from others.
    pub(crate) tag: u64,
    /// Where the chunk table starts.
    pub(crate) chunks: u64,
    /// Where the heap starts.
    pub(crate) heap: u64,
}

/// The memory of a region, as whoever holds a pass may see it. `Reader`, `Io` and `Tx` lend it out.
#[derive(Debug)]
pub struct View {
    base: NonNull<u8>,
    capacity: u64,
    /// Which region this is, and where its heap lies.
    places: Places,
    /// Accesses below this are inside taken memory; a cache of the header's word.
    limit: AtomicU64,
    mixed: Mixed,
    moves: Moves,
    expected: Expected,
    #[cfg(test)]
    stores: std::sync::Mutex<Option<Vec<Store>>>,
}

/// One store, as the replay test records it.
#[cfg(test)]
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
    /// It is no store, but memory given back.
    pub(crate) punched: bool,
}

// SAFETY: the pointer is to memory that any thread may access (V3); who writes is ruled by V4.
unsafe impl Send for View {}
// SAFETY: as above; words are atomics and references are only made under a pass (V4).
unsafe impl Sync for View {}

impl View {
    /// A view of `capacity` bytes at `base`.
    ///
    /// # Safety
    /// `base` must be 64-byte aligned and point to `capacity` bytes that stay mapped and are accessed by this process only
    /// through this view for as long as the view lives (V3), of which the first `limit` can be touched.
    pub(crate) unsafe fn new(base: NonNull<u8>, capacity: u64, limit: u64, places: Places) -> Self {
        Self {
            base,
            capacity,
            places,
            limit: AtomicU64::new(limit),
            mixed: Mixed::default(),
            moves: Moves::default(),
            expected: Expected::default(),
            #[cfg(test)]
            stores: std::sync::Mutex::new(None),
        }
    }

    /// A number that tells this region from others.
    #[inline]
    pub(crate) fn tag(&self) -> u64 {
        self.places.tag
    }

    /// The identity that stands in a row of the catalog (R1 of `table::catalog`): 0 if there is no table.
    #[inline(always)]
    pub(crate) fn identity(&self, row: u64) -> u64 {
        // The rows of handles are rows; what is no row reads some word of the fixed parts, which is no harm.
        let at = (row & ROWS_MASK) + IDENTITY;
        // SAFETY: aligned, and within catalog and first extent of the log, which every region has and which are always taken (V1, V3).
        unsafe { self.base.add(at as usize).cast::<AtomicU64>().as_ref() }.load(Ordering::Relaxed)
    }

    /// What this process knows of tables with records of several shapes.
    #[inline(always)]
    pub(crate) fn mixed(&self) -> &Mixed {
        &self.mixed
    }

    /// Whether a program that knows only older shapes could go on after this one, by the twins that this one keeps for it
    /// ([`Steps::back`](crate::Steps::back)).
    #[must_use]
    pub fn has_ways_back(&self) -> bool {
        let mixed = self.mixed.is_active()
            && self
                .mixed
                .all()
                .iter()
                .any(|(_, bridge)| bridge.is_of(self) && bridge.has_way_back());
        mixed || self.moves.all().iter().any(|mover| mover.has_way_back())
    }

    /// What this process knows of tables whose records move to others.
    pub(crate) fn moves(&self) -> &Moves {
        &self.moves
    }

    /// Which tables the program declared.
    pub(crate) fn expected(&self) -> &Expected {
        &self.expected
    }

    /// Says which.
    pub(crate) fn expect(&mut self, expected: Expected) {
        self.expected = expected;
    }

    /// What this process knows of them, to forget what was converted.
    pub(crate) fn mixed_mut(&mut self) -> &mut Mixed {
        &mut self.mixed
    }

    /// Where chunk table and heap lie.
    #[inline]
    pub(crate) fn places(&self) -> Places {
        self.places
    }

    /// What is below the limit now, for accesses close together.
    #[inline]
    pub(crate) fn window(&self) -> Window<'_> {
        Window {
            base: self.base,
            limit: self.limit.load(Ordering::Relaxed),
            view: PhantomData,
        }
    }

    /// A window after another look at how much memory was taken.
    #[cold]
    pub(crate) fn fresh_window(&self) -> Window<'_> {
        // Where there is more than was known, `check_again` takes it down.
        let _ = self.check_again(self.limit.load(Ordering::Relaxed), 8, 8, "");
        self.window()
    }

    /// Bytes of the mapping: the reserved address space.
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    #[inline]
    fn check(&self, offset: u64, length: u64, align: u64, what: &'static str) -> Result<()> {
        let end = offset.wrapping_add(length);
        if end <= self.limit.load(Ordering::Relaxed) && end >= offset && offset & (align - 1) == 0 {
            return Ok(());
        }
        self.check_again(offset, length, align, what)
    }

    /// The watermark may have moved since it was cached.
    #[cold]
    fn check_again(&self, offset: u64, length: u64, align: u64, what: &'static str) -> Result<()> {
        let header = self.limit.load(Ordering::Relaxed);
        let end = offset.checked_add(length);
        if let Some(end) = end
            && offset & (align - 1) == 0
            && header >= at::RESERVED
        {
            // The mapping may reach further than the object behind it: the capacity is what can be touched.
            let limit = self.size(at::LIMIT).min(self.capacity);
            let taken = self.size(at::TAKEN).min(limit);
            if taken > header {
                self.limit.store(taken, Ordering::Relaxed);
            }
            if end <= taken {
                return Ok(());
            }
        }
        Err(Error::damaged(what, offset, length))
    }

    /// Looks at how much memory is taken: it may have become less, by a trim of this process, or of the region's owner before it.
    /// If the words that say so were altered, what was known stays: a limit below the fixed parts would let everything pass.
    pub(crate) fn look_at_limit(&self) {
        let limit = self.size(at::LIMIT).min(self.capacity);
        let taken = self.size(at::TAKEN).min(limit);
        if taken >= self.places.heap && taken >= FIXED {
            self.limit.store(taken, Ordering::Relaxed);
        }
    }

    /// A word that is known to be inside the header.
    #[inline]
    fn raw_word(&self, offset: u64) -> &AtomicU64 {
        debug_assert!(offset + 8 <= at::RESERVED && offset.is_multiple_of(8));
        // SAFETY: callers pass offsets of header words, which lie in the first page of every mapping (V1, V3).
        unsafe { self.base.add(offset as usize).cast::<AtomicU64>().as_ref() }
    }

    /// The word at `offset`.
    #[inline]
    pub(crate) fn word(&self, offset: u64, what: &'static str) -> Result<&AtomicU64> {
        self.check(offset, 8, 8, what)?;
        // SAFETY: checked to be inside and aligned (V1); the memory outlives the view (V3).
        Ok(unsafe { self.base.add(offset as usize).cast::<AtomicU64>().as_ref() })
    }

    /// `N` words side by side at `offset`: one check for all.
    #[inline]
    pub(crate) fn words<const N: usize>(&self, offset: u64, what: &'static str) -> Result<[u64; N]> {
        self.check(offset, N as u64 * 8, 8, what)?;
        // SAFETY: checked to be inside and aligned (V1); atomics may be shared (V2).
        let words = unsafe { self.base.add(offset as usize).cast::<[AtomicU64; N]>().as_ref() };
        Ok(std::array::from_fn(|i| words[i].load(Ordering::Relaxed)))
    }

    /// Reads the word at `offset`.
    #[inline]
    pub(crate) fn load(&self, offset: u64, what: &'static str) -> Result<u64> {
        Ok(self.word(offset, what)?.load(Ordering::Relaxed))
    }

    /// Reads a header word.
    #[inline]
    pub(crate) fn header(&self, offset: u64) -> u64 {
        self.raw_word(offset).load(Ordering::Relaxed)
    }

    /// One of the header's words that say how large the region is; 0 if it was altered, so that nothing is within it.
    #[inline]
    pub(crate) fn size(&self, offset: u64) -> u64 {
        seal::unseal(self.header(offset)).unwrap_or(0)
    }

    /// Writes such a word.
    pub(crate) fn set_size(&self, offset: u64, bytes: u64) {
        self.set_header(offset, seal::seal(bytes));
    }

    /// A header word that other processes change or wait for.
    #[inline]
    pub(crate) fn header_word(&self, offset: u64) -> &AtomicU64 {
        self.raw_word(offset)
    }

    /// Writes a header word that no transaction covers.
    #[inline]
    pub(crate) fn set_header(&self, offset: u64, value: u64) {
        self.raw_word(offset).store(value, Ordering::Relaxed);
        self.record(offset, 8);
    }

    /// Writes a header word after everything before it (T6).
    #[inline]
    pub(crate) fn publish_header(&self, offset: u64, value: u64) {
        self.raw_word(offset).store(value, Ordering::Release);
        self.record(offset, 8);
    }

    /// Writes a word. The caller has logged it, or nobody refers to the memory yet.
    #[inline]
    pub(crate) fn store(&self, offset: u64, value: u64, what: &'static str) -> Result<()> {
        self.word(offset, what)?.store(value, Ordering::Relaxed);
        self.record(offset, 8);
        Ok(())
    }

    /// Copies `words` words from one place of the region to another, as words.
    #[inline]
    pub(crate) fn copy_words(&self, from: u64, to: u64, words: u64, what: &'static str) -> Result<()> {
        self.check(from, words * 8, 8, what)?;
        self.check(to, words * 8, 8, what)?;
        for i in 0..words as usize {
            // SAFETY: both ranges were checked (V1); words are atomics (V2).
            unsafe {
                let from = self.base.add(from as usize).cast::<AtomicU64>().add(i).as_ref();
                let to = self.base.add(to as usize).cast::<AtomicU64>().add(i).as_ref();
                to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
        self.record(to, words * 8);
        Ok(())
    }

    /// Copies `words` words to `to`, and behind them the two that `tail` makes of a sum over them: an entry of the log. The sum
    /// changes with any byte.
    #[inline]
    pub(crate) fn append(
        &self,
        from: u64,
        to: u64,
        words: u64,
        tail: impl FnOnce(u64) -> [u64; 2],
        what: &'static str,
    ) -> Result<()> {
        self.check(from, words * 8, 8, what)?;
        self.check(to, words * 8 + 16, 8, what)?;
        let n = words as usize;
        // SAFETY: both ranges were checked (V1); words are atomics (V2).
        unsafe {
            let from = self.base.add(from as usize).cast::<AtomicU64>();
            let to = self.base.add(to as usize).cast::<AtomicU64>();
            let mut sum = 0u64;
            for i in 0..n {
                let word = from.add(i).as_ref().load(Ordering::Relaxed);
                sum = sum.rotate_left(7) ^ word;
                to.add(i).as_ref().store(word, Ordering::Relaxed);
            }
            let [first, second] = tail(sum);
            to.add(n).as_ref().store(first, Ordering::Relaxed);
            to.add(n + 1).as_ref().store(second, Ordering::Relaxed);
        }
        self.record(to, words * 8 + 16);
        Ok(())
    }

    /// The sum over `words` words, as [`append`](Self::append) forms it.
    pub(crate) fn sum(&self, offset: u64, words: u64, what: &'static str) -> Result<u64> {
        let mut sum = 0u64;
        for i in 0..words {
            sum = sum.rotate_left(7) ^ self.load(offset + i * 8, what)?;
        }
        Ok(sum)
    }

    /// What the word that `offset` lies in would be with `value` written at `offset`; `None` if it does not fit in that word. The
    /// field is part of a record that was checked.
    #[inline(always)]
    pub(crate) fn merged_known<F: Plain>(&self, offset: u64, value: &F) -> Option<u64> {
        let (inside, size) = ((offset & 7) as usize, size_of::<F>());
        if inside + size > 8 {
            return None;
        }
        if size == 8 {
            // Nothing of the old word is left.
            // SAFETY: as many bytes, all of them initialised (P1 of `schema::plain`).
            return Some(unsafe { std::ptr::from_ref(value).cast::<u64>().read_unaligned() });
        }
        // SAFETY: the field was found in a record that was checked (A4 of `archive`), whose words are aligned (V1).
        let word = unsafe { self.known(offset & !7).cast::<AtomicU64>().as_ref() };
        let mut bytes = word.load(Ordering::Relaxed).to_ne_bytes();
        // SAFETY: `size` bytes from `inside` on lie in the array; a plain value has no uninitialised byte (P1 of `schema::plain`).
        unsafe {
            std::ptr::copy_nonoverlapping(
                std::ptr::from_ref(value).cast::<u8>(),
                bytes.as_mut_ptr().add(inside),
                size,
            );
        }
        Some(u64::from_ne_bytes(bytes))
    }

    /// Copies bytes into memory that nobody refers to: a fresh allocation, or the free part of a ring.
    #[inline]
    pub(crate) fn write_fresh(&self, offset: u64, bytes: &[u8], what: &'static str) -> Result<()> {
        self.check(offset, bytes.len() as u64, 1, what)?;
        // SAFETY: checked to be inside (V1); nobody holds a reference into it, by the caller's word and V4; a slice of
        // this process cannot overlap memory that is only reached through this view (V3).
        unsafe {
            let to = self.base.add(offset as usize).as_ptr();
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
        self.record(offset, bytes.len() as u64);
        Ok(())
    }

    /// Writes words into memory that nobody refers to.
    pub(crate) fn write_fresh_words(&self, offset: u64, words: &[u64], what: &'static str) -> Result<()> {
        for (i, word) in words.iter().enumerate() {
            self.store(offset + i as u64 * 8, *word, what)?;
        }
        Ok(())
    }

    /// Zeroes memory that nobody refers to.
    pub(crate) fn zero_fresh(&self, offset: u64, length: u64, what: &'static str) -> Result<()> {
        self.check(offset, length, 1, what)?;
        // SAFETY: as in `write_fresh`.
        unsafe { self.base.add(offset as usize).as_ptr().write_bytes(0, length as usize) };
        self.record(offset, length);
        Ok(())
    }

    /// The bytes at `offset`, for as long as the view is lent out: nobody writes meanwhile (V4).
    #[inline]
    pub(crate) fn bytes(&self, offset: u64, length: u64, what: &'static str) -> Result<&[u8]> {
        self.check(offset, length, 1, what)?;
        // SAFETY: inside (V1), initialised (shared memory starts as zeroes), not written while lent out (V4).
        Ok(unsafe { std::slice::from_raw_parts(self.base.add(offset as usize).as_ptr(), length as usize) })
    }

    /// A checked pointer to `length` bytes at `offset`.
    #[inline]
    pub(crate) fn pointer(&self, offset: u64, length: u64, align: u64, what: &'static str) -> Result<NonNull<u8>> {
        self.check(offset, length, align, what)?;
        // SAFETY: inside the mapping (V1).
        Ok(unsafe { self.base.add(offset as usize) })
    }

    /// A pointer to a place that was checked before, see A4 of `archive`.
    #[inline(always)]
    pub(crate) fn known(&self, offset: u64) -> NonNull<u8> {
        debug_assert!(offset < self.capacity);
        // SAFETY: the caller checked the place when it was found (V1); and memory in use is not given back (V1).
        unsafe { self.base.add(offset as usize) }
    }

    /// Writes a log entry of three words. Its place was checked when the log's extent was entered.
    #[inline(always)]
    pub(crate) fn enter_known(&self, entry: u64, words: [u64; 3]) {
        debug_assert!(entry.is_multiple_of(8) && entry + 24 <= self.capacity);
        // SAFETY: checked before, by the caller's word (V1); atomics (V2).
        let entry_words = unsafe { self.base.add(entry as usize).cast::<[AtomicU64; 3]>().as_ref() };
        for (to, word) in entry_words.iter().zip(words) {
            to.store(word, Ordering::Relaxed);
        }
        self.record(entry, 24);
    }

    /// Changes the word at `offset`, part of the record whose header is at `header`, with everything that belongs to it: log entry
    /// at `entry` with its two last words from `tail`, `publish`, sequence, word, sequence. All three places were checked before:
    /// the record when it was found, the place in the log when its extent was entered.
    #[inline(always)]
    pub(crate) fn change_known_word(
        &self,
        [entry, offset, header]: [u64; 3],
        value: u64,
        tail: impl FnOnce(u64) -> [u64; 2],
        publish: impl FnOnce(),
        [changing, settled]: [fn(u64) -> u64; 2],
    ) {
        // Read once: the stores below could be to anywhere, for all the compiler knows.
        let base = self.base;
        let at = |offset: u64| {
            debug_assert!(offset.is_multiple_of(8) && offset < self.capacity);
            // SAFETY: checked before, by the caller's word (V1); an atomic (V2).
            unsafe { base.add(offset as usize).cast::<AtomicU64>().as_ref() }
        };
        let old = at(offset).load(Ordering::Relaxed);
        let [first, second] = tail(old);
        at(entry).store(old, Ordering::Relaxed);
        at(entry + 8).store(first, Ordering::Relaxed);
        at(entry + 16).store(second, Ordering::Relaxed);
        self.record(entry, 24);
        publish();
        let word = at(header).load(Ordering::Relaxed);
        at(header).store(changing(word), Ordering::Relaxed);
        self.record(header, 8);
        // SEQUENCE pair, see `table::record`.
        fence(Ordering::Release);
        crash::point(Point::FieldOdd);
        at(offset).store(value, Ordering::Relaxed);
        self.record(offset, 8);
        crash::point(Point::FieldChanged);
        at(header).store(settled(word), Ordering::Release);
        self.record(header, 8);
    }

    /// Writes a word of the record whose header is at `header`, which is a transaction of its own (T8), and then the record's next
    /// sequence. Both places were checked when the record was found.
    #[inline(always)]
    pub(crate) fn commit_known_word(&self, offset: u64, value: u64, header: u64, settled: fn(u64) -> u64) {
        // Read once: the stores below could be to anywhere, for all the compiler knows.
        let base = self.base;
        let at = |offset: u64| {
            debug_assert!(offset.is_multiple_of(8) && offset < self.capacity);
            // SAFETY: checked before, by the caller's word (V1); an atomic (V2).
            unsafe { base.add(offset as usize).cast::<AtomicU64>().as_ref() }
        };
        at(offset).store(value, Ordering::Relaxed);
        self.record(offset, 8);
        crash::point(Point::WordStored);
        // WORD pair: the word, then the sequence: an observer that saw two such words change saw the sequence change too.
        fence(Ordering::Release);
        let word = at(header).load(Ordering::Relaxed);
        at(header).store(settled(word), Ordering::Relaxed);
        self.record(header, 8);
        crash::point(Point::WordSettled);
    }

    /// Lends two pieces of a ring's free part to `io` for the kernel to fill.
    ///
    /// The caller vouches that no committed byte lies in them and that it holds the region exclusively (S4 of streams).
    pub(crate) fn fill<R>(
        &self,
        first: (u64, u64),
        second: (u64, u64),
        io: impl FnOnce(&mut [u8], &mut [u8]) -> R,
    ) -> Result<R> {
        self.check(first.0, first.1, 1, "ring")?;
        self.check(second.0, second.1, 1, "ring")?;
        if first.1 != 0 && second.1 != 0 && first.0 < second.0 + second.1 && second.0 < first.0 + first.1 {
            return Err(Error::damaged("ring", first.0, second.0));
        }
        // SAFETY: both inside (V1) and apart (just checked); nobody else refers to the free part of a ring (V4, S4).
        let (a, b) = unsafe {
            (
                std::slice::from_raw_parts_mut(self.base.add(first.0 as usize).as_ptr(), first.1 as usize),
                std::slice::from_raw_parts_mut(self.base.add(second.0 as usize).as_ptr(), second.1 as usize),
            )
        };
        let result = io(a, b);
        self.record(first.0, first.1);
        self.record(second.0, second.1);
        Ok(result)
    }

    /// Asks the processor to fetch the line at `offset`, wherever that is.
    #[inline]
    pub(crate) fn prefetch(&self, offset: u64) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch has no effect but on caches, also of an address that is not mapped.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(self.base.as_ptr().wrapping_add(offset as usize).cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = offset;
    }

    /// Notes a store for the replay test, and is a point where a process can be killed or stopped.
    #[cfg(not(test))]
    #[inline(always)]
    pub(crate) fn record(&self, _offset: u64, _length: u64) {
        crash::point(Point::Stored);
    }

    /// Notes a store for the replay test: what the bytes are now.
    #[cfg(test)]
    pub(crate) fn record(&self, offset: u64, length: u64) {
        crash::point(Point::Stored);
        let mut stores = self.stores.lock().expect("recorder");
        if let Some(stores) = stores.as_mut() {
            // SAFETY: the store that is recorded was checked (V1).
            let bytes = unsafe {
                std::slice::from_raw_parts(self.base.add(offset as usize).as_ptr(), length as usize).to_vec()
            };
            // The replay stops between any two words: a SIGKILL may fall between any two stores.
            for (i, word) in bytes.chunks(8).enumerate() {
                stores.push(Store {
                    offset: offset + i as u64 * 8,
                    bytes: word.to_vec(),
                    punched: false,
                });
            }
        }
    }

    /// Notes that a range was given back, and makes it what it would be then.
    #[cfg(test)]
    pub(crate) fn punched(&self, offset: u64, length: u64) {
        // SAFETY: tests only view plain memory, all of which can be touched; nobody refers to what is given back (D1 of `heap::holes`).
        unsafe { self.base.add(offset as usize).as_ptr().write_bytes(0, length as usize) };
        if let Some(stores) = self.stores.lock().expect("recorder").as_mut() {
            stores.push(Store {
                offset,
                bytes: vec![0; length as usize],
                punched: true,
            });
        }
    }

    /// Starts recording, from an image of the memory as it is.
    #[cfg(test)]
    pub(crate) fn start_recording(&self) -> Vec<u8> {
        let image = self.image();
        self.record_from_here();
        image
    }

    /// Starts recording; whoever wants it knows what the memory is.
    #[cfg(test)]
    pub(crate) fn record_from_here(&self) {
        *self.stores.lock().expect("recorder") = Some(Vec::new());
    }

    /// Stops recording and gives every store since.
    #[cfg(test)]
    pub(crate) fn stop_recording(&self) -> Vec<Store> {
        self.stores.lock().expect("recorder").take().unwrap_or_default()
    }

    /// A copy of all memory.
    #[cfg(test)]
    pub(crate) fn image(&self) -> Vec<u8> {
        // SAFETY: tests only view plain memory, all of which can be touched.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.capacity as usize).to_vec() }
    }
}

/// A view whose limit was read once, for accesses close together on the hot paths. It says only *that* an access is not
/// possible. Who gets such an answer asks for a [fresh](View::fresh_window) window, for the limit may have moved, and if that does not
/// help looks again through the view, which says why: so nothing but the way that succeeds is in the hot code.
///
/// Memory is only given back while the region is held exclusively (W5 of `trim`), so a limit that was read stays true for as long as the
/// view is lent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window<'v> {
    base: NonNull<u8>,
    limit: u64,
    view: PhantomData<&'v View>,
}

/// Something is not where it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bad;

/// A line of the cache.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [u8; LINE as usize]);

/// Bytes of a line.
const LINE: u64 = 64;

/// A window that ends a line before the limit, so that one number is enough to check words, lines and short tails: for the first look of a
/// lookup, after whose `Bad` comes a second one through the window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Near<'v> {
    window: Window<'v>,
    limit: u64,
}

impl<'v> Near<'v> {
    #[inline(always)]
    fn pointer(self, offset: u64) -> std::result::Result<NonNull<u8>, Bad> {
        if offset > self.limit {
            return Err(Bad);
        }
        // SAFETY: checked to be inside, with a line behind it (V1).
        Ok(unsafe { self.window.base.add(offset as usize) })
    }

    /// The word at `offset`, wherever that is.
    #[inline(always)]
    pub(crate) fn word_at(self, offset: u64) -> std::result::Result<u64, Bad> {
        // SAFETY: a word is no longer than a line; initialised, not written while lent out (V4).
        Ok(unsafe { self.pointer(offset)?.cast::<u64>().read_unaligned() })
    }

    /// The line that `offset` lies in.
    #[inline(always)]
    pub(crate) fn line(self, offset: u64) -> std::result::Result<&'v Line, Bad> {
        // SAFETY: aligned like the base (`View::new`); initialised, not written while lent out (V4).
        Ok(unsafe { self.pointer(offset & !(LINE - 1))?.cast::<Line>().as_ref() })
    }

    /// The same as [`Window::tail`].
    #[inline(always)]
    pub(crate) fn tail(self, offset: u64, length: u64) -> std::result::Result<&'v [u8], Bad> {
        if length + 8 > LINE {
            return self.window.tail(offset, length);
        }
        let start = self.pointer(offset.wrapping_sub(length))?;
        // SAFETY: no longer than a line; initialised, not written while lent out (V4).
        Ok(unsafe { std::slice::from_raw_parts(start.as_ptr(), length as usize + 8) })
    }
}

impl<'v> Window<'v> {
    /// The words of a catalog row from `offset` on: a row lies in the fixed part of every region (V1), and table handles are only made
    /// of rows that were found there.
    #[inline(always)]
    pub(crate) fn row<const N: usize>(self, offset: u64) -> &'v [u64; N] {
        debug_assert!(offset + N as u64 * 8 <= FIXED && offset.is_multiple_of(8));
        // SAFETY: inside the fixed part and aligned, by the caller's word (V1); not written while lent out (V4).
        unsafe { self.base.add(offset as usize).cast::<[u64; N]>().as_ref() }
    }

    #[inline(always)]
    pub(crate) fn near(self) -> Near<'v> {
        Near {
            window: self,
            // The limit is above the fixed parts of a region, so the difference does not wrap.
            limit: self.limit.wrapping_sub(LINE),
        }
    }

    /// The line that `offset` lies in.
    #[inline(always)]
    pub(crate) fn line(self, offset: u64) -> std::result::Result<&'v Line, Bad> {
        let offset = offset & !(LINE - 1);
        if offset > self.limit.wrapping_sub(LINE) {
            return Err(Bad);
        }
        // SAFETY: checked to be inside (V1), aligned like the base (`View::new`), initialised, not written while lent out (V4).
        Ok(unsafe { self.base.add(offset as usize).cast::<Line>().as_ref() })
    }

    /// Whether `offset` lies in memory that was taken from the mount, `above` or behind.
    #[inline(always)]
    pub(crate) fn reaches(self, offset: u64, above: u64) -> bool {
        offset.wrapping_sub(above) < self.limit.wrapping_sub(above)
    }

    /// The word at `offset`, wherever that is.
    #[inline(always)]
    pub(crate) fn word_at(self, offset: u64) -> std::result::Result<u64, Bad> {
        self.array(offset).map(|bytes| u64::from_le_bytes(*bytes))
    }

    /// The `N` bytes at `offset`, at most as many as every region has, wherever that is.
    #[inline(always)]
    pub(crate) fn array<const N: usize>(self, offset: u64) -> std::result::Result<&'v [u8; N], Bad> {
        const { assert!(N as u64 <= HEADER) };
        // The limit is above the fixed parts of a region, so the difference does not wrap.
        if offset > self.limit.wrapping_sub(N as u64) {
            return Err(Bad);
        }
        // SAFETY: checked to be inside (V1), initialised, not written while lent out (V4).
        Ok(unsafe { self.base.add(offset as usize).cast::<[u8; N]>().as_ref() })
    }

    /// `length` bytes at `offset`.
    #[inline]
    pub(crate) fn bytes(self, offset: u64, length: u64) -> std::result::Result<&'v [u8], Bad> {
        // Not as `array` does: the length may be more than what every region has.
        if offset.checked_add(length).is_none_or(|end| end > self.limit) {
            return Err(Bad);
        }
        // SAFETY: checked to be inside (V1), initialised, not written while lent out (V4).
        Ok(unsafe { std::slice::from_raw_parts(self.base.add(offset as usize).as_ptr(), length as usize) })
    }

    /// The `length` bytes before `offset` together with the 8 behind it: a record's tail.
    #[inline(always)]
    pub(crate) fn tail(self, offset: u64, length: u64) -> std::result::Result<&'v [u8], Bad> {
        let start = offset.wrapping_sub(length);
        let fits = length + 8 <= HEADER || length + 8 <= self.limit;
        if !fits || start > self.limit.wrapping_sub(length + 8) {
            return Err(Bad);
        }
        // SAFETY: checked to be inside (V1), initialised, not written while lent out (V4).
        Ok(unsafe { std::slice::from_raw_parts(self.base.add(start as usize).as_ptr(), length as usize + 8) })
    }
}
