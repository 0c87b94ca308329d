//! What the threads of a process have in common about its node.

use crate::control::{ControlBlock, ParticipantState, Phase};
use crate::drain::InFlight;
use crate::error::{Error, Result};
use crate::node::carry::Carry;
use crate::node::config::Config;
use crate::node::descriptors::set::Descriptors;
use crate::node::late::Late;
use crate::node::leftover::{Drainer, Leftover};
use crate::node::moves::Moves;
use crate::node::new_regions::NewRegions;
use crate::node::post::Post;
use crate::node::tether::Probation;
use crate::os::dir::NodeDir;
use crate::os::lock::OwnedLock;
use crate::registry::Registry;
use shmstate::Gate;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What this process is to the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It does not own it yet.
    Starting,
    /// It owns it.
    Serving,
    /// A successor owns it.
    HandedOver,
    /// Its predecessor owns it again.
    GivenBack,
    /// It leaves, and nobody follows.
    Leaving,
}

/// A descriptor that every handover sends, with its name.
pub(crate) type Named<T> = (String, Arc<T>);

/// The node as this process has it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) dir: NodeDir,
    pub(crate) block: Arc<ControlBlock>,
    /// Participant slot.
    pub(crate) me: u8,
    pub(crate) gate: Gate,
    pub(crate) registry: Registry,
    /// Listeners, sockets, and whatever has a name.
    pub(crate) descriptors: Descriptors,
    /// What proves that an owner lives, and where successors come; both go to the successor and are then let go here.
    owner: Mutex<Option<Ownership>>,
    /// Readable when the reception is to end.
    pub(crate) stop: OwnedFd,
    /// What is carried over.
    pub(crate) carry: Carry,
    /// The way of newcomers to a successor.
    pub(crate) late: Late,
    /// Connections that move after the cutover.
    pub(crate) moves: Arc<Moves>,
    /// Regions that this process brought and that go with it as long as it may have to go.
    pub(crate) new_regions: NewRegions,
    /// Of this process as a new owner.
    pub(crate) probation: Probation,
    /// What the cutover left to this process as the old owner.
    pub(crate) post: Post,
    /// What the handover to this process left to be settled.
    leftover: Mutex<Option<Leftover>>,
    /// What a drain waits for.
    pub(crate) work: InFlight,
    stage: Mutex<Stage>,
    /// Slot of the last one to whom this process offered the node; [`NO_HEIR`] if it did not.
    heir: AtomicU32,
    /// Whether everything is begun that begins with owning the node.
    complete: AtomicBool,
    changed: Condvar,
}

/// Descriptors that only the owner of a node holds: as long as one process has them, an owner lives.
#[derive(Debug)]
pub(crate) struct Ownership {
    pub(crate) lock: OwnedLock,
    pub(crate) control: OwnedFd,
    pub(crate) regions: Vec<Named<OwnedFd>>,
}

/// Everything that goes into a [`Shared`].
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) dir: NodeDir,
    pub(crate) block: Arc<ControlBlock>,
    pub(crate) me: u8,
    pub(crate) gate: Gate,
    pub(crate) registry: Registry,
    pub(crate) regions: Vec<Named<OwnedFd>>,
    pub(crate) descriptors: Descriptors,
    pub(crate) lock: OwnedLock,
    pub(crate) control: OwnedFd,
    pub(crate) new_regions: NewRegions,
}

/// No slot.
const NO_HEIR: u32 = u32::MAX;

