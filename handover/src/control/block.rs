#![expect(
    unsafe_code,
    reason = "turns the address of the mapping into the one reference through which all else reads and writes"
)]
//! The control block of a node, mapped.
//!
//! - The mapping is the `shared_memory` crate's and stays inside this file: always read-write, of fixed size, and
//!   never unlinked by a drop, for the block outlives every process. [`ControlBlock::remove`] is explicit.
//! - All access goes through atomics of [`Layout`]. No reference to anything else is made, because other processes
//!   write the same bytes at any time.
//! - The magic is written last. A block without it is half made; who holds `start` and `lock` may make it anew.
//! - Nothing in it is believed because it is there: magic, version, size, id and name are compared, enumerations
//!   are decoded.
//! - The lease word decides (H1). The signal only wakes.
//!
//! This file does not know the order of a handover.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Duration;

use rustix::io::Errno;
use rustix::mm::{Advice, madvise};
use shared_memory::{Shmem, ShmemConf, ShmemError};
use shmstate::lease::{self, Lease, LeaseCell};

use super::layout::{self, Layout};
use crate::error::{ControlProblem, Error, Result};
use crate::os::clock::{self, Deadline};
use crate::os::dir::{MAX_NODE_NAME, NodeDir, NodeId, check_node_name};
use crate::os::futex;
use crate::points::{Point, point};

const _: () = assert!(MAX_NODE_NAME == layout::NAME_LEN);

/// Pause between two looks at a block that is being made.
const RETRY: Duration = Duration::from_millis(1);

/// Which node a control block belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeIdentity {
    /// The id in the runtime directory.
    pub id: NodeId,
    /// The name of the runtime directory, at most 64 bytes.
    pub name: String,
}

impl NodeIdentity {
    /// The identity of the node in `dir`; makes the id if there is none.
    ///
    /// # Errors
    /// As for [`NodeDir::id`].
    pub fn of(dir: &NodeDir) -> Result<Self> {
        Ok(Self {
            id: dir.id()?,
            name: dir.node().into(),
        })
    }
}

/// What [`ControlBlock::open_or_create`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// There was one: an owner before us has died or left.
    Found,
    /// There was none, or only a half-made one.
    Created,
}

/// What the predecessor tells the successor through the signal word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Signal {
    /// Nothing yet.
    None = 0,
    /// The next tick is near: wake and spin.
    StandBy = 1,
    /// A tick has committed as the last one will: stamp, and note the difference.
    Rehearse = 2,
    /// The lease was released, or will not be: look at it.
    LookAtLease = 3,
    /// The handover is off.
    Aborted = 4,
}

impl Signal {
    /// Decodes the word.
    #[must_use]
    pub const fn from_word(word: u32) -> Option<Self> {
        Some(match word {
            0 => Self::None,
            1 => Self::StandBy,
            2 => Self::Rehearse,
            3 => Self::LookAtLease,
            4 => Self::Aborted,
            _ => return None,
        })
    }
}

/// What an operator wishes of a node on probation. The predecessor, which is parked, looks for it: that works whatever became of the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Request {
    /// The predecessor is to take the node back.
    Rollback = 1,
    /// The successor is well: the probation is over.
    Confirm = 2,
}

/// How far the handover in progress is, for those who watch. Nothing decides on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Phase {
    /// No handover is in progress.
    None = 0,
    /// Descriptors are being offered.
    Offering = 1,
    /// The successor prepares.
    WaitingForReady = 2,
    /// Accepting pauses, late connections go over.
    Staging = 3,
    /// The gate is armed or closing.
    Closing = 4,
    /// The lease is released and not yet taken.
    Offered = 5,
    /// The successor serves, the predecessor drains.
    Draining = 6,
    /// The successor serves, the predecessor could take the node back.
    Probation = 7,
    /// The node goes back to the predecessor.
    Returning = 8,
    /// A word that means nothing to this build: a later one wrote it. Never written.
    Unknown = u32::MAX,
}

impl Phase {
    /// Decodes the word.
    #[must_use]
    pub const fn from_word(word: u32) -> Option<Self> {
        Some(match word {
            0 => Self::None,
            1 => Self::Offering,
            2 => Self::WaitingForReady,
            3 => Self::Staging,
            4 => Self::Closing,
            5 => Self::Offered,
            6 => Self::Draining,
            7 => Self::Probation,
            8 => Self::Returning,
            _ => return None,
        })
    }
}

