//! The torture, the very same files, over a `shmstate` in which the entries of an ordered map that an insertion moves are not logged.

extern crate shmstate_broken_entry as shmstate;

#[path = "../../../src/torture/mod.rs"]
pub mod torture;

fn main() -> std::process::ExitCode {
    torture::main(&torture::Points::NONE)
}
