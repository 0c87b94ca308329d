//! The arena's first version: a pickup is worth 1.

use arena::server::{Rules, main as serve};
use std::process::ExitCode;

fn main() -> ExitCode {
    serve(Rules::V1)
}
