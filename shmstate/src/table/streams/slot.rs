//! The slot of a stream: 128 bytes.
//!
//! ```text
//!  0 u64 token (place low, serial high), 0 = free     64 u64 received  } hints of the owner (S5), bytes since the
//!  8 u32 state (0 free, 1 open) · u32 0               72 u64 sent      } baseline: the low 48 bits, sealed
//! 16 u64 input ring     24 u64 output ring            80 u64 consumed, logged
//! 32 u32 bytes of the input ring · u32 of the output  88 u64 produced, logged
//! 40 u64 baseline of S1                               96 u64 check
//! 48 u64 baseline of S2                              104 u64 next free slot + 1
//! 56 u64 the application's word                      112 u64 adopted at, ns   120 u64 socket cookie
//! ```
//!
//! - **D1** The check is the sum of a mix of each word of an open stream, but for the hints: it changes with any of them, and who changes
//!   one adds the difference, in the same entry of the log.
//! - **D2** The hints change outside transactions, so they cannot be part of it; each is sealed in itself. A position is the one next to
//!   its logged counterpart that has these 48 bits: the two are never further apart than a ring is long.

use crate::error::{Error, Result};
use crate::heap;
use crate::os::clock::monotonic_ns;
use crate::os::tcp::Positions as Kernel;
use crate::region::View;
use crate::region::seal::{LOW, seal, unseal};
use crate::table::streams::RING_SIZES;
use crate::tx::Tx;

const WHAT: &str = "stream slot";
/// Bytes of a slot.
pub(crate) const SLOT: u64 = 128;
/// Words of a slot.
pub(crate) const SLOT_WORDS: usize = 16;
/// Slots of a page.
pub(crate) const PAGE_SLOTS: u64 = 64;

mod at {
    pub(super) const TOKEN: u64 = 0;
    pub(super) const STATE: u64 = 8;
    pub(super) const INPUT: u64 = 16;
    pub(super) const OUTPUT: u64 = 24;
    pub(super) const SIZES: u64 = 32;
    pub(super) const BASE_TAKEN: u64 = 40;
    pub(super) const BASE_ACCEPTED: u64 = 48;
    pub(super) const USER: u64 = 56;
    pub(super) const RECEIVED: u64 = 64;
    pub(super) const SENT: u64 = 72;
    pub(super) const CONSUMED: u64 = 80;
    pub(super) const PRODUCED: u64 = 88;
    pub(super) const CHECK: u64 = 96;
    pub(super) const NEXT_FREE: u64 = 104;
    pub(super) const ADOPTED: u64 = 112;
    pub(super) const COOKIE: u64 = 120;
}

const _: () = assert!(at::PRODUCED == at::CONSUMED + 8 && at::CHECK == at::PRODUCED + 8);

/// The part that a word has in the check (D1): a bijection of the word, another one for each field.
const fn mix(field: u64, word: u64) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mixed = (word ^ (field + 1).wrapping_mul(ODD)).wrapping_mul(ODD);
    mixed ^ mixed >> 32
}

/// The check of a slot's words.
fn check_of(words: &[u64; SLOT_WORDS]) -> u64 {
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

/// Bytes of the input and of the output ring from the word that has both. `at` is where the word stands.
pub(super) fn check_sizes(sizes: u64, at: u64) -> Result<(u64, u64)> {
    let (least, most) = RING_SIZES;
    let sizes_of = (sizes & 0xffff_ffff, sizes >> 32);
    for size in [sizes_of.0, sizes_of.1] {
        if !size.is_power_of_two() || size < least.into() || size > most.into() {
            return Err(Error::damaged(WHAT, at, sizes));
        }
    }
    Ok(sizes_of)
}

/// What a new stream starts with.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) token: u64,
    pub(super) input: u64,
    pub(super) output: u64,
    pub(super) sizes: u64,
    pub(super) base: Kernel,
    pub(super) user: u64,
    pub(super) cookie: u64,
}

