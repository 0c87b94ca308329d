//! Which players an operation touches: drawn beforehand, by seed, the same for every engine.
//!
//! Uniform, or Zipf's law with exponent 0.99: of a million players the first one gets 6.5 % of all operations. Ranks are spread over the keys by
//! a seeded permutation, so that the popular ones are no neighbours. It knows no engine.

use serde::Serialize;

/// Exponent of the skewed distribution, as in YCSB.
pub const EXPONENT: f64 = 0.99;

/// How keys are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    /// Each player equally often.
    Uniform,
    /// Few players very often.
    Zipf,
}

impl Distribution {
    /// As it stands in results.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Zipf => "zipf",
        }
    }
}

/// Keys `0..players` in a seeded order.
#[must_use]
pub fn shuffled(players: u64, seed: u64) -> Vec<u64> {
    let mut keys: Vec<u64> = (0..players).collect();
    fastrand::Rng::with_seed(seed).shuffle(&mut keys);
    keys
}

/// Draws keys of a population.
#[derive(Debug)]
pub struct Draw {
    players: u64,
    /// Sum of 1/rank^EXPONENT over all ranks.
    zeta: f64,
    by_rank: Vec<u64>,
}

impl Draw {
    /// For keys `0..players`; at least two.
    #[must_use]
    pub fn of(players: u64, seed: u64) -> Self {
        let players = players.max(2);
        Self {
            players,
            zeta: (1..=players).map(|rank| (rank as f64).powf(-EXPONENT)).sum(),
            by_rank: shuffled(players, seed),
        }
    }

    /// `length` keys.
    #[must_use]
    pub fn keys(&self, distribution: Distribution, length: usize, seed: u64) -> Vec<u64> {
        let mut random = fastrand::Rng::with_seed(seed);
        match distribution {
            Distribution::Uniform => (0..length).map(|_| random.u64(..self.players)).collect(),
            Distribution::Zipf => (0..length).map(|_| self.by_rank[self.rank(random.f64())]).collect(),
        }
    }

    /// The rank that `uniform` in `0.0..1.0` falls on (Gray et al., "Quickly generating billion-record synthetic databases", 1994).
    fn rank(&self, uniform: f64) -> usize {
        let scaled = uniform * self.zeta;
        let second = 1.0 + 0.5f64.powf(EXPONENT);
        if scaled < 1.0 {
            return 0;
        }
        if scaled < second {
            return 1;
        }
        let n = self.players as f64;
        let eta = (1.0 - (2.0 / n).powf(1.0 - EXPONENT)) / (1.0 - second / self.zeta);
        let rank = n * (eta * uniform - eta + 1.0).powf(1.0 / (1.0 - EXPONENT));
        (rank as usize).min(self.by_rank.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share_of_the_most_popular(distribution: Distribution, percent: usize) -> f64 {
        let mut times = vec![0u64; 10_000];
        for key in Draw::of(10_000, 1).keys(distribution, 200_000, 2) {
            times[key as usize] += 1;
        }
        times.sort_unstable_by(|a, b| b.cmp(a));
        times[..times.len() * percent / 100].iter().sum::<u64>() as f64 / 200_000.0
    }

    #[test]
    fn zipf_is_skewed_and_uniform_is_not() {
        // The sum of 1/rank^0.99 over the first hundred ranks is 5.3, over all ten thousand 10.2.
        let zipf = share_of_the_most_popular(Distribution::Zipf, 1);
        assert!((0.48..0.57).contains(&zipf), "{zipf}");
        let uniform = share_of_the_most_popular(Distribution::Uniform, 1);
        assert!(uniform < 0.03, "{uniform}");
    }

    #[test]
    fn a_seed_gives_the_same_keys() {
        let draw = Draw::of(1000, 1);
        for distribution in [Distribution::Uniform, Distribution::Zipf] {
            assert_eq!(draw.keys(distribution, 100, 7), draw.keys(distribution, 100, 7));
            assert_ne!(draw.keys(distribution, 100, 7), draw.keys(distribution, 100, 8));
        }
    }
}
