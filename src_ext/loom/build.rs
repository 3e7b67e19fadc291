//! Says `cfg(loom)` of this crate alone: the files that its tests share with other crates then take loom's atomics,
//! and no other crate has to be built again.

fn main() {
    println!("cargo::rustc-cfg=loom");
    println!("cargo::rerun-if-changed=build.rs");
}
