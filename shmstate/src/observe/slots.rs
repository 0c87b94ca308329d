//! The walk of `table::slots` and `table::pages` over words that were copied: the same places, nothing trusted.

use super::source::Source;
use crate::error::{Error, Result};
use crate::table::pages::PAGE;
use crate::table::reference;
use crate::table::slots::{LIVE, PAGES, PER_PAGE, slot_at, token};

const WHAT: &str = "slots";

/// A slot in use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    /// Place and generation.
    pub(crate) token: u64,
    /// The table's own word.
    pub(crate) link: u32,
    /// Offset of the record's header.
    pub(crate) record: u64,
}

impl Slot {
    pub(crate) const fn place(&self) -> u64 {
        self.token & 0xffff_ffff
    }
}

/// How many pages of slots there are.
pub(crate) fn pages<S: Source>(source: &mut S, row: u64) -> Result<u64> {
    let at = row + PAGES + 16;
    let pages = source.word(at, WHAT)?;
    if pages > source.memory().most() / PAGE {
        return Err(Error::damaged(WHAT, at, pages));
    }
    Ok(pages)
}

/// Where a page of the array with those roots lies; `None` if there are not so many.
pub(crate) fn page<S: Source>(source: &mut S, roots: u64, number: u64) -> Result<Option<u64>> {
    let [directory, _, pages] = source.words(roots, WHAT)?;
    if number >= pages {
        return Ok(None);
    }
    let at = directory.wrapping_add(number.wrapping_mul(8));
    let word = source.word(at, WHAT)?;
    let page = reference::open(word, roots, number, WHAT, at)?;
    page.ok_or_else(|| Error::damaged(WHAT, at, word)).map(Some)
}

fn slot(row: u64, at: u64, place: u64, [word, marks]: [u64; 2]) -> Result<Option<Slot>> {
    let token = token(place, marks as u32);
    let record = reference::open(word, row, token, WHAT, at)?;
    Ok(record.map(|record| Slot {
        token,
        link: (marks >> 32) as u32,
        record,
    }))
}

/// The slot that the token names, if it is in use.
pub(crate) fn find<S: Source>(source: &mut S, row: u64, token: u64) -> Result<Option<Slot>> {
    let place = token & 0xffff_ffff;
    let Some(page) = page(source, row + PAGES, place / PER_PAGE)? else {
        return Ok(None);
    };
    let at = slot_at(page, place);
    let words: [u64; 2] = source.words(at, WHAT)?;
    if words[1] as u32 != (token >> 32) as u32 {
        return Ok(None);
    }
    slot(row, at, place, words)
}

/// The slots in use of a page; `None` if there are not so many pages.
pub(crate) fn of_page<S: Source>(source: &mut S, row: u64, number: u64) -> Result<Option<Vec<Slot>>> {
    let Some(page) = page(source, row + PAGES, number)? else {
        return Ok(None);
    };
    let mut words = [0; (PAGE / 8) as usize];
    source.copy(page, &mut words, WHAT)?;
    let mut slots = Vec::new();
    // The first two words are the page's own.
    for (i, words) in words.as_chunks::<2>().0.iter().skip(1).enumerate() {
        let place = number * PER_PAGE + i as u64;
        slots.extend(slot(row, slot_at(page, place), place, *words)?);
    }
    Ok(Some(slots))
}

/// How many slots are in use.
pub(crate) fn live<S: Source>(source: &mut S, row: u64) -> Result<u64> {
    let live = source.word(row + LIVE, WHAT)?;
    if live > pages(source, row)?.saturating_mul(PER_PAGE) {
        return Err(Error::damaged(WHAT, row + LIVE, live));
    }
    Ok(live)
}

/// All slots in use, one after the other, a page at a time.
#[derive(Debug)]
pub(crate) struct Walk {
    row: u64,
    page: u64,
    /// Those of a page that were not given yet, the next is the last.
    slots: Vec<Slot>,
    /// How many are to come, by the table's count.
    left: u64,
}

impl Walk {
    pub(crate) fn begin<S: Source>(source: &mut S, row: u64) -> Result<Self> {
        Ok(Self {
            row,
            page: 0,
            slots: Vec::new(),
            left: live(source, row)?,
        })
    }

    pub(crate) fn next<S: Source>(&mut self, source: &mut S) -> Result<Option<Slot>> {
        loop {
            if self.left == 0 {
                return Ok(None);
            }
            if let Some(slot) = self.slots.pop() {
                self.left -= 1;
                return Ok(Some(slot));
            }
            let slots = of_page(source, self.row, self.page)?;
            self.slots = slots.ok_or_else(|| Error::damaged("number of records", self.row + LIVE, self.left))?;
            self.slots.reverse();
            self.page += 1;
        }
    }

    /// How many are to come.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }
}
