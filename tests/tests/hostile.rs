//! Peers that mean harm, or are broken: what they say to a node that lives, in every state of a handover, from either side; and a peer of
//! another user.
//!
//! - **X1** After each of them the node serves on: its generation, its descriptors, its objects in /dev/shm as before, no client cut, no byte
//!   lost. At the end a proper upgrade works.
//! - **X2** What is said in a round is a function of seed and round; both are printed. A round that fails replays:
//!
//! ```text
//! HOSTILE_SEED=7 HOSTILE_ROUNDS=2000 cargo test -p handover-tests --test hostile -- --nocapture
//! HOSTILE_SEED=7 HOSTILE_FIRST=123 HOSTILE_ROUNDS=1 cargo test -p handover-tests --test hostile -- --nocapture successor
//! ```
//!
//! The decoder alone, thousands of frames a second, is in `handover/src/wire/fuzz`.

#[path = "hostile/frames.rs"]
mod frames;
#[path = "hostile/predecessor.rs"]
mod predecessor;
#[path = "hostile/probation.rs"]
mod probation;
#[path = "hostile/stranger.rs"]
mod stranger;
#[path = "hostile/successor.rs"]
mod successor;

use actors::node::wait::{LIMIT, until};
use actors::node::{Actor, Report, Scene, Swarm};
use handover::control::Phase;
use handover::os::clock::Deadline;
use handover::wire::{Channel, Message};
use shmstate::lease::Lease;

/// A node of its own for a test.
fn scene() -> Scene {
    Scene::new(env!("CARGO_BIN_EXE_node-actor"))
}

fn soon() -> Deadline {
    Deadline::after(LIMIT)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The rounds of a test with the random numbers of each.
fn rounds(test: &str, usual: u64) -> impl Iterator<Item = (u64, fastrand::Rng)> {
    let seed = number("HOSTILE_SEED").unwrap_or(1);
    let first = number("HOSTILE_FIRST").unwrap_or(0);
    let count = number("HOSTILE_ROUNDS").unwrap_or(usual);
    println!("{test}: seed {seed}, rounds {first} to {}", first + count);
    (first..first + count).map(move |round| (round, fastrand::Rng::with_seed(seed << 32 ^ round)))
}

/// Reads until the other side closes; gives the last reason it gave.
fn until_closed(channel: &mut Channel) -> Option<String> {
    let deadline = soon();
    let mut reason = None;
    loop {
        match channel.recv(deadline) {
            Ok((Message::Refuse { reason: why } | Message::Abort { reason: why }, _)) => reason = Some(why),
            Err(handover::Error::Closed { .. } | handover::Error::Io { .. }) => return reason,
            Err(handover::Error::Deadline { .. }) => panic!("the other side neither answers nor closes"),
            // Of another version than this side was told to speak, or one that makes no sense after what was said.
            Ok(_) | Err(_) => {}
        }
    }
}

/// What must stay as it is (X1).
struct Before {
    generation: u64,
    descriptors: usize,
    shared: Vec<String>,
}

impl Before {
    fn of(scene: &Scene, owner: &Actor) -> Self {
        Self {
            generation: scene.generation(),
            descriptors: owner.descriptors(),
            shared: scene.shared_objects(),
        }
    }

    /// `offered`: the lease was let go of and taken back, perhaps.
    fn assert_unchanged(&mut self, scene: &Scene, owner: &Actor, swarm: &Swarm, offered: bool) {
        let status = scene.status();
        assert!(matches!(status.lease, Lease::Owned { .. }), "{:?}", status.lease);
        assert_eq!(status.owner.map(|o| o.process.pid), Some(owner.pid()));
        let generation = status.lease.generation();
        if offered {
            self.generation = generation.max(self.generation);
        }
        assert_eq!(generation, self.generation);
        assert_eq!(scene.status().phase, Phase::None);
        assert_eq!(scene.shared_objects(), self.shared);
        until("the descriptors the owner had before", || {
            swarm.check();
            (owner.descriptors() == self.descriptors).then_some(())
        });
    }
}

/// How often a proper successor tries: an owner that gives up soon may do so with this one too, when the machine is busy.
const TRIES: u32 = 10;

/// The next upgrade works, and what was served before is served on.
fn assert_upgradable(scene: Scene, mut owner: Actor, swarm: Swarm) {
    swarm.wait_progress();
    let (next, generation) = (0..TRIES).find_map(|_| upgraded(&scene)).expect("a proper upgrade");
    swarm.wait_generation(generation);
    owner.drained();
    drop(swarm.finish());
    scene.close(next);
}

fn upgraded(scene: &Scene) -> Option<(Actor, u64)> {
    let mut next = scene.spawn("next", &[]);
    loop {
        match next.report() {
            Report::Started { .. } => {}
            Report::Serving { generation, .. } => return Some((next, generation)),
            Report::Failed { text, .. } if text.contains("in time") => {
                println!("once more: {text}");
                return None;
            }
            other => panic!("a proper successor was to serve: {other:?}"),
        }
    }
}
