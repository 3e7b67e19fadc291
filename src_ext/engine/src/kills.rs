//! What the kill switch stops: everything but the actions that the bundle names for it, or the actions that are named.
//!
//! What is stopped is kept by uid, so it holds over every swap, also for actions that a bundle lacks. A bundle's actions know
//! their own switches and those of the groups that they are in, so deciding looks at a few flags, without a lock.

use crate::handles::OwnedUid;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use ztfast_bundle::Bundle;
use ztfast_program::EntityRef;

/// What is to be stopped, or no longer.
#[derive(Debug, Clone, Copy)]
pub enum Kill<'a> {
    /// Everything but the actions that the bundle exempts.
    Usual,
    /// Everything.
    Everything,
    /// These actions and groups of actions, by type and id, exempt or not.
    Actions(&'a [(String, String)]),
}

/// On or off, of one action or group.
type Switch = Arc<AtomicBool>;

/// The switches of one action of a bundle.
pub(crate) struct Switches {
    exempt: bool,
    /// Its own, and those of the groups that it is in.
    own: Box<[Switch]>,
}

/// All switches of an engine.
#[derive(Default)]
pub(crate) struct Kills {
    usual: AtomicBool,
    everything: AtomicBool,
    by_uid: Mutex<HashMap<OwnedUid, Switch>>,
}

impl Kills {
    /// The switches of a bundle's actions, by number.
    pub fn of(&self, bundle: &Bundle) -> Box<[Switches]> {
        let mut by_uid = self.by_uid.lock().unwrap_or_else(PoisonError::into_inner);
        let exempt = bundle.meta().exempt.as_ref();
        let of_action = |action: &ztfast_bundle::ActionMeta| {
            let mut uids = vec![(action.ty.clone(), action.id.clone())];
            uids.extend(groups(bundle, &action.ty, &action.id));
            Switches {
                exempt: exempt.is_some_and(|exempt| uids.contains(exempt)),
                own: uids
                    .into_iter()
                    .map(|(ty, id)| by_uid.entry((ty.into(), id.into())).or_default().clone())
                    .collect(),
            }
        };
        bundle.meta().actions.iter().map(of_action).collect()
    }

    /// Whether an action is stopped.
    pub fn stop(&self, action: Option<&Switches>) -> bool {
        // What is not of this bundle is stopped with everything else.
        let Some(action) = action else { return true };
        self.everything.load(Ordering::Acquire)
            || self.usual.load(Ordering::Acquire) && !action.exempt
            || action.own.iter().any(|switch| switch.load(Ordering::Acquire))
    }

    /// Throw a switch; `publish` is told whether any is on, before the next can be thrown.
    pub fn switch(&self, on: bool, what: Kill<'_>, publish: impl FnOnce(bool)) {
        let mut by_uid = self.by_uid.lock().unwrap_or_else(PoisonError::into_inner);
        match what {
            Kill::Actions(uids) => {
                for (ty, id) in uids {
                    let switch = by_uid.entry((ty.as_str().into(), id.as_str().into())).or_default();
                    switch.store(on, Ordering::Release);
                }
            }
            Kill::Usual if on => self.usual.store(true, Ordering::Release),
            Kill::Everything if on => self.everything.store(true, Ordering::Release),
            Kill::Usual | Kill::Everything => {
                self.usual.store(false, Ordering::Release);
                self.everything.store(false, Ordering::Release);
                by_uid.values().for_each(|switch| switch.store(false, Ordering::Release));
            }
        }
        let general = self.usual.load(Ordering::Acquire) || self.everything.load(Ordering::Acquire);
        publish(general || by_uid.values().any(|switch| switch.load(Ordering::Acquire)));
    }
}

/// The uids of the groups that an action is in, directly or not.
fn groups(bundle: &Bundle, ty: &str, id: &str) -> Vec<(String, String)> {
    let name = |number: u32| bundle.string(number).unwrap_or_default();
    let number = (0_u32..).zip(bundle.types()).find(|(_, record)| name(record.name) == ty).map(|(number, _)| number);
    let entity = number.and_then(|number| bundle.find_entity(number, id));
    let store = bundle.store();
    let facts = entity.and_then(|entity: EntityRef| store.facts(entity));
    let uid = |&index: &u32| {
        let record = bundle.entities().get(index as usize)?;
        let ty = bundle.types().get(record.ty as usize)?;
        Some((name(ty.name).to_owned(), name(record.id).to_owned()))
    };
    facts.map_or_else(Vec::new, |facts| facts.ancestors.iter().filter_map(uid).collect())
}
