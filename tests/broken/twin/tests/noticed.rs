//! The torture must notice that records that change their shape get no twin in the older one.

#[path = "../../../tests/torture_outcome/mod.rs"]
mod torture_outcome;

/// Kills that are enough to notice, with much to spare.
const KILLS: u32 = 60;

#[test]
fn the_torture_shows_violations() {
    let outcome = torture_outcome::of(env!("CARGO_BIN_EXE_torture-broken-twin"), KILLS);
    assert_eq!(outcome.code, Some(1), "{} {}", outcome.report, outcome.said);
    assert!(outcome.count("violations") > 0, "{} {}", outcome.report, outcome.said);
}
