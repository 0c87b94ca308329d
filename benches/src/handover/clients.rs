//! Clients with persistent connections, driven by one thread: each asks so many times a second, and checks every answer.
//!
//! Requests are sent when they are due, whether or not the last was answered, so that an outage is seen in full. What does not fit
//! is counted, never mended: a number that was skipped, one that came twice, a count of the server's state that is not the number
//! of answers, bytes that are no answer, an end of the connection.

use crate::Result;
use crate::handover::child::{LOOK, until};
use crate::handover::quantiles::Quantiles;
use crate::handover::speech::{Heard, Speech};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Connections made at once: fewer than a listener's queue holds.
const CONNECT_BATCH: usize = 64;
/// Requests of a connection that may be under way: what is due beyond is not asked.
const WINDOW: u64 = 16;
/// Longest wait of the thread: bounds how late it looks whether it is over.
const ROUND_NS: u64 = 5_000_000;
/// A thread that is so late does not catch up.
const MOST_BEHIND_NS: u64 = 100_000_000;
/// A client whose connection was cut waits so long before it connects again.
const AGAIN_NS: u64 = 20_000_000;
/// How long one attempt to connect again may take; the thread does nothing else meanwhile.
const CONNECT: Duration = Duration::from_millis(50);
/// Times between answers that are kept.
const SPACINGS: usize = 1 << 19;
/// Events taken from the epoll set at once.
const EVENTS: usize = 256;

/// What clients do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Where the server listens.
    pub address: SocketAddr,
    /// How many connections.
    pub connections: usize,
    /// Requests a second of each.
    pub a_second: f64,
    /// How they speak.
    pub speech: Speech,
    /// Connect again when cut, as the clients of a server that cuts them have to.
    pub again: bool,
}

/// Answers of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who {
    /// Which.
    pub who: u32,
    /// When its first answer was read, ns.
    pub first: u64,
    /// When its last was.
    pub last: u64,
}

/// What all clients have seen so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// Requests answered.
    pub answered: u64,
    /// Connections that ended while the client did not want it.
    pub cut: u64,
    /// Requests under way on connections that were cut, or never answered: see [`Clients::finish`].
    pub lost: u64,
    /// Answers that came twice, or counts of the server that ran ahead.
    pub doubled: u64,
    /// Answers that were skipped, or counts of the server that fell behind.
    pub skipped: u64,
    /// Connections on which bytes were no answer.
    pub torn: u64,
    /// Attempts to connect again that failed.
    pub refused: u64,
    /// Who answered, in the order of their first answers.
    pub who: Vec<Who>,
    /// When the last answer of all was read, ns.
    pub last: u64,
    /// µs between two answers of one process, whoever got them; told by [`Clients::finish`].
    pub spacing: Option<Quantiles>,
}

impl Seen {
    /// Whether any byte was lost, doubled or torn, or a connection cut.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let Self {
            cut,
            lost,
            doubled,
            skipped,
            torn,
            ..
        } = *self;
        [cut, lost, doubled, skipped, torn] == [0; 5]
    }
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Seen>,
    /// Each request for the longest gap; the thread answers with it, ns.
    windows: Mutex<Vec<std::sync::mpsc::Sender<u64>>>,
    paused: AtomicBool,
    quiet: AtomicBool,
    over: AtomicBool,
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn windows(&self) -> MutexGuard<'_, Vec<std::sync::mpsc::Sender<u64>>> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The clients of one server.
pub struct Clients {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Clients {
    /// Connects all, each of which is answered once, and lets them ask.
    ///
    /// # Errors
    /// A connection fails, or is not answered within `limit`.
    pub fn start(plan: Plan, limit: Duration) -> Result<Self> {
        let shared = Arc::<Shared>::default();
        let mut driver = Driver::new(plan, Arc::clone(&shared))?;
        driver.connect_all(limit)?;
        let thread = std::thread::Builder::new()
            .name("clients".into())
            .spawn(move || driver.run())?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// What was seen so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.shared.seen().clone()
    }

    /// Asks nothing for a while, or goes on.
    pub fn pause(&self, paused: bool) {
        self.shared.paused.store(paused, Ordering::Release);
    }

    /// Ends a window and begins the next: the longest time, ms, in which a client heard nothing, of those that ended within the
    /// window, or go on with a request under way.
    ///
    /// # Errors
    /// The clients have ended.
    pub fn window(&self) -> Result<f64> {
        let (sender, longest) = std::sync::mpsc::channel();
        self.shared.windows().push(sender);
        let longest = longest
            .recv_timeout(crate::handover::child::LIMIT)
            .map_err(|e| format!("the clients tell no gap: {e}"))?;
        Ok(longest as f64 / 1e6)
    }

