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
#[schema(version = 2, name = "Player", from = v1::Player, back, removed(title))]
pub(crate) struct PlayerV2 {
    #[schema(was = "name")]
    pub(crate) nick: String,
    pub(crate) score: u64,
    #[schema(default = 100)]
    pub(crate) mana: u8,
}

#[derive(Archive, Serialize, Deserialize, Schema, Clone, Debug, PartialEq)]
#[schema(version = 3, name = "Player", from = PlayerV2, back)]
pub(crate) struct PlayerV3 {
    pub(crate) mana: u32,
    pub(crate) nick: String,
    #[schema(default = vec![1, 2])]
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
