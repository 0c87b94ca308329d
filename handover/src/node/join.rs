//! The successor's driver: does what `phase::successor` says, with blocking I/O on the thread that starts the server.
//!
//! Two parts, with the server's own preparations between them: [`receive`] up to "all was offered", [`Join::take_over`] from
//! "prepared" to "owner". Every wait has a deadline; every event goes through the phase, which alone decides (H8).
//!
//! The predecessor's word is checked where it can be: the slot it names must be this process's own row, what comes is what was announced, and
//! neither the length of its tick nor a channel that is never empty, late batches and signals without end included, makes a wait longer than this
//! side's own deadlines allow.

use crate::control::{ControlBlock, HandoverRecord, NodeIdentity, Outcome, Signal};
use crate::error::{Error, Result, Side, WhoServes};
use crate::node::config::{Config, SPIN_SLACK};
use crate::node::descriptors::set::Inherited;
use crate::node::leftover::Leftover;
use crate::node::moves::Moved;
use crate::node::orphan::Orphan;
use crate::node::shared::{Shared, Stage};
use crate::node::tether;
use crate::os::clock::{self, Deadline};
use crate::os::dir::NodeDir;
use crate::os::limits;
use crate::os::pidfd::{Pidfd, ProcessId};
use crate::os::poll;
use crate::phase::successor::{Effect, Event, State};
use crate::points::{Point, point};
use crate::registry::Registry;
use crate::wire::channel::Channel;
use crate::wire::frame::{LOWEST, Version, common_version_with};
use crate::wire::message::{DescriptorKind, Hello, Message, Offer};
use shmstate::lease::{self, Lease, LeaseCell};
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

/// How long the futex wait lasts before the channel is looked at: bounds how late a dead predecessor is noticed.
const WATCH: Duration = Duration::from_millis(10);
/// Messages that are read when this process owns the node already: more than wait in such a socket, so that only one that goes on speaking, and
/// should not, is not heard out.
const MOST_LATE: usize = 4096;
/// How long a closed channel may take to become a proven end; after that the predecessor counts as living.
const PROOF: Duration = Duration::from_secs(2);

/// What came of saying hello.
#[derive(Debug)]
pub(crate) enum Joined {
    /// All was offered and is here.
    Received(Box<Join>),
    /// The predecessor died first.
    StartOver,
}

/// A handover as the successor has it, from offer to cutover.
#[derive(Debug)]
pub(crate) struct Join {
    state: State,
    channel: Channel,
    predecessor: Option<Pidfd>,
    predecessor_slot: u8,
    pub(crate) block: Arc<ControlBlock>,
    pub(crate) identity: NodeIdentity,
    pub(crate) me: u8,
    pub(crate) offer: Offer,
    pub(crate) staged: Staged,
    deadlines: crate::node::config::Deadlines,
    tick: Duration,
    /// Signal count seen last.
    seen: u32,
    spin_until: Option<Deadline>,
    /// When the present wait ends, however much is said meanwhile: set with `ready`, and with `standing`.
    end: Deadline,
    ready_at: u64,
    message: Option<(Message, Vec<OwnedFd>)>,
    taken: Option<Lease>,
    foreseen: Option<Foreseen>,
    first_tick: u64,
    /// What the predecessor said after the take, which is the probation's to hear.
    word: Option<Message>,
    records: Vec<(Outcome, String)>,
    pub(crate) inherited: bool,
}

/// What the phase makes of the signal that a standing successor waits for, and of the take that follows it, asked in advance: between the
/// signal and the open gate nothing runs then that has not run in this process before, and the phase has decided all the same (H4, H8).
#[derive(Debug)]
struct Foreseen {
    owner: State,
    /// What follows the opening of the gate.
    then: Vec<Effect>,
}

/// What came over and was not claimed yet; dropped, it is closed (H6).
#[derive(Debug, Default)]
pub(crate) struct Staged {
    pub(crate) regions: Vec<(String, OwnedFd)>,
    pub(crate) named: Vec<Inherited>,
    pub(crate) streams: Vec<(u64, OwnedFd)>,
    pub(crate) lock: Option<OwnedFd>,
    pub(crate) control: Option<OwnedFd>,
    came: Counts,
}

