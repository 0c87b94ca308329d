//! The times between consecutive `State` frames, in three buckets: those that touch an upgrade, those that touch an upgrade that goes back, and
//! all others.
//!
//! - **G1** A gap runs from one `State` frame of a bot to its next, in nanoseconds of CLOCK_MONOTONIC. Both ends are the moment
//!   at which `epoll_wait` returned: one reading of the clock for each wake-up, so that the bots' own work is not in it.
//! - **G2** A gap belongs to the upgrade if any part of it lies between `begin` and `end`, both ends included. One that touches both kinds is the
//!   give-back's.
//! - **G3** Gaps that began before all bots had joined are not counted: joining is not serving.
//!
//! The baseline is kept in a histogram whose buckets are at most 1/32 wide, so that no sample is stored.

const SUB_BITS: u32 = 5;
const SUBS: usize = 1 << SUB_BITS;
/// Enough for `u32::MAX` microseconds, 71 minutes.
const BUCKETS: usize = SUBS + (32 - SUB_BITS as usize) * SUBS;
const NANOS_PER_MICRO: u64 = 1_000;
const NANOS_PER_MILLI: f64 = 1e6;

/// Counts of durations by size, in microseconds, relative width 1/32.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Box<[u64; BUCKETS]>,
    total: u64,
    max_nanos: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: Box::new([0; BUCKETS]),
            total: 0,
            max_nanos: 0,
        }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, nanos: u64) {
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
        self.max_nanos = self.max_nanos.max(nanos);
    }

    /// How many were counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The longest, in milliseconds; 0 if there is none.
    #[must_use]
    pub fn max_ms(&self) -> f64 {
        millis(self.max_nanos)
    }

    /// The duration that `fraction` of all do not exceed, in milliseconds, rounded up to its bucket's end; 0 if there is none.
    #[must_use]
    pub fn quantile_ms(&self, fraction: f64) -> f64 {
        let rank = ((self.total as f64 * fraction).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return millis((bucket_end(index) * NANOS_PER_MICRO).min(self.max_nanos));
            }
        }
        0.0
    }
}

fn millis(nanos: u64) -> f64 {
    nanos as f64 / NANOS_PER_MILLI
}

/// The bucket of a duration: its leading bit and the [`SUB_BITS`] bits below.
fn bucket(nanos: u64) -> usize {
    let micros = u32::try_from(nanos / NANOS_PER_MICRO).unwrap_or(u32::MAX);
    let leading = 31 - (micros | 1).leading_zeros();
    let shift = leading.saturating_sub(SUB_BITS);
    shift as usize * SUBS + (micros >> shift) as usize
}

/// One more than the largest number of microseconds in the bucket.
fn bucket_end(index: usize) -> u64 {
    if index < 2 * SUBS {
        return index as u64 + 1;
    }
    let shift = index / SUBS - 1;
    ((index - shift * SUBS) as u64 + 1) << shift
}

/// What the server goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// An upgrade that lasts, or one that never comes to serve.
    Upgrade,
    /// One that serves, fails, and is taken back.
    GiveBack,
}

/// The buckets of gaps and the windows that part them. All times in nanoseconds of one monotonic clock.
#[derive(Debug, Clone, Default)]
pub struct Gaps {
    /// Gaps that touch no upgrade.
    pub baseline: Histogram,
    /// Gaps that touch one.
    pub upgrade: Histogram,
    /// Gaps that touch one that goes back.
    pub give_back: Histogram,
    counted_from: Option<u64>,
    open: Option<Window>,
    /// Last ends of the upgrades and of those that went back.
    last_ends: [Option<u64>; 2],
}

impl Gaps {
    /// All bots have joined: gaps count from now (G3).
    pub fn start(&mut self, now: u64) {
        self.counted_from = Some(now);
    }

    /// A window begins.
    pub fn begin(&mut self, window: Window) {
        self.open = Some(window);
    }

    /// The window is over.
    pub fn end(&mut self, window: Window, now: u64) {
        if self.open == Some(window) {
            self.open = None;
            self.last_ends[window as usize] = Some(now);
        }
    }

    /// A gap from one frame to the next.
    pub fn record(&mut self, from: u64, to: u64) {
        if let Some(side) = self.side(from) {
            side.record(to.saturating_sub(from));
        }
    }

    /// A gap that is still open: it can raise the maximum, but is not counted until it ends.
    pub fn record_open(&mut self, from: u64, now: u64) {
        if let Some(side) = self.side(from) {
            side.max_nanos = side.max_nanos.max(now.saturating_sub(from));
        }
    }

