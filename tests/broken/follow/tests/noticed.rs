//! The torture must notice that the source of a move does not follow its targets.

#[path = "../../../tests/torture_outcome/mod.rs"]
mod torture_outcome;

/// Kills that are enough to notice, with much to spare.
const KILLS: u32 = 400;

#[test]
fn the_torture_shows_violations() {
    let outcome = torture_outcome::of(env!("CARGO_BIN_EXE_torture-broken-follow"), KILLS);
    assert_eq!(outcome.code, Some(1), "{} {}", outcome.report, outcome.said);
    assert!(outcome.count("violations") > 0, "{} {}", outcome.report, outcome.said);
}
