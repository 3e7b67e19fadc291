//! What is asked of kill switches, and what a bundle keeps to ask about kills and market states.
//!
//! `ztfast_live` keeps them by uid, so they outlast swaps, and hold for actions and entities that a bundle lacks. Each
//! loaded bundle keeps the hashes of its actions and their groups, and for each entity the number of the bit that
//! stands for it in the words of [`ztfast_live::Switches`]. So a decision that no kill concerns reads no text.

use ztfast_bundle::{ActionMeta, Bundle};
use ztfast_live::{ActionKey, OwnedUid, StateGone, Stopped, SwitchError, bit_number, id_hash, type_hash, uid_hash};
use ztfast_pages::Forked;
use ztfast_vm::EntityRef;

/// The actions to stop, or to let go on.
#[derive(Debug, Clone, Copy)]
pub enum ToStop<'a> {
    /// All actions but those that the bundle exempts.
    Usual,
    /// All actions.
    Everything,
    /// These actions and groups of actions, by type and id, exempt or not.
    Named(&'a [(String, String)]),
}

/// A kill to make.
#[derive(Debug, Clone, Copy)]
pub struct KillRequest<'a> {
    /// Whom it concerns: an entity by type and id, or everyone.
    pub scope: Option<(&'a str, &'a str)>,
    /// What it stops.
    pub actions: ToStop<'a>,
    /// Who makes it.
    pub by: &'a str,
    /// Why.
    pub reason: &'a str,
    /// Its end, in nanoseconds since the epoch; `None` for none.
    pub until_ns: Option<i64>,
    /// Whether two persons must release it.
    pub two_persons: bool,
}

/// Why a switch was not changed.
#[derive(Debug, thiserror::Error)]
pub enum KillError {
    /// The engine belongs to another process.
    #[error(transparent)]
    Forked(#[from] Forked),
    /// The state's file is gone.
    #[error(transparent)]
    Gone(#[from] StateGone),
    /// The engine only decides.
    #[error("this engine was opened with role='decide', which may not {0}: let an authority do it")]
    Role(&'static str),
    /// The system refused the lock that writers of switches hold.
    #[error("the state's file of owners cannot be locked: {0}")]
    Lock(#[from] std::io::Error),
    /// The switches refuse it.
    #[error(transparent)]
    Refused(#[from] SwitchError),
    /// The system gave no random numbers.
    #[error("the system gives no random numbers, without which a kill has no id: {0}")]
    NoRandomness(#[from] getrandom::Error),
    /// The end is over.
    #[error("the end of the kill is over already")]
    Over,
}

/// What decisions need of a bundle to ask about kills and markets.
pub(crate) struct SwitchKeys {
    /// The actions, by number.
    pub actions: Box<[ActionKey]>,
    /// The number of each entity's bit.
    pub bits: Box<[u8]>,
}

impl SwitchKeys {
    pub fn of(bundle: &Bundle) -> Self {
        let exempt = bundle.meta().exempt.as_ref().map(|(ty, id)| uid_hash(ty, id));
        let key = |action: &ActionMeta| {
            let own = uid_hash(&action.ty, &action.id);
            let groups: Box<[u64]> = groups(bundle, action).iter().map(|(ty, id)| uid_hash(ty, id)).collect();
            let is_exempt = exempt.is_some_and(|exempt| exempt == own || groups.contains(&exempt));
            ActionKey { exempt: is_exempt, own, groups }
        };
        let text = |number| bundle.string(number).unwrap_or_default();
        let types: Vec<u64> = bundle.types().iter().map(|ty| type_hash(text(ty.name))).collect();
        let bits = bundle.entities().iter().map(|entity| {
            let ty = types.get(entity.ty as usize).copied().unwrap_or_default();
            bit_number(id_hash(ty, text(entity.id)))
        });
        Self { actions: bundle.meta().actions.iter().map(key).collect(), bits: bits.collect() }
    }
}

/// Return the hashes of a bundle's actions that are in groups that a kill names.
pub(crate) fn members(bundle: &Bundle, actions: &Stopped) -> Vec<u64> {
    let Stopped::Named(uids) = actions else { return Vec::new() };
    let is_in = |action: &&ActionMeta| {
        groups(bundle, action).iter().any(|(ty, id)| uids.iter().any(|uid| (&*uid.0, &*uid.1) == (&**ty, &**id)))
    };
    bundle.meta().actions.iter().filter(is_in).map(|action| uid_hash(&action.ty, &action.id)).collect()
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
