//! Torments a node at random and checks that nobody notices: see `actors::chaos`.

fn main() -> std::process::ExitCode {
    actors::chaos::main()
}
