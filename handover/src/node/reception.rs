//! The owner's reception: a thread that waits for successors and does what `phase::predecessor` says.
//!
//! One handover at a time; who comes meanwhile waits in the socket's queue. Nothing here stops the server but what the
//! phase orders: accepting pauses from `ready` to the cutover if the successor speaks version 1 only, the gate closes for the last tick (H4). After the cutover
//! the thread ends; the socket lives on in the successor.

use crate::control::{HandoverRecord, Outcome, ParticipantState, Phase, Signal};
use crate::error::{Error, Result};
use crate::node::descriptors::item::Item;
use crate::node::leftover::Drainer;
use crate::node::shared::{Shared, Stage};
use crate::node::{post, probation};
use crate::os::clock::{self, Deadline};
use crate::os::limits::{self, Reserve};
use crate::os::pidfd::{Pidfd, ProcessId};
use crate::os::poll;
use crate::phase::predecessor::{Effect, Event, State};
use crate::points::{Point, point};
use crate::registry::Newcomers;
use crate::wire::channel::{Channel, Listener};
use crate::wire::frame::{HIGHEST, LOWEST, Version, common_version_with};
use crate::wire::message::{Descriptor, DescriptorKind, Hello, Message, Offer, batches};
use shmstate::gate::{Plan, Quiet};
use shmstate::lease::{self, Lease, LeaseCell};
use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Between two looks at the channel while the gate closes or the lease is offered: bounds how late a dead successor is
/// noticed there.
const WATCH: Duration = Duration::from_millis(2);
/// The same for the lease, which a successor takes within microseconds, or wakes up for.
const BETWEEN_LOOKS: Duration = Duration::from_micros(150);
/// How often the phase is written that somebody else has changed meanwhile.
const SHOWS: usize = 3;
/// How long the old owner does nothing after the cutover.
const ASIDE: Duration = Duration::from_millis(3);

/// How long after the cutover the reception may open: successors wait in the socket's queue meanwhile.
const LOOK: Duration = Duration::from_millis(10);

/// Starts the reception of a node. The thread sleeps until this process owns it, so that nothing is left to do then (H4).
pub(crate) fn start(shared: &Arc<Shared>) -> Result<()> {
    let shared = Arc::clone(shared);
    // Both now: when this process owns the node it may have used up all descriptors it is allowed.
    let reserve = Reserve::new();
    let socket = shared.control_socket()?;
    std::thread::Builder::new()
        .name("handover".into())
        .spawn(move || {
            if shared.wait_started(LOOK) != Stage::Serving {
                return;
            }
            // A successor ends this process's own probation, so that must have begun: a few microseconds.
            while !shared.is_complete() && shared.stage() == Stage::Serving {
                std::thread::sleep(WATCH);
            }
            let drainer = shared.settle_leftover();
            // For those who watch: the row says what the lease says.
            let _ = shared.block.set_state(shared.me, ParticipantState::Serving);
            // Only the owner listens: from here on the kernel names this process to those who connect.
            match Listener::adopt(socket) {
                Ok(listener) => run(&shared, &listener, reserve, drainer),
                // Without a reception nobody can take over; the server itself is well, and its end frees the node.
                Err(error) => {
                    let reason = format!("no successor can be received: {error}");
                    shared
                        .block
                        .append(&HandoverRecord::new(Outcome::ProtocolError, reason));
                }
            }
        })
        .map_err(|e| Error::io("start", "the reception thread", e))?;
    Ok(())
}

fn run(shared: &Arc<Shared>, listener: &Listener, mut reserve: Reserve, mut drainer: Option<Drainer>) {
    while shared.stage() == Stage::Serving {
        // Whatever goes wrong with one who came must not keep the next one out.
        match wait_for_newcomer(shared, listener, &mut drainer) {
            Ok(Some(channel)) => {
                if let Some(terms) = Handover::new(shared, channel).run() {
                    // The server's thread parks with them; if it does not come for them, they must not hide the owner's death.
                    shared.moves.open(terms.channel.sender());
                    shared.post.leave(terms);
                    shared.set_stage(Stage::HandedOver);
                    point(Point::OldHandedOver);
                    if !shared.post.wait_claimed() {
                        shared.moves.close();
                        shared.say_draining();
                        shared.let_go();
                    }
                    // Taken back, the node gets a reception of its own.
                    return;
                }
            }
            Ok(None) => return,
            Err(error @ Error::DescriptorLimit { .. }) => reserve.lend(|| turn_away(listener, &error)),
            Err(_) => std::thread::sleep(WATCH),
        }
    }
}

