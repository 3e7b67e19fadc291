//! What is known about a session, and what decisions and lists read of it.

use crate::numbers::Place;
use crate::proof::{Proof, Scale};
use crate::slot::{Grounds, LiveFields, MAX_GROUNDS, SessionId, SessionStatus};

/// What is known about a session besides its principal and its bounds; nothing, by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// How the principal proved who it is, and its risk.
    pub proof: Proof,
    /// The entity for which the principal acts.
    pub on_behalf_of: Option<Place>,
    /// The number of the region's name ([`crate::State::name`]).
    pub region: Option<u32>,
    /// The number of the name of how the credential was proved.
    pub channel: Option<u32>,
    /// What the session rests on: it can be revoked by each of these numbers.
    pub grounds: Grounds,
}

impl Known {
    /// Return the grounds of a session that rests on one thing alone; 0 for nothing.
    #[must_use]
    pub const fn one_ground(number: u64) -> Grounds {
        let mut grounds = [0; MAX_GROUNDS];
        grounds[0] = number;
        grounds
    }
}

impl Default for Known {
    fn default() -> Self {
        let proof = Proof { at_ns: i64::MIN, factors: 0, assurance: 0, risk: 0 };
        Self { proof, on_behalf_of: None, region: None, channel: None, grounds: [0; MAX_GROUNDS] }
    }
}

/// What decisions read of a session besides its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveAttributes {
    /// How the principal proved who it is, and its risk.
    pub proof: Proof,
    /// The entity for which the principal acts.
    pub on_behalf_of: Option<Place>,
    /// The number of the region's name ([`crate::State::name`]).
    pub region: Option<u32>,
    /// The number of the name of how the credential was proved.
    pub channel: Option<u32>,
}

#[inline]
pub(super) fn live_attributes(fields: &LiveFields, scale: Scale) -> LiveAttributes {
    LiveAttributes {
        proof: Proof::unpack(fields.proof, scale),
        on_behalf_of: place_before(fields.on_behalf_of),
        region: fields.region.checked_sub(1),
        channel: fields.channel.checked_sub(1),
    }
}

/// Return the place of a number that is one more than it; `None` for 0.
#[inline]
pub(super) fn place_before(next: u32) -> Option<Place> {
    next.checked_sub(1).map(|place| Place(place as usize))
}

/// A session, as a list of sessions shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionRecord {
    /// Its id.
    pub id: SessionId,
    /// Its status.
    pub status: SessionStatus,
    /// Its principal's place.
    pub principal: Place,
    /// Its bounds as admitted or renewed, by the wall clock.
    pub not_before_ns: i64,
    /// The end, in the same way.
    pub not_after_ns: i64,
    /// Its end, by the monotonic clock.
    pub to_ns: i64,
    /// When it was admitted, by the wall clock.
    pub admitted_ns: i64,
    /// What it rests on.
    pub grounds: Grounds,
    /// The number of the note that says who gave it its status; 0 for none.
    pub note: u32,
    /// What decisions read of it.
    pub live: LiveAttributes,
}
