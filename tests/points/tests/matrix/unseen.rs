//! A predecessor that stands while its successor takes the node, accepts connections on probation and gives the node back: when it looks at the
//! lease again, that is offered to itself. It was taken all the same, and all connections are there (H2, H3).

use crate::scene;
use actors::node::wait::until;
use actors::node::{Order, Swarm};

/// Nobody gives up while the other stands.
const PATIENT: &[&str] = &[
    "--park",
    "--deadline",
    "probation=600000",
    "--deadline",
    "give-back=60000",
    "--deadline",
    "quiet=60000",
    "--deadline",
    "take=60000",
    "--deadline",
    "hello=60000",
    "--deadline",
    "batch=60000",
];
/// Where the lease is released, and the predecessor has not looked yet whether it was taken.
const STRIKE: &str = "--strike=stop:handover:old: signalled";
const CLIENTS: usize = 3;

#[test]
fn a_cutover_that_is_given_back_before_it_was_seen_cuts_nobody() {
    let scene = scene();
    let mut old = scene.spawn("A", &[PATIENT, &[STRIKE]].concat());
    assert_eq!(old.serving(), 1);
    scene.know();
    let swarm = Swarm::new(scene.address(), CLIENTS);
    let mut new = scene.spawn("B", PATIENT);
    until("a stop when the lease was released", || old.is_stopped().then_some(()));
    assert_eq!(new.serving(), 2);
    let late = swarm.add(CLIENTS);
    swarm.wait_answered(late);
    new.tell(Order::GiveBack);
    until("a lease that is offered back", || {
        // Its type is of the library without points: told by its name.
        let lease = scene.try_status()?.lease;
        format!("{lease:?}").starts_with("Offered").then_some(())
    });
    old.thaw();
    old.skip_to_back();
    assert_eq!(old.serving(), 3);
    swarm.wait_generation(3);
    swarm.wait_progress();
    swarm.check();
    new.exit();
    drop(swarm.finish());
    scene.end(old);
}
