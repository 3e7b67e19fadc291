//! Decisions without a gate, decisions by policy alone, and queries of a snapshot: the entity of a session or a handle,
//! and the resources on which a principal may act.

use crate::binding::{layers, slot_kinds};
use crate::changes::{UNCLASSED, is_present};
use crate::decide::{Determining, EffectOnly, Sink, Walk};
use crate::exit::{Decision, leave};
use crate::live::MarketSlot;
use crate::request::OwnedRequest;
use crate::shared::Shared;
use crate::snapshot::{Fallback, FallbackAnswer, Snapshot, UidRef};
use ztfast_bundle::ClassPair;
use ztfast_codes::Code;
use ztfast_live::{Handle, OwnedUid, SessionId};
use ztfast_vm::{EntityRef, Scratch};

/// A request of a session that was read into memory.
pub struct SessionRequest<'a> {
    /// The snapshot by which it was read.
    pub snapshot: &'a Snapshot,
    /// The session.
    pub session: SessionId,
    /// The action's number.
    pub action: u32,
    /// The session's principal.
    pub principal: EntityRef,
    /// The resource.
    pub resource: EntityRef,
    /// The context.
    pub context: &'a OwnedRequest,
}

impl Shared {
    /// Decide a request of a session, and record the policies that determine the decision.
    pub fn decide(&self, request: &SessionRequest<'_>, determining: &mut Determining) -> Decision {
        leave(self.dry_run(request, determining))
    }

    /// Return the code that [`Self::decide`] would give, as a question: nothing is decided.
    pub fn dry_run(&self, request: &SessionRequest<'_>, determining: &mut Determining) -> Code {
        let &SessionRequest { snapshot, session, action, principal, resource, context } = request;
        let code = self.evaluate(snapshot, action, principal, resource, context, determining);
        // Reading the request and evaluating it may have taken long: the session may be over, or something killed.
        let denial = self.denial(snapshot, action, session, Some(resource), &|number| context.foreign_uid(number));
        if denial.is_some() {
            determining.clear();
        }
        denial.unwrap_or(code)
    }

    /// Deny a request of a session that no path decides: it could not be read, or there is no gate for it. A code that
    /// allows becomes [`Code::Corrupt`].
    #[allow(clippy::unused_self)] // it is this engine's decision, for this session
    pub const fn deny(&self, _session: SessionId, code: Code) -> Decision {
        leave(if matches!(code, Code::Allow) { Code::Corrupt } else { code })
    }

    /// Deny a request of a session with a code that applies whatever its values are, or else with `code`. The snapshot
    /// is the one by which the request was read; `action` is `None` if that has no such action.
    pub fn refuse(
        &self,
        snapshot: &Snapshot,
        action: Option<u32>,
        session: SessionId,
        resource: Handle,
        code: Code,
    ) -> Decision {
        let Some(action) = action else { return self.deny(session, Code::StaleGate) };
        let resource = self.handle_entity(snapshot, resource);
        let denial = self.denial(snapshot, action, session, resource.ok(), &|_| None);
        self.deny(session, denial.or(resource.err()).unwrap_or(code))
    }

    /// Decide by policy alone, without session and kills.
    pub fn evaluate(
        &self,
        snapshot: &Snapshot,
        action: u32,
        principal: EntityRef,
        resource: EntityRef,
        request: &OwnedRequest,
        determining: &mut Determining,
    ) -> Code {
        if self.is_forked() {
            return Code::Forked;
        }
        let bundle = snapshot.bundle();
        let record = bundle.actions().get(action as usize);
        let tables = record.and_then(|record| Some((slot_kinds(bundle, record)?, layers(bundle, record)?)));
        let Some((kinds, layers)) = tables else { return Code::Corrupt };
        let request_view = request.view(principal, resource, kinds);
        let foreign = |number| request.foreign_uid(number);
        let classes = ClassPair {
            principal: snapshot.classes(principal).principal,
            resource: snapshot.classes(resource).resource,
        };
        let walk = Walk { snapshot, action, layers, classes, request: &request_view, foreign: &foreign };
        let mut code = walk.decide(&mut snapshot.scratch(), determining);
        determining.sort();
        if code == Code::Forbid && record.is_some_and(|record| record.step_up != 0) {
            code = walk.forbidden(&mut snapshot.scratch());
        }
        code
    }

    /// Ask Cedar's own evaluator about a request, to learn all determining policies where they are too many for
    /// [`Determining`]. `None` is a failure.
    pub fn ask(
        &self,
        fallback: &dyn Fallback,
        snapshot: &Snapshot,
        action: u32,
        principal: EntityRef,
        resource: EntityRef,
        request: &OwnedRequest,
    ) -> Option<FallbackAnswer> {
        let kinds = slot_kinds(snapshot.bundle(), snapshot.bundle().actions().get(action as usize)?)?;
        let uid = |entity| request.uid(snapshot, entity);
        let ((who, who_id), (what, what_id)) = (uid(principal)?, uid(resource)?);
        let (who, what) = (UidRef { ty: &who, id: &who_id }, UidRef { ty: &what, id: &what_id });
        fallback.authorize(snapshot, action, who, what, &request.view(principal, resource, kinds), &uid)
    }

