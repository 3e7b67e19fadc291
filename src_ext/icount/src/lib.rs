//! The engine whose instructions `benches/icount.rs` counts, over the bundles of `ztfast.bench.workload` and of the
//! example desk, which make saves.
//!
//! This is a crate of its own because the engine's tests link Cedar, which takes minutes to build with optimizations.
//! This crate does not depend on Cedar.
#![forbid(unsafe_code)]

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use ztfast_bundle::Bundle;
use ztfast_engine::{
    Attributes, Code, Decision, Engine, EngineOptions, Gate, Given, Handle, KillRequest, Passed, SessionId,
    SessionStatus, ToStop, now_ns,
};
use ztfast_live::{Capacity, Role, State, uid_bit, uid_hash};
use ztfast_pages::{Clock, Residence};
use ztfast_vm::{EntityRef, Facts};

/// The folder of the bundles, from this crate.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../build/bench");

/// A request that is decided again and again, which its bundle allows.
pub struct Counted {
    /// The bundle's file.
    pub bundle: &'static str,
    /// Type and id of the principal.
    pub principal: (&'static str, &'static str),
    /// Type and id of the resource.
    pub resource: (&'static str, &'static str),
    /// The action.
    pub action: &'static str,
    /// The context attributes that the gate passes.
    pub names: &'static [&'static str],
    /// Their values.
    pub values: &'static [i64],
}

/// The workload of `ztfast.bench.workload`: a book of plain ranges.
pub const CANCEL: Counted = Counted {
    bundle: "hot.ztb",
    principal: ("Algo", "a1"),
    resource: ("Instrument", "i1"),
    action: "order.cancel",
    names: &[],
    values: &[],
};
/// An order with two comparisons.
pub const ORDER: Counted =
    Counted { action: "order.new", names: &["notional", "qty"], values: &[250_000, 100], ..CANCEL };
/// The example desk, whose conditions are those of a real one.
pub const DESK_CANCEL: Counted =
    Counted { bundle: "desk.ztb", principal: ("Algo", "a7"), resource: ("Instrument", "AAPL"), ..CANCEL };
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

/// A value that is passed in one step with its decision.
#[derive(Debug, Clone, Copy)]
pub enum Value {
    /// A number.
    Number(i64),
    /// A text.
    Text(&'static str),
    /// Type and id of an entity.
    Entity(&'static str, &'static str),
    /// An IPv4 address.
    Address(u32),
    /// A set of texts.
    Texts(&'static [&'static str]),
}

/// A request whose values are passed in one step with its decision.
pub struct Passing {
    /// The request; its values are not used.
    pub of: Counted,
    /// The values.
    pub given: &'static [Value],
}

/// A cancel by an agent, for a person: two conditions on an entity of the context.
pub const DESK_AGENT: Passing = Passing {
    of: Counted {
        principal: ("Agent", "g1"),
        action: "order.cancel",
        names: &["onBehalfOf"],
        values: &[],
        ..DESK_CANCEL
    },
    given: &[Value::Entity("Human", "h1")],
};
/// An export of a customer's data: a text that the bundle lacks, a set of texts, an address, and two live attributes.
pub const DESK_EXPORT: Passing = Passing {
    of: Counted {
        principal: ("Human", "h56"),
        resource: ("CustomerAccount", "c2"),
        action: "customer.export",
        names: &["purpose", "fields", "clientIp"],
        values: &[],
        ..DESK_CANCEL
    },
    given: &[Value::Text("case-7"), Value::Texts(&["balance"]), Value::Address(0x0A14_0105)],
};

/// An order whose policies read two live attributes of its session.
pub const LIVE_ORDER: Counted = Counted { bundle: "live.ztb", ..ORDER };
/// An order whose policies also ask for a factor of its session.
pub const LIVE_REPLACE: Counted = Counted { action: "order.replace", ..LIVE_ORDER };

