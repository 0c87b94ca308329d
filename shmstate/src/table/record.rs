//! A record: one value in a table, an rkyv archive in a block of its own that ends with a header of 8 bytes.
//!
//! ```text
//! header: 0 u32 generation · 4 u8 version · 5 u8 unused bytes · 6 u16 sequence
//! block:  | checksum, 8 bytes | head of the key | archive … | unused | root | key | header |
//! ```
//!
//! - *generation*: no two records of a region made within 2³² of each other share it; handles compare it. Never 0, except in a
//!   record that the open transaction has taken away.
//! - *sequence*: odd while the record is being changed in place, for observers.
//! - *version*: low byte of the schema version that the archive was made with.
//! - *unused* bytes of the block; 255 says that there are so many or more, and the last aligned word before the root has the number.
//! - *checksum*: only in tables that keep them: XXH3 of the rest of the block, with a sequence of 0.
//! - the key: of fixed length it stands before the header, and there is no head; of variable length it is the head, and before the
//!   header stands `u32 length · u32 distance`, the latter from the header back to the head. `keyed` reads both.
//!
//! It does not know tables, except for what they have in common, their [`Home`].

use crate::archive::{self, Draft, Geometry, Value};
use crate::error::{Error, Result};
use crate::heap::{self, Block, Owner};
use crate::region::header::{Layout, at};
use crate::region::view::View;
use crate::schema::Plain;
use crate::table::{catalog, text};
use crate::tx::Tx;
use crate::tx::undo::{self, CHANGING, settled};
use rkyv::seal::Seal;
use std::any::TypeId;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::atomic::{Ordering, compiler_fence};
use xxhash_rust::xxh3::xxh3_64;

/// Bytes of the header.
pub(crate) const HEADER: u64 = 8;
/// Where the sequence stands in the header's word.
const SEQUENCE: u64 = 0xffff << 48;
/// Where the unused bytes stand.
const UNUSED_SHIFT: u32 = 40;
/// Where the version stands.
const VERSION: u64 = 0xff << 32;
/// Where the generation stands.
const GENERATION: u64 = 0xffff_ffff;
/// The number of unused bytes stands elsewhere.
const MANY: u64 = 255;
/// Bytes of the checksum in tables that keep them.
const CHECKSUM: u64 = 8;
const WHAT: &str = "record header";

/// Where the records of a table live and what they look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Home {
    pub(crate) owner: Owner,
    pub(crate) geometry: Geometry,
    /// Whether every record has a checksum.
    pub(crate) checked: bool,
}

impl Home {
    fn prefix(self) -> u64 {
        if self.checked { CHECKSUM } else { 0 }
    }
}

/// A record that was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    /// Offset of its header.
    pub(crate) header: u64,
    /// Bytes of its archive.
    pub(crate) archived: u64,
}

/// A key as a record carries it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Parts<'k> {
    /// Before the header, where a fixed number of bytes is for it.
    Tail(&'k [u8]),
    /// At the block's start; before the header, the word that says where and how long.
    Head(&'k [u8]),
}

impl Parts<'static> {
    /// No key.
    pub(crate) const NONE: Self = Self::Tail(&[]);
}

impl Parts<'_> {
    /// Bytes at the block's start.
    pub(crate) fn head(&self) -> u64 {
        match self {
            Self::Tail(_) => 0,
            Self::Head(bytes) => bytes.len() as u64,
        }
    }
}

/// A key that was copied out of the record that carries it.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    pub(crate) bytes: Vec<u8>,
    /// Whether it stands at the block's start.
    pub(crate) at_head: bool,
}

impl Carried {
    pub(crate) fn parts(&self) -> Parts<'_> {
        if self.at_head {
            Parts::Head(&self.bytes)
        } else {
            Parts::Tail(&self.bytes)
        }
    }
}

/// Makes a record.
pub(crate) fn create<V: Value>(tx: &mut Tx<'_>, home: Home, key: Parts<'_>, value: &V) -> Result<Written> {
    with_draft(tx, home, key, value, |tx, new| create_drafted(tx, home, new))
}

/// Makes the record of a draft.
pub(crate) fn create_drafted<V: Value>(tx: &mut Tx<'_>, home: Home, new: Drafted<'_, V>) -> Result<Written> {
    let block = heap::alloc_for(tx, home.owner, new.bytes(home), home.geometry.align)?;
    write(tx, home, block, new)
}

