//! Time: which timer is due, what firing does to it, what a gap does, and how all deadlines move at once.
//!
//! Deadlines are reckoned with sign and without wrapping: a damaged one gives a wrong time, never a panic (N2).

use super::{TimerId, Timers, WHAT, set_time};
use crate::archive::Value;
use crate::crash::{self, Point};
use crate::error::{Error, Result};
use crate::region::view::View;
use crate::table::slots::Slot;
use crate::tx::Tx;

/// The last deadline there is, in ns: 146 years after the boot. A later one is taken for this, and this one is never due.
pub const MAX_DEADLINE: u64 = MOST as u64;
pub(crate) const MOST: i64 = (1 << 62) - 1;

/// What a periodic timer does about firings that it missed, because nobody looked for longer than its period: after a
/// handover, a crash, a restore, or a stall. A firing is *missed* if the one after it is due as well; one that is late by less
/// is only late. Whatever it does, it stays on its grid: first deadline + n · period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Gap {
    /// Fires once for each, oldest first, each with its own deadline.
    All = 1,
    /// Fires once for all of them, with the deadline of the oldest.
    Coalesce = 2,
    /// Does not fire for them at all, nor for the one that is due behind them: goes on with the first that is still to come.
    Skip = 3,
}

/// What a clock showed, or will show: in the range that deadlines have.
pub(super) fn clamp(ns: u64) -> i64 {
    ns.min(MAX_DEADLINE) as i64
}

/// What users see of a deadline.
pub(crate) fn shown(ns: i64) -> u64 {
    ns.clamp(0, MOST) as u64
}

/// The first point of the grid `deadline + n · period` after `now`, at most the last deadline there is.
fn after(deadline: i64, period: u64, now: i64) -> i64 {
    let (deadline, period, now) = (i128::from(deadline), i128::from(period), i128::from(now));
    let missed = (now - deadline).max(0) / period + 1;
    let next = missed.saturating_mul(period).saturating_add(deadline);
    next.min(MOST.into()) as i64
}

