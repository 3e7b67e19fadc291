//! Records of the tables that decisions walk: types, actions, cells, ranges.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An entity type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TypeRec {
    /// Number of the string that is its name.
    pub name: u32,
    /// The stand-in for entities of this type that the bundle lacks; `u32::MAX` where there can be none (actions).
    pub absent: u32,
    /// 1 for an enumerated type, whose ids are all listed.
    pub enumerated: u32,
}

/// A policy, as far as decisions and reports name it. Texts are numbers of strings; `u32::MAX` is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PolicyRec {
    /// Its id.
    pub id: u32,
    /// 1 for a forbid.
    pub forbid: u32,
    /// The file that holds it, as the compiler was given it.
    pub file: u32,
    /// Its first line there, from 1.
    pub line: u32,
    /// Its first annotation, in pairs of key and value.
    pub annotations_start: u32,
    /// Annotations.
    pub annotations_len: u32,
    /// Why Cedar's own evaluator answers for it, where it does.
    pub fallback: u32,
}

/// The classes of an entity: as a principal, and as a resource. 0: no action applies to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ClassPair {
    /// Class as a principal.
    pub principal: u32,
    /// Class as a resource.
    pub resource: u32,
}

/// A class of entities on one side: they have one type, and the same selectors hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ClassRec {
    /// The entities' type; `u32::MAX` for class 0.
    pub ty: u32,
    /// First of its parts, which are lists of selectors.
    pub parts_start: u32,
    /// Parts.
    pub parts_len: u32,
    /// 1 where the selectors alone do not make the class: values that conditions read split it from others.
    pub split: u32,
}

/// A list of numbers in a pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Span {
    /// The first.
    pub start: u32,
    /// How many.
    pub len: u32,
}

/// What a policy asks of one side alone. Selector 0 of either side asks for nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SelectorRec {
    /// Type of the entity; `u32::MAX` for any.
    pub ty: u32,
    /// The entity itself; `u32::MAX` for any.
    pub entity: u32,
    /// Entities of which one must be the entity or an ancestor; none: whatever its ancestors are.
    pub within: Span,
    /// Conditions, as places of their code.
    pub conjuncts: Span,
}

/// An action.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ActionRec {
    /// The action's own entity.
    pub entity: u32,
    /// Kinds of its context slots.
    pub slots: Span,
    /// Its layers: what each says of a pair of entities, together, is the decision.
    pub layers: Span,
}

/// How a layer is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Form {
    /// A cell for each pair of classes.
    Dense = 0,
    /// For each class of principals a cell that is the rule, and the cells of the classes of resources that differ.
    Rows = 1,
    /// For each class the policies that it admits: the pair's are what both have.
    Sets = 2,
}

impl Form {
    /// The form with this number.
    #[inline]
    #[must_use]
    pub const fn from_u32(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Dense),
            1 => Some(Self::Rows),
            2 => Some(Self::Sets),
            _ => None,
        }
    }

    /// Its name in statistics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Rows => "rows",
            Self::Sets => "sets",
        }
    }
}

/// Some policies of an action, and what they say of each pair of classes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LayerRec {
    /// A [`Form`]'s number.
    pub form: u32,
    /// Where the layer's class for each class of principals begins.
    pub principal_map: u32,
    /// Where the layer's class for each class of resources begins.
    pub resource_map: u32,
    /// Classes of principals, with class 0: "the action does not apply".
    pub principals: u32,
    /// Classes of resources, likewise.
    pub resources: u32,
    /// The first cell (dense), row (rows), or place of a set: of principals, then of resources.
    pub table: u32,
    /// Words of a set's summary: a bit for each block of 512 policies.
    pub summary: u32,
    /// Where the blocks that all principals have are marked, then those that all resources have.
    pub masks: u32,
    /// The layer's policies, forbids first. With sets, the number of a policy is the number of its bit.
    pub plans: Span,
}

/// A policy as an action sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PlanRec {
    /// What it asks of the principal alone.
    pub principal: u32,
    /// What it asks of the resource alone.
    pub resource: u32,
    /// What else it asks: a program of this policy alone; `u32::MAX` where there is no policy here.
    pub program: u32,
    /// 1 for a forbid.
    pub forbid: u32,
}