/// Whoever came is told why not, with the one descriptor that is left for this.
fn turn_away(listener: &Listener, error: &Error) {
    let reason = error.to_string();
    if let Ok(mut channel) = listener.accept(Deadline::after(WATCH)) {
        let _ = channel.send(&Message::Refuse { reason }, &[], Deadline::after(WATCH));
    }
}

/// `None` when the node leaves. Meanwhile it sees the end of one that drains.
fn wait_for_newcomer(shared: &Shared, listener: &Listener, drainer: &mut Option<Drainer>) -> Result<Option<Channel>> {
    use rustix::event::{PollFd, PollFlags};
    loop {
        let fds = [listener.as_fd(), shared.stop.as_fd()].into_iter();
        let fds = fds.chain(drainer.iter().map(AsFd::as_fd));
        let mut fds: Vec<_> = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        rustix::event::poll(&mut fds, None).map_err(|e| Error::io("wait on", "the control socket", e))?;
        let is_dead = fds.get(2).is_some_and(|fd| !fd.revents().is_empty());
        if !fds[1].revents().is_empty() {
            return Ok(None);
        }
        if let Some(drainer) = drainer.take_if(|_| is_dead) {
            drainer.settle(shared.me);
            continue;
        }
        break;
    }
    limits::make_room("a handover, on the side of the owner", limits::FOR_A_HANDOVER)?;
    listener.accept(Deadline::now()).map(Some)
}

/// A connection that came late could not be sent.
fn unsent() -> Error {
    Error::Protocol {
        expected: "a successor that reads what is sent to it",
        got: "one to which a connection that came could not be sent".into(),
    }
}

/// A descriptor that goes over. What is shared costs no descriptor more.
enum Sending {
    Node(OwnedFd),
    Held(Arc<OwnedFd>),
    Named(Item),
}

impl Sending {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Node(fd) => fd.as_fd(),
            Self::Held(fd) => fd.as_fd(),
            Self::Named(item) => item.as_fd(),
        }
    }
}

/// One handover, from hello to drain or back to serving.
struct Handover<'a> {
    shared: &'a Arc<Shared>,
    channel: Channel,
    state: State,
    successor: Option<Pidfd>,
    pid: u32,
    slot: u8,
    protocol: u16,
    staged: Vec<(Descriptor, Sending)>,
    ranges: Vec<Range<usize>>,
    streams: usize,
    descriptors: usize,
    /// Generation before.
    generation: u64,
    ready_at: u64,
    /// Who held a pass when the gate did not get quiet.
    held: String,
    /// Wishes of operators before the gate was armed.
    requests: u32,
    deadline: Deadline,
    armed_at: Instant,
}

impl<'a> Handover<'a> {
    fn new(shared: &'a Arc<Shared>, channel: Channel) -> Self {
        Self {
            shared,
            channel,
            state: State::Serving,
            successor: None,
            pid: 0,
            slot: 0,
            protocol: LOWEST,
            staged: Vec::new(),
            ranges: Vec::new(),
            streams: 0,
            descriptors: 0,
            generation: shared.gate.generation(),
            ready_at: 0,
            held: String::new(),
            requests: 0,
            deadline: Deadline::now(),
            armed_at: Instant::now(),
        }
    }

