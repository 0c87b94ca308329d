//! A small arena in a thread that plays by the rules until it is told not to.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc::{self, Receiver, Sender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use arena::protocol::{Acks, Command, State, Welcome, decode_command, inventory_digest, words_digest};
use rustix::net::sockopt::set_socket_linger;

use crate::{DEADLINE, TICK};

/// What the server does wrong, once, to the first player for whom it is possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    LoseCommand,
    DoubleAck,
    ExecuteTwice,
    SwapAcks,
    SkipTick,
    DoubleTick,
    WrongScore,
    WrongInventory,
    WrongWords,
    Cut,
    Reset,
    GenerationBack,
    BadFrame,
    Coalesce,
}

/// What a test tells the server.
pub(crate) enum Order {
    /// Misbehave now.
    Go,
    /// The next generation and its rules.
    Upgrade(u8),
    /// Send nothing for so long.
    Stall(Duration),
    Stop,
}

/// One player's connection and world.
struct Player {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    playing: bool,
    state: State,
    items: BTreeMap<u16, u32>,
    waiting: VecDeque<(u32, Doing)>,
    /// Ticks already owed to a coalesced frame.
    owed: u64,
}

#[derive(Clone, Copy)]
enum Doing {
    Move(i16, i16),
    Pickup(u16),
    Words(u64),
}

struct Server {
    listener: TcpListener,
    players: Vec<Player>,
    tick: u64,
    generation: u64,
    rules: u8,
    fault: Fault,
    armed: bool,
    done: Sender<()>,
}

impl Server {
    fn run(mut self, orders: &Receiver<Order>) -> io::Result<()> {
        let mut next = Instant::now() + TICK;
        loop {
            while let Ok(order) = orders.try_recv() {
                match order {
                    Order::Go => self.armed = true,
                    Order::Upgrade(rules) => (self.rules, self.generation) = (rules, self.generation + 1),
                    Order::Stall(time) => thread::sleep(time),
                    Order::Stop => return Ok(()),
                }
            }
            self.accept()?;
            self.tick += 1;
            let mut index = 0;
            while index < self.players.len() {
                // A player whose connection is over leaves.
                if self.serve(index).is_err() {
                    self.players.swap_remove(index);
                } else {
                    index += 1;
                }
            }
            thread::sleep(next.saturating_duration_since(Instant::now()));
            next = (next + TICK).max(Instant::now());
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            self.players.push(Player {
                stream,
                input: Vec::new(),
                output: Vec::new(),
                playing: false,
                state: State {
                    x: 3,
                    y: -3,
                    ..State::default()
                },
                items: BTreeMap::new(),
                waiting: VecDeque::new(),
                owed: 0,
            });
        }
    }

