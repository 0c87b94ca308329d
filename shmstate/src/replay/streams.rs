//! Streams after a kill at any store: every store of a call is recorded, and for each prefix of them a region is made as a SIGKILL
//! at that point would have left it, recovered, and resynced with the counts that the kernel has at that moment (S1–S6, G1).
//!
//! A system call moves bytes and counts them; a kill is before or after it. So a prefix that ends before its stores goes with the counts
//! from before the call, one that ends behind them with the counts after it.

mod rings;
mod states;

use super::apply;
use crate::os::tcp;
use crate::region::view::Store;
use crate::{Received, Region, Result, Rings, Sent, StreamId, Streams, Tx, View, verify};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Longest wait for anything.
const DEADLINE: Duration = Duration::from_secs(30);
const RINGS: Rings = Rings {
    input: 4096,
    output: 4096,
};

/// About the least that a region can have.
const CAPACITY: u64 = 2 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Ipv4,
    Ipv6,
    Unix,
}

impl Over {
    const ALL: [Self; 3] = [Self::Ipv4, Self::Ipv6, Self::Unix];
    const TCP: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    /// Two ends: the peer's, which waits no longer than the deadline, and ours.
    fn pair(self) -> (File, File) {
        let limit = Some(DEADLINE);
        if self == Self::Unix {
            let (peer, ours) = UnixStream::pair().expect("pair");
            peer.set_read_timeout(limit).expect("timeout");
            peer.set_write_timeout(limit).expect("timeout");
            return (OwnedFd::from(peer).into(), OwnedFd::from(ours).into());
        }
        let address = if self == Self::Ipv4 { "127.0.0.1:0" } else { "[::1]:0" };
        let listener = TcpListener::bind(address).expect("bind");
        let peer = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
        let (ours, _) = listener.accept().expect("accept");
        peer.set_nodelay(true).expect("no delay");
        peer.set_read_timeout(limit).expect("timeout");
        peer.set_write_timeout(limit).expect("timeout");
        (OwnedFd::from(peer).into(), OwnedFd::from(ours).into())
    }
}

/// Waits until `fd` is ready for one of `events`.
fn wait(fd: &File, events: PollFlags) {
    let limit = Timespec::try_from(DEADLINE).expect("deadline");
    let ready = poll(&mut [PollFd::new(&fd, events)], Some(&limit)).expect("poll");
    assert_eq!(ready, 1, "not ready for {events:?} within {DEADLINE:?}");
}

/// Waits until so many bytes lie in the socket.
fn wait_bytes(fd: &File, bytes: u64) {
    let end = Instant::now() + DEADLINE;
    while rustix::io::ioctl_fionread(fd).expect("fionread") < bytes {
        assert!(Instant::now() < end, "{bytes} bytes did not come");
        std::thread::yield_now();
    }
}

/// Bytes that tell positions apart.
fn pattern(from: u64, bytes: usize) -> Vec<u8> {
    (from..from + bytes as u64)
        .map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
        .collect()
}

/// Everything that counts of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    input: Vec<u8>,
    unsent: Vec<u8>,
    room: u64,
    finished: bool,
    told: bool,
    user: u64,
    rings: [u64; 2],
}

/// What the kernel says of the connection at a moment; nothing of a Unix socket.
type Counts = Option<tcp::Positions>;

/// A region with one stream, and both ends of its connection.
struct Line {
    region: Region,
    streams: Streams,
    id: StreamId,
    over: Over,
    peer: File,
    ours: File,
}

impl Line {
    fn new(over: Over) -> Self {
        Self::with(over, RINGS, CAPACITY)
    }

    fn with(over: Over, rings: Rings, capacity: u64) -> Self {
        let (peer, ours) = over.pair();
        let mut region = Region::in_memory(capacity).expect("region");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let (streams, id) = region
            .write(&pass, |tx| {
                let streams = Streams::create(tx, "line", rings)?;
                Result::Ok((streams, streams.adopt(tx, ours.as_fd(), 7)?))
            })
            .expect("adopt");
        drop(pass);
        Self {
            region,
            streams,
            id,
            over,
            peer,
            ours,
        }
    }

    fn counts(&self) -> Counts {
        (self.over != Over::Unix).then(|| tcp::positions(self.ours.as_fd()).expect("counts"))
    }

    fn receive(&mut self) -> Received {
        let gate = self.region.gate().clone();
        let pass = gate.enter().expect("pass");
        let mut io = self.region.io(&pass).expect("io");
        self.streams
            .receive(&mut io, self.id, self.ours.as_fd())
            .expect("receive")
    }

    fn send(&mut self) -> Sent {
        let gate = self.region.gate().clone();
        let pass = gate.enter().expect("pass");
        let mut io = self.region.io(&pass).expect("io");
        self.streams.send(&mut io, self.id, self.ours.as_fd()).expect("send")
    }

    /// Sends all there is.
    fn send_all(&mut self) {
        loop {
            match self.send() {
                Sent::All => return,
                Sent::Left(_) => wait(&self.ours, PollFlags::OUT),
                Sent::Broken(e) => panic!("{e}"),
            }
        }
    }

    /// The peer writes, and all of it is received.
    fn take_in(&mut self, bytes: &[u8]) {
        self.peer.write_all(bytes).expect("peer writes");
        let mut left = bytes.len();
        while left > 0 {
            match self.receive() {
                Received::Bytes(n) => left -= n,
                Received::Nothing => wait(&self.ours, PollFlags::IN),
                other => panic!("{other:?}, {left} bytes to come"),
            }
        }
    }