impl Shared {
    pub(crate) fn new(parts: Parts) -> Result<Self> {
        use rustix::event::{EventfdFlags, eventfd};
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|e| Error::io("make", "an eventfd", e))?;
        Ok(Self {
            config: parts.config,
            dir: parts.dir,
            block: parts.block,
            me: parts.me,
            gate: parts.gate,
            registry: parts.registry,
            descriptors: parts.descriptors,
            owner: Mutex::new(Some(Ownership {
                lock: parts.lock,
                control: parts.control,
                regions: parts.regions,
            })),
            stop,
            carry: Carry::default(),
            late: Late::default(),
            moves: Arc::default(),
            new_regions: parts.new_regions,
            probation: Probation::default(),
            post: Post::default(),
            leftover: Mutex::default(),
            work: InFlight::default(),
            stage: Mutex::new(Stage::Starting),
            heir: AtomicU32::new(NO_HEIR),
            complete: AtomicBool::new(false),
            changed: Condvar::new(),
        })
    }

    /// Leaves to the reception what is not urgent.
    pub(crate) fn leave_over(&self, leftover: Option<Leftover>) {
        *self.leftover.lock().unwrap_or_else(PoisonError::into_inner) = leftover;
    }

    /// Gives the predecessor, if there is one that drains.
    pub(crate) fn settle_leftover(&self) -> Option<Drainer> {
        let leftover = self.leftover.lock().unwrap_or_else(PoisonError::into_inner).take();
        leftover.and_then(Leftover::settle)
    }

    /// The reception may open.
    pub(crate) fn set_complete(&self) {
        self.complete.store(true, Ordering::Release);
    }

    /// Whether it may.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    fn lock_stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stage(&self) -> Stage {
        *self.lock_stage()
    }

    /// Moves on, and wakes who waits for it.
    pub(crate) fn set_stage(&self, stage: Stage) {
        *self.lock_stage() = stage;
        self.changed.notify_all();
        self.gate.look_again();
    }

    /// Moves on without a system call: who waits finds out when it looks again. For the cutover, where a thread that wakes
    /// would take a CPU from the first tick (H4).
    pub(crate) fn set_stage_quietly(&self, stage: Stage) {
        *self.lock_stage() = stage;
    }

    /// Waits for the first stage after `Starting`; looks every `pause`.
    pub(crate) fn wait_started(&self, pause: Duration) -> Stage {
        let mut stage = self.lock_stage();
        while *stage == Stage::Starting {
            stage = self
                .changed
                .wait_timeout(stage, pause)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        *stage
    }

    /// From `Serving` to `Leaving`; `false` if it does not serve (any more).
    pub(crate) fn leave(&self) -> bool {
        let mut stage = self.lock_stage();
        let serving = *stage == Stage::Serving;
        if serving {
            *stage = Stage::Leaving;
        }
        drop(stage);
        self.gate.look_again();
        serving
    }

    /// Begins a handover to the process in `slot`, in the control block and here.
    pub(crate) fn begin_handover(&self, slot: u8) {
        self.heir.store(slot.into(), Ordering::Relaxed);
        self.block.begin_handover(slot);
    }

    /// For those who watch: the handover of this process goes from one of these phases to another. Where a later owner hands over by now, the word
    /// is about that, and stays: this process may be an older one that is told only then that it can leave.
    pub(crate) fn advance_phase(&self, from: &[Phase], to: Phase, deadline: u64) {
        if self.block.successor_slot() == self.heir.load(Ordering::Relaxed) {
            for from in from {
                self.block.advance_phase(*from, to, deadline);
            }
        }
    }

    /// For those who watch: this process has handed over and drains.
    pub(crate) fn say_draining(&self) {
        let _ = self.block.set_state(self.me, ParticipantState::Draining);
        let before = [Phase::Closing, Phase::Offered, Phase::Probation, Phase::Returning];
        self.advance_phase(&before, Phase::Draining, 0);
    }

    /// The predecessor owns the node again: lets go of what only the owner holds, ends the reception, and wakes who waits for the gate.
    pub(crate) fn given_back(&self) {
        {
            let mut stage = self.lock_stage();
            if *stage == Stage::Serving {
                *stage = Stage::GivenBack;
            }
        }
        self.let_go();
        self.descriptors.withdraw();
        self.new_regions.remove();
        // A reception that is not woken ends with the process.
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
        self.changed.notify_all();
        self.gate.look_again();
    }

    /// Runs `act` if this process serves, and keeps it from leaving meanwhile.
    pub(crate) fn while_serving<R>(&self, act: impl FnOnce() -> R) -> Option<R> {
        let stage = self.lock_stage();
        (*stage == Stage::Serving).then(act)
    }

    /// Wakes who waits for the gate.
    pub(crate) fn gate_changed(&self) {
        drop(self.lock_stage());
        self.changed.notify_all();
        self.gate.look_again();
    }

    /// Waits until the gate is open or the stage is no longer `Serving`; gives the stage.
    pub(crate) fn wait_decision(&self, longest: Duration) -> Stage {
        let end = Instant::now() + longest;
        let mut stage = self.lock_stage();
        while *stage == Stage::Serving && !self.gate.is_open() {
            let Some(left) = end.checked_duration_since(Instant::now()) else {
                break;
            };
            stage = self
                .changed
                .wait_timeout(stage, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        *stage
    }

    /// Lends what only the owner holds.
    ///
    /// # Errors
    /// This process is not the owner any more.
    pub(crate) fn ownership<R>(&self, with: impl FnOnce(&Ownership) -> Result<R>) -> Result<R> {
        let owner = self.owner.lock().unwrap_or_else(PoisonError::into_inner);
        match &*owner {
            Some(owner) => with(owner),
            None => Err(Error::Protocol {
                expected: "the owner of the node",
                got: "a process that has handed over".into(),
            }),
        }
    }

    /// Nobody takes the node back from here on: what this version brought is the node's for good, what it let go of is gone.
    pub(crate) fn settle(&self) {
        self.new_regions.keep();
        self.descriptors.settle();
    }

    /// Lets go of what only the owner holds: from now on the successor's death alone frees the lock.
    pub(crate) fn let_go(&self) {
        self.owner.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// A duplicate of the node's control socket, for the reception.
    pub(crate) fn control_socket(&self) -> Result<OwnedFd> {
        self.ownership(|owner| {
            let socket = owner.control.try_clone();
            socket.map_err(|e| Error::io("duplicate", "the control socket", e))
        })
    }
}
