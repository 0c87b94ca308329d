//! `report schema`, the part of moves: records of one table that go to another under other keys.
//!
//! - **Settling**: the first transaction of an owner that knows the move, with all records still to move; and with all moved, after an owner that did not
//!   know it: the move begins anew, which is a step for each 64 KiB.
//! - **First touch**: one field changed under the new key, in a transaction of its own, of a record that moves for it; the same of one that has.
//! - **Sweep**: all records, a thousand in each transaction, without a way back and with one.

use super::schema::{Rounds, micros};
use crate::Result;
use rkyv::{Archive, Deserialize, Serialize};
use serde::Serialize as Json;
use shmstate::{Map, Move, Moving, Region, Schema};
use std::hint::black_box;
use std::time::Instant;

#[derive(Archive, Serialize, Deserialize, Schema, Clone, Debug)]
struct Small {
    score: u32,
    level: u16,
    x: i32,
}

/// Records in each transaction of a sweep.
const SWEPT: u64 = 1000;
/// Records that are touched for the first time.
const TOUCHED: u64 = 20_000;

/// What moves cost.
#[derive(Clone, Debug, Json)]
pub(super) struct Moves {
    /// Microseconds.
    move_settle_us: Rounds,
    move_begin_anew_us: Rounds,
    /// Nanoseconds for a change of a record: which moves for it, and which has.
    move_first_touch_ns: Rounds,
    move_touch_ns: Rounds,
    move_sweep_per_s: Rounds,
    move_sweep_way_back_per_s: Rounds,
}

impl Moves {
    /// For the table.
    pub(super) fn rows(&self) -> [(&'static str, &Rounds, &'static str); 6] {
        [
            ("moves: first transaction, all to move", &self.move_settle_us, "µs"),
            ("moves: begun anew, all had moved", &self.move_begin_anew_us, "µs"),
            ("moves: first touch", &self.move_first_touch_ns, "ns"),
            ("moves: touch", &self.move_touch_ns, "ns"),
            ("moves: sweep", &self.move_sweep_per_s, "/s"),
            ("moves: sweep with a way back", &self.move_sweep_way_back_per_s, "/s"),
        ]
    }
}

type Placed = Map<(u8, u64), Small>;

/// A region with records under plain numbers, gone at the end.
struct World(String);

impl World {
    fn new(records: u64) -> Result<Self> {
        let world = Self(format!("shmstate-bench-{}-moves", std::process::id()));
        let _ = Region::remove(&world.0);
        let capacity = (64 << 20) + records * 512;
        let mut region = Region::options().capacity(capacity).create(&world.0)?;
        let gate = region.gate().clone();
        region.write(&gate.enter()?, |tx| {
            let map: Map<u64, Small> = Map::create(tx, "small")?;
            for id in 0..records {
                let small = Small {
                    score: id as u32,
                    level: id as u16,
                    x: -(id as i32),
                };
                map.insert(tx, &id, &small)?;
            }
            shmstate::Result::Ok(())
        })?;
        Ok(world)
    }

    /// As a new owner opens it that knows the move. Gives how long its first transaction took, in microseconds.
    fn open(&self, back: bool) -> Result<(Region, Moving<u64, Small>, Placed, f64)> {
        let mut region = Region::options().open(&self.0)?;
        let declared = Move::<u64, Small>::of("small").to::<(u8, u64), Small>(
            "placed",
            |(_, id)| Some(*id),
            |_, id, small| Ok(vec![((*id as u8, *id), small.clone())]),
        );
        let declared = if back {
            declared.back(|targets, id, _| {
                let placed: Placed = targets.map("placed")?;
                let found = placed.get(targets, &(*id as u8, *id))?;
                Ok(found.map(|small| Small {
                    score: small.score.to_native(),
                    level: small.level.to_native(),
                    x: small.x.to_native(),
                }))
            })
        } else {
            declared
        };
        let moving = declared.open(&region)?;
        let gate = region.gate().clone();
        let pass = gate.enter()?;
        let start = Instant::now();
        region.begin(&pass)?.commit()?;
        let took = micros(start);
        let placed = region.write(&pass, |tx| Map::open_or_create(tx, "placed"))?;
        Ok((region, moving, placed, took))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = Region::remove(&self.0);
    }
}

/// Nanoseconds for each of the records `ids` changed in a transaction of its own.
fn touch(region: &mut Region, map: Placed, ids: &[u64]) -> Result<f64> {
    let gate = region.gate().clone();
    let pass = gate.enter()?;
    let start = Instant::now();
    for id in ids {
        let mut tx = region.begin(&pass)?;
        if let Some(mut record) = map.get_mut(&mut tx, &(*id as u8, *id))? {
            let score = record.score.to_native() + 1;
            record.set(|r| &r.score, score.into())?;
        }
        tx.commit()?;
    }
    Ok(start.elapsed().as_nanos() as f64 / ids.len() as f64)
}

/// Records moved in a second, until all have.
fn sweep(region: &mut Region, moving: &Moving<u64, Small>) -> Result<f64> {
    let gate = region.gate().clone();
    let pass = gate.enter()?;
    let (start, mut done) = (Instant::now(), 0);
    loop {
        let swept = region.write(&pass, |tx| moving.sweep(tx, SWEPT))?;
        done += swept.done;
        if swept.left == 0 {
            return Ok(done as f64 / start.elapsed().as_secs_f64());
        }
    }
}

pub(super) fn measure(records: u64, rounds: usize) -> Result<Moves> {
    let mut samples: [Vec<f64>; 6] = Default::default();
    let random = &mut fastrand::Rng::with_seed(1);
    for _ in 0..rounds {
        let world = World::new(records)?;
        let (mut region, moving, placed, took) = world.open(false)?;
        samples[0].push(took);
        let mut ids: Vec<u64> = (0..records).collect();
        random.shuffle(&mut ids);
        ids.truncate(TOUCHED.min(records / 2) as usize);
        samples[2].push(touch(&mut region, placed, &ids)?);
        // As cold as the first time.
        black_box(vec![1u8; 64 << 20]);
        samples[3].push(touch(&mut region, placed, &ids)?);
        samples[4].push(sweep(&mut region, &moving)?);
        drop((region, world));

        let world = World::new(records)?;
        let (mut region, moving, _, _) = world.open(true)?;
        samples[5].push(sweep(&mut region, &moving)?);
        drop(region);
        // The version before has worked, though it has changed nothing.
        let mut region = Region::options().open(&world.0)?;
        let gate = region.gate().clone();
        region.begin(&gate.enter()?)?.commit()?;
        drop(region);
        let (_, _, _, took) = world.open(true)?;
        samples[1].push(took);
    }
    let [settle, anew, first, again, swept, back] = samples.map(Rounds::of);
    Ok(Moves {
        move_settle_us: settle,
        move_begin_anew_us: anew,
        move_first_touch_ns: first,
        move_touch_ns: again,
        move_sweep_per_s: swept,
        move_sweep_way_back_per_s: back,
    })
}