/// A mapped control block. Shared by threads behind an `Arc`, by processes through the memory itself.
pub struct ControlBlock {
    /// Keeps the mapping. Touched by nothing but its drop.
    _mapping: Shmem,
    base: NonNull<Layout>,
    name: String,
    identity: NodeIdentity,
}

// SAFETY: `Shmem` is !Send for its raw pointer alone. What is done with it after construction is its drop (munmap and
// close), which any thread may do; `base` is read through shared references to atomics only.
unsafe impl Send for ControlBlock {}
// SAFETY: as above: `&ControlBlock` gives access to atomics and to immutable private memory, never to `_mapping`.
unsafe impl Sync for ControlBlock {}

impl std::fmt::Debug for ControlBlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControlBlock")
            .field("name", &self.name)
            .field("node", &self.identity.name)
            .finish_non_exhaustive()
    }
}

impl ControlBlock {
    /// Makes the block of a node, with a vacant lease.
    ///
    /// # Errors
    /// [`ControlProblem::Exists`] if there is one; [`ControlProblem::Os`] if there is no memory for it.
    pub fn create(identity: &NodeIdentity) -> Result<Self> {
        let name = identity.id.shm_name();
        check_node_name(&identity.name)?;
        let conf = ShmemConf::new().os_id(&name).size(layout::SIZE);
        let mut mapping = conf.create().map_err(|e| problem(&name, create_problem(e)))?;
        // From here on no drop unlinks it.
        mapping.set_owner(false);
        match Self::over(mapping, name.clone(), identity) {
            Ok(block) => {
                block.initialise();
                Ok(block)
            }
            // Nobody can use it without the magic; it must not be in the way of the next attempt either.
            Err(error) => unlink(&name).and(Err(error)),
        }
    }

    /// Opens the block of a node. One that is being made is waited for.
    ///
    /// # Errors
    /// [`ControlProblem::Missing`], [`ControlProblem::NotReady`] if it stayed half made until `deadline`, and what
    /// makes it another node's or another version's.
    pub fn open(identity: &NodeIdentity, deadline: Deadline) -> Result<Self> {
        let name = identity.id.shm_name();
        loop {
            let half_made = match ShmemConf::new().os_id(&name).open() {
                Ok(mapping) => {
                    let block = Self::over(mapping, name.clone(), identity)?;
                    // BLOCK pair: what was stored before the magic is visible after this.
                    match block.layout().magic.load(Ordering::Acquire) {
                        0 => true,
                        layout::MAGIC => return block.check(),
                        found => return Err(problem(&name, ControlProblem::Magic { found })),
                    }
                }
                // Its maker has not given it a size yet.
                Err(ShmemError::MapOpenFailed(e)) if is(e, Errno::INVAL) => true,
                Err(ShmemError::MapOpenFailed(e)) if is(e, Errno::NOENT) => {
                    return Err(problem(&name, ControlProblem::Missing));
                }
                Err(e) => return Err(problem(&name, os_problem("open it", e))),
            };
            if half_made && !deadline.pause(RETRY) {
                return Err(problem(&name, ControlProblem::NotReady));
            }
        }
    }

    /// Opens the block, or makes it if there is none or its maker died half way.
    ///
    /// The caller holds `start` and `lock`: nobody else makes one meanwhile.
    ///
    /// # Errors
    /// As for [`ControlBlock::open`] and [`ControlBlock::create`].
    pub fn open_or_create(identity: &NodeIdentity) -> Result<(Self, Origin)> {
        match Self::open(identity, Deadline::now()) {
            Ok(block) => return Ok((block, Origin::Found)),
            Err(Error::ControlBlock {
                problem: ControlProblem::Missing,
                ..
            }) => {}
            Err(Error::ControlBlock {
                name,
                problem: ControlProblem::NotReady,
            }) => {
                unlink(&name)?;
            }
            Err(e) => return Err(e),
        }
        Ok((Self::create(identity)?, Origin::Created))
    }

    /// Unlinks the block. Those who have it mapped keep it; the next `open` finds none.
    ///
    /// The caller holds `start` and `lock`, and leaves the node for good.
    ///
    /// # Errors
    /// The system refuses. A block that is unlinked already is no error.
    pub fn remove(&self) -> Result<()> {
        unlink(&self.name)
    }

