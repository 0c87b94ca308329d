//! The torture, the very same files, over a `shmstate` in which records that change their shape get no twin in the older one.

extern crate shmstate_broken_twin as shmstate;

#[path = "../../../src/torture/mod.rs"]
pub mod torture;

fn main() -> std::process::ExitCode {
    torture::main(&torture::Points::NONE)
}
