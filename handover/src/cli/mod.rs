//! The `handover` command: says what an upgrade would do, starts it and says who serves now, ends a probation either way, shows nodes, looks into regions.
//!
//! | exit code | `upgrade` | `status` | `inspect` |
//! |---|---|---|---|
//! | 0 | CMD serves now | every node asked for has a living owner | the region could be read |
//! | 1 | CMD does not serve, or not any more; the node is served all the same, as a rule by the old version | – | – |
//! | 2 | wrong usage, or no way back and no `--one-way`; nothing was done | wrong usage | wrong usage |
//! | 3 | nobody serves | a node has no living owner | – |
//! | 4 | it could not be found out | a node is unknown or cannot be read (goes before 3) | there is no such region, or it cannot be read |
//!
//! `rollback` and `confirm`: 0 done, 1 not done and the node is served all the same, 2 wrong usage, 3 nobody serves, 4 the node is unknown or it
//! could not be found out.
//!
//! `plan`: 0 CMD would serve, and the old version could take the node back, 1 CMD would be refused, 2 wrong usage, 3 nobody serves, 4 it could not be found
//! out, or not whether there is a way back, 5 CMD would serve, and there is no way back.
//!
//! `schema`, `dump`, `diff`: 0 done (`diff`: no difference), 1 no record has the key that was asked for (`diff`: there are differences), 2 wrong usage, a key or a
//! condition that the table cannot have among it, 4 there is no such region or table, or not all of it could be read.
//!
//! - **X1** These codes and the keys of `--json` (fields of the `…View` types, and `Outcome`) are a contract:
//!   keys are added, never renamed. A value that is not known is `null`. Times are in the unit that the key ends with.
//! - **X2** Results go to stdout, all that went wrong to stderr: what, where, and what to do next.
//! - **X3** A command that looks changes nothing: no node, region or directory is made, no lock taken.
//! - **X4** Arguments as typed (`args`) and options that can be acted on are different types.
//!
//! It does not take part in a handover: starting the new binary is the upgrade, with or without this command.

mod args;
mod diff;
mod dump;
mod exit;
mod inspect;
mod json;
mod kin;
mod look;
mod objects;
mod outcome;
mod plan;
mod probation;
mod region;
mod schema;
mod started;
mod status;
mod text;
mod upgrade;
mod verdict;
mod view;
mod wish;

use clap::Parser;
use std::ffi::OsString;
use std::process::ExitCode;

use crate::control::Request;
use args::{Args, Command};
use exit::Report;

/// Runs the command with its arguments, the program's name first, and gives its exit code.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(usage) => return exit::usage(&usage),
    };
    let done = match args.command {
        Command::Plan(raw) => plan::run(raw),
        Command::Upgrade(raw) => upgrade::run(raw),
        Command::Rollback(raw) => wish::run(raw, Request::Rollback),
        Command::Confirm(raw) => wish::run(raw, Request::Confirm),
        Command::Status(raw) => status::run(raw),
        Command::Inspect(raw) => inspect::run(raw),
        Command::Schema(raw) => schema::run(raw),
        Command::Dump(raw) => dump::run(raw),
        Command::Diff(raw) => diff::run(raw),
    };
    done.unwrap_or_else(Report::from).print()
}
