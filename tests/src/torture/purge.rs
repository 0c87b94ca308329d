//! Changes of many records by one call: `retain`, `drain`, `clear`, and what pops from an end.
//!
//! Some of them change records that they keep, or put back what they took. No rule of their own: after them all the others hold.

use super::goods::payload;
use super::ranks::Standing;
use super::trade::Trade;
use super::work::Change;
use super::world::PLAYERS;
use shmstate::Result;

/// Most records that are popped from an end of the leaderboard.
const POPPED: u64 = 40;

impl Change<'_, '_, '_> {
    /// One such change, of any table.
    pub(super) fn purge(&mut self) -> Result<()> {
        match self.random.u8(..14) {
            0..3 => self.cull(),
            3 => self.pop(),
            4 => self.dissolve(),
            5 => self.rebuild(),
            6..9 => self.refill(),
            9 => self.shed(),
            _ => self.trading().purge(),
        }
    }

    /// Some players go, by `retain`; some of those who stay are changed by it.
    fn cull(&mut self) -> Result<()> {
        let (tx, players, ranks, step) = (&mut *self.tx, self.tables.players, self.tables.ranks, self.clock.step);
        let parts = self.random.u64(1..6);
        let stays = |id: u64| id % 6 >= parts;
        let mut gone = Vec::new();
        let mut risen = Vec::new();
        let random = &mut *self.random;
        players.retain(tx, |id, record| {
            if stays(*id) {
                if random.u8(..8) == 0 {
                    let before = record.score.to_native();
                    let score = random.u32(..1_000_000);
                    record.set(|p| &p.score, score.into())?;
                    record.set(|p| &p.step, step.into())?;
                    let sum = record.checksum(*id);
                    record.set(|p| &p.sum, sum.into())?;
                    risen.push((*id, before, score));
                }
                return Ok(true);
            }
            gone.push(record.score.to_native());
            Ok(false)
        })?;
        ranks.board.retain(tx, |(_, id), _| stays(*id))?;
        ranks.register.retain(tx, |_, id| Ok(stays(id.to_native())))?;
        for (id, before, score) in risen {
            ranks.rise(tx, id, before, score, step)?;
            self.clock.score = self.clock.score.wrapping_sub(before.into()).wrapping_add(score.into());
        }
        self.clock.players = self.clock.players.wrapping_sub(gone.len() as u64);
        let scores = gone.into_iter().map(u64::from).fold(0, u64::wrapping_add);
        self.clock.score = self.clock.score.wrapping_sub(scores);
        Ok(())
    }

    /// The best or the worst players go.
    fn pop(&mut self) -> Result<()> {
        let best = self.random.bool();
        for _ in 0..self.random.u64(1..POPPED) {
            let (tx, ranks) = (&mut *self.tx, self.tables.ranks);
            let popped = if best {
                ranks.board.pop_last(tx)?
            } else {
                ranks.board.pop_first(tx)?
            };
            let Some(((score, id), _)) = popped else { break };
            let name = self.tables.players.get(tx, &id)?.map(|player| player.name.to_string());
            self.tables.players.remove(tx, &id)?;
            if let Some(name) = name {
                ranks.register.remove(tx, &name)?;
            }
            self.clock.players = self.clock.players.wrapping_sub(1);
            self.clock.score = self.clock.score.wrapping_sub(score.into());
        }
        Ok(())
    }

    /// All players go; a few come back.
    fn dissolve(&mut self) -> Result<()> {
        let (tx, ranks) = (&mut *self.tx, self.tables.ranks);
        let drained = self.random.bool();
        if drained {
            self.tables.players.drain(tx, |_, _| Ok(()))?;
            ranks.board.drain(tx)?.count();
            ranks.register.drain(tx, |_, _| Ok(()))?;
        } else {
            self.tables.players.clear(tx)?;
            ranks.board.clear(tx)?;
            ranks.register.clear(tx)?;
        }
        (self.clock.players, self.clock.score) = (0, 0);
        for _ in 0..self.random.u64(..PLAYERS / 4) {
            let id = self.random.u64(..PLAYERS);
            self.player(id)?;
        }
        Ok(())
    }

    /// Leaderboard and register are taken apart and put together again, in another order.
    fn rebuild(&mut self) -> Result<()> {
        let (tx, ranks) = (&mut *self.tx, self.tables.ranks);
        let mut entries = Vec::new();
        for item in ranks.board.drain(tx)? {
            let (key, step) = item?;
            entries.push((key, step.to_native()));
        }
        self.random.shuffle(&mut entries);
        for (key, step) in &entries {
            ranks.board.insert(tx, key, step)?;
        }
        let mut names = Vec::new();
        ranks.register.drain(tx, |name, id| {
            names.push((name, id.to_native()));
            Ok(())
        })?;
        self.random.shuffle(&mut names);
        for (name, id) in &names {
            ranks.register.insert(tx, name, id)?;
        }
        Ok(())
    }

    /// Players come until there are as many as can be.
    fn refill(&mut self) -> Result<()> {
        for id in 0..PLAYERS {
            let there = self.tables.players.get(self.tx, &id)?.map(Standing::from);
            if there.is_none() {
                self.player(id)?;
            }
        }
        Ok(())
    }

    /// A part of the crowd goes by `retain`, or all of it.
    fn shed(&mut self) -> Result<()> {
        let (tx, crowd) = (&mut *self.tx, self.tables.crowd);
        let there = self.clock.crowd();
        if self.random.bool() {
            crowd.clear(tx)?;
            self.clock.crowd_from = self.clock.crowd_to;
            return Ok(());
        }
        let from = self.clock.crowd_from + self.random.u64(..=there.min(2_000));
        crowd.retain(tx, |key, _| Ok(*key >= from))?;
        self.clock.crowd_from = from;
        Ok(())
    }
}