    fn over(mapping: Shmem, name: String, identity: &NodeIdentity) -> Result<Self> {
        if mapping.len() != layout::SIZE {
            let found = mapping.len() as u64;
            let expected = layout::SIZE as u64;
            return Err(problem(&name, ControlProblem::Size { found, expected }));
        }
        let Some(base) = NonNull::new(mapping.as_ptr().cast::<Layout>()) else {
            return Err(problem(&name, ControlProblem::NotReady));
        };
        // Takes the pages now and reports a full /dev/shm as an error; the first store would raise SIGBUS instead.
        // SAFETY: address and length are those of the live mapping; populating changes no byte of it.
        let populated = unsafe { madvise(base.as_ptr().cast(), layout::SIZE, Advice::LinuxPopulateWrite) };
        match populated {
            // EINVAL: a kernel older than 5.14 does not know the advice.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(e) => {
                let what = "take 16 KiB of /dev/shm for it";
                let source = e.into();
                return Err(problem(&name, ControlProblem::Os { what, source }));
            }
        }
        Ok(Self {
            _mapping: mapping,
            base,
            name,
            identity: identity.clone(),
        })
    }

    fn initialise(&self) {
        let l = self.layout();
        let id = self.identity.id.0;
        l.version.store(layout::VERSION, Ordering::Relaxed);
        l.size.store(layout::SIZE as u32, Ordering::Relaxed);
        l.node_id[0].store(id as u64, Ordering::Relaxed);
        l.node_id[1].store((id >> 64) as u64, Ordering::Relaxed);
        layout::store_text(&l.node_name, &self.identity.name);
        l.lease
            .store(Lease::Vacant { generation: 0 }.to_word(), Ordering::Relaxed);
        // BLOCK pair: publishes everything above.
        l.magic.store(layout::MAGIC, Ordering::Release);
    }

    fn check(self) -> Result<Self> {
        let l = self.layout();
        let version = l.version.load(Ordering::Relaxed);
        let size = l.size.load(Ordering::Relaxed);
        let low = l.node_id[0].load(Ordering::Relaxed);
        let high = l.node_id[1].load(Ordering::Relaxed);
        let id = u128::from(high) << 64 | u128::from(low);
        let name = layout::load_text(&l.node_name);
        let wrong = if version != layout::VERSION {
            ControlProblem::Version {
                found: version,
                ours: layout::VERSION,
            }
        } else if size as usize != layout::SIZE {
            ControlProblem::Size {
                found: size.into(),
                expected: layout::SIZE as u64,
            }
        } else if id != self.identity.id.0 {
            ControlProblem::NodeId {
                found: id,
                expected: self.identity.id.0,
            }
        } else if name != self.identity.name {
            ControlProblem::NodeName {
                found: name,
                expected: self.identity.name.clone(),
            }
        } else {
            return Ok(self);
        };
        Err(self.problem(wrong))
    }

    /// The shared words.
    pub(crate) fn layout(&self) -> &Layout {
        // SAFETY: `base` is the page-aligned address of a live mapping of exactly `SIZE` = size_of::<Layout>() bytes
        // (checked in `over`), unmapped only by the drop of `_mapping` with `self`. Every field is an atomic, for
        // which all bit patterns are valid and writes by other processes are no data race. A process of the same
        // uid could truncate the object and end this one by SIGBUS; it could as well kill it.
        unsafe { self.base.as_ref() }
    }

    pub(crate) fn problem(&self, what: ControlProblem) -> Error {
        problem(&self.name, what)
    }

    /// Which node it belongs to.
    #[must_use]
    pub fn identity(&self) -> &NodeIdentity {
        &self.identity
    }

    /// Name of the shared-memory object.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the lease says.
    ///
    /// # Errors
    /// [`ControlProblem::Lease`] if the word means nothing.
    pub fn lease(&self) -> Result<Lease> {
        lease::load(self.word()).ok_or_else(|| {
            let found = self.word().load(Ordering::Relaxed);
            self.problem(ControlProblem::Lease { found })
        })
    }

    /// Begins a handover to the process in `slot`: clears what the last one left in signal, stamps and noise.
    ///
    /// Called by the owner before the offer, so that the successor never sees a signal that was not for it.
    pub fn begin_handover(&self, slot: u8) {
        let l = self.layout();
        l.signal.store(Signal::None as u32, Ordering::Relaxed);
        l.commit_stamp.store(0, Ordering::Relaxed);
        l.rehearsal_stamp.store(0, Ordering::Relaxed);
        l.noise.store(0, Ordering::Relaxed);
        l.successor_slot.store(slot.into(), Ordering::Relaxed);
        l.started.store(clock::now(), Ordering::Relaxed);
        l.phase_deadline.store(0, Ordering::Relaxed);
        // Visible before the offer, which goes through the kernel.
        fence(Ordering::SeqCst);
    }

    /// Says how far the handover is. `deadline` 0 means none.
    pub fn set_phase(&self, phase: Phase, deadline: u64) {
        let l = self.layout();
        l.phase_deadline.store(deadline, Ordering::Relaxed);
        l.phase.store(phase as u32, Ordering::Release);
    }

    /// No handover is under way any more: what the phase says is about the one to the process in `slot` again, which has its probation still.
    pub fn resume_probation(&self, slot: u8) {
        self.layout().successor_slot.store(slot.into(), Ordering::Relaxed);
    }

    /// Says how far the handover is, if the word still says `from`. For a process that may not be the owner any more: the
    /// word can be another handover's by now. Says whether it did.
    pub fn advance_phase(&self, from: Phase, to: Phase, deadline: u64) -> bool {
        let l = self.layout();
        let (from, to) = (from as u32, to as u32);
        let swapped = l.phase.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed);
        if swapped.is_ok() {
            l.phase_deadline.store(deadline, Ordering::Relaxed);
        }
        swapped.is_ok()
    }

    /// How far the handover is. Nothing decides on it, so a word of a later build is no error: [`Phase::Unknown`].
    #[must_use]
    pub fn phase(&self) -> Phase {
        let found = self.layout().phase.load(Ordering::Acquire);
        Phase::from_word(found).unwrap_or(Phase::Unknown)
    }

    /// When the current phase must end, ns; 0 for none.
    #[must_use]
    pub fn phase_deadline(&self) -> u64 {
        self.layout().phase_deadline.load(Ordering::Relaxed)
    }

    /// When the handover in progress, or the last one, began, ns.
    #[must_use]
    pub fn started(&self) -> u64 {
        self.layout().started.load(Ordering::Relaxed)
    }

    /// Participant slot of the successor in progress, or of the last one.
    #[must_use]
    pub fn successor_slot(&self) -> u32 {
        self.layout().successor_slot.load(Ordering::Relaxed)
    }

    /// Signals the successor and wakes it. Everything stored before is visible to it when it sees the signal.
    ///
    /// # Errors
    /// The wake failed; the signal is in the word nevertheless.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.post(signal);
        self.wake()
    }

    /// The first half of [`ControlBlock::signal`]: no system call, for the one whose successor spins. A
    /// [`ControlBlock::wake`] must follow, for it may sleep after all.
    pub fn post(&self, signal: Signal) {
        let l = self.layout();
        l.signal.store(signal as u32, Ordering::Relaxed);
        // SIGNAL pair: publishes the signal and all before it.
        l.futex.fetch_add(1, Ordering::Release);
    }

    /// The second half of [`ControlBlock::signal`]: wakes who sleeps.
    ///
    /// # Errors
    /// The system call failed.
    pub fn wake(&self) -> Result<()> {
        futex::wake(&self.layout().futex).map(|_| ())
    }

    /// The signal count and the last signal. A first call gives what [`ControlBlock::wait_signal`] has seen.
    ///
    /// # Errors
    /// [`ControlProblem::Value`].
    pub fn last_signal(&self) -> Result<(u32, Signal)> {
        let l = self.layout();
        // SIGNAL pair: receives what was stored before the count.
        let count = l.futex.load(Ordering::Acquire);
        let found = l.signal.load(Ordering::Relaxed);
        let field = "the signal";
        match Signal::from_word(found) {
            Some(signal) => Ok((count, signal)),
            None => Err(self.problem(ControlProblem::Value { field, found })),
        }
    }

    /// Sleeps until the signal count is no longer `seen`. `None` if that did not happen in time.
    ///
    /// Signals in quick succession show as the last of them, for a later one makes the earlier ones void; and one
    /// may show twice, because word and count are two.
    ///
    /// # Errors
    /// The wait failed, or [`ControlProblem::Value`].
    pub fn wait_signal(&self, seen: u32, deadline: Deadline) -> Result<Option<(u32, Signal)>> {
        if futex::wait(&self.layout().futex, seen, deadline)? {
            self.last_signal().map(Some)
        } else {
            Ok(None)
        }
    }

    /// Like [`ControlBlock::wait_signal`], but spins instead of sleeping.
    ///
    /// # Errors
    /// [`ControlProblem::Value`].
    pub fn spin_signal(&self, seen: u32, deadline: Deadline) -> Result<Option<(u32, Signal)>> {
        let futex = &self.layout().futex;
        let changed = spin_until(deadline, || (futex.load(Ordering::Acquire) != seen).then_some(()));
        changed.map(|()| self.last_signal()).transpose()
    }

    /// Handovers completed and aborted since the block was made.
    #[must_use]
    pub fn handovers(&self) -> (u64, u64) {
        let l = self.layout();
        (l.completed.load(Ordering::Relaxed), l.aborted.load(Ordering::Relaxed))
    }

    /// Leaves a wish for the predecessor that is parked. A later wish replaces an earlier one that was not seen yet.
    pub fn request(&self, request: Request) {
        let l = self.layout();
        l.request.store(request as u32, Ordering::Relaxed);
        point(Point::WishWritten);
        // REQUEST pair: publishes the wish.
        l.requests.fetch_add(1, Ordering::Release);
        point(Point::WishSaid);
    }

    /// How many wishes there were, and the last one; `None` if the word means nothing to this version.
    #[must_use]
    pub fn last_request(&self) -> (u32, Option<Request>) {
        let l = self.layout();
        // REQUEST pair: receives the wish.
        let count = l.requests.load(Ordering::Acquire);
        let request = match l.request.load(Ordering::Relaxed) {
            1 => Some(Request::Rollback),
            2 => Some(Request::Confirm),
            _ => None,
        };
        (count, request)
    }

    /// Says until when the owner is on probation, ns; 0 for not any more.
    pub fn set_probation_end(&self, at: u64) {
        self.layout().probation_end.store(at, Ordering::Relaxed);
    }

    /// Until when the owner is on probation, ns; 0 if it is on none.
    #[must_use]
    pub fn probation_end(&self) -> u64 {
        self.layout().probation_end.load(Ordering::Relaxed)
    }

    /// When the predecessor's last tick committed. Stored before the release, read after the take (LEASE pair).
    #[must_use]
    pub fn commit_stamp(&self) -> &AtomicU64 {
        &self.layout().commit_stamp
    }

    /// When the rehearsed tick committed. Stored before signal 2, read after it (SIGNAL pair).
    #[must_use]
    pub fn rehearsal_stamp(&self) -> &AtomicU64 {
        &self.layout().rehearsal_stamp
    }

    /// What the successor measured between rehearsal stamp and its own clock, ns; 0 if it did not.
    #[must_use]
    pub fn noise(&self) -> &AtomicU64 {
        &self.layout().noise
    }
}

