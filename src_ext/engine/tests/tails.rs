//! A decision meets no page fault: the system counts the pages for which a thread had to wait. What is locked is
//! counted, and given back.

mod world;

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use world::sources::{compile, crowded};
use world::{changed_user, skipped};
use ztfast_bundle::Bundle;
use ztfast_engine::{Admission, Code, Determining, Engine, EngineOptions, Gate, Handle, Residence, SessionId};

const CROWD: u32 = 4_000;

/// A bundle's file, deleted on drop.
struct File(PathBuf);

impl File {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ztfast-tails-{}-{name}.ztb", std::process::id()));
        Bundle::of(&crowded(CROWD)).unwrap().save(&path).unwrap();
        Self(path)
    }

    /// Open and check the bundle, in memory that processes share, and drop its pages from this process, as the system
    /// may do when memory is short.
    fn open(&self) -> Arc<Bundle> {
        let memory = Bundle::open(&self.0).unwrap().share().unwrap();
        let bundle = Bundle::open(Path::new(&format!("/proc/self/fd/{}", memory.as_raw_fd()))).unwrap();
        let bytes = bundle.bytes();
        // SAFETY: the bytes are a private mapping of sealed memory, which cannot be written; dropped pages come back
        // from there.
        let status = unsafe { libc::madvise(bytes.as_ptr().cast_mut().cast(), bytes.len(), libc::MADV_DONTNEED) };
        assert_eq!(status, 0);
        Arc::new(bundle)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

struct Crowd {
    engine: Arc<Engine>,
    gate: Gate,
    sessions: Vec<SessionId>,
    docs: Vec<Handle>,
    users: Vec<Handle>,
}

impl Crowd {
    fn new(bundle: Arc<Bundle>, residence: Residence) -> Self {
        let engine = Engine::new(
            bundle,
            None,
            EngineOptions { sessions: 1 << 16, handles: 1 << 18, residence, ..EngineOptions::default() },
        )
        .unwrap();
        let handles =
            |ty, letter| (0..CROWD).map(|n| engine.handle(ty, &format!("{letter}{n}")).unwrap()).collect::<Vec<_>>();
        let users = handles("User", 'u');
        let admission = |&principal| Admission { principal, not_before_ns: 0, not_after_ns: i64::MAX };
        let sessions = users.iter().map(|user| engine.admit(&admission(user)).unwrap()).collect();
        let docs = handles("Doc", 'd');
        let gate = engine.prepare("Action", "view", &["n", "s", "who"]).unwrap();
        Self { engine, gate, sessions, docs, users }
    }

    /// Decide at random. Return how many decisions were ALLOW, and how many pages were missing meanwhile.
    fn decide(&mut self, count: u32) -> (u32, i64) {
        let mut determining = Determining::default();
        let (mut state, mut allowed) = (u64::from(count), 0);
        let before = missed_pages();
        for n in 0..count {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = |shift: u32| usize::try_from(state >> shift).unwrap() % (CROWD as usize);
            let (session, doc, who) = (self.sessions[at(33)], self.docs[at(21)], self.users[at(40)]);
            self.gate.begin();
            let text = self.gate.text(if n % 2 == 0 { "no x here" } else { "nor here" }).unwrap();
            let values = [i64::from(n % 16), text, self.gate.entity(who, 2).unwrap()];
            let code = if n % 4 == 0 {
                self.gate.decide(session, doc, &values, &mut determining)
            } else {
                self.gate.allows(session, doc, &values)
            };
            assert!(!matches!(code.code(), Code::Corrupt | Code::StaleGate | Code::NotApplicable), "{code:?}");
            allowed += u32::from(code == Code::Allow);
        }
        (allowed, missed_pages() - before)
    }
}

/// Return how many page faults this thread has had, whether from disk or not.
fn missed_pages() -> i64 {
    // SAFETY: the struct consists of numbers, for which zero is valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the struct is exclusively borrowed during the call.
    assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) }, 0);
    usage.ru_minflt + usage.ru_majflt
}

