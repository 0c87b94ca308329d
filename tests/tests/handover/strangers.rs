//! What comes to the control socket and is no successor, or stops being one half way: the node serves on, and the next
//! upgrade works.

use crate::scene;
use actors::node::wait::{LIMIT, until};
use actors::node::{Actor, Scene, Swarm};
use handover::control::{Outcome, Phase};
use handover::os::clock::Deadline;
use handover::os::pidfd::ProcessId;
use handover::os::rights::send_with_fds;
use handover::wire::{Channel, Hello, Message};
use std::os::fd::AsFd;

fn soon() -> Deadline {
    Deadline::after(LIMIT)
}

fn connect(scene: &Scene) -> Channel {
    Channel::connect(&scene.directory().join("control"), soon()).expect("connect")
}

fn hello() -> Message {
    Message::Hello(Hello {
        lowest: 1,
        highest: 1,
        process: ProcessId::current().expect("proc"),
        build_id: "stranger".into(),
    })
}

fn raw(channel: &Channel, bytes: &[u8]) {
    send_with_fds(channel.as_fd(), bytes, &[], soon()).expect("send");
}

/// The answer to what is no hello.
fn refusal(channel: &mut Channel) -> String {
    match channel.recv(soon()).expect("an answer") {
        (Message::Refuse { reason }, _) => reason,
        other => panic!("{other:?}"),
    }
}

fn assert_served_and_upgradable(scene: Scene, mut owner: Actor, swarm: Swarm, descriptors: usize) {
    swarm.wait_progress();
    assert_eq!(scene.generation(), 1);
    until("the descriptors the owner had before", || {
        (owner.descriptors() == descriptors).then_some(())
    });
    let mut next = scene.spawn("next", &[]);
    assert_eq!(next.serving(), 2);
    swarm.wait_generation(2);
    owner.drained();
    drop(swarm.finish());
    scene.close(next);
}

#[test]
fn what_is_no_hello_is_refused_and_leaves_no_trace() {
    let scene = scene();
    let owner = scene.first(&["--deadline", "hello=100"]);
    let swarm = Swarm::new(scene.address(), 5);
    let descriptors = owner.descriptors();

    let good = hello().encode(1, 0).expect("encode");
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let mut wrong: Vec<(&str, Vec<u8>)> = vec![
        ("garbage", (0..200u8).collect()),
        ("one byte", vec![b'H']),
        ("a cut frame", good[..good.len() - 3].to_vec()),
        ("a cut header", good[..9].to_vec()),
        ("an oversized frame", vec![0x48; 40 * 1024]),
        ("another magic", changed(0, b'X')),
        ("another version", changed(4, 9)),
        ("an unknown kind", changed(6, 77)),
        ("a wrong number", changed(12, 5)),
        ("a wrong pid", changed(20, !good[20])),
    ];
    wrong.push(("ready at once", Message::Ready.encode(1, 0).expect("encode")));
    for (what, bytes) in wrong {
        let mut channel = connect(&scene);
        raw(&channel, &bytes);
        let reason = refusal(&mut channel);
        assert!(!reason.is_empty(), "{what}");
    }
    // Says nothing, and waits until it is thrown out; leaves before a word.
    let mut silent = connect(&scene);
    drop(connect(&scene));
    assert!(refusal(&mut silent).contains("did not happen within"));

    assert!(scene.status().history.is_empty(), "none of them began a handover");
    scene.wait_participants(&[owner.pid()]);
    assert_served_and_upgradable(scene, owner, swarm, descriptors);
}

#[test]
fn a_successor_that_breaks_the_protocol_is_given_up() {
    let scene = scene();
    let owner = scene.first(&["--deadline", "batch=200", "--deadline", "stand-by=200"]);
    let swarm = Swarm::new(scene.address(), 5);
    let descriptors = owner.descriptors();
    let mut attempts = 0;
    let mut fails = |outcome: Outcome, part: &str, go: &dyn Fn(&mut Channel)| {
        let mut channel = connect(&scene);
        channel.send(&hello(), &[], soon()).expect("hello");
        assert!(matches!(channel.recv(soon()), Ok((Message::Offer(_), _))));
        assert!(matches!(channel.recv(soon()), Ok((Message::Descriptors { batch: 0, .. }, fds)) if fds.len() == 9));
        go(&mut channel);
        attempts += 1;
        let record = scene.outcome(attempts, outcome);
        assert!(record.reason.contains(part), "{record:?}");
        assert_eq!(record.successor_pid, std::process::id());
        scene.wait_phase(Phase::None);
    };
    let send = |channel: &mut Channel, message: &Message| channel.send(message, &[], soon()).expect("send");
    let prepared = |channel: &mut Channel| {
        send(channel, &Message::Ack { batch: 0 });
        assert!(matches!(channel.recv(soon()), Ok((Message::Offered { batches: 1 }, _))));
    };
    fails(Outcome::ProtocolError, "ack of batch 7", &|c| {
        send(c, &Message::Ack { batch: 7 })
    });
    fails(Outcome::ProtocolError, "ready", &|c| send(c, &Message::Ready));
    fails(Outcome::ProtocolError, "hello", &|c| send(c, &hello()));
    fails(Outcome::ProtocolError, "no header", &|c| raw(c, b"rubbish"));
    fails(Outcome::Deadline, "acknowledged", &|_| {});
    fails(Outcome::ProtocolError, "standing", &|c| {
        prepared(c);
        send(c, &Message::Standing);
    });
    fails(Outcome::Deadline, "stand by", &|c| {
        prepared(c);
        send(c, &Message::Ready);
        assert!(matches!(c.recv(soon()), Ok((Message::StandBy { batches: 1 }, _))));
    });
    fails(Outcome::RefusedBySuccessor, "changed my mind", &|c| {
        prepared(c);
        send(c, &Message::Ready);
        let reason = "changed my mind".into();
        send(c, &Message::Refuse { reason });
    });
    // This process lives, so it keeps its row.
    scene.wait_participants(&[owner.pid(), std::process::id()]);
    assert_eq!(scene.status().aborted, 8);
    assert_served_and_upgradable(scene, owner, swarm, descriptors);
}
