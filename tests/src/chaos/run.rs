//! The loop: plays the rounds, brings each to its end, judges.
//!
//! - **L1** After a round one process serves and nobody else is there. Whoever is stopped goes on, a probation is confirmed, whoever waits ends.
//! - **L2** Then everything is counted: what the clients saw, what the witness noted, what the servers hold.
//! - **L3** The first round with a violation is the last.

use super::bots::{Bots, Permit, STAYING};
use super::plan::{Kind, Round};
use super::rounds;
use super::server::{GIVE_BACKS, LIMIT, Server, TAKEOVERS, until};
use super::tally::Tally;
use super::{Args, place::Place};
use crate::node::standstill;
use crate::node::wait::Patience;
use crate::node::witness::{Line, lines};
use crate::node::{Order, Report};
use handover::control::{ParticipantState, Phase, Request};
use shmstate::lease::Lease;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long the node may be without an owner's pass, beyond what a round takes on purpose. A take-back takes a few milliseconds; the rest is for a
/// machine with other work.
const OWNERLESS: Duration = Duration::from_millis(1500);
/// How long what a server holds may differ from what it is to hold: mirrors and threads end a moment later.
const SETTLES: Duration = Duration::from_secs(4);
/// By how much servers that came into being in different ways may differ in what they hold, at most.
const KIN: usize = 8;

/// What a server holds when nothing goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Holds {
    descriptors: usize,
    threads: usize,
}

impl Holds {
    fn fits(self, most: Self) -> bool {
        self.descriptors <= most.descriptors && self.threads <= most.threads
    }
}

/// A run.
pub(super) struct Run {
    pub(super) place: Place,
    pub(super) bots: Bots,
    /// Who serves between two rounds.
    pub(super) owner: Option<Server>,
    /// Who may still live after what a round did.
    pub(super) servers: Vec<Server>,
    /// Who must serve after the round; nobody if the node was stopped.
    heir: Heir,
    tally: Tally,
    kind: Kind,
    verbose: bool,
    allowed: Duration,
    /// What servers hold, by how they came into being: the least that was seen.
    known: BTreeMap<String, Holds>,
    first: Option<Holds>,
    objects: Vec<String>,
    files: Vec<String>,
    id: u128,
    read: usize,
}

#[derive(Clone, Copy, Debug)]
enum Heir {
    Process(u32),
    Any,
    Nobody,
}

/// Plays a whole run.
pub(super) fn run(args: &Args, seed: u64) -> Result<Tally, String> {
    // Whoever is orphaned comes to this process (V2).
    nix::sys::prctl::set_child_subreaper(true).map_err(|e| format!("become a subreaper: {e}"))?;
    standstill::watch();
    let begun = Instant::now();
    let place = Place::new(args.sabotage)?;
    let bots = Bots::new(place.address());
    let mut run = Run {
        bots,
        place,
        owner: None,
        servers: Vec::new(),
        heir: Heir::Any,
        tally: Tally {
            seed,
            ..Tally::default()
        },
        kind: Kind::Upgrade,
        verbose: args.verbose,
        allowed: Duration::ZERO,
        known: BTreeMap::new(),
        first: None,
        objects: Vec::new(),
        files: Vec::new(),
        id: 0,
        read: 0,
    };
    run.born()?;
    for number in args.first..=args.rounds {
        let round = Round::of(seed, number);
        let done = run.round(&round);
        run.tally.rounds += 1;
        run.count();
        if let Err(what) = &done {
            run.tally.failures += 1;
            if run.is_ownerless() {
                run.tally.no_owner_beyond_deadline += 1;
            }
            eprintln!("chaos: {what}");
        }
        if done.is_err() || run.tally.is_violated() {
            if let Some(what) = run.bots.counts().first {
                eprintln!("chaos: {what}");
            }
            eprintln!("chaos: {round:?}");
            let sabotage = args.sabotage.map(|s| format!(" (sabotage {s:?})")).unwrap_or_default();
            eprintln!(
                "chaos: the same again{sabotage}: cargo run --release --bin chaos -- --seed {seed} --rounds {number} \
                 [--first {number} for this round alone]"
            );
            break;
        }
        if args.seconds.is_some_and(|limit| begun.elapsed() > limit) {
            run.tally.interrupted = number < args.rounds;
            break;
        }
    }
    if !run.tally.is_violated() {
        run.end()?;
    }
    run.count();
    run.tally.seconds = (begun.elapsed().as_secs_f64() * 10.0).round() / 10.0;
    Ok(run.tally)
}

