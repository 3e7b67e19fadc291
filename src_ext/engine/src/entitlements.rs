//! What one principal may do with every resource of the store.

use crate::changes::{UNCLASSED, is_present};
use crate::code::Code;
use crate::decide::{EffectOnly, Walk};
use crate::request::OwnedRequest;
use crate::snapshot::{Snapshot, layers, slot_kinds};
use ztfast_bundle::ClassPair;
use ztfast_vm::{EntityRef, Scratch};

impl Snapshot {
    /// The resources in the store to which an action applies: those of the bundle in its order, then those that were added
    /// since.
    #[must_use]
    pub fn resources(&self, action: u32) -> Vec<EntityRef> {
        let changes = self.changes.as_deref();
        let bundle = &self.base.bundle;
        let layer = bundle.actions().get(action as usize).and_then(|action| layers(bundle, action)?.first());
        let Some(layer) = layer else { return Vec::new() };
        let applies = |entity: u32| {
            let changed = changes.and_then(|changes| changes.entities.get(&entity));
            let class = match changed {
                Some(changed) if changed.classes.resource == UNCLASSED => changed.like.resource,
                Some(changed) => changed.classes.resource,
                None => bundle.classes().get(entity as usize).map_or(0, |classes| classes.resource),
            };
            let mapped = bundle.maps().get(layer.resource_map as usize + class as usize);
            mapped.is_some_and(|&class| class != 0) && is_present(&self.base, changes, entity)
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

    /// Whether policy allows a principal an action on each of these resources, in one context: in their order.
    #[must_use]
    pub fn entitlements(
        &self,
        action: u32,
        principal: EntityRef,
        resources: &[EntityRef],
        request: &OwnedRequest,
    ) -> Vec<bool> {
        let bundle = self.bundle();
        let record = bundle.actions().get(action as usize);
        let tables = record.and_then(|record| Some((slot_kinds(bundle, record)?, layers(bundle, record)?)));
        let Some((kinds, layers)) = tables else { return vec![false; resources.len()] };
        let foreign = |number| request.foreign_uid(number);
        let mut scratch = Scratch::default();
        let principal_class = self.classes(principal).principal;
        let mut allowed = |resource: EntityRef| {
            let classes = ClassPair { principal: principal_class, resource: self.classes(resource).resource };
            let view = request.view(principal, resource, kinds);
            let walk = Walk { snapshot: self, action, layers, classes, request: &view, foreign: &foreign };
            walk.decide(&mut scratch, &mut EffectOnly) == Code::Allow
        };
        resources.iter().map(|&resource| allowed(resource)).collect()
    }
}
