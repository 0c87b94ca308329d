//! The changes of the other tables, each with its entry in the books, and those of one word.

use super::goods::{BEATS, Books, Goods, LAP, Letter, OWNERS, SEALED, Sealed, Thing, payload};
use super::parts::Ids;
use shmstate::{Handle, Pass, Region, Result, SlabId, Tx};

/// Most letters, bells and things that come or go at once: more than a page of each holds.
const MANY: u64 = 600;
/// How far ahead a bell is set.
const AHEAD: std::ops::Range<u64> = 1..4_000;

/// An open transaction, seen from here.
pub(super) struct Trade<'t, 'a, 'r> {
    pub(super) tx: &'t mut Tx<'a>,
    pub(super) goods: Goods,
    pub(super) books: &'r mut Books,
    pub(super) random: &'r mut fastrand::Rng,
    pub(super) ids: &'r mut Ids,
    pub(super) step: u64,
}

impl Trade<'_, '_, '_> {
    /// Something of everything, a little or a lot.
    pub(super) fn all(&mut self, many: bool) -> Result<()> {
        let rounds = if many {
            self.random.u64(MANY / 2..MANY)
        } else {
            self.random.u64(1..4)
        };
        let only = self.random.u8(..8);
        if only == 0 || !many {
            self.letters(rounds)?;
        }
        if only == 1 || !many {
            self.bells(rounds)?;
        }
        if only >= 2 || !many {
            let (first, fill) = (self.random.u64(..OWNERS), self.random.bool());
            for i in 0..rounds {
                let owner = if many { first + i } else { self.random.u64(..OWNERS) };
                self.thing(owner % OWNERS, many.then_some(fill))?;
            }
        }
        for _ in 0..rounds.min(8) {
            self.seal()?;
        }
        self.write()
    }

    /// Writes the books: as a new record, or those fields that a trade most often changes.
    pub(super) fn write(&mut self) -> Result<()> {
        let (cell, books) = (self.goods.books, *self.books);
        if self.random.bool() {
            return cell.set(self.tx, &books);
        }
        let mut record = cell.get_mut(self.tx)?;
        record.set(|b| &b.posted, books.posted.into())?;
        record.set(|b| &b.taken, books.taken.into())?;
        record.set(|b| &b.mail, books.mail.into())?;
        record.set(|b| &b.things, books.things.into())?;
        record.set(|b| &b.worth, books.worth.into())?;
        for i in 0..3 {
            record.set(|b| &b.bells[i], books.bells[i].into())?;
            record.set(|b| &b.payloads[i], books.payloads[i].into())?;
        }
        for i in 0..2 {
            record.set(|b| &b.rounds[i], books.rounds[i].into())?;
            record.set(|b| &b.ringings[i], books.ringings[i].into())?;
        }
        record.set(|b| &b.now, books.now.into())?;
        record.set(|b| &b.sealed, books.sealed.into())?;
        record.set(|b| &b.amounts, books.amounts.into())?;
        record.set(|b| &b.laps, books.laps.into())
    }

    fn text(&mut self) -> String {
        let letters = self.random.usize(..80);
        std::iter::repeat_with(|| self.random.alphabetic())
            .take(letters)
            .collect()
    }

    /// Posts letters and takes the oldest ones out.
    fn letters(&mut self, most: u64) -> Result<()> {
        let outbox = self.goods.outbox;
        let there = self.books.posted.wrapping_sub(self.books.taken);
        let (post, take) = match there {
            0..2_000 => (most, self.random.u64(..=most)),
            _ => (0, most * 2),
        };
        for _ in 0..post {
            let letter = Letter {
                step: self.step,
                amount: self.random.u64(..1_000_000),
                text: self.text(),
            };
            outbox.push_back(self.tx, &letter)?;
            self.books.posted += 1;
            self.books.mail = self.books.mail.wrapping_add(letter.amount);
        }
        for _ in 0..take {
            let Some(amount) = outbox.pop_front(self.tx, |_, letter| letter.amount.to_native())? else {
                break;
            };
            self.books.taken += 1;
            self.books.mail = self.books.mail.wrapping_sub(amount);
        }
        Ok(())
    }

    /// Sets bells, cancels some, lets time pass and rings those that are due.
    fn bells(&mut self, most: u64) -> Result<()> {
        let bells = self.goods.bells;
        for _ in 0..most {
            let payload = payload(self.books.bells[0]);
            let deadline = self.books.now + self.random.u64(AHEAD);
            let id = bells.insert(self.tx, deadline, &payload)?;
            self.books.bells[0] += 1;
            self.books.payloads[0] = self.books.payloads[0].wrapping_add(payload);
            if self.random.u8(..6) == 0 {
                bells.reschedule(self.tx, id, deadline + self.random.u64(AHEAD))?;
            }
        }
        let skip = self.random.usize(..64);
        let some = bells.iter(self.tx)?.nth(skip).transpose()?;
        if let Some((id, payload)) = some.map(|(id, _, bell)| (id, bell.to_native()))
            && bells.cancel(self.tx, id)?
        {
            self.books.bells[2] += 1;
            self.books.payloads[2] = self.books.payloads[2].wrapping_add(payload);
        }
        self.books.now += self.random.u64(..AHEAD.end / 4);
        while let Some(payload) = bells.pop_due(self.tx, self.books.now, |_, _, bell| bell.to_native())? {
            self.books.bells[1] += 1;
            self.books.payloads[1] = self.books.payloads[1].wrapping_add(payload);
        }
        self.goods.rounds.go_on(self.tx, self.books, self.random)
    }

    /// Gives an owner a thing, takes it away, or changes it. `fill` says that it is to have one, or none.
    fn thing(&mut self, owner: u64, fill: Option<bool>) -> Result<()> {
        let Goods { things, owners, .. } = self.goods;
        let id = owners.get(self.tx, &owner)?.map(|token| token.to_native());
        let worth = self.random.u64(..1_000_000);
        let label = self.text();
        let thing = Thing { owner, worth, label };
        let Some(id) = id.map(SlabId::from_token) else {
            if fill != Some(false) {
                let id = things.insert(self.tx, &thing)?;
                self.ids.give(id);
                owners.insert(self.tx, &owner, &id.token())?;
                self.books.things += 1;
                self.books.worth = self.books.worth.wrapping_add(worth);
            }
            return Ok(());
        };
        let before = things.get(self.tx, id)?.map_or(0, |thing| thing.worth.to_native());
        self.books.worth = self.books.worth.wrapping_sub(before);
        if fill == Some(false) || fill.is_none() && self.random.u8(..3) == 0 {
            things.remove(self.tx, id)?;
            owners.remove(self.tx, &owner)?;
            self.books.things = self.books.things.wrapping_sub(1);
            return Ok(());
        }
        self.books.worth = self.books.worth.wrapping_add(worth);
        if self.random.bool() {
            things.replace(self.tx, id, &thing)?;
        } else if let Some(mut there) = things.get_mut(self.tx, id)? {
            there.set(|thing| &thing.worth, worth.into())?;
        }
        Ok(())
    }

    /// Makes, replaces, changes or removes a record that has a checksum.
    fn seal(&mut self) -> Result<()> {
        let (sealed, key) = (self.goods.sealed, self.random.u32(..SEALED));
        let there = sealed.get(self.tx, &key)?.map(|s| s.amount.to_native());
        let amount = self.random.u64(..1_000_000);
        self.books.amounts = self.books.amounts.wrapping_sub(there.unwrap_or(0));
        match (there, self.random.u8(..8)) {
            (Some(_), 0..2) => {
                sealed.remove(self.tx, &key)?;
                self.books.sealed = self.books.sealed.wrapping_sub(1);
                return Ok(());
            }
            (Some(_), 2..6) => {
                let item = self.random.u16(..);
                if let Some(mut record) = sealed.get_mut(self.tx, &key)? {
                    record.set(|s| &s.amount, amount.into())?;
                    if !record.bag.is_empty() {
                        record.set(|s| &s.bag[0], item.into())?;
                    }
                }
            }
            _ => {
                let bag = vec![self.random.u16(..); self.random.usize(..40)];
                let replaced = sealed.insert(self.tx, &key, &Sealed { amount, bag })?;
                self.books.sealed += u64::from(!replaced);
            }
        }
        self.books.amounts = self.books.amounts.wrapping_add(amount);
        Ok(())
    }
}

