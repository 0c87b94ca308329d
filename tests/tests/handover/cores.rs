//! Owners that crash in the middle of a transaction, and successors that crash while they stand by, and write a core: nobody waits for it (H5).

use crate::probation::{LONG, assert_back, upgraded_with};
use crate::scene;
use actors::node::{Actor, Order, Report, Scene, Swarm};
use handover::control::{Outcome, Phase};
use shmstate::monotonic_ns;

/// Less than a core of these tests has: a system that writes none, or a part only, gives nobody anything to wait for.
const CORE: u64 = 64 << 20;

/// An owner that is about to crash.
fn loaded(owner: &mut Actor) {
    owner.tell(Order::Load);
    owner.skip_to(&Report::Loaded);
}

/// It crashes. Gives when it was told to.
fn crash(owner: &mut Actor) -> u64 {
    let told = monotonic_ns();
    owner.tell(Order::Crash);
    owner.skip_to(&Report::Holding);
    told
}

/// Whoever acted then did so while the core was still being written: before half of the time that it took.
fn assert_early(scene: &Scene, mut owner: Actor, told: u64, acted: u64) {
    assert!(!owner.exit().success());
    let dead = monotonic_ns();
    let directory = scene.base().parent().expect("a directory of its own");
    let entries = std::fs::read_dir(directory).expect("list").flatten();
    let cores = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("core"));
    let written: u64 = cores.filter_map(|core| Some(core.metadata().ok()?.len())).sum();
    let [acted, took] = [acted, dead].map(|at| at.saturating_sub(told));
    println!("a core of {written} bytes in {took} ns, and after {acted} ns somebody acted");
    if written < CORE {
        println!("no core is written here, or not all of it: nothing to be earlier than");
        return;
    }
    assert!(acted < took / 2, "the core was waited for");
}

#[test]
fn on_probation_the_old_one_serves_before_the_core_is_written() {
    let (scene, old, mut new, swarm) = upgraded_with(LONG, 20, &[]);
    loaded(&mut new);
    let told = crash(&mut new);
    let record = scene.outcome(2, Outcome::TakenBack);
    assert_early(&scene, new, told, record.first_tick);
    assert_back(scene, old, swarm, "Died", true);
}

#[test]
fn a_successor_that_is_ready_serves_before_the_core_is_written() {
    let scene = scene();
    let mut owner = scene.first(&[]);
    let swarm = Swarm::new(scene.address(), 20);
    loaded(&mut owner);
    let mut heir = scene.prepared("B", &[]);
    let told = crash(&mut owner);
    heir.tell(Order::Go);
    let (generation, gone, _) = heir.inherited();
    assert_eq!((generation, gone), (2, 0));
    let record = scene.outcome(1, Outcome::Inherited);
    assert_early(&scene, owner, told, record.first_tick);
    swarm.wait_generation(2);
    swarm.wait_progress();
    drop(swarm.finish());
    scene.close(heir);
}

/// B has a core to write and stands by; A holds a pass, so that its gate does not get quiet.
fn standing(owner: &mut Actor, scene: &Scene) -> Actor {
    owner.tell(Order::Hold);
    owner.expect(&Report::Holding);
    let mut next = scene.prepared("B", &[]);
    loaded(&mut next);
    next.tell(Order::Go);
    scene.wait_phase(Phase::Closing);
    next
}

/// The owner has seen that B is gone, and serves on.
fn assert_served_on(scene: Scene, owner: Actor, swarm: Swarm, next: Actor, told: u64) {
    let record = scene.outcome(1, Outcome::SuccessorDied);
    let acted = monotonic_ns();
    assert_eq!(record.successor_pid, next.pid());
    assert_early(&scene, next, told, acted);
    swarm.wait_progress();
    scene.wait_phase(Phase::None);
    drop(swarm.finish());
    scene.close(owner);
}

#[test]
fn a_successor_that_stands_by_is_given_up_before_its_core_is_written() {
    let scene = scene();
    let mut owner = scene.first(&["--deadline", "quiet=60000"]);
    let swarm = Swarm::new(scene.address(), 20);
    let next = standing(&mut owner, &scene);
    let told = monotonic_ns();
    next.abort();
    drop(scene.outcome(1, Outcome::SuccessorDied));
    owner.tell(Order::Release);
    assert_served_on(scene, owner, swarm, next, told);
}

#[test]
fn what_is_offered_to_one_that_crashes_is_taken_back_before_its_core_is_written() {
    let scene = scene();
    let mut owner = scene.first(&["--deadline", "take=60000"]);
    let swarm = Swarm::new(scene.address(), 20);
    let next = standing(&mut owner, &scene);
    next.freeze();
    owner.tell(Order::Release);
    scene.wait_phase(Phase::Offered);
    // It is delivered when it wakes, before anything else happens there.
    next.abort();
    let told = monotonic_ns();
    next.thaw();
    assert_served_on(scene, owner, swarm, next, told);
}
