//! Handles: numbers for uids that outlive the bundle.
//!
//! A bundle numbers its entities afresh, so a caller cannot keep its numbers over a swap. A handle is the engine's own
//! number; each snapshot knows what every handle is in its bundle. It is the uid's place in the engine's tables, joined with
//! a random key of the engine: a handle of another engine leads to no place in this one's.

use crate::process::Forked;
use std::collections::HashMap;

/// A uid's number, good for the life of the engine, and for no other engine. The top bit is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Handle(pub u64);

/// A handle's place in the engine's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub(crate) struct Place(pub usize);

/// What makes handles of places, and places of handles.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key(u64);

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
pub(crate) type OwnedUid = (Box<str>, Box<str>);

/// The uids of all handles, by place. Only grows, and is read without a lock.
pub(crate) type Uids = boxcar::Vec<OwnedUid>;

/// The uid at a place.
pub(crate) fn uid(uids: &Uids, place: Place) -> Option<(&str, &str)> {
    uids.get(place.0).map(|(ty, id)| (&**ty, &**id))
}

/// Gives out places.
pub(crate) struct Register {
    places: HashMap<OwnedUid, Place>,
    capacity: usize,
}

impl Register {
    pub fn new(capacity: usize) -> Self {
        // Two bits of an entity's word say what became of the handle.
        Self { places: HashMap::new(), capacity: capacity.min((1 << 30) - 1) }
    }

    /// The place of a uid, if it has one.
    pub fn find(&self, ty: &str, id: &str) -> Option<Place> {
        self.places.get(&(Box::from(ty), Box::from(id))).copied()
    }

    /// The place of a uid, and whether it is new. A new uid is pushed to `uids`.
    pub fn place(&mut self, ty: &str, id: &str, uids: &Uids) -> Result<(Place, bool), HandleError> {
        let uid: OwnedUid = (ty.into(), id.into());
        if let Some(&known) = self.places.get(&uid) {
            return Ok((known, false));
        }
        let fresh = Place(self.places.len());
        if fresh.0 >= self.capacity {
            return Err(HandleError::Full(self.capacity));
        }
        uids.push(uid.clone());
        self.places.insert(uid, fresh);
        Ok((fresh, true))
    }
}
