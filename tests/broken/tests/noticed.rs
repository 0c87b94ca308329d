//! The torture must notice whatever `shmstate/src/broken.rs` can break.

#[path = "../../tests/torture_outcome/mod.rs"]
mod torture_outcome;

use std::sync::{Mutex, PoisonError};

/// One after the other: what a process does before it is killed depends on the time it gets.
static ALONE: Mutex<()> = Mutex::new(());

/// With so many kills, which are enough to notice, with much to spare.
fn noticed(broken: &str, kills: u32) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let outcome = torture_outcome::with(env!("CARGO_BIN_EXE_torture-broken"), kills, &[("BROKEN", broken)]);
    assert_eq!(outcome.code, Some(1), "{} {}", outcome.report, outcome.said);
    assert!(outcome.count("violations") > 0, "{} {}", outcome.report, outcome.said);
}

#[test]
fn a_log_that_is_never_published() {
    noticed("publish", 60);
}

#[test]
fn an_entry_that_is_published_after_its_data() {
    noticed("fence", 60);
}

#[test]
fn blocks_that_are_not_freed() {
    noticed("free", 60);
}

#[test]
fn entries_that_are_not_logged() {
    noticed("entry", 60);
}

#[test]
fn blocks_that_a_savepoint_frees_all_the_same() {
    noticed("savepoint", 150);
}

#[test]
fn records_without_a_twin() {
    noticed("twin", 60);
}

#[test]
fn a_source_that_does_not_follow() {
    noticed("follow", 600);
}

/// Not broken, or otherwise than is known: nothing is said to be proven by that.
#[test]
fn a_break_that_is_not_known_is_refused() {
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_torture-broken"))
        .env("BROKEN", "nothing")
        .output()
        .expect("the torture starts");
    assert_eq!(run.status.code(), Some(2));
}
