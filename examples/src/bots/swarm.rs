//! All bots on one thread: one epoll set, one read buffer, one clock reading for each wake-up.
//!
//! The run has three phases with one loop body, `Swarm::turn`: join until every bot has had its first `State`, play until
//! the parent says `finish`, stdin ends or the duration is over, settle until every command is acknowledged or the grace is over.
//!
//! - **W1** A connection is opened once per bot, in `join`; there is no other place that makes one (see `link`).
//! - **W2** Lines on stdin are obeyed before the frames of the same wake-up, so that a gap that ends with an upgrade's begin
//!   belongs to the upgrade.
//! - **W3** A socket is read once per wake-up. Epoll is level-triggered: what a full buffer left is reported again.
//! - **W4** Nothing is allocated per frame or per command once the queues have grown.
//!
//! Not known here: what a frame means.

mod sockets;

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    io::{self, Write},
    mem,
    net::SocketAddr,
    os::fd::OwnedFd,
    time::Duration,
};

use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
    io::Errno,
};

use super::{
    bot::Bot,
    control::{Control, Order},
    error::{Progress, RunError},
    link::Link,
    report::{Event, Report},
    system::{allow_descriptors, cpu_seconds, monotonic},
    tally::Tally,
};

/// Bytes read at once.
const READ_BUFFER: usize = 64 * 1024;
/// Bots begun and not yet playing. Below the queue of any listener, because a connection stands for its client as soon as it is
/// in that queue, and one that finds the queue full waits a second for its next try.
const JOINS_AT_ONCE: usize = 64;
/// Descriptors beside the bots': stdio, epoll, and some to spare.
const OTHER_DESCRIPTORS: u64 = 16;
/// Commands are due on a grid of this, nanoseconds, so that several share a wake-up.
const GRAIN: u64 = 4_000_000;
/// Longest wait without a look at the deadlines, nanoseconds.
const LONGEST_WAIT: u64 = 1_000_000_000;
const STDIN: u64 = u64::MAX;

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The server.
    pub address: SocketAddr,
    /// How many bots.
    pub bots: u32,
    /// Mean time between two commands of a bot; none are sent without it.
    pub command_interval: Option<Duration>,
    /// The same seed makes the same commands.
    pub seed: u64,
    /// Player id of the first bot.
    pub first_id: u64,
    /// How long to wait at the end for acknowledgements.
    pub grace: Duration,
    /// How long all may take to join.
    pub join_timeout: Duration,
    /// Finish so long after all have joined.
    pub duration: Option<Duration>,
}

/// Runs the bots to their end and returns the last report, which was also printed.
///
/// # Errors
/// The run did not come to be; if joining had begun, a report was printed.
pub fn run(options: Options) -> Result<Report, RunError> {
    let mut swarm = Swarm::new(options)?;
    if let Err(error) = swarm.join() {
        swarm.finish()?;
        return Err(error);
    }
    swarm.play()?;
    swarm.settle()?;
    swarm.finish()
}

#[derive(Debug)]
struct Player {
    bot: Bot,
    /// `None` before its only connection and after it.
    link: Option<Link>,
}

struct Swarm {
    options: Options,
    players: Vec<Player>,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    buffer: Vec<u8>,
    control: Control,
    tally: Tally,
    /// When the last wake-up came; the stamp of all that it brought.
    now: u64,
    /// When each bot's next command is due.
    due: BinaryHeap<Reverse<(u64, usize)>>,
    begun: usize,
    connected: usize,
    joined: usize,
    connect_error: Option<io::Error>,
    told_to_finish: bool,
    /// Time and frames when all had joined.
    playing_since: Option<(u64, u64)>,
    /// Time and frames at the last snapshot.
    last_snapshot: (u64, u64),
}

