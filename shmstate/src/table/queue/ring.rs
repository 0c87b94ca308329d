//! The ring of a queue: words side by side in pages, named by a serial number that grows by one with each push.
//!
//! ```text
//! roots: directory · words it has room for, a power of two · head: serial of the oldest item · bytes of archives ·
//!        tail: serial of the next item · check of all but the bytes
//! directory: page n stands in word n mod room, a `reference`, home = the row's first root, number = n; else 0
//! page n: 512 words, the items 512 n .. 512 n + 511, each a `reference`, home = the row, number = the serial
//! ```
//!
//! - **Q1** The pages there are: `head / 512 ..= (tail - 1) / 512`. One is taken when the tail enters it and freed when the
//!   head leaves it, so consumed memory goes back at the commit of the transaction that consumed it.
//! - **Q2** Words from the tail on are garbage: what is pushed is written there without a log, and comes to be with the tail,
//!   which is logged. That is sound because the tail never moves below where it was when the transaction began: no word that is written
//!   so was an item in committed state.
//! - **Q3** Nothing is pushed or given before the check of the roots was found right: a head that was moved back would give
//!   records that were freed.
//! - **Q4** Full directories are doubled, those of which a quarter is used are halved: 8 bytes for each page copied.
//!
//! It does not know records.

use crate::crash::{self, Point};
use crate::error::{Error, Result};
use crate::heap;
use crate::heap::Held;
use crate::region::view::View;
use crate::table::catalog::ROOT;
use crate::table::pages::{self, PAGE};
use crate::table::reference;
use crate::tx::Tx;
use std::ops::Range;

const WHAT: &str = "queue";
/// Items of a page.
pub(crate) const PER_PAGE: u64 = PAGE / 8;
/// Least room of a directory, in words.
const LEAST_ROOM: u64 = 8;
/// Serial of the first item: so that 0 can mean none.
pub(crate) const FIRST_SERIAL: u64 = 1;

pub(crate) const DIRECTORY: u64 = ROOT;
const HEAD: u64 = ROOT + 16;
const ARCHIVED: u64 = ROOT + 24;

/// The ring of the queue whose catalog row is at `row`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ring {
    row: u64,
}

/// The roots, found right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Roots {
    directory: u64,
    room: u64,
    pub(crate) head: u64,
    pub(crate) archived: u64,
    pub(crate) tail: u64,
}

impl Roots {
    /// Items in the queue.
    #[inline]
    pub(crate) fn len(&self) -> u64 {
        self.tail - self.head
    }

    /// Whether there is an item with that serial.
    #[inline]
    pub(crate) fn has(&self, serial: u64) -> bool {
        (self.head..self.tail).contains(&serial)
    }

    /// Pages there are (Q1): the first, and the one after the last.
    pub(crate) fn pages(&self) -> (u64, u64) {
        let first = self.head / PER_PAGE;
        (first, (self.tail - 1) / PER_PAGE + 1)
    }

    /// Where the directory names a page.
    pub(crate) fn word_at(&self, page: u64) -> u64 {
        self.directory.wrapping_add((page & (self.room - 1)) * 8)
    }
}

impl Ring {
    pub(crate) const fn of(row: u64) -> Self {
        Self { row }
    }

    /// Writes the roots of an empty queue.
    pub(crate) fn start(self, tx: &mut Tx<'_>) -> Result<()> {
        let directory = pages::directory(tx, LEAST_ROOM)?;
        let roots = Roots {
            directory,
            room: LEAST_ROOM,
            head: FIRST_SERIAL,
            archived: 0,
            tail: FIRST_SERIAL,
        };
        tx.put_all(self.row + DIRECTORY, &[directory, LEAST_ROOM], WHAT)?;
        self.set(tx, &roots)?;
        const { assert!(FIRST_SERIAL > 0 && FIRST_SERIAL < PER_PAGE) };
        self.add_page(tx, &roots, 0).map(|_| ())
    }

