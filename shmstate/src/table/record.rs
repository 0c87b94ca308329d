//! A record: one value in a table, an rkyv archive with a header of 16 bytes at the end of its block.
//!
//! ```text
//! 0 u32 sequence: odd while it is being changed in place, for observers
//! 4 u16 declared schema version of the archive · 6 u16 unused bytes of the block
//! 8 u32 generation: no two records of a region made within 2³² of each other share it; handles compare it
//! 12 u32 checksum slot: low half of XXH3 of the archive in tables with checksums, else 0
//! ```
//!
//! Before the header comes the key (maps), padded to 8 bytes, before that the root, see `archive`.

use crate::archive::{self, Geometry, Value};
use crate::error::{Error, Result};
use crate::heap;
use crate::region::header::at;
use crate::region::view::View;
use crate::schema::Plain;
use crate::tx::Tx;
use crate::tx::undo::settle;
use rkyv::seal::Seal;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::atomic::{Ordering, compiler_fence};

/// Bytes of the header.
pub(crate) const HEADER: u64 = 16;
const WHAT: &str = "record header";

/// Makes a record and gives the offset of its header and the bytes of its archive.
pub(crate) fn create<V: Value>(tx: &mut Tx<'_>, geometry: Geometry, key: &[u8], value: &V) -> Result<(u64, u64)> {
    let (_, header, archived) = create_after(tx, geometry, 0, key, value)?;
    Ok((header, archived))
}

/// Makes a record whose block starts with `before` bytes, a multiple of 16, for the caller to write. Gives the offsets of the
/// block and of the record's header, and the bytes of its archive.
pub(crate) fn create_after<V: Value>(
    tx: &mut Tx<'_>,
    geometry: Geometry,
    before: u64,
    key: &[u8],
    value: &V,
) -> Result<(u64, u64, u64)> {
    let (block, archived) = archive::write(tx, value, geometry, before, HEADER)?;
    let header = block.offset + block.size - HEADER;
    let unused = block.size - HEADER - geometry.key - archived;
    let generation = tx.header(at::RECORDS_MADE) + 1;
    tx.set_header(at::RECORDS_MADE, generation);
    if !key.is_empty() {
        tx.write_fresh(header - geometry.key, key, "key")?;
    }
    // Fresh memory: nobody refers to it before the index does (T3).
    tx.store(header, u64::from(V::VERSION) << 32 | unused.min(0xffff) << 48, WHAT)?;
    tx.store(header + 8, generation & 0xffff_ffff, WHAT)?;
    Ok((block.offset, header, archived))
}

/// Frees the record's block at commit; gives the bytes of its archive.
pub(crate) fn discard(tx: &mut Tx<'_>, geometry: Geometry, header: u64) -> Result<u64> {
    let block = block(tx, header)?;
    tx.free(block.offset);
    archived(tx, geometry, header, block)
}

/// The block that a record fills. Its header must be at the block's end.
pub(crate) fn block(tx: &Tx<'_>, header: u64) -> Result<heap::Block> {
    let block = heap::block_of(tx, tx.region.layout(), header)?;
    if block.offset + block.size != header + HEADER {
        return Err(Error::damaged(WHAT, header, block.offset));
    }
    Ok(block)
}

fn archived(view: &View, geometry: Geometry, header: u64, block: heap::Block) -> Result<u64> {
    let unused = view.load(header, WHAT)? >> 48;
    (block.size - HEADER)
        .checked_sub(geometry.key + unused)
        .ok_or_else(|| Error::damaged(WHAT, header, unused))
}

#[inline]
fn open(view: &View, header: u64) -> Result<()> {
    let word = view.load(header, WHAT)?;
    view.store(header, word | 1, WHAT)?;
    // SEQUENCE pair: the sequence is odd before the first changed byte, and even again after the last one (`settle`).
    compiler_fence(Ordering::SeqCst);
    Ok(())
}

/// A record that can be changed in place, inside a transaction.
///
/// Reading goes through `Deref`. [`set`](Self::set) logs only the bytes of one field; [`seal`](Self::seal) logs the whole
/// record and gives rkyv's `Seal`, for changes that are no single field. A change of length needs the table's `insert`.
#[derive(Debug)]
pub struct RecordMut<'t, 'a, V: Value> {
    tx: &'t mut Tx<'a>,
    header: u64,
    geometry: Geometry,
    changing: bool,
    sealed: bool,
    value: PhantomData<fn() -> V>,
}

