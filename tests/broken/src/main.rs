//! The torture, the very same files, over a `shmstate` that is broken in the way that `$BROKEN` names; its children inherit that.

extern crate shmstate_broken as shmstate;

#[path = "../../src/torture/mod.rs"]
pub mod torture;

use shmstate::broken::{ALL, turn_on};
use std::process::ExitCode;

fn main() -> ExitCode {
    let name = std::env::var("BROKEN").unwrap_or_default();
    let Some((_, broken)) = ALL.iter().find(|(known, _)| *known == name) else {
        let known: Vec<&str> = ALL.iter().map(|(known, _)| *known).collect();
        eprintln!("torture: BROKEN must be one of {}, it is {name:?}", known.join(", "));
        return ExitCode::from(2);
    };
    turn_on(*broken);
    torture::main(&torture::Points::NONE)
}
