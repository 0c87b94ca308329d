//! Moving bytes: between sockets and rings outside transactions, out of the rings and into them inside.

use crate::error::{Error, Result};
use crate::os::{noted, tcp};
use crate::region::{Io, View};
use crate::table::streams::note::Note;
use crate::table::streams::rings::{self, pieces};
use crate::table::streams::slot::{On, Positions, Slot};
use crate::table::streams::{Input, Received, Sent, StreamId, Streams, WHAT, Way};
use crate::tx::Tx;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recv, recvmsg, sendmsg, shutdown,
};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::os::fd::BorrowedFd;

/// What came of looking for a larger input ring.
#[derive(Debug)]
enum Wider {
    /// There is one.
    Yes,
    /// The socket has nothing that needs it.
    NoNeed,
    /// It is as large as it may become, or there is no memory.
    Cannot,
}

impl Streams {
    /// Reads what the socket has into the stream's ring, without waiting. One system call, unless the ring is filled to the brim and may
    /// become larger (G2).
    ///
    /// # Errors
    /// [`Error::NoStream`], [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`]. What the socket says comes as [`Received`].
    pub fn receive(&self, io: &mut Io<'_>, id: StreamId, fd: BorrowedFd<'_>) -> Result<Received> {
        let slot = self.slot(io, id)?;
        let on = slot.on(io)?;
        let mut got = 0;
        // Ends: each round but the last made the ring larger.
        loop {
            let p = slot.positions(io)?;
            let room = p.input_size - p.unread();
            if room > 0 {
                match self.fill(io, id, slot, on, &p, fd)? {
                    Ok(n) if n as u64 == room => got += n,
                    Ok(n) if n > 0 => return Ok(Received::Bytes(got + n)),
                    // It says so again.
                    _ if got > 0 => return Ok(Received::Bytes(got)),
                    other => return Ok(nothing(on, other, fd)),
                }
            }
            match self.widen(io, slot, fd)? {
                Wider::Yes => {}
                Wider::NoNeed | Wider::Cannot if got > 0 => return Ok(Received::Bytes(got)),
                Wider::Cannot => return Ok(Received::Full),
                Wider::NoNeed => return Ok(look(on, fd)),
            }
        }
    }

    /// Receives into the free part of the ring, of which there is some (S4), and says so in the hint.
    #[inline]
    fn fill(
        &self,
        view: &View,
        id: StreamId,
        slot: Slot,
        on: On,
        p: &Positions,
        fd: BorrowedFd<'_>,
    ) -> Result<io::Result<usize>> {
        let room = p.input_size - p.unread();
        let (first, second) = pieces(p.input, p.input_size, p.received, room);
        let result = match on {
            On::Tcp => view.fill(first, second, |a, b| {
                let mut slices = [IoSliceMut::new(a), IoSliceMut::new(b)];
                let mut none = RecvAncillaryBuffer::default();
                loop {
                    match recvmsg(fd, &mut slices, &mut none, RecvFlags::DONTWAIT) {
                        Err(Errno::INTR) => {}
                        other => return other.map(|message| message.bytes).map_err(io::Error::from),
                    }
                }
            })?,
            On::Unix => {
                let note = Note::of(self, view)?;
                note.begin(view, id, Way::In, p.received)?;
                view.fill(note.header(), (0, 0), |header, _| {
                    view.fill(first, second, |a, b| noted::receive(fd, header, a, b))
                })??
            }
        };
        if let Ok(n @ 1..) = result {
            slot.set_received(view, p.received + n as u64)?;
        }
        if on == On::Unix {
            Note::of(self, view)?.end(view)?;
        }
        Ok(result)
    }

