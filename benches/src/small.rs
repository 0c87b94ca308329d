//! Small records in two versions, which grow by the migration, so that each moves to another block: the worse case.

use rkyv::{Archive, Deserialize, Serialize};
use shmstate::Schema;

/// A record as version 1 had it.
#[derive(Archive, Serialize, Deserialize, Schema, Clone, Debug)]
#[schema(name = "Small")]
pub(crate) struct One {
    pub(crate) score: u32,
    level: u16,
    x: i32,
}

/// A record of version 2.
#[derive(Archive, Serialize, Deserialize, Schema, Clone, Debug)]
#[schema(name = "Small", version = 2, from = One, back)]
pub(crate) struct Two {
    pub(crate) score: u64,
    level: u16,
    pub(crate) x: i32,
    #[schema(default = 100)]
    mana: u8,
}

/// The record with this number, of version 1.
pub(crate) fn one(id: u64) -> One {
    One {
        score: id as u32,
        level: id as u16,
        x: -(id as i32),
    }
}
