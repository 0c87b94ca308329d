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
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < LIMIT, "{what} did not happen within {LIMIT:?}");
        std::thread::sleep(LOOK);
    }
}
