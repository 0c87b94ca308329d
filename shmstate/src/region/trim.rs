//! Giving memory back to the mount: free pieces inside the heap, and what lies behind its end.
//!
//! It is asked for, never done by itself: it needs a transaction, so only the writer can, and the writer's program knows which
//! tick has time for it. What it costs is bounded by the bytes that it may give back.
//!
//! - **W1** The order is D1 of `heap::holes`: one transaction moves the ends of the heap and of the memory taken down, another makes holes of free
//!   runs; after both are committed, their memory is given back. A kill in between leaves memory that nobody counts on; `HOLES_STALE`
//!   stands in the header from before the commit until all is done, and makes the next call do it again.
//! - **W2** The heap's end never lies above the end of the memory taken, also for who looks in between: it goes down first. Both are
//!   one entry of the log, which is restored upwards, so the other comes first there.
//! - **W3** The heap does not draw back while an extent of the log lies behind it: what it ends with becomes a hole instead (B2).
//! - **W4** While a checkpoint is being copied nothing is given back: its pages may be of the image.
//! - **W5** No reference is left: a call needs the region exclusively. A limit that a [`View`](super::View) has cached falls here, and in another
//!   process before its first transaction.
//! - **W6** The end of the memory taken goes down in a transaction that logs nothing after it, and only if the log has not grown since it was looked at: an extent
//!   of the log is made where that end is.
//!
//! It does not know what was in the memory.

use crate::crash::{self, Point};
use crate::error::{Error, Result};
use crate::gate::Pass;
use crate::heap::chunk::Table;
use crate::heap::{self, holes};
use crate::region::header::{CHUNK, at};
use crate::region::seal::seal;
use crate::region::{Region, growth};
use crate::tx::Tx;

/// Runs that one call takes hold of at most.
const RUNS: usize = 256;

/// What [`Region::trim`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trimmed {
    /// Bytes given back to the mount.
    pub bytes: u64,
    /// Whether there may be more to give back: call it again.
    pub more: bool,
    /// Nothing was done, because a checkpoint is being copied: try again when it is over.
    pub postponed: bool,
}

/// What is to be given back after the commit.
#[derive(Debug, Default)]
struct Plan {
    /// Where the heap and the memory taken end now, and how much less is taken, if they moved.
    tail: Option<(u64, u64, u64)>,
    /// New holes: offset and bytes.
    dug: Vec<(u64, u64)>,
    more: bool,
}

