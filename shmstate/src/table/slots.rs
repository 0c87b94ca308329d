//! Slots: dense places for records, in pages, each told from whatever was or will be in its place by a generation.
//!
//! ```text
//! roots: three of `pages` · first page with room + 1 · slots in use · bytes of archives · serial
//! page:  0 u32 slots in use · u32 first free slot + 1     8 u32 next · u32 previous page with room (number + 1)
//!       16 255 slots of 16 bytes
//! slot:  0 u64 reference to the record, 0 = free, home = the row, number = the token: place and generation
//!        8 u32 generation, 0 = free · u32 link: next free slot of the page + 1, or a word of the table's while in use
//! ```
//!
//! A slot's *place* is its number through all pages. With its generation it is the id that tables give out.
//!
//! - **L1** No two uses of a slot share a generation, also if one of them was rolled back. It is the low half of a serial
//!   number that the table counts up for each use; the serial is *not* logged, so a rollback does not lower it, and recovery
//!   does not either. (A logged serial would be given again after a rollback, and an id that left the process meanwhile
//!   would then name another record.) The serial's word is in no range that is ever logged after the table was made. A
//!   generation comes again only after exactly a multiple of 2³² further uses of the table's slots, and would have to fall
//!   into the same slot then.
//! - **L2** Slots are freed into their page's list and pages with a free slot are linked, so that a page that is empty can go.
//! - **L3** With each removal trailing empty pages go, at most [`DROPPED`] at once, so that no removal pauses; further
//!   removals take further ones. One empty page stays, so that a record that comes and goes does not cost a page each time.
//! - **L4** A slot's generation is bound to it by the check of its reference, so an altered one is damage, and no id that finds nothing.
//!   The source of generations is sealed (W1 of `seal`). A page with no free slot is in no list and has no links.
//! - **L5** What is read is not believed: links are bounded, references are checked (F1), a slot that a list calls free
//!   must be.
//!
//! It does not know what a record is, nor what a link means while the slot is in use.

use crate::crash::{self, Point};
use crate::error::{Error, Result};
use crate::heap::Held;
use crate::region::header::at;
use crate::region::seal::{LOW, seal, unseal};
use crate::region::view::View;
use crate::table::catalog::ROOT;
use crate::table::pages::{self, PAGE, Pages};
use crate::table::reference;
use crate::tx::Tx;

const WHAT: &str = "slots";
/// Bytes of a slot, and of a page's head.
const SLOT: u64 = 16;
/// Slots of a page.
pub(crate) const PER_PAGE: u64 = 255;
/// Most pages that one removal takes away.
const DROPPED: usize = 16;

pub(crate) const PAGES: u64 = ROOT;
const ROOM: u64 = ROOT + pages::ROOTS * 8;
pub(crate) const LIVE: u64 = ROOM + 8;
const ARCHIVED: u64 = ROOM + 16;
const SERIAL: u64 = ROOM + 24;
/// First root that is left to the table.
pub(crate) const NEXT_ROOT: u64 = ROOM + 32;

const _: () = assert!((PER_PAGE + 1) * SLOT == PAGE);

/// The slots of the table whose catalog row is at `row`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slots {
    row: u64,
}

/// A slot that is free and first in its page's list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vacant {
    pub(crate) place: u64,
    page: u64,
    next: u64,
    in_use: u64,
}

/// A slot in use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) place: u64,
    pub(crate) generation: u32,
    pub(crate) link: u32,
    /// Offset of the record's header.
    pub(crate) record: u64,
    at: u64,
}

/// Where the table's word of a slot is, and what is in the word around it. Good until the slot changes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Link {
    at: u64,
    marks: u64,
}

impl Slot {
    /// Place in the low half, generation in the high half. Never 0.
    #[inline]
    pub(crate) fn token(&self) -> u64 {
        token(self.place, self.generation)
    }
}

/// The number that names a use of a slot.
#[inline]
pub(crate) const fn token(place: u64, generation: u32) -> u64 {
    place | (generation as u64) << 32
}

#[inline]
const fn low(word: u64) -> u64 {
    word & 0xffff_ffff
}

