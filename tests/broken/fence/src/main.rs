//! The torture, the very same files, over a `shmstate` in which an entry of the undo log is published only after the data it covers.

extern crate shmstate_broken_fence as shmstate;

#[path = "../../../src/torture/mod.rs"]
pub mod torture;

fn main() -> std::process::ExitCode {
    torture::main(&torture::Points::NONE)
}
