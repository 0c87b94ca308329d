//! A crash that leaves a core behind, as a server's does where an operator wants to know why.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::path::Path;

/// What the core holds at least: enough that somebody who waits for the end of it is late.
const BALLAST: usize = 320 << 20;

/// A process that is about to crash.
pub(super) struct Crash {
    _ballast: Vec<u8>,
}

impl Crash {
    /// Its core will go to `directory`, if the system lets it. Takes a while.
    pub(super) fn prepare(directory: &Path) -> Self {
        // Where it cannot be had it is a crash like any other; who relies on a core looks for it.
        let _ = std::env::set_current_dir(directory);
        let limit = getrlimit(Resource::Core);
        let most = Rlimit {
            current: limit.maximum,
            ..limit
        };
        let _ = setrlimit(Resource::Core, most);
        Self {
            // Every page has something in it.
            _ballast: vec![0xa5; BALLAST],
        }
    }

    /// Ends this process by SIGABRT.
    pub(super) fn now(self) -> ! {
        std::hint::black_box(&self);
        std::process::abort();
    }
}
