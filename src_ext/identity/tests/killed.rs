//! Kills processes that write the validation table and the list of revoked grounds: one after each instruction that
//! changed the table's memory and at each call of the system, and two at random moments.
//!
//! With `ZTFAST_TEST_EACH` set, a process is killed after each instruction, which takes long. `ZTFAST_TEST_CHANGES` is
//! a text in the names of the changes that are stepped through. `ZTFAST_TEST_KILLS` is the number of kills at random
//! moments.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[allow(dead_code)] // not all that live state's tests need
#[path = "../../live/tests/host/child.rs"]
mod child;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[path = "killed/forked.rs"]
mod forked;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[path = "killed/host.rs"]
mod host;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[path = "killed/random.rs"]
mod random;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[path = "killed/stepped.rs"]
mod stepped;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn main() {
    let is_each = std::env::var_os("ZTFAST_TEST_EACH").is_some();
    let kills = std::env::var("ZTFAST_TEST_KILLS").map_or(300, |number| number.parse().expect("a number of kills"));
    let mut faults = forked::run();
    faults.extend(random::run(kills));
    let named = std::env::var("ZTFAST_TEST_CHANGES").unwrap_or_default();
    match stepped::run(is_each, &named) {
        Some(found) => faults.extend(found),
        None => println!("SKIPPED: the system does not let a process be stepped (ptrace)"),
    }
    println!("{} faults", faults.len());
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn main() {
    println!("SKIPPED: processes are stepped and killed on Linux for x86-64 only");
}
