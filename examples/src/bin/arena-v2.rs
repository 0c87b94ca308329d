//! The arena's second version: a pickup is worth 2.

use arena::server::{Rules, main as serve};
use std::process::ExitCode;

fn main() -> ExitCode {
    serve(Rules::V2)
}