/// Descriptors by what an offer counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    regions: u64,
    listeners: u64,
    others: u64,
    streams: u64,
}

impl Counts {
    fn of(offer: &Offer) -> Self {
        Self {
            regions: offer.regions.into(),
            listeners: offer.listeners.into(),
            others: offer.others.into(),
            streams: offer.streams.into(),
        }
    }

    fn all(self) -> u64 {
        self.regions + self.listeners + self.others + self.streams
    }
}

/// What the successor's driver acts on after the preparations.
pub(crate) struct Stand<'a> {
    pub(crate) shared: &'a Shared,
    /// Spinning is worth it only where the predecessor can run at the same time.
    pub(crate) spin: bool,
}

/// The control socket at which a successor knocks, so that it finds out whether the node has another by now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Door(Option<(u64, u64)>);

impl Door {
    pub(crate) fn of(dir: &NodeDir) -> Self {
        let found = std::fs::symlink_metadata(dir.control_path());
        Self(found.ok().map(|found| (found.dev(), found.ino())))
    }
}

/// Whether this process is past its last instruction. One that takes long to die has not closed its channels yet.
fn is_past(process: &Pidfd) -> bool {
    process.has_ended().unwrap_or(false)
}

/// Whether whoever listened at this door has ended, and nobody who lives will answer there: neither is it another owner's by now, nor will somebody
/// take over who holds it too.
fn is_left(dir: &NodeDir, door: &Door, owner: Option<&Pidfd>) -> bool {
    owner.is_some_and(is_past) && (*door != Door::of(dir) || matches!(Orphan::of(dir), Ok(Some(_))))
}

/// How long to wait until this process is looked at again: not long if it has just ended.
fn until_next_look(process: Option<&Pidfd>) -> Duration {
    process.map_or(WATCH, |process| process.next_look(WATCH))
}

/// The next message; `None` when the predecessor is past its last instruction, and all that it said has been heard.
fn hear(
    channel: &mut Channel,
    wait: Duration,
    who: Option<&Pidfd>,
    is_gone: impl Fn() -> bool,
) -> Option<Result<(Message, Vec<OwnedFd>)>> {
    let end = Deadline::after(wait);
    loop {
        // Before the look at the channel: what it said last is heard.
        let gone = is_gone();
        match channel.recv(end.or(Deadline::after(until_next_look(who)))) {
            Err(Error::Deadline { .. }) if gone => return None,
            Err(Error::Deadline { .. }) if !end.passed() => {}
            heard => return Some(heard),
        }
    }
}

