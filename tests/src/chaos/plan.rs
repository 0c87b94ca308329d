//! The random choices of a run: all of them follow from its seed, those of a round from the seed and its number.
//!
//! - **P1** Kinds are dealt from a shuffled deck that holds each once: a run as long as the deck has them all.
//! - **P2** Every round draws the same number of choices, so that each can be played alone. Where a signal falls in the servers' own time is the
//!   scheduler's affair.

use serde::Serialize;
use std::time::Duration;

/// What is done in a round. The owner before is A, those that are started are B, C and D.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// B takes over, and is confirmed: by itself, by an operator's word, or by the command.
    Upgrade,
    /// B, C and D take over, one from another, each on probation.
    Chain,
    /// B and C start at once.
    AtOnce,
    /// While B is on probation, C fails; then B is killed: A has the node.
    UpgradeOnProbation,
    /// While B is on probation, C prepares; then the operator rolls back: A has the node.
    RollbackInUpgrade,
    /// While A still drains, C takes over from B.
    UpgradeWhileDraining,
    /// A stops the node while B takes over.
    StopInUpgrade,
    /// B stops the node while it is on probation.
    StopOnProbation,
    /// B is killed at a random moment from its start on.
    KillSuccessor,
    /// B is killed while it serves on probation.
    KillOnProbation,
    /// B crashes in the middle of a transaction and writes a core.
    CrashOnProbation,
    /// A crashes so while B stands by.
    CrashPredecessor,
    /// A is killed at a random moment from where B has everything.
    KillPredecessor,
    /// A is killed while it is parked.
    KillParked,
    /// A is killed, and nobody else is there.
    KillAlone,
    /// A and B are killed at random moments.
    KillBoth,
    /// B is stopped at a random moment from its start on, and goes on.
    FreezeSuccessor,
    /// A is stopped at a random moment from B's start on, and goes on.
    FreezePredecessor,
    /// A is stopped while it is parked, and goes on.
    FreezeParked,
    /// A is stopped while it is parked, B is killed, A goes on.
    FreezeParkedKillOwner,
    /// B is stopped in the middle of a transaction, the operator rolls back, B is to go on.
    FreezeInTransaction,
    /// B hangs in the middle of a transaction.
    HangInPass,
    /// B hangs without a pass.
    HangOutside,
    /// B gives back.
    GiveBack,
    /// The operator rolls back, by a word in the control block or by the command.
    Rollback,
    /// B exits before it asks for the node.
    ExitAtOnce,
    /// B aborts when everything has come.
    Abort,
    /// B drops everything without a word.
    DropAll,
    /// B refuses.
    Refuse,
    /// B wants a table in another shape.
    OtherSchema,
    /// B is never ready.
    NeverReady,
    /// B has too few descriptors.
    Starved,
    /// The command upgrades.
    Command,
    /// The command is killed in the middle of an upgrade.
    KillCommand,
    /// The command is stopped in the middle of an upgrade, and goes on.
    FreezeCommand,
    /// The command gives up.
    CommandGivesUp,
}

/// All kinds.
pub(super) const DECK: [Kind; 36] = [
    Kind::Upgrade,
    Kind::Chain,
    Kind::AtOnce,
    Kind::UpgradeOnProbation,
    Kind::RollbackInUpgrade,
    Kind::UpgradeWhileDraining,
    Kind::StopInUpgrade,
    Kind::StopOnProbation,
    Kind::KillSuccessor,
    Kind::KillOnProbation,
    Kind::CrashOnProbation,
    Kind::CrashPredecessor,
    Kind::KillPredecessor,
    Kind::KillParked,
    Kind::KillAlone,
    Kind::KillBoth,
    Kind::FreezeSuccessor,
    Kind::FreezePredecessor,
    Kind::FreezeParked,
    Kind::FreezeParkedKillOwner,
    Kind::FreezeInTransaction,
    Kind::HangInPass,
    Kind::HangOutside,
    Kind::GiveBack,
    Kind::Rollback,
    Kind::ExitAtOnce,
    Kind::Abort,
    Kind::DropAll,
    Kind::Refuse,
    Kind::OtherSchema,
    Kind::NeverReady,
    Kind::Starved,
    Kind::Command,
    Kind::KillCommand,
    Kind::FreezeCommand,
    Kind::CommandGivesUp,
];

/// From the start of a successor to well behind its cutover.
const SPREAD: Duration = Duration::from_millis(40);
/// Longest stop.
const FROZEN: Duration = Duration::from_millis(150);

/// The choices for one round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Round {
    /// From 1.
    pub(super) number: u32,
    pub(super) kind: Kind,
    /// Two random moments.
    pub(super) moment: Duration,
    pub(super) later: Duration,
    /// How long something is stopped.
    pub(super) frozen: Duration,
    /// One of two ways, and one of three.
    pub(super) coin: bool,
    pub(super) die: u8,
}

impl Round {
    /// The choices of the round with that number, from 1.
    pub(super) fn of(seed: u64, number: u32) -> Self {
        let index = (number - 1) as usize;
        let mut deck = DECK;
        rng(seed, (index / DECK.len()) as u64).shuffle(&mut deck);
        let mut random = rng(!seed, u64::from(number));
        let mut moment = |longest: Duration| longest.mul_f64(random.f64());
        Self {
            number,
            kind: deck[index % DECK.len()],
            moment: moment(SPREAD),
            later: moment(SPREAD),
            frozen: moment(FROZEN),
            coin: random.bool(),
            die: random.u8(..3),
        }
    }
}

fn rng(seed: u64, number: u64) -> fastrand::Rng {
    // One step, so that neighbours do not begin alike.
    let mut random = fastrand::Rng::with_seed(seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    random.u64(..);
    random
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_seed_replays_and_every_kind_is_dealt() {
        let rounds = |seed| (1..100).map(|n| Round::of(seed, n)).collect::<Vec<_>>();
        assert_eq!(rounds(7), rounds(7));
        assert_ne!(rounds(7), rounds(8));
        let dealt: BTreeSet<Kind> = rounds(7)[..DECK.len()].iter().map(|r| r.kind).collect();
        assert_eq!(dealt.len(), DECK.len());
        assert!(rounds(7).iter().all(|r| r.moment <= SPREAD && r.frozen <= FROZEN));
    }
}
