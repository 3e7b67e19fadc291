//! The records of the tables that decisions read: types, actions, cells, ranges.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An entity type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TypeRec {
    /// The number of the string that is its name.
    pub name: u32,
    /// The number of the stand-in for entities of this type that the bundle lacks; `u32::MAX` if there can be none
    /// (actions).
    pub absent: u32,
    /// 1 for an enumerated type, whose ids are all listed.
    pub enumerated: u32,
}

/// A policy, with what decisions and reports show of it. Texts are numbers of strings; `u32::MAX` means none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PolicyRec {
    /// The id.
    pub id: u32,
    /// 1 for a forbid.
    pub forbid: u32,
    /// The file that contains the policy, as it was named to the compiler.
    pub file: u32,
    /// The policy's first line in the file, from 1.
    pub line: u32,
    /// The first annotation, in pairs of key and value.
    pub annotations_start: u32,
    /// The number of annotations.
    pub annotations_len: u32,
    /// Why the policy is a fallback, if it is one.
    pub fallback: u32,
    /// If the policy is a forbid that asks for a step-up: 1 more than the number of the string of its factors, with
    /// spaces between. Otherwise 0.
    pub step_up: u32,
    /// For a step-up: how many seconds ago the proof may have been given; [`NO_MAX_AGE`] for any.
    pub max_age: u64,
}

/// Stands for "any time ago" in [`PolicyRec::max_age`].
pub const NO_MAX_AGE: u64 = u64::MAX;

/// The classes of an entity, as a principal and as a resource. 0 means that no action applies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ClassPair {
    /// The class as a principal.
    pub principal: u32,
    /// The class as a resource.
    pub resource: u32,
}

/// A class of entities on one side: they have one type, and the same selectors hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ClassRec {
    /// The entities' type; `u32::MAX` for class 0.
    pub ty: u32,
    /// The first of the class's parts, which are lists of selectors.
    pub parts_start: u32,
    /// The number of parts.
    pub parts_len: u32,
    /// 1 if values that conditions read split the class from others with the same selectors.
    pub split: u32,
}

/// A range of elements in a pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Span {
    /// The first element.
    pub start: u32,
    /// The number of elements.
    pub len: u32,
}

/// A selector: what a policy asks of one side alone. Selector 0 of each side asks nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SelectorRec {
    /// The type of the entity; `u32::MAX` for any.
    pub ty: u32,
    /// The entity itself; `u32::MAX` for any.
    pub entity: u32,
    /// Entities of which one must be the entity or an ancestor. If there are none, any ancestors will do.
    pub within: Span,
    /// The conditions, as places of their code.
    pub conjuncts: Span,
}

/// An action.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ActionRec {
    /// The action's own entity.
    pub entity: u32,
    /// The kinds of the action's context slots.
    pub slots: Span,
    /// The action's layers. The decision combines what they say of a pair of entities.
    pub layers: Span,
    /// 1 if a forbid of the action asks for a step-up.
    pub step_up: u32,
}

/// The form of a layer's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Form {
    /// A cell for each pair of classes.
    Dense = 0,
    /// For each class of principals a cell that is the rule, and the cells of those classes of resources that differ
    /// from it.
    Rows = 1,
    /// For each class the set of policies that it admits. A pair's policies are the intersection of both sets.
    Sets = 2,
}

impl Form {
    /// Return the form with this number.
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

    /// Return the form's name in statistics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Rows => "rows",
            Self::Sets => "sets",
        }
    }
}

/// A layer: some policies of an action, and their table for pairs of classes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LayerRec {
    /// A [`Form`]'s number.
    pub form: u32,
    /// The start of the map from classes of principals to the layer's classes.
    pub principal_map: u32,
    /// The start of the map from classes of resources to the layer's classes.
    pub resource_map: u32,
    /// The number of classes of principals, including class 0: "the action does not apply".
    pub principals: u32,
    /// The number of classes of resources, including class 0.
    pub resources: u32,
    /// The first cell (dense), row (rows), or place of a set: those of principals, then those of resources.
    pub table: u32,
    /// The number of words of a set's summary, which has a bit for each block of 512 policies.
    pub summary: u32,
    /// The start of the masks, which mark the blocks that all principals have, then those that all resources have.
    pub masks: u32,
    /// The layer's policies, forbids first. With sets, a policy's number is also the number of its bit.
    pub plans: Span,
}

/// A policy within an action.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PlanRec {
    /// The selector of the principal.
    pub principal: u32,
    /// The selector of the resource.
    pub resource: u32,
    /// The program of the policy's other conditions; `u32::MAX` if there is no policy here.
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
    /// The start of the bitmaps of the cells that differ from the rule.
    pub bitmaps: u32,
}

/// The bitmap of 64 cells, and where those that differ are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BitmapRec {
    /// The cells that differ from the row's rule, one bit each.
    pub differ: u64,
    /// The place in the table of the cells that differ.
    pub cells: u64,
}

/// The number of policies in a block of a set.
pub const BLOCK_BITS: usize = 512;
/// The number of words in a block of a set.
pub const BLOCK_WORDS: usize = BLOCK_BITS / 64;

/// What a cell says without looking at the context.
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

/// Pack a cell from its kind and its program. The program names the determining policies even if the kind settles the
/// effect.
#[must_use]
pub const fn pack_cell(kind: CellKind, program: u32) -> u32 {
    (kind as u32) << PROGRAM_BITS | (program & ((1 << PROGRAM_BITS) - 1))
}

/// Return the kind of a cell.
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

/// Return the program of a cell.
#[inline]
#[must_use]
pub const fn cell_program(cell: u32) -> u32 {
    cell & ((1 << PROGRAM_BITS) - 1)
}

/// A condition on one context slot: it is present, and its number lies in `low..=high`, or outside of it if inverted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RangeRec {
    /// The slot.
    pub slot: u32,
    /// Whether the number must lie outside.
    pub inverted: bool,
    /// The least number.
    pub low: i64,
    /// The greatest number.
    pub high: i64,
}

impl RangeRec {
    /// Return whether a number satisfies the condition.
    #[must_use]
    pub const fn holds(&self, number: i64) -> bool {
        (self.low <= number && number <= self.high) != self.inverted
    }

    /// Express the range as one comparison.
    #[must_use]
    pub const fn test(&self) -> Test {
        let (empty, all) = (self.low > self.high, self.low == i64::MIN && self.high == i64::MAX);
        let (low, high) = match (self.inverted, empty, all) {
            (true, true, _) | (false, _, true) => (i64::MIN, i64::MAX),
            // No request has this slot, so the test never passes.
            (true, _, true) | (false, true, _) => return Test { slot: u32::MAX, low: 0, width: 0 },
            (false, false, false) => (self.low, self.high),
            // The outside is a range too, which wraps around the end of the numbers.
            (true, false, false) => (self.high.wrapping_add(1), self.low.wrapping_sub(1)),
        };
        Test { slot: self.slot, low, width: high.wrapping_sub(low).cast_unsigned() }
    }
}

/// A [`RangeRec`] as programs store it: the slot is present, and its number is at most `width` above `low`, in wrapping
/// arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Test {
    /// The slot.
    pub slot: u32,
    /// The least number.
    pub low: i64,
    /// The distance from the least to the greatest number.
    pub width: u64,
}

impl Test {
    /// Return whether a number passes.
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
