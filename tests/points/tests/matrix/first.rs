//! A start on what a dead owner left, struck in the middle of it; and another that comes meanwhile.

use crate::course::{CLIENTS, settle, whole};
use crate::judge::{Holds, Judge};
use crate::{pool, scene};
use actors::node::wait::until;
use actors::node::{Actor, Scene, Swarm};
use std::time::Duration;

/// Points of a start.
const POINTS: [&str; 3] = [
    "first: lock held",
    "first: lease of a dead owner inherited",
    "first: control socket bound",
];
/// Long, so that who comes meanwhile waits for the one that is stopped.
const PATIENT: [&str; 5] = ["--park", "--deadline", "connect=15000", "--deadline", "hello=15000"];

/// A node whose owner was killed.
struct Left {
    judge: Judge,
    scene: Scene,
    /// What the owner held.
    usual: Holds,
    /// Requests that it answered.
    received: u64,
}

impl Left {
    fn new() -> Self {
        let scene = scene();
        let judge = Judge::new(&scene);
        let mut old = spawn(&scene, &judge, "A", &[]);
        assert_eq!(old.serving(), 1);
        scene.know();
        let swarm = Swarm::new(scene.address(), CLIENTS);
        let usual = Holds::of(&old);
        old.kill();
        let received = swarm.lost().iter().map(|seen| seen.answered).sum();
        Self {
            judge,
            scene,
            usual,
            received,
        }
    }

    fn spawn(&self, build: &str, more: &[&str]) -> Actor {
        spawn(&self.scene, &self.judge, build, more)
    }

    /// That one recovers, and has what was there.
    fn recovers(&self, actor: &mut Actor) -> u64 {
        assert_eq!(actor.started().0, "recovered");
        let (generation, _, answered) = actor.inherited();
        let received = self.received;
        assert!(answered >= received, "{answered} requests counted, {received} answered");
        generation
    }

    fn end(self, owner: Actor) {
        let swarm = Swarm::new(self.scene.address(), CLIENTS);
        whole(&self.scene, &self.judge, owner, swarm, self.usual, Duration::ZERO);
    }
}

fn spawn(scene: &Scene, judge: &Judge, build: &str, more: &[&str]) -> Actor {
    let judge = judge.arguments();
    let judge: Vec<&str> = judge.iter().map(String::as_str).collect();
    scene.spawn(build, &[&PATIENT, more, &judge].concat())
}

#[test]
fn a_start_that_is_killed_is_followed_by_the_next() {
    let name = |point: &&str| format!("killed at {point:?}");
    pool::play(&POINTS, name, |point| {
        let left = Left::new();
        let mut struck = left.spawn("B", &[&format!("--strike=kill:handover:{point}")]);
        assert!(!struck.exit().success());
        let mut next = left.spawn("C", &[]);
        left.recovers(&mut next);
        left.end(next);
    });
}

#[test]
fn a_start_that_is_stopped_keeps_the_next_one_waiting() {
    let name = |point: &&str| format!("stopped at {point:?}");
    pool::play(&POINTS, name, |point| {
        let left = Left::new();
        let mut struck = left.spawn("B", &[&format!("--strike=stop:handover:{point}")]);
        until("a stop at the point", || struck.is_stopped().then_some(()));
        let mut next = left.spawn("C", &[]);
        struck.thaw();
        let generation = left.recovers(&mut struck);
        assert!(
            next.serving() > generation,
            "it took over from the one that it waited for"
        );
        let (heir, _) = settle(&left.scene, vec![struck, next]);
        left.end(heir);
    });
}