    /// Return the entity of a session's principal.
    ///
    /// # Errors
    /// The code of the denial.
    pub fn session_principal(&self, snapshot: &Snapshot, action: u32, session: SessionId) -> Result<EntityRef, Code> {
        self.session_principal_at(snapshot, action, session, self.now_ns())
    }

    fn session_principal_at(
        &self,
        snapshot: &Snapshot,
        action: u32,
        session: SessionId,
        now_ns: i64,
    ) -> Result<EntityRef, Code> {
        let killed = self.stops(&snapshot.loaded, Some(action), now_ns);
        let place = self.principal(session, now_ns, killed)?;
        if !snapshot.loaded.uids.covers(place) {
            return Err(Code::UnknownSession);
        }
        snapshot.entity(place).ok_or(Code::NotApplicable)
    }

    /// Return the code that denies a session an action on a resource whatever policy says: that of the session, or of a
    /// kill. All kills are those of one moment. `None` is a resource of which the bundle knows nothing. `foreign` gives
    /// the uids of entities that only the request knows.
    #[must_use]
    pub fn denial(
        &self,
        snapshot: &Snapshot,
        action: u32,
        session: SessionId,
        resource: Option<EntityRef>,
        foreign: &dyn Fn(u32) -> Option<OwnedUid>,
    ) -> Option<Code> {
        // One kill may be over soon after another one was made.
        let now_ns = self.now_ns();
        self.switches.at_one_moment(Code::Killed, || {
            let principal = match self.session_principal_at(snapshot, action, session, now_ns) {
                Ok(principal) => principal,
                Err(code) => return Some(code),
            };
            let entities = [Some(principal), resource];
            let stops = self.stops_some() && self.stops_between(snapshot, Some(action), entities, foreign, now_ns);
            stops.then_some(Code::Killed)
        })
    }

    /// Return the entity of a handle in this snapshot's bundle.
    ///
    /// # Errors
    /// [`Code::UnknownHandle`] if the handle is not this engine's, [`Code::NotApplicable`] if the bundle knows no such
    /// entity.
    pub fn handle_entity(&self, snapshot: &Snapshot, handle: Handle) -> Result<EntityRef, Code> {
        let place = self.key.place(handle);
        if !snapshot.loaded.uids.covers(place) {
            return Err(Code::UnknownHandle);
        }
        snapshot.entity(place).ok_or_else(|| snapshot.denial_without_entity(place))
    }
}

impl Snapshot {
    /// Return the resources in the store to which an action applies: those of the bundle in its order, then those added
    /// since.
    #[must_use]
    pub fn resources(&self, action: u32) -> Vec<EntityRef> {
        let changes = self.changes.as_deref();
        let bundle = &self.loaded.bundle;
        let layer = bundle.actions().get(action as usize).and_then(|action| layers(bundle, action)?.first());
        let Some(layer) = layer else { return Vec::new() };
        let applies = |entity: u32| {
            let changed = changes.and_then(|changes| changes.entities.get(&entity));
            let class = match changed {
                Some(changed) if changed.classes.resource == UNCLASSED => changed.type_classes.resource,
                Some(changed) => changed.classes.resource,
                None => bundle.classes().get(entity as usize).map_or(0, |classes| classes.resource),
            };
            let mapped = bundle.maps().get(layer.resource_map as usize + class as usize);
            mapped.is_some_and(|&class| class != 0) && is_present(bundle, changes, entity)
        };
        let known = u32::try_from(bundle.entities().len()).unwrap_or(u32::MAX);
        let mut added: Vec<u32> = changes
            .into_iter()
            .flat_map(|changes| changes.entities.keys().copied())
            .filter(|&entity| entity >= known)
            .collect();
        added.sort_unstable();
        (0..known).chain(added).filter(|&entity| applies(entity)).map(EntityRef::known).collect()
    }

    /// Return for each resource, in order, whether policy allows a principal the action in one context, of which the
    /// state of the resource's market may be a part.
    #[must_use]
    pub fn entitlements(
        &self,
        action: u32,
        principal: EntityRef,
        resources: &[EntityRef],
        request: &OwnedRequest,
        market: Option<(&Shared, MarketSlot)>,
    ) -> Vec<bool> {
        let bundle = self.bundle();
        let record = bundle.actions().get(action as usize);
        let tables = record.and_then(|record| Some((slot_kinds(bundle, record)?, layers(bundle, record)?)));
        let Some((kinds, layers)) = tables else { return vec![false; resources.len()] };
        let foreign = |number| request.foreign_uid(number);
        let mut scratch = Scratch::default();
        let principal_class = self.classes(principal).principal;
        let mut numbers = request.view(principal, principal, kinds).numbers.to_vec();
        let mut allowed = |resource: EntityRef| {
            let classes = ClassPair { principal: principal_class, resource: self.classes(resource).resource };
            let mut view = request.view(principal, resource, kinds);
            if let Some((shared, slot)) = &market {
                slot.put(shared.market(self, resource, &foreign), &mut numbers);
                view.numbers = &numbers;
            }
            let walk = Walk { snapshot: self, action, layers, classes, request: &view, foreign: &foreign };
            walk.decide(&mut scratch, &mut EffectOnly) == Code::Allow
        };
        resources.iter().map(|&resource| allowed(resource)).collect()
    }
}
