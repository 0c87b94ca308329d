//! The reserve-ahead thread: keeps memory ready in front of a region's heap, so that a writer never waits for the kernel.
//!
//! - **P1** The thread never reads or writes the region. It takes memory and makes large pages of it; the writer tells it by
//!   [`want`](Backing::want) how far it is, and moves the watermark over what is ready itself.
//! - **P2** `ready` says that all memory from the heap's start up to there is taken: the thread goes on where `ready` or the writer's
//!   own watermark ends, whichever is higher, and raises `ready` when an extent is complete.
//! - **P3** An extent that is in use is never collapsed. Both sides write, then look (CLAIM pair): the thread `claim`, then
//!   `entered` and `taken`; the writer `entered`, then `claim`. So either the thread sees the writer and leaves the extent
//!   in small pages, or the writer sees the claim and waits until that one extent is ready (with a deadline, after which
//!   it goes on: then the kernel makes it wait, if anything does).
//! - **P4** It works only for who owns the region: its first order comes from the first transaction, under a pass, and
//!   before each extent it looks whether the gate is still open. A closing gate does not wait for it.
//! - **P5** A mount that is nearly full, or full, ends the order quietly; the writer, who still gets what is left in small
//!   steps, orders anew.
//! - **P6** It keeps the mapping alive, so that even one that is stuck in the kernel when the region is dropped does no harm.
//! - **P7** What is behind the heap is given back while the thread is between two extents (`working`), and `ready` goes back with it.
//! - **P8** A writer that overtakes the thread doubles what is kept ready, up to a limit and a part of what is in use: who grows that fast once does so again, and the extents
//!   that are ready last while the kernel is slow with the next one. A trim takes that back.

use crate::error::Result;
use crate::gate::Gate;
use crate::os::mount;
use crate::region::backing::{Backing, Taking};
use crate::region::growth;
use crate::region::header::{CHUNK, HUGE, Layout};
use crate::region::mapping::Mapping;
use nix::sys::signal::SigSet;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How much is kept ready at first if nothing else was asked for.
pub const DEFAULT_AHEAD: u64 = 4 << 20;
/// And at most, in front of a writer that grows fast (P8).
pub const MOST_AHEAD: u64 = 32 << 20;
/// No more than this part of the capacity is kept ready for that reason,
const MOST_PART: u64 = 16;
/// nor of what the heap has.
const MOST_OF_USED: u64 = 4;
/// Free memory of a mount that is left to the writers' own small steps.
const SPARE: u64 = 1 << 20;
/// How long a writer waits for an extent in the thread's hands before it goes on by itself.
const CLAIM_PATIENCE: Duration = Duration::from_millis(50);
/// How long a dropped region waits for its thread, which is at most one extent of work away from its end.
const JOIN_PATIENCE: Duration = Duration::from_secs(1);
/// No extent is claimed. (No extent of a heap starts at 0.)
const NONE: u64 = 0;

/// What the writer and the thread tell each other.
#[derive(Debug)]
struct Board {
    mapping: Mapping,
    layout: Layout,
    /// How much is kept ready: at first, at most, and now (P8).
    watermark: u64,
    most: u64,
    now: AtomicU64,
    gate: Gate,
    /// From the writer: how far its heap is, how far memory was taken, how far it may go.
    end: AtomicU64,
    taken: AtomicU64,
    limit: AtomicU64,
    /// From the writer while it takes memory itself: up to where; 0 otherwise.
    entered: AtomicU64,
    /// From the thread: the extent that it makes a large page of.
    claim: AtomicU64,
    /// From the thread: see P2.
    ready: AtomicU64,
    asked: AtomicBool,
    stop: AtomicBool,
    /// Held by the thread while it makes an extent ready, and by whoever gives memory back (P7).
    working: Mutex<()>,
}

impl Board {
    /// Where memory that is taken ends, as far as this process knows.
    fn have(&self) -> u64 {
        // READY pair: what was taken by the thread is known to be taken by whoever sees the new end.
        self.ready
            .load(Ordering::Acquire)
            .max(self.taken.load(Ordering::Relaxed))
    }

    fn goal(&self) -> u64 {
        let end = self.end.load(Ordering::Relaxed);
        end.saturating_add(self.now.load(Ordering::Relaxed))
            .min(self.limit.load(Ordering::Relaxed))
    }

