//! The kill switch. It stops all actions but those that the bundle exempts, all actions, or actions given by name.
//!
//! Stops are kept by uid, so they outlast swaps, also for actions that a bundle lacks, and for actions that a bundle
//! takes out of a stopped group. Each action of a bundle knows its own switch and those of the groups that it is or was
//! in, so a decision reads a few flags without a lock.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use ztfast_bundle::{ActionMeta, Bundle};
use ztfast_live::OwnedUid;
use ztfast_vm::EntityRef;

/// The actions to stop, or to let go on.
#[derive(Debug, Clone, Copy)]
pub enum Kill<'a> {
    /// All actions but those that the bundle exempts.
    Usual,
    /// All actions.
    Everything,
    /// These actions and groups of actions, by type and id, exempt or not.
    Actions(&'a [(String, String)]),
}

/// The switch of one action or group.
type Switch = Arc<AtomicBool>;

/// The switches of one action of a bundle.
pub(crate) struct Switches {
    exempt: bool,
    /// The action's own switch, those of its groups, and those of its memberships.
    switches: Box<[Switch]>,
}

/// All switches of an engine.
#[derive(Default)]
pub(crate) struct Kills {
    usual: AtomicBool,
    everything: AtomicBool,
    by_uid: Mutex<ByUid>,
}

#[derive(Default)]
struct ByUid {
    /// Switches of actions and groups.
    switches: HashMap<OwnedUid, Switch>,
    /// Switches by group and action. One is on if its action was in the group when the group was stopped, until the
    /// stop is lifted.
    members: HashMap<OwnedUid, HashMap<OwnedUid, Switch>>,
}

impl ByUid {
    /// Return the switches of an action that is in these groups.
    fn of(&mut self, action: &OwnedUid, groups: Vec<OwnedUid>) -> Box<[Switch]> {
        let mut own = vec![self.switches.entry(action.clone()).or_default().clone()];
        for group in groups {
            own.push(self.switches.entry(group.clone()).or_default().clone());
            self.members.entry(group).or_default().entry(action.clone()).or_default();
        }
        own.extend(self.members.values().filter_map(|members| members.get(action)).cloned());
        own.into()
    }

    fn all(&self) -> impl Iterator<Item = &Switch> {
        self.switches.values().chain(self.members.values().flat_map(HashMap::values))
    }
}

impl Kills {
    /// Return the switches of a bundle's actions, by number.
    pub fn of(&self, bundle: &Bundle) -> Box<[Switches]> {
        let mut by_uid = self.by_uid.lock().unwrap_or_else(PoisonError::into_inner);
        let exempt = bundle.meta().exempt.as_ref();
        let of_action = |action: &ActionMeta| {
            let uid = (action.ty.as_str().into(), action.id.as_str().into());
            let groups = groups(bundle, action);
            let is_exempt = |exempt: &(String, String)| {
                std::iter::once(&uid).chain(&groups).any(|(ty, id)| (&**ty, &**id) == (&*exempt.0, &*exempt.1))
            };
            Switches { exempt: exempt.is_some_and(is_exempt), switches: by_uid.of(&uid, groups) }
        };
        bundle.meta().actions.iter().map(of_action).collect()
    }

    /// Return whether an action is stopped.
    pub fn stop(&self, action: Option<&Switches>) -> bool {
        // An action that is not of this bundle is stopped as soon as anything is.
        let Some(action) = action else { return true };
        self.everything.load(Ordering::Acquire)
            || self.usual.load(Ordering::Acquire) && !action.exempt
            || action.switches.iter().any(|switch| switch.load(Ordering::Acquire))
    }

    /// Stop actions, or lift stops. A group is stopped with the actions that are in it by `bundle`. `publish` learns
    /// whether any switch is on, before the next call can change one.
    pub fn switch(&self, on: bool, what: Kill<'_>, bundle: &Bundle, publish: impl FnOnce(bool)) {
        let mut by_uid = self.by_uid.lock().unwrap_or_else(PoisonError::into_inner);
        match what {
            Kill::Actions(uids) => {
                let uids: Vec<OwnedUid> =
                    uids.iter().map(|(ty, id)| (ty.as_str().into(), id.as_str().into())).collect();
                for uid in &uids {
                    by_uid.switches.entry(uid.clone()).or_default().store(on, Ordering::Release);
                    let members = by_uid.members.get(uid).into_iter().flat_map(HashMap::values);
                    members.filter(|_| !on).for_each(|switch| switch.store(false, Ordering::Release));
                }
                for action in bundle.meta().actions.iter().filter(|_| on) {
                    let uid = (action.ty.as_str().into(), action.id.as_str().into());
                    for group in groups(bundle, action).iter().filter(|group| uids.contains(group)) {
                        if let Some(switch) = by_uid.members.get(group).and_then(|members| members.get(&uid)) {
                            switch.store(true, Ordering::Release);
                        }
                    }
                }
            }
            Kill::Usual if on => self.usual.store(true, Ordering::Release),
            Kill::Everything if on => self.everything.store(true, Ordering::Release),
            Kill::Usual | Kill::Everything => {
                self.usual.store(false, Ordering::Release);
                self.everything.store(false, Ordering::Release);
                by_uid.all().for_each(|switch| switch.store(false, Ordering::Release));
            }
        }
        let general = self.usual.load(Ordering::Acquire) || self.everything.load(Ordering::Acquire);
        publish(general || by_uid.all().any(|switch| switch.load(Ordering::Acquire)));
    }
}

/// Return the uids of the groups that an action is in, directly or not.
fn groups(bundle: &Bundle, action: &ActionMeta) -> Vec<OwnedUid> {
    let name = |number: u32| bundle.string(number).unwrap_or_default();
    let number = (0_u32..).zip(bundle.types()).find(|(_, record)| name(record.name) == action.ty);
    let entity = number.and_then(|(number, _)| bundle.find_entity(number, &action.id));
    let store = bundle.store();
    let facts = entity.and_then(|entity: EntityRef| store.facts(entity));
    let uid = |&index: &u32| {
        let record = bundle.entities().get(index as usize)?;
        let ty = bundle.types().get(record.ty as usize)?;
        Some((name(ty.name).into(), name(record.id).into()))
    };
    facts.map_or_else(Vec::new, |facts| facts.ancestors.iter().filter_map(uid).collect())
}
