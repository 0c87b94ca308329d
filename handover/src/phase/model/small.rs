//! A rule less, and a law breaks: what is walked for it, and the tests. See `mutation` and `omission`.

use super::answers::NOTICED;
use super::explore::explore;
use super::mutation::{GUARDS, Mutant};
use super::omission::{lines, names, noted};
use super::unnoticed::UNNOTICED;
use super::world::{Sabotage, Setup};
use super::{MIDDLE, PLAIN, THREE, TWO};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// What is walked for each mutation, the smallest first: most of them break a law early, and some none.
fn small_walks() -> Vec<(&'static str, Setup)> {
    let calm = Setup { kills: 0, ..TWO };
    let two = Setup {
        kills: 1,
        late: 0,
        ..TWO
    };
    let (kills, noise, own, wishes, stops) = (1, 1, 1, 1, 1);
    let watchdog = true;
    let none = Setup { batches: 0, ..two };
    vec![
        ("calm, no probation", Setup { kills: 0, ..PLAIN }),
        (
            "no ticks, no probation",
            Setup {
                kills: 0,
                idle: true,
                ..PLAIN
            },
        ),
        ("calm", calm),
        ("no ticks", Setup { idle: true, ..calm }),
        ("a wish of the server", Setup { own, ..calm }),
        ("a wish of the operator", Setup { wishes, ..calm }),
        ("a pass stays out", Setup { busy: true, ..calm }),
        ("a kill", Setup { kills, ..calm }),
        (
            "a pass stays out, wishes of the server",
            Setup {
                busy: true,
                own,
                ..calm
            },
        ),
        ("a kill, no probation", Setup { kills, ..PLAIN }),
        ("no probation", Setup { kills, noise, ..PLAIN }),
        (
            "a stop, no probation",
            Setup {
                kills: 0,
                stops,
                ..PLAIN
            },
        ),
        ("a stop", Setup { stops, ..calm }),
        (
            "a pass stays out, a stop",
            Setup {
                kills: 0,
                busy: true,
                stops,
                ..PLAIN
            },
        ),
        (
            "a preparation without end, a kill",
            Setup {
                busy: true,
                kills,
                ..PLAIN
            },
        ),
        (
            "a stop of the node",
            Setup {
                kills,
                leaves: true,
                client: true,
                ..PLAIN
            },
        ),
        ("a peer that breaks the protocol", Setup { noise, ..two }),
        (
            "a parked one leaves",
            Setup {
                leaves: true,
                wishes,
                own,
                kills: 0,
                ..none
            },
        ),
        ("a kill, wishes of the server", Setup { own, ..none }),
        (
            "a watchdog, a peer that breaks the protocol",
            Setup {
                watchdog,
                noise,
                ..calm
            },
        ),
        (
            "an operator, a peer that breaks the protocol",
            Setup { wishes, noise, ..calm },
        ),
        (
            "a stop, a watchdog, an operator",
            Setup {
                stops,
                watchdog,
                wishes,
                ..none
            },
        ),
        (
            "a client, wishes of the server",
            Setup {
                own,
                client: true,
                ..none
            },
        ),
        ("three, one comes early", Setup { early: true, ..THREE }),
        ("three, a kill", Setup { kills, ..THREE }),
        ("three, wishes of the server", Setup { own, ..THREE }),
    ]
}

/// Where two threads of a process arm its gate, and each is disarmed. Only what breaks a law early is looked for there.
const LARGE: (&str, Setup) = ("three in the middle, wishes of the server", Setup { own: 2, ..MIDDLE });

