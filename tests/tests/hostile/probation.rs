//! What comes over the channel between an owner on probation and its parked predecessor, and neither of them said: a third, who has
//! taken a duplicate of an end out of one of them, says it in its name.
//!
//! It does not know what the two decide, only that one of them serves afterwards.

use crate::frames::{Due, Said};
use crate::{rounds, scene};
use actors::node::{Actor, Order, Report, Scene, Swarm};
use handover::control::{ParticipantState, Phase, Request};
use handover::os::clock::Deadline;
use handover::os::rights::send_with_fds;
use handover::wire::Message;
use rustix::net::{SocketType, sockopt};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Rounds of each test: a predecessor that is left alone finds out for two seconds whether the owner is dead.
const ROUNDS: u64 = 3;
/// What either side has said when the probation begins: hello, ack, ready, standing; offer, descriptors, offered, stand by.
const SAID: u32 = 4;
/// A probation that ends by an event, not by time; and a machine that is busy ends no handover.
const LONG: &[&str] = &[
    "--park",
    "--deadline",
    "probation=600000",
    "--deadline",
    "give-back=500",
    "--deadline",
    "take=15000",
];
/// The same for the owner on probation, which hands over to the next.
const PATIENT: &[&str] = &["--deadline", "take=15000"];
/// Messages of a flood that are said before anything else happens.
const FLOOD: u32 = 5000;

/// An owner on probation, and its parked predecessor.
struct Pair {
    scene: Scene,
    parked: Actor,
    owner: Actor,
    swarm: Swarm,
}

impl Pair {
    fn new() -> Self {
        let scene = scene();
        let mut parked = scene.first(LONG);
        let swarm = Swarm::new(scene.address(), 8);
        let mut owner = scene.spawn("B", PATIENT);
        assert_eq!(owner.serving(), 2);
        parked.expect(&Report::HandedOver);
        swarm.wait_generation(2);
        scene.wait_phase(Phase::Probation);
        let status = scene.status();
        let row = status.participants.iter().find(|p| p.process.pid == parked.pid());
        assert_eq!(row.map(|p| p.state), Some(ParticipantState::Parked));
        Self {
            scene,
            parked,
            owner,
            swarm,
        }
    }
}

/// Who serves now does so, and hands over to the next.
fn end(scene: Scene, mut server: Actor, swarm: Swarm) {
    swarm.wait_progress();
    let mut next = scene.spawn("next", &[]);
    let generation = next.serving();
    swarm.wait_generation(generation);
    next.tell(Order::Confirm);
    assert!(matches!(next.report(), Report::Confirmed(_)));
    server.drained();
    drop(swarm.finish());
    scene.close(next);
}

/// A duplicate of this process's end of the channel.
fn end_of(actor: &Actor) -> OwnedFd {
    let pid = Pid::from_raw(actor.pid().cast_signed()).expect("a process");
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).expect("pidfd");
    let numbers = std::fs::read_dir(format!("/proc/{}/fd", actor.pid())).expect("proc");
    let fds = numbers.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let copies = fds.filter_map(|fd| pidfd_getfd(&pidfd, fd, PidfdGetfdFlags::empty()).ok());
    let is_channel = |fd: &OwnedFd| {
        let connected = sockopt::socket_acceptconn(fd).is_ok_and(|listens| !listens);
        connected && sockopt::socket_type(fd) == Ok(SocketType::SEQPACKET)
    };
    copies.into_iter().find(is_channel).expect("a channel")
}

/// Says something in the name of `speaker`.
fn inject(speaker: &Actor, due: Message, random: &mut fastrand::Rng) {
    let end = end_of(speaker);
    let due = Due {
        last: Message::Confirm.encode(2, SAID - 1).expect("encode"),
        message: Some(due),
        version: 2,
        number: SAID,
    };
    let said = Said::choose(&due, random);
    println!("  {}", said.describe());
    said.say(end.as_fd());
}

#[test]
fn a_parked_predecessor_that_hears_nonsense_leaves_the_node_to_its_owner() {
    for (round, mut random) in rounds("a_parked_predecessor…", ROUNDS) {
        println!("round {round}");
        let mut pair = Pair::new();
        let due = [
            Message::Confirm,
            Message::Gone { tokens: vec![1 << 40] },
            Message::Mirror { entries: vec![] },
        ];
        inject(&pair.owner, due[random.usize(..due.len())].clone(), &mut random);
        // Whatever it made of that, this ends its wait.
        pair.scene.request(Request::Confirm);
        assert!(matches!(pair.parked.report(), Report::Drained { left: 0, .. }));
        assert!(pair.parked.exit().success());
        assert_eq!(pair.scene.generation(), 2);
        end(pair.scene, pair.owner, pair.swarm);
    }
}

#[test]
fn an_owner_on_probation_that_hears_nonsense_serves_on() {
    for (round, mut random) in rounds("an_owner_on_probation…", ROUNDS) {
        println!("round {round}");
        let mut pair = Pair::new();
        let due = [
            Message::Return {
                reason: "in another's name".into(),
            },
            Message::Move {
                name: "nothing".into(),
                bytes: vec![1],
            },
        ];
        inject(&pair.parked, due[random.usize(..due.len())].clone(), &mut random);
        // If it made sense, the owner may have left by now.
        pair.owner.tell_if_alive(Order::Confirm);
        match pair.parked.report() {
            Report::Drained { left: 0, .. } => {
                assert!(pair.parked.exit().success());
                assert!(matches!(pair.owner.report(), Report::Confirmed(_)));
                assert_eq!(pair.scene.generation(), 2);
                end(pair.scene, pair.owner, pair.swarm);
            }
            // It made sense, and the node was given back.
            Report::Back { before: 2, .. } => {
                assert_eq!(pair.parked.serving(), 3);
                pair.swarm.wait_generation(3);
                end(pair.scene, pair.parked, pair.swarm);
            }
            other => panic!("{other:?}"),
        }
    }
}

/// An owner that never stops talking does not keep the operator's wish from being seen.
#[test]
fn a_flood_does_not_hold_up_a_rollback() {
    let mut pair = Pair::new();
    let flood = end_of(&pair.owner);
    let (said, over) = (AtomicU32::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in SAID.. {
                let frame = Message::Gone { tokens: vec![] }.encode(2, number).expect("encode");
                let mut sent = false;
                while !sent && !over.load(Ordering::Relaxed) {
                    match send_with_fds(flood.as_fd(), &frame, &[], Deadline::now()) {
                        Err(handover::Error::Deadline { .. }) => std::hint::spin_loop(),
                        Err(_) => return,
                        Ok(()) => sent = true,
                    }
                }
                if over.load(Ordering::Relaxed) {
                    return;
                }
                said.fetch_add(1, Ordering::Relaxed);
            }
        });
        actors::node::wait::until("a flood", || (said.load(Ordering::Relaxed) > FLOOD).then_some(()));
        pair.scene.request(Request::Rollback);
        let cause = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pair.parked.skip_to_back()));
        over.store(true, Ordering::Relaxed);
        assert_eq!(cause.expect("the node did not come back"), "Operator");
    });
    assert_eq!(pair.parked.serving(), 3);
    pair.swarm.wait_generation(3);
    end(pair.scene, pair.parked, pair.swarm);
}
