//! The header of a region: 4 KiB that can be read knowing nothing else (R2), and the places that follow from its reserve.
//!
//! ```text
//!    0 u64 magic, written last (R4)        256 u64      lease word of a region that has its own
//!    8 u32 format version                  320 u64      length of the undo log: 0 = nothing open   (T6)
//!   12 u32 header length                   328 u64      what the owner is doing (Activity)
//!   16 u64 capacity at birth               336 u64      transactions committed
//!   24 u64 reserved address space          344 u64      records made: source of their generations
//!   32 u128 region id                      352 u64      end of the memory taken from the mount (sealed, W2 of `seal`)
//!   48 u128 boot id                        360 u64      end of the heap in use (logged, sealed)
//!   64 u64 made at, ns since 1970          368 u64      capacity now (sealed): grows up to the reserved address space
//!   72 u64 pid of the maker                376 u64      log extents in use
//!   80 u64 seed of the hashes              384 u64      recoveries
//!   88 u64 catalog: offset                 392 u64      undo entries taken back by recoveries
//!   96 u64 catalog: rows                   400 u64      transactions rolled back
//!  104 u64 chunk table: offset             408 u64      growth steps taken by a writer itself
//!  112 u64 chunk table: entries            416 u64      extents of 2 MiB collapsed into a page each
//!  120 u64 heap: offset                    424 u64      extents that could not be
//!  128 u128 node id, 0 if used alone       512 [32 x 32] log extents: u64 offset, u64 length, u64 used, u64 0
//!  248 u64 XXH3 of bytes 8..248           1536 [96 x u64] first chunk with a free slot, by size class
//!                                         2304 [32 x u64] first free run, by log2 of its length in chunks
//!                                         2560 u64   bytes of the heap that were given back to the mount: its holes
//!                                         2568 u64   first hole, as a chunk's index + 1
//!                                         2576 u64   1 if memory that should be given back may still be there
//!                                         2584 u64   bytes given back, all in all
//!                                         2592 u64   moves from table to table that are not over
//!                                         2600 reserved, zero
//!
//!  432 u64 epoch: begins and ends of transactions with a log, and new writers (see `observe::snapshot`)
//!  440 u64 tables made (sealed): source of their identities (see `table::catalog`)
//!
//!  456 u128 restored from: region id      488 u64 CLOCK_MONOTONIC at the checkpoint's mark, in that boot
//!  472 u128 boot id of the mark           496 u64 CLOCK_MONOTONIC at the restore, in this boot
//!                                         504 u64 clock offset: the region's clock is CLOCK_MONOTONIC + this
//! ```
//!
//! Bytes 456..512 are zero in a region that was never restored. What lies between 144 and 248, 448 and 456, and after 2600 is
//! zero and belongs to later versions.
//!
//! All places are computed from the *reserve*, so that the capacity can be raised while the region is in use. In regions
//! that reserve at least [`LARGE`] the heap starts at a multiple of 2 MiB, so that it can lie on pages of that size.

use crate::error::{Error, Result};
use crate::region::view::Places;
use xxhash_rust::xxh3::xxh3_64;

/// "SHMSTATE" read as a little-endian word.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"SHMSTATE");
/// Bytes of the header.
pub(crate) const HEADER: u64 = 4096;

/// Every version of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum FormatVersion {
    /// The first: one catalog page, extensible-hash maps, cells, streams.
    V1 = 1,
}

