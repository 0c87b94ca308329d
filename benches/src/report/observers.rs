//! What observers cost an owner: its tick alone, beside one that peeks, beside one that takes snapshots, beside a validation.
//!
//! The owner ticks on one core, in a transaction a tick, and sleeps until the next. Who peeks or takes snapshots does so as fast as
//! it goes, on another core; the validation does what the library does on its own accord
//! ([`run_gently`](shmstate::Validation::run_gently)). The ways take turns, a short round each, so that what disturbs the machine
//! disturbs all of them; the owner alone has two turns in each round, and their ratio is the noise of the others.

use super::plan::Plan;
use super::results::Spread;
use crate::Result;
use crate::engine::unique_name;
use crate::keys::shuffled;
use crate::players::{Player, player};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;
use shmstate::{Map, Observer, Region};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Players that a tick changes, two fields each.
const CHANGED: usize = 500;
/// From one tick to the next.
const PERIOD: Duration = Duration::from_millis(2);
/// Records of one snapshot.
const TOGETHER: usize = 8;
/// Bytes of a region a player, at least what it takes, and besides.
const ROOM: (u64, u64) = (1024, 16 << 20);
/// Most players.
const MOST: u64 = 200_000;
const TABLE: &str = "players";
const SEEDS: [u64; 2] = [29, 31];

/// Who looks on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    Nobody,
    Peek,
    Snapshot,
    Validate,
    NobodyAgain,
}

impl Beside {
    const ALL: [Self; 5] = [
        Self::Nobody,
        Self::Peek,
        Self::Snapshot,
        Self::Validate,
        Self::NobodyAgain,
    ];
}

/// The owner's ticks beside one of them.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Ticks {
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    /// Over the owner alone, the median over the rounds.
    pub(super) p50_ratio: f64,
    /// See [`p50_ratio`](Self::p50_ratio).
    pub(super) p99_ratio: f64,
    /// What the observer did in a second: records that it copied.
    pub(super) records_per_second: f64,
}

/// All of it.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Observers {
    pub(super) players: u64,
    pub(super) changed_a_tick: usize,
    /// Ticks behind each number.
    pub(super) ticks: usize,
    pub(super) alone: Ticks,
    pub(super) peek: Ticks,
    pub(super) snapshot: Ticks,
    pub(super) validate: Ticks,
    /// The owner alone once more: how far the others are to be believed.
    pub(super) alone_again: Ticks,
}

impl Observers {
    /// Each with its name.
    pub(super) fn each(&self) -> [(&'static str, Ticks); 5] {
        [
            ("alone", self.alone),
            ("peek", self.peek),
            ("snapshot", self.snapshot),
            ("validate", self.validate),
            ("alone again", self.alone_again),
        ]
    }
}

/// The region, gone at the end.
struct World {
    name: String,
    region: Region,
    players: Map<u64, Player>,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = Region::remove(&self.name);
    }
}

impl World {
    fn new(count: u64) -> Result<Self> {
        let name = unique_name("observed");
        let (each, least) = ROOM;
        let mut region = Region::options().capacity(count * each + least).create(&name)?;
        let made = (|| {
            let gate = region.gate().clone();
            let pass = gate.enter()?;
            let players: Map<u64, Player> = region.write(&pass, |tx| Map::create(tx, TABLE))?;
            for first in (0..count).step_by(1024) {
                region.write(&pass, |tx| {
                    (first..count.min(first + 1024))
                        .try_for_each(|key| players.insert(tx, &key, &player(key)).map(|_| ()))
                })?;
            }
            shmstate::Result::Ok(players)
        })();
        match made {
            Ok(players) => Ok(Self { name, region, players }),
            Err(e) => {
                let _ = Region::remove(&name);
                Err(e.into())
            }
        }
    }

    /// One tick: two fields of some players, in a transaction.
    fn tick(&mut self, keys: &[u64], n: u64) -> shmstate::Result<()> {
        let gate = self.region.gate().clone();
        let players = self.players;
        self.region.write(&gate.enter()?, |tx| {
            for key in keys {
                if let Some(mut player) = players.get_mut(tx, key)? {
                    player.set(|p| &p.score, n.into())?;
                    player.set(|p| &p.position[0], (n as i32).into())?;
                }
            }
            Ok(())
        })
    }
}

/// Lets the calling thread run on one of the cores that it may use: the first, or the last.
fn pin(last: bool) -> Result<()> {
    let allowed = sched_getaffinity(None)?;
    let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
    let core = if last { cores.next_back() } else { cores.next() };
    let mut one = CpuSet::new();
    one.set(core.ok_or("no core")?);
    Ok(sched_setaffinity(None, &one)?)
}

