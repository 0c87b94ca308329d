//! Copies one record: finds its block in the chunk table, copies the block, and says whether the copy is whole.
//!
//! - **C1** A record is copied only from a block that the chunk table says is in use and belongs to the table, and that ends with
//!   the record's header (P2 of `heap`): wherever a torn walk has led, what is copied is a record or was one.
//! - **C2** Its header's word is loaded before and after. The writer makes the sequence odd before the first changed byte and even
//!   after the last (SEQUENCE pair), changes the generation when it writes another record there, and makes it 0 when the record is
//!   taken away. So an even and equal header means that nothing but at most one word changed in between: that of a
//!   transaction of one word, whose sequence follows it (WORD pair), or a timer's period (N5 of `table::timers`); such a copy is the
//!   record before or after that one store.

use super::memory::acquire;
use super::source::{Source, torn};
use crate::archive::{self, Geometry};
use crate::error::{Error, Result};
use crate::heap::chunk::{BITMAP, Kind};
use crate::heap::{Block, Owner, classes};
use crate::region::header::{CHUNK, CHUNK_ENTRY, Layout, at};
use crate::table::key::LONG_KEY_WORD;
use crate::table::keyed::{Stored, read_word};
use crate::table::record::HEADER;
use crate::tx::undo::CHANGING;
use rkyv::util::AlignedVec;
use std::ops::Deref;
use std::sync::Arc;

/// Words that are copied at a time.
const PIECE: usize = 32;
const WHAT: &str = "record";
const CHUNKS: &str = "chunk table";

/// What the records of a table look like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) owner: Owner,
    pub(crate) geometry: Geometry,
    /// How they keep their keys.
    pub(crate) keys: Stored,
}

/// A copy of a record's block.
#[derive(Debug)]
pub(crate) struct Raw {
    /// Offset of the record's header in the region.
    pub(crate) header: u64,
    /// The header's word as it was in memory.
    pub(crate) word: u64,
    bytes: Held,
    /// Where the block begins and ends, as aligned as it is in the region.
    start: usize,
    end: usize,
}

/// What holds a copy.
#[derive(Debug)]
enum Held {
    /// This block and nothing else.
    Alone(AlignedVec<16>),
    /// The blocks that were copied together.
    Shared(Arc<AlignedVec<16>>),
}

