//! A check that cannot fail proves nothing: each way to misbehave moves its counter and the exit code.

use std::process::Command;

use arena::server::Sabotage;
use serde_json::Value;

/// The counter that each sabotage moves.
const COUNTERS: [(&str, &str); 6] = [
    ("lose-command", "commands_lost"),
    ("double-command", "commands_doubled"),
    ("skip-tick", "ticks_skipped"),
    ("double-tick", "ticks_doubled"),
    ("wrong-score", "state_mismatches"),
    ("cut-one", "disconnects"),
];

/// Counters that a sabotage may move beside its own.
const SIDE_EFFECTS: [(&str, &str); 3] = [
    // A command executed twice makes another state; a frame sent twice acknowledges twice; what was on its way over a
    // connection that is cut is lost.
    ("double-command", "state_mismatches"),
    ("double-tick", "commands_doubled"),
    ("cut-one", "commands_lost"),
];

/// Runs a short demo whose servers misbehave.
fn noticed(sabotage: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_arena-demo"))
        .args(["--no-build", "--no-bad-upgrades", "--json", "--sabotage", sabotage])
        .args(["--bots", "40", "--world-mib", "1", "--upgrades", "1"])
        .args(["--baseline-ms", "1500", "--pause-ms", "500"])
        .output()
        .expect("the demo");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let summary: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"));
    assert_eq!(output.status.code(), Some(1), "{summary:#}");
    assert_eq!(
        summary["failures"],
        serde_json::json!([]),
        "it came to its end: {summary:#}"
    );
    assert_eq!(summary["left_behind"], serde_json::json!([]), "{summary:#}");
    for (other, counter) in COUNTERS {
        let count = summary[counter].as_u64().expect("a number");
        if other == sabotage {
            assert!(count > 0, "{counter} in {summary:#}");
        } else if !SIDE_EFFECTS.contains(&(sabotage, counter)) {
            assert_eq!(count, 0, "{sabotage} moves {counter} too: {summary:#}");
        }
    }
}

#[test]
fn all_are_here() {
    assert_eq!(Sabotage::ALL.map(|(name, _)| name), COUNTERS.map(|(name, _)| name));
}

#[test]
fn a_lost_command_is_noticed() {
    noticed("lose-command");
}

#[test]
fn a_doubled_command_is_noticed() {
    noticed("double-command");
}

#[test]
fn a_skipped_tick_is_noticed() {
    noticed("skip-tick");
}

#[test]
fn a_doubled_tick_is_noticed() {
    noticed("double-tick");
}

#[test]
fn a_wrong_score_is_noticed() {
    noticed("wrong-score");
}

#[test]
fn a_cut_connection_is_noticed() {
    noticed("cut-one");
}
