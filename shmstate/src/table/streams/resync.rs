//! Where a stream stands after its owner was killed.

use crate::error::{Error, Result};
use crate::os::{socket, tcp};
use crate::region::seal::LOW;
use crate::region::{Io, View};
use crate::table::streams::note::Note;
use crate::table::streams::slot::{On, Slot};
use crate::table::streams::{StreamId, Streams, Way};
use std::os::fd::BorrowedFd;

impl Streams {
    /// Recomputes where the stream stands, from the kernel's counts (S1–S3) or its note (S6): for whoever continues a connection whose
    /// owner was killed at any instruction. To be called before anything else is done with the stream; called without need it changes
    /// nothing.
    ///
    /// # Errors
    /// [`Error::StreamLost`] if `fd` is another socket, or somebody else moved bytes (of a Unix socket only the first is noticed);
    /// [`Error::Io`]; [`Error::NoStream`], [`Error::Damaged`].
    pub fn resync(&self, io: &mut Io<'_>, id: StreamId, fd: BorrowedFd<'_>) -> Result<()> {
        let view: &View = io;
        let slot = self.slot(view, id)?;
        let cookie = socket::cookie(fd).map_err(|e| Error::io("identify", "connection", e))?;
        let stored = slot.cookie(view)?;
        if cookie != stored {
            return Err(lost(id, "socket", cookie, stored, stored));
        }
        match slot.on(view)? {
            On::Tcp => {
                let kernel = tcp::positions(fd).map_err(|e| Error::io("sample", "connection", e))?;
                self.resync_to(view, id, &kernel)
            }
            On::Unix => self.resync_by_note(view, id),
        }
    }

    /// The same with the kernel's counts given.
    pub(crate) fn resync_to(&self, view: &View, id: StreamId, kernel: &tcp::Positions) -> Result<()> {
        let slot = self.slot(view, id)?;
        let (taken, accepted) = slot.baseline(view)?;
        let p = slot.bounds(view)?;
        let sent = match kernel.accepted.wrapping_sub(accepted) {
            // Our own FIN may be in it, and nothing more can be sent.
            sent if kernel.closed => sent.min(p.produced),
            sent => sent,
        };
        settle_input(view, id, slot, kernel.taken.wrapping_sub(taken))?;
        settle_output(view, id, slot, sent)?;
        // D3. Of a closed connection it is not known, and nothing more can be told to it.
        if p.finished && (kernel.own_fin || kernel.closed) && sent == p.produced {
            slot.set_sent(view, p.produced + 1)?;
        }
        Ok(())
    }

    /// The hints are right, but for the call that was under way.
    pub(crate) fn resync_by_note(&self, view: &View, id: StreamId) -> Result<()> {
        let (slot, note) = (self.slot(view, id)?, Note::of(self, view)?);
        note.check(self, view)?;
        let Some(call) = note.unfinished(view, id)? else {
            return slot.positions(view).map(|_| ());
        };
        let p = slot.bounds(view)?;
        // Whether the hint was set or not: so many from the position on. The other hint is right (N3).
        let now = call.position.wrapping_add(call.moved);
        match call.way {
            Way::In => {
                let ahead = now.wrapping_sub(p.consumed) & LOW;
                settle_input(view, id, slot, p.consumed.wrapping_add(ahead))?;
            }
            Way::Out => {
                let behind = p.produced.wrapping_sub(now) & LOW;
                settle_output(view, id, slot, p.produced.wrapping_sub(behind))?;
            }
        }
        note.end(view)
    }
}

fn lost(id: StreamId, direction: &'static str, kernel: u64, low: u64, high: u64) -> Error {
    Error::StreamLost {
        token: id.0,
        direction,
        kernel,
        low,
        high,
    }
}

/// Sets the hint of what was received, if the ring can hold it.
fn settle_input(view: &View, id: StreamId, slot: Slot, received: u64) -> Result<()> {
    let p = slot.bounds(view)?;
    let most = p.consumed.saturating_add(p.input_size);
    if received < p.consumed || received > most {
        return Err(lost(id, "input", received, p.consumed, most));
    }
    slot.set_received(view, received)
}

/// Sets the hint of what was sent, if the ring holds the rest.
fn settle_output(view: &View, id: StreamId, slot: Slot, sent: u64) -> Result<()> {
    let p = slot.bounds(view)?;
    let least = p.produced.saturating_sub(p.output_size);
    if sent > p.produced || sent < least {
        return Err(lost(id, "output", sent, least, p.produced));
    }
    slot.set_sent(view, sent)
}
