//! Transactions: a set of changes to a region that a crash shows whole or not at all (T1–T7 in DESIGN.md).
//!
//! A [`Tx`] borrows the region exclusively and a pass. Every change of memory that committed state refers to goes through
//! [`Tx::put`] or its kin, which log first; the contents of fresh allocations go around them (T3). It does not know tables.
//!
//! - **T9** While a record is changed in place through the log its sequence is odd. It is *settled* — checksum, then sequence — before anything else is
//!   done with the transaction, so several changes of one record after one another settle once, and what changes it needs no end.
//! - **T8** A transaction that changes nothing but one aligned word needs no log: a store of a word is there or not. So the first
//!   change of a field that lies in one word is *held back*: written by the commit if nothing else comes.
//!   Any other access to the region through the transaction, reading too, first logs and writes it like every other change.

mod part;

pub(crate) mod undo;

use crate::broken::{self, Broken};
use crate::crash::{self, Point};
use crate::error::{Error, Result};
use crate::gate::Pass;
use crate::heap;
use crate::region::Region;
use crate::region::header::{Activity, at};
use crate::region::view::View;
use crate::schema::Plain;
use crate::table::mixed::At;
use crate::table::record;
use std::ops::Deref;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering, compiler_fence};

/// How far the open transaction has come, and the word that it holds back (T8). It lies in the [`Region`], so that a [`Tx`] is
/// small; the atomics only let a transaction that is being read write what it had held back.
///
/// One word says all that the hot paths have to know. Who has the transaction for itself reads and writes it as what it is, not as an atomic:
/// then the compiler knows in `commit` what `set` has written, and looks at it once.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    stage: AtomicU8,
    /// Where the word is that is held back, and what it will be.
    offset: AtomicU64,
    value: AtomicU64,
    /// The header of the record that it is part of, or of the one that is being changed.
    record: AtomicU64,
    /// How that one is changed ([`record::CHECKED`], [`record::SEALED`]).
    how: AtomicU8,
    /// Why it cannot be committed any more ([`part::DAMAGE`], [`part::PANIC`]).
    failed: AtomicU8,
}

/// No transaction is open, or it has changed nothing; no checkpoint is being copied.
const UNTOUCHED: u8 = 0;
/// It holds one word back and has changed nothing else.
const HELD: u8 = 1;
/// Anything else: every change goes through the log.
const LOGGED: u8 = 2;
/// The same, and a record is being changed (T9).
const CHANGING: u8 = 3;
/// The bit of the stages in which something has to be done before anything else.
const PENDING: u8 = 1;
const _: () = assert!(HELD & PENDING != 0 && CHANGING & PENDING != 0 && (UNTOUCHED | LOGGED) & PENDING == 0);

impl Progress {
    #[inline(always)]
    fn now(&mut self) -> u8 {
        *self.stage.get_mut()
    }

    #[inline(always)]
    pub(crate) fn is_untouched(&mut self) -> bool {
        self.now() == UNTOUCHED
    }

    #[inline(always)]
    pub(crate) fn is_pending(&self) -> bool {
        self.stage.load(Ordering::Relaxed) & PENDING != 0
    }

    fn is_changing(&self, record: u64) -> bool {
        self.stage.load(Ordering::Relaxed) == CHANGING && self.record.load(Ordering::Relaxed) == record
    }

    fn change(&self, record: u64, how: u8) {
        self.offset.store(record, Ordering::Relaxed);
        self.record.store(record, Ordering::Relaxed);
        self.how.store(how, Ordering::Relaxed);
        self.enter(CHANGING);
    }

    #[inline(always)]
    fn enter(&self, stage: u8) {
        self.stage.store(stage, Ordering::Relaxed);
    }

    /// Nothing is left of a transaction, but a checkpoint may be being copied.
    #[inline(always)]
    pub(crate) fn rest(&self, hooked: bool) {
        self.enter(if hooked { LOGGED } else { UNTOUCHED });
    }

    #[inline(always)]
    fn hold(&mut self, offset: u64, value: u64, record: u64) {
        *self.offset.get_mut() = offset;
        *self.value.get_mut() = value;
        *self.record.get_mut() = record;
        *self.stage.get_mut() = HELD;
    }

