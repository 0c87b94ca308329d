//! The torture, the very same files, over a `shmstate` in which the source of a move does not follow its targets.

extern crate shmstate_broken_follow as shmstate;

#[path = "../../../src/torture/mod.rs"]
pub mod torture;

fn main() -> std::process::ExitCode {
    torture::main(&torture::Points::NONE)
}
