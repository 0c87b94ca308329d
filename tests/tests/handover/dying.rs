//! Owners and successors that are killed and take long to die: their last instruction is behind them, which is proven, and nobody who is to serve
//! waits for the rest (H5).

use crate::cores::{assert_whole, served};
use crate::probation::{LONG, assert_back, upgraded_with};
use crate::scene;
use actors::node::{Actor, Deathbed, Order, Report, Swarm};
use handover::control::{Outcome, Phase};
use std::time::Duration;

#[test]
fn on_probation_the_old_one_serves_before_the_new_one_is_dead() {
    let (scene, old, mut new, swarm) = upgraded_with(LONG, 20, &[]);
    let late = swarm.add(10);
    swarm.wait_answered(late);
    let bed = Deathbed::of(new.pid());
    bed.kill();
    let record = scene.outcome(2, Outcome::TakenBack);
    assert!(bed.is_dying(), "it was waited for: {record:?}");
    swarm.wait_generation(3);
    assert!(bed.is_dying());
    drop(bed);
    assert!(!new.exit().success());
    assert_back(scene, old, swarm, "Died", true);
}

#[test]
fn a_successor_that_is_ready_serves_before_the_owner_is_dead() {
    let scene = scene();
    let mut owner = scene.first(&[]);
    let swarm = Swarm::new(scene.address(), 20);
    let mut heir = scene.prepared("B", &[]);
    let bed = Deathbed::of(owner.pid());
    bed.kill();
    heir.tell(Order::Go);
    let (generation, gone, _) = heir.inherited();
    assert_eq!((generation, gone), (2, 0));
    swarm.wait_generation(2);
    swarm.wait_progress();
    assert!(bed.is_dying());
    drop(bed);
    assert!(!owner.exit().success());
    drop(swarm.finish());
    scene.close(heir);
}

#[test]
fn a_successor_that_stands_by_is_given_up_before_it_is_dead() {
    let scene = scene();
    let mut owner = scene.first(&["--deadline", "quiet=60000"]);
    let swarm = Swarm::new(scene.address(), 20);
    owner.tell(Order::Hold);
    owner.expect(&Report::Holding);
    let mut next = scene.prepared("B", &[]);
    next.tell(Order::Go);
    scene.wait_phase(Phase::Closing);
    let bed = Deathbed::of(next.pid());
    bed.kill();
    let record = scene.outcome(1, Outcome::SuccessorDied);
    assert_eq!(record.successor_pid, next.pid());
    assert!(bed.is_dying());
    owner.tell(Order::Release);
    swarm.wait_progress();
    scene.wait_phase(Phase::None);
    drop(bed);
    assert!(!next.exit().success());
    drop(swarm.finish());
    scene.close(owner);
}

#[test]
fn the_next_version_waits_for_what_one_that_is_dying_holds() {
    let extra = [LONG, &["--extra", "extra"]].concat();
    let scene = scene();
    let mut old = scene.first(LONG);
    let swarm = Swarm::new(scene.address(), 20);
    let brought = |actor: &mut Actor| {
        assert_eq!(actor.started().0, "successor");
        actor.expect(&Report::Extra { new: true, count: 1 });
        actor.serving()
    };
    let mut new = scene.spawn("B", &extra);
    assert_eq!(brought(&mut new), 2);
    old.expect(&Report::HandedOver);
    let bed = Deathbed::of(new.pid());
    bed.kill();
    assert_eq!(old.skip_to_back(), "Died");
    assert_eq!(old.serving(), 3);
    let mut next = scene.spawn("C", &extra);
    // Its region of that name is in the hands of the one that is dying; nobody waits but it.
    scene.wait_phase(Phase::WaitingForReady);
    next.wait_polling();
    swarm.wait_generation(3);
    swarm.wait_progress();
    assert!(bed.is_dying());
    drop(bed);
    assert_eq!(brought(&mut next), 4);
    assert!(!new.exit().success());
    next.tell(Order::Confirm);
    next.expect(&Report::Confirmed(true));
    old.drained();
    drop(swarm.finish());
    scene.close(next);
}

/// What it holds may go piece by piece, so nothing of it is taken.
#[test]
fn a_start_beside_an_owner_that_is_dying_waits_for_its_death() {
    let scene = scene();
    let mut owner = scene.first(&[]);
    let swarm = Swarm::new(scene.address(), 20);
    swarm.wait_progress();
    let bed = Deathbed::of(owner.pid());
    bed.kill();
    let mut next = scene.spawn("B", &[]);
    next.wait_polling();
    // For long enough to have taken what there is several times.
    for _ in 0..30 {
        std::thread::sleep(Duration::from_millis(10));
        assert_eq!(scene.generation(), 1);
    }
    assert!(bed.is_dying());
    drop(bed);
    assert!(!owner.exit().success());
    assert_eq!(next.started(), ("recovered".into(), 1));
    let (generation, gone, _) = next.inherited();
    assert_eq!((generation, gone), (2, 20));
    served(&scene, 2);
    drop(scene.outcome(1, Outcome::Inherited));
    drop(swarm.lost());
    assert_whole(scene, next);
}