    /// Waits for the first answer of `who`; gives when it was read.
    ///
    /// # Errors
    /// It did not come within `limit`.
    pub fn first_of(&self, who: u32, limit: Duration) -> Result<u64> {
        until(&format!("an answer of {who}"), limit, || {
            Some(self.shared.seen().who.iter().find(|w| w.who == who)?.first)
        })
    }

    /// Waits for an answer of somebody else than those in `before`; gives who it is and when it was read.
    ///
    /// # Errors
    /// It did not come within `limit`.
    pub fn first_other(&self, before: &[u32], limit: Duration) -> Result<(u32, u64)> {
        until("an answer of another process", limit, || {
            let seen = self.shared.seen();
            let other = seen.who.iter().find(|w| !before.contains(&w.who))?;
            Some((other.who, other.first))
        })
    }

    /// Asks nothing more, waits at most `limit` for what is under way, and gives all that was seen: what was not answered is lost.
    ///
    /// # Errors
    /// The clients' thread failed.
    pub fn finish(mut self, limit: Duration) -> Result<Seen> {
        self.shared.quiet.store(true, Ordering::Release);
        // The thread ends by itself when everything is answered.
        let answered = until("answers", limit, || {
            self.thread.as_ref().is_none_or(JoinHandle::is_finished).then_some(())
        });
        drop(answered);
        self.shared.over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| "the clients' thread panicked")??;
        }
        Ok(self.seen())
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Client {
    stream: Option<TcpStream>,
    sent: u64,
    answered: u64,
    /// When it heard something last, ns.
    last: u64,
    /// When it may connect again, ns.
    again: u64,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
}

struct Driver {
    plan: Plan,
    shared: Arc<Shared>,
    epoll: OwnedFd,
    clients: Vec<Client>,
    longest: u64,
    /// ns between answers, up to [`SPACINGS`].
    spacings: Vec<f64>,
    buffer: Vec<u8>,
}

impl Driver {
    fn new(plan: Plan, shared: Arc<Shared>) -> Result<Self> {
        Ok(Self {
            plan,
            shared,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            clients: Vec::with_capacity(plan.connections),
            longest: 0,
            spacings: Vec::new(),
            buffer: vec![0; 16 * 1024],
        })
    }

    fn connect_all(&mut self, limit: Duration) -> Result<()> {
        let end = shmstate::monotonic_ns() + limit.as_nanos() as u64;
        while self.clients.len() < self.plan.connections {
            let batch = CONNECT_BATCH.min(self.plan.connections - self.clients.len());
            for _ in 0..batch {
                let index = self.clients.len();
                self.clients.push(Client {
                    stream: None,
                    sent: 0,
                    answered: 0,
                    last: shmstate::monotonic_ns(),
                    again: 0,
                    inbox: Vec::new(),
                    outbox: Vec::new(),
                });
                let stream = TcpStream::connect(self.plan.address)
                    .map_err(|e| format!("connect to {}: {e}", self.plan.address))?;
                self.adopt(index, stream)?;
                self.ask(index);
            }
            while self.clients.iter().rev().take(batch).any(|client| client.answered == 0) {
                self.read_ready(LOOK.as_nanos() as u64)?;
                let seen = self.shared.seen().clone();
                if seen.cut > 0 || seen.torn > 0 {
                    return Err(format!("a connection to {} ended at once: {seen:?}", self.plan.address).into());
                }
                if shmstate::monotonic_ns() > end {
                    let (connected, all) = (self.clients.len(), self.plan.connections);
                    return Err(
                        format!("{connected} of {all} connections were not all answered within {limit:?}").into(),
                    );
                }
            }
        }
        // What happened before everybody was there is no gap.
        let now = shmstate::monotonic_ns();
        self.longest = 0;
        self.clients.iter_mut().for_each(|client| client.last = now);
        Ok(())
    }

