//! The server: one connection, one region, killed at any instruction.
//!
//! It receives into the ring, consumes a random part of it and produces the answer in one transaction with the state of
//! the keystream, and sends. Its rings grow as they have to; now and then it gives back what is empty. When the client has finished, and
//! has its answer, it finishes too. Sometimes it rolls back on purpose, asks for more room than there is, or does things in
//! another order: the order must not matter. It knows nothing of the client.

use crate::echo::Failure;
use crate::echo::report::{Counts, Line, Started};
use crate::echo::transform::{MAX_BURST, Transform};
use clap::Parser;
use fastrand::Rng;
use rkyv::{Archive, Serialize};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use shmstate::{Cell, Error, Gate, Received, Region, Result, Rings, Schema, Sent, StreamId, Streams, Tx, View, verify};
use std::io::stdin;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// Address space of the region.
const CAPACITY: u64 = 4 << 20;
/// Names of the tables.
const STREAMS: &str = "connection";
const ECHO: &str = "echo";
/// Longest pause inside a transaction.
const LINGER: Duration = Duration::from_micros(60);
/// Longest wait for the client: it is never that slow.
const PATIENCE: Duration = Duration::from_secs(20);

/// Command line.
#[derive(Clone, Debug, Parser)]
pub struct Args {
    /// Name of the region; it is made if there is none.
    #[arg(long)]
    pub region: String,
    /// The process this one is not to outlive.
    #[arg(long)]
    pub parent: i32,
    /// Start of the keystream, for a new region.
    #[arg(long)]
    pub key: u64,
    /// Seed of this process's own choices.
    #[arg(long)]
    pub seed: u64,
    /// Bytes of the input ring at most, for a new region.
    #[arg(long)]
    pub input: u32,
    /// Bytes of the output ring at most, for a new region.
    #[arg(long)]
    pub output: u32,
    /// Go on from the hints in the region instead of from the kernel's counts: wrong, to show that the test sees it.
    #[arg(long)]
    pub trust_hints: bool,
}

/// All that the server keeps.
#[derive(Archive, Serialize, Schema, Clone, Copy, Debug)]
struct Echo {
    key: u64,
    consumed: u64,
    produced: u64,
    full: u64,
    no_room: u64,
    blocked: u64,
    rolled_back: u64,
    given_back: u64,
}

/// Serves until the client has finished and has its whole answer.
///
/// # Errors
/// Those of the region and of the connection; a client that is silent for too long.
pub fn serve(args: &Args) -> std::result::Result<(), Failure> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid() != Pid::from_raw(args.parent) {
        return Err("the parent has ended already".into());
    }
    let socket = stdin();
    let Some(mut server) = Server::start(args, socket.as_fd())? else {
        return Ok(());
    };
    while !server.step()? {}
    server.finish()
}

struct Server<'a> {
    region: Region,
    gate: Gate,
    streams: Streams,
    cell: Cell<Echo>,
    id: StreamId,
    socket: BorrowedFd<'a>,
    random: Rng,
    /// Not yet in the cell.
    counts: Counts,
    /// The last receive found the ring full.
    full: bool,
    /// The client sends no more.
    ended: bool,
}

impl<'a> Server<'a> {
    /// Opens or makes everything and says so. `None` if the stream has ended: there is nothing more to do.
    fn start(args: &Args, socket: BorrowedFd<'a>) -> std::result::Result<Option<Self>, Failure> {
        let (mut region, _) = Region::options().capacity(CAPACITY).open_or_create(&args.region)?;
        let gate = region.gate().clone();
        let pass = gate.enter()?;
        let mut found = Started::default();
        let (streams, cell) = match Streams::open(&region, STREAMS) {
            Ok(streams) => {
                found.continued = true;
                found.undone = region.recovered().entries;
                (streams, Cell::open(&region, ECHO)?)
            }
            // All of it in one transaction: where the tables are, the stream was adopted.
            Err(Error::NoTable { .. }) => region.write(&pass, |tx| {
                let rings = Rings {
                    input: args.input,
                    output: args.output,
                };
                let streams = Streams::create(tx, STREAMS, rings)?;
                streams.adopt(tx, socket, 0)?;
                Result::Ok((streams, Cell::create(tx, ECHO, &Echo::new(args.key))?))
            })?,
            Err(e) => return Err(e.into()),
        };
        let Some(&id) = streams.ids(&*region.read(&pass)?)?.first() else {
            drop(pass);
            close(socket)?;
            let pass = gate.enter()?;
            Line::Finished(Echo::read(cell.get(&*region.read(&pass)?)?).counts()).say()?;
            return Ok(None);
        };
        if !args.trust_hints {
            let before = hints(&*region.read(&pass)?, streams, id)?;
            streams.resync(&mut region.io(&pass)?, id, socket)?;
            let after = hints(&*region.read(&pass)?, streams, id)?;
            found.finished = streams.is_finished(&*region.read(&pass)?, id)?;
            found.input_behind = after.0 - before.0;
            found.output_behind = before.1 - after.1;
        }
        drop(pass);
        Line::Started(found).say()?;
        Ok(Some(Self {
            region,
            gate,
            streams,
            cell,
            id,
            socket,
            random: Rng::with_seed(args.seed),
            counts: Counts::default(),
            full: false,
            ended: false,
        }))
    }

