//! The load: clients that check every answer. Some stay for ever, some come, ask a little and go.
//!
//! - **C1** A client numbers its requests, and the server counts them in its records. An answer that is missing is *lost*, one that comes again is
//!   *doubled*. What was under way when a connection was cut on purpose is settled by the next `welcome`, which says how much was counted.
//! - **C2** Nobody connects again, but after a cut that is meant: every other end of a connection is a *disconnect*.
//! - **C3** Which cuts are meant says the round, see [`Permit`]; they are counted apart.
//!
//! It does not know what is done to the servers.

use super::server::{LIMIT, until};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Clients that stay.
pub(super) const STAYING: usize = 24;
/// Clients that come and go.
const BRIEF: usize = 6;
/// Requests of one that comes and goes: this many, and up to as many more.
const ERRAND: u64 = 3;
/// Requests that a client has under way at most.
const WINDOW: u64 = 3;
/// Between two requests of a client, and before it connects again.
const PACE: Duration = Duration::from_millis(8);
/// How long the thread waits for anything to read before it looks who is due.
const ROUND: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 3_000_000,
};

/// Whose connections may be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permit {
    /// Nobody's.
    Nobody,
    /// Those that the server has not said a word to yet: it took them out of the kernel's queue a moment ago, and was killed.
    Unwelcomed,
    /// Those made since the permit was given: accepted after the offer, they are their server's alone until the cutover.
    Young,
    /// All: whoever holds them is killed or stopped for good.
    All,
}

/// What all clients together have seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) answered: u64,
    pub(super) connections: u64,
    pub(super) disconnects: u64,
    pub(super) lost: u64,
    pub(super) doubled: u64,
    /// Answers of an older generation after one of a newer.
    pub(super) late: u64,
    pub(super) cut_on_purpose: u64,
    pub(super) cut_young: u64,
    /// The first thing that was wrong.
    pub(super) first: Option<String>,
}

#[derive(Debug)]
struct Client {
    id: u64,
    brief: bool,
    stream: Option<Arc<TcpStream>>,
    since: Instant,
    welcome: bool,
    sent: u64,
    answered: u64,
    total: u64,
    generation: u64,
    /// Request after which it goes.
    until: u64,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    due: Instant,
}

struct State {
    clients: Vec<Client>,
    counts: Counts,
    permit: Permit,
    since: Instant,
    /// Nobody comes and goes.
    hush: bool,
}

struct Shared {
    address: SocketAddr,
    state: Mutex<State>,
    over: AtomicBool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All clients, driven by one thread.
pub(super) struct Bots {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Bots {
    /// Connects them to a server that listens.
    pub(super) fn new(address: SocketAddr) -> Self {
        let now = Instant::now();
        let client = |n: usize| Client {
            id: n as u64 + 1,
            brief: n >= STAYING,
            stream: None,
            since: now,
            welcome: false,
            sent: 0,
            answered: 0,
            total: 0,
            generation: 0,
            until: 0,
            inbox: Vec::new(),
            outbox: Vec::new(),
            due: now,
        };
        let shared = Arc::new(Shared {
            address,
            state: Mutex::new(State {
                clients: (0..STAYING + BRIEF).map(client).collect(),
                counts: Counts::default(),
                // Nobody serves yet.
                permit: Permit::All,
                since: now,
                hush: false,
            }),
            over: AtomicBool::new(false),
        });
        let for_thread = Arc::clone(&shared);
        Self {
            shared,
            thread: Some(std::thread::spawn(move || drive(&for_thread))),
        }
    }

    /// What they have seen.
    pub(super) fn counts(&self) -> Counts {
        self.shared.lock().counts.clone()
    }

    /// From now on these connections may be cut.
    pub(super) fn permit(&self, permit: Permit) {
        let mut state = self.shared.lock();
        state.permit = permit;
        state.since = Instant::now();
    }

    /// The node begins anew, and nothing that was counted is known to it. All connections are gone.
    pub(super) fn reset(&self) {
        for client in &mut self.shared.lock().clients {
            client.stream = None;
            (client.sent, client.answered, client.total, client.generation) = (0, 0, 0, 0);
        }
    }

    /// Whether some come and go. When none do, waits until all of them are gone.
    pub(super) fn hush(&self, hush: bool) -> Result<(), String> {
        self.shared.lock().hush = hush;
        if !hush {
            return Ok(());
        }
        until(LIMIT, "the end of all brief connections", || {
            let state = self.shared.lock();
            let left = state.clients.iter().any(|c| c.brief && c.stream.is_some());
            (!left).then_some(())
        })
    }

    /// Waits until everybody who stays has an answer, of this generation or a later one, to something that was asked after this call.
    pub(super) fn progress(&self, generation: u64) -> Result<(), String> {
        let sent: Vec<u64> = self.shared.lock().clients.iter().map(|c| c.sent).collect();
        let what = format!("progress of all clients in generation {generation}");
        until(LIMIT, &what, || {
            let state = self.shared.lock();
            let staying = state.clients.iter().zip(&sent).filter(|(client, _)| !client.brief);
            let mut all = staying.map(|(c, sent)| c.answered > *sent && c.generation >= generation);
            // Whatever is wrong is in the counts.
            (all.all(|went_on| went_on) || state.counts.first.is_some()).then_some(())
        })
    }
}

/// Closes the books: what becomes of connections from now on is the doing of who ends this run. For a round that went wrong, before its servers
/// are killed.
pub(super) fn close_books() {
    CLOSED.store(true, Ordering::Release);
}

static CLOSED: AtomicBool = AtomicBool::new(false);

impl Drop for Bots {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // A panic in it has been printed.
            let _ = thread.join();
        }
    }
}

