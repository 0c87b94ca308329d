//! A region in plain memory with a table of streams, and connections to put into it. Everything that waits has a deadline.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shmstate::{Gate, Received, Region, Result, Rings, Sent, StreamId, Streams, Tx, View, verify};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Longest wait for anything.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
/// The smallest rings there are.
pub(crate) const SMALL: Rings = Rings {
    input: 256,
    output: 256,
};

/// Two ends of a connection over loopback: the one that connected, the one that accepted.
pub(crate) fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let client = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    for end in [&client, &server] {
        end.set_nodelay(true).expect("nodelay");
        end.set_read_timeout(Some(DEADLINE)).expect("timeout");
        end.set_write_timeout(Some(DEADLINE)).expect("timeout");
    }
    (client, server)
}

/// Waits until `fd` is ready for one of `events`.
pub(crate) fn wait(fd: impl AsFd, events: PollFlags) {
    let limit = Timespec::try_from(DEADLINE).expect("deadline");
    let ready = poll(&mut [PollFd::new(&fd, events)], Some(&limit)).expect("poll");
    assert_eq!(ready, 1, "not ready for {events:?} within {DEADLINE:?}");
}

/// Bytes that tell positions apart: a pattern longer than any ring here.
pub(crate) fn pattern(from: u64, bytes: usize) -> Vec<u8> {
    (from..from + bytes as u64)
        .map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
        .collect()
}

/// A region with a table of streams.
pub(crate) struct World {
    pub(crate) region: Region,
    pub(crate) gate: Gate,
    pub(crate) streams: Streams,
}

impl World {
    pub(crate) fn new(rings: Rings) -> Self {
        Self::sized(rings, 16 << 20)
    }

    pub(crate) fn sized(rings: Rings, capacity: u64) -> Self {
        let mut region = Region::in_memory(capacity).expect("region");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let streams = region
            .write(&pass, |tx| Streams::create(tx, "players", rings))
            .expect("table");
        drop(pass);
        Self { region, gate, streams }
    }

    pub(crate) fn write<R>(&mut self, change: impl FnOnce(&mut Tx<'_>, Streams) -> Result<R>) -> Result<R> {
        let pass = self.gate.enter()?;
        let streams = self.streams;
        self.region.write(&pass, |tx| change(tx, streams))
    }

    pub(crate) fn adopt(&mut self, fd: impl AsFd) -> StreamId {
        self.write(|tx, streams| streams.adopt(tx, fd.as_fd(), 0))
            .expect("adopt")
    }

    pub(crate) fn receive(&mut self, id: StreamId, fd: impl AsFd) -> Received {
        let pass = self.gate.enter().expect("pass");
        let mut io = self.region.io(&pass).expect("io");
        self.streams.receive(&mut io, id, fd.as_fd()).expect("receive")
    }

    /// Receives until `bytes` have come.
    pub(crate) fn receive_all(&mut self, id: StreamId, fd: impl AsFd, bytes: usize) {
        let mut got = 0;
        while got < bytes {
            match self.receive(id, &fd) {
                Received::Bytes(n) => got += n,
                Received::Nothing => wait(&fd, PollFlags::IN),
                other => panic!("{other:?} after {got} of {bytes} bytes"),
            }
        }
        assert_eq!(got, bytes);
    }

    /// Receives until the connection ends or breaks, and says how.
    pub(crate) fn receive_last(&mut self, id: StreamId, fd: impl AsFd) -> Received {
        let end = Instant::now() + DEADLINE;
        loop {
            assert!(Instant::now() < end, "no end within {DEADLINE:?}");
            match self.receive(id, &fd) {
                Received::Bytes(_) => {}
                Received::Nothing => wait(&fd, PollFlags::IN),
                last => return last,
            }
        }
    }

    pub(crate) fn send(&mut self, id: StreamId, fd: impl AsFd) -> Sent {
        let pass = self.gate.enter().expect("pass");
        let mut io = self.region.io(&pass).expect("io");
        self.streams.send(&mut io, id, fd.as_fd()).expect("send")
    }

    pub(crate) fn resync(&mut self, id: StreamId, fd: impl AsFd) -> Result<()> {
        let pass = self.gate.enter()?;
        let mut io = self.region.io(&pass)?;
        self.streams.resync(&mut io, id, fd.as_fd())
    }

    /// The input not yet consumed.
    pub(crate) fn input(&self, id: StreamId) -> Vec<u8> {
        let pass = self.gate.enter().expect("pass");
        let reader = self.region.read(&pass).expect("read");
        self.streams.input(&reader, id).expect("input").contiguous().into()
    }

    /// Room for output, output not yet sent.
    pub(crate) fn output(&self, id: StreamId) -> (u64, u64) {
        let pass = self.gate.enter().expect("pass");
        let reader = self.region.read(&pass).expect("read");
        let streams = self.streams;
        (
            streams.room(&reader, id).expect("room"),
            streams.unsent(&reader, id).expect("unsent"),
        )
    }

    pub(crate) fn consume(&mut self, id: StreamId, bytes: usize) {
        self.write(|tx, streams| streams.consume(tx, id, bytes))
            .expect("consume");
    }

    /// Says whether there was room.
    pub(crate) fn produce(&mut self, id: StreamId, bytes: &[u8]) -> bool {
        self.write(|tx, streams| streams.produce(tx, id, bytes))
            .expect("produce")
    }

    /// Open streams, after a check of the whole region.
    pub(crate) fn sound(&self) -> Vec<StreamId> {
        let pass = self.gate.enter().expect("pass");
        let reader = self.region.read(&pass).expect("read");
        let found = verify(&reader).expect("verify");
        assert!(found.is_sound(), "{found:?}");
        let ids = self.streams.ids(&reader).expect("ids");
        assert_eq!(self.streams.len(&reader).expect("len"), ids.len() as u64);
        self.agrees(&reader, &ids);
        ids
    }

    /// What has something to do is what has input, output or an end to be told.
    fn agrees(&self, view: &View, ids: &[StreamId]) {
        let streams = self.streams;
        let mut input = ids.to_vec();
        input.retain(|id| !streams.input(view, *id).expect("input").is_empty());
        assert_eq!(streams.with_input(view).expect("with input"), input);
        let output = streams.with_output(view).expect("with output");
        for id in ids {
            let unsent = streams.unsent(view, *id).expect("unsent") > 0;
            let finished = streams.is_finished(view, *id).expect("finished");
            let listed = output.contains(id);
            assert!(listed || !unsent, "{id:?} has output");
            assert!(!listed || unsent || finished, "{id:?} has nothing to do");
        }
        assert!(output.iter().all(|id| ids.contains(id)));
    }

    /// The streams that have something to be received or sent, after a check of the whole region.
    pub(crate) fn busy(&self) -> (Vec<StreamId>, Vec<StreamId>) {
        self.sound();
        let pass = self.gate.enter().expect("pass");
        let reader = self.region.read(&pass).expect("read");
        let input = self.streams.with_input(&reader).expect("with input");
        (input, self.streams.with_output(&reader).expect("with output"))
    }
}