impl Slots {
    pub(crate) const fn of(row: u64) -> Self {
        Self { row }
    }

    fn pages(self) -> Pages {
        Pages::at(self.row + PAGES)
    }

    /// Writes the roots of a table without slots.
    pub(crate) fn start(self, tx: &mut Tx<'_>) -> Result<()> {
        self.pages().start(tx)?;
        // Not from 0, but from another number that no rollback lowers: a table that is made again in this row, after the first
        // making was rolled back, starts behind the insertions of the first.
        let serial = tx.header(at::RECORDS_MADE) & LOW;
        tx.put_all(self.row + ROOM, &[0, 0, 0, seal(serial)], WHAT)
    }

    /// Slots in use, and bytes of the archives of their records. The first is never more than the pages hold.
    #[inline]
    pub(crate) fn counts(self, view: &View) -> Result<(u64, u64)> {
        let [live, archived] = view.words(self.row + LIVE, WHAT)?;
        if live > self.pages().count(view)? * PER_PAGE {
            return Err(Error::damaged(WHAT, self.row + LIVE, live));
        }
        Ok((live, archived))
    }

    /// Adds to the bytes of archives: a record was replaced.
    pub(crate) fn count_archived(self, tx: &mut Tx<'_>, before: u64, after: u64) -> Result<()> {
        if before == after {
            return Ok(());
        }
        let archived = tx.load(self.row + ARCHIVED, WHAT)?;
        let archived = archived.wrapping_sub(before).wrapping_add(after);
        tx.put(self.row + ARCHIVED, archived, WHAT)
    }

    fn serial(self, view: &View) -> Result<u64> {
        let word = view.load(self.row + SERIAL, WHAT)?;
        unseal(word).ok_or_else(|| Error::damaged("source of generations", self.row + SERIAL, word))
    }

    /// The next serial number (L1). Its low half is never 0.
    #[inline]
    pub(crate) fn next_serial(self, tx: &Tx<'_>) -> Result<u64> {
        let mut serial = (self.serial(tx)? + 1) & LOW;
        if low(serial) == 0 {
            serial += 1;
        }
        // Not logged (L1).
        tx.store(self.row + SERIAL, seal(serial), WHAT)?;
        Ok(serial)
    }

    /// The slot that the token names, if that is still in use.
    #[inline]
    pub(crate) fn find(self, view: &View, token: u64) -> Result<Option<Slot>> {
        let place = low(token);
        let Some(page) = self.pages().find(view, place / PER_PAGE)? else {
            return Ok(None);
        };
        let at = slot_at(page, place);
        let [word, marks] = view.words(at, WHAT)?;
        if low(marks) != token >> 32 {
            return Self::other(self.row, place, [word, marks], at);
        }
        let record = reference::open(word, self.row, token, WHAT, at)?;
        Ok(record.map(|record| Slot {
            place,
            generation: marks as u32,
            link: (marks >> 32) as u32,
            record,
            at,
        }))
    }

    /// A slot that another use has, or none: that must be so, and not a damaged generation (L4).
    #[cold]
    fn other(row: u64, place: u64, [word, marks]: [u64; 2], at: u64) -> Result<Option<Slot>> {
        reference::open(word, row, token(place, marks as u32), WHAT, at)?;
        if word == 0 && low(marks) != 0 {
            return Err(Error::damaged(WHAT, at + 8, marks));
        }
        Ok(None)
    }

    /// The slot at `place`, which other metadata says is in use.
    #[inline]
    pub(crate) fn used(self, view: &View, place: u64) -> Result<Slot> {
        let page = self.pages().page(view, place / PER_PAGE)?;
        let at = slot_at(page, place);
        let [word, marks] = view.words(at, WHAT)?;
        let record = reference::open(word, self.row, token(place, marks as u32), WHAT, at)?;
        let record = record.ok_or_else(|| Error::damaged(WHAT, at, word))?;
        Ok(Slot {
            place,
            generation: marks as u32,
            link: (marks >> 32) as u32,
            record,
            at,
        })
    }