fn drive(shared: &Shared) {
    while !shared.over.load(Ordering::Acquire) {
        let streams: Vec<Arc<TcpStream>> = {
            let state = shared.lock();
            state.clients.iter().filter_map(|c| c.stream.clone()).collect()
        };
        let mut fds: Vec<PollFd<'_>> = streams.iter().map(|s| PollFd::new(&**s, PollFlags::IN)).collect();
        // An interrupted wait is a short one.
        let _ = poll(&mut fds, Some(&ROUND));
        let mut state = shared.lock();
        if CLOSED.load(Ordering::Acquire) {
            return;
        }
        let State {
            clients,
            counts,
            permit,
            since,
            hush,
        } = &mut *state;
        for client in clients {
            if client.stream.is_none() {
                client.connect(shared.address, *permit, *hush, counts);
            } else if let Err(end) = client.step(*hush, counts) {
                client.ended(end, (*permit, *since), counts);
            }
        }
    }
}

/// Why a connection is over.
enum End {
    /// The errand is done.
    Done,
    /// It was cut.
    Cut(String),
}

impl Counts {
    fn wrong(&mut self, what: impl FnOnce() -> String) {
        if self.first.is_none() {
            self.first = Some(what());
        }
    }
}

impl Client {
    fn connect(&mut self, address: SocketAddr, permit: Permit, hush: bool, counts: &mut Counts) {
        let now = Instant::now();
        if now < self.due || (hush && self.brief) {
            return;
        }
        let made = TcpStream::connect(address).and_then(|stream| {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            Ok(stream)
        });
        match made {
            Ok(stream) => {
                counts.connections += 1;
                self.stream = Some(Arc::new(stream));
                self.since = now;
                self.welcome = false;
                self.inbox.clear();
                self.outbox = format!("hello {}\n", self.id).into_bytes();
                self.until = match self.brief {
                    true => self.answered + ERRAND + self.answered % ERRAND,
                    false => u64::MAX,
                };
            }
            // Where everybody may be cut, nobody need listen.
            Err(_) if permit == Permit::All => self.due = now + PACE,
            Err(e) => {
                counts.disconnects += 1;
                counts.wrong(|| format!("client {} cannot connect: {e}", self.id));
                self.due = now + PACE;
            }
        }
    }

    fn ended(&mut self, end: End, (permit, since): (Permit, Instant), counts: &mut Counts) {
        self.stream = None;
        self.due = Instant::now() + PACE;
        let End::Cut(why) = end else { return };
        match permit {
            Permit::All => counts.cut_on_purpose += 1,
            Permit::Young if self.since > since => counts.cut_young += 1,
            Permit::Young | Permit::Unwelcomed if !self.welcome => counts.cut_young += 1,
            _ => {
                counts.disconnects += 1;
                counts.wrong(|| format!("client {} was cut ({why}): {self:?}", self.id));
            }
        }
    }

    fn step(&mut self, hush: bool, counts: &mut Counts) -> Result<(), End> {
        let read = self.read();
        while let Some(end) = self.inbox.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.inbox.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            self.line(line.trim_end(), counts);
        }
        read?;
        let now = Instant::now();
        if self.brief && self.welcome && self.answered == self.sent && (hush || self.answered >= self.until) {
            return Err(End::Done);
        }
        let room = self.sent - self.answered < WINDOW && self.sent < self.until && !(hush && self.brief);
        if self.welcome && room && now >= self.due {
            self.sent += 1;
            self.due = now + PACE;
            self.outbox.extend(format!("{}\n", self.sent).bytes());
        }
        self.write()
    }

    fn read(&mut self) -> Result<(), End> {
        let Some(stream) = &self.stream else { return Ok(()) };
        let mut bytes = [0; 1024];
        loop {
            match (&**stream).read(&mut bytes) {
                Ok(0) => return Err(End::Cut("closed".into())),
                Ok(n) => self.inbox.extend(&bytes[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(End::Cut(e.to_string())),
            }
        }
    }

    fn write(&mut self) -> Result<(), End> {
        let Some(stream) = &self.stream else { return Ok(()) };
        while !self.outbox.is_empty() {
            match (&**stream).write(&self.outbox) {
                Ok(n) => {
                    self.outbox.drain(..n);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(End::Cut(e.to_string())),
            }
        }
        Ok(())
    }

    fn line(&mut self, line: &str, counts: &mut Counts) {
        if let Some(before) = line.strip_prefix("welcome ").and_then(|n| n.parse::<u64>().ok()) {
            // C1.
            counts.lost += self.answered.saturating_sub(before);
            counts.doubled += before.saturating_sub(self.sent);
            if self.welcome || !(self.answered..=self.sent).contains(&before) {
                counts.wrong(|| format!("welcome {before} does not fit: {self:?}"));
            }
            self.until = self.until.saturating_add(before - self.answered.min(before));
            (self.welcome, self.answered, self.sent) = (true, before, before);
            return;
        }
        let numbers: Vec<u64> = line.split(' ').map_while(|word| word.parse().ok()).collect();
        let &[number, visitor, total, generation] = numbers.as_slice() else {
            counts.lost += 1;
            return counts.wrong(|| format!("{line:?} is no answer: {self:?}"));
        };
        let next = self.answered + 1;
        counts.lost += number.saturating_sub(next);
        counts.doubled += u64::from(number < next || number > self.sent);
        counts.late += u64::from(generation < self.generation);
        if number != next || visitor != next || number > self.sent || generation < self.generation {
            counts.wrong(|| format!("{line:?} does not fit: {self:?}"));
        } else if total <= self.total {
            counts.doubled += 1;
            counts.wrong(|| format!("{line:?} counts what was counted before: {self:?}"));
        }
        counts.answered += 1;
        self.answered = self.answered.max(number);
        self.total = total;
        self.generation = self.generation.max(generation);
    }
}
