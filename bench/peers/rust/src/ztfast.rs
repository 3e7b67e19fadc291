//! ztfast from Rust: a gate over the bundle that was compiled and saved from Python.

use crate::outcome::Outcome;
use crate::serve::Peer;
use crate::world;
use rustc_hash::FxHashMap;
use std::path::Path;
use std::sync::Arc;
use ztfast_bundle::Bundle;
use ztfast_engine::{Admission, Code, Engine, EngineOptions, Gate, Handle, SessionId};

impl Peer for Gate {
    type Request = (SessionId, Handle, [i64; 2]);

    fn allows(&mut self, (session, resource, values): &Self::Request) -> bool {
        Self::allows(self, *session, *resource, values) == Code::Allow
    }
}

/// Admit all algorithms, and take a handle for each instrument.
pub fn peer(folder: &Path) -> Outcome<(Gate, Vec<<Gate as Peer>::Request>)> {
    let tables = world::tables(folder)?;
    let bundle = Arc::new(Bundle::open(&folder.join("bundle.ztb"))?);
    let engine = Engine::new(bundle, None, EngineOptions::default())?;
    let mut sessions = FxHashMap::default();
    for (id, ..) in &tables.algos {
        let principal = engine.handle("Algo", id)?;
        let session = engine.admit(&Admission { principal, not_before_ns: 0, not_after_ns: i64::MAX })?;
        sessions.insert(id.as_str(), session);
    }
    let mut requests = Vec::new();
    for order in world::orders(folder)? {
        let session = sessions.get(order.0.as_str()).copied().ok_or("an order of an unknown algorithm")?;
        requests.push((session, engine.handle("Instrument", &order.1)?, [order.2, order.3]));
    }
    Ok((engine.prepare("Action", "order.new", &["notional", "qty"])?, requests))
}
