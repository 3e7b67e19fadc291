//! Deciding allocates nothing and frees nothing, or else this test's allocator aborts.

mod world;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::process::Command;
use ztfast_engine::EngineOptions;

thread_local! {
    /// Reading this allocates nothing, because it has no destructor and is initialized at compile time.
    static DECIDING: Cell<bool> = const { Cell::new(false) };
}

/// The system's allocator, which aborts in a thread that decides.
struct Watched;

fn watch(what: &str) {
    if DECIDING.get() {
        DECIDING.set(false);
        eprintln!("the deciding side {what}:\n{}", std::backtrace::Backtrace::force_capture());
        std::process::abort();
    }
}

// SAFETY: every call is passed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        watch("allocates");
        // SAFETY: the caller upholds the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        watch("frees");
        // SAFETY: the caller upholds the contract.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        watch("reallocates");
        // SAFETY: the caller upholds the contract.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        watch("allocates");
        // SAFETY: the caller upholds the contract.
        unsafe { System.alloc_zeroed(layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

fn begin() {
    DECIDING.set(true);
}

fn end() {
    DECIDING.set(false);
}

#[test]
fn deciding_neither_allocates_nor_frees() {
    let mut all = world::Counts::default();
    for form in world::FORMS {
        let options = EngineOptions { sessions: 64, handles: 64, ..EngineOptions::default() };
        let counts = world::decide_after_each_step(&world::Kind::World(form).bundle(), options, begin, end);
        all.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    world::assert_everything_was_met(&all);
}

/// The variable that tells a child process which failure to provoke.
const FAILURE: &str = "ZTFAST_TEST_FAILURE";

#[test]
fn the_watch_notices_allocations_and_frees() {
    let failures: [(&str, fn()); 3] = [
        ("allocates", || drop(std::hint::black_box(Vec::<u8>::with_capacity(1)))),
        ("frees", {
            || {
                end();
                let taken = std::hint::black_box(vec![1]);
                begin();
                drop(taken);
            }
        }),
        ("reallocates", || {
            end();
            let mut taken = std::hint::black_box(vec![1]);
            begin();
            taken.reserve_exact(100);
            std::hint::black_box(taken);
        }),
    ];
    if let Ok(name) = std::env::var(FAILURE) {
        let (_, fail) = failures.iter().find(|(what, _)| *what == name).unwrap();
        begin();
        fail();
        end();
        return;
    }
    for (name, _) in failures {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_watch_notices_allocations_and_frees", "--nocapture"])
            .env(FAILURE, name)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stderr);
        assert!(!child.status.success() && said.contains(&format!("the deciding side {name}")), "{name}: {said}");
    }
}