    /// Takes what is held back, as it is.
    #[inline(always)]
    fn take(&mut self) -> [u64; 3] {
        *self.stage.get_mut() = UNTOUCHED;
        [&mut self.offset, &mut self.value, &mut self.record].map(|word| *word.get_mut())
    }

    /// Offset, value, record of the word that is held back.
    #[inline(always)]
    fn held(&self) -> [u64; 3] {
        [&self.offset, &self.value, &self.record].map(|word| word.load(Ordering::Relaxed))
    }
}

/// An open transaction. Dropped without [`commit`](Tx::commit), also by a panic, it leaves no trace (T2).
///
/// An operation of a table that fails has changed nothing: the transaction goes on as if it had not been called, and may be committed. What several
/// operations do together is made one by [`savepoint`](Tx::savepoint). What a program's own closure changed in records that it was lent (`for_each_mut`, `update_many`,
/// `and_modify`) before it returned an error, or panicked, was operations by themselves, and stays until the transaction is rolled back.
///
/// ```
/// # fn main() -> shmstate::Result<()> {
/// # use shmstate::{Error, Map, Region};
/// let mut region = Region::in_memory(4 << 20)?;
/// let gate = region.gate().clone();
/// let pass = gate.enter()?;
/// let mut tx = region.begin(&pass)?;
/// let mails: Map<u64, Vec<u8>> = Map::create(&mut tx, "mails")?;
/// let full = (0..).find(|id| matches!(mails.insert(&mut tx, id, &vec![0; 60_000]), Err(Error::RegionFull { .. })));
/// tx.commit()?;
/// assert_eq!(Some(mails.len(&*region.read(&pass)?)?), full);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// What changes writes its undo first, so nearly everything that takes a `&mut Tx` can give those of the *log*: [`Error::RegionFull`],
/// [`Error::OutOfSpace`], where memory for a longer log is not to be had. So can what makes a record of a table that migrates or moves be changed for the first time: it
/// makes a record. Those of the *heap* are the same two, where memory for records, pages or nodes is not to be had, and [`Error::TooLarge`].
///
/// It has no state of its own: all is in the region. So what seldom happens is done by functions of the region, or by a copy
/// (`apart`), and a transaction whose address nobody was given lives in registers.
#[derive(Debug)]
pub struct Tx<'a> {
    pub(crate) region: &'a mut Region,
    pass: &'a Pass<'a>,
}

impl Deref for Tx<'_> {
    type Target = View;

    #[inline(always)]
    fn deref(&self) -> &View {
        if self.region.progress.is_pending() {
            flush(self.region);
        }
        &self.region.view
    }
}

impl<'a> Tx<'a> {
    /// The region is prepared: nothing is left of another transaction.
    #[inline(always)]
    pub(crate) fn begin(region: &'a mut Region, pass: &'a Pass<'a>) -> Self {
        Self { region, pass }
    }

    /// Makes the changes permanent: whoever opens the region after this sees all of them, whatever happens to this process.
    ///
    /// # Errors
    /// What is freed is logged, so [`Error::RegionFull`], [`Error::OutOfSpace`], [`Error::TooLarge`]; [`Error::Damaged`]; [`Error::BrokenOff`]; and, for
    /// tables with a way back or a move, what writing the older shape or the source gives. The transaction is then rolled back.
    #[inline(always)]
    pub fn commit(self) -> Result<()> {
        // From here on nothing is taken back by being dropped, but by `finish` itself.
        let mut tx = std::mem::ManuallyDrop::new(self);
        match tx.region.progress.now() {
            HELD => {
                tx.commit_word();
                Ok(())
            }
            UNTOUCHED => {
                tx.pass.note_commit();
                Ok(())
            }
            _ => tx.apart(|tx| {
                if tx.region.touched.is_empty() && tx.region.carried.is_empty() {
                    tx.finish()
                } else {
                    tx.commit_touched()
                }
            }),
        }
    }