/// Byte offsets of the header's fields.
pub(crate) mod at {
    pub(crate) const MAGIC: u64 = 0;
    pub(crate) const VERSION: u64 = 8;
    pub(crate) const CAPACITY: u64 = 16;
    pub(crate) const RESERVE: u64 = 24;
    pub(crate) const REGION_ID: u64 = 32;
    pub(crate) const BOOT_ID: u64 = 48;
    pub(crate) const MADE_AT: u64 = 64;
    pub(crate) const MAKER: u64 = 72;
    pub(crate) const SEED: u64 = 80;
    pub(crate) const CATALOG: u64 = 88;
    pub(crate) const CATALOG_ROWS: u64 = 96;
    pub(crate) const CHUNKS: u64 = 104;
    pub(crate) const CHUNK_COUNT: u64 = 112;
    pub(crate) const HEAP: u64 = 120;
    pub(crate) const NODE_ID: u64 = 128;
    pub(crate) const CHECKSUM: u64 = 248;
    pub(crate) const LEASE: u64 = 256;
    pub(crate) const LOG_LENGTH: u64 = 320;
    pub(crate) const ACTIVITY: u64 = 328;
    pub(crate) const COMMITS: u64 = 336;
    pub(crate) const RECORDS_MADE: u64 = 344;
    pub(crate) const TAKEN: u64 = 352;
    pub(crate) const HEAP_END: u64 = 360;
    pub(crate) const LIMIT: u64 = 368;
    pub(crate) const LOG_EXTENTS: u64 = 376;
    pub(crate) const RECOVERIES: u64 = 384;
    pub(crate) const ENTRIES_UNDONE: u64 = 392;
    pub(crate) const ROLLBACKS: u64 = 400;
    pub(crate) const SMALL_STEPS: u64 = 408;
    pub(crate) const COLLAPSED: u64 = 416;
    pub(crate) const NOT_COLLAPSED: u64 = 424;
    pub(crate) const EPOCH: u64 = 432;
    pub(crate) const TABLES_MADE: u64 = 440;
    pub(crate) const RESTORED_REGION: u64 = 456;
    pub(crate) const RESTORED_BOOT: u64 = 472;
    pub(crate) const RESTORED_MARK: u64 = 488;
    pub(crate) const RESTORED_AT: u64 = 496;
    pub(crate) const CLOCK_OFFSET: u64 = 504;
    pub(crate) const LOG_TABLE: u64 = 512;
    pub(crate) const CLASS_HEADS: u64 = 1536;
    pub(crate) const RUN_BINS: u64 = 2304;
    pub(crate) const HOLES: u64 = 2560;
    pub(crate) const HOLE_HEAD: u64 = 2568;
    pub(crate) const HOLES_STALE: u64 = 2576;
    pub(crate) const GIVEN_BACK: u64 = 2584;
    pub(crate) const MOVES: u64 = 2592;
    pub(crate) const RESERVED: u64 = 2600;
}

/// Entries of the table of log extents.
pub(crate) const LOG_TABLE_ROWS: u64 = 32;
/// Bytes of one of them.
pub(crate) const LOG_TABLE_ROW: u64 = 32;
/// Size classes the header has room for.
pub(crate) const MAX_CLASSES: u64 = 96;
/// Lists of free runs.
pub(crate) const BINS: u64 = 32;

/// The unit of the heap: a chunk holds slots of one size class, or is part of a run.
pub(crate) const CHUNK: u64 = 64 * 1024;
/// Bytes of a chunk's entry in the chunk table.
pub(crate) const CHUNK_ENTRY: u64 = 288;
/// Bytes of a large page, and of the extents that memory is taken in ahead of its use.
pub(crate) const HUGE: u64 = 2 << 20;
/// Least reserve of a region that is laid out for large pages. Smaller ones stay small.
pub(crate) const LARGE: u64 = 16 << 20;
/// Chunks that the least capacity leaves for the heap.
const LEAST_CHUNKS: u64 = 16;
/// Bytes of a catalog row.
pub(crate) const ROW: u64 = 256;
/// Rows of the catalog.
pub(crate) const ROWS: u64 = 64;
/// Bytes of the first log extent.
pub(crate) const FIRST_LOG: u64 = 64 * 1024;
/// Largest capacity: an entry of an index has 40 bits for an offset in units of 8 bytes.
pub(crate) const MAX_CAPACITY: u64 = 1 << 43;

