//! A successor that is stopped, or killed, between two stores of its transactions: the operator rolls back, and the stopped one is let go on. No store of
//! it may land in the world that its predecessor serves, and what it had begun is taken back (H3, H5, T1).

use crate::judge::{Holds, Judge};
use crate::{ask, pool, scene};
use actors::node::wait::until;
use actors::node::{Actor, Order, Report, Scene, Swarm};
use handover::control::{Phase, Request};
use nix::libc::SIGKILL;
use shmstate::Activity;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Stores after which it is struck: from its first as the owner on, through several ticks, each of them.
const STORES: usize = 120;
/// Nodes beside each other; each takes one store in so many.
const NODES: usize = 4;
/// Strikes in the middle of a transaction that must be among them: the others hit between two.
const INSIDE: usize = STORES / 4;
const CLIENTS: usize = 3;
const PARK: [&str; 5] = ["--park", "--deadline", "probation=600000", "--deadline", "give-back=60"];

/// What happens at the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    /// Stopped until it is dead: it is killed where it stands, and SIGCONT comes too late.
    Stop,
    /// Stopped, and let go on as soon as the operator has rolled back: it ends its transaction and gives back, or is killed a little later.
    Wake,
    Kill,
}

/// A node on which B is struck at many stores, one after the other.
struct Turns {
    old: Actor,
    swarm: Swarm,
    usual: Holds,
    judge: Judge,
    scene: Scene,
    inside: usize,
}

impl Turns {
    fn new() -> Self {
        let scene = scene();
        let judge = Judge::new(&scene);
        let mut old = spawn(&scene, &judge, "A", &[]);
        assert_eq!(old.serving(), 1);
        scene.know();
        let swarm = Swarm::new(scene.address(), CLIENTS);
        let usual = Holds::of(&old);
        Self {
            old,
            swarm,
            usual,
            judge,
            scene,
            inside: 0,
        }
    }

    /// Whether a transaction is open in the world.
    fn is_open(&self) -> bool {
        let objects = self.scene.shared_objects();
        let world = objects.iter().find(|name| name.ends_with("-world")).expect("the world");
        shmstate::Inspection::activity(world).expect("the header of the world") != Activity::Idle
    }

    fn turn(&mut self, nth: usize, blow: Blow) {
        let generation = self.scene.generation();
        let what = if blow == Blow::Kill { "kill" } else { "stop" };
        let strike = format!("--strike={what}:shmstate:store: of any kind:{nth}");
        let mut new = spawn(&self.scene, &self.judge, "B", &[&strike]);
        if blow == Blow::Kill {
            assert_eq!(new.exit().signal(), Some(SIGKILL));
        } else {
            until("a stop between two stores", || new.is_stopped().then_some(()));
            self.inside += usize::from(self.is_open());
            let scene = &self.scene;
            until("a parked A", || {
                scene.try_status().filter(|s| s.phase == Phase::Probation).map(drop)
            });
            self.scene.request(Request::Rollback);
        }
        if blow == Blow::Wake {
            new.thaw();
        }
        self.old.skip_to_back();
        assert_eq!(self.old.serving(), generation + 2, "after store {nth}");
        if blow == Blow::Stop {
            new.thaw_if_alive();
            assert_eq!(new.exit().signal(), Some(SIGKILL), "after store {nth}: it woke");
        } else {
            new.exit();
        }
        // Each client is told how many of its requests were counted; one that a late store had touched is told wrong, or cut.
        self.swarm.wait_progress();
        self.swarm.check();
    }

    /// How many were stopped inside a transaction.
    fn end(self) -> usize {
        drop(self.swarm.finish());
        self.judge.witnessed(Duration::ZERO);
        self.judge.left(&self.old, self.usual);
        self.scene.end(self.old);
        self.inside
    }
}

fn spawn(scene: &Scene, judge: &Judge, build: &str, more: &[&str]) -> Actor {
    let judge = judge.arguments();
    let judge: Vec<&str> = judge.iter().map(String::as_str).collect();
    scene.spawn(build, &[&PARK, more, &judge].concat())
}

#[test]
fn struck_at_each_store_it_changes_nothing_any_more() {
    let inside = AtomicUsize::new(0);
    let nodes: Vec<usize> = (1..=NODES).collect();
    let rounds = ask::rounds() as usize;
    pool::play(
        &nodes,
        |first| format!("stores {first}, {}, …", first + NODES),
        |first| {
            let mut turns = Turns::new();
            for nth in (*first..=STORES * rounds).step_by(NODES) {
                turns.turn(nth, Blow::Stop);
                match nth / NODES % 2 {
                    0 => turns.turn(nth, Blow::Wake),
                    _ => turns.turn(nth, Blow::Kill),
                }
            }
            inside.fetch_add(turns.end(), Ordering::Relaxed);
        },
    );
    let inside = inside.into_inner();
    eprintln!("{inside} were stopped inside a transaction");
    assert!(inside > INSIDE, "{inside} were stopped inside a transaction");
}

/// A store that lands late is seen by the clients: the test would fail.
#[test]
fn a_store_that_lands_late_is_seen() {
    let mut turns = Turns::new();
    let mut new = spawn(&turns.scene, &turns.judge, "B", &[]);
    assert_eq!(new.serving(), 2);
    turns.swarm.wait_generation(2);
    turns.swarm.hush();
    // What a process does that woke in the middle of a transaction, and commits: records that are gone.
    new.tell(Order::Spoil);
    new.skip_to(&Report::Holding);
    turns.scene.request(Request::Rollback);
    turns.old.skip_to_back();
    turns.swarm.resume();
    let seen = turns.swarm.lost();
    assert!(seen.iter().all(|s| s.failure.is_some()));
    new.exit();
    turns.old.serving();
    turns.scene.end(turns.old);
}
