//! What decisions ask about kills and markets, and what changes these.
//!
//! An entity is concerned by what is said of it, and of everything that it is in by the snapshot that decides.

use crate::kills::{KillError, KillRequest, ToStop, members};
use crate::shared::Shared;
use crate::snapshot::{LoadedBundle, Snapshot};
use ztfast_live::{
    Deed, FIRM, FOR_ALL, KILLS, Kill, Market, MarketState, Note, OwnedUid, Place, Released, Role, Scope, Stopped,
    SwitchError, Writer, uid_bit, uid_hash,
};
use ztfast_pages::{Forked, Reading};
use ztfast_vm::{EntityRef, Facts};

/// The name under which a kill switch without a name stands in the list of kills.
const SWITCH: &str = "kill_switch";

/// The most bytes of the names of actions in a note of a kill switch.
const MOST_SAID: usize = 200;

/// Returns the uid of an entity that only a request knows.
type ForeignUid<'a> = &'a dyn Fn(u32) -> Option<OwnedUid>;

/// Return the entity of a kill's scope, as a note has it.
fn of_scope(scope: Scope) -> Option<(String, String)> {
    match scope {
        Scope::Firm => None,
        Scope::Entity(ty, id) => Some((ty, id)),
    }
}

impl LoadedBundle {
    /// Return the bits of an entity and of everything that it is in, if the bundle knows the entity and no change
    /// concerns it.
    #[inline]
    fn switch_bits(&self, place: Place) -> Option<u64> {
        let (store, bits) = (self.bundle.store(), &*self.switch_keys.bits);
        let index = self.resolved_entity(place)?;
        let above = store.ancestors(store.entity(EntityRef::known(index))?)?;
        let mut all = 1 << bits.get(index as usize)?;
        for &index in above {
            all |= 1 << bits.get(index as usize)?;
        }
        Some(all)
    }
}

impl Snapshot {
    /// Return the bit of an entity.
    #[inline]
    fn switch_bit(&self, entity: EntityRef, foreign: ForeignUid<'_>) -> u64 {
        match self.loaded.switch_keys.bits.get(entity.index as usize) {
            Some(&number) if entity.foreign == 0 => 1 << number,
            _ => self.with_uid(entity, foreign, |ty, id| uid_bit(uid_hash(ty, id))).unwrap_or_default(),
        }
    }

    /// Return the bits of an entity and of everything that it is in.
    fn switch_bits(&self, entity: EntityRef, foreign: ForeignUid<'_>) -> u64 {
        let own = self.switch_bit(entity, foreign);
        self.above(entity, |above| above.iter().fold(own, |bits, &index| bits | self.known_bit(index)))
    }

    #[inline]
    fn known_bit(&self, index: u32) -> u64 {
        self.switch_bit(EntityRef::known(index), &|_| None)
    }

    /// Run `job` over everything that an entity is in.
    #[inline]
    fn above<T>(&self, entity: EntityRef, job: impl FnOnce(&[u32]) -> T) -> T {
        if entity.foreign != 0 {
            return job(&[]);
        }
        self.with_store(|store| job(store.ancestors_of(entity).unwrap_or_default()))
    }

    /// Run `job` over the uid of an entity.
    #[inline]
    fn with_uid<T>(&self, entity: EntityRef, foreign: ForeignUid<'_>, job: impl FnOnce(&str, &str) -> T) -> Option<T> {
        if entity.foreign != 0
            && let Some((ty, id)) = foreign(entity.foreign)
        {
            return Some(job(&ty, &id));
        }
        self.uid(entity).map(|uid| job(uid.ty, uid.id))
    }

    /// Run `job` over the uids of an entity and of everything that it is in, as far as they have one of these bits,
    /// until it returns true.
    fn any_above(
        &self,
        entity: EntityRef,
        bits: u64,
        foreign: ForeignUid<'_>,
        mut job: impl FnMut(&str, &str) -> bool,
    ) -> bool {
        if self.switch_bit(entity, foreign) & bits != 0 && self.with_uid(entity, foreign, &mut job).unwrap_or_default()
        {
            return true;
        }
        self.above(entity, |above| {
            let mut known = above.iter().filter(|&&index| self.known_bit(index) & bits != 0);
            known.any(|&index| self.with_uid(EntityRef::known(index), &|_| None, &mut job).unwrap_or_default())
        })
    }
}

impl Shared {
    /// Refuse to change switches where the engine may not. Return the time.
    fn check_switches(&self, what: &'static str) -> Result<Reading, KillError> {
        self.check_process()?;
        if self.role() == Role::Decide {
            return Err(KillError::Role(what));
        }
        // What is killed in a file that is gone is killed for nobody.
        self.sessions.check_file()?;
        Ok(self.sessions.state().reading())
    }

