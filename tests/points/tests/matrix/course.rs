//! Plays a case: starts servers and clients, leads to the point, has the blow strike, and checks what comes of it.

use crate::case::{After, Blow, Case, Target, Way};
use crate::judge::{Holds, Judge};
use crate::scene;
use crate::visitors::Visitors;
use actors::node::scene::owner_of;
use actors::node::wait::{LIMIT, until, within};
use actors::node::{Actor, Order, Report, Scene, Swarm};
use handover::control::{ParticipantState, Phase, Request};
use nix::libc::SIGKILL;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

/// Clients that stay.
pub(crate) const CLIENTS: usize = 6;
/// Clients that come when all is over.
const LATE: usize = 2;
/// A point may be missed when a deadline passes before it is reached, on a machine with other work (M1).
const TRIES: u32 = 6;
/// How long after the handover a point is reached, if at all; and some deadlines more.
const REACHED: Duration = Duration::from_secs(1);
/// So many.
const LED: u32 = 4;

/// Plays it, until it was struck at its point.
///
/// # Panics
/// Something is not as it must be, or the point is never reached.
pub(crate) fn play(case: &Case) {
    assert!(is_reached(case, TRIES), "the point was not reached in {TRIES} tries");
}

/// Plays it at most so often; `false` if its point was not reached.
pub(crate) fn is_reached(case: &Case, tries: u32) -> bool {
    (0..tries).any(|tried| once(&Case { tried, ..*case }))
}

/// `false` if the point was not reached.
fn once(case: &Case) -> bool {
    let mut course = Course::begin(case);
    course.lead();
    if !course.strike() {
        return false;
    }
    course.finish();
    true
}

/// A case as it is played. What is first here is dropped first: without servers nobody waits for an answer.
struct Course<'c> {
    case: &'c Case,
    servers: Vec<Actor>,
    visitors: Option<Visitors>,
    swarm: Swarm,
    mover: Option<Mover>,
    judge: Judge,
    scene: Scene,
    /// What A held with its clients when it was alone.
    usual: Holds,
    begun: Instant,
    /// How long one was stopped.
    stopped: Duration,
}

impl<'c> Course<'c> {
    /// A serves, and clients are there.
    fn begin(case: &'c Case) -> Self {
        let scene = scene();
        let judge = Judge::new(&scene);
        let mut old = spawn(&scene, &judge, case, Target::Old);
        assert_eq!(old.serving(), 1);
        scene.know();
        let swarm = Swarm::new(scene.address(), CLIENTS);
        let usual = Holds::of(&old);
        let visitors = Some(Visitors::new(scene.address()));
        let mover = (case.way == Way::Move).then(|| Mover::new(plain(&scene)));
        Self {
            case,
            servers: vec![old],
            visitors,
            swarm,
            mover,
            judge,
            scene,
            usual,
            begun: Instant::now(),
            stopped: Duration::ZERO,
        }
    }

    fn first(&mut self) -> &mut Actor {
        &mut self.servers[0]
    }

    fn successor(&mut self) -> &mut Actor {
        &mut self.servers[1]
    }

    fn spawn(&mut self, who: Target) {
        let server = spawn(&self.scene, &self.judge, self.case, who);
        self.servers.push(server);
    }

    /// Goes the way on which the point is.
    fn lead(&mut self) {
        if self.case.way == Way::Held {
            self.first().tell(Order::Hold);
            self.first().skip_to(&Report::Holding);
        }
        self.spawn(Target::New);
        let after = matches!(
            self.case.way,
            Way::Confirm | Way::Rollback | Way::GiveBack | Way::Died | Way::Hung | Way::Chain
        );
        if after && !self.parked() {
            return;
        }
        match self.case.way {
            Way::Upgrade | Way::Move | Way::StartOver | Way::Refused | Way::Held => {}
            Way::Confirm => self.successor().tell(Order::Confirm),
            Way::Rollback => self.scene.request(Request::Rollback),
            Way::GiveBack => self.successor().tell(Order::GiveBack),
            Way::Died => self.successor().kill(),
            Way::Hung => {
                self.successor().tell(Order::Tear);
                self.successor().skip_to(&Report::Holding);
                self.successor().freeze();
                self.scene.request(Request::Rollback);
            }
            Way::Orphaned => {
                let started = self.successor().report();
                if let Report::Failed { .. } = started {
                    // A deadline passed on a machine with other work: missed (M1).
                    return;
                }
                assert!(matches!(started, Report::Started { role, .. } if role == "successor"));
                self.first().kill();
                self.successor().tell(Order::Go);
            }
            Way::Chain => self.spawn(Target::Third),
        }
        self.begun = Instant::now();
    }

