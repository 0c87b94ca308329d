//! The torture, the very same files, over a `shmstate` in which the length of the undo log is never published.

extern crate shmstate_broken_publish as shmstate;

#[path = "../../../src/torture/mod.rs"]
pub mod torture;

fn main() -> std::process::ExitCode {
    torture::main(&torture::Points::NONE)
}
