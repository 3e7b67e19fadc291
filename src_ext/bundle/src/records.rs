//! Records of the tables that decisions walk: types, actions, cells, ranges.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An entity type: its entities are neighbours in the entity table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TypeRec {
    /// Number of the string that is its name.
    pub name: u32,
    /// Its first entity.
    pub start: u32,
    /// One past its last entity.
    pub end: u32,
    /// The stand-in for entities of this type that the bundle lacks; `u32::MAX` where there can be none (actions).
    pub absent: u32,
    /// 1 for an enumerated type, whose ids are all listed.
    pub enumerated: u32,
}

/// How one side (principal or resource) of an action maps to classes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SideRec {
    /// The first entity that has a class.
    pub first: u32,
    /// Entities from there on that the class table covers.
    pub len: u32,
    /// Where in the class table they begin.
    pub classes: u32,
    /// Classes, with class 0: "the action does not apply to such an entity".
    pub count: u32,
}

/// An action and its table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ActionRec {
    /// The action's own entity.
    pub entity: u32,
    /// Its first context slot's kind.
    pub slots_start: u32,
    /// Context slots.
    pub slots_len: u32,
    /// Where its cells begin: `resource.count` for each class of principal.
    pub table: u32,
    /// Classes of principals.
    pub principal: SideRec,
    /// Classes of resources.
    pub resource: SideRec,
}

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

/// A cell of its kind and its program, which names the determining policies even where the kind settles the effect.
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
    #[inline]
    #[must_use]
    pub const fn holds(&self, number: i64) -> bool {
        (self.low <= number && number <= self.high) != self.inverted
    }
}
