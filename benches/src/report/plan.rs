//! How much is measured: populations, rounds, operations a round, so that a whole run stays within its time.

use super::args::Store;
use crate::engine::{BATCH, Kind};
use serde::Serialize;

/// Sizes of the regions that are attached and recovered.
const SIZES: [u64; 3] = [1 << 20, 64 << 20, GIB];
/// The size that the target speaks of.
pub(super) const GIB: u64 = 1 << 30;
/// Most players for the engines of which a change costs milliseconds.
const FEW: u64 = 100_000;

/// What is done to players.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Operation {
    Get,
    GetChained,
    BatchGet,
    GetByHandle,
    Update,
    UpdateByHandle,
    UpdateBatched,
    Replace,
    ReplaceMade,
    Insert,
    Remove,
    Iterate,
    Tick,
    TickTogether,
    PassAll,
}

impl Operation {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::GetChained => "get_chained",
            Self::BatchGet => "batch_get",
            Self::GetByHandle => "get_by_handle",
            Self::Update => "update",
            Self::UpdateByHandle => "update_by_handle",
            Self::UpdateBatched => "update_batched",
            Self::Replace => "replace",
            Self::ReplaceMade => "replace_made",
            Self::Insert => "insert",
            Self::Remove => "remove",
            Self::Iterate => "iterate",
            Self::Tick => "tick",
            Self::TickTogether => "tick_together",
            Self::PassAll => "pass_all",
        }
    }

    /// Whether it visits every player, whatever keys there are.
    pub(super) fn visits_all(self) -> bool {
        matches!(self, Self::Iterate | Self::PassAll)
    }

    /// Whether it takes handles.
    pub(super) fn by_handle(self) -> bool {
        matches!(self, Self::GetByHandle | Self::UpdateByHandle)
    }

    /// Whether it only looks.
    fn reads(self) -> bool {
        matches!(self, Self::Get | Self::GetChained | Self::BatchGet | Self::GetByHandle)
    }
}

/// The amounts of one run.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) players: Vec<u64>,
    pub(super) rounds: u64,
    /// Operations a round at most, on the fastest engines.
    pub(super) operations: usize,
    pub(super) growth: u64,
    pub(super) growth_rounds: u64,
    pub(super) sizes: Vec<u64>,
    pub(super) attach_rounds: u64,
    pub(super) observer_rounds: u64,
    /// Ticks of a turn beside an observer.
    pub(super) observer_ticks: usize,
}

impl Plan {
    pub(super) fn of(options: &Store) -> Self {
        let mut plan = match options.players {
            Some(players) => Self {
                players: vec![players],
                rounds: 2,
                operations: players as usize,
                growth: players,
                growth_rounds: 2,
                sizes: SIZES[..1].to_vec(),
                attach_rounds: 2,
                observer_rounds: 1,
                observer_ticks: 20,
            },
            None if options.quick => Self {
                players: vec![100_000],
                rounds: 3,
                operations: 200_000,
                growth: 100_000,
                growth_rounds: 2,
                sizes: SIZES.to_vec(),
                attach_rounds: 3,
                observer_rounds: 4,
                observer_ticks: 60,
            },
            None => Self {
                players: vec![100_000, 1_000_000],
                rounds: 7,
                operations: 400_000,
                growth: 1_000_000,
                growth_rounds: 7,
                sizes: SIZES.to_vec(),
                attach_rounds: 7,
                observer_rounds: 12,
                observer_ticks: 100,
            },
        };
        plan.rounds = options.rounds.map_or(plan.rounds, u64::from);
        plan
    }

    /// The largest population: what ratios speak of.
    pub(super) fn most(&self) -> u64 {
        self.players.iter().copied().max().unwrap_or(0)
    }

    /// Whether an engine takes part in a population.
    pub(super) fn takes_part(&self, kind: Kind, players: u64) -> bool {
        players <= FEW || !matches!(kind, Kind::MmapSync | Kind::Redis)
    }

    /// Operations a round of one engine.
    pub(super) fn operations(&self, kind: Kind, operation: Operation, players: u64) -> usize {
        if matches!(operation, Operation::Tick | Operation::TickTogether) {
            return (players as usize / 100).max(1);
        }
        let fast = match operation {
            Operation::Replace | Operation::ReplaceMade => self.operations / 4,
            Operation::Insert | Operation::Remove => (self.operations / 8).min(players as usize / 2),
            _ => self.operations,
        };
        let slow = match kind {
            Kind::Shmstate | Kind::Hashmap | Kind::HashmapSip => return fast.max(1),
            Kind::Heed if operation.reads() => 40_000,
            Kind::Heed if operation == Operation::UpdateBatched => 8 * BATCH,
            Kind::Heed => 4_000,
            Kind::Redb if operation.reads() => 20_000,
            Kind::Redb if operation == Operation::UpdateBatched => 4 * BATCH,
            Kind::Redb => 1_000,
            Kind::MmapSync if operation.reads() => 40_000,
            Kind::MmapSync => 1,
            Kind::Redis if operation == Operation::UpdateBatched => 4 * BATCH,
            Kind::Redis => 2_000,
        };
        slow.min(fast).max(1)
    }
}