impl Trade<'_, '_, '_> {
    /// One such change of the other tables, with its entry in the books.
    fn purge(&mut self) -> Result<()> {
        match self.random.u8(..5) {
            0 => self.purge_things()?,
            1 => self.purge_bells()?,
            2 => self.goods.rounds.end(self.tx, self.books)?,
            3 => self.purge_outbox()?,
            _ => self.purge_sealed()?,
        }
        self.write()
    }

    fn purge_things(&mut self) -> Result<()> {
        let (things, owners) = (self.goods.things, self.goods.owners);
        if self.random.bool() {
            let parts = self.random.u64(1..6);
            let stays = |owner: u64| owner % 6 >= parts;
            let mut worth = 0u64;
            let gone = things.retain(self.tx, |_, thing| {
                let stays = stays(thing.owner.to_native());
                worth = worth.wrapping_add(if stays { 0 } else { thing.worth.to_native() });
                stays
            })?;
            owners.retain(self.tx, |owner, _| Ok(stays(*owner)))?;
            self.books.things = self.books.things.wrapping_sub(gone);
            self.books.worth = self.books.worth.wrapping_sub(worth);
            return Ok(());
        }
        if self.random.bool() {
            things.drain(self.tx, |_, _| {})?;
        } else {
            things.clear(self.tx)?;
        }
        owners.clear(self.tx)?;
        (self.books.things, self.books.worth) = (0, 0);
        Ok(())
    }

    fn purge_bells(&mut self) -> Result<()> {
        self.goods.bells.clear(self.tx)?;
        let books = &mut *self.books;
        for [set, rung, cancelled] in [&mut books.bells, &mut books.payloads] {
            *cancelled = set.wrapping_sub(*rung);
        }
        // One comes back at once: the first in pages that are new.
        let payload = payload(books.bells[0]);
        self.goods.bells.insert(self.tx, books.now + 1, &payload)?;
        books.bells[0] += 1;
        books.payloads[0] = books.payloads[0].wrapping_add(payload);
        Ok(())
    }

    fn purge_outbox(&mut self) -> Result<()> {
        let outbox = self.goods.outbox;
        if self.random.bool() {
            outbox.clear(self.tx)?;
            self.books.mail = 0;
        } else {
            let mut mail = self.books.mail;
            outbox.drain(self.tx, |_, letter| mail = mail.wrapping_sub(letter.amount.to_native()))?;
            self.books.mail = mail;
        }
        self.books.taken = self.books.posted;
        Ok(())
    }

    fn purge_sealed(&mut self) -> Result<()> {
        let (sealed, books) = (self.goods.sealed, &mut *self.books);
        let least = self.random.u64(..1_000_000);
        match self.random.u8(..4) {
            0 => {
                sealed.clear(self.tx)?;
                (books.sealed, books.amounts) = (0, 0);
            }
            1 => {
                sealed.drain(self.tx, |_, record| {
                    books.sealed = books.sealed.wrapping_sub(1);
                    books.amounts = books.amounts.wrapping_sub(record.amount.to_native());
                    Ok(())
                })?;
            }
            _ => {
                sealed.retain(self.tx, |_, record| {
                    let there = record.amount.to_native();
                    if there < least {
                        books.sealed = books.sealed.wrapping_sub(1);
                        books.amounts = books.amounts.wrapping_sub(there);
                        return Ok(false);
                    }
                    books.amounts = books.amounts.wrapping_add(1);
                    record.set(|s| &s.amount, there.wrapping_add(1).into())?;
                    Ok(true)
                })?;
            }
        }
        Ok(())
    }
}
