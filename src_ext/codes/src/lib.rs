//! What a decision is, and why: one byte.

/// A decision's code. Everything but [`Self::Allow`] denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// DENY: no policy applies.
    Default = 0,
    /// ALLOW: a permit applies, and no forbid does.
    Allow = 1,
    // 2 is STEP_UP's.
    /// DENY: a forbid applies.
    Forbid = 3,
    /// DENY: the schema does not apply the action to such a principal or resource, or knows no such type.
    NotApplicable = 4,
    /// DENY: the session's validity is over.
    Expired = 5,
    /// DENY: the session's validity has not begun.
    NotYetValid = 6,
    /// DENY: the session was revoked.
    Revoked = 7,
    /// DENY: the session is in quarantine.
    Quarantined = 8,
    /// DENY: there is no such session (any more).
    UnknownSession = 9,
    /// DENY: the kill switch is on.
    Killed = 10,
    /// DENY: after a swap of bundles, the gate's action or attributes are no longer what it was prepared for.
    StaleGate = 11,
    /// DENY: the bundle's tables do not make sense together, or a value is beyond every measure.
    Corrupt = 12,
    /// DENY: a value is of its attribute's type, but out of its range.
    BadValue = 13,
    /// DENY: the engine was opened before the process was forked: this process has to open it anew.
    Forked = 14,
    /// DENY: the request is larger than the engine takes: `max_context`, or a call's room for texts.
    TooLarge = 15,
    /// DENY: the handle is not one of this engine's.
    UnknownHandle = 16,
}

impl Code {
    /// All codes.
    pub const ALL: [Self; 16] = [
        Self::Default,
        Self::Allow,
        Self::Forbid,
        Self::NotApplicable,
        Self::Expired,
        Self::NotYetValid,
        Self::Revoked,
        Self::Quarantined,
        Self::UnknownSession,
        Self::Killed,
        Self::StaleGate,
        Self::Corrupt,
        Self::BadValue,
        Self::Forked,
        Self::TooLarge,
        Self::UnknownHandle,
    ];

    /// The name that `Decision.code` shows.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "DEFAULT",
            Self::Allow => "ALLOW",
            Self::Forbid => "FORBID",
            Self::NotApplicable => "NOT_APPLICABLE",
            Self::Expired => "EXPIRED",
            Self::NotYetValid => "NOT_YET_VALID",
            Self::Revoked => "REVOKED",
            Self::Quarantined => "QUARANTINED",
            Self::UnknownSession => "UNKNOWN_SESSION",
            Self::Killed => "KILLED",
            Self::StaleGate => "STALE_GATE",
            Self::Corrupt => "CORRUPT",
            Self::BadValue => "BAD_VALUE",
            Self::Forked => "FORKED",
            Self::TooLarge => "TOO_LARGE",
            Self::UnknownHandle => "UNKNOWN_HANDLE",
        }
    }
}
