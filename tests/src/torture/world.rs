//! The tables that are tortured, and what must hold of them between any two transactions.
//!
//! - **W1** The amounts of the ledger add up to what they were at the start.
//! - **W2** Every mirror holds the step of the clock: each transaction writes all of them, in different ways and places.
//! - **W3** Every player's checksum is that of its content; the clock knows how many players there are and the sum of their scores.
//! - **W4** The crowd is the keys from one number to another, both in the clock, each with the value that follows from it.
//! - **W5–W9** stand in `goods`, **W10, W11** in `ranks`, **W12** in `rounds`, **W13, W14** in `parts`, **W15** in `purses`, **W16, W17** in `vaults`.

use super::goods::Goods;
use super::purses::Purses;
use super::ranks::Ranks;
use super::vaults;
use rkyv::{Archive, Serialize};
use shmstate::{Cell, Map, Reader, Region, Result, Schema, Tx, verify};

/// Entries of the ledger.
pub(super) const ACCOUNTS: u32 = 256;
/// Amount of each at the start.
const AMOUNT: u64 = 1_000;
/// Records that repeat the step.
pub(super) const MIRRORS: u16 = 6;
/// Ids that a player can have.
pub(super) const PLAYERS: u64 = 320;
/// Records of the crowd at the start.
const CROWD: u64 = 1_000;
/// Address space of the region in bytes.
pub(super) const CAPACITY: u64 = 256 << 20;
/// Most faults that one check describes.
const MAX_FAULTS: usize = 4;

/// A player with parts of variable length.
#[derive(Archive, Serialize, Schema, Clone, Debug)]
pub(super) struct Player {
    pub(super) name: String,
    /// The step that changed it last.
    pub(super) step: u64,
    pub(super) score: u32,
    pub(super) bag: Vec<u16>,
    /// Checksum of all the above and the id.
    pub(super) sum: u64,
}

impl Player {
    pub(super) fn new(id: u64, step: u64, name: String, score: u32, bag: Vec<u16>) -> Self {
        let mut player = Self {
            name,
            step,
            score,
            bag,
            sum: 0,
        };
        player.sum = checksum(id, &player.name, step, score, player.bag.iter().copied());
        player
    }
}

impl ArchivedPlayer {
    /// The checksum that its content has.
    pub(super) fn checksum(&self, id: u64) -> u64 {
        let bag = self.bag.iter().map(|item| item.to_native());
        checksum(id, &self.name, self.step.to_native(), self.score.to_native(), bag)
    }
}

/// What every transaction changes, and what it says of the other tables.
#[derive(Archive, Serialize, Schema, Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    /// Committed steps, without those of one word.
    pub(super) step: u64,
    /// Players there are.
    pub(super) players: u64,
    /// Sum of their scores.
    pub(super) score: u64,
    /// First key of the crowd.
    pub(super) crowd_from: u64,
    /// One after its last key.
    pub(super) crowd_to: u64,
}

impl Clock {
    /// Keys of the crowd.
    pub(super) fn crowd(&self) -> u64 {
        self.crowd_to.wrapping_sub(self.crowd_from)
    }
}

impl From<&ArchivedClock> for Clock {
    fn from(a: &ArchivedClock) -> Self {
        Self {
            step: a.step.to_native(),
            players: a.players.to_native(),
            score: a.score.to_native(),
            crowd_from: a.crowd_from.to_native(),
            crowd_to: a.crowd_to.to_native(),
        }
    }
}

/// The value of a key of the crowd.
pub(super) fn member(key: u64) -> u64 {
    key.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23) ^ key
}

fn checksum(id: u64, name: &str, step: u64, score: u32, bag: impl Iterator<Item = u16>) -> u64 {
    let words = [id, step, u64::from(score), name.len() as u64];
    words
        .into_iter()
        .chain(name.bytes().map(u64::from))
        .chain(bag.map(u64::from))
        .fold(0xcbf2_9ce4_8422_2325, |sum: u64, word| {
            (sum ^ word).wrapping_mul(0x0100_0000_01b3)
        })
}

/// Handles of all tables.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tables {
    pub(super) clock: Cell<Clock>,
    pub(super) ledger: Map<u32, u64>,
    pub(super) mirrors: Map<u16, u64>,
    pub(super) players: Map<u64, Player>,
    pub(super) crowd: Map<u64, u64>,
    pub(super) ranks: Ranks,
    pub(super) goods: Goods,
    pub(super) purses: Purses,
}

impl Tables {
    /// Makes the tables and their first records, in one transaction.
    pub(super) fn create(tx: &mut Tx<'_>) -> Result<Self> {
        let mut clock = Clock::default();
        let tables = Self {
            clock: Cell::create(tx, "clock", &clock)?,
            ledger: Map::create(tx, "ledger")?,
            mirrors: Map::create(tx, "mirrors")?,
            players: Map::create(tx, "players")?,
            crowd: Map::create(tx, "crowd")?,
            ranks: Ranks::create(tx)?,
            goods: Goods::create(tx)?,
            purses: Purses::create(tx)?,
        };
        vaults::create(tx)?;
        for account in 0..ACCOUNTS {
            tables.ledger.insert(tx, &account, &AMOUNT)?;
        }
        for mirror in 0..MIRRORS {
            tables.mirrors.insert(tx, &mirror, &0)?;
        }
        for id in (0..PLAYERS).step_by(2) {
            let player = Player::new(
                id,
                0,
                format!("player {id}"),
                id as u32,
                vec![id as u16; id as usize % 9],
            );
            clock.players += 1;
            clock.score += u64::from(player.score);
            tables.players.insert(tx, &id, &player)?;
            tables.ranks.enter(tx, id, &player.name, player.score, 0)?;
        }
        for key in 0..CROWD {
            tables.crowd.insert(tx, &key, &member(key))?;
        }
        clock.crowd_to = CROWD;
        tables.clock.set(tx, &clock)?;
        Ok(tables)
    }

