//! The slot of a stream: 128 bytes.
//!
//! ```text
//!  0 u64 token (place low, serial high), 0 = free     64 u64 received  } hints of the owner (S5), bytes since the
//!  8 u32 state (0 free, 1 TCP, 2 Unix) · u32 flags    72 u64 sent      } baseline: the low 48 bits, sealed
//! 16 u64 input ring     24 u64 output ring, 0 = none  80 u64 consumed, logged
//! 32 u8 log2 of the input ring's bytes · u8 of the    88 u64 produced, logged
//!    output ring's · u16 0 · u32 mark (G3)            96 u64 check
//! 40 u64 baseline of S1                              104 u64 next free slot + 1
//! 48 u64 baseline of S2                              112 u64 adopted at, ns
//! 56 u64 the application's word                      120 u64 socket cookie
//! ```
//!
//! - **D1** The check is the sum of a mix of each word of an open stream, but for the hints: it changes with any of them, and who changes
//!   one adds the difference, in the same transaction.
//! - **D2** The hints change outside transactions, so they cannot be part of it; each is sealed in itself. A position is the one next to
//!   its logged counterpart that has these 48 bits: the two are never further apart than a ring is long.
//! - **D3** The end of a finished stream takes a place in the sequence, as a FIN does: `sent` is one beyond `produced` once the
//!   socket was told. So a hint says that too, and no second word has to agree with it.

use crate::error::{Error, Result};
use crate::heap;
use crate::os::clock::monotonic_ns;
use crate::region::View;
use crate::region::seal::{LOW, seal, unseal};
use crate::table::streams::{RING_SIZES, Way};
use crate::tx::Tx;

const WHAT: &str = "stream slot";
/// Bytes of a slot.
pub(crate) const SLOT: u64 = 128;
/// Words of a slot.
pub(crate) const SLOT_WORDS: usize = 16;
/// Slots of a page.
pub(crate) const PAGE_SLOTS: u64 = 64;

/// No more output comes: the socket is told when the last byte is out.
pub(super) const FINISHED: u64 = 1 << 32;
/// Bits of the word with state and flags that mean something.
const STATE_BITS: u64 = FINISHED | 0xffff_ffff;
/// Where the mark begins in the word with the sizes.
const MARK_SHIFT: u32 = 32;

pub(super) mod at {
    pub(crate) const TOKEN: u64 = 0;
    pub(crate) const STATE: u64 = 8;
    pub(crate) const INPUT: u64 = 16;
    pub(crate) const OUTPUT: u64 = 24;
    pub(crate) const SIZES: u64 = 32;
    pub(crate) const BASE_TAKEN: u64 = 40;
    pub(crate) const BASE_ACCEPTED: u64 = 48;
    pub(crate) const USER: u64 = 56;
    pub(crate) const RECEIVED: u64 = 64;
    pub(crate) const SENT: u64 = 72;
    pub(crate) const CONSUMED: u64 = 80;
    pub(crate) const PRODUCED: u64 = 88;
    pub(crate) const CHECK: u64 = 96;
    pub(crate) const NEXT_FREE: u64 = 104;
    pub(crate) const ADOPTED: u64 = 112;
    pub(crate) const COOKIE: u64 = 120;
}

const _: () = assert!(at::CONSUMED == at::RECEIVED + 16 && at::PRODUCED == at::SENT + 16);
const _: () = assert!(at::PRODUCED == at::CONSUMED + 8 && at::CHECK == at::PRODUCED + 8);
const _: () = assert!(at::STATE == at::TOKEN + 8 && at::OUTPUT == at::INPUT + 8 && at::SIZES == at::OUTPUT + 8);
const _: () = assert!(SLOT_WORDS * 8 == SLOT as usize);

/// What kind of socket a stream is on: who knows how many bytes went through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum On {
    /// TCP: the kernel counts (S1–S3).
    Tcp = 1,
    /// A Unix stream socket: the note does (S6).
    Unix = 2,
}

/// The part that a word has in the check (D1): a bijection of the word, another one for each field.
const fn mix(field: u64, word: u64) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mixed = (word ^ (field + 1).wrapping_mul(ODD)).wrapping_mul(ODD);
    mixed ^ mixed >> 32
}

/// The check of a slot's words.
pub(super) fn check_of(words: &[u64; SLOT_WORDS]) -> u64 {
    (0u64..)
        .step_by(8)
        .zip(words)
        .filter(|(field, _)| ![at::RECEIVED, at::SENT, at::CHECK].contains(field))
        .fold(0, |sum, (field, word)| sum.wrapping_add(mix(field, *word)))
}

