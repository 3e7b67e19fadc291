//! Sets `cfg(loom)` for this crate alone. The files that its tests share with other crates then use loom's atomics, and
//! no other crate is built again.

fn main() {
    println!("cargo::rustc-cfg=loom");
    println!("cargo::rerun-if-changed=build.rs");
}