/// Says hello and receives everything up to `offered`.
pub(crate) fn receive(config: &Config, dir: &NodeDir, door: &Door, mut channel: Channel) -> Result<Joined> {
    let (mut state, _) = State::start();
    let deadlines = config.deadlines;
    let process = ProcessId::current()?;
    let hello = Message::Hello(Hello {
        lowest: LOWEST,
        highest: config.speaks,
        process,
        build_id: config.build_id.clone(),
    });
    // Who listened last: whether it is the owner shows with the offer.
    let owner = match ProcessId::of(channel.peer().pid)? {
        Some(owner) => Pidfd::open(owner)?,
        None => None,
    };
    // The pidfd must be had while the predecessor is the one that answers: what it offers proves that it lives.
    let sent = channel.send(&hello, &[], Deadline::after(deadlines.hello));
    point(Point::NewHello);
    let mut offered: Option<Offered> = None;
    let mut staged = Staged::default();
    // One that turned this process away at the door has closed by now, and its reason is still there to be read.
    let mut failure = sent.err().filter(|error| !matches!(error, Error::Closed { .. }));
    loop {
        let wait = match &offered {
            Some(_) => deadlines.batch,
            None => deadlines.hello,
        };
        let is_gone = || match &offered {
            Some(offered) => offered.predecessor.as_ref().is_none_or(is_past),
            None => is_left(dir, door, owner.as_ref()),
        };
        let heard = match failure.take() {
            Some(error) => Some(Err(error)),
            None => {
                let predecessor = offered.as_ref().and_then(|offered| offered.predecessor.as_ref());
                hear(&mut channel, wait, predecessor, is_gone)
            }
        };
        let event = match heard {
            None => Event::PeerDead,
            Some(Ok((Message::Offer(offer), _))) => match accept_offer(config, dir, &offer) {
                Ok(accepted) => {
                    channel.set_version(offer.protocol);
                    offered = Some(accepted);
                    point(Point::NewOffer);
                    Event::Offer
                }
                Err(e) => Event::Fault { reason: e.to_string() },
            },
            Some(Ok((Message::Descriptors { batch, entries }, fds))) => {
                let announced = offered.as_ref().map_or(0, |o| Counts::of(&o.offer).all());
                let room = announced.saturating_sub(staged.came.all());
                let count = entries.len();
                // No batch is empty, so as many as can come are announced too.
                if count == 0 || count as u64 > room {
                    Event::Unexpected {
                        got: format!("a batch of {count} descriptors where {room} were due"),
                    }
                } else {
                    staged.take(entries, fds);
                    point(Point::NewBatch);
                    Event::Descriptors { batch }
                }
            }
            Some(Ok((Message::Offered { batches }, _))) => match &offered {
                Some(o) if Counts::of(&o.offer) != staged.came => Event::Unexpected {
                    got: format!("{:?} where {:?} was announced", staged.came, Counts::of(&o.offer)),
                },
                _ => Event::Offered { batches },
            },
            Some(Ok((Message::Refuse { reason } | Message::Abort { reason }, _))) => {
                point(Point::NewAborted);
                Event::Aborted { reason }
            }
            Some(Ok((other, _))) => Event::Unexpected {
                got: other.name().into(),
            },
            Some(Err(e)) => failed_event(e),
        };
        let by = said_by(&event);
        let (next, effects) = state.step(event);
        state = next;
        for effect in effects {
            match effect {
                Effect::SendAck { batch } => {
                    failure = channel
                        .send(&Message::Ack { batch }, &[], Deadline::after(deadlines.batch))
                        .err();
                    point(Point::NewAck);
                }
                Effect::SendRefuse { reason } => {
                    // The predecessor may be gone; then there is nobody to tell.
                    let _ = channel.send(&Message::Refuse { reason }, &[], Deadline::after(deadlines.hello));
                    point(Point::NewRefused);
                }
                Effect::ProveDeath => {
                    let pidfd = offered.as_ref().and_then(|o| o.predecessor.as_ref());
                    // No offer, no pidfd: nothing was promised, so looking again what this process is does no harm.
                    let dead = pidfd.is_none_or(|p| p.wait_ended(WATCH, Deadline::after(PROOF)).is_ok());
                    let event = if dead { Event::PeerDead } else { Event::Deadline };
                    let (next, _) = state.step(event);
                    state = next;
                }
                Effect::StageBatch { .. } | Effect::Prepare | Effect::DropTransfer | Effect::StartOver => {}
                other => {
                    return Err(Error::Protocol {
                        expected: "an effect of receiving",
                        got: format!("{other:?}"),
                    });
                }
            }
        }
        match (&state, offered.take()) {
            (State::StartOver, _) => return Ok(Joined::StartOver),
            (State::Failed { who, reason }, _) => {
                let reason = reason.clone();
                return Err(Error::Refused { by, reason }.served_by(*who));
            }
            (State::Preparing { .. }, Some(offered)) => {
                point(Point::NewOffered);
                return Ok(Joined::Received(Box::new(Join {
                    state,
                    channel,
                    predecessor: offered.predecessor,
                    predecessor_slot: offered.owner,
                    block: offered.block,
                    identity: offered.identity,
                    me: offered.me,
                    tick: Duration::from_nanos(offered.offer.tick).min(deadlines.tick),
                    offer: offered.offer,
                    staged,
                    deadlines,
                    seen: 0,
                    spin_until: None,
                    end: Deadline::now(),
                    ready_at: 0,
                    message: None,
                    taken: None,
                    foreseen: None,
                    first_tick: 0,
                    word: None,
                    records: Vec::new(),
                    inherited: false,
                })));
            }
            (_, kept) => offered = kept,
        }
    }
}

