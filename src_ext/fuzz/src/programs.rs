//! What a bundle's programs ask of a request: whether ranges are all, and whether only the interpreter can decide.

use ztfast_bundle::{Bundle, Program};
use ztfast_vm::Op;

/// Counts of programs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Programs {
    pub all: u64,
    /// Programs whose residuals have more than ranges: sums, guards, sets.
    pub beyond_ranges: u64,
    /// Programs with a condition that asks for more than numbers: for entities, ancestors, or the letters of texts.
    pub interpreted: u64,
}

impl Programs {
    pub fn of(bundle: &Bundle) -> Self {
        let mut counts = Self::default();
        let words = bundle.programs();
        let mut at = 0;
        // Programs lie one behind another.
        while let Some(program) = u32::try_from(at).ok().and_then(|at| Program::read(words, at)) {
            let (mut beyond_ranges, mut interpreted) = (false, program.opaque);
            at += 1;
            for residual in program.clone().take(program.forbids as usize + program.permits as usize) {
                let conjuncts: Vec<_> = residual.conjuncts().into_iter().flatten().collect();
                at += 1 + 3 * residual.ranges().count() + conjuncts.len();
                beyond_ranges |= !conjuncts.is_empty();
                interpreted |= conjuncts.iter().any(|&(start, len)| {
                    let code = &bundle.code()[start as usize..][..len as usize];
                    code.iter().any(|instr| Op::from_u8(instr.op).is_none_or(needs_more_than_numbers))
                });
            }
            counts.add(&Self { all: 1, beyond_ranges: u64::from(beyond_ranges), interpreted: u64::from(interpreted) });
        }
        counts
    }

    pub const fn add(&mut self, other: &Self) {
        self.all += other.all;
        self.beyond_ranges += other.beyond_ranges;
        self.interpreted += other.interpreted;
    }
}

const fn needs_more_than_numbers(op: Op) -> bool {
    matches!(
        op,
        Op::Principal
            | Op::Resource
            | Op::SlotOrMissing
            | Op::GetAttr
            | Op::HasAttr
            | Op::GetTag
            | Op::HasTag
            | Op::In
            | Op::ContainsAll
            | Op::ContainsAny
            | Op::Like
            | Op::Is
            | Op::MakeSet
            | Op::MakeRecord
            | Op::Missing
    )
}
