//! The rounds: every engine does every operation once a round, in turn, on the same keys.
//!
//! The engines take turns within each operation, so that what disturbs the machine for a second disturbs all of them. Before each
//! measure the engine reads a few other keys: caches and TLB hold its memory, and not what the engine before it left.

use super::agree;
use super::plan::{Operation, Plan};
use super::results::{Measure, Results};
use crate::Result;
use crate::engine::{Answer, Engine, Kind, Opened, Room};
use crate::keys::{Distribution, Draw, shuffled};
use crate::players::{Player, templates};
use crate::smaps::Pages;
use serde::Serialize;
use std::hint::black_box;
use std::time::Instant;

/// What is measured, in this order, and with which keys.
const MEASURES: [(Operation, Distribution); 20] = [
    (Operation::Get, Distribution::Uniform),
    (Operation::GetChained, Distribution::Uniform),
    (Operation::GetByHandle, Distribution::Uniform),
    (Operation::BatchGet, Distribution::Uniform),
    (Operation::Get, Distribution::Zipf),
    (Operation::GetByHandle, Distribution::Zipf),
    (Operation::Update, Distribution::Uniform),
    (Operation::UpdateByHandle, Distribution::Uniform),
    (Operation::Update, Distribution::Zipf),
    (Operation::UpdateByHandle, Distribution::Zipf),
    (Operation::Replace, Distribution::Uniform),
    (Operation::Replace, Distribution::Zipf),
    (Operation::ReplaceMade, Distribution::Uniform),
    (Operation::Insert, Distribution::Uniform),
    (Operation::Remove, Distribution::Uniform),
    (Operation::Iterate, Distribution::Uniform),
    (Operation::Tick, Distribution::Uniform),
    (Operation::TickTogether, Distribution::Uniform),
    (Operation::UpdateBatched, Distribution::Uniform),
    (Operation::PassAll, Distribution::Uniform),
];
/// One key is read for so many that are measured, before they are.
const WARM: usize = 8;
/// What is said of an engine that has not got an operation.
pub(super) const LACKS: &str = "no such operation";
/// Keys with which engines are compared before: few, since some publish everything for each.
const COMPARED: usize = 4;
/// Seeds: of the order of filling, of ranks, and of each round's keys.
const SEEDS: [u64; 3] = [11, 13, 1_000];

/// An engine that takes part.
pub(super) struct Member {
    pub(super) kind: Kind,
    pub(super) engine: Box<dyn Engine>,
}

/// What an operation is given.
#[derive(Clone, Copy)]
pub(super) struct Work<'a> {
    pub(super) keys: &'a [u64],
    pub(super) templates: &'a [Player],
    pub(super) round: u64,
}

/// Memory of an engine after it was filled.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Memory {
    pub(super) engine: &'static str,
    pub(super) players: u64,
    /// `filled`, or `used` after all rounds, or `compacted` after that.
    pub(super) when: &'static str,
    pub(super) bytes: u64,
    pub(super) bytes_per_player: f64,
    /// What is taken over archives and keys, in percent of them.
    pub(super) overhead_percent: Option<f64>,
}

/// Where an engine's memory lay, after all rounds.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Placed {
    pub(super) engine: &'static str,
    pub(super) players: u64,
    #[serde(flatten)]
    pub(super) pages: Pages,
}

/// All about one or several populations.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) results: Results,
    pub(super) memory: Vec<Memory>,
    pub(super) placed: Vec<Placed>,
}

/// Runs one operation.
pub(super) fn answer(engine: &mut dyn Engine, operation: Operation, work: &Work<'_>) -> Answer {
    match operation {
        Operation::Get => engine.get(work.keys),
        Operation::GetChained => engine.get_chained(work.keys),
        Operation::BatchGet => engine.batch_get(work.keys),
        Operation::GetByHandle => engine.get_by_handle(),
        Operation::Update => engine.update(work.keys),
        Operation::UpdateByHandle => engine.update_by_handle(),
        Operation::UpdateBatched => engine.update_batched(work.keys),
        Operation::Replace => engine.replace(work.keys, work.templates, work.round),
        Operation::ReplaceMade => engine.replace_made(work.keys, work.round),
        Operation::Insert => engine.insert(work.keys, work.templates),
        Operation::Remove => engine.remove(work.keys),
        Operation::Iterate => engine.iterate(),
        Operation::Tick => engine.tick(work.keys),
        Operation::TickTogether => engine.tick_together(work.keys),
        Operation::PassAll => engine.pass_all(),
    }
}

