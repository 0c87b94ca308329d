//! Successors that fail: the predecessor serves on, under the same generation, with nothing leaked (H2).

use crate::scene;
use actors::node::wait::until;
use actors::node::{Actor, Fault, Order, Report, Scene, Swarm};
use handover::control::{Outcome, Phase};
use handover::os::limits;
use std::os::unix::process::ExitStatusExt;

/// Aborted handovers in a row that must leak nothing.
const IN_A_ROW: usize = 30;

/// What a failed handover must not change.
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

    fn assert_unchanged(&self, scene: &Scene, owner: &Actor, swarm: &Swarm) {
        swarm.wait_progress();
        assert_eq!(scene.generation(), self.generation);
        assert_eq!(scene.shared_objects(), self.shared);
        scene.wait_participants(&[owner.pid()]);
        scene.wait_phase(Phase::None);
        until("the descriptors the owner had before", || {
            (owner.descriptors() == self.descriptors).then_some(())
        });
    }
}

/// The next upgrade works, and what was served before is served on.
fn assert_upgradable(scene: Scene, mut owner: Actor, swarm: Swarm) {
    let mut next = scene.spawn("next", &[]);
    let generation = next.serving();
    swarm.wait_generation(generation);
    owner.drained();
    drop(swarm.finish());
    scene.close(next);
}

#[test]
fn each_way_to_fail_before_ready() {
    let scene = scene();
    let owner = scene.first(&[]);
    let swarm = Swarm::new(scene.address(), 20);
    let before = Before::of(&scene, &owner);

    let mut bad = scene.bad("B1", Fault::ExitAtOnce);
    assert_eq!(bad.failed().1, "told to exit at once");
    assert!(scene.status().history.is_empty(), "it never asked");
    before.assert_unchanged(&scene, &owner, &swarm);

    let mut bad = scene.bad("B2", Fault::AbortAfterStart);
    assert_eq!(bad.exit().signal(), Some(nix::libc::SIGABRT));
    let record = scene.outcome(1, Outcome::SuccessorDied);
    assert_eq!(record.successor_pid, bad.pid());
    assert_eq!((record.from_generation, record.to_generation), (1, 1));
    assert_eq!((record.streams, record.descriptors), (20, 24));
    assert_eq!((record.ready, record.last_commit, record.first_tick), (0, 0, 0));
    before.assert_unchanged(&scene, &owner, &swarm);

    let bad = scene.bad("B3", Fault::DropAfterStart);
    assert_eq!(scene.outcome(2, Outcome::SuccessorDied).successor_pid, bad.pid());
    before.assert_unchanged(&scene, &owner, &swarm);

    let mut bad = scene.bad("B4", Fault::Refuse);
    assert_eq!(bad.started().0, "successor");
    assert_eq!(bad.failed(), ("Predecessor".into(), "told to refuse".into()));
    assert_eq!(scene.outcome(3, Outcome::RefusedBySuccessor).reason, "told to refuse");
    before.assert_unchanged(&scene, &owner, &swarm);

    let mut bad = scene.bad("B5", Fault::OtherSchema);
    let (who, text) = bad.failed();
    assert_eq!(who, "Predecessor");
    for part in ["totals", "ticks", "average", "f64"] {
        assert!(text.contains(part), "what differs is printed: {text}");
    }
    let record = scene.outcome(4, Outcome::RefusedBySuccessor);
    assert!(text.starts_with(&record.reason[..50]), "{record:?}");
    before.assert_unchanged(&scene, &owner, &swarm);

    let mut killed = scene.prepared("B6", &[]);
    killed.kill();
    assert_eq!(scene.outcome(5, Outcome::SuccessorDied).successor_pid, killed.pid());
    before.assert_unchanged(&scene, &owner, &swarm);

    assert_eq!((scene.status().completed, scene.status().aborted), (0, 5));
    assert_upgradable(scene, owner, swarm);
}