/// The same in a room that is large enough, as nothing was changed since it was found.
pub(crate) fn create_in<V: Value>(
    tx: &mut Tx<'_>,
    home: Home,
    room: heap::Room,
    new: Drafted<'_, V>,
) -> Result<Written> {
    let block = heap::take_room(tx, room)?;
    write(tx, home, block, new)
}

/// Replaces the record whose header is at `header`: in its own block if the new one needs as much, else in another, and the
/// old one is freed. Gives the new record, and the bytes of the old one's archive.
pub(crate) fn replace<V: Value>(
    tx: &mut Tx<'_>,
    home: Home,
    header: u64,
    key: Parts<'_>,
    value: &V,
) -> Result<(Written, u64)> {
    with_draft(tx, home, key, value, |tx, new| replace_drafted(tx, home, header, new))
}

/// The same by the record of a draft.
pub(crate) fn replace_drafted<V: Value>(
    tx: &mut Tx<'_>,
    home: Home,
    header: u64,
    new: Drafted<'_, V>,
) -> Result<(Written, u64)> {
    exchange(tx, (home, home), header, new)
}

fn exchange<V: Value>(
    tx: &mut Tx<'_>,
    (from, home): (Home, Home),
    header: u64,
    new: Drafted<'_, V>,
) -> Result<(Written, u64)> {
    let bytes = new.bytes(home);
    let block = block(tx, header)?;
    let before = archived(tx, from, header, block, new.key.head())?;
    if heap::fits(block.size, bytes, home.geometry.align) {
        tx.log(block.offset, block.size, header)?;
        change(tx, header)?;
        let written = write(tx, home, block, new)?;
        return Ok((written, before));
    }
    let block_of_new = heap::alloc_for(tx, home.owner, bytes, home.geometry.align)?;
    let written = write(tx, home, block_of_new, new)?;
    bury(tx, header)?;
    tx.free(block.offset);
    Ok((written, before))
}

/// Replaces the record whose header is at `header`, which is of an older shape with `older` as its geometry, as [`replace`] does. Gives
/// the new record, and the bytes of the old one's archive.
pub(crate) fn renew<V: Value>(
    tx: &mut Tx<'_>,
    home: Home,
    older: Geometry,
    header: u64,
    key: Parts<'_>,
    value: &V,
) -> Result<(Written, u64)> {
    let from = Home {
        geometry: older,
        ..home
    };
    with_draft(tx, home, key, value, |tx, new| exchange(tx, (from, home), header, new))
}

/// Copies the archive of the record whose header is at `header`, of the table `from` whose keys have `head` bytes at the block's start,
/// into a record of `home`, which has records of the same shape, under the key given.
///
/// What the root points to stays at its distance from the root, wherever the key of either lies.
pub(crate) fn adopt(
    tx: &mut Tx<'_>,
    (from, home): (Home, Home),
    (header, head): (u64, u64),
    key: Parts<'_>,
) -> Result<Written> {
    let twin = block(tx, header)?;
    let archived = archived(tx, from, header, twin, head)?;
    let start = twin.offset + from.prefix() + head;
    let root = header - from.geometry.root;
    let length = (root + from.geometry.size).checked_sub(start);
    let length = length.ok_or_else(|| Error::damaged(WHAT, header, head))?;
    let outside = length - from.geometry.size;
    let bytes = tx.bytes(start, length, "record")?.to_vec();
    let least = home.prefix() + key.head() + outside + home.geometry.root + HEADER;
    let block = heap::alloc_like(tx, home.owner, least, home.geometry.align)?;
    let to = block.offset + block.size - HEADER;
    tx.write_fresh(to - home.geometry.root - outside, &bytes, "record")?;
    let gap = length.saturating_sub(archived);
    let unused = unused(home, block, key, archived);
    // Where the exact number would have no place it is one that needs none; the rest counts as part of the archive.
    let unused = if unused >= MANY && gap < 16 { MANY - 1 } else { unused };
    let version = tx.load(header, WHAT)? & VERSION;
    end(tx, home, (block, to), key, unused, version)?;
    let archived = self::archived(tx, home, to, block, key.head())?;
    Ok(Written { header: to, archived })
}