    fn adopt(&mut self, index: usize, stream: TcpStream) -> Result<()> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let interest = epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
        epoll::add(&self.epoll, &stream, epoll::EventData::new_u64(index as u64), interest)?;
        let client = &mut self.clients[index];
        client.stream = Some(stream);
        (client.sent, client.answered) = (0, 0);
        client.inbox.clear();
        client.outbox.clear();
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        let all = self.plan.connections as f64 * self.plan.a_second;
        let between = (1e9 / all.max(1e-3)) as u64;
        let mut due = shmstate::monotonic_ns();
        let mut next = 0;
        while !self.shared.over.load(Ordering::Acquire) {
            let quiet = self.shared.quiet.load(Ordering::Acquire);
            let asking = !quiet && !self.shared.paused.load(Ordering::Acquire);
            if quiet && self.clients.iter().all(|c| c.stream.is_none() || c.sent == c.answered) {
                break;
            }
            let mut now = shmstate::monotonic_ns();
            if now > due + MOST_BEHIND_NS {
                due = now;
            }
            while due <= now {
                if asking {
                    self.turn(next, now)?;
                }
                next = (next + 1) % self.plan.connections;
                due += between;
            }
            self.answer_windows();
            now = shmstate::monotonic_ns();
            self.read_ready(due.saturating_sub(now).min(ROUND_NS))?;
        }
        let under_way: u64 = self.clients.iter().map(|c| c.sent - c.answered).sum();
        let mut seen = self.shared.seen();
        seen.lost += under_way;
        seen.spacing = Quantiles::of(&self.spacings);
        Ok(())
    }

    /// It is this client's turn to ask.
    fn turn(&mut self, index: usize, now: u64) -> Result<()> {
        if self.clients[index].stream.is_none() {
            if !self.plan.again || now < self.clients[index].again {
                return Ok(());
            }
            match TcpStream::connect_timeout(&self.plan.address, CONNECT) {
                Ok(stream) => self.adopt(index, stream)?,
                Err(_) => {
                    self.clients[index].again = now + AGAIN_NS;
                    self.shared.seen().refused += 1;
                    return Ok(());
                }
            }
        }
        if self.clients[index].sent - self.clients[index].answered < WINDOW {
            self.ask(index);
        }
        Ok(())
    }

    fn ask(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.sent += 1;
        let number = client.sent;
        self.plan.speech.ask(number, &mut client.outbox);
        let Some(mut stream) = client.stream.as_ref() else {
            return;
        };
        match stream.write(&client.outbox) {
            Ok(n) => drop(client.outbox.drain(..n)),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.cut(index),
        }
    }

    fn cut(&mut self, index: usize) {
        let now = shmstate::monotonic_ns();
        let client = &mut self.clients[index];
        if client.stream.take().is_none() {
            return;
        }
        client.again = now;
        let mut seen = self.shared.seen();
        seen.cut += 1;
        seen.lost += client.sent - client.answered;
        (client.sent, client.answered) = (0, 0);
    }

    fn read_ready(&mut self, wait_ns: u64) -> Result<()> {
        let wait = Timespec {
            tv_sec: 0,
            tv_nsec: wait_ns as i64,
        };
        let mut events = Vec::with_capacity(EVENTS);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        for event in &events {
            self.read(event.data.u64() as usize);
        }
        Ok(())
    }

    fn read(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let Some(mut stream) = client.stream.as_ref() else {
            return;
        };
        let n = match stream.read(&mut self.buffer) {
            Ok(0) => return self.cut(index),
            Ok(n) => n,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return,
            Err(_) => return self.cut(index),
        };
        let now = shmstate::monotonic_ns();
        client.inbox.extend_from_slice(&self.buffer[..n]);
        let mut used = 0;
        let mut torn = false;
        let mut seen = self.shared.seen();
        loop {
            match self.plan.speech.hear(&client.inbox[used..]) {
                Heard::Part => break,
                Heard::Torn => {
                    torn = true;
                    break;
                }
                Heard::Reply(reply, length) => {
                    used += length;
                    self.longest = self.longest.max(now - client.last);
                    client.last = now;
                    let expected = client.answered + 1;
                    seen.skipped += reply.number.saturating_sub(expected) + reply.number.saturating_sub(reply.answered);
                    seen.doubled += u64::from(reply.number < expected) + reply.answered.saturating_sub(reply.number);
                    client.answered = client.answered.max(reply.number).min(client.sent);
                    if let Some(spacing) = seen.note(reply.who, now)
                        && self.spacings.len() < SPACINGS
                    {
                        self.spacings.push(spacing as f64 / 1e3);
                    }
                }
            }
        }
        client.inbox.drain(..used);
        seen.torn += u64::from(torn);
        drop(seen);
        if torn {
            self.cut(index);
        }
    }

