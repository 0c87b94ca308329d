//! A successor that is stopped, or killed, between two stores of its transactions: the operator rolls back, and the stopped one is let go on. No store of
//! it may land in the world that its predecessor serves, and what it had begun is taken back (H3, H5, T1).

use crate::turns::{self, NODES, Turns};
use actors::node::wait::until;
use actors::node::{Order, Report};
use handover::control::{Phase, Request};
use nix::libc::SIGKILL;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

/// Stores after which it is struck: from its first as the owner on, through several ticks, each of them.
const STORES: usize = 120;
/// Strikes in the middle of a transaction that must be among them: the others hit between two.
const INSIDE: usize = STORES / 4;
const PARK: &[&str] = &["--park", "--deadline", "probation=600000", "--deadline", "give-back=60"];

/// What happens at the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    /// Stopped until it is dead: it is killed where it stands, and SIGCONT comes too late.
    Stop,
    /// Stopped, and let go on as soon as the operator has rolled back: it ends its transaction and gives back, or is killed a little later.
    Wake,
    Kill,
}

/// B is struck after so many stores.
fn turn(turns: &mut Turns, nth: usize, blow: Blow) {
    let generation = turns.scene.generation();
    let what = if blow == Blow::Kill { "kill" } else { "stop" };
    let strike = format!("--strike={what}:shmstate:store: of any kind:{nth}");
    let mut new = turns.spawn("B", &[&strike]);
    if blow == Blow::Kill {
        assert_eq!(new.exit().signal(), Some(SIGKILL));
    } else {
        until("a stop between two stores", || new.is_stopped().then_some(()));
        turns.note_open();
        turns.wait_phase(Phase::Probation);
        turns.scene.request(Request::Rollback);
    }
    if blow == Blow::Wake {
        new.thaw();
    }
    turns.owner.skip_to_back();
    assert_eq!(turns.owner.serving(), generation + 2, "after store {nth}");
    if blow == Blow::Stop {
        new.thaw_if_alive();
        assert_eq!(new.exit().signal(), Some(SIGKILL), "after store {nth}: it woke");
    } else {
        new.exit();
    }
    // Each client is told how many of its requests were counted; one that a late store had touched is told wrong, or cut.
    turns.swarm.wait_progress();
    turns.swarm.check();
}

#[test]
fn struck_at_each_store_it_changes_nothing_any_more() {
    turns::play("a successor", INSIDE, |first, rounds| {
        let mut turns = Turns::new(PARK);
        for nth in (first..=STORES * rounds).step_by(NODES) {
            turn(&mut turns, nth, Blow::Stop);
            match nth / NODES % 2 {
                0 => turn(&mut turns, nth, Blow::Wake),
                _ => turn(&mut turns, nth, Blow::Kill),
            }
        }
        turns.end(Duration::ZERO)
    });
}

/// A store that lands late is seen by the clients: the test would fail.
#[test]
fn a_store_that_lands_late_is_seen() {
    let mut turns = Turns::new(PARK);
    let mut new = turns.spawn("B", &[]);
    assert_eq!(new.serving(), 2);
    turns.swarm.wait_generation(2);
    turns.swarm.hush();
    // What a process does that woke in the middle of a transaction, and commits: records that are gone.
    new.tell(Order::Spoil);
    new.skip_to(&Report::Holding);
    turns.scene.request(Request::Rollback);
    turns.owner.skip_to_back();
    turns.swarm.resume();
    let seen = turns.swarm.lost();
    assert!(seen.iter().all(|s| s.failure.is_some()));
    new.exit();
    turns.owner.serving();
    turns.scene.end(turns.owner);
}
