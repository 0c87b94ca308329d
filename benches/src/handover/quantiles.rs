//! What a series of measurements is told by.

use serde::Serialize;

/// Best, middle, 99 of 100 and worst of a series.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// How many there were.
    pub n: usize,
    /// The smallest.
    pub min: f64,
    /// Half are not larger.
    pub p50: f64,
    /// 99 of 100 are not larger.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

impl Quantiles {
    /// Of at least one number.
    #[must_use]
    pub fn of(numbers: &[f64]) -> Option<Self> {
        let mut sorted = numbers.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        // The smallest number that so many are not larger than.
        let rank = |share: f64| sorted[((share * sorted.len() as f64).ceil() as usize).clamp(1, sorted.len()) - 1];
        Some(Self {
            n: sorted.len(),
            min,
            p50: rank(0.5),
            p99: rank(0.99),
            max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_those_of_numbers_that_were_measured() {
        let numbers: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        let quantiles = Quantiles::of(&numbers).expect("some");
        assert_eq!(
            quantiles,
            Quantiles {
                n: 200,
                min: 1.0,
                p50: 100.0,
                p99: 198.0,
                max: 200.0
            }
        );
        let one = Quantiles::of(&[7.0]).expect("one");
        assert_eq!((one.p50, one.p99, one.max), (7.0, 7.0, 7.0));
        assert_eq!(Quantiles::of(&[]), None);
    }
}