impl Region {
    /// Gives free memory back to the mount: about `most` bytes at most, in pieces of 2 MiB where the region is laid out for large pages,
    /// else of 64 KiB. First what lies behind the end of the heap, but for what [`reserve_ahead`](crate::Options::reserve_ahead) keeps
    /// ready; then free pieces inside the heap. They are taken again when they are needed, which the transaction that needs them
    /// waits for, without making large pages of them ([`reserve`](Self::reserve) does); on a mount that is full by then it gets [`OutOfSpace`](crate::Error::OutOfSpace), before anything is touched.
    ///
    /// Takes 10 µs for 2 MiB on a large page, half a millisecond for as much on small ones. Call it between ticks, until it says that there is no [`more`](Trimmed::more).
    ///
    /// ```
    /// # fn main() -> shmstate::Result<()> {
    /// # use shmstate::{Map, Region};
    /// # let name = format!("doc-trim-{}", std::process::id());
    /// let mut region = Region::options().capacity(8 << 20).create(&name)?;
    /// let gate = region.gate().clone();
    /// let pass = gate.enter()?;
    /// let blobs: Map<u64, Vec<u8>> = region.write(&pass, |tx| Map::create(tx, "blobs"))?;
    /// for i in 0..40 {
    ///     region.write(&pass, |tx| blobs.insert(tx, &i, &vec![7; 100_000]))?;
    /// }
    /// region.write(&pass, |tx| blobs.clear(tx))?;
    /// let before = region.memory(&pass)?.allocated;
    /// while region.trim(&pass, 1 << 20)?.more {}
    /// assert!(before - region.memory(&pass)?.allocated > 4_000_000);
    /// # Region::remove(&name)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::ForeignPass`](crate::Error::ForeignPass), [`Error::Damaged`](crate::Error::Damaged); [`Error::Io`](crate::Error::Io) if the
    /// mount takes nothing back: then the region is as before, and only the memory is still there.
    pub fn trim(&mut self, pass: &Pass<'_>, most: u64) -> Result<Trimmed> {
        self.prepare(pass)?;
        if self.hook.as_ref().is_some_and(|hook| !hook.is_over()) {
            return Ok(Trimmed {
                postponed: true,
                ..Trimmed::default()
            });
        }
        if !self.layout().heap.is_multiple_of(self.backing.unit()) {
            // A small region on large pages: no chunk is a page.
            return Ok(Trimmed::default());
        }
        let stale = self.view.header(at::HOLES_STALE) != 0;
        let piece = self.layout().piece(self.backing.unit());
        let most = (most / piece).max(1) * piece;
        let mut plan = Plan::default();
        let mut tx = Tx::begin(self, pass);
        heap::release_empty(&mut tx)?;
        let given = draw_back(&mut tx, &mut plan, piece, most)?;
        mark(&tx, plan.tail.is_some());
        tx.commit()?;
        let mut tx = self.begin(pass)?;
        dig(&mut tx, &mut plan, piece, most.saturating_sub(given))?;
        mark(&tx, !plan.dug.is_empty());
        tx.commit()?;
        if plan.tail.is_none() && plan.dug.is_empty() && !stale {
            return Ok(Trimmed::default());
        }
        crash::point(Point::TrimCommitted);
        let bytes = self.give_back(&plan, stale)?;
        let all = self.view.header(at::GIVEN_BACK).wrapping_add(bytes);
        self.view.set_header(at::GIVEN_BACK, all);
        self.view.set_header(at::HOLES_STALE, 0);
        Ok(Trimmed {
            bytes,
            more: plan.more,
            postponed: false,
        })
    }

    /// Gives back what a plan that is committed says, and, if that was cut off before, everything that is no longer counted on.
    fn give_back(&self, plan: &Plan, stale: bool) -> Result<u64> {
        let mut bytes = 0;
        if plan.tail.is_some() || stale {
            // Altered words must not say what is thrown away.
            let end = growth::size(&self.view, at::HEAP_END)?;
            let taken = growth::size(&self.view, at::TAKEN)?;
            if taken < end || end < self.layout().heap {
                return Err(Error::damaged(growth::what(at::TAKEN), at::TAKEN, taken));
            }
            let limit = growth::capacity(&self.view, self.layout());
            self.view.look_at_limit();
            self.backing.retreat(end, taken, limit)?;
            #[cfg(test)]
            self.view.punched(taken, limit.saturating_sub(taken));
            bytes += plan.tail.map_or(0, |(_, _, less)| less);
            crash::point(Point::TrimTail);
        }
        let again = if stale {
            holes::all(&self.view, self.layout())
        } else {
            Vec::new()
        };
        for (offset, length) in plan.dug.iter().chain(&again) {
            self.backing.punch(*offset, *length)?;
            #[cfg(test)]
            self.view.punched(*offset, *length);
            crash::point(Point::TrimPunched);
        }
        bytes += plan.dug.iter().map(|(_, length)| length).sum::<u64>();
        Ok(bytes)
    }

    /// Gives the memory of all holes back that was taken to fill the region from elsewhere.
    pub(super) fn punch_holes(&self) -> Result<()> {
        for (offset, length) in holes::all(&self.view, self.layout()) {
            self.backing.punch(offset, length)?;
        }
        Ok(())
    }
}

/// Before the commit of what is to be given back (W1).
fn mark(tx: &Tx<'_>, changed: bool) {
    if changed {
        tx.set_header(at::HOLES_STALE, 1);
        crash::point(Point::TrimMarked);
    }
}

