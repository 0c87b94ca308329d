//! A predecessor that is stopped between two stores of its transactions while its successor has everything and waits (H2, H5, H10, T1). No other process
//! touches the region meanwhile, for no lease stops a store: it is handed over by the stopped one itself when it wakes, or inherited when it is proven dead, or
//! it stays; and a command that was answered is never lost.
//!
//! Seen red: with a successor that takes its deadline for a death (`phase/successor.rs`, `AwaitingStandBy` and `Standing` inherit at [`Blow::Late`]): the open
//! transaction is undone beneath the stopped one.

use crate::turns::{self, NODES, Turns};
use actors::node::scene::owner_of;
use actors::node::wait::{LIMIT, until};
use actors::node::{Actor, Order, Report};
use handover::control::{Phase, Request};
use nix::libc::SIGKILL;
use std::os::unix::process::ExitStatusExt;

/// Stores after which it is stopped: from its first as the owner on, through several ticks, each of them.
const STORES: usize = 96;
/// Stops in the middle of a transaction that must be among them: the others hit between two.
const INSIDE: usize = STORES / 4;
/// Nothing happens but what is told to, or asked for.
const PARK: &[&str] = &[
    "--park",
    "--idle",
    "--deadline",
    "probation=600000",
    "--deadline",
    "give-back=60",
    "--deadline",
    "tick=20",
    "--deadline",
    "hello=60000",
    "--deadline",
    "ready=60000",
    "--deadline",
    "stand-by=60000",
    "--deadline",
    "quiet=60000",
    "--deadline",
    "take=60000",
];
/// Of one that is armed: its next two ticks are to come, and soon do.
const ARMED: &[&str] = &["--deadline", "tick=200"];
/// Of a successor that does not wait for one that is stopped: neither for `stand by`, which is to come within two of them, nor for the take.
const HASTY: &[&str] = &[
    "--deadline",
    "stand-by=50",
    "--deadline",
    "batch=1500",
    "--deadline",
    "quiet=100",
    "--deadline",
    "take=100",
];

/// What becomes of the stopped one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    /// It goes on while its successor waits, and hands over.
    Wake,
    /// It goes on when its successor has left, and serves.
    Late,
    /// It is killed where it stands: its successor inherits, and SIGCONT comes too late.
    Kill,
    /// It is on probation, and the operator rolls back: its predecessor has the node, and SIGCONT comes too late.
    Rollback,
}

/// When.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// Its successor has everything, and is not ready.
    Offered,
    /// Its successor stands by, and its gate is armed: in one of its last two ticks.
    Armed,
}

/// What is done at the n-th store: each blow at each moment in turn.
const COURSE: [(Blow, When); 7] = [
    (Blow::Wake, When::Armed),
    (Blow::Rollback, When::Offered),
    (Blow::Late, When::Offered),
    (Blow::Kill, When::Armed),
    (Blow::Wake, When::Offered),
    (Blow::Late, When::Armed),
    (Blow::Kill, When::Offered),
];