    /// Gives what is needed to park, if the node was handed over to one on probation.
    fn run(mut self) -> Option<post::Terms> {
        let mut events = match self.greet() {
            Ok(()) => VecDeque::from([Event::Hello]),
            Err(error) => {
                // Who does not say a proper hello is told why, and leaves no trace.
                let reason = error.to_string();
                let _ = self
                    .channel
                    .send(&Message::Refuse { reason }, &[], Deadline::after(WATCH));
                return None;
            }
        };
        loop {
            let event = match events.pop_front() {
                Some(event) => event,
                None => self.next_event(),
            };
            let before = self.state.phase();
            let (state, effects) = std::mem::replace(&mut self.state, State::Serving).step(event);
            self.state = state;
            self.enter(before);
            for effect in effects {
                if let Some(event) = self.apply(effect) {
                    events.push_back(event);
                }
            }
            match self.state {
                State::Serving => break,
                State::HandedOver => return self.park(),
                _ => {}
            }
        }
        // Being given back, or given back meanwhile: the word is the other's.
        match self.shared.block.lease() {
            Ok(Lease::Owned { owner, .. }) if owner != self.shared.me => return None,
            Ok(Lease::Offered { .. }) => return None,
            _ => {}
        }
        // One that fails while this process is on probation changes nothing about that.
        if let Some(left) = self.shared.probation.left() {
            let block = &self.shared.block;
            block.resume_probation(self.shared.me);
            self.show(Phase::Probation, Deadline::after(left).nanos());
            // The other side may have left in this very moment, when it could not say so: the word was not about it.
            if self.shared.probation.left().is_none() {
                block.advance_phase(Phase::Probation, Phase::None, 0);
            }
        } else {
            self.show(Phase::None, 0);
        }
        None
    }

    /// Says how far the handover is, as long as this process owns the node. On probation it may be given back at any moment, and what the word
    /// says then is the other's. So it is looked at before the lease is: what stood there while the node was ours is replaced, and nothing else.
    fn show(&self, phase: Phase, deadline: u64) {
        let block = &self.shared.block;
        // One who drains may say meanwhile that it has, once.
        for _ in 0..SHOWS {
            let found = block.phase();
            let ours = match block.lease() {
                Ok(Lease::Owned { owner, .. } | Lease::Offered { owner, .. }) => owner == self.shared.me,
                _ => false,
            };
            if !ours || block.advance_phase(found, phase, deadline) {
                return;
            }
        }
    }

    fn speaks_v2(&self) -> bool {
        self.protocol >= Version::V2 as u16
    }

    /// How long the successor is on probation; zero for not at all.
    fn probation(&self) -> Duration {
        match self.speaks_v2() {
            true => self.shared.config.deadlines.probation,
            false => Duration::ZERO,
        }
    }

    fn park(self) -> Option<post::Terms> {
        let length = self.probation();
        let successor = self.successor.filter(|_| !length.is_zero())?;
        Some(post::Terms {
            channel: self.channel,
            successor,
            slot: self.slot,
            end: Deadline::after(length),
            requests: self.requests,
        })
    }

    fn greet(&mut self) -> Result<()> {
        let hello_by = Deadline::after(self.shared.config.deadlines.hello);
        let (message, _) = self.channel.recv(hello_by)?;
        let Message::Hello(Hello {
            lowest,
            highest,
            process,
            build_id,
        }) = message
        else {
            return Err(Error::Protocol {
                expected: "hello",
                got: message.name().into(),
            });
        };
        self.protocol = common_version_with(self.shared.config.speaks, lowest, highest)?;
        debug_assert!((LOWEST..=HIGHEST).contains(&self.protocol));
        // Its word about itself counts only as far as the kernel agrees.
        let peer = self.channel.peer().pid;
        let known = ProcessId::of(process.pid)?;
        if process.pid != peer || known != Some(process) {
            return Err(Error::Protocol {
                expected: "a hello from the process at the other end of the socket",
                got: format!("one in the name of process {}", process.pid),
            });
        }
        self.pid = process.pid;
        self.successor = Pidfd::open(process)?;
        self.slot = self
            .shared
            .block
            .claim(process, &build_id, ParticipantState::Preparing)?;
        point(Point::OldGreeted);
        Ok(())
    }

