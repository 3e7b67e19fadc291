//! Tells the module which cryptography it is built with: the versions stand in the lock file alone.

use std::fmt::Write;

/// The file of the versions with which everything is built.
const LOCK: &str = "../Cargo.lock";
/// What verifies certificates and signatures.
const CRATES: [&str; 4] = ["aws-lc-rs", "aws-lc-sys", "rustls-webpki", "x509-parser"];

fn main() {
    println!("cargo::rerun-if-changed={LOCK}");
    println!("cargo::rerun-if-changed=build.rs");
    let lock = std::fs::read_to_string(LOCK).unwrap_or_default();
    let mut found = String::new();
    for name in CRATES {
        let after = lock.split_once(&format!("\nname = \"{name}\"\nversion = \"")).map(|(_, after)| after);
        if let Some((version, _)) = after.and_then(|after| after.split_once('"')) {
            let _ = write!(found, "{name} {version} ");
        }
    }
    println!("cargo::rustc-env=ZTFAST_CRYPTO={}", found.trim_end());
}
