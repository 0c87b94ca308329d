//! A stream as its slot shows it, from a copy of the slot's words: for who looks from outside.

use super::StreamId;
use super::slot::{FINISHED, SLOT_WORDS, at, check_of, size_of_log};
use crate::error::{Error, Result};
use crate::region::seal::{LOW, unseal};

const WHAT: &str = "stream slot";

/// A live connection, as the region has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamInfo {
    /// Its name in the table.
    pub id: StreamId,
    /// Whether it is a Unix stream socket; else it is TCP.
    pub unix: bool,
    /// The application's word.
    pub user: u64,
    /// Bytes that came in, by the owner's last hint.
    pub received: u64,
    /// Of these, those that the application took.
    pub consumed: u64,
    /// Bytes that the application gave.
    pub produced: u64,
    /// Of these, those that the socket took, by the owner's last hint.
    pub sent: u64,
    /// Bytes of the input ring.
    pub input_ring: u64,
    /// Bytes of the output ring, 0 if there is none.
    pub output_ring: u64,
    /// No more output comes.
    pub finished: bool,
    /// When it was adopted, in ns of `CLOCK_MONOTONIC`.
    pub adopted_at: u64,
}

/// The stream in the slot of that place, whose words are given and lie at `offset`; `None` if none is open there.
pub(crate) fn shown(words: &[u64; SLOT_WORDS], place: u64, offset: u64) -> Result<Option<StreamInfo>> {
    let get = |field: u64| words[field as usize / 8];
    let damaged = |field: u64| Error::damaged(WHAT, offset + field, get(field));
    let (token, state) = (get(at::TOKEN), get(at::STATE));
    if token == 0 {
        return Ok(None);
    }
    if token & 0xffff_ffff != place || token >> 32 == 0 {
        return Err(damaged(at::TOKEN));
    }
    if check_of(words) != get(at::CHECK) {
        return Err(damaged(at::CHECK));
    }
    let unix = match state as u32 {
        1 => false,
        2 => true,
        _ => return Err(damaged(at::STATE)),
    };
    let sizes = get(at::SIZES);
    let (Some(input_ring), Some(output_ring)) = (size_of_log(sizes & 0xff), size_of_log(sizes >> 8 & 0xff)) else {
        return Err(damaged(at::SIZES));
    };
    let hint = |field: u64| unseal(get(field)).ok_or_else(|| damaged(field));
    let (consumed, produced) = (get(at::CONSUMED), get(at::PRODUCED));
    // D2, D3: the position next to its counterpart that has these bits.
    let ahead = hint(at::RECEIVED)?.wrapping_sub(consumed) & LOW;
    let finished = state & FINISHED != 0;
    let end = produced.wrapping_add(finished.into());
    let behind = end.wrapping_sub(hint(at::SENT)?) & LOW;
    let unsent = behind - u64::from(finished && behind > 0);
    if ahead > input_ring {
        return Err(damaged(at::RECEIVED));
    }
    if unsent > output_ring {
        return Err(damaged(at::SENT));
    }
    Ok(Some(StreamInfo {
        id: StreamId(token),
        unix,
        user: get(at::USER),
        received: consumed.wrapping_add(ahead),
        consumed,
        produced,
        sent: produced.wrapping_sub(unsent),
        input_ring,
        output_ring,
        finished,
        adopted_at: get(at::ADOPTED),
    }))
}
