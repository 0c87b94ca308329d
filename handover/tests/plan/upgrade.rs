//! An upgrade shows its plan, and is not begun against it.

use super::{Ran, Served};
use insta::assert_snapshot;
use serde_json::Value;

#[test]
fn an_upgrade_without_a_way_back_wants_to_be_told_so() {
    let node = Served::by("v1");
    let owner = node.owner();
    let shown = node
        .command(&["upgrade"], "v2-one-way")
        .output()
        .expect("the command runs");
    assert_eq!(shown.status.code(), Some(2));
    assert_snapshot!(node.scene.filter(&shown), @r#"
    [stderr]
    Plan for arena: process PID (build v1) serves, CMD is build v2-one-way
      TABLE  KIND  WHAT  RECORDS  TO MIGRATE  SWEEP  WAY BACK
      world/clock  cell  unchanged  1  -  -  -
      world/players  map  migrates 1 -> 2  5  5  TIME  none
      world/fresh  slab  new  -  -  -  -
      world/old  queue  orphaned  0  -  -  -
      regions  kept world
      descriptors  kept game; new metrics (127.0.0.1:0); changed admin (127.0.0.2:0); dropped, unless CMD claims them: feed
      result  there is no way back after cutover

    handover: the node "arena" was not upgraded: there is no way back after cutover
      CMD was not started; register a way back (`Steps::back`), or give --one-way
      now: process PID (build v1) serves, generation 1
    [exit 2]
    "#);
    let Ran { code, out, .. } = node.run(&["upgrade", "--json"], "v2-one-way");
    let outcome: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        (code, &outcome["exit_code"], &outcome["result"]),
        (2, &2.into(), &"not_started".into())
    );
    assert_eq!(
        (&outcome["started_pid"], &outcome["serving"]["pid"]),
        (&Value::Null, &owner.into())
    );
    assert_eq!(
        (&outcome["plan"]["way_back"], &outcome["plan"]["exit_code"]),
        (&"no".into(), &5.into())
    );
    // Nothing was begun: nobody else ever took part.
    let status = node.status();
    assert_eq!(
        (status.participants.len(), status.history.len(), node.owner()),
        (1, 0, owner)
    );
    let Ran { code, err, .. } = node.run(&["upgrade", "--one-way"], "v2-one-way");
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("no way back after cutover"), "{err}");
    assert_ne!(node.owner(), owner);
}

#[test]
fn an_upgrade_that_would_be_refused_is_not_begun() {
    let node = Served::by("v1");
    let owner = node.owner();
    for options in [&["upgrade"][..], &["upgrade", "--one-way"]] {
        let Ran { code, out, err } = node.run(options, "other");
        assert_eq!((code, out.as_str()), (1, ""), "{err}");
        assert!(err.contains("score: u32 -> String"), "{err}");
        assert!(err.contains("CMD was not started"), "{err}");
    }
    let status = node.status();
    assert_eq!(
        (status.participants.len(), status.history.len(), node.owner()),
        (1, 0, owner)
    );
}

#[test]
fn an_upgrade_with_a_way_back_shows_the_plan_and_goes_on() {
    let node = Served::by("v1");
    let Ran { code, out, err } = node.run(&["upgrade", "--json"], "v2");
    let outcome: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &outcome["result"]), (0, &"upgraded".into()), "{err}");
    assert_eq!(outcome["plan"]["way_back"], "yes");
    // It came true: the old version reads what the new one has.
    let rolled = node
        .scene
        .command(&["rollback", "arena"])
        .output()
        .expect("the command runs");
    assert!(rolled.status.success(), "{rolled:?}");
    assert_eq!(node.status().owner.expect("an owner").build_id, "v1");
}

#[test]
fn a_program_that_declares_nothing_is_upgraded_as_ever() {
    let node = Served::by("v1");
    let Ran { code, err, .. } = node.run(&["upgrade"], "undeclared");
    assert_eq!(code, 0, "{err}");
    assert!(!err.contains("Plan"), "{err}");
}

#[test]
fn a_plan_that_cannot_be_made_hinders_no_upgrade() {
    let node = Served::by("v1");
    // It ends with an error, asked or not: that there is no plan is said, and then what becomes of the upgrade.
    let Ran { code, err, .. } = node.run(&["upgrade"], "fail");
    assert_eq!(code, 1, "{err}");
    let first = err.lines().next().unwrap_or_default();
    assert!(
        first.starts_with("arena: no plan: ") && first.contains("exit status: 3"),
        "{err}"
    );
    assert!(err.contains("was not upgraded: process"), "{err}");
}
