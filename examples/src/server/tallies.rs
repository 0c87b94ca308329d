//! Tallies: what each player has said, counted. The second version keeps them by guild, and so under other keys.
//!
//! Two versions of a game would be two states of one file: the newer one has the [`Move`] in place of the older one's table.

use rkyv::{Archive, Deserialize, Serialize};
use shmstate::{Declared, Error, Map, Move, Moving, Region, Result, Schema, Tx, View};

/// The table of the first version, and of the second.
const BY_PLAYER: &str = "tallies";
const BY_GUILD: &str = "tallies-by-guild";
/// Guilds that players belong to, by their number.
const GUILDS: u64 = 8;

/// What a player has said.
#[derive(Archive, Serialize, Deserialize, Schema, Clone, Debug)]
#[schema(version = 1)]
pub(crate) struct Tally {
    times: u64,
    letters: u64,
}

/// The table, as the version that serves has it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tallies {
    ByPlayer(Map<u64, Tally>),
    ByGuild(Map<(u8, u64), Tally>),
}

fn place(player: u64) -> (u8, u64) {
    ((player % GUILDS) as u8, player)
}

/// How the one becomes the other, and what the first version finds after the second.
fn to_guilds() -> Move<u64, Tally> {
    Move::<u64, Tally>::of(BY_PLAYER)
        .to::<(u8, u64), Tally>(
            BY_GUILD,
            |(_, player)| Some(*player),
            |_, player, tally| Ok(vec![(place(*player), tally.clone())]),
        )
        .back(|targets, player, _| {
            let tallies: Map<(u8, u64), Tally> = targets.map(BY_GUILD)?;
            Ok(tallies.get(targets, &place(*player))?.map(|tally| Tally {
                times: tally.times.to_native(),
                letters: tally.letters.to_native(),
            }))
        })
}

/// What this version opens, for the plan of an upgrade.
pub(crate) fn declared(guilds: bool) -> Vec<Declared> {
    if guilds {
        vec![to_guilds().declared(), Declared::map::<(u8, u64), Tally>(BY_GUILD)]
    } else {
        vec![Declared::map::<u64, Tally>(BY_PLAYER)]
    }
}

/// What there is to do before this version serves: the first is refused here if it cannot go on, the second declares its move.
pub(crate) fn look(region: &Region, guilds: bool) -> Result<Option<Moving<u64, Tally>>> {
    if guilds {
        return to_guilds().open(region).map(Some);
    }
    match Map::<u64, Tally>::open(region, BY_PLAYER) {
        Ok(_) | Err(Error::NoTable { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Tallies {
    /// Finds the table, or makes it, when this version serves.
    pub(crate) fn open(tx: &mut Tx<'_>, guilds: bool) -> Result<Self> {
        if guilds {
            Map::open_or_create(tx, BY_GUILD).map(Self::ByGuild)
        } else {
            Map::open_or_create(tx, BY_PLAYER).map(Self::ByPlayer)
        }
    }

    /// A player has said something.
    pub(crate) fn count(self, tx: &mut Tx<'_>, player: u64, letters: u64) -> Result<()> {
        let none = Tally { times: 0, letters: 0 };
        let mut tally = match self {
            Self::ByPlayer(map) => map.entry(tx, &player)?.or_insert(&none)?,
            Self::ByGuild(map) => map.entry(tx, &place(player))?.or_insert(&none)?,
        };
        let (times, letters) = (tally.times.to_native() + 1, tally.letters.to_native() + letters);
        tally.set(|tally| &tally.times, times.into())?;
        tally.set(|tally| &tally.letters, letters.into())
    }

    /// Times and letters of one player.
    pub(crate) fn of(self, view: &View, player: u64) -> Result<(u64, u64)> {
        let found = match self {
            Self::ByPlayer(map) => map.get(view, &player)?,
            Self::ByGuild(map) => map.get(view, &place(player))?,
        };
        Ok(found.map_or((0, 0), |tally| (tally.times.to_native(), tally.letters.to_native())))
    }
}