/// Fills all engines with `players`, compares them, runs the rounds.
pub(super) fn run(plan: &Plan, players: u64, outcome: &mut Outcome) -> Result<()> {
    let templates = templates();
    let [order_seed, rank_seed, round_seed] = SEEDS;
    let order = shuffled(players, order_seed);
    let draw = Draw::of(players, rank_seed);
    let mut members = Vec::new();
    for kind in Kind::ALL {
        if !plan.takes_part(kind, players) {
            lack(outcome, players, kind, "takes too long with so many players");
            continue;
        }
        match kind.open(players, Room::Reserved)? {
            Opened::Absent(why) => lack(outcome, players, kind, why),
            Opened::Engine(mut engine) => {
                eprintln!("{players} players: filling {}", kind.name());
                engine.fill(&order)?;
                members.push(Member { kind, engine });
            }
        }
    }
    weigh(&members, players, "filled", &mut outcome.memory)?;

    let mut new = shuffled(plan.operations as u64, order_seed);
    new.iter_mut().for_each(|key| *key += players);
    let [some, others] = [&order, &new].map(|keys| Work {
        keys: &keys[..COMPARED],
        templates: &templates,
        round: 1,
    });
    agree::check(&mut members, &some, &others)?;

    for round in 0..plan.rounds {
        eprintln!("{players} players: round {} of {}", round + 1, plan.rounds);
        let seed = round_seed + round * 3;
        let drawn = [Distribution::Uniform, Distribution::Zipf].map(|d| (d, draw.keys(d, plan.operations, seed)));
        let warm = draw.keys(Distribution::Uniform, plan.operations / WARM, seed + 1);
        let ticks = shuffled(players, seed + 2);
        let (one_tick, other_tick) = ticks.split_at(ticks.len() / 2);
        for (operation, distribution) in MEASURES {
            let keys = match operation {
                Operation::Insert | Operation::Remove => &new[..],
                Operation::Tick => one_tick,
                // Others: those are still in the caches.
                Operation::TickTogether => other_tick,
                _ => &drawn[usize::from(distribution == Distribution::Zipf)].1,
            };
            for member in &mut members {
                let operations = plan.operations(member.kind, operation, players).min(keys.len());
                let keys = &keys[..operations];
                let measure = Measure {
                    players,
                    operation,
                    skewed: distribution == Distribution::Zipf,
                    kind: member.kind,
                };
                let work = Work {
                    keys,
                    templates: &templates,
                    round: round + 2,
                };
                member.engine.settle()?;
                if operation.by_handle() {
                    member.engine.resolve(keys)?;
                }
                black_box(member.engine.get(&warm[..(operations / WARM).min(warm.len())])?);
                let start = Instant::now();
                let sum = answer(&mut *member.engine, operation, &work)?;
                let ns = start.elapsed().as_nanos() as f64;
                if black_box(sum).is_none() {
                    outcome.results.lacks(measure, LACKS);
                    continue;
                }
                let visited = if operation.visits_all() {
                    players as usize
                } else {
                    operations
                };
                outcome.results.add(measure, visited, ns / visited as f64);
            }
        }
    }
    weigh(&members, players, "used", &mut outcome.memory)?;
    for member in &members {
        let placed = |pages| Placed {
            engine: member.kind.name(),
            players,
            pages,
        };
        outcome.placed.extend(member.engine.pages()?.into_iter().map(placed));
    }
    for member in &mut members {
        member.engine.compact()?;
    }
    weigh(&members, players, "compacted", &mut outcome.memory)?;
    Ok(())
}

fn lack(outcome: &mut Outcome, players: u64, kind: Kind, note: &'static str) {
    let mut seen = Vec::new();
    for (operation, distribution) in MEASURES {
        let skewed = distribution == Distribution::Zipf;
        if !seen.contains(&operation) {
            seen.push(operation);
            outcome.results.lacks(
                Measure {
                    players,
                    operation,
                    skewed,
                    kind,
                },
                note,
            );
        }
    }
}

fn weigh(members: &[Member], players: u64, when: &'static str, memory: &mut Vec<Memory>) -> Result<()> {
    // All engines hold the same players; one of them counts the archives.
    let mut archived = None;
    for member in members {
        archived = archived.or(member.engine.archived()?);
    }
    let needed = archived.map(|bytes| (bytes + players * size_of::<u64>() as u64) as f64);
    for member in members {
        if let Some(bytes) = member.engine.memory()? {
            memory.push(Memory {
                engine: member.kind.name(),
                players,
                when,
                bytes,
                bytes_per_player: bytes as f64 / players as f64,
                overhead_percent: needed.map(|needed| (bytes as f64 / needed - 1.0) * 100.0),
            });
        }
    }
    Ok(())
}
