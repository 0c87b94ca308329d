//! A futex on a word that several processes map.
//!
//! The kernel's shared kind throughout: the private kind finds waiters of the own process only and would hang
//! here. The word only wakes; what is true is read elsewhere (H1).

use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::Errno;
use rustix::thread::futex::{Flags, Timespec};

use super::clock::Deadline;
use crate::error::{Error, Result};

/// Not FUTEX_PRIVATE.
const SHARED: Flags = Flags::empty();

/// Sleeps until `word` is no longer `seen`. `false` if that did not happen in time.
///
/// # Errors
/// The wait itself failed.
pub fn wait(word: &AtomicU32, seen: u32, deadline: Deadline) -> Result<bool> {
    loop {
        // SIGNAL pair: what was stored before the word was counted up is visible after this.
        if word.load(Ordering::Acquire) != seen {
            return Ok(true);
        }
        if deadline.passed() {
            return Ok(false);
        }
        let left = Timespec::try_from(deadline.remaining()).ok();
        match rustix::thread::futex::wait(word, SHARED, seen, left.as_ref()) {
            Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => {}
            Err(e) => return Err(Error::io("wait on", "the futex word", e)),
        }
    }
}

/// Wakes all who sleep on `word`. Returns how many.
///
/// # Errors
/// The call itself failed.
pub fn wake(word: &AtomicU32) -> Result<usize> {
    rustix::thread::futex::wake(word, SHARED, i32::MAX.unsigned_abs())
        .map_err(|e| Error::io("wake", "the waiters of the futex word", e))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_wake_ends_the_wait_and_a_deadline_too() {
        let word = AtomicU32::new(0);
        assert!(!wait(&word, 0, Deadline::after(Duration::from_millis(5))).expect("wait"));
        assert!(wait(&word, 1, Deadline::now()).expect("wait"), "changed already");
        std::thread::scope(|s| {
            let waiter = s.spawn(|| wait(&word, 0, Deadline::after(Duration::from_secs(30))));
            word.store(1, Ordering::Release);
            wake(&word).expect("wake");
            assert!(waiter.join().expect("no panic").expect("wait"));
        });
    }
}