/// The check after a field was changed (D1).
const fn changed(check: u64, field: u64, before: u64, after: u64) -> u64 {
    check.wrapping_sub(mix(field, before)).wrapping_add(mix(field, after))
}

/// Bytes of a ring by the byte that has their logarithm.
#[inline]
pub(super) fn size_of_log(log: u64) -> Option<u64> {
    const LEAST: u64 = RING_SIZES.0.ilog2() as u64;
    const MOST: u64 = RING_SIZES.1.ilog2() as u64;
    match log {
        0 => Some(0),
        LEAST..=MOST => Some(1 << log),
        _ => None,
    }
}

/// The byte that has the logarithm of a ring's bytes.
fn log_of_size(size: u64) -> u64 {
    if size == 0 { 0 } else { size.ilog2().into() }
}

/// What a new stream starts with.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) token: u64,
    pub(super) on: On,
    pub(super) input: u64,
    pub(super) input_size: u64,
    /// S1 and S2 now.
    pub(super) base: (u64, u64),
    pub(super) user: u64,
    pub(super) cookie: u64,
}

/// Rings and positions, checked against each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Positions {
    pub(super) input: u64,
    pub(super) input_size: u64,
    /// 0 if there is none; its size is 0 then.
    pub(super) output: u64,
    pub(super) output_size: u64,
    pub(super) received: u64,
    pub(super) consumed: u64,
    pub(super) produced: u64,
    pub(super) sent: u64,
    /// No more output comes.
    pub(super) finished: bool,
    /// The socket was told so (D3).
    pub(super) told: bool,
}

impl Positions {
    /// Bytes received and not consumed.
    pub(super) fn unread(&self) -> u64 {
        self.received - self.consumed
    }

    /// Bytes produced and not accepted by the socket.
    pub(super) fn unsent(&self) -> u64 {
        self.produced - self.sent
    }
}

/// A slot by its offset.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot(u64);

impl Slot {
    pub(super) fn at(offset: u64) -> Self {
        Self(offset)
    }

    fn get(self, view: &View, field: u64) -> Result<u64> {
        view.load(self.0.wrapping_add(field), WHAT)
    }

    pub(super) fn token(self, view: &View) -> Result<u64> {
        self.get(view, at::TOKEN)
    }

    pub(super) fn user(self, view: &View) -> Result<u64> {
        self.get(view, at::USER)
    }

    pub(super) fn cookie(self, view: &View) -> Result<u64> {
        self.get(view, at::COOKIE)
    }

    pub(super) fn next_free(self, view: &View) -> Result<u64> {
        self.get(view, at::NEXT_FREE)
    }

    pub(super) fn rings(self, view: &View) -> Result<[u64; 2]> {
        Ok([self.get(view, at::INPUT)?, self.get(view, at::OUTPUT)?])
    }

    pub(super) fn baseline(self, view: &View) -> Result<(u64, u64)> {
        Ok((self.get(view, at::BASE_TAKEN)?, self.get(view, at::BASE_ACCEPTED)?))
    }

    /// What kind of socket the open stream is on.
    #[inline]
    pub(super) fn on(self, view: &View) -> Result<On> {
        let word = self.get(view, at::STATE)?;
        match word & 0xffff_ffff {
            1 if word & !STATE_BITS == 0 => Ok(On::Tcp),
            2 if word & !STATE_BITS == 0 => Ok(On::Unix),
            _ => Err(Error::damaged(WHAT, self.0 + at::STATE, word)),
        }
    }

    /// Rings and positions; the two hints are not looked at (they are stale after a kill).
    pub(super) fn bounds(self, view: &View) -> Result<Positions> {
        let [state, input, output, sizes] = view.words(self.0.wrapping_add(at::STATE), WHAT)?;
        let (Some(input_size), Some(output_size)) = (size_of_log(sizes & 0xff), size_of_log(sizes >> 8 & 0xff)) else {
            return Err(Error::damaged(WHAT, self.0 + at::SIZES, sizes));
        };
        Ok(Positions {
            input,
            input_size,
            output,
            output_size,
            received: 0,
            consumed: self.get(view, at::CONSUMED)?,
            produced: self.get(view, at::PRODUCED)?,
            sent: 0,
            finished: state & FINISHED != 0,
            told: false,
        })
    }

