//! `cargo run --release --bin report -- store`: see `harness::report`.

fn main() -> std::process::ExitCode {
    harness::report::main()
}