impl Turns {
    /// The owner hands over to one that is stopped after so many stores, while it hands over to another.
    fn turn(mut self, nth: usize, (blow, when): (Blow, When)) -> Self {
        let what = format!("{blow:?}, {when:?}, at store {nth}");
        self.swarm.hush();
        let before = self.scene.generation();
        let strike = format!("--strike=stop:shmstate:store: of any kind:{nth}");
        let mut old = self.spawn("B", &[ARMED, &[strike.as_str()]].concat());
        assert_eq!(old.serving(), before + 1, "{what}");
        self.wait_phase(Phase::Probation);
        if blow == Blow::Kill && when == When::Offered {
            // Its predecessor would be faster.
            old.tell(Order::Confirm);
            old.skip_to(&Report::Confirmed(true));
            self.owner.exit();
        }
        let hasty = if blow == Blow::Late { HASTY } else { &[] };
        let mut next = self.spawn("C", &[&["--wait"], hasty].concat());
        assert_eq!(next.started().0, "successor", "{what}");
        if when == When::Armed && blow != Blow::Late {
            next.tell(Order::Go);
            self.wait_phase(Phase::Closing);
            // The probation of its predecessor is over by then: nobody else could take over.
            self.owner.exit();
        }
        self.swarm.resume();
        if when == When::Armed && blow == Blow::Late {
            // It does not wait long, so the ticks go on before.
            next.tell(Order::Go);
        }
        let scene = &self.scene;
        let struck = until("a stop between two stores, or a cutover before", || {
            let over = || {
                scene
                    .try_status()
                    .is_some_and(|s| s.lease.generation() > before + 1 && owner_of(&s).is_some())
            };
            old.is_stopped().then_some(true).or_else(|| over().then_some(false))
        });
        if !struck {
            // The last tick was over before that store, or its successor has left before.
            assert_eq!(when, When::Armed, "{what}");
            return self.handed_over(old, next, before + 2, &what);
        }
        let open = self.note_open();
        if when == When::Offered && blow != Blow::Rollback {
            next.tell(Order::Go);
        }
        match blow {
            Blow::Wake => {
                old.thaw();
                return self.handed_over(old, next, before + 2, &what);
            }
            Blow::Late => {
                next.failed();
                next.exit();
                assert_eq!(self.is_open(), open, "somebody touched the region: {what}");
                assert_eq!(self.scene.generation(), before + 1, "{what}");
                old.thaw();
                self.swarm.wait_progress();
                self.wait_owner(&old, &what);
                if self.owner.ended().is_none() && self.is_parked() {
                    self.scene.request(Request::Confirm);
                }
                self.owner.exit();
                self.owner = old;
            }
            Blow::Kill => {
                old.kill();
                old.thaw_if_alive();
                assert_eq!(next.inherited().0, before + 2, "{what}");
                self.owner.exit();
                self.owner = next;
            }
            Blow::Rollback => {
                self.scene.request(Request::Rollback);
                self.owner.skip_to_back();
                assert_eq!(self.owner.serving(), before + 2, "{what}");
                old.thaw_if_alive();
                assert_eq!(old.exit().signal(), Some(SIGKILL), "it woke: {what}");
                next.tell(Order::Go);
                next.failed();
                next.exit();
            }
        }
        self.swarm.wait_progress();
        self.swarm.check();
        self
    }

    /// Whether the owner's probation still lasts.
    fn is_parked(&self) -> bool {
        self.scene.try_status().is_some_and(|s| s.phase == Phase::Probation)
    }

    /// It owns the node, and nothing else is going on.
    fn wait_owner(&self, actor: &Actor, what: &str) {
        until(&format!("an owner again: {what}"), || {
            let status = self.scene.try_status()?;
            let rests = matches!(status.phase, Phase::None | Phase::Probation);
            (rests && owner_of(&status)?.process.pid == actor.pid()).then_some(())
        });
    }

    /// The next one has the node from it, and nobody else takes part.
    fn handed_over(mut self, mut old: Actor, mut next: Actor, generation: u64, what: &str) -> Self {
        assert_eq!(next.serving(), generation, "{what}");
        self.swarm.wait_generation(generation);
        self.owner.exit();
        self.wait_phase(Phase::Probation);
        self.scene.request(Request::Confirm);
        assert!(old.exit().success(), "{what}");
        self.swarm.wait_progress();
        self.swarm.check();
        self.owner = next;
        self
    }
}

#[test]
fn stopped_at_each_store_it_hands_over_or_is_proven_dead() {
    turns::play("a predecessor", INSIDE, |first, rounds| {
        let mut turns = Turns::new(PARK);
        for round in 0..rounds {
            for nth in (first..=STORES).step_by(NODES) {
                turns = turns.turn(nth, COURSE[(nth + round) % COURSE.len()]);
            }
        }
        // Nobody is in a pass while nobody wants anything, on purpose.
        turns.end(LIMIT)
    });
}
