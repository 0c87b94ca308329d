//! Kills a transacting process again and again and checks what it leaves; see `actors::torture`.

fn main() -> std::process::ExitCode {
    actors::torture::main()
}