/// A row of cells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RowRec {
    /// The cell that is the rule.
    pub rule: u32,
    /// Where the marks of the cells that differ begin.
    pub marks: u32,
}

/// Marks of 64 cells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MarkRec {
    /// Which of them differ from the row's rule.
    pub differ: u64,
    /// Where those that do are, among the table's cells.
    pub cells: u64,
}

/// Policies in a block of a set.
pub const BLOCK_BITS: usize = 512;
/// Words in a block of a set.
pub const BLOCK_WORDS: usize = BLOCK_BITS / 64;

/// What a cell of an action's table says without looking at the context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CellKind {
    /// DENY: no policy applies.
    Default,
    /// ALLOW: a permit applies, and no forbid can.
    Allow,
    /// DENY: a forbid applies.
    Forbid,
    /// The program decides.
    Program,
}

const PROGRAM_BITS: u32 = 30;

/// A cell of its kind and its program, which names the determining policies even where the kind resolves the effect.
#[must_use]
pub const fn pack_cell(kind: CellKind, program: u32) -> u32 {
    (kind as u32) << PROGRAM_BITS | (program & ((1 << PROGRAM_BITS) - 1))
}

/// The kind of a cell.
#[inline]
#[must_use]
pub const fn cell_kind(cell: u32) -> CellKind {
    match cell >> PROGRAM_BITS {
        0 => CellKind::Default,
        1 => CellKind::Allow,
        2 => CellKind::Forbid,
        _ => CellKind::Program,
    }
}

/// The program of a cell.
#[inline]
#[must_use]
pub const fn cell_program(cell: u32) -> u32 {
    cell & ((1 << PROGRAM_BITS) - 1)
}

/// A condition on one context slot: it is there, and its number is in (or, inverted, outside) `low..=high`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RangeRec {
    /// The slot.
    pub slot: u32,
    /// Outside instead of in.
    pub inverted: bool,
    /// Least number.
    pub low: i64,
    /// Greatest number.
    pub high: i64,
}

impl RangeRec {
    /// Whether a number is in the range (outside, if inverted).
    #[must_use]
    pub const fn holds(&self, number: i64) -> bool {
        (self.low <= number && number <= self.high) != self.inverted
    }

    /// The same as one comparison.
    #[must_use]
    pub const fn test(&self) -> Test {
        let (empty, all) = (self.low > self.high, self.low == i64::MIN && self.high == i64::MAX);
        let (low, high) = match (self.inverted, empty, all) {
            (true, true, _) | (false, _, true) => (i64::MIN, i64::MAX),
            // No decision has such a slot.
            (true, _, true) | (false, true, _) => return Test { slot: u32::MAX, low: 0, width: 0 },
            (false, false, false) => (self.low, self.high),
            // What is outside is a range as well, around the end of the numbers.
            (true, false, false) => (self.high.wrapping_add(1), self.low.wrapping_sub(1)),
        };
        Test { slot: self.slot, low, width: high.wrapping_sub(low).cast_unsigned() }
    }
}

/// A [`RangeRec`] as programs hold it: the slot is there, and its number is no more than `width` above `low`, counted
/// around the end of the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Test {
    /// The slot.
    pub slot: u32,
    /// Least number.
    pub low: i64,
    /// How far above it the greatest is.
    pub width: u64,
}

impl Test {
    /// Whether a number passes.
    #[inline]
    #[must_use]
    pub const fn holds(&self, number: i64) -> bool {
        number.wrapping_sub(self.low).cast_unsigned() <= self.width
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_and_its_test_say_the_same_of_every_number() {
        const ENDS: [i64; 9] = [i64::MIN, i64::MIN + 1, -7, -1, 0, 1, 7, i64::MAX - 1, i64::MAX];
        for (low, high, inverted, number) in ENDS.into_iter().flat_map(|low| {
            ENDS.into_iter()
                .flat_map(move |high| ENDS.into_iter().flat_map(move |n| [(low, high, false, n), (low, high, true, n)]))
        }) {
            let range = RangeRec { slot: 3, inverted, low, high };
            let test = range.test();
            assert_eq!(test.slot == 3 && test.holds(number), range.holds(number), "{range:?} {number}");
        }
    }
}
