//! The one exit: every decision leaves through it, whatever path made it.
//!
//! ```text
//! state word, session, kills, policy ──> code ──> leave: charge, record ──> Decision
//! ```
//!
//! The paths within the engine return a [`Code`], or write the bytes of codes for rows. What the engine's users get is
//! a [`Decision`], and nothing but this file makes one. So whatever each decision has to pass, such as limits and a
//! journal, stands in [`leave`], and no path goes round it:
//!
//! ```compile_fail,E0423
//! let forged = ztfast_engine::Decision(1);
//! ```
//!
//! Two things are no decisions, and do not leave here. Questions, which let nobody do anything, such as
//! [`Shared::evaluate`](crate::Shared::evaluate), return a [`Code`]. A caller that reaches no gate at all, or whose
//! arguments no gate can read, gets [`Decision::CORRUPT`].

use std::fmt;
use ztfast_codes::Code;

/// What stands in the place of the code of a row that is not decided yet. It is no code.
pub(crate) const UNDECIDED: u8 = u8::MAX;

/// A decision that left the engine: its code.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
#[must_use]
pub struct Decision(u8);

/// The greatest number of a code.
const LAST: u8 = Code::ALL[Code::ALL.len() - 1] as u8;
const _: () = {
    // The numbers of codes leave out none, so that a number is a place in the list.
    let mut at = 0;
    while at < Code::ALL.len() {
        assert!(Code::ALL[at] as usize == at);
        at += 1;
    }
    assert!(UNDECIDED > LAST);
};

impl Decision {
    /// The denial of a call that reached no gate, whose arguments no gate can read, or in which the engine failed.
    pub const CORRUPT: Self = Self(Code::Corrupt as u8);

    /// Return the code.
    #[inline]
    #[must_use]
    pub fn code(self) -> Code {
        Code::ALL.get(usize::from(self.0)).copied().unwrap_or(Code::Corrupt)
    }

    /// Return the number of the code.
    #[inline]
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Return whether this allows.
    #[inline]
    #[must_use]
    pub const fn is_allow(self) -> bool {
        self.0 == Code::Allow as u8
    }
}

impl PartialEq<Code> for Decision {
    #[inline]
    fn eq(&self, code: &Code) -> bool {
        self.0 == *code as u8
    }
}

impl PartialEq<Decision> for Code {
    #[inline]
    fn eq(&self, decision: &Decision) -> bool {
        decision == self
    }
}

impl fmt::Debug for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.code().fmt(f)
    }
}

/// Let a decision leave.
///
/// `code` is what the session, the kills and the policies say. Charging comes before the record, and the record before
/// the answer; what cannot be done denies.
#[inline(always)]
#[allow(clippy::inline_always)] // on the hot path
pub(crate) const fn leave(code: Code) -> Decision {
    Decision(code as u8)
}

/// Let the decisions of rows leave, in the order of the rows. A row that no path decided is [`Code::Corrupt`].
#[inline]
pub(crate) fn leave_rows(codes: &[u8], out: &mut [Decision]) {
    debug_assert_eq!(codes.len(), out.len());
    for (decision, &code) in out.iter_mut().zip(codes) {
        *decision = if code <= LAST { Decision(code) } else { Decision::CORRUPT };
    }
    out.iter_mut().skip(codes.len()).for_each(|decision| *decision = Decision::CORRUPT);
}

/// Let rows leave that are all denied with one code.
pub(crate) fn leave_all(code: Code, out: &mut [Decision]) {
    for decision in out {
        *decision = leave(code);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_themselves_and_other_numbers_are_corrupt() {
        for code in Code::ALL {
            let decision = leave(code);
            assert_eq!((decision.code(), decision.number()), (code, code as u8));
            assert_eq!(decision, code);
            assert_eq!(decision.is_allow(), code == Code::Allow);
        }
        assert_eq!(Decision(UNDECIDED).code(), Code::Corrupt);
        assert_eq!(format!("{:?}", Decision::CORRUPT), "Corrupt");
    }

    #[test]
    fn rows_that_no_path_decided_are_corrupt() {
        let codes = [Code::Allow as u8, UNDECIDED, Code::Revoked as u8, LAST + 1];
        let mut out = [leave(Code::Allow); 4];
        leave_rows(&codes, &mut out);
        assert_eq!(out, [Code::Allow, Code::Corrupt, Code::Revoked, Code::Corrupt]);
        leave_all(Code::Forked, &mut out);
        assert_eq!(out, [Code::Forked; 4]);
    }
}
