//! Upgrades a game server under its players and shows what they notice; see `arena::demo`.

fn main() -> std::process::ExitCode {
    arena::demo::main()
}
