//! Serves one connection, given as standard input, out of a region: see `actors::echo::server`.

use actors::echo::server::{Args, serve};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match serve(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo-streams: {error}");
            ExitCode::FAILURE
        }
    }
}
