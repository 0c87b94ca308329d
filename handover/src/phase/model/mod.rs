//! An exhaustive model check of the whole life of a node: up to three processes run their phases against a lease word, channels, a signal, gates
//! and a region with its open transaction, in every order; each may be killed, stopped and woken between any two effects, an operator and the
//! servers wish what they like, and deadlines pass at any time.
//!
//! - **M1** It calls the phases themselves. What it holds of its own is what the drivers in `node` do, the kernel, the gate and the lease.
//! - **M2** In every state: who could tick owns the lease, now or when it wakes; no transaction is undone whose writer is not proven dead (H5); nothing
//!   is accepted that neither stays nor goes over; each ending is recorded once. See `laws`.
//! - **M3** From every state steps of the processes alone, deadlines among them, lead to one that rests. In each that rests one living process serves,
//!   with its gate open, accepting as before, its channels closed. Nobody serves only if the owner stopped the node, if the owner hangs and nobody is
//!   parked who could say so, or if every process that was left to serve it is dead.
//! - **M4** Messages are lost by death only. A killed process closes its channels a moment before its death can be proven.
//! - **M5** A guard less, in a phase or in the environment, and a law breaks: see `mutation` and [`Sabotage`].
//!
//! Two processes are walked with every effect as a step of its own; three too from where the third stands by, else with the effects of an answer at once.

mod explore;
mod laws;
mod mutation;
mod predecessor;
mod probation;
mod step;
mod successor;
mod world;

use explore::{Explored, explore};
use mutation::{GUARDS, Mutant};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use world::{Sabotage, Setup};

/// Two processes without a probation.
const PLAIN: Setup = Setup {
    processes: 2,
    batches: 1,
    late: 1,
    probation: false,
    kills: 2,
    crashes: 0,
    stops: 0,
    watchdog: false,
    wishes: 0,
    own: 0,
    leaves: false,
    client: false,
    noise: 0,
    coarse: false,
    middle: false,
    sabotage: Sabotage::Nothing,
    mutant: None,
};

/// Two processes with one, nothing but kills.
const TWO: Setup = Setup {
    probation: true,
    ..PLAIN
};

/// A second successor comes during the probation of the first.
const THREE: Setup = Setup {
    processes: 3,
    batches: 0,
    late: 0,
    kills: 0,
    coarse: true,
    ..TWO
};

/// The same from where C stands by for B, with every effect as a step of its own.
const MIDDLE: Setup = Setup {
    coarse: false,
    middle: true,
    ..THREE
};

/// What is walked, each with a name.
fn walks() -> Vec<(&'static str, Setup)> {
    vec![
        (
            "no batch, no probation",
            Setup {
                batches: 0,
                late: 0,
                ..PLAIN
            },
        ),
        (
            "no probation, a client, a stop of the node",
            Setup {
                client: true,
                leaves: true,
                ..PLAIN
            },
        ),
        (
            "no probation, a peer that breaks the protocol",
            Setup {
                batches: 2,
                kills: 1,
                noise: 1,
                ..PLAIN
            },
        ),
        ("two kills", TWO),
        (
            "two crashes that leave a core, a client",
            Setup {
                kills: 0,
                crashes: 2,
                client: true,
                late: 0,
                ..TWO
            },
        ),
        (
            "a crash that leaves a core, a kill, an operator",
            Setup {
                kills: 1,
                crashes: 1,
                wishes: 1,
                late: 0,
                ..TWO
            },
        ),
        (
            "a client, wishes of the operator and of the server",
            Setup {
                own: 1,
                wishes: 1,
                client: true,
                late: 0,
                ..TWO
            },
        ),
        (
            "a stop, a watchdog, an operator",
            Setup {
                stops: 1,
                watchdog: true,
                wishes: 1,
                late: 0,
                ..TWO
            },
        ),
        (
            "a peer that breaks the protocol, an operator",
            Setup {
                kills: 1,
                noise: 1,
                wishes: 1,
                late: 0,
                ..TWO
            },
        ),
        (
            "a stop of the node, wishes of the server",
            Setup {
                leaves: true,
                own: 1,
                late: 0,
                ..TWO
            },
        ),
        ("three, a kill", Setup { kills: 1, ..THREE }),
        ("three, a crash that leaves a core", Setup { crashes: 1, ..THREE }),
        ("three, wishes of the server", Setup { own: 1, ..THREE }),
        (
            "three, a stop, a watchdog",
            Setup {
                stops: 1,
                watchdog: true,
                ..THREE
            },
        ),
        ("three in the middle, wishes of the server", Setup { own: 1, ..MIDDLE }),
        (
            "three in the middle, a kill, an operator",
            Setup {
                kills: 1,
                wishes: 1,
                ..MIDDLE
            },
        ),
    ]
}