impl Run {
    /// Starts a server called `name` with more arguments.
    pub(super) fn start(&mut self, name: &str, more: &[&str]) -> Result<Server, String> {
        Server::start(&mut self.place, name, more)
    }

    /// The fault of this round has really hit.
    pub(super) fn hit(&mut self) {
        *self.tally.faults.entry(self.kind).or_default() += 1;
    }

    /// On which side of a cutover it fell.
    pub(super) fn fell(&mut self, side: &'static str) {
        *self.tally.fell.entry(side).or_default() += 1;
    }

    /// The node may be without an owner for so much longer.
    pub(super) fn allow(&mut self, more: Duration) {
        self.allowed += more;
    }

    /// These connections may be cut from now to the end of the round.
    pub(super) fn permit(&self, permit: Permit) {
        self.bots.permit(permit);
    }

    /// Everybody who held the connections is dead.
    pub(super) fn cut(&mut self) {
        self.tally.cutting_rounds += 1;
    }

    /// The round is played: this one must serve, the others end.
    pub(super) fn leave<const N: usize>(&mut self, heir: Server, others: [Server; N]) -> Result<(), String> {
        self.heir = Heir::Process(heir.held.pid);
        self.servers.push(heir);
        self.servers.extend(others);
        Ok(())
    }

    /// The round is played: one of these must serve.
    pub(super) fn leave_either<const N: usize>(&mut self, all: [Server; N]) -> Result<(), String> {
        self.heir = Heir::Any;
        self.servers.extend(all);
        Ok(())
    }

    /// The round is played: the node is stopped, and nobody serves.
    pub(super) fn gone<const N: usize>(&mut self, all: [Server; N]) -> Result<(), String> {
        self.cut();
        self.heir = Heir::Nobody;
        self.servers.extend(all);
        Ok(())
    }

    /// The generation of the lease.
    pub(super) fn generation(&self) -> Result<u64, String> {
        Ok(self.place.status()?.lease.generation())
    }

    /// Waits until the handover in progress is in this phase.
    pub(super) fn wait_phase(&self, phase: Phase) -> Result<(), String> {
        until(LIMIT, &format!("phase {phase:?}"), || {
            self.place.status().is_ok_and(|s| s.phase == phase).then_some(())
        })
    }

    /// Waits until `a` owns the node, and says whether it does so again.
    pub(super) fn owns_again(&self, a: &mut Server) -> Result<bool, String> {
        until(LIMIT, &format!("{} as the owner", a.name), || {
            let status = self.place.status().ok()?;
            let owner = status.owner.as_ref()?;
            let owned = matches!(status.lease, Lease::Owned { .. }) && owner.process.pid == a.held.pid;
            (owned && owner.state == ParticipantState::Serving && status.phase == Phase::None).then_some(())
        })?;
        a.listen();
        Ok(a.seen.iter().any(|report| matches!(report, Report::Back { .. })))
    }

    fn is_ownerless(&self) -> bool {
        self.place.status().is_ok_and(|status| {
            let lives = status.owner.is_some_and(|owner| owner.is_alive().unwrap_or(true));
            !lives && !matches!(self.heir, Heir::Nobody)
        })
    }

    /// Starts the node's first server.
    fn born(&mut self) -> Result<(), String> {
        self.read = 0;
        let mut first = self.start("A", &[])?;
        first.serving()?;
        let status = self.place.status()?;
        self.id = status.id;
        self.objects = self.place.objects(self.id)?;
        self.files = self.place.files()?;
        self.heir = Heir::Process(first.held.pid);
        self.servers.push(first);
        self.settle()?;
        self.permit(Permit::Nobody);
        Ok(())
    }

