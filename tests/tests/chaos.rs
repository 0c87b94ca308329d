//! The chaos, short, and that it sees what it is there to see: see `src/chaos/mod.rs`.

use std::process::{Command, Output};

const CHAOS: &str = env!("CARGO_BIN_EXE_chaos");
/// One deck: each kind once.
const ROUNDS: u32 = 36;
/// A run that something is wrong with ends early; this is far beyond the round in which it shows.
const SABOTAGED: u32 = 36;
/// Longest a run may take, in seconds: many times what it does take.
const SECONDS: u32 = 240;
/// What must be 0.
const ZERO: [&str; 7] = [
    "disconnects",
    "lost",
    "doubled",
    "two_owners",
    "no_owner_beyond_deadline",
    "leaks",
    "failures",
];

fn run(rounds: u32, more: &[&str]) -> (Output, serde_json::Value) {
    let output = Command::new(CHAOS)
        .args([
            "--json",
            "--rounds",
            &rounds.to_string(),
            "--seconds",
            &SECONDS.to_string(),
        ])
        .args(more)
        .output()
        .expect("the chaos starts");
    let said = String::from_utf8_lossy(&output.stderr);
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{}: {e}; {said}", output.status));
    println!("{said}{report:#}");
    (output, report)
}

#[test]
fn each_kind_once() {
    let (output, report) = run(ROUNDS, &[]);
    for name in ZERO {
        assert_eq!(report[name], 0, "{name}");
    }
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(report["rounds"], ROUNDS);
    let faults = report["faults"].as_object().expect("faults");
    assert_eq!(faults.len(), ROUNDS as usize, "{faults:?}");
    assert!(report["takeovers"].as_u64() > Some(10) && report["give_backs"].as_u64() > Some(3));
}

/// A server that does this wrong makes this count grow, and the run fail.
fn sabotage(what: &str, count: &str) {
    let (output, report) = run(SABOTAGED, &["--sabotage", what, "--seed", "1"]);
    assert_eq!(output.status.code(), Some(1), "{what}");
    assert!(report[count].as_u64() > Some(0), "{what}: {count} is {}", report[count]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("--seed 1 --rounds"),
        "it says how to play it again: {said}"
    );
}

#[test]
fn an_answer_that_is_lost_is_seen() {
    sabotage("lose", "lost");
}

#[test]
fn an_answer_that_is_doubled_is_seen() {
    sabotage("double", "doubled");
}

#[test]
fn a_connection_that_is_cut_is_seen() {
    sabotage("cut", "disconnects");
}

#[test]
fn two_owners_are_seen() {
    sabotage("two-owners", "two_owners");
}

#[test]
fn an_owner_that_does_nothing_is_seen() {
    sabotage("hang", "no_owner_beyond_deadline");
}

#[test]
fn what_is_kept_is_seen() {
    sabotage("leak", "leaks");
}

#[test]
fn bad_usage_is_told_apart() {
    let output = Command::new(CHAOS)
        .args(["--rounds", "0"])
        .output()
        .expect("the chaos starts");
    assert_eq!(output.status.code(), Some(2));
}
