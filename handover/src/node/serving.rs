//! A node that this process owns, or owned: passes, connections, and the way out.

use crate::connections::Connections;
use crate::control::{ControlBlock, ParticipantState};
use crate::drain::{self, Drained, InFlight};
use crate::error::{Error, Result};
use crate::node::builder;
use crate::node::carry::Carried;
use crate::node::moves::{Moved, Mover};
use crate::node::shared::{Shared, Stage};
use crate::node::starting::{Role, Starting};
use crate::node::{new_regions, parked, probation};
use crate::os::clock::Deadline;
use crate::os::lock;
use shmstate::lease::{self, Lease, LeaseCell};
use shmstate::{Gate, Pass, Region, Streams};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How long a server waits at a closed gate before it looks whether the thread that closed it still lives.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why there is no pass any more.
#[derive(Debug)]
pub enum Stop {
    /// A successor owns the node: [`Node::park`], or [`Node::drain`] and end.
    HandedOver,
    /// This process was on probation and its predecessor owns the node again: [`Node::drain`] and end.
    GivenBack,
    /// [`Node::stop`] was called.
    Leaving,
    /// Something is wrong that no waiting mends.
    Failed(Error),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HandedOver => f.write_str("a successor serves"),
            Self::GivenBack => f.write_str("the predecessor serves again"),
            Self::Leaving => f.write_str("the node is being stopped"),
            Self::Failed(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Stop {}

/// A node that this process serves.
#[derive(Debug)]
pub struct Node {
    pub(super) shared: Arc<Shared>,
    role: Role,
    inherited: bool,
}

/// What came of [`Node::park`].
#[derive(Debug)]
pub enum Parked {
    /// This process owns the node again, or rather, will when it is ready: go on as a successor does, with [`Starting::region`] and
    /// [`Starting::ready`], at once, for nobody serves meanwhile.
    Back(Box<Starting>),
    /// The successor is well, and what was not handed over is drained: this process can end.
    Over(Drained),
}

impl Node {
    pub(crate) fn new(shared: Arc<Shared>, role: Role, inherited: bool) -> Self {
        Self {
            shared,
            role,
            inherited,
        }
    }

    /// A builder, the same as [`Builder::new`](crate::Builder::new).
    #[must_use]
    pub fn builder(name: &str) -> crate::Builder {
        crate::Builder::new(name)
    }

    /// What this process was to the node when it started.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Whether the owner before was dead: connections that came over have to be brought in line with the kernel first, see
    /// [`Connections::reconcile`].
    #[must_use]
    pub fn inherited(&self) -> bool {
        self.inherited
    }

    /// The fencing token: grows with each change of owner.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.shared.gate.generation()
    }

    /// The gate of the node's regions.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.shared.gate
    }

    /// The node's control block.
    #[must_use]
    pub fn control(&self) -> &ControlBlock {
        &self.shared.block
    }

