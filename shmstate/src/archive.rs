#![expect(
    unsafe_code,
    reason = "typed references into the region, and Seal over logged records"
)]
//! rkyv archives in blocks of the region: the only importer of rkyv outside `schema`.
//!
//! A record's archive lies in its block so that the root is at a fixed distance from the block's end, whatever the length
//! of the rest:
//!
//! ```text
//! block start                                                              block end
//! | what the root points to (strings, vectors) | unused | root | key | header, 16 bytes |
//! ```
//!
//! A table may have the first bytes of the block for itself (keys of variable length); the archive then starts behind them.
//!
//! - **A1** The type of a table's records is the one whose fingerprint stands in the catalog; a handle exists only after that
//!   was compared (R6). So a root read as `V::Archived` was written as one.
//! - **A2** A value is measured first and then archived straight into its block: no buffer in between.
//! - **A3** A mutable view of a record exists only after all its bytes were logged, and is dead before the commit (T6).

use crate::error::{Error, Result};
use crate::heap::{self, Block};
use crate::region::view::View;
use crate::schema::Schema;
use crate::tx::Tx;
use rkyv::api::high::HighSerializer;
use rkyv::rancor::{Failure, Strategy};
use rkyv::seal::Seal;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::ser::sharing::Share;
use rkyv::ser::{Positional, Serializer, Writer, WriterExt};
use rkyv::util::with_arena;
use rkyv::{Portable, Serialize};

/// Blocks are 16-byte aligned, and so is the most that an archived type may ask for.
pub(crate) const MAX_ALIGN: usize = 16;

/// What can be a record: a type with a schema that rkyv can archive into a region.
///
/// Implemented for every type with `#[derive(rkyv::Archive, rkyv::Serialize, shmstate::Schema)]`.
pub trait Value:
    Schema<Archived: Portable> + for<'w, 'a> Serialize<HighSerializer<BlockWriter<'w>, ArenaHandle<'a>, Failure>>
{
}

impl<T> Value for T where
    T: Schema<Archived: Portable> + for<'w, 'a> Serialize<HighSerializer<BlockWriter<'w>, ArenaHandle<'a>, Failure>>
{
}

/// Writes an archive into a block, or only measures it.
#[derive(Debug)]
pub struct BlockWriter<'w> {
    target: Option<(&'w View, u64)>,
    position: usize,
    end: usize,
}

impl Positional for BlockWriter<'_> {
    fn pos(&self) -> usize {
        self.position
    }
}

impl Writer<Failure> for BlockWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::result::Result<(), Failure> {
        let next = self.position + bytes.len();
        if let Some((view, start)) = self.target {
            if next > self.end {
                return Err(Failure);
            }
            view.write_fresh(start + self.position as u64, bytes, "block")
                .map_err(|_| Failure)?;
        }
        self.position = next;
        Ok(())
    }
}

/// Bytes of an archived root and where it lies before the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// Distance from the root to the record's header.
    pub(crate) root: u64,
    /// Distance from the key to the record's header.
    pub(crate) key: u64,
    /// Bytes of the root.
    pub(crate) size: u64,
}

impl Geometry {
    pub(crate) const fn of<V: Value>(key_size: usize) -> Self {
        const {
            assert!(
                align_of::<V::Archived>() <= MAX_ALIGN,
                "an archived type in a region may be aligned to 16 bytes at most"
            );
        }
        let size = size_of::<V::Archived>();
        let key = key_size.next_multiple_of(8);
        Self {
            root: (key + size).next_multiple_of(align_of::<V::Archived>()) as u64,
            key: key as u64,
            size: size as u64,
        }
    }
}