    /// First the sources of moves whose targets were changed (F2 of `region::moves`), which may be touched by that; then the twins of the records that
    /// were changed (B2 of `region::mixed`). What goes wrong there, also a panic of the program's code, takes the transaction back.
    #[cold]
    fn commit_touched(&mut self) -> Result<()> {
        if self.region.progress.failed.load(Ordering::Relaxed) != 0 {
            return Err(self.refuse());
        }
        // Taken back when dropped.
        let mut tx = Tx {
            region: &mut *self.region,
            pass: self.pass,
        };
        tx.follow()?;
        std::mem::ManuallyDrop::new(tx).finish()
    }

    fn follow(&mut self) -> Result<()> {
        let movers = self.moves().all();
        // A source that follows may be the target of another move, whose source follows then: at most as often as there are moves.
        for _ in 0..=movers.len() {
            let mut carried = std::mem::take(&mut self.region.carried);
            carried.sort_unstable();
            carried.dedup();
            for (mover, key) in carried {
                if let Some(mover) = movers.get(mover) {
                    mover.mirror(self, &key)?;
                }
            }
        }
        // Moves in a circle do not come to an end: what they have left is not the next transaction's.
        self.region.carried.clear();
        let mut touched = std::mem::take(&mut self.region.touched);
        touched.sort_unstable();
        // One that was touched more than once is taken for changed.
        touched.dedup_by(|next, kept| {
            let same = next[..3] == kept[..3];
            if same && next[3] != kept[3] {
                kept[3] = 0;
            }
            same
        });
        let bridges = self.mixed().all();
        for [row, header, number, word] in touched {
            if let Some((_, bridge)) = bridges.iter().find(|(known, _)| *known == row) {
                bridge.write_twin(self, At { header, number }, word)?;
            }
        }
        Ok(())
    }

    /// Notes that what became of a record of a move's source may be changed by this transaction, so that the source must follow.
    pub(crate) fn carry(&mut self, mover: usize, key: &[u8]) {
        if self.region.progress.is_pending() {
            flush(self.region);
        }
        self.region.progress.enter(LOGGED);
        self.region.carried.push((mover, key.into()));
    }

    /// Notes that a record may be changed by this transaction, and must have a twin of an older shape when it commits.
    pub(crate) fn touch(&mut self, row: u64, at: At, word: u64) {
        if self.region.progress.is_pending() {
            flush(self.region);
        }
        self.region.progress.enter(LOGGED);
        self.region.touched.push([row, at.header, at.number, word]);
    }

    /// The whole transaction is one word: the store of it is the commit (T8).
    #[inline(always)]
    fn commit_word(&mut self) {
        let Region { view, progress, .. } = &mut *self.region;
        debug_assert_eq!(*progress.failed.get_mut(), 0, "the stage says that all is well");
        let [offset, value, record] = progress.take();
        view.commit_known_word(offset, value, record, undo::settled);
        view.set_header(at::COMMITS, view.header(at::COMMITS).wrapping_add(1));
        compiler_fence(Ordering::SeqCst);
        self.pass.note_commit();
    }

    /// What was held back could not be written, or not taken back, or an operation was broken off: nothing is committed.
    #[cold]
    fn refuse(&mut self) -> Error {
        let at = self.region.progress.offset.load(Ordering::Relaxed);
        let failed = self.region.progress.failed.load(Ordering::Relaxed);
        take_back(self.region);
        if failed & part::DAMAGE != 0 {
            return Error::damaged("field", at, 0);
        }
        Error::BrokenOff
    }

    fn finish(&mut self) -> Result<()> {
        if self.region.progress.is_pending() {
            flush(self.region);
        }
        if self.region.progress.failed.load(Ordering::Relaxed) != 0 {
            return Err(self.refuse());
        }
        if self.region.log.is_empty() && self.region.frees.is_empty() {
            self.region.rest();
            self.pass.note_commit();
            return Ok(());
        }
        if !self.region.frees.is_empty() {
            self.region.view.set_header(at::ACTIVITY, Activity::Commit as u64);
            crash::point(Point::CommitBegins);
            if !broken::is(Broken::Free)
                && let Err(e) = self.apply_frees()
            {
                take_back(self.region);
                return Err(e);
            }
            self.region.frees.clear();
            crash::point(Point::CommitFrees);
        }
        let region = &mut *self.region;
        let view = &region.view;
        view.set_header(at::COMMITS, view.header(at::COMMITS).wrapping_add(1));
        undo::turn(view);
        crash::point(Point::CommitCounted);
        // COMMIT pair: every change is in place before the log is empty; nothing later moves above that (T6).
        compiler_fence(Ordering::SeqCst);
        view.publish_header(at::LOG_LENGTH, 0);
        compiler_fence(Ordering::SeqCst);
        crash::point(Point::CommitDone);
        region.log.empty();
        view.set_header(at::ACTIVITY, Activity::Idle as u64);
        region.rest();
        self.pass.note_commit();
        Ok(())
    }

