//! The heap of a table of timers: an implicit 8-ary heap in pages, least deadline on top.
//!
//! ```text
//! entry, 16 bytes: u64 deadline, with its sign bit turned over so that it sorts as a number without sign ·
//!                  bits 0..26 place of the timer's slot, bits 26..34 check, bits 34..64 order: the low 30 bits of the table's serial
//! entry i stands at number i + 7 of the array of pages, 256 to a page; the children of i are 8 i + 1 ..= 8 i + 8
//! ```
//!
//! - **M1** Entries are compared as pairs of words, so equal deadlines come in the order of their serials. (Where the 30 bits
//!   start again from 0, once in 10⁹ insertions, a timer from before and one from after with the same deadline come in
//!   the other order.) It is a total order at any time: the heap is never in doubt.
//! - **M2** The slot of each timer knows the position of its entry: the link of the slot. So cancelling needs no search.
//! - **M3** Because of the 7 entries that are left out, eight siblings lie side by side within one page, on two cache lines.
//!   Eight children rather than two or four: a move changes an entry *and* a slot somewhere else, both logged, so what counts
//!   is the number of levels (7 for 10⁶ timers), not that of comparisons. Measured: with four children a pop and an insertion
//!   take 1.4 times as long, with sixteen no less.
//! - **M4** Every entry that changes is logged, also behind the last one: within a transaction an entry may go and its place be
//!   used again.
//!
//! - **M5** The bytes of an entry, on one another, are [`SUM`]: so one altered byte of it is always noticed, also where the heap is
//!   still one, and no timer fires at a time that was not asked for. Who reads an entry to go by it looks; who only compares many, on
//!   the way down, does not.
//!
//! It does not know clocks, periods or records.

use crate::error::{Error, Result};
use crate::heap::Held;
use crate::region::view::View;
use crate::table::pages::{self, PAGE, Pages};
use crate::table::slots::{self, Link, Slots};
use crate::tx::Tx;

const WHAT: &str = "heap of timers";
/// Bytes of an entry.
pub(crate) const ENTRY: u64 = 16;
/// Entries of a page.
pub(crate) const PER_PAGE: u64 = PAGE / ENTRY;
/// Children of an entry.
const CHILDREN: u64 = 8;
/// Places before the first entry (M3).
pub(crate) const LEFT_OUT: u64 = CHILDREN - 1;
/// Bits of an entry's second word that name the place.
const PLACE_BITS: u32 = 26;
/// Most timers of one table.
pub const MAX_TIMERS: u64 = 1 << PLACE_BITS;

/// Bits of the check between place and order.
const CHECK_BITS: u32 = 8;
/// What all bytes of an entry are on one another (M5).
const SUM: u8 = 0xa5;

/// Most levels below an entry.
const LEVELS: usize = 9;

pub(crate) const PAGES: u64 = slots::NEXT_ROOT;
/// First root that is left to the table.
pub(crate) const NEXT_ROOT: u64 = PAGES + pages::ROOTS * 8;

const _: () = assert!(PER_PAGE.is_multiple_of(CHILDREN) && (LEFT_OUT + 1).is_multiple_of(CHILDREN));
const _: () = assert!(CHILDREN.pow(LEVELS as u32) >= MAX_TIMERS);

/// What the heap holds of a timer. Compares as the timers come (M1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    deadline: u64,
    tail: u64,
}

impl Entry {
    pub(crate) fn new(deadline: i64, serial: u64, place: u64) -> Self {
        let bare = Self {
            deadline: deadline as u64 ^ 1 << 63,
            tail: serial << (PLACE_BITS + CHECK_BITS) | place,
        };
        // A bit of the check is a bit of the sum, shifted by where in a byte the check begins.
        let check = (bare.sum() ^ SUM).rotate_right(PLACE_BITS % 8);
        Self {
            tail: bare.tail | u64::from(check) << PLACE_BITS,
            ..bare
        }
    }

    /// All bytes of it on one another.
    #[inline]
    fn sum(self) -> u8 {
        let word = self.deadline ^ self.tail;
        let half = word ^ word >> 32;
        let quarter = half ^ half >> 16;
        (quarter ^ quarter >> 8) as u8
    }

