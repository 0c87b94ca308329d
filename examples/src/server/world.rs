//! The world: its records and the tables they are in.

use crate::server::player::Player;
use crate::server::tallies::{self, Tallies};
use rkyv::{Archive, Deserialize, Serialize};
use shmstate::{Cell, Declared, Map, Region, Result, Rings, Schema, Streams, Tx, View};

/// A kind of item and how many of it.
#[derive(Archive, Serialize, Deserialize, Schema, Clone, Copy, Debug)]
#[schema(version = 1)]
pub(crate) struct Item {
    pub(crate) kind: u16,
    pub(crate) count: u32,
}

/// A monster: most of the world.
#[derive(Archive, Serialize, Schema, Clone, Debug)]
#[schema(version = 1)]
pub(crate) struct Monster {
    pub(crate) name: String,
    pub(crate) lore: String,
    pub(crate) loot: Vec<u16>,
    pub(crate) position: [i32; 2],
    /// Counted in [`Clock::energy`].
    pub(crate) energy: i64,
    /// Tick of the last move.
    pub(crate) moved: u64,
}

/// What there is one of.
#[derive(Archive, Serialize, Schema, Clone, Debug, Default)]
#[schema(version = 1)]
pub(crate) struct Clock {
    /// Ticks done.
    pub(crate) tick: u64,
    /// When the next tick is due, ns of CLOCK_MONOTONIC.
    pub(crate) due: u64,
    /// Sum of the energy of all monsters.
    pub(crate) energy: i64,
    /// Next monster to move.
    pub(crate) next_monster: u64,
    /// Times that players have said something, and letters: of all tallies.
    pub(crate) said: [u64; 2],
    /// Ticks whose frame for some player was left out because it did not read.
    pub(crate) coalesced: u64,
}

/// The tables, with players of either version.
#[derive(Debug)]
pub(crate) struct World<P> {
    pub(crate) players: Map<u64, P>,
    pub(crate) monsters: Map<u64, Monster>,
    pub(crate) clock: Cell<Clock>,
    pub(crate) streams: Streams,
    /// Once this version serves.
    pub(crate) tallies: Option<Tallies>,
}

/// Rings of a connection: input for a few dozen commands, output for a second of frames.
const RINGS: Rings = Rings {
    input: 4096,
    output: 16 * 1024,
};

impl<P> Clone for World<P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for World<P> {}

impl<P: Player> World<P> {
    /// The tables, for the plan of an upgrade.
    pub(crate) fn declared() -> Vec<Declared> {
        let mut tables = vec![
            P::declared(),
            Declared::map::<u64, Monster>("monsters"),
            Declared::cell::<Clock>("clock"),
            Declared::streams("streams"),
        ];
        tables.extend(tallies::declared(P::GUILDS));
        tables
    }

    /// Finds the tables while another process may serve them: a different shape is refused here, before the cutover.
    pub(crate) fn open(region: &Region) -> Result<Self> {
        Ok(Self {
            players: P::open(region)?,
            monsters: Map::open(region, "monsters")?,
            clock: Cell::open(region, "clock")?,
            streams: Streams::open(region, "streams")?,
            tallies: None,
        })
    }

    /// Makes the tables of a new world, or finds those of one whose owner was killed before it had made them all.
    pub(crate) fn create(tx: &mut Tx<'_>) -> Result<Self> {
        Ok(Self {
            players: P::create(tx)?,
            monsters: Map::open_or_create(tx, "monsters")?,
            clock: Cell::open_or_create(tx, "clock", &Clock::default())?,
            streams: Streams::open_or_create(tx, "streams", RINGS)?,
            tallies: None,
        })
    }

    /// Bytes of the archives of all live records.
    pub(crate) fn archived_bytes(&self, view: &View) -> Result<u64> {
        Ok(self.players.archived_bytes(view)? + self.monsters.archived_bytes(view)?)
    }
}