    /// Changes a plain field in place, which is part of the record whose header is at `record`; both were checked. Says whether it
    /// did: it does not if the field does not lie in one word, or a checkpoint must save its page, or the log must be lengthened.
    #[inline(always)]
    pub(crate) fn put_field<F: Plain>(&mut self, offset: u64, value: &F, record: u64) -> bool {
        let Region {
            view,
            log,
            progress,
            hook,
            ..
        } = &mut *self.region;
        let Some(word) = view.merged_known(offset, value) else {
            return false;
        };
        if progress.is_untouched() {
            progress.hold(offset & !7, word, record);
            return true;
        }
        // While a checkpoint is being copied every change goes through `log`, which saves the page first.
        if hook.is_some() {
            return false;
        }
        // The word may be part of what is held back: then it was merged with what was there before that.
        if progress.now() & PENDING != 0 {
            flush(self.region);
            let Region { view, log, .. } = &*self.region;
            let Some(word) = view.merged_known(offset, value) else {
                return false;
            };
            return log.change_word(view, offset & !7, word, record);
        }
        log.change_word(view, offset & !7, word, record)
    }

    /// The region as the changes have left it, with a record that is being changed.
    #[inline(always)]
    pub(crate) fn written(&mut self) -> &View {
        if self.region.progress.now() == HELD {
            flush(self.region);
        }
        &self.region.view
    }

    /// The same as dereferencing, for who has the transaction for itself.
    #[inline(always)]
    pub(crate) fn settled(&mut self) -> &View {
        if self.region.progress.now() & PENDING != 0 {
            flush(self.region);
        }
        &self.region.view
    }

