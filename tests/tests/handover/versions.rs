//! Builds of different protocol versions meet: old with new, new with old, and one that shares no version with the owner.

use crate::scene;
use actors::node::wait::LIMIT;
use actors::node::{Order, Report, Swarm};
use handover::control::{Outcome, Phase};
use handover::os::clock::Deadline;
use handover::os::pidfd::ProcessId;
use handover::wire::{Channel, Hello, Message};

/// Only one that would park can show that it does not.
const LONG: &[&str] = &["--park", "--deadline", "probation=600000"];
const OLD: &[&str] = &["--park", "--deadline", "probation=600000", "--speaks", "1"];

/// One hands over to the other with live connections, and nobody is on probation.
fn meet(first: &[&str], second: &[&str]) {
    let scene = scene();
    let mut old = scene.first(first);
    let swarm = Swarm::new(scene.address(), 50);
    swarm.wait_progress();
    let mut new = scene.spawn("B", second);
    assert_eq!(new.serving(), 2);
    swarm.wait_generation(2);
    old.drained();
    let record = scene.outcome(1, Outcome::HandedOver);
    assert_eq!(record.streams, 50, "{record:?}");
    new.tell(Order::Confirm);
    new.expect(&Report::Confirmed(false));
    let late = swarm.add(5);
    swarm.wait_answered(late);
    scene.wait_phase(Phase::None);
    drop(swarm.finish());
    scene.close(new);
}

#[test]
fn version_1_hands_over_to_version_2() {
    meet(OLD, LONG);
}

#[test]
fn version_2_hands_over_to_version_1() {
    meet(LONG, OLD);
}

#[test]
fn version_1_hands_over_to_version_1() {
    meet(OLD, OLD);
}

#[test]
fn one_that_speaks_only_later_versions_is_refused_with_both_ranges() {
    for (speaks, ours) in [(&[][..], "1 to 2"), (&["--speaks", "1"][..], "1")] {
        let scene = scene();
        let owner = scene.first(speaks);
        let swarm = Swarm::new(scene.address(), 5);
        let soon = || Deadline::after(LIMIT);
        let mut channel = Channel::connect(&scene.directory().join("control"), soon()).expect("connect");
        let hello = Message::Hello(Hello {
            lowest: 3,
            highest: 4,
            process: ProcessId::current().expect("proc"),
            build_id: "of tomorrow".into(),
        });
        channel.send(&hello, &[], soon()).expect("hello");
        match channel.recv(soon()).expect("an answer") {
            (Message::Refuse { reason }, _) => {
                assert!(reason.contains(ours) && reason.contains("3 to 4"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
        swarm.wait_progress();
        assert!(scene.status().history.is_empty(), "no handover began");
        scene.wait_participants(&[owner.pid()]);
        drop(swarm.finish());
        scene.close(owner);
    }
}