    /// Waits until A is parked; `false` if B was struck or given up before.
    fn parked(&mut self) -> bool {
        let (scene, [old, new]) = (&self.scene, &mut self.servers[..]) else {
            return false;
        };
        until("a parked A, or an end of B", || {
            let status = scene.try_status()?;
            let row = status.participants.iter().find(|p| p.process.pid == old.pid());
            let parked = row.is_some_and(|p| p.state == ParticipantState::Parked);
            if parked && status.phase == Phase::Probation {
                return Some(true);
            }
            (new.ended().is_some() || new.is_stopped()).then_some(false)
        })
    }

    /// Waits for the blow, and for the end of it; `false` if the point was missed.
    fn strike(&mut self) -> bool {
        let (case, scene, begun) = (self.case, &self.scene, self.begun);
        let place = match case.target {
            Target::Old => 0,
            Target::New => 1,
            Target::Third => 2,
        };
        let Some(target) = self.servers.get_mut(place) else {
            return false;
        };
        let struck = until("the blow, or an end without", || {
            if case.blow != Blow::Kill && target.is_stopped() {
                return Some(true);
            }
            let ended = target.ended();
            let killed = |status: std::process::ExitStatus| case.blow == Blow::Kill && status.signal() == Some(SIGKILL);
            ended.map(killed).or_else(|| missed(case, scene, begun))
        });
        if struck && case.blow != Blow::Kill {
            let process = target.pid();
            let (since, waits) = (Instant::now(), LED * case.hasty());
            // This is no wait for anything: it is how long the process is stopped.
            std::thread::sleep(case.length());
            if case.way == Way::Held {
                self.servers[0].tell_if_alive(Order::Release);
            }
            match case.blow {
                Blow::Watched => self.judge.serves(self.servers[0].pid(), waits),
                Blow::Stop => self.judge.serves_beside(scene, &mut self.servers, process, waits),
                Blow::Kill | Blow::Pause => {}
            }
            self.servers[place].thaw_if_alive();
            self.stopped = since.elapsed();
        }
        if case.way == Way::Held {
            // It may be the one that was struck.
            self.servers[0].tell_if_alive(Order::Release);
        }
        struck
    }

    /// How long nobody may serve, but for [`judge::SOON`]: while one is stopped, and as long as hasty ones wait.
    fn allowed(&self) -> Duration {
        self.stopped + LED * self.case.hasty()
    }

    /// One serves, the clients go on, and nothing is left.
    fn finish(mut self) {
        let heir = self.case.heir();
        match heir {
            After::Nobody => return self.nobody(),
            After::Anew => self.swarm = anew(self.swarm, &self.scene),
            _ => {}
        }
        let pids: Vec<u32> = self.servers.iter().map(Actor::pid).collect();
        let servers = std::mem::take(&mut self.servers);
        let (owner, killed) = settle(&self.scene, servers);
        let expected = match heir {
            After::Old => Some(pids[0]),
            After::New | After::Anew => Some(pids[1]),
            After::Third => Some(pids[2]),
            After::One | After::Nobody => None,
        };
        if let Some(expected) = expected {
            assert_eq!(owner.pid(), expected, "of {pids:?}");
        }
        let status = self.scene.status();
        if self.case.blow == Blow::Pause && !self.case.fails() {
            assert_eq!(status.aborted, 0, "nobody waits in vain: {:?}", status.history);
        }
        let cut = self.visitors.take().map_or(0, Visitors::finish);
        assert!(
            cut == 0 || killed,
            "{cut} who came and went were cut, and nobody was killed"
        );
        if let Some(mut mover) = self.mover.take()
            && self.case.blow == Blow::Pause
        {
            assert!(mover.ask().starts_with("B 2 "), "it moved");
        }
        let (usual, allowed) = (self.usual, self.allowed());
        whole(&self.scene, &self.judge, owner, self.swarm, usual, allowed);
    }

