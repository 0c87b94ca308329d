//! Handovers that succeed: nobody is disconnected, nothing is lost, nothing stays behind.

use crate::scene;
use actors::node::wait::until;
use actors::node::{Order, Report, Swarm};
use handover::control::{HandoverRecord, Outcome, ParticipantState, Phase};
use std::path::PathBuf;
use std::time::Duration;

/// More than one batch of descriptors carries.
const MANY: usize = 300;
/// No blackout and no noise is near this, even on a machine that is busy with something else.
const PLAUSIBLE: Duration = Duration::from_secs(1);

fn assert_handed_over(record: &HandoverRecord, streams: u32) {
    assert_eq!(record.outcome, Outcome::HandedOver, "{record:?}");
    assert_eq!(record.to_generation, record.from_generation + 1, "{record:?}");
    assert_eq!(record.streams, streams, "{record:?}");
    // One region, one listener, the lock, the control socket.
    assert_eq!(record.descriptors, streams + 4, "{record:?}");
    assert!(record.started > 0 && record.started <= record.ready, "{record:?}");
    assert!(record.ready <= record.last_commit, "{record:?}");
    let blackout = record.blackout().expect("both stamps");
    assert!(blackout > Duration::ZERO && blackout < PLAUSIBLE, "{record:?}");
    assert!(Duration::from_nanos(record.noise) < PLAUSIBLE, "{record:?}");
}

#[test]
fn the_first_serves_and_its_stop_leaves_nothing() {
    let scene = scene();
    let owner = scene.first(&[]);
    scene.wait_serving();
    let status = scene.status();
    assert!(status.alive);
    assert_eq!(status.phase, Phase::None);
    assert!(status.history.is_empty());
    assert_eq!(status.participants.len(), 1);
    assert_eq!(status.participants[0].process.pid, owner.pid());
    assert_eq!(scene.shared_objects().len(), 2, "a control block and a region");
    let swarm = Swarm::new(scene.address(), 3);
    swarm.wait_progress();
    drop(swarm.finish());
    scene.close(owner);
}

#[test]
fn hundreds_of_connections_and_those_that_come_meanwhile() {
    let scene = scene();
    let mut old = scene.first(&[]);
    let swarm = Swarm::new(scene.address(), MANY);
    let mut new = scene.prepared("B", &[]);
    // While the successor prepares, the predecessor accepts: these go over late.
    let late = swarm.add(20);
    swarm.wait_answered(late);
    assert_eq!(scene.generation(), 1);
    // While the gate closes, nobody accepts: these wait in the queue.
    old.tell(Order::Hold);
    old.expect(&Report::Holding);
    new.tell(Order::Go);
    scene.wait_phase(Phase::Closing);
    let queued = swarm.add(10);
    old.tell(Order::Release);
    assert_eq!(new.serving(), 2);
    swarm.wait_generation(2);
    for seen in &swarm.seen()[queued] {
        assert_eq!(seen.generations, Some((2, 2)), "accepted during the pause: {seen:?}");
    }
    old.drained();
    let record = scene.record(1);
    // Those in the queue are the successor's, or came over with the last tick and had not heard a word.
    let all = MANY as u32 + 20;
    assert!(record.streams == all || record.streams == all + 10, "{record:?}");
    assert_handed_over(&record, record.streams);
    scene.wait_phase(Phase::None);
    scene.wait_participants(&[new.pid()]);
    scene.wait_serving();
    let status = scene.status();
    assert_eq!((status.completed, status.aborted), (1, 0));
    let owner = status.owner.expect("a row");
    assert_eq!(owner.build_id, "B");
    let seen = swarm.finish();
    assert_eq!(seen.len(), MANY + 30);
    // Every request was executed once: the total of the server is the sum of what was answered.
    let answered: u64 = seen.iter().map(|s| s.answered).sum();
    let total = seen.iter().map(|s| s.total).max();
    assert_eq!(total, Some(answered));
    scene.close(new);
}

/// A directory on the same mount as /dev/shm, gone at the end.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Directory {
    fn objects(&self) -> usize {
        std::fs::read_dir(&self.0).expect("directory").count()
    }
}