    /// One tick of one player: input, world, output.
    fn serve(&mut self, index: usize) -> io::Result<()> {
        let Self {
            players,
            tick,
            generation,
            rules,
            fault,
            armed,
            done,
            ..
        } = self;
        let player = &mut players[index];
        player.read(*tick)?;
        if !player.playing {
            return Ok(());
        }
        let fault = if *armed { *fault } else { Fault::None };
        let mut happened = fault != Fault::None;
        let mut acks = Acks::NONE;
        let mut order: Vec<(u32, Doing)> = Vec::new();
        let two_wait = player.waiting.len() >= 2;
        match fault {
            // Kept until two wait; the others run as they come.
            Fault::SwapAcks | Fault::LoseCommand if !two_wait => happened = false,
            Fault::SwapAcks => {
                order.extend(player.waiting.drain(..));
                order.swap(0, 1);
            }
            Fault::LoseCommand => {
                player.waiting.pop_front();
                order.extend(player.waiting.drain(..));
            }
            Fault::DoubleAck | Fault::ExecuteTwice => {
                order.extend(player.waiting.drain(..));
                let pickup = order
                    .iter()
                    .find(|(_, doing)| matches!(doing, Doing::Pickup(_)))
                    .copied();
                match pickup {
                    Some(again) if fault == Fault::ExecuteTwice => order.push(again),
                    Some((seq, _)) => order.push((seq, Doing::Move(0, 0))),
                    None => happened = false,
                }
            }
            _ => order.extend(player.waiting.drain(..)),
        }
        for (seq, doing) in order {
            assert!(acks.push(seq), "more commands in a tick than a frame acknowledges");
            player.execute(doing, *rules);
        }
        let mut state = State {
            from_tick: *tick - player.owed,
            tick: *tick,
            generation: *generation,
            rules: *rules,
            acks,
            ..player.state
        };
        player.owed = 0;
        state.inventory_kinds = player.items.len() as u16;
        state.inventory_digest = inventory_digest(player.items.iter().map(|(item, count)| (*item, *count)));
        let mut times = 1;
        match fault {
            Fault::WrongScore => player.state.score += 1,
            Fault::WrongInventory => state.inventory_digest ^= 1,
            Fault::WrongWords => state.words_digest ^= 1,
            Fault::GenerationBack => state.generation -= 1,
            // With acknowledgements in it, the frame would be more than a tick skipped or doubled.
            Fault::SkipTick | Fault::DoubleTick | Fault::Coalesce if !acks.as_slice().is_empty() => happened = false,
            Fault::SkipTick => times = 0,
            Fault::DoubleTick => times = 2,
            Fault::Coalesce => (times, player.owed) = (0, 1),
            Fault::BadFrame => player.output.extend_from_slice(&[3, 0, 0x77, 1, 2]),
            _ => {}
        }
        state.score = player.state.score;
        for _ in 0..times {
            state.encode(&mut player.output);
        }
        let written = player.write();
        if happened {
            *armed = false;
            done.send(()).expect("the test waits for this");
            if matches!(fault, Fault::Cut | Fault::Reset) {
                if fault == Fault::Reset {
                    set_socket_linger(&player.stream, Some(Duration::ZERO))?;
                }
                // The caller drops the player, which closes the socket.
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
        written
    }
}

impl Player {
    fn read(&mut self, tick: u64) -> io::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.input.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        while let Some((command, taken)) = decode_command(&self.input).map_err(io::Error::other)? {
            match command {
                Command::Join { player_id, .. } => {
                    self.playing = true;
                    self.state.words_digest = words_digest("");
                    Welcome {
                        player_id,
                        tick: tick - 1,
                    }
                    .encode(&mut self.output);
                }
                Command::Move { seq, dx, dy } => self.waiting.push_back((seq, Doing::Move(dx, dy))),
                Command::Pickup { seq, item } => self.waiting.push_back((seq, Doing::Pickup(item))),
                Command::Chat { seq, text } => self.waiting.push_back((seq, Doing::Words(words_digest(text)))),
            }
            self.input.drain(..taken);
        }
        Ok(())
    }

    fn execute(&mut self, doing: Doing, rules: u8) {
        match doing {
            Doing::Move(dx, dy) => {
                self.state.x = self.state.x.wrapping_add(dx.into());
                self.state.y = self.state.y.wrapping_add(dy.into());
            }
            Doing::Pickup(item) => {
                *self.items.entry(item).or_insert(0) += 1;
                self.state.score += u64::from(rules);
            }
            Doing::Words(digest) => self.state.words_digest = digest,
        }
    }

    fn write(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(count) => drop(self.output.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The server's thread.
pub(crate) struct Host {
    pub(crate) address: SocketAddr,
    orders: Sender<Order>,
    done: Receiver<()>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Host {
    pub(crate) fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a fresh socket");
        let address = listener.local_addr().expect("bound");
        let (orders, received) = mpsc::channel();
        let (done, has_done) = mpsc::channel();
        let server = Server {
            listener,
            players: Vec::new(),
            tick: 1000,
            generation: 5,
            rules: 1,
            fault,
            armed: false,
            done,
        };
        let thread = thread::spawn(move || server.run(&received));
        Self {
            address,
            orders,
            done: has_done,
            thread: Some(thread),
        }
    }

    pub(crate) fn tell(&self, order: Order) {
        self.orders.send(order).expect("the server runs");
    }

    /// Has the server misbehave and waits until it has.
    pub(crate) fn misbehave(&self) {
        self.tell(Order::Go);
        self.done
            .recv_timeout(DEADLINE)
            .expect("the server could not do what it was told");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It may have ended by an error, which the next line tells.
        let _ = self.orders.send(Order::Stop);
        if let Some(thread) = self.thread.take()
            && let Ok(Err(error)) = thread.join()
        {
            eprintln!("the server ended: {error}");
        }
    }
}
