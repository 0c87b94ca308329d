//! `report`: everything in one run, as a table for people or as JSON for programs.
//!
//! Exit codes: 0 the report was made (also when a target was missed: the report says so), 1 something failed, 2 bad arguments.

mod args;

mod plan;

mod results;

mod agree;

mod rounds;

mod grow;

mod attach;

mod observers;

mod ratios;

mod machine;

mod print;

mod store;

mod schema;

mod moves;

mod handover;

use crate::Result;
use crate::engine::Blobs;
use args::{Args, Command};
use clap::Parser;
use std::io::{Read, Write};
use std::process::ExitCode;

/// Runs the report that the command line asks for.
#[must_use]
pub fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("report: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<ExitCode> {
    match args.command {
        Command::Store(options) => store::run(&options)?,
        Command::Handover(options) => handover::run(&options)?,
        Command::Schema(options) => schema::run(&options)?,
        Command::Node(options) => return Ok(crate::handover::node::main(&options)),
        Command::LeaveOpen { region, records } => Blobs::leave_open(&region, records, || {
            println!("open");
            std::io::stdout().flush()?;
            // Until the parent kills this process; if the parent dies first, its end of the pipe closes.
            std::io::stdin().read_exact(&mut [0])?;
            Ok(())
        })?,
    }
    Ok(ExitCode::SUCCESS)
}
