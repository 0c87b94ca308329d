//! The old owner after the cutover: parked, and what brings it back.
//!
//! - **K1** Parked means: no reference into a region, no pass, nothing read or written on a descriptor of the node. Its regions are mapped
//!   anew behind the closed gate, so that taking back enters the same code as a successor does (H9).
//! - **K2** It holds duplicates of everything the owner has, also of what that accepts ([`Message::Mirror`]), until it is told that a connection is
//!   gone. It reads them out of the channel after it knows that the owner is dead or has released, and before it takes: what the owner accepted is here.
//! - **K3** Every wait ends after [`LOOK`] to look at what nobody wakes it for: the lease, the operator's wish, the watchdog.
//!
//! It does not know why the owner dies or hangs.

use crate::control::{HandoverRecord, Outcome, ParticipantState, Phase, Request};
use crate::error::{Error, Result, WhoServes};
use crate::node::builder;
use crate::node::post::Terms;
use crate::node::shared::{Shared, Stage};
use crate::node::starting::{Role, Starting};
use crate::os::clock::{self, Deadline};
use crate::os::pidfd::Pidfd;
use crate::os::poll;
use crate::phase::parked::{Cause, Effect, Event, State};
use crate::points::{Point, point};
use crate::registry::Newcomers;
use crate::wire::channel::Channel;
use crate::wire::message::{DescriptorKind, Message};
use rustix::event::{PollFd, PollFlags, Timespec};
use shmstate::Region;
use shmstate::lease::{self, Lease, LeaseCell};
use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks at what nobody wakes the parked process for (K3); one costs some 10 µs. A successor that takes long to die, for its core or
/// for its memory, is found by them: so long is nobody there, on average half of it.
const LOOK: Duration = Duration::from_millis(2);
/// Messages that one look reads: an owner that never stops talking must not keep this process from what else there is to see (K3).
const AT_ONCE: usize = 256;
/// Such looks before the take: more than wait in the socket, so that only one that goes on speaking, and should not, is not heard out.
const LAST_LOOKS: usize = 16;
/// How long a closed channel may take to become a proven death.
const PROOF: Duration = Duration::from_secs(2);

/// What came of the wait.
pub(crate) enum Ended {
    /// This process owns the node again.
    Back(Box<Starting>),
    /// The node is the successor's.
    Over,
}

/// Waits for the end of the probation.
///
/// # Errors
/// The regions cannot be mapped again: then this process does not wait, and the successor knows. What a dead successor left cannot be taken
/// back.
pub(crate) fn wait(
    shared: &Arc<Shared>,
    regions: Vec<Region>,
    terms: Terms,
    leave: &dyn Fn() -> bool,
) -> Result<Ended> {
    // K1.
    drop(regions);
    shared.carry.leave();
    let mut regions = map_again(shared).map_err(|e| e.served_by(WhoServes::Successor))?;
    point(Point::ParkedMapped);
    shared.block.set_state(shared.me, ParticipantState::Parked)?;
    shared.advance_phase(&[Phase::Closing, Phase::Offered], Phase::Probation, terms.end.nanos());
    point(Point::ParkedParked);
    let mut parked = Parked {
        shared,
        state: State::Watching,
        channel: Some(terms.channel),
        successor: terms.successor,
        slot: terms.slot,
        deadline: terms.end,
        end: terms.end,
        requests: terms.requests,
        parked_at: clock::now(),
        decided_at: 0,
        lease: None,
        said: None,
        record: None,
    };
    parked.run(leave);
    let State::Back { cause, dead } = parked.state else {
        point(Point::ParkedOver);
        return Ok(Ended::Over);
    };
    let Some(lease) = parked.lease else {
        return Ok(Ended::Over);
    };
    if dead {
        recover(shared, &mut regions, lease).map_err(|e| e.served_by(WhoServes::Nobody))?;
        point(Point::ParkedRecovered);
    }
    let role = Role::Returned {
        generation: lease.generation() - 1,
        cause,
    };
    shared.registry.set_newcomers(Newcomers::Stay);
    shared.descriptors.pause(false);
    shared.set_stage(Stage::Starting);
    let back = Starting::back(Arc::clone(shared), role, regions, lease, dead, parked.record);
    Ok(Ended::Back(Box::new(back)))
}

/// Takes back the open transactions of the dead owner, so that the server finds its tables as in any other start: this process owns the node by
/// now, and the death is proven (H5).
fn recover(shared: &Shared, regions: &mut [(String, Region)], lease: Lease) -> Result<()> {
    shared.gate.open(lease);
    let recovered = (|| {
        let pass = shared.gate.enter()?;
        for (_, region) in regions {
            region.read(&pass)?;
        }
        Ok(())
    })();
    // Nobody else asks for a pass yet: it opens again when the server is ready.
    shared.gate.close();
    recovered
}