    /// Whether none of its bytes was altered (M5).
    #[inline]
    pub(crate) fn is_whole(self) -> bool {
        self.sum() == SUM
    }

    /// What the two words of an entry say.
    pub(crate) const fn of([deadline, tail]: [u64; 2]) -> Self {
        Self { deadline, tail }
    }

    pub(crate) fn deadline(self) -> i64 {
        (self.deadline ^ 1 << 63) as i64
    }

    pub(crate) fn place(self) -> u64 {
        self.tail & (MAX_TIMERS - 1)
    }
}

/// An entry that moves up to `position`, which is at `at`.
#[derive(Clone, Copy, Debug, Default)]
struct Move {
    at: u64,
    position: u64,
    entry: Entry,
    link: Link,
}

/// The heap of the table whose catalog row is at `row`. It holds as many entries as there are slots in use: `count`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heap {
    row: u64,
}

impl Heap {
    pub(crate) const fn of(row: u64) -> Self {
        Self { row }
    }

    fn pages(self) -> Pages {
        Pages::at(self.row + PAGES)
    }

    fn slots(self) -> Slots {
        Slots::of(self.row)
    }

    /// Writes the roots of an empty heap.
    pub(crate) fn start(self, tx: &mut Tx<'_>) -> Result<()> {
        self.pages().start(tx)
    }

    #[inline]
    fn at(self, view: &View, position: u64) -> Result<u64> {
        let number = position.wrapping_add(LEFT_OUT);
        let page = self.pages().page(view, number / PER_PAGE)?;
        Ok(page + number % PER_PAGE * ENTRY)
    }

    /// The entry at `position`, which is less than the count.
    #[inline]
    pub(crate) fn entry(self, view: &View, position: u64) -> Result<Entry> {
        let at = self.at(view, position)?;
        let entry = Entry::of(view.words(at, WHAT)?);
        if !entry.is_whole() {
            return Err(Error::damaged(WHAT, at, entry.deadline));
        }
        Ok(entry)
    }

    /// The entry at the position that the slot at `place` names: it must name that slot too (M2).
    pub(crate) fn entry_of(self, view: &View, position: u64, place: u64, count: u64) -> Result<Entry> {
        if position < count {
            let entry = self.entry(view, position)?;
            if entry.place() == place {
                return Ok(entry);
            }
        }
        Err(Error::damaged(WHAT, self.row + PAGES, position))
    }

    /// Adds an entry; gives its position, which is the caller's to note in its slot.
    pub(crate) fn insert(self, tx: &mut Tx<'_>, count: u64, entry: Entry) -> Result<u64> {
        if (count + LEFT_OUT) / PER_PAGE >= self.pages().count(tx)? {
            self.pages().push(tx)?;
        }
        self.rise(tx, count, entry)
    }

    /// Takes the entry at `position` out.
    pub(crate) fn remove(self, tx: &mut Tx<'_>, position: u64, count: u64) -> Result<()> {
        let left = count - 1;
        if position != left {
            let last = self.entry(tx, left)?;
            self.change(tx, position, left, last)?;
        }
        // One page more than needed stays, so that a timer that comes and goes does not cost a page each time.
        if self.pages().count(tx)? > (left + LEFT_OUT).div_ceil(PER_PAGE) + 1 {
            self.pages().pop(tx)?;
        }
        Ok(())
    }

    /// Puts an entry of another deadline at `position` and moves it where it belongs; notes that in its slot.
    pub(crate) fn change(self, tx: &mut Tx<'_>, position: u64, count: u64, entry: Entry) -> Result<()> {
        let up = position > 0 && entry < self.entry(tx, (position - 1) / CHILDREN)?;
        let position = if up {
            self.rise(tx, position, entry)?
        } else {
            self.sink(tx, position, count, entry)?
        };
        self.slots().set_link(tx, entry.place(), position as u32)
    }

    /// Takes all entries out.
    pub(crate) fn clear(self, tx: &mut Tx<'_>) -> Result<()> {
        self.pages().clear(tx)
    }

    fn write(self, tx: &mut Tx<'_>, position: u64, entry: Entry) -> Result<()> {
        let at = self.at(tx, position)?;
        tx.put_all(at, &[entry.deadline, entry.tail], WHAT)
    }

