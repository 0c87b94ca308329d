//! Gives the library that this package compiles its points; see `handover/src/points.rs`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cfg=crash_points");
}