/// Looks on until it is told to stop. Gives the records that were copied.
fn look(beside: Beside, name: &str, keys: &[u64], stop: &AtomicBool) -> Result<u64> {
    let observer = Observer::open(name)?;
    let players = observer.map::<u64, Player>(TABLE)?;
    if beside != Beside::Validate {
        pin(true)?;
    }
    let mut copied = 0;
    let mut keys = keys.iter().cycle();
    while !stop.load(Ordering::Relaxed) {
        match beside {
            Beside::Nobody | Beside::NobodyAgain => std::thread::sleep(PERIOD),
            Beside::Peek => {
                let key = keys.next().ok_or("no keys")?;
                if let Some(player) = players.peek(key)? {
                    copied += u64::from(black_box(player.score.to_native()) < u64::MAX);
                }
            }
            Beside::Snapshot => {
                let together: Vec<u64> = keys.by_ref().take(TOGETHER).copied().collect();
                let sum = observer.snapshot(|s| {
                    let mut sum = 0u64;
                    for key in &together {
                        let player = players.get(s, key)?;
                        sum = sum.wrapping_add(player.map_or(0, |player| player.score.to_native()));
                    }
                    shmstate::Result::Ok(sum)
                });
                match sum {
                    Ok(sum) => copied += TOGETHER as u64 * u64::from(black_box(sum) < u64::MAX),
                    Err(shmstate::Error::Retry { .. }) => {}
                    Err(e) => return Err(e.into()),
                }
            }
            Beside::Validate => {
                let report = observer.validate().map::<u64, Player>(TABLE)?.run_gently()?;
                if report.faulty > 0 {
                    return Err(format!("a validation found damage: {:?}", report.faults).into());
                }
                copied += report.records;
            }
        }
    }
    Ok(copied)
}

/// One turn: times of the ticks in ns, and records that were copied meanwhile, in what time.
fn turn(
    world: &mut World,
    beside: Beside,
    [keys, others]: [&[u64]; 2],
    ticks: usize,
    n: &mut u64,
) -> Result<(Vec<f64>, u64, Duration)> {
    let (stop, name) = (AtomicBool::new(false), world.name.clone());
    let failed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let (start, stop, failed) = (Instant::now(), &stop, &failed);
        let observer = scope.spawn(move || {
            let looked = look(beside, &name, others, stop);
            failed.store(u64::from(looked.is_err()), Ordering::Relaxed);
            looked.map_err(|e| e.to_string())
        });
        let owner = scope.spawn(move || -> std::result::Result<Vec<f64>, String> {
            pin(false).map_err(|e| e.to_string())?;
            let mut times = Vec::with_capacity(ticks);
            let mut next = Instant::now() + PERIOD;
            while times.len() < ticks && failed.load(Ordering::Relaxed) == 0 {
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
                let from = *n as usize * CHANGED % keys.len().saturating_sub(CHANGED).max(1);
                let changed = &keys[from..(from + CHANGED).min(keys.len())];
                *n += 1;
                let begun = Instant::now();
                world.tick(changed, *n).map_err(|e| e.to_string())?;
                times.push(begun.elapsed().as_nanos() as f64);
                next = (next + PERIOD).max(Instant::now());
            }
            Ok(times)
        });
        let times = owner.join().map_err(|_| "the owner panicked")?;
        stop.store(true, Ordering::Relaxed);
        let copied = observer.join().map_err(|_| "the observer panicked")?;
        Ok((times?, copied?, start.elapsed()))
    })
}

/// The number that so many hundredths of the sorted ones are not above.
fn quantile(sorted: &[f64], hundredths: usize) -> f64 {
    let at = (sorted.len() * hundredths / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

pub(super) fn run(plan: &Plan) -> Result<Observers> {
    let players = plan.most().min(MOST);
    let keys = shuffled(players, SEEDS[0]);
    let others = shuffled(players, SEEDS[1]);
    let mut world = World::new(players)?;
    let mut turns: [Vec<Vec<f64>>; 5] = Default::default();
    let mut looked = [(0, Duration::ZERO); 5];
    let mut n = 0;
    for round in 0..plan.observer_rounds {
        eprintln!("observers: round {} of {}", round + 1, plan.observer_rounds);
        for i in 0..Beside::ALL.len() {
            // Another one begins each round.
            let i = (i + round as usize) % Beside::ALL.len();
            let (mut ticks, copied, took) = turn(
                &mut world,
                Beside::ALL[i],
                [&keys, &others],
                plan.observer_ticks,
                &mut n,
            )?;
            ticks.sort_unstable_by(f64::total_cmp);
            turns[i].push(ticks);
            looked[i].0 += copied;
            looked[i].1 += took;
        }
    }
    let ticks = |i: usize| {
        let (records, took): (u64, Duration) = looked[i];
        let mut all: Vec<f64> = turns[i].concat();
        all.sort_unstable_by(f64::total_cmp);
        // Each turn over the owner alone in the same round: what disturbs one round does not decide.
        let ratio = |hundredths| {
            let pairs = turns[i].iter().zip(&turns[0]);
            let ratios: Vec<f64> = pairs
                .map(|(beside, alone)| quantile(beside, hundredths) / quantile(alone, hundredths))
                .collect();
            Spread::of(&ratios).map_or(f64::NAN, |spread| spread.median)
        };
        Ticks {
            p50_us: quantile(&all, 50) / 1e3,
            p99_us: quantile(&all, 99) / 1e3,
            p50_ratio: ratio(50),
            p99_ratio: ratio(99),
            records_per_second: records as f64 / took.as_secs_f64(),
        }
    };
    Ok(Observers {
        players,
        changed_a_tick: CHANGED.min(keys.len()),
        ticks: turns[0].iter().map(Vec::len).sum(),
        alone: ticks(0),
        peek: ticks(1),
        snapshot: ticks(2),
        validate: ticks(3),
        alone_again: ticks(4),
    })
}
