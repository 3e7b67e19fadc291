//! Handles: numbers for uids that outlive the bundle.
//!
//! Each bundle numbers its entities anew, so a caller cannot keep their numbers over a swap. A handle is the engine's
//! own number, and each snapshot knows the entity of every handle in its bundle. A handle is the uid's place in the
//! engine's tables, joined with a random key of the engine by XOR, so a handle of another engine leads to no place in
//! this one's.

use crate::numbers::{Handle, Place};
use crate::register::{MAX_UID, NoPlace, RegisterUse};
use crate::state::State;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use ztfast_pages::{Forked, Role};

/// The keys that convert places to handles and back. They cannot be guessed: a guessed handle of another engine is
/// valid in this one once in 2^63 / (handles given out) tries.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The key of the places that all processes of a state share; in private memory, of all places.
    shared: u64,
    /// The key of the other places. Two engines of one state may give one place to different uids.
    own: u64,
    /// The number of shared places; in private memory, the most there can be.
    count: usize,
}

impl Key {
    /// Create the keys of an engine over a state.
    ///
    /// # Errors
    /// The system gives no random number.
    pub fn new(state: &State) -> Result<Self, getrandom::Error> {
        let shared = state.key();
        if !state.is_shared() {
            return Ok(Self { shared, own: shared, count: usize::MAX });
        }
        Ok(Self { shared, own: getrandom::u64()? >> 1, count: state.capacity().uids })
    }

    /// Return the place of a handle. For a handle that is not this engine's, the place is outside of every table.
    #[inline(always)]
    #[must_use]
    #[allow(clippy::inline_always)] // batches need it for each row
    pub fn place(self, handle: Handle) -> Place {
        let shared = self.shared_place(handle);
        if shared.0 < self.count {
            return shared;
        }
        let own = usize::try_from(handle.0 ^ self.own).unwrap_or(usize::MAX);
        Place(if own < self.count { usize::MAX } else { own })
    }

    /// Return the place of a handle, if it is one that all processes share; else a place outside of every table.
    #[inline(always)]
    #[must_use]
    #[allow(clippy::inline_always)] // on the hot path
    pub fn shared_place(self, handle: Handle) -> Place {
        Place(usize::try_from(handle.0 ^ self.shared).unwrap_or(usize::MAX))
    }

    /// Return the handle of a place.
    #[must_use]
    pub const fn handle(self, place: Place) -> Handle {
        Handle(place.0 as u64 ^ if place.0 < self.count { self.shared } else { self.own })
    }
}

/// Why no handle could be given out.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum HandleError {
    /// All handles are in use.
    #[error("all {0} handles are in use; give the engine more (handles=...)")]
    Full(usize),
    /// The register that processes share is full.
    #[error(
        "the state's register of uids is full ({} of {} uids, {} of {} bytes of their texts), and nothing in it is \
         released: note its kills and markets, which go with it, end the processes of the state, remove its file, and \
         open it with more (handles=...)",
        .0.uids.0, .0.uids.1, .0.bytes.0, .0.bytes.1
    )]
    RegisterFull(RegisterUse),
    /// The register that processes share takes no uid so long.
    #[error(
        "the uid {beginning}... has {bytes} bytes, and in a state that processes share a uid has at most {MAX_UID}, \
         type and id together"
    )]
    TooLong {
        /// How the uid begins, escaped.
        beginning: String,
        /// How many bytes type and id have together.
        bytes: usize,
    },
    /// The engine belongs to another process.
    #[error(transparent)]
    Forked(#[from] Forked),
}

/// An entity's type and id.
pub type OwnedUid = (Box<str>, Box<str>);

/// The uids of all handles, by place, in one epoch. The table only grows, and is read without a lock. A place
/// whose principal was released is empty until another uid takes it.
///
/// Each release begins another epoch, with a table of handles of its own. So within one epoch a place belongs
/// to one uid only, and a decision under way over an older epoch, for a session that has just ended, still finds
/// the old uid there.
///
/// In a shared state, the places below [`Self::shared`] are those of its register, and never released; the others are
/// this process's own.
pub struct Uids {
    /// The number of the epoch, from 0.
    pub epoch: u64,
    state: Arc<State>,
    shared: usize,
    entries: boxcar::Vec<OnceLock<Arc<OwnedUid>>>,
    epochs: Arc<Epochs>,
}

