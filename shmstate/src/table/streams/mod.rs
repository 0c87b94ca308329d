//! `Streams`: live connections whose unprocessed input and unsent output lie in the region, so that they survive `kill -9` byte
//! for byte.
//!
//! Each stream has two rings in the region. The process receives straight into the one and sends straight from the other,
//! outside transactions; it consumes input and produces output inside the transaction that changes the game state with
//! them. The kernel counts both directions of a TCP connection, so whoever continues one recomputes where it stands:
//!
//! - **S1** bytes taken out of the socket = `tcpi_bytes_received − SIOCINQ`, one less once a FIN is in;
//! - **S2** bytes accepted by the socket = `tcpi_bytes_acked + SIOCOUTQ`, one less once our own FIN is out;
//! - **S3** sampled until no segment comes in during a sample, against a baseline taken when the stream was adopted.
//! - **S4** The free part of a ring holds no committed byte. Bytes are received only while no transaction is open ([`Io`]), so
//!   that what a transaction consumed is free only once that is committed; bytes are produced only behind what was
//!   produced before, so that a rolled-back transaction leaves garbage in the free part only.
//! - **S5** `received` and `sent` are hints: right while their owner lives and is between calls, recomputed by
//!   [`Streams::resync`] when it was killed: before anything else is done with the stream. `consumed` and `produced` are logged
//!   like data.
//! - **S6** Of a Unix stream socket nothing is counted, so each movement of bytes is *noted*: by the kernel, in the region, in the
//!   system call that moves them ([`note`]).
//!
//! Rings are as large as they have to be ([`rings`], G1–G3); [`Rings`] says how large they may become.
//!
//! It does not know who accepts connections, what the bytes mean, or when to look at a socket.

mod check;
mod input;
mod moving;
mod note;
mod resync;
mod rings;
#[cfg(test)]
pub(crate) mod sabotage;
mod scan;
mod shown;
mod slot;

pub(crate) use check::{blocks, end_some, open};
pub use input::Input;
pub use shown::StreamInfo;
pub(crate) use shown::shown;
pub(crate) use slot::{PAGE_SLOTS, SLOT, SLOT_WORDS};

use crate::error::{Error, Result};
use crate::heap;
use crate::os::socket::{self, SocketKind};
use crate::os::tcp;
use crate::region::seal::{seal, unseal};
use crate::region::{Region, View};
use crate::schema::Description;
use crate::table::catalog::{self, Kind, ROOT, Spec, TableOptions};
use crate::tx::Tx;
use note::Note;
use slot::{On, Slot};
use std::os::fd::BorrowedFd;

const WHAT: &str = "streams";
/// Least and largest ring, in bytes; a ring's size is a power of two.
pub const RING_SIZES: (u32, u32) = (256, 1 << 24);
/// Most streams of one table.
pub const MAX_STREAMS: u64 = 1 << 24;

// Roots of the catalog row.
pub(crate) const DIRECTORY: u64 = ROOT;
pub(crate) const SLOTS: u64 = ROOT + 8;
const FIRST_FREE: u64 = ROOT + 16;
const OPEN: u64 = ROOT + 24;
const SERIAL: u64 = ROOT + 32;
const RINGS: u64 = ROOT + 40;
const NOTE: u64 = ROOT + 48;
const VISITED: u64 = ROOT + 56;

/// One of a connection's two directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    In = 1,
    Out = 2,
}

/// Names a stream of a table, and no other that was or will be in its place. It can be a field of a record, and a key, and is stored as
/// its number.
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

/// How large the rings of a table's streams may become. A stream that is idle has 256 bytes for input and none for output.
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
    /// The ring is full and as large as it may become, or the region has no memory for a larger one: consume first.
    Full,
    /// The peer sends no more.
    End,
    /// The connection is broken.
    Broken(std::io::Error),
}

/// What a call to [`Streams::send`] did.
#[derive(Debug)]
pub enum Sent {
    /// All that was produced has been accepted by the socket; if the stream is finished, so has its end.
    All,
    /// The socket takes no more now; so many bytes are left.
    Left(u64),
    /// The connection is broken.
    Broken(std::io::Error),
}

