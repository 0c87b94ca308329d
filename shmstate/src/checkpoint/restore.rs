//! From a checkpoint file to a region, or to what a tool wants to know about it.
//!
//! - **N1** The file is read once, from front to back; every section's checksum is compared before anything in it is
//!   used, and the new region gets its magic last (R4): after the trailer, the checks of `open`, and `verify`. A
//!   process that dies before that leaves an object that the next `open` or `create` takes for abandoned.
//! - **N2** The region is a new one: it has an id of its own, so that handles and tools cannot mistake one for the
//!   other while both exist, and says where it came from. The seed of the hashes is kept; the indexes depend on it.
//! - **N3** The reserved address space is the image's: where the heap starts follows from it, and every reference is an offset. The
//!   capacity may be another one that holds what is in use.
//! - **N4** Streams are ended: their sockets died with their process. The tables stay, empty, and their serial numbers
//!   go on.
//! - **N5** The clock goes on where it stood: the offset in the header is such that `Region::clock_ns` at the restore
//!   says what it said at the mark, on any machine and boot, through any number of restores.
//!
//! A file is checked against damage, not against malice: records are believed, as those of a region that is opened
//! (R6).

use crate::checkpoint::format::{self, Digest, Facts, HEAD, NoHeader, Section, Trailer};
use crate::checkpoint::image;
use crate::checkpoint::output::text;
use crate::checkpoint::pages::PAGE;
use crate::error::{Error, Result};
use crate::os::clock;
use crate::region::header::{Birth, CHUNK, HEADER, Layout, at};
use crate::region::seal;
use crate::region::{Options, Region, View};
use crate::table::catalog::{self, Kind};
use crate::table::dropped;
use crate::table::streams;
use crate::verify;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// A file that is being read.
pub(crate) struct Input<R> {
    path: Box<str>,
    source: R,
    length: u64,
    position: u64,
    digest: Digest,
    facts: Facts,
}

impl Input<File> {
    /// Opens a file and reads its header.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let refuse = |e| Error::io("open checkpoint", &text(path), e);
        let file = File::open(path).map_err(refuse)?;
        let length = file.metadata().map_err(refuse)?.len();
        Self::new(text(path), file, length)
    }
}

impl<R: Read> Input<R> {
    /// Reads the header of `length` bytes.
    pub(crate) fn new(path: Box<str>, source: R, length: u64) -> Result<Self> {
        let mut input = Self {
            path,
            source,
            length,
            position: 0,
            digest: Digest::new(),
            facts: Facts::default(),
        };
        let mut head = [0; HEAD];
        input.read(&mut head, "header")?;
        let (facts, sum) = Facts::decode(&head).map_err(|why| match why {
            NoHeader::Foreign(why) => Error::NotACheckpoint {
                path: input.path.clone(),
                why: why.into(),
            },
            NoHeader::Damaged => input.damaged("checksum of the header", 0),
        })?;
        input.digest.add(sum);
        input.facts = facts;
        Ok(input)
    }

    /// What the header says.
    pub(crate) fn facts(&self) -> Facts {
        self.facts
    }

    fn damaged(&self, what: &'static str, at: u64) -> Error {
        Error::CheckpointDamaged {
            path: self.path.clone(),
            what,
            at,
        }
    }