/// Archives `value` into a fresh block that starts with `before` bytes for the table, a multiple of 16, and ends with `tail`
/// bytes after the root's place. Gives the block and the bytes of the archive (A2).
pub(crate) fn write<V: Value>(
    tx: &mut Tx<'_>,
    value: &V,
    geometry: Geometry,
    before: u64,
    tail: u64,
) -> Result<(Block, u64)> {
    with_arena(|arena| {
        let mut measure = serializer(arena, None, 0, usize::MAX);
        value
            .serialize(Strategy::<_, Failure>::wrap(&mut measure))
            .map_err(|Failure| Error::Archive {
                why: "its Serialize failed while being measured",
            })?;
        let outside = measure.into_writer().position as u64;
        let block = heap::alloc(tx, before + outside + geometry.root + tail)?;
        let root = (block.size - tail - geometry.root) as usize;
        let view: &View = tx;
        let mut archive = serializer(arena, Some((view, block.offset)), before as usize, root);
        let resolver = value
            .serialize(Strategy::<_, Failure>::wrap(&mut archive))
            .map_err(|Failure| Error::Archive {
                why: "it was longer than when it was measured",
            })?;
        let written = archive.writer.position as u64 - before;
        archive.writer.position = root;
        archive.writer.end = root + geometry.size as usize;
        // SAFETY: `resolver` is what serialising this very value into this writer gave.
        let at = unsafe { WriterExt::<Failure>::resolve_aligned(&mut archive.writer, value, resolver) }.map_err(
            |Failure| Error::Archive {
                why: "its root did not fit its place",
            },
        )?;
        if at != root {
            return Err(Error::Archive {
                why: "its root is aligned otherwise than its type says",
            });
        }
        Ok((block, written + geometry.size))
    })
}

type BlockSerializer<'w, 'a> = Serializer<BlockWriter<'w>, ArenaHandle<'a>, Share>;

fn serializer<'w, 'a>(
    arena: &'a mut rkyv::ser::allocator::Arena,
    target: Option<(&'w View, u64)>,
    position: usize,
    end: usize,
) -> BlockSerializer<'w, 'a> {
    let writer = BlockWriter { target, position, end };
    Serializer::new(writer, arena.acquire(), Share::new())
}

/// The root at `offset`, for as long as the view is lent out.
#[inline]
pub(crate) fn root<V: Value>(view: &View, offset: u64) -> Result<&V::Archived> {
    let size = size_of::<V::Archived>() as u64;
    let pointer = view.pointer(offset, size, align_of::<V::Archived>() as u64, "record")?;
    // SAFETY: inside, aligned (V1) and not written while lent out (V4); it was written as this type (A1).
    Ok(unsafe { pointer.cast::<V::Archived>().as_ref() })
}

/// Lends the record at `root` for changes; all bytes from `start` to the root's end are logged (A3).
pub(crate) fn seal<V: Value>(view: &mut View, root: u64) -> Result<Seal<'_, V::Archived>> {
    let size = size_of::<V::Archived>() as u64;
    let pointer = view.pointer(root, size, align_of::<V::Archived>() as u64, "record")?;
    // SAFETY: as in `root`; exclusive, because the view is borrowed mutably, which only the one open transaction can do.
    Ok(Seal::new(unsafe { pointer.cast::<V::Archived>().as_mut() }))
}

/// Where in the region a reference points to, if it points into it at all.
pub(crate) fn offset_of<F>(view: &View, field: &F) -> Option<u64> {
    let base = view.pointer(0, 8, 8, "header").ok()?.as_ptr() as usize;
    let address = std::ptr::from_ref(field) as usize;
    address.checked_sub(base).map(|offset| offset as u64)
}

/// Writes a field in place. The range was logged and nobody refers to it.
#[inline]
pub(crate) fn store<F: Copy>(view: &View, offset: u64, value: F) -> Result<()> {
    let size = size_of::<F>() as u64;
    let pointer = view.pointer(offset, size, align_of::<F>() as u64, "field")?;
    // SAFETY: inside and aligned (V1); volatile, so that it stays between the log and the commit (T6); exclusive (V4).
    unsafe { pointer.cast::<F>().write_volatile(value) };
    view.record(offset, size);
    Ok(())
}
