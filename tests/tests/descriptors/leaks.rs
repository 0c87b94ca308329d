//! A thousand handovers that are called off at every step leave the owner as it was; and no child ever inherits a descriptor.

use crate::place;
use actors::descriptors::{Place, Server};
use actors::node::wait::{LIMIT, until};
use handover::control::{ParticipantState, Phase};
use handover::os::clock::Deadline;
use handover::os::pidfd::ProcessId;
use handover::os::rights::send_with_fds;
use handover::wire::frame::{HIGHEST, LOWEST};
use handover::wire::{Channel, Hello, Message};
use std::os::fd::AsFd;
use std::time::Duration;

/// Handovers that this process plays and breaks off.
const PLAYED: usize = 950;
/// Handovers with a process that refuses or is killed.
const PROCESSES: usize = 50;
/// From the start of a successor to about when it is ready.
const SPREAD_US: u64 = 12_000;
/// What the owner's memory may grow by: the allocator's and the kernel's own, measured at 0 to 300 KiB.
const MEMORY_KIB: u64 = 2_048;
/// Handovers under the storm.
const STORMY: usize = 6;

#[derive(Debug, PartialEq, Eq)]
struct Measure {
    descriptors: usize,
    maps: usize,
    threads: usize,
    shared: usize,
}

fn measure(place: &Place, owner: &Server) -> Measure {
    let prefix = format!("handover-{:032x}", place.status().id);
    let shared = std::fs::read_dir("/dev/shm").expect("list").flatten();
    Measure {
        descriptors: owner.proc_count("fd"),
        maps: owner.proc_count("maps"),
        threads: owner.proc_count("task"),
        shared: shared
            .filter(|e| e.file_name().to_string_lossy().starts_with(&prefix))
            .count(),
    }
}

fn soon() -> Deadline {
    Deadline::after(LIMIT)
}

/// Breaks a handover off at step `step`, in a way that `step` chooses too.
fn break_off(place: &Place, step: usize) {
    let mut channel = Channel::connect(&place.control(), soon()).expect("connect");
    let refuse = |channel: &mut Channel| {
        let reason = "played".into();
        // It may be told to leave first.
        let _ = channel.send(&Message::Refuse { reason }, &[], soon());
    };
    if step == 0 {
        return;
    }
    let hello = Hello {
        lowest: LOWEST,
        highest: HIGHEST,
        process: ProcessId::current().expect("proc"),
        build_id: "played".into(),
    };
    channel.send(&Message::Hello(hello), &[], soon()).expect("hello");
    if step == 1 {
        return;
    }
    let Ok((Message::Offer(offer), _)) = channel.recv(soon()) else {
        panic!("an offer was due");
    };
    channel.set_version(offer.protocol);
    match step {
        2 => return,
        3 => return refuse(&mut channel),
        4 => return send_with_fds(channel.as_fd(), b"garbage", &[channel.as_fd()], soon()).expect("send"),
        _ => {}
    }
    let (first, descriptors) = channel.recv(soon()).expect("a batch");
    assert!(matches!(first, Message::Descriptors { batch: 0, .. }) && !descriptors.is_empty());
    match step {
        5 => return,
        6 => return channel.send(&Message::Ack { batch: 3 }, &[], soon()).expect("send"),
        _ => channel.send(&Message::Ack { batch: 0 }, &[], soon()).expect("send"),
    }
    assert!(matches!(channel.recv(soon()), Ok((Message::Offered { .. }, _))));
    match step {
        7 => return,
        8 => return refuse(&mut channel),
        _ => channel.send(&Message::Ready, &[], soon()).expect("send"),
    }
    match step {
        9 => {}
        _ => {
            assert!(matches!(channel.recv(soon()), Ok((Message::StandBy { .. }, _))));
            refuse(&mut channel);
        }
    }
}

/// Steps of [`break_off`].
const STEPS: usize = 11;