    /// Gives a pass for a tick or a step of I/O. While a handover decides, it waits for the decision, holding nothing.
    ///
    /// # Errors
    /// [`Stop`], when this process is not the owner any more.
    pub fn enter(&self) -> std::result::Result<Pass<'_>, Stop> {
        loop {
            match self.shared.gate.enter() {
                Ok(pass) => {
                    probation::beat(&self.shared);
                    return Ok(pass);
                }
                Err(shmstate::Error::GateClosed) => match self.shared.wait_decision(PATIENCE) {
                    Stage::HandedOver => return Err(Stop::HandedOver),
                    Stage::GivenBack => return Err(Stop::GivenBack),
                    Stage::Leaving => return Err(Stop::Leaving),
                    Stage::Serving | Stage::Starting => {}
                },
                Err(e) => return Err(Stop::Failed(e.into())),
            }
        }
    }

    /// As [`enter`](Self::enter), for a task of any executor: it waits without holding a thread. A pass cannot be kept over
    /// an `await` by a task that may move between threads, see [`Gate::entered`]. How long is the caller's matter: dropping the
    /// future ends the wait.
    ///
    /// # Errors
    /// [`Stop`], when this process is not the owner any more.
    pub async fn enter_async(&self) -> std::result::Result<Pass<'_>, Stop> {
        let stop = || match self.shared.stage() {
            Stage::HandedOver => Some(Stop::HandedOver),
            Stage::GivenBack => Some(Stop::GivenBack),
            Stage::Leaving => Some(Stop::Leaving),
            Stage::Serving | Stage::Starting => None,
        };
        match self.shared.gate.entered_unless(stop).await {
            Ok(outcome) => outcome.map_err(|e| Stop::Failed(e.into())),
            Err(stop) => Err(stop),
        }
    }

    /// The live connections whose rings are in `streams`.
    ///
    /// # Errors
    /// A listener that cannot be watched.
    pub fn connections(&self, streams: Streams) -> Result<Connections> {
        Connections::new(&self.shared, streams)
    }

    /// What a drain waits for: pieces of work, and connections that are not handed over, each with its name.
    #[must_use]
    pub fn work(&self) -> &InFlight {
        &self.shared.work
    }

    /// Carries a blob over to whoever owns the node next, under a name and a version of the server's choice: private state that lives in no table. It
    /// is written whole or not at all, replaces the one of that name, and is found by a successor, by a predecessor that takes the node
    /// back, and by a start after a kill. At most as many bytes in all as [`Builder::carry`](crate::Builder::carry) declared.
    ///
    /// Inside a pass, as part of what the tick does: the pass may be the last one.
    ///
    /// # Errors
    /// [`Error::Unknown`] if nothing was declared; [`Error::Region`] if there is no room for it (the old blob stays), for a name of 0 or more than
    /// 64 KiB.
    pub fn carry(&self, pass: &Pass<'_>, name: &str, version: u32, bytes: &[u8]) -> Result<()> {
        self.shared.carry.put(pass, name, version, bytes)
    }

    /// The blob of this name, as the last owner that wrote it left it; `None` if nobody did.
    ///
    /// # Errors
    /// [`Error::Unknown`] if nothing was declared; damage of the region.
    pub fn carried(&self, pass: &Pass<'_>, name: &str) -> Result<Option<Carried>> {
        self.shared.carry.get(pass, name)
    }

    /// How much is left of the probation that this process is on; `None` if it is on none (any more).
    #[must_use]
    pub fn probation(&self) -> Option<Duration> {
        self.shared.probation.left()
    }

    /// Ends the probation of this process: it is well, and nobody takes the node back from here on. `false` if it was on none.
    pub fn confirm(&self) -> bool {
        probation::confirm(&self.shared)
    }

    /// Gives the node back to the predecessor, which is parked: this process has found that it is not well. It returns at once; the gate closes
    /// when the passes that are out are back, and [`enter`](Self::enter) then gives [`Stop::GivenBack`]. If the predecessor does not take
    /// the node in time, this process goes on serving.
    ///
    /// # Errors
    /// [`Error::NotOnProbation`]: there is nobody to give it to.
    pub fn give_back(&self, reason: &str) -> Result<()> {
        self.shared.probation.give_back(reason)
    }

    /// What moves connections that are busy at the cutover, when they are idle, for as long as this process is parked.
    #[must_use]
    pub fn mover(&self) -> Mover {
        Mover(Arc::clone(&self.shared.moves))
    }

    /// Connections that were busy with the old owner at the cutover and have moved since. To be asked for while this process is on probation.
    #[must_use]
    pub fn moved(&self) -> Vec<Moved> {
        self.shared.moves.take()
    }

    /// After [`Stop::HandedOver`]: waits, with everything in hand, for the end of the successor's probation. If the successor dies, hangs, gives
    /// the node back or is rolled back by an operator meanwhile, this process has the node again. Otherwise it drains, as with
    /// [`drain`](Self::drain). The regions are unmapped first: no reference into them survives (R5).
    ///
    /// # Errors
    /// The regions cannot be mapped again: the successor serves, and knows that nobody would take the node back. A region that a dead successor
    /// left cannot be recovered: nobody serves. [`Error::who_serves`] tells which.
    pub fn park(self, regions: Vec<Region>) -> Result<Parked> {
        self.park_unless(regions, &|| false)
    }

    /// Like [`park`](Self::park), but leaves early when `leave` says so, which is asked many times a second: for a server that is told to
    /// end while it is parked.
    ///
    /// # Errors
    /// As for [`park`](Self::park).
    pub fn park_unless(self, regions: Vec<Region>, leave: &dyn Fn() -> bool) -> Result<Parked> {
        let Some(terms) = self.shared.post.claim() else {
            return Ok(Parked::Over(self.drain(regions)));
        };
        // What was not handed over drains meanwhile: it need not wait for the end of the probation.
        let draining = drain::begin(&self.shared, &self.shared.work, drain::Descriptors::Keep);
        match parked::wait(&self.shared, regions, terms, leave) {
            Ok(parked::Ended::Back(starting)) => {
                draining.call_off();
                Ok(Parked::Back(starting))
            }
            Ok(parked::Ended::Over) => {
                self.leave();
                Ok(Parked::Over(draining.finish()))
            }
            Err(error) => {
                drop(draining);
                let _ = self.drain(Vec::new());
                Err(error)
            }
        }
    }

    /// After [`Stop::HandedOver`] or [`Stop::GivenBack`]: phase 1 closes listeners and what was not handed over, phase 2 waits for work in flight,
    /// no longer than the deadline. Then this process can end. The regions are unmapped first: they are the successor's.
    /// After [`Stop::HandedOver`]: phase 1 closes listeners and what was not handed over and asks idle connections of
    /// [`work`](Self::work) to close, phase 2 waits for what is busy, each no longer than its deadline. Then this process can end. The regions are unmapped first: they are the successor's.
    #[must_use]
    pub fn drain(self, regions: Vec<Region>) -> Drained {
        drop(regions);
        self.shared.carry.leave();
        self.leave();
        crate::drain::drain(&self.shared, &self.shared.work)
    }

    /// Lets go of what only one who may own the node again holds.
    fn leave(&self) {
        // Nobody parks: the channel closes, and the successor's probation is over.
        drop(self.shared.post.claim());
        self.shared.moves.close();
        self.shared.let_go();
        self.shared.say_draining();
    }

    /// Ends the node: nobody serves after this. With `remove` its regions and its directory's files go too; without, the next
    /// start finds the world.
    ///
    /// # Errors
    /// A handover was faster: then this process is to drain instead ([`Stop::HandedOver`] from [`enter`](Self::enter)).
    pub fn stop(self, regions: Vec<Region>, remove: bool) -> Result<()> {
        let shared = self.shared;
        let handed_over = || Error::Protocol {
            expected: "a node that this process owns",
            got: "one that was handed over".into(),
        };
        // From here on no handover arms the gate. One that had armed it is disarmed; if the lease was released already, the
        // word decides as ever (H1).
        if !shared.leave() {
            return Err(handed_over());
        }
        if !shared.gate.disarm() {
            let me = shared.me;
            if let Err(word) = lease::change(shared.block.word(), |lease| lease.take_back(me))
                && !matches!(Lease::from_word(word), Some(Lease::Owned { owner, .. }) if owner == me)
            {
                shared.set_stage(Stage::HandedOver);
                return Err(handed_over());
            }
        }
        // A successor inherits from an owner that died (H10), not from one that left.
        if lease::change(shared.block.word(), |lease| lease.leave(shared.me)).is_err() {
            shared.set_stage(Stage::HandedOver);
            return Err(handed_over());
        }
        shared.settle();
        rustix::io::write(&shared.stop, &1u64.to_ne_bytes()).map_err(|e| Error::io("wake", "the reception", e))?;
        let names: Vec<String> = regions.iter().map(|r| r.name().to_owned()).collect();
        drop(regions);
        shared.carry.leave();
        shared.registry.clear();
        if remove {
            let start = lock::lock_until(
                shared.dir.start_file()?,
                Deadline::after(shared.config.deadlines.connect),
            )?;
            for name in names {
                match builder::options_of(&shared.config, &name) {
                    Some(options) => options.remove(&name)?,
                    None => Region::remove(&name)?,
                };
            }
            new_regions::remove_all(shared.block.identity());
            shared.descriptors.remove()?;
            shared.block.remove()?;
            shared.dir.remove()?;
            drop(start);
        } else {
            shared.block.set_state(shared.me, ParticipantState::Draining)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::Pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Wake, Waker};

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_task_waits_for_the_gate_and_is_told_why_there_is_no_pass() {
        let directory = tempfile::tempdir().expect("a directory");
        let node = Node::builder("tasks")
            .directory(directory.path().join("nodes"))
            .start()
            .expect("start")
            .ready()
            .expect("ready");
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut context = Context::from_waker(&waker);
        let woken = || wakes.0.swap(0, Ordering::Relaxed) > 0;

        let lease = node.control().lease().expect("a lease");
        node.gate().close();
        {
            let mut task = Box::pin(node.enter_async());
            assert!(task.as_mut().poll(&mut context).is_pending());
            assert!(!woken(), "nothing has changed");
            node.gate().open(lease);
            assert!(woken());
            assert!(matches!(task.as_mut().poll(&mut context), Poll::Ready(Ok(_))));
        }
        node.gate().close();
        {
            let mut task: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(node.enter_async());
            assert!(task.as_mut().poll(&mut context).is_pending());
            node.shared.set_stage(Stage::HandedOver);
            assert!(woken());
            assert!(matches!(
                task.as_mut().poll(&mut context),
                Poll::Ready(Err(Stop::HandedOver))
            ));
        }
        node.shared.set_stage(Stage::Serving);
        {
            let mut task = Box::pin(node.enter_async());
            assert!(task.as_mut().poll(&mut context).is_pending());
            assert!(node.shared.leave());
            assert!(woken());
            assert!(matches!(
                task.as_mut().poll(&mut context),
                Poll::Ready(Err(Stop::Leaving))
            ));
        }
        node.shared.set_stage(Stage::Serving);
        node.gate().open(lease);
        node.stop(Vec::new(), true).expect("stop");
    }
}