    /// The writer is where memory is not ready (P8). Before the thread has made any, that says nothing.
    fn overtaken(&self) {
        let now = self.now.load(Ordering::Relaxed);
        let used = self.end.load(Ordering::Relaxed).saturating_sub(self.layout.heap);
        let share = (self.limit.load(Ordering::Relaxed) / MOST_PART).min(used / MOST_OF_USED);
        let most = self.most.min(share / HUGE * HUGE);
        if now < most && self.ready.load(Ordering::Relaxed) != 0 {
            // Only the writer and a trim of its own region store it.
            self.now.store((now * 2).min(most), Ordering::Relaxed);
        }
    }

    fn live(&self) {
        while !self.stop.load(Ordering::Acquire) {
            // ORDER pair: Acquire sees the numbers stored before the flag.
            if self.asked.swap(false, Ordering::AcqRel) {
                self.work();
            } else {
                thread::park();
            }
        }
    }

    /// Makes extents ready until the order is fulfilled, the gate closes (P4) or the mount has no more (P5).
    fn work(&self) {
        while !self.stop.load(Ordering::Acquire) && self.gate.is_open() {
            let _working = self.working.lock().unwrap_or_else(PoisonError::into_inner);
            let from = self.have();
            let limit = self.limit.load(Ordering::Relaxed);
            if from >= self.goal() || from < self.layout.heap {
                return;
            }
            let to = (from + 1).next_multiple_of(HUGE.max(self.mapping.unit())).min(limit);
            let (_, entries) = self.layout.entries(from, to);
            if !self.has_room(to - from + entries) {
                return;
            }
            if self.extent(from, to).is_err() {
                return;
            }
            self.ready.fetch_max(to, Ordering::Release);
            self.claim.store(NONE, Ordering::Release);
        }
    }

    /// A writer that takes its own small step meanwhile must not find a mount that only this thread has filled.
    fn has_room(&self, bytes: u64) -> bool {
        let free = self.mapping.descriptor().and_then(mount::free);
        // Large extents of the chunk table may come on top.
        free.is_none_or(|free| free >= bytes + SPARE + if self.layout.is_large() { HUGE } else { 0 })
    }

    /// Makes `from..to` ready. The claim, if one was possible, is still there afterwards.
    fn extent(&self, from: u64, to: u64) -> Result<()> {
        self.mapping.take_gently(from, to - from)?;
        // CLAIM pair (P3).
        self.claim.store(from, Ordering::SeqCst);
        let entered = self.entered.load(Ordering::SeqCst);
        let in_use = entered > from || self.taken.load(Ordering::SeqCst) > from;
        let taking = if in_use { Taking::Step } else { Taking::Ahead };
        let made = growth::take_entries(&self.mapping, &self.layout, from, to, taking).and_then(|()| {
            if in_use {
                self.mapping.came_too_late();
            } else {
                self.mapping.collapse(from, to - from);
            }
            self.mapping.populate(from, to - from)
        });
        if in_use || made.is_err() {
            self.claim.store(NONE, Ordering::Release);
        }
        made
    }
}

