//! The probation: successors that die, hang, give back, are rolled back by an operator, are well; and what comes in between (H3, H9).

use crate::scene;
use actors::node::{Actor, Order, Report, Scene, Swarm};
use handover::control::{Outcome, ParticipantState, Phase, Request};

/// A probation that ends by an event, not by time.
pub(crate) const LONG: &[&str] = &["--park", "--deadline", "probation=600000"];

/// A first server that parks, its clients, and a successor on probation.
fn upgraded(clients: usize, successor: &[&str]) -> (Scene, Actor, Actor, Swarm) {
    upgraded_with(LONG, clients, successor)
}

pub(crate) fn upgraded_with(first: &[&str], clients: usize, successor: &[&str]) -> (Scene, Actor, Actor, Swarm) {
    let scene = scene();
    let mut old = scene.first(first);
    let swarm = Swarm::new(scene.address(), clients);
    let mut new = scene.spawn("B", successor);
    assert_eq!(new.serving(), 2);
    old.expect(&Report::HandedOver);
    swarm.wait_generation(2);
    scene.wait_phase(Phase::Probation);
    let status = scene.status();
    let parked = status.participants.iter().find(|p| p.process.pid == old.pid());
    assert_eq!(parked.map(|p| p.state), Some(ParticipantState::Parked));
    (scene, old, new, swarm)
}

/// The old server serves again, whole: every client, also those that came meanwhile, and the next upgrade works.
pub(crate) fn assert_back(scene: Scene, mut old: Actor, swarm: Swarm, cause: &str, inherited: bool) {
    old.expect(&Report::Back {
        before: 2,
        cause: cause.into(),
    });
    match old.report() {
        Report::Serving {
            generation: 3,
            inherited: found,
            gone: 0,
            ..
        } => assert_eq!(found, inherited),
        other => panic!("the old one was to serve all connections: {other:?}"),
    }
    swarm.wait_generation(3);
    swarm.wait_progress();
    scene.wait_phase(Phase::None);
    let outcome = if inherited {
        Outcome::TakenBack
    } else {
        Outcome::GivenBack
    };
    let record = scene.outcome(2, outcome);
    assert_eq!((record.from_generation, record.to_generation), (2, 3), "{record:?}");
    assert_eq!(record.successor_pid, old.pid());
    assert!(record.first_tick > 0);
    let late = swarm.add(3);
    swarm.wait_answered(late);
    let mut next = scene.spawn("next", &[]);
    assert_eq!(next.serving(), 4);
    swarm.wait_generation(4);
    next.tell(Order::Confirm);
    next.expect(&Report::Confirmed(true));
    old.drained();
    drop(swarm.finish());
    scene.close(next);
}

#[test]
fn killed_the_old_one_serves_again_with_every_connection() {
    let (scene, old, mut new, swarm) = upgraded(50, &[]);
    // Accepted by the new one: only its mirror keeps them.
    let late = swarm.add(20);
    swarm.wait_answered(late);
    swarm.wait_progress();
    new.kill();
    assert_back(scene, old, swarm, "Died", true);
}

#[test]
fn killed_in_the_middle_of_a_transaction_it_is_taken_back() {
    let (scene, old, mut new, swarm) = upgraded(20, &[]);
    new.tell(Order::Tear);
    new.expect(&Report::Holding);
    new.kill();
    // Clients whose records were gone would be told a lower number, or be cut.
    assert_back(scene, old, swarm, "Died", true);
}

#[test]
fn it_gives_back_by_itself() {
    let (scene, old, mut new, swarm) = upgraded(50, &[]);
    let late = swarm.add(20);
    swarm.wait_answered(late);
    new.tell(Order::GiveBack);
    new.expect(&Report::GivenBack);
    assert!(matches!(new.report(), Report::Drained { left: 0, .. }));
    assert!(new.exit().success());
    assert_back(scene, old, swarm, "GaveBack", false);
}

#[test]
fn an_operator_rolls_back_one_that_is_well() {
    let (scene, old, mut new, swarm) = upgraded_with(&[LONG, &["--deadline", "give-back=20000"]].concat(), 20, &[]);
    scene.request(Request::Rollback);
    new.expect(&Report::GivenBack);
    assert!(matches!(new.report(), Report::Drained { left: 0, .. }));
    assert!(new.exit().success());
    assert_back(scene, old, swarm, "Operator", false);
}

#[test]
fn a_word_is_heard_that_is_said_before_the_old_one_is_parked() {
    for wish in [Request::Confirm, Request::Rollback] {
        let scene = scene();
        let mut old = scene.first(LONG);
        let swarm = Swarm::new(scene.address(), 5);
        let mut new = scene.spawn("B", &[]);
        assert_eq!(new.serving(), 2);
        // The cutover is a moment old, and the old one may not even have seen it.
        scene.request(wish);
        old.expect(&Report::HandedOver);
        if wish == Request::Rollback {
            assert_back(scene, old, swarm, "Operator", false);
            continue;
        }
        assert!(matches!(old.report(), Report::Drained { left: 0, .. }));
        assert!(old.exit().success());
        drop(swarm.finish());
        scene.close(new);
    }
}

