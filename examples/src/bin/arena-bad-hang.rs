//! A bad upgrade: it receives sockets, connections and regions like any successor, and never gets ready.

use rustix::process::{Signal, set_parent_process_death_signal};
use std::process::ExitCode;
use std::time::Duration;

/// "Never", for a program that must not outlive everybody who could stop it.
const NEVER: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    match arena::demo::bad::offered() {
        Ok(starting) => {
            // Whoever started it may be killed before it can kill this one.
            let _ = set_parent_process_death_signal(Some(Signal::KILL));
            eprintln!("arena-bad-hang: it has received everything and hangs, on purpose");
            std::thread::sleep(NEVER);
            drop(starting);
        }
        Err(error) => eprintln!("arena-bad-hang: {error}"),
    }
    ExitCode::FAILURE
}
