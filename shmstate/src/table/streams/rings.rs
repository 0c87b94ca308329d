//! Rings that grow and are given back.
//!
//! - **G1** A ring is exchanged for another in a transaction, never while bytes are moved: a new block, a copy of what counts in the
//!   old one, then, logged, the slot's words; the old block is freed by the commit. The positions stay what they are, only their
//!   places in the ring are others. The application's transaction does it when it produces; `receive` has a small one of its
//!   own between two system calls, when the bytes that are there have no room.
//!   A kill before its commit leaves the old ring with every byte in its place: nobody wrote into it meanwhile. A kill after it leaves the new
//!   one with the same bytes. Either way the kernel's counts mean the same positions, since it was not asked for a byte in between.
//! - **G2** A ring grows to the power of two that holds what is there, up to the table's most ([`Rings`](super::Rings)). An input ring
//!   grows when a call has filled it to the brim and the socket has more; so a stream whose ring is large enough costs no call and no transaction.
//! - **G3** A ring is given back by [`Streams::tidy`], in a transaction between two ticks, if it is empty and nothing moved since the visit
//!   before: the slot keeps a mark of the positions then. Input keeps 256 bytes, so that a stream that wakes up needs
//!   no transaction for a short message; output keeps nothing.
//!
//! It does not know sockets.

use crate::error::{Error, Result};
use crate::heap;
use crate::region::View;
use crate::region::seal::{seal, unseal};
#[cfg(test)]
use crate::table::streams::sabotage;
use crate::table::streams::slot::{Positions, Slot};
use crate::table::streams::{RING_SIZES, Streams, VISITED, WHAT, Way};
use crate::tx::Tx;

/// Bytes of the input ring of an idle stream.
pub(super) const LEAST: u64 = RING_SIZES.0 as u64;

/// The two pieces of `length` bytes of a ring from `position` on: offset and length of each.
#[inline]
pub(super) fn pieces(ring: u64, size: u64, position: u64, length: u64) -> ((u64, u64), (u64, u64)) {
    let start = position & size.wrapping_sub(1);
    let first = length.min(size.saturating_sub(start));
    ((ring.wrapping_add(start), first), (ring, length - first))
}

/// The size of a ring for so many bytes.
pub(super) fn size_for(bytes: u64, most: u64) -> u64 {
    bytes.clamp(LEAST, most).next_power_of_two()
}

/// Gives a stream another ring of `size` bytes in the place of the one (G1). It holds what is unread, or unsent.
pub(super) fn exchange(tx: &mut Tx<'_>, slot: Slot, p: &Positions, way: Way, size: u64) -> Result<()> {
    let (old, old_size, from, to) = match way {
        Way::In => (p.input, p.input_size, p.consumed, p.received),
        Way::Out => (p.output, p.output_size, p.sent, p.produced),
    };
    let new = if size == 0 { 0 } else { heap::alloc(tx, size)?.offset };
    if to != from {
        copy(tx, (old, old_size), (new, size), from, to)?;
    }
    #[cfg(test)]
    if sabotage::log() {
        return slot.set_ring_unlogged(tx, way, new, size);
    }
    slot.set_ring(tx, way, new, size)?;
    if old != 0 {
        tx.free(old);
    }
    Ok(())
}

/// Copies positions `from..to` from one ring to another, in words: those at both ends may hold bytes that do not count.
fn copy(view: &View, (old, old_size): (u64, u64), (new, size): (u64, u64), from: u64, to: u64) -> Result<()> {
    #[cfg(test)]
    if sabotage::copy() {
        return Ok(());
    }
    let (mut at, end) = (from & !7, to.wrapping_add(7) & !7);
    while at != end {
        let (here, there) = (at & (old_size - 1), at & (size - 1));
        let n = end.wrapping_sub(at).min(old_size - here).min(size - there);
        view.copy_words(old.wrapping_add(here), new + there, n / 8, WHAT)?;
        at = at.wrapping_add(n);
    }
    Ok(())
}

/// Whether a ring cannot be exchanged because there is no memory for a larger one.
pub(super) fn is_full(e: &Error) -> bool {
    matches!(e, Error::RegionFull { .. } | Error::OutOfSpace { .. })
}

impl Streams {
    /// Visits up to `visits` places of the table, going round from call to call, and gives back the rings of streams that are empty and
    /// have been idle since the visit before (G3). To be called between two ticks, in their transaction or one of its own; a place costs
    /// about as much as a lookup, a ring that is given back a free. Gives the bytes.
    ///
    /// The blocks are free for others in the region; [`Region::trim`](crate::Region::trim) gives them back to the mount.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`], those of the [log](crate::Tx#errors).
    pub fn tidy(&self, tx: &mut Tx<'_>, visits: usize) -> Result<u64> {
        tx.whole(|tx| {
            self.admit(tx)?;
            let slots = self.slots(tx)?;
            let visits = slots.min(visits as u64);
            if visits == 0 {
                return Ok(0);
            }
            let word = self.root(tx, VISITED)?;
            let first = unseal(word).ok_or_else(|| Error::damaged(WHAT, self.row + VISITED, word))?;
            let mut given = 0;
            for place in first..first + visits {
                let slot = self.place(tx, place % slots)?;
                if slot.token(tx)? != 0 {
                    given += relax(tx, slot)?;
                }
            }
            tx.put(self.row + VISITED, seal((first + visits) % slots), WHAT)?;
            Ok(given)
        })
    }
}

/// Gives back what an idle stream does not need; gives the bytes.
fn relax(tx: &mut Tx<'_>, slot: Slot) -> Result<u64> {
    let p = slot.positions(tx)?;
    let input = p.input_size > LEAST && p.unread() == 0;
    let output = p.output_size > 0 && p.unsent() == 0;
    if !input && !output {
        return Ok(0);
    }
    // Positions only rise, so the sum is another one whenever anything moved; never 0, which a slot starts with.
    let mark = p.consumed.wrapping_add(p.produced) as u32 | 1 << 31;
    if slot.mark(tx)? != mark {
        slot.set_mark(tx, mark)?;
        return Ok(0);
    }
    let mut given = 0;
    if input {
        exchange(tx, slot, &p, Way::In, LEAST)?;
        given += p.input_size - LEAST;
    }
    if output {
        exchange(tx, slot, &p, Way::Out, 0)?;
        given += p.output_size;
    }
    Ok(given)
}