    /// A free slot, in a page that is added if none has room. Nothing is taken yet. `most` is how many slots the table may have.
    pub(crate) fn vacant(self, tx: &mut Tx<'_>, most: u64) -> Result<Vacant> {
        let number = match tx.load(self.row + ROOM, WHAT)? {
            0 => self.add_page(tx, most)?,
            number => number - 1,
        };
        let page = self.pages().page(tx, number)?;
        let head = tx.load(page, WHAT)?;
        let free = head >> 32;
        if free == 0 || free > PER_PAGE || low(head) >= PER_PAGE {
            return Err(Error::damaged(WHAT, page, head));
        }
        let place = number * PER_PAGE + free - 1;
        let at = slot_at(page, place);
        let [word, marks] = tx.words(at, WHAT)?;
        let next = marks >> 32;
        if word != 0 || low(marks) != 0 || next > PER_PAGE {
            return Err(Error::damaged(WHAT, at, marks));
        }
        Ok(Vacant {
            place,
            page,
            next,
            in_use: low(head),
        })
    }

    /// Takes a slot that [`vacant`](Self::vacant) gave, for a record of `archived` bytes.
    pub(crate) fn fill(
        self,
        tx: &mut Tx<'_>,
        slot: Vacant,
        generation: u32,
        link: u32,
        (record, archived): (u64, u64),
    ) -> Result<()> {
        let words = [
            reference::seal(record, self.row, token(slot.place, generation)),
            u64::from(generation) | u64::from(link) << 32,
        ];
        tx.put_all(slot_at(slot.page, slot.place), &words, WHAT)?;
        crash::point(Point::SlotFilled);
        tx.put(slot.page, (slot.in_use + 1) | slot.next << 32, WHAT)?;
        if slot.next == 0 {
            self.pull(tx, slot.place / PER_PAGE, slot.page)?;
        }
        let [live, bytes] = tx.words(self.row + LIVE, WHAT)?;
        let now = [live.wrapping_add(1), bytes.wrapping_add(archived)];
        tx.put_all(self.row + LIVE, &now, WHAT)
    }

    /// Frees a slot whose record had `archived` bytes (L2, L3). The record is the caller's to free.
    pub(crate) fn release(self, tx: &mut Tx<'_>, slot: &Slot, archived: u64) -> Result<()> {
        let number = slot.place / PER_PAGE;
        let page = slot.at - (slot.place % PER_PAGE + 1) * SLOT;
        let head = tx.load(page, WHAT)?;
        let (in_use, free) = (low(head), head >> 32);
        if in_use == 0 || in_use > PER_PAGE {
            return Err(Error::damaged(WHAT, page, head));
        }
        tx.put_all(slot.at, &[0, free << 32], WHAT)?;
        tx.put(page, (in_use - 1) | (slot.place % PER_PAGE + 1) << 32, WHAT)?;
        if free == 0 {
            self.push(tx, number, page)?;
        }
        let [live, bytes] = tx.words(self.row + LIVE, WHAT)?;
        let now = [live.wrapping_sub(1), bytes.wrapping_sub(archived)];
        tx.put_all(self.row + LIVE, &now, WHAT)?;
        self.drop_pages(tx)
    }

    /// Frees all slots and pages. The records are the caller's to free.
    pub(crate) fn clear(self, tx: &mut Tx<'_>) -> Result<()> {
        self.pages().clear(tx)?;
        tx.put_all(self.row + ROOM, &[0, 0, 0], WHAT)
    }

    /// Lets a slot in use name another record.
    pub(crate) fn set_record(self, tx: &mut Tx<'_>, slot: &Slot, record: u64) -> Result<()> {
        tx.put(slot.at, reference::seal(record, self.row, slot.token()), WHAT)
    }

    /// The table's word of the slot at `place`, which is in use, to be changed.
    #[inline]
    pub(crate) fn link(self, view: &View, place: u64) -> Result<Link> {
        let page = self.pages().page(view, place / PER_PAGE)?;
        let at = slot_at(page, place) + 8;
        Ok(Link {
            at,
            marks: view.load(at, WHAT)?,
        })
    }

