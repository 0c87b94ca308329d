//! What holds a new owner to its predecessor: the channel, and what is to be said over it.
//!
//! - What is to be said waits in the outbox, in order, for as long as the channel takes no more.
//! - One lock over all of it ([`Probation`]), and a flag beside it for the hot paths.
//!
//! It does not know what is decided by what it hears.

use crate::error::{Error, Result};
use crate::node::moves::{Moved, Moves};
use crate::os::clock::Deadline;
use crate::os::pidfd::Pidfd;
use crate::os::poll;
use crate::phase::probation::{Event, State};
use crate::points::{Point, point};
use crate::wire::channel::Channel;
use crate::wire::message::{Descriptor, MAX_GONE, Message};
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How much longer than its predecessor the owner believes in its probation: the predecessor's clock decides.
pub(crate) const SLACK: Duration = Duration::from_secs(1);
/// How long a word to the predecessor may take: it is one that reads, or is gone.
const SAY: Duration = Duration::from_millis(2);
/// Descriptors of one `mirror`: so many connections can be accepted when there is room for one message.
pub(crate) const MIRROR_BATCH: usize = 64;
/// How long accepting waits for a predecessor that does not read what it is told. One that is stopped for longer is no predecessor any more: the
/// probation is over, and clients come in again.
const UNREAD: Duration = Duration::from_secs(2);

/// What the predecessor is to hear.
#[derive(Debug)]
pub(crate) enum Out {
    /// A connection that was accepted, or a descriptor that was kept.
    Mirror(Descriptor, Arc<OwnedFd>),
    /// A connection that has ended.
    Gone(u64),
}

/// What a cutover leaves to the new owner for its probation.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) channel: Channel,
    pub(crate) predecessor: Pidfd,
    /// Its participant slot.
    pub(crate) slot: u8,
    /// How long the probation lasts.
    pub(crate) length: Duration,
    /// What it said before the probation could listen.
    pub(crate) word: Option<Message>,
}

/// A probation as it runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) state: State,
    /// `None` when the probation is over.
    channel: Option<Channel>,
    /// The same socket, for the thread to wait on.
    pub(crate) watch: Arc<OwnedFd>,
    predecessor: Pidfd,
    pub(crate) slot: u8,
    outbox: VecDeque<Out>,
    word: Option<Message>,
    /// Until when the predecessor has to read, if the channel was full when it was looked at last.
    unread: Option<Deadline>,
    /// When it is over.
    pub(crate) end: Deadline,
    /// When the current step of giving back must be over.
    pub(crate) deadline: Deadline,
    /// Why the server itself gives the node back; taken by the thread.
    wish: Option<String>,
    pub(crate) reason: String,
}

/// The probation of this process, if it is on one.
#[derive(Debug, Default)]
pub(crate) struct Probation {
    running: Mutex<Option<Running>>,
    /// Whether it is on one: what the hot paths look at.
    on: AtomicBool,
}

impl Probation {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this process is on probation.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// It is over, and nothing is looked at any more: lets go of what is left of it.
    pub(crate) fn end(&self) {
        self.off();
        self.lock().take();
    }

    /// Nothing is mirrored any more.
    pub(crate) fn off(&self) {
        self.on.store(false, Ordering::Relaxed);
    }

    /// How much is left of it.
    pub(crate) fn left(&self) -> Option<Duration> {
        let running = self.lock();
        let running = running.as_ref().filter(|r| !r.state.is_over())?;
        Some(running.end.remaining().saturating_sub(SLACK))
    }

    /// The server wants to give the node back.
    ///
    /// # Errors
    /// [`Error::NotOnProbation`].
    pub(crate) fn give_back(&self, reason: &str) -> Result<()> {
        match &mut *self.lock() {
            Some(running) if !running.state.is_over() => {
                running.wish = Some(reason.into());
                Ok(())
            }
            _ => Err(Error::NotOnProbation),
        }
    }