    /// Checks the slot at `place`, as far as can be without the socket (the hints may be stale after a kill); gives the rings
    /// and the kind of socket if a stream is open there.
    pub(super) fn check(self, view: &View, place: u64) -> Result<Option<[u64; 2]>> {
        let (token, state) = (self.token(view)?, self.get(view, at::STATE)?);
        if token == 0 && state == 0 {
            return Ok(None);
        }
        self.on(view)?;
        if token & 0xffff_ffff != place || token >> 32 == 0 {
            return Err(Error::damaged(WHAT, self.0 + at::TOKEN, token));
        }
        let words: [u64; SLOT_WORDS] = view.words(self.0, WHAT)?;
        if words[at::CHECK as usize / 8] != check_of(&words) {
            return Err(Error::damaged(WHAT, self.0 + at::CHECK, words[at::CHECK as usize / 8]));
        }
        let p = self.positions(view)?;
        for (ring, size, field) in [
            (p.input, p.input_size, at::INPUT),
            (p.output, p.output_size, at::OUTPUT),
        ] {
            if size > 0 {
                heap::check_block(view, ring, size, WHAT, self.0 + field)?;
            } else if ring != 0 {
                return Err(Error::damaged(WHAT, self.0 + field, ring));
            }
        }
        Ok(Some([p.input, p.output]))
    }

    /// Rings and positions of a stream whose hints are right.
    #[inline]
    pub(super) fn positions(self, view: &View) -> Result<Positions> {
        let bounds = self.bounds(view)?;
        let ahead = self.hint(view, at::RECEIVED)?.wrapping_sub(bounds.consumed) & LOW;
        // D3.
        let end = bounds.produced.wrapping_add(bounds.finished.into());
        let behind = end.wrapping_sub(self.hint(view, at::SENT)?) & LOW;
        let told = bounds.finished && behind == 0;
        let unsent = behind - u64::from(bounds.finished && !told);
        if ahead > bounds.input_size {
            let received = bounds.consumed.wrapping_add(ahead);
            return Err(Error::damaged(WHAT, self.0 + at::RECEIVED, received));
        }
        if unsent > bounds.output_size {
            return Err(Error::damaged(WHAT, self.0 + at::SENT, end.wrapping_sub(behind)));
        }
        Ok(Positions {
            received: bounds.consumed.wrapping_add(ahead),
            sent: bounds.produced.wrapping_sub(unsent),
            told,
            ..bounds
        })
    }

    /// Whether input was received and not consumed; also if the hint is damaged.
    #[inline]
    pub(super) fn has_input(self, view: &View) -> Result<bool> {
        let [hint, _, consumed] = view.words(self.0.wrapping_add(at::RECEIVED), WHAT)?;
        Ok(unseal(hint) != Some(consumed & LOW))
    }

    /// Whether the socket has not accepted what was produced, or was not told of the end (D3); also if the hint is damaged.
    #[inline]
    pub(super) fn has_output(self, view: &View) -> Result<bool> {
        let [hint, _, produced] = view.words(self.0.wrapping_add(at::SENT), WHAT)?;
        let finished = self.get(view, at::STATE)? & FINISHED != 0;
        Ok(unseal(hint) != Some(produced.wrapping_add(finished.into()) & LOW))
    }

    /// A hint (D2).
    fn hint(self, view: &View, field: u64) -> Result<u64> {
        let word = self.get(view, field)?;
        unseal(word).ok_or_else(|| Error::damaged(WHAT, self.0 + field, word))
    }

    /// Where the two hints are.
    #[cfg(test)]
    pub(super) fn hints(self) -> [u64; 2] {
        [self.0 + at::RECEIVED, self.0 + at::SENT]
    }

    /// Writes a slot of a fresh page: free, in a list.
    pub(super) fn prepare(self, tx: &Tx<'_>, next_free: u64) -> Result<()> {
        tx.store(self.0 + at::NEXT_FREE, next_free, WHAT)
    }

    pub(super) fn open(self, tx: &mut Tx<'_>, o: &Opening) -> Result<()> {
        let mut words = [0; SLOT_WORDS];
        for (field, word) in [
            (at::TOKEN, o.token),
            (at::STATE, o.on as u64),
            (at::INPUT, o.input),
            (at::SIZES, log_of_size(o.input_size)),
            (at::BASE_TAKEN, o.base.0),
            (at::BASE_ACCEPTED, o.base.1),
            (at::USER, o.user),
            (at::ADOPTED, monotonic_ns()),
            (at::COOKIE, o.cookie),
        ] {
            words[field as usize / 8] = word;
        }
        words[at::CHECK as usize / 8] = check_of(&words);
        tx.put_all(self.0, &words, WHAT)
    }

