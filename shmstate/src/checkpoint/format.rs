//! The bytes of a checkpoint file: a header, blocks of pages, a trailer; each with a checksum, so that every byte has
//! one.
//!
//! All integers little-endian; everything is a multiple of 4096 bytes and starts at one. What is not named is zero.
//!
//! ```text
//! header, 4096 bytes                            block, 4096 + 4096 n bytes, n = 1..=256
//!    0 u64 magic "SHMCHECK"                        0 u128 XXH3-128 of the rest of the block
//!    8 u32 version · u32 bytes of a page          16 u64 tag "SHMPAGES"
//!   16 u64 capacity   24 u64 end of the heap      24 u64 number of the block, from 0
//!   32 u128 region id                             32 u64 n, pages in it
//!   48 u128 boot id at the mark                   64 [n x u64] which pages of the region
//!   64 u128 node id                             4096 [n x 4096] the pages
//!   80 u64 region made at, ns since 1970
//!   88 u64 marked at, ns since 1970             trailer, 4096 bytes
//!   96 u64 marked at, CLOCK_MONOTONIC ns           0 u128 XXH3-128 of the rest
//!  104 u64 clock offset at the mark               16 u64 tag "SHMCHEND"
//!  112 u64 transactions committed                 24 u64 blocks   32 u64 pages
//!  120 u64 format version of the region           40 u64 bytes of the file
//!  128 u64 reserved address space
//! 4080 u128 XXH3-128 of bytes 0..4080             48 u128 XXH3-128 of the checksums before it, in order
//! ```
//!
//! - **F1** The checksum first, then the meaning: nothing of a section is used before its checksum was compared.
//! - **F2** A block cannot be left out, doubled, moved, or be another checkpoint's: blocks are numbered and the trailer
//!   covers the header's checksum and theirs.
//! - **F3** The order of pages is free: pages that the writer saved come when they come. Page 0 is in the first block.
//! - **F4** The end is the trailer's end: a file that is shorter or longer is refused.
//!
//! It does not know how a region is laid out, except that it has pages.

use crate::checkpoint::pages::PAGE;
use std::fmt;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// "SHMCHECK" read as a little-endian word.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"SHMCHECK");
/// Version of the file's format.
pub(crate) const VERSION: u32 = 1;
/// Most pages of a block.
pub(crate) const BLOCK_PAGES: usize = 256;
/// Bytes of a section's head.
pub(crate) const HEAD: usize = 4096;
const PAGES_TAG: u64 = u64::from_le_bytes(*b"SHMPAGES");
const END_TAG: u64 = u64::from_le_bytes(*b"SHMCHEND");

mod at {
    pub(super) const VERSION: usize = 8;
    pub(super) const CAPACITY: usize = 16;
    pub(super) const HEAP_END: usize = 24;
    pub(super) const REGION: usize = 32;
    pub(super) const BOOT: usize = 48;
    pub(super) const NODE: usize = 64;
    pub(super) const MADE_AT: usize = 80;
    pub(super) const MARKED_REAL: usize = 88;
    pub(super) const MARKED: usize = 96;
    pub(super) const CLOCK: usize = 104;
    pub(super) const COMMITS: usize = 112;
    pub(super) const REGION_FORMAT: usize = 120;
    pub(super) const RESERVE: usize = 128;
    pub(super) const HEADER_SUM: usize = 4080;
    pub(super) const TAG: usize = 16;
    pub(super) const NUMBER: usize = 24;
    pub(super) const COUNT: usize = 32;
    pub(super) const BYTES: usize = 40;
    pub(super) const DIGEST: usize = 48;
    pub(super) const NUMBERS: usize = 64;
}

// The picture above, as numbers that the compiler checks.
const _: () = {
    assert!(PAGE as usize == HEAD);
    assert!(at::NUMBERS + BLOCK_PAGES * 8 <= HEAD);
    assert!(at::HEADER_SUM + 16 == HEAD && at::REGION_FORMAT + 8 == at::RESERVE && at::RESERVE + 8 <= at::HEADER_SUM);
    assert!(at::REGION + 16 == at::BOOT && at::BOOT + 16 == at::NODE && at::NODE + 16 == at::MADE_AT);
    assert!(at::COUNT + 8 == at::BYTES && at::BYTES + 8 == at::DIGEST && at::DIGEST + 16 == at::NUMBERS);
};

