//! SIGKILL at random moments of a handover. A seed is printed and replays the moments, as far as the scheduler does.

use crate::scene;
use actors::node::{Actor, Report, Scene, Swarm};
use std::time::Duration;

/// Handovers with a kill, for each side.
const ROUNDS: usize = 16;
/// From the start of a successor to well behind its cutover.
const SPREAD_US: u64 = 15_000;
const CLIENTS: usize = 30;

fn seed() -> u64 {
    let seed = match std::env::var("HANDOVER_TEST_SEED") {
        Ok(text) => text.parse().expect("HANDOVER_TEST_SEED is a number"),
        Err(_) => fastrand::u64(..),
    };
    println!("HANDOVER_TEST_SEED={seed}");
    seed
}

/// The moment is what this test is about; it waits for nothing.
fn a_moment(random: &mut fastrand::Rng) {
    std::thread::sleep(Duration::from_micros(random.u64(..SPREAD_US)));
}

/// The node is served, and the next upgrade works.
fn assert_served(scene: Scene, mut owner: Actor) {
    let swarm = Swarm::new(scene.address(), 2);
    let generation = scene.generation();
    let mut next = scene.spawn("next", &[]);
    assert_eq!(next.serving(), generation + 1);
    swarm.wait_generation(generation + 1);
    owner.drained();
    drop(swarm.finish());
    scene.close(next);
}

#[test]
fn whenever_the_predecessor_is_killed_the_successor_serves() {
    let mut random = fastrand::Rng::with_seed(seed());
    let (mut recovered, mut inherited, mut handed_over) = (0, 0, 0);
    for _ in 0..ROUNDS {
        let scene = scene();
        let mut owner = scene.first(&[]);
        let swarm = Swarm::new(scene.address(), CLIENTS);
        let mut next = scene.spawn("B", &[]);
        a_moment(&mut random);
        owner.kill();
        let (role, before) = next.started();
        assert_eq!(before, 1);
        let Report::Serving {
            generation: 2,
            inherited: dead,
            gone,
            ..
        } = next.report()
        else {
            panic!("B was to serve");
        };
        if role == "recovered" {
            recovered += 1;
            assert_eq!(gone, CLIENTS);
            drop(swarm.lost());
        } else {
            assert_eq!(gone, 0, "all of them had come over");
            swarm.wait_generation(2);
            drop(swarm.finish());
            if dead {
                inherited += 1;
            } else {
                handed_over += 1;
            }
        }
        assert_served(scene, next);
    }
    println!("recovered {recovered}, inherited {inherited}, handed over {handed_over}");
}

#[test]
fn whenever_the_successor_is_killed_the_next_start_finds_the_world() {
    let mut random = fastrand::Rng::with_seed(seed());
    let (mut before, mut after) = (0, 0);
    for _ in 0..ROUNDS {
        let scene = scene();
        let mut owner = scene.first(&[]);
        let swarm = Swarm::new(scene.address(), CLIENTS);
        let mut next = scene.spawn("B", &[]);
        a_moment(&mut random);
        next.kill();
        let mut third = scene.spawn("C", &[]);
        let (role, _) = third.started();
        assert!(third.serving() > 1);
        if role == "recovered" {
            after += 1;
            drop(swarm.lost());
        } else {
            before += 1;
            swarm.wait_progress();
            drop(swarm.finish());
        }
        assert!(owner.exit().success());
        assert_served(scene, third);
    }
    println!("killed before the cutover {before}, after it {after}");
}
