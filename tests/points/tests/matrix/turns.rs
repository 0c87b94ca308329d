//! A node that is handed on again and again, each time struck at another store of a transaction.

use crate::judge::{Holds, Judge};
use crate::{ask, pool, scene};
use actors::node::wait::until;
use actors::node::{Actor, Scene, Swarm};
use handover::control::Phase;
use shmstate::Activity;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Nodes beside each other; each takes one store in so many.
pub(crate) const NODES: usize = 4;
const CLIENTS: usize = 3;

/// The node.
pub(crate) struct Turns {
    /// Who serves between two turns.
    pub(crate) owner: Actor,
    pub(crate) swarm: Swarm,
    pub(crate) scene: Scene,
    usual: Holds,
    judge: Judge,
    /// What each process is told.
    options: &'static [&'static str],
    /// Stops in the middle of a transaction.
    pub(crate) inside: usize,
}

impl Turns {
    pub(crate) fn new(options: &'static [&'static str]) -> Self {
        let scene = scene();
        let judge = Judge::new(&scene);
        let mut owner = spawn(&scene, &judge, options, "A", &[]);
        assert_eq!(owner.serving(), 1);
        scene.know();
        let swarm = Swarm::new(scene.address(), CLIENTS);
        let usual = Holds::of(&owner);
        Self {
            owner,
            swarm,
            scene,
            usual,
            judge,
            options,
            inside: 0,
        }
    }

    /// Notes whether the one that was stopped is in the middle of a transaction of the world.
    pub(crate) fn note_open(&mut self) -> bool {
        let open = self.is_open();
        self.inside += usize::from(open);
        open
    }

    /// Whether a transaction is open in the world.
    pub(crate) fn is_open(&self) -> bool {
        let objects = self.scene.shared_objects();
        let world = objects.iter().find(|name| name.ends_with("-world")).expect("the world");
        shmstate::Inspection::activity(world).expect("the header of the world") != Activity::Idle
    }

    pub(crate) fn spawn(&self, build: &str, more: &[&str]) -> Actor {
        spawn(&self.scene, &self.judge, self.options, build, more)
    }

    pub(crate) fn wait_phase(&self, phase: Phase) {
        let scene = &self.scene;
        until(&format!("phase {phase:?}"), || {
            scene.try_status().filter(|s| s.phase == phase).map(drop)
        });
    }

    /// Stops the node, if it was served all the while but for `idle`. How many were stopped inside a transaction.
    pub(crate) fn end(self, idle: Duration) -> usize {
        drop(self.swarm.finish());
        self.judge.witnessed(idle);
        self.judge.left(&self.owner, self.usual);
        self.scene.end(self.owner);
        self.inside
    }
}

fn spawn(scene: &Scene, judge: &Judge, options: &[&str], build: &str, more: &[&str]) -> Actor {
    let judge = judge.arguments();
    let judge: Vec<&str> = judge.iter().map(String::as_str).collect();
    scene.spawn(build, &[options, more, &judge].concat())
}

/// Plays `turns` on nodes beside each other, which says how many were stopped inside a transaction: it gets its first store and how many rounds to play. Fails
/// if they are no more than `least`.
pub(crate) fn play(what: &str, least: usize, turns: impl Fn(usize, usize) -> usize + Sync) {
    let inside = AtomicUsize::new(0);
    let nodes: Vec<usize> = (1..=NODES).collect();
    let rounds = ask::rounds() as usize;
    pool::play(
        &nodes,
        |first| format!("stores {first}, {}, … of {what}", first + NODES),
        |first| {
            inside.fetch_add(turns(*first, rounds), Ordering::Relaxed);
        },
    );
    let inside = inside.into_inner();
    eprintln!("{inside} were stopped inside a transaction");
    assert!(inside > least, "{inside} were stopped inside a transaction");
}
