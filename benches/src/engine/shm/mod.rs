//! This project's store, as a server would use it: a pass, then reads or transactions under it.
//!
//! Handles, batches and passes over all records are in `ways`.

mod blobs;
mod ways;

pub use blobs::Blobs;

use super::{Answer, BATCH, Engine};
use crate::Result;
use crate::players::{ArchivedPlayer, Player, player, template};
use crate::smaps::{self, Pages, Which};
use shmstate::{Gate, Inspection, Map, Region, Tx};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use ways::Ways;

/// Address space a player, twice what it takes, and at least.
const ROOM: (u64, u64) = (1024, 64 << 20);
/// Memory a player that is taken beforehand if room is reserved.
const RESERVED: u64 = 320;
/// Players a transaction while it is filled.
const FILL: usize = 1024;
/// Bytes of heap that one entry of the chunk table speaks for, and bytes of the entry (shmstate/DESIGN.md §2).
const CHUNK: (u64, u64) = (64 << 10, 288);
/// Records moved together in a transaction, and bytes given back in a call.
const COMPACT: (u64, u64) = (1024, 16 << 20);
/// Name of the table of players.
const TABLE: &str = "players";

/// Whether memory is there before players are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// For all of them.
    Reserved,
    /// It is taken as they come.
    Grows,
}

/// A region with one table.
pub(super) struct Shm {
    name: String,
    region: Region,
    gate: Gate,
    players: Map<u64, Player>,
    ways: Ways,
}

/// A name for a region that no other region of this machine has.
pub(crate) fn unique_name(what: &str) -> String {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    format!("shmstate-bench-{what}-{}-{number}", std::process::id())
}

impl Shm {
    /// Makes the region and its table.
    pub(super) fn empty(players: u64, room: Room) -> Result<Self> {
        let name = unique_name("store");
        let (each, least) = ROOM;
        let region = Region::options().capacity((players * each).max(least)).create(&name)?;
        let gate = region.gate().clone();
        // From here on dropping removes the region, also when the next step fails.
        let mut guard = Unfinished(Some(region), name);
        let region = guard.0.as_mut().ok_or("no region")?;
        let pass = gate.enter()?;
        if room == Room::Reserved {
            region.reserve(&pass, players * RESERVED)?;
        }
        let table = region.write(&pass, |tx| Map::create(tx, TABLE))?;
        drop(pass);
        let region = guard.0.take().ok_or("no region")?;
        Ok(Self {
            name: std::mem::take(&mut guard.1),
            region,
            gate,
            players: table,
            ways: Ways::default(),
        })
    }

    /// Runs `each` for each key in a transaction of its own, and adds up what it gives.
    fn each(
        &mut self,
        keys: &[u64],
        mut each: impl FnMut(&Map<u64, Player>, &mut Tx<'_>, &u64) -> shmstate::Result<i64>,
    ) -> Answer {
        let pass = self.gate.enter()?;
        let mut sum = 0;
        for key in keys {
            let mut tx = self.region.begin(&pass)?;
            sum += each(&self.players, &mut tx, key)?;
            tx.commit()?;
        }
        Ok(Some(sum))
    }
}

/// A region that is removed if it does not become a [`Shm`].
struct Unfinished(Option<Region>, String);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.0.is_some() {
            // The step that failed has the reason.
            let _ = Region::remove(&self.1);
        }
    }
}

impl Drop for Shm {
    fn drop(&mut self) {
        // Nothing can be done about a name that stays.
        let _ = Region::remove(&self.name);
    }
}

fn two_fields(player: &ArchivedPlayer) -> i64 {
    player.score.to_native() as i64 + i64::from(player.position[0].to_native())
}

#[inline(always)]
fn raise_score(players: &Map<u64, Player>, tx: &mut Tx<'_>, key: &u64) -> shmstate::Result<i64> {
    let Some(mut player) = players.get_mut(tx, key)? else {
        return Ok(0);
    };
    let score = player.score.to_native() + 1;
    player.set(|p| &p.score, score.into())?;
    Ok(score as i64)
}

impl Engine for Shm {
    fn fill(&mut self, keys: &[u64]) -> Result<()> {
        let pass = self.gate.enter()?;
        for keys in keys.chunks(FILL) {
            let mut tx = self.region.begin(&pass)?;
            for key in keys {
                self.players.insert(&mut tx, key, &player(*key))?;
            }
            tx.commit()?;
        }
        Ok(())
    }

    fn get(&mut self, keys: &[u64]) -> Answer {
        let pass = self.gate.enter()?;
        let reader = self.region.read(&pass)?;
        let mut sum = 0;
        for key in keys {
            sum += self.players.get(&reader, key)?.map_or(0, two_fields);
        }
        Ok(Some(sum))
    }

