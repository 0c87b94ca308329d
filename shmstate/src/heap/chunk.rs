//! The chunk table: what each 64 KiB chunk of the heap is used for. It lies outside the memory that it describes (T3).
//!
//! ```text
//! 0 u32 kind · u32 class or length in chunks      8 u32 free slots · u32 first bitmap word that may have one
//! 16 u32 next · u32 previous (chunk index + 1)   24 u64 reserved      32 [32 x u64] bitmap, 1 = slot in use
//! ```
//!
//! `next` and `previous` link chunks of one class that have a free slot, or free runs of like length. The entry of a
//! chunk inside a run, neither first nor last, means nothing.

use crate::error::{Error, Result};
use crate::heap::classes;
use crate::region::header::{CHUNK, CHUNK_ENTRY, Layout, at};
use crate::region::view::View;
use crate::tx::Tx;

const WHAT: &str = "chunk table";
/// Words of a bitmap.
pub(crate) const BITMAP_WORDS: u64 = 32;
const BITMAP: u64 = 32;

const _: () = {
    assert!(BITMAP + BITMAP_WORDS * 8 == CHUNK_ENTRY);
    assert!(CHUNK / classes::LEAST <= BITMAP_WORDS * 64);
};

/// What a chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Slots of a size class.
    Slots {
        /// The class.
        class: usize,
    },
    /// First chunk of a run in use, of so many chunks.
    Run {
        /// Chunks.
        length: u64,
    },
    /// Last chunk of such a run.
    RunEnd {
        /// Chunks.
        length: u64,
    },
    /// First chunk of a free run.
    Free {
        /// Chunks.
        length: u64,
    },
    /// Last chunk of a free run.
    FreeEnd {
        /// Chunks.
        length: u64,
    },
    /// First or last chunk of an extent of the undo log that the heap has grown past.
    Log {
        /// Chunks.
        length: u64,
    },
}

impl Kind {
    fn word(self) -> u64 {
        let (kind, number) = match self {
            Self::Slots { class } => (1, class as u64),
            Self::Run { length } => (2, length),
            Self::RunEnd { length } => (3, length),
            Self::Free { length } => (4, length),
            Self::FreeEnd { length } => (5, length),
            Self::Log { length } => (6, length),
        };
        kind | number << 32
    }
}

/// Two halves of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Halves {
    pub(crate) low: u32,
    pub(crate) high: u32,
}

impl Halves {
    fn of(word: u64) -> Self {
        Self {
            low: word as u32,
            high: (word >> 32) as u32,
        }
    }

    fn word(self) -> u64 {
        u64::from(self.low) | u64::from(self.high) << 32
    }
}

/// The entry of one chunk that is in use by the heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) index: u64,
    entry: u64,
}

/// The table of a region.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    heap: u64,
    chunks: u64,
}

impl Table {
    pub(crate) fn of(layout: &Layout) -> Self {
        Self {
            heap: layout.heap,
            chunks: layout.chunks,
        }
    }

    /// Chunks that the heap uses.
    pub(crate) fn used(self, view: &View) -> u64 {
        view.header(at::HEAP_END).saturating_sub(self.heap) / CHUNK
    }

    /// The entry of chunk `index`.
    #[inline]
    pub(crate) fn chunk(self, view: &View, index: u64) -> Result<Chunk> {
        if index >= self.used(view) {
            return Err(Error::damaged(WHAT, self.chunks, index));
        }
        Ok(Chunk {
            index,
            entry: self.chunks + index * CHUNK_ENTRY,
        })
    }

    /// The chunk that `offset` lies in.
    #[inline]
    pub(crate) fn chunk_at(self, view: &View, offset: u64) -> Result<Chunk> {
        self.chunk(view, offset.wrapping_sub(self.heap) / CHUNK)
    }

    /// Where chunk `index` starts.
    #[inline]
    pub(crate) fn start(self, index: u64) -> u64 {
        self.heap + index * CHUNK
    }
}

impl Chunk {
    pub(crate) fn kind(self, view: &View) -> Result<Kind> {
        let word = view.load(self.entry, WHAT)?;
        let number = word >> 32;
        let bad = Error::damaged(WHAT, self.entry, word);
        Ok(match word as u32 {
            1 if (number as usize) < classes::COUNT => Kind::Slots { class: number as usize },
            2 if number > 0 => Kind::Run { length: number },
            3 if number > 1 => Kind::RunEnd { length: number },
            4 if number > 0 => Kind::Free { length: number },
            5 if number > 1 => Kind::FreeEnd { length: number },
            6 if number > 1 => Kind::Log { length: number },
            _ => return Err(bad),
        })
    }

    pub(crate) fn set_kind(self, tx: &mut Tx<'_>, kind: Kind) -> Result<()> {
        tx.put(self.entry, kind.word(), WHAT)
    }

    /// Free slots, and the first bitmap word that may have one.
    #[inline]
    pub(crate) fn free(self, view: &View) -> Result<Halves> {
        Ok(Halves::of(view.load(self.entry + 8, WHAT)?))
    }

    #[inline]
    pub(crate) fn set_free(self, tx: &mut Tx<'_>, free: Halves) -> Result<()> {
        tx.put(self.entry + 8, free.word(), WHAT)
    }

    /// Next (low) and previous (high) chunk in its list, each as index + 1, 0 for none.
    pub(crate) fn links(self, view: &View) -> Result<Halves> {
        Ok(Halves::of(view.load(self.entry + 16, WHAT)?))
    }

    pub(crate) fn set_links(self, tx: &mut Tx<'_>, links: Halves) -> Result<()> {
        tx.put(self.entry + 16, links.word(), WHAT)
    }

    /// Writes the whole entry of a chunk that becomes slots of `class`, all of them free and in no list.
    pub(crate) fn format(self, tx: &mut Tx<'_>, class: usize) -> Result<()> {
        let mut words = [0; (CHUNK_ENTRY / 8) as usize];
        words[0] = Kind::Slots { class }.word();
        words[1] = classes::slots(class);
        tx.put_all(self.entry, &words, WHAT)
    }

    #[inline]
    pub(crate) fn bits(self, view: &View, word: u64) -> Result<u64> {
        view.load(self.entry + BITMAP + (word % BITMAP_WORDS) * 8, WHAT)
    }

    #[inline]
    pub(crate) fn set_bits(self, tx: &mut Tx<'_>, word: u64, bits: u64) -> Result<()> {
        tx.put(self.entry + BITMAP + (word % BITMAP_WORDS) * 8, bits, WHAT)
    }

    pub(crate) fn damaged(self, found: u64) -> Error {
        Error::damaged(WHAT, self.entry, found)
    }
}