    /// Lets `seldom` work with a copy of this transaction.
    #[inline(always)]
    pub(crate) fn apart<R>(&mut self, seldom: impl FnOnce(&mut Tx<'_>) -> R) -> R {
        seldom(&mut std::mem::ManuallyDrop::new(Tx {
            region: &mut *self.region,
            pass: self.pass,
        }))
    }

    /// Takes every change back. The same as dropping the transaction.
    pub fn rollback(self) {}

    fn apply_frees(&mut self) -> Result<()> {
        let mut frees = std::mem::take(&mut self.region.frees);
        let mut result = Ok(());
        for block in frees.drain(..) {
            result = heap::release(self, block);
            crash::point(Point::CommitFreed);
            if result.is_err() {
                break;
            }
        }
        frees.clear();
        self.region.frees = frees;
        result
    }

    /// Logs a range that is about to change; `record` is the header of the record it is part of, or 0.
    #[inline]
    pub(crate) fn log(&mut self, offset: u64, length: u64, record: u64) -> Result<()> {
        let region = &mut *self.region;
        if region.progress.is_pending() {
            flush(region);
        }
        region.progress.enter(LOGGED);
        if region.hook.is_some() {
            region.before_write(offset, length)?;
            if record != 0 {
                // Its sequence changes with it, outside the log.
                region.before_write(record, 8)?;
            }
        }
        if length <= undo::MAX_ENTRY {
            return region
                .log
                .append(&region.view, &*region.backing, offset, length, record);
        }
        let mut at = offset;
        let end = offset + length;
        while end - at > undo::MAX_ENTRY {
            region
                .log
                .append(&region.view, &*region.backing, at, undo::MAX_ENTRY - 8, record)?;
            at = (at & !7) + undo::MAX_ENTRY - 8;
        }
        region.log.append(&region.view, &*region.backing, at, end - at, record)
    }

    /// Logs a range that is about to change of the record whose header is at `record`, and makes its sequence odd, until it is settled (T9).
    #[cold]
    pub(crate) fn log_of_record(&mut self, [offset, length]: [u64; 2], record: u64, how: u8) -> Result<()> {
        let before = self.region.progress.is_changing(record);
        if before {
            // It goes on being changed.
            self.region.progress.enter(LOGGED);
        }
        let mut how = how;
        let logged = self.log(offset, length, record).and_then(|()| match before {
            true => Ok(()),
            false => record::unsettle(self, record, how),
        });
        if before {
            how |= self.region.progress.how.load(Ordering::Relaxed);
        } else if logged.is_err() {
            return logged;
        }
        self.region.progress.change(record, how);
        logged
    }

    /// Logs a word and changes it.
    #[inline]
    pub(crate) fn put(&mut self, offset: u64, value: u64, what: &'static str) -> Result<()> {
        let region = &mut *self.region;
        if region.progress.now() & PENDING != 0 {
            flush(region);
        }
        *region.progress.stage.get_mut() = LOGGED;
        // While a checkpoint is being copied, `log` saves the page first.
        if region.hook.is_none() && region.log.put_word(&region.view, offset, value, what)? {
            return Ok(());
        }
        self.put_seldom(offset, value, what)
    }

    #[cold]
    fn put_seldom(&mut self, offset: u64, value: u64, what: &'static str) -> Result<()> {
        self.log(offset, 8, 0)?;
        self.region.view.store(offset, value, what)
    }

    /// Logs words that lie side by side and changes them.
    #[inline]
    pub(crate) fn put_all(&mut self, offset: u64, values: &[u64], what: &'static str) -> Result<()> {
        self.log(offset, values.len() as u64 * 8, 0)?;
        for (i, value) in values.iter().enumerate() {
            self.region.view.store(offset + i as u64 * 8, *value, what)?;
        }
        Ok(())
    }

    /// Frees a block when the transaction commits (T3).
    #[inline]
    pub(crate) fn free(&mut self, block: u64) {
        if self.region.progress.is_pending() {
            flush(self.region);
        }
        self.region.progress.enter(LOGGED);
        self.region.frees.push(block);
    }

    /// Marks what the owner is doing, and gives back what it was doing before.
    pub(crate) fn activity(&self, activity: Activity) -> u64 {
        let before = self.header(at::ACTIVITY);
        self.set_header(at::ACTIVITY, activity as u64);
        before
    }
}

impl Drop for Tx<'_> {
    #[inline]
    fn drop(&mut self) {
        take_back(self.region);
    }
}

/// Logs and writes the word that is held back, or settles the record that is being changed, because something else comes.
#[cold]
fn flush(region: &Region) {
    let Region {
        view, log, progress, ..
    } = region;
    let [offset, value, record] = progress.held();
    let is_changing = progress.is_changing(record);
    progress.enter(LOGGED);
    let write = || {
        if is_changing {
            return record::settle(view, region.layout(), record, progress.how.load(Ordering::Relaxed));
        }
        log.append_first(view, offset, record)?;
        let header = view.load(record, "record header")?;
        view.store(record, header | undo::CHANGING, "record header")?;
        compiler_fence(Ordering::SeqCst);
        crash::point(Point::FieldOdd);
        view.store(offset, value, "field")?;
        crash::point(Point::FieldChanged);
        compiler_fence(Ordering::SeqCst);
        undo::settle(view, record)
    };
    // The places were looked at when the word was set, so this does not happen; if it did, the commit refuses.
    if write().is_err() {
        progress.failed.fetch_or(part::DAMAGE, Ordering::Relaxed);
    }
}

/// Takes back everything that the open transaction changed.
#[cold]
fn take_back(region: &mut Region) {
    region.frees.clear();
    region.touched.clear();
    region.carried.clear();
    region.progress = Progress::default();
    let view = &region.view;
    if undo::Log::published(view) != 0 {
        view.set_header(at::ACTIVITY, Activity::Recovery as u64);
        // A log that cannot be undone stays as it is: the next `begin` finds it, tries again and reports the damage.
        if region.log.undo(view).is_err() {
            region.progress.enter(LOGGED);
            return;
        }
    }
    view.set_header(at::ROLLBACKS, view.header(at::ROLLBACKS).wrapping_add(1));
    view.set_header(at::ACTIVITY, Activity::Idle as u64);
    region.rest();
}