    fn read(&mut self, bytes: &mut [u8], what: &'static str) -> Result<()> {
        if self.length - self.position < bytes.len() as u64 {
            return Err(Error::CheckpointCut {
                path: self.path.clone(),
                what,
                length: self.length,
            });
        }
        self.source
            .read_exact(bytes)
            .map_err(|e| Error::io("read checkpoint", &self.path, e))?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// Where everything lies in the region that the header speaks of.
    pub(crate) fn layout(&self) -> Result<Layout> {
        let facts = &self.facts;
        let layout = Layout::of(facts.reserve)?;
        let most = layout.heap + layout.chunk_count * CHUNK;
        if layout.reserve != facts.reserve
            || layout.check_capacity(facts.capacity).is_err()
            || !(layout.heap..=most).contains(&facts.heap_end)
            || !facts.heap_end.is_multiple_of(CHUNK)
        {
            return Err(self.damaged("capacity or end of the heap", 16));
        }
        Ok(layout)
    }

    /// Reads all blocks and the trailer, and checks everything. `each` gets every page, once.
    pub(crate) fn pages(&mut self, mut each: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<Trailer> {
        let layout = self.layout()?;
        let end = self.facts.heap_end;
        let mut seen = vec![0u64; (end / PAGE).div_ceil(64) as usize];
        let mut block = Vec::new();
        let (mut blocks, mut pages) = (0, 0);
        loop {
            let start = self.position;
            block.resize(HEAD, 0);
            self.read(&mut block, "head of a block")?;
            let count = match Section::of(&block) {
                Some(Section::Block { number, pages }) if number == blocks => pages,
                Some(Section::Trailer) => break,
                _ => return Err(self.damaged("head of a block", start)),
            };
            block.resize(HEAD + count * PAGE as usize, 0);
            self.read(&mut block[HEAD..], "pages of a block")?;
            let sum = format::block_sum(&block).ok_or_else(|| self.damaged("checksum of a block", start))?;
            self.digest.add(sum);
            for i in 0..count {
                let page = format::page_number(&block, i);
                let fresh = image::holds(&layout, end, page) && {
                    let (word, bit) = (&mut seen[(page / 64) as usize], 1 << (page % 64));
                    let fresh = *word & bit == 0;
                    *word |= bit;
                    fresh
                };
                if !fresh || (pages == 0) != (page == 0) {
                    return Err(self.damaged("number of a page", start + 64 + i as u64 * 8));
                }
                each(page, &block[HEAD + i * PAGE as usize..][..PAGE as usize])?;
                pages += 1;
            }
            blocks += 1;
        }
        let start = self.position - HEAD as u64;
        let trailer = Trailer::decode(&block).ok_or_else(|| self.damaged("checksum of the trailer", start))?;
        let expected = Trailer {
            blocks,
            pages,
            bytes: self.position,
            digest: self.digest.value(),
        };
        if trailer != expected || pages == 0 {
            return Err(self.damaged("trailer", start));
        }
        if self.position != self.length {
            return Err(self.damaged("bytes behind the trailer", self.position));
        }
        Ok(trailer)
    }
}

/// What a checkpoint file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checkpoint {
    /// Bytes of the file.
    pub bytes: u64,
    /// Pages of 4 KiB in it.
    pub pages: u64,
    /// What the region could hold at the mark, in bytes; a restored one has the same, unless [`Options::capacity`] says otherwise.
    pub capacity: u64,
    /// Address space that was reserved for it, in bytes; a restored one has the same.
    pub reserved: u64,
    /// Bytes of memory that a restored region takes.
    pub memory: u64,
    /// The region it was made of.
    pub region: [u64; 2],
    /// The node that region belonged to; zero if it was used alone.
    pub node: [u64; 2],
    /// When that region was made, in ns since 1970.
    pub made_at: u64,
    /// When the mark was set, in ns since 1970.
    pub marked_at: u64,
    /// The boot in which it was set.
    pub boot_id: [u64; 2],
    /// When it was set, in ns of `CLOCK_MONOTONIC` of that boot.
    pub marked_ns: u64,
    /// Transactions committed until then.
    pub commits: u64,
}

impl Checkpoint {
    /// Reads the header of a checkpoint, and looks whether its length can be right. Reads nothing else: for a list of
    /// files.
    ///
    /// # Errors
    /// [`Error::NotACheckpoint`], [`Error::CheckpointDamaged`], [`Error::CheckpointCut`], [`Error::Io`].
    pub fn inspect(path: impl AsRef<Path>) -> Result<Self> {
        use std::os::unix::fs::FileExt;
        let input = Input::open(path.as_ref())?;
        input.layout()?;
        let start = input.length.saturating_sub(HEAD as u64);
        let mut bytes = [0; HEAD];
        if start >= HEAD as u64 {
            input
                .source
                .read_exact_at(&mut bytes, start)
                .map_err(|e| Error::io("read checkpoint", &input.path, e))?;
        }
        match Trailer::decode(&bytes) {
            Some(trailer) if trailer.bytes == input.length => Ok(Self::of(&input.facts, &trailer)),
            _ => Err(input.damaged("trailer", start)),
        }
    }

    /// Reads a whole checkpoint and compares every checksum.
    ///
    /// # Errors
    /// As [`inspect`](Self::inspect).
    pub fn verify(path: impl AsRef<Path>) -> Result<Self> {
        let mut input = Input::open(path.as_ref())?;
        let trailer = input.pages(|_, _| Ok(()))?;
        Ok(Self::of(&input.facts, &trailer))
    }

