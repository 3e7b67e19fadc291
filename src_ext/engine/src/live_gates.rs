//! Decisions of gates whose actions have live attributes.

use crate::decide::Sink;
use crate::gate::Gate;
use crate::live::{Filler, MOST_VALUES};
use crate::live_attributes::MOST_LIVE;
use ztfast_bundle::ClassPair;
use ztfast_codes::Code;
use ztfast_live::{Handle, SessionId};

/// The most values of a caller that are decided with less memory to clear.
const FEW: usize = 7;

impl Gate {
    /// Decide for a session by the caller's values and the live attributes.
    #[inline(never)]
    pub(crate) fn decide_live<N: Sink>(
        &mut self,
        session: SessionId,
        resource: Handle,
        values: &[i64],
        sink: &mut N,
    ) -> Code {
        if values.len() <= FEW {
            self.decide_live_among::<{ FEW + MOST_LIVE }, N>(session, resource, values, sink)
        } else {
            self.decide_live_among::<MOST_VALUES, N>(session, resource, values, sink)
        }
    }

    /// Decide where the caller's values and the live attributes are at most `MOST`.
    #[inline(always)]
    #[allow(clippy::inline_always)] // one function for each size
    fn decide_live_among<const MOST: usize, N: Sink>(
        &mut self,
        session: SessionId,
        resource: Handle,
        values: &[i64],
        sink: &mut N,
    ) -> Code {
        let now_ns = self.shared.now_ns();
        if self.is_stale() {
            return self.decide_at(now_ns, session, resource, values, sink);
        }
        self.forget_the_decision_before();
        let mut numbers = [0; MOST];
        let Self { shared, snapshot, binding: Some(binding), brought, .. } = self else { return Code::StaleGate };
        let (Some(own), true) = (numbers.get_mut(..values.len()), values.len() == binding.callers) else {
            return Code::Corrupt;
        };
        own.copy_from_slice(values);
        let resource_of = || snapshot.entity(snapshot.loaded.key.place(resource));
        let filler = Filler { shared, snapshot, binding, session, now_ns, resource: &resource_of };
        let absent = match filler.fill(brought, &mut numbers) {
            Ok(absent) => absent,
            Err(code) => return code,
        };
        let numbers = numbers.get(..binding.types.len()).unwrap_or_default();
        if binding.positions_without.is_empty() {
            return self.decide_at(now_ns, session, resource, numbers, sink);
        }
        self.walk_without(now_ns, session, resource, numbers, absent, sink)
    }

    /// Decide by a walk, where some of the live attributes that policies read may be absent.
    fn walk_without<N: Sink>(
        &mut self,
        now_ns: i64,
        session: SessionId,
        resource: Handle,
        numbers: &[i64],
        absent: usize,
        sink: &mut N,
    ) -> Code {
        let Self { shared, snapshot, binding: Some(binding), memory, brought, .. } = self else {
            return Code::StaleGate;
        };
        let places = shared.principal(session, now_ns, false);
        let resolved = places.and_then(|principal| {
            let places = (principal, snapshot.loaded.key.place(resource));
            snapshot.resolve_both(places.0, places.1)
        });
        let (principal, resource) = match resolved {
            Ok(entities) => entities,
            Err(denial) => return denial,
        };
        sink.clear();
        let classes = ClassPair { principal: principal.classes.principal, resource: resource.classes.resource };
        let entities = (principal.entity, resource.entity);
        binding.walk_live(snapshot, entities, classes, numbers, absent, brought, &mut memory.scratch, sink)
    }
}