    fn round(&mut self, round: &Round) -> Result<(), String> {
        (self.kind, self.allowed) = (round.kind, Duration::ZERO);
        let start = |what| format!("round {} ({:?}): {what}", round.number, round.kind);
        if self.verbose {
            eprintln!("chaos: {round:?}");
        }
        // Each round has clients that come and go; what they are counted by is quiet.
        self.bots.hush(false).map_err(start)?;
        rounds::play(self, round).map_err(start)?;
        if let Heir::Nobody = self.heir {
            self.buried().map_err(start)?;
            self.bots.reset();
            self.place.reborn();
            self.born().map_err(start)?;
        } else {
            self.settle().map_err(start)?;
        }
        self.permit(Permit::Nobody);
        self.witnessed().map_err(start)
    }

    /// Brings a round to its end (L1), and counts what is left (L2).
    fn settle(&mut self) -> Result<(), String> {
        for server in &self.servers {
            server.held.thaw();
        }
        // A process may be parked more than once: what is confirmed is a generation.
        let mut confirmed = (0, 0);
        let mut patience = Patience::new(LIMIT);
        let status = loop {
            let living: Vec<u32> = self
                .servers
                .iter()
                .filter(|s| !s.held.is_dead())
                .map(|s| s.held.pid)
                .collect();
            // A node in the middle of something cannot always be read.
            let status = self.place.status();
            if let Ok(status) = &status {
                let parked = |pid: &u32| {
                    let mut rows = status.participants.iter();
                    rows.any(|row| row.process.pid == *pid && row.state == ParticipantState::Parked)
                };
                let parked = living.iter().copied().find(parked);
                let parked = parked.map(|pid| (pid, status.lease.generation()));
                if let Some(parked) = parked.filter(|parked| *parked != confirmed) {
                    confirmed = parked;
                    self.place.request(Request::Confirm)?;
                }
                let owner = status
                    .owner
                    .as_ref()
                    .filter(|_| matches!(status.lease, Lease::Owned { .. }));
                let settled = owner.is_some_and(|owner| {
                    let alone = living == [owner.process.pid];
                    alone && owner.state == ParticipantState::Serving && status.phase == Phase::None
                });
                if settled {
                    break status.clone();
                }
            }
            if patience.is_over() {
                let servers: Vec<_> = self.servers.iter().map(|s| (&s.name, s.held.pid, &s.seen)).collect();
                let status = status.map(|s| (s.phase, s.lease, s.participants));
                return Err(format!(
                    "not one server within {LIMIT:?}: {living:?} live; {status:?}; {servers:#?}"
                ));
            }
            std::thread::sleep(super::server::LOOK);
        };
        let pid = status.owner.as_ref().map_or(0, |owner| owner.process.pid);
        for server in &mut self.servers {
            server.listen();
        }
        if let Heir::Process(heir) = self.heir
            && heir != pid
        {
            let servers: Vec<_> = self.servers.iter().map(|s| (&s.name, s.held.pid, &s.seen)).collect();
            return Err(format!("process {pid} serves, and not {heir}: {servers:#?}"));
        }
        let place = self.servers.iter().position(|s| s.held.pid == pid);
        let owner = self.servers.swap_remove(place.ok_or("a stranger serves")?);
        self.servers.clear();
        self.bots.progress(status.lease.generation())?;
        self.bots.hush(true)?;
        self.count_leaks(&owner)?;
        self.owner = Some(owner);
        Ok(())
    }

    /// The node was stopped: nothing may be left.
    fn buried(&mut self) -> Result<(), String> {
        for server in &mut self.servers {
            server.ended()?;
        }
        self.servers.clear();
        self.witnessed()?;
        let mut left = self.place.objects(self.id)?;
        left.extend(self.place.files()?);
        if !left.is_empty() {
            self.leak(left.len() as u64, &format!("{left:?} of a node that was stopped"));
        }
        Ok(())
    }

    fn leak(&mut self, count: u64, what: &str) {
        self.tally.leaks += count;
        eprintln!("chaos: left: {what}");
    }

