//! `Streams`: live TCP connections whose unprocessed input and unsent output lie in the region, so that they survive
//! `kill -9` byte for byte.
//!
//! Each stream has two rings in the region. The process receives straight into the one and sends straight from the other,
//! outside transactions; it consumes input and produces output inside the transaction that changes the game state with
//! them. The kernel counts both directions, so whoever continues a connection recomputes where it stands:
//!
//! - **S1** bytes taken out of the socket = `tcpi_bytes_received − SIOCINQ`, one less once a FIN is in;
//! - **S2** bytes accepted by the socket = `tcpi_bytes_acked + SIOCOUTQ`, one less once our own FIN is out;
//! - **S3** sampled until no segment comes in during a sample, against a baseline taken when the stream was adopted.
//! - **S4** The free part of a ring holds no committed byte. Bytes are received only while no transaction is open ([`Io`]), so
//!   that what a transaction consumed is free only once that is committed; bytes are produced only behind what was
//!   produced before, so that a rolled-back transaction leaves garbage in the free part only.
//! - **S5** `received` and `sent` are hints: right while their owner lives and is between calls, recomputed by
//!   [`Streams::resync`] when it was killed. `consumed` and `produced` are logged like data.
//!
//! It does not know who accepts connections, what the bytes mean, or when to look at a socket.

mod slot;

use crate::error::{Error, Result};
use crate::heap;
use crate::os::tcp;
use crate::region::seal::{seal, unseal};
use crate::region::{Io, Region, View};
use crate::schema::Description;
use crate::table::catalog::{self, Kind, ROOT, Spec, TableOptions};
use crate::tx::Tx;
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, recvmsg, sendmsg};
use slot::{PAGE_SLOTS, SLOT, SLOT_WORDS, Slot};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::BorrowedFd;

const WHAT: &str = "streams";
/// Least and largest ring, in bytes; a ring's size is a power of two.
pub const RING_SIZES: (u32, u32) = (256, 1 << 24);
/// Most streams of one table.
pub const MAX_STREAMS: u64 = 1 << 24;

// Roots of the catalog row.
const DIRECTORY: u64 = ROOT;
const SLOTS: u64 = ROOT + 8;
const FIRST_FREE: u64 = ROOT + 16;
const OPEN: u64 = ROOT + 24;
const SERIAL: u64 = ROOT + 32;
const RINGS: u64 = ROOT + 40;

/// Names a stream of a table, and no other that was or will be in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(u64);

impl StreamId {
    /// The id as a number: the place in the low half, a serial number in the high half. Never 0.
    #[must_use]
    pub const fn token(self) -> u64 {
        self.0
    }

    /// The id that has this number.
    #[must_use]
    pub const fn from_token(token: u64) -> Self {
        Self(token)
    }

    /// The stream's place in the table: small, dense, used again after the stream's end.
    #[must_use]
    pub const fn place(self) -> usize {
        (self.0 & 0xffff_ffff) as usize
    }
}

/// Sizes of the rings of new streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rings {
    /// Bytes received and not yet consumed, at most; rounded up to a power of two.
    pub input: u32,
    /// Bytes produced and not yet sent, at most; rounded up to a power of two.
    pub output: u32,
}

impl Default for Rings {
    fn default() -> Self {
        Self {
            input: 4096,
            output: 16 * 1024,
        }
    }
}

/// What a call to [`Streams::receive`] found.
#[derive(Debug)]
pub enum Received {
    /// So many bytes came in.
    Bytes(usize),
    /// Nothing is there now.
    Nothing,
    /// The ring is full: consume first.
    Full,
    /// The peer sends no more.
    End,
    /// The connection is broken.
    Broken(std::io::Error),
}

/// What a call to [`Streams::send`] did.
#[derive(Debug)]
pub enum Sent {
    /// All that was produced has been accepted by the socket.
    All,
    /// The socket takes no more now; so many bytes are left.
    Left(u64),
    /// The connection is broken.
    Broken(std::io::Error),
}

/// Input that was received and not consumed: the older part, the newer part.
#[derive(Clone, Copy, Debug)]
pub struct Input<'v> {
    first: &'v [u8],
    second: &'v [u8],
}

