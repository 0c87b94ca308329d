//! The other kinds of tables, and the books that say what is in them.
//!
//! - **W5** The outbox is a queue without a gap, whose serials, length and sum are those of the books.
//! - **W6** Slab and owners name each other: every owner's id leads to a thing that names that owner, and there are no others.
//! - **W7** Bells set − rung − cancelled = bells there, and so do the sums of their payloads, each of which occurs once: none is
//!   lost and none rings twice. None is due at the time in the books.
//! - **W8** The sealed records carry checksums, which `shmstate::verify` compares; their number and sum are in the books.
//! - **W9** The laps are all one number or the next; a [`Map::pass`](shmstate::Map::pass) moves [`LAP`] of them at a time, in the order
//!   in which they lie. The beats have no book: they *are* steps, each a transaction of one word.
//!
//! Rounds, timers that ring again and again, have a rule and a file of their own. A further kind of table is a field of [`Goods`], its line in [`create`](Goods::create) and [`open`](Goods::open), a function among
//! the faults and one in `trade`.

use super::rounds::Rounds;
use rkyv::{Archive, Serialize};
use shmstate::{Cell, Gap, Map, Queue, Reader, Region, Result, Schema, Slab, SlabId, TableOptions, Timers, Tx};

/// Records that count transactions of one word.
pub(super) const BEATS: u16 = 8;
/// Records that a pass goes over, and how many in one transaction.
const LAPS: u16 = 12;
pub(super) const LAP: usize = 4;
/// Owners that a thing can have.
pub(super) const OWNERS: u64 = 900;
/// Keys of sealed records.
pub(super) const SEALED: u32 = 64;

/// An item of the outbox.
#[derive(Archive, Serialize, Schema, Clone, Debug)]
pub(super) struct Letter {
    /// The step that sent it.
    pub(super) step: u64,
    pub(super) amount: u64,
    pub(super) text: String,
}

/// A record of the slab.
#[derive(Archive, Serialize, Schema, Clone, Debug)]
pub(super) struct Thing {
    pub(super) owner: u64,
    pub(super) worth: u64,
    pub(super) label: String,
}

/// A record with a checksum.
#[derive(Archive, Serialize, Schema, Clone, Debug)]
pub(super) struct Sealed {
    pub(super) amount: u64,
    pub(super) bag: Vec<u16>,
}

/// What the other tables hold.
#[derive(Archive, Serialize, Schema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Books {
    /// Serial of the next letter and of the oldest one.
    pub(super) posted: u64,
    pub(super) taken: u64,
    /// Sum of the amounts of the letters in between.
    pub(super) mail: u64,
    /// Things, and the sum of their worth.
    pub(super) things: u64,
    pub(super) worth: u64,
    /// Bells set, rung and cancelled, and the sums of their payloads.
    pub(super) bells: [u64; 3],
    pub(super) payloads: [u64; 3],
    /// Rounds begun and ended; ringings of all of them, and those of rounds that ended.
    pub(super) rounds: [u64; 2],
    pub(super) ringings: [u64; 2],
    /// The time up to which bells and rounds have rung.
    pub(super) now: u64,
    /// Sealed records and the sum of their amounts.
    pub(super) sealed: u64,
    pub(super) amounts: u64,
    /// Laps that were over when the books were written.
    pub(super) laps: u64,
}

impl From<&ArchivedBooks> for Books {
    fn from(a: &ArchivedBooks) -> Self {
        Self {
            posted: a.posted.to_native(),
            taken: a.taken.to_native(),
            mail: a.mail.to_native(),
            things: a.things.to_native(),
            worth: a.worth.to_native(),
            bells: a.bells.map(|n| n.to_native()),
            payloads: a.payloads.map(|n| n.to_native()),
            rounds: a.rounds.map(|n| n.to_native()),
            ringings: a.ringings.map(|n| n.to_native()),
            now: a.now.to_native(),
            sealed: a.sealed.to_native(),
            amounts: a.amounts.to_native(),
            laps: a.laps.to_native(),
        }
    }
}