    pub(super) fn close(self, tx: &mut Tx<'_>, next_free: u64) -> Result<()> {
        tx.put_all(self.0 + at::TOKEN, &[0, 0], WHAT)?;
        tx.put(self.0 + at::NEXT_FREE, next_free, WHAT)
    }

    /// Changes words of the slot, and the check with them.
    fn set(self, tx: &mut Tx<'_>, fields: &[(u64, u64)]) -> Result<()> {
        let mut check = self.get(tx, at::CHECK)?;
        for (field, word) in fields {
            check = changed(check, *field, self.get(tx, *field)?, *word);
            tx.put(self.0 + field, *word, WHAT)?;
        }
        tx.put(self.0 + at::CHECK, check, WHAT)
    }

    pub(super) fn set_user(self, tx: &mut Tx<'_>, user: u64) -> Result<()> {
        self.set(tx, &[(at::USER, user)])
    }

    pub(super) fn set_finished(self, tx: &mut Tx<'_>) -> Result<()> {
        let state = self.get(tx, at::STATE)?;
        self.set(tx, &[(at::STATE, state | FINISHED)])
    }

    /// Another ring in the place of the one: its offset, its bytes; 0 and 0 for none.
    pub(super) fn set_ring(self, tx: &mut Tx<'_>, way: Way, ring: u64, size: u64) -> Result<()> {
        let (field, shift) = match way {
            Way::In => (at::INPUT, 0),
            Way::Out => (at::OUTPUT, 8),
        };
        let sizes = self.get(tx, at::SIZES)? & !(0xff << shift) | log_of_size(size) << shift;
        self.set(tx, &[(field, ring), (at::SIZES, sizes)])
    }

    /// The same without the log: what must not be ([`sabotage`](super::sabotage)).
    #[cfg(test)]
    pub(super) fn set_ring_unlogged(self, tx: &Tx<'_>, way: Way, ring: u64, size: u64) -> Result<()> {
        let (field, shift) = match way {
            Way::In => (at::INPUT, 0),
            Way::Out => (at::OUTPUT, 8),
        };
        let sizes = self.get(tx, at::SIZES)? & !(0xff << shift) | log_of_size(size) << shift;
        let mut check = self.get(tx, at::CHECK)?;
        for (field, word) in [(field, ring), (at::SIZES, sizes)] {
            check = changed(check, field, self.get(tx, field)?, word);
            tx.store(self.0 + field, word, WHAT)?;
        }
        tx.store(self.0 + at::CHECK, check, WHAT)
    }

    /// What the last visit of `tidy` left (G3); 0 if there was none.
    pub(super) fn mark(self, view: &View) -> Result<u32> {
        Ok((self.get(view, at::SIZES)? >> MARK_SHIFT) as u32)
    }

    pub(super) fn set_mark(self, tx: &mut Tx<'_>, mark: u32) -> Result<()> {
        let sizes = self.get(tx, at::SIZES)? & ((1 << MARK_SHIFT) - 1) | u64::from(mark) << MARK_SHIFT;
        self.set(tx, &[(at::SIZES, sizes)])
    }

    pub(super) fn set_consumed(self, tx: &mut Tx<'_>, position: u64) -> Result<()> {
        let [before, produced, check] = tx.words(self.0.wrapping_add(at::CONSUMED), WHAT)?;
        let check = changed(check, at::CONSUMED, before, position);
        tx.put_all(self.0 + at::CONSUMED, &[position, produced, check], WHAT)
    }

    pub(super) fn set_produced(self, tx: &mut Tx<'_>, position: u64) -> Result<()> {
        let [before, check] = tx.words(self.0.wrapping_add(at::PRODUCED), WHAT)?;
        let check = changed(check, at::PRODUCED, before, position);
        tx.put_all(self.0 + at::PRODUCED, &[position, check], WHAT)
    }

    pub(super) fn set_received(self, view: &View, position: u64) -> Result<()> {
        view.store(self.0 + at::RECEIVED, seal(position & LOW), WHAT)
    }

    /// `position` is one beyond what was produced once the socket was told of the end (D3).
    pub(super) fn set_sent(self, view: &View, position: u64) -> Result<()> {
        view.store(self.0 + at::SENT, seal(position & LOW), WHAT)
    }
}