/// The epoch in which each place got its uid. A decision over an older epoch uses this to tell that a place
/// was empty there, or belonged to another uid.
#[derive(Default)]
pub struct Epochs {
    newest: AtomicU64,
    since: boxcar::Vec<AtomicU64>,
    /// The last epoch in which the handle of a reused place was given out.
    given: AtomicU64,
}

impl Uids {
    /// Create the table of the first epoch, in which only the uids of a shared state's register have places.
    #[must_use]
    pub fn first(state: Arc<State>) -> Self {
        let shared = if state.is_shared() { state.capacity().uids } else { 0 };
        Self { epoch: 0, state, shared, entries: boxcar::Vec::new(), epochs: Arc::default() }
    }

    /// Return the number of places, with those of the register that are not given out yet.
    pub fn count(&self) -> usize {
        self.shared + self.entries.count()
    }

    /// Return the number of places that all processes of the state share.
    #[must_use]
    pub const fn shared(&self) -> usize {
        self.shared
    }

    /// Return the uid of a place, as type and id.
    #[must_use]
    pub fn get(&self, place: Place) -> Option<(&str, &str)> {
        match place.0.checked_sub(self.shared) {
            None => self.state.uids()?.get(place.0),
            Some(own) => self.entries.get(own)?.get().map(|uid| (&*uid.0, &*uid.1)),
        }
    }

    /// Return whether a place is this process's own, though processes share a register, where its uid may be given
    /// another one at any moment.
    #[inline]
    #[must_use]
    pub const fn is_provisional(&self, place: Place) -> bool {
        self.shared > 0 && place.0 >= self.shared
    }

    /// Return the place whose number stands for an entity that only its uid names: the register's, if that has the uid.
    #[must_use]
    pub fn numbered(&self, place: Place) -> Place {
        if !self.is_provisional(place) {
            return place;
        }
        let registered = self.get(place).and_then(|(ty, id)| self.state.uids()?.find(ty, id));
        registered.map_or(place, Place)
    }

    fn own(&self, place: Place) -> Option<&OnceLock<Arc<OwnedUid>>> {
        self.entries.get(place.0.checked_sub(self.shared)?)
    }

    /// Return whether a place has the same uid in this epoch as in the newest. The place must be that of a
    /// session's principal or of a handle now.
    #[inline]
    pub fn covers(&self, place: Place) -> bool {
        self.is_newest() || self.has_since(place)
    }

    /// Return whether this is the newest epoch.
    #[inline]
    pub fn is_newest(&self) -> bool {
        self.epochs.newest.load(Ordering::Acquire) == self.epoch
    }

    #[cold]
    fn has_since(&self, place: Place) -> bool {
        let Some(own) = place.0.checked_sub(self.shared) else { return true };
        self.epochs.since.get(own).is_some_and(|since| since.load(Ordering::Acquire) <= self.epoch)
    }

    /// Return whether each handle given out has the same uid in this epoch as in the newest, or none.
    #[inline]
    pub fn covers_handles(&self) -> bool {
        self.is_newest() || self.epochs.given.load(Ordering::Acquire) <= self.epoch
    }

    /// Return the bytes of the uids that `newest` does not share.
    pub fn bytes_beside(&self, newest: &Self) -> usize {
        let is_unshared = |(place, entry): &(usize, &OnceLock<Arc<OwnedUid>>)| {
            let (own, other) = (entry.get(), newest.entries.get(*place).and_then(OnceLock::get));
            own.is_some_and(|own| other.is_none_or(|other| !Arc::ptr_eq(own, other)))
        };
        self.entries.iter().filter(is_unshared).filter_map(|(_, entry)| entry.get()).map(size).sum()
    }

    /// Return the bytes of the uids.
    pub fn bytes(&self) -> usize {
        self.entries.iter().filter_map(|(_, entry)| entry.get()).map(size).sum()
    }

    /// Copy the uids of some places from an older table, except those of released places.
    pub fn copy_from(&self, old: &Self, places: Range<usize>, released: &HashSet<Place>) {
        for place in places.map(Place).skip_while(|place| place.0 < self.shared) {
            let entry = OnceLock::new();
            if let Some(uid) = old.own(place).and_then(OnceLock::get).filter(|_| !released.contains(&place)) {
                let _ = entry.set(uid.clone());
            }
            self.entries.push(entry);
        }
    }