    /// Return whether a kill of the whole firm stops an action of a bundle at this time. Without an action, any is
    /// meant.
    #[inline]
    pub(crate) fn stops(&self, loaded: &LoadedBundle, action: Option<u32>, now_ns: i64) -> bool {
        self.switches.word() & FIRM != 0 && self.stops_firm(loaded, action, now_ns)
    }

    #[cold]
    fn stops_firm(&self, loaded: &LoadedBundle, action: Option<u32>, now_ns: i64) -> bool {
        let key = action.and_then(|action| loaded.switch_keys.actions.get(action as usize));
        self.switches.stop(FIRM, key, now_ns, |_| false)
    }

    /// Return whether anything is killed.
    #[inline]
    pub(crate) fn kills_some(&self) -> bool {
        self.switches.word() != 0
    }

    /// Return whether anything but the whole firm is killed.
    #[inline]
    pub(crate) fn stops_some(&self) -> bool {
        self.switches.word() & !FIRM != 0
    }

    /// Return whether a kill of an entity stops an action between these two at this time. `None` is an entity of which
    /// the bundle knows nothing.
    #[cold]
    pub(crate) fn stops_between(
        &self,
        snapshot: &Snapshot,
        action: Option<u32>,
        entities: [Option<EntityRef>; 2],
        foreign: ForeignUid<'_>,
        now_ns: i64,
    ) -> bool {
        let entities = || entities.into_iter().flatten();
        let of_entities = entities().fold(0, |bits, entity| bits | snapshot.switch_bits(entity, foreign));
        let bits = !FIRM & of_entities;
        if self.switches.word() & bits == 0 {
            return false;
        }
        let key = action.and_then(|action| snapshot.loaded.switch_keys.actions.get(action as usize));
        self.switches.stop(bits, key, now_ns, |scope| {
            entities().any(|entity| snapshot.any_above(entity, scope.bit(), foreign, |ty, id| scope.is(ty, id)))
        })
    }

    /// Return whether a kill of an entity stops an action between the entities of two places.
    #[cold]
    pub(crate) fn stops_between_places(
        &self,
        snapshot: &Snapshot,
        action: Option<u32>,
        places: [Place; 2],
        now_ns: i64,
    ) -> bool {
        if let [Some(principal), Some(resource)] = places.map(|place| snapshot.loaded.switch_bits(place))
            && self.switches.word() & !FIRM & (principal | resource) == 0
        {
            return false;
        }
        self.stops_between(snapshot, action, places.map(|place| snapshot.entity(place)), &|_| None, now_ns)
    }

    /// Return the severest of a resource's own market state and those of everything that it is in. `foreign` gives the
    /// uids of entities that only the request knows.
    pub(crate) fn market(&self, snapshot: &Snapshot, resource: EntityRef, foreign: ForeignUid<'_>) -> MarketState {
        let switches = &*self.switches;
        let mut severest = MarketState::Normal;
        let found = switches.at_one_moment(MarketState::Halted, || {
            severest = MarketState::Normal;
            let word = switches.market_word();
            // The word alone is of one moment.
            if word == 0 || word & snapshot.switch_bits(resource, foreign) == 0 {
                return Some(MarketState::Normal);
            }
            let is_halted = snapshot.any_above(resource, word, foreign, |ty, id| {
                severest = severest.max(switches.market(ty, id));
                severest == MarketState::Halted
            });
            is_halted.then_some(MarketState::Halted)
        });
        found.unwrap_or(severest)
    }

    /// Return whether the store has an entity, a policy names it, or anything of this state has a number for it. Then
    /// its name is hardly mistyped.
    ///
    /// # Errors
    /// [`Forked`].
    pub fn knows(&self, ty: &str, id: &str) -> Result<bool, Forked> {
        self.check_process()?;
        let snapshot = self.snapshot();
        let has_number = || self.registry().register.find(ty, id, &snapshot.loaded.uids).is_some();
        Ok(snapshot.find(ty, id).is_some() || has_number())
    }

    /// Return how many entities of the store are the entity with this uid, or in it, and are of the types of resources,
    /// or of principals too.
    ///
    /// # Errors
    /// [`Forked`].
    pub fn count_within(&self, ty: &str, id: &str, of_resources: bool) -> Result<usize, Forked> {
        self.check_process()?;
        let snapshot = self.snapshot();
        let Some(scope) = snapshot.find(ty, id) else { return Ok(0) };
        let bundle = snapshot.bundle();
        let name = |number: u32| bundle.string(number).unwrap_or_default();
        let meta = bundle.meta();
        let is_meant = |ty: &str| {
            meta.actions.iter().any(|action| {
                let is_principal = || action.principals.iter().any(|name| name == ty);
                action.resources.iter().any(|name| name == ty) || !of_resources && is_principal()
            })
        };
        let meant: Vec<bool> = bundle.types().iter().map(|ty| is_meant(name(ty.name))).collect();
        let is_counted = |&index: &u32| {
            let entity = EntityRef::known(index);
            let is_meant = snapshot.type_of(entity).and_then(|ty| meant.get(ty as usize)).is_some_and(|&meant| meant);
            let is_within = |facts: &Facts<'_>| index == scope.index || facts.ancestors.contains(&scope.index);
            is_meant && snapshot.with_entity(entity, |_, facts| is_within(facts).then_some(())).is_some()
        };
        Ok((0..snapshot.numbered()).filter(is_counted).count())
    }