const AT_USE: Residence = Residence { prefault: false, locked: false, huge_pages: false };

/// Fault in the process's own pages (code, the thread's stack). The returned world keeps its memory, so that the next
/// engine gets other pages.
fn warm_up() -> Crowd {
    let mut crowd = Crowd::new(Arc::new(Bundle::of(&crowded(CROWD)).unwrap()), AT_USE);
    crowd.engine.change(&[changed_user("u0")], &[]).unwrap();
    let (allowed, _) = crowd.decide(2_000);
    assert!(allowed > 100, "{allowed}");
    crowd
}

#[test]
fn a_fresh_engine_has_all_its_pages() {
    let file = File::new("fresh");
    let _kept = warm_up();
    let mut unprepared = Crowd::new(file.open(), AT_USE);
    let (_, missed) = unprepared.decide(100_000);
    assert!(missed > 0, "an engine that does not ask for its pages has them: this test shows nothing");
    for residence in [
        Residence::default(),
        Residence { huge_pages: true, ..Residence::default() },
        Residence { locked: true, ..AT_USE },
    ] {
        if residence.locked && !may_lock() {
            skipped("locked memory was not tried, because the system lets this process lock too little");
            continue;
        }
        let mut crowd = Crowd::new(file.open(), residence);
        let (allowed, missed) = crowd.decide(100_000);
        assert_eq!(missed, 0, "pages were missing: {residence:?}");
        assert!(allowed > 10_000, "{allowed}");
    }
}

#[test]
fn a_bundle_has_all_its_pages_before_it_decides() {
    let file = File::new("swap");
    let _kept = warm_up();
    let mut crowd = Crowd::new(file.open(), Residence::default());
    crowd.decide(1_000);
    for _ in 0..3 {
        let (engine, next) = (crowd.engine.clone(), file.open());
        std::thread::spawn(move || engine.swap(next, None).unwrap()).join().unwrap();
        let (allowed, missed) = crowd.decide(20_000);
        assert_eq!(missed, 0, "pages were missing after a swap");
        assert!(allowed > 1_000, "{allowed}");
    }
}

/// Return whether the system lets this process lock as much memory as these tests need.
fn may_lock() -> bool {
    let residence = Residence { locked: true, ..AT_USE };
    let probe = EngineOptions { sessions: 1 << 16, handles: 1 << 18, residence, ..EngineOptions::default() };
    Engine::new(Arc::new(Bundle::of(&crowded(1)).unwrap()), None, probe).is_ok()
}

/// The variable that marks the child process in which memory is locked.
const CHILD: &str = "ZTFAST_TEST_LOCKED";

/// Return how many KiB this process has locked.
fn locked_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Return whether this is a process of the test's own, because other tests lock memory too. If it is not, run the test
/// in one, unless the system lets it lock too little.
fn is_alone(test: &str) -> bool {
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    if may_lock() {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let done = child.args(["--exact", test, "--nocapture"]).env(CHILD, "1").output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&done.stderr));
    } else {
        skipped("the system lets this process lock too little memory (ulimit -l)");
    }
    false
}

#[test]
fn locked_memory_is_locked_until_the_engine_is_gone() {
    if !is_alone("locked_memory_is_locked_until_the_engine_is_gone") {
        return;
    }
    let before = locked_kib();
    let crowd =
        Crowd::new(Arc::new(Bundle::of(&crowded(CROWD)).unwrap()), Residence { locked: true, ..Residence::default() });
    let memory = crowd.engine.memory().unwrap();
    // The gate's own objects lie in the heap; its working memory is locked.
    let objects = memory.bundle + memory.tables + memory.state + memory.gates - memory.locked;
    assert!(objects < 24 << 10, "{objects} bytes are not locked, {memory:?}");
    let locked = (locked_kib() - before) << 10;
    assert!(locked >= memory.locked, "{locked} bytes are locked, {memory:?}");
    crowd.engine.swap(Arc::new(Bundle::of(&crowded(CROWD)).unwrap()), None).unwrap();
    drop(crowd);
    // A gate's memory comes from the heap's pages, which stay locked until the heap returns them.
    let left = (locked_kib() - before) << 10;
    assert!(left <= memory.gates + (64 << 10), "{left} bytes are still locked, {memory:?}");
}