    /// Everybody is dead, or ends: the next start recovers, and has the world.
    fn nobody(mut self) {
        for server in &mut self.servers {
            server.exit();
        }
        drop(self.visitors.take());
        let allowed = self.allowed();
        assert!(!self.scene.status().alive);
        let received: u64 = self.swarm.lost().iter().map(|seen| seen.answered).sum();
        let judge = self.judge.arguments();
        let mut next = self.scene.spawn("D", &["--park", &judge[0], &judge[1]]);
        assert_eq!(next.started().0, "recovered");
        let (_, _, answered) = next.inherited();
        assert!(answered >= received, "{answered} requests counted, {received} answered");
        let swarm = Swarm::new(self.scene.address(), CLIENTS);
        whole(&self.scene, &self.judge, next, swarm, self.usual, allowed);
    }
}

/// Where the connections come that a server keeps itself.
fn plain(scene: &Scene) -> SocketAddr {
    SocketAddr::new(scene.address().ip(), scene.address().port() + 1)
}

fn spawn(scene: &Scene, judge: &Judge, case: &Case, who: Target) -> Actor {
    let name = match who {
        Target::Old => "A",
        Target::New => "B",
        Target::Third => "C",
    };
    let all = case.arguments(who, plain(scene));
    let more = judge.arguments();
    let all: Vec<&str> = all.iter().chain(&more).map(String::as_str).collect();
    scene.spawn(name, &all)
}

/// The connections are lost; others come when somebody serves.
fn anew(swarm: Swarm, scene: &Scene) -> Swarm {
    drop(swarm.lost());
    let address = scene.address();
    until("a listener", || TcpStream::connect(address).ok());
    Swarm::new(address, CLIENTS)
}

/// The handover that was to lead to the point was called off before, or is over without it.
fn missed(case: &Case, scene: &Scene, begun: Instant) -> Option<bool> {
    let status = scene.try_status()?;
    let over = (status.completed > 0 || case.fails()) && begun.elapsed() > REACHED + LED * case.hasty();
    let off = !case.fails() && status.aborted > 0 && status.phase == Phase::None && status.completed == 0;
    (off || over).then_some(false)
}

/// Whoever is stopped goes on, whoever is parked leaves: gives the one that is left, when it is alone, and whether one was killed.
pub(crate) fn settle(scene: &Scene, mut all: Vec<Actor>) -> (Actor, bool) {
    // A process may be parked more than once: what is confirmed is a generation.
    let mut confirmed = 0;
    let alone = within(LIMIT, || {
        let mut living = Vec::new();
        for actor in &mut all {
            actor.thaw_if_alive();
            if actor.ended().is_none() {
                living.push(actor.pid());
            }
        }
        let status = scene.try_status()?;
        let is_parked = status.participants.iter().any(|p| p.state == ParticipantState::Parked);
        let generation = status.lease.generation();
        if is_parked && status.phase == Phase::Probation && generation != confirmed {
            confirmed = generation;
            scene.request(Request::Confirm);
        }
        let owner = owner_of(&status)?;
        let serves = owner.state == ParticipantState::Serving && status.phase == Phase::None;
        (living == [owner.process.pid] && serves).then_some(owner.process.pid)
    });
    let Some(alone) = alone else {
        let living: Vec<_> = all.iter_mut().map(|a| (a.pid(), a.ended())).collect();
        let status = scene.try_status();
        let status = status.map(|s| (s.phase, s.lease, s.participants, s.history));
        panic!("not one server: {living:?}, {status:#?}");
    };
    let mut ends = all.iter_mut().filter_map(Actor::ended);
    let killed = ends.any(|status| status.signal() == Some(SIGKILL));
    let place = all.iter().position(|a| a.pid() == alone).expect("living");
    (all.swap_remove(place), killed)
}

/// The clients go on, there never were two owners, nor none for longer than `allowed`, and nothing is left in the end.
pub(crate) fn whole(scene: &Scene, judge: &Judge, owner: Actor, swarm: Swarm, usual: Holds, allowed: Duration) {
    swarm.wait_progress();
    judge.left(&owner, usual);
    let late = swarm.add(LATE);
    swarm.wait_answered(late);
    drop(swarm.finish());
    judge.witnessed(allowed);
    scene.end(owner);
}

/// A client whose connection the server keeps itself.
struct Mover(BufReader<TcpStream>);

impl Mover {
    fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("connect");
        stream.set_read_timeout(Some(LIMIT)).expect("a deadline");
        let mut mover = Self(BufReader::new(stream));
        assert!(mover.ask().starts_with("A 1 "));
        mover
    }

    /// Asks once; gives the answer: who, how many, what.
    fn ask(&mut self) -> String {
        let mut answer = String::new();
        self.0.get_ref().write_all(b"how many\n").expect("ask");
        self.0.read_line(&mut answer).expect("an answer");
        answer
    }
}
