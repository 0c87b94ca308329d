//! Clients with persistent connections, and no code to connect again: each checks every byte it is sent.
//!
//! A client has up to `WINDOW` requests under way. Its answers must be to its requests in order, each once; the numbers of
//! the server must grow; the generation must not shrink. Whatever does not fit, an end of the connection first of all, is a
//! failure that the next call reports.

use crate::node::wait::until;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Requests that a client has under way at most.
const WINDOW: u64 = 3;
/// Between two requests of a client.
const PACE: Duration = Duration::from_millis(8);
/// How long the thread waits for anything to read before it looks who is due.
const ROUND: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 3_000_000,
};
static NEXT_CLIENT: AtomicU64 = AtomicU64::new(1);

/// What a client has seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Its id.
    pub id: u64,
    /// Requests sent.
    pub sent: u64,
    /// Requests answered.
    pub answered: u64,
    /// How many of all were answered, by the last answer.
    pub total: u64,
    /// Generation of the first and of the last answer.
    pub generations: Option<(u64, u64)>,
    /// What went wrong.
    pub failure: Option<String>,
}

struct Client {
    stream: Arc<TcpStream>,
    seen: Seen,
    /// Known once the server has said welcome.
    welcome: Option<u64>,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    due: Instant,
}

#[derive(Default)]
struct Shared {
    clients: Mutex<Vec<Client>>,
    quiet: AtomicBool,
    over: AtomicBool,
}

impl Shared {
    fn clients(&self) -> MutexGuard<'_, Vec<Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Clients of one node, driven by one thread.
pub struct Swarm {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Swarm {
    /// Connects `count` clients.
    #[must_use]
    pub fn new(address: SocketAddr, count: usize) -> Self {
        let shared = Arc::<Shared>::default();
        let for_thread = Arc::clone(&shared);
        let swarm = Self {
            address,
            shared,
            thread: Some(std::thread::spawn(move || drive(&for_thread))),
        };
        let all = swarm.add(count);
        swarm.wait_answered(all);
        swarm
    }

    /// Connects `count` more, without waiting for any server to accept them.
    ///
    /// # Panics
    /// Nobody listens.
    pub fn add(&self, count: usize) -> Range<usize> {
        let mut new: Vec<Client> = (0..count).map(|_| self.connect()).collect();
        let mut clients = self.shared.clients();
        let from = clients.len();
        clients.append(&mut new);
        from..clients.len()
    }

    fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).unwrap_or_else(|e| panic!("connect to {}: {e}", self.address));
        stream.set_nonblocking(true).expect("non-blocking");
        stream.set_nodelay(true).expect("no delay");
        let id = NEXT_CLIENT.fetch_add(1, Ordering::Relaxed);
        Client {
            stream: Arc::new(stream),
            seen: Seen { id, ..Seen::default() },
            welcome: None,
            inbox: Vec::new(),
            outbox: format!("hello {id}\n").into_bytes(),
            due: Instant::now(),
        }
    }

    /// What the clients have seen.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.clients().iter().map(|client| client.seen.clone()).collect()
    }

    /// Checks that nothing went wrong.
    ///
    /// # Panics
    /// Something did.
    pub fn check(&self) {
        let seen = self.seen();
        let bad: Vec<&Seen> = seen.iter().filter(|s| s.failure.is_some()).collect();
        assert!(
            bad.is_empty(),
            "{} of {} clients failed: {:?}",
            bad.len(),
            seen.len(),
            bad[0]
        );
    }

    fn wait(&self, what: &str, range: Range<usize>, fits: impl Fn(usize, &Seen) -> bool) {
        until(what, || {
            self.check();
            let clients = self.shared.clients();
            let all = range.clone().all(|i| fits(i, &clients[i].seen));
            all.then_some(())
        });
    }

    /// Waits until each of these clients has an answer.
    pub fn wait_answered(&self, range: Range<usize>) {
        self.wait("a first answer to each client", range, |_, seen| seen.answered > 0);
    }

    /// Waits until everybody has an answer to something that was asked after this call.
    pub fn wait_progress(&self) {
        let sent: Vec<u64> = self.seen().iter().map(|s| s.sent).collect();
        self.wait("progress of each client", 0..sent.len(), |i, seen| {
            seen.answered > sent[i]
        });
    }

    /// Waits until everybody has an answer of this generation or a later one.
    pub fn wait_generation(&self, generation: u64) {
        let count = self.seen().len();
        self.wait(
            &format!("answers of generation {generation} to each client"),
            0..count,
            |_, seen| seen.generations.is_some_and(|(_, last)| last >= generation),
        );
    }

    /// Asks nothing more, and waits until everything is answered.
    pub fn hush(&self) {
        self.shared.quiet.store(true, Ordering::Release);
        let count = self.seen().len();
        self.wait("answers to all requests", 0..count, |_, seen| {
            seen.answered == seen.sent
        });
    }

    /// Goes on asking.
    pub fn resume(&self) {
        self.shared.quiet.store(false, Ordering::Release);
    }

    /// Waits until every connection is lost, as it must be when its server was killed alone.
    ///
    /// # Panics
    /// Something else went wrong with one.
    pub fn lost(self) -> Vec<Seen> {
        let seen = until("the loss of all connections", || {
            let seen = self.seen();
            seen.iter().all(|s| s.failure.is_some()).then_some(seen)
        });
        for client in &seen {
            let failure = client.failure.as_deref().unwrap_or_default();
            assert!(failure.starts_with(LOST), "{client:?}");
        }
        seen
    }

    /// Everything is answered, nothing went wrong, every connection is the one it was. Gives what was seen.
    #[must_use]
    pub fn finish(self) -> Vec<Seen> {
        self.hush();
        self.check();
        self.seen()
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // A panic in it has been printed; here it would hide the test's own.
            let _ = thread.join();
        }
    }
}