    /// Copy the uid of a place that was empty when [`Self::copy_from`] passed it.
    pub fn copy_late(&self, old: &Self, place: Place) {
        if let Some((entry, uid)) = self.own(place).zip(old.own(place).and_then(OnceLock::get)) {
            let _ = entry.set(uid.clone());
        }
    }

    /// Create the empty table of the next epoch.
    #[must_use]
    pub fn next(&self) -> Self {
        let (state, epochs) = (self.state.clone(), self.epochs.clone());
        Self { epoch: self.epoch + 1, state, shared: self.shared, entries: boxcar::Vec::new(), epochs }
    }

    /// Make this the newest epoch.
    pub fn begin(&self) {
        self.epochs.newest.store(self.epoch, Ordering::Release);
    }
}

/// Return the bytes that a uid takes, with its entries in the tables.
fn size(uid: &Arc<OwnedUid>) -> usize {
    uid.0.len() + uid.1.len() + 16 * size_of::<usize>()
}

/// Say that a uid is too long for the register that processes share.
fn too_long(ty: &str, id: &str) -> HandleError {
    const SHOWN: usize = 60;
    let text = ty
        .chars()
        .chain("::".chars())
        .flat_map(char::escape_debug)
        .chain(['"'])
        .chain(id.chars().flat_map(char::escape_debug));
    HandleError::TooLong { beginning: text.take(SHOWN).collect(), bytes: ty.len() + id.len() }
}

/// The use for which a place is requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The principal of a session: the place is released once no session needs it.
    Session,
    /// A handle for a caller: the place is kept for the life of the engine.
    Handle,
}

/// Gives out places, and releases them.
pub struct Register {
    places: HashMap<Arc<OwnedUid>, Place>,
    /// The places of uids that are only principals of sessions.
    principals: HashSet<Place>,
    /// Released places. They are given out again only in the next epoch.
    released: HashSet<Place>,
    /// Places that belonged to other uids in older epochs.
    free: Vec<Place>,
    /// The reused places that were given out since the last release. A copy of the table made meanwhile may lack their
    /// uids.
    taken: Vec<Place>,
    capacity: usize,
}

