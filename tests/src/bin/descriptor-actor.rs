//! A server with descriptors of every kind: see `actors::descriptors`.

fn main() -> std::process::ExitCode {
    actors::descriptors::server::main()
}