    /// A larger input ring for what the socket has, if the ring is full, may be larger and must be (G1, G2).
    #[cold]
    fn widen(&self, io: &mut Io<'_>, slot: Slot, fd: BorrowedFd<'_>) -> Result<Wider> {
        let p = slot.positions(io)?;
        let [most, _] = self.most(io)?;
        if p.input_size >= most {
            return Ok(Wider::Cannot);
        }
        // What is wrong with a socket that does not say is told by the next call.
        let waiting = rustix::io::ioctl_fionread(fd).unwrap_or(0);
        if waiting == 0 {
            return Ok(Wider::NoNeed);
        }
        let fit = rings::size_for(p.unread().saturating_add(waiting), most);
        // Where there is no memory for all of it, for some.
        for size in [fit, p.input_size * 2] {
            let mut tx = io.begin()?;
            let done = match rings::exchange(&mut tx, slot, &p, Way::In, size) {
                Ok(()) => tx.commit(),
                Err(e) => Err(e),
            };
            match done {
                Ok(()) => return Ok(Wider::Yes),
                Err(e) if rings::is_full(&e) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(Wider::Cannot)
    }

    /// Input that was received and not yet consumed.
    ///
    /// # Errors
    /// [`Error::NoStream`], [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn input<'v>(&self, view: &'v View, id: StreamId) -> Result<Input<'v>> {
        let p = self.slot(view, id)?.positions(view)?;
        let (first, second) = pieces(p.input, p.input_size, p.consumed, p.unread());
        Ok(Input {
            first: view.bytes(first.0, first.1, WHAT)?,
            second: view.bytes(second.0, second.1, WHAT)?,
        })
    }

    /// Counts the oldest `bytes` of input as processed, in the transaction that processes them.
    ///
    /// # Errors
    /// [`Error::ShortInput`], [`Error::NoStream`], [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn consume(&self, tx: &mut Tx<'_>, id: StreamId, bytes: usize) -> Result<()> {
        let slot = self.slot(tx, id)?;
        let p = slot.positions(tx)?;
        let there = p.unread();
        if bytes as u64 > there {
            return Err(Error::ShortInput {
                token: id.0,
                asked: bytes as u64,
                there,
            });
        }
        if bytes == 0 {
            return Ok(());
        }
        slot.set_consumed(tx, p.consumed + bytes as u64)
    }