/// The payload of the bell that was set as number `n`: no two are the same, and sums of them hardly.
pub(super) fn payload(n: u64) -> u64 {
    super::world::member(n + 1)
}

/// Handles of the tables.
#[derive(Clone, Copy, Debug)]
pub(super) struct Goods {
    pub(super) books: Cell<Books>,
    pub(super) outbox: Queue<Letter>,
    pub(super) things: Slab<Thing>,
    pub(super) owners: Map<u64, u64>,
    pub(super) bells: Timers<u64>,
    pub(super) rounds: Rounds,
    pub(super) sealed: Map<u32, Sealed>,
    pub(super) beats: Map<u16, u64>,
    pub(super) laps: Map<u16, u64>,
}

impl Goods {
    pub(super) fn create(tx: &mut Tx<'_>) -> Result<Self> {
        let outbox = Queue::create(tx, "outbox")?;
        let first = outbox.next_serial(tx)?;
        let books = Books {
            posted: first,
            taken: first,
            ..Books::default()
        };
        let goods = Self {
            books: Cell::create(tx, "books", &books)?,
            outbox,
            things: Slab::create(tx, "things")?,
            owners: Map::create(tx, "owners")?,
            bells: Timers::create(tx, "bells", Gap::All)?,
            rounds: Rounds::create(tx)?,
            sealed: Map::create_with(tx, "sealed", TableOptions::default().checksums(true))?,
            beats: Map::create(tx, "beats")?,
            laps: Map::create(tx, "laps")?,
        };
        for beat in 0..BEATS {
            goods.beats.insert(tx, &beat, &0)?;
        }
        for lap in 0..LAPS {
            goods.laps.insert(tx, &lap, &0)?;
        }
        Ok(goods)
    }

    pub(super) fn open(region: &Region) -> Result<Self> {
        Ok(Self {
            books: Cell::open(region, "books")?,
            outbox: Queue::open(region, "outbox")?,
            things: Slab::open(region, "things")?,
            owners: Map::open(region, "owners")?,
            bells: Timers::open(region, "bells")?,
            rounds: Rounds::open(region)?,
            sealed: Map::open(region, "sealed")?,
            beats: Map::open(region, "beats")?,
            laps: Map::open(region, "laps")?,
        })
    }

    /// Transactions of one word that were committed.
    pub(super) fn beats(&self, reader: &Reader<'_>) -> Result<u64> {
        let mut sum = 0u64;
        for entry in self.beats.iter(reader)? {
            sum = sum.wrapping_add(entry?.1.to_native());
        }
        Ok(sum)
    }

    /// Laps that are over.
    pub(super) fn laps(&self, reader: &Reader<'_>) -> Result<u64> {
        let mut least = u64::MAX;
        for entry in self.laps.iter(reader)? {
            least = least.min(entry?.1.to_native());
        }
        Ok(least)
    }

    /// What of W5–W9 and W12 does not hold in a region at `step`.
    pub(super) fn faults(&self, reader: &Reader<'_>, step: u64, faults: &mut Vec<String>) -> Result<()> {
        let books = Books::from(self.books.get(reader)?);
        self.outbox_faults(reader, &books, step, faults)?;
        self.thing_faults(reader, &books, faults)?;
        self.bell_faults(reader, &books, faults)?;
        self.rounds.faults(reader, &books, faults)?;
        self.sealed_faults(reader, &books, faults)?;
        self.lap_faults(reader, &books, faults)
    }

