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
//!   And where nobody hangs, nobody needs a deadline on the way there, but for the end of a probation: what is put right only when it is too late is a
//!   fault.
//! - **M4** Messages are lost by death only. A killed process closes its channels a moment before its death can be proven.
//! - **M5** A guard less, in a phase or in the environment, and a law breaks: see `mutation` and [`Sabotage`]. So it does without any one answer of a
//!   phase, and without any one effect of one, but for those that `unnoticed` says why of: see `omission`.
//!
//! Two processes are walked with every effect as a step of its own; three too from where the third stands by, else with the effects of an answer at once.

mod answers;
mod explore;
mod laws;
mod mutation;
mod omission;
mod predecessor;
mod probation;
mod small;
mod step;
mod successor;
mod unnoticed;
mod world;

use explore::{Explored, explore};
use small::each;
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
    idle: false,
    busy: false,
    early: false,
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
    let mut walks = walks();
    // The largest is the last, and begins first.
    walks.reverse();
    let found = each(&walks, |(name, setup)| {
        let begun = std::time::Instant::now();
        let found = explore(setup).unwrap_or_else(|broken| panic!("{name}: {}", broken.way));
        println!("{name}: {found}, {} ms", begun.elapsed().as_millis());
        found
    });
    for ((name, setup), found) in walks.iter().zip(found) {
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