/// What is killed while a request is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Killed {
    /// An entity whose bit in the kill word is none of the request's.
    Another,
    /// An entity that shares its bit with the request.
    AnotherOfItsBit,
    /// The firm, but for exempt actions.
    Firm,
}

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
        let mut hot = Self::prepared(of);
        // Work that is done only once is done before anything is counted.
        for _ in 0..10 {
            let code = hot.gate.allows(hot.session, hot.resource, of.values);
            assert_eq!(code, expected, "the counted request");
        }
        hot
    }

    /// Prepare a gate for a request that is allowed, in an engine whose state other processes may share.
    ///
    /// # Panics
    /// As [`Self::new`].
    #[must_use]
    pub fn on_shared_state(of: &Counted) -> Self {
        let folder = Path::new(FOLDER).join("state");
        // The state of an earlier run may be that of another boot.
        let removed = std::fs::remove_dir_all(&folder);
        assert!(removed.is_ok() || !folder.exists(), "the folder of an earlier run: {removed:?}");
        std::fs::DirBuilder::new().mode(0o700).create(&folder).expect("a folder for the state");
        let (capacity, memory) = (Capacity { sessions: 16, uids: 1_024 }, Residence::default());
        let state = State::open(&folder, Role::Authority, Some(capacity), (None, None), None, Clock::Coarse, memory);
        let state = state.expect("a state");
        let bundle = Arc::new(Bundle::open(&Path::new(FOLDER).join(of.bundle)).expect("the bundle"));
        let engine = Engine::on(state, bundle, None, None, EngineOptions::default()).expect("a whole bundle");
        let known = Attributes { factors: &["x509"], proved_ns: Some(now_ns()), ..Attributes::default() };
        let (ty, id) = of.principal;
        let session = engine.admit_uid_with(ty, id, (0, i64::MAX), &known).expect("room for sessions");
        let mut hot = Self::in_engine(engine, of, session);
        for _ in 0..10 {
            let code = hot.gate.allows(hot.session, hot.resource, of.values);
            assert_eq!(code, Code::Allow, "the counted request");
        }
        hot
    }

    fn in_engine(engine: Arc<Engine>, of: &Counted, session: SessionId) -> Self {
        let resource = engine.handle(of.resource.0, of.resource.1).expect("room for handles");
        let gate = engine.prepare("Action", of.action, of.names).expect("the workload's action");
        Self { gate, engine, session, resource, values: of.values }
    }

    fn prepared(of: &Counted) -> Self {
        let path = Path::new(FOLDER).join(of.bundle);
        let bundle = Bundle::open(&path).expect("the bundle that `make bench-instructions` saves first");
        let options = EngineOptions { sessions: 16, handles: 1_024, ..EngineOptions::default() };
        let engine = Engine::new(Arc::new(bundle), None, options).expect("a whole bundle");
        let proved = Attributes { factors: &["x509", "fido2"], proved_ns: Some(now_ns()), ..Attributes::default() };
        let (ty, id) = of.principal;
        let session = engine.admit_uid_with(ty, id, (0, i64::MAX), &proved).expect("room for sessions");
        Self::in_engine(engine, of, session)
    }

    /// Prepare a gate for a request that is allowed, and kill what does not concern it.
    ///
    /// # Panics
    /// As [`Self::new`].
    #[must_use]
    pub fn while_killed(of: &Counted, killed: Killed) -> Self {
        let mut hot = Self::new(of, Code::Allow);
        let bits = hot.switch_bits(of);
        let ids = (0..).map(|number: u32| format!("v{number}"));
        let is_wanted =
            |id: &String| (bits & uid_bit(uid_hash("Venue", id)) != 0) == (killed == Killed::AnotherOfItsBit);
        let id = ids.into_iter().find(is_wanted).expect("one of 63 bits");
        let scope = (killed != Killed::Firm).then_some(("Venue", &*id));
        let (by, reason) = ("icount", "a measurement");
        let request = KillRequest { scope, actions: ToStop::Usual, by, reason, until_ns: None, two_persons: false };
        hot.engine.kill(&request).expect("room for a kill");
        assert_eq!(hot.gate.allows(hot.session, hot.resource, of.values), Code::Allow, "the kill is another's");
        hot
    }

    /// Return the bits of the principal and the resource in the kill word, with those of what they are in.
    fn switch_bits(&self, of: &Counted) -> u64 {
        let snapshot = self.engine.snapshot();
        let mut uids = vec![of.principal, of.resource];
        for (ty, id) in [of.principal, of.resource] {
            let entity = snapshot.find(ty, id).expect("an entity of the bundle");
            let above = |facts: &Facts<'_>| facts.ancestors.iter().map(|&index| EntityRef::known(index)).collect();
            let above: Vec<EntityRef> = snapshot.with_entity(entity, |_, facts| Some(above(facts))).unwrap_or_default();
            uids.extend(above.into_iter().filter_map(|entity| snapshot.uid(entity)).map(|uid| (uid.ty, uid.id)));
        }
        uids.iter().fold(0, |bits, (ty, id)| bits | uid_bit(uid_hash(ty, id)))
    }

    /// Prepare a gate, and revoke the session.
    ///
    /// # Panics
    /// As [`Self::new`].
    #[must_use]
    pub fn refused(of: &Counted) -> Self {
        let hot = Self::new(of, Code::Allow);
        let revoked = hot.engine.set_session(hot.session, SessionStatus::Revoked);
        assert!(revoked.is_ok_and(|is_done| is_done), "a live session can be revoked");
        hot
    }
}

/// A gate whose values are passed in one step with its decision, and that has decided before.
pub struct HotPassing {
    hot: Hot,
    given: Vec<Value>,
    handles: Vec<Handle>,
    generation: u64,
}

impl HotPassing {
    /// Prepare a gate for a request that is allowed.
    ///
    /// # Panics
    /// As [`Hot::new`].
    #[must_use]
    pub fn new(passing: &Passing) -> Self {
        let hot = Hot::prepared(&passing.of);
        let handle = |given: &Value| match *given {
            Value::Entity(ty, id) => hot.engine.handle(ty, id).expect("room for handles"),
            _ => hot.resource,
        };
        let handles = passing.given.iter().map(handle).collect();
        let (given, generation) = (passing.given.to_vec(), hot.gate.generation());
        let mut new = Self { hot, given, handles, generation };
        for _ in 0..10 {
            assert!(new.decide().is_some_and(Decision::is_allow), "the counted request");
        }
        new
    }

    /// Pass the values and decide.
    #[inline]
    pub fn decide(&mut self) -> Option<Decision> {
        let values = self.given.iter().zip(&self.handles).map(|(given, handle)| {
            Some(match *given {
                Value::Number(number) => Given::One(Passed::Number(number)),
                Value::Text(text) => Given::One(Passed::Text(text)),
                Value::Entity(..) => Given::One(Passed::Number(handle.0.cast_signed())),
                Value::Address(bits) => Given::One(Passed::Address(bits.into(), false, 32)),
                Value::Texts(texts) => Given::Set(texts.iter().map(|text| Some(Passed::Text(text)))),
            })
        });
        self.hot.gate.allows_passed(self.generation, (self.hot.session, self.hot.resource), values)
    }
}
