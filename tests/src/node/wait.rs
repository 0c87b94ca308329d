//! Waiting for an event, with a deadline.

use std::time::{Duration, Instant};

/// How long a test waits for anything.
pub const LIMIT: Duration = Duration::from_secs(20);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(1);

/// Looks until there is an answer.
///
/// # Panics
/// There was none within [`LIMIT`]; the message names `what`.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    within(LIMIT, &mut look).unwrap_or_else(|| panic!("{what} did not happen within {LIMIT:?}"))
}

/// Looks until there is an answer; `None` if there was none in that time.
pub fn within<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if begun.elapsed() >= limit {
            return None;
        }
        std::thread::sleep(LOOK);
    }
}