#[test]
fn one_that_is_never_ready_is_given_up() {
    let scene = scene();
    let owner = scene.first(&["--deadline", "ready=150"]);
    let swarm = Swarm::new(scene.address(), 5);
    let before = Before::of(&scene, &owner);
    let mut slow = scene.prepared("B", &[]);
    let record = scene.outcome(1, Outcome::Deadline);
    assert!(record.reason.contains("not ready in time"), "{record:?}");
    // It comes too late, and is told so.
    slow.tell(Order::Go);
    let (who, text) = slow.failed();
    assert_eq!(who, "Predecessor");
    assert!(text.contains("not ready in time"), "{text}");
    slow.exit();
    before.assert_unchanged(&scene, &owner, &swarm);
    assert_upgradable(scene, owner, swarm);
}

#[test]
fn one_that_is_ready_late_but_in_time_takes_over() {
    let scene = scene();
    let mut owner = scene.first(&[]);
    let swarm = Swarm::new(scene.address(), 5);
    let build = "v2.0.17-a-build-id-as-people-make-them";
    let mut slow = scene.prepared(build, &[]);
    for _ in 0..3 {
        swarm.wait_progress();
    }
    assert_eq!(scene.status().phase, Phase::WaitingForReady);
    slow.tell(Order::Go);
    assert_eq!(slow.serving(), 2);
    swarm.wait_generation(2);
    assert_eq!(scene.status().owner.expect("a row").build_id, build);
    owner.drained();
    drop(swarm.finish());
    scene.close(slow);
}

#[test]
fn many_in_a_row_leak_nothing() {
    let scene = scene();
    let owner = scene.first(&[]);
    let swarm = Swarm::new(scene.address(), 20);
    let before = Before::of(&scene, &owner);
    let faults = [Fault::Refuse, Fault::AbortAfterStart, Fault::DropAfterStart];
    for (n, fault) in faults.iter().cycle().take(IN_A_ROW).enumerate() {
        drop(scene.bad("bad", *fault));
        assert_ne!(scene.record(n + 1).outcome, Outcome::HandedOver);
    }
    before.assert_unchanged(&scene, &owner, &swarm);
    assert_eq!(scene.status().aborted, IN_A_ROW as u64);
    assert_upgradable(scene, owner, swarm);
}

#[test]
fn a_gate_that_does_not_get_quiet_is_opened_again() {
    let scene = scene();
    let mut owner = scene.first(&["--deadline", "quiet=100", "--deadline", "tick=50"]);
    let swarm = Swarm::new(scene.address(), 5);
    let before = Before::of(&scene, &owner);
    owner.tell(Order::Hold);
    owner.expect(&Report::Holding);
    let mut next = scene.spawn("B", &[]);
    let record = scene.outcome(1, Outcome::GateNotQuiet);
    assert!(record.ready > 0, "{record:?}");
    let holder = format!("thread {}", owner.pid());
    assert!(record.reason.contains(&holder), "it says who held it up: {record:?}");
    let (who, why) = next.failed();
    assert_eq!(who, "Predecessor");
    assert!(why.contains(&holder), "{why}");
    next.exit();
    owner.tell(Order::Release);
    let late = swarm.add(2);
    swarm.wait_answered(late.clone());
    assert!(
        swarm.seen()[late].iter().all(|s| s.generations == Some((1, 1))),
        "accepting goes on"
    );
    drop(swarm.finish());
    let swarm = Swarm::new(scene.address(), 5);
    before.assert_unchanged(&scene, &owner, &swarm);
    assert_upgradable(scene, owner, swarm);
}

#[test]
fn one_that_dies_while_the_gate_closes() {
    let scene = scene();
    let mut owner = scene.first(&[]);
    let swarm = Swarm::new(scene.address(), 5);
    let before = Before::of(&scene, &owner);
    owner.tell(Order::Hold);
    owner.expect(&Report::Holding);
    let mut next = scene.spawn("B", &[]);
    scene.wait_phase(Phase::Closing);
    next.kill();
    let _ = scene.outcome(1, Outcome::SuccessorDied);
    owner.tell(Order::Release);
    before.assert_unchanged(&scene, &owner, &swarm);
    assert_upgradable(scene, owner, swarm);
}

/// Brings a handover to where the lease is offered to a successor that stands still.
fn offered_to_a_frozen_one(scene: &Scene, owner: &mut Actor) -> Actor {
    owner.tell(Order::Hold);
    owner.expect(&Report::Holding);
    let mut next = scene.spawn("B", &[]);
    assert_eq!(next.started().0, "successor");
    scene.wait_phase(Phase::Closing);
    next.freeze();
    owner.tell(Order::Release);
    next
}