#[test]
fn one_living_process_serves_in_every_order_and_after_every_fault() {
    let mut all = Explored::default();
    for (name, setup) in walks() {
        let begun = std::time::Instant::now();
        let found = explore(&setup).unwrap_or_else(|broken| panic!("{name}: {}", broken.way));
        println!("{name}: {found}, {} ms", begun.elapsed().as_millis());
        assert!(
            found.serve[0] > 0 && found.serve[1] > 0,
            "{name}: both ends are reached"
        );
        assert_eq!(found.serve[2] > 0, setup.processes > 2, "{name}");
        all.states += found.states;
        all.back += found.back;
    }
    println!("{} states", all.states);
    assert!(all.back > 0, "the way back is reached");
}

/// What is walked for each mutation: smaller, for most of them break a law early and some none.
fn small_walks() -> Vec<(&'static str, Setup)> {
    let two = Setup {
        kills: 1,
        late: 0,
        ..TWO
    };
    vec![
        (
            "no probation",
            Setup {
                kills: 1,
                noise: 1,
                ..PLAIN
            },
        ),
        (
            "a stop of the node",
            Setup {
                kills: 1,
                leaves: true,
                client: true,
                ..PLAIN
            },
        ),
        ("a kill", Setup { late: 1, ..two }),
        ("a peer that breaks the protocol", Setup { noise: 1, ..two }),
        (
            "a parked one leaves",
            Setup {
                leaves: true,
                wishes: 1,
                own: 1,
                kills: 0,
                ..two
            },
        ),
        (
            "a stop, a watchdog, an operator",
            Setup {
                stops: 1,
                watchdog: true,
                wishes: 1,
                ..two
            },
        ),
        (
            "a client, wishes of the server",
            Setup {
                own: 1,
                client: true,
                ..two
            },
        ),
        ("three, a kill", Setup { kills: 1, ..THREE }),
        ("three, wishes of the server", Setup { own: 1, ..THREE }),
        ("three in the middle, wishes of the server", Setup { own: 2, ..MIDDLE }),
    ]
}

/// The law that breaks, if one does, and in which walk.
fn noticed(change: impl Fn(Setup) -> Setup) -> Option<(&'static str, &'static str)> {
    let walks = small_walks().into_iter();
    let mut laws = walks.filter_map(|(name, setup)| explore(&change(setup)).err().map(|broken| (broken.law, name)));
    laws.next()
}

/// Each of these with what [`noticed`] says, on all CPUs.
fn noticed_each(mutants: &[Mutant]) -> Vec<Option<(&'static str, &'static str)>> {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(vec![None; mutants.len()]);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|s| {
        for _ in 0..threads {
            s.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(mutant) = mutants.get(at) else { break };
                    let law = noticed(|setup| Setup {
                        mutant: Some(*mutant),
                        ..setup
                    });
                    found.lock().unwrap_or_else(PoisonError::into_inner)[at] = law;
                }
            });
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn without_any_one_guard_of_the_environment_a_law_breaks() {
    for sabotage in Sabotage::ALL {
        let Some((law, walk)) = noticed(|setup| Setup { sabotage, ..setup }) else {
            panic!("{sabotage:?}: the guard is missing and nobody noticed");
        };
        println!("{sabotage:?}: {law} ({walk})");
    }
}

#[test]
fn without_any_one_guard_of_a_phase_a_law_breaks() {
    let mutants: Vec<Mutant> = GUARDS.iter().map(|(name, _)| Mutant(name)).collect();
    let mut unnoticed = Vec::new();
    for ((name, keeps), law) in GUARDS.iter().zip(noticed_each(&mutants)) {
        match law {
            Some((law, walk)) => println!("{name} ({keeps}): {law} ({walk})"),
            None => unnoticed.push(*name),
        }
    }
    assert!(
        unnoticed.is_empty(),
        "guards that are missing and nobody noticed: {unnoticed:#?}"
    );
}
