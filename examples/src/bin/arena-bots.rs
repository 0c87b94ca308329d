//! Bots that play the arena and check it; see `arena::bots`.

fn main() -> std::process::ExitCode {
    arena::bots::main()
}