/// Each of these with what comes of it, on all CPUs.
pub(super) fn each<T: Sync, R: Send>(tasks: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|s| {
        for _ in 0..threads {
            s.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(task) = tasks.get(at) else { break };
                    let result = work(task);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// The law that breaks, if one does, and in which walk: the first in which one does, or the one of this name.
fn noticed(walk: Option<&str>, change: impl Fn(Setup) -> Setup) -> Option<(&'static str, &'static str)> {
    let walks = small_walks().into_iter();
    let large = walk.is_some().then_some(LARGE);
    let mut walks = walks
        .chain(large)
        .filter(|(name, _)| walk.is_none_or(|walk| walk == *name));
    walks.find_map(|(name, setup)| explore(&change(setup)).err().map(|broken| (broken.law, name)))
}

/// All of these are noticed in the walk that is named.
fn assert_noticed(tasks: &[(Mutant, &str)]) {
    let found = each(tasks, |(mutant, walk)| {
        let mutant = Some(*mutant);
        noticed(Some(walk), |setup| Setup { mutant, ..setup })
    });
    let mut unnoticed = Vec::new();
    for (task, law) in tasks.iter().zip(found) {
        match law {
            Some((law, walk)) => println!("{:?}: {law} ({walk})", task.0),
            None => unnoticed.push(task),
        }
    }
    assert!(unnoticed.is_empty(), "missing, and nobody noticed: {unnoticed:#?}");
}

#[test]
fn without_any_one_guard_of_the_environment_a_law_breaks() {
    let found = each(&Sabotage::ALL, |sabotage| {
        noticed(None, |setup| Setup {
            sabotage: *sabotage,
            ..setup
        })
    });
    for (sabotage, law) in Sabotage::ALL.iter().zip(found) {
        let Some((law, walk)) = law else {
            panic!("{sabotage:?}: the guard is missing and nobody noticed");
        };
        println!("{sabotage:?}: {law} ({walk})");
    }
}

#[test]
fn without_any_one_guard_of_a_phase_a_law_breaks() {
    let guards = GUARDS.iter().map(|(name, _, walk)| (Mutant::Guard(name), *walk));
    assert_noticed(&guards.collect::<Vec<_>>());
}

/// The names of all answers, and of their effects, that are given in the small walks, and in which.
fn all_answers() -> BTreeMap<String, Vec<&'static str>> {
    let walks = small_walks();
    let found = each(&walks, |(name, setup)| {
        let mutant = Some(Mutant::Noted);
        let found = explore(&Setup { mutant, ..*setup }).unwrap_or_else(|broken| panic!("{name}: {}", broken.way));
        println!("{name}: {found}");
        noted()
    });
    let mut given: BTreeMap<String, Vec<&'static str>> = BTreeMap::new();
    for ((walk, _), answers) in walks.iter().zip(found) {
        for answer in answers {
            given.entry(answer).or_default().push(walk);
        }
    }
    given
}

#[test]
fn without_any_one_answer_of_a_phase_a_law_breaks() {
    let (noticed, unnoticed) = (names(NOTICED), names(UNNOTICED));
    let known = noticed.iter().chain(&unnoticed).map(|(name, _)| (*name).to_owned());
    let known = known.collect::<BTreeSet<_>>();
    let all = all_answers().into_keys().collect::<BTreeSet<_>>();
    assert_eq!(known.len(), noticed.len() + unnoticed.len(), "each is listed once");
    let missing: Vec<_> = all.difference(&known).collect();
    let strange: Vec<_> = known.difference(&all).collect();
    assert!(
        missing.is_empty() && strange.is_empty(),
        "not listed: {missing:#?}, never given: {strange:#?}"
    );
    let answers = noticed.iter().map(|(name, walk)| (Mutant::Answer(name), *walk));
    assert_noticed(&answers.collect::<Vec<_>>());
    println!("{} are noticed, {} are not", noticed.len(), unnoticed.len());
}

/// Prints what the list would be: `cargo test -p handover --lib model::small::print -- --ignored --nocapture`.
#[test]
#[ignore = "for whoever changes a phase"]
fn print_the_list_of_answers() {
    let given: Vec<(&'static str, Vec<_>)> = all_answers()
        .into_iter()
        .map(|(name, walks)| (&*name.leak(), walks))
        .collect();
    let found = each(&given, |(name, walks)| {
        let mutant = Some(Mutant::Answer(name));
        let found = walks
            .iter()
            .find_map(|walk| noticed(Some(walk), |setup| Setup { mutant, ..setup }));
        println!("{name}: {found:?}");
        found
    });
    let mut by_walk: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for ((name, _), found) in given.iter().zip(&found) {
        by_walk
            .entry(found.map_or("unnoticed", |(_, walk)| walk))
            .or_default()
            .push(name);
    }
    for (walk, names) in by_walk {
        println!("    ({walk:?}, &{:#?}),", lines(names));
    }
}
