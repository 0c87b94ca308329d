//! A hostile successor: what it says in each state of the predecessor, up to the offered lease, which it never takes.
//!
//! It does not take the lease: what comes after the cutover is in `probation`.

use crate::frames::{Said, Speaker, hello};
use crate::{Before, assert_upgradable, rounds, scene, soon, until_closed};
use actors::node::wait::until;
use actors::node::{Actor, Order, Report, Scene, Swarm};
use handover::control::Phase;
use handover::os::pidfd::ProcessId;
use handover::os::rights::send_with_fds;
use handover::wire::{Channel, Message};
use shmstate::lease::Lease;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Rounds with the other tests: each state many times, some seconds.
const ROUNDS: u64 = 105;
/// Rounds of one that cuts its clients: many more than it takes to see that.
const SABOTAGED: u64 = 60;
/// The owner gives up soon: a peer that goes silent costs that much.
const HASTY: &[&str] = &[
    "--deadline",
    "hello=400",
    "--deadline",
    "batch=800",
    "--deadline",
    "ready=800",
    "--deadline",
    "stand-by=800",
    "--deadline",
    "tick=200",
    "--deadline",
    "quiet=400",
    "--deadline",
    "take=400",
];

/// Where the predecessor is when it hears something else than it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Greeting,
    Greeted,
    Staging,
    AllOffered,
    Ready,
    Closing,
    Offered,
}

const WHEN: [When; 7] = [
    When::Greeting,
    When::Greeted,
    When::Staging,
    When::AllOffered,
    When::Ready,
    When::Closing,
    When::Offered,
];

/// A whole round: a proper successor up to `when`, then what `random` says.
fn play(scene: &Scene, owner: &mut Actor, swarm: &Swarm, when: When, random: &mut fastrand::Rng) -> usize {
    let control = scene.directory().join("control");
    let mut speaker = Speaker::new(Channel::connect(&control, soon()).expect("connect"));
    let held = when == When::Closing;
    if held {
        owner.tell(Order::Hold);
        owner.expect(&Report::Holding);
    }
    let due = proper(&mut speaker, scene, when, random.u16(1..=2));
    if due.is_none() {
        println!("  {when:?}: given up before");
    }
    // Accepted while a successor is on its way: it goes over, and stays.
    let newcomer = (random.u32(..6) == 0).then(|| swarm.add(1));
    for _ in 0..random.u32(1..=2) {
        let said = Said::choose(&speaker.due(due.clone().flatten()), random);
        println!("  {when:?}: {}", said.describe());
        said.say(speaker.channel.as_fd());
    }
    // Leaves at once, or hears what it is told.
    match random.u32(..3) {
        0 => drop(speaker),
        _ => drop(until_closed(&mut speaker.channel)),
    }
    answered_for_another(&control);
    if held {
        owner.tell(Order::Release);
    }
    let count = newcomer.as_ref().map_or(0, ExactSizeIterator::len);
    newcomer.into_iter().for_each(|range| swarm.wait_answered(range));
    count
}

/// What a successor does, up to this state; gives what it would say next. `None` if it was given up on the way.
fn proper(speaker: &mut Speaker, scene: &Scene, when: When, highest: u16) -> Option<Option<Message>> {
    let me = ProcessId::current().expect("proc");
    if when == When::Greeting {
        return Some(Some(hello(highest, me)));
    }
    speaker.send(&hello(highest, me), &[])?;
    if when == When::Greeted {
        return Some(Some(Message::Ack { batch: 0 }));
    }
    let Message::Offer(offer) = speaker.hear()?.0 else {
        panic!("an offer was due");
    };
    speaker.set_version(offer.protocol);
    assert!(matches!(speaker.hear()?, (Message::Descriptors { batch: 0, .. }, fds) if !fds.is_empty()));
    if when == When::Staging {
        return Some(Some(Message::Ack { batch: 0 }));
    }
    speaker.send(&Message::Ack { batch: 0 }, &[])?;
    assert!(matches!(speaker.hear()?.0, Message::Offered { batches: 1 }));
    if when == When::AllOffered {
        return Some(Some(Message::Ready));
    }
    speaker.send(&Message::Ready, &[])?;
    assert!(matches!(speaker.hear()?.0, Message::StandBy { batches: 1 }));
    if when == When::Ready {
        return Some(Some(Message::Standing));
    }
    speaker.send(&Message::Standing, &[])?;
    match when {
        // It may be over before this is seen: then the channel says so.
        When::Closing => until("the gate to be closed", || {
            let closing = scene.status().phase == Phase::Closing;
            (closing || speaker.is_spoken_to()).then_some(())
        }),
        _ => until("the lease to be offered", || {
            let offered = matches!(scene.status().lease, Lease::Offered { .. });
            (offered || speaker.is_spoken_to()).then_some(())
        }),
    }
    Some(None)
}

/// One handover at a time: who is answered now knows that the one before is over.
fn answered_for_another(control: &std::path::Path) {
    let mut channel = Channel::connect(control, soon()).expect("connect");
    send_with_fds(channel.as_fd(), b"and now?", &[], soon()).expect("send");
    assert!(matches!(channel.recv(soon()), Ok((Message::Refuse { .. }, _))));
    until_closed(&mut channel);
}

fn run(test: &str, count: u64, more: &[&str]) {
    let scene = scene();
    let mut owner = scene.first(&[HASTY, more].concat());
    let swarm = Swarm::new(scene.address(), 8);
    // The first of each makes what stays, and this process's row.
    answered_for_another(&scene.directory().join("control"));
    let mut before = Before::of(&scene, &owner);
    for (round, mut random) in rounds(test, count) {
        let when = WHEN[(round % WHEN.len() as u64) as usize];
        println!("round {round}");
        before.descriptors += play(&scene, &mut owner, &swarm, when, &mut random);
        let offered = matches!(when, When::Ready | When::Closing | When::Offered);
        before.assert_unchanged(&scene, &owner, &swarm, offered);
        if round % 8 == 0 {
            swarm.wait_progress();
        }
    }
    scene.wait_participants(&[owner.pid(), std::process::id()]);
    assert_upgradable(scene, owner, swarm);
}

#[test]
fn a_hostile_successor_changes_nothing() {
    run("a_hostile_successor_changes_nothing", ROUNDS, &[]);
}

/// The checks can fail: a server that does its clients wrong is seen.
#[test]
fn a_server_that_cuts_its_clients_is_seen() {
    for wrong in ["cut", "lose"] {
        let seen = catch_unwind(AssertUnwindSafe(|| run(wrong, SABOTAGED, &["--sabotage", wrong])));
        assert!(seen.is_err(), "nobody saw it");
    }
}