impl Register {
    /// Create a register that gives out this many places at most.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            places: HashMap::new(),
            principals: HashSet::new(),
            released: HashSet::new(),
            free: Vec::new(),
            taken: Vec::new(),
            // A slot keeps an entity in 62 bits, because two bits hold flags.
            capacity: capacity.min((1 << 30) - 1),
        }
    }

    /// Return the place of a uid, if it has one.
    #[must_use]
    pub fn find(&self, ty: &str, id: &str, uids: &Uids) -> Option<Place> {
        let own = self.places.get(&(Box::from(ty), Box::from(id))).copied();
        own.or_else(|| uids.state.uids()?.find(ty, id).map(Place))
    }

    /// Return all places of a uid: this process's own, and that of the register, which may have been given later.
    pub fn places(&self, ty: &str, id: &str, uids: &Uids) -> impl Iterator<Item = Place> {
        let first = self.find(ty, id, uids);
        let registered = uids.state.uids().and_then(|shared| shared.find(ty, id)).map(Place);
        first.into_iter().chain(registered.filter(|place| Some(*place) != first))
    }

    /// Return whether the handle of a place was given out.
    pub fn is_given(&self, place: Place, uids: &Uids) -> bool {
        !self.principals.contains(&place) && uids.get(place).is_some() && !self.released.contains(&place)
    }

    /// Refuse uids that the register that processes share cannot all take, before one of them is given a place there
    /// that is never released. Another process may still take the last room before they are.
    ///
    /// # Errors
    /// [`HandleError`].
    pub fn check(&self, wanted: &[(&str, &str)], uids: &Uids) -> Result<(), HandleError> {
        let Some(shared) = uids.state.uids().filter(|_| uids.state.role() == Role::Authority) else { return Ok(()) };
        let mut new: Vec<(&str, &str)> = Vec::new();
        for &(ty, id) in wanted {
            if new.contains(&(ty, id)) || self.find(ty, id, uids).is_some() {
                continue;
            }
            if ty.len().saturating_add(id.len()) > MAX_UID {
                return Err(too_long(ty, id));
            }
            new.push((ty, id));
        }
        let used = shared.in_use();
        let bytes: usize = new.iter().map(|(ty, id)| ty.len() + id.len()).sum();
        let is_room = |(taken, most): (usize, usize), wanted: usize| taken + wanted <= most;
        if new.is_empty() || (is_room(used.uids, new.len()) && is_room(used.bytes, bytes)) {
            return Ok(());
        }
        Err(HandleError::RegisterFull(used))
    }

    /// Return the place of a uid, and whether it is new. A new uid is added to `uids`, which must be the newest.
    ///
    /// # Errors
    /// [`HandleError`].
    pub fn place(&mut self, ty: &str, id: &str, uids: &Uids, wanted: Wanted) -> Result<(Place, bool), HandleError> {
        let uid: OwnedUid = (ty.into(), id.into());
        let epochs = &*uids.epochs;
        if let Some(shared) = uids.state.uids() {
            // What this process named before keeps its number here.
            if let Some(&known) = self.places.get(&uid) {
                return Ok((known, false));
            }
            let place = match shared.register(ty, id) {
                Ok(place) => Some(Place(place)),
                Err(NoPlace::TooLong) => return Err(too_long(ty, id)),
                Err(NoPlace::Full) => return Err(HandleError::RegisterFull(shared.in_use())),
                // Who only decides gives a uid that is not there a place of its own.
                Err(NoPlace::ReadOnly) => None,
            };
            if let Some(place) = place {
                self.places.insert(Arc::new(uid), place);
                return Ok((place, true));
            }
        }
        if let Some(&known) = self.places.get(&uid) {
            if wanted == Wanted::Handle && self.principals.remove(&known) {
                let since =
                    epochs.since.get(known.0 - uids.shared).map_or(u64::MAX, |since| since.load(Ordering::Relaxed));
                epochs.given.fetch_max(since, Ordering::Release);
            }
            return Ok((known, false));
        }
        let uid = Arc::new(uid);
        let (fresh, epoch) = (uids.count(), uids.epoch);
        let most = uids.shared + self.capacity;
        // Handles take new places first: in older epochs these are empty.
        let place = match self.free.last() {
            Some(&free) if wanted == Wanted::Session || fresh >= most => free,
            _ if fresh < most => Place(fresh),
            _ => return Err(HandleError::Full(self.capacity)),
        };
        if place.0 == fresh {
            epochs.since.push(AtomicU64::new(epoch));
            uids.entries.push(OnceLock::from(uid.clone()));
        } else {
            self.free.pop();
            self.taken.push(place);
            if let (Some(since), Some(entry)) = (epochs.since.get(place.0 - uids.shared), uids.own(place)) {
                since.store(epoch, Ordering::Release);
                let _ = entry.set(uid.clone());
            }
            if wanted == Wanted::Handle {
                epochs.given.fetch_max(epoch, Ordering::Release);
            }
        }
        if wanted == Wanted::Session {
            self.principals.insert(place);
        }
        self.places.insert(uid, place);
        Ok((place, true))
    }

    /// Release the principals that no session needs; `needed` lists the places that sessions need. Return all places
    /// that are to be empty in the next epoch.
    pub fn release(&mut self, needed: &HashSet<Place>, uids: &Uids) -> HashSet<Place> {
        self.taken = Vec::new();
        let over: Vec<Place> = self.principals.iter().filter(|place| !needed.contains(place)).copied().collect();
        for place in over {
            self.principals.remove(&place);
            if let Some(uid) = uids.own(place).and_then(OnceLock::get) {
                self.places.remove(uid);
            }
            self.released.insert(place);
        }
        if self.places.len() < self.places.capacity() / 4 {
            self.places.shrink_to_fit();
            self.principals.shrink_to_fit();
        }
        self.released.clone()
    }

    /// Return the reused places that were given out since the last release.
    #[must_use]
    pub fn taken(&self) -> &[Place] {
        &self.taken
    }

    /// Let the released places be given out again, in an epoch in which they are empty.
    pub fn reuse(&mut self) {
        self.free.extend(self.released.drain());
        self.released = HashSet::new();
    }
}