    fn check(self, roots: &Roots) -> u64 {
        let Roots {
            directory,
            room,
            head,
            tail,
            ..
        } = *roots;
        reference::check_words([directory, room, head, tail], self.row)
    }

    /// Reads the roots (Q3).
    #[inline]
    pub(crate) fn roots(self, view: &View) -> Result<Roots> {
        self.found(view.words(self.row + DIRECTORY, WHAT)?, view.capacity())
    }

    /// The roots in words that were read, of a region that holds no more than `capacity` bytes (Q3).
    #[inline]
    pub(crate) fn found(self, words: [u64; 6], capacity: u64) -> Result<Roots> {
        let [directory, room, head, archived, tail, check] = words;
        let roots = Roots {
            directory,
            room,
            head,
            archived,
            tail,
        };
        let right = check == self.check(&roots)
            && room.is_power_of_two()
            && room <= capacity / 8
            && tail > 0
            && head <= tail
            && tail - head <= room * PER_PAGE;
        if !right {
            return Err(Error::damaged(WHAT, self.row + DIRECTORY, check));
        }
        Ok(roots)
    }

    /// Records and bytes of their archives, for whoever only looks: the owner may be changing them right now, or have died while it
    /// did, so they need not fit together.
    pub(crate) fn figures(self, view: &View) -> Result<(u64, u64)> {
        let [_, _, head, archived, tail, _] = view.words(self.row + DIRECTORY, WHAT)?;
        Ok((tail.saturating_sub(head), archived))
    }

    /// Writes head, bytes, tail and check: one entry of the log.
    fn set(self, tx: &mut Tx<'_>, roots: &Roots) -> Result<()> {
        let words = [roots.head, roots.archived, roots.tail, self.check(roots)];
        tx.put_all(self.row + HEAD, &words, WHAT)
    }

    fn page(self, view: &View, roots: &Roots, page: u64) -> Result<u64> {
        reference::follow(view, roots.word_at(page), self.row + DIRECTORY, page, WHAT)
    }

    /// The record of the item with that serial, which is in the queue.
    #[inline]
    pub(crate) fn item(self, view: &View, roots: &Roots, serial: u64) -> Result<u64> {
        let page = self.page(view, roots, serial / PER_PAGE)?;
        let at = page + serial % PER_PAGE * 8;
        reference::follow(view, at, self.row, serial, WHAT)
    }

    /// Adds a record of `archived` bytes behind all others and gives its serial.
    pub(crate) fn push(self, tx: &mut Tx<'_>, record: u64, archived: u64) -> Result<u64> {
        let mut roots = self.roots(tx)?;
        let serial = roots.tail;
        let page = if serial.is_multiple_of(PER_PAGE) {
            roots = self.make_room(tx, roots)?;
            self.add_page(tx, &roots, serial / PER_PAGE)?
        } else {
            self.page(tx, &roots, serial / PER_PAGE)?
        };
        let word = reference::seal(record, self.row, serial);
        // Behind the tail: not logged (Q2).
        tx.store(page + serial % PER_PAGE * 8, word, WHAT)?;
        crash::point(Point::QueueBehind);
        let after = Roots {
            archived: roots.archived.wrapping_add(archived),
            tail: serial + 1,
            ..roots
        };
        self.set(tx, &after)?;
        Ok(serial)
    }

    /// Lets the item with that serial, which is in the queue, name another record.
    pub(crate) fn set_item(self, tx: &mut Tx<'_>, serial: u64, record: u64) -> Result<()> {
        let roots = self.roots(tx)?;
        let page = self.page(tx, &roots, serial / PER_PAGE)?;
        let word = reference::seal(record, self.row, serial);
        tx.put(page + serial % PER_PAGE * 8, word, WHAT)
    }

    /// A record was replaced by one whose archive has another length.
    pub(crate) fn recount(self, tx: &mut Tx<'_>, before: u64, after: u64) -> Result<()> {
        let roots = self.roots(tx)?;
        let archived = roots.archived.wrapping_sub(before).wrapping_add(after);
        self.set(tx, &Roots { archived, ..roots })
    }

