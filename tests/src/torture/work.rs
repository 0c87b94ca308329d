//! The changes: transactions of every size and kind over all tables, one after the other.
//!
//! Each but those of one word adds 1 to the clock's step and writes it to the clock and to every mirror, some before and some after the rest. One in
//! [`ROLLBACK`] is not committed but dropped or forgotten. Sums wrap: in a broken region they may not be what they should, and it is
//! the checks that say so.

use super::goods::{BEATS, Books};
use super::images::Maker;
use super::parts::Ids;
use super::ranks::Standing;
use super::seal;
use super::trade::{self, Trade};
use super::vaults::{Moves, Vaults};
use super::witness::Witness;
use super::world::{ACCOUNTS, Clock, MIRRORS, PLAYERS, Player, Tables, member};
use shmstate::{Handle, Region, Result, Tx};
use std::error::Error as Fault;
use std::os::fd::AsFd;

/// One transaction in so many is taken back.
const ROLLBACK: u32 = 7;
/// Least and most keys that join or leave the crowd at once: thousands of records need several extents of log.
const WAVE: std::ops::Range<u64> = 300..3_000;
/// Most keys of the crowd.
const CROWD: u64 = 24_000;
/// Items of a large bag: more than half a chunk of the heap, so that the record is a run of chunks.
const HOARD: std::ops::Range<usize> = 20_000..60_000;
/// Items of a giant's bag, several MiB, and how many players can be giants.
const GIANT: std::ops::Range<usize> = 500_000..2_400_000;
const GIANTS: u64 = 4;
/// One time in so many memory is given back before a transaction; where that is the matter, one in the other.
const TRIM: [u32; 2] = [40, 2];
/// Records of the crowd that are moved together at once.
const COMPACT: u64 = 500;
/// Most bytes that are given back at once.
const MOST: u64 = 16 << 20;

/// What most transactions of a life do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Kind {
    /// Everything, mostly small.
    Mixed,
    /// The crowd gets larger: indexes, heap and log grow.
    Grow,
    /// The crowd gets smaller or is replaced: long commits that free thousands of blocks.
    Shrink,
    /// Every record is changed in place: long logs.
    Sweep,
    /// The other tables, a lot at a time.
    Trade,
    /// Many records of a table go at once, and come back.
    Purge,
    /// Giants come and go, and the memory they had is given back.
    Trim,
}

impl Kind {
    /// Weights of small, medium, sweep, grow, shrink, renew, of little and much trade, of purges and giants.
    fn weights(self) -> [u32; 10] {
        match self {
            Self::Mixed => [50, 10, 3, 6, 4, 4, 20, 3, 3, 0],
            Self::Grow => [20, 5, 0, 60, 5, 0, 5, 5, 0, 0],
            Self::Shrink => [10, 5, 0, 15, 25, 35, 5, 5, 2, 0],
            Self::Sweep => [20, 5, 60, 5, 0, 0, 10, 0, 2, 0],
            Self::Trade => [10, 0, 0, 0, 0, 0, 40, 50, 5, 0],
            Self::Purge => [20, 5, 2, 5, 0, 0, 20, 8, 40, 0],
            Self::Trim => [10, 2, 0, 10, 10, 2, 5, 0, 0, 60],
        }
    }
}

/// A process at work.
#[derive(Debug)]
pub(super) struct Worker {
    region: Region,
    tables: Tables,
    vaults: (Vaults, Moves),
    /// The committed clock, books, and steps of one word.
    clock: Clock,
    books: Books,
    beats: u64,
    handles: [Option<Handle<u64>>; BEATS as usize],
    ids: Ids,
    kind: Kind,
    random: fastrand::Rng,
}

impl Worker {
    pub(super) fn new(region: Region, tables: Tables, vaults: (Vaults, Moves), kind: Kind, seed: u64) -> Result<Self> {
        let gate = region.gate().clone();
        let pass = gate.enter()?;
        let reader = region.read(&pass)?;
        let clock = Clock::from(tables.clock.get(&reader)?);
        let books = Books::from(tables.goods.books.get(&reader)?);
        let beats = tables.goods.beats(&reader)?;
        drop(pass);
        Ok(Self {
            region,
            tables,
            vaults,
            clock,
            books,
            beats,
            handles: [None; BEATS as usize],
            ids: Ids::default(),
            kind,
            random: fastrand::Rng::with_seed(seed),
        })
    }

