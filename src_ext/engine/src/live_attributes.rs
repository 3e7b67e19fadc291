//! The live attributes by name, and the positions of a context's slots where some of them are absent.

use ztfast_bundle::ActionMeta;

/// The name of the attribute of a context that the engine fills in, if the action's description says so.
pub(crate) const LIVE: &str = "live";

/// A live attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LiveAttribute {
    AuthAge,
    Factors,
    Assurance,
    Risk,
    Market,
    Channel,
    Time,
    // What may be absent comes last.
    Region,
    OnBehalfOf,
}

/// How many live attributes there are.
pub(crate) const MOST_LIVE: usize = 9;

impl LiveAttribute {
    pub const ALL: [(Self, &'static str); MOST_LIVE] = [
        (Self::AuthAge, "authAge"),
        (Self::Factors, "factors"),
        (Self::Assurance, "assurance"),
        (Self::Risk, "risk"),
        (Self::Market, "market"),
        (Self::Channel, "channel"),
        (Self::Time, "time"),
        (Self::Region, "region"),
        (Self::OnBehalfOf, "onBehalfOf"),
    ];

    /// Return the bit of an attribute that may be absent.
    pub const fn bit(self) -> usize {
        match self {
            Self::Region => 1,
            Self::OnBehalfOf => 2,
            _ => 0,
        }
    }
}

/// Return the live attributes that the policies of an action read, each with its name.
pub(crate) fn read_by(action: &ActionMeta) -> impl Iterator<Item = (LiveAttribute, &'static str)> {
    let read = action.live.as_deref().unwrap_or_default();
    LiveAttribute::ALL.into_iter().filter(move |(_, name)| read.iter().any(|one| one == name))
}

/// For each combination of absent attributes but the first, in which none is, the positions of a context's slots.
pub(crate) fn positions_without(positions: &[u16], live: &[LiveAttribute], callers: usize) -> Box<[Box<[u16]>]> {
    if live.iter().all(|attribute| attribute.bit() == 0) {
        return Box::default();
    }
    let is_absent = |position: u16, absent: usize| {
        let attribute = usize::from(position).checked_sub(callers).and_then(|at| live.get(at));
        attribute.is_some_and(|attribute| attribute.bit() & absent != 0)
    };
    let of = |absent: usize| positions.iter().map(|&at| if is_absent(at, absent) { u16::MAX } else { at }).collect();
    (1..4).map(of).collect()
}
