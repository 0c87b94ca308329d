//! The owner on probation: what it tells its predecessor, and how it gives the node back.
//!
//! - **B1** One state, under one lock; the server's threads, the reception and the thread here all go through
//!   `phase::probation` under it. So a handover that ends the probation and a predecessor that asks for the node are one after the other.
//! - **B2** What is accepted goes to the predecessor before the transaction that adopts it commits, so before the peer hears a word.
//! - **B3** The thread sleeps until the cutover is over, and nobody is woken for it there (H4).
//! - **B4** Nothing is accepted while the predecessor could not be told of it at once; one that reads nothing for too long ends the probation, and
//!   the history says so.
//!
//! It does not know what the predecessor does with what it gets.

use crate::control::{HandoverRecord, Outcome, ParticipantState, Phase};
use crate::error::{Error, Result};
use crate::node::descriptors::spec::KEPT;
use crate::node::shared::{Shared, Stage};
use crate::node::tether::{Out, Running, SLACK, Terms};
use crate::os::clock::{self, Deadline};
use crate::os::poll;
use crate::phase::probation::{Effect, Event, State};
use crate::points::{Point, point};
use crate::wire::message::{Descriptor, DescriptorKind, Message};
use shmstate::gate::{Plan, Quiet};
use shmstate::lease::{self, Lease, LeaseCell};
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Between two looks of the thread at what nobody wakes it for: a wish of the server, an outbox that was full, the stage.
const LOOK: Duration = Duration::from_millis(10);
/// Between two looks at the gate or the lease while the node is given back.
const WATCH: Duration = Duration::from_millis(2);

/// Begins the probation. The thread finds it with its next look (B3).
pub(crate) fn begin(shared: &Shared, terms: Terms) {
    let end = Deadline::after(terms.length).nanos();
    // Without one this process serves all the same, and its predecessor sees the channel close.
    if shared.probation.begin(terms).is_ok() {
        shared.block.set_probation_end(end);
        shared.block.beat(shared.me);
    } else {
        shared.settle();
    }
}

/// Whether connections can be accepted (B4).
pub(crate) fn has_room(shared: &Shared) -> bool {
    let reads = |slot| {
        let row = shared.block.participant(slot).ok().flatten();
        row.is_some_and(|row| row.state == ParticipantState::Parked)
    };
    !shared.probation.is_on() || shared.probation.has_room(reads)
}

/// Tells the predecessor of connections that this process accepted (B2).
pub(crate) fn mirror(shared: &Shared, held: impl IntoIterator<Item = (u64, Arc<OwnedFd>)>) {
    if shared.probation.is_on() {
        let entry = |token| Descriptor {
            kind: DescriptorKind::Stream,
            token,
            name: String::new(),
        };
        let news = held.into_iter().map(|(token, fd)| Out::Mirror(entry(token), fd));
        shared.probation.tell(news);
    }
}

/// Tells the predecessor of a descriptor that this process keeps from now on.
pub(crate) fn mirror_kept(shared: &Shared, name: &str, fd: Arc<OwnedFd>) {
    if shared.probation.is_on() {
        let entry = Descriptor {
            kind: DescriptorKind::Named,
            token: KEPT,
            name: name.into(),
        };
        shared.probation.tell([Out::Mirror(entry, fd)]);
    }
}

/// Tells the predecessor of a connection that this process has ended.
pub(crate) fn gone(shared: &Shared, token: u64) {
    if shared.probation.is_on() {
        shared.probation.tell([Out::Gone(token)]);
    }
}

/// Ends the probation in favour of this process: nobody takes the node back from here on. `false` if there was none.
pub(crate) fn confirm(shared: &Shared) -> bool {
    match &mut *shared.probation.lock() {
        Some(running) if !running.state.is_over() => {
            running.step(shared, Event::Confirm);
            running.state == State::Over
        }
        _ => false,
    }
}

/// Starts the thread. It sleeps until there is a probation, and ends if there will be none.
pub(crate) fn start(shared: &Arc<Shared>) -> Result<()> {
    let shared = Arc::clone(shared);
    let thread = std::thread::Builder::new().name("probation".into());
    thread
        .spawn(move || {
            if shared.wait_started(LOOK) == Stage::Serving {
                run(&shared);
                alone(&shared);
                // H6: the channel and the pidfd of the predecessor are of no use any more.
                shared.probation.end();
            }
        })
        .map_err(|e| Error::io("start", "the thread for the probation", e))?;
    Ok(())
}

fn run(shared: &Shared) {
    // The cutover is a few microseconds old, and the terms come with it; but this process may be stopped in between, however long.
    while shared.probation.lock().is_none() {
        if shared.is_complete() && shared.probation.lock().is_none() || shared.stage() != Stage::Serving {
            return;
        }
        // Nobody is woken for it at a cutover (B3).
        std::thread::sleep(LOOK);
    }
    loop {
        let event = wait(shared);
        let mut running = shared.probation.lock();
        let Some(running) = &mut *running else { return };
        if shared.stage() != Stage::Serving && !running.state.is_over() {
            // It hands over, stops, or is gone: the lease says who serves, and a closed channel makes the predecessor look.
            end(running, shared);
            return;
        }
        if let Some(event) = event {
            running.step(shared, event);
        }
        if running.state.is_over() {
            return;
        }
    }
}

/// A parked process that ends its probation says so in the control block when it drains. For one that was killed the owner does.
fn alone(shared: &Shared) {
    let patience = Deadline::after(SLACK);
    while shared.stage() == Stage::Serving {
        if shared.probation.lock().as_ref().is_none_or(Running::is_alone) {
            // Of the handover to this process, not of one that it has begun since. Killed right after the release, the old owner has not
            // even said that there is a probation.
            if shared.block.successor_slot() == u32::from(shared.me) {
                for phase in [Phase::Closing, Phase::Offered, Phase::Probation, Phase::Returning] {
                    shared.block.advance_phase(phase, Phase::None, 0);
                }
            }
            return;
        }
        if !patience.pause(LOOK) {
            return;
        }
    }
}