    /// Changes the table's word of a slot.
    #[inline]
    pub(crate) fn change_link(self, tx: &mut Tx<'_>, link: Link, to: u32) -> Result<()> {
        tx.put(link.at, low(link.marks) | u64::from(to) << 32, WHAT)
    }

    /// Changes the table's word of the slot at `place`, which is in use.
    #[inline]
    pub(crate) fn set_link(self, tx: &mut Tx<'_>, place: u64, to: u32) -> Result<()> {
        let link = self.link(tx, place)?;
        self.change_link(tx, link, to)
    }

    /// The next slot in use from `cursor` on, which is a place; `None` at the end.
    #[inline]
    pub(crate) fn next(self, view: &View, cursor: &mut u64) -> Result<Option<Slot>> {
        loop {
            let Some(page) = self.pages().find(view, *cursor / PER_PAGE)? else {
                return Ok(None);
            };
            let end = (*cursor / PER_PAGE + 1) * PER_PAGE;
            if low(view.load(page, WHAT)?) == 0 {
                *cursor = end;
            }
            while *cursor < end {
                let place = *cursor;
                let at = slot_at(page, place);
                let [word, marks] = view.words(at, WHAT)?;
                *cursor += 1;
                if let Some(record) = reference::open(word, self.row, token(place, marks as u32), WHAT, at)? {
                    return Ok(Some(Slot {
                        place,
                        generation: marks as u32,
                        link: (marks >> 32) as u32,
                        record,
                        at,
                    }));
                }
            }
        }
    }

    /// How many pages there are.
    pub(crate) fn page_count(self, view: &View) -> Result<u64> {
        self.pages().count(view)
    }

    /// The slots in use of one page; none of a page that there is no more.
    pub(crate) fn of_page(self, view: &View, number: u64) -> Result<Vec<Slot>> {
        let mut cursor = number * PER_PAGE;
        let mut found = Vec::new();
        while let Some(slot) = self.next(view, &mut cursor)?
            && slot.place / PER_PAGE == number
        {
            found.push(slot);
        }
        Ok(found)
    }

    #[cold]
    fn add_page(self, tx: &mut Tx<'_>, most: u64) -> Result<u64> {
        if (self.pages().count(tx)? + 1) * PER_PAGE > most {
            return Err(Error::TableFull { most });
        }
        let (number, page) = self.pages().push(tx)?;
        crash::point(Point::SlotPage);
        // Fresh memory: nobody refers to it yet. A list through all slots, in order.
        for slot in 0..PER_PAGE - 1 {
            tx.store(slot_at(page, slot) + 8, (slot + 2) << 32, WHAT)?;
        }
        tx.store(page, 1 << 32, WHAT)?;
        self.push(tx, number, page)?;
        Ok(number)
    }

    fn drop_pages(self, tx: &mut Tx<'_>) -> Result<()> {
        for _ in 0..DROPPED {
            let pages = self.pages().count(tx)?;
            if pages < 2 {
                break;
            }
            let last = self.pages().page(tx, pages - 1)?;
            if low(tx.load(last, WHAT)?) != 0 {
                break;
            }
            let before = self.pages().page(tx, pages - 2)?;
            if low(tx.load(before, WHAT)?) != 0 {
                break;
            }
            self.pull(tx, pages - 1, last)?;
            self.pages().pop(tx)?;
        }
        Ok(())
    }

    /// Puts a page at the front of the list of those with room.
    fn push(self, tx: &mut Tx<'_>, number: u64, page: u64) -> Result<()> {
        let first = tx.load(self.row + ROOM, WHAT)?;
        tx.put(page + 8, low(first), WHAT)?;
        if first != 0 {
            self.set_links(tx, first - 1, |links| low(links) | (number + 1) << 32)?;
        }
        tx.put(self.row + ROOM, number + 1, WHAT)
    }

