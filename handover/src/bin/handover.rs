//! The `handover` command. All of it is in [`handover::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    handover::cli::run(std::env::args_os())
}