/// A record that is to be written: its key, its value, and the value's archive without the root, as far as that is in the region's buffer.
pub(crate) struct Drafted<'d, V: Value> {
    key: Parts<'d>,
    value: &'d V,
    draft: Draft<V>,
    buffer: &'d [u8],
}

impl<V: Value> Drafted<'_, V> {
    /// Bytes that the key has at the block's start.
    pub(crate) fn head(&self) -> u64 {
        self.key.head()
    }

    /// Bytes of the block that it needs.
    pub(crate) fn bytes(&self, home: Home) -> u64 {
        home.prefix() + self.key.head() + self.draft.outside + home.geometry.root + HEADER
    }
}

/// Drafts the archive of a value in the region's buffer, for as long as `then` takes.
pub(crate) fn with_draft<V: Value, R>(
    tx: &mut Tx<'_>,
    home: Home,
    key: Parts<'_>,
    value: &V,
    then: impl FnOnce(&mut Tx<'_>, Drafted<'_, V>) -> Result<R>,
) -> Result<R> {
    let mut buffer = std::mem::take(&mut tx.region.draft);
    let draft = archive::draft(value, home.prefix() + key.head(), &mut buffer);
    let result = draft.and_then(|draft| {
        let drafted = Drafted {
            key,
            value,
            draft,
            buffer: &buffer,
        };
        then(tx, drafted)
    });
    tx.region.draft = buffer;
    result
}

/// Writes a record into a block that is fresh, or was logged. The header comes last.
fn write<V: Value>(tx: &mut Tx<'_>, home: Home, block: Block, new: Drafted<'_, V>) -> Result<Written> {
    if let Some(row) = home.owner.row() {
        catalog::check_version(tx, row, V::VERSION)?;
    }
    let header = block.offset + block.size - HEADER;
    let archived = archive::write(tx, new.value, (new.draft, new.buffer), home.geometry, block, header)?;
    let unused = unused(home, block, new.key, archived);
    let version = u64::from(V::VERSION & 0xff) << 32;
    end(tx, home, (block, header), new.key, unused, version)?;
    Ok(Written { header, archived })
}

/// Bytes of a block that neither the archive, of so many bytes, nor anything else of the record takes.
fn unused(home: Home, block: Block, key: Parts<'_>, archived: u64) -> u64 {
    let padding = home.geometry.root - home.geometry.key - home.geometry.size;
    let rest = HEADER + home.geometry.key + padding + home.prefix() + key.head();
    block.size - rest - archived
}

/// Writes all of a record but its archive: key, number of unused bytes, header, checksum.
fn end(
    view: &View,
    home: Home,
    (block, header): (Block, u64),
    key: Parts<'_>,
    unused: u64,
    version: u64,
) -> Result<()> {
    match key {
        Parts::Tail([]) => {}
        Parts::Tail(bytes) => view.write_fresh(header - home.geometry.key, bytes, "key")?,
        Parts::Head(bytes) => {
            let start = block.offset + home.prefix();
            view.write_fresh(start, bytes, "key")?;
            view.store(header - 8, bytes.len() as u64 | (header - start) << 32, "key")?;
        }
    }
    if unused >= MANY {
        view.store(exact(home, header), unused, WHAT)?;
    }
    head(view, header, version | unused.min(MANY) << UNUSED_SHIFT)?;
    if home.checked {
        let sum = checksum(view, block, header)?;
        view.store(block.offset, sum, "checksum")?;
    }
    Ok(())
}

/// Moves the record that fills the block `old` to the fresh block `new` of the same size, under a new generation. The old one is freed by the
/// commit. Gives the offset of the new header.
pub(crate) fn relocate(tx: &mut Tx<'_>, home: Home, old: Block, new: Block) -> Result<u64> {
    let to = copy(tx, home, old, new)?;
    bury(tx, old.offset + old.size - HEADER)?;
    tx.free(old.offset);
    Ok(to)
}

/// Copies the record that fills a block to a fresh one of the same size, under a new generation. Gives the offset of its header.
fn copy(view: &View, home: Home, old: Block, new: Block) -> Result<u64> {
    let words = old.size / 8 - 1;
    let [from, to] = [old, new].map(|block| block.offset + block.size - HEADER);
    view.copy_words(old.offset, new.offset, words, "record")?;
    let rest = view.load(from, WHAT)? & !(SEQUENCE | GENERATION);
    head(view, to, rest)?;
    if home.checked {
        let sum = checksum(view, new, to)?;
        view.store(new.offset, sum, "checksum")?;
    }
    Ok(to)
}

