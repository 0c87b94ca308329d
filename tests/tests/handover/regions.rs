//! Regions that a new version brings: kept if it lasts, gone if it does not.

use crate::scene;
use actors::node::{Actor, Fault, Order, Report, Scene, Swarm};
use handover::control::Phase;

const LONG: &[&str] = &["--park", "--deadline", "probation=600000"];
const EXTRA: &[&str] = &["--park", "--deadline", "probation=600000", "--extra", "extra"];

/// Waits until a server with another region serves.
fn serving(actor: &mut Actor, new: bool, count: u64, generation: u64) {
    assert!(matches!(actor.report(), Report::Started { .. }));
    actor.expect(&Report::Extra { new, count });
    assert_eq!(actor.serving(), generation);
}

fn has_extra(scene: &Scene) -> bool {
    scene.shared_objects().iter().any(|name| name.ends_with("-extra"))
}

#[test]
fn a_new_region_lasts_with_the_version_that_brings_it() {
    let scene = scene();
    let mut old = scene.first(LONG);
    let swarm = Swarm::new(scene.address(), 5);
    let mut new = scene.spawn("B", EXTRA);
    serving(&mut new, true, 1, 2);
    new.tell(Order::Confirm);
    new.expect(&Report::Confirmed(true));
    old.drained();
    let mut third = scene.spawn("C", EXTRA);
    serving(&mut third, false, 2, 3);
    new.expect(&Report::HandedOver);
    third.kill();
    assert!(matches!(new.report(), Report::Back { .. }));
    new.expect(&Report::Extra { new: false, count: 3 });
    assert_eq!(new.serving(), 4);
    swarm.wait_generation(4);
    drop(swarm.finish());
    scene.close(new);
}

#[test]
fn a_new_region_goes_with_the_version_that_does_not_last() {
    let scene = scene();
    let mut old = scene.first(LONG);
    let swarm = Swarm::new(scene.address(), 5);
    let mut bad = scene.spawn("refuses", &[EXTRA, &["--fault", "refuse"]].concat());
    bad.exit();
    assert!(!has_extra(&scene), "its maker never served");
    for (round, by_itself) in [(1, true), (2, false)] {
        let mut new = scene.spawn("B", EXTRA);
        // Whatever the one before left is not its world.
        serving(&mut new, true, 1, 2 * round);
        old.expect(&Report::HandedOver);
        if by_itself {
            new.tell(Order::GiveBack);
            new.expect(&Report::GivenBack);
            assert!(matches!(new.report(), Report::Drained { .. }));
            new.exit();
            assert!(!has_extra(&scene), "it took its region along");
        } else {
            new.kill();
        }
        assert!(matches!(old.report(), Report::Back { .. }));
        assert_eq!(old.serving(), 2 * round + 1);
        swarm.wait_generation(2 * round + 1);
    }
    assert!(has_extra(&scene), "the killed one could not");
    drop(scene.bad("exits", Fault::ExitAtOnce));
    drop(swarm.finish());
    scene.close(old);
}

#[test]
fn a_region_that_the_parked_version_could_take_back_is_not_replaced() {
    let scene = scene();
    let mut old = scene.spawn("A", EXTRA);
    serving(&mut old, true, 1, 1);
    scene.know();
    let mut without = scene.spawn("B", LONG);
    assert_eq!(without.serving(), 2);
    old.expect(&Report::HandedOver);
    scene.wait_phase(Phase::Probation);
    let mut third = scene.spawn("C", EXTRA);
    let (who, why) = third.failed();
    assert_eq!(who, "Predecessor");
    assert!(why.contains("in use"), "{why}");
    without.kill();
    assert!(matches!(old.report(), Report::Back { .. }));
    old.expect(&Report::Extra { new: false, count: 2 });
    assert_eq!(old.serving(), 3);
    scene.close(old);
}

#[test]
fn what_is_carried_goes_there_and_back_and_outlives_a_kill() {
    let scene = scene();
    let carry = [LONG, &["--carry"]].concat();
    let carried = |actor: &mut Actor, before: Option<u64>, owners: &str| {
        let report = loop {
            match actor.report() {
                Report::Started { .. } | Report::HandedOver | Report::Back { .. } => {}
                other => break other,
            }
        };
        let expected = Report::Carried {
            before: before.map(|generation| (generation as u32, generation)),
            owners: owners.into(),
            too_large: true,
        };
        assert_eq!(report, expected);
    };
    let mut old = scene.spawn("A", &carry);
    carried(&mut old, None, "A");
    assert_eq!(old.serving(), 1);
    let mut new = scene.spawn("B", &carry);
    carried(&mut new, Some(1), "AB");
    assert_eq!(new.serving(), 2);
    new.tell(Order::GiveBack);
    carried(&mut old, Some(2), "ABA");
    assert_eq!(old.serving(), 3);
    let mut new = scene.spawn("C", &carry);
    carried(&mut new, Some(3), "ABAC");
    assert_eq!(new.serving(), 4);
    new.kill();
    carried(&mut old, Some(4), "ABACA");
    assert_eq!(old.serving(), 5);
    // Alone and killed: the next start finds it.
    old.kill();
    let mut next = scene.spawn("D", &carry);
    carried(&mut next, Some(5), "ABACAD");
    assert_eq!(next.serving(), 6);
    scene.close(next);
}
