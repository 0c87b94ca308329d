//! The chunk table: what each 64 KiB chunk of the heap is used for. It lies outside the memory that it describes (T3).
//!
//! ```text
//!  0 u8 kind · u8 owner · u16 0 · u32 class or length in chunks       8 u32 free slots · u32 0
//! 16 u32 next · u32 previous                                         24 u32 next of the owner · u32 previous of the owner
//! 32 [32 x u64] bitmap, 1 = slot in use
//! ```
//!
//! A link is a chunk's index + 1, 0 for none. `next` and `previous` link chunks of one owner and class that have a free slot,
//! or free runs of like length, or holes; the links of the owner connect all chunks of a table. The entry of a chunk inside a run, neither
//! first nor last, means nothing.

use crate::error::{Error, Result};
use crate::heap::{Owner, classes};
use crate::region::header::{CHUNK, CHUNK_ENTRY, Layout, at};
use crate::region::view::View;
use crate::tx::Tx;

const WHAT: &str = "chunk table";
/// Words of a bitmap.
pub(crate) const BITMAP_WORDS: u64 = 32;
/// Where it starts in the entry.
pub(crate) const BITMAP: u64 = 32;

const _: () = {
    assert!(BITMAP + BITMAP_WORDS * 8 == CHUNK_ENTRY);
    assert!(CHUNK / classes::LEAST <= BITMAP_WORDS * 64);
};

/// What a chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Slots of a size class.
    Slots {
        /// Whose blocks they hold.
        owner: Owner,
        /// The class.
        class: usize,
    },
    /// First chunk of a run in use, of so many chunks.
    Run {
        /// Whose block it is.
        owner: Owner,
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
    /// First or last chunk of a free run whose memory was given back: it must be taken again before it is used.
    Hole {
        /// Chunks.
        length: u64,
    },
}

impl Kind {
    pub(crate) fn word(self) -> u64 {
        let (kind, owner, number) = match self {
            Self::Slots { owner, class } => (1, owner.number(), class as u64),
            Self::Run { owner, length } => (2, owner.number(), length),
            Self::RunEnd { length } => (3, 0, length),
            Self::Free { length } => (4, 0, length),
            Self::FreeEnd { length } => (5, 0, length),
            Self::Log { length } => (6, 0, length),
            Self::Hole { length } => (7, 0, length),
        };
        kind | owner << 8 | number << 32
    }

    pub(crate) fn of(word: u64) -> Option<Self> {
        let number = word >> 32;
        let owner = Owner::from_number(word >> 8 & 0xff)?;
        let kind = match word as u8 {
            1 if (number as usize) < classes::COUNT => Self::Slots {
                owner,
                class: number as usize,
            },
            2 if number > 0 => Self::Run { owner, length: number },
            3 if number > 1 => Self::RunEnd { length: number },
            4 if number > 0 => Self::Free { length: number },
            5 if number > 1 => Self::FreeEnd { length: number },
            6 if number > 1 => Self::Log { length: number },
            7 if number > 0 => Self::Hole { length: number },
            _ => return None,
        };
        // What the kind does not use is zero.
        (kind.word() == word).then_some(kind)
    }
}

/// Low half of the word of a chunk with slots of `owner`.
#[inline]
pub(crate) const fn slots_of(owner: Owner) -> u16 {
    1 | (owner.number() as u16) << 8
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

/// Which of its two lists a chunk is linked in; the number is where its links lie in the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum List {
    /// Chunks of a class with room, or free runs.
    Room = 16,
    /// All chunks of a table.
    Owner = 24,
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

    #[inline]
    pub(crate) fn in_view(view: &View) -> Self {
        let places = view.places();
        Self {
            heap: places.heap,
            chunks: places.chunks,
        }
    }

    /// Chunks that the heap uses.
    pub(crate) fn used(self, view: &View) -> u64 {
        view.size(at::HEAP_END).saturating_sub(self.heap) / CHUNK
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
    /// Where its entry is.
    pub(crate) fn entry(self) -> u64 {
        self.entry
    }

    #[inline]
    pub(crate) fn kind(self, view: &View) -> Result<Kind> {
        let word = view.load(self.entry, WHAT)?;
        Kind::of(word).ok_or_else(|| Error::damaged(WHAT, self.entry, word))
    }

    pub(crate) fn set_kind(self, tx: &mut Tx<'_>, kind: Kind) -> Result<()> {
        tx.put(self.entry, kind.word(), WHAT)
    }

    /// Free slots.
    #[inline]
    pub(crate) fn free(self, view: &View) -> Result<u64> {
        view.load(self.entry + 8, WHAT)
    }

    #[inline]
    pub(crate) fn set_free(self, tx: &mut Tx<'_>, free: u64) -> Result<()> {
        tx.put(self.entry + 8, free, WHAT)
    }

    /// Where its links in a list lie.
    pub(crate) fn links_at(self, list: List) -> u64 {
        self.entry + list as u64
    }

    /// Next (low) and previous (high) chunk in a list, each as index + 1, 0 for none.
    pub(crate) fn links(self, view: &View, list: List) -> Result<Halves> {
        Ok(Halves::of(view.load(self.entry + list as u64, WHAT)?))
    }

    pub(crate) fn set_links(self, tx: &mut Tx<'_>, list: List, links: Halves) -> Result<()> {
        tx.put(self.entry + list as u64, links.word(), WHAT)
    }

    /// Writes the whole entry of a chunk that becomes slots of `class`, all of them free and in no list.
    pub(crate) fn format(self, tx: &mut Tx<'_>, owner: Owner, class: usize) -> Result<()> {
        let mut words = [0; (CHUNK_ENTRY / 8) as usize];
        words[0] = Kind::Slots { owner, class }.word();
        words[1] = classes::slots(class);
        tx.put_all(self.entry, &words, WHAT)
    }

    #[inline]
    pub(crate) fn bits(self, view: &View, word: u64) -> Result<u64> {
        view.load(self.entry + BITMAP + (word % BITMAP_WORDS) * 8, WHAT)
    }

    /// So many words of the bitmap, at most all.
    #[inline]
    pub(crate) fn bitmap(self, view: &View, words: u64) -> Result<&[[u8; 8]]> {
        let bytes = view.bytes(self.entry + BITMAP, words.min(BITMAP_WORDS) * 8, WHAT)?;
        Ok(bytes.as_chunks().0)
    }

    #[inline]
    pub(crate) fn set_bits(self, tx: &mut Tx<'_>, word: u64, bits: u64) -> Result<()> {
        tx.put(self.entry + BITMAP + (word % BITMAP_WORDS) * 8, bits, WHAT)
    }

    /// Whether slot `slot` is in use.
    #[inline]
    pub(crate) fn in_use(self, view: &View, slot: u64) -> Result<bool> {
        Ok(self.bits(view, slot / 64)? >> (slot % 64) & 1 != 0)
    }

    pub(crate) fn damaged(self, found: u64) -> Error {
        Error::damaged(WHAT, self.entry, found)
    }
}