/// A table of live connections. The handle is small, can be copied and kept, and belongs to one region.
#[derive(Clone, Copy, Debug)]
pub struct Streams {
    row: u64,
    /// Which table it is (R1 of `catalog`).
    identity: u64,
}

impl Streams {
    pub(crate) fn spec() -> Spec {
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
            identity: view.identity(row),
        }
    }

    /// Makes the table.
    ///
    /// # Errors
    /// [`Error::TableExists`], [`Error::BadName`], [`Error::CatalogFull`], [`Error::Undeclared`], [`Error::RingTooLarge`], those of the [heap](crate::Tx#errors).
    pub fn create(tx: &mut Tx<'_>, name: &str, rings: Rings) -> Result<Self> {
        tx.whole(|tx| {
            let (least, most) = RING_SIZES;
            for size in [rings.input, rings.output] {
                if size > most {
                    return Err(Error::RingTooLarge { bytes: size, most });
                }
            }
            let size = |bytes: u32| u64::from(bytes.max(least).next_power_of_two());
            let sizes = size(rings.input) | size(rings.output) << 32;
            let directory = heap::alloc(tx, 8)?.offset;
            let note = Note::create(tx)?;
            let row = catalog::create(
                tx,
                name,
                &Self::spec(),
                TableOptions::default(),
                &[directory, 0, 0, 0, 0, sizes, note, 0],
            )?;
            Ok(Self::handle(row, tx))
        })
    }

    /// Finds the table. Needs no pass.
    ///
    /// # Errors
    /// [`Error::NoTable`], [`Error::SchemaMismatch`], [`Error::Undeclared`], [`Error::Busy`], [`Error::Damaged`].
    pub fn open(region: &Region, name: &str) -> Result<Self> {
        catalog::live(region, |view| {
            let row = catalog::find(view, name, &Self::spec())?;
            Ok((row, Self::handle(row, view)))
        })
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
        if view.identity(self.row) == self.identity {
            Ok(())
        } else {
            Err(catalog::no_table_of(view, self.identity))
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
        // No serial number is 0, and a free slot has none.
        if id.0 >> 32 == 0 || place >= self.root(view, SLOTS)? {
            return Err(Error::NoStream { token: id.0 });
        }
        let slot = self.place(view, place)?;
        if slot.token(view)? != id.0 {
            return Err(Error::NoStream { token: id.0 });
        }
        Ok(slot)
    }

    /// Bytes that an input ring and an output ring may have.
    fn most(&self, view: &View) -> Result<[u64; 2]> {
        let sizes = self.root(view, RINGS)?;
        check::check_most(sizes, self.row + RINGS)
    }

    /// Makes a stream of a connection that was accepted or made: TCP, or a Unix stream socket (S6). `user` is the application's
    /// own word about it. From now on only [`receive`](Self::receive) and [`send`](Self::send) may move its bytes, and only
    /// [`finish`](Self::finish) may end its output. Urgent bytes come in line (`SO_OOBINLINE`).
    ///
    /// # Errors
    /// [`Error::Io`] if the socket is neither of the two, or is being connected; [`Error::RegionFull`], [`Error::OutOfSpace`],
    /// [`Error::Damaged`].
    pub fn adopt(&self, tx: &mut Tx<'_>, fd: BorrowedFd<'_>, user: u64) -> Result<StreamId> {
        tx.whole(|tx| {
            self.admit(tx)?;
            let kind = socket::kind(fd).map_err(|e| Error::io("make a stream of", "connection", e))?;
            socket::in_line(fd).map_err(|e| Error::io("configure", "connection", e))?;
            let (on, base) = match kind {
                SocketKind::Tcp => {
                    let now = tcp::positions(fd).map_err(|e| Error::io("sample", "connection", e))?;
                    (On::Tcp, (now.taken, now.accepted))
                }
                SocketKind::Unix => (On::Unix, (0, 0)),
            };
            let cookie = socket::cookie(fd).map_err(|e| Error::io("identify", "connection", e))?;
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
            let input = heap::alloc(tx, rings::LEAST)?.offset;
            let next = slot.next_free(tx)?;
            slot.open(
                tx,
                &slot::Opening {
                    token,
                    on,
                    input,
                    input_size: rings::LEAST,
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
        })
    }

    fn add_page(&self, tx: &mut Tx<'_>) -> Result<()> {
        let slots = self.slots(tx)?;
        if slots >= MAX_STREAMS {
            return Err(Error::TableFull { most: MAX_STREAMS });
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
    /// [`Error::NoStream`], [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn end(&self, tx: &mut Tx<'_>, id: StreamId) -> Result<()> {
        tx.whole(|tx| {
            let slot = self.slot(tx, id)?;
            for ring in slot.rings(tx)?.into_iter().filter(|ring| *ring != 0) {
                tx.free(ring);
            }
            Note::of(self, tx)?.forget(tx, id)?;
            let free = self.root(tx, FIRST_FREE)?;
            slot.close(tx, free)?;
            let open = self.root(tx, OPEN)?.saturating_sub(1);
            tx.put_all(self.row + FIRST_FREE, &[(id.0 & 0xffff_ffff) + 1, open], WHAT)
        })
    }

    /// The application's word about the stream.
    ///
    /// # Errors
    /// [`Error::NoStream`], [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn user(&self, view: &View, id: StreamId) -> Result<u64> {
        self.slot(view, id)?.user(view)
    }

    /// Changes the application's word about the stream.
    ///
    /// # Errors
    /// [`Error::NoStream`], [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`], those of the [log](crate::Tx#errors).
    pub fn set_user(&self, tx: &mut Tx<'_>, id: StreamId, user: u64) -> Result<()> {
        tx.whole(|tx| self.slot(tx, id)?.set_user(tx, user))
    }

    /// Ends the output of a stream: nothing can be produced any more, and once the socket has taken what was, [`send`](Self::send)
    /// tells the peer that no more comes (a FIN; `shutdown` for writing). Input still comes in. Whoever continues the
    /// connection knows all this from the slot. To finish a stream twice is the same as once.
    ///
    /// # Errors
    /// [`Error::NoStream`], [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`], those of the [log](crate::Tx#errors).
    pub fn finish(&self, tx: &mut Tx<'_>, id: StreamId) -> Result<()> {
        tx.whole(|tx| self.slot(tx, id)?.set_finished(tx))
    }

    /// Whether the output of a stream was ended with [`finish`](Self::finish).
    ///
    /// # Errors
    /// [`Error::NoStream`], [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn is_finished(&self, view: &View, id: StreamId) -> Result<bool> {
        Ok(self.slot(view, id)?.bounds(view)?.finished)
    }

    /// How many streams are open.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn len(&self, view: &View) -> Result<u64> {
        self.admit(view)?;
        self.root(view, OPEN)
    }

    /// Whether none is open.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn is_empty(&self, view: &View) -> Result<bool> {
        Ok(self.len(view)? == 0)
    }
}

/// Where a stream's words and bytes lie, for tests that look between two stores.
#[cfg(test)]
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    /// The two hints.
    pub(crate) hints: [u64; 2],
    /// Offset and bytes of the input and of the output ring.
    pub(crate) rings: [(u64, u64); 2],
    /// The header of the note.
    pub(crate) note: (u64, u64),
    /// What was produced and not accepted by the socket.
    pub(crate) unsent: Vec<u8>,
    /// The socket was told of the end.
    pub(crate) told: bool,
}

#[cfg(test)]
impl Streams {
    pub(crate) fn parts(&self, view: &View, id: StreamId) -> Result<Parts> {
        let slot = self.slot(view, id)?;
        let p = slot.positions(view)?;
        let (a, b) = rings::pieces(p.output, p.output_size, p.sent, p.unsent());
        Ok(Parts {
            hints: slot.hints(),
            rings: [(p.input, p.input_size), (p.output, p.output_size)],
            note: Note::of(self, view)?.header(),
            unsent: [view.bytes(a.0, a.1, WHAT)?, view.bytes(b.0, b.1, WHAT)?].concat(),
            told: p.told,
        })
    }
}
