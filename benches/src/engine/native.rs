//! `HashMap` of native structs: the fastest there is, and gone with its process.
//!
//! The table lies on 2 MiB pages (`huge`); names and inventories are small objects of the C library's heap.

use super::{Answer, Engine, Room};
use crate::Result;
use crate::huge::HugePages;
use crate::players::{Item, Player, player, template};
use crate::smaps::{self, Pages, Which};
use hashbrown::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;

/// Players that a reserved map has room for beyond those asked for: those that `insert` adds.
const SPARE: u64 = 1 << 16;

/// glibc's smallest block, what its blocks are multiples of, and what it adds to a request.
const HEAP_BLOCK: (usize, usize, usize) = (32, 16, 8);

/// A map with one of the hashers.
pub(super) struct Native<S> {
    memory: HugePages,
    map: HashMap<u64, Player, S, HugePages>,
}

/// With a fast hasher.
pub(super) fn fast(players: u64, room: Room) -> Native<foldhash::fast::FixedState> {
    Native::with(foldhash::fast::FixedState::with_seed(1), players, room)
}

/// With the standard library's hasher.
pub(super) fn standard(players: u64, room: Room) -> Native<RandomState> {
    Native::with(RandomState::new(), players, room)
}

impl<S: BuildHasher> Native<S> {
    fn with(hasher: S, players: u64, room: Room) -> Self {
        let memory = HugePages::default();
        let capacity = match room {
            Room::Reserved => players + SPARE.min(players),
            Room::Grows => 0,
        };
        let map = HashMap::with_capacity_and_hasher_in(capacity as usize, hasher, memory.clone());
        Self { memory, map }
    }
}

fn two_fields(player: &Player) -> i64 {
    player.score as i64 + i64::from(player.position[0])
}

fn heap_block(bytes: usize) -> usize {
    let (smallest, multiple, header) = HEAP_BLOCK;
    if bytes == 0 {
        return 0;
    }
    (bytes + header).next_multiple_of(multiple).max(smallest)
}

impl<S: BuildHasher> Engine for Native<S> {
    fn fill(&mut self, keys: &[u64]) -> Result<()> {
        for key in keys {
            self.map.insert(*key, player(*key));
        }
        Ok(())
    }

    fn get(&mut self, keys: &[u64]) -> Answer {
        Ok(Some(
            keys.iter().filter_map(|key| self.map.get(key)).map(two_fields).sum(),
        ))
    }

    fn get_chained(&mut self, keys: &[u64]) -> Answer {
        let (nothing, mut sum) = (black_box(0), 0);
        for key in keys {
            // The same key, but the processor has to wait for the sum to know.
            let key = *key ^ (sum as u64 & nothing);
            sum += self.map.get(&key).map_or(0, two_fields);
        }
        Ok(Some(sum))
    }

    fn update(&mut self, keys: &[u64]) -> Answer {
        let mut sum = 0;
        for key in keys {
            if let Some(player) = self.map.get_mut(key) {
                player.score += 1;
                sum += player.score as i64;
            }
        }
        Ok(Some(sum))
    }

    fn replace(&mut self, keys: &[u64], templates: &[Player], round: u64) -> Answer {
        let mut there = 0;
        for key in keys {
            let new = template(templates, *key, round).clone();
            there += i64::from(self.map.insert(*key, new).is_some());
        }
        Ok(Some(there))
    }

    fn replace_made(&mut self, keys: &[u64], round: u64) -> Answer {
        let mut there = 0;
        for key in keys {
            there += i64::from(self.map.insert(*key, player(key.wrapping_add(round))).is_some());
        }
        Ok(Some(there))
    }

    fn insert(&mut self, keys: &[u64], templates: &[Player]) -> Answer {
        let mut new = 0;
        for key in keys {
            new += i64::from(self.map.insert(*key, template(templates, *key, 0).clone()).is_none());
        }
        Ok(Some(new))
    }

    fn remove(&mut self, keys: &[u64]) -> Answer {
        Ok(Some(
            keys.iter().map(|key| i64::from(self.map.remove(key).is_some())).sum(),
        ))
    }

    fn iterate(&mut self) -> Answer {
        Ok(Some(self.map.values().map(|player| player.score as i64).sum()))
    }

    fn tick(&mut self, keys: &[u64]) -> Answer {
        let mut sum = 0;
        for key in keys {
            if let Some(player) = self.map.get_mut(key) {
                player.position[0] += 1;
                sum += i64::from(player.position[0]);
            }
        }
        Ok(Some(sum))
    }

    fn pass_all(&mut self) -> Answer {
        let mut all = 0;
        for player in self.map.values_mut() {
            player.score += 1;
            all += 1;
        }
        Ok(Some(all))
    }

    fn memory(&self) -> Result<Option<u64>> {
        let objects = |player: &Player| {
            heap_block(player.name.capacity()) + heap_block(player.inventory.capacity() * size_of::<Item>())
        };
        let small: usize = self.map.values().map(objects).sum();
        Ok(Some((self.map.allocation_size() + small) as u64))
    }

    fn pages(&self) -> Result<Vec<Pages>> {
        Ok(vec![
            smaps::pages("table", &self.memory.mappings())?,
            smaps::pages("the process's heap", &Which::Named("[heap]".into()))?,
        ])
    }
}
