//! Waiting for an event, with a deadline.

use std::time::{Duration, Instant};

/// How long a test waits for anything.
pub const LIMIT: Duration = Duration::from_secs(20);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(1);
/// What one look counts for at most: a process that is stopped or gets no CPU does not wait meanwhile, nor does what it waits for go on.
const STEP: Duration = Duration::from_millis(50);

/// How long somebody still waits, in time in which he can look.
#[derive(Debug)]
pub struct Patience {
    left: Duration,
    last: Instant,
}

impl Patience {
    /// For so long.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        Self {
            left: limit,
            last: Instant::now(),
        }
    }

    /// Another look: whether it is over.
    pub fn is_over(&mut self) -> bool {
        let now = Instant::now();
        self.left = self.left.saturating_sub((now - self.last).min(STEP));
        self.last = now;
        self.left.is_zero()
    }

    /// How long the next wait may be.
    #[must_use]
    pub fn step(&self) -> Duration {
        self.left.min(STEP)
    }
}

/// Looks until there is an answer.
///
/// # Panics
/// There was none within [`LIMIT`]; the message names `what`.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    within(LIMIT, &mut look).unwrap_or_else(|| panic!("{what} did not happen within {LIMIT:?}"))
}

/// Looks until there is an answer; `None` if there was none in that time.
pub fn within<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let mut patience = Patience::new(limit);
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if patience.is_over() {
            return None;
        }
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standstill_is_no_wait() {
        let mut patience = Patience::new(Duration::from_secs(1));
        std::thread::sleep(Duration::from_millis(1100));
        assert!(!patience.is_over());
        assert_eq!(within(Duration::from_millis(3), || None::<()>), None);
    }
}
