//! A bad upgrade: an ordinary program that ends with an error before it has asked for the node.

use std::process::ExitCode;

fn main() -> ExitCode {
    eprintln!("arena-bad-exit: its configuration is wrong, on purpose");
    ExitCode::FAILURE
}
