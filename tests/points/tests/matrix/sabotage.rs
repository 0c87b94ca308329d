//! The test is tested: a case in which something is wrong on purpose must fail, each by the check that is there for it.

use crate::case::{After, Blow, Case, Elder, Target, Way};
use crate::course;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A case that passes if nothing is wrong.
const WELL: Case = Case {
    elder: Elder::Nobody,
    point: "parked: row says so",
    nth: 1,
    way: Way::Upgrade,
    target: Target::Old,
    after: After::New,
    blow: Blow::Stop,
    tried: 0,
    sabotage: None,
};

/// What the case fails with.
fn failure(case: Case) -> String {
    let panic = catch_unwind(AssertUnwindSafe(|| course::play(&case))).expect_err("it must fail");
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
        .unwrap_or_default()
}

fn must_fail(wrong: &'static str, with: &[&str]) {
    must_fail_in(WELL, wrong, with);
}

fn must_fail_in(case: Case, wrong: &'static str, with: &[&str]) {
    let sabotage = Some(wrong);
    let failure = failure(Case { sabotage, ..case });
    assert!(with.iter().any(|with| failure.contains(with)), "{wrong}: {failure}");
}

#[test]
fn without_sabotage_it_passes() {
    course::play(&WELL);
}

#[test]
fn a_lost_answer_is_seen() {
    must_fail("lose", &["clients failed"]);
}

#[test]
fn a_doubled_answer_is_seen() {
    must_fail("double", &["clients failed"]);
}

#[test]
fn a_cut_connection_is_seen() {
    must_fail("cut", &["the connection ended", "were cut, and nobody was killed"]);
}

#[test]
fn two_owners_are_seen() {
    must_fail("two-owners", &["two owners"]);
}

#[test]
fn nobody_is_seen() {
    must_fail("hang", &["nobody served"]);
}

#[test]
fn a_descriptor_that_is_left_is_seen() {
    // One each time that it gets the node, and A gets it twice.
    let case = Case {
        point: "parked: return sent",
        way: Way::Rollback,
        blow: Blow::Pause,
        ..WELL
    };
    course::play(&case);
    must_fail_in(case, "leak", &["left: "]);
}

#[test]
fn a_point_that_is_never_reached_is_seen() {
    // Nobody has to be killed in an upgrade that goes well.
    let point = "parked: kill sent";
    assert!(!course::is_reached(&Case { point, ..WELL }, 2));
}
