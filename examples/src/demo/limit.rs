//! What ends every wait of the demo: its own deadline, the end of the whole demo, a signal.

use super::error::{DemoError, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Between two looks at what is waited for. Short against a tick, and rare enough not to disturb what is measured.
const LOOK: Duration = Duration::from_millis(5);

/// The limits of all waits.
#[derive(Clone, Debug)]
pub struct Limit {
    stop: Arc<AtomicBool>,
    end: Instant,
}

impl Limit {
    /// Waits end when `longest` from now is over, and when SIGINT, SIGTERM or SIGHUP comes.
    ///
    /// # Errors
    /// The signals cannot be caught.
    pub fn with_signals(longest: Duration) -> Result<Self> {
        let this = Self::new(longest);
        for signal in [
            signal_hook::consts::SIGINT,
            signal_hook::consts::SIGTERM,
            signal_hook::consts::SIGHUP,
        ] {
            signal_hook::flag::register(signal, Arc::clone(&this.stop)).map_err(DemoError::system("catch signals"))?;
        }
        Ok(this)
    }

    /// Waits end when `longest` from now is over.
    #[must_use]
    pub fn new(longest: Duration) -> Self {
        Self {
            stop: Arc::new(AtomicBool::new(false)),
            end: Instant::now() + longest,
        }
    }

    /// The same signals, and `longest` from now.
    #[must_use]
    pub fn again(&self, longest: Duration) -> Self {
        Self {
            stop: Arc::clone(&self.stop),
            end: Instant::now() + longest,
        }
    }

    /// Looks until `look` has found something, at most for `longest`.
    ///
    /// # Errors
    /// Those of `look`; [`DemoError::Late`], [`DemoError::OutOfTime`], [`DemoError::Interrupted`].
    pub fn wait<T>(&self, what: &str, longest: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        let deadline = Instant::now() + longest;
        loop {
            if let Some(found) = look()? {
                return Ok(found);
            }
            if self.stop.load(Ordering::Relaxed) {
                return Err(DemoError::Interrupted);
            }
            let now = Instant::now();
            if now >= deadline {
                return Err(DemoError::Late {
                    what: what.into(),
                    waited: longest,
                    seen: String::new(),
                });
            }
            if now >= self.end {
                return Err(DemoError::OutOfTime { what: what.into() });
            }
            std::thread::sleep(LOOK.min(deadline - now));
        }
    }

    /// Lets time pass, and calls `look` all the while.
    ///
    /// # Errors
    /// Those of `look`; [`DemoError::OutOfTime`], [`DemoError::Interrupted`].
    pub fn pass(&self, time: Duration, mut look: impl FnMut() -> Result<()>) -> Result<()> {
        let deadline = Instant::now() + time;
        self.wait("a pause to be over", Duration::MAX / 4, || {
            look()?;
            Ok((Instant::now() >= deadline).then_some(()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wait_ends() {
        let limit = Limit::new(Duration::from_secs(60));
        let late = limit.wait::<()>("nothing", Duration::from_millis(1), || Ok(None));
        assert!(matches!(late, Err(DemoError::Late { .. })));
        assert_eq!(limit.wait("it", Duration::ZERO, || Ok(Some(1))).expect("found"), 1);
        let over = Limit::new(Duration::ZERO).pass(Duration::from_secs(60), || Ok(()));
        assert!(matches!(over, Err(DemoError::OutOfTime { .. })));
        limit.stop.store(true, Ordering::Relaxed);
        let stopped = limit.pass(Duration::from_secs(60), || Ok(()));
        assert!(matches!(stopped, Err(DemoError::Interrupted)));
    }
}