/// What the header of a checkpoint says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) capacity: u64,
    pub(crate) heap_end: u64,
    pub(crate) region: [u64; 2],
    pub(crate) boot: [u64; 2],
    pub(crate) node: [u64; 2],
    pub(crate) made_at: u64,
    pub(crate) marked_real: u64,
    pub(crate) marked: u64,
    pub(crate) clock_offset: u64,
    pub(crate) commits: u64,
    pub(crate) region_format: u64,
    pub(crate) reserve: u64,
}

/// What the trailer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trailer {
    pub(crate) blocks: u64,
    pub(crate) pages: u64,
    pub(crate) bytes: u64,
    pub(crate) digest: u128,
}

fn put(bytes: &mut [u8], at: usize, word: u64) {
    bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
}

fn get(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

fn put_wide(bytes: &mut [u8], at: usize, value: u128) {
    bytes[at..at + 16].copy_from_slice(&value.to_le_bytes());
}

fn get_wide(bytes: &[u8], at: usize) -> u128 {
    u128::from(get(bytes, at)) | u128::from(get(bytes, at + 8)) << 64
}

/// The running checksum of checksums (F2).
pub(crate) struct Digest(Box<Xxh3>);

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({:#034x})", self.value())
    }
}

impl Digest {
    pub(crate) fn new() -> Self {
        Self(Box::default())
    }

    pub(crate) fn add(&mut self, sum: u128) {
        self.0.update(&sum.to_le_bytes());
    }

    pub(crate) fn value(&self) -> u128 {
        self.0.digest128()
    }
}

impl Facts {
    /// The header, and its checksum.
    pub(crate) fn encode(&self) -> (Vec<u8>, u128) {
        let mut bytes = vec![0; HEAD];
        put(&mut bytes, 0, MAGIC);
        put(&mut bytes, at::VERSION, u64::from(VERSION) | PAGE << 32);
        let words = [
            (at::CAPACITY, self.capacity),
            (at::HEAP_END, self.heap_end),
            (at::REGION, self.region[0]),
            (at::REGION + 8, self.region[1]),
            (at::BOOT, self.boot[0]),
            (at::BOOT + 8, self.boot[1]),
            (at::NODE, self.node[0]),
            (at::NODE + 8, self.node[1]),
            (at::MADE_AT, self.made_at),
            (at::MARKED_REAL, self.marked_real),
            (at::MARKED, self.marked),
            (at::CLOCK, self.clock_offset),
            (at::COMMITS, self.commits),
            (at::REGION_FORMAT, self.region_format),
            (at::RESERVE, self.reserve),
        ];
        for (at, word) in words {
            put(&mut bytes, at, word);
        }
        let sum = xxh3_128(&bytes[..at::HEADER_SUM]);
        put_wide(&mut bytes, at::HEADER_SUM, sum);
        (bytes, sum)
    }

    /// Decodes a header of [`HEAD`] bytes. `Err` is why it is none: not ours, or damaged.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, u128), NoHeader> {
        if get(bytes, 0) != MAGIC {
            return Err(NoHeader::Foreign(format!(
                "it starts with {:#018x}, not with \"SHMCHECK\"",
                get(bytes, 0)
            )));
        }
        let version = get(bytes, at::VERSION);
        if version != u64::from(VERSION) | PAGE << 32 {
            return Err(NoHeader::Foreign(format!(
                "version {} with pages of {} bytes; this library reads version {VERSION} with pages of {PAGE}",
                version as u32,
                version >> 32
            )));
        }
        let sum = xxh3_128(&bytes[..at::HEADER_SUM]);
        if sum != get_wide(bytes, at::HEADER_SUM) {
            return Err(NoHeader::Damaged);
        }
        let get = |at| get(bytes, at);
        let facts = Self {
            capacity: get(at::CAPACITY),
            heap_end: get(at::HEAP_END),
            region: [get(at::REGION), get(at::REGION + 8)],
            boot: [get(at::BOOT), get(at::BOOT + 8)],
            node: [get(at::NODE), get(at::NODE + 8)],
            made_at: get(at::MADE_AT),
            marked_real: get(at::MARKED_REAL),
            marked: get(at::MARKED),
            clock_offset: get(at::CLOCK),
            commits: get(at::COMMITS),
            region_format: get(at::REGION_FORMAT),
            reserve: get(at::RESERVE),
        };
        Ok((facts, sum))
    }
}