#[test]
fn an_operator_rolls_back_one_that_is_stopped_in_the_middle_of_a_transaction() {
    let (scene, old, mut new, swarm) = upgraded_with(&[LONG, &["--deadline", "give-back=200"]].concat(), 20, &[]);
    new.tell(Order::Tear);
    new.expect(&Report::Holding);
    new.freeze();
    scene.request(Request::Rollback);
    // Stopped, it answers nothing; only its proven death lets anybody undo what it began.
    assert!(!new.exit().success());
    assert_back(scene, old, swarm, "Operator", true);
}

#[test]
fn the_watchdog_finds_one_that_hangs_in_a_pass() {
    let old = [LONG, &["--deadline", "watchdog=2000", "--deadline", "give-back=200"]].concat();
    let (scene, old, mut new, swarm) = upgraded_with(&old, 20, &["--deadline", "quiet=300000"]);
    new.tell(Order::Tear);
    new.expect(&Report::Holding);
    assert!(!new.exit().success());
    assert_back(scene, old, swarm, "Hung", true);
}

#[test]
fn the_watchdog_spares_one_that_hangs_without_a_pass() {
    let old = [LONG, &["--deadline", "watchdog=2000", "--deadline", "give-back=10000"]].concat();
    let (scene, old, mut new, swarm) = upgraded_with(&old, 20, &[]);
    new.tell(Order::Sleep);
    new.expect(&Report::Holding);
    // It holds nothing, so its gate closes beneath it: no need to kill.
    scene.wait_generation(3);
    new.tell(Order::Release);
    new.expect(&Report::GivenBack);
    assert!(matches!(new.report(), Report::Drained { left: 0, .. }));
    assert!(new.exit().success());
    assert_back(scene, old, swarm, "Hung", false);
}

#[test]
fn confirmed_it_is_not_taken_back() {
    for by_operator in [false, true] {
        let (scene, mut old, mut new, swarm) = upgraded(20, &[]);
        if by_operator {
            scene.request(Request::Confirm);
        } else {
            new.tell(Order::Confirm);
            new.expect(&Report::Confirmed(true));
        }
        assert!(matches!(old.report(), Report::Drained { left: 0, .. }));
        assert!(old.exit().success());
        scene.wait_participants(&[new.pid()]);
        scene.wait_phase(Phase::None);
        swarm.wait_progress();
        drop(swarm.finish());
        scene.close(new);
    }
}

#[test]
fn the_probation_ends_by_itself() {
    let (scene, mut old, mut new, swarm) = upgraded_with(&["--park", "--deadline", "probation=5000"], 20, &[]);
    assert!(matches!(old.report(), Report::Drained { left: 0, .. }));
    assert!(old.exit().success());
    scene.wait_participants(&[new.pid()]);
    new.tell(Order::Confirm);
    new.expect(&Report::Confirmed(false));
    swarm.wait_progress();
    drop(swarm.finish());
    scene.close(new);
}

#[test]
fn connections_that_end_meanwhile_are_closed_in_the_mirror_too() {
    let (scene, old, mut new, swarm) = upgraded(5, &[]);
    let before = old.descriptors();
    let brief = Swarm::new(scene.address(), 30);
    scene.wait_connections(new.pid(), 35);
    drop(brief.finish());
    scene.wait_connections(new.pid(), 5);
    actors::node::wait::until("the mirror to close what is gone", || {
        (old.descriptors() == before).then_some(())
    });
    new.kill();
    assert_back(scene, old, swarm, "Died", true);
}

/// Clients come one by one until the stopped predecessor's channel is full: then the next ones are not accepted. Gives how many there are.
fn fill(scene: &Scene, new: &Actor, swarm: &Swarm, clients: u64) -> u64 {
    // More than any system lets wait in such a socket.
    const MOST: u64 = 2000;
    const SOON: std::time::Duration = std::time::Duration::from_millis(150);
    for more in 1..MOST {
        swarm.add(1);
        let begun = std::time::Instant::now();
        while !accepted(scene, new, clients + more) {
            if begun.elapsed() > SOON {
                return clients + more;
            }
            std::thread::yield_now();
        }
    }
    panic!("the channel takes everything");
}

fn accepted(scene: &Scene, new: &Actor, clients: u64) -> bool {
    let status = scene.status();
    let row = status.participants.iter().find(|p| p.process.pid == new.pid());
    row.is_some_and(|row| row.connections >= clients)
}

