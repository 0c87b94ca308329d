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
//! | what the root points to (strings, vectors) | unused | root | key | header, 8 bytes |
//! ```
//!
//! - **A1** A record's header has the low byte of the version that its type declares. Among the shapes that a table holds records of no two
//!   have the same byte, and a handle exists only after the type's fingerprint was compared with the one that the catalog has for its
//!   version (R6). So a root whose header has the byte of `V` was written as `V::Archived`; any other is not read as one.
//! - **A2** A value is serialised once, into a buffer of at most [`DRAFT`] bytes that stays in the cache, because only then it is
//!   known which block it needs; the root, which depends on the place, is resolved in the block. A longer one is only measured
//!   the first time, and then archived straight into its block.
//! - **A4** A `RecordMut` is only made of a record whose root was read (inside, aligned) under the pass that it borrows, so it
//!   need not be checked again.
//! - **A5** A record of another version is converted into memory of this process, kept under its type, and only that type
//!   looks there.
//! - **A3** A mutable view of a record exists only after all its bytes were logged, and is dead before the commit (T6).

use crate::error::Error;
use crate::heap::Block;
use crate::region::view::{Bad, View};

use crate::schema::Schema;
use rkyv::api::high::{HighDeserializer, HighSerializer, HighValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::{Failure, Strategy};
use rkyv::seal::Seal;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::ser::sharing::Share;
use rkyv::ser::{Positional, Serializer, Writer, WriterExt};
use rkyv::util::{AlignedVec, with_arena};
use rkyv::validation::Validator;
use rkyv::validation::archive::ArchiveValidator;
use rkyv::validation::shared::SharedValidator;
use rkyv::{Deserialize, Portable, Serialize};
use std::any::TypeId;
use std::num::NonZeroUsize;
use xxhash_rust::xxh3::xxh3_64;

type Result<T, E = Error> = std::result::Result<T, E>;

/// Blocks are aligned to 16 bytes at most, and so is the most that an archived type may ask for.
pub(crate) const MAX_ALIGN: usize = 16;
/// Bytes of a record's header, which ends its block.
const HEADER: usize = 8;
/// Where the version stands in it.
const VERSION_SHIFT: u32 = 32;
/// Longest draft: a copy of so much costs less than serialising it again.
const DRAFT: usize = 16 << 10;

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

/// A value whose archives can be validated: rkyv's derive makes every type one of its own accord.
///
/// Needed where bytes are not trusted: by observers and by [`Options::open_checked`](crate::Options::open_checked).
pub trait CheckedValue: Value<Archived: for<'c> CheckBytes<HighValidator<'c, Failure>>> {}

impl<T> CheckedValue for T where T: Value<Archived: for<'c> CheckBytes<HighValidator<'c, Failure>>> {}

/// What can be read back as a value ([`owned`]): a value of an older shape, or one that has a way back to it.
///
/// Implemented for every type that derives `rkyv::Deserialize` beside what [`Value`] asks for.
pub trait OwnedValue: Value<Archived: Deserialize<Self, HighDeserializer<Failure>>> + Sized {}

impl<T> OwnedValue for T where T: Value<Archived: Deserialize<T, HighDeserializer<Failure>>> {}

/// The archived form of a value.
pub(crate) type ArchivedOf<V> = <V as rkyv::Archive>::Archived;

/// Deepest nesting of archives that is validated: what a damaged record may take of the stack is bounded.
pub const MAX_NESTING: usize = 1024;

/// Whether the bytes hold an archive whose root starts `root` bytes into them: everything it points to is in them, apart from
/// everything else, aligned and valid.
pub(crate) fn is_valid<V: CheckedValue>(bytes: &[u8], root: usize) -> bool {
    let archive = ArchiveValidator::with_max_depth(bytes, NonZeroUsize::new(MAX_NESTING));
    let mut validator = Validator::new(archive, SharedValidator::new());
    let inside = root
        .checked_add(size_of::<V::Archived>())
        .is_some_and(|end| end <= bytes.len());
    inside && rkyv::api::check_pos_with_context::<V::Archived, _, Failure>(bytes, root, &mut validator).is_ok()
}

/// Writes an archive into a block, or drafts it.
#[derive(Debug)]
pub struct BlockWriter<'w> {
    target: Target<'w>,
    position: usize,
    end: usize,
}