/// Makes holes of free runs, of at most `most` bytes.
fn dig(tx: &mut Tx<'_>, plan: &mut Plan, piece: u64, most: u64) -> Result<()> {
    let mut left = most / CHUNK;
    let table = Table::of(tx.region.layout());
    for _ in 0..RUNS {
        let Some((run, length)) = holes::candidate(tx, piece / CHUNK)? else {
            return Ok(());
        };
        let Some((first, chunks)) = holes::dig(tx, run, length, piece / CHUNK, left)? else {
            break;
        };
        plan.dug.push((table.start(first), chunks * CHUNK));
        left -= chunks;
    }
    plan.more = true;
    Ok(())
}

/// Moves the end of the memory taken down, and before it the end of the heap (W2, W3). Gives the bytes that are not taken any more.
fn draw_back(tx: &mut Tx<'_>, plan: &mut Plan, piece: u64, most: u64) -> Result<u64> {
    let (end, taken) = (growth::size(tx, at::HEAP_END)?, growth::size(tx, at::TAKEN)?);
    let heap = tx.region.layout().heap;
    let log = growth::log_extents(tx).map(|(offset, bytes)| offset + bytes).max();
    let log = log.unwrap_or(heap).max(heap);
    let keep = tx.region.backing.watermark();
    let up = |offset: u64| heap + (offset - heap).next_multiple_of(piece);
    let goal = |end: u64| up(end.saturating_add(keep).max(log)).min(taken);
    // What was reserved and never used goes first, and alone, so that what comes next is bounded by `most` too.
    let (new_end, new_taken) = if goal(end) < taken {
        plan.more = true;
        (end, goal(end).max(up(taken.saturating_sub(most).max(heap))))
    } else if log > end {
        (end, taken)
    } else {
        let (new_end, hole) = cut(tx, plan, end, most)?;
        (new_end, goal(new_end).min(hole.unwrap_or(taken)))
    };
    if (new_end, new_taken) == (end, taken) {
        return Ok(0);
    }
    tx.log(at::TAKEN, 16, 0)?;
    let now = growth::size(tx, at::TAKEN)?;
    // The log has grown meanwhile: its new extent lies there (W6).
    let new_taken = if now == taken { new_taken } else { now };
    let taken = now;
    tx.store(at::HEAP_END, seal(new_end), "end of the heap")?;
    tx.store(at::TAKEN, seal(new_taken), "end of the memory taken")?;
    plan.tail = Some((new_end, new_taken, taken - new_taken));
    Ok(taken - new_taken)
}

