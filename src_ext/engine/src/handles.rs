//! Handles: numbers for uids that outlive the bundle.
//!
//! A bundle numbers its entities afresh, so a caller cannot keep its numbers over a swap. A handle is the engine's own
//! number; each snapshot knows what every handle is in its bundle.

use std::collections::HashMap;

/// A uid's number, good for the life of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Handle(pub u32);

/// No more handles are to be had.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("all {0} handles are in use; give the engine more (handles=...)")]
pub struct HandlesFull(pub usize);

/// An entity's type and id.
pub(crate) type OwnedUid = (Box<str>, Box<str>);

/// The uids of all handles, by number. Only grows, and is read without a lock.
pub(crate) type Uids = boxcar::Vec<OwnedUid>;

/// The uid of a handle.
pub(crate) fn uid(uids: &Uids, handle: Handle) -> Option<(&str, &str)> {
    uids.get(handle.0 as usize).map(|(ty, id)| (&**ty, &**id))
}

/// Gives out handles.
pub(crate) struct Register {
    numbers: HashMap<OwnedUid, u32>,
    capacity: usize,
}

impl Register {
    pub fn new(capacity: usize) -> Self {
        // Two bits of an entity's word say what became of the handle.
        Self { numbers: HashMap::new(), capacity: capacity.min((1 << 30) - 1) }
    }

    /// The handle of a uid, if it has one.
    pub fn find(&self, ty: &str, id: &str) -> Option<Handle> {
        self.numbers.get(&(Box::from(ty), Box::from(id))).copied().map(Handle)
    }

    /// The handle of a uid, and whether it is new. A new uid is pushed to `uids`.
    pub fn handle(&mut self, ty: &str, id: &str, uids: &Uids) -> Result<(Handle, bool), HandlesFull> {
        let uid: OwnedUid = (ty.into(), id.into());
        if let Some(&known) = self.numbers.get(&uid) {
            return Ok((Handle(known), false));
        }
        let fresh = self.numbers.len();
        let number = u32::try_from(fresh).ok().filter(|_| fresh < self.capacity).ok_or(HandlesFull(self.capacity))?;
        uids.push(uid.clone());
        self.numbers.insert(uid, number);
        Ok((Handle(number), true))
    }
}