/// What an offer leads to.
struct Offered {
    identity: NodeIdentity,
    block: Arc<ControlBlock>,
    predecessor: Option<Pidfd>,
    /// Its slot.
    owner: u8,
    /// This process's own.
    me: u8,
    offer: Offer,
}

/// Who called it off, if this event is the end of the handover.
fn said_by(event: &Event) -> Side {
    match event {
        Event::Aborted { .. } | Event::Signalled(Signal::Aborted) => Side::Predecessor,
        _ => Side::Successor,
    }
}

fn failed_event(error: Error) -> Event {
    match error {
        Error::Closed { .. } => Event::PeerClosed,
        Error::Deadline { .. } => Event::Deadline,
        Error::Truncated { .. } => Event::Fault {
            reason: error.to_string(),
        },
        // A broken pipe is a closed channel; anything else from the socket as well.
        Error::Io { .. } => Event::PeerClosed,
        other => Event::Unexpected { got: other.to_string() },
    }
}

fn accept_offer(config: &Config, dir: &NodeDir, offer: &Offer) -> Result<Offered> {
    common_version_with(config.speaks, offer.protocol, offer.protocol)?;
    make_room_for(offer)?;
    let identity = NodeIdentity::of(dir)?;
    if identity.id.0 != offer.node_id {
        return Err(Error::Protocol {
            expected: "an offer of this node",
            got: format!("one of node {:032x}", offer.node_id),
        });
    }
    let block = ControlBlock::open(&identity, Deadline::after(config.deadlines.hello))?;
    let me = own_slot(&block, offer.slot)?;
    let Lease::Owned { owner, .. } = block.lease()? else {
        return Err(Error::Protocol {
            expected: "an offer of the owner",
            got: format!("{:?}", block.lease()?),
        });
    };
    let predecessor = match block.participant(owner)? {
        Some(participant) => Pidfd::open(participant.process)?,
        None => None,
    };
    Ok(Offered {
        identity,
        block: Arc::new(block),
        predecessor,
        owner,
        me,
        offer: *offer,
    })
}

/// The lease is taken in the name of a slot, so it must be the one that was claimed for this very process.
fn own_slot(block: &ControlBlock, slot: u32) -> Result<u8> {
    let row = match u8::try_from(slot) {
        Ok(slot) => block.participant(slot)?,
        Err(_) => None,
    };
    let me = ProcessId::current()?;
    match row {
        Some(row) if row.process == me => Ok(row.slot),
        _ => Err(Error::Protocol {
            expected: "an offer that names the row of this process",
            got: format!("one that names slot {slot}"),
        }),
    }
}

/// Before anything is received: what the limits of this process do not allow is refused with the numbers.
fn make_room_for(offer: &Offer) -> Result<()> {
    let all = Counts::of(offer).all();
    // The regions' descriptors are kept twice: mapped, and for the next handover.
    let needed = all + u64::from(offer.regions) + limits::FOR_A_HANDOVER;
    limits::make_room("what the predecessor hands over", needed).map(drop)
}

impl Staged {
    fn take(&mut self, entries: Vec<crate::wire::message::Descriptor>, fds: Vec<OwnedFd>) {
        for (entry, fd) in entries.into_iter().zip(fds) {
            *match entry.kind {
                DescriptorKind::Region => &mut self.came.regions,
                DescriptorKind::Listener => &mut self.came.listeners,
                DescriptorKind::Stream => &mut self.came.streams,
                DescriptorKind::Lock | DescriptorKind::Control | DescriptorKind::Named => &mut self.came.others,
            } += 1;
            match entry.kind {
                DescriptorKind::Region => self.regions.push((entry.name, fd)),
                DescriptorKind::Listener | DescriptorKind::Named => self.named.push((entry.name, entry.token, fd)),
                DescriptorKind::Stream => self.streams.push((entry.token, fd)),
                DescriptorKind::Lock => self.lock = Some(fd),
                DescriptorKind::Control => self.control = Some(fd),
            }
        }
    }
}

