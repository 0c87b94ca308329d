//! A small server over the two libraries that can be told to misbehave: see `actors::node`.

fn main() -> std::process::ExitCode {
    actors::node::server::main()
}
