//! Handles: numbers for uids that outlive the bundle.
//!
//! A bundle numbers its entities afresh, so a caller cannot keep its numbers over a swap. A handle is the engine's own
//! number; each snapshot knows what every handle is in its bundle. It is the uid's place in the engine's tables, joined with
//! a random key of the engine: a handle of another engine leads to no place in this one's.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use ztfast_pages::Forked;

/// A uid's number, good for the life of the engine, and for no other engine. The top bit is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Handle(pub u64);

/// A handle's place in the engine's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Place(pub usize);

/// What makes handles of places, and places of handles.
#[derive(Debug, Clone, Copy)]
pub struct Key(u64);

impl Key {
    /// A key that nobody can guess: handles of two engines meet once in 2^63 / (handles given out) tries.
    pub fn random() -> Result<Self, getrandom::Error> {
        Ok(Self(getrandom::u64()? >> 1))
    }

    /// The place that a handle names, if it is one of this engine's; else a place that no table has.
    #[inline(always)]
    #[allow(clippy::inline_always)] // on the hot path
    pub fn place(self, handle: Handle) -> Place {
        Place(usize::try_from(handle.0 ^ self.0).unwrap_or(usize::MAX))
    }

    /// The handle of a place.
    pub const fn handle(self, place: Place) -> Handle {
        Handle(place.0 as u64 ^ self.0)
    }
}

/// Why there is no handle to be had.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum HandleError {
    /// No more are to be had.
    #[error("all {0} handles are in use; give the engine more (handles=...)")]
    Full(usize),
    /// The engine is another process's.
    #[error(transparent)]
    Forked(#[from] Forked),
}

/// An entity's type and id.
pub type OwnedUid = (Box<str>, Box<str>);

/// The uids of all handles, by place: those of one generation. Only grows, and is read without a lock. Where a principal was
/// released, the place is empty until another uid takes it.
///
/// Each release begins another generation, over a table of handles of its own. So within one generation a place is one uid's
/// only, and a decision under way over an older one, for a session that has just ended, finds what it always found there.
pub struct Uids {
    /// How many came before.
    pub generation: u64,
    entries: boxcar::Vec<OnceLock<Arc<OwnedUid>>>,
    turns: Arc<Turns>,
}

/// Since which generation each place is what it is now. For those who decide over an older one: what was admitted or given out
/// since then is nothing there, or another's.
#[derive(Default)]
pub struct Turns {
    newest: AtomicU64,
    since: boxcar::Vec<AtomicU64>,
    /// The last of the generations of which a place that had been another's was given out.
    given: AtomicU64,
}

impl Uids {
    /// A table of the first generation, empty.
    #[must_use]
    pub fn new() -> Self {
        Self { generation: 0, entries: boxcar::Vec::new(), turns: Arc::default() }
    }

    /// How many places there are.
    pub fn count(&self) -> usize {
        self.entries.count()
    }

    /// The uid at a place.
    #[must_use]
    pub fn get(&self, place: Place) -> Option<&Arc<OwnedUid>> {
        self.entries.get(place.0)?.get()
    }

    /// What a place means here, it means now. For a place that is a session's principal or a handle now.
    #[inline]
    pub fn covers(&self, place: Place) -> bool {
        self.is_newest() || self.has_since(place)
    }

    /// Whether it is that of the newest generation.
    #[inline]
    pub fn is_newest(&self) -> bool {
        self.turns.newest.load(Ordering::Acquire) == self.generation
    }

    #[cold]
    fn has_since(&self, place: Place) -> bool {
        self.turns.since.get(place.0).is_some_and(|since| since.load(Ordering::Acquire) <= self.generation)
    }

    /// Whether all handles that were given out mean here what they mean now, or nothing.
    #[inline]
    pub fn covers_handles(&self) -> bool {
        self.is_newest() || self.turns.given.load(Ordering::Acquire) <= self.generation
    }

    /// What is kept for nobody but this table.
    pub fn bytes_beside(&self, newest: &Self) -> usize {
        let is_own = |(place, entry): &(usize, &OnceLock<Arc<OwnedUid>>)| {
            let (own, other) = (entry.get(), newest.get(Place(*place)));
            own.is_some_and(|own| other.is_none_or(|other| !Arc::ptr_eq(own, other)))
        };
        self.entries.iter().filter(is_own).filter_map(|(_, entry)| entry.get()).map(size).sum()
    }

    /// What it keeps.
    pub fn bytes(&self) -> usize {
        self.entries.iter().filter_map(|(_, entry)| entry.get()).map(size).sum()
    }

    /// Take over the uids of some places, but for those that are released.
    pub fn take_over(&self, old: &Self, places: Range<usize>, released: &HashSet<Place>) {
        for place in places.map(Place) {
            let entry = OnceLock::new();
            if let Some(uid) = old.get(place).filter(|_| !released.contains(&place)) {
                let _ = entry.set(uid.clone());
            }
            self.entries.push(entry);
        }
    }