#[test]
fn who_comes_while_the_parked_one_is_stopped_is_lost_by_nobody() {
    let (scene, old, mut new, swarm) = upgraded(20, &[]);
    old.freeze();
    let _ = fill(&scene, &new, &swarm, 20);
    swarm.add(30);
    // What it had accepted is in the mirror, the others wait in the listener's queue.
    new.kill();
    old.thaw();
    assert_back(scene, old, swarm, "Died", true);
}

#[test]
fn one_that_stays_stopped_is_no_predecessor_any_more() {
    // More than the two seconds for which it is waited.
    const UNREAD: std::time::Duration = std::time::Duration::from_secs(4);
    let (scene, mut old, mut new, swarm) = upgraded(20, &[]);
    old.freeze();
    let over = || (scene.status().history.len() > 1).then_some(());
    let mut clients = fill(&scene, &new, &swarm, 20);
    // On a busy machine a client may wait as long although there is room: then more have to come.
    while actors::node::wait::within(UNREAD, over).is_none() {
        clients = fill(&scene, &new, &swarm, clients);
    }
    let record = scene.outcome(2, Outcome::ProbationUnread);
    let late = swarm.add(10);
    swarm.wait_answered(late);
    new.tell(Order::Confirm);
    new.expect(&Report::Confirmed(false));
    assert_eq!((record.from_generation, record.to_generation), (2, 2), "{record:?}");
    assert_eq!(record.successor_pid, new.pid());
    assert!(record.reason.contains("read nothing"), "{record:?}");
    assert_eq!(scene.status().aborted, 0, "the handover was none that failed");
    old.thaw();
    assert!(matches!(old.report(), Report::Drained { left: 0, .. }));
    assert!(old.exit().success());
    drop(swarm.finish());
    scene.close(new);
}

#[test]
fn a_parked_one_that_is_killed_is_missed_by_nobody() {
    let (scene, mut old, mut new, swarm) = upgraded(20, &[]);
    old.kill();
    swarm.wait_progress();
    scene.wait_participants(&[new.pid()]);
    actors::node::wait::until("the end of the probation", || {
        new.tell(Order::Confirm);
        (new.report() == Report::Confirmed(false)).then_some(())
    });
    drop(swarm.finish());
    scene.close(new);
}

#[test]
fn a_node_that_is_stopped_on_probation_is_not_taken_back() {
    let (scene, mut old, new, swarm) = upgraded(20, &[]);
    drop(swarm.finish());
    scene.close(new);
    assert!(matches!(old.report(), Report::Drained { left: 0, .. }));
    assert!(old.exit().success());
}

#[test]
fn upgrades_in_a_row_end_the_probations_before_them() {
    let (scene, mut old, mut new, swarm) = upgraded(20, LONG);
    // One that fails before it stands by changes nothing: the old one could still take back.
    let bad = scene.bad("bad", actors::node::Fault::Refuse);
    drop(bad);
    scene.wait_participants(&[old.pid(), new.pid()]);
    let mut third = scene.spawn("C", LONG);
    assert_eq!(third.serving(), 3);
    assert!(matches!(old.report(), Report::Drained { left: 0, .. }));
    assert!(old.exit().success());
    new.expect(&Report::HandedOver);
    swarm.wait_generation(3);
    third.kill();
    new.expect(&Report::Back {
        before: 3,
        cause: "Died".into(),
    });
    assert_eq!(new.serving(), 4);
    swarm.wait_generation(4);
    swarm.wait_progress();
    drop(swarm.finish());
    scene.close(new);
}

#[test]
fn there_and_back_many_times() {
    let scene = scene();
    let mut old = scene.first(LONG);
    let mut swarm = Swarm::new(scene.address(), 20);
    let descriptors = old.descriptors();
    let mut generation = 1;
    for round in 0..6 {
        let mut new = scene.spawn("B", LONG);
        generation += 1;
        assert_eq!(new.serving(), generation);
        old.expect(&Report::HandedOver);
        swarm.wait_generation(generation);
        let late = swarm.add(2);
        swarm.wait_answered(late);
        match round % 3 {
            0 => new.kill(),
            1 => new.tell(Order::GiveBack),
            _ => scene.request(Request::Rollback),
        }
        generation += 1;
        assert!(matches!(old.report(), Report::Back { .. }));
        assert_eq!(old.serving(), generation);
        swarm.wait_generation(generation);
        new.exit();
    }
    // Two connections came each round, and nothing else.
    actors::node::wait::until("descriptors as before", || {
        (old.descriptors() == descriptors + 12).then_some(())
    });
    swarm.wait_progress();
    drop(swarm.finish());
    swarm = Swarm::new(scene.address(), 1);
    drop(swarm.finish());
    scene.close(old);
}
