//! Rounds: timers that ring again and again, each moved on in the transaction that takes its ringing.
//!
//! - **W12** Every round stands on its grid, at first + period · times it has rung there, which its record counts in the transaction that
//!   rang it; that is behind the time in the books, and one period earlier is not. So no ringing was lost and none came twice.
//!   The books know the rounds and the sum of their ringings.

use super::goods::Books;
use rkyv::{Archive, Serialize};
use shmstate::{Gap, Reader, Region, Result, Schema, Timers, Tx};
use std::num::NonZeroU64;

/// Most rounds at a time.
const MOST: u64 = 48;
/// Time between two ringings of one.
const PERIOD: std::ops::Range<u64> = 150..3_000;
/// How far ahead the first one is.
const AHEAD: std::ops::Range<u64> = 1..2_000;
/// Ringings of one transaction: many more than can be due, so that a broken region ends it too.
const MOST_DUE: usize = 2_000;

/// A round's record.
#[derive(Archive, Serialize, Schema, Clone, Debug)]
pub(super) struct Round {
    pub(super) first: u64,
    pub(super) period: u64,
    /// Times it has rung.
    pub(super) rung: u64,
    /// Of these, before it was moved to the grid that it is on.
    pub(super) before: u64,
    pub(super) note: String,
}

/// Handle of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rounds(pub(super) Timers<Round>);

impl Rounds {
    pub(super) fn create(tx: &mut Tx<'_>) -> Result<Self> {
        Timers::create(tx, "rounds", Gap::All).map(Self)
    }

    pub(super) fn open(region: &Region) -> Result<Self> {
        Timers::open(region, "rounds").map(Self)
    }

    /// Begins a round or ends one, if chance says so, and rings those that are due at the time in the books.
    pub(super) fn go_on(&self, tx: &mut Tx<'_>, books: &mut Books, random: &mut fastrand::Rng) -> Result<()> {
        let there = books.rounds[0].wrapping_sub(books.rounds[1]);
        if there < MOST && random.u8(..2) == 0 {
            let first = books.now + random.u64(AHEAD);
            let period = NonZeroU64::MIN.saturating_add(random.u64(PERIOD));
            let note = "again ".repeat(random.usize(..6));
            let round = Round {
                first,
                period: period.get(),
                rung: 0,
                before: 0,
                note,
            };
            self.0.insert_every(tx, first, period, &round)?;
            books.rounds[0] += 1;
        }
        if random.u8(..8) == 0 {
            let skip = random.usize(..MOST as usize);
            let some = self.0.iter(tx)?.nth(skip).transpose()?;
            if let Some((id, rung)) = some.map(|(id, _, round)| (id, round.rung.to_native()))
                && self.0.cancel(tx, id)?
            {
                books.rounds[1] += 1;
                books.ringings[1] = books.ringings[1].wrapping_add(rung);
            }
        }
        self.ring(tx, books, random)
    }

    fn ring(&self, tx: &mut Tx<'_>, books: &mut Books, random: &mut fastrand::Rng) -> Result<()> {
        for _ in 0..MOST_DUE {
            let due = self
                .0
                .pop_due(tx, books.now, |id, _, round| (id, round.rung.to_native()))?;
            let Some((id, rung)) = due else { break };
            books.ringings[0] = books.ringings[0].wrapping_add(1);
            if let Some(mut round) = self.0.get_mut(tx, id)? {
                round.set(|r| &r.rung, rung.wrapping_add(1).into())?;
            }
            // A round may also be moved: its grid begins anew.
            if random.u8(..8) == 0 {
                let next = books.now + random.u64(AHEAD);
                self.0.reschedule(tx, id, next)?;
                if let Some(mut round) = self.0.get_mut(tx, id)? {
                    round.set(|r| &r.first, next.into())?;
                    round.set(|r| &r.before, rung.wrapping_add(1).into())?;
                }
            }
        }
        Ok(())
    }

    /// Ends all rounds.
    pub(super) fn end(&self, tx: &mut Tx<'_>, books: &mut Books) -> Result<()> {
        self.0.clear(tx)?;
        books.rounds[1] = books.rounds[0];
        books.ringings[1] = books.ringings[0];
        Ok(())
    }

    /// What of W12 does not hold.
    pub(super) fn faults(&self, reader: &Reader<'_>, books: &Books, faults: &mut Vec<String>) -> Result<()> {
        let (mut count, mut rung) = (0u64, 0u64);
        for item in self.0.iter(reader)? {
            let (id, deadline, round) = item?;
            let [first, period, before] = [round.first, round.period, round.before].map(|n| n.to_native());
            let times = round.rung.to_native().wrapping_sub(before);
            count += 1;
            rung = rung.wrapping_add(round.rung.to_native());
            let grid = first.wrapping_add(period.wrapping_mul(times));
            let early = times > 0 && deadline.saturating_sub(period) > books.now;
            if deadline != grid || deadline <= books.now || early || self.0.period(reader, id)? != Some(period) {
                faults.push(format!(
                    "round {id:?}: at {deadline} of {first} + {times} · {period}, it is {}",
                    books.now
                ));
            }
        }
        let left = |[all, ended]: [u64; 2]| all.wrapping_sub(ended);
        if [count, self.0.len(reader)?, rung] != [left(books.rounds), left(books.rounds), left(books.ringings)] {
            faults.push(format!(
                "rounds: {count} that rang {rung} times, the books say {books:?}"
            ));
        }
        Ok(())
    }
}