    /// A new phase: its name and its deadline for those who watch.
    fn enter(&mut self, before: Phase) {
        let d = &self.shared.config.deadlines;
        let phase = self.state.phase();
        let wait = match self.state {
            State::Offering { .. } | State::Staging { .. } => d.batch,
            State::AwaitingReady { .. } if before == phase => return,
            State::AwaitingReady { .. } => d.ready,
            State::AwaitingStanding => d.stand_by,
            State::Closing if before == phase => return,
            State::Closing => d.tick + d.quiet,
            State::Offered if before == phase => return,
            State::Offered => d.take,
            State::Serving | State::Disarming(_) | State::TakingBack(_) | State::HandedOver => return,
        };
        self.deadline = Deadline::after(wait);
        let block = &self.shared.block;
        if self.state == State::Offered {
            // The successor may own the node already.
            block.advance_phase(before, phase, self.deadline.nanos());
        } else {
            self.show(phase, self.deadline.nanos());
        }
    }

    fn next_event(&mut self) -> Event {
        match self.state {
            State::Closing => self.watch_gate(),
            State::Offered => self.watch_lease(),
            _ => self.next_message(self.deadline),
        }
    }

    fn next_message(&mut self, deadline: Deadline) -> Event {
        match self.channel.recv(deadline) {
            Ok((Message::Ack { batch }, _)) => {
                point(Point::OldAcked);
                Event::Acked { batch }
            }
            Ok((Message::Ready, _)) => {
                self.ready_at = clock::now();
                point(Point::OldReady);
                Event::Ready
            }
            Ok((Message::Standing, _)) => {
                point(Point::OldStanding);
                Event::Standing
            }
            Ok((Message::Refuse { reason } | Message::Abort { reason }, _)) => {
                point(Point::OldRefused);
                Event::Refused { reason }
            }
            Ok((other, _)) => Event::Unexpected {
                got: other.name().into(),
            },
            Err(Error::Deadline { .. }) => Event::Deadline,
            Err(Error::Closed { .. } | Error::Io { .. }) => self.gone(),
            Err(other) => Event::Unexpected { got: other.to_string() },
        }
    }

    fn gone(&self) -> Event {
        match &self.successor {
            Some(pidfd) if pidfd.is_dead().unwrap_or(false) => Event::PeerDead,
            None => Event::PeerDead,
            Some(_) => Event::PeerClosed,
        }
    }

    /// While the gate closes: the last pass releases; the successor may die; no tick may come.
    fn watch_gate(&mut self) -> Event {
        let d = &self.shared.config.deadlines;
        loop {
            if self.has_lost_successor() {
                return Event::PeerDead;
            }
            // Slept, not waited for: whoever wakes this thread, the pass that releases or the successor that closes the channel, takes a
            // processor from the successor in the very moment of its first tick, and nothing here is urgent then.
            if self.shared.gate.wait_quiet(Instant::now()) {
                return Event::Released;
            }
            if let Some(event) = self.look_at_channel() {
                return event;
            }
            if self.shared.late.failed() {
                let reason = unsent().to_string();
                return Event::Fault { reason };
            }
            if self.shared.gate.is_open() && self.armed_at.elapsed() > d.tick {
                return Event::NoTick;
            }
            if self.deadline.passed() {
                self.held = self.shared.gate.describe_holders();
                return Event::Deadline;
            }
            std::thread::sleep(WATCH);
        }
    }

    /// Whether the successor is past its last instruction. One that takes long to die has not closed the channel yet.
    fn has_lost_successor(&self) -> bool {
        self.successor
            .as_ref()
            .is_some_and(|successor| successor.has_ended().unwrap_or(false))
    }

    /// Whether the lease is not this process's any more. Its successor may have given it back, or on, before anybody looked.
    fn is_taken(&self) -> bool {
        match self.shared.block.lease() {
            Ok(Lease::Owned { owner, .. } | Lease::Offered { owner, .. }) => owner != self.shared.me,
            Ok(Lease::Vacant { .. }) => true,
            Err(_) => false,
        }
    }

    /// While the lease is offered: the word decides.
    fn watch_lease(&mut self) -> Event {
        loop {
            if self.is_taken() {
                // The machine is the successor's for its first ticks: letting go of descriptors and mappings can wait.
                std::thread::sleep(ASIDE);
                point(Point::OldTaken);
                return Event::Taken;
            }
            if let Some(event) = self.look_at_channel() {
                return event;
            }
            if self.has_lost_successor() {
                return Event::PeerDead;
            }
            if self.deadline.passed() {
                return Event::Deadline;
            }
            std::thread::sleep(BETWEEN_LOOKS);
        }
    }