impl<'v> Input<'v> {
    /// Bytes in all.
    #[must_use]
    pub fn len(&self) -> usize {
        self.first.len() + self.second.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The two pieces, oldest first; the second is empty unless the ring wraps.
    #[must_use]
    pub fn pieces(&self) -> (&'v [u8], &'v [u8]) {
        (self.first, self.second)
    }

    /// Copies as much as there is from byte `from` on into `out`; says how much.
    pub fn copy_to(&self, from: usize, out: &mut [u8]) -> usize {
        let mut done = 0;
        for (piece, start) in [(self.first, 0), (self.second, self.first.len())] {
            let skip = (from + done).saturating_sub(start).min(piece.len());
            let n = (piece.len() - skip).min(out.len() - done);
            if from + done >= start {
                out[done..done + n].copy_from_slice(&piece[skip..skip + n]);
                done += n;
            }
        }
        done
    }

    /// The bytes in one piece: borrowed if the ring does not wrap here, else copied.
    #[must_use]
    pub fn contiguous(&self) -> std::borrow::Cow<'v, [u8]> {
        if self.second.is_empty() {
            self.first.into()
        } else {
            [self.first, self.second].concat().into()
        }
    }
}

/// A table of live connections. The handle is small, can be copied and kept, and belongs to one region.
#[derive(Clone, Copy, Debug)]
pub struct Streams {
    row: u64,
    region: u64,
}

impl Streams {
    fn spec() -> Spec {
        Spec {
            kind: Kind::Streams,
            key: "u64".into(),
            // What the records of streams look like is this library's business: the slot's byte map is part of the format.
            value: Description::of::<()>(),
        }
    }

    fn handle(row: u64, view: &View) -> Self {
        Self {
            row,
            region: view.tag(),
        }
    }

    /// Makes the table.
    ///
    /// # Errors
    /// [`Error::TableExists`], [`Error::BadName`], [`Error::CatalogFull`], [`Error::TooLarge`] for a ring, those of the heap.
    pub fn create(tx: &mut Tx<'_>, name: &str, rings: Rings) -> Result<Self> {
        let (least, most) = RING_SIZES;
        for size in [rings.input, rings.output] {
            if size > most {
                return Err(Error::TooLarge {
                    bytes: size.into(),
                    most: most.into(),
                });
            }
        }
        let size = |bytes: u32| u64::from(bytes.max(least).next_power_of_two());
        let sizes = size(rings.input) | size(rings.output) << 32;
        let directory = heap::alloc(tx, 8)?.offset;
        let row = catalog::create(
            tx,
            name,
            &Self::spec(),
            TableOptions::default(),
            &[directory, 0, 0, 0, 0, sizes],
        )?;
        Ok(Self::handle(row, tx))
    }

    /// Finds the table. Needs no pass.
    ///
    /// # Errors
    /// [`Error::NoTable`], [`Error::SchemaMismatch`], [`Error::Busy`], [`Error::Damaged`].
    pub fn open(region: &Region, name: &str) -> Result<Self> {
        let row = catalog::find_live(region, name, &Self::spec())?;
        Ok(Self::handle(row, &region.view))
    }

    /// Finds the table, or makes it.
    ///
    /// # Errors
    /// Those of [`open`](Self::open) and [`create`](Self::create), except `NoTable`.
    pub fn open_or_create(tx: &mut Tx<'_>, name: &str, rings: Rings) -> Result<Self> {
        match catalog::find(tx, name, &Self::spec()) {
            Ok(row) => Ok(Self::handle(row, tx)),
            Err(Error::NoTable { .. }) => Self::create(tx, name, rings),
            Err(e) => Err(e),
        }
    }

    fn admit(&self, view: &View) -> Result<()> {
        if view.tag() == self.region {
            Ok(())
        } else {
            Err(Error::ForeignTable)
        }
    }

    fn root(&self, view: &View, root: u64) -> Result<u64> {
        view.load(self.row + root, WHAT)
    }

    /// The slot at `place`.
    fn place(&self, view: &View, place: u64) -> Result<Slot> {
        let slots = self.slots(view)?;
        if place >= slots {
            return Err(Error::damaged(WHAT, self.row + SLOTS, place));
        }
        let directory = self.root(view, DIRECTORY)?;
        let page = view.load(directory.wrapping_add(place / PAGE_SLOTS * 8), WHAT)?;
        Ok(Slot::at(page.wrapping_add(place % PAGE_SLOTS * SLOT)))
    }

