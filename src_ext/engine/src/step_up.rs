//! Step-ups: tells a denial that the principal can lift by proving more from one that stands.
//!
//! A decision is a step-up if all forbids that apply ask for one, and some permit applies. Decisions stop at the first
//! forbid, so this walks again. Nothing here runs unless a forbid of the action asks for a step-up, and some forbid
//! applies.

use crate::decide::{MAX_DETERMINING, Sink, Walk};
use ztfast_bundle::Bundle;
use ztfast_codes::Code;
use ztfast_vm::Scratch;

/// Looks whether all forbids ask for a step-up.
struct Asking<'b> {
    bundle: &'b Bundle,
    count: usize,
    all: bool,
}

impl Sink for Asking<'_> {
    const ALL: bool = true;

    fn clear(&mut self) {
        (self.count, self.all) = (0, true);
    }

    fn push(&mut self, policy: u32) {
        self.push_forbid(policy);
    }

    fn push_forbid(&mut self, policy: u32) {
        self.count += 1;
        // The number of a policy that erred is that of no policy: proving more does not satisfy it.
        self.all &= self.bundle.policies().get(policy as usize).is_some_and(|policy| policy.step_up != 0);
    }
}

/// A sink for callers that want to know whether a permit applies, whatever forbids say.
struct PermitsOnly;

impl Sink for PermitsOnly {
    const ALL: bool = false;
    const FORBIDS: bool = false;

    fn clear(&mut self) {}

    fn push(&mut self, _policy: u32) {}
}

impl Walk<'_> {
    /// Return the code of a request that a forbid denies: [`Code::StepUp`], or [`Code::Forbid`]. The walk is one over
    /// all layers.
    #[cold]
    #[inline(never)]
    pub fn forbidden(&self, scratch: &mut Scratch) -> Code {
        let mut asking = Asking { bundle: self.snapshot.bundle(), count: 0, all: true };
        // What asks for more than a decision keeps could not be named completely.
        let is_asked = self.decide(scratch, &mut asking) == Code::Forbid
            && asking.all
            && (1..=MAX_DETERMINING).contains(&asking.count);
        if is_asked && self.decide(scratch, &mut PermitsOnly) == Code::Allow { Code::StepUp } else { Code::Forbid }
    }
}