    /// Committed steps.
    pub(super) fn step(&self) -> u64 {
        self.clock.step.wrapping_add(self.beats)
    }

    /// Lets a checkpoint be begun, or ended, between two transactions.
    pub(super) fn checkpoint<F: AsFd>(
        &mut self,
        maker: &mut Maker,
        witness: &Witness<F>,
    ) -> std::result::Result<(), Box<dyn Fault>> {
        let gate = self.region.gate().clone();
        let step = self.step();
        maker.go_on(&mut self.region, &gate.enter()?, step, witness)
    }

    /// One transaction. Says whether it was committed.
    pub(super) fn transact(&mut self) -> std::result::Result<bool, Box<dyn Fault>> {
        let gate = self.region.gate().clone();
        let pass = gate.enter()?;
        let seldom = TRIM[usize::from(self.kind == Kind::Trim)];
        if self.random.u32(..seldom) == 0 {
            self.region.trim(&pass, self.random.u64(..MOST))?;
        }
        match self.random.u8(..16) {
            0..5 => {
                let goods = self.tables.goods;
                let done = trade::beat(&mut self.region, &pass, goods, &mut self.handles, &mut self.random)?;
                self.beats += u64::from(done);
                return Ok(done);
            }
            // No step: the next books have it.
            5 => self.books.laps = trade::lap(&mut self.region, &pass, self.tables.goods)?,
            _ => {}
        }
        let mut tx = self.region.begin(&pass)?;
        let mut change = Change {
            tx: &mut tx,
            tables: self.tables,
            vaults: &self.vaults,
            clock: self.clock,
            books: self.books,
            random: &mut self.random,
            ids: &mut self.ids,
        };
        change.clock.step += 1;
        change.all(self.kind)?;
        let Change { clock, books, .. } = change;
        if let Some(fault) = self.ids.fault() {
            return Err(fault.into());
        }
        if self.random.u32(..ROLLBACK) == 0 {
            self.ids.lose(0);
            if self.random.bool() {
                drop(tx);
            } else {
                // The log stays; the next transaction takes it back first.
                std::mem::forget(tx);
            }
            return Ok(false);
        }
        tx.commit()?;
        self.ids.keep();
        self.clock = clock;
        self.books = books;
        Ok(true)
    }
}

/// An open transaction and the clock as it will be.
pub(super) struct Change<'t, 'a, 'r> {
    pub(super) tx: &'t mut Tx<'a>,
    pub(super) tables: Tables,
    pub(super) vaults: &'t (Vaults, Moves),
    pub(super) clock: Clock,
    pub(super) books: Books,
    pub(super) random: &'r mut fastrand::Rng,
    pub(super) ids: &'r mut Ids,
}