    fn write<R>(&mut self, change: impl FnOnce(&mut Tx<'_>, Streams, StreamId) -> Result<R>) -> Result<R> {
        let gate = self.region.gate().clone();
        let pass = gate.enter()?;
        let (streams, id) = (self.streams, self.id);
        self.region.write(&pass, |tx| change(tx, streams, id))
    }

    fn consume(&mut self, bytes: usize) {
        self.write(|tx, streams, id| streams.consume(tx, id, bytes))
            .expect("consume");
    }

    fn produce(&mut self, bytes: &[u8]) -> bool {
        self.write(|tx, streams, id| streams.produce(tx, id, bytes))
            .expect("produce")
    }

    /// Visits the stream until it has been idle long enough.
    fn tidy(&mut self) -> u64 {
        (0..2)
            .map(|_| self.write(|tx, streams, _| streams.tidy(tx, 64)).expect("tidy"))
            .sum()
    }

    fn seen(&self) -> Seen {
        seen(&self.region, self.streams, self.id)
    }

    /// The owner is killed, and this is what it leaves: a successor that goes on with the same socket.
    fn continue_from(&mut self, image: &[u8]) {
        self.region = Region::from_image(image).expect("a region after a kill");
        let gate = self.region.gate().clone();
        let pass = gate.enter().expect("pass");
        self.region.read(&pass).expect("recovered");
        let (streams, id) = (Streams::open(&self.region, "line").expect("open"), self.id);
        let mut io = self.region.io(&pass).expect("io");
        streams.resync(&mut io, id, self.ours.as_fd()).expect("resync");
        self.streams = streams;
    }

    /// The same where nothing was under way, at this moment.
    fn change_hands(&mut self) {
        let before = self.seen();
        let image = self.region.view.image();
        self.continue_from(&image);
        assert_eq!(self.seen(), before);
    }

    /// Runs a call that has one system call in it, and looks at every kill before and after that. Gives what a kill right behind the system call
    /// leaves: the kernel has moved the bytes, the owner noted nothing.
    fn every_kill(&mut self, call: impl FnOnce(&mut Self)) -> Vec<u8> {
        let (seen_before, counts_before) = (self.seen(), self.counts());
        let image = self.region.view.start_recording();
        call(self);
        let stores = self.region.view.stop_recording();
        let (seen_after, counts_after) = (self.seen(), self.counts());
        let (begin, end) = self.system_call(&stores);
        let mut at = image;
        let mut cut = Vec::new();
        for n in 0..=stores.len() {
            if n > 0 {
                apply(&mut at, &stores[n - 1..n]);
            }
            let what = |when| format!("{:?}: {when} the call, after {n} of {} stores", self.over, stores.len());
            // Another ring is no other state before the call.
            if n <= begin {
                let found = self.found(&at, counts_before);
                let moved = Seen {
                    rings: found.rings,
                    ..seen_before.clone()
                };
                assert_eq!(found, moved, "{}", what("before"));
            }
            if n == end {
                cut.clone_from(&at);
            }
            if n >= end {
                // Of a Unix socket it is not known whether it was told of the end; it is told again.
                let told = if self.over == Over::Unix && n == end {
                    seen_before.told
                } else {
                    seen_after.told
                };
                let moved = Seen {
                    told,
                    ..seen_after.clone()
                };
                assert_eq!(self.found(&at, counts_after), moved, "{}", what("after"));
            }
        }
        cut
    }

    /// Between which stores the system call was: its own are those into the ring and the note's header right before the hint.
    fn system_call(&self, stores: &[Store]) -> (usize, usize) {
        let gate = self.region.gate().clone();
        let pass = gate.enter().expect("pass");
        let reader = self.region.read(&pass).expect("read");
        let parts = self.streams.parts(&reader, self.id).expect("parts");
        let hint = |store: &Store| parts.hints.contains(&store.offset);
        let end = stores.iter().position(hint).expect("a hint is set");
        let own = |store: &&Store| {
            [parts.rings[0], parts.note]
                .iter()
                .any(|(at, length)| (*at..at + length).contains(&store.offset))
        };
        let begin = end - stores[..end].iter().rev().take_while(own).count();
        (begin, end)
    }

    /// What a successor sees of an image.
    fn found(&self, image: &[u8], counts: Counts) -> Seen {
        let mut region = Region::from_image(image).expect("a region after a kill");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        region.read(&pass).expect("recovered");
        let streams = Streams::open(&region, "line").expect("open");
        let io = region.io(&pass).expect("io");
        let view: &View = &io;
        match &counts {
            Some(counts) => streams.resync_to(view, self.id, counts),
            None => streams.resync_by_note(view, self.id),
        }
        .expect("resync");
        drop(pass);
        seen(&region, streams, self.id)
    }
}

fn seen(region: &Region, streams: Streams, id: StreamId) -> Seen {
    let gate = region.gate().clone();
    let pass = gate.enter().expect("pass");
    let reader = region.read(&pass).expect("read");
    let found = verify(&reader).expect("verify");
    assert!(found.is_sound(), "{found:?}");
    let parts = streams.parts(&reader, id).expect("parts");
    Seen {
        input: streams.input(&reader, id).expect("input").contiguous().into_owned(),
        unsent: parts.unsent,
        room: streams.room(&reader, id).expect("room"),
        finished: streams.is_finished(&reader, id).expect("finished"),
        told: parts.told,
        user: streams.user(&reader, id).expect("user"),
        rings: parts.rings.map(|(_, size)| size),
    }
}

/// Reads so many bytes at the peer.
fn read_back(peer: &mut File, bytes: usize) -> Vec<u8> {
    let mut back = vec![0; bytes];
    peer.read_exact(&mut back).expect("peer reads");
    back
}