/// A transaction of one word. Says whether it was committed; if so it is one step.
pub(super) fn beat(
    region: &mut Region,
    pass: &Pass<'_>,
    goods: Goods,
    handles: &mut [Option<Handle<u64>>; BEATS as usize],
    random: &mut fastrand::Rng,
) -> Result<bool> {
    let beat = random.u16(..BEATS);
    let handle = &mut handles[usize::from(beat)];
    let known = match *handle {
        Some(known) => Some(known),
        None => goods.beats.handle(&*region.read(pass)?, &beat)?,
    };
    *handle = known;
    let mut tx = region.begin(pass)?;
    {
        let record = match known {
            Some(handle) if random.bool() => goods.beats.get_mut_at(&mut tx, handle)?,
            _ => goods.beats.get_mut(&mut tx, &beat)?,
        };
        if let Some(mut record) = record {
            let next = record.to_native().wrapping_add(1);
            record.set(|n| n, next.into())?;
        }
    }
    match random.u8(..16) {
        0 => drop(tx),
        1 => std::mem::forget(tx),
        _ => {
            tx.commit()?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// A lap: every record that is not there yet gets to the next one, [`LAP`] in each transaction. Gives the laps that are over then.
pub(super) fn lap(region: &mut Region, pass: &Pass<'_>, goods: Goods) -> Result<u64> {
    let next = goods.laps(&region.read(pass)?)?.wrapping_add(1);
    goods.laps.pass(region, pass, LAP, |_, record| {
        if record.to_native() == next {
            return Ok(());
        }
        record.set(|n| n, next.into())
    })?;
    Ok(next)
}
