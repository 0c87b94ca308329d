//! A bad upgrade: the arena's second version, which hangs in the middle of a tick soon after it has taken over.

use arena::server::{Fault, Rules, main_with};
use std::process::ExitCode;

fn main() -> ExitCode {
    main_with(Rules::V2, Some(Fault::Hang))
}
