//! The random choices of a run: all of them follow from its seed.
//!
//! Every kill draws the same number of choices, whatever came of the kills before it; which of them are used depends on what the
//! kills hit.

use super::work::Kind;
use std::time::Duration;

/// Shortest and longest time from the child's word to the kill. Half the times are drawn evenly, half so that their logarithm is.
const SHORTEST: Duration = Duration::from_micros(1);
const LONGEST: Duration = Duration::from_millis(12);

/// Longest time from seeing the child in what a kill is aimed at to the kill.
const AIMED: Duration = Duration::from_micros(80);

/// What a kill waits for, after the child has opened the region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// Nothing: it falls wherever it falls.
    Anywhere,
    /// That the child is seen in a commit.
    Commit,
    /// That the child is seen making something larger.
    Growth,
}

/// The choices for one kill.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shot {
    /// Whether it is a kill at a point, and where in the range of hits: 0 to 1.
    pub(super) at_point: bool,
    pub(super) nth: f64,
    /// Whether the child makes checkpoints.
    pub(super) checkpoint: bool,
    /// Seed of the child's changes.
    pub(super) seed: u64,
    /// What the child mostly does.
    pub(super) kind: Kind,
    /// Whether it opens the region with all its memory entered.
    pub(super) prefault: bool,
    /// What is waited for after `opened`.
    pub(super) aim: Aim,
    /// From then to the kill.
    pub(super) delay: Duration,
    /// Where in the time that opening takes the kill falls if it is aimed at that: 0 to 1.
    pub(super) portion: f64,
    /// Whether the first child of a region is killed while it creates it.
    pub(super) in_creation: bool,
    /// Whether a child that left a long log is followed by one that is killed while it takes it back.
    pub(super) in_recovery: bool,
    /// Whether the parent recovers and checks the region after this kill, or leaves it to the next child.
    pub(super) check: bool,
}

/// The source of the choices.
#[derive(Debug)]
pub(super) struct Plan {
    random: fastrand::Rng,
}

impl Plan {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// The choices for the next kill.
    pub(super) fn shot(&mut self) -> Shot {
        let random = &mut self.random;
        let (aim, kind) = match random.u8(..23) {
            0..3 => (Aim::Commit, Kind::Shrink),
            3..5 => (Aim::Growth, Kind::Grow),
            5..8 => (Aim::Anywhere, Kind::Mixed),
            8..11 => (Aim::Anywhere, Kind::Grow),
            11..14 => (Aim::Anywhere, Kind::Shrink),
            14..17 => (Aim::Anywhere, Kind::Trade),
            17..20 => (Aim::Anywhere, Kind::Purge),
            20 => (Aim::Anywhere, Kind::Trim),
            _ => (Aim::Anywhere, Kind::Sweep),
        };
        let (even, portion) = (random.bool(), random.f64());
        let range = LONGEST.as_secs_f64() / SHORTEST.as_secs_f64();
        let delay = if aim != Aim::Anywhere {
            AIMED.mul_f64(portion)
        } else if even {
            SHORTEST + (LONGEST - SHORTEST).mul_f64(portion)
        } else {
            SHORTEST.mul_f64(range.powf(portion))
        };
        Shot {
            at_point: random.u8(..3) == 0,
            nth: random.f64(),
            checkpoint: random.u8(..6) == 0,
            seed: random.u64(..),
            kind,
            aim,
            prefault: random.bool(),
            delay,
            portion: random.f64(),
            in_creation: random.u8(..3) > 0,
            in_recovery: random.bool(),
            check: random.u8(..3) > 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_replays() {
        let shots = |seed| {
            let mut plan = Plan::new(seed);
            std::iter::repeat_with(|| plan.shot()).take(50).collect::<Vec<_>>()
        };
        assert_eq!(shots(7), shots(7));
        assert_ne!(shots(7), shots(8));
        assert!(shots(7).iter().all(|s| s.delay <= LONGEST));
    }
}
