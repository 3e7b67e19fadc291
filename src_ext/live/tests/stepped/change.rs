//! The changes of a shared state, and what a process that is killed may leave of the session that its change is about.

use crate::host::{End, Folder, admit, fault_of, proof};
use ztfast_live::{LiveAttributes, Role, SessionId, SessionRecord, SessionStatus, Sessions};

/// The principals of the session that is changed, and of one that no change is about.
pub const TARGET: usize = 2;
pub const OTHER: usize = 1;
/// The principal that the child admits.
pub const ADMITTED: usize = 50;

/// The numbers of the notes of who quarantined a session before, and of the child.
pub const NOTE_BEFORE: u32 = 1;
const NOTE_OF_CHILD: u32 = 2;

/// What the child does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    AdmitFresh,
    AdmitAfterRevoked,
    AdmitAfterExpired,
    Revoke,
    RevokeNoted,
    Quarantine,
    Lift,
    RenewLater,
    RenewSooner,
    RenewOver,
    Present,
    RevokeMany,
    Follow,
    NameFactor,
    NameRegion,
    Register,
    Open,
    Make,
}

impl Change {
    /// All changes. The longest ones come first, so that the processors are done at about the same time.
    pub const ALL: [Self; 18] = [
        Self::Make,
        Self::Open,
        Self::AdmitFresh,
        Self::AdmitAfterRevoked,
        Self::AdmitAfterExpired,
        Self::Revoke,
        Self::RevokeNoted,
        Self::Quarantine,
        Self::Lift,
        Self::RenewLater,
        Self::RenewSooner,
        Self::RenewOver,
        Self::Present,
        Self::RevokeMany,
        Self::Follow,
        Self::NameFactor,
        Self::NameRegion,
        Self::Register,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::AdmitFresh => "admit into a slot never used",
            Self::AdmitAfterRevoked => "admit into a revoked session's slot",
            Self::AdmitAfterExpired => "admit into an expired session's slot",
            Self::Revoke => "revoke a session of a full table",
            Self::RevokeNoted => "revoke a session in quarantine, and say who did it",
            Self::Quarantine => "quarantine",
            Self::Lift => "lift a quarantine",
            Self::RenewLater => "renew, to a later end",
            Self::RenewSooner => "renew, to a sooner end",
            Self::RenewOver => "renew, to an end that is over",
            Self::Present => "present a proof",
            Self::RevokeMany => "revoke all sessions but one",
            Self::Follow => "follow a wall clock that was set",
            Self::NameFactor => "name a factor",
            Self::NameRegion => "name a region",
            Self::Register => "register a uid",
            Self::Open => "open a state with a dead process's claim",
            Self::Make => "make a state",
        }
    }

    pub const fn admits(self) -> bool {
        matches!(self, Self::AdmitFresh | Self::AdmitAfterRevoked | Self::AdmitAfterExpired)
    }

    /// Return whether all slots hold live sessions before.
    pub const fn is_full(self) -> bool {
        matches!(self, Self::Revoke | Self::RenewOver | Self::RevokeMany)
    }

    /// Make the change.
    pub fn make(self, sessions: &Sessions, target: SessionId, folder: &Folder) {
        let base_ns = sessions.state().base_ns();
        match self {
            Self::AdmitFresh | Self::AdmitAfterRevoked | Self::AdmitAfterExpired => {
                assert!(admit(sessions, ADMITTED, End::Sooner).is_ok());
            }
            Self::Revoke => assert!(sessions.set(target, SessionStatus::Revoked)),
            Self::RevokeNoted => {
                let note = sessions.note("child", "why").unwrap();
                assert!(sessions.set_noted(target, SessionStatus::Revoked, Some(&note)));
            }
            Self::Quarantine => assert!(sessions.set(target, SessionStatus::Quarantined)),
            Self::Lift => assert!(sessions.set(target, SessionStatus::Active)),
            Self::RenewLater => sessions.renew(target, End::Later.of(TARGET)).unwrap(),
            Self::RenewSooner => sessions.renew(target, End::Sooner.of(TARGET)).unwrap(),
            Self::RenewOver => sessions.renew(target, End::Over.of(TARGET)).unwrap(),
            Self::Present => sessions.present(target, |_| proof(TARGET, 1, base_ns)).unwrap(),
            Self::RevokeMany => {
                let chosen = |record: &SessionRecord| record.principal.0 != OTHER;
                assert!(sessions.set_all(SessionStatus::Revoked, None, chosen) > 0);
            }
            Self::Follow => sessions.follow(),
            Self::NameFactor => assert_eq!(sessions.factors(["fido2"]).unwrap(), Some(4)),
            Self::NameRegion => assert_eq!(sessions.name("eu").unwrap(), Some(1)),
            Self::Register => assert_eq!(sessions.state().uids().unwrap().register("User", "new"), Ok(2)),
            Self::Open | Self::Make => drop(folder.open(Role::Authority)),
        }
    }

    /// Return who is said to have given a session of the change its status.
    pub const fn noted(after: &SessionRecord) -> Option<&'static str> {
        match (after.status, after.note) {
            (SessionStatus::Quarantined, NOTE_BEFORE) => Some("own"),
            (SessionStatus::Revoked, NOTE_OF_CHILD) => Some("child"),
            _ => None,
        }
    }

    /// Return what is wrong with the session that the change is about, given what it was.
    pub fn fault_of_target(
        self,
        before: &SessionRecord,
        after: Option<&SessionRecord>,
        base_ns: i64,
    ) -> Option<String> {
        let Some(after) = after else { return Some(format!("it is gone: {before:?}")) };
        let mut allowed = vec![*before];
        match self {
            Self::Revoke | Self::RevokeMany => {
                allowed.push(SessionRecord { status: SessionStatus::Revoked, ..*before });
            }
            Self::RevokeNoted => {
                let revoked = SessionRecord { status: SessionStatus::Revoked, ..*before };
                allowed.extend([revoked, SessionRecord { note: NOTE_OF_CHILD, ..revoked }]);
            }
            Self::Quarantine => allowed.push(SessionRecord { status: SessionStatus::Quarantined, ..*before }),
            Self::Lift => allowed.push(SessionRecord { status: SessionStatus::Active, ..*before }),
            Self::Present => {
                let live = LiveAttributes { proof: proof(TARGET, 1, base_ns), ..before.live };
                allowed.push(SessionRecord { live, ..*before });
            }
            // A renewal that was cut off may have set what a list shows, and not yet what decisions read.
            Self::RenewLater | Self::RenewSooner | Self::RenewOver => {
                let end = match self {
                    Self::RenewLater => End::Later,
                    Self::RenewSooner => End::Sooner,
                    _ => End::Over,
                };
                let is_known = [before.not_after_ns, end.of(TARGET)].contains(&after.not_after_ns);
                let rest = SessionRecord { not_after_ns: before.not_after_ns, to_ns: before.to_ns, ..*after };
                let fault = fault_of(&SessionRecord { not_after_ns: end.of(TARGET), ..*after }, &[end], base_ns);
                let is_good = is_known && rest == *before && (after.to_ns == before.to_ns || fault.is_none());
                return (!is_good).then(|| format!("{after:?} was {before:?}"));
            }
            _ => {}
        }
        (!allowed.contains(after)).then(|| format!("{after:?} was {before:?}"))
    }
}