    fn count_leaks(&mut self, owner: &Server) -> Result<(), String> {
        for (now, known) in [
            (self.place.objects(self.id)?, &self.objects),
            (self.place.files()?, &self.files),
        ] {
            if now != *known {
                self.tally.leaks += 1;
                eprintln!("chaos: left: {now:?}, not {known:?}");
            }
        }
        let processes = self.place.processes(self.place.node());
        if processes != [owner.held.pid] {
            self.leak(1, &format!("processes {processes:?}, not {}", owner.held.pid));
        }
        let look = || Holds {
            descriptors: owner.held.count("fd").saturating_sub(STAYING),
            threads: owner.held.count("task"),
        };
        let kind = origin(owner);
        let mut now = look();
        let first = *self.first.get_or_insert(now);
        let relative = Holds {
            descriptors: first.descriptors + KIN,
            threads: first.threads + KIN,
        };
        let most = self.known.get(&kind).copied().unwrap_or(relative);
        let mut patience = Patience::new(SETTLES);
        while !now.fits(most) && !patience.is_over() {
            std::thread::sleep(super::server::LOOK);
            now = look();
        }
        if !now.fits(most) {
            let what = format!(
                "{} ({kind}) holds {now:?}, not {most:?}: {:?}",
                owner.name,
                descriptors(owner)
            );
            self.leak(1, &what);
        }
        let known = self.known.entry(kind).or_insert(now);
        known.descriptors = known.descriptors.min(now.descriptors);
        known.threads = known.threads.min(now.threads);
        Ok(())
    }

    /// Reads what the witness noted in this round.
    fn witnessed(&mut self) -> Result<(), String> {
        let path = lines(&self.place.witness());
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let found: Vec<&str> = text.lines().skip(self.read).collect();
        self.read += found.len();
        let limit = OWNERLESS + self.allowed;
        for line in found {
            match serde_json::from_str(line).map_err(|e| format!("{line:?}: {e}"))? {
                Line::TwoOwners { .. } => {
                    self.tally.two_owners += 1;
                    eprintln!("chaos: two owners: {line}");
                }
                Line::Gap { end, length, .. } => {
                    let stood = standstill::between(end.saturating_sub(length), end);
                    let length = Duration::from_nanos(length).saturating_sub(stood);
                    let ms = length.as_secs_f64() * 1e3;
                    let longest = &mut self.tally.longest_without_owner_at_all_ms;
                    *longest = longest.max(ms);
                    if self.allowed.is_zero() {
                        let longest = &mut self.tally.longest_without_owner_ms;
                        *longest = longest.max(ms);
                    }
                    if length > limit {
                        self.tally.no_owner_beyond_deadline += 1;
                        eprintln!("chaos: nobody was in a pass for longer than {limit:?}: {line}");
                    }
                }
            }
        }
        Ok(())
    }

    fn count(&mut self) {
        let counts = self.bots.counts();
        let tally = &mut self.tally;
        (tally.disconnects, tally.lost, tally.doubled) = (counts.disconnects, counts.lost, counts.doubled);
        (tally.cut_on_purpose, tally.cut_young) = (counts.cut_on_purpose, counts.cut_young);
        (tally.answered, tally.connections) = (counts.answered, counts.connections);
        tally.takeovers = TAKEOVERS.load(Ordering::Relaxed);
        tally.give_backs = GIVE_BACKS.load(Ordering::Relaxed);
        if counts.late > 0 && tally.two_owners == 0 {
            tally.two_owners = counts.late;
        }
        if counts.first.is_some() && !tally.is_violated() {
            tally.failures += 1;
        }
    }

    /// Ends the node; nothing may be left.
    fn end(&mut self) -> Result<(), String> {
        self.permit(Permit::All);
        if let Some(mut owner) = self.owner.take() {
            owner.tell(Order::Stop);
            owner.says(&Report::Stopped)?;
            self.servers.push(owner);
        }
        self.buried()
    }
}

/// How a server came to where it is: what it holds depends on that.
fn origin(server: &Server) -> String {
    let mut origin = String::new();
    for report in &server.seen {
        match report {
            Report::Started { role, .. } => origin.push_str(role),
            Report::Serving { inherited: true, .. } if origin == "successor" => origin.push_str(" of a dead owner"),
            Report::Back { .. } if !origin.ends_with("returned") => origin.push_str(", returned"),
            _ => {}
        }
    }
    origin
}

/// What its descriptors are, without connections.
fn descriptors(server: &Server) -> Vec<String> {
    let path = format!("/proc/{}/fd", server.held.pid);
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let links = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let mut links: Vec<String> = links.map(|link| link.display().to_string()).collect();
    links.sort();
    links
}