impl Change<'_, '_, '_> {
    fn all(&mut self, kind: Kind) -> Result<()> {
        let early = self.random.u16(..=MIRRORS);
        self.mirrors(0..early)?;
        self.parts(kind)?;
        self.body(kind)?;
        self.parts(Kind::Mixed)?;
        self.tell()?;
        self.mirrors(early..MIRRORS)
    }

    pub(super) fn body(&mut self, kind: Kind) -> Result<()> {
        let weights = kind.weights();
        let mut roll = self.random.u32(..weights.iter().sum::<u32>());
        let what = weights.iter().position(|weight| {
            let hit = roll < *weight;
            roll = roll.saturating_sub(*weight);
            hit
        });
        match what {
            Some(2) => self.sweep(),
            Some(3) if self.clock.crowd() < CROWD => self.grow(),
            Some(3 | 4) => self.shrink(),
            Some(5) => self.renew(),
            Some(6) => self.trading().all(false),
            Some(7) => self.trading().all(true),
            Some(8) => self.purge(),
            Some(9) => self.giant(),
            what => {
                let rounds = if what == Some(1) {
                    self.random.usize(16..64)
                } else {
                    self.random.usize(1..4)
                };
                for _ in 0..rounds {
                    self.transfer()?;
                    self.tables.purses.change(self.tx, self.random)?;
                    let (vaults, moves) = self.vaults;
                    vaults.change(moves, self.tx, self.random)?;
                    let id = self.random.u64(..PLAYERS);
                    self.player(id)?;
                }
                Ok(())
            }
        }
    }

    fn mirrors(&mut self, which: std::ops::Range<u16>) -> Result<()> {
        let (tx, mirrors, step) = (&mut *self.tx, self.tables.mirrors, self.clock.step);
        for mirror in which {
            match self.random.u8(..3) {
                0 => {
                    mirrors.insert(tx, &mirror, &step)?;
                }
                1 => {
                    if let Some(mut record) = mirrors.get_mut(tx, &mirror)? {
                        record.set(|word| word, step.into())?;
                    }
                }
                _ => {
                    if let Some(mut record) = mirrors.get_mut(tx, &mirror)? {
                        *record.seal()? = step.into();
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes the clock: field by field, or as a new record.
    fn tell(&mut self) -> Result<()> {
        let (cell, clock) = (self.tables.clock, self.clock);
        if self.random.u8(..4) == 0 {
            return cell.set(self.tx, &clock);
        }
        let mut record = cell.get_mut(self.tx)?;
        record.set(|c| &c.step, clock.step.into())?;
        record.set(|c| &c.players, clock.players.into())?;
        record.set(|c| &c.score, clock.score.into())?;
        record.set(|c| &c.crowd_from, clock.crowd_from.into())?;
        record.set(|c| &c.crowd_to, clock.crowd_to.into())
    }

    /// Moves an amount between two entries of the ledger.
    fn transfer(&mut self) -> Result<()> {
        let from = self.random.u32(..ACCOUNTS);
        let to = (from + self.random.u32(1..ACCOUNTS)) % ACCOUNTS;
        let (tx, ledger) = (&mut *self.tx, self.tables.ledger);
        let Some(mut record) = ledger.get_mut(tx, &from)? else {
            return Ok(());
        };
        let there = record.to_native();
        let amount = self.random.u64(..=there);
        record.set(|a| a, (there - amount).into())?;
        if self.random.u8(..4) == 0 {
            let there = ledger.get(tx, &to)?.map_or(0, |a| a.to_native());
            ledger.insert(tx, &to, &there.wrapping_add(amount))?;
        } else if let Some(mut record) = ledger.get_mut(tx, &to)? {
            let there = record.to_native();
            record.set(|a| a, there.wrapping_add(amount).into())?;
        }
        Ok(())
    }

    /// Changes the player `id`: makes, replaces, removes it, or changes it in place.
    pub(super) fn player(&mut self, id: u64) -> Result<()> {
        let Tables { players, ranks, .. } = self.tables;
        let there = players.get(self.tx, &id)?.map(Standing::from);
        let before = there.as_ref().map_or(0, |was| was.score);
        self.clock.score = self.clock.score.wrapping_sub(before.into());
        // Now and then the same score again: the entry of the leaderboard stays where it is.
        let score = self.random.u32(..1_000_000);
        let score = if score.is_multiple_of(16) { before } else { score };
        match (&there, self.random.u8(..10)) {
            (Some(was), 0..2) => {
                players.remove(self.tx, &id)?;
                ranks.leave(self.tx, id, was)?;
                self.clock.players = self.clock.players.wrapping_sub(1);
                return Ok(());
            }
            (Some(_), 2..5) => self.set_player(id, before, score)?,
            (Some(_), 5..7) => self.seal_player(id, before, score)?,
            _ => {
                let player = self.new_player(id, score);
                let replaced = players.insert(self.tx, &id, &player)?;
                if let Some(was) = &there {
                    ranks.leave(self.tx, id, was)?;
                }
                ranks.enter(self.tx, id, &player.name, score, self.clock.step)?;
                self.clock.players += u64::from(!replaced);
            }
        }
        self.clock.score = self.clock.score.wrapping_add(score.into());
        Ok(())
    }

    fn new_player(&mut self, id: u64, score: u32) -> Player {
        let letters = self.random.usize(..60);
        let letters = std::iter::repeat_with(|| self.random.alphanumeric()).take(letters);
        // It begins with the id, so that no two players have the same.
        let name = format!("{id} {}", letters.collect::<String>());
        let items = if self.random.u8(..40) == 0 {
            self.random.usize(HOARD)
        } else {
            self.random.usize(..50)
        };
        let bag = std::iter::repeat_with(|| self.random.u16(..)).take(items).collect();
        Player::new(id, self.clock.step, name, score, bag)
    }

    /// Field by field.
    fn set_player(&mut self, id: u64, before: u32, score: u32) -> Result<()> {
        let step = self.clock.step;
        let item = self.random.u16(..);
        let Some(mut record) = self.tables.players.get_mut(self.tx, &id)? else {
            return Ok(());
        };
        record.set(|p| &p.score, score.into())?;
        record.set(|p| &p.step, step.into())?;
        if !record.bag.is_empty() {
            let i = self.random.usize(..record.bag.len());
            record.set(|p| &p.bag[i], item.into())?;
        }
        let sum = record.checksum(id);
        record.set(|p| &p.sum, sum.into())?;
        self.tables.ranks.rise(self.tx, id, before, score, step)
    }

    /// The whole record through rkyv's `Seal`.
    fn seal_player(&mut self, id: u64, before: u32, score: u32) -> Result<()> {
        let step = self.clock.step;
        let Some(mut record) = self.tables.players.get_mut(self.tx, &id)? else {
            return Ok(());
        };
        seal::play(record.seal()?, score, step);
        let sum = record.checksum(id);
        seal::sign(record.seal()?, sum);
        self.tables.ranks.rise(self.tx, id, before, score, step)
    }

    /// Every account and every player, in place.
    fn sweep(&mut self) -> Result<()> {
        for _ in 0..ACCOUNTS / 2 {
            self.transfer()?;
        }
        for id in 0..PLAYERS {
            let Some(there) = self.tables.players.get(self.tx, &id)?.map(|p| p.score.to_native()) else {
                continue;
            };
            let score = self.random.u32(..1_000_000);
            let change = u64::from(score).wrapping_sub(there.into());
            self.clock.score = self.clock.score.wrapping_add(change);
            if self.random.bool() {
                self.set_player(id, there, score)?;
            } else {
                self.seal_player(id, there, score)?;
            }
        }
        Ok(())
    }

    /// One of the first players becomes a giant, or an ordinary one again.
    fn giant(&mut self) -> Result<()> {
        let Tables { players, ranks, .. } = self.tables;
        let id = self.random.u64(..GIANTS);
        let there = players.get(self.tx, &id)?.map(Standing::from);
        let items = if self.random.bool() {
            self.random.usize(GIANT)
        } else {
            5
        };
        let first = self.random.u16(..);
        let bag = (0..items).map(|i| first.wrapping_add(i as u16)).collect();
        let player = Player::new(id, self.clock.step, format!("{id} giant"), 7, bag);
        if let Some(was) = &there {
            ranks.leave(self.tx, id, was)?;
        }
        ranks.enter(self.tx, id, &player.name, 7, self.clock.step)?;
        let before = there.as_ref().map_or(0, |was| was.score);
        self.clock.score = self.clock.score.wrapping_sub(before.into()).wrapping_add(7);
        self.clock.players = self.clock.players.wrapping_add(u64::from(there.is_none()));
        players.insert(self.tx, &id, &player)?;
        Ok(())
    }

    fn grow(&mut self) -> Result<()> {
        let wave = self.random.u64(WAVE);
        for key in self.clock.crowd_to..self.clock.crowd_to + wave {
            self.tables.crowd.insert(self.tx, &key, &member(key))?;
        }
        self.clock.crowd_to += wave;
        Ok(())
    }

    fn shrink(&mut self) -> Result<()> {
        let there = self.clock.crowd();
        let wave = self.random.u64(WAVE).min(there);
        for key in self.clock.crowd_from..self.clock.crowd_from + wave {
            self.tables.crowd.remove(self.tx, &key)?;
        }
        self.clock.crowd_from += wave;
        if self.random.u8(..3) == 0 {
            self.tables.crowd.compact(self.tx, COMPACT)?;
        }
        Ok(())
    }

    /// Replaces records of the crowd by the same: as many blocks taken as freed.
    fn renew(&mut self) -> Result<()> {
        let there = self.clock.crowd();
        let wave = self.random.u64(WAVE).min(there);
        for key in self.clock.crowd_to - wave..self.clock.crowd_to {
            self.tables.crowd.insert(self.tx, &key, &member(key))?;
        }
        Ok(())
    }
}

impl<'a> Change<'_, 'a, '_> {
    /// The changes of the other tables.
    pub(super) fn trading(&mut self) -> Trade<'_, 'a, '_> {
        Trade {
            tx: self.tx,
            goods: self.tables.goods,
            books: &mut self.books,
            random: self.random,
            ids: self.ids,
            step: self.clock.step,
        }
    }
}