    /// Return the severest of the market states of a uid and of everything that it is in now.
    ///
    /// # Errors
    /// [`KillError`].
    pub fn market_of(&self, ty: &str, id: &str) -> Result<MarketState, KillError> {
        self.check_readable()?;
        let snapshot = self.snapshot();
        Ok(match snapshot.find(ty, id) {
            Some(entity) => self.market(&snapshot, entity, &|_| None),
            None => self.switches.market(ty, id),
        })
    }

    /// List the markets that are not normal.
    ///
    /// # Errors
    /// [`KillError`].
    pub fn markets(&self) -> Result<Vec<Market>, KillError> {
        self.check_readable()?;
        Ok(self.switches.markets())
    }

    /// Set the own market state of a resource. Decisions that begin after this returns see it. Return when it was set,
    /// in nanoseconds since the epoch. Who does it and why is kept for some time if it had another state.
    ///
    /// # Errors
    /// [`KillError`]; nothing has changed then.
    pub fn set_market(&self, uid: (&str, &str), state: MarketState, by: &str, reason: &str) -> Result<i64, KillError> {
        let now = self.check_switches("set markets")?;
        let set = |writer: &Writer<'_>| writer.set_market(uid, state, by, reason, now.wall);
        // What changes nothing takes no note's place.
        if self.switches.change(now.monotonic, set)?? {
            let of = Some((uid.0.to_owned(), uid.1.to_owned()));
            let note = Note { by: by.to_owned(), reason: reason.to_owned(), since_ns: now.wall, of };
            self.sessions.keep(&note, Deed::Market(state), 0);
        }
        Ok(now.wall)
    }

    /// Refuse to read switches that are not those of new engines: a forked child's, and those of a file that is gone.
    fn check_readable(&self) -> Result<(), KillError> {
        self.check_process()?;
        Ok(self.sessions.check_file()?)
    }

    /// Return whether anything is killed.
    ///
    /// # Errors
    /// [`KillError`].
    pub fn is_killed(&self) -> Result<bool, KillError> {
        self.check_readable()?;
        Ok(self.switches.word() != 0 && !self.switches.kills(self.now_ns()).is_empty())
    }

    /// List the kills in force.
    ///
    /// # Errors
    /// [`KillError`].
    pub fn kills(&self) -> Result<Vec<Kill>, KillError> {
        self.check_readable()?;
        Ok(self.switches.kills(self.now_ns()))
    }

    /// Stop actions for those whom a kill concerns. Decisions that begin after this returns see it. A group of actions
    /// is stopped with the actions that are in it by the present bundle. Return the kill, and whether it was in force
    /// before.
    ///
    /// # Errors
    /// [`KillError`]; nothing has changed then.
    pub fn kill(&self, request: &KillRequest<'_>) -> Result<(Kill, bool), KillError> {
        let now = self.check_switches("kill")?;
        let kill = self.new_kill(request, &now, false)?;
        let made = self.switches.change(now.monotonic, |writer| writer.kill(&kill))??;
        let note = Note { by: kill.by, reason: kill.reason, since_ns: now.wall, of: of_scope(kill.scope) };
        self.sessions.keep(&note, Deed::Killed, made.id);
        let was_in_force = made.id != kill.id;
        Ok((made, was_in_force))
    }

    fn new_kill(&self, request: &KillRequest<'_>, now: &Reading, by_switch: bool) -> Result<Kill, KillError> {
        let actions = match request.actions {
            ToStop::Usual => Stopped::Usual,
            ToStop::Everything => Stopped::Everything,
            ToStop::Named(uids) => {
                let mut uids = uids.to_vec();
                uids.sort();
                uids.dedup();
                Stopped::Named(uids)
            }
        };
        // The end does not follow the wall clock: whoever can set that cannot end a kill.
        let until_ns = request.until_ns.map(|until| (until, until.saturating_sub(now.wall)));
        if until_ns.is_some_and(|(_, left)| left <= 0) {
            return Err(KillError::Over);
        }
        Ok(Kill {
            id: getrandom::u64()?,
            scope: request.scope.map_or(Scope::Firm, |(ty, id)| Scope::Entity(ty.to_owned(), id.to_owned())),
            members: members(self.snapshot().bundle(), &actions),
            actions,
            by: request.by.to_owned(),
            reason: request.reason.to_owned(),
            since_ns: now.wall,
            until_ns: until_ns.map(|(until, left)| (until, now.monotonic.saturating_add(left))),
            two_persons: request.two_persons,
            asked_by: None,
            by_switch,
        })
    }

