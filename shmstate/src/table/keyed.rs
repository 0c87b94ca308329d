//! Where a record keeps its key, so that a table that has the record's header has the key too.
//!
//! ```text
//! fixed length:    | out-of-line archive | unused | root | key, padded to 8 bytes | header |
//! variable length: | key | to 16 bytes | out-of-line archive | unused | root | u32 length · u32 distance | header |
//! ```
//!
//! `distance` is from the header back to the key's first byte. So the root is at a distance from the header that depends on
//! the table's types only, whatever the length of the key (E2, E3).
//!
//! **What a table does with keys of either kind**: its geometry is `Geometry::of::<V>(K::SIZE)`; it encodes what it is asked
//! for with `key::encode::<K, _>(key, form, |bytes| …)`, makes records with [`create`] and compares with [`Stored::key`].
//! Where `K::VARIABLE` is false, all of it is resolved when compiled: the key is `K::SIZE` bytes at `header - geometry.key`.

use crate::archive::{Geometry, Value};
use crate::error::{Error, Result};
use crate::region::view::View;
use crate::table::key::{Key, LONG_KEY_WORD, MAX_LONG_KEY};
use crate::table::record;
use crate::tx::Tx;

const WHAT: &str = "key";
/// What follows a key of variable length begins at a multiple of this, as blocks do.
const ALIGN: u64 = 16;

/// How the records of a table keep their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Bytes of a key of fixed length.
    pub(crate) size: u64,
    /// Whether keys have variable length.
    pub(crate) variable: bool,
}

impl Stored {
    pub(crate) const fn of<K: Key>() -> Self {
        Self {
            size: K::SIZE as u64,
            variable: K::VARIABLE,
        }
    }

    /// The key of the record whose header is at `header`.
    #[inline]
    pub(crate) fn key(self, view: &View, header: u64) -> Result<&[u8]> {
        if self.variable {
            return long_key(view, header);
        }
        view.bytes(header.wrapping_sub(self.size.next_multiple_of(8)), self.size, WHAT)
    }
}

fn long_key(view: &View, header: u64) -> Result<&[u8]> {
    let at = header.wrapping_sub(LONG_KEY_WORD as u64);
    let word = view.load(at, WHAT)?;
    let (length, distance) = (word & 0xffff_ffff, word >> 32);
    if length > MAX_LONG_KEY as u64 || distance < length + LONG_KEY_WORD as u64 || distance > header {
        return Err(Error::damaged(WHAT, at, word));
    }
    view.bytes(header - distance, length, WHAT)
}

/// Makes a record with its key. Gives the offset of its header and the bytes of its archive.
#[inline]
pub(crate) fn create<K: Key, V: Value>(
    tx: &mut Tx<'_>,
    geometry: Geometry,
    key: &[u8],
    value: &V,
) -> Result<(u64, u64)> {
    if !K::VARIABLE {
        return record::create(tx, geometry, key, value);
    }
    let length = key.len() as u64;
    let (block, header, archived) = record::create_after(tx, geometry, length.next_multiple_of(ALIGN), &[], value)?;
    // Fresh memory: nobody refers to it before the index does (T3).
    tx.write_fresh(block, key, WHAT)?;
    let distance = header - block;
    tx.store(header - LONG_KEY_WORD as u64, length | distance << 32, WHAT)?;
    Ok((header, archived))
}