    fn answer_windows(&mut self) {
        let waiting = std::mem::take(&mut *self.shared.windows());
        if waiting.is_empty() {
            return;
        }
        let now = shmstate::monotonic_ns();
        let unheard = self
            .clients
            .iter()
            .filter(|c| c.stream.is_none() || c.sent > c.answered);
        let going_on = unheard.map(|client| now - client.last).max().unwrap_or(0);
        let longest = self.longest.max(going_on);
        self.longest = 0;
        for sender in waiting {
            // Who asked may have given up.
            let _ = sender.send(longest);
        }
    }
}

impl Seen {
    /// Notes an answer; gives the time since the last one of the same process, ns.
    fn note(&mut self, who: u32, now: u64) -> Option<u64> {
        self.answered += 1;
        self.last = now;
        // Whoever answers now came last, mostly.
        match self.who.iter_mut().rev().find(|w| w.who == who) {
            Some(known) => {
                let spacing = now - known.last;
                known.last = now;
                Some(spacing)
            }
            None => {
                self.who.push(Who {
                    who,
                    first: now,
                    last: now,
                });
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handover::frames::{REQUEST, Reply, asked};
    use std::net::TcpListener;

    const SOON: Duration = Duration::from_secs(20);

    /// A server that answers each request on one connection with what `reply` makes of its number.
    fn server(reply: impl Fn(u64) -> Vec<u8> + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address");
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("accept");
            let mut request = [0; REQUEST];
            while stream.read_exact(&mut request).is_ok() {
                let number = asked(&request).expect("a request");
                if stream.write_all(&reply(number)).is_err() {
                    return;
                }
            }
        });
        address
    }

    fn honest(number: u64) -> Vec<u8> {
        let reply = Reply {
            who: 1,
            number,
            answered: number,
        };
        reply.bytes().into()
    }

    fn watch(reply: impl Fn(u64) -> Vec<u8> + Send + 'static, until_seen: impl Fn(&Seen) -> bool) -> Seen {
        let plan = Plan {
            address: server(reply),
            connections: 1,
            a_second: 500.0,
            speech: Speech::Frames,
            again: false,
        };
        let clients = Clients::start(plan, SOON).expect("clients");
        until("what was to be seen", SOON, || {
            until_seen(&clients.seen()).then_some(())
        })
        .expect("seen");
        clients.finish(Duration::from_millis(50)).expect("finish")
    }

    #[test]
    fn an_honest_server_is_whole() {
        let seen = watch(honest, |seen| seen.answered > 20);
        assert!(seen.is_whole(), "{seen:?}");
        assert_eq!(seen.who.len(), 1);
    }

    #[test]
    fn what_is_lost_doubled_torn_or_cut_is_counted() {
        let skips = |number| if number == 5 { Vec::new() } else { honest(number) };
        assert!(watch(skips, |seen| seen.answered > 6).skipped > 0);
        let doubles = |number| [honest(number), honest(number)].concat();
        assert!(watch(doubles, |seen| seen.answered > 4).doubled > 0);
        let tears = |number| honest(number)[usize::from(number == 3)..].to_vec();
        let seen = watch(tears, |seen| seen.torn > 0);
        assert_eq!((seen.torn, seen.cut), (1, 1), "{seen:?}");
        let miscounts = |number| {
            let reply = Reply {
                who: 1,
                number,
                answered: number + u64::from(number > 3),
            };
            reply.bytes().to_vec()
        };
        assert!(watch(miscounts, |seen| seen.answered > 6).doubled > 0);
        // What was asked, so that there is something to be lost when the clients end.
        static ASKED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let silent = |number| {
            ASKED.fetch_max(number, std::sync::atomic::Ordering::Relaxed);
            if number > 3 { Vec::new() } else { honest(number) }
        };
        let asked = || ASKED.load(std::sync::atomic::Ordering::Relaxed);
        let seen = watch(silent, |seen| seen.answered == 3 && asked() > 4);
        assert!(seen.lost > 0 || seen.skipped > 0, "{seen:?}");
    }

    #[test]
    fn a_gap_is_as_long_as_the_silence() {
        const SILENCE: Duration = Duration::from_millis(60);
        let pauses = |number| {
            if number == 10 {
                std::thread::sleep(SILENCE);
            }
            honest(number)
        };
        let plan = Plan {
            address: server(pauses),
            connections: 1,
            a_second: 500.0,
            speech: Speech::Frames,
            again: false,
        };
        let clients = Clients::start(plan, SOON).expect("clients");
        until("answers after the silence", SOON, || {
            (clients.seen().answered > 12).then_some(())
        })
        .expect("seen");
        let gap = clients.window().expect("a gap");
        assert!(gap >= SILENCE.as_millis() as f64, "{gap}");
    }
}
