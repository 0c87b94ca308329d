//! The torture must notice that what a part wanted freed is freed although a savepoint took the part back.

#[path = "../../../tests/torture_outcome/mod.rs"]
mod torture_outcome;

/// Kills that are enough to notice, with much to spare.
const KILLS: u32 = 200;

#[test]
fn the_torture_shows_violations() {
    let outcome = torture_outcome::of(env!("CARGO_BIN_EXE_torture-broken-savepoint"), KILLS);
    assert_eq!(outcome.code, Some(1), "{} {}", outcome.report, outcome.said);
    assert!(outcome.count("violations") > 0, "{} {}", outcome.report, outcome.said);
}
