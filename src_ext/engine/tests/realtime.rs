//! `RealtimeSanitizer` watches the deciding side: it ends the process at the first call that may wait for memory, a
//! lock or the system. `make test-realtime` builds these tests with it; built without it, they write the bundles that
//! it needs.

mod world;

use world::{Counts, Kind};
use ztfast_engine::EngineOptions;

fn options() -> EngineOptions {
    EngineOptions { sessions: 64, handles: 64, ..EngineOptions::default() }
}

fn decide(kind: Kind) -> Counts {
    world::decide_after_each_step(&kind.bundle(), options(), || {}, || {})
}

#[cfg(not(ztfast_rtsan))]
#[test]
fn saved_bundles_decide_as_those_in_memory() {
    use std::sync::Arc;
    use ztfast_bundle::Bundle;

    let own = std::env::temp_dir().join(format!("ztfast-realtime-{}", std::process::id()));
    let given = std::env::var_os(world::BUNDLES).map(std::path::PathBuf::from);
    let folder = given.clone().unwrap_or(own);
    std::fs::create_dir_all(&folder).unwrap();
    for kind in Kind::ALL {
        kind.bundle().save(&kind.path(&folder)).unwrap();
        let saved = Arc::new(Bundle::open(&kind.path(&folder)).unwrap());
        assert_eq!(saved.bytes(), kind.bundle().bytes());
        if let Kind::World(_) = kind {
            let counts = world::decide_after_each_step(&saved, options(), || {}, || {});
            assert_eq!(counts, decide(kind), "{kind:?}");
        }
    }
    if given.is_none() {
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

#[cfg(ztfast_rtsan)]
mod watched {
    use super::*;
    use std::process::Command;
    use ztfast_engine::{Admission, Engine, Fallback, FallbackAnswer, Snapshot, UidRef};
    use ztfast_vm::{EntityRef, Request};

    #[test]
    fn deciding_never_waits() {
        let mut all = Counts::default();
        for form in world::FORMS {
            all.iter_mut().zip(decide(Kind::World(form))).for_each(|(sum, count)| *sum += count);
        }
        world::assert_everything_was_met(&all);
    }

    /// A fallback that allocates, as Cedar's own evaluator does.
    struct Allocating;

    impl Fallback for Allocating {
        fn authorize(
            &self,
            _: &Snapshot,
            _: u32,
            _: UidRef<'_>,
            _: UidRef<'_>,
            _: &Request<'_>,
            _: &dyn Fn(EntityRef) -> Option<(String, String)>,
        ) -> Option<FallbackAnswer> {
            std::hint::black_box(Vec::<u8>::with_capacity(1));
            None
        }
    }

    /// The variable that tells a child process to run into the sanitizer.
    const CHILD: &str = "ZTFAST_TEST_WAITING";

    #[test]
    fn the_sanitizer_notices_calls_that_wait() {
        if std::env::var_os(CHILD).is_some() {
            let engine = Engine::new(Kind::Opaque.bundle(), Some(Box::new(Allocating)), options()).unwrap();
            let principal = engine.handle("User", "u").unwrap();
            let session = engine.admit(&Admission { principal, not_before_ns: 0, not_after_ns: i64::MAX }).unwrap();
            let doc = engine.handle("Doc", "d").unwrap();
            let mut gate = engine.prepare("Action", "view", &["n", "s"]).unwrap();
            gate.begin();
            println!("{:?}", gate.allows(session, doc, &[1, 0]));
            return;
        }
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "watched::the_sanitizer_notices_calls_that_wait", "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stderr);
        assert!(!child.status.success() && said.contains("RealtimeSanitizer: unsafe-library-call"), "{said}");
        assert!(said.contains("Gate") && said.contains("malloc"), "{said}");
    }
}