impl Join {
    /// Tells the predecessor that this process will not take over, and why.
    pub(crate) fn refuse(mut self, reason: &str) -> WhoServes {
        let (state, effects) = self.state.clone().step(Event::Fault { reason: reason.into() });
        for effect in effects {
            if let Effect::SendRefuse { reason } = effect {
                let _ = self
                    .channel
                    .send(&Message::Refuse { reason }, &[], Deadline::after(self.deadlines.hello));
                point(Point::NewRefused);
            }
        }
        match state {
            State::Failed { who, .. } => who,
            _ => WhoServes::Unknown,
        }
    }

    /// Who serves until this process takes over.
    pub(crate) fn predecessor(&self) -> Option<&Pidfd> {
        self.predecessor.as_ref()
    }

    /// How long this process will be on probation; `None` if it will not.
    pub(crate) fn probation(&self) -> Option<Duration> {
        let speaks = self.offer.protocol >= Version::V2 as u16;
        let length = Duration::from_nanos(self.offer.probation);
        (speaks && !length.is_zero()).then_some(length)
    }

    /// What is left of the handover: for the probation, if there is one, which is when the predecessor lives and is parked; the rest is to be
    /// settled later.
    pub(crate) fn part(self) -> (Option<tether::Terms>, Option<Leftover>) {
        let length = self.probation().filter(|_| !self.inherited);
        match (length, self.predecessor) {
            (Some(length), Some(predecessor)) => {
                let terms = tether::Terms {
                    length,
                    slot: self.predecessor_slot,
                    channel: self.channel,
                    predecessor,
                    word: self.word,
                };
                (Some(terms), None)
            }
            (_, predecessor) => {
                let leftover = Leftover::new(self.block, predecessor, self.channel);
                (None, Some(leftover))
            }
        }
    }

    /// From "prepared" to "owner": the gate is open when this returns. What is to be recorded is written by
    /// [`write_down`](Self::write_down), when this process serves already.
    pub(crate) fn take_over(&mut self, stand: &Stand<'_>) -> Result<Lease> {
        let mut events = VecDeque::from([Event::Prepared]);
        loop {
            let event = match events.pop_front() {
                Some(event) => event,
                None => self.next_event(stand)?,
            };
            let by = said_by(&event);
            let (state, effects) = match self.cut_over(&event, stand) {
                Some(Foreseen { owner, then }) => (owner, then),
                None => std::mem::replace(&mut self.state, State::Greeting).step(event),
            };
            self.state = state;
            // It was foreseen from there.
            self.foreseen.take_if(|_| self.state != State::Standing);
            for effect in effects {
                self.apply(effect, stand, &mut events)?;
            }
            match &self.state {
                State::Owner => break,
                State::Failed { who, reason } => {
                    let reason = reason.clone();
                    return Err(Error::Refused { by, reason }.served_by(*who));
                }
                State::StartOver => {
                    return Err(Error::Protocol {
                        expected: "an owner or a refusal",
                        got: "a start over after the preparations".into(),
                    });
                }
                _ => {}
            }
        }
        self.taken.ok_or(Error::Protocol {
            expected: "a lease",
            got: "none".into(),
        })
    }

    /// Asks the phase in advance, and rehearses the take: the lease is not offered yet, so nothing comes of it.
    fn foresee(&mut self, shared: &Shared) {
        let (state, effects) = self.state.clone().step(Event::Signalled(Signal::LookAtLease));
        let (owner, mut then) = match effects[..] {
            [Effect::Take] => state.step(Event::Took),
            _ => return,
        };
        let me = self.me;
        let early = lease::change(self.block.word(), |lease| lease.take(me).filter(|_| false));
        if early.is_err() && then.first() == Some(&Effect::OpenGate) {
            then.remove(0);
            self.foreseen = Some(Foreseen { owner, then });
        }
        // The locks of the way are warm then.
        shared.gate.look_again();
        _ = shared.stage();
    }