    fn of(facts: &Facts, trailer: &Trailer) -> Self {
        Self {
            bytes: trailer.bytes,
            pages: trailer.pages,
            capacity: facts.capacity,
            reserved: facts.reserve,
            memory: facts.heap_end,
            region: facts.region,
            node: facts.node,
            made_at: facts.made_at,
            marked_at: facts.marked_real,
            boot_id: facts.boot,
            marked_ns: facts.marked,
            commits: facts.commits,
        }
    }
}

/// Where a restored region came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoredFrom {
    /// The region of which the checkpoint was made.
    pub region: [u64; 2],
    /// The boot in which its mark was set.
    pub boot_id: [u64; 2],
    /// When it was set, in ns of `CLOCK_MONOTONIC` of that boot.
    pub marked_ns: u64,
    /// When it was restored, in ns of `CLOCK_MONOTONIC` of the boot in which that was.
    pub restored_ns: u64,
}

/// What the header says of it; `None` for a region that was never restored.
pub(crate) fn restored_from(view: &View) -> Option<RestoredFrom> {
    let words = |at| [view.header(at), view.header(at + 8)];
    let from = RestoredFrom {
        region: words(at::RESTORED_REGION),
        boot_id: words(at::RESTORED_BOOT),
        marked_ns: view.header(at::RESTORED_MARK),
        restored_ns: view.header(at::RESTORED_AT),
    };
    (from.region != [0; 2]).then_some(from)
}

/// Makes the region `name` with the contents of the checkpoint at `path`.
pub(crate) fn restore(path: &Path, name: &str, options: &Options) -> Result<Region> {
    let mut input = Input::open(path)?;
    let layout = input.layout()?;
    let facts = input.facts;
    let capacity = options.capacity.map_or(facts.capacity, |asked| asked / CHUNK * CHUNK);
    let least = layout.least_capacity().max(facts.heap_end);
    if !(least..=layout.reserve).contains(&capacity) {
        return Err(Error::CheckpointCapacity {
            path: input.path,
            asked: options.capacity.unwrap_or(capacity),
            least,
            most: layout.reserve,
        });
    }
    let fill = |view: &View| {
        let mut header = vec![0; HEADER as usize];
        input.pages(|page, bytes| {
            if page == 0 {
                header.copy_from_slice(bytes);
                return Ok(());
            }
            view.write_fresh(page * PAGE, bytes, "restored page")
        })?;
        let mut birth = [0; 256];
        birth.copy_from_slice(&header[..256]);
        let birth = Birth::decode(&input.path, &birth)?;
        let word = |at: u64| {
            let mut word = [0; 8];
            word.copy_from_slice(&header[at as usize..at as usize + 8]);
            u64::from_le_bytes(word)
        };
        let same = birth.layout == layout
            && birth.region_id == facts.region
            && word(at::HEAP_END) == seal::seal(facts.heap_end);
        if !same {
            return Err(input.damaged("header of the region", 2 * HEAD as u64));
        }
        image::settle_header(&mut header);
        view.write_fresh(256, &header[256..], "header")?;
        let now = clock::monotonic_ns();
        view.set_header(at::RESTORED_REGION, facts.region[0]);
        view.set_header(at::RESTORED_REGION + 8, facts.region[1]);
        view.set_header(at::RESTORED_BOOT, facts.boot[0]);
        view.set_header(at::RESTORED_BOOT + 8, facts.boot[1]);
        view.set_header(at::RESTORED_MARK, facts.marked);
        view.set_header(at::RESTORED_AT, now);
        // N5: offset + now = what the region's clock said at the mark.
        let clock = facts.marked.wrapping_add(facts.clock_offset).wrapping_sub(now);
        view.set_header(at::CLOCK_OFFSET, clock);
        Ok(birth.seed)
    };
    Region::rebuild(name, options, (layout, capacity), facts.heap_end, fill, settle)
}

/// Ends the streams, finishes what was dropped, gives the tables identities of this region, and checks the whole region, before it is one (N1, N4).
fn settle(region: &mut Region) -> Result<()> {
    let gate = region.gate().clone();
    let pass = gate.enter()?;
    for row in catalog::rows(&region.view)? {
        if row.kind == Kind::Streams as u16 {
            while region.write(&pass, |tx| streams::end_some(tx, row.offset))? {}
        }
    }
    region.write(&pass, |tx| {
        dropped::finish(tx)?;
        catalog::renew_identities(tx)
    })?;
    verify::check(&region.view)?.into_sound().map(|_| ())
}