    /// Slots of all pages: never more than the region's memory could hold.
    fn slots(&self, view: &View) -> Result<u64> {
        let slots = self.root(view, SLOTS)?;
        if slots > MAX_STREAMS || slots % PAGE_SLOTS != 0 || slots > view.capacity() / SLOT {
            return Err(Error::damaged(WHAT, self.row + SLOTS, slots));
        }
        Ok(slots)
    }

    /// The slot of an open stream.
    #[inline]
    fn slot(&self, view: &View, id: StreamId) -> Result<Slot> {
        self.admit(view)?;
        let place = id.0 & 0xffff_ffff;
        if place >= self.root(view, SLOTS)? {
            return Err(Error::NoStream { token: id.0 });
        }
        let slot = self.place(view, place)?;
        if slot.token(view)? != id.0 {
            return Err(Error::NoStream { token: id.0 });
        }
        Ok(slot)
    }

    /// Makes a stream of a connection that was accepted or made. `user` is the application's own word about it. From now on
    /// only [`receive`](Self::receive) and [`send`](Self::send) may move its bytes. Urgent bytes come in line
    /// (`SO_OOBINLINE`).
    ///
    /// # Errors
    /// [`Error::Io`] if the socket is not TCP, or is being connected; [`Error::RegionFull`], [`Error::OutOfSpace`],
    /// [`Error::Damaged`].
    pub fn adopt(&self, tx: &mut Tx<'_>, fd: BorrowedFd<'_>, user: u64) -> Result<StreamId> {
        self.admit(tx)?;
        tcp::in_line(fd).map_err(|e| Error::io("configure", "connection", e))?;
        let base = tcp::positions(fd).map_err(|e| Error::io("sample", "connection", e))?;
        let cookie = tcp::cookie(fd).map_err(|e| Error::io("identify", "connection", e))?;
        if self.root(tx, FIRST_FREE)? == 0 {
            self.add_page(tx)?;
        }
        let place = self.root(tx, FIRST_FREE)? - 1;
        let slot = self.place(tx, place)?;
        // Never 0, so that no token is.
        let word = self.root(tx, SERIAL)?;
        let serial = unseal(word).ok_or_else(|| Error::damaged(WHAT, self.row + SERIAL, word))?;
        let serial = (serial + 1) & 0xffff_ffff;
        let serial = serial.max(1);
        let token = place | serial << 32;
        let sizes = self.root(tx, RINGS)?;
        let input = heap::alloc(tx, sizes & 0xffff_ffff)?.offset;
        let output = heap::alloc(tx, sizes >> 32)?.offset;
        let next = slot.next_free(tx)?;
        slot.open(
            tx,
            &slot::Opening {
                token,
                input,
                output,
                sizes,
                base,
                user,
                cookie,
            },
        )?;
        let open = self.root(tx, OPEN)?.wrapping_add(1);
        // Not logged: a serial number is never given twice, also not after a rollback, so that a token which went to a
        // successor before its transaction was taken back cannot come to mean another stream.
        tx.store(self.row + SERIAL, seal(serial), WHAT)?;
        tx.put_all(self.row + FIRST_FREE, &[next, open], WHAT)?;
        Ok(StreamId(token))
    }

    fn add_page(&self, tx: &mut Tx<'_>) -> Result<()> {
        let slots = self.slots(tx)?;
        if slots >= MAX_STREAMS {
            return Err(Error::TooLarge {
                bytes: slots + 1,
                most: MAX_STREAMS,
            });
        }
        let page = heap::alloc(tx, PAGE_SLOTS * SLOT)?.offset;
        tx.zero_fresh(page, PAGE_SLOTS * SLOT, WHAT)?;
        for i in 0..PAGE_SLOTS {
            // A list through all of them, in order.
            let next = if i + 1 < PAGE_SLOTS { slots + i + 2 } else { 0 };
            Slot::at(page + i * SLOT).prepare(tx, next)?;
        }
        let pages = slots / PAGE_SLOTS;
        let old = self.root(tx, DIRECTORY)?;
        let new = heap::alloc(tx, (pages + 1) * 8)?.offset;
        for i in 0..pages {
            let word = tx.load(old.wrapping_add(i * 8), WHAT)?;
            tx.store(new + i * 8, word, WHAT)?;
        }
        tx.store(new + pages * 8, page, WHAT)?;
        tx.free(old);
        tx.put_all(self.row + DIRECTORY, &[new, slots + PAGE_SLOTS, slots + 1], WHAT)
    }

