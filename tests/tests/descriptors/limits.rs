//! As many descriptors as fit into a message, one more, thousands; and too few allowed on either side.

use crate::place;
use actors::node::wait::until;
use handover::control::Outcome;
use handover::os::limits;

/// The lock and the control socket.
const ALWAYS: u32 = 2;
const MANY: u32 = 10_000;

/// Hands `count` kept descriptors over, and checks each.
fn hand_over(count: u32) {
    let place = place();
    let room = (u64::from(count) + 700).to_string();
    let arguments = ["--claim", "--nofile", "400", "--nofile-most", &room];
    let mut a = place.serving(&["--nofile", &room]);
    assert_eq!(a.ask(&format!("keep-many {count}")), count.to_string());
    // The limit of the new one is raised by itself.
    let mut b = place.serving(&arguments);
    a.expect("handed over");
    assert_eq!(b.ask(&format!("check-many {count}")), count.to_string());
    let record = until("a record", || place.status().history.pop());
    assert_eq!(record.outcome, Outcome::HandedOver);
    assert_eq!(record.descriptors, count + ALWAYS);
    a.expect("drained");
    place.close(b);
}

#[test]
fn none_one_and_around_what_a_message_carries() {
    for count in [0, 1, 250, 251, 252, 253, 254] {
        hand_over(count);
    }
}

#[test]
fn ten_thousand() {
    hand_over(MANY);
}

#[test]
fn a_receiver_that_may_not_have_as_many_says_how_many_it_needs() {
    let place = place();
    let mut a = place.serving(&[]);
    a.ask("keep-many 500");
    let mut b = place.spawn(&["--claim", "--nofile", "100", "--nofile-most", "200"]);
    let error = b.expect("failed Predecessor");
    let needed = 500 + u64::from(ALWAYS) + limits::FOR_A_HANDOVER;
    for part in [
        &*format!("{needed} more descriptors"),
        "allows 100",
        "hard limit 200",
        "ulimit -n",
        "LimitNOFILE=",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let record = until("a record", || place.status().history.pop());
    assert_eq!(record.outcome, Outcome::RefusedBySuccessor);
    assert!(record.reason.contains(&needed.to_string()), "{record:?}");
    assert_eq!(a.ask("check-many 500"), "500");
    let b = place.serving(&["--claim", "--nofile", "100", "--nofile-most", "800"]);
    a.expect("handed over");
    place.close(b);
}

#[test]
fn an_owner_without_a_free_descriptor_says_so_and_serves_on() {
    let place = place();
    let mut a = place.serving(&["--nofile", "100"]);
    let full = a.ask("fill");
    assert!(full.contains("Too many open files"), "{full}");
    let mut b = place.spawn(&[]);
    let error = b.expect("failed Predecessor");
    for part in [
        "on the side of the owner",
        "allows 100",
        "hard limit 100",
        "LimitNOFILE=",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    a.ask("empty");
    let b = place.serving(&[]);
    a.expect("handed over");
    place.close(b);
}