    /// Finds the tables. All or none of them are there, because one transaction makes them. `number` says which version this process is of.
    pub(super) fn open(region: &Region, number: u64) -> Result<Self> {
        Ok(Self {
            clock: Cell::open(region, "clock")?,
            ledger: Map::open(region, "ledger")?,
            mirrors: Map::open(region, "mirrors")?,
            players: Map::open(region, "players")?,
            crowd: Map::open(region, "crowd")?,
            ranks: Ranks::open(region)?,
            goods: Goods::open(region)?,
            purses: Purses::open(region, number)?,
        })
    }

    /// The step: transactions that the clock counts, and those of one word.
    pub(super) fn step(&self, reader: &Reader<'_>) -> Result<u64> {
        let clock = Clock::from(self.clock.get(reader)?);
        Ok(clock.step.wrapping_add(self.goods.beats(reader)?))
    }

    /// What of W1–W12, W15 and W16, and of heap and indexes, does not hold. Empty if all does.
    ///
    /// # Errors
    /// Damage that the library found itself: as bad as a fault.
    pub(super) fn faults(&self, region: &Region, reader: &Reader<'_>) -> Result<Vec<String>> {
        let mut faults = Vec::new();
        let found = verify(reader)?;
        if !found.is_sound() {
            faults.push(format!(
                "heap and tables disagree: {} faults, {} blocks leaked, {} references dangling",
                found.faults.len(),
                found.leaked.len(),
                found.dangling.len()
            ));
            faults.extend(found.faults.iter().map(ToString::to_string));
            faults.truncate(MAX_FAULTS);
            // What a dangling reference points to must not be read as a record.
            return Ok(faults);
        }
        let clock = Clock::from(self.clock.get(reader)?);
        self.ledger_faults(reader, &mut faults)?;
        self.mirror_faults(reader, clock.step, &mut faults)?;
        self.player_faults(reader, clock, &mut faults)?;
        self.ranks.faults(reader, clock.players, &mut faults)?;
        self.crowd_faults(reader, clock, &mut faults)?;
        self.goods.faults(reader, clock.step, &mut faults)?;
        Purses::faults(region, reader, &mut faults)?;
        vaults::faults(region, reader, &mut faults)?;
        faults.truncate(MAX_FAULTS);
        Ok(faults)
    }

    fn ledger_faults(&self, reader: &Reader<'_>, faults: &mut Vec<String>) -> Result<()> {
        let (mut sum, mut count) = (0u64, 0u64);
        for entry in self.ledger.iter(reader)? {
            sum = sum.wrapping_add(entry?.1.to_native());
            count += 1;
        }
        let wanted = (u64::from(ACCOUNTS) * AMOUNT, u64::from(ACCOUNTS));
        if (sum, count) != wanted {
            faults.push(format!("ledger: {count} entries add up to {sum}, not {wanted:?}"));
        }
        Ok(())
    }

    fn mirror_faults(&self, reader: &Reader<'_>, step: u64, faults: &mut Vec<String>) -> Result<()> {
        for mirror in 0..MIRRORS {
            let found = self.mirrors.get(reader, &mirror)?.map(|word| word.to_native());
            if found != Some(step) {
                faults.push(format!("mirror {mirror} holds {found:?}, the clock {step}"));
            }
        }
        Ok(())
    }

    fn player_faults(&self, reader: &Reader<'_>, clock: Clock, faults: &mut Vec<String>) -> Result<()> {
        let (mut count, mut score) = (0u64, 0u64);
        for entry in self.players.iter(reader)? {
            let (id, player) = entry?;
            count += 1;
            score = score.wrapping_add(player.score.to_native().into());
            if player.checksum(id) != player.sum.to_native() {
                faults.push(format!("player {id} does not match its checksum"));
            }
            self.ranks.player_faults(reader, id, player, faults)?;
            if player.step.to_native() > clock.step {
                faults.push(format!(
                    "player {id} was changed in step {}, the clock says {}",
                    player.step, clock.step
                ));
            }
        }
        if (count, score) != (clock.players, clock.score) {
            faults.push(format!(
                "{count} players with a score of {score}; the clock says {} and {}",
                clock.players, clock.score
            ));
        }
        Ok(())
    }

    fn crowd_faults(&self, reader: &Reader<'_>, clock: Clock, faults: &mut Vec<String>) -> Result<()> {
        let mut count = 0u64;
        for entry in self.crowd.iter(reader)? {
            let (key, value) = entry?;
            count += 1;
            if !(clock.crowd_from..clock.crowd_to).contains(&key) || value.to_native() != member(key) {
                faults.push(format!("crowd: key {key} holds {value}"));
            }
        }
        if count != clock.crowd() {
            faults.push(format!(
                "crowd: {count} records; the clock says keys {}..{}",
                clock.crowd_from, clock.crowd_to
            ));
            return Ok(());
        }
        // An index must find what its walk shows.
        for key in (clock.crowd_from..clock.crowd_to).step_by(97) {
            if !self.crowd.contains_key(reader, &key)? {
                faults.push(format!("crowd: key {key} is not found"));
            }
        }
        Ok(())
    }
}
