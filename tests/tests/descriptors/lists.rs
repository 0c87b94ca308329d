//! Versions that declare other descriptors than the one before: added, dropped, changed; kept at run time; and back again.

use crate::place;
use actors::node::wait::until;
use handover::control::Outcome;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

fn open(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_ok()
}

#[test]
fn added_dropped_changed_and_all_of_it_back() {
    let place = place();
    let ip = place.ip;
    let at = |port: u16| SocketAddr::from((ip, port));
    let list = |name: &str, port: u16| format!("{name}={ip}:{port}");
    let (stays, goes, old, new, comes) = (
        list("stays", 1),
        list("goes", 2),
        list("moves", 3),
        list("moves", 4),
        list("comes", 5),
    );
    let door = format!("door={}", place.file("door").display());
    let other = format!("other={}", place.file("other").display());
    let first = [
        "--tcp",
        &stays,
        "--tcp",
        &goes,
        "--tcp",
        &old,
        "--unix",
        &door,
        "--probation",
        "20000",
    ];
    let second = [
        "--tcp",
        &stays,
        "--tcp",
        &new,
        "--tcp",
        &comes,
        "--unix",
        &other,
        "--probation",
        "20000",
    ];
    let mut a = place.serving(&first);
    assert_eq!(a.ask("keep one=1"), "kept");

    let mut b = place.spawn(&[&second[..], &["--wait"]].concat());
    let plan = b.expect("started Successor");
    assert!(
        plan.ends_with("kept stays; new comes, other; changed moves; dropped door, goes, one"),
        "{plan}"
    );
    // Up to the cutover everything is as it was.
    for port in 1..=3 {
        assert!(open(at(port)), "{port}");
    }
    b.tell("go");
    b.expect("serving 2");
    a.expect("handed over");
    for (port, serves) in [(1, true), (2, false), (3, false), (4, true), (5, true)] {
        assert_eq!(
            open(at(port)),
            serves,
            "{port}, although the parked one holds what is gone"
        );
    }
    assert!(UnixStream::connect(place.file("door")).is_err() && UnixStream::connect(place.file("other")).is_ok());
    // The address stays taken while it may be needed again.
    assert!(TcpListener::bind(at(2)).is_err());

    b.tell("back not well");
    b.expect("back");
    b.expect("given back");
    a.expect("started Returned");
    a.expect("serving");
    for port in 1..=3 {
        assert!(open(at(port)), "{port} is back");
    }
    UnixStream::connect(place.file("door")).expect("it is back");
    assert_eq!(a.ask("content one"), "1");
    b.end();
    assert!(
        !open(at(4)) && !open(at(5)) && !place.file("other").exists(),
        "what the other brought went with it"
    );

    // Again, and this time it stays.
    let mut b = place.serving(&second);
    a.expect("handed over");
    assert_eq!(b.ask("confirm"), "true");
    a.expect("drained");
    a.end();
    assert!(b.ask("plan").ends_with("dropped door, goes, one"));
    assert!(!open(at(2)) && !open(at(3)));
    drop(TcpListener::bind(at(2)).expect("nobody has it any more"));
    let left: Vec<_> = std::fs::read_dir(place.file(""))
        .expect("list")
        .flatten()
        .map(|e| e.file_name())
        .collect();
    assert!(
        !left.iter().any(|name| name.to_string_lossy().starts_with("door")),
        "{left:?}"
    );
    place.close(b);
}

#[test]
fn an_address_that_is_taken_refuses_and_the_predecessor_serves() {
    let place = place();
    let ip = place.ip;
    let taken = TcpListener::bind((ip, 6)).expect("bind");
    let old = format!("a={ip}:1");
    let mut a = place.serving(&["--tcp", &old]);
    let new = format!("b={ip}:6");
    let mut b = place.spawn(&["--tcp", &old, "--tcp", &new]);
    let error = b.expect("failed Predecessor");
    assert!(
        error.contains(&format!("{ip}:6")) && error.contains("in use"),
        "{error}"
    );
    let record = until("a record", || place.status().history.pop());
    assert_eq!(record.outcome, Outcome::RefusedBySuccessor);
    assert!(record.reason.contains(&format!("{ip}:6")), "{record:?}");
    assert!(open((ip, 1).into()));
    drop(taken);
    let b = place.serving(&["--tcp", &old, "--tcp", &new]);
    a.expect("handed over");
    assert!(open((ip, 6).into()));
    place.close(b);
}

#[test]
fn what_is_kept_goes_over_until_nobody_claims_it() {
    let place = place();
    let mut a = place.serving(&[]);
    assert_eq!(a.ask("keep one=1"), "kept");
    assert!(a.ask("keep one=2").contains("there is one of this name"));
    let mut b = place.spawn(&["--claim", "--wait"]);
    assert!(b.expect("started Successor").ends_with("dropped one"));
    // Kept while a successor prepares: it goes over late, and nobody there can have claimed it.
    assert_eq!(a.ask("keep late=2"), "kept");
    b.tell("go");
    b.expect("serving");
    assert_eq!(b.ask("plan"), "kept one; dropped late");
    assert_eq!(b.ask("content one"), "1");
    let mut c = place.serving(&[]);
    assert_eq!(c.ask("plan"), "dropped one");
    assert_eq!(a.expect("handed over"), "");
    assert_eq!(b.expect("handed over"), "");
    place.close(c);
}

#[test]
fn what_is_kept_on_probation_is_there_after_a_give_back() {
    let place = place();
    let arguments = ["--claim", "--probation", "20000"];
    let mut a = place.serving(&arguments);
    let mut b = place.serving(&arguments);
    a.expect("handed over");
    assert_eq!(b.ask("keep late=text"), "kept");
    b.kill();
    assert!(a.expect("started Returned").ends_with("dropped late"));
    a.expect("serving");
    assert_eq!(a.ask("content late"), "text");
    place.close(a);
}

#[test]
fn a_socket_file_of_a_killed_owner_is_taken_over() {
    let place = place();
    let door = format!("door={}", place.file("door").display());
    let mut a = place.serving(&["--unix", &door]);
    a.kill();
    assert!(place.file("door").exists() && UnixStream::connect(place.file("door")).is_err());
    let b = place.serving(&["--unix", &door]);
    let file = place.file("door");
    UnixStream::connect(&file).expect("it listens");
    place.close(b);
    assert!(!file.exists());
}