impl<'t, 'a, V: Value> RecordMut<'t, 'a, V> {
    /// The record must be known to be sound: `root` was read once.
    #[inline]
    pub(crate) fn new(tx: &'t mut Tx<'a>, geometry: Geometry, header: u64) -> Result<Self> {
        archive::root::<V>(tx, header.wrapping_sub(geometry.root))?;
        Ok(Self {
            tx,
            header,
            geometry,
            changing: false,
            sealed: false,
            value: PhantomData,
        })
    }

    fn root(&self) -> u64 {
        self.header - self.geometry.root
    }

    /// Changes one field in place: `project` names it, `value` is its new value.
    ///
    /// ```
    /// # use rkyv::{Archive, Serialize};
    /// # use shmstate::{Map, Region, Schema};
    /// #[derive(Archive, Serialize, Schema)]
    /// struct Player { score: u32, bag: Vec<u16> }
    ///
    /// # fn main() -> shmstate::Result<()> {
    /// let mut region = Region::in_memory(4 << 20)?;
    /// let gate = region.gate().clone();
    /// let pass = gate.enter()?;
    /// let mut tx = region.begin(&pass)?;
    /// let players: Map<u64, Player> = Map::create(&mut tx, "players")?;
    /// players.insert(&mut tx, &7, &Player { score: 1, bag: vec![3, 4] })?;
    /// let mut player = players.get_mut(&mut tx, &7)?.expect("just inserted");
    /// player.set(|p| &p.score, 10.into())?;
    /// player.set(|p| &p.bag[1], 5.into())?;
    /// drop(player);
    /// tx.commit()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::ForeignField`] if what `project` gives is no part of the record; those of the log.
    #[inline]
    pub fn set<F: Plain>(&mut self, project: impl for<'r> FnOnce(&'r V::Archived) -> &'r F, value: F) -> Result<()> {
        let offset = archive::offset_of(self.tx, project(self)).ok_or(Error::ForeignField)?;
        let size = size_of::<F>() as u64;
        let root = self.root();
        let in_root = offset >= root && offset + size <= root + self.geometry.size;
        if !in_root {
            let block = block(self.tx, self.header)?;
            if offset < block.offset || offset + size > root {
                return Err(Error::ForeignField);
            }
        }
        self.tx.log(offset, size, self.header)?;
        self.begin_change()?;
        archive::store(self.tx, offset, value)
    }

    /// Logs the whole record and lends it for changes through rkyv's `Seal`.
    ///
    /// # Errors
    /// Those of the log.
    pub fn seal(&mut self) -> Result<Seal<'_, V::Archived>> {
        let block = block(self.tx, self.header)?;
        self.tx.log(
            block.offset,
            self.root() + self.geometry.size - block.offset,
            self.header,
        )?;
        self.begin_change()?;
        self.sealed = true;
        let root = self.root();
        archive::seal::<V>(&mut self.tx.region.view, root)
    }

    #[inline]
    fn begin_change(&mut self) -> Result<()> {
        if !self.changing {
            open(self.tx, self.header)?;
            self.changing = true;
        }
        Ok(())
    }
}

impl<V: Value> Deref for RecordMut<'_, '_, V> {
    type Target = V::Archived;

    #[inline]
    fn deref(&self) -> &V::Archived {
        match archive::root::<V>(self.tx, self.root()) {
            Ok(root) => root,
            // `new` read the root; memory that was taken is never given back while a region is mapped.
            Err(_) => unreachable!("the record was inside the region when the guard was made"),
        }
    }
}

impl<V: Value> Drop for RecordMut<'_, '_, V> {
    #[inline]
    fn drop(&mut self) {
        if !self.changing {
            return;
        }
        if self.sealed
            && let Ok(block) = block(self.tx, self.header)
        {
            self.tx.record(block.offset, self.header - block.offset);
        }
        compiler_fence(Ordering::SeqCst);
        // The header was written by `open` a moment ago, so it is inside the region.
        let settled = settle(self.tx, self.header);
        debug_assert!(settled.is_ok());
    }
}