#[test]
fn one_that_does_not_take_loses_the_offer() {
    let scene = scene();
    let mut owner = scene.first(&["--deadline", "take=100"]);
    let swarm = Swarm::new(scene.address(), 5);
    let mut next = offered_to_a_frozen_one(&scene, &mut owner);
    let record = scene.outcome(1, Outcome::SuccessorDidNotTake);
    assert_eq!(record.from_generation, 1, "{record:?}");
    // Offered as 2, taken back as 3.
    assert_eq!(record.to_generation, 3, "{record:?}");
    assert_eq!(scene.generation(), 3);
    swarm.wait_generation(3);
    next.thaw();
    let (who, _) = next.failed();
    assert_eq!(who, "Predecessor");
    next.exit();
    swarm.wait_progress();
    scene.wait_participants(&[owner.pid()]);
    assert_upgradable(scene, owner, swarm);
}

#[test]
fn one_that_dies_while_the_lease_is_offered_loses_it() {
    let scene = scene();
    let mut owner = scene.first(&["--deadline", "take=10000"]);
    let swarm = Swarm::new(scene.address(), 5);
    let mut next = offered_to_a_frozen_one(&scene, &mut owner);
    scene.wait_phase(Phase::Offered);
    next.kill();
    let _ = scene.outcome(1, Outcome::SuccessorDied);
    swarm.wait_generation(3);
    scene.wait_participants(&[owner.pid()]);
    assert_upgradable(scene, owner, swarm);
}

#[test]
fn one_that_is_short_of_descriptors_says_so() {
    let scene = scene();
    let owner = scene.first(&[]);
    let swarm = Swarm::new(scene.address(), 300);
    let before = Before::of(&scene, &owner);
    let mut short = scene.spawn("B", &["--nofile", "100"]);
    let (who, text) = short.failed();
    assert_eq!(who, "Predecessor");
    // A region twice, the listener, the lock, the control socket, the connections, and what a handover takes.
    let needed = format!("{} more descriptors", 2 + 3 + 300 + limits::FOR_A_HANDOVER);
    for part in [
        &needed,
        "RLIMIT_NOFILE allows 100",
        "hard limit 100",
        "ulimit -n",
        "LimitNOFILE=",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("refused by the predecessor"), "it was not: {text}");
    short.exit();
    let record = scene.outcome(1, Outcome::RefusedBySuccessor);
    assert!(record.reason.contains(&needed), "{record:?}");
    before.assert_unchanged(&scene, &owner, &swarm);
    // One that may raise its limit does.
    let mut owner = owner;
    let mut next = scene.spawn("C", &["--nofile", "100", "--nofile-most", "1000"]);
    assert_eq!(next.serving(), 2);
    swarm.wait_generation(2);
    owner.drained();
    assert_upgradable(scene, next, swarm);
}

#[test]
fn a_stop_ends_the_node_and_no_successor_inherits_it() {
    let scene = scene();
    let mut owner = scene.first(&[]);
    let mut next = scene.prepared("B", &[]);
    owner.tell(Order::Stop);
    owner.expect(&Report::Stopped);
    assert!(owner.exit().success());
    next.tell(Order::Go);
    let (who, text) = next.failed();
    assert_eq!(who, "Unknown", "{text}");
    assert!(text.contains("stopped the node"), "{text}");
    next.exit();
    scene.assert_gone();
    // The name is free for a new node.
    let anew = scene.first(&[]);
    scene.close(anew);
}

#[test]
fn a_stop_while_the_gate_is_armed_ends_the_node_too() {
    let scene = scene();
    // No tick comes, and the driver waits for one.
    let mut owner = scene.first(&["--idle", "--deadline", "tick=15000"]);
    let mut next = scene.spawn("B", &[]);
    scene.wait_phase(Phase::Closing);
    owner.tell(Order::Stop);
    owner.expect(&Report::Stopped);
    assert!(owner.exit().success());
    let (_, text) = next.failed();
    assert!(text.contains("stop"), "{text}");
    next.exit();
    scene.assert_gone();
}
