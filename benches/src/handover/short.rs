//! Short connections: connect, ask once, be answered, close; over and over, until told to end.
//!
//! Each is counted: refused (nobody listened), reset (it ended before the answer), late (no answer within [`PATIENCE_NS`]). Addresses
//! of clients go round, so that their ports do not run out while ended connections wait for their time.

use crate::Result;
use crate::handover::speech::{Heard, Speech};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, ipproto, socket_with, sockopt};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

/// Connections at a time: fewer than a listener's queue holds.
const SLOTS: usize = 32;
/// Addresses that connections come from.
const SOURCES: u64 = 16;
/// How long an answer may take, ns.
pub const PATIENCE_NS: u64 = 5_000_000_000;
/// Longest wait of the thread, ns.
const ROUND_NS: i64 = 5_000_000;

/// What came of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// Answered.
    pub answered: u64,
    /// Nobody listened.
    pub refused: u64,
    /// Ended before the answer, or with another one.
    pub reset: u64,
    /// Not answered in time.
    pub late: u64,
}

impl Tally {
    /// How many were begun and are over.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.answered + self.refused + self.reset + self.late
    }
}

/// The thread that makes them.
pub struct Short {
    over: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<Tally>>>,
}

impl Short {
    /// Begins.
    ///
    /// # Errors
    /// There is no thread or epoll set to be had.
    pub fn start(address: SocketAddr) -> Result<Self> {
        let over = Arc::<AtomicBool>::default();
        let done = Arc::<AtomicU64>::default();
        let mut storm = Storm {
            address,
            over: Arc::clone(&over),
            done: Arc::clone(&done),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            slots: (0..SLOTS).map(|_| None).collect(),
            begun: 0,
            tally: Tally::default(),
        };
        let thread = std::thread::Builder::new()
            .name("short".into())
            .spawn(move || storm.run())?;
        Ok(Self {
            over,
            done,
            thread: Some(thread),
        })
    }

    /// How many are over.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Begins no more, waits for those under way, and tells.
    ///
    /// # Errors
    /// The thread failed.
    pub fn finish(mut self) -> Result<Tally> {
        self.over.store(true, Ordering::Release);
        match self.thread.take() {
            Some(thread) => thread.join().map_err(|_| "the thread of short connections panicked")?,
            None => Err("it has ended".into()),
        }
    }
}

impl Drop for Short {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct One {
    stream: TcpStream,
    asked: bool,
    heard: Vec<u8>,
    begun: u64,
}

struct Storm {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    epoll: OwnedFd,
    slots: Vec<Option<One>>,
    begun: u64,
    tally: Tally,
}

impl Storm {
    fn run(&mut self) -> Result<Tally> {
        let mut events = Vec::with_capacity(SLOTS);
        loop {
            let over = self.over.load(Ordering::Acquire);
            if over && self.slots.iter().all(Option::is_none) {
                return Ok(self.tally);
            }
            let now = shmstate::monotonic_ns();
            for slot in 0..self.slots.len() {
                match &self.slots[slot] {
                    None if !over => self.begin(slot, now)?,
                    Some(one) if now > one.begun + PATIENCE_NS => {
                        self.tally.late += 1;
                        self.slots[slot] = None;
                    }
                    _ => {}
                }
            }
            self.done.store(self.tally.all(), Ordering::Relaxed);
            events.clear();
            let wait = Timespec {
                tv_sec: 0,
                tv_nsec: ROUND_NS,
            };
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&wait)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            for event in &events {
                self.step(event.data.u64() as usize);
            }
        }
    }

    fn begin(&mut self, slot: usize, now: u64) -> Result<()> {
        let socket = socket_with(
            AddressFamily::INET,
            SocketType::STREAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            Some(ipproto::TCP),
        )?;
        let source = Ipv4Addr::new(127, 77, 7, (self.begun % SOURCES + 1) as u8);
        self.begun += 1;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        bind(&socket, &SocketAddrV4::new(source, 0))?;
        match connect(&socket, &self.address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(_) => {
                self.tally.refused += 1;
                return Ok(());
            }
        }
        let data = epoll::EventData::new_u64(slot as u64);
        epoll::add(&self.epoll, &socket, data, epoll::EventFlags::OUT)?;
        self.slots[slot] = Some(One {
            stream: TcpStream::from(socket),
            asked: false,
            heard: Vec::new(),
            begun: now,
        });
        Ok(())
    }

    fn step(&mut self, slot: usize) {
        let Some(one) = &mut self.slots[slot] else {
            return;
        };
        if !one.asked {
            let mut request = Vec::new();
            Speech::Frames.ask(1, &mut request);
            match one.stream.write(&request) {
                Ok(n) if n == request.len() => one.asked = true,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == ErrorKind::ConnectionRefused => {
                    return self.end(slot, |tally| &mut tally.refused);
                }
                _ => return self.end(slot, |tally| &mut tally.reset),
            }
            let data = epoll::EventData::new_u64(slot as u64);
            if epoll::modify(&self.epoll, &one.stream, data, epoll::EventFlags::IN).is_err() {
                self.end(slot, |tally| &mut tally.reset);
            }
            return;
        }
        let mut bytes = [0; 64];
        match one.stream.read(&mut bytes) {
            Ok(n) if n > 0 => one.heard.extend_from_slice(&bytes[..n]),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return,
            _ => return self.end(slot, |tally| &mut tally.reset),
        }
        match Speech::Frames.hear(&one.heard) {
            Heard::Part => {}
            Heard::Reply(reply, length) if reply.number == 1 && reply.answered == 1 && length == one.heard.len() => {
                self.end(slot, |tally| &mut tally.answered);
            }
            _ => self.end(slot, |tally| &mut tally.reset),
        }
    }

    fn end(&mut self, slot: usize, which: impl FnOnce(&mut Tally) -> &mut u64) {
        *which(&mut self.tally) += 1;
        // Closing it takes it out of the set.
        self.slots[slot] = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handover::child::until;
    use crate::handover::frames::{REQUEST, Reply};
    use std::net::TcpListener;
    use std::time::Duration;

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn answered_reset_and_refused_are_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address");
        let server = std::thread::spawn(move || {
            for index in 0..20 {
                let (mut stream, _) = listener.accept().expect("accept");
                let mut request = [0; REQUEST];
                stream.read_exact(&mut request).expect("a request");
                // The last is cut, and then nobody listens.
                if index < 19 {
                    let reply = Reply {
                        who: 1,
                        number: 1,
                        answered: 1,
                    };
                    stream.write_all(&reply.bytes()).expect("answer");
                }
            }
        });
        let short = Short::start(address).expect("start");
        server.join().expect("server");
        until("refusals", SOON, || (short.done() > 100).then_some(())).expect("refused");
        let tally = short.finish().expect("tally");
        assert_eq!(tally.answered, 19, "{tally:?}");
        assert!(tally.reset >= 1 && tally.refused > 0 && tally.late == 0, "{tally:?}");
    }
}