/// Maps the node's regions once more, as a successor does.
fn map_again(shared: &Shared) -> Result<Vec<(String, Region)>> {
    shared.ownership(|owner| {
        let mut regions = Vec::new();
        for (name, fd) in &owner.regions {
            let Some(spec) = shared.config.regions.iter().find(|spec| spec.name == *name) else {
                continue;
            };
            let fd = fd
                .try_clone()
                .map_err(|e| Error::io("duplicate the descriptor of", name, e))?;
            let region = builder::attach(shared.block.identity(), spec, fd, &shared.gate)?;
            regions.push((name.clone(), region));
        }
        Ok(regions)
    })
}

/// A parked process.
struct Parked<'a> {
    shared: &'a Shared,
    state: State,
    channel: Option<Channel>,
    successor: Pidfd,
    slot: u8,
    /// When the current state must end.
    deadline: Deadline,
    /// When the probation is over.
    end: Deadline,
    /// Wishes of operators that were there before.
    requests: u32,
    parked_at: u64,
    /// When it was found that the node has to come back: the beginning of the way back, for the history.
    decided_at: u64,
    lease: Option<Lease>,
    /// What the successor said when the node was to be taken.
    said: Option<Event>,
    record: Option<HandoverRecord>,
}

impl Parked<'_> {
    fn run(&mut self, leave: &dyn Fn() -> bool) {
        let mut events = VecDeque::new();
        while !self.state.is_over() {
            let Some(event) = events.pop_front().or_else(|| self.next_event(leave)) else {
                continue;
            };
            let before = self.state;
            let (state, effects) = before.step(event);
            self.state = state;
            if before != state {
                if before == State::Watching {
                    self.decided_at = clock::now();
                }
                self.enter();
            }
            for effect in effects {
                if let Some(event) = self.apply(effect) {
                    events.push_front(event);
                }
            }
        }
    }

    fn enter(&mut self) {
        let d = &self.shared.config.deadlines;
        self.deadline = match self.state {
            State::Watching => self.end,
            State::Asked(_) => Deadline::after(d.give_back),
            State::Killing(_) => Deadline::after(d.give_back),
            State::Proving => Deadline::after(PROOF),
            _ => return,
        };
        if matches!(self.state, State::Asked(_) | State::Killing(_)) {
            let by = self.deadline.nanos();
            self.shared.advance_phase(&[Phase::Probation], Phase::Returning, by);
        }
    }

    /// Waits, no longer than [`LOOK`]. The order is K2's.
    fn next_event(&mut self, leave: &dyn Fn() -> bool) -> Option<Event> {
        if let Some(event) = self.said.take() {
            return Some(event);
        }
        self.sleep();
        if let Some(event) = self.read_channel() {
            return Some(event);
        }
        match self.shared.block.lease() {
            Ok(Lease::Offered { owner, heir, .. }) if owner == self.slot && heir == self.shared.me => {
                return Some(Event::Offered);
            }
            // Offered to a third, it is the successor's until that takes: if both fail, it comes back.
            Ok(Lease::Owned { owner, .. } | Lease::Offered { owner, .. }) if owner == self.slot => {}
            // Its death comes first, see the phase.
            _ if matches!(self.state, State::Killing(_)) => {}
            // A word that means nothing is nobody's.
            _ => return Some(Event::Moved),
        }
        if self.successor.has_ended().unwrap_or(false) {
            point(Point::ParkedDead);
            return Some(Event::PeerDead);
        }
        if let Some(event) = self.wish().or_else(|| self.watchdog()) {
            return Some(event);
        }
        if self.deadline.passed() {
            self.deadline = Deadline::after(self.shared.config.deadlines.give_back);
            return Some(Event::Deadline);
        }
        leave().then_some(Event::Leave)
    }

    fn sleep(&self) {
        let left = self.deadline.remaining().min(self.successor.next_look(LOOK));
        let left = Timespec::try_from(left).ok();
        let mut fds = vec![PollFd::new(&self.successor, PollFlags::IN)];
        if let Some(channel) = &self.channel {
            fds.push(PollFd::new(channel, PollFlags::IN));
        }
        // Interrupted or refused: the looks that follow find out.
        let _ = rustix::event::poll(&mut fds, left.as_ref());
    }

    /// Reads the channel until it is empty or says something that matters, but no more than [`AT_ONCE`].
    fn read_channel(&mut self) -> Option<Event> {
        for _ in 0..AT_ONCE {
            let channel = self.channel.as_mut()?;
            match channel.recv(Deadline::now()) {
                Ok((Message::Mirror { entries }, fds)) => {
                    point(Point::ParkedMirror);
                    for (entry, fd) in entries.into_iter().zip(fds) {
                        match entry.kind {
                            // What cannot be watched cannot be served, and is closed; the peer is the successor's.
                            DescriptorKind::Stream => _ = self.shared.registry.insert(entry.token, fd),
                            DescriptorKind::Named => self.shared.descriptors.late(vec![(entry.name, entry.token, fd)]),
                            _ => {}
                        }
                    }
                }
                Ok((Message::Gone { tokens }, _)) => {
                    point(Point::ParkedGone);
                    for token in tokens {
                        self.shared.registry.remove(token);
                    }
                }
                Ok((Message::Confirm, _)) => {
                    point(Point::ParkedConfirm);
                    return Some(Event::Confirmed);
                }
                // It only wakes: the lease word says it.
                Ok((Message::Returned { .. }, _)) => return None,
                Err(Error::Deadline { .. }) => return None,
                Err(Error::Closed { .. } | Error::Io { .. }) => {
                    self.channel = None;
                    return Some(Event::PeerClosed);
                }
                // A descriptor that found no room here would be missing after a give-back.
                Ok(_) | Err(_) => {
                    self.channel = None;
                    return Some(Event::Unexpected);
                }
            }
        }
        None
    }

    /// Whether there is more to read.
    fn is_spoken_to(&self) -> bool {
        let channel = self.channel.as_ref();
        channel.is_some_and(|channel| poll::readable(channel.as_fd(), Deadline::now()).unwrap_or(false))
    }

    fn wish(&mut self) -> Option<Event> {
        let (count, request) = self.shared.block.last_request();
        if count == self.requests {
            return None;
        }
        self.requests = count;
        match request? {
            Request::Rollback => Some(Event::Rollback),
            Request::Confirm => Some(Event::Confirmed),
        }
    }

    fn watchdog(&self) -> Option<Event> {
        let longest = self.shared.config.deadlines.watchdog;
        if longest.is_zero() || self.state != State::Watching {
            return None;
        }
        let beat = self.shared.block.heartbeat(self.slot).unwrap_or(0).max(self.parked_at);
        let silent = Duration::from_nanos(clock::now().saturating_sub(beat));
        (silent > longest).then_some(Event::Hung)
    }

    fn apply(&mut self, effect: Effect) -> Option<Event> {
        let shared = self.shared;
        match effect {
            Effect::AskBack(cause) => {
                let reason = cause.reason().into();
                if let Some(channel) = &mut self.channel {
                    // One that cannot be told is killed when its time is over.
                    let _ = channel.send(&Message::Return { reason }, &[], Deadline::now());
                    point(Point::ParkedAsked);
                }
                None
            }
            Effect::Kill => {
                // If it cannot be killed, its death is never proven, and the deadline comes again.
                let _ = self.successor.kill();
                point(Point::ParkedKill);
                None
            }
            // Asked again with every look.
            Effect::ProveDeath => None,
            Effect::Take => {
                // What the successor accepted before it released, or died, was sent before: the look that led here may have been too early for it (K2).
                // So often and not so long: to be stopped in between must not leave one behind.
                for _ in 0..LAST_LOOKS {
                    if !self.is_spoken_to() {
                        break;
                    }
                    // The lease decides first; if it does not give the node, what was said counts.
                    self.said = self.read_channel().or(self.said.take());
                }
                let me = shared.me;
                point(Point::ParkedTake);
                self.lease = lease::change(shared.block.word(), |lease| lease.take(me)).ok();
                if self.lease.is_some() {
                    point(Point::ParkedTook);
                }
                Some(match self.lease {
                    Some(_) => Event::Took,
                    None => Event::TakeLost,
                })
            }
            Effect::Inherit => {
                let process = self.successor.process();
                point(Point::ParkedInherit);
                self.lease = shared.block.inherit_from(process, shared.me).unwrap_or(None);
                point(Point::ParkedInherited);
                Some(match self.lease {
                    Some(_) => Event::Inherited,
                    None => Event::InheritLost,
                })
            }
            Effect::CloseChannel => {
                shared.moves.close();
                self.channel = None;
                None
            }
            Effect::Record { cause, dead } => {
                self.record = Some(self.record(cause, dead));
                None
            }
        }
    }

    /// The history row of a way back, but for the stamp of the first tick.
    fn record(&self, cause: Cause, dead: bool) -> HandoverRecord {
        let outcome = if dead { Outcome::TakenBack } else { Outcome::GivenBack };
        let mut record = HandoverRecord::new(outcome, cause.reason());
        let generation = self.lease.map_or(0, Lease::generation);
        record.from_generation = generation.saturating_sub(1);
        record.to_generation = generation;
        record.successor_pid = std::process::id();
        record.started = self.decided_at;
        record.ready = clock::now();
        if !dead {
            record.last_commit = self
                .shared
                .block
                .commit_stamp()
                .load(std::sync::atomic::Ordering::Relaxed);
        }
        record.streams = self.shared.registry.len() as u32;
        record
    }
}
