//! The code of a decision: its effect and the reason, in one byte.
//!
//! [`codes!`] is the one list of codes. Rust types are generated from it. `tests/copies.rs` compares the lists for C,
//! Cython and Python with it, and `make codes` rewrites those.
#![forbid(unsafe_code)]

/// Pass all codes to another macro: the meaning of each, its variant in Rust, its name elsewhere, and its number.
///
/// The meaning is one sentence, the same in each language. Numbers rise, and none is used twice.
#[macro_export]
macro_rules! codes {
    ($define:ident) => {
        $define! {
            /// No policy applies.
            Default DEFAULT = 0;
            /// A permit applies, and no forbid does.
            Allow ALLOW = 1;
            /// All forbids that apply ask for a step-up, and a permit applies.
            StepUp STEP_UP = 2;
            /// A forbid applies.
            Forbid FORBID = 3;
            /// The schema does not apply the action to such a principal or resource, or has no such type.
            NotApplicable NOT_APPLICABLE = 4;
            /// The session's validity is over.
            Expired EXPIRED = 5;
            /// The session's validity has not begun.
            NotYetValid NOT_YET_VALID = 6;
            /// The session was revoked.
            Revoked REVOKED = 7;
            /// The session is in quarantine.
            Quarantined QUARANTINED = 8;
            /// There is no such session (any more).
            UnknownSession UNKNOWN_SESSION = 9;
            /// A kill stops the action.
            Killed KILLED = 10;
            /// After a swap of bundles, the gate's action or attributes are no longer what it was prepared for.
            StaleGate STALE_GATE = 11;
            /// The bundle's tables or the call's arguments make no sense, a comparison is too long, or the core failed.
            Corrupt CORRUPT = 12;
            /// A value is of its attribute's type, but out of its range.
            BadValue BAD_VALUE = 13;
            /// The engine was opened before the process was forked: this process has to open it anew.
            Forked FORKED = 14;
            /// The request is larger than the engine takes: `max_context`, or a call's room for texts.
            TooLarge TOO_LARGE = 15;
            /// The handle is not one of this engine's.
            UnknownHandle UNKNOWN_HANDLE = 16;
            /// The file of the shared state was removed or replaced: this process has to open the engine anew.
            StateGone STATE_GONE = 17;
        }
    };
}

macro_rules! define {
    ($(#[doc = $meaning:literal] $variant:ident $name:ident = $number:literal;)*) => {
        /// A decision's code. Everything but [`Self::Allow`] denies.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Code {
            $(#[doc = $meaning] $variant = $number,)*
        }

        impl Code {
            /// All codes, in the order of their numbers.
            pub const ALL: [Self; [$($number),*].len()] = [$(Self::$variant),*];

            /// Return the name that `Decision.code` shows.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($name),)*
                }
            }

            /// Return the meaning, as a sentence.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => $meaning.trim_ascii(),)*
                }
            }
        }
    };
}

codes!(define);