    /// The serials of one page of those there are; none of a page that there is no more.
    pub(crate) fn of_page(roots: &Roots, page: u64) -> Range<u64> {
        let first = (roots.head / PER_PAGE + page) * PER_PAGE;
        roots.head.max(first)..roots.tail.min(first + PER_PAGE)
    }

    /// Takes the oldest item away, whose record had `archived` bytes. There is one.
    pub(crate) fn pop(self, tx: &mut Tx<'_>, roots: &Roots, archived: u64) -> Result<()> {
        let after = Roots {
            head: roots.head + 1,
            archived: roots.archived.wrapping_sub(archived),
            ..*roots
        };
        self.set(tx, &after)?;
        if after.head.is_multiple_of(PER_PAGE) {
            self.drop_page(tx, &after, roots.head / PER_PAGE)?;
        }
        Ok(())
    }

    fn add_page(self, tx: &mut Tx<'_>, roots: &Roots, number: u64) -> Result<u64> {
        let page = heap::alloc(tx, PAGE)?.offset;
        let word = reference::seal(page, self.row + DIRECTORY, number);
        tx.put(roots.word_at(number), word, WHAT)?;
        crash::point(Point::QueuePage);
        Ok(page)
    }

    #[cold]
    fn drop_page(self, tx: &mut Tx<'_>, roots: &Roots, number: u64) -> Result<()> {
        let page = self.page(tx, roots, number)?;
        tx.put(roots.word_at(number), 0, WHAT)?;
        tx.free(page);
        let (first, end) = roots.pages();
        if roots.room > LEAST_ROOM && end.saturating_sub(first) <= roots.room / 4 {
            pages::shorter(tx, |tx| self.move_to(tx, roots, roots.room / 2))?;
        }
        Ok(())
    }

    /// Makes sure that the directory has a word for one page more.
    #[cold]
    fn make_room(self, tx: &mut Tx<'_>, roots: Roots) -> Result<Roots> {
        let (first, end) = roots.pages();
        if end.saturating_sub(first) < roots.room {
            return Ok(roots);
        }
        self.move_to(tx, &roots, roots.room * 2)
    }

    fn move_to(self, tx: &mut Tx<'_>, roots: &Roots, room: u64) -> Result<Roots> {
        let after = Roots {
            directory: pages::directory(tx, room)?,
            room,
            ..*roots
        };
        let (first, end) = roots.pages();
        for page in first..end {
            // Fresh memory: nobody refers to it yet.
            let word = tx.load(roots.word_at(page), WHAT)?;
            tx.store(after.word_at(page), word, WHAT)?;
        }
        tx.free(roots.directory);
        tx.put_all(self.row + DIRECTORY, &[after.directory, room], WHAT)?;
        self.set(tx, &after)?;
        Ok(after)
    }

    /// Visits all blocks: directory, pages, records; and checks that no other page is there.
    pub(crate) fn blocks(self, view: &View, mut each: impl FnMut(Held)) -> Result<()> {
        let roots = self.roots(view)?;
        pages::check_directory(view, roots.directory, roots.room, self.row + DIRECTORY)?;
        each(Held::Block {
            at: roots.directory,
            bytes: roots.room * 8,
        });
        let (first, end) = roots.pages();
        for page in first..end {
            let at = self.page(view, &roots, page)?;
            each(Held::Block { at, bytes: PAGE });
        }
        for word in 0..roots.room {
            // The page from the first on that would stand here.
            let page = first + (word.wrapping_sub(first) & (roots.room - 1));
            let at = roots.word_at(page);
            let found = view.load(at, WHAT)?;
            if page >= end && found != 0 {
                return Err(Error::damaged(WHAT, at, found));
            }
        }
        for serial in roots.head..roots.tail {
            each(Held::Record(self.item(view, &roots, serial)?));
        }
        Ok(())
    }
}

const _: () = assert!(HEAD == DIRECTORY + 16 && ARCHIVED == HEAD + 8);