const LOST: &str = "the connection ended";

fn drive(shared: &Shared) {
    while !shared.over.load(Ordering::Acquire) {
        let streams: Vec<Arc<TcpStream>> = {
            let clients = shared.clients();
            let living = clients.iter().filter(|c| c.seen.failure.is_none());
            living.map(|c| Arc::clone(&c.stream)).collect()
        };
        let mut fds: Vec<PollFd<'_>> = streams.iter().map(|s| PollFd::new(&**s, PollFlags::IN)).collect();
        // An interrupted wait is a short one.
        let _ = poll(&mut fds, Some(&ROUND));
        let asking = !shared.quiet.load(Ordering::Acquire);
        let now = Instant::now();
        for client in shared.clients().iter_mut() {
            if client.seen.failure.is_none() {
                client.seen.failure = client.step(now, asking).err();
            }
        }
    }
}

impl Client {
    fn step(&mut self, now: Instant, asking: bool) -> Result<(), String> {
        self.read()?;
        while let Some(end) = self.inbox.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.inbox.drain(..=end).collect();
            let line = String::from_utf8(line).map_err(|e| format!("not text: {e}"))?;
            self.line(line.trim_end())?;
        }
        let room = self.seen.sent - self.seen.answered < WINDOW;
        if self.welcome.is_some() && room && asking && now >= self.due {
            self.seen.sent += 1;
            self.due = now + PACE;
            self.outbox.extend(format!("{}\n", self.seen.sent).bytes());
        }
        self.write()
    }

    fn read(&mut self) -> Result<(), String> {
        let mut bytes = [0; 1024];
        loop {
            match (&*self.stream).read(&mut bytes) {
                Ok(0) => return Err(format!("{LOST}: closed")),
                Ok(n) => self.inbox.extend(&bytes[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(format!("{LOST}: {e}")),
            }
        }
    }

    fn write(&mut self) -> Result<(), String> {
        while !self.outbox.is_empty() {
            match (&*self.stream).write(&self.outbox) {
                Ok(n) => {
                    self.outbox.drain(..n);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(format!("{LOST}: {e}")),
            }
        }
        Ok(())
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let wrong = || format!("{line:?} does not fit after {:?}", self.seen);
        if let Some(before) = line.strip_prefix("welcome ") {
            if self.welcome.is_some() {
                return Err(wrong());
            }
            self.welcome = Some(before.parse().map_err(|_| wrong())?);
            return Ok(());
        }
        let numbers: Vec<u64> = line.split(' ').map_while(|word| word.parse().ok()).collect();
        let &[number, visitor, total, generation] = numbers.as_slice() else {
            return Err(wrong());
        };
        let next = self.seen.answered + 1;
        let (first, last) = self.seen.generations.unwrap_or((generation, 0));
        if number != next || visitor != next || number > self.seen.sent || total <= self.seen.total || generation < last
        {
            return Err(wrong());
        }
        self.seen.answered = number;
        self.seen.total = total;
        self.seen.generations = Some((first, generation));
        Ok(())
    }
}
