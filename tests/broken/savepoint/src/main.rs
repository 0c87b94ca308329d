//! The torture, the very same files, over a `shmstate` in which what a part wanted freed is freed although a savepoint took the part back.

extern crate shmstate_broken_savepoint as shmstate;

#[path = "../../../src/torture/mod.rs"]
pub mod torture;

fn main() -> std::process::ExitCode {
    torture::main(&torture::Points::NONE)
}
