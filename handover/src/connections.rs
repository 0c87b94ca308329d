//! Live TCP connections over [`shmstate::Streams`]: accepted into the region, read and written through it, handed over.
//!
//! - **C1** Waiting happens in [`Connections::wait`], which takes no pass; everything else takes one and never waits (H12).
//! - **C2** A connection is one of ours as long as its token is that of an open stream; whatever else turns up is dropped
//!   without touching the peer (H11).
//! - **C3** Only the owner ends a connection: out of the table in a transaction, `shutdown` after its commit
//!   ([`Connections::hang_up`]).
//!
//! It does not know what the bytes mean.

use crate::error::{Error, Result};
use crate::node::probation;
use crate::node::shared::Shared;
use crate::node::tether::MIRROR_BATCH;
use crate::registry::Newcomers;
use rustix::event::{Timespec, epoll};
use shmstate::{Io, Pass, Received, Region, Sent, StreamId, Streams, Tx, View};
use std::collections::BTreeSet;
use std::fmt;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// Events taken from the epoll set at once.
const EVENTS: usize = 1024;
/// Connections accepted in one call: bounds how long a tick can be held up by newcomers.
const ACCEPT_BATCH: usize = 64;
const _: () = assert!(ACCEPT_BATCH <= MIRROR_BATCH);

/// Why a connection is over.
#[derive(Debug)]
pub enum Ended {
    /// The peer sends no more; what it sent before is in the input.
    ByPeer,
    /// The connection broke.
    Broken(std::io::Error),
}

/// The live connections of a node whose rings are in one streams table.
pub struct Connections {
    shared: Arc<Shared>,
    streams: Streams,
    ready: Vec<u64>,
    events: Vec<epoll::Event>,
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections")
            .field("streams", &self.streams)
            .field("held", &self.len())
            .finish_non_exhaustive()
    }
}

impl Connections {
    pub(crate) fn new(shared: &Arc<Shared>, streams: Streams) -> Result<Self> {
        Ok(Self {
            shared: Arc::clone(shared),
            streams,
            ready: Vec::new(),
            events: Vec::with_capacity(EVENTS),
        })
    }

    /// The streams table.
    #[must_use]
    pub fn streams(&self) -> Streams {
        self.streams
    }

    /// How many connections this process holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.registry.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until a connection has something to read, or `longest` is over. Takes no pass. Gives how many are ready.
    ///
    /// # Errors
    /// The wait failed.
    pub fn wait(&mut self, longest: Duration) -> Result<usize> {
        let timeout = Timespec {
            tv_sec: longest.as_secs() as i64,
            tv_nsec: longest.subsec_nanos().into(),
        };
        let mut timeout = Some(timeout);
        self.ready.clear();
        // The number is for those who watch.
        let _ = self.shared.block.set_load(self.shared.me, self.len() as u64, 0);
        loop {
            self.events.clear();
            let spare = rustix::buffer::spare_capacity(&mut self.events);
            let found = match epoll::wait(self.shared.registry.epoll(), spare, timeout.as_ref()) {
                Ok(found) => found,
                Err(rustix::io::Errno::INTR) => 0,
                Err(e) => return Err(Error::io("wait for", "connections", e)),
            };
            self.ready.extend(self.events.iter().map(|event| event.data.u64()));
            // A full buffer may mean that there are more; level-triggered sets give others first.
            if found < EVENTS || self.ready.len() >= self.len() {
                return Ok(self.ready.len());
            }
            timeout = Some(Timespec { tv_sec: 0, tv_nsec: 0 });
        }
    }

