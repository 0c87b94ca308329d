//! Kills a transacting process again and again and checks what it leaves; see `torture`.
//!
//! Its `shmstate` is the one with points where a kill can be ordered (`tests/crash`).

extern crate shmstate_crash as shmstate;

#[path = "../torture/mod.rs"]
pub mod torture;

use shmstate::crash;

fn main() -> std::process::ExitCode {
    torture::main(&torture::Points {
        names: crash::NAMES,
        arm: crash::arm,
    })
}
