//! Owners that are killed: before all is offered, after it, while the gate closes, while the lease is offered, alone (H10).

use crate::scene;
use actors::node::{Actor, Order, Report, Scene, Swarm};
use handover::control::{HandoverRecord, Outcome, Phase};

/// After an owner was inherited the node is whole: one participant, no handover in progress, and the next upgrade works.
fn assert_whole(scene: Scene, mut owner: Actor, swarm: Swarm) {
    swarm.wait_progress();
    scene.wait_phase(Phase::None);
    scene.wait_participants(&[owner.pid()]);
    assert!(scene.status().alive);
    let generation = scene.generation();
    let mut next = scene.spawn("next", &[]);
    assert_eq!(next.serving(), generation + 1);
    swarm.wait_generation(generation + 1);
    owner.drained();
    drop(swarm.finish());
    scene.close(next);
}

fn assert_inherited(record: &HandoverRecord, heir: &Actor) {
    assert_eq!(record.outcome, Outcome::Inherited, "{record:?}");
    assert_eq!((record.from_generation, record.to_generation), (1, 2), "{record:?}");
    assert_eq!(record.successor_pid, heir.pid());
}

#[test]
fn killed_alone_the_next_start_recovers() {
    let scene = scene();
    let mut owner = scene.first(&[]);
    let swarm = Swarm::new(scene.address(), 20);
    swarm.wait_progress();
    owner.kill();
    assert!(!scene.status().alive);
    let seen = swarm.lost();
    let received: u64 = seen.iter().map(|s| s.answered).sum();
    let sent: u64 = seen.iter().map(|s| s.sent).sum();

    let mut next = scene.spawn("B", &[]);
    assert_eq!(next.started(), ("recovered".into(), 1));
    let (generation, gone, answered) = next.inherited();
    assert_eq!((generation, gone), (2, 20), "their sockets died with their owner");
    assert!(
        (received..=sent).contains(&answered),
        "{received} <= {answered} <= {sent}"
    );
    assert_inherited(&scene.record(1), &next);
    let swarm = Swarm::new(scene.address(), 5);
    assert!(swarm.seen().iter().all(|s| s.total > answered), "it counts on");
    assert_whole(scene, next, swarm);
}

#[test]
fn killed_before_all_was_offered_the_successor_starts_over() {
    let scene = scene();
    let mut owner = scene.first(&[]);
    let swarm = Swarm::new(scene.address(), 300);
    swarm.hush();
    let answered: u64 = swarm.seen().iter().map(|s| s.answered).sum();
    // The successor has said hello and waits; the owner sends what it can without an acknowledgement.
    owner.freeze();
    let mut next = scene.spawn("B", &[]);
    next.wait_polling();
    next.freeze();
    owner.thaw();
    scene.wait_phase(Phase::Offering);
    owner.kill();
    next.thaw();
    assert_eq!(next.started(), ("recovered".into(), 1));
    let (generation, gone, there) = next.inherited();
    assert_eq!((generation, gone, there), (2, 300, answered));
    assert_inherited(&scene.record(1), &next);
    let _ = swarm.lost();
    // The listener is bound anew.
    let swarm = Swarm::new(scene.address(), 5);
    swarm.wait_generation(2);
    assert_whole(scene, next, swarm);
}

#[test]
fn killed_before_it_answered_the_successor_starts_over() {
    let scene = scene();
    let mut owner = scene.first(&[]);
    owner.freeze();
    let mut next = scene.spawn("B", &[]);
    next.wait_polling();
    owner.kill();
    assert_eq!(next.started(), ("recovered".into(), 1));
    assert_eq!(next.serving(), 2);
    let swarm = Swarm::new(scene.address(), 5);
    assert_whole(scene, next, swarm);
}

#[test]
fn killed_after_the_offer_the_successor_inherits_with_the_connections() {
    let scene = scene();
    let mut owner = scene.first(&[]);
    let swarm = Swarm::new(scene.address(), 100);
    let mut next = scene.prepared("B", &[]);
    // Whatever it is at: the clients keep it busy.
    swarm.wait_progress();
    owner.kill();
    next.tell(Order::Go);
    let (generation, gone, _) = next.inherited();
    assert_eq!((generation, gone), (2, 0));
    assert_inherited(&scene.record(1), &next);
    swarm.wait_generation(2);
    let late = swarm.add(5);
    swarm.wait_answered(late);
    assert_whole(scene, next, swarm);
}

#[test]
fn killed_while_the_gate_closes_the_successor_inherits_with_the_connections() {
    let scene = scene();
    let mut owner = scene.first(&[]);
    let swarm = Swarm::new(scene.address(), 20);
    owner.tell(Order::Hold);
    owner.expect(&Report::Holding);
    let mut next = scene.spawn("B", &[]);
    scene.wait_phase(Phase::Closing);
    owner.kill();
    let (generation, gone, _) = next.inherited();
    assert_eq!((generation, gone), (2, 0));
    let record = scene.record(1);
    assert_inherited(&record, &next);
    assert!(record.ready > 0);
    assert_eq!(record.last_commit, 0, "there was no last tick: {record:?}");
    swarm.wait_generation(2);
    assert_whole(scene, next, swarm);
}

#[test]
fn killed_while_the_lease_is_offered_the_successor_takes() {
    let scene = scene();
    let mut owner = scene.first(&["--deadline", "take=10000"]);
    let swarm = Swarm::new(scene.address(), 20);
    owner.tell(Order::Hold);
    owner.expect(&Report::Holding);
    let mut next = scene.spawn("B", &[]);
    scene.wait_phase(Phase::Closing);
    next.freeze();
    owner.tell(Order::Release);
    scene.wait_phase(Phase::Offered);
    owner.kill();
    next.thaw();
    assert_eq!(next.serving(), 2);
    let record = scene.outcome(1, Outcome::HandedOver);
    assert!(record.blackout().is_some(), "{record:?}");
    swarm.wait_generation(2);
    assert_whole(scene, next, swarm);
}

#[test]
fn killed_with_a_successor_that_refuses_the_next_start_recovers() {
    let scene = scene();
    let mut owner = scene.first(&[]);
    let swarm = Swarm::new(scene.address(), 5);
    let mut next = scene.prepared("B", &[]);
    owner.kill();
    // It holds the lock, as heir; while it lives nobody else can start. Dead, it is in nobody's way.
    next.kill();
    let _ = swarm.lost();
    let mut third = scene.spawn("C", &[]);
    assert_eq!(third.started(), ("recovered".into(), 1));
    assert_eq!(third.serving(), 2);
    let swarm = Swarm::new(scene.address(), 5);
    assert_whole(scene, third, swarm);
}

#[test]
fn killed_while_it_drains_nobody_misses_it() {
    let scene = scene();
    let mut owner = scene.first(&[]);
    owner.tell(Order::Work);
    owner.expect(&Report::Working);
    let swarm = Swarm::new(scene.address(), 5);
    let mut next = scene.spawn("B", &[]);
    assert_eq!(next.serving(), 2);
    owner.expect(&Report::HandedOver);
    scene.wait_phase(Phase::Draining);
    owner.kill();
    swarm.wait_generation(2);
    assert_whole(scene, next, swarm);
}