fn quiet(place: &Place) {
    until("the end of the handover", || {
        (place.status().phase == Phase::None).then_some(())
    });
}

#[test]
fn a_thousand_that_are_called_off_leave_the_owner_as_it_was() {
    let place = place();
    let listener = format!("a={}:1", place.ip);
    let arguments = ["--tcp", &listener, "--make", "pipe=pipe", "--make", "memory=text"];
    let mut owner = place.serving(&arguments);
    owner.ask("keep-many 20");
    // The first of each makes what stays: stacks, buffers of the allocator, this process's row.
    for step in 0..STEPS {
        break_off(&place, step);
    }
    quiet(&place);
    let before = until("an owner at rest", || {
        let measured = measure(&place, &owner);
        std::thread::sleep(Duration::from_millis(5));
        (measure(&place, &owner) == measured).then_some(measured)
    });
    let memory = owner.resident_kib();

    for i in 0..PLAYED {
        break_off(&place, i % STEPS);
    }
    let mut random = fastrand::Rng::new();
    for i in 0..PROCESSES {
        let mut next = match i % 4 {
            0 => place.spawn(&[&arguments[..], &["--refuse"]].concat()),
            1 => place.spawn(&["--claim", "--nofile", "25"]),
            _ => place.spawn(&[&arguments[..], &["--wait"]].concat()),
        };
        if i % 4 > 1 {
            // The moment is what this is about; it waits for nothing.
            std::thread::sleep(Duration::from_micros(random.u64(..SPREAD_US)));
            next.kill();
        } else {
            until("the end of a successor", || {
                std::fs::read_to_string(format!("/proc/{}/stat", next.pid()))
                    .is_ok_and(|stat| stat.contains(") Z "))
                    .then_some(())
            });
        }
    }
    quiet(&place);
    until("as many descriptors, mappings, threads and objects as before", || {
        (measure(&place, &owner) == before).then_some(())
    });
    let grown = owner.resident_kib().saturating_sub(memory);
    println!("{} called off, memory grown by {grown} KiB", PLAYED + PROCESSES);
    assert!(grown <= MEMORY_KIB, "{grown} KiB");
    let status = place.status();
    assert_eq!(status.completed, 0);
    let begun = PLAYED / STEPS * (STEPS - 1);
    assert!(
        status.aborted as usize > begun,
        "{} were begun and called off",
        status.aborted
    );
    assert_eq!(status.owner.expect("a row").state, ParticipantState::Serving);
    // And it can be upgraded still.
    let mut next = place.serving(&[&arguments[..], &["--claim"]].concat());
    owner.expect("handed over");
    assert_eq!(next.ask("check-many 20"), "20");
    place.close(next);
}

#[test]
fn no_child_inherits_a_descriptor() {
    let place = place();
    let ip = place.ip;
    let (tcp, udp) = (format!("a={ip}:1"), format!("u={ip}:2"));
    let door = format!("door={}", place.file("door").display());
    let arguments = [
        "--tcp",
        &tcp,
        "--udp",
        &udp,
        "--unix",
        &door,
        "--make",
        "pipe=pipe",
        "--claim",
        "--storm",
    ];
    let mut owner = place.serving(&arguments);
    owner.ask("keep-many 50");
    let (mut children, mut leaks) = (0, 0);
    for _ in 0..STORMY {
        let mut next = place.serving(&arguments);
        owner.expect("handed over");
        owner.expect("drained");
        owner.end();
        assert_eq!(next.ask("check-many 50"), "50");
        // Several while it serves, too.
        until("children", || {
            let told = next.ask("storm");
            let (seen, leaked) = told.split_once(' ').expect("two numbers");
            (children, leaks) = (
                seen.parse::<u64>().expect("a number"),
                leaked.parse::<u64>().expect("a number"),
            );
            (children > 0).then_some(())
        });
        assert_eq!(leaks, 0, "of {children} children");
        owner = next;
    }
    println!("the last of {STORMY} started {children} children");
    place.close(owner);
}