// The picture above, as numbers that the compiler checks.
const _: () = {
    assert!(at::LOG_TABLE + LOG_TABLE_ROWS * LOG_TABLE_ROW == at::CLASS_HEADS);
    assert!(at::CLASS_HEADS + MAX_CLASSES * 8 == at::RUN_BINS);
    assert!(at::RUN_BINS + BINS * 8 == at::HOLES);
    assert!(at::HOLE_HEAD == at::HOLES + 8 && at::HOLES_STALE == at::HOLES + 16 && at::GIVEN_BACK == at::HOLES + 24);
    assert!(at::GIVEN_BACK + 8 == at::MOVES && at::MOVES + 8 == at::RESERVED && at::HEAP_END == at::TAKEN + 8);
    assert!(at::RESERVED <= HEADER);
    assert!(at::NODE_ID + 16 <= at::CHECKSUM && at::CHECKSUM + 8 == at::LEASE);
    assert!(at::LEASE.is_multiple_of(64) && at::LOG_LENGTH.is_multiple_of(64));
    assert!(
        at::EPOCH == at::NOT_COLLAPSED + 8
            && at::TABLES_MADE == at::EPOCH + 8
            && at::TABLES_MADE + 8 <= at::RESTORED_REGION
    );
    assert!(at::CLOCK_OFFSET + 8 == at::LOG_TABLE);
    assert!(at::RESTORED_BOOT == at::RESTORED_REGION + 16 && at::RESTORED_MARK == at::RESTORED_BOOT + 16);
    assert!(at::RESTORED_AT == at::RESTORED_MARK + 8 && at::CLOCK_OFFSET == at::RESTORED_AT + 8);
    assert!(at::LIMIT == 368 && at::SMALL_STEPS == 408 && at::COLLAPSED == 416 && at::NOT_COLLAPSED == 424);
    assert!(HUGE.is_multiple_of(CHUNK) && LARGE.is_multiple_of(HUGE));
    assert!(at::VERSION == 8 && at::CAPACITY == 16 && at::RESERVE == 24 && at::REGION_ID == 32);
    assert!(at::BOOT_ID == 48 && at::MADE_AT == 64 && at::MAKER == 72 && at::SEED == 80);
    assert!(at::CATALOG == 88 && at::CHUNKS == 104 && at::HEAP == 120 && at::NODE_ID == 128);
};

/// What the owner of a region is doing; a survivor reads it to say where a dead one was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Activity {
    /// No transaction.
    Idle = 0,
    /// Inside a transaction.
    Transaction = 1,
    /// Inside a commit.
    Commit = 2,
    /// Making an index, a heap or the log larger, inside a transaction.
    Growth = 3,
    /// Taking back what a dead owner left, or rolling back.
    Recovery = 4,
}

impl Activity {
    pub(crate) const fn from_word(word: u64) -> Self {
        match word {
            1 => Self::Transaction,
            2 => Self::Commit,
            3 => Self::Growth,
            4 => Self::Recovery,
            _ => Self::Idle,
        }
    }
}

/// Where everything is in a region that reserves so much address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) reserve: u64,
    pub(crate) catalog: u64,
    pub(crate) log: u64,
    pub(crate) chunks: u64,
    pub(crate) chunk_count: u64,
    pub(crate) heap: u64,
}

impl Layout {
    /// Least reserve: all fixed parts, one log extent, and sixteen chunks.
    pub(crate) const LEAST: u64 = Self::FIXED + 18 * CHUNK;
    const FIXED: u64 = HEADER + ROWS * ROW + FIRST_LOG;

    pub(crate) fn of(reserve: u64) -> Result<Self> {
        let reserve = reserve / CHUNK * CHUNK;
        if !(Self::LEAST..=MAX_CAPACITY).contains(&reserve) {
            return Err(Error::BadCapacity {
                wanted: reserve,
                least: Self::LEAST.next_multiple_of(CHUNK),
                most: MAX_CAPACITY,
            });
        }
        let catalog = HEADER;
        let log = catalog + ROWS * ROW;
        let chunks = log + FIRST_LOG;
        // An entry for every chunk that could follow; a few too many, because the table itself takes room.
        let chunk_count = (reserve - chunks) / CHUNK;
        let align = if reserve < LARGE { CHUNK } else { HUGE };
        let heap = (chunks + chunk_count * CHUNK_ENTRY).next_multiple_of(align);
        Ok(Self {
            reserve,
            catalog,
            log,
            chunks,
            chunk_count: (reserve - heap) / CHUNK,
            heap,
        })
    }