impl Swarm {
    fn new(options: Options) -> Result<Self, RunError> {
        let Options {
            bots, first_id, seed, ..
        } = options;
        if first_id.checked_add(u64::from(bots)).is_none() {
            return Err(RunError::IdsRunOut { first_id, bots });
        }
        allow_descriptors(u64::from(bots) + OTHER_DESCRIPTORS)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(RunError::system("epoll_create"))?;
        let control = Control::new();
        match epoll::add(
            &epoll,
            &control,
            epoll::EventData::new_u64(STDIN),
            epoll::EventFlags::IN,
        ) {
            Ok(()) => {}
            Err(Errno::PERM) if options.duration.is_some() => {}
            Err(Errno::PERM) => return Err(RunError::NoWayToEnd),
            Err(error) => return Err(RunError::system("polling stdin")(error)),
        }
        let mut players = Vec::with_capacity(bots as usize);
        for player_id in first_id..first_id + u64::from(bots) {
            let bot = Bot::new(player_id, seed)
                .map_err(io::Error::other)
                .map_err(RunError::system("making a bot"))?;
            players.push(Player { bot, link: None });
        }
        let now = monotonic();
        Ok(Self {
            due: BinaryHeap::with_capacity(players.len()),
            // Room for everything that can be ready, so that stdin is never left for a later wake-up (W2).
            events: Vec::with_capacity(players.len() + 1),
            players,
            options,
            epoll,
            buffer: vec![0; READ_BUFFER],
            control,
            tally: Tally::default(),
            now,
            begun: 0,
            connected: 0,
            joined: 0,
            connect_error: None,
            told_to_finish: false,
            playing_since: None,
            last_snapshot: (now, 0),
        })
    }

    /// Opens every connection, once, and waits until every bot has had its first `State`.
    fn join(&mut self) -> Result<(), RunError> {
        let deadline = self.now.saturating_add(nanos(self.options.join_timeout));
        loop {
            while self.begun < self.players.len() && self.begun - self.joined < JOINS_AT_ONCE {
                self.open(self.begun)?;
                self.begun += 1;
            }
            if self.joined == self.players.len() {
                return Ok(());
            }
            self.turn(deadline)?;
            let progress = self.progress();
            if let Some(error) = self.connect_error.take() {
                return Err(RunError::Connect { progress, error });
            }
            if self.tally.disconnects + self.tally.protocol_errors > 0 {
                let first_fault = self.tally.first_fault().to_owned();
                return Err(RunError::LostWhileJoining { progress, first_fault });
            }
            if self.joined == self.players.len() {
                return Ok(());
            }
            if self.told_to_finish {
                return Err(RunError::EndedWhileJoining { progress });
            }
            if self.now >= deadline {
                return Err(RunError::JoinTimeout {
                    progress,
                    timeout_ms: self.options.join_timeout.as_millis(),
                });
            }
        }
    }

    /// Sends commands and checks frames until the end is asked for.
    fn play(&mut self) -> Result<(), RunError> {
        self.last_snapshot = (self.now, self.tally.frames);
        self.playing_since = Some(self.last_snapshot);
        self.tally.gaps.start(self.now);
        emit(&Event::Joined {
            bots: self.options.bots,
        })?;
        if let Some(mean) = self.options.command_interval.map(nanos) {
            for (index, player) in self.players.iter_mut().enumerate() {
                self.due
                    .push(Reverse((self.now.saturating_add(player.bot.pause(mean)), index)));
            }
            self.play_until_told(mean)
        } else {
            self.play_until_told(0)
        }
    }

    fn play_until_told(&mut self, mean: u64) -> Result<(), RunError> {
        let end = self
            .options
            .duration
            .map_or(u64::MAX, |duration| self.now.saturating_add(nanos(duration)));
        while !self.told_to_finish && self.now < end {
            let next = self
                .due
                .peek()
                .map_or(u64::MAX, |Reverse((at, _))| at.div_ceil(GRAIN).saturating_mul(GRAIN));
            self.turn(end.min(next))?;
            while let Some(Reverse((at, index))) = self.due.peek().copied()
                && at <= self.now
                && !self.told_to_finish
            {
                self.due.pop();
                self.command(index, mean)?;
            }
        }
        Ok(())
    }

    /// Waits for what is in flight, at most for the grace.
    fn settle(&mut self) -> Result<(), RunError> {
        let deadline = self.now.saturating_add(nanos(self.options.grace));
        let waits = |player: &Player| {
            player.link.is_some() && (player.bot.in_flight() > 0 || !player.bot.outgoing().is_empty())
        };
        while self.now < deadline && self.players.iter().any(waits) {
            self.turn(deadline)?;
        }
        Ok(())
    }

