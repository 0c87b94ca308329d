//! What a table of streams consists of: for `verify`, for a restore, for figures.

use crate::error::{Error, Result};
use crate::heap;
use crate::region::View;
use crate::region::seal::unseal;
use crate::table::streams::note::{NOTE_BYTES, Note};
use crate::table::streams::slot::{PAGE_SLOTS, SLOT};
use crate::table::streams::{DIRECTORY, FIRST_FREE, NOTE, OPEN, RING_SIZES, SERIAL, Streams, VISITED, WHAT};
use crate::tx::Tx;

/// Most bytes of an input and of an output ring from the word that has both. `at` is where the word stands.
pub(super) fn check_most(sizes: u64, at: u64) -> Result<[u64; 2]> {
    let (least, most) = RING_SIZES;
    let sizes_of = [sizes & 0xffff_ffff, sizes >> 32];
    for size in sizes_of {
        if !size.is_power_of_two() || size < least.into() || size > most.into() {
            return Err(Error::damaged(WHAT, at, sizes));
        }
    }
    Ok(sizes_of)
}

/// Visits the blocks of the table in row `row`, and checks it: every word of an open stream's slot.
pub(crate) fn blocks(view: &View, row: u64, mut each: impl FnMut(u64)) -> Result<()> {
    let streams = Streams::handle(row, view);
    let directory = streams.root(view, DIRECTORY)?;
    let slots = streams.slots(view)?;
    heap::check_block(view, directory, slots / PAGE_SLOTS * 8, WHAT, row + DIRECTORY)?;
    each(directory);
    for page in 0..slots / PAGE_SLOTS {
        let at = directory + page * 8;
        let page = view.load(at, WHAT)?;
        heap::check_block(view, page, PAGE_SLOTS * SLOT, WHAT, at)?;
        each(page);
    }
    let note = streams.root(view, NOTE)?;
    heap::check_block(view, note, NOTE_BYTES, WHAT, row + NOTE)?;
    each(note);
    streams.most(view)?;
    for root in [SERIAL, VISITED] {
        let word = streams.root(view, root)?;
        if unseal(word).is_none() {
            return Err(Error::damaged(WHAT, row + root, word));
        }
    }
    let mut open = 0;
    for place in 0..slots {
        let slot = streams.place(view, place)?;
        if let Some(rings) = slot.check(view, place)? {
            rings.into_iter().filter(|ring| *ring != 0).for_each(&mut each);
            open += 1;
        }
    }
    Note::of(&streams, view)?.check(&streams, view)?;
    let counted = streams.root(view, OPEN)?;
    if counted != open {
        return Err(Error::damaged("number of streams", row + OPEN, counted));
    }
    let mut free = 0;
    let mut next = streams.root(view, FIRST_FREE)?;
    while next != 0 {
        free += 1;
        if free > slots {
            return Err(Error::damaged("free streams", row + FIRST_FREE, next));
        }
        let slot = streams.place(view, next - 1)?;
        if slot.token(view)? != 0 {
            return Err(Error::damaged("free streams", row + FIRST_FREE, next));
        }
        next = slot.next_free(view)?;
    }
    if free + open != slots {
        return Err(Error::damaged("free streams", row + FIRST_FREE, free));
    }
    Ok(())
}

/// Streams that one call of [`end_some`] ends: fewer than the first extent of the log has room for.
const END_AT_ONCE: usize = 128;

/// Ends some streams of the table in row `row`: after a restore, when no socket is left. Says whether there are more. In pieces, for the region may have no memory
/// for a log of all of them.
pub(crate) fn end_some(tx: &mut Tx<'_>, row: u64) -> Result<bool> {
    let streams = Streams::handle(row, tx);
    let open = streams.ids(tx)?;
    for id in open.iter().take(END_AT_ONCE) {
        streams.end(tx, *id)?;
    }
    Note::of(&streams, tx)?.end(tx)?;
    Ok(open.len() > END_AT_ONCE)
}

/// Open streams of the table in row `row`.
pub(crate) fn open(view: &View, row: u64) -> Result<u64> {
    view.load(row + OPEN, WHAT)
}