    /// How many bytes of output can be produced now: 0 if the stream is finished.
    ///
    /// # Errors
    /// [`Error::NoStream`], [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn room(&self, view: &View, id: StreamId) -> Result<u64> {
        let p = self.slot(view, id)?.positions(view)?;
        let [_, most] = self.most(view)?;
        Ok(room(&p, most))
    }

    /// How many bytes of output were produced and not yet accepted by the socket.
    ///
    /// # Errors
    /// [`Error::NoStream`], [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn unsent(&self, view: &View, id: StreamId) -> Result<u64> {
        Ok(self.slot(view, id)?.positions(view)?.unsent())
    }

    /// Adds output: all of `bytes`, or none and `false` if there is not the [room](Self::room). It is sent after the commit.
    ///
    /// # Errors
    /// [`Error::RegionFull`] or [`Error::OutOfSpace`] if there is room, but no memory for the larger ring that it takes: nothing was added;
    /// [`Error::NoStream`], [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`], those of the [log](crate::Tx#errors).
    pub fn produce(&self, tx: &mut Tx<'_>, id: StreamId, bytes: &[u8]) -> Result<bool> {
        tx.whole(|tx| {
            let slot = self.slot(tx, id)?;
            let mut p = slot.positions(tx)?;
            let length = bytes.len() as u64;
            if length == 0 {
                return Ok(true);
            }
            if p.finished || length > p.output_size - p.unsent() {
                let [_, most] = self.most(tx)?;
                if length > room(&p, most) {
                    return Ok(false);
                }
                let size = rings::size_for(p.unsent() + length, most);
                rings::exchange(tx, slot, &p, Way::Out, size)?;
                p = slot.positions(tx)?;
            }
            let (first, second) = pieces(p.output, p.output_size, p.produced, length);
            let (a, b) = bytes.split_at(first.1 as usize);
            tx.write_fresh(first.0, a, WHAT)?;
            tx.write_fresh(second.0, b, WHAT)?;
            slot.set_produced(tx, p.produced + length)?;
            Ok(true)
        })
    }

    /// Lets the socket take what was produced and committed, without waiting; then, if the stream is [finished](Self::finish), its
    /// end.
    ///
    /// # Errors
    /// [`Error::NoStream`], [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`]. What the socket says comes as [`Sent`].
    pub fn send(&self, io: &mut Io<'_>, id: StreamId, fd: BorrowedFd<'_>) -> Result<Sent> {
        let view: &View = io;
        let slot = self.slot(view, id)?;
        let p = slot.positions(view)?;
        let mut sent = p.sent;
        while sent < p.produced {
            let on = slot.on(view)?;
            match self.drain(view, id, on, &Positions { sent, ..p }, fd)? {
                Ok(n) => {
                    sent += n as u64;
                    slot.set_sent(view, sent)?;
                    if on == On::Unix {
                        Note::of(self, view)?.end(view)?;
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(Sent::Left(p.produced - sent)),
                Err(e) => return Ok(Sent::Broken(e)),
            }
        }
        if p.finished && !p.told {
            // Once more after a kill: the second time does nothing.
            match shutdown(fd, Shutdown::Write) {
                Ok(()) | Err(Errno::NOTCONN) => slot.set_sent(view, p.produced + 1)?,
                Err(e) => return Ok(Sent::Broken(e.into())),
            }
        }
        Ok(Sent::All)
    }

    /// Sends from the ring. The hint is the caller's; so is the end of the note, unless nothing was moved.
    #[inline]
    fn drain(&self, view: &View, id: StreamId, on: On, p: &Positions, fd: BorrowedFd<'_>) -> Result<io::Result<usize>> {
        let (first, second) = pieces(p.output, p.output_size, p.sent, p.unsent());
        let (a, b) = (
            view.bytes(first.0, first.1, WHAT)?,
            view.bytes(second.0, second.1, WHAT)?,
        );
        if on == On::Tcp {
            let slices = [IoSlice::new(a), IoSlice::new(b)];
            loop {
                let mut none = SendAncillaryBuffer::default();
                match sendmsg(fd, &slices, &mut none, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                    Err(Errno::INTR) => {}
                    other => return Ok(other.map_err(io::Error::from)),
                }
            }
        }
        let note = Note::of(self, view)?;
        note.begin(view, id, Way::Out, p.sent)?;
        let result = view.fill(note.header(), (0, 0), |header, _| noted::send(fd, header, a, b))?;
        if result.is_err() {
            note.end(view)?;
        }
        Ok(result)
    }
}

/// Bytes that can be produced.
fn room(p: &Positions, most: u64) -> u64 {
    if p.finished { 0 } else { most.saturating_sub(p.unsent()) }
}

/// What a call that gave no byte says of the connection.
fn nothing(on: On, result: io::Result<usize>, fd: BorrowedFd<'_>) -> Received {
    match result {
        Ok(_) => match on {
            // After a reset was reported once the socket says 0 as at an end, also to a process that was not told.
            On::Tcp => match tcp::positions(fd) {
                Ok(kernel) if kernel.closed && !kernel.fin => Received::Broken(Errno::CONNRESET.into()),
                _ => Received::End,
            },
            On::Unix => Received::End,
        },
        Err(e) if e.kind() == ErrorKind::WouldBlock => Received::Nothing,
        Err(e) => Received::Broken(e),
    }
}

/// The same of a full ring, for which a byte would be too much.
#[cold]
fn look(on: On, fd: BorrowedFd<'_>) -> Received {
    let mut byte = [0; 1];
    let found = loop {
        match recv(fd, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Err(Errno::INTR) => {}
            other => break other,
        }
    };
    match found {
        // It came this moment: the next call takes it.
        Ok((_, 1..)) => Received::Nothing,
        Ok(_) => nothing(on, Ok(0), fd),
        Err(e) => nothing(on, Err(e.into()), fd),
    }
}