    /// Whether the region is laid out for large pages.
    pub(crate) fn is_large(&self) -> bool {
        self.reserve >= LARGE
    }

    /// Least capacity of a region with this reserve.
    pub(crate) fn least_capacity(&self) -> u64 {
        (self.heap + LEAST_CHUNKS * CHUNK).min(self.reserve)
    }

    /// Refuses a capacity that this layout cannot have.
    pub(crate) fn check_capacity(&self, capacity: u64) -> Result<()> {
        let (least, most) = (self.least_capacity(), self.reserve);
        if (least..=most).contains(&capacity) {
            return Ok(());
        }
        Err(Error::BadCapacity {
            wanted: capacity,
            least,
            most,
        })
    }

    /// The piece in which memory of the heap is given back and taken again, where memory comes in multiples of `unit`: a large page,
    /// or a chunk.
    pub(crate) fn piece(&self, unit: u64) -> u64 {
        unit.max(if self.is_large() { HUGE } else { CHUNK })
    }

    /// Where the chunk table's entries for the heap's bytes `from..to` lie: offset and length.
    pub(crate) fn entries(&self, from: u64, to: u64) -> (u64, u64) {
        let first = (from - self.heap) / CHUNK;
        let count = (to - from).div_ceil(CHUNK);
        (self.chunks + first * CHUNK_ENTRY, count * CHUNK_ENTRY)
    }
}

/// What stands in the header from birth and never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Birth {
    pub(crate) layout: Layout,
    pub(crate) capacity: u64,
    pub(crate) region_id: [u64; 2],
    pub(crate) boot_id: [u64; 2],
    pub(crate) made_at: u64,
    pub(crate) maker: u64,
    pub(crate) seed: u64,
    pub(crate) node_id: [u64; 2],
}

impl Birth {
    /// What a view of the region keeps beside its pointer.
    pub(crate) fn places(&self) -> Places {
        Places {
            tag: self.region_id[0],
            chunks: self.layout.chunks,
            heap: self.layout.heap,
        }
    }