impl LeaseCell for ControlBlock {
    fn word(&self) -> &AtomicU64 {
        &self.layout().lease
    }
}

/// Asks `look` over and over, without giving up the CPU, until it answers or `deadline` has passed.
pub fn spin_until<T>(deadline: Deadline, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    loop {
        if let Some(answer) = look() {
            return Some(answer);
        }
        if deadline.passed() {
            // The clock may have moved on while this thread was not running: one look after the last question.
            return look();
        }
        std::hint::spin_loop();
    }
}

fn unlink(name: &str) -> Result<()> {
    match rustix::shm::unlink(name) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => {
            let what = "unlink it";
            let source = e.into();
            Err(problem(name, ControlProblem::Os { what, source }))
        }
    }
}

fn problem(name: &str, problem: ControlProblem) -> Error {
    Error::ControlBlock {
        name: name.into(),
        problem,
    }
}

fn is(code: u32, errno: Errno) -> bool {
    i32::try_from(code) == Ok(errno.raw_os_error())
}

fn create_problem(e: ShmemError) -> ControlProblem {
    match e {
        ShmemError::MappingIdExists => ControlProblem::Exists,
        other => os_problem("make it", other),
    }
}

fn os_problem(what: &'static str, e: ShmemError) -> ControlProblem {
    let source = match e {
        ShmemError::MapCreateFailed(code) | ShmemError::MapOpenFailed(code) | ShmemError::UnknownOsError(code) => {
            io::Error::from_raw_os_error(i32::try_from(code).unwrap_or(0))
        }
        other => io::Error::other(other.to_string()),
    };
    ControlProblem::Os { what, source }
}

