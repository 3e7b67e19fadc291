//! Handles: numbers for uids that outlive the bundle.
//!
//! Each bundle numbers its entities anew, so a caller cannot keep their numbers over a swap. A handle is the engine's
//! own number, and each snapshot knows the entity of every handle in its bundle. A handle is the uid's place in the
//! engine's tables, joined with a random key of the engine by XOR, so a handle of another engine leads to no place in
//! this one's.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use ztfast_pages::Forked;

/// A number for a uid, valid for the life of the engine, and in no other engine. The top bit is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Handle(pub u64);

/// A handle's index in the engine's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Place(pub usize);

/// The key that converts places to handles and back.
#[derive(Debug, Clone, Copy)]
pub struct Key(u64);

impl Key {
    /// Create a key that cannot be guessed: a guessed handle of another engine is valid in this one once in 2^63 /
    /// (handles given out) tries.
    ///
    /// # Errors
    /// The system gives no random number.
    pub fn random() -> Result<Self, getrandom::Error> {
        Ok(Self(getrandom::u64()? >> 1))
    }

    /// Return the place of a handle. For a handle that is not this engine's, the place is outside of every table.
    #[inline(always)]
    #[must_use]
    #[allow(clippy::inline_always)] // on the hot path
    pub fn place(self, handle: Handle) -> Place {
        Place(usize::try_from(handle.0 ^ self.0).unwrap_or(usize::MAX))
    }

    /// Return the handle of a place.
    #[must_use]
    pub const fn handle(self, place: Place) -> Handle {
        Handle(place.0 as u64 ^ self.0)
    }
}

/// Why no handle could be given out.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum HandleError {
    /// All handles are in use.
    #[error("all {0} handles are in use; give the engine more (handles=...)")]
    Full(usize),
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
pub struct Uids {
    /// The number of the epoch, from 0.
    pub epoch: u64,
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
    /// Create the empty table of the first epoch.
    #[must_use]
    pub fn first() -> Self {
        Self { epoch: 0, entries: boxcar::Vec::new(), epochs: Arc::default() }
    }

    /// Return the number of places.
    pub fn count(&self) -> usize {
        self.entries.count()
    }

    /// Return the uid of a place.
    #[must_use]
    pub fn get(&self, place: Place) -> Option<&Arc<OwnedUid>> {
        self.entries.get(place.0)?.get()
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
        self.epochs.since.get(place.0).is_some_and(|since| since.load(Ordering::Acquire) <= self.epoch)
    }

    /// Return whether each handle given out has the same uid in this epoch as in the newest, or none.
    #[inline]
    pub fn covers_handles(&self) -> bool {
        self.is_newest() || self.epochs.given.load(Ordering::Acquire) <= self.epoch
    }

    /// Return the bytes of the uids that `newest` does not share.
    pub fn bytes_beside(&self, newest: &Self) -> usize {
        let is_unshared = |(place, entry): &(usize, &OnceLock<Arc<OwnedUid>>)| {
            let (own, other) = (entry.get(), newest.get(Place(*place)));
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
        for place in places.map(Place) {
            let entry = OnceLock::new();
            if let Some(uid) = old.get(place).filter(|_| !released.contains(&place)) {
                let _ = entry.set(uid.clone());
            }
            self.entries.push(entry);
        }
    }

    /// Copy the uid of a place that was empty when [`Self::copy_from`] passed it.
    pub fn copy_late(&self, old: &Self, place: Place) {
        if let Some((entry, uid)) = self.entries.get(place.0).zip(old.get(place)) {
            let _ = entry.set(uid.clone());
        }
    }

    /// Create the empty table of the next epoch.
    #[must_use]
    pub fn next(&self) -> Self {
        Self { epoch: self.epoch + 1, entries: boxcar::Vec::new(), epochs: self.epochs.clone() }
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

/// Return the uid of a place, as type and id.
pub fn uid(uids: &Uids, place: Place) -> Option<(&str, &str)> {
    uids.get(place).map(|uid| (&*uid.0, &*uid.1))
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
    pub fn find(&self, ty: &str, id: &str) -> Option<Place> {
        self.places.get(&(Box::from(ty), Box::from(id))).copied()
    }

    /// Return whether the handle of a place was given out.
    pub fn is_given(&self, place: Place, uids: &Uids) -> bool {
        !self.principals.contains(&place) && uids.get(place).is_some() && !self.released.contains(&place)
    }

    /// Return the place of a uid, and whether it is new. A new uid is added to `uids`, which must be the newest.
    ///
    /// # Errors
    /// [`HandleError::Full`].
    pub fn place(&mut self, ty: &str, id: &str, uids: &Uids, wanted: Wanted) -> Result<(Place, bool), HandleError> {
        let uid: OwnedUid = (ty.into(), id.into());
        let epochs = &*uids.epochs;
        if let Some(&known) = self.places.get(&uid) {
            if wanted == Wanted::Handle && self.principals.remove(&known) {
                let since = epochs.since.get(known.0).map_or(u64::MAX, |since| since.load(Ordering::Relaxed));
                epochs.given.fetch_max(since, Ordering::Release);
            }
            return Ok((known, false));
        }
        let uid = Arc::new(uid);
        let (fresh, epoch) = (uids.count(), uids.epoch);
        // Handles take new places first: in older epochs these are empty.
        let place = match self.free.last() {
            Some(&free) if wanted == Wanted::Session || fresh >= self.capacity => free,
            _ if fresh < self.capacity => Place(fresh),
            _ => return Err(HandleError::Full(self.capacity)),
        };
        if place.0 == fresh {
            epochs.since.push(AtomicU64::new(epoch));
            uids.entries.push(OnceLock::from(uid.clone()));
        } else {
            self.free.pop();
            self.taken.push(place);
            if let (Some(since), Some(entry)) = (epochs.since.get(place.0), uids.entries.get(place.0)) {
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
            if let Some(uid) = uids.get(place) {
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