#[test]
fn a_world_in_a_directory_of_its_own() {
    let path = PathBuf::from(format!("/dev/shm/worlds-of-a-test-{}", std::process::id()));
    std::fs::create_dir(&path).expect("directory");
    let worlds = Directory(path);
    let there = ["--world-in", worlds.0.to_str().expect("UTF-8")];
    let scene = scene();
    let mut old = scene.first(&there);
    assert_eq!(scene.shared_objects().len(), 1, "the control block alone");
    assert_eq!(worlds.objects(), 1);
    let swarm = Swarm::new(scene.address(), 10);
    swarm.wait_progress();
    let mut new = scene.spawn("B", &there);
    assert_eq!(new.started(), ("successor".into(), 1));
    assert_eq!(new.serving(), 2);
    swarm.wait_generation(2);
    old.drained();
    // Killed, and taken up where it is.
    new.kill();
    drop(swarm);
    let mut again = scene.spawn("C", &there);
    assert_eq!(again.started().0, "recovered");
    again.serving();
    assert_eq!(worlds.objects(), 1);
    scene.close(again);
    assert_eq!(worlds.objects(), 0, "the world's file is left");
}

#[test]
fn one_after_the_other_in_a_row() {
    let scene = scene();
    let mut owner = scene.first(&[]);
    let swarm = Swarm::new(scene.address(), 20);
    for (number, build) in ["B", "C", "D", "E", "F"].iter().enumerate() {
        let generation = number as u64 + 2;
        let mut next = scene.spawn(build, &[]);
        assert_eq!(next.started(), ("successor".into(), generation - 1));
        assert_eq!(next.serving(), generation);
        swarm.wait_generation(generation);
        owner.drained();
        owner = next;
    }
    let history = scene.status().history;
    assert_eq!(history.len(), 5);
    for (record, generation) in history.iter().zip(2..) {
        assert_handed_over(record, 20);
        assert_eq!(record.to_generation, generation);
    }
    // A successor that the scheduler keeps out misses a rehearsal; not every one does.
    let rehearsed = |history: &[HandoverRecord]| history.iter().any(|record| record.noise > 0);
    for generation in 7..12 {
        if rehearsed(&scene.status().history) {
            break;
        }
        let mut next = scene.spawn("G", &[]);
        assert_eq!(next.serving(), generation);
        owner.drained();
        owner = next;
    }
    assert!(rehearsed(&scene.status().history), "{:#?}", scene.status().history);
    drop(swarm.finish());
    scene.close(owner);
}

#[test]
fn a_server_without_ticks_is_closed_by_the_driver() {
    let scene = scene();
    let mut old = scene.first(&["--idle", "--deadline", "tick=50"]);
    let swarm = Swarm::new(scene.address(), 5);
    swarm.hush();
    let mut new = scene.spawn("B", &["--idle"]);
    assert_eq!(new.serving(), 2);
    old.drained();
    let record = scene.record(1);
    assert_handed_over(&record, 5);
    assert!(record.last_commit - record.ready >= 50_000_000, "{record:?}");
    swarm.resume();
    swarm.wait_generation(2);
    drop(swarm.finish());
    scene.close(new);
}

#[test]
fn work_in_flight_is_waited_for() {
    let scene = scene();
    let mut old = scene.first(&["--deadline", "drain=15000"]);
    old.tell(Order::Work);
    old.expect(&Report::Working);
    let mut new = scene.spawn("B", &[]);
    assert_eq!(new.serving(), 2);
    old.expect(&Report::HandedOver);
    until("a drain that reports its work", || {
        let rows = scene.status().participants;
        let row = rows.iter().find(|p| p.process.pid == old.pid())?;
        (row.state == ParticipantState::Draining && row.in_flight == 1 && row.drain_deadline > 0).then_some(())
    });
    scene.wait_phase(Phase::Draining);
    scene.wait_participants(&[old.pid(), new.pid()]);
    old.tell(Order::Done);
    match old.report() {
        Report::Drained { left: 0, took_ms } => assert!(took_ms < 15_000, "{took_ms}"),
        other => panic!("{other:?}"),
    }
    assert!(old.exit().success());
    scene.wait_phase(Phase::None);
    scene.wait_participants(&[new.pid()]);
    scene.close(new);
}

#[test]
fn work_that_does_not_end_is_waited_for_no_longer_than_the_deadline() {
    let scene = scene();
    let mut old = scene.first(&["--deadline", "drain=200"]);
    old.tell(Order::Work);
    old.expect(&Report::Working);
    let mut new = scene.spawn("B", &[]);
    assert_eq!(new.serving(), 2);
    old.expect(&Report::HandedOver);
    match old.report() {
        Report::Drained { left: 1, took_ms } => assert!((200..5_000).contains(&took_ms), "{took_ms}"),
        other => panic!("{other:?}"),
    }
    assert!(old.exit().success());
    scene.close(new);
}

