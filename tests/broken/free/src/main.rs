//! The torture, the very same files, over a `shmstate` in which freed blocks are forgotten at commit.

extern crate shmstate_broken_free as shmstate;

#[path = "../../../src/torture/mod.rs"]
pub mod torture;

fn main() -> std::process::ExitCode {
    torture::main(&torture::Points::NONE)
}