/// Tells whoever joins that the thread has ended, however it did.
struct Done(#[expect(dead_code, reason = "its drop is the message")] Sender<()>);

/// A mapping with a thread that keeps memory ready in front of its writer.
#[derive(Debug)]
pub(crate) struct Ahead {
    board: Arc<Board>,
    thread: Option<JoinHandle<()>>,
    done: Mutex<Receiver<()>>,
}

impl Ahead {
    /// Starts the thread, which sleeps until the first order. It keeps `watermark` bytes ready, or up to `most` where the writer needs them. Where the
    /// system gives no thread, the writer takes its memory itself.
    pub(crate) fn start(mapping: Mapping, layout: Layout, watermark: u64, most: u64, gate: &Gate) -> Self {
        let board = Arc::new(Board {
            mapping,
            layout,
            watermark,
            most,
            now: AtomicU64::new(watermark),
            gate: gate.clone(),
            end: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            limit: AtomicU64::new(0),
            entered: AtomicU64::new(0),
            claim: AtomicU64::new(NONE),
            ready: AtomicU64::new(0),
            asked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            working: Mutex::new(()),
        });
        let (sender, done) = channel();
        let life = Arc::clone(&board);
        let thread = thread::Builder::new().name("shmstate-ahead".into()).spawn(move || {
            let _done = Done(sender);
            // A signal of the program's is for the program's threads.
            let _ = SigSet::all().thread_block();
            life.live();
            // The mapping may go with this: before whoever joins hears of it.
            drop(life);
        });
        Self {
            board,
            thread: thread.ok(),
            done: Mutex::new(done),
        }
    }
}

impl Backing for Ahead {
    fn base(&self) -> NonNull<u8> {
        self.board.mapping.base()
    }

    fn length(&self) -> u64 {
        self.board.mapping.length()
    }

    fn take(&self, offset: u64, length: u64, taking: Taking) -> Result<()> {
        self.board.mapping.take(offset, length, taking)
    }

    fn populate(&self, offset: u64, length: u64) -> Result<()> {
        self.board.mapping.populate(offset, length)
    }

    fn punch(&self, offset: u64, length: u64) -> Result<()> {
        self.board.mapping.punch(offset, length)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.board.mapping.descriptor()
    }

    fn unit(&self) -> u64 {
        self.board.mapping.unit()
    }

    fn lengthen(&self, length: u64) -> Result<()> {
        self.board.mapping.lengthen(length)
    }

    fn ready(&self) -> u64 {
        // READY pair, see `Board::have`.
        self.board.ready.load(Ordering::Acquire)
    }

    fn overtake(&self, target: u64) {
        let board = &*self.board;
        // CLAIM pair (P3).
        board.entered.store(target, Ordering::SeqCst);
        board.overtaken();
        let claimed = || {
            let claim = board.claim.load(Ordering::SeqCst);
            claim != NONE && claim < target
        };
        if !claimed() {
            return;
        }
        let end = Instant::now() + CLAIM_PATIENCE;
        while claimed() && Instant::now() < end {
            thread::yield_now();
        }
    }

    fn took(&self, taken: u64, limit: u64) {
        let board = &*self.board;
        board.limit.store(limit, Ordering::Relaxed);
        board.taken.store(taken, Ordering::SeqCst);
        // After `taken`: an extent that was entered is known to be in use by one of the two (P3).
        board.entered.store(0, Ordering::SeqCst);
    }

    fn want(&self, end: u64, taken: u64, limit: u64) {
        self.took(taken, limit);
        let board = &*self.board;
        board.end.store(end, Ordering::Relaxed);
        if board.have() < board.goal()
            && let Some(thread) = &self.thread
            // ORDER pair, see `live`.
            && !board.asked.swap(true, Ordering::AcqRel)
        {
            thread.thread().unpark();
        }
    }

    fn watermark(&self) -> u64 {
        self.board.watermark
    }

    fn retreat(&self, end: u64, taken: u64, limit: u64) -> Result<()> {
        let board = &*self.board;
        // The thread is between two extents now, and goes on from the numbers that it finds then (P7).
        let _working = board.working.lock().unwrap_or_else(PoisonError::into_inner);
        board.end.store(end, Ordering::Relaxed);
        board.limit.store(limit, Ordering::Relaxed);
        board.taken.store(taken, Ordering::SeqCst);
        board.ready.store(0, Ordering::Release);
        board.now.store(board.watermark, Ordering::Relaxed);
        if taken < limit {
            return board.mapping.punch(taken, limit - taken);
        }
        Ok(())
    }

    fn fresh_collapses(&self) -> (u64, u64) {
        self.board.mapping.fresh_collapses()
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.board.stop.store(true, Ordering::Release);
        let Some(thread) = self.thread.take() else { return };
        thread.thread().unpark();
        let done = self.done.get_mut().unwrap_or_else(PoisonError::into_inner);
        if done.recv_timeout(JOIN_PATIENCE) == Err(RecvTimeoutError::Disconnected) {
            // It has nothing left to do but to return; a panic of its own has been printed already.
            let _ = thread.join();
        }
        // Else it is stuck in the kernel: it ends with that call, and keeps the mapping until then (P6).
    }
}

const _: () = assert!(DEFAULT_AHEAD.is_multiple_of(CHUNK) && SPARE.is_multiple_of(CHUNK));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::{Lease, LeaseCell, LocalLease};
    use crate::os::shm;
    use crate::region::header::at;
    use crate::region::mapping::Access;
    use crate::{Map, Region};

    const DEADLINE: Duration = Duration::from_secs(30);

    fn wait(what: &str, mut done: impl FnMut() -> bool) {
        let end = Instant::now() + DEADLINE;
        while !done() {
            assert!(Instant::now() < end, "{what} did not happen");
            thread::yield_now();
        }
    }

    fn mapping(layout: &Layout) -> Mapping {
        let fd = shm::anonymous("ahead").expect("memfd");
        shm::set_length(&fd, "ahead", layout.reserve).expect("length");
        Mapping::new(fd, "ahead", layout.reserve, Access::Write, layout.is_large()).expect("map")
    }

    /// Blocks of the object that were taken so far.
    fn taken(ahead: &Ahead) -> u64 {
        let stat = rustix::fs::fstat(ahead.descriptor().expect("a memfd")).expect("stat");
        stat.st_blocks as u64 * 512
    }

    #[test]
    fn sleeps_until_the_owner_says_how_far_it_is_and_ends_when_dropped() {
        let layout = Layout::of(64 << 20).expect("layout");
        let lease = Arc::new(LocalLease::default());
        let gate = Gate::closed(lease.clone());
        let ahead = Ahead::start(mapping(&layout), layout, 3 << 20, 3 << 20, &gate);
        assert_eq!((ahead.ready(), taken(&ahead)), (0, 0));
        // An order under a closed gate is none (P4).
        ahead.want(layout.heap, layout.heap, layout.reserve);
        wait("the look at the order", || !ahead.board.asked.load(Ordering::Acquire));
        let mine = Lease::Owned {
            owner: 1,
            generation: 1,
        };
        lease.word().store(mine.to_word(), Ordering::Release);
        gate.open(mine);
        ahead.want(layout.heap, layout.heap, layout.reserve);
        wait("three MiB ahead", || ahead.ready() == layout.heap + 2 * HUGE);
        assert!(taken(&ahead) >= 2 * HUGE);
        // Not beyond the capacity.
        let limit = layout.heap + 2 * HUGE + CHUNK;
        ahead.want(limit - CHUNK, ahead.ready(), limit);
        wait("the rest", || ahead.ready() == limit);
        let life = Arc::downgrade(&ahead.board);
        drop(ahead);
        assert_eq!(life.strong_count(), 0, "the thread has let go");
    }

    #[test]
    fn a_writer_waits_for_the_extent_that_is_being_collapsed_and_for_no_other() {
        let layout = Layout::of(64 << 20).expect("layout");
        let ahead = Ahead::start(mapping(&layout), layout, 0, 0, &Gate::alone());
        let claim = &ahead.board.claim;
        claim.store(layout.heap + HUGE, Ordering::SeqCst);
        let before = Instant::now();
        ahead.overtake(layout.heap + HUGE);
        assert!(before.elapsed() < CLAIM_PATIENCE, "it lies below the claim");
        thread::scope(|s| {
            let waiter = s.spawn(|| {
                let before = Instant::now();
                ahead.overtake(layout.heap + HUGE + CHUNK);
                (claim.load(Ordering::SeqCst), before.elapsed())
            });
            wait("the mark", || {
                ahead.board.entered.load(Ordering::SeqCst) == layout.heap + HUGE + CHUNK
            });
            claim.store(NONE, Ordering::SeqCst);
            let (left, took) = waiter.join().expect("waiter");
            assert!(left == NONE || took >= CLAIM_PATIENCE, "{left} after {took:?}");
        });
        // And one that is never given back does not hold it for ever.
        claim.store(layout.heap, Ordering::SeqCst);
        ahead.overtake(layout.heap + HUGE);
        assert_eq!(claim.load(Ordering::SeqCst), layout.heap);
    }

    #[test]
    fn who_is_overtaken_keeps_more_ready_until_the_region_is_trimmed() {
        let layout = Layout::of(1 << 30).expect("layout");
        let ahead = Ahead::start(mapping(&layout), layout, HUGE, 4 * HUGE, &Gate::alone());
        // So much is in use that a quarter of it is not less.
        let end = layout.heap + 16 * HUGE;
        let ready = |bytes| wait("memory ahead", || ahead.ready() == end + bytes);
        let limit = layout.reserve;
        // Before there is any, nobody is ahead of it.
        ahead.want(end, end, limit);
        ready(HUGE);
        for bytes in [2 * HUGE, 4 * HUGE, 4 * HUGE] {
            ahead.overtake(end + CHUNK);
            ahead.want(end, end, limit);
            ready(bytes);
        }
        // Large pages, tried where there are none.
        let (made, failed) = ahead.fresh_collapses();
        assert_eq!(made + failed, 4);
        ahead.retreat(end, end, limit).expect("trimmed");
        ahead.want(end, end, limit);
        ready(HUGE);
        // Of a small region it is a part.
        let limit = end + 16 * HUGE;
        ahead.want(end, end, limit);
        ahead.overtake(end + CHUNK);
        assert_eq!(
            ahead.board.now.load(Ordering::Relaxed),
            HUGE.max(limit / MOST_PART / HUGE * HUGE)
        );
    }

    #[test]
    fn an_extent_in_use_is_not_collapsed() {
        let layout = Layout::of(64 << 20).expect("layout");
        let ahead = Ahead::start(mapping(&layout), layout, 0, 0, &Gate::alone());
        let board = &ahead.board;
        let (from, to) = (layout.heap, layout.heap + HUGE);
        // The writer has entered it; then, it has taken some of it.
        for (entered, taken) in [(from + CHUNK, from), (0, from + CHUNK)] {
            board.entered.store(entered, Ordering::SeqCst);
            board.taken.store(taken, Ordering::SeqCst);
            board.extent(from, to).expect("taken all the same");
            assert_eq!(board.claim.load(Ordering::SeqCst), NONE);
            assert_eq!(board.mapping.fresh_collapses(), (0, 1));
        }
        board.taken.store(from, Ordering::SeqCst);
        board.extent(from, to).expect("taken");
        assert_eq!(board.claim.load(Ordering::SeqCst), from);
        let (made, failed) = board.mapping.fresh_collapses();
        assert_eq!(made + failed, 1, "now it was tried");
    }

    struct Filled {
        steps: u64,
        bytes: u64,
        extents: u64,
    }

    /// Fills a region with records of 4000 bytes, waiting after each transaction until as much is ready as can be.
    fn fill(ahead: u64, patient: bool) -> Filled {
        let options = Region::options().capacity(48 << 20).reserve_ahead(ahead);
        let mut region = options.create_anonymous("ahead").expect("create");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let map: Map<u64, Vec<u8>> = region.write(&pass, |tx| Map::create(tx, "records")).expect("table");
        let limit = region.capacity();
        for i in 0..7_000u64 {
            if patient {
                let goal = (region.view.size(at::HEAP_END) + ahead).min(limit);
                wait("memory ahead", || {
                    region.backing.ready().max(region.view.size(at::TAKEN)) >= goal
                });
            }
            region
                .write(&pass, |tx| map.insert(tx, &i, &vec![i as u8; 4_000]).map(|_| ()))
                .expect("insert");
        }
        let reader = region.read(&pass).expect("read");
        assert!(crate::verify(&reader).expect("verify").is_sound());
        for i in 0..7_000u64 {
            let record = map.get(&reader, &i).expect("get").expect("there");
            assert!(record.len() == 4_000 && record.iter().all(|b| *b == i as u8));
        }
        let header = |word| region.view.header(word);
        Filled {
            steps: header(at::SMALL_STEPS),
            bytes: region.view.size(at::HEAP_END) - region.layout().heap,
            extents: header(at::COLLAPSED) + header(at::NOT_COLLAPSED),
        }
    }

    #[test]
    fn a_writer_that_grows_slowly_never_takes_memory_itself() {
        let filled = fill(DEFAULT_AHEAD, true);
        assert!(filled.bytes > 24 << 20, "{} bytes", filled.bytes);
        assert_eq!(filled.steps, 0);
        // All of the heap but its last extents, and the fixed parts.
        assert!(filled.extents >= filled.bytes / HUGE, "{} extents", filled.extents);
    }

    #[test]
    fn without_the_thread_it_does() {
        let filled = fill(0, false);
        assert!(filled.steps > 300, "{} steps", filled.steps);
        assert!(filled.extents <= 1, "only the fixed parts");
    }

    #[test]
    fn a_writer_in_a_hurry_overtakes_the_thread_and_nothing_is_lost() {
        let filled = fill(CHUNK, false);
        println!("{} steps for {} bytes", filled.steps, filled.bytes);
        assert!(filled.bytes > 24 << 20);
    }
}