impl<T: Value> Timers<T> {
    /// The earliest deadline of all, in ns: how long a server may sleep. `None` if there are no timers.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn next_deadline(&self, view: &View) -> Result<Option<u64>> {
        let (slots, heap) = self.admit(view)?;
        if slots.counts(view)?.0 == 0 {
            return Ok(None);
        }
        let deadline = heap.entry(view, 0)?.deadline();
        Ok(Some(shown(deadline.saturating_add(self.shift(view)?))))
    }

    /// The timer that fires next, its deadline in ns, and its record in place. `None` if there are no timers. It fires when it is due,
    /// unless it missed firings that the table's [`Gap`] skips.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn first<'v>(&self, view: &'v View) -> Result<Option<(TimerId, u64, &'v T::Archived)>> {
        let Some((slot, deadline)) = self.due(view, i64::MAX)? else {
            return Ok(None);
        };
        Ok(Some((TimerId(slot.token()), shown(deadline), self.root(view, &slot)?)))
    }

    /// The timer that comes first, if it is due at `now`, and its deadline.
    fn due(&self, view: &View, now: i64) -> Result<Option<(Slot, i64)>> {
        let (slots, heap) = self.admit(view)?;
        if slots.counts(view)?.0 == 0 {
            return Ok(None);
        }
        let top = heap.entry(view, 0)?;
        let deadline = top.deadline().saturating_add(self.shift(view)?);
        if deadline > now {
            return Ok(None);
        }
        let slot = slots.used(view, top.place())?;
        if slot.link != 0 {
            return Err(Error::damaged(WHAT, slot.place, slot.link.into()));
        }
        Ok(Some((slot, deadline)))
    }

    /// Fires the timer that comes first, if its deadline is not after `now_ns`: shows its id, its deadline and its record to
    /// `read`, and takes it out, or, if it is periodic, moves it on. `None`, and no call, if none is due. Call it until then.
    ///
    /// Do what the firing causes in the same transaction (N3): then it happens exactly once, whatever happens to the process.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`], those of the [log](crate::Tx#errors).
    pub fn pop_due<R>(
        &self,
        tx: &mut Tx<'_>,
        now_ns: u64,
        read: impl FnOnce(TimerId, u64, &T::Archived) -> R,
    ) -> Result<Option<R>> {
        tx.whole(|tx| {
            // The last deadline there is is never due.
            let now = clamp(now_ns).min(MOST - 1);
            let gap = self.gap(tx)?;
            if gap == Gap::Skip {
                self.skip_missed(tx, now_ns, u64::MAX)?;
            }
            let Some((slot, deadline)) = self.due(tx, now)? else {
                return Ok(None);
            };
            let result = read(TimerId(slot.token()), shown(deadline), self.root(tx, &slot)?);
            match Self::period_of(tx, slot.record)? {
                0 => self.take(tx, &slot)?,
                period => {
                    let until = if gap == Gap::All { deadline } else { now };
                    let next = after(deadline, period, until).saturating_sub(self.shift(tx)?);
                    self.change(tx, &slot, next)?;
                    crash::point(Point::TimerMoved);
                }
            }
            Ok(Some(result))
        })
    }

    /// Moves periodic timers that missed firings on, without firing, as long as such a one comes first and at most `most` of
    /// them. Gives how many were moved.
    ///
    /// With [`Gap::Skip`] [`pop_due`](Self::pop_due) does this, for as many as there are. After a gap these can be all timers: a
    /// server that has very many may call this first, in transactions of its own, to bound each one's log and time.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`], those of the [log](crate::Tx#errors).
    pub fn skip_missed(&self, tx: &mut Tx<'_>, now_ns: u64, most: u64) -> Result<u64> {
        tx.whole(|tx| {
            let now = clamp(now_ns).min(MOST - 1);
            let mut moved = 0;
            while moved < most {
                let Some((slot, deadline)) = self.due(tx, now)? else {
                    break;
                };
                let period = Self::period_of(tx, slot.record)?;
                if period == 0 || after(deadline, period, deadline) > now {
                    break;
                }
                let next = after(deadline, period, now).saturating_sub(self.shift(tx)?);
                self.change(tx, &slot, next)?;
                moved += 1;
            }
            Ok(moved)
        })
    }

    /// Moves all deadlines by `shift_ns`, in constant time: after a restore on another boot, whose clock began elsewhere, by
    /// *that clock's now − the now of the checkpoint*, so that of each timer as much remains as did then. A deadline that comes to
    /// lie before the clock's beginning is shown as 0 and is due.
    ///
    /// # Errors
    /// [`Error::ShiftTooLarge`] if all shifts together come to more than 2⁶² ns; [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`],
    /// those of the [log](crate::Tx#errors).
    pub fn rebase(&self, tx: &mut Tx<'_>, shift_ns: i64) -> Result<()> {
        tx.whole(|tx| {
            self.admit(tx)?;
            let total = self.shift(tx)?.checked_add(shift_ns);
            let Some(total) = total.filter(|total| (-MOST..=MOST).contains(total)) else {
                return Err(Error::ShiftTooLarge {
                    shift_ns,
                    most_ns: MOST,
                });
            };
            let gap = self.gap(tx)?;
            set_time(tx, self.row, total, gap)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_end_at_the_last_deadline_and_never_wrap() {
        assert_eq!(after(100, 10, 100), 110);
        assert_eq!(after(100, 10, 99), 110, "late or not, the next firing is one period on");
        assert_eq!(after(100, 10, 109), 110);
        assert_eq!(after(100, 10, 110), 120);
        assert_eq!(after(-50, 20, 0), 10);
        assert_eq!(after(MOST - 1, 10, MOST - 1), MOST);
        assert_eq!(after(i64::MIN, u64::MAX, MOST), MOST);
        assert_eq!(after(i64::MIN, 1, MOST - 1), MOST);
    }
}