    fn look_at_channel(&mut self) -> Option<Event> {
        match poll::readable(self.channel.as_fd(), Deadline::now()) {
            Ok(true) => Some(self.next_message(Deadline::now())),
            _ => None,
        }
    }

    fn apply(&mut self, effect: Effect) -> Option<Event> {
        let shared = Arc::clone(self.shared);
        let batch_by = Deadline::after(shared.config.deadlines.batch);
        match effect {
            Effect::SendOffer => {
                shared.begin_handover(self.slot);
                let sent = self.stage().and_then(|offer| {
                    self.channel.send(&Message::Offer(offer), &[], batch_by)?;
                    self.channel.set_version(self.protocol);
                    Ok(())
                });
                point(Point::OldOffer);
                Some(match sent {
                    Ok(()) => Event::Staged {
                        batches: self.ranges.len() as u32,
                    },
                    Err(e) => self.broken(e),
                })
            }
            Effect::SendBatch { batch } => {
                let sent = self.send_batch(batch, batch_by);
                point(Point::OldBatch);
                sent.err().map(|e| self.broken(e))
            }
            Effect::SendOffered { batches } => {
                let failed = self.tell(&Message::Offered { batches }, batch_by);
                point(Point::OldOffered);
                failed
            }
            Effect::PauseAccepting => {
                if self.speaks_v2() {
                    shared.late.open(self.channel.sender());
                } else {
                    shared.registry.set_newcomers(Newcomers::Wait);
                }
                shared.descriptors.pause(true);
                None
            }
            Effect::StageLate => {
                let from = self.staged.len();
                let then = match self.speaks_v2() {
                    true => Newcomers::GoOver,
                    false => Newcomers::Wait,
                };
                self.stage_connections(shared.registry.since(then));
                self.stage_named(shared.descriptors.since(self.protocol));
                let entries: Vec<_> = self.staged[from..].iter().map(|(entry, _)| entry.clone()).collect();
                self.descriptors = self.staged.len();
                let late = batches(&entries);
                point(Point::OldLate);
                self.ranges
                    .extend(late.into_iter().map(|r| r.start + from..r.end + from));
                Some(Event::Staged {
                    batches: self.ranges.len() as u32,
                })
            }
            Effect::SendStandBy { batches } => {
                let failed = self.tell(&Message::StandBy { batches }, batch_by);
                point(Point::OldStandBy);
                failed
            }
            Effect::EndProbation => {
                probation::confirm(&shared);
                point(Point::OldProbationEnded);
                None
            }
            Effect::ArmGate => {
                let armed = self.arm();
                point(Point::OldArmed);
                armed.err().map(|error| Event::NotArmed {
                    reason: error.to_string(),
                })
            }
            Effect::CloseGate => {
                shared.gate.close();
                None
            }
            Effect::DisarmGate => Some(if shared.gate.disarm() {
                shared.gate_changed();
                Event::Disarmed
            } else {
                Event::Released
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
            Effect::ResumeAccepting => {
                // Closed first: one that cannot send makes newcomers wait only while the way is there.
                shared.late.close();
                shared.registry.set_newcomers(Newcomers::Stay);
                shared.descriptors.pause(false);
                None
            }
            Effect::SendAbort { reason } => {
                let reason = self.with_holders(reason);
                let _ = self
                    .channel
                    .send(&Message::Abort { reason }, &[], Deadline::after(WATCH));
                point(Point::OldAborted);
                let _ = shared.block.signal(Signal::Aborted);
                None
            }
            Effect::DropTransfer => {
                self.staged.clear();
                // The row of a dead successor is free again; a living one that was told to leave frees it by dying.
                None
            }
            Effect::Record { outcome, reason } => {
                let reason = self.with_holders(reason);
                self.record(outcome, &reason);
                None
            }
            Effect::StartDrain => {
                self.staged.clear();
                shared.late.close();
                // With a probation the server's thread says which it is: parked or draining.
                if self.probation().is_zero() || self.successor.is_none() {
                    shared.say_draining();
                    // Otherwise this process, while it drains, would hide the successor's death.
                    shared.let_go();
                    shared.set_stage(Stage::HandedOver);
                }
                None
            }
            Effect::RefuseNewcomer => None,
        }
    }

    fn tell(&mut self, message: &Message, by: Deadline) -> Option<Event> {
        let sent = self.channel.send(message, &[], by);
        sent.err().map(|e| self.broken(e))
    }

    /// What a failed send means. A reason that the successor sent before it closed may still be waiting.
    fn broken(&mut self, error: Error) -> Event {
        match error {
            Error::Closed { .. } | Error::Io { .. } => match self.next_message(Deadline::now()) {
                refused @ Event::Refused { .. } => refused,
                _ => self.gone(),
            },
            Error::Deadline { .. } => Event::Deadline,
            other => Event::Fault {
                reason: other.to_string(),
            },
        }
    }

    /// Puts together everything that goes over now.
    fn stage(&mut self) -> Result<Offer> {
        let shared = Arc::clone(self.shared);
        let duplicate = |fd: BorrowedFd<'_>| {
            fd.try_clone_to_owned()
                .map_err(|e| Error::io("duplicate", "a descriptor of the node", e))
        };
        let staged = &mut self.staged;
        let mut add = |kind, name: &str, sending| {
            let entry = Descriptor {
                kind,
                token: 0,
                name: name.into(),
            };
            staged.push((entry, sending));
        };
        let regions = shared.ownership(|owner| {
            add(
                DescriptorKind::Lock,
                "lock",
                Sending::Node(duplicate(owner.lock.as_fd())?),
            );
            add(
                DescriptorKind::Control,
                "control",
                Sending::Node(duplicate(owner.control.as_fd())?),
            );
            for (name, fd) in &owner.regions {
                add(DescriptorKind::Region, name, Sending::Held(Arc::clone(fd)));
            }
            Ok(owner.regions.len())
        })?;
        let named = shared.descriptors.snapshot(self.protocol);
        let listeners = named
            .iter()
            .filter(|(entry, _)| entry.kind == DescriptorKind::Listener)
            .count();
        let others = 2 + named.len() - listeners;
        self.stage_named(named);
        self.stage_connections(shared.registry.snapshot());
        let entries: Vec<_> = self.staged.iter().map(|(entry, _)| entry.clone()).collect();
        self.descriptors = self.staged.len();
        self.ranges = batches(&entries);
        Ok(Offer {
            protocol: self.protocol,
            node_id: shared.block.identity().id.0,
            generation: shared.gate.generation(),
            slot: self.slot.into(),
            tick: shared.config.tick.as_nanos() as u64,
            regions: regions as u32,
            listeners: listeners as u32,
            others: others as u32,
            streams: self.streams as u32,
            probation: self.probation().as_nanos() as u64,
        })
    }

    fn stage_named(&mut self, named: Vec<(Descriptor, Item)>) {
        let named = named.into_iter().map(|(entry, item)| (entry, Sending::Named(item)));
        self.staged.extend(named);
    }

    fn stage_connections(&mut self, connections: Vec<crate::registry::Held>) {
        self.streams += connections.len();
        for (token, fd) in connections {
            let entry = Descriptor {
                kind: DescriptorKind::Stream,
                token,
                name: String::new(),
            };
            self.staged.push((entry, Sending::Held(fd)));
        }
    }

    fn send_batch(&mut self, batch: u32, by: Deadline) -> Result<()> {
        let range = self.ranges.get(batch as usize).cloned().unwrap_or(0..0);
        let staged = &self.staged[range];
        let entries = staged.iter().map(|(entry, _)| entry.clone()).collect();
        let fds: Vec<_> = staged.iter().map(|(_, sending)| sending.as_fd()).collect();
        self.channel.send(&Message::Descriptors { batch, entries }, &fds, by)
    }

    /// The server's own thread rehearses with its next tick and releases after the one that follows (G3).
    fn arm(&mut self) -> Result<()> {
        self.armed_at = Instant::now();
        // From here on a wish means the handover that is being made: one said right after the cutover is heard, however late this
        // process comes to park.
        self.requests = self.shared.block.last_request().0;
        // A successor that is not woken sleeps until the next signal: that costs the rehearsal, nothing else.
        let _ = self.shared.block.signal(Signal::StandBy);
        let (me, heir) = (self.shared.me, self.slot);
        let block = Arc::clone(&self.shared.block);
        let rehearse = Box::new(move |commit: u64| {
            block.rehearsal_stamp().store(commit, Ordering::Relaxed);
            // A failed wake costs the rehearsal of one who sleeps, nothing else.
            let _ = block.signal(Signal::Rehearse);
            point(Point::OldRehearsed);
        });
        let block = Arc::clone(&self.shared.block);
        let quiet = Box::new(move |quiet: Quiet| {
            block.commit_stamp().store(quiet.last_commit_ns, Ordering::Relaxed);
            point(Point::OldQuiet);
            // LEASE pair: publishes everything this process wrote. It owns the word alone, so this cannot fail; if it does
            // all the same, nothing was offered and the deadline of the take brings this process back.
            let _ = lease::change(block.word(), |lease| lease.release(me, heir));
            point(Point::OldReleased);
            block.post(Signal::LookAtLease);
            let _ = block.wake();
            point(Point::OldSignalled);
        });
        // A server that is being stopped arms nothing any more.
        let arm = || {
            self.shared
                .while_serving(|| self.shared.gate.arm(Plan { rehearse, quiet }))
        };
        match self.shared.late.unless_failed(arm).ok_or_else(unsent)? {
            Some(true) => Ok(()),
            Some(false) => Err(Error::Protocol {
                expected: "an open gate",
                got: "one that is closed or armed".into(),
            }),
            None => Err(Error::Protocol {
                expected: "a node that goes on",
                got: "one that is being stopped".into(),
            }),
        }
    }

    /// A gate that did not get quiet was held by somebody: names are of more use than a deadline.
    fn with_holders(&self, reason: String) -> String {
        match self.held.is_empty() {
            true => reason,
            false => format!("{reason}: {}", self.held),
        }
    }

    fn record(&self, outcome: Outcome, reason: &str) {
        let shared = self.shared;
        let mut record = HandoverRecord::new(outcome, reason);
        record.from_generation = self.generation;
        // Not the same if the lease was offered and taken back.
        record.to_generation = shared.gate.generation();
        record.successor_pid = self.pid;
        record.started = shared.block.started();
        record.ready = self.ready_at;
        record.descriptors = self.descriptors as u32;
        record.streams = self.streams as u32;
        shared.block.append(&record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::builder::Builder;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    #[test]
    fn what_was_not_released_is_taken_back_by_keeping_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let builder = Builder::new("take-back").directory(directory.path().join("nodes"));
        let starting = builder.start().expect("first");
        let shared = &Arc::clone(&starting.shared);
        let node = starting.ready().expect("ready");
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (here, _there) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("socketpair");
        let mut handover = Handover::new(shared, Channel::new(here).expect("own uid"));
        let (word, me) = (shared.block.word(), shared.me);
        let (heir, generation) = (me + 1, 2);
        let mut after = |lease: Lease| {
            word.store(lease.to_word(), Ordering::Release);
            let event = handover.apply(Effect::TakeBack);
            (event, lease::load(word))
        };
        let owned = |owner, generation| Lease::Owned { owner, generation };
        let offered = |owner, heir| Lease::Offered {
            owner,
            heir,
            generation,
        };
        // The pass that was to release it did not.
        let expected = (Some(Event::TookBack), Some(owned(me, 1)));
        assert_eq!(after(owned(me, 1)), expected);
        let expected = (Some(Event::TookBack), Some(owned(me, 3)));
        assert_eq!(after(offered(me, heir)), expected);
        for others in [owned(heir, 2), offered(heir, me), Lease::Vacant { generation }] {
            assert_eq!(after(others), (Some(Event::TakeBackLost), Some(others)));
        }
        word.store(owned(me, 1).to_word(), Ordering::Release);
        node.stop(Vec::new(), true).expect("removed");
    }
}
