//! A node that this process owns, or owned: passes, connections, and the way out.

use crate::connections::Connections;
use crate::control::{ControlBlock, ParticipantState};
use crate::drain::{Drained, InFlight};
use crate::error::{Error, Result};
use crate::node::builder;
use crate::node::shared::{Shared, Stage};
use crate::node::starting::Role;
use crate::os::clock::Deadline;
use crate::os::lock;
use shmstate::lease::{self, Lease, LeaseCell};
use shmstate::{Gate, Pass, Region, Streams};
use std::fmt;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

/// How long a server waits at a closed gate before it looks whether the thread that closed it still lives.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why there is no pass any more.
#[derive(Debug)]
pub enum Stop {
    /// A successor owns the node: drain and end.
    HandedOver,
    /// [`Node::stop`] was called.
    Leaving,
    /// Something is wrong that no waiting mends.
    Failed(Error),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HandedOver => f.write_str("a successor serves"),
            Self::Leaving => f.write_str("the node is being stopped"),
            Self::Failed(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Stop {}

/// A node that this process serves.
#[derive(Debug)]
pub struct Node {
    shared: Arc<Shared>,
    role: Role,
    inherited: bool,
    work: InFlight,
}

impl Node {
    pub(crate) fn new(shared: Arc<Shared>, role: Role, inherited: bool) -> Self {
        Self {
            shared,
            role,
            inherited,
            work: InFlight::default(),
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
                Ok(pass) => return Ok(pass),
                Err(shmstate::Error::GateClosed) => match self.shared.wait_decision(PATIENCE) {
                    Stage::HandedOver => return Err(Stop::HandedOver),
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
            Stage::Leaving => Some(Stop::Leaving),
            Stage::Serving | Stage::Starting => None,
        };
        match self.shared.gate.entered_unless(stop).await {
            Ok(outcome) => outcome.map_err(|e| Stop::Failed(e.into())),
            Err(stop) => Err(stop),
        }
    }

    /// A listener by its name.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn listener(&self, name: &str) -> Result<Arc<TcpListener>> {
        let found = self.shared.listeners().into_iter().find(|(n, _)| n == name);
        found.map(|(_, l)| l).ok_or_else(|| Error::Unknown {
            what: "listener",
            name: name.into(),
        })
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
        &self.work
    }

    /// After [`Stop::HandedOver`]: phase 1 closes listeners and what was not handed over and asks idle connections of
    /// [`work`](Self::work) to close, phase 2 waits for what is busy, each no longer than its deadline. Then this process can end. The regions are unmapped first: they are the successor's.
    #[must_use]
    pub fn drain(self, regions: Vec<Region>) -> Drained {
        drop(regions);
        crate::drain::drain(&self.shared, &self.work)
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
        rustix::io::write(&shared.stop, &1u64.to_ne_bytes()).map_err(|e| Error::io("wake", "the reception", e))?;
        let names: Vec<String> = regions.iter().map(|r| r.name().to_owned()).collect();
        drop(regions);
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
            .directory(directory.path().to_path_buf())
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
