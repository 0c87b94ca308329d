//! Changes of timers that are there: another record, another period; and those that go because they are not to be kept.

use super::due::{clamp, shown};
use super::{TimerId, Timers, WHAT};
use crate::archive::Value;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::table::mixed::{self, At};
use crate::table::record::{self, Parts};
use crate::tx::Tx;
use std::num::NonZeroU64;

impl<T: Value> Timers<T> {
    /// Puts another record in the place of a timer's, of whatever length; id, deadline and period stay. Says whether the timer was
    /// there: if not, nothing changes.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn replace(&self, tx: &mut Tx<'_>, id: TimerId, value: &T) -> Result<bool> {
        tx.whole(|tx| {
            let (slots, _) = self.admit(tx)?;
            let Some(mut slot) = slots.find(tx, id.0)? else {
                return Ok(false);
            };
            if tx.mixed().has(self.row) {
                slot.record = mixed::renew(self, tx, At::slot(&slot))?;
            }
            let period = Self::period_of(tx, slot.record)?.to_le_bytes();
            let key = Parts::Tail(&period);
            let (new, before) = record::replace(tx, self.home(), slot.record, key, value)?;
            if new.header != slot.record {
                slots.set_record(tx, &slot, new.header)?;
            }
            slots.count_archived(tx, before, new.archived)?;
            if tx.mixed().has(self.row) {
                mixed::note(self, tx, At::numbered(new.header, id.0));
            }
            Ok(true)
        })
    }

    /// Cancels the timers for which `keep` says no; it is shown their ids, their deadlines in ns and their records, in no particular
    /// order. Gives how many that were.
    ///
    /// # Errors
    /// As [`cancel`](Self::cancel).
    pub fn retain(&self, tx: &mut Tx<'_>, mut keep: impl FnMut(TimerId, u64, &T::Archived) -> bool) -> Result<u64> {
        tx.whole(|tx| {
            let (slots, _) = self.admit(tx)?;
            let shift = self.shift(tx)?;
            let (mut cursor, mut cancelled) = (0, 0);
            while let Some(slot) = slots.next(tx, &mut cursor)? {
                let (entry, _) = self.entry(tx, &slot)?;
                let deadline = shown(entry.deadline().saturating_add(shift));
                if !keep(TimerId(slot.token()), deadline, self.root(tx, &slot)?) {
                    self.take(tx, &slot)?;
                    cancelled += 1;
                }
                if tx.mixed().has(self.row) {
                    // Each was converted to be shown.
                    tx.region.view.mixed_mut().tidy();
                }
            }
            Ok(cancelled)
        })
    }

    /// Gives a timer another deadline and another period: it fires at `first_ns` and every `period` ns after it, or once if that is
    /// `None`. Id and record stay. Says whether it was there.
    ///
    /// # Errors
    /// As [`reschedule`](Self::reschedule).
    pub fn reschedule_every(
        &self,
        tx: &mut Tx<'_>,
        id: TimerId,
        first_ns: u64,
        period: Option<NonZeroU64>,
    ) -> Result<bool> {
        tx.whole(|tx| {
            let Some(slot) = self.admit(tx)?.0.find(tx, id.0)? else {
                return Ok(false);
            };
            // Alone (N5).
            let period = period.map_or(0, NonZeroU64::get);
            tx.put(Self::period_at(slot.record), period, WHAT)?;
            let stored = clamp(first_ns).saturating_sub(self.shift(tx)?);
            self.change(tx, &slot, stored)?;
            Ok(true)
        })
    }
}