    /// The cutover, if this event is the one for which it was foreseen, and the lease is offered.
    fn cut_over(&mut self, event: &Event, stand: &Stand<'_>) -> Option<Foreseen> {
        if *event != Event::Signalled(Signal::LookAtLease) {
            return None;
        }
        let foreseen = self.foreseen.take()?;
        point(Point::NewSignal);
        let me = self.me;
        // Not offered: the phase is asked as ever.
        let lease = lease::change(self.block.word(), |lease| lease.take(me)).ok()?;
        point(Point::NewTook);
        self.taken = Some(lease);
        self.open(lease, stand.shared);
        Some(foreseen)
    }

    /// A tick can begin when this returns. Nobody is woken for it (H4).
    fn open(&mut self, lease: Lease, shared: &Shared) {
        shared.gate.open(lease);
        point(Point::NewOpen);
        shared.set_stage_quietly(Stage::Serving);
        self.first_tick = clock::now();
        point(Point::NewStage);
    }

    /// Writes the handover into the history.
    pub(crate) fn write_down(&mut self, lease: Lease, streams: usize) {
        for (outcome, reason) in std::mem::take(&mut self.records) {
            self.append(outcome, &reason, lease, streams);
        }
    }

    fn apply(&mut self, effect: Effect, stand: &Stand<'_>, events: &mut VecDeque<Event>) -> Result<()> {
        let batch_deadline = Deadline::after(self.deadlines.batch);
        match effect {
            Effect::SendReady => {
                self.ready_at = clock::now();
                self.end = Deadline::after(self.deadlines.stand_by + self.deadlines.batch);
                if let Err(e) = self.channel.send(&Message::Ready, &[], batch_deadline) {
                    events.push_back(self.unsent(e, &stand.shared.registry));
                }
                point(Point::NewReady);
            }
            Effect::StageBatch { .. } => {
                if let Some((Message::Descriptors { entries, .. }, fds)) = self.message.take() {
                    let mut late = Staged::default();
                    late.take(entries, fds);
                    for (token, fd) in late.streams {
                        stand.shared.registry.insert(token, fd)?;
                    }
                    stand.shared.descriptors.late(late.named);
                }
            }
            Effect::SendAck { batch } => {
                if let Err(e) = self.channel.send(&Message::Ack { batch }, &[], batch_deadline) {
                    events.push_back(self.unsent(e, &stand.shared.registry));
                }
            }
            Effect::SendStanding => {
                point(Point::NewStandBy);
                drain_ready(&stand.shared.registry);
                self.seen = self.block.last_signal()?.0;
                let d = &self.deadlines;
                self.end = Deadline::after(d.tick + d.quiet + d.take);
                if let Err(e) = self.channel.send(&Message::Standing, &[], batch_deadline) {
                    events.push_back(self.unsent(e, &stand.shared.registry));
                }
            }
            Effect::Spin => {
                point(Point::NewStanding);
                if stand.spin {
                    self.spin_until = Some(Deadline::after(self.tick + self.tick / 2 + SPIN_SLACK));
                }
                self.foresee(stand.shared);
            }
            Effect::MeasureNoise => {
                point(Point::NewNoise);
                let now = clock::now();
                let rehearsed = self.block.rehearsal_stamp().load(std::sync::atomic::Ordering::Relaxed);
                if self.block.noise().load(std::sync::atomic::Ordering::Relaxed) == 0 && rehearsed != 0 {
                    let noise = now.saturating_sub(rehearsed).max(1);
                    self.block.noise().store(noise, std::sync::atomic::Ordering::Relaxed);
                }
                // The last tick is one tick away.
                if stand.spin {
                    self.spin_until = Some(Deadline::after(self.tick + self.tick / 2 + SPIN_SLACK));
                }
                self.foresee(stand.shared);
            }
            Effect::Take => {
                let me = self.me;
                point(Point::NewSignal);
                let taken = lease::change(self.block.word(), |lease| lease.take(me));
                self.taken = taken.ok();
                if self.taken.is_some() {
                    point(Point::NewTook);
                }
                // Answered before any other event.
                events.push_front(if taken.is_ok() { Event::Took } else { Event::TakeLost });
            }
            Effect::ProveDeath => {
                let dead = self
                    .predecessor
                    .as_ref()
                    .is_none_or(|p| p.wait_ended(WATCH, Deadline::after(PROOF)).is_ok());
                if dead {
                    point(Point::NewProven);
                }
                events.push_back(if dead { Event::PeerDead } else { Event::Deadline });
            }
            Effect::Inherit => {
                let dead = self.predecessor.as_ref().map(Pidfd::process);
                let lease = match dead {
                    Some(dead) => self.block.inherit_from(dead, self.me)?,
                    None => None,
                };
                self.taken = lease;
                point(Point::NewInherited);
                events.push_front(if lease.is_some() {
                    Event::Inherited
                } else {
                    Event::InheritLost
                });
            }
            // The first pass of each region takes back what the dead one left, see `Region::read`.
            Effect::RecoverRegions => self.inherited = true,
            Effect::OpenGate => {
                if let Some(lease) = self.taken {
                    self.open(lease, stand.shared);
                }
            }
            Effect::Record { outcome, reason } => self.records.push((outcome, reason)),
            Effect::SendRefuse { reason } => {
                let _ = self.channel.send(&Message::Refuse { reason }, &[], batch_deadline);
                point(Point::NewRefused);
            }
            Effect::SendHello | Effect::Prepare | Effect::StartAccepting | Effect::DropTransfer | Effect::StartOver => {
            }
        }
        Ok(())
    }

