//! Deciding allocates nothing and frees nothing, or else this test's allocator aborts.

mod world;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::process::Command;
use std::sync::Arc;
use ztfast_bundle::Bundle;
use ztfast_engine::{Attributes, Code, Column, Decision, Determining, Engine, EngineOptions, Principals, now_ns};

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

const LIVE_SCHEMA: &str = r"
entity User; entity Doc;
action view appliesTo { principal: User, resource: Doc, context: { note: String, live: ztfast::Live } };
";

#[test]
fn live_attributes_are_filled_in_without_allocation() {
    let conditions = [
        "context.live.factors.contains(\"otp\") && context.live.authAge < duration(\"1h\")",
        "context.live has region && context.live.region like \"e*\" && context.live.channel != context.note",
        "context.live has onBehalfOf && context.live.onBehalfOf == \"User::\\\"v\\\"\"",
        "context.live == context.live && context.live.time > datetime(\"2024-01-01\")",
    ];
    for condition in conditions {
        let policies = format!("permit (principal, action, resource) when {{ {condition} }};");
        let parts = world::sources::compile(&policies, LIVE_SCHEMA, None, None);
        let options = EngineOptions { sessions: 64, handles: 64, ..EngineOptions::default() };
        let engine = Engine::new(Arc::new(Bundle::of(&parts).unwrap()), None, options).unwrap();
        let attributes = Attributes {
            factors: &["otp", "unknown to the bundle"],
            proved_ns: Some(now_ns()),
            region: Some("eu"),
            channel: Some("mtls"),
            on_behalf_of: Some(("User", "v")),
            ..Attributes::default()
        };
        let known = engine.admit_uid_with("User", "u", (0, i64::MAX), &attributes).unwrap();
        let bare = engine.admit_uid_with("User", "u", (0, i64::MAX), &Attributes::default()).unwrap();
        let doc = engine.handle("Doc", "d").unwrap();
        let mut gate = engine.prepare("Action", "view", &["note"]).unwrap();
        // The places behind the caller's values are not the caller's.
        for count in [0, 2, 3, 4, 5, 9, 10, 11, 80, 81] {
            gate.begin();
            assert_eq!(gate.allows(known, doc, &vec![0; count]), Code::Corrupt, "{condition} {count}");
        }
        let batch = gate.batch();
        let (mut determining, mut codes) = (Determining::default(), [Decision::CORRUPT; 4]);
        let sessions = [known.0, bare.0, known.0, bare.0];
        for _ in 0..3 {
            begin();
            let decided = [known, bare].map(|session| {
                gate.begin();
                let note = gate.text("a text that the bundle lacks").unwrap();
                let code = gate.allows(session, doc, &[note]);
                gate.begin();
                let note = gate.text("another").unwrap();
                [code, gate.decide(session, doc, &[note], &mut determining)]
            });
            let principals = Principals::Sessions(Column::each(&sessions));
            batch.decide_many(principals, Column::all(&[doc.0]), &[Column::all(&[0])], &mut codes).unwrap();
            end();
            let all = conditions[3] == condition;
            let other = if all { Code::Allow } else { Code::Default };
            assert_eq!(decided, [[Code::Allow; 2], [other; 2]], "{condition}");
            assert_eq!(codes, [Code::Allow, other, Code::Allow, other], "{condition}");
        }
    }
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
