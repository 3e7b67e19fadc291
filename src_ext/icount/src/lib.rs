//! The engine whose instructions `benches/icount.rs` counts, over the bundles of `ztfast.bench.workload` and of the
//! example desk, which make saves.
//!
//! This is a crate of its own because the engine's tests link Cedar, which takes minutes to build with optimizations.
//! This crate does not depend on Cedar.
#![forbid(unsafe_code)]

use std::path::Path;
use std::sync::Arc;
use ztfast_bundle::Bundle;
use ztfast_engine::{Admission, Code, Engine, EngineOptions, Gate, Handle, SessionId, SessionStatus};

/// The folder of the bundles, from this crate.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../build/bench");

/// A request that is decided again and again, which its bundle allows.
pub struct Counted {
    /// The bundle's file.
    pub bundle: &'static str,
    /// The principal, of the type `Algo`.
    pub algo: &'static str,
    /// The resource, of the type `Instrument`.
    pub instrument: &'static str,
    /// The action.
    pub action: &'static str,
    /// The context attributes that the gate passes.
    pub names: &'static [&'static str],
    /// Their values.
    pub values: &'static [i64],
}

/// The workload of `ztfast.bench.workload`: a book of plain ranges.
pub const CANCEL: Counted =
    Counted { bundle: "hot.ztb", algo: "a1", instrument: "i1", action: "order.cancel", names: &[], values: &[] };
/// An order with two comparisons.
pub const ORDER: Counted =
    Counted { action: "order.new", names: &["notional", "qty"], values: &[250_000, 100], ..CANCEL };
/// The example desk, whose conditions are those of a real one.
pub const DESK_CANCEL: Counted = Counted { bundle: "desk.ztb", algo: "a7", instrument: "AAPL", ..CANCEL };
/// An order of an algorithm with the attributes that are required.
pub const DESK_ORDER: Counted =
    Counted { action: "order.new", names: &["notional", "qty"], values: &[250_000, 100], ..DESK_CANCEL };
/// An order with all attributes that an algorithm has.
pub const DESK_ORDER_OF_NINE: Counted = Counted {
    names: &[
        "notional",
        "qty",
        "collarBps",
        "limitPrice",
        "referencePrice",
        "at",
        "referenceAt",
        "participation",
        "participationCap",
    ],
    values: &[250_000, 100, 10, 1_502_500, 1_502_000, 1_700_000_000_500, 1_700_000_000_000, 5, 10],
    ..DESK_ORDER
};
/// An order beyond a cap.
pub const DESK_DENIED: Counted = Counted { values: &[6_000_000, 100], ..DESK_ORDER };

/// A gate that has decided before, with the request's session and resource.
pub struct Hot {
    /// The gate.
    pub gate: Gate,
    engine: Arc<Engine>,
    /// The session of the principal.
    pub session: SessionId,
    /// The handle of the resource.
    pub resource: Handle,
    /// The values of the attributes.
    pub values: &'static [i64],
}

impl Hot {
    /// Prepare a gate for a request.
    ///
    /// # Panics
    /// If there is no bundle, or it does not decide as expected.
    #[must_use]
    pub fn new(of: &Counted, expected: Code) -> Self {
        let path = Path::new(FOLDER).join(of.bundle);
        let bundle = Bundle::open(&path).expect("the bundle that `make bench-instructions` saves first");
        let options = EngineOptions { sessions: 16, handles: 1_024, ..EngineOptions::default() };
        let engine = Engine::new(Arc::new(bundle), None, options).expect("a whole bundle");
        let handle = |ty, id| engine.handle(ty, id).expect("room for handles");
        let (principal, resource) = (handle("Algo", of.algo), handle("Instrument", of.instrument));
        let admission = Admission { principal, not_before_ns: 0, not_after_ns: i64::MAX };
        let session = engine.admit(&admission).expect("room for sessions");
        let mut gate = engine.prepare("Action", of.action, of.names).expect("the workload's action");
        // Work that is done only once is done before anything is counted.
        for _ in 0..10 {
            let code = gate.allows(session, resource, of.values);
            assert_eq!(code, expected, "the counted request");
        }
        Self { gate, engine, session, resource, values: of.values }
    }

    /// Prepare a gate, and revoke the session.
    ///
    /// # Panics
    /// As [`Self::new`].
    #[must_use]
    pub fn refused(of: &Counted) -> Self {
        let hot = Self::new(of, Code::Allow);
        assert_eq!(
            hot.engine.set_session(hot.session, SessionStatus::Revoked),
            Ok(true),
            "a live session can be revoked"
        );
        hot
    }
}