#[derive(Debug)]
enum Target<'w> {
    /// Bytes from a position on, as many as [`DRAFT`]; more are only counted.
    Draft(&'w mut Vec<u8>),
    /// The block at an offset.
    Block(&'w View, u64),
    /// Memory of this process.
    Own(&'w mut AlignedVec<16>),
}

impl Positional for BlockWriter<'_> {
    #[inline]
    fn pos(&self) -> usize {
        self.position
    }
}

impl Writer<Failure> for BlockWriter<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> std::result::Result<(), Failure> {
        let next = self.position + bytes.len();
        match &mut self.target {
            Target::Draft(draft) => {
                if draft.len() + bytes.len() <= DRAFT {
                    draft.extend_from_slice(bytes);
                }
            }
            Target::Own(memory) => memory.extend_from_slice(bytes),
            Target::Block(view, start) => {
                if next > self.end {
                    return Err(Failure);
                }
                view.write_fresh(*start + self.position as u64, bytes, "block")
                    .map_err(|_| Failure)?;
            }
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
    /// What the block must be aligned to.
    pub(crate) align: u64,
}

impl Geometry {
    pub(crate) const fn of<V: Value>(key_size: usize) -> Self {
        const {
            assert!(
                align_of::<V::Archived>() <= MAX_ALIGN,
                "an archived type in a region may be aligned to 16 bytes at most"
            );
        }
        Self::with(size_of::<V::Archived>(), align_of::<V::Archived>(), key_size)
    }

    /// The same of a root of that size and alignment, for who does not know the type.
    pub(crate) const fn with(size: usize, align: usize, key_size: usize) -> Self {
        let key = key_size.next_multiple_of(8);
        // A block's end is as aligned as its start, the header lies 8 bytes before it.
        let root = (key + size + HEADER).next_multiple_of(if align > 8 { 16 } else { 8 }) - HEADER;
        Self {
            root: root as u64,
            key: key as u64,
            size: size as u64,
            align: if align > 8 { 16 } else { 8 },
        }
    }
}

/// An archive without its root, before it has a block: what the root points to is the same wherever the block will lie.
#[derive(Debug)]
pub(crate) struct Draft<V: Value> {
    resolver: V::Resolver,
    /// Where it starts in its block.
    from: u64,
    /// Its bytes; they are in the buffer if those are not too many.
    pub(crate) outside: u64,
}

/// Drafts the archive of `value`, which will start `from` bytes into its block, in a buffer that is used again and again (A2).
pub(crate) fn draft<V: Value>(value: &V, from: u64, buffer: &mut Vec<u8>) -> Result<Draft<V>> {
    buffer.clear();
    with_arena(|arena| {
        let mut draft = serializer(arena, Target::Draft(buffer), from as usize, usize::MAX);
        let resolver = value
            .serialize(Strategy::<_, Failure>::wrap(&mut draft))
            .map_err(|Failure| Error::Archive {
                why: "its Serialize failed",
            })?;
        Ok(Draft {
            resolver,
            from,
            outside: draft.into_writer().position as u64 - from,
        })
    })
}

/// Archives `value` into `block`, of which `draft` and `buffer` are the draft: what lies outside the root, which ends at a fixed
/// distance from the header at `header`, then the root. Gives the bytes of the archive.
pub(crate) fn write<V: Value>(
    view: &View,
    value: &V,
    (draft, buffer): (Draft<V>, &[u8]),
    geometry: Geometry,
    block: Block,
    header: u64,
) -> Result<u64> {
    let root = (header - geometry.root - block.offset) as usize;
    let Draft {
        mut resolver,
        from,
        outside,
    } = draft;
    if from + outside > root as u64 {
        return Err(Error::Archive {
            why: "it did not fit the block that was made for it",
        });
    }
    if buffer.len() as u64 == outside {
        view.write_fresh(block.offset + from, buffer, "block")?;
    } else {
        resolver = with_arena(|arena| {
            let mut archive = serializer(arena, Target::Block(view, block.offset), from as usize, root);
            value
                .serialize(Strategy::<_, Failure>::wrap(&mut archive))
                .map_err(|Failure| Error::Archive {
                    why: "it was longer than when it was measured",
                })
        })?;
    }
    let mut writer = BlockWriter {
        target: Target::Block(view, block.offset),
        position: root,
        end: root + geometry.size as usize,
    };
    // SAFETY: `resolver` is what serialising this very value gave, to these positions.
    let at = unsafe { WriterExt::<Failure>::resolve_aligned(&mut writer, value, resolver) }.map_err(|Failure| {
        Error::Archive {
            why: "its root did not fit its place",
        }
    })?;
    if at != root {
        return Err(Error::Archive {
            why: "its root is aligned otherwise than its type says",
        });
    }
    Ok(outside + geometry.size)
}

type BlockSerializer<'w, 'a> = Serializer<BlockWriter<'w>, ArenaHandle<'a>, Share>;

fn serializer<'w, 'a>(
    arena: &'a mut rkyv::ser::allocator::Arena,
    target: Target<'w>,
    position: usize,
    end: usize,
) -> BlockSerializer<'w, 'a> {
    let writer = BlockWriter { target, position, end };
    Serializer::new(writer, arena.acquire(), Share::new())
}

/// The low byte of the version that a type declares: what the header of each of its records has (A1).
pub(crate) const fn version<V: Schema>() -> u8 {
    V::VERSION as u8
}

/// The same byte in the header's word.
#[inline(always)]
pub(crate) const fn version_in(header: u64) -> u8 {
    (header >> VERSION_SHIFT) as u8
}

/// The root of the record whose header is at `header`, for as long as the view is lent out.
#[inline]
pub(crate) fn root<V: Value>(view: &View, header: u64, geometry: Geometry) -> Result<&V::Archived> {
    let word = view.load(header, "record header")?;
    if version_in(word) != version::<V>() {
        return Err(Error::damaged("schema version of a record", header, word));
    }
    let size = size_of::<V::Archived>() as u64;
    let offset = header.wrapping_sub(geometry.root);
    let pointer = view.pointer(offset, size, align_of::<V::Archived>() as u64, "record")?;
    // SAFETY: inside, aligned (V1) and not written while lent out (V4); it was written as this type (A1).
    Ok(unsafe { pointer.cast::<V::Archived>().as_ref() })
}

/// The root in the bytes of a record's tail, which were checked to be inside.
#[inline(always)]
pub(crate) fn root_in<V: Value>(tail: &[u8], geometry: Geometry) -> Result<&V::Archived, Bad> {
    let root = tail.len().wrapping_sub(HEADER + geometry.root as usize);
    let version = root + geometry.root as usize + VERSION_SHIFT as usize / 8;
    if tail.get(version) != Some(&self::version::<V>()) {
        return Err(Bad);
    }
    let Some(bytes) = tail.get(root..root + size_of::<V::Archived>()) else {
        return Err(Bad);
    };
    let pointer = bytes.as_ptr().cast::<V::Archived>();
    // A header's place is a multiple of 8, and so is the distance from it.
    if align_of::<V::Archived>() > 8 && !pointer.is_aligned() {
        return Err(Bad);
    }
    // SAFETY: the bytes are as many, aligned, lent out as long (V4), and were written as this type (A1).
    Ok(unsafe { &*pointer })
}

/// The root of a record whose root was looked at before, under the same pass (A4).
#[inline(always)]
pub(crate) fn known_root<V: Value>(view: &View, offset: u64) -> &V::Archived {
    // SAFETY: it was checked then (A4), and memory is not given back; not written while lent out (V4).
    unsafe { view.known(offset).cast::<V::Archived>().as_ref() }
}

/// The value of the record whose header is at `header`.
pub(crate) fn owned_at<V: OwnedValue>(view: &View, header: u64, geometry: Geometry) -> Result<V> {
    owned(root::<V>(view, header, geometry)?)
}

/// The value that an archived one was made of, in memory of this process: to be kept, or to be changed in ways that no change in place allows,
/// and put back.
///
/// ```
/// # fn main() -> shmstate::Result<()> {
/// # use shmstate::{Map, Region};
/// # let mut region = Region::in_memory(4 << 20)?;
/// # let gate = region.gate().clone();
/// # let pass = gate.enter()?;
/// # let mut tx = region.begin(&pass)?;
/// let names: Map<u64, String> = Map::create(&mut tx, "names")?;
/// names.insert(&mut tx, &7, &"Ada".to_owned())?;
/// let mut name: String = shmstate::owned(names.get(&tx, &7)?.expect("just inserted"))?;
/// name.push_str(" Lovelace");
/// names.insert(&mut tx, &7, &name)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Archive`] if the type's `Deserialize` fails; those that `rkyv` writes for numbers, strings and containers of them do not.
pub fn owned<V: OwnedValue>(archived: &V::Archived) -> Result<V> {
    rkyv::deserialize::<V, Failure>(archived).map_err(|Failure| Error::Archive {
        why: "its Deserialize failed",
    })
}

/// Archives `value` in memory of this process, which is `MAX_ALIGN` aligned. Gives where the root is.
fn in_memory<V: Value>(value: &V) -> Result<(AlignedVec<16>, usize)> {
    let mut memory = AlignedVec::<16>::new();
    let resolver = with_arena(|arena| {
        let mut archive = serializer(arena, Target::Own(&mut memory), 0, usize::MAX);
        value.serialize(Strategy::<_, Failure>::wrap(&mut archive))
    });
    let failed = |Failure| Error::Archive {
        why: "its Serialize failed",
    };
    let resolver = resolver.map_err(failed)?;
    let mut writer = BlockWriter {
        position: memory.len(),
        end: usize::MAX,
        target: Target::Own(&mut memory),
    };
    WriterExt::<Failure>::align_for::<V::Archived>(&mut writer).map_err(failed)?;
    // SAFETY: `resolver` is what serialising this very value gave, to these positions.
    let root = unsafe { WriterExt::<Failure>::resolve_aligned(&mut writer, value, resolver) }.map_err(failed)?;
    Ok((memory, root))
}

/// The root of a record that is of another version, converted into memory of this process perhaps just now by `convert`, for as long
/// as the view is lent out (A5). `key`: row, header, and the header's word.
pub(crate) fn converted<V: Value>(
    view: &View,
    key: [u64; 3],
    convert: impl FnOnce() -> Result<V>,
) -> Result<&V::Archived> {
    let root = view
        .mixed()
        .converted((TypeId::of::<V>(), key), || in_memory(&convert()?))?;
    // SAFETY: under this type stands only what `in_memory` made of it, aligned (A5); the memory stays where it is until the view is
    // borrowed mutably (B3 of `region::mixed`).
    Ok(unsafe { root.cast::<V::Archived>().as_ref() })
}

/// A value as a record that lies in memory of this process, for as long as the view is lent out (A5). `key`: row, and a hash of the record's key. It is known
/// again by what it is, for it may follow from anything in the region, not from one record alone.
pub(crate) fn lent<'v, V: Value>(view: &'v View, [row, name]: [u64; 2], value: &V) -> Result<&'v V::Archived> {
    let made = in_memory(value)?;
    let key = [row, name, xxh3_64(&made.0)];
    let root = view.mixed().converted((TypeId::of::<V>(), key), || Ok(made))?;
    // SAFETY: as in `converted`.
    Ok(unsafe { root.cast::<V::Archived>().as_ref() })
}

