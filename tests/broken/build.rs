//! Breaks the library that this package compiles; see `shmstate/src/broken.rs`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cfg=broken");
}
