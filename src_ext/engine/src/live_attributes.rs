//! The live attributes by name, and the positions of a context's slots where some of them are absent.

use ztfast_bundle::ActionMeta;
use ztfast_live::Proof;

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

    /// Return whether it is a number that a proof or a risk is.
    pub const fn is_of_proof(self) -> bool {
        matches!(self, Self::AuthAge | Self::Assurance | Self::Risk)
    }

    /// Return the bit of an attribute that may be absent.
    pub const fn bit(self) -> usize {
        match self {
            Self::Region => 1,
            Self::OnBehalfOf => 2,
            _ => 0,
        }
    }
}

/// How a gate with live attributes decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LivePath {
    /// By its table, with at most [`FEW`] values, where the live attributes are numbers of the proof.
    Numbers,
    /// By its table, with at most [`FEW`] values.
    Few,
    /// By its table.
    Many,
    /// By a walk, because it has no table.
    Walk,
}

/// The most values, those of the caller and the live attributes, that are decided with less memory to clear.
pub(crate) const FEW: usize = 8;

impl LivePath {
    /// Return how a gate decides that has so many values besides these live attributes.
    pub fn of(has_table: bool, callers: usize, live: &[LiveAttribute]) -> Self {
        let is_few = callers + live.len() + live.iter().filter(|attribute| attribute.bit() != 0).count() <= FEW;
        match (has_table, is_few) {
            (false, _) => Self::Walk,
            (true, true) if live.iter().all(|attribute| attribute.is_of_proof()) => Self::Numbers,
            (true, true) => Self::Few,
            (true, false) => Self::Many,
        }
    }
}

/// Where the live attributes that are numbers stand among the values of a decision.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NumberPlaces {
    auth_age: u32,
    assurance: u32,
    risk: u32,
}

impl NumberPlaces {
    /// Find the places of attributes that stand one behind the other.
    pub fn of(live: &[LiveAttribute], first: usize) -> Self {
        let place = |wanted| {
            let at = live.iter().position(|attribute| *attribute == wanted);
            at.and_then(|at| u32::try_from(first + at).ok()).unwrap_or(u32::MAX)
        };
        let [auth_age, assurance, risk] =
            [LiveAttribute::AuthAge, LiveAttribute::Assurance, LiveAttribute::Risk].map(place);
        Self { auth_age, assurance, risk }
    }

    /// Put those that are read in their places.
    #[inline(always)]
    #[allow(clippy::inline_always)] // what is not read is not computed
    pub fn put(&self, age_ms: impl FnOnce() -> i64, proof: impl Fn() -> Proof, numbers: &mut [i64]) {
        if let Some(number) = numbers.get_mut(self.auth_age as usize) {
            *number = age_ms();
        }
        if let Some(number) = numbers.get_mut(self.risk as usize) {
            *number = proof().risk.into();
        }
        if let Some(number) = numbers.get_mut(self.assurance as usize) {
            *number = proof().assurance.into();
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