/// Takes free runs and holes off the heap's end, of the former at most `most` bytes. Gives the new end, and where the lowest hole among them
/// starts: there is no memory from there on.
fn cut(tx: &mut Tx<'_>, plan: &mut Plan, end: u64, most: u64) -> Result<(u64, Option<u64>)> {
    let table = Table::of(tx.region.layout());
    let mut used = table.used(tx);
    let mut left = most / CHUNK;
    let mut lowest = None;
    for _ in 0..RUNS {
        if left == 0 {
            plan.more = true;
            break;
        }
        let Some((length, hole)) = holes::cut(tx, used, left)? else {
            break;
        };
        used -= length;
        if hole {
            lowest = Some(table.start(used));
        } else {
            left -= length;
        }
    }
    debug_assert!(table.start(used) <= end);
    Ok((table.start(used), lowest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Map;
    use crate::region::seal::seal;

    /// A region with something in it.
    fn region() -> (Region, Map<u64, u64>) {
        let mut region = Region::in_memory(8 << 20).expect("region");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let map = region.write(&pass, |tx| {
            let map: Map<u64, u64> = Map::create(tx, "map")?;
            map.insert(tx, &1, &2)?;
            Result::Ok(map)
        });
        drop(pass);
        (region, map.expect("map"))
    }

    /// The log has room for so many entries of a word before it grows: it may do so at any of those that draw the end of the memory back, and what is
    /// lowered then must not lie below its new extent, whether the transaction is committed or taken back.
    #[test]
    fn the_log_may_grow_while_the_end_is_drawn_back() {
        let mut grown = 0;
        for (entries, commits) in (2690..=2731).flat_map(|entries| [(entries, true), (entries, false)]) {
            let (mut region, map) = region();
            let gate = region.gate().clone();
            let pass = gate.enter().expect("pass");
            region
                .write(&pass, |tx| {
                    let blobs: Map<u64, Vec<u8>> = Map::create(tx, "blobs")?;
                    (0..40).try_for_each(|key| blobs.insert(tx, &key, &vec![7; 60_000]).map(|_| ()))
                })
                .expect("fill");
            // The end of the heap, and what lies behind it, is free.
            region
                .write(&pass, |tx| Map::<u64, Vec<u8>>::open_or_create(tx, "blobs")?.clear(tx))
                .expect("clear");
            let before = growth::log_extents(&region.view).count();
            let mut tx = region.begin(&pass).expect("begin");
            for _ in 0..entries {
                tx.log(at::HOLES, 8, 0).expect("log");
            }
            let mut plan = Plan::default();
            let drawn = draw_back(&mut tx, &mut plan, CHUNK, 16 * CHUNK).expect("drawn back");
            if commits {
                tx.commit().expect("commit");
            } else {
                drop(tx);
            }
            let extents: Vec<(u64, u64)> = growth::log_extents(&region.view).collect();
            grown += u32::from(extents.len() > before && drawn == 0 && plan.tail.is_some());
            let end = growth::size(&region.view, at::HEAP_END).expect("size");
            let taken = growth::size(&region.view, at::TAKEN).expect("size");
            for (offset, bytes) in &extents {
                assert!(offset + bytes <= taken, "{entries}: {extents:?} of {taken}");
                assert!(*offset >= end || offset + bytes <= end, "{entries}: {extents:?}, {end}");
            }
            let reader = region.read(&pass).expect("read");
            let found = crate::verify(&reader).expect("verify");
            assert!(found.is_sound(), "{entries}, {commits}: {found:?}");
            assert_eq!(map.get(&reader, &1).expect("get").expect("there").to_native(), 2);
        }
        assert!(grown > 0, "it never grew at that moment");
    }

    /// The words that say how large a region is, each altered in its number and in its check, and made 0.
    fn altered(region: &Region) -> Vec<(u64, u64)> {
        let words = [at::TAKEN, at::LIMIT, at::HEAP_END];
        let ways = |at| {
            let word = region.view.header(at);
            [(at, word ^ 0x10000), (at, word ^ 1 << 60), (at, 0)]
        };
        words.into_iter().flat_map(ways).collect()
    }

    #[test]
    fn an_altered_size_makes_nothing_reachable() {
        let (region, map) = region();
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        for (at, word) in altered(&region) {
            let before = region.view.header(at);
            region.view.set_header(at, word);
            region.view.look_at_limit();
            for window in [region.view.window(), region.view.fresh_window()] {
                for offset in [1 << 42, u64::MAX, 0u64.wrapping_sub(8), region.layout().reserve] {
                    assert!(
                        window.array::<8>(offset).is_err() && window.tail(offset, 40).is_err(),
                        "{offset:#x}"
                    );
                    assert!(!window.reaches(offset, region.layout().heap), "{offset:#x}");
                }
            }
            let reader = region.read(&pass).expect("read");
            assert_eq!(map.get(&reader, &1).expect("as before").map(|n| n.to_native()), Some(2));
            region.view.set_header(at, before);
        }
    }

    #[test]
    fn an_altered_size_throws_nothing_away() {
        let (region, map) = region();
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let layout = *region.layout();
        let mut words = altered(&region);
        // Whole words, but of no region.
        words.extend([
            (at::TAKEN, seal(layout.heap - CHUNK)),
            (at::HEAP_END, seal(layout.catalog)),
        ]);
        for (at, word) in words {
            let before = region.view.header(at);
            region.view.set_header(at, word);
            let given = region.give_back(&Plan::default(), true);
            region.view.set_header(at, before);
            assert!(given.is_err() || at == at::LIMIT, "{at:#x} {word:#x}");
            let reader = region.read(&pass).expect("read");
            assert_eq!(map.get(&reader, &1).expect("as before").map(|n| n.to_native()), Some(2));
        }
    }
}