/// Rings and positions, checked against each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Positions {
    pub(super) input: u64,
    pub(super) input_size: u64,
    pub(super) output: u64,
    pub(super) output_size: u64,
    pub(super) received: u64,
    pub(super) consumed: u64,
    pub(super) produced: u64,
    pub(super) sent: u64,
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

    pub(super) fn rings(self, view: &View) -> Result<(u64, u64)> {
        Ok((self.get(view, at::INPUT)?, self.get(view, at::OUTPUT)?))
    }

    pub(super) fn baseline(self, view: &View) -> Result<(u64, u64)> {
        Ok((self.get(view, at::BASE_TAKEN)?, self.get(view, at::BASE_ACCEPTED)?))
    }

    /// Rings and positions; the two hints are not looked at (they are stale after a kill).
    pub(super) fn bounds(self, view: &View) -> Result<Positions> {
        let sizes = self.get(view, at::SIZES)?;
        let (input_size, output_size) = check_sizes(sizes, self.0 + at::SIZES)?;
        let (input, output) = self.rings(view)?;
        Ok(Positions {
            input,
            input_size,
            output,
            output_size,
            received: 0,
            consumed: self.get(view, at::CONSUMED)?,
            produced: self.get(view, at::PRODUCED)?,
            sent: 0,
        })
    }

    /// Checks the slot at `place`, as far as can be without the socket (the hints may be stale after a kill); gives the two rings
    /// if a stream is open there.
    pub(super) fn check(self, view: &View, place: u64) -> Result<Option<[u64; 2]>> {
        let (token, state) = (self.token(view)?, self.get(view, at::STATE)?);
        if token == 0 && state == 0 {
            return Ok(None);
        }
        if state != 1 {
            return Err(Error::damaged(WHAT, self.0 + at::STATE, state));
        }
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
            heap::check_block(view, ring, size, WHAT, self.0 + field)?;
        }
        Ok(Some([p.input, p.output]))
    }

    /// Rings and positions of a stream whose hints are right.
    pub(super) fn positions(self, view: &View) -> Result<Positions> {
        let bounds = self.bounds(view)?;
        let ahead = self.hint(view, at::RECEIVED)?.wrapping_sub(bounds.consumed) & LOW;
        let behind = bounds.produced.wrapping_sub(self.hint(view, at::SENT)?) & LOW;
        let p = Positions {
            received: bounds.consumed.wrapping_add(ahead),
            sent: bounds.produced.wrapping_sub(behind),
            ..bounds
        };
        if p.received.wrapping_sub(p.consumed) > p.input_size {
            return Err(Error::damaged(WHAT, self.0 + at::RECEIVED, p.received));
        }
        if p.produced.wrapping_sub(p.sent) > p.output_size {
            return Err(Error::damaged(WHAT, self.0 + at::SENT, p.sent));
        }
        Ok(p)
    }

    /// A hint (D2).
    fn hint(self, view: &View, field: u64) -> Result<u64> {
        let word = self.get(view, field)?;
        unseal(word).ok_or_else(|| Error::damaged(WHAT, self.0 + field, word))
    }

    /// Writes a slot of a fresh page: free, in a list.
    pub(super) fn prepare(self, tx: &Tx<'_>, next_free: u64) -> Result<()> {
        tx.store(self.0 + at::NEXT_FREE, next_free, WHAT)
    }

    pub(super) fn open(self, tx: &mut Tx<'_>, o: &Opening) -> Result<()> {
        let mut words: [u64; SLOT_WORDS] = [
            o.token,
            1,
            o.input,
            o.output,
            o.sizes,
            o.base.taken,
            o.base.accepted,
            o.user,
            0,
            0,
            0,
            0,
            0,
            0,
            monotonic_ns(),
            o.cookie,
        ];
        const { assert!(at::COOKIE == 15 * 8 && at::ADOPTED == 14 * 8 && at::USER == 7 * 8) };
        words[at::CHECK as usize / 8] = check_of(&words);
        tx.put_all(self.0, &words, WHAT)
    }

    pub(super) fn close(self, tx: &mut Tx<'_>, next_free: u64) -> Result<()> {
        const { assert!(at::TOKEN == 0 && at::STATE == 8) };
        tx.put_all(self.0 + at::TOKEN, &[0, 0], WHAT)?;
        tx.put(self.0 + at::NEXT_FREE, next_free, WHAT)
    }

    pub(super) fn set_user(self, tx: &mut Tx<'_>, user: u64) -> Result<()> {
        let (before, check) = (self.get(tx, at::USER)?, self.get(tx, at::CHECK)?);
        tx.put(self.0 + at::USER, user, WHAT)?;
        tx.put(self.0 + at::CHECK, changed(check, at::USER, before, user), WHAT)
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

    pub(super) fn set_sent(self, view: &View, position: u64) -> Result<()> {
        view.store(self.0 + at::SENT, seal(position & LOW), WHAT)
    }
}
