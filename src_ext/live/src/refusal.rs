//! How much fits into the switches, and why one was not changed.

use crate::texts::Text;

/// How many kills there may be at once.
pub const KILLS: usize = 256;
/// How many actions one kill may name, with the actions that are in the groups that it names.
pub const ACTIONS: usize = 256;
/// How many markets may be other than normal at once.
pub const MARKETS: usize = 1024;

/// Why a switch was not changed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SwitchError {
    /// A text is too long.
    #[error("{what} may have {most} bytes in UTF-8; it has {bytes}")]
    TooLong {
        /// The text.
        what: &'static str,
        /// The most bytes.
        most: usize,
        /// Its bytes.
        bytes: usize,
    },
    /// All records are in use.
    #[error("there may be {KILLS} kills at once: release some, or kill what they have in common")]
    ManyKills,
    /// A kill names too many actions.
    #[error(
        "a kill may name {ACTIONS} actions, with those that are in the groups it names; this one names {0}: make several \
         kills, or stop all actions"
    )]
    ManyActions(usize),
    /// No record is left for another market.
    #[error("there may be {MARKETS} markets that are not normal at once; set what they have in common")]
    ManyMarkets,
    /// There is no such kill.
    #[error("there is no kill {0:016x}: it was released, or its time is over")]
    UnknownKill(u64),
    /// One person cannot release a kill that needs two.
    #[error("another person than {0} must approve the release of this kill, and {0} asked for it")]
    SamePerson(String),
}

/// Return an error if a text of so many words cannot hold this one.
pub(crate) fn must_fit<const WORDS: usize>(what: &'static str, text: &str) -> Result<(), SwitchError> {
    let most = Text::<WORDS>::MOST;
    if text.len() <= most { Ok(()) } else { Err(SwitchError::TooLong { what, most, bytes: text.len() }) }
}