    /// Take over the uid of a place that was passed by, since it was empty then.
    pub fn take_late(&self, old: &Self, place: Place) {
        if let Some((entry, uid)) = self.entries.get(place.0).zip(old.get(place)) {
            let _ = entry.set(uid.clone());
        }
    }

    /// The table of the next generation, empty.
    pub fn next(&self) -> Self {
        Self { generation: self.generation + 1, entries: boxcar::Vec::new(), turns: self.turns.clone() }
    }

    /// From now on it is the newest.
    pub fn begin(&self) {
        self.turns.newest.store(self.generation, Ordering::Release);
    }
}

/// What a uid takes, with its places in the tables.
fn size(uid: &Arc<OwnedUid>) -> usize {
    uid.0.len() + uid.1.len() + 16 * size_of::<usize>()
}

/// The uid at a place.
pub fn uid(uids: &Uids, place: Place) -> Option<(&str, &str)> {
    uids.get(place).map(|uid| (&*uid.0, &*uid.1))
}

/// What a place is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A session's principal: it may be released when no session needs it.
    Session,
    /// A handle that somebody has: it is kept for good.
    Good,
}

/// Gives out places.
pub struct Register {
    places: HashMap<Arc<OwnedUid>, Place>,
    /// The places of uids that are only principals of sessions.
    principals: HashSet<Place>,
    /// Places that nobody can get any more, and that are no generation's yet.
    released: HashSet<Place>,
    /// Places that were another's in an older generation.
    free: Vec<Place>,
    /// Those of them that were taken since the last release: whoever takes over uids meanwhile has passed them by.
    taken: Vec<Place>,
    capacity: usize,
}

impl Register {
    /// A register that gives out this many places at most.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            places: HashMap::new(),
            principals: HashSet::new(),
            released: HashSet::new(),
            free: Vec::new(),
            taken: Vec::new(),
            // Two bits of an entity's word say what became of the handle.
            capacity: capacity.min((1 << 30) - 1),
        }
    }

    /// The place of a uid, if it has one.
    pub fn find(&self, ty: &str, id: &str) -> Option<Place> {
        self.places.get(&(Box::from(ty), Box::from(id))).copied()
    }

    /// Whether somebody was given the handle of a place.
    pub fn is_given(&self, place: Place, uids: &Uids) -> bool {
        !self.principals.contains(&place) && uids.get(place).is_some() && !self.released.contains(&place)
    }

    /// The place of a uid, and whether it is new. A new uid is noted in `uids`, which are the newest.
    pub fn place(&mut self, ty: &str, id: &str, uids: &Uids, what_for: Wanted) -> Result<(Place, bool), HandleError> {
        let uid: OwnedUid = (ty.into(), id.into());
        let turns = &*uids.turns;
        if let Some(&known) = self.places.get(&uid) {
            if what_for == Wanted::Good && self.principals.remove(&known) {
                let since = turns.since.get(known.0).map_or(u64::MAX, |since| since.load(Ordering::Relaxed));
                turns.given.fetch_max(since, Ordering::Release);
            }
            return Ok((known, false));
        }
        let uid = Arc::new(uid);
        let (fresh, generation) = (uids.count(), uids.generation);
        // Handles rather take places that were nobody's: those are nothing else in any generation.
        let place = match self.free.last() {
            Some(&free) if what_for == Wanted::Session || fresh >= self.capacity => free,
            _ if fresh < self.capacity => Place(fresh),
            _ => return Err(HandleError::Full(self.capacity)),
        };
        if place.0 == fresh {
            turns.since.push(AtomicU64::new(generation));
            uids.entries.push(OnceLock::from(uid.clone()));
        } else {
            self.free.pop();
            self.taken.push(place);
            if let (Some(since), Some(entry)) = (turns.since.get(place.0), uids.entries.get(place.0)) {
                since.store(generation, Ordering::Release);
                let _ = entry.set(uid.clone());
            }
            if what_for == Wanted::Good {
                turns.given.fetch_max(generation, Ordering::Release);
            }
        }
        if what_for == Wanted::Session {
            self.principals.insert(place);
        }
        self.places.insert(uid, place);
        Ok((place, true))
    }

    /// Let go of the principals that no session needs, given those that some needs: nobody gets their places any more. All
    /// places that the next generation shall have without a uid.
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

    /// Places that were another's, and were taken since the last release.
    pub fn taken(&self) -> &[Place] {
        &self.taken
    }

    /// A generation begins in which these places are empty.
    pub fn reuse(&mut self) {
        self.free.extend(self.released.drain());
        self.released = HashSet::new();
    }
}
