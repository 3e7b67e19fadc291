//! The engine whose instructions `benches/icount.rs` counts, over the bundle of `ztfast.bench.workload`, which make
//! saves.
//!
//! This is a crate of its own because the engine's tests link Cedar, which takes minutes to build with optimizations.
//! This crate does not depend on Cedar.
#![forbid(unsafe_code)]

use std::path::Path;
use std::sync::Arc;
use ztfast_bundle::Bundle;
use ztfast_engine::{Admission, Code, Engine, EngineOptions, Gate, Handle, SessionId, SessionStatus};

/// The path of the bundle, from this crate.
const BUNDLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../build/bench/hot.ztb");

/// The values of `notional` and `qty` of the request that is decided again and again, which is allowed.
pub const VALUES: [i64; 2] = [250_000, 100];

/// A gate that has decided before, with the request's session and resource.
pub struct Hot {
    /// The gate.
    pub gate: Gate,
    engine: Arc<Engine>,
    /// The session of `Algo::"a1"`.
    pub session: SessionId,
    /// `Instrument::"i1"`.
    pub resource: Handle,
}

impl Hot {
    /// Prepare a gate for an action and these attributes.
    ///
    /// # Panics
    /// If there is no bundle, or it is not the workload's.
    #[must_use]
    pub fn new(action: &str, names: &[&str]) -> Self {
        let bundle = Bundle::open(Path::new(BUNDLE)).expect("the bundle that `make bench-instructions` saves first");
        let options = EngineOptions { sessions: 16, handles: 1_024, ..EngineOptions::default() };
        let engine = Engine::new(Arc::new(bundle), None, options).expect("a whole bundle");
        let handle = |ty, id| engine.handle(ty, id).expect("room for handles");
        let (principal, resource) = (handle("Algo", "a1"), handle("Instrument", "i1"));
        let admission = Admission { principal, not_before_ns: 0, not_after_ns: i64::MAX };
        let session = engine.admit(&admission).expect("room for sessions");
        let mut gate = engine.prepare("Action", action, names).expect("the workload's action");
        // Work that is done only once is done before anything is counted.
        for _ in 0..10 {
            let code = gate.allows(session, resource, &VALUES[..names.len()]);
            assert_eq!(code, Code::Allow, "the counted request must be allowed");
        }
        Self { gate, engine, session, resource }
    }

    /// Prepare a gate, and revoke the session.
    ///
    /// # Panics
    /// As [`Self::new`].
    #[must_use]
    pub fn refused(action: &str, names: &[&str]) -> Self {
        let hot = Self::new(action, names);
        assert_eq!(
            hot.engine.set_session(hot.session, SessionStatus::Revoked),
            Ok(true),
            "a live session can be revoked"
        );
        hot
    }
}