    /// Receives, works and sends; waits if none of it got on. Says whether all is done.
    fn step(&mut self) -> std::result::Result<bool, Failure> {
        let mut moved = false;
        for _ in 0..self.random.u8(1..3) {
            moved |= self.receive()?;
        }
        for _ in 0..self.random.u8(1..4) {
            moved |= self.work()?;
        }
        moved |= self.send()?;
        let pass = self.gate.enter()?;
        let (input, unsent) = hints(&*self.region.read(&pass)?, self.streams, self.id)?;
        drop(pass);
        if self.ended && input == 0 && unsent == 0 {
            return self.end_output();
        }
        if !moved {
            self.wait(unsent > 0)?;
        }
        Ok(false)
    }

    /// Nothing more comes in or goes out: first the stream says so, then the socket. Says that all is done.
    fn end_output(&mut self) -> std::result::Result<bool, Failure> {
        let pass = self.gate.enter()?;
        let (streams, id) = (self.streams, self.id);
        self.region.write(&pass, |tx| streams.finish(tx, id))?;
        linger(&mut self.random);
        match streams.send(&mut self.region.io(&pass)?, id, self.socket)? {
            Sent::All => Ok(true),
            other => Err(format!("the end of the output: {other:?}").into()),
        }
    }

    /// Says whether anything came.
    fn receive(&mut self) -> std::result::Result<bool, Failure> {
        let pass = self.gate.enter()?;
        match self
            .streams
            .receive(&mut self.region.io(&pass)?, self.id, self.socket)?
        {
            Received::Bytes(_) => Ok(true),
            Received::Nothing => Ok(false),
            Received::Full => {
                self.counts.full += 1;
                self.full = true;
                Ok(false)
            }
            Received::End => {
                self.ended = true;
                Ok(false)
            }
            Received::Broken(e) => Err(e.into()),
        }
    }

    /// Says whether anything went.
    fn send(&mut self) -> std::result::Result<bool, Failure> {
        let pass = self.gate.enter()?;
        let (_, before) = hints(&*self.region.read(&pass)?, self.streams, self.id)?;
        match self.streams.send(&mut self.region.io(&pass)?, self.id, self.socket)? {
            Sent::All => Ok(before > 0),
            Sent::Left(after) => {
                self.counts.blocked += 1;
                Ok(after < before)
            }
            Sent::Broken(e) => Err(e.into()),
        }
    }

    /// One transaction: some input, its answer, and the state between them. Says whether there was anything to do.
    fn work(&mut self) -> std::result::Result<bool, Failure> {
        let pass = self.gate.enter()?;
        let mut tx = self.region.begin(&pass)?;
        let (streams, id) = (self.streams, self.id);
        let mut given = give_back(&mut self.random, streams, &mut tx)?;
        let input = streams.input(&tx, id)?.contiguous().into_owned();
        if input.is_empty() {
            return Ok(false);
        }
        let mut echo = Echo::read(self.cell.get(&tx)?);
        let room = usize::try_from(streams.room(&tx, id)?)?;
        if self.random.u8(..16) == 0 && streams.produce(&mut tx, id, &vec![0xee; room + 1])? {
            return Err(format!("{} bytes were produced where there was room for {room}", room + 1).into());
        }
        let wanted = &input[..self.random.usize(1..=input.len())];
        let (used, out) = answer(&mut echo.key, wanted, room);
        if used < wanted.len() {
            self.counts.no_room += 1;
        }
        if used == 0 {
            return Ok(false);
        }
        echo.add(&self.counts);
        echo.consumed += used as u64;
        echo.produced += out.len() as u64;
        // In any order: only the commit counts.
        let mut steps = [Step::Consume, Step::Produce, Step::Keep];
        self.random.shuffle(&mut steps);
        for step in steps {
            linger(&mut self.random);
            match step {
                Step::Consume => {
                    let first = self.random.usize(..=used);
                    streams.consume(&mut tx, id, first)?;
                    streams.consume(&mut tx, id, used - first)?;
                }
                Step::Produce => {
                    let (first, second) = out.split_at(self.random.usize(..=out.len()));
                    if !streams.produce(&mut tx, id, first)? || !streams.produce(&mut tx, id, second)? {
                        return Err(format!("{} bytes were refused where there was room for {room}", out.len()).into());
                    }
                }
                // A new record in the place of the old, or the old one changed in place.
                Step::Keep if self.random.u8(..4) == 0 => self.cell.set(&mut tx, &echo)?,
                Step::Keep => echo.write(self.cell, &mut tx)?,
            }
        }
        given += give_back(&mut self.random, streams, &mut tx)?;
        linger(&mut self.random);
        if self.random.u8(..8) == 0 {
            tx.rollback();
            self.counts.rolled_back += 1;
        } else {
            tx.commit()?;
            self.counts = Counts::default();
            self.counts.given_back += u64::from(given > 0);
        }
        Ok(true)
    }