    /// The last checks and the last report.
    fn finish(&mut self) -> Result<Report, RunError> {
        for index in 0..self.players.len() {
            let player = &mut self.players[index];
            player.bot.give_up(&mut self.tally);
            let unlike = match &player.link {
                Some(link) if link.is_connected() => link.still_the_same().err(),
                _ => None,
            };
            if let Some(error) = unlike {
                self.disconnected(index, &error);
            }
        }
        let report = self.report(self.playing_since.unwrap_or((self.now, 0)));
        emit(&Event::Report(Box::new(report.clone())))?;
        Ok(report)
    }

    /// One wake-up, at `deadline` (nanoseconds of the monotonic clock) at the latest.
    fn turn(&mut self, deadline: u64) -> Result<(), RunError> {
        let wait = deadline.saturating_sub(monotonic()).min(LONGEST_WAIT);
        let timeout = Timespec {
            tv_sec: (wait / 1_000_000_000).cast_signed(),
            tv_nsec: (wait % 1_000_000_000).cast_signed(),
        };
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(RunError::system("epoll_wait")(error)),
        }
        self.now = monotonic();
        if self.events.iter().any(|event| event.data.u64() == STDIN) {
            self.stdin()?;
        }
        let events = mem::take(&mut self.events);
        for event in &events {
            if let Ok(index) = usize::try_from(event.data.u64())
                && index < self.players.len()
            {
                self.ready(index, event.flags)?;
            }
        }
        self.events = events;
        Ok(())
    }

    fn stdin(&mut self) -> Result<(), RunError> {
        let mut orders = Vec::new();
        let open = self
            .control
            .read(|order| orders.push(order))
            .map_err(RunError::system("reading stdin"))?;
        for order in orders {
            match order {
                Order::Begin(window) => self.tally.gaps.begin(window),
                Order::End(window) => self.tally.gaps.end(window, self.now),
                Order::Report => {
                    let report = self.report(self.last_snapshot);
                    self.last_snapshot = (self.now, self.tally.frames);
                    emit(&Event::Snapshot(Box::new(report)))?;
                }
                Order::Finish => self.told_to_finish = true,
            }
        }
        if !open {
            self.told_to_finish = true;
            epoll::delete(&self.epoll, &self.control).map_err(RunError::system("leaving stdin"))?;
        }
        Ok(())
    }

    fn progress(&self) -> Progress {
        // Neither is above `bots`, which is a u32.
        let (connected, joined) = (self.connected as u32, self.joined as u32);
        Progress {
            address: self.options.address,
            bots: self.options.bots,
            connected,
            joined,
        }
    }

    /// The counters, with the frame rate since a time and a number of frames.
    fn report(&mut self, since: (u64, u64)) -> Report {
        let alive = |player: &&Player| player.link.is_some() && player.bot.is_playing();
        for player in self.players.iter().filter(alive) {
            if let Some(at) = player.bot.last_frame_at() {
                self.tally.gaps.record_open(at, self.now);
            }
        }
        let seconds = |from: u64| self.now.saturating_sub(from) as f64 / 1e9;
        let frames = self.tally.frames.saturating_sub(since.1) as f64;
        Report {
            bots: self.options.bots,
            alive: self.players.iter().filter(alive).count() as u32,
            seed: self.options.seed,
            seconds: self.playing_since.map_or(0.0, |(at, _)| seconds(at)),
            cpu_seconds: cpu_seconds(),
            frames_per_second: if self.now > since.0 {
                frames / seconds(since.0)
            } else {
                0.0
            },
            commands_in_flight: self.players.iter().map(|player| player.bot.in_flight() as u64).sum(),
            ..self.tally.to_report()
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// One line on stdout, at once.
fn emit(event: &Event) -> Result<(), RunError> {
    let mut line = event.to_line().map_err(RunError::system("writing JSON"))?;
    line.push('\n');
    let mut out = io::stdout().lock();
    out.write_all(line.as_bytes())
        .and_then(|()| out.flush())
        .map_err(RunError::system("writing to stdout"))
}
