//! The server of `actors::node`, or with `cli` as the first word the command line, over libraries that have points where the process kills or stops
//! itself when told to: see `tests/src/node/strike.rs`.

extern crate handover_points as handover;

#[path = "../../src/node/pointed.rs"]
pub mod node;

use clap::Parser;
use node::strike::{Points, arm};
use std::process::ExitCode;

fn main() -> ExitCode {
    let libraries = [
        Points {
            library: "handover",
            names: handover::points::NAMES,
            arm: handover::points::arm,
        },
        Points {
            library: "shmstate",
            names: shmstate::crash::NAMES,
            arm: shmstate::crash::arm,
        },
    ];
    let mut words = match arm(std::env::args_os().collect(), &libraries) {
        Ok(words) => words,
        Err(error) => {
            eprintln!("pointed: {error}");
            return ExitCode::from(2);
        }
    };
    if words.get(1).is_some_and(|word| word == "cli") {
        words.remove(1);
        return handover::cli::run(words);
    }
    node::server::run(&node::options::Options::parse_from(words))
}