const PAIRS: usize = 400;

/// A bundle whose gates have large tables: a user sees the document with the same number.
fn paired() -> Arc<Bundle> {
    let policy = |n| {
        format!(r#"permit (principal == User::"{n}", action, resource == Doc::"{n}") unless {{ context.n == 0 }};"#)
    };
    let schema = "entity User, Doc; action see appliesTo { principal: User, resource: Doc, context: { n?: Long } };";
    let parts = compile(&(1..=PAIRS).map(policy).collect::<String>(), schema, None, None);
    Arc::new(Bundle::of(&parts).unwrap())
}

#[test]
fn gates_tables_are_locked_and_each_is_counted_once() {
    // A cell for each pair of classes, and those to which the action does not apply; grids take less.
    const TABLE: usize = 2 * (PAIRS + 1) * (PAIRS + 1);
    // The policy that permits, for each cell of a table with grids.
    const POLICIES: usize = 2 * TABLE;
    const LITTLE: usize = TABLE / 4;
    if !is_alone("gates_tables_are_locked_and_each_is_counted_once") {
        return;
    }
    let (bundle, next) = (paired(), paired());
    let residence = Residence { locked: true, ..Residence::default() };
    let options = EngineOptions { sessions: 64, handles: 64, residence, ..EngineOptions::default() };
    let engine = Engine::new(bundle, None, options).unwrap();
    let used = || engine.memory().unwrap();
    let is_table = |bytes: usize| (TABLE..TABLE + LITTLE).contains(&bytes);
    let (none, locked) = (used(), locked_kib());
    let first = engine.prepare("Action", "see", &[]).unwrap();
    let one = used();
    assert!(is_table(one.gates - none.gates), "{none:?} {one:?}");
    assert!(is_table(one.locked - none.locked), "{none:?} {one:?}");
    assert!((locked_kib() - locked) << 10 >= one.locked - none.locked, "{locked} KiB before");
    let same = engine.prepare("Action", "see", &[]).unwrap();
    let shared = used();
    assert!(shared.gates - one.gates < LITTLE && shared.locked - one.locked < LITTLE, "{one:?} {shared:?}");
    let other = engine.prepare("Action", "see", &["n"]).unwrap();
    let two = used();
    let [gates, locked] = [two.gates - shared.gates, two.locked - shared.locked].map(|bytes| bytes - POLICIES);
    assert!(is_table(gates) && is_table(locked), "{shared:?} {two:?}");
    drop(other);
    let dropped = used();
    assert!(dropped.gates <= shared.gates && dropped.locked <= shared.locked, "{shared:?} {dropped:?}");
    engine.swap(next, None).unwrap();
    let swapped = used();
    // The idle gates hold the table of the bundle that was replaced.
    assert!((swapped.gates, swapped.bundle) == (shared.gates, shared.bundle), "{shared:?} {swapped:?}");
    assert!(is_table(swapped.replaced - swapped.bundle), "{swapped:?}");
    assert!(is_table(swapped.locked - shared.locked - shared.bundle), "{shared:?} {swapped:?}");
    let held = locked_kib() << 10;
    assert!(held >= swapped.locked, "{held} bytes are locked, {swapped:?}");
    drop((first, same));
    engine.swap(paired(), None).unwrap();
    let gone = used();
    assert!((gone.gates, gone.replaced, gone.locked) == (none.gates, 0, none.locked), "{none:?} {gone:?}");
    let left = locked_kib() << 10;
    assert!(left < held - 2 * TABLE, "{left} of {held} bytes are still locked");
}