    /// Waits for whatever comes next in the present state.
    fn next_event(&mut self, stand: &Stand<'_>) -> Result<Event> {
        match self.state {
            State::Standing => self.next_signal(stand),
            _ => {
                let end = self.end;
                loop {
                    let look = Deadline::after(until_next_look(self.predecessor.as_ref()));
                    match self.next_message(&stand.shared.registry, end.or(look)) {
                        None => {}
                        Some(Event::Deadline) if !end.passed() && !self.has_lost_predecessor() => {}
                        Some(Event::Deadline) if !end.passed() => return Ok(Event::PeerDead),
                        // One after the other, late batches would be heard for ever.
                        Some(Event::Descriptors { .. }) if end.passed() => {}
                        Some(event) => return Ok(event),
                    }
                    // A channel that is never empty ends the wait as one that is never full does.
                    if end.passed() {
                        return Ok(Event::Deadline);
                    }
                }
            }
        }
    }

    /// Whether the predecessor is past its last instruction. One that takes long to die has not closed the channel yet.
    fn has_lost_predecessor(&self) -> bool {
        self.predecessor.as_ref().is_some_and(is_past)
    }

    /// What came last, for who owns the node by now: connections that were sent before the release, and perhaps some that move already. A word
    /// of the predecessor in its probation's beginning is kept for that.
    pub(crate) fn receive_late(&mut self, shared: &Shared) {
        // So many and not so long: to be stopped in between must not leave one behind.
        for _ in 0..MOST_LATE {
            match self.channel.recv(Deadline::now()) {
                Ok((Message::Mirror { entries }, fds)) => {
                    let mut late = Staged::default();
                    late.take(entries, fds);
                    point(Point::NewNewcomer);
                    for (token, fd) in late.streams {
                        // One that cannot be watched is closed; the lease has decided.
                        let _ = shared.registry.insert(token, fd);
                    }
                }
                Ok((Message::Move { name, bytes }, fds)) => {
                    for fd in fds {
                        let (name, bytes) = (name.clone(), bytes.clone());
                        shared.moves.arrive(Moved { name, bytes, fd });
                    }
                }
                Ok((word, _)) => {
                    self.word = Some(word);
                    return;
                }
                Err(_) => return,
            }
        }
    }