    /// Takes a stream out of the table. The caller ends the connection after the commit (H11).
    ///
    /// # Errors
    /// [`Error::NoStream`], [`Error::ForeignTable`], [`Error::Damaged`].
    pub fn end(&self, tx: &mut Tx<'_>, id: StreamId) -> Result<()> {
        let slot = self.slot(tx, id)?;
        let (input, output) = slot.rings(tx)?;
        tx.free(input);
        tx.free(output);
        let free = self.root(tx, FIRST_FREE)?;
        slot.close(tx, free)?;
        let open = self.root(tx, OPEN)?.saturating_sub(1);
        tx.put_all(self.row + FIRST_FREE, &[(id.0 & 0xffff_ffff) + 1, open], WHAT)
    }

    /// Reads what the socket has into the stream's ring, without waiting.
    ///
    /// # Errors
    /// [`Error::NoStream`], [`Error::ForeignTable`], [`Error::Damaged`]. What the socket says comes as [`Received`].
    pub fn receive(&self, io: &mut Io<'_>, id: StreamId, fd: BorrowedFd<'_>) -> Result<Received> {
        let view: &View = io;
        let slot = self.slot(view, id)?;
        let p = slot.positions(view)?;
        let room = p.input_size - (p.received - p.consumed);
        if room == 0 {
            return Ok(Received::Full);
        }
        let (first, second) = pieces(p.input, p.input_size, p.received, room);
        let result = view.fill(first, second, |a, b| {
            let mut slices = [IoSliceMut::new(a), IoSliceMut::new(b)];
            let mut none = RecvAncillaryBuffer::default();
            loop {
                match recvmsg(fd, &mut slices, &mut none, RecvFlags::DONTWAIT) {
                    Err(Errno::INTR) => {}
                    other => return other.map(|message| message.bytes),
                }
            }
        })?;
        match result {
            // After a reset was reported once the socket says 0 as at an end, also to a process that was not told.
            Ok(0) => match tcp::positions(fd) {
                Ok(kernel) if kernel.closed && !kernel.fin => Ok(Received::Broken(Errno::CONNRESET.into())),
                _ => Ok(Received::End),
            },
            Ok(n) => {
                slot.set_received(view, p.received + n as u64)?;
                Ok(Received::Bytes(n))
            }
            Err(Errno::AGAIN) => Ok(Received::Nothing),
            Err(e) => Ok(Received::Broken(e.into())),
        }
    }

