//! What stands beside the players and is kept in step with them: the leaderboard, and their names.
//!
//! - **W10** The leaderboard has one entry for each player, under score and id, which tells the step of the player's last change, and no
//!   other. Its ranks are the places of its entries in order, from both ends and in the middle.
//! - **W11** The register leads from each player's name, a string of any length, to its id, and has no other names.

use super::world::ArchivedPlayer;
use shmstate::{Map, OrderedMap, Reader, Region, Result, Tx};

/// Handles of the tables.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ranks {
    pub(super) board: OrderedMap<(u32, u64), u64>,
    pub(super) register: Map<String, u64>,
}

/// What both tables say of a player.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) score: u32,
    pub(super) name: String,
}

impl From<&ArchivedPlayer> for Standing {
    fn from(player: &ArchivedPlayer) -> Self {
        Self {
            score: player.score.to_native(),
            name: player.name.to_string(),
        }
    }
}

impl Ranks {
    pub(super) fn create(tx: &mut Tx<'_>) -> Result<Self> {
        Ok(Self {
            board: OrderedMap::create(tx, "board")?,
            register: Map::create(tx, "register")?,
        })
    }

    pub(super) fn open(region: &Region) -> Result<Self> {
        Ok(Self {
            board: OrderedMap::open(region, "board")?,
            register: Map::open(region, "register")?,
        })
    }

    /// Enters a player who was not there.
    pub(super) fn enter(&self, tx: &mut Tx<'_>, id: u64, name: &str, score: u32, step: u64) -> Result<()> {
        self.board.insert(tx, &(score, id), &step)?;
        self.register.insert(tx, name, &id).map(|_| ())
    }

    /// A player is gone.
    pub(super) fn leave(&self, tx: &mut Tx<'_>, id: u64, was: &Standing) -> Result<()> {
        self.board.remove(tx, &(was.score, id))?;
        self.register.remove(tx, &was.name).map(|_| ())
    }

    /// A player's score changed, in that step.
    pub(super) fn rise(&self, tx: &mut Tx<'_>, id: u64, before: u32, score: u32, step: u64) -> Result<()> {
        if before != score {
            self.board.remove(tx, &(before, id))?;
        }
        self.board.insert(tx, &(score, id), &step).map(|_| ())
    }

    /// What W10 and W11 say of a player, and does not hold.
    pub(super) fn player_faults(
        &self,
        reader: &Reader<'_>,
        id: u64,
        player: &ArchivedPlayer,
        faults: &mut Vec<String>,
    ) -> Result<()> {
        let step = self.board.get(reader, &(player.score.to_native(), id))?;
        if step.copied() != Some(player.step) {
            faults.push(format!("board: player {id} of {} has {step:?}", player.score));
        }
        let named = self.register.get(reader, player.name.as_str())?;
        if named.map(|n| n.to_native()) != Some(id) {
            faults.push(format!("register: {:?} of player {id} leads to {named:?}", player.name));
        }
        Ok(())
    }

    /// What of W10 and W11 does not hold in itself, with so many players.
    pub(super) fn faults(&self, reader: &Reader<'_>, players: u64, faults: &mut Vec<String>) -> Result<()> {
        let (board, mut place, mut before) = (&self.board, 0, None);
        for item in board.iter(reader)? {
            let (key, _) = item?;
            if before.is_some_and(|before| before >= key) || board.rank(reader, &key)? != place {
                faults.push(format!("board: {key:?} behind {before:?} at place {place}"));
            }
            (place, before) = (place + 1, Some(key));
        }
        let backwards = board.iter(reader)?.rev().count() as u64;
        let middle = board.nth(reader, players / 2)?.map(|(key, _)| key);
        let above = match middle {
            Some(key) => board.range(reader, key..)?.count() as u64,
            None => 0,
        };
        let found = [place, backwards, board.len(reader)?, above + players / 2];
        if found != [players; 4] {
            faults.push(format!("board: {found:?} of {players} players"));
        }
        if board.last(reader)?.map(|(key, _)| key) != before {
            faults.push(format!("board: it does not end with {before:?}"));
        }
        let mut names = 0;
        for item in self.register.iter(reader)? {
            item?;
            names += 1;
        }
        if [names, self.register.len(reader)?] != [players; 2] {
            faults.push(format!("register: {names} names of {players} players"));
        }
        Ok(())
    }
}