/// Why bytes are no header.
#[derive(Debug)]
pub(crate) enum NoHeader {
    /// Not ours, or of another version.
    Foreign(String),
    /// The checksum is another.
    Damaged,
}

/// Finishes a block: `bytes` is a head of [`HEAD`] bytes and behind it a page for each of `pages`. Gives its checksum.
pub(crate) fn seal_block(bytes: &mut [u8], number: u64, pages: &[u64]) -> u128 {
    bytes[..HEAD].fill(0);
    put(bytes, at::TAG, PAGES_TAG);
    put(bytes, at::NUMBER, number);
    put(bytes, at::COUNT, pages.len() as u64);
    for (i, page) in pages.iter().enumerate() {
        put(bytes, at::NUMBERS + i * 8, *page);
    }
    let sum = xxh3_128(&bytes[at::TAG..]);
    put_wide(bytes, 0, sum);
    sum
}

impl Trailer {
    /// The trailer.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; HEAD];
        put(&mut bytes, at::TAG, END_TAG);
        put(&mut bytes, at::NUMBER, self.blocks);
        put(&mut bytes, at::COUNT, self.pages);
        put(&mut bytes, at::BYTES, self.bytes);
        put_wide(&mut bytes, at::DIGEST, self.digest);
        let sum = xxh3_128(&bytes[at::TAG..]);
        put_wide(&mut bytes, 0, sum);
        bytes
    }

    /// Decodes a trailer of [`HEAD`] bytes; `None` if its checksum or its tag is another.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        (get(bytes, at::TAG) == END_TAG && xxh3_128(&bytes[at::TAG..]) == get_wide(bytes, 0)).then(|| Self {
            blocks: get(bytes, at::NUMBER),
            pages: get(bytes, at::COUNT),
            bytes: get(bytes, at::BYTES),
            digest: get_wide(bytes, at::DIGEST),
        })
    }
}

/// What a section's head says that it is. Nothing of it is checked yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    /// A block of so many pages.
    Block { number: u64, pages: usize },
    /// The trailer.
    Trailer,
}

impl Section {
    /// Reads a head of [`HEAD`] bytes.
    pub(crate) fn of(head: &[u8]) -> Option<Self> {
        let pages = get(head, at::COUNT);
        match get(head, at::TAG) {
            END_TAG => Some(Self::Trailer),
            PAGES_TAG if (1..=BLOCK_PAGES as u64).contains(&pages) => Some(Self::Block {
                number: get(head, at::NUMBER),
                pages: pages as usize,
            }),
            _ => None,
        }
    }
}

/// The checksum of a whole block, if it is the one that stands in it.
pub(crate) fn block_sum(bytes: &[u8]) -> Option<u128> {
    let sum = xxh3_128(&bytes[at::TAG..]);
    (sum == get_wide(bytes, 0)).then_some(sum)
}

/// The number of page `i` of a block whose head is given.
pub(crate) fn page_number(head: &[u8], i: usize) -> u64 {
    get(head, at::NUMBERS + i * 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_pinned_greetings() {
        let facts = Facts {
            capacity: 1,
            heap_end: 2,
            region: [3, 4],
            boot: [5, 6],
            node: [7, 8],
            made_at: 9,
            marked_real: 10,
            marked: 11,
            clock_offset: 12,
            commits: 13,
            region_format: 14,
            reserve: 15,
        };
        let (bytes, sum) = facts.encode();
        assert_eq!(&bytes[..16], b"SHMCHECK\x01\0\0\0\0\x10\0\0", "the greeting is pinned");
        assert_eq!(Facts::decode(&bytes).expect("header"), (facts, sum));

        let mut block = vec![7; HEAD * 3];
        let sum = seal_block(&mut block, 5, &[100, 1 << 33]);
        assert_eq!(block_sum(&block), Some(sum));
        assert_eq!(Section::of(&block), Some(Section::Block { number: 5, pages: 2 }));
        assert_eq!((page_number(&block, 0), page_number(&block, 1)), (100, 1 << 33));
        assert_eq!(&block[16..24], b"SHMPAGES");

        let trailer = Trailer {
            blocks: 1,
            pages: 2,
            bytes: 3,
            digest: 4,
        };
        let bytes = trailer.encode();
        assert_eq!(Section::of(&bytes), Some(Section::Trailer));
        assert_eq!(Trailer::decode(&bytes), Some(trailer));
        assert_eq!(&bytes[16..24], b"SHMCHEND");
    }
}