    fn outbox_faults(&self, reader: &Reader<'_>, books: &Books, step: u64, faults: &mut Vec<String>) -> Result<()> {
        let (mut serial, mut mail, mut sent) = (books.taken, 0u64, 0);
        for item in self.outbox.iter(reader)? {
            let (found, letter) = item?;
            let at = letter.step.to_native();
            if found != serial || at < sent || at > step {
                faults.push(format!("outbox: letter {found} of step {at} where {serial} should be"));
            }
            (serial, sent) = (serial.wrapping_add(1), at);
            mail = mail.wrapping_add(letter.amount.to_native());
        }
        let found = (self.outbox.next_serial(reader)?, serial, mail);
        if found != (books.posted, books.posted, books.mail) {
            faults.push(format!("outbox: it is at {found:?}, the books say {books:?}"));
        }
        Ok(())
    }

    fn thing_faults(&self, reader: &Reader<'_>, books: &Books, faults: &mut Vec<String>) -> Result<()> {
        let (mut count, mut worth) = (0u64, 0u64);
        for item in self.things.iter(reader)? {
            let (id, thing) = item?;
            let owner = thing.owner.to_native();
            count += 1;
            worth = worth.wrapping_add(thing.worth.to_native());
            let named = self.owners.get(reader, &owner)?.map(|token| token.to_native());
            if named != Some(id.token()) {
                faults.push(format!("thing {id:?}: its owner {owner} has {named:x?}"));
            }
        }
        for entry in self.owners.iter(reader)? {
            let (owner, token) = entry?;
            let thing = self.things.get(reader, SlabId::from_token(token.to_native()))?;
            if thing.map(|thing| thing.owner.to_native()) != Some(owner) {
                faults.push(format!("owner {owner} names {token:x}, which is not its thing"));
            }
        }
        let found = [count, self.things.len(reader)?, self.owners.len(reader)?, worth];
        if found != [books.things, books.things, books.things, books.worth] {
            faults.push(format!("things: {found:?}, the books say {books:?}"));
        }
        Ok(())
    }

    fn bell_faults(&self, reader: &Reader<'_>, books: &Books, faults: &mut Vec<String>) -> Result<()> {
        let (mut count, mut sum) = (0u64, 0u64);
        for item in self.bells.iter(reader)? {
            let (id, deadline, bell) = item?;
            count += 1;
            sum = sum.wrapping_add(bell.to_native());
            if deadline <= books.now {
                faults.push(format!("bell {id:?} of {deadline} has not rung at {}", books.now));
            }
        }
        let left = |[set, rung, cancelled]: [u64; 3]| set.wrapping_sub(rung).wrapping_sub(cancelled);
        let wanted = (left(books.bells), left(books.bells), left(books.payloads));
        if (count, self.bells.len(reader)?, sum) != wanted {
            faults.push(format!("bells: {count} with {sum}, the books say {books:?}"));
        }
        Ok(())
    }

    fn sealed_faults(&self, reader: &Reader<'_>, books: &Books, faults: &mut Vec<String>) -> Result<()> {
        let (mut count, mut sum) = (0u64, 0u64);
        for entry in self.sealed.iter(reader)? {
            let (_, record) = entry?;
            count += 1;
            sum = sum.wrapping_add(record.amount.to_native());
        }
        if (count, sum) != (books.sealed, books.amounts) {
            faults.push(format!("sealed: {count} with {sum}, the books say {books:?}"));
        }
        Ok(())
    }

    fn lap_faults(&self, reader: &Reader<'_>, books: &Books, faults: &mut Vec<String>) -> Result<()> {
        let least = self.laps(reader)?;
        let (mut count, mut ahead) = (0, 0);
        for entry in self.laps.iter(reader)? {
            let (lap, n) = entry?;
            count += 1;
            match n.to_native().wrapping_sub(least) {
                0 => {}
                1 => ahead += 1,
                by => faults.push(format!("lap {lap} is {by} ahead")),
            }
        }
        if count != usize::from(LAPS) || ahead % LAP != 0 || least < books.laps {
            faults.push(format!(
                "laps: {count} at {least}, {ahead} ahead; the books say {}",
                books.laps
            ));
        }
        Ok(())
    }
}
