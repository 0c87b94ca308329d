//! The players that every engine stores: native, as rkyv archives, as bytes.
//!
//! About 200 archived bytes each: a root of 32, a name of 19, an inventory of 8 to 24 items of 8 bytes. Engines that store bytes get
//! the cheapest layout there is for them, so that what they are charged is the engine and not a format:
//!
//! ```text
//! 0 u64 score · 8 i32 x · 12 i32 y · 16 u16 bytes of the name · 18 u16 items · 20 name · items (u32 kind, u32 count)
//! ```
//!
//! It knows no engine.

use rkyv::{Archive, Serialize};
use shmstate::Schema;

/// Fewest items in an inventory.
pub const FEWEST_ITEMS: u64 = 8;
/// Inventories have this many different lengths.
pub const LENGTHS: u64 = 17;
/// How many players [`templates`] makes. A multiple of [`LENGTHS`], so that the next template has another length; small enough
/// to stay in the cache, so that reading the new value costs every engine the same little.
pub const TEMPLATES: u64 = 15 * LENGTHS;

/// Where the score stands in a player's bytes.
pub const SCORE: usize = 0;
/// Where x stands in a player's bytes.
pub const X: usize = 8;
/// Where the name stands in a player's bytes, and the shortest player.
pub const NAME: usize = 20;
const _: () = assert!(SCORE + 8 == X && X + 12 == NAME);

/// Something a player carries.
#[derive(Archive, Serialize, Schema, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub kind: u32,
    /// How many.
    pub count: u32,
}

/// A player as every engine stores it.
#[derive(Archive, Serialize, Schema, Clone, Debug, PartialEq, Eq)]
pub struct Player {
    /// About 19 bytes.
    pub name: String,
    /// Changes often.
    pub score: u64,
    /// Changes often.
    pub position: [i32; 2],
    /// 8 to 24 items.
    pub inventory: Vec<Item>,
}

/// The player with number `id`.
#[must_use]
pub fn player(id: u64) -> Player {
    let item = |n: u64| Item {
        kind: n as u32,
        count: (id + n) as u32,
    };
    Player {
        name: format!("player number {:05}", id % 100_000),
        score: id,
        position: [id as i32, -(id as i32)],
        inventory: (0..FEWEST_ITEMS + id % LENGTHS).map(item).collect(),
    }
}

/// New values for `replace`: made beforehand, lent to the engine, which makes what it keeps of them.
#[must_use]
pub fn templates() -> Vec<Player> {
    (0..TEMPLATES).map(player).collect()
}

/// Which template replaces the player under `key` in `round`: each round another inventory length.
#[must_use]
pub fn template(templates: &[Player], key: u64, round: u64) -> &Player {
    &templates[(key.wrapping_add(round) % templates.len() as u64) as usize]
}

/// Writes a player's bytes over `into`.
pub fn encode(player: &Player, into: &mut Vec<u8>) {
    into.clear();
    into.extend_from_slice(&player.score.to_le_bytes());
    into.extend_from_slice(&player.position[0].to_le_bytes());
    into.extend_from_slice(&player.position[1].to_le_bytes());
    into.extend_from_slice(&(player.name.len() as u16).to_le_bytes());
    into.extend_from_slice(&(player.inventory.len() as u16).to_le_bytes());
    into.extend_from_slice(player.name.as_bytes());
    for item in &player.inventory {
        into.extend_from_slice(&item.kind.to_le_bytes());
        into.extend_from_slice(&item.count.to_le_bytes());
    }
}

/// The score in a player's bytes; 0 if they are too few.
#[inline]
#[must_use]
pub fn score_of(bytes: &[u8]) -> u64 {
    bytes
        .get(SCORE..SCORE + 8)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}

/// x in a player's bytes; 0 if they are too few.
#[inline]
#[must_use]
pub fn x_of(bytes: &[u8]) -> i32 {
    bytes
        .get(X..X + 4)
        .and_then(|b| b.try_into().ok())
        .map_or(0, i32::from_le_bytes)
}

/// The two fields that `get` adds up.
#[inline]
#[must_use]
pub fn two_fields(bytes: &[u8]) -> i64 {
    score_of(bytes) as i64 + i64::from(x_of(bytes))
}

/// Adds one to the score in a player's bytes and gives the new one.
#[inline]
pub fn raise_score(bytes: &mut [u8]) -> u64 {
    let score = score_of(bytes).wrapping_add(1);
    if let Some(place) = bytes.get_mut(SCORE..SCORE + 8) {
        place.copy_from_slice(&score.to_le_bytes());
    }
    score
}

/// Moves a player in bytes one to the right and gives the new x.
#[inline]
pub fn step(bytes: &mut [u8]) -> i32 {
    let x = x_of(bytes).wrapping_add(1);
    if let Some(place) = bytes.get_mut(X..X + 4) {
        place.copy_from_slice(&x.to_le_bytes());
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_hold_what_the_player_holds() {
        let player = player(1234);
        let mut bytes = Vec::new();
        encode(&player, &mut bytes);
        assert_eq!(bytes.len(), NAME + player.name.len() + player.inventory.len() * 8);
        assert_eq!(two_fields(&bytes), 2468);
        assert_eq!((raise_score(&mut bytes), step(&mut bytes)), (1235, 1235));
        assert_eq!((score_of(&bytes), x_of(&bytes)), (1235, 1235));
        assert_eq!(two_fields(&bytes[..3]), 0);
    }

    #[test]
    fn each_round_replaces_with_another_length() {
        let templates = templates();
        for key in 0..1000 {
            for round in 0..20 {
                let [now, next] = [round, round + 1].map(|r| template(&templates, key, r).inventory.len());
                assert_ne!(now, next, "key {key}, round {round}");
            }
        }
    }
}