impl Deref for Held {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Alone(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

impl Raw {
    /// The block.
    pub(crate) fn block(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Low byte of the version of what was copied. The word in memory does not say it: the record may have been taken away since.
    pub(crate) fn version(&self) -> u8 {
        let header = self.block().last_chunk::<8>();
        archive::version_in(header.map_or(0, |header| u64::from_le_bytes(*header)))
    }

    fn before_header(&self, distance: u64) -> usize {
        (self.end as u64).saturating_sub(HEADER + distance) as usize
    }

    /// The encoded key; empty if it is not in the block.
    pub(crate) fn key(&self, shape: &Shape) -> &[u8] {
        let start = self.before_header(shape.geometry.key);
        if !shape.keys.variable {
            return &self.bytes[start..start + shape.keys.size as usize];
        }
        let word = self.bytes[start..self.end]
            .first_chunk()
            .map_or(0, |word| u64::from_le_bytes(*word));
        let header = (self.block().len() as u64).saturating_sub(HEADER);
        let place = read_word(word, header).ok();
        place
            .and_then(|(length, start)| self.block().get(start as usize..(start + length) as usize))
            .unwrap_or(&[])
    }

    /// The block up to the header, and where the root starts in it.
    pub(crate) fn archive(&self, shape: &Shape) -> (&[u8], usize) {
        let block = self.block();
        let end = block.len().saturating_sub(HEADER as usize);
        (&block[..end], end.saturating_sub(shape.geometry.root as usize))
    }

    /// All bytes up to the header, and where the root starts in them.
    pub(crate) fn into_archive(self, shape: &Shape) -> (AlignedVec<16>, usize) {
        let root = self.before_header(shape.geometry.root);
        match self.bytes {
            Held::Alone(bytes) => (bytes, root),
            Held::Shared(bytes) => {
                // Aligned as there.
                let start = self.start - self.start % 16;
                let mut own = AlignedVec::with_capacity(self.end - start);
                own.extend_from_slice(&bytes[start..self.end]);
                (own, root - start)
            }
        }
    }
}

/// The block of `owner` that ends with the header at `header` (C1).
fn bounds<S: Source>(source: &mut S, layout: &Layout, owner: Owner, header: u64) -> Result<Block> {
    let wrong = |found| Error::damaged("place of a record", header, found);
    let inside = header.checked_sub(layout.heap).ok_or_else(|| wrong(0))?;
    let (index, end) = (inside / CHUNK, inside % CHUNK + HEADER);
    // Memory that was not taken is not touched, nor are its entries.
    if header.saturating_add(HEADER) > source.memory().size(at::TAKEN) || index >= layout.chunk_count {
        return Err(wrong(index));
    }
    let entry_of = |index: u64| layout.chunks + index * CHUNK_ENTRY;
    let word = source.word(entry_of(index), CHUNKS)?;
    match Kind::of(word) {
        Some(Kind::Slots { owner: found, class }) if found == owner => {
            let next = classes::slot(class, end);
            if next == 0 || next * classes::size(class) != end {
                return Err(wrong(end));
            }
            let slot = next - 1;
            let bits = source.word(entry_of(index) + BITMAP + slot / 64 * 8, CHUNKS)?;
            if bits >> (slot % 64) & 1 == 0 {
                return Err(wrong(bits));
            }
            let size = classes::size(class);
            Ok(Block {
                offset: header + HEADER - size,
                size,
            })
        }
        Some(Kind::Run {
            owner: found,
            length: 1,
        }) if found == owner && end == CHUNK => Ok(Block {
            offset: header + HEADER - CHUNK,
            size: CHUNK,
        }),
        Some(Kind::RunEnd { length }) if length <= index + 1 && end == CHUNK => {
            let first = source.word(entry_of(index + 1 - length), CHUNKS)?;
            if Kind::of(first) != Some(Kind::Run { owner, length }) {
                return Err(wrong(first));
            }
            Ok(Block {
                offset: header + HEADER - length * CHUNK,
                size: length * CHUNK,
            })
        }
        _ => Err(wrong(word)),
    }
}

/// Copies the record whose header is at `header`.
pub(crate) fn copy<S: Source>(source: &mut S, layout: &Layout, shape: &Shape, header: u64) -> Result<Raw> {
    let mut bytes = AlignedVec::new();
    let copy = copy_to(&mut bytes, source, layout, shape, header)?;
    Ok(copy.raw(Held::Alone(bytes)))
}

/// Where the copy of a block lies.
#[derive(Clone, Copy, Debug)]
struct Copy {
    header: u64,
    word: u64,
    start: usize,
    end: usize,
}

impl Copy {
    fn raw(self, bytes: Held) -> Raw {
        Raw {
            header: self.header,
            word: self.word,
            bytes,
            start: self.start,
            end: self.end,
        }
    }
}

/// Records that are copied together, which takes one piece of memory and not one each.
#[derive(Debug)]
pub(crate) struct Copies<'t> {
    layout: Layout,
    shape: &'t Shape,
    bytes: AlignedVec<16>,
    copies: Vec<Result<Copy>>,
}

impl<'t> Copies<'t> {
    /// None yet, and room for about `count`.
    pub(crate) fn new(layout: Layout, shape: &'t Shape, count: usize) -> Self {
        Self {
            layout,
            shape,
            bytes: AlignedVec::new(),
            copies: Vec::with_capacity(count),
        }
    }

    /// Copies one; what is damaged is kept as its error.
    ///
    /// # Errors
    /// [`Error::Retry`].
    pub(crate) fn add<S: Source>(&mut self, source: &mut S, header: u64) -> Result<()> {
        let length = self.bytes.len();
        let copy = copy_to(&mut self.bytes, source, &self.layout, self.shape, header);
        match copy {
            Err(error @ Error::Retry { .. }) => return Err(error),
            Err(_) => self.bytes.resize(length, 0),
            Ok(_) => {}
        }
        self.copies.push(copy);
        Ok(())
    }

    /// The copies, in their order.
    pub(crate) fn done(self) -> impl Iterator<Item = Result<Raw>> {
        let bytes = Arc::new(self.bytes);
        let copies = self.copies.into_iter();
        copies.map(move |copy| copy.map(|copy| copy.raw(Held::Shared(Arc::clone(&bytes)))))
    }
}

/// Copies a block behind what is in `to`. What is there after an error means nothing.
fn copy_to<S: Source>(
    to: &mut AlignedVec<16>,
    source: &mut S,
    layout: &Layout,
    shape: &Shape,
    header: u64,
) -> Result<Copy> {
    let commits = source.memory().header(at::COMMITS);
    let word = source.memory().load(header, WHAT)?;
    // SEQUENCE and WORD pairs: what follows is newer than this word.
    acquire();
    let block = bounds(source, layout, shape.owner, header)?;
    const { assert!(LONG_KEY_WORD == 8) };
    // A record of an older shape may be shorter than one of the table's: whoever reads it as its type looks at its version first.
    let least = shape.geometry.key + HEADER;
    if block.size < least {
        return Err(Error::damaged("size of a record", header, block.size));
    }
    // The block is as aligned here as it is there.
    let start = to.len().next_multiple_of(16) + (block.offset % 16) as usize;
    let end = start + block.size as usize;
    to.reserve(end - to.len());
    to.resize(end, 0);
    let mut piece = [0; PIECE];
    let mut last = 0;
    for (i, to) in to[start..].chunks_mut(PIECE * 8).enumerate() {
        let words = &mut piece[..to.len() / 8];
        source.copy(block.offset + (i * PIECE * 8) as u64, words, WHAT)?;
        for (to, word) in to.as_chunks_mut().0.iter_mut().zip(&*words) {
            *to = word.to_le_bytes();
        }
        last = words.last().copied().unwrap_or(0);
    }
    acquire();
    let same = source.memory().load(header, WHAT)? == word && word & CHANGING == 0;
    let quiet = source.memory().header(at::COMMITS) == commits;
    // The generation of what was copied: 0 if the record was taken away.
    if last as u32 == 0 || !source.whole(same, quiet) {
        return Err(torn(WHAT));
    }
    Ok(Copy {
        header,
        word,
        start,
        end,
    })
}