    /// Where a gap that ends now belongs. It cannot end before a `begin` that was already reported, so the last window of
    /// each kind is the only one to compare with (G2).
    fn side(&mut self, from: u64) -> Option<&mut Histogram> {
        if self.counted_from.is_none_or(|start| from < start) {
            return None;
        }
        let touches =
            |window| self.open == Some(window) || self.last_ends[window as usize].is_some_and(|end| from <= end);
        Some(if touches(Window::GiveBack) {
            &mut self.give_back
        } else if touches(Window::Upgrade) {
            &mut self.upgrade
        } else {
            &mut self.baseline
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_contiguous_and_narrow() {
        let mut last = 0;
        for micros in (0..70_000_u64)
            .chain((70_000..4_294_967_295).step_by(999_983))
            .chain([u64::from(u32::MAX)])
        {
            let index = bucket(micros * 1_000);
            assert!(
                index == last || index == last + 1 || micros > 70_000,
                "{micros} in {index} after {last}"
            );
            last = index;
            let end = bucket_end(index);
            assert!(
                micros < end && end as f64 <= micros as f64 * (1.0 + 1.0 / 32.0) + 1.0,
                "{micros} in {index} ends {end}"
            );
        }
        assert_eq!(last, BUCKETS - 1);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.quantile_ms(0.5), histogram.max_ms()), (0.0, 0.0));
        for milli in 1..=1000 {
            histogram.record(milli * 1_000_000);
        }
        for (fraction, expected) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0), (1.0, 1000.0)] {
            let got = histogram.quantile_ms(fraction);
            assert!(got >= expected && got <= expected * 1.04, "{fraction}: {got}");
        }
        assert_eq!(histogram.max_ms(), 1000.0);
    }

    /// Milliseconds of the two buckets after the gaps.
    fn split(gaps: &Gaps) -> (f64, f64) {
        (gaps.baseline.max_ms(), gaps.upgrade.max_ms())
    }

    #[test]
    fn every_gap_that_overlaps_the_window_is_the_upgrades() {
        const MS: u64 = 1_000_000;
        let mut gaps = Gaps::default();
        gaps.record(0, 90 * MS);
        gaps.start(100 * MS);
        gaps.record(90 * MS, 190 * MS);
        assert_eq!(gaps.baseline.total() + gaps.upgrade.total(), 0, "before all had joined");
        gaps.record(100 * MS, 117 * MS);
        assert_eq!(split(&gaps), (17.0, 0.0));
        // Began before `begin`, ends inside.
        gaps.begin(Window::Upgrade);
        gaps.record(117 * MS, 140 * MS);
        assert_eq!(split(&gaps), (17.0, 23.0));
        // Began before `begin` and ends after `end`.
        gaps.end(Window::Upgrade, 150 * MS);
        gaps.record(116 * MS, 180 * MS);
        assert_eq!(split(&gaps), (17.0, 64.0));
        // Began inside.
        gaps.record(150 * MS, 220 * MS);
        assert_eq!(split(&gaps), (17.0, 70.0));
        // Began after.
        gaps.record(151 * MS, 170 * MS);
        assert_eq!(split(&gaps), (19.0, 70.0));
        gaps.record_open(200 * MS, 219 * MS);
        assert_eq!((split(&gaps), gaps.baseline.total()), ((19.0, 70.0), 2));
        gaps.record_open(200 * MS, 219_500_000);
        assert_eq!((split(&gaps), gaps.baseline.total()), ((19.5, 70.0), 2));
        gaps.end(Window::Upgrade, 500 * MS);
        gaps.record(400 * MS, 420 * MS);
        assert_eq!(split(&gaps), (20.0, 70.0), "an end without a begin changes nothing");
        gaps.begin(Window::GiveBack);
        gaps.end(Window::Upgrade, 510 * MS);
        gaps.record(505 * MS, 905 * MS);
        gaps.end(Window::GiveBack, 910 * MS);
        gaps.begin(Window::Upgrade);
        gaps.record(909 * MS, 1209 * MS);
        assert_eq!((split(&gaps), gaps.give_back.max_ms()), ((20.0, 70.0), 400.0));
        gaps.record(911 * MS, 999 * MS);
        assert_eq!((split(&gaps), gaps.give_back.total()), ((20.0, 88.0), 2));
    }
}