/// Frees the record's block at commit, whatever its shape.
pub(crate) fn forget(tx: &mut Tx<'_>, header: u64) -> Result<()> {
    let block = block(tx, header)?;
    bury(tx, header)?;
    tx.free(block.offset);
    Ok(())
}

/// Writes the header of a fresh or logged record, with a new generation: the last that is written. `rest` is all but generation and
/// sequence.
fn head(view: &View, header: u64, rest: u64) -> Result<()> {
    let mut generation = view.header(at::RECORDS_MADE).wrapping_add(1);
    generation += u64::from(generation as u32 == 0);
    view.set_header(at::RECORDS_MADE, generation);
    compiler_fence(Ordering::SeqCst);
    // In place, the sequence goes on, so that an observer sees that the record changed.
    let sequence = view.load(header, WHAT)? & SEQUENCE;
    let word = generation & GENERATION | settled(sequence) | rest;
    view.store(header, word, WHAT)
}

/// Frees the record's block at commit; gives the bytes of its archive. `head` is the length of what its key has at the block's start.
pub(crate) fn discard(tx: &mut Tx<'_>, home: Home, header: u64, head: u64) -> Result<u64> {
    let block = block(tx, header)?;
    let archived = archived(tx, home, header, block, head)?;
    bury(tx, header)?;
    tx.free(block.offset);
    Ok(archived)
}

/// Marks a record that is to be freed: its block stays in use until the commit, but it is no record any more. Who took it away may
/// still read it: the version stays.
fn bury(tx: &mut Tx<'_>, header: u64) -> Result<()> {
    let word = tx.load(header, WHAT)?;
    tx.put(header, word & !GENERATION, WHAT)
}

/// Whether the record whose tail is given was taken away by the transaction that is open.
#[inline]
pub(crate) fn is_dead(tail: &[u8]) -> bool {
    tail.last_chunk::<8>().is_none_or(|header| header[..4] == [0; 4])
}

/// The block that a record fills. Its header must be at the block's end.
pub(crate) fn block(tx: &Tx<'_>, header: u64) -> Result<Block> {
    block_in(tx, tx.region.layout(), header)
}

/// The same while the record is being changed, which goes on (T9).
fn block_in(view: &View, layout: &Layout, header: u64) -> Result<Block> {
    let block = heap::block_of(view, layout, header)?;
    if block.offset + block.size != header.wrapping_add(HEADER) {
        return Err(Error::damaged(WHAT, header, block.offset));
    }
    Ok(block)
}

/// Where the head of the key lies in a record's block.
pub(crate) fn head_at(block: Block, checked: bool) -> u64 {
    block.offset + if checked { CHECKSUM } else { 0 }
}

/// Where the exact number of unused bytes stands if there are many.
fn exact(home: Home, header: u64) -> u64 {
    header.wrapping_sub(home.geometry.root + 8) & !7
}

/// Bytes of a record's archive.
pub(crate) fn archived(view: &View, home: Home, header: u64, block: Block, head: u64) -> Result<u64> {
    let mut unused = view.load(header, WHAT)? >> UNUSED_SHIFT & 0xff;
    if unused == MANY {
        unused = view.load(exact(home, header), WHAT)?;
    }
    let padding = home.geometry.root - home.geometry.key - home.geometry.size;
    let rest = HEADER + home.geometry.key + padding + home.prefix() + head;
    block
        .size
        .checked_sub(rest)
        .and_then(|bytes| bytes.checked_sub(unused))
        .ok_or_else(|| Error::damaged(WHAT, header, unused))
}

/// What the checksum of a record should be.
pub(crate) fn checksum(view: &View, block: Block, header: u64) -> Result<u64> {
    let bytes = view.bytes(block.offset + CHECKSUM, header - block.offset - CHECKSUM, "record")?;
    let word = view.load(header, WHAT)? & !SEQUENCE;
    Ok(xxh3_64(bytes) ^ xxh3_64(&word.to_le_bytes()))
}