/// Waits for the next event; holds the lock only while it looks.
fn wait(shared: &Shared) -> Option<Event> {
    let (state, slot, watch) = {
        let running = shared.probation.lock();
        let running = running.as_ref()?;
        (running.state, running.slot, Arc::clone(&running.watch))
    };
    match state {
        State::Closing | State::Disarming(_) => {
            if shared.gate.wait_quiet(Instant::now() + WATCH) {
                return Some(Event::Released);
            }
        }
        State::Offered | State::TakingBack(_) => {
            let taken = crate::control::block::spin_until(Deadline::after(WATCH / 10), || {
                matches!(shared.block.lease(), Ok(Lease::Owned { owner, .. }) if owner == slot).then_some(())
            });
            if taken.is_some() {
                return Some(Event::Taken);
            }
        }
        _ => {
            // Whoever it is that has something to say, or LOOK is over; the look below finds out.
            let _ = poll::readable(watch.as_fd(), Deadline::after(LOOK));
        }
    }
    let mut running = shared.probation.lock();
    running.as_mut()?.look(&shared.moves)
}

impl Running {
    /// One event and whatever its effects answer.
    fn step(&mut self, shared: &Shared, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let before = self.state;
            let (state, effects) = before.step(event);
            self.state = state;
            if before != state {
                self.enter(shared);
            }
            if state == State::Over {
                // They are the node's for good.
                shared.settle();
            }
            for effect in effects {
                events.extend(self.apply(shared, effect));
            }
        }
    }

    fn enter(&mut self, shared: &Shared) {
        let d = &shared.config.deadlines;
        self.deadline = match self.state {
            State::Closing => Deadline::after(d.quiet),
            State::Offered => Deadline::after(d.take),
            _ => self.end,
        };
        let phases = (Phase::Probation, Phase::Returning);
        match self.state {
            State::Closing => _ = shared.block.advance_phase(phases.0, phases.1, self.deadline.nanos()),
            State::Serving => _ = shared.block.advance_phase(phases.1, phases.0, self.end.nanos()),
            _ => {}
        }
    }

    fn apply(&mut self, shared: &Shared, effect: Effect) -> Option<Event> {
        match effect {
            Effect::ArmGate => (!self.arm(shared)).then_some(Event::NotArmed),
            Effect::DisarmGate => Some(match shared.gate.disarm() {
                true => {
                    shared.gate_changed();
                    Event::Disarmed
                }
                false => Event::Released,
            }),
            Effect::ReopenGate => {
                if !shared.gate.is_open()
                    && let Ok(lease) = shared.block.lease()
                {
                    shared.gate.open(lease);
                }
                shared.gate_changed();
                None
            }
            Effect::TakeBack => {
                let me = shared.me;
                Some(match lease::change(shared.block.word(), |lease| lease.take_back(me)) {
                    Ok(_) => Event::TookBack,
                    // Nothing was released.
                    Err(word) if lease::is_owned_by(word, me) => Event::TookBack,
                    Err(_) => Event::TakeBackLost,
                })
            }
            Effect::SendReturned => {
                let reason = self.reason.clone();
                self.send(&Message::Returned { reason });
                point(Point::OwnerReturned);
                None
            }
            Effect::SendConfirm => {
                // Mirrors that wait are of no use to one that leaves.
                self.send(&Message::Confirm);
                point(Point::OwnerConfirm);
                None
            }
            Effect::CloseChannel => {
                end(self, shared);
                None
            }
            Effect::RecordUnread => {
                let reason = "the parked process read nothing of what it was told; clients come in again";
                let mut record = HandoverRecord::new(Outcome::ProbationUnread, reason);
                let generation = shared.gate.generation();
                (record.from_generation, record.to_generation) = (generation, generation);
                record.successor_pid = std::process::id();
                record.started = clock::now();
                record.streams = shared.registry.len() as u32;
                shared.block.append(&record);
                None
            }
            Effect::Leave => {
                shared.given_back();
                point(Point::OwnerGivenBack);
                None
            }
        }
    }

    /// The gate closes now; whoever drops the last pass releases to the predecessor.
    fn arm(&self, shared: &Shared) -> bool {
        let (me, heir) = (shared.me, self.slot);
        let block = Arc::clone(&shared.block);
        let quiet = Box::new(move |quiet: Quiet| {
            block.commit_stamp().store(quiet.last_commit_ns, Ordering::Relaxed);
            // LEASE pair: publishes everything this process wrote, as at the cutover (`reception`).
            let _ = lease::change(block.word(), |lease| lease.release(me, heir));
            point(Point::OwnerReleased);
        });
        let rehearse = Box::new(|_: u64| {});
        let armed = shared.while_serving(|| shared.gate.arm(Plan { rehearse, quiet }));
        if armed != Some(true) {
            return false;
        }
        // Accepting needs a pass, so it ends with them; whether it pauses is the business of a handover that may be under way beside this.
        shared.gate.close();
        point(Point::OwnerArmed);
        true
    }
}

/// The channel is closed and nothing is mirrored any more.
fn end(running: &mut Running, shared: &Shared) {
    shared.probation.off();
    shared.block.set_probation_end(0);
    running.close();
}

/// Notes that a pass was given, for the watchdog of the predecessor.
#[inline]
pub(crate) fn beat(shared: &Shared) {
    if shared.probation.is_on() {
        shared.block.beat(shared.me);
    }
}
