//! Time: nanoseconds of CLOCK_MONOTONIC, the same for every process of the machine since boot, and deadlines in it.
//!
//! Every wait of this crate takes a [`Deadline`]. A deadline does not know what is waited for; who gives up names it.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::error::Error;

/// Nanoseconds in a second.
const NANOS: u64 = 1_000_000_000;

/// Now, in nanoseconds of CLOCK_MONOTONIC. 64 bits last 584 years.
#[must_use]
pub fn now() -> u64 {
    let t = clock_gettime(ClockId::Monotonic);
    // CLOCK_MONOTONIC is never negative.
    t.tv_sec.unsigned_abs() * NANOS + t.tv_nsec.unsigned_abs()
}

/// When a wait ends, and since when it is waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    began: u64,
    at: u64,
}

impl Deadline {
    /// `wait` from now on.
    #[must_use]
    pub fn after(wait: Duration) -> Self {
        let began = now();
        let wait = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        Self {
            began,
            at: began.saturating_add(wait),
        }
    }

    /// At `at` nanoseconds of CLOCK_MONOTONIC, waited for from now on.
    #[must_use]
    pub fn at(at: u64) -> Self {
        Self { began: now(), at }
    }

    /// Now: one attempt, no wait.
    #[must_use]
    pub fn now() -> Self {
        Self::after(Duration::ZERO)
    }

    /// The earlier of the two ends, waited for since this one began.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            began: self.began,
            at: self.at.min(other.at),
        }
    }

    /// When it ends, in nanoseconds of CLOCK_MONOTONIC.
    #[must_use]
    pub fn nanos(self) -> u64 {
        self.at
    }

    /// What is left; zero when it has passed.
    #[must_use]
    pub fn remaining(self) -> Duration {
        Duration::from_nanos(self.at.saturating_sub(now()))
    }

    /// Whether it has passed.
    #[must_use]
    pub fn passed(self) -> bool {
        now() >= self.at
    }

    /// How long it was waited so far.
    #[must_use]
    pub fn waited(self) -> Duration {
        Duration::from_nanos(now().saturating_sub(self.began))
    }

    /// The error of one who waited for `what` (a noun) until now.
    #[must_use]
    pub fn error(self, what: &'static str) -> Error {
        Error::Deadline {
            what,
            waited: self.waited(),
        }
    }

    /// Sleeps for `pause`, but not beyond the end. `false` if it has passed already.
    #[must_use]
    pub(crate) fn pause(self, pause: Duration) -> bool {
        let left = self.remaining();
        if left.is_zero() {
            return false;
        }
        std::thread::sleep(left.min(pause));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_end() {
        let d = Deadline::now();
        assert!(d.passed() && d.remaining().is_zero());
        let d = Deadline::after(Duration::from_secs(3600));
        assert!(!d.passed() && d.remaining() > Duration::from_secs(3000));
        assert!(!Deadline::after(Duration::MAX).passed());
        assert!(d.or(Deadline::now()).passed());
    }
}