/// Compares the checksum of the record whose header is given with what it should be.
pub(crate) fn check_sum(view: &View, layout: &Layout, header: u64) -> Result<()> {
    let block = heap::block_of(view, layout, header)?;
    if block.offset + block.size != header.wrapping_add(HEADER) {
        return Err(Error::damaged(WHAT, header, block.offset));
    }
    let sum = view.load(block.offset, "checksum")?;
    if sum == checksum(view, block, header)? {
        Ok(())
    } else {
        Err(Error::damaged("checksum of a record", block.offset, sum))
    }
}

/// Makes the sequence odd: the record is being changed.
#[inline]
fn change(view: &View, header: u64) -> Result<()> {
    let word = view.load(header, WHAT)?;
    view.store(header, word | CHANGING, WHAT)?;
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
    /// From the root to the header.
    distance: u32,
    checked: bool,
    /// Nothing was held back when it was found (T8), and it has changed nothing yet.
    fresh: bool,
    value: PhantomData<fn() -> V>,
}

impl<'t, 'a, V: Value> RecordMut<'t, 'a, V> {
    pub(crate) fn new(tx: &'t mut Tx<'a>, home: Home, header: u64) -> Result<Self> {
        archive::root::<V>(tx, header, home.geometry)?;
        Ok(Self::found(tx, home, header))
    }

    /// Of a record whose root was read.
    #[inline(always)]
    pub(crate) fn found(tx: &'t mut Tx<'a>, home: Home, header: u64) -> Self {
        Self {
            tx,
            header,
            distance: home.geometry.root as u32,
            checked: home.checked,
            fresh: false,
            value: PhantomData,
        }
    }

    /// Of a record whose root was read through this transaction just now, so that nothing is held back.
    #[inline(always)]
    pub(crate) fn fresh(tx: &'t mut Tx<'a>, home: Home, header: u64) -> Self {
        debug_assert!(!tx.region.progress.is_pending());
        Self {
            fresh: true,
            ..Self::found(tx, home, header)
        }
    }

    #[inline(always)]
    fn root(&self) -> u64 {
        self.header - u64::from(self.distance)
    }

    /// Bytes of the root.
    const SIZE: u64 = size_of::<V::Archived>() as u64;

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
    /// tx.commit()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::ForeignField`] if what `project` gives is no part of the record, [`Error::FieldOfText`] if it is a byte of a string: in records that hold
    /// strings a byte, or an array of bytes, is only changed after a look at where they are. Those of the [log](crate::Tx#errors).
    /// A reference that another crate's cast made of something else than a field (the bytes of a `bool`, a number in a string) must not be given.
    #[inline(always)]
    pub fn set<F: Plain>(&mut self, project: impl for<'r> FnOnce(&'r V::Archived) -> &'r F, value: F) -> Result<()> {
        // What changed before is in place, whether it is settled or not.
        let at = self.root();
        let written = if self.fresh {
            &self.tx.region.view
        } else {
            self.tx.written()
        };
        self.fresh = false;
        let root = archive::known_root::<V>(written, at);
        let distance = archive::distance(root, project(root));
        let size = size_of::<F>() as u64;
        let offset = self.root().wrapping_add(distance);
        // Size 0 is not plain, so the difference does not wrap where it is used.
        if Self::SIZE < size || distance > Self::SIZE.wrapping_sub(size) {
            let (header, checked, end) = (self.header, self.checked, self.root());
            self.tx
                .apart(move |tx| check_outside(tx, header, checked, [offset, size, end]))?;
        }
        if const { align_of::<F>() == 1 } && TypeId::of::<F>() != TypeId::of::<bool>() {
            let (header, end) = (self.header, self.root() + Self::SIZE);
            self.tx
                .apart(move |tx| check_text::<V>(tx, header, [offset, size, end]))?;
        }
        if !self.checked && self.tx.put_field(offset, &value, self.header) {
            return Ok(());
        }
        let (header, how) = (self.header, if self.checked { CHECKED } else { 0 });
        self.tx.apart(move |tx| {
            tx.log_of_record([offset, size], header, how)?;
            archive::store(&tx.region.view, offset, value)
        })
    }

    /// Logs the whole record and lends it for changes through rkyv's `Seal`.
    ///
    /// # Errors
    /// Those of the [log](crate::Tx#errors).
    pub fn seal(&mut self) -> Result<Seal<'_, V::Archived>> {
        self.fresh = false;
        let block = block(self.tx, self.header)?;
        let length = self.root() + Self::SIZE - block.offset;
        let how = SEALED | if self.checked { CHECKED } else { 0 };
        self.tx.log_of_record([block.offset, length], self.header, how)?;
        let root = self.root();
        archive::seal::<V>(&mut self.tx.region.view, root)
    }
}