    /// Moves an entry to another position and notes that in its slot.
    fn put(self, tx: &mut Tx<'_>, position: u64, entry: Entry) -> Result<()> {
        self.write(tx, position, entry)?;
        self.slots().set_link(tx, entry.place(), position as u32)
    }

    fn rise(self, tx: &mut Tx<'_>, mut position: u64, entry: Entry) -> Result<u64> {
        while position > 0 {
            let parent = (position - 1) / CHILDREN;
            let above = self.entry(tx, parent)?;
            if above <= entry {
                break;
            }
            self.put(tx, position, above)?;
            position = parent;
        }
        self.write(tx, position, entry)?;
        Ok(position)
    }

    /// Reads the whole way down before it writes the first word: the slots of the entries on it lie anywhere, and reads of
    /// them that do not wait for each other overlap.
    fn sink(self, tx: &mut Tx<'_>, mut position: u64, count: u64, entry: Entry) -> Result<u64> {
        let slots = self.slots();
        let mut way = [Move::default(); LEVELS];
        let mut levels = 0;
        let mut at = self.at(tx, position)?;
        loop {
            let first = position * CHILDREN + 1;
            if first >= count {
                break;
            }
            // All eight lie in the page, whether in use or not (M3).
            let siblings = self.at(tx, first)?;
            let words: [u64; 2 * CHILDREN as usize] = tx.words(siblings, WHAT)?;
            let child = |i: u64| Entry {
                deadline: words[i as usize * 2],
                tail: words[i as usize * 2 + 1],
            };
            let mut least = (0, child(0));
            for i in 1..CHILDREN.min(count - first) {
                if child(i) < least.1 {
                    least = (i, child(i));
                }
            }
            if entry <= least.1 {
                break;
            }
            let up = way
                .get_mut(levels)
                .ok_or_else(|| Error::damaged(WHAT, self.row + PAGES, count))?;
            *up = Move {
                at,
                position,
                entry: least.1,
                link: slots.link(tx, least.1.place())?,
            };
            levels += 1;
            position = first + least.0;
            at = siblings + least.0 * ENTRY;
        }
        for up in &way[..levels] {
            tx.put_all(up.at, &[up.entry.deadline, up.entry.tail], WHAT)?;
            slots.change_link(tx, up.link, up.position as u32)?;
        }
        tx.put_all(at, &[entry.deadline, entry.tail], WHAT)?;
        Ok(position)
    }

    /// Visits all blocks: directory, pages; and checks the order, and that slots and entries name each other.
    pub(crate) fn blocks(self, view: &View, each: impl FnMut(Held)) -> Result<()> {
        self.pages().blocks(view, each)?;
        let (count, _) = self.slots().counts(view)?;
        for position in 0..count {
            let entry = self.entry(view, position)?;
            let slot = self.slots().used(view, entry.place())?;
            let parent = position.saturating_sub(1) / CHILDREN;
            if u64::from(slot.link) != position || self.entry(view, parent)? > entry {
                return Err(Error::damaged(WHAT, self.at(view, position)?, entry.deadline));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_altered_byte_of_an_entry_shows_and_order_is_kept() {
        let mut random = fastrand::Rng::with_seed(6);
        for _ in 0..2_000 {
            let (deadline, serial) = (random.i64(..), random.u64(..1 << 30));
            let place = random.u64(..MAX_TIMERS);
            let entry = Entry::new(deadline, serial, place);
            assert_eq!((entry.deadline(), entry.place(), entry.sum()), (deadline, place, SUM));
            assert!(serial == 0 || Entry::new(deadline, serial - 1, random.u64(..MAX_TIMERS)) < entry);
            assert!(deadline == i64::MIN || Entry::new(deadline - 1, random.u64(..1 << 30), place) < entry);
            for byte in 0..8 {
                for change in 1..=255 {
                    let change = change << (byte * 8);
                    let [mut one, mut other] = [entry; 2];
                    one.deadline ^= change;
                    other.tail ^= change;
                    assert!(one.sum() != SUM && other.sum() != SUM);
                }
            }
        }
    }
}