    /// Takes a page out of that list.
    fn pull(self, tx: &mut Tx<'_>, number: u64, page: u64) -> Result<()> {
        let links = tx.load(page + 8, WHAT)?;
        let (next, previous) = (low(links), links >> 32);
        tx.put(page + 8, 0, WHAT)?;
        if next != 0 {
            self.set_links(tx, next - 1, |links| low(links) | previous << 32)?;
        }
        if previous != 0 {
            self.set_links(tx, previous - 1, |links| links >> 32 << 32 | next)
        } else if tx.load(self.row + ROOM, WHAT)? == number + 1 {
            tx.put(self.row + ROOM, next, WHAT)
        } else {
            Err(Error::damaged(WHAT, page + 8, links))
        }
    }

    fn set_links(self, tx: &mut Tx<'_>, number: u64, change: impl FnOnce(u64) -> u64) -> Result<()> {
        let page = self.pages().page(tx, number)?;
        let links = tx.load(page + 8, WHAT)?;
        tx.put(page + 8, change(links), WHAT)
    }

    /// Visits all blocks: directory, pages, records; and checks that lists and numbers agree. `linked` says that the link of a slot in
    /// use is the table's word, which the table checks; else there is none.
    pub(crate) fn blocks(self, view: &View, linked: bool, mut each: impl FnMut(Held)) -> Result<()> {
        self.serial(view)?;
        self.pages().blocks(view, &mut each)?;
        let (live, _) = self.counts(view)?;
        let (mut found, mut with_room) = (0, 0);
        let pages = self.pages().count(view)?;
        for number in 0..pages {
            let page = self.pages().page(view, number)?;
            let head = view.load(page, WHAT)?;
            let in_use = self.check_page(view, (number, page), linked, &mut each)?;
            with_room += u64::from(in_use < PER_PAGE);
            found += in_use;
            if in_use != low(head) {
                return Err(Error::damaged(WHAT, page, head));
            }
            let links = view.load(page + 8, WHAT)?;
            if in_use == PER_PAGE && links != 0 {
                return Err(Error::damaged(WHAT, page + 8, links));
            }
        }
        if found != live {
            return Err(Error::damaged("number of records", self.row + LIVE, live));
        }
        let (mut next, mut previous, mut listed) = (view.load(self.row + ROOM, WHAT)?, 0, 0);
        while next != 0 {
            let page = self.pages().page(view, next - 1)?;
            let links = view.load(page + 8, WHAT)?;
            listed += 1;
            if links >> 32 != previous || listed > with_room || view.load(page, WHAT)? >> 32 == 0 {
                return Err(Error::damaged(WHAT, page + 8, links));
            }
            previous = next;
            next = low(links);
        }
        if listed != with_room {
            return Err(Error::damaged(WHAT, self.row + ROOM, listed));
        }
        Ok(())
    }

    /// Slots of a page that are in use; all others must be in its list.
    fn check_page(
        self,
        view: &View,
        (number, page): (u64, u64),
        linked: bool,
        each: &mut impl FnMut(Held),
    ) -> Result<u64> {
        let mut in_use = 0;
        for slot in 0..PER_PAGE {
            let place = number * PER_PAGE + slot;
            let at = slot_at(page, place);
            let [word, marks] = view.words(at, WHAT)?;
            let record = reference::open(word, self.row, token(place, marks as u32), WHAT, at)?;
            let stray = record.is_some() && !linked && marks >> 32 != 0;
            if record.is_some() != (low(marks) != 0) || stray {
                return Err(Error::damaged(WHAT, at + 8, marks));
            }
            if let Some(record) = record {
                each(Held::Record(record));
                in_use += 1;
            }
        }
        let (mut next, mut free) = (view.load(page, WHAT)? >> 32, 0);
        while next != 0 {
            let at = page + next * SLOT;
            free += 1;
            if next > PER_PAGE || free > PER_PAGE - in_use || view.load(at, WHAT)? != 0 {
                return Err(Error::damaged(WHAT, page, next));
            }
            next = view.load(at + 8, WHAT)? >> 32;
        }
        if free + in_use != PER_PAGE {
            return Err(Error::damaged(WHAT, page, free));
        }
        Ok(in_use)
    }
}

/// Where the slot at `place` lies in its page.
#[inline]
pub(crate) fn slot_at(page: u64, place: u64) -> u64 {
    page + (place % PER_PAGE + 1) * SLOT
}