#[test]
fn a_long_drain_is_in_nobodys_way() {
    let scene = scene();
    let mut old = scene.first(&[]);
    old.tell(Order::Work);
    old.expect(&Report::Working);
    let mut new = scene.spawn("B", &[]);
    assert_eq!(new.serving(), 2);
    old.expect(&Report::HandedOver);
    // The next handover while the first process still drains.
    let mut third = scene.spawn("C", &[]);
    assert_eq!(third.serving(), 3);
    new.drained();
    // The owner dies while the first process still drains: neither lock nor listener is held by that one.
    third.kill();
    let mut fourth = scene.spawn("D", &[]);
    assert_eq!(fourth.started(), ("recovered".into(), 3));
    assert_eq!(fourth.serving(), 4);
    let swarm = Swarm::new(scene.address(), 3);
    swarm.wait_generation(4);
    old.tell(Order::Done);
    assert!(matches!(old.report(), Report::Drained { left: 0, .. }));
    assert!(old.exit().success());
    scene.wait_phase(Phase::None);
    scene.wait_participants(&[fourth.pid()]);
    drop(swarm.finish());
    scene.close(fourth);
}

#[test]
fn two_successors_at_once_come_one_after_the_other() {
    let scene = scene();
    let mut old = scene.first(&[]);
    let swarm = Swarm::new(scene.address(), 10);
    let mut both = [scene.spawn("B", &[]), scene.spawn("C", &[])];
    let mut generations = both.each_mut().map(|successor| successor.serving());
    let last = usize::from(generations[1] > generations[0]);
    generations.sort_unstable();
    assert_eq!(generations, [2, 3]);
    swarm.wait_generation(3);
    old.drained();
    let [b, c] = both;
    let (mut between, owner) = if last == 1 { (b, c) } else { (c, b) };
    between.drained();
    assert_eq!(scene.status().history.len(), 2);
    drop(swarm.finish());
    scene.close(owner);
}

#[test]
fn connections_accepted_between_ready_and_the_cutover_go_over_at_once() {
    let scene = scene();
    // Two ticks lie between the arming of the gate and the release: time enough to be accepted by the old one.
    let mut old = scene.first(&["--tick", "250", "--deadline", "tick=5000"]);
    let swarm = Swarm::new(scene.address(), 5);
    let mut new = scene.spawn("B", &[]);
    scene.wait_phase(Phase::Closing);
    let late = swarm.add(20);
    assert_eq!(new.serving(), 2);
    swarm.wait_answered(late);
    swarm.wait_generation(2);
    old.drained();
    drop(swarm.finish());
    scene.close(new);
}

/// Asks on a connection that the server keeps itself.
fn ask(stream: &std::net::TcpStream, line: &str) -> String {
    use std::io::{BufRead, BufReader, Write};
    let mut stream = stream;
    writeln!(stream, "{line}").expect("ask");
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).expect("an answer");
    answer.trim_end().into()
}

#[test]
fn connections_busy_at_the_cutover_move_when_they_are_idle() {
    let scene = scene();
    let plain = std::net::SocketAddr::new(scene.address().ip(), scene.address().port() + 1);
    let plain_text = plain.to_string();
    let long = ["--park", "--deadline", "probation=600000", "--plain", &plain_text];
    let mut old = scene.first(&long);
    let connect = || {
        let stream = std::net::TcpStream::connect(plain).expect("connect");
        let limit = actors::node::wait::LIMIT;
        stream.set_read_timeout(Some(limit)).expect("a deadline");
        stream
    };
    let (idle, busy) = (connect(), connect());
    assert_eq!(ask(&idle, "hello"), "A 1 hello");
    assert_eq!(ask(&busy, "busy"), "A 1 busy");
    let mut new = scene.spawn("B", &long);
    assert_eq!(new.serving(), 2);
    old.expect(&Report::HandedOver);
    scene.wait_phase(Phase::Probation);
    assert_eq!(ask(&busy, "still"), "A 2 still");
    assert_eq!(ask(&busy, "idle"), "A 3 idle");
    assert_eq!(ask(&busy, "now"), "B 4 now");
    // Who sends at the moment of the move is answered by either, and misses nothing.
    let answer = ask(&idle, "there");
    assert!(answer.ends_with(" 2 there"), "{answer}");
    actors::node::wait::until("the idle one to move", || {
        ask(&idle, "again").starts_with("B ").then_some(())
    });
    new.tell(Order::Confirm);
    new.expect(&Report::Confirmed(true));
    assert!(matches!(old.report(), Report::Drained { left: 0, .. }));
    assert!(old.exit().success());
    assert_eq!(ask(&busy, "end"), "B 5 end");
    scene.close(new);
}