    /// Begins the probation.
    ///
    /// # Errors
    /// No descriptor is left to watch the channel with: then there is no probation, and the predecessor sees that.
    pub(crate) fn begin(&self, terms: Terms) -> Result<()> {
        let watch = terms.channel.as_fd().try_clone_to_owned();
        let watch = watch.map_err(|e| Error::io("duplicate", "the handover channel", e))?;
        let end = Deadline::after(terms.length + SLACK);
        *self.lock() = Some(Running {
            state: State::Serving,
            channel: Some(terms.channel),
            watch: Arc::new(watch),
            predecessor: terms.predecessor,
            slot: terms.slot,
            outbox: VecDeque::new(),
            word: terms.word,
            unread: None,
            end,
            deadline: end,
            wish: None,
            reason: String::new(),
        });
        self.on.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the predecessor could be told at once of connections that are accepted now. If not, they wait in their listener's queue: accepted,
    /// they would be lost with this process.
    ///
    /// `reads` says of a slot whether who is there is parked, and can read.
    pub(crate) fn has_room(&self, reads: impl Fn(u8) -> bool) -> bool {
        let mut running = self.lock();
        running.as_mut().is_none_or(|running| {
            let room = running.has_room();
            // One that is on its way to park reads later.
            if !room && running.unread.is_none() && reads(running.slot) {
                running.unread = Some(Deadline::after(UNREAD));
            }
            room
        })
    }

    /// Adds to the outbox, and sends what can be sent.
    pub(crate) fn tell(&self, news: impl IntoIterator<Item = Out>) {
        if let Some(running) = &mut *self.lock() {
            running.outbox.extend(news);
            // What fails here the thread sees too.
            let _ = running.flush();
        }
    }
}

impl Running {
    /// What there is to be seen now.
    pub(crate) fn look(&mut self, moves: &Moves) -> Option<Event> {
        if let Some(reason) = self.wish.take() {
            self.reason = reason;
            return Some(Event::GiveBack);
        }
        if let Err(Error::Closed { .. } | Error::Io { .. }) = self.flush() {
            return Some(Event::PeerGone);
        }
        if let Some(channel) = &mut self.channel {
            let said = match self.word.take() {
                Some(word) => Ok((word, Vec::new())),
                None => channel.recv(Deadline::now()),
            };
            match said {
                Ok((Message::Return { reason }, _)) => {
                    point(Point::OwnerAsked);
                    self.reason = reason;
                    return Some(Event::Asked);
                }
                Ok((Message::Move { name, bytes }, fds)) => {
                    point(Point::OwnerMoved);
                    for fd in fds {
                        let (name, bytes) = (name.clone(), bytes.clone());
                        moves.arrive(Moved { name, bytes, fd });
                    }
                }
                // Whatever else it says does not belong here, and who speaks another language cannot be given a node.
                Ok(_) => return Some(Event::PeerGone),
                Err(Error::Deadline { .. }) => {}
                Err(_) => return Some(Event::PeerGone),
            }
        }
        if self.predecessor.has_ended().unwrap_or(false) {
            return Some(Event::PeerGone);
        }
        if self.unread.is_some_and(Deadline::passed) && !self.has_room() {
            return Some(Event::Unread);
        }
        self.deadline.passed().then_some(Event::Deadline)
    }

    /// Whether the predecessor is dead, or as good as that.
    pub(crate) fn is_alone(&self) -> bool {
        self.predecessor.has_ended().unwrap_or(false)
    }

    pub(crate) fn send(&mut self, message: &Message) {
        if let Some(channel) = &mut self.channel {
            // It may be gone: then the lease word says the same.
            let _ = channel.send(message, &[], Deadline::after(SAY));
        }
    }

    pub(crate) fn close(&mut self) {
        self.outbox.clear();
        if self.channel.take().is_some() {
            // The thread still has the socket, for a moment.
            let _ = rustix::net::shutdown(&*self.watch, rustix::net::Shutdown::Both);
        }
    }

    fn has_room(&mut self) -> bool {
        let room = match &self.channel {
            Some(channel) => self.outbox.is_empty() && poll::writable(channel.as_fd(), Deadline::now()).unwrap_or(true),
            None => true,
        };
        if room {
            self.unread = None;
        }
        room
    }

    /// Sends what waits, as far as the channel takes it.
    fn flush(&mut self) -> Result<()> {
        let Some(channel) = &mut self.channel else {
            self.outbox.clear();
            return Ok(());
        };
        while let Some(first) = self.outbox.front() {
            let mirrors = matches!(first, Out::Mirror(..));
            let most = if mirrors { MIRROR_BATCH } else { MAX_GONE };
            let same = self.outbox.iter().take(most);
            let same = same.take_while(|out| matches!(out, Out::Mirror(..)) == mirrors);
            let (mut entries, mut fds, mut tokens) = (Vec::new(), Vec::new(), Vec::new());
            for out in same {
                match out {
                    Out::Mirror(entry, fd) => {
                        entries.push(entry.clone());
                        fds.push(fd.as_fd());
                    }
                    Out::Gone(token) => tokens.push(*token),
                }
            }
            let count = entries.len().max(tokens.len());
            let message = match mirrors {
                true => Message::Mirror { entries },
                false => Message::Gone { tokens },
            };
            match channel.send(&message, &fds, Deadline::now()) {
                Ok(()) => {
                    self.outbox.drain(..count);
                    point(if mirrors { Point::OwnerMirror } else { Point::OwnerGone });
                }
                // Full: later.
                Err(Error::Deadline { .. }) => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}