    /// Waits for the client, and for the socket to take more if there is `more` to send.
    fn wait(&self, more: bool) -> std::result::Result<(), Failure> {
        let mut events = PollFlags::empty();
        events.set(PollFlags::IN, !self.ended && !self.full);
        events.set(PollFlags::OUT, more);
        let limit = Timespec::try_from(PATIENCE)?;
        match poll(&mut [PollFd::new(&self.socket, events)], Some(&limit))? {
            0 => Err(format!("nothing happened for {PATIENCE:?}").into()),
            _ => Ok(()),
        }
    }

    /// Ends the stream. The next start after a kill behind that tells the socket once more.
    fn finish(mut self) -> std::result::Result<(), Failure> {
        let pass = self.gate.enter()?;
        let (streams, id) = (self.streams, self.id);
        self.region.write(&pass, |tx| streams.end(tx, id))?;
        let reader = self.region.read(&pass)?;
        let found = verify(&reader)?;
        if !found.is_sound() {
            return Err(format!("the region is not sound: {found:?}").into());
        }
        Line::Finished(Echo::read(self.cell.get(&reader)?).counts()).say()?;
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Consume,
    Produce,
    Keep,
}

/// Now and then takes its time, so that kills fall between any two steps of a transaction and not only into system calls.
fn linger(random: &mut Rng) {
    if random.u8(..8) == 0 {
        let end = Instant::now() + LINGER.mul_f64(random.f64());
        while Instant::now() < end {
            std::hint::spin_loop();
        }
    }
}

/// Now and then gives back what is empty: two visits, between which nothing moved.
fn give_back(random: &mut Rng, streams: Streams, tx: &mut Tx<'_>) -> Result<u64> {
    if random.u8(..4) != 0 {
        return Ok(0);
    }
    streams.tidy(tx, usize::MAX)?;
    streams.tidy(tx, usize::MAX)
}

/// Input not consumed and output not sent, as the region has them.
fn hints(view: &View, streams: Streams, id: StreamId) -> Result<(u64, u64)> {
    Ok((streams.input(view, id)?.len() as u64, streams.unsent(view, id)?))
}

/// The answer to as much of `input` as there is `room` for, and how much that is.
fn answer(key: &mut u64, input: &[u8], room: usize) -> (usize, Vec<u8>) {
    let mut out = Vec::with_capacity(room + MAX_BURST);
    for (used, byte) in input.iter().enumerate() {
        let (mut next, before) = (Transform { key: *key }, out.len());
        next.push(*byte, &mut out);
        if out.len() > room {
            out.truncate(before);
            return (used, out);
        }
        *key = next.key;
    }
    (input.len(), out)
}

/// Says to the client that nothing more comes. Harmless if it was said already.
fn close(socket: BorrowedFd<'_>) -> std::result::Result<(), Failure> {
    match shutdown(socket, Shutdown::Write) {
        Ok(()) | Err(Errno::NOTCONN) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

impl Echo {
    fn new(key: u64) -> Self {
        Self {
            key,
            consumed: 0,
            produced: 0,
            full: 0,
            no_room: 0,
            blocked: 0,
            rolled_back: 0,
            given_back: 0,
        }
    }

    fn read(archived: &ArchivedEcho) -> Self {
        Self {
            key: archived.key.to_native(),
            consumed: archived.consumed.to_native(),
            produced: archived.produced.to_native(),
            full: archived.full.to_native(),
            no_room: archived.no_room.to_native(),
            blocked: archived.blocked.to_native(),
            rolled_back: archived.rolled_back.to_native(),
            given_back: archived.given_back.to_native(),
        }
    }

    fn write(&self, cell: Cell<Self>, tx: &mut Tx<'_>) -> Result<()> {
        let mut echo = cell.get_mut(tx)?;
        echo.set(|e| &e.key, self.key.into())?;
        echo.set(|e| &e.consumed, self.consumed.into())?;
        echo.set(|e| &e.produced, self.produced.into())?;
        echo.set(|e| &e.full, self.full.into())?;
        echo.set(|e| &e.no_room, self.no_room.into())?;
        echo.set(|e| &e.blocked, self.blocked.into())?;
        echo.set(|e| &e.rolled_back, self.rolled_back.into())?;
        echo.set(|e| &e.given_back, self.given_back.into())
    }

    fn add(&mut self, counts: &Counts) {
        self.full += counts.full;
        self.no_room += counts.no_room;
        self.blocked += counts.blocked;
        self.rolled_back += counts.rolled_back;
        self.given_back += counts.given_back;
    }

    fn counts(&self) -> Counts {
        Counts {
            consumed: self.consumed,
            produced: self.produced,
            full: self.full,
            no_room: self.no_room,
            blocked: self.blocked,
            rolled_back: self.rolled_back,
            given_back: self.given_back,
        }
    }
}
