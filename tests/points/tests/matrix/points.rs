//! The points, what leads to them, and who serves after a kill there (M1).

use crate::case::After::{Anew, New, Nobody, Old, One, Third as C};
use crate::case::Target::{New as B, Old as A, Third};
use crate::case::{After, Blow, Case, Elder, Target, Way};
use crate::{ask, course, pool};
use std::collections::BTreeSet;

/// A point and who serves after a kill there.
type Row = (&'static str, After);

/// What the old owner does up to the cutover: A, and in a chain B, which is on probation then.
const OWNER: &[Row] = &[
    ("old: hello read", Anew),
    ("old: offer sent", Anew),
    ("old: batch sent", Anew),
    ("old: ack read", Anew),
    ("old: offered sent", New),
    ("old: ready read", New),
    ("old: late batches staged", New),
    ("old: newcomer sent", New),
    ("old: stand by sent", New),
    ("old: standing read", New),
    ("old: own probation ended", New),
    ("old: gate armed", New),
    ("old: rehearsed", New),
    ("old: quiet, not released", New),
    ("old: released, not signalled", New),
    ("old: signalled", New),
    ("old: take seen", New),
    ("old: stage set, terms left", New),
    ("old: terms claimed", New),
    ("parked: regions mapped", New),
    ("parked: row says so", New),
    ("parked: mirror read", New),
    ("parked: gone read", New),
];

/// What the successor does before it owns the node: B, and in a chain C.
const SUCCESSOR: &[&str] = &[
    "new: connected",
    "new: hello sent",
    "new: offer read",
    "new: batch read",
    "new: ack sent",
    "new: offered read",
    "new: everything claimed",
    "new: ready sent",
    "new: newcomer read",
    "new: stand by read",
    "new: standing sent",
    "new: rehearsal seen",
    "new: signal seen, not taken",
];

/// What it does as the owner that is on probation. Watched there, it loses the node when it hangs.
const ON_PROBATION: &[&str] = &[
    "new: taken, gate closed",
    "new: gate open",
    "new: stage set",
    "new: history written",
    "new: probation begun",
    "owner: mirror sent",
    "owner: gone sent",
];

/// What an owner does that gives the node back. Watched, it has lost it when it hangs.
const GIVING_BACK: &[&str] = &[
    "owner: gate closes to give back",
    "owner: released to the parked one",
    "owner: returned sent",
    "owner: let go",
];

/// What happens nowhere else.
const OTHERS: &[(&str, Way, Target, After)] = &[
    ("old: refusal read", Way::Refused, A, Nobody),
    ("old: abort sent, not signalled", Way::Held, A, Nobody),
    ("new: refusal sent", Way::Refused, B, Old),
    ("new: abort read", Way::Held, B, Old),
    ("new: death of the old one proven", Way::Orphaned, B, Nobody),
    ("new: inherited, gate closed", Way::Orphaned, B, Nobody),
    ("first: lock held", Way::StartOver, B, Nobody),
    ("first: lease of a dead owner inherited", Way::StartOver, B, Nobody),
    ("first: control socket bound", Way::StartOver, B, Nobody),
    // What moves is sent before the new owner listens for it.
    ("new: taken, gate closed", Way::Move, B, Old),
    ("new: history written", Way::Move, B, Old),
    ("parked: move sent", Way::Move, A, New),
    ("owner: move read", Way::Move, B, Old),
    ("owner: confirm sent", Way::Confirm, B, Nobody),
    ("parked: confirm read", Way::Confirm, A, New),
    ("parked: probation over", Way::Confirm, A, New),
    ("parked: confirm read", Way::Chain, A, C),
    ("parked: probation over", Way::Chain, A, C),
    ("parked: return sent", Way::Rollback, A, New),
    ("owner: return read", Way::Rollback, B, Old),
    ("parked: about to take", Way::Rollback, A, New),
    ("parked: about to take", Way::GiveBack, A, New),
    ("parked: taken", Way::Rollback, A, Nobody),
    ("parked: taken", Way::GiveBack, A, Nobody),
    ("back: gate open", Way::Rollback, A, Nobody),
    ("back: history written", Way::Rollback, A, Nobody),
    ("parked: kill sent", Way::Hung, A, Nobody),
    ("parked: death proven", Way::Hung, A, Nobody),
    ("parked: death proven", Way::Died, A, Nobody),
    ("parked: about to inherit", Way::Died, A, Nobody),
    ("parked: inherited", Way::Died, A, Nobody),
    ("parked: regions recovered", Way::Died, A, Nobody),
    ("parked: regions recovered", Way::Hung, A, Nobody),
    ("back: gate open", Way::Died, A, Nobody),
    ("back: history written", Way::Died, A, Nobody),
];

/// What no case here leads to, and why.
const NOT_HERE: &[(&str, &str)] = &[
    ("wish: written, not counted", "a command is struck there, see `command`"),
    ("wish: counted", "a command is struck there, see `command`"),
    ("command: looked at the node", "see `command`"),
    ("command: server started", "see `command`"),
    ("command: server seen to serve", "see `command`"),
];

/// What nobody gets to where one speaks version 1 only: newcomers wait in the listener's queue, and nobody parks.
const NOT_OF_ELDERS: &[&str] = &[
    "old: newcomer sent",
    "old: stage set, terms left",
    "old: terms claimed",
    "parked: regions mapped",
    "parked: row says so",
    "parked: mirror read",
    "parked: gone read",
    "new: newcomer read",
    "new: probation begun",
    "owner: mirror sent",
    "owner: gone sent",
];

/// The ways of [`OTHERS`] that are open to them.
const WAYS_OF_ELDERS: &[Way] = &[Way::Refused, Way::Held, Way::Orphaned];

/// A point, what leads there, who is struck, and who serves after a kill there.
type Struck = (&'static str, Way, Target, After);

/// The same where one of the two speaks version 1 only, whichever it is: a B that is killed as the owner has nobody behind it.
fn table_of_elders() -> Vec<Struck> {
    let meets = |point: &&str| !NOT_OF_ELDERS.contains(point);
    let owner = OWNER.iter().filter(|(point, _)| meets(point));
    let mut all: Vec<Struck> = owner.map(|(point, after)| (*point, Way::Upgrade, A, *after)).collect();
    let before = SUCCESSOR.iter().filter(|p| meets(p));
    all.extend(before.map(|point| (*point, Way::Upgrade, B, Old)));
    let owned = ON_PROBATION.iter().filter(|p| meets(p));
    all.extend(owned.map(|point| (*point, Way::Upgrade, B, Nobody)));
    let others = OTHERS.iter().filter(|(_, way, ..)| WAYS_OF_ELDERS.contains(way));
    all.extend(others.copied());
    all
}

/// All of the latest version, but for the blow.
fn table() -> Vec<Struck> {
    let mut all = OTHERS.to_vec();
    all.extend(OWNER.iter().map(|(point, after)| (*point, Way::Upgrade, A, *after)));
    // A or C, whoever is faster; and C when B was parked by then. A has all connections too.
    let late = |point: &str| point.starts_with("parked") || point == "old: terms claimed";
    let after = |point| if late(point) { C } else { One };
    all.extend(OWNER.iter().map(|(point, _)| (*point, Way::Chain, B, after(point))));
    for point in SUCCESSOR.iter().chain(ON_PROBATION) {
        all.push((point, Way::Upgrade, B, Old));
        all.push((point, Way::Chain, Third, New));
    }
    for point in GIVING_BACK {
        all.push((point, Way::Rollback, B, Old));
        all.push((point, Way::GiveBack, B, Old));
    }
    all
}

/// Whether A, if it is watchful, takes the node back from a B that hangs there.
fn is_watched(point: &str, way: Way, target: Target) -> bool {
    let on_probation = ON_PROBATION.contains(&point) && way == Way::Upgrade;
    let giving_back = GIVING_BACK.contains(&point) || point == "owner: return read" || point == "owner: move read";
    target == B && (on_probation || giving_back)
}

/// Plays all cases with that blow.
fn play(blow: Blow) {
    let mut cases = Vec::new();
    for round in 0..ask::rounds() {
        for (point, way, target, after) in table() {
            if blow == Blow::Watched && !is_watched(point, way, target) {
                continue;
            }
            cases.push(Case {
                elder: Elder::Nobody,
                point,
                nth: 1 + if is_repeated(point) { round } else { 0 },
                way,
                target,
                after,
                blow,
                tried: 0,
                sabotage: None,
            });
        }
    }
    pool::play(&cases, Case::name, course::play);
}

/// Plays all cases of one that speaks version 1 only and one that speaks all.
fn play_elders(elder: Elder) {
    let mut cases = Vec::new();
    for blow in [Blow::Kill, Blow::Pause, Blow::Stop] {
        let all = table_of_elders().into_iter();
        cases.extend(all.map(|(point, way, target, after)| Case {
            elder,
            point,
            nth: 1,
            way,
            target,
            after,
            blow,
            tried: 0,
            sabotage: None,
        }));
    }
    pool::play(&cases, Case::name, course::play);
}

/// Whether the point is passed again and again.
fn is_repeated(point: &str) -> bool {
    ["mirror", "gone"].iter().any(|word| point.contains(word))
}

#[test]
fn killed_at_each_point() {
    play(Blow::Kill);
}

#[test]
fn stopped_for_a_while_at_each_point() {
    play(Blow::Pause);
}

#[test]
fn stopped_for_too_long_at_each_point() {
    play(Blow::Stop);
}

#[test]
fn stopped_for_too_long_on_probation_and_watched() {
    play(Blow::Watched);
}

#[test]
fn either_struck_at_each_point_where_the_old_one_speaks_version_1() {
    play_elders(Elder::Old);
}

#[test]
fn either_struck_at_each_point_where_the_new_one_speaks_version_1() {
    play_elders(Elder::New);
}

/// They speak version 1, and not only say so: what is new in the second does not happen.
#[test]
fn where_one_speaks_version_1_nobody_parks() {
    let parks = |elder| Case {
        elder,
        point: "parked: row says so",
        nth: 1,
        way: Way::Upgrade,
        target: A,
        after: New,
        blow: Blow::Pause,
        tried: 0,
        sabotage: None,
    };
    assert!(course::is_reached(&parks(Elder::Nobody), 2));
    for elder in [Elder::Old, Elder::New] {
        assert!(!course::is_reached(&parks(elder), 1), "{elder:?}");
    }
}

/// M1.
#[test]
fn no_point_is_forgotten() {
    let here: BTreeSet<&str> = table().into_iter().map(|(point, ..)| point).collect();
    let all: BTreeSet<&str> = handover_points::points::NAMES.iter().copied().collect();
    for name in &all {
        let elsewhere: Vec<_> = NOT_HERE.iter().filter(|(point, _)| point == name).collect();
        assert!(
            here.contains(name) == elsewhere.is_empty(),
            "{name:?}: either in a case, or a reason why not"
        );
    }
    for name in here.iter().chain(NOT_HERE.iter().map(|(point, _)| point)) {
        assert!(all.contains(name), "{name:?} is no point");
    }
    for name in NOT_HERE.iter().map(|(point, _)| *point) {
        assert!(
            crate::command::POINTS.contains(&name),
            "{name:?} is in no case of the commands"
        );
    }
}
