//! A bad upgrade: it receives sockets, connections and regions like any successor, then crashes.

use rustix::process::{Resource, Rlimit, setrlimit};
use std::process::ExitCode;

fn main() -> ExitCode {
    match arena::demo::bad::offered() {
        Ok(_starting) => {
            // The crash is no surprise to anybody: no core file. If that is refused there is one, and that is all.
            let none = Rlimit {
                current: Some(0),
                maximum: Some(0),
            };
            let _ = setrlimit(Resource::Core, none);
            eprintln!("arena-bad-crash: it has received everything and crashes, on purpose");
            std::process::abort()
        }
        Err(error) => {
            eprintln!("arena-bad-crash: {error}");
            ExitCode::FAILURE
        }
    }
}