    /// Bytes 0..256 of the header, magic included.
    pub(crate) fn encode(&self) -> [u8; 256] {
        let mut bytes = [0u8; 256];
        let mut put = |at: u64, word: u64| {
            bytes[at as usize..at as usize + 8].copy_from_slice(&word.to_le_bytes());
        };
        let l = &self.layout;
        put(at::MAGIC, MAGIC);
        put(at::VERSION, FormatVersion::V1 as u64 | HEADER << 32);
        put(at::CAPACITY, self.capacity);
        put(at::RESERVE, l.reserve);
        put(at::REGION_ID, self.region_id[0]);
        put(at::REGION_ID + 8, self.region_id[1]);
        put(at::BOOT_ID, self.boot_id[0]);
        put(at::BOOT_ID + 8, self.boot_id[1]);
        put(at::MADE_AT, self.made_at);
        put(at::MAKER, self.maker);
        put(at::SEED, self.seed);
        put(at::CATALOG, l.catalog);
        put(at::CATALOG_ROWS, ROWS);
        put(at::CHUNKS, l.chunks);
        put(at::CHUNK_COUNT, l.chunk_count);
        put(at::HEAP, l.heap);
        put(at::NODE_ID, self.node_id[0]);
        put(at::NODE_ID + 8, self.node_id[1]);
        let sum = xxh3_64(&bytes[8..at::CHECKSUM as usize]);
        bytes[at::CHECKSUM as usize..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Decodes and checks bytes 0..256 of a header: magic, version, checksum, and that every place is the one this
    /// version computes for the capacity.
    pub(crate) fn decode(name: &str, bytes: &[u8; 256]) -> Result<Self> {
        let get = |at: u64| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at as usize..at as usize + 8]);
            u64::from_le_bytes(word)
        };
        let refuse = |why: String| Error::NotARegion {
            name: name.into(),
            why: why.into(),
        };
        match get(at::MAGIC) {
            MAGIC => {}
            0 => return Err(Error::NotReady { name: name.into() }),
            other => return Err(refuse(format!("it starts with {other:#018x}, not with \"SHMSTATE\""))),
        }
        let version = get(at::VERSION) as u32;
        if version != FormatVersion::V1 as u32 {
            return Err(refuse(format!(
                "format version {version}; this library reads {}",
                FormatVersion::V1 as u32
            )));
        }
        let sum = xxh3_64(&bytes[8..at::CHECKSUM as usize]);
        if sum != get(at::CHECKSUM) {
            return Err(refuse(format!(
                "the header's checksum is {sum:#018x}, {:#018x} stands in it",
                get(at::CHECKSUM)
            )));
        }
        let birth = Self {
            layout: Layout {
                reserve: get(at::RESERVE),
                catalog: get(at::CATALOG),
                log: HEADER + ROWS * ROW,
                chunks: get(at::CHUNKS),
                chunk_count: get(at::CHUNK_COUNT),
                heap: get(at::HEAP),
            },
            capacity: get(at::CAPACITY),
            region_id: [get(at::REGION_ID), get(at::REGION_ID + 8)],
            boot_id: [get(at::BOOT_ID), get(at::BOOT_ID + 8)],
            made_at: get(at::MADE_AT),
            maker: get(at::MAKER),
            seed: get(at::SEED),
            node_id: [get(at::NODE_ID), get(at::NODE_ID + 8)],
        };
        if Layout::of(birth.layout.reserve)? != birth.layout || get(at::CATALOG_ROWS) != ROWS {
            return Err(refuse(format!(
                "its parts do not lie where version {version} puts them for {} bytes of address space",
                birth.layout.reserve
            )));
        }
        if birth.layout.check_capacity(birth.capacity).is_err() || !birth.capacity.is_multiple_of(CHUNK) {
            return Err(refuse(format!(
                "a capacity of {} with {} reserved is none that version {version} makes",
                birth.capacity, birth.layout.reserve
            )));
        }
        Ok(birth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn birth() -> Birth {
        Birth {
            layout: Layout::of(4 << 20).expect("layout"),
            capacity: 3 << 20,
            region_id: [1, 2],
            boot_id: [3, 4],
            made_at: 5,
            maker: 6,
            seed: 7,
            node_id: [8, 9],
        }
    }

    #[test]
    fn round_trip_and_every_flipped_bit_is_refused() {
        let bytes = birth().encode();
        assert_eq!(&bytes[..12], b"SHMSTATE\x01\0\0\0", "the greeting is pinned");
        assert_eq!(Birth::decode("r", &bytes).expect("decode"), birth());
        for bit in 0..256 * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Birth::decode("r", &bad).is_err(), "bit {bit} went unnoticed");
        }
    }

    #[test]
    fn layouts_do_not_overlap() {
        for capacity in [
            Layout::LEAST + CHUNK,
            1 << 22,
            LARGE - CHUNK,
            LARGE,
            1 << 30,
            1 << 33,
            MAX_CAPACITY,
        ] {
            let l = Layout::of(capacity).expect("layout");
            assert!(l.chunks + l.chunk_count * CHUNK_ENTRY <= l.heap);
            assert!(l.heap + l.chunk_count * CHUNK <= l.reserve);
            assert!(l.chunk_count >= LEAST_CHUNKS && l.least_capacity() <= l.reserve);
            assert!(!l.is_large() || l.heap.is_multiple_of(HUGE), "large pages need it");
            let (first, length) = l.entries(l.heap, l.heap + l.chunk_count * CHUNK);
            assert!(first == l.chunks && first + length <= l.heap);
        }
        assert!(Layout::of(1 << 20).is_err());
        assert!(
            Layout::of(LARGE - CHUNK).expect("layout").heap < HUGE,
            "small regions stay small"
        );
    }
}