    /// Input that was received and not yet consumed.
    ///
    /// # Errors
    /// [`Error::NoStream`], [`Error::ForeignTable`], [`Error::Damaged`].
    pub fn input<'v>(&self, view: &'v View, id: StreamId) -> Result<Input<'v>> {
        let p = self.slot(view, id)?.positions(view)?;
        let (first, second) = pieces(p.input, p.input_size, p.consumed, p.received - p.consumed);
        Ok(Input {
            first: view.bytes(first.0, first.1, WHAT)?,
            second: view.bytes(second.0, second.1, WHAT)?,
        })
    }

    /// Counts the oldest `bytes` of input as processed, in the transaction that processes them.
    ///
    /// # Errors
    /// [`Error::ShortInput`], [`Error::NoStream`], [`Error::ForeignTable`], [`Error::Damaged`].
    pub fn consume(&self, tx: &mut Tx<'_>, id: StreamId, bytes: usize) -> Result<()> {
        let slot = self.slot(tx, id)?;
        let p = slot.positions(tx)?;
        let there = p.received - p.consumed;
        if bytes as u64 > there {
            return Err(Error::ShortInput {
                token: id.0,
                asked: bytes as u64,
                there,
            });
        }
        if bytes == 0 {
            return Ok(());
        }
        slot.set_consumed(tx, p.consumed + bytes as u64)
    }

    /// How many bytes of output can be produced now.
    ///
    /// # Errors
    /// [`Error::NoStream`], [`Error::ForeignTable`], [`Error::Damaged`].
    pub fn room(&self, view: &View, id: StreamId) -> Result<u64> {
        let p = self.slot(view, id)?.positions(view)?;
        Ok(p.output_size - (p.produced - p.sent))
    }

    /// How many bytes of output were produced and not yet accepted by the socket.
    ///
    /// # Errors
    /// [`Error::NoStream`], [`Error::ForeignTable`], [`Error::Damaged`].
    pub fn unsent(&self, view: &View, id: StreamId) -> Result<u64> {
        let p = self.slot(view, id)?.positions(view)?;
        Ok(p.produced - p.sent)
    }

    /// Adds output: all of `bytes`, or none and `false` if the ring has not the room. It is sent after the commit.
    ///
    /// # Errors
    /// [`Error::NoStream`], [`Error::ForeignTable`], [`Error::Damaged`], those of the log.
    pub fn produce(&self, tx: &mut Tx<'_>, id: StreamId, bytes: &[u8]) -> Result<bool> {
        let slot = self.slot(tx, id)?;
        let p = slot.positions(tx)?;
        let length = bytes.len() as u64;
        if length > p.output_size - (p.produced - p.sent) {
            return Ok(false);
        }
        let (first, second) = pieces(p.output, p.output_size, p.produced, length);
        let (a, b) = bytes.split_at(first.1 as usize);
        tx.write_fresh(first.0, a, WHAT)?;
        tx.write_fresh(second.0, b, WHAT)?;
        if length > 0 {
            slot.set_produced(tx, p.produced + length)?;
        }
        Ok(true)
    }

    /// Lets the socket take what was produced and committed, without waiting.
    ///
    /// # Errors
    /// [`Error::NoStream`], [`Error::ForeignTable`], [`Error::Damaged`]. What the socket says comes as [`Sent`].
    pub fn send(&self, io: &mut Io<'_>, id: StreamId, fd: BorrowedFd<'_>) -> Result<Sent> {
        let view: &View = io;
        let slot = self.slot(view, id)?;
        let p = slot.positions(view)?;
        let mut sent = p.sent;
        while sent < p.produced {
            let (first, second) = pieces(p.output, p.output_size, sent, p.produced - sent);
            let slices = [
                IoSlice::new(view.bytes(first.0, first.1, WHAT)?),
                IoSlice::new(view.bytes(second.0, second.1, WHAT)?),
            ];
            let mut none = SendAncillaryBuffer::default();
            match sendmsg(fd, &slices, &mut none, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(n) => {
                    sent += n as u64;
                    slot.set_sent(view, sent)?;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(Sent::Left(p.produced - sent)),
                Err(e) => return Ok(Sent::Broken(e.into())),
            }
        }
        Ok(Sent::All)
    }

    /// Recomputes where the stream stands from the kernel's counts: for whoever continues a connection whose owner was
    /// killed at any instruction (S1–S3).
    ///
    /// # Errors
    /// [`Error::StreamLost`] if `fd` is another socket, or somebody else moved bytes; [`Error::Io`]; [`Error::NoStream`],
    /// [`Error::Damaged`].
    pub fn resync(&self, io: &mut Io<'_>, id: StreamId, fd: BorrowedFd<'_>) -> Result<()> {
        let view: &View = io;
        let slot = self.slot(view, id)?;
        let lost = |direction, kernel, low, high| Error::StreamLost {
            token: id.0,
            direction,
            kernel,
            low,
            high,
        };
        let cookie = tcp::cookie(fd).map_err(|e| Error::io("identify", "connection", e))?;
        let stored = slot.cookie(view)?;
        if cookie != stored {
            return Err(lost("socket", cookie, stored, stored));
        }
        let kernel = tcp::positions(fd).map_err(|e| Error::io("sample", "connection", e))?;
        let (taken, accepted) = slot.baseline(view)?;
        let p = slot.bounds(view)?;
        let received = kernel.taken.wrapping_sub(taken);
        let sent = match kernel.accepted.wrapping_sub(accepted) {
            // Our own FIN may be in it, and nothing more can be sent.
            sent if kernel.closed => sent.min(p.produced),
            sent => sent,
        };
        let most = p.consumed.saturating_add(p.input_size);
        if received < p.consumed || received > most {
            return Err(lost("input", received, p.consumed, most));
        }
        let least = p.produced.saturating_sub(p.output_size);
        if sent > p.produced || sent < least {
            return Err(lost("output", sent, least, p.produced));
        }
        slot.set_received(view, received)?;
        slot.set_sent(view, sent)
    }

    /// The application's word about the stream.
    ///
    /// # Errors
    /// [`Error::NoStream`], [`Error::ForeignTable`], [`Error::Damaged`].
    pub fn user(&self, view: &View, id: StreamId) -> Result<u64> {
        self.slot(view, id)?.user(view)
    }

    /// Changes the application's word about the stream.
    ///
    /// # Errors
    /// [`Error::NoStream`], [`Error::ForeignTable`], [`Error::Damaged`], those of the log.
    pub fn set_user(&self, tx: &mut Tx<'_>, id: StreamId, user: u64) -> Result<()> {
        self.slot(tx, id)?.set_user(tx, user)
    }

    /// How many streams are open.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::Damaged`].
    pub fn len(&self, view: &View) -> Result<u64> {
        self.admit(view)?;
        self.root(view, OPEN)
    }

    /// Whether none is open.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::Damaged`].
    pub fn is_empty(&self, view: &View) -> Result<bool> {
        Ok(self.len(view)? == 0)
    }

    /// All open streams.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::Damaged`].
    pub fn ids(&self, view: &View) -> Result<Vec<StreamId>> {
        self.admit(view)?;
        let mut ids = Vec::new();
        for place in 0..self.slots(view)? {
            let token = self.place(view, place)?.token(view)?;
            if token != 0 {
                ids.push(StreamId(token));
            }
        }
        Ok(ids)
    }
}

