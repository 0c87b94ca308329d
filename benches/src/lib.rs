//! One trait for all engines, so that each does the same work on the same data.
//!
//! Players of design size: a name of about 16 bytes and an inventory of about 16 items. Keys are dense numbers in a
//! seeded random order. Results are used by the caller. What a bench compares is the ratio in one run, not the time.

use hashbrown::HashMap;
use rkyv::{Archive, Serialize};
use shmstate::{Gate, Map, Region, Schema};

/// A player as every engine stores it.
#[derive(Archive, Serialize, Schema, Clone, Debug)]
pub struct Player {
    /// About 16 bytes.
    pub name: String,
    /// Changes often.
    pub score: u64,
    /// Changes often.
    pub position: [i32; 2],
    /// About 16 items.
    pub inventory: Vec<u32>,
}

/// The player with number `id`.
#[must_use]
pub fn player(id: u64) -> Player {
    Player {
        name: format!("player number {id:05}"),
        score: id,
        position: [id as i32, -(id as i32)],
        inventory: (0..8 + id as u32 % 17).collect(),
    }
}

/// Keys in a seeded random order, `length` of them out of `0..players`.
#[must_use]
pub fn keys(players: u64, length: usize, seed: u64) -> Vec<u64> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..length).map(|_| random.u64(..players)).collect()
}

/// A store of players.
pub trait Engine {
    /// What it is called in results.
    const NAME: &'static str;

    /// A store with players `0..players`.
    fn filled(players: u64) -> Self;

    /// Score and x of each, added up.
    fn get_all(&mut self, keys: &[u64]) -> i64;

    /// Adds one to the score of each; each in a transaction of its own where there are transactions.
    fn update_all(&mut self, keys: &[u64]);

    /// Replaces each by a player with another inventory; each in a transaction of its own where there are transactions.
    fn replace_all(&mut self, keys: &[u64], round: u64);
}

/// `HashMap` of native structs with a fast hasher: fast, and gone with its process.
pub struct FastHashMap(HashMap<u64, Player, foldhash::fast::FixedState>);

impl Engine for FastHashMap {
    const NAME: &'static str = "hashmap";

    fn filled(players: u64) -> Self {
        let mut map = HashMap::with_capacity_and_hasher(players as usize, foldhash::fast::FixedState::with_seed(1));
        for id in 0..players {
            map.insert(id, player(id));
        }
        Self(map)
    }

    fn get_all(&mut self, keys: &[u64]) -> i64 {
        let get = |key| self.0.get(key).map_or(0, |p| p.score as i64 + i64::from(p.position[0]));
        keys.iter().map(get).sum()
    }

    fn update_all(&mut self, keys: &[u64]) {
        for key in keys {
            if let Some(player) = self.0.get_mut(key) {
                player.score += 1;
            }
        }
    }

    fn replace_all(&mut self, keys: &[u64], round: u64) {
        for key in keys {
            self.0.insert(*key, player(key + round));
        }
    }
}

/// `shmstate`: in shared memory, crash-atomic.
pub struct Shm {
    name: String,
    region: Region,
    gate: Gate,
    players: Map<u64, Player>,
}

impl Engine for Shm {
    const NAME: &'static str = "shmstate";

    fn filled(players: u64) -> Self {
        let name = format!("shmstate-bench-{}-{players}", std::process::id());
        let mut region = Region::options()
            .capacity((players * 1024).max(64 << 20))
            .create(&name)
            .expect("a region");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("a pass");
        region.reserve(&pass, players * 320).expect("memory");
        let map: Map<u64, Player> = region.write(&pass, |tx| Map::create(tx, "players")).expect("a table");
        for id in 0..players {
            region
                .write(&pass, |tx| map.insert(tx, &id, &player(id)))
                .expect("a player");
        }
        drop(pass);
        Self {
            name,
            region,
            gate,
            players: map,
        }
    }

    fn get_all(&mut self, keys: &[u64]) -> i64 {
        let pass = self.gate.enter().expect("a pass");
        let reader = self.region.read(&pass).expect("a reader");
        let mut sum = 0;
        for key in keys {
            if let Some(p) = self.players.get(&reader, key).expect("a sound region") {
                sum += p.score.to_native() as i64 + i64::from(p.position[0].to_native());
            }
        }
        sum
    }

    fn update_all(&mut self, keys: &[u64]) {
        let pass = self.gate.enter().expect("a pass");
        for key in keys {
            let mut tx = self.region.begin(&pass).expect("a transaction");
            if let Some(mut player) = self.players.get_mut(&mut tx, key).expect("a sound region") {
                let score = player.score.to_native() + 1;
                player.set(|p| &p.score, score.into()).expect("room in the log");
            }
            tx.commit().expect("a commit");
        }
    }

    fn replace_all(&mut self, keys: &[u64], round: u64) {
        let pass = self.gate.enter().expect("a pass");
        for key in keys {
            let new = player(key + round);
            self.region
                .write(&pass, |tx| self.players.insert(tx, key, &new))
                .expect("a replacement");
        }
    }
}

impl Drop for Shm {
    fn drop(&mut self) {
        let _ = Region::remove(&self.name);
    }
}