    fn get_chained(&mut self, keys: &[u64]) -> Answer {
        let pass = self.gate.enter()?;
        let reader = self.region.read(&pass)?;
        let (nothing, mut sum) = (black_box(0), 0);
        for key in keys {
            // The same key, but the processor has to wait for the sum to know.
            let key = *key ^ (sum as u64 & nothing);
            sum += self.players.get(&reader, &key)?.map_or(0, two_fields);
        }
        Ok(Some(sum))
    }

    fn update(&mut self, keys: &[u64]) -> Answer {
        self.each(keys, raise_score)
    }

    fn update_batched(&mut self, keys: &[u64]) -> Answer {
        let pass = self.gate.enter()?;
        let mut sum = 0;
        for keys in keys.chunks(BATCH) {
            let mut tx = self.region.begin(&pass)?;
            for key in keys {
                sum += raise_score(&self.players, &mut tx, key)?;
            }
            tx.commit()?;
        }
        Ok(Some(sum))
    }

    fn replace(&mut self, keys: &[u64], templates: &[Player], round: u64) -> Answer {
        self.each(keys, |players, tx, key| {
            players.insert(tx, key, template(templates, *key, round)).map(i64::from)
        })
    }

    fn replace_made(&mut self, keys: &[u64], round: u64) -> Answer {
        self.each(keys, |players, tx, key| {
            players.insert(tx, key, &player(key.wrapping_add(round))).map(i64::from)
        })
    }

    fn insert(&mut self, keys: &[u64], templates: &[Player]) -> Answer {
        self.each(keys, |players, tx, key| {
            players
                .insert(tx, key, template(templates, *key, 0))
                .map(|there| i64::from(!there))
        })
    }

    fn remove(&mut self, keys: &[u64]) -> Answer {
        self.each(keys, |players, tx, key| players.remove(tx, key).map(i64::from))
    }

    fn iterate(&mut self) -> Answer {
        let pass = self.gate.enter()?;
        let reader = self.region.read(&pass)?;
        let mut sum = 0;
        for record in self.players.iter(&reader)? {
            sum += record?.1.score.to_native() as i64;
        }
        Ok(Some(sum))
    }

    fn tick(&mut self, keys: &[u64]) -> Answer {
        let pass = self.gate.enter()?;
        let mut tx = self.region.begin(&pass)?;
        let mut sum = 0;
        for key in keys {
            if let Some(mut player) = self.players.get_mut(&mut tx, key)? {
                let x = player.position[0].to_native() + 1;
                player.set(|p| &p.position[0], x.into())?;
                sum += i64::from(x);
            }
        }
        tx.commit()?;
        Ok(Some(sum))
    }

    fn tick_together(&mut self, keys: &[u64]) -> Answer {
        let pass = self.gate.enter()?;
        Ways::tick(self.players, &mut self.region, &pass, keys)
    }

    fn resolve(&mut self, keys: &[u64]) -> Result<()> {
        let pass = self.gate.enter()?;
        let reader = self.region.read(&pass)?;
        self.ways.resolve(self.players, &reader, keys)
    }

    fn get_by_handle(&mut self) -> Answer {
        let pass = self.gate.enter()?;
        let reader = self.region.read(&pass)?;
        self.ways.get(self.players, &reader)
    }

    fn update_by_handle(&mut self) -> Answer {
        let pass = self.gate.enter()?;
        self.ways.update(self.players, &mut self.region, &pass)
    }

    fn batch_get(&mut self, keys: &[u64]) -> Answer {
        let pass = self.gate.enter()?;
        let reader = self.region.read(&pass)?;
        self.ways.get_together(self.players, &reader, keys)
    }

    fn pass_all(&mut self) -> Answer {
        let pass = self.gate.enter()?;
        self.ways.pass_all(self.players, &mut self.region, &pass)
    }

    fn compact(&mut self) -> Result<()> {
        let pass = self.gate.enter()?;
        while self.region.write(&pass, |tx| self.players.compact(tx, COMPACT.0))? > 0 {}
        while self.region.trim(&pass, COMPACT.1)?.more {}
        Ok(())
    }

    /// Heap in use — records, index, what is free in chunks that are in use — and the chunk table's entries for it.
    fn memory(&self) -> Result<Option<u64>> {
        let (chunk, entry) = CHUNK;
        let heap = Inspection::of(&self.name)?.heap;
        Ok(Some(heap + heap.div_ceil(chunk) * entry))
    }

    fn archived(&self) -> Result<Option<u64>> {
        let pass = self.gate.enter()?;
        let reader = self.region.read(&pass)?;
        Ok(Some(self.players.archived_bytes(&reader)?))
    }

    fn pages(&self) -> Result<Vec<Pages>> {
        Ok(vec![smaps::pages(
            "region",
            &Which::Named(format!("/dev/shm/{}", self.name)),
        )?])
    }
}