    /// The next message; `None` if it was a connection that has come meanwhile, which is registered at once.
    fn next_message(&mut self, registry: &Registry, deadline: Deadline) -> Option<Event> {
        Some(match self.channel.recv(deadline) {
            Ok((Message::Mirror { entries }, fds)) => {
                let mut late = Staged::default();
                late.take(entries, fds);
                point(Point::NewNewcomer);
                for (token, fd) in late.streams {
                    if let Err(error) = registry.insert(token, fd) {
                        let reason = error.to_string();
                        return Some(Event::Fault { reason });
                    }
                }
                return None;
            }
            Ok((Message::Descriptors { entries, .. }, _)) if entries.is_empty() => Event::Unexpected {
                got: "a batch without descriptors".into(),
            },
            Ok((Message::Descriptors { batch, entries }, fds)) => {
                self.message = Some((Message::Descriptors { batch, entries }, fds));
                Event::Descriptors { batch }
            }
            Ok((Message::StandBy { batches }, _)) => Event::StandBy { batches },
            Ok((Message::Refuse { reason } | Message::Abort { reason }, _)) => {
                point(Point::NewAborted);
                Event::Aborted { reason }
            }
            Ok((other, _)) => Event::Unexpected {
                got: other.name().into(),
            },
            Err(e) => failed_event(e),
        })
    }

    /// What a failed send means. A reason that the predecessor sent before it closed may still be waiting.
    fn unsent(&mut self, error: Error, registry: &Registry) -> Event {
        match failed_event(error) {
            Event::PeerClosed => loop {
                match self.next_message(registry, Deadline::now()) {
                    None => {}
                    Some(aborted @ Event::Aborted { .. }) => break aborted,
                    Some(_) => break Event::PeerClosed,
                }
            },
            other => other,
        }
    }

    /// Spins or sleeps on the signal, and looks at the channel in between.
    fn next_signal(&mut self, stand: &Stand<'_>) -> Result<Event> {
        let end = self.end;
        loop {
            let signal = match self.spin_until.take() {
                Some(until) if stand.spin => self.block.spin_signal(self.seen, until)?,
                _ => None,
            };
            let signal = match signal {
                Some(signal) => Some(signal),
                None => {
                    let look = Deadline::after(until_next_look(self.predecessor.as_ref()));
                    self.block.wait_signal(self.seen, look)?
                }
            };
            if let Some((count, signal)) = signal {
                self.seen = count;
                if signal == Signal::Aborted {
                    // The reason was sent before the signal.
                    if let Some(aborted @ Event::Aborted { .. }) =
                        self.next_message(&stand.shared.registry, Deadline::now())
                    {
                        return Ok(aborted);
                    }
                }
                // So would signals that only announce the lease be obeyed for ever.
                let heard_out = matches!(signal, Signal::StandBy | Signal::Rehearse) && end.passed();
                if signal != Signal::None && !heard_out {
                    return Ok(Event::Signalled(signal));
                }
            }
            if poll::readable(self.channel.as_fd(), Deadline::now())?
                && let Some(event) = self.next_message(&stand.shared.registry, Deadline::now())
            {
                return Ok(event);
            }
            if self.has_lost_predecessor() {
                return Ok(Event::PeerDead);
            }
            if end.passed() {
                return Ok(Event::Deadline);
            }
        }
    }

    fn append(&self, outcome: Outcome, reason: &str, lease: Lease, streams: usize) {
        let load = |word: &std::sync::atomic::AtomicU64| word.load(std::sync::atomic::Ordering::Relaxed);
        let mut record = HandoverRecord::new(outcome, reason);
        record.to_generation = lease.generation();
        record.from_generation = lease.generation().saturating_sub(1);
        record.successor_pid = std::process::id();
        record.started = self.block.started();
        record.ready = self.ready_at;
        record.last_commit = load(self.block.commit_stamp());
        record.first_tick = self.first_tick;
        record.noise = load(self.block.noise());
        record.streams = streams as u32;
        record.descriptors = streams as u32 + self.offer.regions + self.offer.listeners + self.offer.others;
        self.block.append(&record);
    }
}

/// Empties the stale ready list of the epoll set, so that the first wait after the cutover does not pay for it.
fn drain_ready(registry: &Registry) {
    let mut events = Vec::with_capacity(registry.len().max(1));
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    // A failure costs microseconds at the first wait, nothing else.
    let _ = rustix::event::epoll::wait(
        registry.epoll(),
        rustix::buffer::spare_capacity(&mut events),
        Some(&now),
    );
}