/// The two pieces of `length` bytes of a ring from `position` on: offset and length of each.
fn pieces(ring: u64, size: u64, position: u64, length: u64) -> ((u64, u64), (u64, u64)) {
    let start = position & (size - 1);
    let first = length.min(size - start);
    ((ring.wrapping_add(start), first), (ring, length - first))
}

/// Visits the blocks of the table in row `row`, and checks it: every word of an open stream's slot.
pub(crate) fn blocks(view: &View, row: u64, mut each: impl FnMut(u64)) -> Result<()> {
    let streams = Streams {
        row,
        region: view.tag(),
    };
    let directory = streams.root(view, DIRECTORY)?;
    let slots = streams.slots(view)?;
    heap::check_block(view, directory, slots / PAGE_SLOTS * 8, WHAT, row + DIRECTORY)?;
    each(directory);
    for page in 0..slots / PAGE_SLOTS {
        let at = directory + page * 8;
        let page = view.load(at, WHAT)?;
        heap::check_block(view, page, PAGE_SLOTS * SLOT, WHAT, at)?;
        each(page);
    }
    let sizes = streams.root(view, RINGS)?;
    slot::check_sizes(sizes, row + RINGS)?;
    let serial = streams.root(view, SERIAL)?;
    if unseal(serial).is_none() {
        return Err(Error::damaged(WHAT, row + SERIAL, serial));
    }
    let mut open = 0;
    for place in 0..slots {
        let slot = streams.place(view, place)?;
        if let Some(rings) = slot.check(view, place)? {
            rings.into_iter().for_each(&mut each);
            open += 1;
        }
    }
    let counted = streams.root(view, OPEN)?;
    if counted != open {
        return Err(Error::damaged("number of streams", row + OPEN, counted));
    }
    let mut free = 0;
    let mut next = streams.root(view, FIRST_FREE)?;
    while next != 0 {
        free += 1;
        if free > slots {
            return Err(Error::damaged("free streams", row + FIRST_FREE, next));
        }
        let slot = streams.place(view, next - 1)?;
        if slot.token(view)? != 0 {
            return Err(Error::damaged("free streams", row + FIRST_FREE, next));
        }
        next = slot.next_free(view)?;
    }
    if free + open != slots {
        return Err(Error::damaged("free streams", row + FIRST_FREE, free));
    }
    Ok(())
}

/// Ends every stream of the table in row `row`: after a restore, when no socket is left.
pub(crate) fn end_all(tx: &mut Tx<'_>, row: u64) -> Result<()> {
    let streams = Streams { row, region: tx.tag() };
    for id in streams.ids(tx)? {
        streams.end(tx, id)?;
    }
    Ok(())
}

/// Open streams of the table in row `row`.
pub(crate) fn open(view: &View, row: u64) -> Result<u64> {
    view.load(row + OPEN, WHAT)
}

const _: () = assert!(SLOT_WORDS * 8 == SLOT as usize);