    /// Receives from those that [`wait`](Self::wait) found ready, into their rings. `ended` gets each that is over.
    ///
    /// # Errors
    /// Damage of the region.
    pub fn receive(&mut self, io: &mut Io<'_>, mut ended: impl FnMut(StreamId, Ended)) -> Result<()> {
        for token in std::mem::take(&mut self.ready) {
            let id = StreamId::from_token(token);
            let Some(fd) = self.shared.registry.get(token) else {
                continue;
            };
            match self.streams.receive(io, id, fd.as_fd()) {
                Ok(Received::Bytes(_) | Received::Nothing | Received::Full) => {}
                Ok(Received::End) => ended(id, Ended::ByPeer),
                Ok(Received::Broken(e)) => ended(id, Ended::Broken(e)),
                Err(shmstate::Error::NoStream { .. }) => {
                    self.shared.registry.remove(token);
                    probation::gone(&self.shared, token);
                }
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Accepts what waits at `listener`, without waiting; each is adopted in `tx`, with 0 as the application's word. On probation only as
    /// fast as the predecessor, which may have to go on with them, reads of them.
    ///
    /// # Errors
    /// A full region; damage.
    pub fn accept(&mut self, tx: &mut Tx<'_>, listener: &TcpListener) -> Result<Vec<StreamId>> {
        let (mut accepted, mut over) = (Vec::new(), Vec::new());
        if !probation::has_room(&self.shared) {
            return Ok(accepted);
        }
        for _ in 0..ACCEPT_BATCH {
            let streams = self.streams;
            let token = self.shared.registry.accept(|| match accept_one(listener)? {
                Some(fd) => {
                    let id = streams.adopt(tx, fd.as_fd(), 0)?;
                    Ok::<_, Error>(Some((id.token(), fd)))
                }
                None => Ok(None),
            })?;
            let Some((token, goes_over)) = token else { break };
            accepted.push(StreamId::from_token(token));
            if goes_over {
                over.extend(self.shared.registry.get(token).map(|fd| (token, fd)));
            }
        }
        if !over.is_empty() && self.shared.late.send(&over).is_err() {
            // This pass is out, so the gate is not quiet: the handover is called off in time.
            let _ = self.shared.gate.disarm();
            self.shared
                .late
                .while_open(|| self.shared.registry.set_newcomers(Newcomers::Wait));
        }
        if self.shared.probation.is_on() {
            let held = accepted.iter().map(|id| id.token());
            let held = held.filter_map(|token| Some((token, self.shared.registry.get(token)?)));
            probation::mirror(&self.shared, held);
        }
        Ok(accepted)
    }

    /// Sends what was produced and committed, as far as the sockets take it. `ended` gets each whose connection broke.
    ///
    /// # Errors
    /// Damage of the region.
    pub fn send(&mut self, io: &mut Io<'_>, mut ended: impl FnMut(StreamId, Ended)) -> Result<()> {
        for id in self.streams.with_output(io)? {
            // One without a socket is what `reconcile` takes out.
            let Some(fd) = self.shared.registry.get(id.token()) else {
                continue;
            };
            match self.streams.send(io, id, fd.as_fd()) {
                Ok(Sent::All | Sent::Left(_)) => {}
                Ok(Sent::Broken(e)) => ended(id, Ended::Broken(e)),
                Err(e) => return Err(e.into()),
            }
        }
        self.drop_others(io)
    }

    /// Lets go of connections that are no stream's any more (C2).
    fn drop_others(&self, view: &View) -> Result<()> {
        if self.len() as u64 <= self.streams.len(view)? {
            return Ok(());
        }
        let ids = self.streams.ids(view)?.into_iter().collect::<BTreeSet<_>>();
        for (token, _) in self.shared.registry.all() {
            if !ids.contains(&StreamId::from_token(token)) {
                self.shared.registry.remove(token);
                probation::gone(&self.shared, token);
            }
        }
        Ok(())
    }

    /// Ends the connection of a stream that is out of the table: the peer sees the end even if another process still holds
    /// the socket (C3). Call it after the commit.
    pub fn hang_up(&mut self, id: StreamId) {
        if let Some(fd) = self.shared.registry.remove(id.token()) {
            probation::gone(&self.shared, id.token());
            // The connection may be broken already.
            let _ = rustix::net::shutdown(&*fd, rustix::net::Shutdown::Both);
        }
    }

    /// Brings table and sockets in line when a dead owner was inherited: positions are recomputed from the kernel (S1–S3);
    /// streams whose sockets died with their owner, or cannot be continued, are taken out. Gives those taken out.
    ///
    /// # Errors
    /// Damage of the region.
    pub fn reconcile(&mut self, region: &mut Region, pass: &Pass<'_>) -> Result<Vec<StreamId>> {
        let ids = {
            let reader = region.read(pass)?;
            let view: &View = &reader;
            self.streams.ids(view)?.into_iter().collect::<BTreeSet<_>>()
        };
        // Accepted, and their adoption taken back with the transaction it was part of: nobody knows them.
        for (token, _) in self.shared.registry.all() {
            if !ids.contains(&StreamId::from_token(token)) {
                self.hang_up(StreamId::from_token(token));
            }
        }
        let mut gone = Vec::new();
        {
            let mut io = region.io(pass)?;
            for id in ids {
                let resynced = match self.shared.registry.get(id.token()) {
                    Some(fd) => self.streams.resync(&mut io, id, fd.as_fd()),
                    None => Err(shmstate::Error::NoStream { token: id.token() }),
                };
                match resynced {
                    Ok(()) => {}
                    Err(e @ shmstate::Error::Damaged { .. }) => return Err(e.into()),
                    Err(_) => gone.push(id),
                }
            }
        }
        let mut tx = region.begin(pass)?;
        for id in &gone {
            self.streams.end(&mut tx, *id)?;
        }
        tx.commit()?;
        for id in &gone {
            self.hang_up(*id);
        }
        Ok(gone)
    }
}

fn accept_one(listener: &TcpListener) -> Result<Option<OwnedFd>> {
    use rustix::io::Errno;
    use rustix::net::{SocketFlags, accept_with};
    loop {
        return match accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(fd) => {
                // A tick's frames go out at once. A socket that refuses is slower, not wrong.
                let _ = rustix::net::sockopt::set_tcp_nodelay(&fd, true);
                Ok(Some(fd))
            }
            Err(Errno::INTR | Errno::CONNABORTED) => continue,
            Err(Errno::AGAIN) => Ok(None),
            Err(e) => Err(Error::io("accept from", "a listener", e)),
        };
    }
}
