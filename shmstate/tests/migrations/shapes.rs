//! A player in three versions.

use rkyv::{Archive, Deserialize, Serialize};
use shmstate::{Migrate, Schema, Steps};

pub(crate) mod v1 {
    use super::*;

    #[derive(Archive, Serialize, Deserialize, Schema, Clone, Debug, PartialEq)]
    pub(crate) struct Player {
        pub(crate) name: String,
        pub(crate) score: u32,
        /// Dropped by version 2.
        pub(crate) title: u8,
    }
}

#[derive(Archive, Serialize, Deserialize, Schema, Clone, Debug, PartialEq)]
#[schema(version = 2, name = "Player")]
pub(crate) struct PlayerV2 {
    pub(crate) nick: String,
    pub(crate) score: u64,
    pub(crate) mana: u8,
}

#[derive(Archive, Serialize, Deserialize, Schema, Clone, Debug, PartialEq)]
#[schema(version = 3, name = "Player")]
pub(crate) struct PlayerV3 {
    pub(crate) mana: u32,
    pub(crate) nick: String,
    pub(crate) bag: Vec<u16>,
    pub(crate) score: u64,
}

/// Which player [`Fragile`] cannot take.
pub(crate) const FRAGILE: u64 = 13;

/// A version whose code panics.
#[derive(Archive, Serialize, Deserialize, Schema, Clone, Debug, PartialEq)]
#[schema(version = 2, name = "Player")]
pub(crate) struct Fragile {
    pub(crate) score: u64,
}

impl PlayerV2 {
    pub(crate) fn new(nick: &str, score: u64, mana: u8) -> Self {
        Self {
            nick: nick.into(),
            score,
            mana,
        }
    }
}

impl Migrate<v1::Player> for PlayerV2 {
    fn migrate(old: v1::Player) -> Self {
        Self {
            nick: old.name,
            score: old.score.into(),
            mana: 100,
        }
    }
}

impl Migrate<PlayerV2> for v1::Player {
    fn migrate(new: PlayerV2) -> Self {
        Self {
            name: new.nick,
            score: new.score.try_into().unwrap_or(u32::MAX),
            title: 0,
        }
    }
}

impl Migrate<PlayerV2> for PlayerV3 {
    fn migrate(old: PlayerV2) -> Self {
        Self {
            mana: old.mana.into(),
            nick: old.nick,
            bag: vec![1, 2],
            score: old.score,
        }
    }
}

impl Migrate<PlayerV3> for PlayerV2 {
    fn migrate(new: PlayerV3) -> Self {
        Self {
            nick: new.nick,
            score: new.score,
            mana: new.mana.try_into().unwrap_or(u8::MAX),
        }
    }
}

impl Migrate<v1::Player> for Fragile {
    fn migrate(old: v1::Player) -> Self {
        assert_ne!(u64::from(old.score), FRAGILE * 3, "a panic that is wanted");
        Self {
            score: old.score.into(),
        }
    }
}

pub(crate) fn to_v2() -> Steps<PlayerV2> {
    Steps::new().from::<v1::Player>()
}

pub(crate) fn to_v3() -> Steps<PlayerV3> {
    Steps::new().from::<PlayerV2>().through::<v1::Player, PlayerV2>()
}
