//! Counts of what was compared.

use crate::programs::Programs;

/// Sums over worlds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub worlds: u64,
    /// Worlds that strict validation accepts.
    pub strict: u64,
    /// Worlds in which a forbid that errs denies.
    pub strict_errors: u64,
    /// Requests that Cedar decided.
    pub requests: u64,
    pub allowed: u64,
    /// Requests that are denied by forbids.
    pub forbidden: u64,
    /// Decisions that are step-ups.
    pub step_ups: u64,
    /// Requests with policies that err.
    pub erring: u64,
    /// Requests that forbids deny because they err.
    pub erred: u64,
    /// Decisions of the engine that were compared with Cedar's.
    pub decisions: u64,
    /// Explanations that were compared with Cedar's answers.
    pub explained: u64,
    /// Fallbacks, in worlds that strict validation refuses.
    pub fallbacks: u64,
    /// The programs of the first form.
    pub programs: Programs,
}

impl Counts {
    pub fn add(&mut self, other: &Self) {
        self.worlds += other.worlds;
        self.strict += other.strict;
        self.strict_errors += other.strict_errors;
        self.requests += other.requests;
        self.allowed += other.allowed;
        self.forbidden += other.forbidden;
        self.step_ups += other.step_ups;
        self.erring += other.erring;
        self.erred += other.erred;
        self.decisions += other.decisions;
        self.explained += other.explained;
        self.fallbacks += other.fallbacks;
        self.programs.add(&other.programs);
    }
}