/// A field outside the root must lie in the part of the block that the root may point to, whose end is given.
#[cold]
fn check_outside(tx: &Tx<'_>, header: u64, checked: bool, [offset, size, end]: [u64; 3]) -> Result<()> {
    let block = block_in(&tx.region.view, tx.region.layout(), header)?;
    let start = head_at(block, checked);
    // The end of what lies right before the mapping wraps.
    if offset < start || offset.checked_add(size).is_none_or(|field_end| field_end > end) {
        return Err(Error::ForeignField);
    }
    Ok(())
}

/// A field of bytes must not be a part of a string (X1 of `text`). `end` is that of the root.
#[cold]
fn check_text<V: Value>(tx: &mut Tx<'_>, header: u64, [offset, size, end]: [u64; 3]) -> Result<()> {
    let Some(decoder) = tx.region.texts.of::<V>()? else {
        return Ok(());
    };
    let view = &tx.region.view;
    let block = block_in(view, tx.region.layout(), header)?;
    let bytes = view.bytes(block.offset, end - block.offset, WHAT)?;
    let root = bytes.len() - size_of::<V::Archived>();
    let at = (offset - block.offset) as usize;
    let kept_out = text::keep_out(&decoder, bytes, root, at..at + size as usize);
    kept_out.unwrap_or_else(|| Err(Error::damaged("record", header, offset)))
}

/// The record has a checksum, which was logged.
pub(crate) const CHECKED: u8 = 1;
/// All of it may have changed.
pub(crate) const SEALED: u8 = 2;

/// Before the first change that is logged: logs the checksum, and makes the sequence odd.
pub(crate) fn unsettle(tx: &mut Tx<'_>, header: u64, how: u8) -> Result<()> {
    if how & CHECKED != 0 {
        let block = block(tx, header)?;
        tx.log(block.offset, CHECKSUM, header)?;
    }
    change(tx, header)
}

/// After the last change: the checksum, if there is one, then the sequence (T9).
pub(crate) fn settle(view: &View, layout: &Layout, header: u64, how: u8) -> Result<()> {
    if how != 0 {
        let block = heap::block_of(view, layout, header)?;
        if how & SEALED != 0 {
            view.record(block.offset, header - block.offset);
        }
        if how & CHECKED != 0 {
            let sum = checksum(view, block, header)?;
            view.store(block.offset, sum, "checksum")?;
        }
    }
    compiler_fence(Ordering::SeqCst);
    undo::settle(view, header)
}

impl<V: Value> Deref for RecordMut<'_, '_, V> {
    type Target = V::Archived;

    #[inline(always)]
    fn deref(&self) -> &V::Archived {
        let settled = if self.fresh { &self.tx.region.view } else { &**self.tx };
        archive::known_root::<V>(settled, self.root())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Map, Region};

    /// A field lies in the record's block, before the end that is given: not before it, not across an end, also not the end of all addresses.
    #[test]
    fn a_field_outside_the_root_lies_in_the_block() {
        let mut region = Region::in_memory(4 << 20).expect("region");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let mut tx = region.begin(&pass).expect("begin");
        let map: Map<u64, Vec<u32>> = Map::create(&mut tx, "map").expect("table");
        map.insert(&mut tx, &1, &vec![1, 2, 3]).expect("inserted");
        let record = map.get_mut(&mut tx, &1).expect("get").expect("there");
        let (header, end) = (record.header, record.root());
        let start = block(&tx, header).expect("block").offset;
        let is_in = |checked, offset, size| check_outside(&tx, header, checked, [offset, size, end]).is_ok();
        assert!(is_in(false, start, 4) && is_in(false, end - 4, 4));
        assert!(is_in(true, start + CHECKSUM, 4) && !is_in(true, start + CHECKSUM - 4, 4));
        assert!(!is_in(false, start - 4, 4) && !is_in(false, end - 2, 4) && !is_in(false, end, 4));
        for size in [1, 4, 8, 16] {
            // Right before the mapping's first byte.
            assert!(!is_in(false, 0u64.wrapping_sub(size), size), "{size}");
        }
        assert!(!is_in(false, u64::MAX, 16));
    }
}
