//! Pages: an array that grows and shrinks a page at a time at its end, found through a directory of references.
//!
//! ```text
//! three roots of a catalog row, side by side: u64 directory · u64 words it has room for · u64 pages
//! directory: a word for each page, a `reference` to it, home = offset of the first root; 0 from the number of pages on
//! page: 4096 bytes, aligned to them
//! ```
//!
//! - **P1** Growing takes one page. A full directory is doubled by copying it: 8 bytes for each page of 4096, so even
//!   10⁶ records of 16 bytes in pages cost a copy of 32 KiB. It is halved when three quarters of it are unused.
//! - **P2** A directory's word is logged before it changes, also the first time: a transaction that drops a page and adds
//!   one writes a word that committed state refers to.
//! - **P3** The roots are not believed: no number of pages is, that the region's memory could not hold.
//!
//! It does not know what is in a page. Used by `slots` and by the heap of `timers`.

use crate::error::{Error, Result};
use crate::heap;
use crate::heap::Held;
use crate::region::view::View;
use crate::table::reference;
use crate::tx::Tx;

const WHAT: &str = "page directory";
/// Bytes of a page.
pub(crate) const PAGE: u64 = 4096;
/// Roots that it takes.
pub(crate) const ROOTS: u64 = 3;
/// Least room of a directory, in words.
const LEAST_ROOM: u64 = 8;

/// The pages whose three roots are at an offset of a catalog row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pages {
    roots: u64,
}

impl Pages {
    pub(crate) const fn at(roots: u64) -> Self {
        Self { roots }
    }

    /// Writes the roots of an array of no pages. What was there before is forgotten.
    pub(crate) fn start(self, tx: &mut Tx<'_>) -> Result<()> {
        let directory = directory(tx, LEAST_ROOM)?;
        tx.put_all(self.roots, &[directory, LEAST_ROOM, 0], WHAT)
    }

    /// How many pages there are (P3).
    #[inline]
    pub(crate) fn count(self, view: &View) -> Result<u64> {
        let [_, room, pages] = view.words(self.roots, WHAT)?;
        if pages > room || pages > view.capacity() / PAGE {
            return Err(Error::damaged(WHAT, self.roots + 16, pages));
        }
        Ok(pages)
    }

    /// The page with that number; `None` if there are not so many.
    #[inline]
    pub(crate) fn find(self, view: &View, number: u64) -> Result<Option<u64>> {
        let [directory, _, pages] = view.words(self.roots, WHAT)?;
        if number >= pages {
            return Ok(None);
        }
        let at = directory.wrapping_add(number.wrapping_mul(8));
        reference::follow(view, at, self.roots, number, WHAT).map(Some)
    }

    /// The page with that number, which other metadata says is there.
    #[inline]
    pub(crate) fn page(self, view: &View, number: u64) -> Result<u64> {
        self.find(view, number)?
            .ok_or_else(|| Error::damaged(WHAT, self.roots + 16, number))
    }

    /// Adds a page of zeroes at the end; gives its number and its offset.
    pub(crate) fn push(self, tx: &mut Tx<'_>) -> Result<(u64, u64)> {
        let pages = self.count(tx)?;
        let [mut directory, room] = tx.words(self.roots, WHAT)?;
        if pages == room {
            directory = self.move_to(tx, directory, pages, room * 2)?;
        }
        let page = heap::alloc(tx, PAGE)?.offset;
        tx.zero_fresh(page, PAGE, WHAT)?;
        let word = reference::seal(page, self.roots, pages);
        tx.put(directory.wrapping_add(pages * 8), word, WHAT)?;
        tx.put(self.roots + 16, pages + 1, WHAT)?;
        Ok((pages, page))
    }

    /// Takes the last page away; it is freed at commit. The caller has seen that there is one.
    pub(crate) fn pop(self, tx: &mut Tx<'_>) -> Result<()> {
        let left = self.count(tx)?.saturating_sub(1);
        let page = self.page(tx, left)?;
        let [directory, room] = tx.words(self.roots, WHAT)?;
        tx.put(directory.wrapping_add(left * 8), 0, WHAT)?;
        tx.put(self.roots + 16, left, WHAT)?;
        tx.free(page);
        if room > LEAST_ROOM && left <= room / 4 {
            shorter(tx, |tx| self.move_to(tx, directory, left, room / 2))?;
        }
        Ok(())
    }

    /// Takes all pages away and starts anew.
    pub(crate) fn clear(self, tx: &mut Tx<'_>) -> Result<()> {
        for number in 0..self.count(tx)? {
            let page = self.page(tx, number)?;
            tx.free(page);
        }
        let before = tx.load(self.roots, WHAT)?;
        tx.free(before);
        self.start(tx)
    }

    fn move_to(self, tx: &mut Tx<'_>, from: u64, pages: u64, room: u64) -> Result<u64> {
        let to = directory(tx, room)?;
        tx.copy_words(from, to, pages, WHAT)?;
        tx.put_all(self.roots, &[to, room], WHAT)?;
        tx.free(from);
        Ok(to)
    }

    /// Visits the directory's block and the pages, and checks what can be checked of them.
    pub(crate) fn blocks(self, view: &View, mut each: impl FnMut(Held)) -> Result<()> {
        let [directory, room, _] = view.words(self.roots, WHAT)?;
        check_directory(view, directory, room, self.roots)?;
        let pages = self.count(view)?;
        each(Held::Block {
            at: directory,
            bytes: room * 8,
        });
        for number in 0..pages {
            let at = self.page(view, number)?;
            each(Held::Block { at, bytes: PAGE });
        }
        for number in pages..room {
            let at = directory + number * 8;
            let word = view.load(at, WHAT)?;
            if word != 0 {
                return Err(Error::damaged(WHAT, at, word));
            }
        }
        Ok(())
    }
}

/// Moves a directory to a shorter one. Where there is no memory for that it stays as it is: records must be taken away all the same.
pub(crate) fn shorter<R>(tx: &mut Tx<'_>, make: impl FnOnce(&mut Tx<'_>) -> Result<R>) -> Result<()> {
    match tx.whole(make) {
        Ok(_) | Err(Error::RegionFull { .. } | Error::OutOfSpace { .. }) => Ok(()),
        Err(other) => Err(other),
    }
}

/// A fresh directory of zeroes with room for so many words.
pub(crate) fn directory(tx: &mut Tx<'_>, room: u64) -> Result<u64> {
    let directory = heap::alloc(tx, room * 8)?.offset;
    tx.zero_fresh(directory, room * 8, WHAT)?;
    Ok(directory)
}

/// Whether a block of the heap starts at `directory` and has room for so many words, a power of two. `roots` is where that
/// was read.
pub(crate) fn check_directory(view: &View, directory: u64, room: u64, roots: u64) -> Result<()> {
    if !room.is_power_of_two() || room > view.capacity() / 8 {
        return Err(Error::damaged(WHAT, roots + 8, room));
    }
    heap::check_block(view, directory, room * 8, WHAT, roots)
}