    /// Release a kill by its id. If two persons must, the first call is a request, unless it says who approved it.
    ///
    /// # Errors
    /// [`KillError`]; nothing has changed then.
    pub fn release_kill(
        &self,
        id: u64,
        by: &str,
        reason: &str,
        approved_by: Option<&str>,
    ) -> Result<Released, KillError> {
        let now = self.check_switches("release kills")?;
        let note = self.sessions.note(by, reason)?;
        let approval = approved_by.map(|by| self.sessions.note(by, reason)).transpose()?;
        let (of, released) = self.switches.change(now.monotonic, |writer| {
            let kill = writer.kills().into_iter().find(|kill| kill.id == id);
            (kill.and_then(|kill| of_scope(kill.scope)), writer.release(id, by, approved_by))
        })?;
        let released = released?;
        let deed = if released == Released::Done { Deed::Released } else { Deed::ReleaseAsked };
        for (note, deed) in approval.map(|note| (note, Deed::ReleaseApproved)).into_iter().chain([(note, deed)]) {
            self.sessions.keep(&Note { of: of.clone(), ..note }, deed, id);
        }
        Ok(released)
    }

    /// Stop some actions for the whole firm, or let them go on. Lifting [`ToStop::Usual`] or [`ToStop::Everything`]
    /// lifts every stop made by this method; lifting [`ToStop::Named`] lifts the stops made under these names.
    ///
    /// # Errors
    /// [`KillError`]; nothing has changed then.
    pub fn kill_switch(&self, on: bool, what: ToStop<'_>) -> Result<(), KillError> {
        let now = self.check_switches("kill")?;
        let note = self.sessions.note(SWITCH, &switched(what))?;
        if !on {
            let is_meant = |kill: &Kill| match (what, &kill.actions) {
                (ToStop::Named(uids), Stopped::Named(own)) => own.iter().all(|own| uids.contains(own)),
                (ToStop::Named(_), _) => false,
                (ToStop::Usual | ToStop::Everything, _) => true,
            };
            let mut lifted = 0;
            self.switches.change(now.monotonic, |writer| {
                writer.drop_kills(|kill| {
                    let is_lifted = kill.by_switch && is_meant(kill);
                    lifted += usize::from(is_lifted);
                    is_lifted
                });
            })?;
            // What changes nothing takes no note's place.
            if lifted != 0 {
                self.sessions.keep(&note, Deed::Released, 0);
            }
            return Ok(());
        }
        // One kill for each name, so that each can be lifted.
        let one =
            |actions| KillRequest { scope: None, actions, by: SWITCH, reason: "", until_ns: None, two_persons: false };
        let requests = match what {
            ToStop::Named(uids) => uids.chunks(1).map(|uid| one(ToStop::Named(uid))).collect(),
            ToStop::Usual | ToStop::Everything => vec![one(what)],
        };
        let kills: Vec<_> =
            requests.iter().map(|request| self.new_kill(request, &now, true)).collect::<Result<_, KillError>>()?;
        let new = self.switches.change(now.monotonic, |writer| {
            let known = writer.kills();
            let is_new = |kill: &&Kill| !known.iter().any(|known| known.by_switch && known.actions == kill.actions);
            let new = kills.iter().filter(is_new).count();
            // All of them or none.
            if kills.len() > 1 && known.len() + new > KILLS - FOR_ALL {
                return Err(SwitchError::ManyKills);
            }
            kills.iter().try_for_each(|kill| writer.kill(kill).map(|_| ()))?;
            Ok(new)
        })??;
        if new != 0 {
            self.sessions.keep(&note, Deed::Killed, 0);
        }
        Ok(())
    }
}

/// Say which actions a kill switch stops or lets go on, as far as a note has room.
fn switched(what: ToStop<'_>) -> String {
    let uids = match what {
        ToStop::Usual => return String::new(),
        ToStop::Everything => return "all actions".to_owned(),
        ToStop::Named(uids) => uids,
    };
    let mut said = String::new();
    for (ty, id) in uids {
        let one = format!("{ty}::\"{id}\"");
        if said.len() + one.len() > MOST_SAID {
            said.push_str(if said.is_empty() { "..." } else { ", ..." });
            break;
        }
        if !said.is_empty() {
            said.push_str(", ");
        }
        said.push_str(&one);
    }
    said
}
