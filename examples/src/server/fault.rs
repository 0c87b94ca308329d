//! Ways in which a new version fails after it has taken over, on purpose: what a probation is for.
//!
//! Both happen in the middle of a tick's transaction, with commands taken and the world half moved: nothing of it may be seen by anybody.

use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use std::time::Duration;

/// Ticks that it serves well before.
const GOOD_TICKS: u64 = 30;
/// "Never", for a program that must not outlive everybody who could stop it.
const NEVER: Duration = Duration::from_secs(120);

/// How a version fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It crashes.
    Crash,
    /// It hangs: the gate cannot close, for the tick never ends.
    Hang,
}

impl Fault {
    /// The fault of a process that has done `served` ticks and is in the middle of the next.
    pub(crate) fn strike(self, served: u64) {
        if served < GOOD_TICKS {
            return;
        }
        match self {
            Self::Crash => {
                // The crash is no surprise to anybody: no core file. If that is refused there is one, and that is all.
                let none = Rlimit {
                    current: Some(0),
                    maximum: Some(0),
                };
                let _ = setrlimit(Resource::Core, none);
                eprintln!("it crashes in the middle of a tick, on purpose");
            }
            Self::Hang => {
                // It does not listen any more, and whoever started it may be killed before it can kill this one.
                let _ = set_parent_process_death_signal(Some(Signal::KILL));
                eprintln!("it hangs in the middle of a tick, on purpose");
                std::thread::sleep(NEVER);
            }
        }
        std::process::abort()
    }
}