/// Lends the record at `root` for changes; all bytes from `start` to the root's end are logged (A3).
pub(crate) fn seal<V: Value>(view: &mut View, root: u64) -> Result<Seal<'_, V::Archived>> {
    let size = size_of::<V::Archived>() as u64;
    let pointer = view.pointer(root, size, align_of::<V::Archived>() as u64, "record")?;
    // SAFETY: as in `root`; exclusive, because the view is borrowed mutably, which only the one open transaction can do.
    Ok(Seal::new(unsafe { pointer.cast::<V::Archived>().as_mut() }))
}

/// Where in the region a reference points to.
#[cfg(test)]
pub(crate) fn offset_of<F>(view: &View, field: &F) -> u64 {
    (std::ptr::from_ref(field) as usize - view.known(0).as_ptr() as usize) as u64
}

/// How far behind `root` the field lies; a field before it gives a number that is no distance.
#[inline(always)]
pub(crate) fn distance<R, F>(root: &R, field: &F) -> u64 {
    (std::ptr::from_ref(field) as usize as u64).wrapping_sub(std::ptr::from_ref(root) as usize as u64)
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

#[cfg(test)]
mod tests {
    use super::DRAFT;
    use crate::{Map, Region, Result};

    #[test]
    fn archives_around_the_length_of_a_draft() {
        let mut region = Region::in_memory(16 << 20).expect("region");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let value = |length: usize| {
            (
                vec![length as u8; length / 2],
                vec![!(length as u8); length - length / 2],
            )
        };
        let mut tx = region.begin(&pass).expect("begin");
        let map: Map<u64, (Vec<u8>, Vec<u8>)> = Map::create(&mut tx, "long").expect("map");
        let mut check = |key: u64, length: usize| -> Result<()> {
            map.insert(&mut tx, &key, &value(length))?;
            let found = map.get(&tx, &key)?.expect("just inserted");
            assert_eq!((found.0.to_vec(), found.1.to_vec()), value(length), "{length}");
            Ok(())
        };
        for length in [0, 1, DRAFT - 1, DRAFT, DRAFT + 1, 2 * DRAFT, 5 * DRAFT] {
            check(length as u64, length).expect("new");
            // Replaced by a shorter and a longer one, in its block and elsewhere.
            for other in [DRAFT, 3, length + 2, length] {
                check(length as u64, other).expect("replaced");
            }
        }
        tx.commit().expect("commit");
    }
}
