//! A crash that leaves a core behind, as a server's does where an operator wants to know why.

use rustix::process::{Resource, Rlimit, getuid, setrlimit};
use std::path::Path;

/// What the core holds at least: enough that somebody who waits for the end of it is late.
const BALLAST: usize = 96 << 20;

/// A process that is about to crash.
pub(super) struct Crash {
    _ballast: Vec<u8>,
}

impl Crash {
    /// Its core will go to `directory`, if the system lets it. Takes a while.
    pub(super) fn prepare(directory: &Path) -> Self {
        // Without a core it is a crash like any other.
        let _ = std::env::set_current_dir(directory);
        if getuid().is_root() {
            let most = Rlimit {
                current: None,
                maximum: None,
            };
            let _ = setrlimit(Resource::Core, most);
        }
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
