//! T1–T3, T6, T7 with real processes and real SIGKILLs; see `src/torture/mod.rs`.

mod torture_outcome;

use std::process::Command;

const TORTURE: &str = env!("CARGO_BIN_EXE_torture");
/// Enough to fall into everything that a run must fall into, every named point among it.
const KILLS: u32 = 650;

#[test]
fn killed_processes_leave_regions_that_recover() {
    let outcome = torture_outcome::of(TORTURE, KILLS);
    assert_eq!(outcome.code, Some(0), "{} {}", outcome.report, outcome.said);
    assert_eq!(outcome.count("violations"), 0);
    assert_eq!(outcome.count("kills"), u64::from(KILLS));
    for hit in [
        "torn",
        "logs_undone",
        "kills_in_commit",
        "kills_in_growth",
        "kills_in_recovery",
        "kills_at_points",
        "commits",
    ] {
        assert!(outcome.count(hit) > 0, "{hit} in {}", outcome.report);
    }
    let points = outcome.report["points"].as_object().expect("points");
    assert!(points.len() > 30, "{points:?}");
    assert!(points.values().all(|hits| hits.as_u64() > Some(0)), "{points:?}");
    for hit in ["made", "kills_in_checkpoint", "restored", "newer", "temporary"] {
        let checkpoints = &outcome.report["checkpoints"];
        assert!(checkpoints[hit].as_u64() > Some(0), "{hit} in {checkpoints}");
    }
}

#[test]
fn a_run_that_proved_nothing_fails() {
    // The first child of the first region: no recovery can be hit.
    let outcome = torture_outcome::of(TORTURE, 1);
    assert_eq!(outcome.code, Some(1), "{}", outcome.report);
    assert_eq!(outcome.count("violations"), 0);
    assert!(
        outcome.said.contains("no kill fell into a recovery"),
        "{}",
        outcome.said
    );
}

#[test]
fn bad_usage_is_told_apart() {
    let output = Command::new(TORTURE).args(["--kills", "0"]).output().expect("torture");
    assert_eq!(output.status.code(), Some(2));
}