/// For the tests of this module: a block that is removed at the end.
#[cfg(test)]
pub(crate) struct TestBlock(pub(crate) ControlBlock);

#[cfg(test)]
impl TestBlock {
    pub(crate) fn new() -> Self {
        let identity = NodeIdentity {
            id: NodeId::random().expect("random"),
            name: "test".into(),
        };
        Self(ControlBlock::create(&identity).expect("create"))
    }
}

#[cfg(test)]
impl Drop for TestBlock {
    fn drop(&mut self) {
        let _ = self.0.remove();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(30))
    }

    fn open(identity: &NodeIdentity) -> Result<ControlBlock> {
        ControlBlock::open(identity, Deadline::now())
    }

    fn what(result: Result<ControlBlock>) -> ControlProblem {
        match result {
            Err(Error::ControlBlock { problem, .. }) => problem,
            other => panic!("expected a problem, got {other:?}"),
        }
    }

    #[test]
    fn a_block_outlives_those_who_map_it_until_it_is_removed() {
        let block = TestBlock::new();
        let identity = block.0.identity().clone();
        assert!(matches!(what(ControlBlock::create(&identity)), ControlProblem::Exists));
        let (other, origin) = ControlBlock::open_or_create(&identity).expect("open");
        assert_eq!(origin, Origin::Found);
        assert_eq!(other.lease().expect("lease"), Lease::Vacant { generation: 0 });
        lease::change(block.0.word(), |l| l.inherit(3)).expect("claim");
        let owned = Lease::Owned {
            owner: 3,
            generation: 1,
        };
        assert_eq!(other.lease().expect("lease"), owned, "the same memory");
        drop(other);
        open(&identity).expect("a drop does not unlink");
        block.0.remove().expect("remove");
        block.0.remove().expect("twice is no error");
        assert!(matches!(what(open(&identity)), ControlProblem::Missing));
    }

    #[test]
    fn nothing_foreign_is_opened() {
        let block = TestBlock::new();
        let identity = block.0.identity().clone();
        let l = block.0.layout();

        let renamed = NodeIdentity {
            name: "other".into(),
            ..identity.clone()
        };
        assert!(matches!(what(open(&renamed)), ControlProblem::NodeName { .. }));
        l.version.store(2, Ordering::Relaxed);
        assert!(matches!(
            what(open(&identity)),
            ControlProblem::Version { found: 2, ours: 1 }
        ));
        let refusal = open(&identity).expect_err("a later version").to_string();
        assert!(
            refusal.contains('2') && refusal.contains('1'),
            "both numbers: {refusal}"
        );
        let before = bytes(l);
        assert!(ControlBlock::open_or_create(&identity).is_err(), "nor made anew");
        assert_eq!(bytes(l), before, "nothing is touched");
        l.version.store(1, Ordering::Relaxed);
        l.size.store(4096, Ordering::Relaxed);
        assert!(matches!(
            what(open(&identity)),
            ControlProblem::Size { found: 4096, .. }
        ));
        l.size.store(16384, Ordering::Relaxed);
        l.node_id[1].fetch_add(1, Ordering::Relaxed);
        assert!(matches!(what(open(&identity)), ControlProblem::NodeId { .. }));
        l.node_id[1].fetch_sub(1, Ordering::Relaxed);
        l.magic.store(7, Ordering::Relaxed);
        assert!(matches!(what(open(&identity)), ControlProblem::Magic { found: 7 }));
        l.magic.store(layout::MAGIC, Ordering::Relaxed);
        open(&identity).expect("all as it was");
    }

    /// The words of a block, as they are now.
    fn bytes(l: &Layout) -> Vec<u64> {
        let words = std::ptr::from_ref(l).cast::<AtomicU64>();
        // SAFETY: `Layout` is 16384 bytes of atomics, aligned to 8 (asserted in `layout`), and lives as long as `l`.
        let words = unsafe { std::slice::from_raw_parts(words, layout::SIZE / 8) };
        words.iter().map(|word| word.load(Ordering::Relaxed)).collect()
    }

    #[test]
    fn what_is_reserved_is_zero() {
        let block = TestBlock::new();
        let words = bytes(block.0.layout());
        // Up to the lease word are magic, version, size, id and name; everything else is zero when nobody owns yet.
        let written = words.iter().enumerate().filter(|(_, word)| **word != 0);
        assert!(
            written.clone().all(|(at, _)| at * 8 < 96),
            "{:?}",
            written.collect::<Vec<_>>()
        );
    }

    #[test]
    fn words_outside_their_enumeration_are_errors() {
        let block = TestBlock::new();
        block.0.layout().phase.store(99, Ordering::Relaxed);
        block.0.layout().signal.store(5, Ordering::Relaxed);
        block.0.layout().lease.store(3, Ordering::Relaxed);
        assert_eq!(block.0.phase(), Phase::Unknown, "nothing decides on it");
        assert!(block.0.last_signal().is_err());
        assert!(block.0.lease().is_err());
    }

    #[test]
    fn a_half_made_block_is_waited_for_and_can_be_made_anew() {
        let block = TestBlock::new();
        let identity = block.0.identity().clone();
        block.0.layout().magic.store(0, Ordering::Relaxed);
        assert!(matches!(what(open(&identity)), ControlProblem::NotReady));
        std::thread::scope(|s| {
            let opener = s.spawn(|| ControlBlock::open(&identity, soon()));
            block.0.layout().magic.store(layout::MAGIC, Ordering::Release);
            opener.join().expect("no panic").expect("open");
        });
        block.0.layout().magic.store(0, Ordering::Relaxed);
        let (_, origin) = ControlBlock::open_or_create(&identity).expect("make anew");
        assert_eq!(origin, Origin::Created);

        // The other half: an object that has no size yet.
        let name = identity.id.shm_name();
        block.0.remove().expect("remove");
        let flags = rustix::shm::OFlags::CREATE | rustix::shm::OFlags::RDWR;
        let mode = rustix::shm::Mode::RUSR | rustix::shm::Mode::WUSR;
        let half = rustix::shm::open(name.as_str(), flags, mode).expect("make");
        assert!(matches!(what(open(&identity)), ControlProblem::NotReady));
        rustix::fs::ftruncate(&half, 4096).expect("another size");
        assert!(matches!(
            what(ControlBlock::open_or_create(&identity).map(|(b, _)| b)),
            ControlProblem::Size {
                found: 4096,
                expected: 16384
            }
        ));
    }

    #[test]
    fn signals_wake_across_mappings_and_threads() {
        let block = TestBlock::new();
        let identity = block.0.identity().clone();
        let other = Arc::new(open(&identity).expect("open"));
        let (seen, signal) = other.last_signal().expect("signal");
        assert_eq!(signal, Signal::None);
        let waiter = {
            let other = Arc::clone(&other);
            std::thread::spawn(move || other.wait_signal(seen, soon()))
        };
        block.0.rehearsal_stamp().store(17, Ordering::Relaxed);
        block.0.signal(Signal::Rehearse).expect("signal");
        let (count, signal) = waiter.join().expect("no panic").expect("wait").expect("in time");
        assert_eq!((count, signal), (seen + 1, Signal::Rehearse));
        assert_eq!(other.rehearsal_stamp().load(Ordering::Relaxed), 17);
        assert_eq!(other.spin_signal(count, Deadline::now()).expect("spin"), None);
        block.0.post(Signal::LookAtLease);
        let spun = other.spin_signal(count, soon()).expect("spin");
        assert_eq!(spun, Some((count + 1, Signal::LookAtLease)));
        block.0.begin_handover(4);
        assert_eq!(other.last_signal().expect("signal").1, Signal::None);
        assert_eq!(other.successor_slot(), 4);
        block.0.set_phase(Phase::Staging, 99);
        assert_eq!(other.phase(), Phase::Staging);
        assert_eq!(other.phase_deadline(), 99);
    }
}
